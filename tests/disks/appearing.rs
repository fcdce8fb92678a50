//! Roots that come and go under the running server.

use std::fs;

use sealed_shuffle_faulty_disk::{mount_memory, unmount};

use crate::machine::{Disks, First, Machine};
use crate::operations::{Outcome, fetch, finalize, push, register};

const LEN: u64 = 1000;

#[test]
fn root_that_is_deleted_and_made_anew_is_taken_up() {
    let machine = Machine::start(First::Plain).unwrap();
    let app = machine.app("app-1", &[0, 1, 2]);
    app.make();
    let map = app.map_in(0, 0);
    app.write_map(map, LEN);
    let mut peer = machine.peer(&app);
    assert_eq!(register(&mut peer, &app), Outcome::Done);
    assert_eq!(fetch(&mut peer, &app, map, LEN as usize), Outcome::Done);

    fs::remove_dir_all(&machine.disks.paths[0]).unwrap();
    machine.becomes("missing");
    assert!(
        matches!(fetch(&mut peer, &app, map, LEN as usize), Outcome::Refused(text) if text.contains("missing"))
    );
    let (status, text) = machine.ask("/readyz");
    assert!(status == 200 && text.contains("missing: "), "{text}");

    // Another directory of the same path, with other files.
    app.make();
    app.write_map(map, 2 * LEN);
    machine.becomes("ok");
    assert_eq!(fetch(&mut peer, &app, map, 2 * LEN as usize), Outcome::Done);
}

#[test]
fn root_that_is_unmounted_is_missing_until_it_is_mounted_again() {
    let Some(machine) = Machine::start(First::Memory(1 << 20)) else { return };
    let app = machine.app("app-1", &[0, 1, 2]);
    app.make();
    let map = app.map_in(0, 0);
    app.write_map(map, LEN);
    let mut peer = machine.peer(&app);
    assert_eq!(register(&mut peer, &app), Outcome::Done);
    assert_eq!(fetch(&mut peer, &app, map, LEN as usize), Outcome::Done);

    unmount(&machine.disks.paths[0]);
    assert!(machine.disks.paths[0].exists(), "the mount point is left, and is not what was mounted there");
    machine.becomes("missing");
    assert!(
        matches!(fetch(&mut peer, &app, map, LEN as usize), Outcome::Refused(text) if text.contains("not mounted"))
    );

    mount_memory(&machine.disks.paths[0], 1 << 20).unwrap();
    app.make();
    app.write_map(map, LEN);
    machine.becomes("ok");
    assert_eq!(fetch(&mut peer, &app, map, LEN as usize), Outcome::Done);
}

#[test]
fn root_over_which_something_is_mounted_is_that_from_then_on() {
    let machine = Machine::start(First::Plain).unwrap();
    if let Err(reason) = mount_memory(&machine.disks.paths[1], 1 << 20) {
        return crate::machine::skipped(&reason);
    }
    let app = machine.app("app-1", &[1]);
    app.make();
    app.write_map(1, LEN);
    let mut peer = machine.peer(&app);
    assert_eq!(register(&mut peer, &app), Outcome::Done);
    crate::running::eventually("it is served", || fetch(&mut peer, &app, 1, LEN as usize) == Outcome::Done);
    unmount(&machine.disks.paths[1]);
}

#[test]
fn restart_with_one_disk_less_keeps_executors_and_serves_what_lies_on_the_others() {
    let Some(machine) = Machine::start(First::Memory(8 << 20)) else { return };
    let app = machine.app("application_1_0001", &[0, 1, 2]);
    app.make();
    let maps: Vec<i64> = (0..3).map(|dir| app.map_in(dir, 0)).collect();
    maps.iter().for_each(|map| app.write_map(*map, LEN));
    let mut peer = machine.peer(&app);
    assert_eq!(register(&mut peer, &app), Outcome::Done);
    let reduces: Vec<i32> = (0..3).map(|dir| app.reduce_in(dir, 0, 0)).collect();
    for reduce in &reduces {
        assert_eq!(push(&mut peer, &app, 0, 0, *reduce), Outcome::Done);
    }
    assert_eq!(finalize(&mut peer, &app, 0).unwrap().len(), 3);
    let disks = machine.stop();

    // What was there is kept for later.
    let aside = disks.state.parent().unwrap().join("aside");
    let copied = std::process::Command::new("cp").arg("-a").args([&disks.paths[0], &aside]).status().unwrap();
    assert!(copied.success());
    unmount(&disks.paths[0]);
    fs::remove_dir(&disks.paths[0]).unwrap();
    let machine = Machine::on(disks, |_| {});
    assert_eq!(machine.health(), "missing");
    let mut peer = machine.peer(&app);
    for map in &maps[1..] {
        assert_eq!(fetch(&mut peer, &app, *map, LEN as usize), Outcome::Done, "on another disk");
    }
    assert!(matches!(fetch(&mut peer, &app, maps[0], LEN as usize), Outcome::Refused(_)));
    let other = machine.app("application_1_0002", &[0, 1, 2]);
    other.dirs[1..].iter().for_each(|dir| fs::create_dir_all(dir).unwrap());
    assert_eq!(register(&mut machine.peer(&other), &other), Outcome::Done, "YARN goes on without it");

    // It comes back, and its blocks are served without a restart.
    let copied = std::process::Command::new("cp").arg("-a").args([&aside, &machine.disks.paths[0]]).status();
    assert!(copied.unwrap().success());
    machine.becomes("ok");
    assert_eq!(fetch(&mut peer, &app, maps[0], LEN as usize), Outcome::Done);
    other.make();
    let map = other.map_in(0, 0);
    other.write_map(map, LEN);
    let mut peer = machine.peer(&other);
    assert_eq!(fetch(&mut peer, &other, map, LEN as usize), Outcome::Done);
}

#[test]
fn restart_with_a_root_less_configured_keeps_the_place_of_each_directory() {
    let machine = Machine::start(First::Plain).unwrap();
    let app = machine.app("app-1", &[0, 1, 2]);
    app.make();
    let maps: Vec<i64> = (0..3).map(|dir| app.map_in(dir, 0)).collect();
    maps.iter().for_each(|map| app.write_map(*map, LEN));
    assert_eq!(register(&mut machine.peer(&app), &app), Outcome::Done);
    let disks: Disks = machine.stop();
    let two = disks.paths[1..].to_vec();
    let machine = Machine::on(disks, |config| config.roots.paths = two);
    let mut peer = machine.peer(&app);
    for map in &maps[1..] {
        assert_eq!(fetch(&mut peer, &app, *map, LEN as usize), Outcome::Done);
    }
    assert!(matches!(fetch(&mut peer, &app, maps[0], LEN as usize), Outcome::Refused(_)));
    // The record is still there: with the root it is whole again.
    let machine = Machine::on(machine.stop(), |_| {});
    let mut peer = machine.peer(&app);
    for map in &maps {
        assert_eq!(fetch(&mut peer, &app, *map, LEN as usize), Outcome::Done);
    }
}
