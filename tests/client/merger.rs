//! A merger in clear whose every answer is scripted.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use sealed_shuffle_client::Address;
use sealed_shuffle_protocol::frame::{FrameDecoder, FrameEvent};
use sealed_shuffle_protocol::ids::{ReduceId, RequestId};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{
    BlockPushReturnCode, BlockTransferMessage, PushBlockStream, ReturnCode,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// What was asked on a connection, with its body where it has one.
pub(crate) enum Asked {
    Push(RequestId, PushBlockStream, Bytes),
    Rpc(RequestId),
    Meta(RequestId, ReduceId),
}

/// What becomes of it.
pub(crate) enum Reply {
    Say(Head, Bytes),
    Close,
    /// Nothing, for ever.
    Silence,
}

pub(crate) struct Merger {
    pub(crate) address: Address,
    /// Map index and partition of each push that arrived whole, with its connection.
    pushes: Arc<Mutex<Vec<(usize, i32, i32)>>>,
    _task: AbortOnDropHandle<()>,
}

type Script = dyn Fn(usize, &Asked) -> Reply + Send + Sync;

impl Merger {
    /// `script` is told which connection asks.
    pub(crate) async fn start(script: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = Address::from(listener.local_addr().unwrap());
        let pushes = Arc::new(Mutex::new(Vec::new()));
        let (log, script): (_, Arc<Script>) = (Arc::clone(&pushes), Arc::new(script));
        let task = tokio::spawn(async move {
            for connection in 0.. {
                let (socket, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(socket, connection, Arc::clone(&script), Arc::clone(&log)));
            }
        });
        Self { address, pushes, _task: AbortOnDropHandle::new(task) }
    }

    pub(crate) fn pushes(&self) -> Vec<(usize, i32, i32)> {
        self.pushes.lock().unwrap().clone()
    }
}

/// How a push is answered.
pub(crate) fn code(request: RequestId, push: &PushBlockStream, code: ReturnCode) -> Reply {
    let PushBlockStream { shuffle, merge, map_index, reduce, .. } = push;
    let failure_block = match code {
        ReturnCode::Success => String::new(),
        _ => format!("shufflePush_{shuffle}_{merge}_{map_index}_{reduce}"),
    };
    answer(request, BlockPushReturnCode { code, failure_block })
}

pub(crate) fn answer(request: RequestId, message: impl Into<BlockTransferMessage>) -> Reply {
    Reply::Say(Head::RpcResponse { request }, message.into().encode().unwrap())
}

async fn serve(
    mut socket: TcpStream,
    connection: usize,
    script: Arc<Script>,
    log: Arc<Mutex<Vec<(usize, i32, i32)>>>,
) {
    let mut decoder = FrameDecoder::new(1 << 20);
    let mut head = None;
    let (mut body, mut input) = (BytesMut::new(), BytesMut::new());
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
                let asked = asked(head.take().unwrap(), body.split().freeze());
                if let Asked::Push(_, push, _) = &asked {
                    log.lock().unwrap().push((connection, push.map_index, push.reduce.0));
                }
                let mut out = BytesMut::new();
                match script(connection, &asked) {
                    Reply::Say(head, body) => {
                        head.encode(body.len() as u64, &mut out).unwrap();
                        out.extend_from_slice(&body);
                    }
                    Reply::Close => return,
                    Reply::Silence => {}
                }
                if socket.write_all(&out).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn asked(head: Head, body: Bytes) -> Asked {
    match head {
        Head::UploadStream { request, meta } => match BlockTransferMessage::decode(meta).unwrap() {
            BlockTransferMessage::PushBlockStream(push) => Asked::Push(request, push, body),
            other => panic!("{} is not scripted", other.name()),
        },
        Head::RpcRequest { request } => Asked::Rpc(request),
        Head::MergedBlockMetaRequest { request, reduce, .. } => Asked::Meta(request, reduce),
        other => panic!("{other:?} is not scripted"),
    }
}
