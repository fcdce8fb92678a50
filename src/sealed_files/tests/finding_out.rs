//! What was changed in the files is found out, and the error names the file and what to do.

use std::fs;

use sealed_shuffle_protocol::stored::sealed::Kind;
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{Fixture, drain, key, partition, pattern};
use crate::sealed_files::{SealedLimits, StoredError};

#[test]
fn a_change_anywhere_names_the_file() {
    for kind in Kind::ALL {
        let fixture = Fixture::new();
        fixture.finalized(1, &[b"first", b"second"]);
        let len = fs::metadata(fixture.path(1, kind)).unwrap().len();
        for at in 0..usize::try_from(len).unwrap() {
            fixture.edit(1, kind, |bytes| bytes[at] ^= 0x10);
            let found = fixture.read(1).unwrap_err();
            assert!(found.is_refused(), "{kind} {at}: {found}");
            let (text, path) = (found.to_string(), fixture.path(1, kind));
            let index = fixture.path(1, Kind::Index);
            // A changed salt in one header and a changed header in the other look alike.
            let named = text.contains(path.to_str().unwrap()) || text.contains(index.to_str().unwrap());
            assert!(named && text.contains("original blocks"), "{kind} {at}: {text}");
            fixture.edit(1, kind, |bytes| bytes[at] ^= 0x10);
        }
        assert_eq!(fixture.read(1).unwrap().0, [&b"first"[..], b"second"]);
    }
}

#[test]
fn a_file_of_another_application_or_partition_names_both() {
    let fixture = Fixture::new();
    let other = fixture.place_of("app-2");
    fixture.finalized(1, &[b"ours"]);
    fixture.finalized(2, &[b"its neighbour"]);
    let mut writer = fixture
        .store
        .create(&OnLane::here(), &other, partition(1), &key(), &super::fixture::wrapped())
        .unwrap();
    super::fixture::Blocks::block(&mut writer, b"theirs");
    writer.close_chunk(&OnLane::here(), b"bits").unwrap();
    writer.finalize(&OnLane::here(), crate::sealed_files::Fsync::Never).unwrap();
    for kind in Kind::ALL {
        let ours = fs::read(fixture.path(1, kind)).unwrap();
        let theirs = other.shown(partition(1), kind).unwrap();
        fs::copy(theirs.as_str(), fixture.path(1, kind)).unwrap();
        let found = fixture.open(1).unwrap_err().to_string();
        assert!(found.contains("\"app-2\", not \"app-1\"") && found.contains("moved or copied"), "{found}");
        fs::copy(fixture.path(2, kind), fixture.path(1, kind)).unwrap();
        let found = fixture.open(1).unwrap_err().to_string();
        assert!(found.contains("0_2_2, not 0_2_1"), "{found}");
        fs::write(fixture.path(1, kind), ours).unwrap();
    }
    assert_eq!(fixture.read(1).unwrap().0, [b"ours"]);
}

#[test]
fn files_of_two_openings_do_not_mix() {
    let fixture = Fixture::new();
    for kind in Kind::ALL {
        fixture.finalized_anew(1, &[b"same"]);
        let old = fs::read(fixture.path(1, kind)).unwrap();
        fixture.finalized_anew(1, &[b"same"]);
        fixture.edit(1, kind, |bytes| *bytes = old);
        let found = fixture.read(1).unwrap_err().to_string();
        assert!(found.contains("another opening"), "{kind}: {found}");
    }
}

#[test]
fn lengths_are_the_committed_ones() {
    let fixture = Fixture::new();
    fixture.finalized(1, &[b"block"]);
    for kind in Kind::ALL {
        let whole = fs::read(fixture.path(1, kind)).unwrap();
        fixture.edit(1, kind, |bytes| bytes.push(0));
        let found = fixture.open(1).unwrap_err().to_string();
        assert!(found.contains("appended") && found.contains(&format!(".{kind}")), "{kind}: {found}");
        fixture.edit(1, kind, |bytes| bytes.truncate(whole.len() - 1));
        let found = fixture.open(1).unwrap_err().to_string();
        assert!(found.contains("cut short") && found.contains(&format!(".{kind}")), "{kind}: {found}");
        fs::write(fixture.path(1, kind), whole).unwrap();
    }
}

#[test]
fn a_data_file_cut_while_it_is_read_is_found() {
    let fixture = Fixture::new();
    fixture.finalized(1, &[&pattern(600_000)]);
    let opened = fixture.open(1).unwrap();
    let mut region = fixture.chunk(&opened, 0).unwrap();
    region.fill_blocking(&OnLane::here()).unwrap();
    let file = fs::File::options().write(true).open(fixture.path(1, Kind::Data)).unwrap();
    file.set_len(300_000).unwrap();
    let found = drain(&mut region).unwrap_err();
    assert!(found.is_refused() && found.to_string().contains("truncated"), "{found}");
    assert!(fixture.chunk(&opened, 0).unwrap_err().to_string().contains("cut short"));
}

#[test]
fn a_missing_file_is_missing_and_not_refused() {
    let fixture = Fixture::new();
    for kind in Kind::ALL {
        fixture.finalized_anew(1, &[b"block"]);
        fs::remove_file(fixture.path(1, kind)).unwrap();
        let found = fixture.read(1).unwrap_err();
        assert!(found.is_missing() && !found.is_refused(), "{found}");
    }
}

#[test]
fn an_index_beyond_the_limit_costs_no_memory() {
    let fixture = Fixture::with(SealedLimits { max_read_bytes: 4096, ..SealedLimits::default() });
    fixture.finalized(1, &[b"block"]);
    fs::File::options().write(true).open(fixture.path(1, Kind::Index)).unwrap().set_len(1 << 40).unwrap();
    let found = fixture.open(1).unwrap_err();
    assert!(matches!(found, StoredError::TooLarge { limit: 4096, .. }), "{found}");
}
