//! A trail as a server finds it: its head and its end.

use std::io;
use std::path::Path;

use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_transport::lane::OnLane;

use super::file::{self, Header, Piece, Pieces, Torn};
use super::head::{Found, Head};
use super::line::{self, AuditKey, Hash, NOTHING, Sealed};

/// What is there of a trail.
#[derive(Debug)]
pub(super) struct Trail {
    /// The numbers of its files.
    pub(super) files: Vec<u64>,
    pub(super) head: Found,
    /// Its last record, where there is one.
    pub(super) end: Option<End>,
    /// How the last file ends, where that is no whole line.
    pub(super) torn: Option<Torn>,
}

/// The last record of a trail.
#[derive(Debug)]
pub(super) struct End {
    pub(super) file: u64,
    /// Bytes of the file up to the end of the record.
    pub(super) length: u64,
    pub(super) seq: u64,
    pub(super) hash: Hash,
    /// The key of its file.
    pub(super) key: WrappedKey,
    line: Vec<u8>,
}

/// Where a trail goes on.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) prev: Hash,
}

impl Trail {
    pub(super) fn look(on: &OnLane, dir: &Path) -> io::Result<Self> {
        let head = Head::look(on, dir)?;
        let files = file::list(on, dir)?;
        let (mut end, mut torn) = (None, None);
        for (age, number) in files.iter().rev().enumerate() {
            let (found, rest) = end_of(on, dir, *number)?;
            if age == 0 {
                torn = rest;
            }
            if found.is_some() {
                end = found;
                break;
            }
        }
        Ok(Self { files, head, end, torn })
    }

    /// The key that sealed its end.
    pub(super) fn key(&self) -> Option<&WrappedKey> {
        match (&self.end, &self.head) {
            (Some(end), _) => Some(&end.key),
            (None, Found::Head { head, .. }) => Some(&head.key),
            (None, _) => None,
        }
    }

    /// Where the trail goes on, and what is wrong with what is there. `known` is what its writer knows of its end, else its
    /// head tells it; `key` is the one that sealed it, where that is to be had.
    pub(super) fn place(&self, known: Option<&Place>, key: Option<&AuditKey>) -> (Place, Option<String>) {
        let Some(end) = &self.end else {
            return match (&self.head, known) {
                (_, Some(known)) if known.seq > 0 => {
                    (Place { seq: known.seq, prev: NOTHING }, Some("its files were gone".to_owned()))
                }
                (Found::Head { head, .. }, _) if head.seq > 0 => {
                    (Place { seq: head.seq, prev: NOTHING }, Some("its files were gone".to_owned()))
                }
                (Found::Damaged, _) => {
                    (Place { seq: 0, prev: NOTHING }, Some(format!("{} was damaged", super::head::NAME)))
                }
                _ => (Place { seq: 0, prev: NOTHING }, None),
            };
        };
        let name = file::name_of(end.file);
        let (told, hash, mut wrong) = match (known, &self.head) {
            (Some(known), _) => (known.seq, known.prev, None),
            (None, Found::Head { head, text }) => {
                let forged = key.is_some_and(|key| head.key == end.key && !key.verifies(Sealed::Head, text));
                (head.seq, head.hash, forged.then(|| format!("{} was changed", super::head::NAME)))
            }
            (None, Found::Damaged) => (0, NOTHING, Some(format!("{} was damaged", super::head::NAME))),
            (None, Found::None) => (0, NOTHING, Some(format!("{} was gone", super::head::NAME))),
        };
        if end.seq < told {
            wrong = Some(format!("{name} ended with record {}, and there had been {told}", end.seq));
        } else if end.seq == told && end.hash != hash {
            wrong = Some(format!("record {told}, the last of {name}, was changed"));
        } else if key.is_some_and(|key| !key.verifies(Sealed::Line, &end.line)) {
            wrong = Some(format!("the last record of {name} is not ours"));
        }
        (Place { seq: end.seq.max(told), prev: end.hash }, wrong)
    }
}

/// The last record of a file, and what is behind it; no record where its first line is none of ours.
fn end_of(on: &OnLane, dir: &Path, number: u64) -> io::Result<(Option<End>, Option<Torn>)> {
    let mut pieces = Pieces::of(on, &file::path_of(dir, number))?;
    let (mut end, mut torn, mut header): (Option<End>, _, Option<Header>) = (None, None, None);
    let mut length = 0;
    while let Some(piece) = pieces.next()? {
        match piece {
            Piece::Rest { bytes, hash } => torn = Some(Torn::new(number, bytes, &hash)),
            Piece::Line(text) => {
                length += text.len() as u64 + 1;
                let Some(place) = line::read(&text) else { continue };
                header = header.or_else(|| Header::read(&place.object));
                let Some(header) = &header else { continue };
                let (seq, hash, key) = (place.seq, line::hash_of(&text), header.key.clone());
                end = Some(End { file: number, length, seq, hash, key, line: text });
            }
        }
    }
    if end.is_none() && torn.is_none() {
        torn = Some(Torn::empty(number));
    }
    Ok((end, torn))
}
