//! What a peer reads of merging that fails.
//!
//! Texts: RemoteBlockPushResolver and its MergeShuffleFile, Spark 4.3.0; `Caused by` as Java prints a cause.

use sealed_shuffle_protocol::ids::MergedPartition;

use super::{illegal_argument, illegal_state, io, runtime, security};
use crate::merge::{MergeError, PartitionId, WriteCause};

impl MergeError {
    /// What the peer reads: the first line of a failure in Spark, with its cause where that has one.
    pub fn spark_text(&self) -> String {
        match self {
            Self::NoMergeDir { meta } => illegal_argument(format_args!(
                "Failed to get the merge directory information from the shuffleManagerMeta {meta} in executor \
                 registration message"
            )),
            Self::InvalidMergeDir { dir, meta } => illegal_argument(format_args!(
                "Invalid merge directory name {dir} from the shuffleManagerMeta {meta} in executor registration message"
            )),
            Self::Escapes { name, parent, app } => illegal_argument(format_args!(
                "Merge directory {name} escapes the local dir parent {parent} for application {}",
                app.as_str()
            )),
            Self::NoParent { dir } => {
                illegal_argument(format_args!("Invalid local directory without a parent dir: {dir}"))
            }
            Self::Dir(refused) => refused.spark_text(),
            Self::Claim(refused) => refused.spark_text(),
            Self::Elsewhere { app, attempt, before } => security(format_args!(
                "Attempt {attempt} of application {} merges elsewhere than attempt {before}, and this connection proved no \
                 identity: set spark.authenticate=true.",
                app.as_str()
            )),
            Self::Store { app, why } => {
                illegal_state(format_args!("Application {} cannot merge: {why}", app.as_str()))
            }
            Self::NotANumber { text } => {
                format!("java.lang.NumberFormatException: For input string: \"{text}\"")
            }
            Self::UnknownApp { app } => {
                let app = app.as_str();
                illegal_argument(format_args!("application {app} is not registered or NM was restarted."))
            }
            Self::Attempt { message, app, named, stored } => illegal_argument(format_args!(
                "The attempt id {named} in this {message} message does not match with the current attempt id {stored} \
                 stored in shuffle service for application {}",
                app.as_str()
            )),
            Self::Create { partition: PartitionId { app, merged }, .. } => {
                let MergedPartition { shuffle, merge, reduce } = merged;
                runtime(format_args!(
                    "Cannot initialize merged shuffle partition for appId {} shuffleId {shuffle} shuffleMergeId {merge} \
                 reduceId {reduce}",
                    app.as_str()
                ))
            }
            Self::Absurd { what } => illegal_argument(format_args!("A pushed block with {what} is refused")),
            Self::Threshold { block } => threshold(block),
            Self::Write { block, cause } => io(format_args!(
                "Destination failed while reading stream\nCaused by: {}",
                cause_of(cause, block)
            )),
            Self::Complete { block, cause } => io(format_args!(
                "Failure post-processing complete stream; failing this rpc and leaving channel active\nCaused by: {}",
                cause_of(cause, block)
            )),
            Self::StaleFinalize { shuffle, merge } => runtime(format_args!(
                "Shuffle merge finalize request for shuffle {shuffle} with shuffleMergeId {merge} is stale shuffle \
                 finalize request as shuffle blocks of a higher shuffleMergeId for the shuffle is already being pushed"
            )),
            Self::Finalize { app, shuffle, merge, .. } => runtime(format_args!(
                "Error while finalizing shuffle merge for application {} shuffle {shuffle} with shuffleMergeId {merge}",
                app.as_str()
            )),
            Self::StaleFetch { what, partition: PartitionId { merged, .. } } => {
                let MergedPartition { shuffle, merge, reduce } = merged;
                runtime(format_args!(
                    "{what} fetch for shuffle {shuffle} with shuffleMergeId {merge} reduceId {reduce} is stale shuffle \
                     block fetch request as shuffle blocks of a higher shuffleMergeId for the shuffle is available"
                ))
            }
            Self::NotFound { kind, path } => {
                runtime(format_args!("Merged shuffle {kind} file {path} not found"))
            }
            Self::EmptyIndex { path } => runtime(format_args!("Merged shuffle index file {path} is empty")),
            Self::NoSuchChunk { .. } => "java.lang.IndexOutOfBoundsException".to_owned(),
            Self::Unreadable { path, .. } | Self::AwaitsKey { path, .. } => {
                runtime(format_args!("Failed to open merged shuffle index file {path}"))
            }
            Self::StaleRemove { app, shuffle, merge, current } => runtime(format_args!(
                "Asked to remove old shuffle merged data for application {} shuffleId {shuffle} shuffleMergeId {merge}, \
                 but current shuffleMergeId {current} ",
                app.as_str()
            )),
        }
    }
}

/// The cause as Java names it.
fn cause_of(cause: &WriteCause, block: &str) -> String {
    match cause {
        WriteCause::TooManyErrors => threshold(block),
        WriteCause::FilesClosed => "java.nio.channels.ClosedChannelException".to_owned(),
        WriteCause::Disk(why) => io(why),
    }
}

fn threshold(block: &str) -> String {
    illegal_state(format_args!("IOExceptions exceeded the threshold when merging {block}"))
}
