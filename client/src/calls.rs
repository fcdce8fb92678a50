//! The requests that are one question and one answer.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use sealed_shuffle_protocol::ids::{ExecutorId, MapId, ReduceId, ShuffleId};
use sealed_shuffle_protocol::shuffle::{
    BlockId, BlockTransferMessage, CorruptionCause, DiagnoseCorruption, ExecutorShuffleInfo,
    GetLocalDirsForExecutors, RegisterExecutor, RemoveBlocks, Strings,
};
use tokio::task::{JoinError, JoinSet};

use super::{Address, Client, ClientError};

/// Wait between two attempts of a registration (BlockManager, Spark 4.3.0).
const REGISTRATION_WAIT: Duration = Duration::from_secs(5);

/// Registrations that wait for their answers at once, where there are many.
const REGISTRATIONS: usize = 64;

/// A block whose bytes arrived with another checksum than was expected.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Suspect {
    /// The shuffle.
    pub shuffle: ShuffleId,
    /// The map task.
    pub map: MapId,
    /// The partition.
    pub reduce: ReduceId,
    /// The checksum of the bytes that arrived.
    pub checksum: i64,
    /// `ADLER32`, `CRC32` or `CRC32C`.
    pub algorithm: String,
}

impl Client {
    /// Tells a shuffle service where an executor keeps its files. Each attempt has a connection of its
    /// own; only what may heal is tried again.
    pub async fn register(
        &self,
        server: &Address,
        executor: &ExecutorId,
        info: ExecutorShuffleInfo,
    ) -> Result<(), ClientError> {
        let settings = self.settings();
        let message = RegisterExecutor { app: self.app().clone(), executor: executor.clone(), info };
        let body = BlockTransferMessage::from(message).encode()?;
        let mut attempt = 1;
        loop {
            let error = match self.register_once(server, body.clone()).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if attempt >= settings.registration_attempts || !error.is_retryable() {
                return Err(error);
            }
            tracing::warn!(%server, %error, attempt, "cannot register, will try again");
            tokio::time::sleep(REGISTRATION_WAIT).await;
            attempt += 1;
        }
    }

    /// Tells a shuffle service of many executors that keep their files in the same place, over one connection. Each is
    /// tried once; the first failure ends it.
    pub async fn register_all(
        &self,
        server: &Address,
        executors: impl IntoIterator<Item = ExecutorId>,
        info: ExecutorShuffleInfo,
    ) -> Result<(), ClientError> {
        const WHAT: &str = "a registration";
        let settings = self.settings();
        let after = settings.registration_timeout;
        let connection = self.inner.pool.fresh(server, self.app(), settings).await?;
        let mut asked = JoinSet::new();
        for executor in executors {
            let message = RegisterExecutor { app: self.app().clone(), executor, info: info.clone() };
            let (connection, body) = (connection.clone(), BlockTransferMessage::from(message).encode()?);
            asked.spawn(async move {
                match tokio::time::timeout(after, connection.rpc(body)).await {
                    Ok(answer) => answer.map(drop),
                    Err(_) => Err(connection.no_answer(WHAT, after)),
                }
            });
            if asked.len() >= REGISTRATIONS {
                answered(asked.join_next().await)?;
            }
        }
        while !asked.is_empty() {
            answered(asked.join_next().await)?;
        }
        Ok(())
    }

    async fn register_once(&self, server: &Address, body: Bytes) -> Result<(), ClientError> {
        let settings = self.settings();
        let connection = self.inner.pool.fresh(server, self.app(), settings).await?;
        let after = settings.registration_timeout;
        match tokio::time::timeout(after, connection.rpc(body)).await {
            Ok(answer) => answer.map(drop),
            Err(_) => Err(ClientError::NoAnswer { server: server.clone(), what: "a registration", after }),
        }
    }

    /// Where executors on the server's host keep their files.
    pub async fn local_dirs(
        &self,
        server: &Address,
        executors: &[ExecutorId],
    ) -> Result<HashMap<ExecutorId, Vec<String>>, ClientError> {
        const WHAT: &str = "a request for local directories";
        let executors = Strings::try_from_iter(executors.iter().map(ExecutorId::as_str))?;
        let message = GetLocalDirsForExecutors { app: self.app().clone(), executors };
        match self.call(server, message, WHAT).await? {
            BlockTransferMessage::LocalDirsForExecutors(answer) => {
                let dirs = answer.by_executor().map_err(|error| ClientError::shape(server, WHAT, &error))?;
                let owned = |(executor, dirs): (ExecutorId, Vec<&str>)| {
                    (executor, dirs.into_iter().map(str::to_owned).collect())
                };
                Ok(dirs.into_iter().map(owned).collect())
            }
            other => Err(unexpected(server, WHAT, &other)),
        }
    }

    /// Removes files of an executor; says how many are gone.
    pub async fn remove_blocks(
        &self,
        server: &Address,
        executor: &ExecutorId,
        blocks: &[BlockId],
    ) -> Result<usize, ClientError> {
        const WHAT: &str = "a removal of blocks";
        let blocks = Strings::try_from_iter(blocks.iter().map(BlockId::to_string))?;
        let message = RemoveBlocks { app: self.app().clone(), executor: executor.clone(), blocks };
        match self.call(server, message, WHAT).await? {
            BlockTransferMessage::BlocksRemoved(removed) => Ok(usize::try_from(removed.count).unwrap_or(0)),
            other => Err(unexpected(server, WHAT, &other)),
        }
    }

    /// Asks where a block went wrong.
    pub async fn diagnose(
        &self,
        server: &Address,
        executor: &ExecutorId,
        suspect: Suspect,
    ) -> Result<CorruptionCause, ClientError> {
        const WHAT: &str = "a diagnosis";
        let Suspect { shuffle, map, reduce, checksum, algorithm } = suspect;
        let (app, executor) = (self.app().clone(), executor.clone());
        let message = DiagnoseCorruption { app, executor, shuffle, map, reduce, checksum, algorithm };
        match self.call(server, message, WHAT).await? {
            BlockTransferMessage::CorruptionCause(cause) => Ok(cause),
            other => Err(unexpected(server, WHAT, &other)),
        }
    }

    /// One question on a connection of the pool; once more where that turned out dead.
    pub(super) async fn call(
        &self,
        server: &Address,
        message: impl Into<BlockTransferMessage>,
        what: &'static str,
    ) -> Result<BlockTransferMessage, ClientError> {
        let settings = self.settings();
        let body = message.into().encode()?;
        let after = settings.answer_timeout;
        let answer = loop {
            let lease = self.inner.pool.lease(server, self.app(), settings).await?;
            match tokio::time::timeout(after, lease.connection.rpc(body.clone())).await {
                Ok(Err(error @ ClientError::Closed { .. })) if lease.reused && error.is_retryable() => {}
                Ok(answer) => break answer?,
                Err(_) => return Err(lease.connection.no_answer(what, after)),
            }
        };
        BlockTransferMessage::decode(answer).map_err(|source| ClientError::Answer {
            server: server.clone(),
            what,
            source,
        })
    }
}

/// What one of several tasks came to; one that was lost has panicked, and so do we.
fn answered(done: Option<Result<Result<(), ClientError>, JoinError>>) -> Result<(), ClientError> {
    match done {
        Some(Err(lost)) if lost.is_panic() => std::panic::resume_unwind(lost.into_panic()),
        Some(Ok(answer)) => answer,
        Some(Err(_)) | None => Ok(()),
    }
}

/// An answer of the wrong kind.
pub(super) fn unexpected(server: &Address, what: &'static str, answer: &BlockTransferMessage) -> ClientError {
    ClientError::Unexpected { server: server.clone(), what, how: format!("with {}", answer.name()) }
}
