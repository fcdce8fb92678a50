//! A server in clear whose every answer is scripted.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use sealed_shuffle_client::Address;
use sealed_shuffle_protocol::frame::{FrameDecoder, FrameEvent};
use sealed_shuffle_protocol::ids::StreamId;
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{BlockTransferMessage, OpenBlocks, StreamHandle};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// The chunk, or a handle for all blocks.
    Serve,
    /// A failure in these words.
    Fail(&'static str),
    /// A head and a part of the body, then the end of the connection.
    Cut,
    /// The end of the connection.
    Close,
    /// Nothing, for ever.
    Silence,
    /// These bytes, whatever they mean.
    Raw(Bytes),
    /// A handle with so many chunks.
    Chunks(i32),
}

/// What is asked: `chunk` of the blocks that were opened on a connection, or the opening itself.
pub(crate) struct Asked<'a> {
    pub(crate) connection: usize,
    pub(crate) blocks: &'a [String],
    /// Name of the block, `None` while opening.
    pub(crate) chunk: Option<&'a str>,
}

pub(crate) struct Scripted {
    pub(crate) address: Address,
    opened: Log,
    _task: AbortOnDropHandle<()>,
}

type Log = Arc<Mutex<Vec<(usize, Vec<String>)>>>;
type Script = dyn Fn(&Asked<'_>) -> Reply + Send + Sync;

impl Scripted {
    pub(crate) async fn start(script: impl Fn(&Asked<'_>) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        let opened = Arc::new(Mutex::new(Vec::new()));
        let (log, script): (_, Arc<Script>) = (Arc::clone(&opened), Arc::new(script));
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(socket, connection, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Self { address, opened, _task: AbortOnDropHandle::new(task) }
    }

    /// Each opening that was served or refused: its connection and blocks.
    pub(crate) fn opened(&self) -> Vec<(usize, Vec<String>)> {
        self.opened.lock().unwrap().clone()
    }
}

/// What a served block holds.
pub(crate) fn content(block: &str) -> Vec<u8> {
    format!("<{block}>").into_bytes()
}

async fn serve(mut socket: TcpStream, connection: usize, script: Arc<Script>, log: Log) {
    let mut decoder = FrameDecoder::new(1 << 20);
    let mut streams: Vec<Vec<String>> = Vec::new();
    let mut head = None;
    let mut body = BytesMut::new();
    let mut input = BytesMut::new();
    loop {
        let Some(incoming) = decoder.next().unwrap() else {
            if socket.read_buf(&mut input).await.unwrap_or(0) == 0 {
                return;
            }
            decoder.feed(input.split().freeze());
            continue;
        };
        match incoming {
            FrameEvent::Head { head: begun, .. } => head = Some(begun),
            FrameEvent::Body(piece) => body.extend_from_slice(&piece),
            FrameEvent::End => {
                let body = body.split().freeze();
                let go_on = match head.take().unwrap() {
                    Head::RpcRequest { request } => {
                        let names = match BlockTransferMessage::decode(body).unwrap() {
                            BlockTransferMessage::OpenBlocks(OpenBlocks { blocks, .. }) => {
                                blocks.iter().map(str::to_owned).collect::<Vec<_>>()
                            }
                            other => panic!("{} is not scripted", other.name()),
                        };
                        log.lock().unwrap().push((connection, names.clone()));
                        let reply = script(&Asked { connection, blocks: &names, chunk: None });
                        let num_chunks = match reply {
                            Reply::Chunks(n) => n,
                            _ => names.len() as i32,
                        };
                        let stream = StreamId(streams.len() as i64);
                        let handle = BlockTransferMessage::from(StreamHandle { stream, num_chunks });
                        streams.push(names);
                        let failed = |error| Head::RpcFailure { request, error };
                        let answer = handle.encode().unwrap();
                        say(&mut socket, reply, Head::RpcResponse { request }, failed, &answer).await
                    }
                    Head::ChunkFetchRequest { stream, chunk } => {
                        let blocks = &streams[stream.0 as usize];
                        let name = &blocks[chunk.0 as usize];
                        let reply = script(&Asked { connection, blocks, chunk: Some(name) });
                        let failed = |error| Head::ChunkFetchFailure { stream, chunk, error };
                        let answer = content(name);
                        say(&mut socket, reply, Head::ChunkFetchSuccess { stream, chunk }, failed, &answer)
                            .await
                    }
                    other => panic!("{other:?} is not scripted"),
                };
                if !go_on {
                    return;
                }
            }
        }
    }
}

async fn say(
    socket: &mut TcpStream,
    reply: Reply,
    success: Head,
    failure: impl Fn(String) -> Head,
    body: &[u8],
) -> bool {
    let mut out = BytesMut::new();
    match &reply {
        Reply::Serve | Reply::Chunks(_) | Reply::Cut => {
            success.encode(body.len() as u64, &mut out).unwrap();
            out.extend_from_slice(body);
        }
        Reply::Fail(text) => failure((*text).to_owned()).encode(0, &mut out).unwrap(),
        Reply::Raw(bytes) => out.extend_from_slice(bytes),
        Reply::Close | Reply::Silence => {}
    }
    if matches!(reply, Reply::Cut) {
        out.truncate(out.len() - 2);
    }
    // The client may have hung up; then there is nobody to talk to.
    socket.write_all(&out).await.is_ok() && !matches!(reply, Reply::Cut | Reply::Close)
}
