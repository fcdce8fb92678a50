//! The state that survives a restart: a journal that keeps its records, and a second merger over the same files.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use sealed_shuffle_protocol::ids::{AppId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::FinalizeShuffleMerge;
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use sealed_shuffle_transport::lane::OnLane;
use tokio::sync::oneshot;

use super::fixture::{APP, Fixture, answer, block};
use crate::merge::{Journal, MergeDirs, MergeSettings, Merger, StoredAttempt};
use crate::receipt::WriteReceipt;

/// Attempts, and the newest finalized merge of each of their shuffles.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<BTreeMap<(String, i32), StoredAttempt>>);

impl Kept {
    fn with(&self, app: &AppId, attempt: i32, change: impl FnOnce(&mut StoredAttempt)) {
        change(self.0.lock().unwrap().get_mut(&(app.as_str().to_owned(), attempt)).unwrap());
    }

    pub(super) fn all(&self) -> Vec<StoredAttempt> {
        self.0.lock().unwrap().values().cloned().collect()
    }

    fn finalized(&self) -> Vec<(i32, i32)> {
        let mut all: Vec<_> =
            self.all().iter().flat_map(|app| app.finalized.clone()).map(|(s, m)| (s.0, m.0)).collect();
        all.sort_unstable();
        all
    }
}

impl Journal for Kept {
    fn registered(&self, app: &AppId, attempt: i32, dirs: &MergeDirs, key: Option<&WrappedKey>) {
        let known = StoredAttempt {
            app: app.clone(),
            attempt,
            dirs: dirs.texts().map(str::to_owned).collect(),
            sub_dirs: dirs.sub_dirs(),
            key: key.cloned(),
            finalized: Vec::new(),
        };
        self.0.lock().unwrap().insert((app.as_str().to_owned(), attempt), known);
    }

    fn over(&self, app: &AppId, attempt: i32) {
        self.0.lock().unwrap().remove(&(app.as_str().to_owned(), attempt));
    }

    fn finalized(
        &self,
        app: &AppId,
        attempt: i32,
        shuffle: ShuffleId,
        merge: ShuffleMergeId,
    ) -> WriteReceipt {
        self.with(app, attempt, |known| {
            known.finalized.retain(|(other, _)| *other != shuffle);
            known.finalized.push((shuffle, merge));
        });
        WriteReceipt::at_once(true)
    }

    fn superseded(&self, app: &AppId, attempt: i32, shuffle: ShuffleId, merge: ShuffleMergeId) {
        self.with(app, attempt, |known| known.finalized.retain(|kept| *kept != (shuffle, merge)));
    }
}

fn with_journal() -> (Fixture, Arc<Kept>) {
    let mut fixture = Fixture::unregistered(|_| {});
    let kept = Arc::new(Kept::default());
    fixture.merger = Arc::new(merger(&fixture).with_journal(kept.clone()));
    fixture.register_attempt(1).unwrap();
    (fixture, kept)
}

fn merger(fixture: &Fixture) -> Merger {
    let settings = MergeSettings { min_chunk: 16, ..MergeSettings::default() };
    Merger::new(settings, Arc::new(fixture.store.clone()))
}

/// The same files, and the records of the journal.
fn restart(mut fixture: Fixture, kept: &Kept) -> Fixture {
    fixture.merger = Arc::new(merger(&fixture));
    for known in kept.all() {
        fixture.merger.restore(&OnLane::here(), known, &fixture.blocks).unwrap();
    }
    fixture
}

#[test]
fn bytes_that_an_earlier_server_merged_count_for_the_quota_until_they_are_deleted() {
    let (mut fixture, kept) = with_journal();
    assert_eq!(fixture.push(block(0, 0, 1, 0), &[1; 900]), "ok");
    fixture.finalize(0, 0).unwrap();
    // They are weighed where they lie, and this store has them in memory.
    for path in fixture.store.paths() {
        std::fs::create_dir_all(std::path::Path::new(&path).parent().unwrap()).unwrap();
        std::fs::write(&path, fixture.store.file(&path).unwrap()).unwrap();
    }
    let settings = MergeSettings { min_chunk: 16, merged_bytes: Some(1000), ..MergeSettings::default() };
    fixture.merger = Arc::new(Merger::new(settings, Arc::new(fixture.store.clone())));
    for known in kept.all() {
        fixture.merger.restore(&OnLane::here(), known, &fixture.blocks).unwrap();
    }
    let push = |map: i32, bytes: usize| {
        let on = OnLane::here();
        let mut push = fixture.merger.begin(&on, &block(1, 0, map, 0), bytes as u64).unwrap();
        push.data(&on, &[&vec![1; bytes]]).unwrap();
        answer(push.complete(&on))
    };
    assert_eq!(push(1, 101), "2 shufflePush_1_0_1_0");
    assert_eq!(push(2, 100), "ok");
    assert_eq!(push(3, 1), "2 shufflePush_1_0_3_0");
    // Of the finalized merge nobody knows the partitions any more: its files stay, and count, until the application ends.
    fixture.merger.forget(&AppId::new(APP));
    fixture.merger.clean_up(&OnLane::here());
    fixture.register_attempt(1).unwrap();
    assert_eq!(push(1, 1000), "ok");
}

#[test]
fn finalized_merges_are_served_and_closed_and_open_ones_begin_anew() {
    let (fixture, kept) = with_journal();
    assert_eq!(fixture.push(block(0, 0, 1, 0), b"finalized"), "ok");
    fixture.finalize(0, 0).unwrap();
    assert_eq!(fixture.push(block(1, 0, 1, 0), b"open"), "ok");
    let fixture = restart(fixture, &kept);
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), b"finalized");
    assert_eq!(fixture.push(block(0, 0, 2, 0), b"x"), "1 shufflePush_0_0_2_0");
    assert_eq!(fixture.push(block(1, 0, 2, 0), b"anew"), "ok");
    fixture.finalize(1, 0).unwrap();
    assert_eq!(fixture.chunk(1, 0, 0, 0).unwrap(), b"anew");
    // Nobody knows the partitions of the finalized merge any more.
    fixture.remove(0, -1).unwrap();
    fixture.merger.clean_up(&OnLane::here());
    assert_eq!(fixture.store.paths().len(), 6);
}

#[test]
fn the_journal_has_the_newest_merge_of_each_shuffle() {
    let (fixture, kept) = with_journal();
    fixture.finalize(0, 0).unwrap();
    fixture.finalize(3, 2).unwrap();
    assert_eq!(kept.finalized(), [(0, 0), (3, 2)]);
    assert_eq!(fixture.push(block(0, 1, 1, 0), b"newer"), "ok");
    assert_eq!(kept.finalized(), [(3, 2)]);
    fixture.remove(0, -1).unwrap();
    assert_eq!(kept.finalized(), [(0, 1), (3, 2)]);
    fixture.remove(3, 7).unwrap();
    fixture.remove(9, 4).unwrap();
    fixture.remove(10, -1).unwrap();
    assert_eq!(kept.finalized(), [(0, 1), (3, 7), (9, 4)]);
    assert_eq!(fixture.push(block(4, 0, 1, 0), b"open"), "ok");
    fixture.finalize(4, 5).unwrap();
    assert_eq!(kept.finalized(), [(0, 1), (3, 7), (4, 5), (9, 4)]);
}

#[test]
fn the_journal_forgets_attempts_that_are_over() {
    let (fixture, kept) = with_journal();
    fixture.finalize(0, 0).unwrap();
    fixture.register_attempt(2).unwrap();
    fixture.register_attempt(1).unwrap();
    assert_eq!(kept.all().len(), 2, "its files are not deleted yet");
    fixture.merger.clean_up(&OnLane::here());
    let all = kept.all();
    assert_eq!((all.len(), all[0].attempt, all[0].sub_dirs), (1, 2, 64));
    assert_eq!(all[0].dirs, ["d1", "d2"].map(|dir| fixture.path(&format!("{dir}/merge_manager_2"))));
    fixture.merger.forget(&AppId::new(APP));
    fixture.merger.clean_up(&OnLane::here());
    assert!(kept.all().is_empty());
}

#[test]
fn directories_are_judged_anew_on_the_way_back() {
    let (fixture, kept) = with_journal();
    let mut known = kept.all().remove(0);
    // One that lies beneath no root any more keeps its place among the others.
    known.dirs[0] = "/somewhere/else".to_owned();
    merger(&fixture).restore(&OnLane::here(), known, &fixture.blocks).unwrap();
    let mut known = kept.all().remove(0);
    known.dirs.iter_mut().for_each(|dir| *dir = "/somewhere/else".to_owned());
    let refused = merger(&fixture).restore(&OnLane::here(), known, &fixture.blocks).unwrap_err();
    assert!(refused.spark_text().contains("not under any of the service's local directories"), "{refused}");
}

/// The disk of the journal does not answer.
#[derive(Debug, Default)]
struct Hung(Mutex<Vec<oneshot::Sender<bool>>>);

impl Journal for Hung {
    fn registered(&self, _: &AppId, _: i32, _: &MergeDirs, _: Option<&WrappedKey>) {}

    fn over(&self, _: &AppId, _: i32) {}

    fn finalized(&self, _: &AppId, _: i32, _: ShuffleId, _: ShuffleMergeId) -> WriteReceipt {
        let (done, receipt) = WriteReceipt::pending();
        self.0.lock().unwrap().push(done);
        receipt
    }

    fn superseded(&self, _: &AppId, _: i32, _: ShuffleId, _: ShuffleMergeId) {}
}

#[test]
fn a_journal_that_hangs_holds_up_no_push_and_no_finalization_for_long() {
    let mut fixture = Fixture::unregistered(|_| {});
    fixture.merger = Arc::new(merger(&fixture).with_journal(Arc::new(Hung::default())));
    fixture.register_attempt(1).unwrap();
    assert_eq!(fixture.push(block(0, 0, 1, 0), b"merged"), "ok");
    let message = FinalizeShuffleMerge {
        app: AppId::new(APP),
        app_attempt: 1,
        shuffle: ShuffleId(0),
        merge: ShuffleMergeId(0),
    };
    let mut ending = fixture.merger.end(&message).unwrap();
    assert_eq!(fixture.push(block(0, 0, 2, 0), b"late"), "1 shufflePush_0_0_2_0");
    assert_eq!(fixture.push(block(1, 0, 2, 0), b"another shuffle"), "ok");

    let time =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    assert!(!time.block_on(ending.recorded()));
    for step in ending.steps(false) {
        assert!(step.run(&OnLane::here()).is_empty());
    }
    let statuses = ending.statuses(Vec::new());
    assert_eq!(
        (statuses.reduces.len(), statuses.merge),
        (0, ShuffleMergeId(0)),
        "it is reported as not merged"
    );
}
