//! Whoever tells or finds the end of an application, nothing of it is left, and another one goes on.

use std::time::Instant;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::lane::OnLane;

use super::super::{End, EndReason};
use super::fixture::{Home, IDLE};
use crate::disk::{Proof, RegistrationEffect};

/// Every table but the one of exemptions.
const ALL: [&str; 5] = ["secrets", "executors", "merges", "usage", "broken_gcm"];

fn over() -> AppId {
    AppId::new("application_1_1")
}

fn control() -> AppId {
    AppId::new("application_2_2")
}

/// Both applications run, one of them ends by `end`, and is gone; the other one is not.
/// `kept` is left of it: the row that says what it was seen speaking.
fn assert_nothing_is_left(reason: &str, kept: &[&str], end: impl Fn(&Home)) {
    for remember in [true, false] {
        let home = Home::new();
        let (connection, other) = (home.run(&over(), remember), home.run(&control(), true));
        let exemption = if remember { &[][..] } else { &["exemptions"] };
        let mut before = home.tables_with(&over());
        before.sort_unstable();
        let mut all = [&ALL[..], exemption].concat();
        all.sort_unstable();
        assert_eq!(before, all, "it is everywhere");
        assert_eq!(home.tables_with(&control()), ALL);
        assert_eq!(home.caches(), (2, 2, 2));
        let files = home.merged_files(&control(), 1);
        assert!(files > 0);

        end(&home);
        assert!(connection.access.is_revoked(), "{reason}: its connections end");
        assert_eq!(home.tables_with(&over()), ["usage"], "{reason}: one is open");
        drop(connection);
        assert_eq!(home.tables_with(&over()), kept, "{reason}");
        home.merger.clean_up(&OnLane::here());
        assert_eq!(home.caches(), (1, 1, 1), "{reason}: the other one's");
        assert_eq!(home.merged_files(&over(), 1), 0, "{reason}");
        assert_eq!(home.forgotten(reason), 1);

        assert_eq!(home.tables_with(&control()), ALL, "{reason}: the other one stays");
        assert!(!other.access.is_revoked());
        assert_eq!(home.merged_files(&control(), 1), files);
        assert_eq!(home.records_of(&control()).len(), 3, "an executor, a secret, an attempt");
        assert_eq!(home.records_of(&over()), [] as [&str; 0], "{reason}");
    }
}

fn tell(home: &Home, why: EndReason<'_>) {
    let ended = home.applications.end(&over(), why).unwrap();
    assert_eq!(ended.executors, Some(1));
    ended.written().unwrap();
}

#[test]
fn the_operator_ends_all_of_it() {
    assert_nothing_is_left("told", &[], |home| tell(home, EndReason::Operator));
}

#[test]
fn the_resource_manager_ends_all_of_it() {
    assert_nothing_is_left("ended", &[], |home| tell(home, EndReason::ResourceManager));
}

#[test]
fn directories_that_are_gone_end_all_of_it() {
    assert_nothing_is_left("directories_gone", &["usage"], |home| {
        let now = Instant::now();
        home.applications.sweep(&OnLane::here(), now);
        assert_eq!(home.tables_with(&over())[..2], ALL[..2], "not yet");
        home.remove_directories(&over());
        home.applications.sweep(&OnLane::here(), now);
    });
}

#[test]
fn idleness_ends_all_of_it() {
    assert_nothing_is_left("idle", &["usage"], |home| {
        let later = Instant::now() + IDLE * 2;
        home.applications.store.executors().touch(&control(), later);
        home.applications.sweep(&OnLane::here(), later);
    });
}

#[test]
fn a_newer_attempt_ends_the_one_before_it_and_not_the_application() {
    let home = Home::new();
    let (connection, _other) = (home.run(&over(), true), home.run(&control(), true));
    let registration = home.register(&over(), 2, Proof::Proven);
    assert_eq!(registration.registered, RegistrationEffect::Further);
    registration.merging.unwrap();
    home.merger.clean_up(&OnLane::here());
    assert_eq!(home.merged_files(&over(), 1), 0, "what the older attempt merged is gone");
    home.push(&over(), 2);
    assert!(home.merged_files(&over(), 2) > 0);
    assert!(!connection.access.is_revoked());
    for app in [over(), control()] {
        assert_eq!(home.tables_with(&app), ALL);
    }
    assert_eq!(home.caches(), (2, 2, 2), "its key stays");
    let records = home.records_of(&over());
    let attempts: Vec<_> = records.iter().filter(|record| record.starts_with("StoredAttempt")).collect();
    assert!(records.len() == 3 && attempts.len() == 1, "{records:?}");
    assert!(attempts[0].contains("attempt: 2"), "{attempts:?}");
}

#[test]
fn an_end_that_is_told_of_nobody_says_so() {
    let home = Home::new();
    let ended = home.applications.end(&over(), EndReason::ResourceManager).unwrap();
    assert_eq!(ended.executors, None);
    ended.written().unwrap();
    home.begin(&over(), true);
    assert_eq!(home.applications.end(&over(), EndReason::Operator).unwrap().executors, Some(0));
    assert_eq!((home.forgotten("ended"), home.forgotten("told")), (0, 1));
}

#[test]
fn an_end_that_cannot_be_written_takes_all_from_memory_and_says_so() {
    let home = Home::new();
    drop(home.run(&over(), true));
    home.state.close();
    let ended = home.applications.end(&over(), EndReason::ResourceManager).unwrap();
    assert!(End::written(ended).unwrap_err().to_string().contains("cannot be remembered, or forgotten"));
    assert_eq!(home.tables_with(&over()), [] as [&str; 0]);
}

#[test]
fn an_application_that_is_being_changed_is_not_over() {
    let home = Home::new();
    let _connection = home.run(&over(), true);
    home.remove_directories(&over());
    let turn = home.applications.turns.take(&over());
    home.applications.sweep(&OnLane::here(), Instant::now());
    drop(turn);
    assert_eq!(home.tables_with(&over()), ALL);
    home.applications.sweep(&OnLane::here(), Instant::now());
    assert_eq!(home.tables_with(&over()), ["usage"]);
}

#[test]
fn an_application_that_came_back_is_remembered_with_what_it_registered_then() {
    let home = Home::new();
    drop(home.run(&over(), true));
    drop(home.applications.end(&over(), EndReason::Operator));
    home.merger.clean_up(&OnLane::here());
    drop(home.run(&over(), true));
    assert_eq!(home.tables_with(&over()), ALL);
    assert_eq!(home.records_of(&over()).len(), 3, "an executor, a secret, an attempt");
}

#[test]
fn directories_are_free_once_their_application_has_ended() {
    let home = Home::new();
    let taking = |attempt| home.try_register(&control(), &over(), attempt, Proof::Proven);
    let connection = home.run(&over(), true);
    assert!(taking(1).unwrap_err().to_string().contains("application_1_1"));
    assert_eq!(home.tables_with(&control()), [""; 0]);
    drop(home.applications.end(&over(), EndReason::Operator));
    drop(connection);
    taking(2).unwrap().merging.unwrap();
}

#[test]
fn proof_takes_directories_away_from_another_application() {
    let home = Home::new();
    let thief = AppId::new("thief");
    home.try_register(&thief, &over(), 1, Proof::Unproven).unwrap().merging.unwrap();
    home.push(&thief, 1);
    assert_eq!(home.merged_files(&over(), 1), 3);
    let connection = home.run(&over(), true);
    assert_eq!(home.tables_with(&thief), [""; 0]);
    home.merger.clean_up(&OnLane::here());
    assert_eq!(home.merged_files(&over(), 1), 3, "its own are there, and the thief's gone");
    assert!(home.try_register(&thief, &over(), 1, Proof::Unproven).is_err());
    drop(connection);
    assert_eq!(home.records_of(&thief), [""; 0]);
}

#[test]
fn proof_takes_away_what_was_registered_without_it() {
    let home = Home::new();
    let other = home.run(&control(), true);
    home.register(&over(), 1, Proof::Unproven).merging.unwrap();
    home.push(&over(), 1);
    let registration = home.register(&over(), 1, Proof::Proven);
    assert_eq!(registration.registered, RegistrationEffect::Overruling);
    home.merger.clean_up(&OnLane::here());
    assert_eq!(home.merged_files(&over(), 1), 0, "what was merged without proof is gone");
    assert_eq!(home.tables_with(&over()), ["executors", "merges", "usage"]);
    home.push(&over(), 1);
    assert_eq!(home.tables_with(&control()), ALL);
    drop(other);
    let records = home.records_of(&over());
    assert!(records.iter().all(|record| !record.contains("Unproven")), "{records:?}");
    assert_eq!(records.len(), 2, "an executor and an attempt: {records:?}");
}
