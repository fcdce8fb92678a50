//! An application that merges, and what is read of it.

use std::{fs, path::Path};

use bytes::Bytes;
use sealed_shuffle_client::{ClientError, Merge, MergeStatus, MergedPart, PushedBlock};
use sealed_shuffle_interop_tests::{
    fixture::SECRET,
    merger::merged_files,
    modes::{Cipher, Mode},
    oracle::{CANARY, Executor, content},
    ours::{OurClient, Server},
    wire::contains,
};
use sealed_shuffle_protocol::{
    ids::{ReduceId, ShuffleId, ShuffleMergeId},
    shuffle::ReturnCode,
};

pub(crate) fn mode() -> Mode {
    Mode::newest(Cipher::Gcm, 2)
}

/// An application's client, whose executor's directories are made and not registered.
pub(crate) struct App {
    client: OurClient,
    executor: Executor,
}

impl App {
    pub(crate) fn new(root: &Path, server: &Server, name: &str) -> Self {
        let client = OurClient::new(&mode(), server.address(), name, SECRET);
        let executor = Executor::merging_beneath(root, name);
        Self { client, executor }
    }

    pub(crate) fn register(&self) -> Result<(), ClientError> {
        self.client.register_merging("1", &self.executor)
    }

    /// Pushes three blocks of a shuffle, finalizes it, and reads it back.
    pub(crate) fn merges(&self, shuffle: i32) -> Vec<MergeStatus> {
        for reduce in 0..3 {
            let body = Bytes::from(content(reduce, 5000)).into();
            let block = PushedBlock { map_index: 0, reduce: ReduceId(reduce as i32), body };
            let code = self.client.call(async |client, server| {
                client.push_block(server, merge(shuffle), block).await.expect("it is pushed")
            });
            assert_eq!(code, ReturnCode::Success);
        }
        let statuses = self.client.call(async |client, server| {
            client.finalize_shuffle_merge(server, merge(shuffle)).await.expect("it is finalized")
        });
        assert_eq!(self.read(shuffle, &statuses), Ok(()));
        statuses
    }

    /// Reads what was merged of a shuffle, or the first reason to fall back.
    pub(crate) fn read(&self, shuffle: i32, statuses: &[MergeStatus]) -> Result<(), String> {
        for status in statuses {
            let outcome = self.client.call(async |client, server| {
                client.read_merged(server, merge(shuffle), status).next().await.expect("one outcome")
            });
            match outcome {
                MergedPart::Chunk(chunk) => {
                    assert_eq!(chunk.bytes, content(status.reduce.0.unsigned_abs().into(), 5000));
                }
                MergedPart::FallBack(other) => return Err(other.reason.to_string()),
            }
        }
        Ok(())
    }
}

fn merge(shuffle: i32) -> Merge {
    Merge { app_attempt: 1, shuffle: ShuffleId(shuffle), merge: ShuffleMergeId(0) }
}

/// No merged file beneath `root` shows what was pushed.
pub(crate) fn no_clear_text(root: &Path) {
    for file in merged_files(root) {
        let bytes = fs::read(&file).expect("merged files are readable");
        assert!(!contains(&bytes, CANARY.as_bytes()), "{} shows what was pushed", file.display());
    }
}
