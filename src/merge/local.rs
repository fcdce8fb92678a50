//! What readers on this host see of finalized partitions: files in Spark's own form (`plain_form`),
//! whatever form they have on the disk.

use std::sync::Arc;

use bytes::Bytes;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::stored::sealed::Kind;
use sealed_shuffle_transport::lane::OnLane;

use super::application::{App, Phase};
use super::error::MergeError;
use super::merger::Merger;
use super::names::PartitionId;
use super::plain_form::index_of;
use super::serve::unreadable;
use super::storage::{PartitionReader, ReadError};
use crate::disk::Roots;

/// One of the three files of a finalized partition, whatever form it has on the disk.
#[derive(Debug)]
pub enum PlainFile {
    /// Index or bitmaps.
    Whole(Bytes),
    /// The blocks: they are the chunks of the reader, one behind the other.
    Blocks {
        /// Gives the chunks.
        reader: Arc<dyn PartitionReader>,
        /// Where each of them begins, and the end of the last.
        offsets: Vec<u64>,
    },
}

impl PlainFile {
    /// Its length.
    pub fn size(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Blocks { offsets, .. } => offsets.last().copied().unwrap_or(0),
        }
    }
}

/// An attempt of an application, as long as it is the current one.
#[derive(Clone, Debug)]
pub struct KnownAttempt {
    /// Tells it from all others, also from one of the same number that comes when the application has ended.
    pub life: u64,
    /// The user that its merge directories belong to; `None` where they belong to several, or nobody could look.
    pub owner: Option<u32>,
}

impl Merger {
    /// The number of the current attempt of an application.
    pub fn current_attempt(&self, app: &AppId) -> Result<i32, MergeError> {
        Ok(self.app(app)?.attempt)
    }

    /// The attempt, if it is the current one and its owner was found out before: nothing is waited for.
    pub fn known_attempt(&self, app: &AppId, attempt: i32) -> Result<Option<KnownAttempt>, MergeError> {
        let app = self.attempt(app, attempt, "view")?;
        Ok(app.owner.known().map(|owner| KnownAttempt { life: app.life, owner: Some(owner) }))
    }

    /// The attempt, if it is the current one.
    pub fn looked_at_attempt(
        &self,
        on: &OnLane,
        app: &AppId,
        attempt: i32,
        roots: &Roots,
    ) -> Result<KnownAttempt, MergeError> {
        let app = self.attempt(app, attempt, "view")?;
        Ok(KnownAttempt { life: app.life, owner: app.owner.of(on, &app.dirs, roots) })
    }

    /// One of the files of a partition of this attempt, as Spark's executors read it. A partition that is still merged
    /// has none, nor has one that a newer merge has overtaken.
    pub fn plain_file(
        &self,
        on: &OnLane,
        partition: &PartitionId,
        attempt: i32,
        kind: Kind,
    ) -> Result<PlainFile, MergeError> {
        let app = self.attempt(&partition.app, attempt, "view")?;
        let path = || app.dirs.shown(&kind.file_name(&app.id, partition.merged));
        let missing = || MergeError::NotFound { kind: kind.extension(), path: path() };
        if !is_final(&app, partition) {
            return Err(missing());
        }
        let failed = |error| match error {
            ReadError::Missing(_) => missing(),
            error => unreadable(partition, path(), error),
        };
        let reader = self.finalized(on, &app, partition).map_err(failed)?;
        Ok(match kind {
            Kind::Index => PlainFile::Whole(index_of(&reader.offsets()).into()),
            Kind::Meta => PlainFile::Whole(reader.meta(on).map_err(failed)?),
            Kind::Data => PlainFile::Blocks { offsets: reader.offsets(), reader },
        })
    }
}

/// Whether the merge of the partition is over and no newer one is known. One that nothing is known of may be from before a
/// restart: its files tell.
fn is_final(app: &App, partition: &PartitionId) -> bool {
    let shuffles = app.shuffles();
    let Some(shuffle) = shuffles.get(&partition.merged.shuffle) else { return true };
    shuffle.merge <= partition.merged.merge
        && !(shuffle.merge == partition.merged.merge && matches!(shuffle.phase, Phase::Open(_)))
}
