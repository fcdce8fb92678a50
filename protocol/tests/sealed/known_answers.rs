//! The format as it was written once and for all: `tests/vectors/sealed`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use sealed_shuffle_protocol::ids::{AppId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};
use sealed_shuffle_protocol::stored::sealed::{Header, Salt};
use serde_json::{Value, json};

use crate::support::{ATTEMPT, Content, Files, Writer};

/// Files of the version that is written.
const NOW: &str = "partitions.json";
/// Files that an earlier release wrote, in version 1.
const BEFORE: &str = "partitions-1.json";
/// A file of version 1 opens for any.
const ANY_ATTEMPT: i32 = 17;

#[test]
fn the_files_are_bit_by_bit_what_they_were() {
    assert_eq!(written(NOW), made(), "the format has changed: see tests/vectors/sealed/README.md");
}

#[test]
fn the_files_that_were_written_open() {
    for name in [NOW, BEFORE] {
        the_files_open(&written(name));
    }
}

fn the_files_open(written: &Value) {
    for row in written["partitions"].as_array().unwrap() {
        let file = |name: &str| from_hex(row[name].as_str().unwrap());
        let files = Files { data: file("data"), index: file("index"), meta: file("meta") };
        let list = |name: &str| {
            let list = row[name].as_array().unwrap();
            list.iter().map(|hex| from_hex(hex.as_str().unwrap())).collect::<Vec<_>>()
        };
        let (header, _) = Header::decode(&files.index).unwrap();
        let key = DataKey::new(file("data_key").try_into().unwrap());
        assert_eq!(u64::from(header.version()), written["version"].as_u64().unwrap());
        assert_eq!(json!(header.attempt), row["attempt"]);
        let attempt = header.attempt.unwrap_or(ANY_ATTEMPT);
        let content = files.read_as(header.partition, attempt, &header.context, &key, None).unwrap();
        assert_eq!(content, Content { chunks: list("chunks"), meta: list("bitmaps").concat().into() });
    }
}

/// Written from the description alone. Where Python or its package is missing there is nothing to run.
#[test]
fn another_implementation_opens_them() {
    let python = |arguments: &[&str]| Command::new("python3").args(arguments).output();
    if !python(&["-c", "import cryptography"]).is_ok_and(|found| found.status.success()) {
        println!("python3 has no package `cryptography`: not run");
        return;
    }
    let script = directory().join("open.py");
    for name in [NOW, BEFORE] {
        let ran = python(&[script.to_str().unwrap(), path(name).to_str().unwrap()]).unwrap();
        let said = String::from_utf8_lossy(&ran.stdout);
        assert_eq!(said.trim(), "opened 3 partitions", "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

#[test]
#[ignore = "writes into the source tree"]
fn write_the_known_answers() {
    fs::write(path(NOW), format!("{:#}\n", made())).unwrap();
}

fn made() -> Value {
    let everywhere = Context::of(AppId::new("app-20261122052236-0000"));
    let mut on_a_node = Context::of(AppId::new("application_1700000000000_0001"));
    on_a_node.cluster = "prod".into();
    on_a_node.node = Some("node-17".into());

    let nothing = Recipe::new("no chunk", [0; 3], everywhere.clone());
    let mut plain = Recipe::new("two chunks", [4, 1, 7], everywhere);
    plain.block(&[b"a block in ", b"two pieces"]);
    plain.close(b"first bitmap", false);
    plain.block(&[b"another block"]);
    plain.block(&[b"and one more"]);
    plain.close(b"second bitmap", false);

    let mut bumpy = Recipe::new("aborts and failed writes", [i32::MAX, -1, 2], on_a_node);
    bumpy.abort(&[b"aborted before all"]);
    bumpy.block(&[b"one "]);
    bumpy.abort(&[b"aborted ", b"in two pieces"]);
    bumpy.block(&[b"two ", b"three "]);
    bumpy.abort(&[b"aborted"]);
    bumpy.abort(&[b"aborted again"]);
    bumpy.close(b"not written", true);
    bumpy.block(&[b"four"]);
    bumpy.close(b"bitmap", false);
    bumpy.close(b"of a chunk without bytes", false);
    bumpy.abort(&[b"aborted"]);
    bumpy.block(&[b"five"]);
    bumpy.close(b"the last bitmap", false);
    bumpy.block(&[b"in no chunk"]);
    bumpy.abort(&[b"aborted at the end"]);

    json!({ "version": 2, "partitions": [nothing.finish(), plain.finish(), bumpy.finish()] })
}

/// A partition, and what is to come out of it.
struct Recipe {
    row: Value,
    writer: Writer,
    open: Vec<u8>,
    chunks: Vec<String>,
    bitmaps: Vec<String>,
}

impl Recipe {
    fn new(name: &str, [shuffle, merge, reduce]: [i32; 3], context: Context) -> Self {
        let key: [u8; 32] = std::array::from_fn(|n| n as u8);
        let salt = std::array::from_fn(|n| 0xff - n as u8);
        let wrapped = WrappedKey { key_id: "alias/sealed".into(), bytes: Bytes::from_static(&[0xc3; 40]) };
        let row = json!({
            "name": name,
            "data_key": hex(&key),
            "salt": hex(&salt),
            "partition": [shuffle, merge, reduce],
            "attempt": ATTEMPT,
            "key_id": wrapped.key_id,
            "wrapped": hex(&wrapped.bytes),
            "cluster": context.cluster,
            "app": context.app.as_str(),
            "node": context.node,
        });
        let (shuffle, merge, reduce) = (ShuffleId(shuffle), ShuffleMergeId(merge), ReduceId(reduce));
        let partition = MergedPartition { shuffle, merge, reduce };
        let writer = Writer::with(&DataKey::new(key), &wrapped, partition, ATTEMPT, &context, Salt(salt));
        Self { row, writer, open: Vec::new(), chunks: Vec::new(), bitmaps: Vec::new() }
    }

    fn block(&mut self, pieces: &[&[u8]]) {
        self.writer.block(pieces);
        self.open.extend(pieces.concat());
    }

    fn abort(&mut self, pieces: &[&[u8]]) {
        pieces.iter().for_each(|piece| self.writer.append(piece));
        self.writer.sealer.abort();
    }

    fn close(&mut self, bitmap: &[u8], fails: bool) {
        if fails {
            self.writer.write_chunk(bitmap, true);
            return;
        }
        self.writer.close_chunk(bitmap);
        self.chunks.push(hex(&std::mem::take(&mut self.open)));
        self.bitmaps.push(hex(bitmap));
    }

    fn finish(mut self) -> Value {
        let (Files { data, index, meta }, _) = self.writer.finish();
        for (name, file) in [("data", data), ("index", index), ("meta", meta)] {
            self.row[name] = hex(&file).into();
        }
        self.row["chunks"] = self.chunks.into();
        self.row["bitmaps"] = self.bitmaps.into();
        self.row
    }
}

fn written(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(path(name)).unwrap()).unwrap()
}

fn path(name: &str) -> PathBuf {
    directory().join(name)
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/sealed")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}
