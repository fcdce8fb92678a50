//! Files of our own: made and written beneath a root, whatever lies there.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;
use std::time::Duration;

use super::fixture::{Fixture, app, on, text};
use crate::disk::own::OwnFile;
use crate::disk::{Confinement, LocalDir, OwnFiles, Roots, WriteError};

const SUB: &str = "00";

#[test]
fn makes_a_file_with_mode_0600_in_place_of_what_was_there() {
    for (fixture, files, dir) in both_ways() {
        let path = fixture.dir.join(SUB).join("made");
        let victim = fixture.root.join("victim");
        fs::write(&victim, b"untouched").unwrap();
        for round in 0..3 {
            match round {
                0 => symlink(&victim, &path).unwrap(),
                1 => fs::hard_link(&victim, &path).unwrap(),
                _ => fs::write(&path, b"longer than what comes").unwrap(),
            }
            let file = place(&dir, "made");
            let writing = files.create(&on(), &file, b"front", round == 0).unwrap();
            files.write_at(&on(), &file, writing, b" and back", 5, true).unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"front and back");
            assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o7777, 0o600);
            assert_eq!(files.read_front(&on(), &file, 5).unwrap(), (b"front".to_vec(), 14));
            files.cut(&on(), &file, writing, 5, true).unwrap();
            files.sync_dir(&on(), &file).unwrap();
            files.written(writing);
            assert_eq!(files.write_handles(), 0);
            assert_eq!(files.open(&on(), &file, &app()).unwrap().identity().size(), 5);
            assert!(files.remove(&on(), &file).unwrap() && !files.remove(&on(), &file).unwrap());
        }
        assert_eq!(fs::read(&victim).unwrap(), b"untouched");
    }
}

#[test]
fn nothing_is_made_or_written_outside_the_root() {
    for (fixture, files, dir) in both_ways() {
        let outside = tempfile::tempdir().unwrap();
        for name in ["..", "../made", "a/b", "", "."] {
            assert!(files.create(&on(), &place(&dir, name), b"x", false).is_err(), "{name:?}");
        }
        let file = place(&dir, "made");
        let writing = files.create(&on(), &file, b"x", false).unwrap();
        let sub = fixture.dir.join(SUB);
        fs::rename(&sub, fixture.dir.join("away")).unwrap();
        symlink(outside.path(), &sub).unwrap();
        fs::write(outside.path().join("made"), b"outside").unwrap();
        assert!(files.create(&on(), &file, b"x", false).is_err());
        assert!(files.write_at(&on(), &file, writing, b"x", 0, false).is_err());
        assert!(files.cut(&on(), &file, writing, 0, false).is_err());
        assert!(files.read_front(&on(), &file, 9).is_err());
        assert!(files.remove(&on(), &file).is_err());
        assert_eq!(fs::read(outside.path().join("made")).unwrap(), b"outside");
    }
}

#[test]
fn only_the_file_that_was_made_is_written_to() {
    for (fixture, files, dir) in both_ways() {
        let file = place(&dir, "made");
        let path = fixture.dir.join(SUB).join("made");
        let writing = files.create(&on(), &file, b"ours", false).unwrap();
        fs::rename(&path, path.with_extension("kept")).unwrap();
        fs::write(&path, b"another").unwrap();
        let found = files.write_at(&on(), &file, writing, b"x", 0, false);
        assert!(matches!(found, Err(WriteError::ReplacedFile { .. })), "{found:?}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(files.write_at(&on(), &file, writing, b"x", 0, false), Err(WriteError::Open(_))));
        fs::remove_dir(&path).unwrap();
        fs::rename(path.with_extension("kept"), &path).unwrap();
        files.write_at(&on(), &file, writing, b"OU", 0, false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"OUrs");
    }
}

#[test]
fn descriptors_are_bounded_and_opened_again() {
    let (_fixture, files, dir) = both_ways().remove(0);
    let made: Vec<_> = (0..20)
        .map(|n| {
            let file = place(&dir, &format!("made-{n}"));
            let writing = files.create(&on(), &file, b"", true).unwrap();
            (file, writing)
        })
        .collect();
    assert_eq!(files.write_handles(), 4);
    for (n, (file, writing)) in made.iter().enumerate() {
        files.write_at(&on(), file, *writing, &[n as u8; 3], 0, true).unwrap();
    }
    assert!(files.write_handles() <= 4 && files.reopened() >= 16, "{}", files.reopened());
    for (n, (file, writing)) in made.iter().enumerate() {
        assert_eq!(files.read_front(&on(), file, 9).unwrap().0, [n as u8; 3]);
        files.written(*writing);
    }
    assert_eq!(files.write_handles(), 0);
}

/// A root with a directory, a store of four descriptors over it, for each way of confinement that the kernel has.
fn both_ways() -> Vec<(Fixture, OwnFiles, LocalDir)> {
    let ways = Fixture::confined_both_ways();
    let walks = ways.len();
    ways.into_iter()
        .enumerate()
        .map(|(n, fixture)| {
            fs::create_dir_all(fixture.dir.join(SUB)).unwrap();
            let roots = Roots::open([&fixture.root]).unwrap();
            let roots = match n + 1 == walks {
                true => roots.with_confinement(Confinement::Walk),
                false => roots,
            };
            let dir = roots.accept(&on(), &text(&fixture.dir)).unwrap();
            let files = OwnFiles::new(Arc::new(roots), 4, 4, Duration::from_secs(60));
            (fixture, files, dir)
        })
        .collect()
}

/// With one sub-directory every name has the same place.
fn place<'a>(dir: &'a LocalDir, name: &str) -> OwnFile<'a> {
    OwnFile::place(std::slice::from_ref(dir), 1, name.to_owned()).unwrap()
}
