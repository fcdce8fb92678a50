use std::net::Ipv4Addr;
use std::time::Duration;

use sealed_shuffle_config::Policy;
use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::cipher::{SessionCipher, SessionMode};
use serde_json::Value;

use super::*;
use crate::telemetry::ApplicationCounts;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn ctr() -> Channel {
    Channel::aes(SessionMode { version: EngineVersion::V1, cipher: SessionCipher::Ctr })
}

fn gcm() -> Channel {
    Channel::aes(SessionMode { version: EngineVersion::V2, cipher: SessionCipher::Gcm })
}

fn table(rows: usize) -> UsageTable {
    UsageTable::new(ApplicationLimits { rows, idle_ttl: Some(Duration::from_secs(60)) })
}

fn rows(table: &UsageTable) -> Vec<Value> {
    table.snapshot(&Policy::at_least(SecurityLevel::AesCtr), None, |_| 3).rows
}

/// A connection that was granted a request.
fn used(table: &UsageTable, app: &AppId, proven: bool, channel: Channel) -> Speaker {
    let speaker = table.connected(app, proven, channel, HERE);
    assert!(speaker.granted() && !speaker.granted());
    speaker
}

fn names(table: &UsageTable) -> Vec<String> {
    let mut names: Vec<_> =
        rows(table).iter().map(|row| row["app"].as_str().expect("a name").to_owned()).collect();
    names.sort();
    names
}

#[test]
fn a_row_tells_how_an_application_speaks_and_what_to_change() {
    let table = table(10);
    let app = AppId::new("app-1");
    let seen = used(&table, &app, true, ctr());
    seen.evidence(Evidence::DiagnoseCorruption);
    seen.served(100);
    drop(used(&table, &app, true, gcm()));
    let [row] = &rows(&table)[..] else { panic!("one row") };
    assert_eq!(row["executors"], 3);
    assert_eq!((&row["connections_open"], &row["connections_total"]), (&1.into(), &2.into()));
    assert_eq!((&row["bytes_served"], &row["peers"][0]), (&100.into(), &"127.0.0.1".into()));
    assert_eq!(row["channels"][0]["spark"], "3.2 or later");
    assert_eq!(row["channels"][1]["below_target"], false);
    assert_eq!(row["below_target"], true);
    let advice = row["advice"].as_str().expect("advice");
    assert!(advice.starts_with("would be refused at aes-gcm; set spark.network.crypto.cipher="), "{advice}");
    drop(seen);
    assert_eq!(rows(&table)[0]["connections_open"], 0);
}

#[test]
fn unproven_names_push_out_no_proven_one() {
    let table = table(2);
    drop(used(&table, &AppId::new("proven-1"), true, gcm()));
    drop(used(&table, &AppId::new("proven-2"), true, gcm()));
    for n in 0..100 {
        table.refused(&AppId::new(format!("made-up-{n}")), None, HERE, "no");
        drop(used(&table, &AppId::new(format!("claimed-{n}")), false, Channel::PLAINTEXT));
    }
    assert_eq!(names(&table), ["proven-1", "proven-2"]);
}

#[test]
fn a_proven_name_takes_the_place_of_an_unproven_one_first() {
    let table = table(2);
    drop(used(&table, &AppId::new("proven-1"), true, gcm()));
    table.refused(&AppId::new("made-up"), None, HERE, "no");
    drop(used(&table, &AppId::new("proven-2"), true, gcm()));
    assert_eq!(names(&table), ["proven-1", "proven-2"]);
}

#[test]
fn the_row_without_connections_goes_before_the_one_with() {
    let table = table(2);
    let open = table.connected(&AppId::new("open"), true, gcm(), HERE);
    drop(used(&table, &AppId::new("closed"), true, gcm()));
    drop(used(&table, &AppId::new("new"), true, gcm()));
    assert_eq!(names(&table), ["new", "open"]);
    drop(open);
}

#[test]
fn a_refusal_is_counted_with_its_last_reason() {
    let table = table(10);
    let app = AppId::new("app-1");
    table.refused(&app, None, HERE, "first");
    table.refused(&app, Some(ctr()), HERE, "second");
    let row = &rows(&table)[0];
    assert_eq!((&row["refused"], &row["proven"]), (&2.into(), &false.into()));
    assert_eq!(row["last_refusal"]["reason"], "second");
    assert_eq!(row["last_refusal"]["channel"], "aes-ctr");
}

#[test]
fn addresses_are_bounded() {
    let table = table(10);
    for n in 0..1000_u32 {
        let speaker = table.connected(&AppId::new("app-1"), true, gcm(), Ipv4Addr::from_bits(n).into());
        assert!(speaker.granted());
    }
    let row = &rows(&table)[0];
    assert_eq!(row["peers"].as_array().map(Vec::len), Some(64));
    assert_eq!(row["more_peers"], true);
}

#[test]
fn rows_stay_until_they_are_idle_for_long_or_ended() {
    let table = table(10);
    let open = table.connected(&AppId::new("open"), true, gcm(), HERE);
    drop(used(&table, &AppId::new("idle"), true, gcm()));
    table.sweep(SystemTime::now());
    assert_eq!(names(&table), ["idle", "open"]);
    table.sweep(SystemTime::now() + Duration::from_secs(3600));
    assert_eq!(names(&table), ["open"]);
    table.end(open.app());
    assert_eq!(names(&table), ["open"], "it is connected");
    drop(open);
    assert!(names(&table).is_empty(), "with its last connection");
}

#[test]
fn the_row_of_an_application_that_came_back_stays() {
    let table = table(10);
    let app = AppId::new("app-1");
    let before = used(&table, &app, true, gcm());
    table.end(&app);
    let after = used(&table, &app, true, gcm());
    drop((before, after));
    assert_eq!(names(&table), ["app-1"]);
    table.end(&app);
    assert!(names(&table).is_empty());
    let before = used(&table, &app, true, gcm());
    table.end(&app);
    table.refused(&app, None, HERE, "no");
    drop(before);
    assert!(names(&table).is_empty(), "a refusal is no return");
}

#[test]
fn what_is_below_a_target_is_reported_once_for_each_target() {
    let table = table(10);
    let seen = table.connected(&AppId::new("app-1"), true, ctr(), HERE);
    let again = table.connected(&AppId::new("app-1"), true, ctr(), HERE);
    assert!(seen.first_below(SecurityLevel::AesGcm));
    assert!(!again.first_below(SecurityLevel::AesGcm));
    assert!(again.first_below(SecurityLevel::Tls));
}

#[test]
fn counts_tell_applications_that_run_by_the_channel_that_they_use_now() {
    let table = table(10);
    let (moved, mixed, past) = (AppId::new("moved"), AppId::new("mixed"), AppId::new("past"));
    drop(used(&table, &moved, true, ctr()));
    std::thread::sleep(Duration::from_millis(2));
    drop(used(&table, &moved, true, gcm()));
    let both = (used(&table, &mixed, true, ctr()), used(&table, &mixed, true, gcm()));
    drop(used(&table, &past, true, ctr()));
    table.registered(&AppId::new("unheard"), true);
    let policy = Policy::at_least(SecurityLevel::AesCtr);
    let executors = |app: &AppId| usize::from(*app != past);
    let counts = table.counts(&policy, executors);
    assert_eq!(counts, ApplicationCounts { by_level: [0, 0, 0, 1, 2, 0], below_target: 1, unheard: 1 });
    let report = table.snapshot(&policy, None, executors);
    assert_eq!(
        report.counts(),
        serde_json::json!({
            "running": {"applications": 2, "below_target": 1, "unheard": 1},
            "all": {"applications": 3, "below_target": 2, "unheard": 1},
        })
    );
    // What was used since then counts as well.
    let since = SystemTime::now().checked_sub(Duration::from_secs(60));
    let report = table.snapshot(&policy, since, executors);
    assert_eq!(report.counts()["running"]["below_target"], 2);
    drop(both);
    assert_eq!(table.counts(&policy, |_| 0), ApplicationCounts::default(), "none runs");
}

#[test]
fn who_asks_for_nothing_leaves_nothing() {
    let table = table(10);
    let app = AppId::new("app-1");
    let probe = table.connected(&app, true, ctr(), HERE);
    let counts = |table: &UsageTable| table.counts(&Policy::at_least(SecurityLevel::AesCtr), |_| 0);
    assert_eq!(counts(&table), ApplicationCounts::default(), "it was granted nothing yet");
    drop(probe);
    assert!(names(&table).is_empty());
    // Of an application that is known, nothing is added.
    drop(used(&table, &app, true, gcm()));
    drop(table.connected(&app, true, ctr(), HERE));
    let [row] = &rows(&table)[..] else { panic!("one row") };
    assert_eq!(row["channels"].as_array().map(Vec::len), Some(1));
    assert_eq!(row["channels"][0]["channel"], "aes-gcm");
    // One that was refused stays, and so does one whose executors are registered.
    table.refused(&AppId::new("refused"), None, HERE, "no");
    table.registered(&AppId::new("registered"), true);
    for app in ["refused", "registered"] {
        drop(table.connected(&AppId::new(app), true, ctr(), HERE));
    }
    assert_eq!(names(&table), ["app-1", "refused", "registered"]);
}

#[test]
fn what_is_not_served_any_more_is_refused_and_not_only_would_be() {
    let table = table(10);
    drop(used(&table, &AppId::new("app-1"), true, ctr()));
    let advice = |policy: Policy| {
        let rows = table.snapshot(&policy, None, |_| 1).rows;
        rows[0]["advice"].as_str().unwrap_or_default().to_owned()
    };
    let before = advice(Policy::at_least(SecurityLevel::AesCtr));
    assert!(before.starts_with("would be refused at aes-gcm; set "), "{before}");
    let after = advice(Policy::at_least(SecurityLevel::AesGcm));
    assert!(after.starts_with("is refused: below the minimum aes-gcm; set "), "{after}");
}
