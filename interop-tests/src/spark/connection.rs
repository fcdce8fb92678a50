//! One connection of Spark's `TransportClient`, request by request.

use std::{net::SocketAddr, sync::Arc};

use serde_json::{Value, json};

use super::{
    exchange::{Credentials, Failure, Outcome},
    peer::Peer,
};
use crate::oracle::{Executor, SORT_MANAGER};

/// An open stream as the service announced it.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The id in decimal.
    pub id: String,
    /// How many chunks it has.
    pub chunks: u64,
}

impl Stream {
    /// The stream that a message has opened.
    #[track_caller]
    pub fn of(opened: Outcome) -> Self {
        let answer = opened.answer();
        assert_eq!(answer["type"], "StreamHandle", "{answer}");
        let id = answer["stream"].as_str().expect("a handle has an id").to_owned();
        Self { id, chunks: answer["chunks"].as_u64().expect("a handle has a count") }
    }
}

/// One connection of Spark's `TransportClient`.
#[derive(Debug)]
pub struct Connection {
    peer: Arc<Peer>,
    name: String,
}

impl Connection {
    /// Connects and authenticates.
    pub fn open(peer: &Arc<Peer>, address: SocketAddr, credentials: &Credentials) -> Result<Self, Failure> {
        let mut command = credentials.describe();
        command["cmd"] = json!("open");
        command["host"] = json!(address.ip().to_string());
        command["port"] = json!(address.port());
        match Outcome::of(peer.call(command)) {
            Outcome::Failed(failure) => Err(failure),
            outcome => Ok(Self { peer: Arc::clone(peer), name: outcome.name() }),
        }
    }

    /// Sends one block-transfer message (see `jvm/Messages.java`) as an RPC.
    pub fn rpc(&self, message: Value) -> Outcome {
        self.run(json!({"cmd": "rpc", "message": message}))
    }

    /// Sends raw bytes as the body of an RPC and waits no longer than `limit_ms`.
    pub fn rpc_bytes(&self, hex: &str, limit_ms: u64) -> Outcome {
        self.run(json!({"cmd": "rpc", "message": {"hex": hex}, "timeout_ms": limit_ms}))
    }

    /// Sends a message that is never answered.
    pub fn one_way(&self, message: Value) {
        self.run(json!({"cmd": "one-way", "message": message})).answer();
    }

    /// Sends a message with a body after the frame.
    pub fn upload(&self, message: Value, data_hex: &str) -> Outcome {
        self.run(json!({"cmd": "upload", "message": message, "data": data_hex}))
    }

    /// Asks for the bitmaps of a merged block.
    pub fn merged_meta(&self, app: &str) -> Outcome {
        self.run(json!({"cmd": "merged-meta", "app": app, "shuffle": 0, "merge": 0, "reduce": 0}))
    }

    /// Registers an executor.
    pub fn register(&self, app: &str, exec: &str, executor: &Executor) -> Outcome {
        self.register_dirs(app, exec, &executor.dir_names(), executor.sub_dirs)
    }

    /// Registers an executor with directories as they are given.
    pub fn register_dirs(&self, app: &str, exec: &str, dirs: &[String], sub_dirs: u32) -> Outcome {
        self.rpc(
            json!({"type": "RegisterExecutor", "app": app, "exec": exec, "dirs": dirs, "sub_dirs": sub_dirs,
            "manager": SORT_MANAGER}),
        )
    }

    /// Opens a stream, whatever the message.
    #[track_caller]
    pub fn open_stream(&self, message: Value) -> Stream {
        Stream::of(self.rpc(message))
    }

    /// Requests chunks back to back; one outcome each, in order.
    pub fn chunks(&self, stream: &Stream, indices: impl IntoIterator<Item = i64>) -> Vec<Outcome> {
        let indices: Vec<i64> = indices.into_iter().collect();
        let answer = self.run(json!({"cmd": "chunks", "stream": stream.id, "indices": indices})).answer();
        answer["chunks"].as_array().expect("a list of chunks").iter().cloned().map(Outcome::of).collect()
    }

    /// Requests one chunk.
    pub fn chunk(&self, stream: &Stream, index: i64) -> Outcome {
        self.chunks(stream, [index]).pop().expect("one outcome a chunk")
    }

    /// Requests a stream by its name, `STREAM_CHUNK` for a chunk to disk.
    pub fn stream(&self, name: &str) -> Outcome {
        self.run(json!({"cmd": "stream", "stream": name}))
    }

    /// Whether the connection is still up.
    pub fn is_active(&self) -> bool {
        self.run(json!({"cmd": "active"})).answer()["active"] == true
    }

    /// Waits until the service has closed the connection.
    pub fn is_closed_within(&self, limit_ms: u64) -> bool {
        self.run(json!({"cmd": "await-closed", "timeout_ms": limit_ms})).answer()["closed"] == true
    }

    fn run(&self, mut command: Value) -> Outcome {
        command["conn"] = json!(self.name);
        Outcome::of(self.peer.call(command))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.run(json!({"cmd": "close"})).answer();
        }
    }
}
