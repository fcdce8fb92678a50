//! `decrypt` and `inspect` as a contract: exit codes, streams, files, JSON.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod outcome;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sealed_shuffle::internals::disk::layout::Placement;
use sealed_shuffle::internals::io_encryption::EncryptingWriter;
use sealed_shuffle_protocol::stored::io_encryption::IoKey;
use serde_json::Value;
use tempfile::TempDir;

use self::outcome::{code, stderr, stdout};

const KEY: &str = "95c64f5952d3f44c6751d342fc406a99";

/// Partition 1 of four is empty; the others begin as lz4 does.
fn payloads() -> [Vec<u8>; 4] {
    let lz4 = |text: &str| [b"LZ4Block\x25", text.repeat(40).as_bytes()].concat();
    [lz4("first canary "), Vec::new(), lz4("second canary "), lz4("third canary ")]
}

fn encrypted(payload: &[u8]) -> Vec<u8> {
    if payload.is_empty() {
        return Vec::new();
    }
    let key = IoKey::from_hex(KEY.as_bytes()).unwrap();
    let mut writer = EncryptingWriter::new(Vec::new(), &key).unwrap();
    writer.write_all(payload).unwrap();
    writer.finish().unwrap()
}

/// A directory of an executor with one map output and one cached block.
struct Node {
    dir: TempDir,
    data: PathBuf,
    index: PathBuf,
    cached: PathBuf,
}

impl Node {
    fn encrypted() -> Self {
        Self::with(encrypted)
    }

    fn plain() -> Self {
        Self::with(<[u8]>::to_vec)
    }

    fn with(stored: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let partitions = payloads().map(|payload| stored(&payload));
        let mut index = vec![0; 8];
        let mut end = 0_u64;
        for partition in &partitions {
            end += partition.len() as u64;
            index.extend(end.to_be_bytes());
        }
        let put = |name: &str, content: &[u8]| {
            let local = dir.path().join("usercache/u/appcache/application_17_0001/blockmgr-1");
            let sub = local.join(Placement::of(name, 1, 64).unwrap().sub_dir());
            fs::create_dir_all(&sub).unwrap();
            fs::write(sub.join(name), content).unwrap();
            sub.join(name)
        };
        let data = put("shuffle_1_6_0.data", &partitions.concat());
        let index = put("shuffle_1_6_0.index", &index);
        let sums =
            partitions.iter().flat_map(|partition| u64::from(adler2::adler32_slice(partition)).to_be_bytes());
        put("shuffle_1_6_0.checksum.ADLER32", &sums.collect::<Vec<_>>());
        let cached = put("rdd_4_2", &stored(&payloads()[0]));
        Self { dir, data, index, cached }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn checksums(&self) -> PathBuf {
        let name = "shuffle_1_6_0.checksum.ADLER32";
        let local = self.data.parent().unwrap().parent().unwrap();
        local.join(Placement::of(name, 1, 64).unwrap().sub_dir()).join(name)
    }
}

fn run(key: Option<&str>, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealed-shuffle"));
    command.env_clear().stdin(Stdio::null());
    if let Some(key) = key {
        command.env("SPARK_IO_ENCRYPTION_KEY", key);
    }
    command.args(arguments.iter().map(|argument| argument.as_ref())).output().unwrap()
}

fn write_secret(path: &Path, content: impl AsRef<[u8]>, mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn decrypt_writes_one_stream_to_standard_output() {
    let node = Node::encrypted();
    let output = run(Some(KEY), &[&"decrypt", &node.cached]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(output.stdout, payloads()[0]);
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
}

#[test]
fn decrypt_finds_the_index_and_writes_a_file_for_each_partition() {
    let node = Node::encrypted();
    let out = node.path("plain");
    let output = run(Some(KEY), &[&"decrypt", &node.data, &"--out", &out]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    for (n, payload) in payloads().iter().enumerate() {
        let file = out.join(format!("shuffle_1_6_{n}"));
        assert_eq!(&fs::read(&file).unwrap(), payload);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "plain bytes are secret"
        );
        let line = format!("shuffle_1_6_{n} {} {}", payload.len(), file.display());
        assert_eq!(stdout(&output).lines().nth(n), Some(line.as_str()));
    }
    assert_eq!(fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 4, "no temporary file is left");
}

#[test]
fn decrypt_takes_one_partition_or_all_to_standard_output() {
    let node = Node::encrypted();
    let one = run(Some(KEY), &[&"decrypt", &node.data, &"--partition", &"2"]);
    assert_eq!((code(&one), &one.stdout), (0, &payloads()[2]), "{}", stderr(&one));
    let empty = run(Some(KEY), &[&"decrypt", &node.data, &"--partition", &"1"]);
    assert_eq!((code(&empty), empty.stdout.len()), (0, 0));
    let all = run(Some(KEY), &[&"decrypt", &node.data]);
    assert_eq!((code(&all), all.stdout), (0, payloads().concat()));
    let none = run(Some(KEY), &[&"decrypt", &node.data, &"--partition", &"4"]);
    assert_eq!(code(&none), 66, "{}", stderr(&none));
}

#[test]
fn decrypt_takes_a_segment_of_a_spill() {
    let node = Node::encrypted();
    let (first, second) = (encrypted(b"first segment"), encrypted(b"second segment"));
    let spill = node.path("temp_shuffle_7b3a0c56-3f1c-4a42-9d6e-0123456789ab");
    fs::write(&spill, [first.clone(), second.clone()].concat()).unwrap();
    let (offset, length) = (first.len().to_string(), second.len().to_string());
    let output = run(Some(KEY), &[&"decrypt", &spill, &"--offset", &offset, &"--length", &length]);
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "second segment"));
    let output = run(Some(KEY), &[&"decrypt", &spill, &"--length", &offset]);
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "first segment"));
}

#[test]
fn decrypt_takes_a_spill_apart_where_lz4_tells_how() {
    let node = Node::encrypted();
    let block = |text: &[u8]| {
        let len = u32::try_from(text.len()).unwrap().to_le_bytes();
        [b"LZ4Block\x15", &len[..], &len, &[0; 4], text].concat()
    };
    let streams =
        [[block(b"first"), block(b"")].concat(), [block(b"second"), block(b"more"), block(b"")].concat()];
    let spill = node.path("temp_shuffle_7b3a0c56-3f1c-4a42-9d6e-0123456789ab");
    let stored = streams.each_ref().map(|stream| encrypted(stream)).concat();
    fs::write(&spill, &stored).unwrap();
    let output = run(Some(KEY), &[&"decrypt", &spill]);
    assert_eq!((code(&output), &output.stdout), (0, &streams.concat()), "{}", stderr(&output));
    fs::write(&spill, &stored[..stored.len() - 1]).unwrap();
    assert_eq!(code(&run(Some(KEY), &[&"decrypt", &spill])), 65);
    fs::write(&spill, encrypted(b"not compressed")).unwrap();
    let output = run(Some(KEY), &[&"decrypt", &spill]);
    assert_eq!((code(&output), stdout(&output).as_str()), (0, "not compressed"));
    assert!(stderr(&output).contains("--offset and --length"), "{}", stderr(&output));
}

#[test]
fn decrypt_replaces_nothing_without_force() {
    let node = Node::encrypted();
    let out = node.path("plain");
    fs::write(&out, "precious").unwrap();
    let refused = run(Some(KEY), &[&"decrypt", &node.cached, &"--out", &out]);
    assert_eq!(code(&refused), 1);
    assert!(stderr(&refused).contains("add --force"), "{}", stderr(&refused));
    assert_eq!(fs::read(&out).unwrap(), b"precious");
    let forced = run(Some(KEY), &[&"decrypt", &node.cached, &"--out", &out, &"--force", &"--json"]);
    assert_eq!(code(&forced), 0, "{}", stderr(&forced));
    assert_eq!(fs::read(&out).unwrap(), payloads()[0]);
    let json: Value = serde_json::from_str(&stdout(&forced)).unwrap();
    assert_eq!(json["bytes"], payloads()[0].len());
}

#[test]
fn decrypt_refuses_an_index_of_another_file_before_it_writes() {
    let node = Node::encrypted();
    let out = node.path("plain");
    let mut index = fs::read(&node.index).unwrap();
    for (damage, word) in
        [(0_usize, "first offset"), (index.len() - 1, "belong together"), (8, "before its beginning")]
    {
        index[damage] ^= 0x80;
        fs::write(&node.index, &index).unwrap();
        let output = run(Some(KEY), &[&"decrypt", &node.data, &"--out", &out]);
        assert_eq!(code(&output), 65, "{}", stderr(&output));
        assert!(stderr(&output).contains(word), "{}", stderr(&output));
        index[damage] ^= 0x80;
    }
    fs::write(&node.index, &index[..index.len() - 3]).unwrap();
    assert_eq!(code(&run(Some(KEY), &[&"decrypt", &node.data, &"--out", &out])), 65);
    assert!(!out.exists());
    fs::remove_file(&node.index).unwrap();
    let missing = run(Some(KEY), &[&"decrypt", &node.data]);
    assert_eq!(code(&missing), 66);
    assert!(stderr(&missing).contains("--index"), "{}", stderr(&missing));
}

#[test]
fn decrypt_refuses_a_stream_that_ends_inside_its_iv() {
    let node = Node::encrypted();
    fs::write(&node.cached, [7; 10]).unwrap();
    let output = run(Some(KEY), &[&"decrypt", &node.cached]);
    assert_eq!((code(&output), output.stdout.len()), (65, 0));
    assert!(stderr(&output).contains("after 10 bytes, 16 expected"), "{}", stderr(&output));
    assert_eq!(code(&run(Some(KEY), &[&"decrypt", &node.path("nothing")])), 66);
}

#[test]
fn decrypt_refuses_the_wrong_key_where_noise_comes_out() {
    let node = Node::encrypted();
    let wrong = KEY.replace('9', "8");
    let output = run(Some(&wrong), &[&"decrypt", &node.cached]);
    assert_eq!((code(&output), output.stdout.len()), (65, 0), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("looks random") && stderr(&output).contains("--noise"),
        "{}",
        stderr(&output)
    );
    let out = node.path("out");
    let output = run(Some(&wrong), &[&"decrypt", &"--out", &out, &node.cached]);
    assert_eq!(code(&output), 65);
    assert!(!out.exists(), "nothing is left");
    let output = run(Some(&wrong), &[&"decrypt", &"--noise", &node.cached]);
    assert_eq!(code(&output), 0);
    assert_eq!(output.stdout.len(), payloads()[0].len());
}

#[test]
fn decrypt_wants_a_key_that_nobody_else_reads() {
    let node = Node::encrypted();
    let none = run(None, &[&"decrypt", &node.cached]);
    assert_eq!(code(&none), 78);
    assert!(stderr(&none).contains("--key-file") && stderr(&none).contains("SPARK_IO_ENCRYPTION_KEY"));
    let file = node.path("key");
    let with_file = || run(None, &[&"decrypt", &"--key-file", &file, &node.cached]);
    write_secret(&file, format!("{KEY}\n"), 0o600);
    assert_eq!(with_file().stdout, payloads()[0]);
    let raw: Vec<u8> = (0..16).map(|n| u8::from_str_radix(&KEY[2 * n..2 * n + 2], 16).unwrap()).collect();
    write_secret(&file, &raw, 0o600);
    assert_eq!(with_file().stdout, payloads()[0]);
    write_secret(&file, KEY, 0o644);
    let open = with_file();
    assert_eq!((code(&open), open.stdout.len()), (78, 0));
    assert!(stderr(&open).contains("chmod 600"), "{}", stderr(&open));
    write_secret(&file, &raw[..15], 0o600);
    let short = with_file();
    assert_eq!(code(&short), 78);
    assert!(stderr(&short).contains("a key of 15 bytes"), "{}", stderr(&short));
}

#[test]
fn decrypt_refuses_other_transformations_by_name() {
    let node = Node::encrypted();
    let output = run(Some(KEY), &[&"decrypt", &node.cached, &"--transformation", &"AES/GCM/NoPadding"]);
    assert_eq!(code(&output), 78);
    let wanted = "spark.io.crypto.cipher.transformation = AES/GCM/NoPadding";
    assert!(stderr(&output).contains(wanted), "{}", stderr(&output));
}

#[test]
fn no_key_is_ever_an_argument() {
    let help = stdout(&run(None, &[&"decrypt", &"--help"]));
    assert!(help.contains("--key-file") && !help.contains("--key "), "{help}");
}

fn inspect(more: &[&dyn AsRef<std::ffi::OsStr>]) -> (Value, Output) {
    let output = run(None, &[&[&"inspect" as &dyn AsRef<_>, &"--json"], more].concat());
    (serde_json::from_slice(&output.stdout).unwrap_or(Value::Null), output)
}

#[test]
fn inspect_tells_what_is_in_the_files_of_a_map_output() {
    let node = Node::encrypted();
    let (json, output) = inspect(&[&node.data, &node.index, &node.checksums(), &node.cached]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let [data, index, checksums, cached] = json["files"].as_array().unwrap().as_slice() else {
        panic!("{json}")
    };
    assert_eq!((&data["content"], &data["looked_at"]), (&"encrypted-likely".into(), &3.into()));
    assert_eq!(index["partitions"]["count"], 4);
    assert_eq!(index["partitions"]["filled"], 3);
    assert_eq!(index["data"]["agrees"], true);
    assert_eq!((&checksums["algorithm"], &checksums["data"]["agrees"]), (&"ADLER32".into(), &true.into()));
    assert_eq!(cached["kind"], "stored block");
    let text = stdout(&run(None, &[&"inspect", &node.data]));
    assert!(text.contains("consistent with spark.io.encryption") && text.contains("chi-square"), "{text}");
}

#[test]
fn inspect_says_what_does_not_fit() {
    let node = Node::plain();
    let (json, output) = inspect(&[&node.data]);
    assert_eq!(code(&output), 0);
    assert_eq!(
        (&json["files"][0]["content"], &json["files"][0]["marks"]["lz4"]),
        (&"readable".into(), &3.into())
    );
    let mut data = fs::read(&node.data).unwrap();
    data[20] ^= 1;
    fs::write(&node.data, &data).unwrap();
    let (json, output) = inspect(&[&node.checksums()]);
    assert_eq!(code(&output), 65, "{json:#}");
    assert_eq!(json["files"][0]["wrong"]["first"][0], 0);
    data.pop();
    fs::write(&node.data, &data).unwrap();
    for file in [&node.index, &node.data] {
        let (json, output) = inspect(&[file]);
        assert_eq!(code(&output), 65, "{json:#}");
    }
    assert_eq!(code(&inspect(&[&node.path("nothing")]).1), 66);
    assert_eq!(code(&inspect(&[&node.dir.path()]).1), 2, "directories want --scan");
}

#[test]
fn scan_ends_with_one_when_something_is_readable() {
    let node = Node::plain();
    let (json, output) = inspect(&[&"--scan", &node.dir.path()]);
    assert_eq!(code(&output), 1, "{json:#}");
    let app = &json["applications"][0];
    assert_eq!(app["app"], "application_17_0001");
    assert_eq!((&app["readable"]["files"], &app["metadata"]["files"]), (&2.into(), &2.into()));
    assert_eq!(app["marks"]["lz4"], 2);
    let text = stdout(&run(None, &[&"inspect", &"--scan", &node.dir.path()]));
    assert!(
        text.starts_with("SEALED")
            && text.contains("\nreadable in application_17_0001: lz4 (2), for instance ")
    );
}

#[test]
fn scan_ends_with_zero_when_nothing_is_readable() {
    let node = Node::encrypted();
    symlink(node.dir.path(), node.path("link")).unwrap();
    let (json, output) = inspect(&[&"--scan", &node.dir.path(), &node.data.parent().unwrap()]);
    assert_eq!(code(&output), 0, "{json:#}");
    assert_eq!((&json["total"]["encrypted_likely"]["files"], &json["links"]), (&2.into(), &1.into()));
    assert_eq!(code(&inspect(&[&"--scan", &"--full", &node.dir.path()]).1), 0);
    assert_eq!(
        (&json["without_index"], &json["files"]),
        (&0.into(), &4.into()),
        "a directory within another counts once"
    );
}

#[test]
fn scan_ends_with_69_where_not_all_was_judged() {
    // A disk that is a link: nothing of it is seen.
    let node = Node::encrypted();
    let disks = tempfile::tempdir().unwrap();
    symlink(node.dir.path(), disks.path().join("disk1")).unwrap();
    let (json, output) = inspect(&[&"--scan", &disks.path()]);
    assert_eq!(code(&output), 69, "{json:#}");
    assert!(
        stderr(&output).contains("disk1") && stderr(&output).contains("not followed"),
        "{}",
        stderr(&output)
    );
    // Nothing at all.
    let nothing = tempfile::tempdir().unwrap();
    assert_eq!(code(&inspect(&[&"--scan", &nothing.path()]).1), 69);
    // Too short to tell.
    fs::write(node.data.with_file_name("rdd_9_9"), b"\x01\x93\xfe\x31").unwrap();
    let (json, output) = inspect(&[&"--scan", &node.dir.path()]);
    assert_eq!(code(&output), 69, "{json:#}");
    assert_eq!(json["total"]["cannot_tell"]["files"], 1);
}

#[test]
fn nothing_waits_for_a_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("shuffle_0_1_0.data");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (json, output) = inspect(&[&pipe]);
    assert_ne!(code(&output), 0, "{json:#}");
    assert!(stderr(&output).contains("regular file"), "{}", stderr(&output));
    let output = run(Some(KEY), &[&"decrypt", &"--offset", &"0", &pipe]);
    assert_ne!(code(&output), 0);
}

#[test]
fn scan_names_what_it_cannot_look_at() {
    let node = Node::encrypted();
    fs::write(&node.index, [0; 9]).unwrap();
    let (json, output) = inspect(&[&"--scan", &node.dir.path()]);
    assert_eq!(code(&output), 69, "{json:#}");
    assert_eq!(json["not_looked_at"]["count"], 1);
    assert!(
        stderr(&output).contains("shuffle_1_6_0.data: its partitions were not looked at"),
        "{}",
        stderr(&output)
    );
    assert_eq!(code(&inspect(&[&"--scan", &node.path("nothing")]).1), 66);
    assert_eq!(code(&inspect(&[&"--scan", &node.data]).1), 2);
}
