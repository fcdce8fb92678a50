//! Layouts that an executor, or whoever writes to its directories, could prepare.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use sealed_shuffle_protocol::ids::ReduceId;
use sealed_shuffle_transport::region::ShownPath;

use super::fixture::{Fixture, app, content, executor, on, replace, text};
use crate::confined::OpenFailure;
use crate::disk::{DiskLimits, LookupError, OpenError, Proof};

#[test]
fn refuses_a_symlinked_file() {
    for fixture in Fixture::confined_both_ways() {
        fixture.write_example();
        let outside = fixture.root.with_file_name("outside");
        fs::rename(fixture.data_path(3), &outside).unwrap();
        symlink(&outside, fixture.data_path(3)).unwrap();
        let error = fixture.resolve(3).unwrap_err();
        let expected = format!(
            "java.lang.RuntimeException: Block file {} resolves outside the executor's registered local directories",
            text(&fixture.data_path(3))
        );
        assert_eq!(error.spark_text(), expected);
        fs::rename(fixture.index_path(3), &outside).unwrap();
        symlink(&outside, fixture.index_path(3)).unwrap();
        assert!(matches!(fixture.resolve(3), Err(LookupError::Escapes { .. })));
        symlink(&outside, fixture.place("rdd_1_2")).unwrap();
        assert!(matches!(
            fixture.store.rdd_block(&on(), &app(), &executor(), 1, 2),
            Err(LookupError::Escapes { .. })
        ));
    }
}

#[test]
fn refuses_a_symlinked_directory_even_to_inside() {
    for fixture in Fixture::confined_both_ways() {
        fixture.write_example();
        let sub = fixture.data_path(3).parent().map(Path::to_path_buf).unwrap();
        let moved = fixture.dir.join("moved");
        fs::rename(&sub, &moved).unwrap();
        symlink(&moved, &sub).unwrap();
        assert!(matches!(fixture.resolve(3), Err(LookupError::Escapes { .. })));
    }
}

#[test]
fn a_directory_swapped_for_a_symlink_never_yields_another_file() {
    for fixture in Fixture::confined_both_ways() {
        fixture.write_example();
        fixture.resolve(3).unwrap();
        // The whole directory is exchanged for a link to one with the same names and other bytes.
        let other = fixture.root.with_file_name("other");
        fs::create_dir(&other).unwrap();
        for file in [fixture.index_path(3), fixture.data_path(3)] {
            let copy = other.join(file.strip_prefix(&fixture.dir).unwrap());
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(&file, copy).unwrap();
        }
        fs::rename(&fixture.dir, fixture.root.join("kept")).unwrap();
        symlink(&other, &fixture.dir).unwrap();
        assert!(matches!(fixture.resolve(3), Err(LookupError::Escapes { .. })));
    }
}

#[test]
fn refuses_what_is_no_regular_file_without_hanging() {
    for fixture in Fixture::confined_both_ways() {
        fixture.write_example();
        fs::remove_file(fixture.data_path(3)).unwrap();
        fs::create_dir(fixture.data_path(3)).unwrap();
        let error = fixture.resolve(3).unwrap().block(&on(), ReduceId(0)).unwrap_err();
        assert!(error.to_string().contains("is a directory"), "{error}");
        fs::remove_dir(fixture.data_path(3)).unwrap();
        rustix::fs::mknodat(CWD, fixture.data_path(3), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let error = fixture.resolve(3).unwrap().block(&on(), ReduceId(0)).unwrap_err();
        assert!(error.to_string().contains("is a fifo"), "{error}");
        fs::rename(fixture.data_path(3), fixture.index_path(3)).unwrap();
        let error = fixture.resolve(3).unwrap_err();
        assert!(matches!(&error, LookupError::Index { source: OpenError::NotRegular { .. } }), "{error}");
        assert!(error.spark_text().starts_with("java.lang.RuntimeException: Failed to open file: "));
    }
}

#[test]
fn refuses_a_file_in_place_of_a_directory() {
    for fixture in Fixture::confined_both_ways() {
        fs::remove_dir_all(&fixture.dir).unwrap();
        fs::write(&fixture.dir, b"").unwrap();
        let error = fixture.store.rdd_block(&on(), &app(), &executor(), 1, 2);
        assert!(matches!(error, Ok(None)));
    }
}

#[test]
fn walks_only_plain_components() {
    for fixture in Fixture::confined_both_ways() {
        let roots = fixture.store.roots();
        fs::write(fixture.root.with_file_name("secret"), b"").unwrap();
        let dir = roots.accept(&on(), &text(&fixture.root)).unwrap();
        for path in ["../secret", "spark-1/../../secret", "/etc/passwd", "spark-1/../../root/../secret"] {
            let failure = roots.disk(&dir).open_file(&on(), path).map(|_| ()).unwrap_err();
            assert_eq!(failure, OpenFailure::Escapes, "{path}");
        }
    }
}

#[test]
fn never_mixes_an_old_index_with_new_data() {
    let fixture = Fixture::new();
    fixture.write_example();
    assert_eq!(content(&fixture.resolve(3).unwrap().block(&on(), ReduceId(0)).unwrap()), b"AAAA");
    // The same sizes everywhere, another inode: only the identity tells.
    fixture.write_map(3, &[b"xx", b"yyyyy", b"zz", b"!"]);
    let output = fixture.resolve(3).unwrap();
    assert_eq!(content(&output.block(&on(), ReduceId(0)).unwrap()), b"xx");
    assert_eq!(content(&output.block(&on(), ReduceId(1)).unwrap()), b"yyyyy");
}

#[test]
fn reads_the_pair_anew_when_either_file_was_replaced() {
    let fixture = Fixture::new();
    fixture.write_example();
    fixture.resolve(3).unwrap();
    replace(&fixture.data_path(3), b"BBBBDDDDDE");
    assert_eq!(content(&fixture.resolve(3).unwrap().block(&on(), ReduceId(0)).unwrap()), b"BBBB");
    fixture.write_index(3, &[0, 1, 4, 9, 10]);
    assert_eq!(content(&fixture.resolve(3).unwrap().block(&on(), ReduceId(0)).unwrap()), b"B");
    assert_eq!(fixture.store.counters().index_misses, 3);
}

#[test]
fn fails_blocks_whose_data_file_has_another_length() {
    let fixture = Fixture::new();
    fixture.write_example();
    fixture.resolve(3).unwrap();
    for wrong in [b"AAAACCCCC".as_slice(), b"AAAACCCCCDD", b""] {
        fs::write(fixture.data_path(3), wrong).unwrap();
        let output = fixture.resolve(3).unwrap();
        let error = output.block(&on(), ReduceId(0)).unwrap_err();
        assert!(matches!(error, LookupError::Mismatch { expected: 10, .. }), "{error}");
        assert!(output.block(&on(), ReduceId(1)).unwrap().is_empty());
    }
    fs::write(fixture.data_path(3), b"AAAACCCCCD").unwrap();
    assert_eq!(content(&fixture.resolve(3).unwrap().block(&on(), ReduceId(3)).unwrap()), b"D");
}

#[test]
fn stops_serving_a_deleted_index() {
    let fixture = Fixture::new();
    fixture.write_example();
    fixture.resolve(3).unwrap();
    fs::remove_file(fixture.index_path(3)).unwrap();
    assert!(matches!(fixture.resolve(3), Err(LookupError::Index { source: OpenError::Missing { .. } })));
    assert_eq!(fixture.store.counters().indexes_cached, 0);
}

#[test]
fn says_who_has_no_permission_and_what_to_do() {
    let path = ShownPath::new("/data/blockmgr-1/0c/shuffle_0_0_0.data");
    let uid = rustix::process::geteuid().as_raw();
    for errno in [Errno::ACCESS, Errno::PERM] {
        let error = LookupError::data(OpenFailure::from(errno).at(path.clone()));
        let text = error.to_string();
        assert!(text.contains(&format!("as uid {uid}")) && text.contains("mode 0700"), "{text}");
        assert!(!error.spark_text().contains("uid"));
    }
    if uid == 0 {
        println!("skipped with real files: root may read everything");
        return;
    }
    let fixture = Fixture::new();
    fixture.write_example();
    let mode = |mode| fs::set_permissions(&fixture.dir, std::os::unix::fs::PermissionsExt::from_mode(mode));
    mode(0).unwrap();
    let error = fixture.resolve(3).unwrap_err();
    mode(0o700).unwrap();
    assert!(matches!(error, LookupError::Index { source: OpenError::Denied { .. } }), "{error}");
}

#[test]
fn log_lines_cannot_be_forged_by_a_directory_name() {
    let fixture = Fixture::with(DiskLimits::default(), None);
    let dirs = [format!("{}/a\nERROR forged", text(&fixture.root))];
    fixture.store.register(&on(), &app(), &executor(), &dirs, 64, "sort", Proof::Proven).unwrap();
    let error = fixture.resolve(3).unwrap_err();
    assert!(!error.to_string().contains('\n'), "{error}");
}
