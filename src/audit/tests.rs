//! The trail as a whole: what is written is whole, and what is changed is found.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_shuffle_config::{AuditConfig, ByteCount};
use sealed_shuffle_transport::lane::OnLane;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::line::AuditKey;
use super::verify::{Mark, Standing, Verdict, verify};
use super::*;
use crate::keys::envelope::LocalKeyFile;

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

struct Fixture {
    dir: TempDir,
    config: AuditConfig,
    runtime: Runtime,
}

impl Fixture {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = AuditConfig::in_dir(dir.path().join("audit"));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { dir, config, runtime }
    }

    fn keys(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    fn provider(&self) -> Arc<dyn KeyProvider> {
        Arc::new(LocalKeyFile::open_or_make(&OnLane::here(), &self.keys()).unwrap().0)
    }

    fn open(&self) -> (Audit, AuditCounters) {
        let counters = AuditCounters::default();
        let audit = Audit::begin(&self.config, counters.clone());
        let provider = self.provider();
        let _in_runtime = self.runtime.enter();
        audit.open(&self.config, &provider, Context::of(audit_app()));
        (audit, counters)
    }

    /// A server that leaves so many records, and its end.
    fn run(&self, records: usize) {
        let (audit, counters) = self.open();
        say(&audit, records);
        self.close(&audit);
        assert_eq!((counters.lost.get(), counters.written.get()), (0, records as u64 + 1));
    }

    fn close(&self, audit: &Audit) {
        self.runtime.block_on(audit.close());
    }

    fn judge(&self) -> Verdict {
        self.judge_with(None)
    }

    fn judge_with(&self, expected: Option<Mark>) -> Verdict {
        let (provider, context) = (self.provider(), Context::of(audit_app()));
        self.runtime.block_on(verify(&self.config.dir, Ok(&*provider), &context, expected)).unwrap()
    }

    fn file(&self, number: u64) -> PathBuf {
        file::path_of(&self.config.dir, number)
    }

    fn files(&self) -> Vec<u64> {
        file::list(&OnLane::here(), &self.config.dir).unwrap()
    }

    fn records(&self) -> Vec<Value> {
        let mut records = Vec::new();
        reading::each(&OnLane::here(), &self.config.dir, |record| records.push(record)).unwrap();
        records
    }

    /// A copy, which can be changed.
    fn copy(&self) -> Self {
        let copy = Self::new();
        fs::create_dir(&copy.config.dir).unwrap();
        for entry in fs::read_dir(&self.config.dir).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), copy.config.dir.join(entry.file_name())).unwrap();
        }
        fs::copy(self.keys(), copy.keys()).unwrap();
        copy
    }
}

fn say(audit: &Audit, records: usize) {
    (0..records).for_each(|n| audit.application_ended(&AppId::new(format!("app-{n}")), n, "told"));
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn put(path: &Path, lines: &[String]) {
    fs::write(path, lines.join("\n") + "\n").unwrap();
}

/// Where the first finding is.
fn found(verdict: &Verdict) -> (&str, u64) {
    verdict.findings.first().map_or(("nothing", 0), |finding| (&*finding.file, finding.line))
}

const FIRST: &str = "audit-00000001.jsonl";

#[test]
fn trail_is_whole_and_goes_on_after_a_restart() {
    let fixture = Fixture::new();
    assert_eq!(fixture.judge().standing(), Standing::Missing);
    fixture.run(3);
    fixture.run(4);
    let verdict = fixture.judge();
    assert_eq!(verdict.standing(), Standing::Whole, "{verdict:?}");
    assert_eq!((verdict.records, verdict.files, verdict.first), (10, 1, Some(1)));
    let records = fixture.records();
    let seqs: Vec<_> = records.iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=10).collect::<Vec<_>>());
    assert_eq!(records[1]["app"], "app-0");
    assert_eq!(records[9]["what"], "server_stopped");

    // Whoever noted the last record finds it, and finds out that an older copy is in its place.
    let old = fixture.copy();
    fixture.run(1);
    let noted = fixture.judge().last;
    assert_eq!(fixture.judge_with(noted.clone()).standing(), Standing::Whole);
    assert_eq!(old.judge().standing(), Standing::Whole, "it does not know of the other one");
    assert_eq!(old.judge_with(noted).standing(), Standing::Changed);
}

#[test]
fn every_changed_byte_is_found_with_its_line() {
    let fixture = Fixture::new();
    fixture.run(2);
    let bytes = fs::read(fixture.file(1)).unwrap();
    for at in (0..bytes.len()).step_by(13).chain([bytes.len() - 1]) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(fixture.file(1), &changed).unwrap();
        let verdict = fixture.judge();
        assert_eq!(verdict.standing(), Standing::Changed, "byte {at}");
        let line = bytes[..at].iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        let (file, named) = found(&verdict);
        // A changed key is seen by the line that follows, and a last line without its end is none.
        assert!(
            file == FIRST && (line - 1..=line + 1).contains(&named),
            "byte {at} of line {line}: {verdict:?}"
        );
    }
    fs::write(fixture.file(1), &bytes).unwrap();
    assert_eq!(fixture.judge().standing(), Standing::Whole, "the control");

    let path = fixture.config.dir.join(head::NAME);
    let bytes = fs::read(&path).unwrap();
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        fs::write(&path, changed).unwrap();
        assert_ne!(fixture.judge().standing(), Standing::Whole, "byte {at} of the head");
    }
}

#[test]
fn lines_that_are_removed_moved_or_added_are_found() {
    let fixture = Fixture::new();
    fixture.run(5);
    let whole = lines(&fixture.file(1));
    assert_eq!(whole.len(), 7);
    for at in 0..whole.len() {
        let mut removed = whole.clone();
        removed.remove(at);
        put(&fixture.file(1), &removed);
        let verdict = fixture.judge();
        assert_eq!(verdict.standing(), Standing::Changed, "without line {}", at + 1);
        let named = if at == whole.len() - 1 { at } else { at + 1 };
        assert_eq!(found(&verdict), (FIRST, named as u64), "{verdict:?}");
    }
    for at in 0..whole.len() - 1 {
        let mut swapped = whole.clone();
        swapped.swap(at, at + 1);
        put(&fixture.file(1), &swapped);
        let verdict = fixture.judge();
        assert_eq!(verdict.standing(), Standing::Changed, "lines {} and {}", at + 1, at + 2);
        assert_eq!(found(&verdict), (FIRST, at as u64 + 1), "{verdict:?}");
    }
    let other = Fixture::new();
    other.run(5);
    for foreign in [lines(&other.file(1))[2].clone(), whole[2].clone(), "{}".to_owned()] {
        let mut added = whole.clone();
        added.insert(3, foreign);
        put(&fixture.file(1), &added);
        assert_eq!(fixture.judge().standing(), Standing::Changed);
    }
    put(&fixture.file(1), &whole);
    assert_eq!(fixture.judge().standing(), Standing::Whole, "the control");
}

#[test]
fn cut_end_is_found_wherever_it_is_cut() {
    let fixture = Fixture::new();
    fixture.run(3);
    let bytes = fs::read(fixture.file(1)).unwrap();
    for end in 0..bytes.len() {
        fs::write(fixture.file(1), &bytes[..end]).unwrap();
        assert_eq!(fixture.judge().standing(), Standing::Changed, "cut at {end}");
    }
    fs::remove_file(fixture.file(1)).unwrap();
    assert_eq!(fixture.judge().standing(), Standing::Changed, "no file at all");
    fs::write(fixture.file(1), &bytes).unwrap();
    let head = fixture.config.dir.join(head::NAME);
    let kept = fs::read(&head).unwrap();
    fs::remove_file(&head).unwrap();
    let verdict = fixture.judge();
    assert_eq!((verdict.standing(), found(&verdict)), (Standing::Changed, (head::NAME, 0)));
    fs::write(&head, kept).unwrap();
    assert_eq!(fixture.judge().standing(), Standing::Whole, "the control");
}

#[test]
fn full_file_is_followed_by_another_and_the_oldest_goes() {
    let mut fixture = Fixture::new();
    fixture.config.file_size = ByteCount::kib(4);
    fixture.config.files = 3;
    fixture.run(40);
    assert!(fixture.files().len() > 1, "{:?}", fixture.files());
    let copy = fixture.copy();
    fixture.run(200);
    let files = fixture.files();
    assert_eq!(files.len(), 3, "{files:?}");
    for number in &files[..2] {
        let length = fs::metadata(fixture.file(*number)).unwrap().len();
        assert!((4 << 10..6 << 10).contains(&length), "{length}");
    }
    let verdict = fixture.judge();
    assert_eq!(verdict.standing(), Standing::Whole, "{verdict:?}");
    assert!(verdict.first > Some(1));

    for number in files {
        let copy = fixture.copy();
        fs::remove_file(copy.file(number)).unwrap();
        let verdict = copy.judge();
        assert_eq!(verdict.standing(), Standing::Changed, "without file {number}: {verdict:?}");
    }
    // A file of the same number that was there before.
    fs::copy(copy.file(1), fixture.file(fixture.files()[0])).unwrap();
    assert_eq!(fixture.judge().standing(), Standing::Changed);
}

#[test]
fn torn_end_of_a_killed_server_stays_and_is_told_and_is_no_change() {
    let fixture = Fixture::new();
    fixture.run(3);
    // What a server leaves that is killed in the midst of a line: longer than its head knows.
    let torn = "{\"seq\":6,\"time\":\"2026-11-30T";
    let mut bytes = fs::read(fixture.file(1)).unwrap();
    bytes.extend_from_slice(torn.as_bytes());
    fs::write(fixture.file(1), &bytes).unwrap();
    let verdict = fixture.judge();
    assert_eq!(verdict.standing(), Standing::Whole, "{verdict:?}");
    assert!(verdict.remarks[0].contains("in the midst of a line"), "{verdict:?}");

    fixture.run(2);
    assert_eq!(fs::read(fixture.file(1)).unwrap(), bytes, "it is left as it is");
    let told = &fixture.records()[5];
    assert_eq!((&told["what"], &told["torn"]["bytes"]), (&"file".into(), &torn.len().into()), "{told}");
    let verdict = fixture.judge();
    assert_eq!((verdict.standing(), verdict.records), (Standing::Whole, 9), "{verdict:?}");
    assert!(verdict.remarks.is_empty());

    // It is told with its hash: nobody can add to it, or take it away.
    for changed in [&bytes[..bytes.len() - 1], &bytes[..bytes.len() - torn.len()]] {
        fs::write(fixture.file(1), changed).unwrap();
        assert_eq!(fixture.judge().standing(), Standing::Changed);
    }
    // A file of which nothing was written.
    let fixture = Fixture::new();
    fixture.run(1);
    fs::write(fixture.file(2), "").unwrap();
    fixture.run(1);
    let verdict = fixture.judge();
    assert_eq!((verdict.standing(), fixture.files()), (Standing::Whole, vec![1, 2, 3]), "{verdict:?}");
}

#[test]
fn server_that_finds_its_trail_changed_goes_on_and_says_so() {
    let fixture = Fixture::new();
    fixture.run(5);
    let whole = lines(&fixture.file(1));
    put(&fixture.file(1), &whole[..4]);
    fixture.run(2);
    let verdict = fixture.judge();
    assert_eq!(verdict.standing(), Standing::Changed);
    let text = format!("{:?}", verdict.findings);
    assert!(text.contains("ended with record 4, and there had been 7"), "{text}");
    assert_eq!(fixture.records().last().unwrap()["seq"], 11, "no number is used twice");

    // The same while it runs.
    let fixture = Fixture::new();
    let (audit, counters) = fixture.open();
    say(&audit, 1);
    eventually("it is written", || counters.written.get() == 1);
    fs::remove_file(fixture.file(1)).unwrap();
    say(&audit, 1);
    fixture.close(&audit);
    assert_eq!(counters.written.get(), 3);
    assert!(fixture.records()[0]["broken"].is_string(), "{:?}", fixture.records());
    assert_eq!(fixture.judge().standing(), Standing::Changed);
}

#[test]
fn records_wait_for_a_disk_and_those_that_find_no_room_are_counted() {
    let fixture = Fixture::new();
    let (audit, counters) = fixture.open();
    say(&audit, 1);
    eventually("it is written", || counters.written.get() == 1);
    // The disk is away.
    let away = fixture.dir.path().join("away");
    fs::rename(&fixture.config.dir, &away).unwrap();
    fs::write(&fixture.config.dir, "no directory").unwrap();
    say(&audit, 1);
    eventually("that is noticed", || counters.failures.get() > 0);
    say(&audit, 3 * queue::MOST);
    assert!(counters.lost.get() >= queue::MOST as u64, "{counters:?}");
    fs::remove_file(&fixture.config.dir).unwrap();
    fs::rename(&away, &fixture.config.dir).unwrap();
    eventually("what waited is written", || counters.written.get() > queue::MOST as u64);
    fixture.close(&audit);
    let records = fixture.records();
    let told = records.iter().filter(|record| record["what"] == "records_lost");
    let told: u64 = told.map(|record| record["records"].as_u64().unwrap()).sum();
    assert_eq!(told, counters.lost.get());
    let verdict = fixture.judge();
    assert_eq!(verdict.standing(), Standing::Whole, "{verdict:?}");
}

#[test]
fn second_server_waits_until_the_first_has_ended() {
    let fixture = Fixture::new();
    let (first, counters) = fixture.open();
    say(&first, 1);
    eventually("it is written", || counters.written.get() == 1);
    let (second, later) = fixture.open();
    say(&second, 1);
    say(&first, 1);
    eventually("the first goes on", || counters.written.get() == 2);
    assert_eq!(later.written.get(), 0);
    fixture.close(&first);
    eventually("the second has its turn", || later.written.get() == 1);
    fixture.close(&second);
    assert_eq!(fixture.judge().standing(), Standing::Whole);
    assert_eq!(fixture.records().len(), 6);
}

#[test]
fn another_wrapping_key_begins_a_file_and_a_lost_one_leaves_something_unjudged() {
    let fixture = Fixture::new();
    fixture.run(2);
    let old = fixture.records()[0]["key_id"].as_str().unwrap().to_owned();
    LocalKeyFile::rotate(&OnLane::here(), &fixture.keys()).unwrap();
    fixture.run(2);
    assert_eq!(fixture.files(), [1, 2]);
    let verdict = fixture.judge();
    assert_eq!(verdict.standing(), Standing::Whole, "{verdict:?}");

    LocalKeyFile::remove(&OnLane::here(), &fixture.keys(), &old).unwrap();
    let verdict = fixture.judge();
    assert_eq!(verdict.standing(), Standing::Unjudged);
    assert!(verdict.unjudged[0].contains(&old), "{verdict:?}");
    // The chain is judged all the same.
    let mut changed = lines(&fixture.file(1));
    changed[1] = changed[1].replace("app-0", "app-9");
    put(&fixture.file(1), &changed);
    assert_eq!(fixture.judge().standing(), Standing::Changed);
}

#[test]
fn whoever_makes_the_chain_anew_without_the_key_is_found() {
    let fixture = Fixture::new();
    fixture.run(3);
    let thief = AuditKey::derive(&sealed_shuffle_protocol::stored::envelope::DataKey::new([7; 32]));
    let (mut prev, mut forged) = (line::NOTHING, Vec::new());
    for text in lines(&fixture.file(1)) {
        let place = line::read(text.as_bytes()).unwrap();
        let mut fields = place.object.as_object().unwrap().clone();
        for own in ["seq", "time", "what", "prev", "mac"] {
            fields.remove(own);
        }
        fields.remove("executors");
        let (time, what) = (place.object["time"].as_str().unwrap(), place.object["what"].as_str().unwrap());
        let line = thief.seal(line::Sealed::Line, line::open(place.seq, time, what, &fields, &prev));
        prev = line::hash_of(line.as_bytes());
        forged.push(line);
    }
    put(&fixture.file(1), &forged);
    let verdict = fixture.judge();
    assert_eq!((verdict.standing(), found(&verdict)), (Standing::Changed, (FIRST, 1)));
    assert!(verdict.findings.len() >= forged.len(), "each line is named: {verdict:?}");
}
