//! Deletions: each disk has its own, they are kept until they are done, and a restart goes on with them.

use std::sync::Arc;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{APP, Fixture, block};
use super::restarting::Kept;
use crate::merge::memory::Step;
use crate::merge::{MergeSettings, Merger};

/// The index and the data of partition 0 lie on disk 0, its meta on disk 1.
fn merged() -> (Fixture, Arc<Kept>) {
    let mut fixture = Fixture::on_two_disks();
    let kept = Arc::new(Kept::default());
    fixture.merger = Arc::new(merger(&fixture, &kept));
    fixture.register_attempt(1).unwrap();
    assert_eq!(fixture.push(block(0, 0, 1, 0), b"merged"), "ok");
    fixture.finalize(0, 0).unwrap();
    assert_eq!(fixture.store.paths().len(), 3);
    (fixture, kept)
}

fn merger(fixture: &Fixture, kept: &Arc<Kept>) -> Merger {
    let merger = Merger::new(MergeSettings::default(), Arc::new(fixture.store.clone()));
    merger.with_journal(Arc::clone(kept) as _)
}

fn clean_up(fixture: &Fixture) {
    fixture.merger.retry_chores();
    fixture.merger.clean_up(&OnLane::here());
}

#[test]
fn a_disk_that_deletes_nothing_holds_up_no_other_and_is_tried_until_it_does() {
    for bad in [0, 1] {
        let (fixture, kept) = merged();
        fixture.store.fail(Step::Delete(bad), true);
        assert!(fixture.merger.forget(&AppId::new(APP)));
        for _ in 0..3 {
            clean_up(&fixture);
            assert_eq!(fixture.store.paths().len(), if bad == 0 { 2 } else { 1 }, "those of disk {bad}");
            assert_eq!(fixture.merger.counters().deletions, 1);
            assert_eq!(kept.all().len(), 1, "its record says that there is something");
        }
        fixture.store.fail(Step::Delete(bad), false);
        clean_up(&fixture);
        assert!(fixture.store.paths().is_empty());
        assert_eq!((fixture.merger.counters().deletions, kept.all().len()), (0, 0));
    }
}

#[test]
fn a_restart_goes_on_with_what_was_not_deleted() {
    for newer in [false, true] {
        let (mut fixture, kept) = merged();
        fixture.store.fail(Step::Delete(1), true);
        match newer {
            true => fixture.register_attempt(2).unwrap(),
            false => _ = fixture.merger.forget(&AppId::new(APP)),
        }
        clean_up(&fixture);
        assert_eq!(fixture.store.paths().len(), 1);
        fixture.store.fail(Step::Delete(1), false);
        fixture.merger = Arc::new(merger(&fixture, &kept));
        for known in kept.all() {
            match known.attempt {
                2 => fixture.merger.restore(&OnLane::here(), known, &fixture.blocks).unwrap(),
                _ => fixture.merger.restore_over(&OnLane::here(), known, &fixture.blocks),
            }
        }
        clean_up(&fixture);
        assert!(fixture.store.paths().is_empty());
        assert_eq!(kept.all().len(), usize::from(newer), "and an attempt that goes on is remembered");
    }
}

/// Its old files bear the names of new ones.
#[test]
fn an_application_that_comes_again_merges_when_its_old_files_are_deleted() {
    let (fixture, kept) = merged();
    fixture.store.fail(Step::Delete(1), true);
    fixture.merger.forget(&AppId::new(APP));
    fixture.register_attempt(1).unwrap();
    clean_up(&fixture);
    assert_eq!(fixture.push(block(0, 0, 2, 0), b"anew"), "2 shufflePush_0_0_2_0", "one block is not merged");
    fixture.store.fail(Step::Delete(1), false);
    clean_up(&fixture);
    assert_eq!(fixture.push(block(0, 0, 3, 0), b"anew"), "ok");
    fixture.finalize(0, 0).unwrap();
    clean_up(&fixture);
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), b"anew");
    assert_eq!(kept.all().len(), 1, "its record is that of the application that runs");
}

/// A partition of the same name, of another attempt.
#[test]
fn a_reader_of_one_attempt_is_no_reader_of_the_next() {
    let (fixture, _) = merged();
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), b"merged");
    fixture.store.fail(Step::Delete(0), true);
    fixture.store.fail(Step::Delete(1), true);
    fixture.register_attempt(2).unwrap();
    assert!(fixture.chunk(0, 0, 0, 0).is_err());
}
