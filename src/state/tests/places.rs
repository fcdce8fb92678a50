//! A store that is not opened says why, and is left as it is.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use redb::{Database, ReadableTable as _, TableDefinition};

use super::fixture::{Fixture, open_with, register};
use crate::keys::envelope::{KeyErrorKind, LocalKeyFile};
use crate::state::StateError;
use crate::state::error::StateErrorKind;

const HEADER: TableDefinition<'static, (), &[u8]> = TableDefinition::new("header");

fn refused(fixture: &Fixture) -> StateError {
    fixture.try_open().unwrap_err()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Changes the clear record.
fn edit_header(fixture: &Fixture, change: impl FnOnce(&mut Vec<u8>)) {
    let database = Database::create(fixture.file()).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut table = transaction.open_table(HEADER).unwrap();
    let mut header = table.get(()).unwrap().unwrap().value().to_vec();
    change(&mut header);
    table.insert((), &header[..]).unwrap();
    drop(table);
    transaction.commit().unwrap();
}

#[test]
fn directory_and_file_are_the_owners_alone() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    assert_eq!((mode(&fixture.state_dir()), mode(&fixture.file())), (0o700, 0o600));
    state.close();
    assert_eq!(fs::read_dir(fixture.state_dir()).unwrap().count(), 1, "nothing is left of making it");

    fs::set_permissions(fixture.file(), Permissions::from_mode(0o660)).unwrap();
    fixture.open().0.close();
    assert_eq!(mode(&fixture.file()), 0o600, "a volume's group does not keep it");
    fs::set_permissions(fixture.state_dir(), Permissions::from_mode(0o777)).unwrap();
    let error = refused(&fixture);
    assert_eq!(error.kind(), StateErrorKind::Place);
    assert!(error.to_string().contains("0777") && error.is_configuration(), "{error}");
}

#[test]
fn links_and_directories_are_no_store() {
    let fixture = Fixture::new();
    fixture.open().0.close();
    let moved = fixture.path().join("moved");
    fs::rename(fixture.file(), &moved).unwrap();
    std::os::unix::fs::symlink(&moved, fixture.file()).unwrap();
    assert_eq!(refused(&fixture).kind(), StateErrorKind::Place);
    fs::remove_file(fixture.file()).unwrap();
    fs::create_dir(fixture.file()).unwrap();
    assert_eq!(refused(&fixture).kind(), StateErrorKind::Place);
}

#[test]
fn a_store_that_is_open_is_not_opened_twice() {
    let fixture = Fixture::new();
    let (state, _) = fixture.open();
    let error = refused(&fixture);
    assert_eq!(error.kind(), StateErrorKind::Locked);
    assert!(!error.is_configuration(), "the other may be about to end");
    register(&state, "a", "0", "/d");
    assert_eq!(fixture.reopen(&state).1.executors.len(), 1);
}

#[test]
fn another_key_does_not_open_it() {
    let fixture = Fixture::new();
    fixture.open().0.close();
    let before = fs::read(fixture.path().join("keys")).unwrap();
    fs::remove_file(fixture.path().join("keys")).unwrap();
    let error = refused(&fixture);
    assert_eq!(error.kind(), StateErrorKind::Key(KeyErrorKind::NotFound));
    assert!(error.is_configuration() && error.to_string().contains("spark.sealed"), "{error}");
    fs::remove_file(fixture.path().join("keys")).unwrap();
    fs::write(fixture.path().join("keys"), before).unwrap();
    fs::set_permissions(fixture.path().join("keys"), Permissions::from_mode(0o600)).unwrap();
    fixture.open().0.close();
}

#[test]
fn a_node_key_of_another_store_does_not_open_it() {
    let fixture = Fixture::new();
    fixture.open().0.close();
    let (other, provider) = (fixture.path().join("other"), fixture.provider());
    open_with(&other, &provider).unwrap().0.close();
    let mut taken = Vec::new();
    let stranger = Database::create(other.join("recovery.redb")).unwrap();
    {
        use redb::ReadableDatabase as _;
        let view = stranger.begin_read().unwrap();
        taken.extend_from_slice(view.open_table(HEADER).unwrap().get(()).unwrap().unwrap().value());
    }
    // What is behind the check: the wrapped key.
    edit_header(&fixture, |header| {
        header.truncate(74);
        header.extend_from_slice(&taken[74..]);
    });
    assert_eq!(refused(&fixture).kind(), StateErrorKind::WrongKey);
}

#[test]
fn newer_versions_and_strange_headers_are_refused() {
    let fixture = Fixture::new();
    fixture.open().0.close();
    edit_header(&fixture, |header| header[9] = 2);
    let error = refused(&fixture);
    assert_eq!(error.kind(), StateErrorKind::NewerVersion);
    assert!(error.to_string().contains("version 2"), "{error}");
    edit_header(&fixture, |header| header[9] = 1);
    fixture.open().0.close();
    edit_header(&fixture, |header| header.push(0));
    assert_eq!(refused(&fixture).kind(), StateErrorKind::Damaged);
    edit_header(&fixture, |header| header[0] = 0);
    assert_eq!(refused(&fixture).kind(), StateErrorKind::NotOurs);
}

#[test]
fn other_files_are_not_touched() {
    let fixture = Fixture::new();
    fixture.open().0.close();
    for (content, kind) in [
        (&b""[..], StateErrorKind::Damaged),
        (b"red", StateErrorKind::Damaged),
        (b"a file of somebody else", StateErrorKind::NotOurs),
    ] {
        fs::write(fixture.file(), content).unwrap();
        assert_eq!(refused(&fixture).kind(), kind);
        assert_eq!(fs::read(fixture.file()).unwrap(), content);
    }
    fs::remove_file(fixture.file()).unwrap();
    let database = Database::create(fixture.file()).unwrap();
    drop(database);
    fs::set_permissions(fixture.file(), Permissions::from_mode(0o600)).unwrap();
    assert_eq!(refused(&fixture).kind(), StateErrorKind::NotOurs);
}

#[test]
fn the_key_file_is_not_made_where_a_store_waits_for_another() {
    let fixture = Fixture::new();
    fixture.open().0.close();
    let other = LocalKeyFile::for_test(&fixture.path().join("other-keys"));
    let error = open_with(&fixture.state_dir(), &other).unwrap_err();
    assert_eq!(error.kind(), StateErrorKind::Key(KeyErrorKind::NotFound));
    fixture.open().0.close();
}
