//! `spark.io.encryption`: what real executors wrote and our server served is opened by `decrypt` and told by `inspect`,
//! and Spark's own streams and ours read each other.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    path::Path,
    process::Output,
};

use sealed_shuffle::internals::io_encryption::{DecryptingReader, EncryptingWriter};
use sealed_shuffle_interop_tests::{
    applications::ApplicationAtRest,
    fixture::Fixture,
    modes::{Cipher, Mode, Service},
    oracle::CANARY,
    ours::command_with_key,
    spark::{IoStream, spark_streams},
    wire::contains,
};
use sealed_shuffle_protocol::stored::io_encryption::IoKey;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const UNCOMPRESSED: [(&str, &str); 2] =
    [("spark.shuffle.compress", "false"), ("spark.rdd.compress", "false")];
const ENCRYPTED: (&str, &str) = ("spark.io.encryption.enabled", "true");

/// The same job with encryption off and on: after `decrypt` the partitions are the same to the byte.
#[test]
#[ignore = "slow and rarely red: make nightly"]
fn decrypted_partitions_are_those_of_the_same_job_without_encryption() {
    let mode = Mode::aes("4.3.0", Cipher::Gcm, 2);
    let plain = {
        let f = Fixture::start(Service::Ours, mode);
        let app = ApplicationAtRest::start(&f, &UNCOMPRESSED);
        assert_served(&f);
        let (scan, code) = scan(&f, &app);
        assert_eq!(code, 1, "{scan:#}");
        let total = &scan["total"];
        // Kryo leaves no mark in the others.
        assert!(total["readable"]["files"].as_u64() > total["marks"]["UnsafeRow"].as_u64(), "{scan:#}");
        assert!(total["marks"]["UnsafeRow"].as_u64() >= Some(10), "{scan:#}");
        assert_eq!(total["encrypted_likely"]["files"], 0, "{scan:#}");
        assert_eq!(total["cannot_tell"]["files"], 0, "{scan:#}");
        (app.result.clone(), partitions(&app, slices))
    };
    let f = Fixture::start(Service::Ours, mode);
    let app = ApplicationAtRest::start(
        &f,
        &[UNCOMPRESSED[0], UNCOMPRESSED[1], ENCRYPTED, ("spark.io.encryption.keySizeBits", "256")],
    );
    assert_served(&f);
    assert_eq!(app.key.as_deref().map(str::len), Some(64));
    let out = TempDir::with_prefix("interop-plain-").expect("the temporary directory is writable");
    let opened = partitions(&app, |file, _| decrypted(&app, file, out.path()));
    assert_eq!((&app.result, opened), (&plain.0, plain.1), "(result, count of partitions by hash)");
    assert_opens_cached_blocks(&app, |block| contains(block, CANARY.as_bytes()));
    assert_scan_finds_everything_encrypted(&f, &app);
}

#[test]
#[ignore = "slow and rarely red: make nightly"]
fn opens_uncompressed_data_under_192_bits() {
    let f = Fixture::start(Service::Ours, Mode::aes("4.0.5", Cipher::Ctr, 2));
    let app = ApplicationAtRest::start(
        &f,
        &[UNCOMPRESSED[0], UNCOMPRESSED[1], ENCRYPTED, ("spark.io.encryption.keySizeBits", "192")],
    );
    assert_served(&f);
    assert_eq!(app.key.as_deref().map(str::len), Some(48));
    let has_canary = |bytes: &[u8]| contains(bytes, CANARY.as_bytes());
    let out = TempDir::with_prefix("interop-plain-").expect("the temporary directory is writable");
    let mut canaries = 0;
    for (path, stored) in app.files(|name| name.ends_with("_0.data")) {
        assert!(!has_canary(&stored), "{} is not encrypted", path.display());
        canaries += decrypted(&app, &path, out.path()).iter().filter(|plain| has_canary(plain)).count();
    }
    assert!(canaries > 20, "{canaries} partitions with canaries");
    assert_opens_cached_blocks(&app, has_canary);
    assert_scan_finds_everything_encrypted(&f, &app);
}

#[test]
fn opens_compressed_data_under_128_bits() {
    let f = Fixture::start(Service::Ours, Mode::aes("3.5.9", Cipher::Gcm, 1));
    let app = ApplicationAtRest::start(&f, &[ENCRYPTED]);
    assert_served(&f);
    assert_eq!(app.key.as_deref().map(str::len), Some(32));
    let is_lz4 = |bytes: &[u8]| bytes.starts_with(b"LZ4Block");
    let out = TempDir::with_prefix("interop-plain-").expect("the temporary directory is writable");
    let mut opened = 0;
    for path in app.files(|name| name.ends_with("_0.data")).into_keys() {
        let plain = decrypted(&app, &path, out.path());
        assert!(plain.iter().all(|partition| is_lz4(partition)), "{}", path.display());
        opened += plain.len();
    }
    assert!(opened > 20, "{opened} partitions");
    assert_opens_cached_blocks(&app, is_lz4);
    assert_scan_finds_everything_encrypted(&f, &app);
}

/// Every key size, with lengths around a block, a buffer of ours and one of Spark's.
#[test]
fn sparks_streams_and_ours_read_each_other() {
    let keys = [16, 24, 32].map(|len| "5a".repeat(len));
    let dir = TempDir::with_prefix("interop-streams-").expect("the temporary directory is writable");
    let file = |name: String| dir.path().join(name);
    let mut work = Vec::new();
    for (n, len) in [0_usize, 1, 15, 16, 17, 65_535, 65_536, 65_537, 300_001].into_iter().enumerate() {
        let key = &keys[n % 3];
        let payload: Vec<u8> = (0..len).map(|at| at.wrapping_mul(31).to_le_bytes()[1]).collect();
        let mut ours =
            EncryptingWriter::new(fs::File::create(file(format!("ours-{n}"))).unwrap(), &io_key(key))
                .unwrap();
        ours.write_all(&payload).unwrap();
        ours.finish().unwrap();
        fs::write(file(format!("plain-{n}")), &payload).unwrap();
        work.push((IoStream::Read, key, file(format!("ours-{n}")), file(format!("opened-{n}"))));
        work.push((IoStream::Write, key, file(format!("sparks-{n}")), file(format!("plain-{n}"))));
        let spill = format!("temp_shuffle_7b3a0c56-3f1c-4a42-9d6e-{n:012}");
        work.push((IoStream::Spill, key, file(spill), file(format!("plain-{n}"))));
    }
    let work: Vec<_> = work
        .iter()
        .map(|(what, key, sealed, plain)| (*what, key.as_str(), sealed.as_path(), plain.as_path()))
        .collect();
    for version in ["4.3.0", "3.5.9"] {
        spark_streams(version, &work);
        for (what, key, sealed, plain_file) in &work {
            let plain = fs::read(plain_file).unwrap();
            match what {
                IoStream::Read => {
                    let expected = sealed.to_str().unwrap().replace("ours-", "plain-");
                    assert_eq!(plain, fs::read(expected).unwrap(), "{version}: {}", sealed.display());
                }
                IoStream::Write => {
                    let mut opened = Vec::new();
                    let key = io_key(key);
                    let sealed = fs::File::open(sealed).unwrap();
                    DecryptingReader::new(sealed, &key).read_to_end(&mut opened).unwrap();
                    assert_eq!(opened, plain, "{version}");
                }
                IoStream::Spill => {
                    let output = succeeded(command_with_key(Some(key), &["decrypt", &text(sealed)]));
                    let compressed = fs::read(plain_file.with_added_extension("lz4")).unwrap();
                    assert!(output.stdout == compressed, "{version}: {}", sealed.display());
                }
            }
        }
    }
}

fn text(path: &Path) -> String {
    path.to_str().expect("temporary paths are text").to_owned()
}

fn io_key(hex: &str) -> IoKey {
    IoKey::from_hex(hex.as_bytes()).expect("the key has a size of AES")
}

#[track_caller]
fn assert_served(f: &Fixture) {
    let served = f.block_bytes_served();
    assert!(served > 10_000, "the service served {served} bytes, the shuffles went another way");
}

/// How often each partition occurs among all map outputs, by hash. Which task wrote it does not matter.
fn partitions(
    app: &ApplicationAtRest,
    open: impl Fn(&Path, &[u8]) -> Vec<Vec<u8>>,
) -> BTreeMap<String, usize> {
    let indexes = app.files(|name| name.ends_with("_0.index"));
    let mut counts = BTreeMap::new();
    for path in app.files(|name| name.ends_with("_0.data")).into_keys() {
        let name = path.file_name().expect("files have names").to_string_lossy().replace(".data", ".index");
        let index = indexes.iter().find(|(path, _)| path.ends_with(&name));
        let (_, index) = index.unwrap_or_else(|| panic!("no {name}"));
        for partition in open(&path, index) {
            let hash: String =
                Sha256::digest(&partition)[..8].iter().map(|byte| format!("{byte:02x}")).collect();
            *counts.entry(format!("{hash} {}", partition.len())).or_default() += 1;
        }
    }
    assert!(counts.len() > 20, "{counts:?}");
    counts
}

/// The partitions of a data file that are not empty, as they lie there.
fn slices(file: &Path, index: &[u8]) -> Vec<Vec<u8>> {
    let data = fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let ends: Vec<usize> = index
        .chunks_exact(8)
        .map(|row| {
            usize::try_from(u64::from_be_bytes(row.try_into().expect("rows of eight"))).expect("small")
        })
        .collect();
    ends.windows(2)
        .map(|ends| data[ends[0]..ends[1]].to_vec())
        .filter(|partition| !partition.is_empty())
        .collect()
}

/// The partitions of a data file that are not empty, by `sealed-shuffle decrypt`, which finds the index itself.
fn decrypted(app: &ApplicationAtRest, file: &Path, out: &Path) -> Vec<Vec<u8>> {
    let file = file.to_str().expect("paths are text");
    let out = out.to_str().expect("paths are text");
    let output = succeeded(app.command(&["decrypt", file, "--out", out, "--force"]));
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    let written: Vec<_> = lines
        .lines()
        .map(|line| line.rsplit_once(' ').expect("name, size and path").1)
        .map(|path| fs::read(path).unwrap_or_else(|e| panic!("{path}: {e}")))
        .collect();
    assert!(!written.is_empty(), "{lines}");
    written.into_iter().filter(|partition| !partition.is_empty()).collect()
}

#[track_caller]
fn assert_opens_cached_blocks(app: &ApplicationAtRest, is_right: impl Fn(&[u8]) -> bool) {
    let blocks = app.files(|name| app.cached.iter().any(|cached| cached == name));
    assert_eq!(blocks.len(), 4, "{:?}", blocks.keys());
    for (path, stored) in blocks {
        assert!(!is_right(&stored), "{} is not encrypted", path.display());
        let output = succeeded(app.command(&["decrypt", path.to_str().expect("paths are text")]));
        assert_eq!(output.stdout.len() + 16, stored.len());
        assert!(is_right(&output.stdout), "{}", path.display());
        let warned = String::from_utf8_lossy(&output.stderr).contains("looks random");
        assert!(!warned, "{}", path.display());
    }
}

#[track_caller]
fn assert_scan_finds_everything_encrypted(f: &Fixture, app: &ApplicationAtRest) {
    let (scan, code) = scan(f, app);
    let total = &scan["total"];
    // Some files of Spark's are too short to tell, and that is said.
    let expected = if total["cannot_tell"]["files"] == 0 { 0 } else { 69 };
    assert_eq!(code, expected, "{scan:#}");
    assert_eq!(scan["not_looked_at"]["count"], 0, "{scan:#}");
    assert_eq!(total["readable"]["files"], 0, "{scan:#}");
    assert!(total["encrypted_likely"]["files"].as_u64() >= Some(12), "{scan:#}");
    assert_eq!(scan["without_index"], 0, "{scan:#}");
}

fn scan(f: &Fixture, app: &ApplicationAtRest) -> (Value, i32) {
    let output = app.command(&["inspect", "--json", "--scan", f.root().to_str().expect("paths are text")]);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("no report: {e}: {}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.code().expect("nobody kills it"))
}

#[track_caller]
fn succeeded(output: Output) -> Output {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}
