//! The records of a trail, for whoever asks. Nothing is judged here.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use sealed_shuffle_transport::lane::OnLane;
use serde_json::Value;

use super::file::{self, Piece, Pieces};
use super::head::{self, Found, Head};
use super::line;

/// The end of a trail as its head tells of it; nobody has verified that.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastSeal {
    /// The number of the last record.
    pub(crate) record: u64,
    pub(crate) at: SystemTime,
}

/// When the trail in `dir` was sealed last; `None` where there is none.
pub(crate) fn last_seal(on: &OnLane, dir: &Path) -> io::Result<Option<LastSeal>> {
    match Head::look(on, dir)? {
        Found::None => Ok(None),
        Found::Damaged => Err(io::Error::new(io::ErrorKind::InvalidData, "audit.head is no head of a trail")),
        Found::Head { head, .. } => {
            let at = std::fs::metadata(head::path_in(dir))?.modified()?;
            Ok(Some(LastSeal { record: head.seq, at }))
        }
    }
}

/// Shows every record in `dir` in order; the number of lines that are none.
pub(crate) fn each(on: &OnLane, dir: &Path, mut take: impl FnMut(Value)) -> io::Result<u64> {
    let mut others = 0;
    for number in file::list(on, dir)? {
        let mut pieces = match Pieces::of(on, &file::path_of(dir, number)) {
            Ok(pieces) => pieces,
            // A server that runs has just removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        while let Some(piece) = pieces.next()? {
            match piece {
                Piece::Line(text) => match line::read(&text) {
                    Some(place) => take(place.object),
                    None => others += 1,
                },
                Piece::Rest { .. } => others += 1,
            }
        }
    }
    Ok(others)
}
