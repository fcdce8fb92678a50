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
    table.snapshot(&Policy::at_least(SecurityLevel::AesCtr), |_| 3)
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
    let seen = table.connected(&app, true, ctr(), HERE);
    seen.evidence(Evidence::DiagnoseCorruption);
    seen.served(100);
    drop(table.connected(&app, true, gcm(), HERE));
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
    drop(table.connected(&AppId::new("proven-1"), true, gcm(), HERE));
    drop(table.connected(&AppId::new("proven-2"), true, gcm(), HERE));
    for n in 0..100 {
        table.refused(&AppId::new(format!("made-up-{n}")), None, HERE, "no");
        drop(table.connected(&AppId::new(format!("claimed-{n}")), false, Channel::PLAINTEXT, HERE));
    }
    assert_eq!(names(&table), ["proven-1", "proven-2"]);
}

#[test]
fn a_proven_name_takes_the_place_of_an_unproven_one_first() {
    let table = table(2);
    drop(table.connected(&AppId::new("proven-1"), true, gcm(), HERE));
    table.refused(&AppId::new("made-up"), None, HERE, "no");
    drop(table.connected(&AppId::new("proven-2"), true, gcm(), HERE));
    assert_eq!(names(&table), ["proven-1", "proven-2"]);
}

#[test]
fn the_row_without_connections_goes_before_the_one_with() {
    let table = table(2);
    let open = table.connected(&AppId::new("open"), true, gcm(), HERE);
    drop(table.connected(&AppId::new("closed"), true, gcm(), HERE));
    drop(table.connected(&AppId::new("new"), true, gcm(), HERE));
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
        drop(table.connected(&AppId::new("app-1"), true, gcm(), Ipv4Addr::from_bits(n).into()));
    }
    let row = &rows(&table)[0];
    assert_eq!(row["peers"].as_array().map(Vec::len), Some(64));
    assert_eq!(row["more_peers"], true);
}

#[test]
fn rows_stay_until_they_are_idle_for_long_or_ended() {
    let table = table(10);
    let open = table.connected(&AppId::new("open"), true, gcm(), HERE);
    drop(table.connected(&AppId::new("idle"), true, gcm(), HERE));
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
    let before = table.connected(&app, true, gcm(), HERE);
    table.end(&app);
    let after = table.connected(&app, true, gcm(), HERE);
    drop((before, after));
    assert_eq!(names(&table), ["app-1"]);
    table.end(&app);
    assert!(names(&table).is_empty());
    let before = table.connected(&app, true, gcm(), HERE);
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
fn counts_tell_applications_by_channel() {
    let table = table(10);
    let app = AppId::new("app-1");
    drop(table.connected(&app, true, ctr(), HERE));
    drop(table.connected(&app, true, gcm(), HERE));
    drop(table.connected(&AppId::new("app-2"), true, gcm(), HERE));
    let counts = table.counts(&Policy::at_least(SecurityLevel::AesCtr));
    assert_eq!(counts, ApplicationCounts { by_level: [0, 0, 0, 1, 2, 0], below_target: 1 });
}
