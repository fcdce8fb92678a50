//! Opens what this project's server sealed, where its key is there.
//!
//! Without the key nobody knows whether a file that begins as a sealed one was sealed; with it every byte of its index is
//! verified, and of its data as much as is asked for.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealed_shuffle_protocol::stored::envelope::DataKey;
use sealed_shuffle_protocol::stored::sealed::{
    ChunkOpener, HEAD, Header, Index, Kind, MAX_SEGMENT, SealedError,
};

use super::beside;
use super::content::Depth;
use super::reading::{open_regular, read_at};

/// A longer index or meta file is not opened: the server would not either.
const LONGEST: u64 = 128 << 20;

/// Gives the data key of a sealed file, where it can be had.
pub type SealedKeys<'k> = dyn FnMut(&Header) -> Option<Arc<DataKey>> + 'k;

/// What came of opening a sealed file.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Opening {
    /// It is what the server sealed.
    Verified,
    /// It was not tried: there is no key, or no index to the file.
    NotTried,
    /// It was never finalized: it is being merged, or was when a server ended. Its key opens nothing of it.
    Unfinished,
    /// The key is there, and the file does not open.
    Fails(String),
}

impl Opening {
    /// Opens the sealed file at `path`, whose index lies beside it or in one of `more`.
    pub fn of(
        path: &Path,
        file: &File,
        depth: Depth,
        more: &[PathBuf],
        keys: &mut SealedKeys<'_>,
    ) -> io::Result<Self> {
        let mut front = vec![0; Header::MAX_LEN];
        let n = read_at(file, &mut front, 0)?;
        front.truncate(n);
        let Ok((header, _)) = Header::decode(&front) else { return Ok(Self::NotTried) };
        let Some(key) = keys(&header) else { return Ok(Self::NotTried) };
        let name = |kind: Kind| kind.file_name(&header.context.app, header.partition);
        if path.file_name().is_none_or(|named| *named != *name(header.kind)) {
            return Ok(Self::Fails(format!("it was sealed as {}", name(header.kind))));
        }
        let index = match header.kind {
            Kind::Index => whole(file)?,
            Kind::Data | Kind::Meta => {
                index_of(path, &name(Kind::Index), more).map(|index| whole(&index)).transpose()?.flatten()
            }
        };
        // A file of version 1 does not say, and opens for any.
        let attempt = header.attempt.unwrap_or(-1);
        let Some(mut index) = index else { return Ok(Self::NotTried) };
        let index = match Index::open(&mut index, header.partition, attempt, &header.context, &key, None) {
            Ok(index) => index,
            Err(SealedError::NotFinalized) => return Ok(Self::Unfinished),
            Err(error) => return Ok(Self::Fails(error.to_string())),
        };
        let opened = match header.kind {
            Kind::Index => Ok(()),
            Kind::Meta => match whole(file)? {
                Some(mut meta) => index.open_meta(&mut meta).map(drop),
                None => return Ok(Self::NotTried),
            },
            Kind::Data => match index.check(Kind::Data, &front, file.metadata()?.len()) {
                Ok(()) => chunks(file, &Arc::new(index), depth)?,
                refused => refused,
            },
        };
        Ok(opened.map_or_else(|error| Self::Fails(error.to_string()), |()| Self::Verified))
    }
}

/// The index of this name: where Spark puts it, or in any sub-directory beside that of `path`, since their number may be
/// another than Spark's default.
fn index_of(path: &Path, name: &str, more: &[PathBuf]) -> Option<File> {
    let open = |path: PathBuf| open_regular(&path).ok();
    let beside = || {
        let subs = fs::read_dir(beside::local_dir(path)?).ok()?;
        subs.flatten().find_map(|sub| open(sub.path().join(name)))
    };
    beside::candidates(path, name, more).find_map(open).or_else(beside)
}

/// Opens all chunks, or the first and the last one.
fn chunks(file: &File, index: &Arc<Index>, depth: Depth) -> io::Result<Result<(), SealedError>> {
    let count = index.chunks().len();
    let mut segment = vec![0; MAX_SEGMENT];
    for chunk in 0..count {
        if depth != Depth::Whole && chunk > 0 && chunk + 1 < count {
            continue;
        }
        let Some(mut opener) = ChunkOpener::new(Arc::clone(index), chunk) else { continue };
        while opener.sealed_left() > 0 {
            let mut head = [0; HEAD];
            read_at(file, &mut head, opener.position())?;
            let opened = opener.next_len(&head).and_then(|len| {
                let read = read_at(file, &mut segment[..len], opener.position());
                let found = read.map_err(|_| SealedError::Damaged { at: opener.position() })?;
                opener.open(&mut segment[..found]).map(drop)
            });
            if let Err(error) = opened {
                return Ok(Err(error));
            }
        }
    }
    Ok(Ok(()))
}

/// The bytes of a file; `None` where they are too many.
fn whole(file: &File) -> io::Result<Option<Vec<u8>>> {
    let len = file.metadata()?.len();
    if len > LONGEST {
        return Ok(None);
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let n = read_at(file, &mut bytes, 0)?;
    bytes.truncate(n);
    Ok(Some(bytes))
}
