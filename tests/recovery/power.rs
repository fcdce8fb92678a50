//! Power is lost at any moment, as the disk sees it: what was announced before is whole when the node is up again.
//!
//! The node's disk is a loop device over a file of a file system in user space, which writes down each write and each flush in their order.
//! A server merges and announces there. Then, at random points of that record, the disk is made as it may be after a
//! loss of power: all that was written before the last flush, and of what came after it any part, in any order, the last write of all perhaps
//! torn. That is mounted, which replays the journal of the file system, and a server starts on it: each chunk that was announced before
//! the point is read whole.
//!
//! | variable | |
//! |---|---|
//! | `SEALED_SHUFFLE_POWER_LOSSES=N` | so many points, 20 without |
//! | `SEALED_SHUFFLE_SEED=N` | the points of another run |

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use roaring::RoaringBitmap;
use sealed_shuffle_faulty_disk::{FaultyDisk, Told};
use sealed_shuffle_protocol::shuffle::ReturnCode;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::content::{Read, block, merge, partition, read};
use crate::mounts::Mount;
use crate::place::{Place, Reached};
use crate::random::Chance;

const SIZE: u64 = 48 << 20;
const SHUFFLES: i32 = 12;
const PARTITIONS: i32 = 3;
const MAPS: i32 = 4;
const SECTOR: usize = 512;
const TO_DISK: &str = "spark.sealed.merge.fsync=true";

/// What a disk was told while a server merged, and when it announced.
struct Record {
    told: Vec<Told>,
    /// Shuffles, each with how much the disk had been told when the answer came.
    announced: Vec<(i32, usize)>,
    temp: TempDir,
}

/// The node on a disk that is mounted.
fn node(at: &Path) -> Place {
    // What is made by the file system itself is beside it.
    Place::at(&at.join("node")).relative()
}

/// `None` where the machine cannot; it says why.
fn record(conf: &[&str]) -> Option<Record> {
    let temp = tempfile::tempdir().unwrap();
    let [backing, disk, at] = ["backing", "disk", "at"].map(|name| temp.path().join(name));
    [&backing, &disk, &at].into_iter().for_each(|dir| fs::create_dir(dir).unwrap());
    File::create(backing.join("image")).unwrap().set_len(SIZE).unwrap();
    let image = disk.join("image");
    let made = || {
        let recorder = FaultyDisk::mount(&backing, &disk)?;
        recorder.record();
        Mount::format(&image)?;
        Ok::<_, String>((Mount::of_image(&image, &at)?, recorder))
    };
    let (mount, recorder) = match made() {
        Ok(made) => made,
        Err(reason) => {
            skipped(&reason);
            return None;
        }
    };
    fs::create_dir(at.join("node")).unwrap();
    fs::set_permissions(at.join("node"), fs::Permissions::from_mode(0o700)).unwrap();
    let place = node(&at);
    place.make();
    let server = place.serve(conf);
    place.hand_over();
    let runtime = Runtime::new().unwrap();
    let announced = runtime.block_on(async {
        let app = server.reach();
        place.register(app.clone(), "1").await.unwrap();
        let mut announced = Vec::new();
        for shuffle in 0..SHUFFLES {
            for map in 0..MAPS {
                for reduce in 0..PARTITIONS {
                    let len = 700 + 2900 * usize::try_from(map + reduce).unwrap();
                    let block = block(merge(shuffle), map, reduce, len);
                    let pushed = app.client.push_block(&app.server, merge(shuffle), block).await.unwrap();
                    assert_eq!(pushed, ReturnCode::Success);
                }
            }
            // Each second one stays open for a while, so that partitions of two shuffles are written at once.
            for due in shuffle - shuffle % 2..=shuffle {
                if shuffle % 2 == 1 {
                    let told = app.client.finalize_shuffle_merge(&app.server, merge(due)).await.unwrap();
                    assert_eq!(told.len(), usize::try_from(PARTITIONS).unwrap());
                    announced.push((due, recorder.recorded()));
                }
            }
        }
        announced
    });
    server.kill();
    let told = recorder.take_record();
    mount.unmount().unwrap();
    Some(Record { told, announced, temp })
}

/// Says that a test did not run. `SEALED_SHUFFLE_FAULTY_DISKS=required` makes a failure of it.
fn skipped(reason: &str) {
    println!("SKIPPED: no disk whose writes can be recorded: {reason}");
    let required = std::env::var("SEALED_SHUFFLE_FAULTY_DISKS").is_ok_and(|value| value == "required");
    assert!(!required, "{reason}");
}

/// The disk as it may be when power is lost behind so much of the record.
fn lose_power(record: &Record, point: usize, chance: &mut Chance) -> PathBuf {
    let path = record.temp.path().join("lost");
    let image = File::create(&path).unwrap();
    image.set_len(SIZE).unwrap();
    let told = &record.told[..point];
    let flushed = told.iter().rposition(|told| *told == Told::Flush).unwrap_or(0);
    let write = |told: &Told, most: usize| {
        if let Told::Write { offset, bytes } = told {
            image.write_all_at(&bytes[..bytes.len().min(most)], *offset).unwrap();
        }
    };
    told[..flushed].iter().for_each(|told| write(told, usize::MAX));
    let mut loose: Vec<&Told> = told[flushed..].iter().collect();
    // By another order, some not at all, and one in eight only in part.
    for n in (1..loose.len()).rev() {
        loose.swap(n, usize::try_from(chance.within(0..n as u64 + 1)).unwrap());
    }
    for told in loose {
        match chance.within(0..8) {
            0..3 => {}
            3 => write(told, SECTOR * usize::try_from(chance.within(1..9)).unwrap()),
            _ => write(told, usize::MAX),
        }
    }
    path
}

/// What is whole of a shuffle that was announced; else why not.
async fn is_whole(from: &Reached, shuffle: i32) -> Result<(), String> {
    for reduce in 0..PARTITIONS {
        match read(from, partition(merge(shuffle), reduce)).await {
            Read::Whole { maps, .. } if maps == RoaringBitmap::from_iter(0..MAPS.unsigned_abs()) => {}
            other => return Err(format!("partition {reduce} of shuffle {shuffle}: {other:?}")),
        }
    }
    Ok(())
}

/// Starts a server on what is left, and says what of all that was announced is not whole.
fn lost(record: &Record, point: usize, chance: &mut Chance, conf: &[&str]) -> Vec<String> {
    let image = lose_power(record, point, chance);
    let at = record.temp.path().join("at");
    let mount = match Mount::of_image(&image, &at) {
        Ok(mount) => mount,
        Err(error) => return vec![error],
    };
    let place = node(&at);
    let server = place.serve(conf);
    let announced = record.announced.iter().filter(|(_, told)| *told <= point);
    let runtime = Runtime::new().unwrap();
    let lost = runtime.block_on(async {
        let app = server.reach();
        let mut lost = Vec::new();
        for (shuffle, _) in announced {
            lost.extend(is_whole(&app, *shuffle).await.err());
        }
        lost
    });
    server.kill();
    mount.unmount().unwrap();
    lost
}

#[test]
fn every_announced_chunk_is_whole_wherever_in_its_writes_the_disk_lost_power() {
    let given = std::env::var("SEALED_SHUFFLE_POWER_LOSSES").ok().filter(|given| !given.is_empty());
    let points: u32 = given.map_or(20, |given| given.parse().expect("a number"));
    let mut chance = Chance::seeded();
    let Some(synced) = record(&[TO_DISK]) else { return };
    let flushes = synced.told.iter().filter(|told| **told == Told::Flush).count();
    println!(
        "{} writes and {flushes} flushes, {} announced",
        synced.told.len() - flushes,
        synced.announced.len()
    );
    let (_, first) = synced.announced[0];
    let mut seen = 0;
    for _ in 0..points {
        let point = usize::try_from(chance.within(first as u64..synced.told.len() as u64 + 1)).unwrap();
        let lost = lost(&synced, point, &mut chance, &[TO_DISK]);
        assert!(lost.is_empty(), "behind {point} of {}: {lost:#?}", synced.told.len());
        seen += synced.announced.iter().filter(|(_, told)| *told <= point).count();
    }
    println!("{points} losses of power: {seen} announced shuffles read whole");
    assert!(seen > 0);
}

/// The control: without `spark.sealed.merge.fsync` a loss of power takes what was announced, and this test sees it.
#[test]
fn loss_of_power_takes_what_was_not_synced() {
    let mut chance = Chance::seeded();
    let Some(record) = record(&["spark.sealed.merge.fsync=false"]) else { return };
    let (_, last) = *record.announced.last().unwrap();
    let lost = lost(&record, last, &mut chance, &[]);
    assert!(!lost.is_empty(), "all is whole, though nothing was synced");
}
