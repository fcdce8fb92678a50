//! A trail costs by connections and applications, and not by blocks.

use std::time::Instant;

use sealed_shuffle::AuditConfig;
use serde_json::Value;

use super::files;
use super::running::{APP, GCM, Peer, Running, eventually};

fn records(trail: &std::path::Path) -> Vec<Value> {
    let texts = files(trail).into_iter().map(|file| std::fs::read_to_string(file).unwrap());
    let lines: Vec<String> =
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn ten_thousand_blocks_over_one_connection_leave_one_record() {
    let temp = tempfile::tempdir().unwrap();
    let trail = temp.path().join("audit");
    let running = Running::start_with(|config| config.audit = Some(AuditConfig::in_dir(&trail)));
    running.write_map(1, &[3; 100]);
    let mut peer = running.registered(GCM);
    let reduces: Vec<i32> = (0..100).collect();
    for _ in 0..100 {
        let stream = peer.open(1, &reduces).unwrap().stream;
        for chunk in 0..100 {
            assert_eq!(peer.chunk(stream, chunk).unwrap().len(), 3);
        }
    }
    drop(peer);
    eventually("it has ended", || running.all_closes() == 1);
    running.drained();
    let records = records(&trail);
    let of_app: Vec<_> = records.iter().filter(|one| one["app"] == APP).collect();
    assert_eq!(of_app.len(), 2, "its beginning, and its connection: {of_app:#?}");
    assert_eq!((&of_app[1]["read_blocks"], &of_app[1]["read_bytes"]), (&10_000.into(), &30_000.into()));
    assert!(records.len() < 10, "{records:#?}");
    let written = running.metric("sealed_shuffle_audit_records_total");
    // The first line of the file is none that anybody recorded.
    assert_eq!(written as usize, records.len() - 1);
}

#[test]
fn connections_and_refusals_without_end_leave_a_bounded_number_of_records() {
    let temp = tempfile::tempdir().unwrap();
    let trail = temp.path().join("audit");
    let running = Running::start_with(|config| config.audit = Some(AuditConfig::in_dir(&trail)));
    for metric in ["records", "records_lost", "write_failures"] {
        let page = running.server.metrics_page().unwrap();
        assert!(
            page.contains(&format!("sealed_shuffle_audit_{metric}_total ")),
            "{metric} is there from the start"
        );
    }
    let began = Instant::now();
    for _ in 0..200 {
        drop(running.registered(GCM));
        assert!(Peer::connect(running.address).handshake(APP, "wrong", GCM).is_err());
    }
    eventually("they have ended", || running.all_closes() == 400);
    running.drained();
    let records = records(&trail);
    let of = |what: &'static str| records.iter().filter(move |one| one["what"] == what);
    // What is bounded by the minute began anew where this took longer.
    let minutes = usize::try_from(began.elapsed().as_secs() / 60).unwrap() + 1;
    assert!(
        of("connection").count() <= 65 * minutes && of("refused").count() <= 5 * minutes,
        "{}",
        records.len()
    );
    let all = |what| of(what).map(|one| one["summed"].as_u64().unwrap_or(1)).sum::<u64>();
    assert_eq!((all("connection"), all("refused")), (200, 200), "and none is missing");
    let registered: u64 = of("connection").map(|one| one["registered"].as_u64().unwrap_or(0)).sum();
    assert_eq!(registered, 200);
}

#[test]
fn long_connection_leaves_a_record_in_each_period() {
    let temp = tempfile::tempdir().unwrap();
    let trail = temp.path().join("audit");
    let period = std::time::Duration::from_millis(1);
    let running = Running::start_with(|config| {
        config.audit = Some(AuditConfig { period, ..AuditConfig::in_dir(&trail) })
    });
    running.write_map(1, &[3]);
    let mut peer = running.registered(GCM);
    for _ in 0..5 {
        std::thread::sleep(2 * period);
        let stream = peer.open(1, &[0]).unwrap().stream;
        peer.chunk(stream, 0).unwrap();
    }
    drop(peer);
    eventually("it has ended", || running.all_closes() == 1);
    running.drained();
    let records = records(&trail);
    let of: Vec<_> = records.iter().filter(|one| one["what"] == "connection").collect();
    assert!(of.len() > 5 && of.iter().any(|one| one["outcome"] == "goes_on"), "{of:#?}");
    let read: u64 = of.iter().map(|one| one["read_blocks"].as_u64().unwrap_or(0)).sum();
    assert_eq!(read, 5, "each is counted once: {of:#?}");
}
