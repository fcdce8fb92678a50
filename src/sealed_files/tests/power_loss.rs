//! Power is lost at any moment: what was announced before it is whole afterwards, where files are synced.
//!
//! The order of all that is done to files is recorded at the seam where they are written, and replayed up to a random
//! point. Of what was not synced by then any part may be on the disk: a write wholly, in some of its sectors, or not at
//! all, in any order, and the same of cuts and names. That is more than a file system would lose, and less than a disk
//! that lies about its cache.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{Blocks, Fixture, pattern};
use crate::disk::own::{Deed, Watch};
use crate::sealed_files::{Fsync, SealedLimits};

const PARTITIONS: i32 = 6;
const POINTS: usize = 100;
const SECTOR: usize = 512;

/// What was done, in order, and what was announced after it.
#[derive(Debug, Default)]
struct Recorder(Mutex<Vec<Done>>);

#[derive(Clone, Debug)]
enum Done {
    Create(String),
    Write(String, u64, Vec<u8>),
    Cut(String, u64),
    Sync(String),
    SyncDirectory(String),
    Remove(String),
    /// The driver is told that this partition is finalized.
    Announced(i32),
}

impl Recorder {
    fn add(&self, done: Done) {
        self.0.lock().unwrap().push(done);
    }
}

impl Watch for Recorder {
    fn before(&self, deed: Deed<'_>, (_, path): (usize, String)) -> Result<(), Errno> {
        self.add(match deed {
            Deed::Create => Done::Create(path),
            Deed::Write { bytes, position } => Done::Write(path, position, bytes.to_vec()),
            Deed::Cut { len } => Done::Cut(path, len),
            Deed::Sync => Done::Sync(path),
            Deed::SyncDirectory => Done::SyncDirectory(path),
            Deed::Remove => Done::Remove(path),
        });
        Ok(())
    }
}

/// A file on the disk, and what was done to it that may not be there.
#[derive(Clone, Debug, Default)]
struct Content {
    synced: Vec<u8>,
    loose: Vec<Done>,
}

/// The disk: files by their number, and which name leads to which, surely and perhaps.
#[derive(Debug, Default)]
struct Disk {
    files: Vec<Content>,
    synced: BTreeMap<String, usize>,
    now: BTreeMap<String, usize>,
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').unwrap().0
}

impl Disk {
    fn apply(&mut self, done: &Done) {
        match done {
            Done::Create(path) => {
                self.now.insert(path.clone(), self.files.len());
                self.files.push(Content::default());
            }
            Done::Remove(path) => _ = self.now.remove(path),
            Done::Write(path, ..) | Done::Cut(path, _) => self.file(path).loose.push(done.clone()),
            Done::Sync(path) => {
                let file = self.file(path);
                for done in std::mem::take(&mut file.loose) {
                    change(&mut file.synced, &done, |_| true);
                }
            }
            Done::SyncDirectory(path) => {
                let here = directory(path);
                self.synced.retain(|path, _| directory(path) != here);
                let now = self.now.iter().filter(|(path, _)| directory(path) == here);
                self.synced.extend(now.map(|(path, file)| (path.clone(), *file)));
            }
            Done::Announced(_) => {}
        }
    }

    fn file(&mut self, path: &str) -> &mut Content {
        &mut self.files[self.now[path]]
    }

    /// What is found after the loss of power.
    fn after_the_loss(&self, chance: &mut Random) -> HashMap<String, Vec<u8>> {
        let mut found = HashMap::new();
        let names = self.synced.keys().chain(self.now.keys());
        for name in names {
            let (before, now) = (self.synced.get(name), self.now.get(name));
            let Some(file) = (if before == now || chance.one_in(2) { now } else { before }) else { continue };
            let Content { mut synced, mut loose } = self.files[*file].clone();
            if chance.one_in(3) {
                loose.reverse();
            }
            for done in loose {
                match chance.within(4) {
                    0 => {}
                    1 => change(&mut synced, &done, |_| chance.one_in(2)),
                    _ => change(&mut synced, &done, |_| true),
                }
            }
            found.insert(name.clone(), synced);
        }
        found
    }
}

/// Does what was done, in those sectors that `is_there` says.
fn change(bytes: &mut Vec<u8>, done: &Done, mut is_there: impl FnMut(usize) -> bool) {
    match done {
        Done::Write(_, position, written) => {
            let mut at = usize::try_from(*position).unwrap();
            let mut rest = &written[..];
            while !rest.is_empty() {
                let n = rest.len().min(SECTOR - at % SECTOR);
                if is_there(at) {
                    bytes.resize(bytes.len().max(at + n), 0);
                    bytes[at..at + n].copy_from_slice(&rest[..n]);
                }
                (at, rest) = (at + n, &rest[n..]);
            }
        }
        Done::Cut(_, len) if is_there(0) => bytes.resize(usize::try_from(*len).unwrap(), 0),
        _ => {}
    }
}

/// A fixed sequence, so that a failure is found again (xorshift).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn within(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.within(n) == 0
    }
}

fn block(partition: i32, n: usize) -> Vec<u8> {
    let tag = u8::try_from(partition).unwrap();
    pattern(300 + 900 * n).into_iter().map(|byte| byte ^ tag).collect()
}

/// What is done while partitions are merged, several at a time, and finalized one after the other.
fn record(fixture: &Fixture, recorder: &Recorder, fsync: Fsync) -> Vec<Done> {
    let on = OnLane::here();
    let mut writers: Vec<_> = (0..PARTITIONS).map(|reduce| fixture.create(reduce)).collect();
    for n in 0..4 {
        for (reduce, writer) in (0..).zip(&mut writers) {
            writer.pieces(&block(reduce, n + 1), 700).unwrap();
            writer.abort();
            writer.block(&block(reduce, n));
            if n % 2 == 1 {
                writer.close_chunk(&on, b"bits").unwrap();
            }
        }
    }
    for (reduce, writer) in (0..).zip(writers) {
        writer.finalize(&on, fsync).unwrap();
        recorder.add(Done::Announced(reduce));
    }
    std::mem::take(&mut *recorder.0.lock().unwrap())
}

/// Replays to random points. How many partitions that were announced are whole, and how many are not.
fn replay(fixture: &Fixture, done: &[Done], seed: u64) -> (u32, u32) {
    let mut chance = Random(seed);
    let (mut whole, mut lost) = (0, 0);
    for _ in 0..POINTS {
        let point = usize::try_from(chance.within(done.len() as u64 + 1)).unwrap();
        let mut disk = Disk::default();
        done[..point].iter().for_each(|done| disk.apply(done));
        for reduce in 0..PARTITIONS {
            for kind in sealed_shuffle_protocol::stored::sealed::Kind::ALL {
                drop(fs::remove_file(fixture.path(reduce, kind)));
            }
        }
        for (path, bytes) in disk.after_the_loss(&mut chance) {
            fs::write(fixture.root.join(path), bytes).unwrap();
        }
        let announced =
            |reduce| done[..point].iter().any(|done| matches!(done, Done::Announced(n) if *n == reduce));
        for reduce in 0..PARTITIONS {
            let expected = [[0, 1], [2, 3]].map(|chunk| chunk.map(|n| block(reduce, n)).concat());
            match fixture.read(reduce) {
                Ok((chunks, _)) => {
                    assert_eq!(chunks, expected, "whatever is served is right");
                    whole += u32::from(announced(reduce));
                }
                Err(_) => lost += u32::from(announced(reduce)),
            }
        }
    }
    (whole, lost)
}

fn recorded(fsync: Fsync) -> (Fixture, Vec<Done>) {
    let recorder = Arc::new(Recorder::default());
    // Files are opened again for each write.
    let limits = SealedLimits { write_handles: 2, ..SealedLimits::default() };
    let fixture = Fixture::watched(limits, Arc::clone(&recorder) as _);
    let done = record(&fixture, &recorder, fsync);
    (fixture, done)
}

#[test]
fn what_was_announced_is_whole_after_a_loss_of_power() {
    let (fixture, done) = recorded(Fsync::Always);
    for seed in 1..4 {
        let (whole, lost) = replay(&fixture, &done, seed);
        assert_eq!(lost, 0, "of {whole} that were announced, seed {seed}");
        assert!(whole > 20, "{whole}");
    }
}

/// The control: without syncing, something is lost, and found to be.
#[test]
fn without_syncing_a_loss_of_power_is_found_out() {
    let (fixture, done) = recorded(Fsync::Never);
    let (whole, lost) = replay(&fixture, &done, 1);
    assert!(lost > whole, "{lost} of {}", whole + lost);
}
