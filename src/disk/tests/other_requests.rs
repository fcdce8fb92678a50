//! RemoveBlocks and DiagnoseCorruption, as Spark 4.3.0 was seen to answer.

use std::fs;
use std::os::unix::fs::symlink;

use sealed_shuffle_protocol::ids::{ExecutorId, MapId, ReduceId};
use sealed_shuffle_protocol::shuffle::CorruptionCause;

use super::fixture::{Fixture, SHUFFLE, app, executor, on, replace};
use crate::disk::checksum::{Algorithm, Checksum};

use crate::disk::{Diagnosis, LookupError};

#[test]
fn removes_by_exact_name_and_counts() {
    for fixture in Fixture::confined_both_ways() {
        let names = ["rdd_1_2", "shuffle_0_8_0.data"];
        names.iter().for_each(|name| fs::write(fixture.place(name), b"x").unwrap());
        fs::write(fixture.dir.join("x"), b"x").unwrap();
        let ids = ["rdd_1_2", "rdd_1_2", "../x", "", "a\\b", "shuffle_0_8_0.data", ".", "..", "a\0b"];
        let removed = fixture.remove(&ids).unwrap();
        assert_eq!((removed.count, removed.failures.len()), (2, 0));
        assert!(fixture.dir.join("x").exists());
        assert!(names.iter().all(|name| !fixture.place(name).exists()));
    }
}

#[test]
fn removes_only_names_of_the_shapes_that_spark_removes() {
    let fixture = Fixture::new();
    let removed = [
        "rdd_1_2",
        "shuffle_0_8_0.data",
        "shuffle_0_8_0.index",
        "shuffle_0_9223372036854775807_0.checksum.ADLER32",
    ];
    let kept = [
        "shuffleMerged_application_1_1_0_0_0.data",
        "shuffle_0_8.data",
        "shuffle_0_8_0_0.data",
        "shuffle_0_8_0",
        "shuffle_0_8_0.data.4d8b5b5e-0000-0000-0000-000000000000",
        "shuffle_0_8_0.checksum.",
        "shuffle_0_x_0.index",
        "rdd_1",
        "rdd_1_2_3",
        "rdd_-1_2",
        "rdd__2",
        "broadcast_0_piece0",
        "temp_shuffle_4d8b5b5e-0000-0000-0000-000000000000",
        "x",
    ];
    removed.iter().chain(&kept).for_each(|name| fs::write(fixture.place(name), b"x").unwrap());
    let all: Vec<&str> = kept.iter().chain(&removed).copied().collect();
    let answer = fixture.remove(&all).unwrap();
    assert_eq!((answer.count, answer.failures.len()), (4, 0));
    assert!(removed.iter().all(|name| !fixture.place(name).exists()));
    assert!(kept.iter().all(|name| fixture.place(name).exists()));
}

#[test]
fn removes_no_directory_and_nothing_behind_a_symlink() {
    for fixture in Fixture::confined_both_ways() {
        fs::create_dir(fixture.place("rdd_1_2")).unwrap();
        let outside = fixture.root.with_file_name("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("rdd_1_3"), b"x").unwrap();
        let sub = fixture.place("rdd_1_3").parent().unwrap().to_path_buf();
        fs::remove_dir(&sub).unwrap();
        symlink(&outside, &sub).unwrap();
        let removed = fixture.remove(&["rdd_1_2", "rdd_1_3"]).unwrap();
        assert_eq!((removed.count, removed.failures.len()), (0, 2));
        assert!(outside.join("rdd_1_3").exists());
    }
}

#[test]
fn removing_needs_a_registered_executor() {
    let fixture = Fixture::new();
    let error = fixture.store.removal_steps(&app(), &ExecutorId::new("9"), ["rdd_1_2"]).unwrap_err();
    assert_eq!(
        error.spark_text(),
        "java.lang.RuntimeException: Executor is not registered (appId=app-1, execId=9)"
    );
}

#[test]
fn a_removed_file_is_no_longer_held() {
    let fixture = Fixture::new();
    fixture.write_example();
    fixture.resolve(3).unwrap();
    let ids = ["shuffle_0_3_0.index", "shuffle_0_3_0.data"];
    assert_eq!(fixture.remove(&ids).unwrap().count, 2);
    let counters = fixture.store.counters();
    assert_eq!((counters.files_open, counters.indexes_cached), (0, 0));
}

fn of(algorithm: Algorithm, bytes: &[u8]) -> i64 {
    let mut checksum = Checksum::new(algorithm);
    checksum.update(bytes);
    checksum.value()
}

/// The worked example with ADLER32 checksums that are right, and CRC32 ones of which the fourth is wrong.
fn diagnosed() -> Fixture {
    let fixture = Fixture::new();
    fixture.write_example();
    let partitions: [&[u8]; 4] = [b"AAAA", b"", b"CCCCC", b"D"];
    let stored = |algorithm, last: i64| {
        let mut values = partitions.map(|partition| of(algorithm, partition));
        values[3] += last;
        values.iter().flat_map(|value| value.to_be_bytes()).collect::<Vec<u8>>()
    };
    replace(&fixture.place("shuffle_0_3_0.checksum.ADLER32"), &stored(Algorithm::Adler32, 0));
    replace(&fixture.place("shuffle_0_3_0.checksum.CRC32"), &stored(Algorithm::Crc32, 1));
    fixture.write_map(4, &[b"AAAA"]);
    fixture
}

fn diagnose(
    fixture: &Fixture,
    map: i64,
    reduce: i32,
    checksum: i64,
    algorithm: &str,
) -> Result<CorruptionCause, LookupError> {
    let (map, reduce) = (MapId(map), ReduceId(reduce));
    let block = Diagnosis { shuffle: SHUFFLE, map, reduce, checksum, algorithm };
    fixture.store.diagnose(&on(), &app(), &executor(), &block).map(|examination| examination.finish(&on()))
}

#[test]
fn diagnoses_the_worked_example() {
    let fixture = diagnosed();
    let cause = |map, reduce, checksum, algorithm| {
        diagnose(&fixture, map, reduce, checksum, algorithm).unwrap() as u8
    };
    assert_eq!(cause(3, 0, 0x028e0105, "ADLER32"), 3);
    assert_eq!(cause(3, 0, 1, "ADLER32"), 1);
    assert_eq!(cause(3, 1, 1, "ADLER32"), 3);
    assert_eq!(cause(3, 3, of(Algorithm::Crc32, b"D"), "CRC32"), 0);
    assert_eq!(cause(4, 0, 1, "ADLER32"), 2);
    assert_eq!(cause(3, 0, 1, "MD5"), 4);
    assert_eq!(cause(3, 0, 1, "adler32"), 4);
    assert_eq!(cause(3, 0, 1, "CRC32C"), 2);
    let beyond = diagnose(&fixture, 3, 9, 1, "ADLER32").unwrap_err();
    assert_eq!(beyond.spark_text(), "java.lang.IndexOutOfBoundsException");
}

#[test]
fn lookup_failures_come_before_the_algorithm() {
    let fixture = diagnosed();
    let no_index = diagnose(&fixture, 6, 0, 1, "MD5").unwrap_err();
    assert!(no_index.spark_text().starts_with("java.lang.RuntimeException: Failed to open file: "));
    assert!(diagnose(&fixture, 3, 9, 1, "MD5").is_err());
    let block =
        Diagnosis { shuffle: SHUFFLE, map: MapId(3), reduce: ReduceId(0), checksum: 1, algorithm: "MD5" };
    let unknown = fixture.store.diagnose(&on(), &app(), &ExecutorId::new("9"), &block).unwrap_err();
    assert!(unknown.spark_text().starts_with("java.lang.NullPointerException: "));
}

#[test]
fn what_cannot_be_read_is_an_unknown_issue() {
    let fixture = diagnosed();
    let right = of(Algorithm::Adler32, b"AAAA");
    let checksums = fixture.place("shuffle_0_3_0.checksum.ADLER32");
    let whole = fs::read(&checksums).unwrap();
    replace(&checksums, &whole[..7]);
    assert_eq!(diagnose(&fixture, 3, 0, right, "ADLER32").unwrap(), CorruptionCause::UnknownIssue);
    replace(&checksums, &whole);
    fs::remove_file(fixture.data_path(3)).unwrap();
    assert_eq!(diagnose(&fixture, 3, 0, right, "ADLER32").unwrap(), CorruptionCause::UnknownIssue);
    assert_eq!(diagnose(&fixture, 3, 1, 1, "ADLER32").unwrap(), CorruptionCause::ChecksumVerifyPass);
    symlink("/dev/zero", fixture.place("shuffle_0_3_0.checksum.CRC32C")).unwrap();
    let escapes = diagnose(&fixture, 3, 0, right, "CRC32C").unwrap_err();
    assert!(matches!(escapes, LookupError::Escapes { .. }));
}
