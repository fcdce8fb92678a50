//! Whether a trail is whole.
//!
//! | found, by whoever has the key | not found |
//! |---|---|
//! | a changed byte, a line that was removed, added or moved | what was never written, since disk or key were away (the trail says how much) |
//! | a file that was removed or put in the place of another | an old copy of the whole directory, head included, but with `--expect` |
//! | a cut end, down to the last head | the last records before a kill of the machine, which never reached the disk |
//! | a head that is gone, older or changed | a trail of somebody who can use the key |
//!
//! Without the key the chain is judged all the same: it shows whatever was changed by somebody who did not make the whole
//! chain anew.

use std::io;
use std::path::Path;

use sealed_shuffle_protocol::stored::envelope::{Context, WrappedKey};
use sealed_shuffle_transport::lane::{Lane, OnLane};

use super::file::{self, Header, Piece, Pieces, Torn};
use super::head::{self, Found, Head};
use super::line::{self, AuditKey, Hash, NOTHING, Sealed, hex};
use crate::keys::envelope::KeyProvider;

/// Most findings that are told.
const MOST: usize = 100;

/// Looks at a directory whose oldest file is just removed.
const LOOKS: usize = 3;

/// Something that is not as the server wrote it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Finding {
    /// The name of the file in the directory.
    pub(crate) file: String,
    /// The line, from 1; 0 for the file itself.
    pub(crate) line: u64,
    pub(crate) what: String,
}

/// The last record of a trail, as somebody may have noted it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Mark {
    pub(crate) seq: u64,
    /// 64 hexadecimal digits.
    pub(crate) hash: String,
}

/// What is to be said of a trail.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Records that were looked at.
    pub(crate) records: u64,
    /// Files that were looked at.
    pub(crate) files: u64,
    /// The first record that is kept.
    pub(crate) first: Option<u64>,
    /// The last one.
    pub(crate) last: Option<Mark>,
    /// What was changed; empty where all is whole, as far as it could be judged.
    pub(crate) findings: Vec<Finding>,
    /// More findings than are told.
    pub(crate) more: u64,
    /// What could not be judged, and why.
    pub(crate) unjudged: Vec<String>,
    /// What is to be known, and is no fault.
    pub(crate) remarks: Vec<String>,
}

/// How a trail stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Standing {
    /// There is none.
    Missing,
    Whole,
    Changed,
    /// Nothing wrong was found, and not all could be judged.
    Unjudged,
}

impl Standing {
    /// The word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Whole => "whole",
            Self::Changed => "changed",
            Self::Unjudged => "unjudged",
        }
    }
}

impl Verdict {
    pub(crate) fn standing(&self) -> Standing {
        match () {
            () if !self.findings.is_empty() => Standing::Changed,
            () if !self.unjudged.is_empty() => Standing::Unjudged,
            () if self.records == 0 => Standing::Missing,
            () => Standing::Whole,
        }
    }

    fn find(&mut self, file: impl Into<String>, line: u64, what: impl Into<String>) {
        match self.findings.len() < MOST {
            true => self.findings.push(Finding { file: file.into(), line, what: what.into() }),
            false => self.more += 1,
        }
    }
}

/// A key that seals lines, or why it is not to be had.
type Opened = (WrappedKey, Result<AuditKey, String>);

/// Judges the trail in `dir`. Asks `provider` for its keys; `context` is that of [`audit_app`](super::audit_app).
pub(crate) async fn verify(
    dir: &Path,
    provider: Result<&dyn KeyProvider, String>,
    context: &Context,
    expected: Option<Mark>,
) -> io::Result<Verdict> {
    let (lane, asked) = (Lane::new(1), dir.to_owned());
    let wrapped = lane.run(move |on| keys_of(on, &asked)).await.map_err(io::Error::other)??;
    let mut keys: Vec<Opened> = Vec::new();
    for wrapped in wrapped {
        let opened = match &provider {
            Ok(provider) => provider.unwrap(&wrapped, context).await,
            Err(why) => {
                keys.push((wrapped, Err(why.clone())));
                continue;
            }
        };
        let opened = opened.map(|key| AuditKey::derive(&key)).map_err(|error| error.to_string());
        keys.push((wrapped, opened));
    }
    let asked = dir.to_owned();
    lane.run(move |on| judge(on, &asked, &keys, expected.as_ref())).await.map_err(io::Error::other)?
}

/// The wrapped keys of a trail: what is kept of it is judged with them.
pub(crate) fn keys_of(on: &OnLane, dir: &Path) -> io::Result<Vec<WrappedKey>> {
    let mut keys: Vec<WrappedKey> = Vec::new();
    let mut add = |key: WrappedKey| {
        if !keys.contains(&key) {
            keys.push(key);
        }
    };
    if let Found::Head { head, .. } = Head::look(on, dir)? {
        add(head.key);
    }
    for number in file::list(on, dir)? {
        let mut pieces = match Pieces::of(on, &file::path_of(dir, number)) {
            Ok(pieces) => pieces,
            // The oldest one was just removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        if let Some(Piece::Line(text)) = pieces.next()?
            && let Some(header) = line::read(&text).and_then(|place| Header::read(&place.object))
        {
            add(header.key);
        }
    }
    Ok(keys)
}

fn judge(on: &OnLane, dir: &Path, keys: &[Opened], expected: Option<&Mark>) -> io::Result<Verdict> {
    let mut looks = 0;
    loop {
        looks += 1;
        let head = Head::look(on, dir)?;
        let files = file::list(on, dir)?;
        let judge = Judge::new(dir, keys, expected);
        match judge.all(on, &head, &files) {
            // A server that runs has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound && looks < LOOKS => {}
            Ok(verdict) if looks < LOOKS && is_gone(on, dir, &head)? => drop(verdict),
            done => return done,
        }
    }
}

/// Whether the oldest file of `head` has gone as the server wrote another head.
fn is_gone(on: &OnLane, dir: &Path, before: &Found) -> io::Result<bool> {
    let first = |found: &Found| match found {
        Found::Head { head, .. } => Some(head.first),
        Found::None | Found::Damaged => None,
    };
    Ok(first(before) != first(&Head::look(on, dir)?))
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
struct Next {
    seq: u64,
    prev: Hash,
}

struct Judge<'a> {
    dir: &'a Path,
    keys: &'a [Opened],
    expected: Option<&'a Mark>,
    verdict: Verdict,
    /// None where the line before was not as it should be, or is not kept.
    next: Option<Next>,
    /// The hash of the record that the head tells of.
    at_head: Option<Hash>,
    head_seq: Option<u64>,
    saw_expected: bool,
    /// How the file before ends.
    torn: Option<Torn>,
    last_line: (String, u64),
    unjudged_keys: Vec<String>,
}

impl<'a> Judge<'a> {
    fn new(dir: &'a Path, keys: &'a [Opened], expected: Option<&'a Mark>) -> Self {
        Self {
            dir,
            keys,
            expected,
            verdict: Verdict::default(),
            next: None,
            at_head: None,
            head_seq: None,
            saw_expected: false,
            torn: None,
            last_line: (String::new(), 0),
            unjudged_keys: Vec::new(),
        }
    }

    fn all(mut self, on: &OnLane, head: &Found, files: &[u64]) -> io::Result<Verdict> {
        let first = match head {
            Found::Head { head, text } => {
                self.head_seq = Some(head.seq);
                match self.key(&head.key) {
                    Some(key) if key.verifies(Sealed::Head, text) => {}
                    Some(_) => self.verdict.find(head::NAME, 0, "it was changed"),
                    None => self.cannot_judge(&head.key),
                }
                Some(head.first)
            }
            Found::Damaged => {
                self.verdict.find(head::NAME, 0, "it is no head of a trail: it was changed");
                None
            }
            Found::None if files.is_empty() => return Ok(self.verdict),
            Found::None => {
                self.verdict.find(head::NAME, 0, "it is gone");
                None
            }
        };
        let first = first.or_else(|| files.first().copied()).unwrap_or(1);
        if first == 1 {
            self.next = Some(Next { seq: 1, prev: NOTHING });
        }
        let mut due = first;
        for number in files.iter().copied().filter(|number| *number >= first) {
            if number != due {
                self.missing(due, number - 1);
            }
            self.file(on, number)?;
            due = number + 1;
        }
        let wrote_something = self.head_seq.is_some_and(|seq| seq > 0);
        if due == first && wrote_something {
            self.missing(first, first);
        }
        self.end(head);
        Ok(self.verdict)
    }

    fn missing(&mut self, from: u64, to: u64) {
        let what = match from == to {
            true => "it is gone".to_owned(),
            false => format!("it is gone, and all up to {}", file::name_of(to)),
        };
        self.verdict.find(file::name_of(from), 0, what);
        (self.next, self.torn) = (None, None);
    }

    fn file(&mut self, on: &OnLane, number: u64) -> io::Result<()> {
        let name = file::name_of(number);
        let mut pieces = Pieces::of(on, &file::path_of(self.dir, number))?;
        let (mut at, mut header, mut torn) = (0, None, None);
        while let Some(piece) = pieces.next()? {
            match piece {
                Piece::Rest { bytes, hash } => torn = Some(Torn::new(number, bytes, &hash)),
                Piece::Line(text) => {
                    at += 1;
                    self.line(&name, number, at, &text, &mut header);
                }
            }
        }
        self.verdict.files += 1;
        if at == 0 {
            // Nothing of it was ever a line. What the file before ends with was told by none, and need not be.
            self.torn = Some(torn.unwrap_or_else(|| Torn::empty(number)));
            self.last_line = (name, 0);
            return Ok(());
        }
        self.torn = torn;
        Ok(())
    }

    fn line(&mut self, name: &str, number: u64, at: u64, text: &[u8], header: &mut Option<Header>) {
        self.verdict.records += 1;
        self.last_line = (name.to_owned(), at);
        let Some(place) = line::read(text) else {
            self.verdict.find(name, at, "this is no line of a trail: it was changed");
            self.next = None;
            return;
        };
        let hash = line::hash_of(text);
        let mut fault = None;
        if at == 1 {
            *header = Header::read(&place.object).filter(|header| header.file == number);
            match header {
                None => fault = Some("this is not how this file begins: it was changed".to_owned()),
                Some(header) => {
                    if header.torn != self.torn {
                        let (file, line) = match &self.torn {
                            Some(torn) => (file::name_of(torn.file), 0),
                            None => (name.to_owned(), 1),
                        };
                        let what = "it ends with a piece that is no line, and not as the next file says";
                        self.verdict.find(file, line, what);
                    }
                    if let Some(broken) = &header.broken {
                        self.next = None;
                        fault = Some(format!("as the server began this file, it found that {broken}"));
                    }
                }
            }
            self.torn = None;
        }
        if let Some(next) = self.next {
            if place.seq != next.seq {
                fault = fault.or_else(|| {
                    Some(format!(
                        "this is record {}, and record {} is due: lines were removed, added or moved",
                        place.seq, next.seq
                    ))
                });
            } else if place.prev != next.prev {
                fault = fault.or_else(|| {
                    Some("this does not follow on the line before: one of the two was changed".to_owned())
                });
            }
        }
        if let Some(header) = header {
            match self.key(&header.key) {
                Some(key) if key.verifies(Sealed::Line, text) => {}
                Some(_) => fault = Some("this line was changed, or is not of this server".to_owned()),
                None => self.cannot_judge(&header.key.clone()),
            }
        }
        if self.head_seq == Some(place.seq) {
            self.at_head = Some(hash);
        }
        if let Some(expected) = self.expected.filter(|expected| expected.seq == place.seq) {
            self.saw_expected = true;
            if hex(&hash) != expected.hash {
                fault = fault.or_else(|| Some("its hash is not the one that you expect".to_owned()));
            }
        }
        self.verdict.first = self.verdict.first.or(Some(place.seq));
        self.verdict.last = Some(Mark { seq: place.seq, hash: hex(&hash) });
        // What was changed does not say what comes next.
        let is_own = fault.is_none() || header.as_ref().is_some_and(|header| header.broken.is_some());
        self.next = is_own.then_some(Next { seq: place.seq + 1, prev: hash });
        if let Some(fault) = fault {
            self.verdict.find(name, at, fault);
        }
    }

    fn end(&mut self, head: &Found) {
        let last = self.verdict.last.as_ref().map_or(0, |last| last.seq);
        let (file, line) = self.last_line.clone();
        if let Found::Head { head, .. } = head {
            if last < head.seq && self.verdict.files > 0 {
                let what =
                    format!("the trail ends with record {last}, and there were {}: its end is cut", head.seq);
                self.verdict.find(&*file, line, what);
            } else if self.at_head.is_some_and(|hash| hash != head.hash) {
                let what = format!("record {} is not the one that {} tells of", head.seq, head::NAME);
                self.verdict.find(&*file, line, what);
            }
        }
        if let Some(expected) = self.expected
            && !self.saw_expected
        {
            match last < expected.seq {
                true => {
                    let what = format!(
                        "the trail ends with record {last}, and you expect record {}: an older copy is in its place",
                        expected.seq
                    );
                    self.verdict.find(&*file, line, what);
                }
                false => self.verdict.remarks.push(format!("record {} is kept no more", expected.seq)),
            }
        }
        if let Some(Torn { file, bytes, .. }) = &self.torn {
            self.verdict.remarks.push(format!(
                "{} ends in the midst of a line, with {bytes} bytes: its server was killed, or is just writing; the next \
                 start says so",
                file::name_of(*file)
            ));
        }
    }

    fn key(&self, wrapped: &WrappedKey) -> Option<&'a AuditKey> {
        self.keys.iter().find(|(known, _)| known == wrapped).and_then(|(_, key)| key.as_ref().ok())
    }

    fn cannot_judge(&mut self, wrapped: &WrappedKey) {
        let why = match self.keys.iter().find(|(known, _)| known == wrapped) {
            Some((_, Err(why))) => why.clone(),
            _ => "its key was not there yet as the trail was opened".to_owned(),
        };
        if !self.unjudged_keys.contains(&why) {
            self.unjudged_keys.push(why.clone());
            let text = format!("what is sealed under {} cannot be judged: {why}", wrapped.key_id);
            self.verdict.unjudged.push(text);
        }
    }
}
