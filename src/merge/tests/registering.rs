//! The place where an application merges, and the executors that decide it.

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::shuffle::PushBlockStream;
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{APP, CLASS, Fixture};
use crate::disk::Proof;

fn dirs(fixture: &Fixture) -> Vec<String> {
    fixture.merger.local_dirs(&AppId::new(APP)).unwrap()
}

fn meta(name: &str) -> String {
    format!(r#"{CLASS}:{{"mergeDir":"{name}"}}}}}}"#)
}

#[test]
fn merge_directories_are_siblings_of_the_executors() {
    let fixture = Fixture::new();
    assert_eq!(dirs(&fixture), ["d1", "d2"].map(|dir| fixture.path(&format!("{dir}/merge_manager_1"))));
}

#[test]
fn without_attempts_the_first_executor_decides() {
    let fixture = Fixture::unregistered(|_| {});
    fixture.register(APP, &meta("first")).unwrap();
    fixture.register(APP, &meta("second")).unwrap();
    assert_eq!(dirs(&fixture), ["d1", "d2"].map(|dir| fixture.path(&format!("{dir}/first"))));
    // A numbered attempt is newer than one without a number, which is never newer than anything.
    fixture.register_attempt(0).unwrap();
    fixture.register(APP, &meta("third")).unwrap();
    assert_eq!(dirs(&fixture)[0], fixture.path("d1/merge_manager_0"));
}

#[test]
fn a_local_directory_needs_a_parent() {
    let fixture = Fixture::unregistered(|_| {});
    for dir in ["/", "blockmgr"] {
        let refused = fixture.merger.register(
            &OnLane::here(),
            &AppId::new(APP),
            [dir],
            64,
            &meta("m"),
            &fixture.blocks,
        );
        assert_eq!(
            refused.unwrap_err().spark_text(),
            format!(
                "java.lang.IllegalArgumentException: Invalid local directory without a parent dir: {dir}"
            )
        );
    }
}

#[test]
fn refuses_directories_that_no_root_holds() {
    let fixture = Fixture::unregistered(|_| {});
    // The executor's directory is the root itself, so a directory beside it lies outside the root.
    let dir = fixture.path("");
    let dir = dir.trim_end_matches('/');
    let refused =
        fixture.merger.register(&OnLane::here(), &AppId::new(APP), [dir], 64, &meta("m"), &fixture.blocks);
    let text = refused.unwrap_err().spark_text();
    let beside = fixture.base.parent().unwrap().join("m");
    assert_eq!(
        text,
        format!(
            "java.lang.IllegalArgumentException: localDirs entry is not under any of the service's local directories: \
             {}",
            beside.display()
        )
    );
}

#[test]
fn refuses_a_merge_directory_that_is_a_link_to_elsewhere() {
    let fixture = Fixture::unregistered(|_| {});
    std::fs::create_dir_all(fixture.base.join("d1")).unwrap();
    std::fs::create_dir_all(fixture.base.join("other/merge_manager_1")).unwrap();
    std::os::unix::fs::symlink("../other/merge_manager_1", fixture.base.join("d1/merge_manager_1")).unwrap();
    let text = fixture.register_attempt(1).unwrap_err();
    assert_eq!(
        text,
        format!(
            "java.lang.IllegalArgumentException: Merge directory merge_manager_1 escapes the local dir parent {} for \
             application {APP}",
            fixture.path("d1")
        )
    );
}

#[test]
fn an_attempt_does_not_delete_the_files_of_the_next_in_the_same_directory() {
    let fixture = Fixture::unregistered(|_| {});
    let meta = |attempt: i32| format!(r#"{CLASS}:{{"mergeDir":"merge_manager","attemptId":"{attempt}"}}"#);
    fixture.register(APP, &meta(1)).unwrap();
    fixture.register(APP, &meta(2)).unwrap();
    let of_the_next = PushBlockStream { app_attempt: 2, ..super::fixture::block(0, 0, 0, 0) };
    assert_eq!(fixture.push(of_the_next, b"x"), "ok");
    let paths = fixture.store.paths();
    fixture.merger.clean_up(&OnLane::here());
    assert_eq!((fixture.store.paths(), paths.len()), (paths, 3));
}

#[test]
fn a_newer_attempt_without_proof_is_believed_only_beside_the_one_before_it() {
    let attempt = |n: i32| format!(r#"{CLASS}:{{"mergeDir":"merge_manager_{n}","attemptId":"{n}"}}"#);
    for proof in [Proof::Unproven, Proof::Proven] {
        let fixture = Fixture::unregistered(|_| {});
        let register = |dirs: &[&str], n| {
            let dirs: Vec<String> = dirs.iter().map(|dir| fixture.path(dir)).collect();
            fixture.register_in(APP, &dirs, &attempt(n), proof)
        };
        register(&["d1/blockmgr-a", "d2/blockmgr-a"], 1).unwrap();
        let elsewhere = register(&["d3/blockmgr-b"], 2);
        if proof == Proof::Unproven {
            let refused = elsewhere.unwrap_err();
            assert!(refused.contains("Attempt 2 of application") && refused.contains(APP), "{refused}");
            assert_eq!(
                dirs(&fixture),
                ["d1", "d2"].map(|dir| fixture.path(&format!("{dir}/merge_manager_1")))
            );
        }
        // One of the disks may have failed in between.
        register(&["d2/blockmgr-c", "d4/blockmgr-c"], 3).unwrap();
        assert_eq!(dirs(&fixture), ["d2", "d4"].map(|dir| fixture.path(&format!("{dir}/merge_manager_3"))));
    }
}

#[test]
fn a_merge_directory_of_another_application_is_refused() {
    let fixture = Fixture::unregistered(|_| {});
    let thief = |name: &str| {
        let dirs = [fixture.path("d1/blockmgr-thief")];
        fixture.register_in("thief", &dirs, &meta(name), Proof::Proven)
    };
    let plain = fixture.register_in("thief", &[fixture.path("d1/blockmgr-thief")], CLASS, Proof::Proven);
    plain.unwrap();
    fixture.register_attempt(1).unwrap();
    let text = format!(
        "java.lang.IllegalArgumentException: localDirs entry belongs to another application: {}",
        fixture.path("d1/merge_manager_1")
    );
    assert_eq!(thief("merge_manager_1").unwrap_err(), text);
    assert_eq!(dirs(&fixture)[0], fixture.path("d1/merge_manager_1"));
    // The control.
    thief("merge_manager_thief").unwrap();
}

#[test]
fn a_forgotten_application_is_unknown_and_its_files_are_gone() {
    let fixture = Fixture::new();
    assert_eq!(fixture.push(super::fixture::block(0, 0, 0, 0), b"x"), "ok");
    let mut push = fixture.started(super::fixture::block(0, 0, 1, 0));
    assert!(fixture.merger.forget(&AppId::new(APP)));
    assert!(!fixture.merger.forget(&AppId::new(APP)));
    fixture.merger.clean_up(&OnLane::here());
    assert!(fixture.store.paths().is_empty());
    assert!(push.data(&OnLane::here(), &[b"x"]).is_err());
    let unknown = format!(
        "java.lang.IllegalArgumentException: application {APP} is not registered or NM was restarted."
    );
    assert_eq!(fixture.finalize(0, 0).unwrap_err(), unknown);
    assert_eq!(fixture.remove(0, 0).unwrap_err(), unknown);
    assert_eq!(fixture.meta(0, 0, 0).unwrap_err(), unknown);
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap_err(), unknown);
    assert_eq!(fixture.merger.counters().open_partitions, 0);
}
