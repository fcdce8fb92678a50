//! Reads stay within the region and tell a truncated file from a slow one.

use std::fs;
use std::io::IoSliceMut;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tempfile::TempDir;

use super::{OpenFile, ReadError, ReadNow, Region, read_blocking, read_now};
use crate::lane::OnLane;

/// A file, and a directory that goes with it.
struct Fixture {
    dir: TempDir,
}

impl Fixture {
    fn of(content: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("data"), content).unwrap();
        Self { dir }
    }

    /// Three neighbouring ranges: `AAAA`, `CCCCC`, `D`.
    fn new() -> Self {
        Self::of(b"AAAACCCCCD")
    }

    fn region(&self, offset: u64, len: u64) -> Region {
        Region::new(Arc::new(OpenFile::open(&self.dir.path().join("data"))), offset, len)
    }
}

#[test]
fn never_reads_past_the_regions_end() {
    let fixture = Fixture::new();
    let region = fixture.region(0, 4);
    let mut bytes = [b'.'; 8];
    assert_eq!(read_blocking(&OnLane::here(), &region, 1, &mut [IoSliceMut::new(&mut bytes)]).unwrap(), 3);
    assert_eq!(&bytes, b"AAA.....");
    let (mut a, mut b, mut c) = ([b'.'; 3], [b'.'; 3], [b'.'; 3]);
    let mut at = 0;
    {
        let bufs = &mut [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b), IoSliceMut::new(&mut c)];
        at += read_blocking(&OnLane::here(), &region, at, bufs).unwrap() as u64;
    }
    assert!(at > 0 && at <= 4);
    assert_eq!((&a, &c), (b"AAA", b"..."));
    assert!(b == *b"..." || b == *b"A..");
}

#[test]
fn reads_nothing_at_and_beyond_the_end() {
    let fixture = Fixture::new();
    let region = fixture.region(4, 5);
    let mut bytes = [0; 4];
    for position in [5, 6, u64::MAX] {
        assert_eq!(
            read_blocking(&OnLane::here(), &region, position, &mut [IoSliceMut::new(&mut bytes)]).unwrap(),
            0
        );
        let now = read_now(&region, position, &mut [IoSliceMut::new(&mut bytes)]).unwrap();
        assert_eq!(now, ReadNow::Read(0));
    }
    assert_eq!(read_blocking(&OnLane::here(), &region, 0, &mut []).unwrap(), 0);
    assert_eq!(
        read_blocking(&OnLane::here(), &Region::empty(), 0, &mut [IoSliceMut::new(&mut bytes)]).unwrap(),
        0
    );
}

#[test]
fn skips_buffers_without_room_and_takes_any_number_of_them() {
    let fixture = Fixture::of(&[7; 3000]);
    let region = fixture.region(0, 3000);
    let mut bytes = vec![0; 3000];
    let mut none = [];
    let mut bufs = vec![IoSliceMut::new(&mut none)];
    bufs.extend(bytes.chunks_mut(1).map(IoSliceMut::new));
    let n = read_blocking(&OnLane::here(), &region, 0, &mut bufs).unwrap();
    assert!(n > 0 && n <= 1024, "{n}");
    assert!(bytes[..n].iter().all(|byte| *byte == 7));
}

#[test]
fn what_was_just_written_is_read_now_where_the_file_system_can_tell() {
    let fixture = Fixture::new();
    let region = fixture.region(4, 5);
    let mut bytes = [0; 9];
    match read_now(&region, 0, &mut [IoSliceMut::new(&mut bytes)]).unwrap() {
        ReadNow::Read(n) => assert_eq!(&bytes[..n], &b"CCCCC"[..n]),
        ReadNow::WouldBlock => println!("this file system never reads without waiting"),
    }
    region.file().unwrap().never_now.store(true, Ordering::Relaxed);
    let now = read_now(&region, 0, &mut [IoSliceMut::new(&mut bytes)]).unwrap();
    assert_eq!(now, ReadNow::WouldBlock);
}

#[test]
fn a_file_that_became_shorter_is_an_error() {
    let fixture = Fixture::new();
    let region = fixture.region(4, 5);
    fs::OpenOptions::new().write(true).open(fixture.dir.path().join("data")).unwrap().set_len(6).unwrap();
    let mut bytes = [0; 5];
    assert_eq!(read_blocking(&OnLane::here(), &region, 0, &mut [IoSliceMut::new(&mut bytes)]).unwrap(), 2);
    let now = read_now(&region, 2, &mut [IoSliceMut::new(&mut bytes)]).unwrap();
    assert_eq!(now, ReadNow::WouldBlock);
    let error = read_blocking(&OnLane::here(), &region, 2, &mut [IoSliceMut::new(&mut bytes)]).unwrap_err();
    assert!(matches!(error, ReadError::Truncated { expected: 9, found: 6, .. }), "{error}");
}
