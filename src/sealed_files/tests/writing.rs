use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::stored::sealed::{Header, Kind, SealedError};
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{Blocks, Fixture, key, partition, pattern, wrapped};
use crate::disk::{OwnFile, OwnFiles};
use crate::sealed_files::{Fsync, MergedFiles, SealedLimits, SealedWriter, StoredError};

const CANARY: &[u8] = b"the canary sings in clear";

#[test]
fn files_bear_sparks_names_in_sparks_places_and_are_ours_alone() {
    let fixture = Fixture::new();
    fixture.finalized(1, &[b"block"]);
    for kind in Kind::ALL {
        let path = fixture.path(1, kind);
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("shuffleMerged_app-1_0_2_1.{kind}"));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
}

#[test]
fn no_byte_of_a_block_is_on_the_disk_in_clear() {
    let fixture = Fixture::new();
    let finds = |when: &str| {
        for kind in Kind::ALL {
            let bytes = fs::read(fixture.path(1, kind)).unwrap();
            assert!(
                !bytes.windows(8).any(|part| CANARY.windows(8).any(|clear| part == clear)),
                "{when} {kind}"
            );
        }
    };
    let mut writer = fixture.create(1);
    writer.pieces(CANARY, 9).unwrap();
    finds("before the block is complete");
    writer.abort();
    writer.block(CANARY);
    writer.close_chunk(&OnLane::here(), CANARY).unwrap();
    finds("in merging");
    writer.finalize(&OnLane::here(), Fsync::Never).unwrap();
    finds("finalized");
}

#[test]
fn says_how_long_everything_is() {
    let fixture = Fixture::new();
    let mut writer = fixture.create(1);
    writer.block(b"12345");
    assert_eq!((writer.len(), writer.open_chunk_len(), writer.id()), (5, 5, partition(1)));
    writer.close_chunk(&OnLane::here(), b"bits").unwrap();
    assert_eq!((writer.len(), writer.open_chunk_len()), (5, 0));
    let finalized = writer.finalize(&OnLane::here(), Fsync::Always).unwrap();
    let on_disk: u64 = Kind::ALL.iter().map(|kind| fs::metadata(fixture.path(1, *kind)).unwrap().len()).sum();
    assert_eq!((finalized.chunks, finalized.len, finalized.sealed_len), (1, 5, on_disk));
    assert_eq!(fixture.open(1).unwrap().salt(), finalized.salt);
}

#[test]
fn an_aborted_block_is_written_over() {
    let fixture = Fixture::new();
    let mut writer = fixture.create(1);
    writer.block(b"before");
    writer.pieces(&pattern(5000), 1000).unwrap();
    let long = fs::metadata(fixture.path(1, Kind::Data)).unwrap().len();
    writer.abort();
    writer.block(b"after");
    assert_eq!(fs::metadata(fixture.path(1, Kind::Data)).unwrap().len(), long, "in place");
    writer.close_chunk(&OnLane::here(), b"bits").unwrap();
    writer.finalize(&OnLane::here(), Fsync::Never).unwrap();
    assert!(fs::metadata(fixture.path(1, Kind::Data)).unwrap().len() < long, "cut at the end");
    assert_eq!(fixture.read(1).unwrap().0, [b"beforeafter"]);
}

/// The data file is gone for a while, so that a write fails.
#[test]
fn a_block_that_lost_a_piece_is_not_committed() {
    let fixture = Fixture::with(SealedLimits { write_handles: 0, ..SealedLimits::default() });
    let mut writer = fixture.create(1);
    writer.block(b"first");
    let path = fixture.path(1, Kind::Data);
    let away = path.with_extension("away");
    for commit in [false, true] {
        writer.pieces(b"half", 2).unwrap();
        fs::rename(&path, &away).unwrap();
        assert!(writer.pieces(b"lost", 4).unwrap_err().is_missing());
        fs::rename(&away, &path).unwrap();
        assert!(matches!(writer.pieces(b"more", 4), Err(StoredError::PieceLost { .. })));
        match commit {
            true => assert!(matches!(writer.commit(), Err(StoredError::PieceLost { .. }))),
            false => writer.abort(),
        }
    }
    writer.block(b"second");
    writer.close_chunk(&OnLane::here(), b"bits").unwrap();
    writer.finalize(&OnLane::here(), Fsync::Never).unwrap();
    assert_eq!(fixture.read(1).unwrap().0, [b"firstsecond"]);
}

#[test]
fn a_chunk_whose_end_could_not_be_written_goes_on() {
    let fixture = Fixture::new();
    for (reduce, kind) in [(1, Kind::Index), (2, Kind::Meta)] {
        let mut writer = fixture.create(reduce);
        writer.block(b"one");
        let path = fixture.path(reduce, kind);
        let away = path.with_extension("away");
        fs::rename(&path, &away).unwrap();
        assert!(writer.close_chunk(&OnLane::here(), b"lost").unwrap_err().is_missing());
        fs::rename(&away, &path).unwrap();
        writer.block(b"two");
        writer.close_chunk(&OnLane::here(), b"bits").unwrap();
        writer.finalize(&OnLane::here(), Fsync::Never).unwrap();
        let (chunks, meta) = fixture.read(reduce).unwrap();
        assert_eq!((chunks, &meta[..]), (vec![b"onetwo".to_vec()], &b"bits"[..]), "{kind}");
    }
}

#[test]
fn what_never_came_to_its_end_is_not_served() {
    let fixture = Fixture::new();
    let mut writer = fixture.create(1);
    writer.block(b"block");
    writer.close_chunk(&OnLane::here(), b"bits").unwrap();
    drop(writer);
    let found = fixture.open(1).unwrap_err();
    assert!(matches!(found, StoredError::Refused { source: SealedError::NotFinalized, .. }), "{found}");
}

#[test]
fn a_partition_that_is_made_anew_leaves_nothing_of_the_old_one() {
    let fixture = Fixture::new();
    let old = fixture.finalized(1, &[b"old block"]);
    let opened = fixture.open(1).unwrap();
    let mut reading = fixture.chunk(&opened, 0).unwrap();
    assert!(fixture.store.remove(&OnLane::here(), &fixture.place, partition(1)).unwrap());
    let mut writer = fixture.create(1);
    assert!(fixture.open(1).is_err(), "the old one is gone");
    writer.block(b"new block");
    writer.close_chunk(&OnLane::here(), b"bits").unwrap();
    let new = writer.finalize(&OnLane::here(), Fsync::Never).unwrap();
    assert_ne!(old.salt, new.salt);
    assert_eq!(fixture.read(1).unwrap().0, [b"new block"]);
    assert_eq!(super::fixture::drain(&mut reading).unwrap(), b"old block", "who has it open keeps it");
    let found = fixture.chunk(&opened, 0).unwrap_err();
    let expected = SealedError::OtherOpening { kind: Kind::Data };
    assert!(matches!(&found, StoredError::Refused { source, .. } if *source == expected), "{found}");
}

#[test]
fn what_lies_at_the_name_is_neither_followed_nor_written_to() {
    let fixture = Fixture::new();
    // An opening that was not finalized, whose files make room.
    drop(fixture.create(1));
    let planted = [Kind::Data, Kind::Meta].map(|kind| fixture.path(1, kind));
    planted.iter().for_each(|path| fs::remove_file(path).unwrap());
    let victim = fixture.root.join("victim");
    fs::write(&victim, b"untouched").unwrap();
    symlink(&victim, fixture.path(1, Kind::Data)).unwrap();
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path().join("new"), fixture.path(1, Kind::Meta)).unwrap();
    fixture.finalized(1, &[b"block"]);
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    assert_eq!(fixture.read(1).unwrap().0, [b"block"]);
}

#[test]
fn a_file_put_in_place_of_ours_is_not_written_to() {
    let fixture = Fixture::with(SealedLimits { write_handles: 0, ..SealedLimits::default() });
    let mut writer = fixture.create(1);
    let victim = fixture.root.join("victim");
    fs::write(&victim, b"untouched").unwrap();
    let path = fixture.path(1, Kind::Data);
    fs::remove_file(&path).unwrap();
    fs::hard_link(&victim, &path).unwrap();
    let found = writer.pieces(b"block", 5).unwrap_err().to_string();
    assert!(
        found.contains("is no longer the file that was made there") && found.contains("_1.data"),
        "{found}"
    );
    assert!(writer.finalize(&OnLane::here(), Fsync::Never).is_err());
    assert_eq!(fs::read(&victim).unwrap(), b"untouched");
}

#[test]
fn a_directory_that_leads_out_of_the_root_is_not_used() {
    let fixture = Fixture::new();
    let outside = tempfile::tempdir().unwrap();
    let sub = fixture.path(1, Kind::Data).parent().unwrap().to_owned();
    fs::remove_dir(&sub).unwrap();
    symlink(outside.path(), &sub).unwrap();
    let found =
        fixture.store.create(&OnLane::here(), &fixture.place, partition(1), &key(), &wrapped()).unwrap_err();
    assert!(found.to_string().contains("symlink"), "{found}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn removing_takes_all_three_files_and_may_be_repeated() {
    let fixture = Fixture::new();
    fixture.finalized(1, &[b"block"]);
    assert!(fixture.store.remove(&OnLane::here(), &fixture.place, partition(1)).unwrap());
    assert!(!fixture.store.remove(&OnLane::here(), &fixture.place, partition(1)).unwrap());
    assert!(Kind::ALL.iter().all(|kind| !fixture.path(1, *kind).exists()));
    assert!(fixture.open(1).unwrap_err().is_missing());

    fixture.create(2).remove(&OnLane::here()).unwrap();
    assert!(Kind::ALL.iter().all(|kind| !fixture.path(2, *kind).exists()));
}

#[test]
fn no_directories_no_files() {
    let fixture = Fixture::new();
    let nowhere = MergedFiles::new(fixture.place.context().clone(), 1, [], 64).into();
    let found =
        fixture.store.create(&OnLane::here(), &nowhere, partition(1), &key(), &wrapped()).unwrap_err();
    assert!(matches!(found, StoredError::NoDirectories { .. }), "{found}");
}

#[test]
fn the_header_says_which_key_is_needed_before_there_is_one() {
    let fixture = Fixture::new();
    drop(fixture.create(1));
    let header: Header = fixture.store.header(&OnLane::here(), &fixture.place, partition(1)).unwrap();
    assert_eq!((header.key, header.kind), (wrapped(), Kind::Index));
    assert!(fixture.store.header(&OnLane::here(), &fixture.place, partition(2)).unwrap_err().is_missing());
}

fn try_create(fixture: &Fixture, place: &Arc<MergedFiles>) -> Result<SealedWriter, StoredError> {
    fixture.store.create(&OnLane::here(), place, partition(1), &key(), &wrapped())
}

#[test]
fn what_was_finalized_is_not_made_anew() {
    let fixture = Fixture::new();
    fixture.finalized(1, &[b"maps 0 to 30"]);
    let before = Kind::ALL.map(|kind| fs::read(fixture.path(1, kind)).unwrap());
    let refused = try_create(&fixture, &fixture.place).unwrap_err();
    assert!(matches!(refused, StoredError::Finalized { .. }), "{refused}");
    // Nor is what may have been: a damaged index, none beside a data file, and that of another service.
    let index = fixture.path(1, Kind::Index);
    for change in ["cut header", "damaged", "another service", "gone", "a directory"] {
        match change {
            "cut header" => fs::write(&index, [&before[1][..8], &[0xff; 90]].concat()).unwrap(),
            "damaged" => fixture.edit(1, Kind::Index, |bytes| {
                let at = Header::decode(bytes).unwrap().1;
                bytes[at] = 0xff;
            }),
            "another service" => {
                fs::write(&index, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23]).unwrap()
            }
            "gone" => fs::remove_file(&index).unwrap(),
            _ => fs::create_dir(&index).unwrap(),
        }
        let refused = try_create(&fixture, &fixture.place).unwrap_err();
        assert!(matches!(refused, StoredError::InDoubt { .. }), "{change}: {refused}");
        for kind in [Kind::Data, Kind::Meta] {
            assert_eq!(fs::read(fixture.path(1, kind)).unwrap(), before[kind as usize - 1], "{change}");
        }
        if change != "gone" && change != "a directory" {
            fs::write(&index, &before[1]).unwrap();
        }
    }
}

#[test]
fn what_was_not_finalized_makes_room() {
    let fixture = Fixture::new();
    let mut writer = fixture.create(1);
    writer.block(b"block");
    writer.close_chunk(&OnLane::here(), b"bits").unwrap();
    drop(writer);
    let index = fs::read(fixture.path(1, Kind::Index)).unwrap();
    for len in [index.len(), index.len() - 1, index.len() / 2, 9, 0] {
        fs::write(fixture.path(1, Kind::Index), &index[..len]).unwrap();
        assert!(try_create(&fixture, &fixture.place).is_ok(), "{len} bytes");
    }
    fixture.create(1).remove(&OnLane::here()).unwrap();
    fixture.finalized(1, &[b"block"]);
}

#[test]
fn files_of_an_earlier_attempt_make_room_and_open_for_nobody_else() {
    let fixture = Fixture::new();
    fixture.finalized(1, &[b"attempt 1"]);
    let of = |attempt| {
        let (context, dirs) = (fixture.place.context().clone(), fixture.place.dirs().to_vec());
        Arc::new(MergedFiles::new(context, attempt, dirs, 4))
    };
    for attempt in [0, 2] {
        let opened = fixture.store.open(&OnLane::here(), &of(attempt), partition(1), &key()).unwrap_err();
        assert!(opened.to_string().contains("attempt"), "{opened}");
    }
    let refused = try_create(&fixture, &of(0)).unwrap_err();
    assert!(matches!(refused, StoredError::InDoubt { .. }), "{refused}");
    assert_eq!(fixture.read(1).unwrap().0, [b"attempt 1"]);
    drop(try_create(&fixture, &of(2)).unwrap());
    assert!(fixture.open(1).is_err());
}

/// The next file gets the inode of the one that was deleted.
#[test]
fn a_descriptor_is_not_found_by_the_inode_of_another_file() {
    let (fixture, on) = (Fixture::new(), OnLane::here());
    let files = OwnFiles::new(Arc::clone(&fixture.roots), 1024, 0, Duration::ZERO);
    let mut again = 0;
    for n in 0..50 {
        let place = |name: String| OwnFile::place(fixture.place.dirs(), 4, name).unwrap();
        let (one, other) = (place(format!("one-{n}.index")), place(format!("other-{n}.data")));
        let inode = |file: &OwnFile<'_>| fs::metadata(file.shown().as_str()).unwrap().ino();
        let writing = files.create(&on, &one, b"one", false).unwrap();
        let before = inode(&one);
        files.remove(&on, &one).unwrap();
        files.create(&on, &other, b"another application's", true).unwrap();
        again += u32::from(inode(&other) == before);
        assert!(files.write_at(&on, &one, writing, b"over it", 0, false).is_err());
        assert!(files.cut(&on, &one, writing, 0, false).is_err());
        assert_eq!(fs::read(other.shown().as_str()).unwrap(), b"another application's");
    }
    if again == 0 {
        println!("this file system gives no inode again at once: nothing was shown");
    }
}

#[test]
fn a_file_of_the_same_inode_that_begins_otherwise_is_not_written_to() {
    let fixture = Fixture::with(SealedLimits { write_handles: 0, ..SealedLimits::default() });
    let mut writer = fixture.create(1);
    fixture.edit(1, Kind::Data, |bytes| bytes[20] ^= 1);
    let found = writer.pieces(b"block", 5).unwrap_err().to_string();
    assert!(found.contains("is no longer the file that was made there"), "{found}");
}

#[test]
fn a_file_that_was_deleted_is_found_out_before_the_end_and_does_not_stay_open() {
    for kind in Kind::ALL {
        let fixture = Fixture::new();
        let mut writer = fixture.create(1);
        writer.block(b"block");
        writer.close_chunk(&OnLane::here(), b"bits").unwrap();
        fs::remove_file(fixture.path(1, kind)).unwrap();
        let found = writer.finalize(&OnLane::here(), Fsync::Never).unwrap_err();
        assert!(found.is_missing(), "{kind}: {found}");
        assert!(fixture.open(1).is_err());
    }
    let fixture = Fixture::new();
    let mut writer = fixture.create(1);
    writer.block(b"block");
    assert_eq!(fixture.store.handles().0, 1);
    fs::remove_file(fixture.path(1, Kind::Data)).unwrap();
    fixture.store.close_files(&OnLane::here(), 0, Instant::now());
    assert_eq!(fixture.store.handles().0, 0, "its space is free");
    assert!(writer.pieces(b"block", 5).unwrap_err().is_missing());
}
