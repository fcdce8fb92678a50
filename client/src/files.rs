//! Blocks kept in files of a directory: written under a temporary name, renamed when whole.
//!
//! Never more of a block in memory than [`BATCH`]. A block that fails leaves no file.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sealed_shuffle_protocol::shuffle::BlockId;
use sealed_shuffle_transport::random::random_bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::ClientError;
use super::fetch::Keeper;

/// Bytes collected for one write.
const BATCH: usize = 1 << 20;

/// A block that lies in a file.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SavedBlock {
    /// Where.
    pub path: PathBuf,
    /// Its bytes.
    pub len: u64,
    /// CRC32C of them.
    pub crc32c: u32,
}

/// What a download tells while it runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Progress<'a> {
    /// A block begins to arrive.
    Begins {
        /// The block.
        block: &'a BlockId,
        /// Its bytes.
        len: u64,
    },
    /// So many more bytes of the block that began last have arrived.
    Bytes(u64),
}

/// Who is told; called on the task of the download.
pub type OnProgress = Arc<dyn Fn(Progress<'_>) + Send + Sync>;

/// Keeps blocks in files.
pub(super) struct Files {
    dir: PathBuf,
    progress: OnProgress,
}

/// A block that is arriving.
pub(super) struct PartialFile {
    target: PathBuf,
    temporary: Temporary,
    file: Option<File>,
    batch: Vec<Bytes>,
    batched: usize,
    len: u64,
    crc32c: u32,
}

impl Files {
    pub(super) fn new(dir: PathBuf, progress: OnProgress) -> Self {
        Self { dir, progress }
    }
}

/// The file name of a block: its id, if that is a plain file name.
pub(super) fn file_name(block: &BlockId) -> Result<String, ClientError> {
    let name = block.to_string();
    let mut components = Path::new(&name).components();
    let plain = matches!(components.next(), Some(Component::Normal(only)) if only == OsStr::new(&name))
        && components.next().is_none()
        && !name.contains(['/', '\\'])
        && !name.contains(char::is_control)
        && name.len() <= 255 - SUFFIX;
    if plain { Ok(name) } else { Err(ClientError::NoFileName(name)) }
}

/// What a temporary name is longer.
const SUFFIX: usize = 1 + 1 + 16 + 5;

impl Keeper for Files {
    type Place = PartialFile;
    type Delivery = SavedBlock;

    async fn begin(&self, block: &BlockId, len: u64) -> Result<PartialFile, ClientError> {
        let name = file_name(block)?;
        let temporary = self.dir.join(format!(".{name}.{:016x}.part", u64::from_be_bytes(random_bytes()?)));
        let path = temporary.clone();
        let file = blocking(move || File::create_new(path)).await;
        let file = file.map_err(|source| ClientError::File { path: temporary.clone(), source })?;
        (self.progress)(Progress::Begins { block, len });
        Ok(PartialFile {
            target: self.dir.join(name),
            temporary: Temporary(Some(temporary)),
            file: Some(file),
            batch: Vec::new(),
            batched: 0,
            len: 0,
            crc32c: 0,
        })
    }

    async fn add(&self, place: &mut PartialFile, bytes: Bytes) -> Result<(), ClientError> {
        (self.progress)(Progress::Bytes(bytes.len() as u64));
        place.len += bytes.len() as u64;
        place.batched += bytes.len();
        place.batch.push(bytes);
        if place.batched >= BATCH { place.write().await } else { Ok(()) }
    }

    async fn finish(
        &self,
        mut place: PartialFile,
    ) -> Result<(SavedBlock, Option<OwnedSemaphorePermit>), ClientError> {
        place.write().await?;
        drop(place.file.take());
        let target = place.target.clone();
        let renamed = match place.temporary.0.clone() {
            None => Ok(()),
            Some(temporary) => blocking(move || std::fs::rename(temporary, target)).await,
        };
        renamed.map_err(|source| ClientError::File { path: place.target.clone(), source })?;
        place.temporary.0 = None;
        Ok((SavedBlock { path: place.target, len: place.len, crc32c: place.crc32c }, None))
    }
}

impl PartialFile {
    /// Writes what was collected, off the runtime's threads.
    async fn write(&mut self) -> Result<(), ClientError> {
        let batch = std::mem::take(&mut self.batch);
        self.batched = 0;
        let Some(mut file) = self.file.take() else { return Ok(()) };
        let mut crc32c = self.crc32c;
        let written = blocking(move || {
            for bytes in &batch {
                crc32c = crc32c::crc32c_append(crc32c, bytes);
                file.write_all(bytes)?;
            }
            Ok((file, crc32c))
        });
        let (file, crc32c) =
            written.await.map_err(|source| ClientError::File { path: self.target.clone(), source })?;
        self.file = Some(file);
        self.crc32c = crc32c;
        Ok(())
    }
}

/// A file that is removed unless it is renamed first.
struct Temporary(Option<PathBuf>);

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = &self.0
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove a temporary file");
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|lost| Err(io::Error::other(lost)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_is_no_plain_file_name_has_no_file() {
        for (name, plain) in [
            ("shuffle_0_1_2", true),
            ("shuffle_0_1_2.data", true),
            ("test_..", true),
            ("test_/../../etc/passwd", false),
            ("test_/", false),
            ("test_a\\b", false),
            ("test_a\0b", false),
        ] {
            assert_eq!(file_name(&name.parse().unwrap()).is_ok(), plain, "{name:?}");
        }
        let long = format!("test_{}", "x".repeat(300));
        assert!(file_name(&long.parse().unwrap()).is_err());
    }
}
