//! Blocks by id. The worked example is one that Spark 4.3.0 was seen to answer.

use std::fs;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ReduceId};

use super::fixture::{Fixture, SHUFFLE, app, content, executor, on, replace, text};
use crate::disk::{BlockStore, DiskLimits, LookupError, Proof, Roots};

#[test]
fn serves_the_worked_example() {
    let fixture = Fixture::new();
    fixture.write_example();
    let output = fixture.resolve(3).unwrap();
    assert_eq!(output.partitions(), 4);
    let block = |reduce| content(&output.block(&on(), ReduceId(reduce)).unwrap());
    assert_eq!(block(0), b"AAAA");
    assert_eq!(block(1), b"");
    assert_eq!(block(2), b"CCCCC");
    assert_eq!(block(3), b"D");
    let batch = output.region(&on(), ReduceId(0), ReduceId(4)).unwrap();
    assert_eq!(content(&batch), b"AAAACCCCCD");
    assert_eq!(content(&output.region(&on(), ReduceId(1), ReduceId(3)).unwrap()), b"CCCCC");
}

#[test]
fn fails_in_sparks_words() {
    let fixture = Fixture::new();
    fixture.write_example();
    let output = fixture.resolve(3).unwrap();
    let backwards = output.region(&on(), ReduceId(3), ReduceId(1)).unwrap_err();
    assert_eq!(backwards.spark_text(), "count : -5 (expected: >= 0)");
    for reduce in [4, -1, i32::MAX, i32::MIN] {
        let beyond = output.block(&on(), ReduceId(reduce)).unwrap_err();
        assert_eq!(beyond.spark_text(), "java.lang.IndexOutOfBoundsException");
    }
    let text = format!(
        "java.lang.RuntimeException: Failed to open file: {}",
        fixture.index_path(6).to_str().unwrap()
    );
    for _ in 0..2 {
        assert_eq!(fixture.resolve(6).unwrap_err().spark_text(), text);
    }
    let unknown =
        fixture.store.resolve_map(&on(), &app(), &ExecutorId::new("9"), SHUFFLE, MapId(3)).unwrap_err();
    assert_eq!(
        unknown.spark_text(),
        "java.lang.RuntimeException: Executor is not registered (appId=app-1, execId=9)"
    );
}

#[test]
fn divides_by_zero_like_spark_when_no_place_is_registered() {
    let fixture = Fixture::new();
    let dirs = [text(&fixture.dir)];
    let resolve = |dirs: &[String], sub_dirs| {
        let exec = ExecutorId::new("2");
        fixture.store.register(&on(), &app(), &exec, dirs, sub_dirs, "sort", Proof::Proven).unwrap();
        fixture.store.resolve_map(&on(), &app(), &exec, SHUFFLE, MapId(3)).unwrap_err().spark_text()
    };
    assert_eq!(resolve(&[], 64), "java.lang.ArithmeticException: / by zero");
    assert_eq!(resolve(&dirs, 0), "java.lang.ArithmeticException: / by zero");
}

#[test]
fn shows_paths_as_java_normalises_them() {
    let fixture = Fixture::new();
    let dirs = [format!("{}//spark-1/./blockmgr-1/", text(&fixture.root))];
    fixture.store.register(&on(), &app(), &executor(), &dirs, 64, "sort", Proof::Proven).unwrap();
    fixture.write_example();
    assert_eq!(content(&fixture.resolve(3).unwrap().block(&on(), ReduceId(3)).unwrap()), b"D");
    let shown = fixture.resolve(6).unwrap_err().spark_text();
    let expected = format!("{}/spark-1/./blockmgr-1/", text(&fixture.root));
    assert!(shown.contains(&expected) && !shown.contains("//"), "{shown}");
}

#[test]
fn serves_from_the_root_itself() {
    let fixture = Fixture::new();
    let dirs = [text(&fixture.root)];
    fixture.store.register(&on(), &app(), &executor(), &dirs, 64, "sort", Proof::Proven).unwrap();
    fs::create_dir(fixture.root.join("17")).unwrap();
    fs::write(fixture.root.join("17/rdd_1_2"), b"cached").unwrap();
    let region = fixture.store.rdd_block(&on(), &app(), &executor(), 1, 2).unwrap().unwrap();
    assert_eq!(content(&region), b"cached");
}

#[test]
fn serves_empty_partitions_without_a_data_file() {
    let fixture = Fixture::new();
    fixture.write_map(1, &[b"", b"", b""]);
    for _ in 0..2 {
        let output = fixture.resolve(1).unwrap();
        assert!(output.region(&on(), ReduceId(0), ReduceId(3)).unwrap().is_empty());
    }
    assert_eq!(fixture.store.counters().index_hits, 1);

    fixture.write_example();
    fs::remove_file(fixture.data_path(3)).unwrap();
    let output = fixture.resolve(3).unwrap();
    assert!(output.block(&on(), ReduceId(1)).unwrap().is_empty());
    let missing = output.block(&on(), ReduceId(0)).unwrap_err();
    assert!(missing.spark_text().starts_with("java.io.IOException: "), "{}", missing.spark_text());
    assert!(missing.to_string().ends_with("shuffle_0_3_0.data does not exist"), "{missing}");
}

#[test]
fn accepts_an_index_with_a_tail_and_finds_nothing_in_an_empty_one() {
    let fixture = Fixture::new();
    fixture.write_example();
    let mut index = fs::read(fixture.index_path(3)).unwrap();
    index.extend([1, 2, 3]);
    replace(&fixture.index_path(3), &index);
    assert_eq!(content(&fixture.resolve(3).unwrap().block(&on(), ReduceId(3)).unwrap()), b"D");
    replace(&fixture.index_path(4), b"");
    let empty = fixture.resolve(4).unwrap().block(&on(), ReduceId(0)).unwrap_err();
    assert_eq!(empty.spark_text(), "java.lang.IndexOutOfBoundsException");
}

#[test]
fn fails_a_damaged_index_only_when_a_range_is_asked() {
    let fixture = Fixture::new();
    fixture.write_example();
    fixture.write_index(3, &[2, 4, 10]);
    let error = fixture.resolve(3).unwrap().block(&on(), ReduceId(0)).unwrap_err();
    assert!(matches!(error, LookupError::DamagedIndex { .. }), "{error}");
    fixture.write_index(3, &[0, 4, 3, 10]);
    let error = fixture.resolve(3).unwrap().block(&on(), ReduceId(1)).unwrap_err();
    assert_eq!(error.spark_text(), "count : -1 (expected: >= 0)");
}

#[test]
fn refuses_an_index_above_the_bound() {
    let fixture = Fixture::with(DiskLimits { max_index_bytes: 32, ..DiskLimits::default() }, None);
    fixture.write_example();
    let error = fixture.resolve(3).unwrap_err();
    assert!(matches!(error, LookupError::IndexTooLarge { size: 40, limit: 32, .. }), "{error}");
    assert!(error.spark_text().starts_with("java.lang.RuntimeException: Failed to open file: "));
}

#[test]
fn serves_cached_partitions_whole() {
    let fixture = Fixture::new();
    let rdd = |split| fixture.store.rdd_block(&on(), &app(), &executor(), 1, split);
    assert!(rdd(1).unwrap().is_none());
    fs::write(fixture.place("rdd_1_2"), b"whole file").unwrap();
    fs::write(fixture.place("rdd_1_3"), b"").unwrap();
    assert_eq!(content(&rdd(2).unwrap().unwrap()), b"whole file");
    assert!(rdd(3).unwrap().unwrap().is_empty());
    replace(&fixture.place("rdd_1_2"), b"another  ");
    assert_eq!(content(&rdd(2).unwrap().unwrap()), b"another  ");
    fs::remove_file(fixture.place("rdd_1_2")).unwrap();
    assert!(rdd(2).unwrap().is_none());
    let unknown = fixture.store.rdd_block(&on(), &AppId::new("app-2"), &executor(), 1, 2).unwrap_err();
    assert!(matches!(unknown, LookupError::NotRegistered { .. }));
}

#[test]
fn chooses_among_directories_on_several_roots() {
    let temp = tempfile::tempdir().unwrap();
    let base = temp.path().canonicalize().unwrap();
    let dirs: Vec<_> = ["a", "b"].map(|name| base.join(name)).into();
    dirs.iter().for_each(|dir| fs::create_dir(dir).unwrap());
    let store = BlockStore::new(Roots::open(&dirs).unwrap(), DiskLimits::default());
    let texts: Vec<_> = dirs.iter().map(|dir| text(&dir.join("mgr"))).collect();
    store.register(&on(), &app(), &executor(), &texts, 64, "sort", Proof::Unproven).unwrap();
    // Place of the name among two directories: the second, sub-directory 2b.
    fs::create_dir_all(base.join("b/mgr/2b")).unwrap();
    fs::write(base.join("b/mgr/2b/rdd_1_2"), b"b").unwrap();
    assert_eq!(content(&store.rdd_block(&on(), &app(), &executor(), 1, 2).unwrap().unwrap()), b"b");
}
