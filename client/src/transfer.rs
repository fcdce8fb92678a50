//! One open stream: its chunks, asked for ahead and received one by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use sealed_shuffle_protocol::ids::{ChunkIndex, StreamId};
use sealed_shuffle_protocol::shuffle::{BlockTransferMessage, StreamHandle, StreamName};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::ClientError;
use super::connection::Connection;
use super::session::{Carrier, NOTHING, Piece, Reader};

/// Pieces that wait for the reader: a few MiB at most, then the socket stops.
const PIECES: usize = 8;

/// Chunks asked for ahead of the one that arrives: enough to hide the round trip of small ones.
const AHEAD: usize = 64;

/// A stream of `blocks` chunks on one connection. Dropping it discards what still arrives.
pub(super) struct Transfer {
    connection: Connection,
    stream: StreamId,
    carrier: Carrier,
    chunks: usize,
    asked: usize,
    /// Chunks that may be asked for now; grows as they succeed.
    window: usize,
    outstanding: usize,
    reader: Reader,
    /// How long the connection waited for us before it went on, for the error.
    patience: Duration,
    pieces: mpsc::Receiver<Piece>,
}

/// What came for a chunk.
pub(super) enum Arrival {
    /// All of it.
    Whole { index: usize, block: Bytes },
    /// It begins; its pieces follow.
    Begins { index: usize, len: u64 },
    /// The server failed it. The stream is dead: a server may confuse what comes behind
    /// (OneForOneStreamManager, Spark 4.3.0).
    Failed { index: usize, error: ClientError },
}

impl Transfer {
    /// Opens a stream with `message`, which must have one chunk for each of `blocks`. `cautious` asks for
    /// one chunk at first: after a failure the next one is likely to fail too.
    pub(super) async fn open(
        connection: Connection,
        message: Bytes,
        blocks: usize,
        carrier: Carrier,
        cautious: bool,
        patience: Duration,
    ) -> Result<Self, ClientError> {
        const WHAT: &str = "the request for blocks";
        let server = connection.server().clone();
        let answer = connection.rpc(message).await?;
        let handle = match BlockTransferMessage::decode(answer) {
            Ok(BlockTransferMessage::StreamHandle(handle)) => handle,
            Ok(other) => {
                let how = format!("with {}", other.name());
                return Err(ClientError::Unexpected { server, what: WHAT, how });
            }
            Err(source) => return Err(ClientError::Answer { server, what: WHAT, source }),
        };
        let StreamHandle { stream, num_chunks } = handle;
        if usize::try_from(num_chunks) != Ok(blocks) {
            let how = format!("{num_chunks} chunks for {blocks} blocks");
            return Err(ClientError::Unexpected { server, what: WHAT, how });
        }
        let (sink, pieces) = mpsc::channel(PIECES);
        let arriving = Arc::new(AtomicI32::new(NOTHING));
        let reader = Reader { pieces: sink, lost: CancellationToken::new(), arriving };
        let window = if cautious { 1 } else { AHEAD };
        Ok(Self {
            connection,
            stream,
            carrier,
            chunks: blocks,
            asked: 0,
            window,
            outstanding: 0,
            reader,
            patience,
            pieces,
        })
    }

    /// The next chunk; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Arrival>, ClientError> {
        self.ask_ahead().await?;
        if self.outstanding == 0 {
            return Ok(None);
        }
        let index = |chunk: ChunkIndex| usize::try_from(chunk.0).unwrap_or(usize::MAX);
        match self.receive().await? {
            Piece::Whole { chunk, block } => {
                self.succeeded();
                Ok(Some(Arrival::Whole { index: index(chunk), block }))
            }
            Piece::Begin { chunk, len } => Ok(Some(Arrival::Begins { index: index(chunk), len })),
            Piece::Failed { chunk, text } => {
                let error = self.connection.failed(text);
                Ok(Some(Arrival::Failed { index: index(chunk), error }))
            }
            Piece::Bytes(_) | Piece::End => unreachable!("a session sends pieces between Begin and End only"),
        }
    }

    /// The next piece of the chunk that began; `None` at its end.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        match self.receive().await? {
            Piece::Bytes(bytes) => Ok(Some(bytes)),
            Piece::End => {
                self.succeeded();
                Ok(None)
            }
            Piece::Whole { .. } | Piece::Begin { .. } | Piece::Failed { .. } => {
                unreachable!("a session ends a chunk before it begins the next")
            }
        }
    }

    /// The chunk that was arriving when the connection ended.
    pub(super) fn in_midst(&self) -> Option<usize> {
        // Nothing arrives any more, so it does not change.
        usize::try_from(self.reader.arriving.load(Ordering::Relaxed)).ok()
    }

    fn succeeded(&mut self) {
        self.outstanding -= 1;
        self.window = (self.window * 2).min(AHEAD);
    }

    async fn ask_ahead(&mut self) -> Result<(), ClientError> {
        while self.asked < self.chunks && self.outstanding < self.window {
            let chunk = i32::try_from(self.asked).expect("a handle counts chunks in 31 bits");
            let name = StreamName { stream: self.stream, chunk: ChunkIndex(chunk) };
            self.connection.chunk(name, self.carrier, self.reader.clone()).await?;
            self.asked += 1;
            self.outstanding += 1;
        }
        Ok(())
    }

    async fn receive(&mut self) -> Result<Piece, ClientError> {
        let error = tokio::select! {
            biased;
            Some(piece) = self.pieces.recv() => return Ok(piece),
            () = self.reader.lost.cancelled() => ClientError::SlowReader(self.patience),
            error = self.connection.why_ended() => error,
        };
        // It may have come between the two looks.
        self.pieces.try_recv().map_err(|_| error)
    }
}
