//! Our client library gets from Spark's own shuffle service what Spark's own client gets from it, in every mode, and
//! says in types what it does not get. Beside that, the same from our own server.
//!
//! The handshake proves application and secret, so what differs between services is told by [`Fixture::service`].

use std::time::{Duration, Instant};

use sealed_shuffle_client::{ErrorKind, FetchError};
use sealed_shuffle_interop_tests::{
    against_both,
    fixture::{APP, Fixture, SECRET},
    modes::{Cipher, Mode, Service},
    oracle::{Algorithm, Digest, Executor, content},
    ours::OurClient,
};
use sealed_shuffle_protocol::{ids::ExecutorId, shuffle::CorruptionCause};
use tempfile::TempDir;

against_both!(in every kind of mode:
    diagnoses_corruption,
    fetches_blocks_larger_than_any_buffer,
    fetches_many_blocks_over_several_connections,
    fetches_what_sparks_client_fetches,
    fetches_with_the_older_open_blocks,
    fetches_to_files,
    finds_nothing_as_another_application,
    learns_local_dirs,
    loses_only_the_blocks_that_are_missing,
    registers_what_the_service_then_serves,
    removes_blocks,
    reports_a_refused_directory,
    reports_a_wrong_secret_as_refused,
);

fn ours(f: &Fixture) -> OurClient {
    OurClient::new(&f.mode, f.address(), APP, SECRET)
}

/// Three partitions, the middle one empty.
fn small_map(seed: u64) -> Vec<Vec<u8>> {
    vec![content(seed, 3000), Vec::new(), content(seed + 1, 70_000)]
}

/// Executor 1 with maps 3 and 4.
fn with_maps(f: &Fixture) -> (Executor, [Vec<Vec<u8>>; 2]) {
    let executor = f.executor("1");
    let maps = [small_map(3), small_map(4)];
    executor.write_map(0, 3, &maps[0]);
    executor.write_map(0, 4, &maps[1]);
    (executor, maps)
}

#[track_caller]
fn digest(outcome: &Result<Digest, FetchError>) -> Digest {
    outcome.clone().unwrap_or_else(|error| panic!("not fetched: {error}"))
}

#[track_caller]
fn kind(outcome: &Result<Digest, FetchError>) -> ErrorKind {
    outcome.as_ref().expect_err("this cannot be fetched").kind()
}

fn fetches_what_sparks_client_fetches(f: &Fixture) {
    let (executor, [three, four]) = with_maps(f);
    executor.write("rdd_7_0", &content(11, 40_000));
    executor.write_map(0, 4_294_967_296, &four);
    // A map without any row leaves an index and no data file.
    executor.write_map(0, 5, &[Vec::new()]);
    if !f.needs_every_data_file() {
        std::fs::remove_file(executor.path("shuffle_0_5_0.data")).expect("the file was just written");
    }
    let expected: [(&str, Vec<u8>); 9] = [
        ("shuffle_0_4_2", four[2].clone()),
        ("shuffle_0_3_0", three[0].clone()),
        ("shuffle_0_3_1", Vec::new()),
        ("shuffle_0_4_0", four[0].clone()),
        ("shuffle_0_5_0", Vec::new()),
        ("shuffle_0_4294967296_0", four[0].clone()),
        ("shuffle_0_3_0_3", three.concat()),
        ("shuffle_0_4_1_3", four[1..].concat()),
        ("rdd_7_0", content(11, 40_000)),
    ];
    let names = expected.each_ref().map(|(name, _)| *name);
    let fetched = ours(f).fetch("1", &names);
    assert_eq!(fetched.len(), names.len());
    let store = f.store();
    // Spark's client wants lists of one kind.
    for list in [&names[..6], &names[6..8], &names[8..]] {
        let list: Vec<String> = list.iter().map(|name| (*name).to_owned()).collect();
        for (name, outcome) in store.fetch("1", &list, false) {
            assert_eq!(digest(&fetched[&name]), outcome.digest(), "{name}");
        }
    }
    for (name, bytes) in &expected {
        assert_eq!(digest(&fetched[*name]), Digest::of(bytes), "{name}");
    }
}

fn registers_what_the_service_then_serves(f: &Fixture) {
    let executor = Executor::beneath(f.root(), "1");
    let map = small_map(3);
    executor.write_map(0, 3, &map);
    let client = ours(f);
    client.register("1", &executor).expect("the directories lie beneath the root");
    assert_eq!(digest(&client.fetch("1", &["shuffle_0_3_2"])["shuffle_0_3_2"]), Digest::of(&map[2]));
    let fetched = f.store().fetch("1", &["shuffle_0_3_2".to_owned()], false);
    assert_eq!(fetched["shuffle_0_3_2"].clone().digest(), Digest::of(&map[2]));
}

fn fetches_with_the_older_open_blocks(f: &Fixture) {
    let (executor, [three, four]) = with_maps(f);
    executor.write("rdd_7_0", &content(11, 400));
    let client =
        OurClient::with(&f.mode, f.address(), APP, SECRET, |settings| settings.old_fetch_protocol(true));
    let names = ["shuffle_0_4_2", "shuffle_0_3_1", "shuffle_0_3_0", "rdd_7_0"];
    let fetched = client.fetch("1", &names);
    for (name, bytes) in names.iter().zip([&four[2], &Vec::new(), &three[0], &content(11, 400)]) {
        assert_eq!(digest(&fetched[*name]), Digest::of(bytes), "{name}");
    }
}

fn fetches_to_files(f: &Fixture) {
    let (executor, [three, _]) = with_maps(f);
    let big = vec![content(9, 5_000_000)];
    executor.write_map(1, 0, &big);
    let dir = TempDir::with_prefix("interop-files-").expect("the temporary directory is writable");
    let fetched =
        ours(f).fetch_to_files("1", &["shuffle_1_0_0", "shuffle_0_3_1", "shuffle_0_3_2"], dir.path());
    assert_eq!(digest(&fetched["shuffle_1_0_0"]), Digest::of(&big[0]));
    assert_eq!(digest(&fetched["shuffle_0_3_1"]), Digest::of(b""));
    assert_eq!(digest(&fetched["shuffle_0_3_2"]), Digest::of(&three[2]));
    let sparks = f.store().fetch("1", &["shuffle_1_0_0".to_owned()], true);
    assert_eq!(sparks["shuffle_1_0_0"].clone().digest(), Digest::of(&big[0]));
}

fn fetches_blocks_larger_than_any_buffer(f: &Fixture) {
    let executor = f.executor("1");
    let map = vec![content(1, 12_345_678), content(2, 1 << 20), content(3, 32 * 1024 + 1)];
    executor.write_map(0, 3, &map);
    let client =
        OurClient::with(&f.mode, f.address(), APP, SECRET, |settings| settings.max_fetch_to_memory(2 << 20));
    let fetched = client.fetch("1", &["shuffle_0_3_0", "shuffle_0_3_1", "shuffle_0_3_2"]);
    assert_eq!(kind(&fetched["shuffle_0_3_0"]), ErrorKind::Local);
    assert_eq!(digest(&fetched["shuffle_0_3_1"]), Digest::of(&map[1]));
    assert_eq!(digest(&fetched["shuffle_0_3_2"]), Digest::of(&map[2]));
    assert_eq!(digest(&ours(f).fetch("1", &["shuffle_0_3_0"])["shuffle_0_3_0"]), Digest::of(&map[0]));
}

fn fetches_many_blocks_over_several_connections(f: &Fixture) {
    let executor = f.executor("1");
    let partitions: Vec<Vec<u8>> = (0..1000).map(|n| content(n, (n % 97) as usize)).collect();
    executor.write_map(0, 3, &partitions);
    let client = OurClient::with(&f.mode, f.address(), APP, SECRET, |settings| {
        settings.connections_per_peer(3).max_blocks_in_flight(50)
    });
    let names: Vec<String> = (0..1000).map(|n| format!("shuffle_0_3_{n}")).collect();
    let fetched = client.fetch("1", &names.iter().map(String::as_str).collect::<Vec<_>>());
    for (name, bytes) in names.iter().zip(&partitions) {
        assert_eq!(digest(&fetched[name]), Digest::of(bytes), "{name}");
    }
}

fn loses_only_the_blocks_that_are_missing(f: &Fixture) {
    if f.service == Service::Ours {
        for text in ["shuffle_0_99_0.index does not exist", "has 4 offsets", "executor 77 of application"] {
            f.expect_warning(text);
        }
    }
    let (executor, [three, _]) = with_maps(f);
    executor.write("rdd_7_0", &content(11, 400));
    let client = ours(f);
    let names = ["shuffle_0_3_0", "shuffle_0_99_0", "shuffle_0_3_77", "shuffle_0_3_2", "rdd_9_9", "rdd_7_0"];
    let fetched = client.fetch("1", &names);
    for (name, bytes) in
        [("shuffle_0_3_0", &three[0]), ("shuffle_0_3_2", &three[2]), ("rdd_7_0", &content(11, 400))]
    {
        assert_eq!(digest(&fetched[name]), Digest::of(bytes), "{name}");
    }
    for name in ["shuffle_0_99_0", "shuffle_0_3_77", "rdd_9_9"] {
        assert_eq!(kind(&fetched[name]), ErrorKind::Missing, "{name}: {:?}", fetched[name]);
    }
    let fetched = client.fetch("77", &["shuffle_0_3_0", "shuffle_0_3_2"]);
    assert!(fetched.values().all(|outcome| kind(outcome) == ErrorKind::Missing), "{fetched:?}");
    assert_eq!(digest(&client.fetch("1", &["shuffle_0_3_0"])["shuffle_0_3_0"]), Digest::of(&three[0]));
}

fn learns_local_dirs(f: &Fixture) {
    if f.service == Service::Ours {
        f.allow_warning("executor 9 of application");
    }
    let (one, two) = (f.executor("1"), f.executor("2"));
    let client = ours(f);
    let dirs = client.local_dirs(&["2", "1"]).expect("both are registered");
    assert_eq!(dirs[&ExecutorId::new("1")], one.dir_names());
    assert_eq!(dirs[&ExecutorId::new("2")], two.dir_names());
    let error = client.local_dirs(&["1", "9"]).expect_err("9 is not registered");
    assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
}

fn removes_blocks(f: &Fixture) {
    let executor = f.executor("1");
    executor.write("rdd_1_2", b"x");
    executor.write("rdd_1_3", b"y");
    let client = ours(f);
    assert_eq!(client.remove("1", &["rdd_1_2", "rdd_9_9"]).expect("executor 1 is registered"), 1);
    assert!(!executor.path("rdd_1_2").exists() && executor.path("rdd_1_3").exists());
    let error = client.remove("9", &["rdd_1_3"]).expect_err("9 is not registered");
    assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
}

fn diagnoses_corruption(f: &Fixture) {
    let (executor, [three, four]) = with_maps(f);
    executor.write_checksums(0, 3, Algorithm::Adler32, &three);
    executor.write_checksums(0, 4, Algorithm::Adler32, &three);
    let (client, sound) = (ours(f), Algorithm::Adler32.of(&three[2]));
    let ask = |map, checksum, algorithm| {
        client.diagnose("1", (map, 2), checksum, algorithm).expect("executor 1 is registered")
    };
    assert_eq!(ask(3, sound, "ADLER32"), CorruptionCause::ChecksumVerifyPass);
    assert_eq!(ask(3, sound ^ 1, "ADLER32"), CorruptionCause::NetworkIssue);
    assert_eq!(ask(4, Algorithm::Adler32.of(&four[2]), "ADLER32"), CorruptionCause::DiskIssue);
    assert_eq!(ask(3, sound, "MD5"), CorruptionCause::UnsupportedChecksumAlgorithm);
}

fn reports_a_refused_directory(f: &Fixture) {
    if f.is_spark_before(3, 5) {
        return; // Spark validates since 3.5.
    }
    f.expect_warning("refused to register an executor");
    let executor = Executor { dirs: vec!["/var/empty/blockmgr-outside".into()], sub_dirs: 64 };
    let error = ours(f).register("1", &executor).expect_err("the directory is outside of the root");
    assert!(error.to_string().contains("/var/empty/blockmgr-outside"), "{error}");
    assert!(!error.is_retryable());
}

fn reports_a_wrong_secret_as_refused(f: &Fixture) {
    f.expect_warning("refused a handshake");
    let (executor, [three, _]) = with_maps(f);
    let client = OurClient::new(&f.mode, f.address(), APP, "sixteen-herons-wade-at-dusk");
    let error = client.register("1", &executor).expect_err("the secret is wrong");
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert!(error.to_string().contains("spark.authenticate.secret"), "{error}");
    let fetched = client.fetch("1", &["shuffle_0_3_0", "rdd_1_1"]);
    assert!(fetched.values().all(|outcome| kind(outcome) == ErrorKind::Refused), "{fetched:?}");
    assert_eq!(digest(&ours(f).fetch("1", &["shuffle_0_3_0"])["shuffle_0_3_0"]), Digest::of(&three[0]));
}

/// Executors belong to the application that registered them; asking in one's own name finds none of another's.
fn finds_nothing_as_another_application(f: &Fixture) {
    f.expect_warning("executor 1 of application app-other is not registered");
    with_maps(f);
    let other = OurClient::new(&f.mode, f.address(), "app-other", SECRET);
    let fetched = other.fetch("1", &["shuffle_0_3_0"]);
    assert_eq!(kind(&fetched["shuffle_0_3_0"]), ErrorKind::Missing, "{fetched:?}");
}

/// Spark does not negotiate: a service closes on another cipher or engine version than its own. Soon there is a typed
/// error that names the keys to compare.
#[test]
fn another_mode_than_the_service_has_is_an_error_that_names_the_keys() {
    Fixture::each_mode(Service::Spark, |f| {
        let (_executor, [three, _]) = with_maps(f);
        let (cipher, engine) = f.mode.session();
        let other = if cipher == Cipher::Ctr { Cipher::Gcm } else { Cipher::Ctr };
        let mut others = vec![Mode::aes(f.mode.version, other, engine)];
        // Spark 3.3 has no engine version 2.
        if f.mode.version != "3.3.4" {
            others.push(Mode::aes(f.mode.version, cipher, 3 - engine));
        }
        for mode in others {
            let begun = Instant::now();
            let client = OurClient::new(&mode, f.address(), APP, SECRET);
            let error = client.local_dirs(&["1"]).expect_err("the modes differ");
            assert!(begun.elapsed() < Duration::from_secs(20), "{error} after {:?}", begun.elapsed());
            assert_ne!(error.kind(), ErrorKind::Missing, "{mode}: {error}");
            assert_ne!(error.kind(), ErrorKind::Local, "{mode}: {error}");
            assert!(error.to_string().contains("spark.network.crypto."), "{mode}: {error}");
            eprintln!("{mode} to {}: {:?}: {error}", f.mode, error.kind());
        }
        assert_eq!(digest(&ours(f).fetch("1", &["shuffle_0_3_0"])["shuffle_0_3_0"]), Digest::of(&three[0]));
    });
}
