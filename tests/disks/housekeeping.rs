//! What happens now and then happens to the other disks, too, while one hangs: each of its waits has an end.

use std::fs;

use sealed_shuffle_faulty_disk::{Fault, Operation};

use crate::machine::{First, Machine};
use crate::operations::{Outcome, fetch, register};
use crate::running::eventually;

const LEN: u64 = 1000;

fn metric(machine: &Machine, name: &str) -> u64 {
    let page = machine.server.metrics_page().unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
}

#[test]
fn files_are_closed_and_applications_forgotten_while_a_disk_hangs() {
    let Some(machine) = Machine::start(First::Faulty) else { return };
    // One that has something on the disk that hangs, and two that have nothing there.
    let [hung, kept, over] = [("app-1", &[0, 1, 2][..]), ("app-2", &[1, 2]), ("app-3", &[1, 2])]
        .map(|(name, disks)| machine.app(name, disks));
    for app in [&hung, &kept, &over] {
        app.make();
        assert_eq!(register(&mut machine.peer(app), app), Outcome::Done);
    }
    for (app, map) in [(&hung, hung.map_in(0, 0)), (&kept, 0)] {
        app.write_map(map, LEN);
        assert_eq!(fetch(&mut machine.peer(app), app, map, LEN as usize), Outcome::Done);
    }
    assert_eq!(metric(&machine, "sealed_shuffle_open_files"), 2);
    assert_eq!(metric(&machine, "sealed_shuffle_applications"), 3);

    Operation::ALL.into_iter().for_each(|operation| machine.disks.fault().set(operation, Fault::Hangs));
    eventually("calls hang", || machine.disks.fault().held() > 0);
    // A deleted file pins its space no longer than a round takes.
    let data = kept
        .dirs
        .iter()
        .flat_map(|dir| files_below(dir))
        .find(|path| path.extension().is_some_and(|kind| kind == "data"));
    fs::remove_file(data.unwrap()).unwrap();
    eventually("the deleted file is closed", || metric(&machine, "sealed_shuffle_open_files") == 1);
    // An application whose directories are gone is over; of one on the disk that hangs nobody can say so.
    over.dirs.iter().for_each(|dir| fs::remove_dir_all(dir.parent().unwrap()).unwrap());
    eventually("it is forgotten", || metric(&machine, "sealed_shuffle_applications") == 2);

    machine.disks.fault().heal();
    eventually("it serves again", || !matches!(&*machine.health(), "hung"));
    hung.dirs.iter().for_each(|dir| fs::remove_dir_all(dir.parent().unwrap()).unwrap());
    eventually("it is forgotten, too", || metric(&machine, "sealed_shuffle_applications") == 1);
}

fn files_below(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}
