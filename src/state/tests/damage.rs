//! Changed bytes never make a wrong record: the store is refused, or what it gives is what was committed once.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileExt as _;

use redb::{Database, TableDefinition};
use sealed_shuffle_protocol::ids::{ShuffleId, ShuffleMergeId};

use super::fixture::{Fixture, app, lines, register};
use crate::merge::Journal as _;
use crate::state::StateError;
use crate::state::error::StateErrorKind;

const RECORDS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");

/// A closed store, and all that it held after each of its commits.
fn history(fixture: &Fixture) -> BTreeSet<Vec<String>> {
    let mut known = BTreeSet::new();
    let (mut state, recovered) = fixture.open();
    known.insert(lines(&recovered));
    let dirs = fixture.merge_dirs(&["m"]);
    for n in 0..12 {
        let id = n.to_string();
        match n % 4 {
            0 => assert!(register(&state, "canary-application", &id, &"/long/directory".repeat(20))),
            1 => state.registered(&app(&id), 1, &dirs, None),
            2 => state.finalized(&app(&(n - 1).to_string()), 1, ShuffleId(n), ShuffleMergeId(0)).detach(),
            _ => assert!(state.forget_secret(&app("nobody")).wait()),
        }
        let (again, recovered) = fixture.reopen(&state);
        known.insert(lines(&recovered));
        state = again;
    }
    state.close();
    known
}

fn holds_what_was_committed(fixture: &Fixture, known: &BTreeSet<Vec<String>>, what: &str) -> bool {
    match fixture.try_open() {
        Ok((state, recovered)) => {
            let found = lines(&recovered);
            assert!(known.contains(&found), "{what}: {found:#?}");
            state.close();
            true
        }
        Err(error) => {
            assert!(error.is_configuration(), "{what}: {error}");
            false
        }
    }
}

#[test]
fn flipped_bits_are_refused_or_change_nothing() {
    let fixture = Fixture::new();
    let known = history(&fixture);
    let whole = fs::read(fixture.file()).unwrap();
    // All of the front, where the container keeps what it is; of the rest a spread.
    let rest = (320..whole.len()).step_by((whole.len() / 150) | 1);
    let used = whole.iter().enumerate().skip(320).filter(|(_, byte)| **byte != 0).map(|(at, _)| at);
    let used: Vec<_> = used.collect();
    let positions =
        (0..320).step_by(3).chain(rest).chain(used.iter().copied().step_by((used.len() / 200) | 1));
    let (mut refused, mut served) = (0, 0);
    for at in positions {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        fs::write(fixture.file(), &changed).unwrap();
        match holds_what_was_committed(&fixture, &known, &format!("bit at {at}")) {
            true => served += 1,
            false => refused += 1,
        }
    }
    println!("{} bytes: {refused} refused, {served} without effect or as of an earlier commit", whole.len());
    assert!(refused > 0);
}

#[test]
fn cut_files_are_refused() {
    let fixture = Fixture::new();
    let known = history(&fixture);
    let whole = fs::read(fixture.file()).unwrap();
    for n in 0..40 {
        let len = whole.len() * n / 40;
        fs::write(fixture.file(), &whole[..len]).unwrap();
        let served = holds_what_was_committed(&fixture, &known, &format!("{len} bytes"));
        assert!(!served || len > whole.len() / 2, "{len} of {} bytes were taken", whole.len());
    }
}

/// Changes records behind the store's back.
fn tamper(fixture: &Fixture, change: impl FnOnce(&mut redb::Table<'_, &[u8], &[u8]>)) -> StateError {
    let whole = fs::read(fixture.file()).unwrap();
    let database = Database::create(fixture.file()).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction.open_table(RECORDS).unwrap();
    change(&mut table);
    drop(table);
    transaction.commit().unwrap();
    drop(database);
    let error = fixture.try_open().unwrap_err();
    fs::write(fixture.file(), whole).unwrap();
    error
}

fn records(table: &redb::Table<'_, &[u8], &[u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
    use redb::ReadableTable as _;
    let entries = table.iter().unwrap().map(|entry| entry.unwrap());
    entries.map(|(name, value)| (name.value().to_vec(), value.value().to_vec())).collect()
}

#[test]
fn swapped_renamed_removed_and_older_records_are_found_out() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    register(&state, "a", "0", "/d0");
    state.close();
    let older = {
        let database = Database::create(fixture.file()).unwrap();
        let transaction = database.begin_write().unwrap();
        records(&transaction.open_table(RECORDS).unwrap())
    };
    let (state, _) = fixture.open();
    register(&state, "a", "0", "/d1");
    register(&state, "a", "1", "/d0");
    register(&state, "b", "0", "/d0");
    state.close();
    let mut errors = Vec::new();
    errors.push(tamper(&fixture, |table| {
        let all = records(table);
        let [(one, first), (two, second)] = &all[all.len() - 2..] else { panic!("there are two") };
        table.insert(&one[..], &second[..]).unwrap();
        table.insert(&two[..], &first[..]).unwrap();
    }));
    errors.push(tamper(&fixture, |table| {
        let (name, value) = records(table).pop().unwrap();
        let mut other = name.clone();
        other[16] = 2;
        table.remove(&name[..]).unwrap();
        table.insert(&other[..], &value[..]).unwrap();
    }));
    errors.push(tamper(&fixture, |table| {
        let (name, _) = records(table).pop().unwrap();
        table.remove(&name[..]).unwrap();
    }));
    errors.push(tamper(&fixture, |table| {
        let (name, value) = older.iter().find(|(name, _)| name[16] == 1).unwrap();
        table.insert(&name[..], &value[..]).unwrap();
    }));
    errors.push(tamper(&fixture, |table| {
        let (name, value) = older.iter().find(|(name, _)| name[16] == 0).unwrap();
        table.insert(&name[..], &value[..]).unwrap();
    }));
    errors.push(tamper(&fixture, |table| {
        let (name, _) = records(table).into_iter().find(|(name, _)| name[16] == 0).unwrap();
        table.remove(&name[..]).unwrap();
    }));
    errors.push(tamper(&fixture, |table| _ = table.insert(&[7; 40][..], &[7; 80][..]).unwrap()));
    errors.push(tamper(&fixture, |table| _ = table.insert(&[1; 3][..], &[][..]).unwrap()));
    for (n, error) in errors.iter().enumerate() {
        assert_eq!(error.kind(), StateErrorKind::Damaged, "{n}: {error}");
        assert!(error.to_string().contains("move it away"), "{error}");
    }
    assert_eq!(fixture.open().1.executors.len(), 3);
}

#[test]
fn changes_of_a_file_that_changes_beneath_a_running_server_are_kept_and_counted() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    register(&state, "a", "0", "/d");
    let file = fs::OpenOptions::new().write(true).open(fixture.file()).unwrap();
    let len = file.metadata().unwrap().len();
    file.write_all_at(&vec![0xa5; usize::try_from(len).unwrap()], 0).unwrap();
    for n in 0..50 {
        register(&state, "a", &n.to_string(), &"/d".repeat(500));
    }
    let counters = state.counters();
    let kept = counters.unwritten as u64;
    assert_eq!((counters.written + kept, counters.lost), (51, 0));
    state.close();
    assert_eq!(state.counters().lost, kept, "at the end they are lost");
}
