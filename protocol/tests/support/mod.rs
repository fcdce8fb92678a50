//! The vector files, and hex.
#![allow(dead_code)] // each test crate uses its part
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use sealed_shuffle_protocol::ids::{
    AppId, ChunkIndex, ReduceId, RequestId, ShuffleId, ShuffleMergeId, StreamId,
};
use sealed_shuffle_protocol::message::Head;

/// One vector of a file.
pub(crate) struct Vector {
    /// Where it stands, for messages of failing tests.
    pub(crate) place: String,
    /// The release that made it.
    pub(crate) spark: String,
    pub(crate) name: String,
    values: serde_json::Value,
}

impl Vector {
    pub(crate) fn text(&self, key: &str) -> &str {
        self.optional(key).unwrap_or_else(|| panic!("{}: {key} is missing", self.place))
    }

    pub(crate) fn optional(&self, key: &str) -> Option<&str> {
        self.values.get(key).and_then(|value| value.as_str())
    }

    pub(crate) fn hex(&self, key: &str) -> Bytes {
        from_hex(self.text(key))
    }
}

/// The vectors of `file` of every release.
pub(crate) fn vectors(file: &str) -> Vec<Vector> {
    let mut releases: Vec<PathBuf> =
        fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors"))
            .unwrap()
            .map(|entry| entry.unwrap().path().join(file))
            .filter(|path| path.exists())
            .collect();
    releases.sort();
    assert!(releases.len() >= 3, "{file}: vectors of three releases at least");
    releases.iter().flat_map(|path| load(path)).collect()
}

fn load(path: &Path) -> Vec<Vector> {
    let table: serde_json::Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let spark = table["spark"].as_str().unwrap();
    let rows = table["vectors"].as_array().unwrap();
    assert!(!rows.is_empty(), "{}", path.display());
    rows.iter()
        .map(|row| {
            let name = row["name"].as_str().unwrap().to_owned();
            let place = format!("{} {} {name:?}", path.file_name().unwrap().display(), spark);
            Vector { place, spark: spark.to_owned(), name, values: row.clone() }
        })
        .collect()
}

pub(crate) fn from_hex(hex: &str) -> Bytes {
    assert!(hex.len().is_multiple_of(2), "{hex}");
    let bytes: BytesMut =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    bytes.freeze()
}

/// What the vector of `transport.json` with this name holds, except for the body.
pub(crate) fn expected_head(name: &str) -> Head {
    let (stream, chunk) = (StreamId(0x0102_0304_0506_0708), ChunkIndex(9));
    let text = str::to_owned;
    match name {
        "chunk_fetch_request" => Head::ChunkFetchRequest { stream, chunk },
        "chunk_fetch_success" => Head::ChunkFetchSuccess { stream, chunk },
        "chunk_fetch_success_empty" => Head::ChunkFetchSuccess { stream: StreamId(1), chunk: ChunkIndex(0) },
        "chunk_fetch_failure" => Head::ChunkFetchFailure { stream, chunk, error: text("oops \u{e9}") },
        "rpc_request" => Head::RpcRequest { request: RequestId(42) },
        "rpc_response" => Head::RpcResponse { request: RequestId(42) },
        "rpc_response_empty" => Head::RpcResponse { request: RequestId(-1) },
        "rpc_failure" => Head::RpcFailure { request: RequestId(42), error: text("err") },
        "stream_request" => Head::StreamRequest { stream: text("6345036243736943969_2") },
        "stream_response" => Head::StreamResponse { stream: text("6345036243736943969_2") },
        "stream_response_empty" => Head::StreamResponse { stream: text("s") },
        "stream_failure" => {
            Head::StreamFailure { stream: text("s"), error: text("Stream 's' was not found.") }
        }
        "one_way_message" => Head::OneWayMessage,
        "upload_stream" => Head::UploadStream { request: RequestId(7), meta: Bytes::from_static(b"M") },
        "upload_stream_empty" => Head::UploadStream { request: RequestId(8), meta: Bytes::new() },
        "merged_block_meta_request" => Head::MergedBlockMetaRequest {
            request: RequestId(11),
            app: AppId::new("app-1"),
            shuffle: ShuffleId(2),
            merge: ShuffleMergeId(3),
            reduce: ReduceId(4),
        },
        "merged_block_meta_success" => Head::MergedBlockMetaSuccess { request: RequestId(11), num_chunks: 5 },
        other => panic!("no expectation for {other}"),
    }
}
