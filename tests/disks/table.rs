//! Every fault of a disk, and what becomes of every request: for the other two disks nothing, for the faulty one what the
//! table in `docs/operate.md` says. `UPDATE_DOCS=1` writes it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use sealed_shuffle_faulty_disk::{Failure, Operation, remount, unmount};

use crate::machine::{App, Disks, First, Machine, timed};
use crate::operations::{Outcome, fetch, finalize, push, register, register_as, remove};
use crate::running::eventually;

/// Requests of each kind.
const REQUESTS: usize = 100;

/// The bar for 99 of them; a machine under load is slow by itself.
const BAR: Duration = Duration::from_secs(2);

const LEN: u64 = 5000;

/// Whether calls only hang: such a disk is known as hung while they do, and tried again when they were given up.
fn flaps(failure: Failure) -> bool {
    matches!(failure, Failure::Hangs(Operation::Open | Operation::Read | Operation::Write | Operation::Close))
}

/// What the server finds out by itself, whatever is asked meanwhile.
fn noticed(failure: Failure) -> Option<&'static str> {
    match failure {
        Failure::Hangs(Operation::LookUp | Operation::Attributes) => Some("hung"),
        Failure::Errors => Some("failed"),
        Failure::Full => Some("full"),
        Failure::ReadOnly => Some("read-only"),
        Failure::Unmounted => Some("missing"),
        Failure::Hangs(_) => None,
    }
}

fn disk(failure: Failure) -> First {
    match failure {
        Failure::Hangs(_) | Failure::Errors => First::Faulty,
        Failure::Full | Failure::ReadOnly | Failure::Unmounted => First::Memory(4 << 20),
    }
}

fn begin(failure: Failure, disks: &Disks) {
    let first = disks.paths[0].as_path();
    match failure {
        Failure::Hangs(_) | Failure::Errors => failure.begin(disks.fault()),
        // As much as fits.
        Failure::Full => drop(fs::write(first.join("filler"), vec![1; 8 << 20])),
        // What is open for writing keeps a file system from that.
        Failure::ReadOnly => {
            eventually("it is remounted", || remount(first, true).is_ok());
        }
        Failure::Unmounted => unmount(first),
    }
}

/// The outcome in the words of the table.
fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Refused(text) if text == "BlockAppendCollisionDetected" => "not merged",
        Outcome::Refused(_) => "computed again",
        Outcome::Closed => "tried again",
    }
}

/// How long the slowest of 99 in 100 took.
fn p99(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() * 99 / 100 - 1]
}

/// An application on the healthy disks, with something to fetch, to push and to remove.
struct Healthy {
    app: App,
    maps: Vec<i64>,
}

impl Healthy {
    fn new(machine: &Machine) -> Self {
        let app = machine.app("application_1_0002", &[1, 2]);
        app.make();
        let maps: Vec<i64> = (0..10).collect();
        maps.iter().for_each(|map| app.write_map(*map, LEN));
        assert_eq!(register(&mut machine.peer(&app), &app), Outcome::Done);
        Self { app, maps }
    }

    /// Asks for everything, so often, and holds the bars.
    fn ask(&self, machine: &Machine, when: &str, shuffles: i32) {
        let app = &self.app;
        let mut took: [Vec<Duration>; 5] = Default::default();
        let mut peer = machine.peer(app);
        for n in 0..REQUESTS {
            let number = shuffles + i32::try_from(n).unwrap();
            let map = self.maps[n % self.maps.len()];
            let mut done = |kind: usize, what: &str, (outcome, time): (Outcome, Duration)| {
                assert_eq!(outcome, Outcome::Done, "{when}: {what}");
                took[kind].push(time);
            };
            done(0, "fetch", timed(|| fetch(&mut peer, app, map, LEN as usize)));
            done(1, "push", timed(|| push(&mut peer, app, number, 0, 0)));
            done(2, "registration", timed(|| register_as(&mut peer, app, &n.to_string())));
            let (finalized, time) = timed(|| finalize(&mut peer, app, number));
            assert_eq!(finalized, Ok(vec![0]), "{when}");
            took[3].push(time);
            let (removed, time) = timed(|| remove(&mut peer, app, &[1_000_000]));
            assert_eq!(removed, Ok(0), "{when}");
            took[4].push(time);
        }
        let worst = took.map(p99);
        println!("{when}: fetch, push, registration, finalization, removal: {worst:?}");
        assert!(worst.iter().all(|took| *took < BAR), "{when}: {worst:?}");
        for path in ["/healthz", "/metrics"] {
            let (answer, time) = timed(|| machine.ask(path));
            assert_eq!(answer.0, 200);
            assert!(time < Duration::from_secs(1), "{when}: {path} took {time:?}");
        }
    }
}

/// A row of the table; `None` where the machine cannot have this fault.
fn row(failure: Failure) -> Option<String> {
    let disks = Disks::make(disk(failure))?;
    let fsync = matches!(failure, Failure::Hangs(Operation::Fsync));
    let machine = Machine::on(disks, |config| {
        if let Some(merging) = &mut config.merging {
            merging.fsync = fsync;
        }
    });
    let app = machine.app("application_1_0001", &[0, 1, 2]);
    app.make();
    let healthy = Healthy::new(&machine);
    let maps = [app.map_in(0, 0), app.map_in(1, 0)];
    maps.iter().for_each(|map| app.write_map(*map, LEN));
    let mut peer = machine.peer(&app);
    assert_eq!(register(&mut peer, &app), Outcome::Done);
    assert_eq!(fetch(&mut peer, &app, maps[0], LEN as usize), Outcome::Done);
    // One partition on the disk that will fail, and one on another.
    let mut reduces = vec![app.reduce_in(0, 0, 0), app.reduce_outside(0, 0, 0)];
    if matches!(failure, Failure::ReadOnly) {
        // A file that is open for writing would keep the file system from being remounted.
        reduces.remove(0);
    }
    reduces.iter().for_each(|reduce| assert_eq!(push(&mut peer, &app, 0, 0, *reduce), Outcome::Done));
    if matches!(failure, Failure::Hangs(Operation::LookUp)) {
        healthy.ask(&machine, "the control, without a fault", 1000);
    }

    begin(failure, &machine.disks);
    std::thread::scope(|scope| {
        // What the disk is asked for meanwhile.
        for n in 0..12 {
            let (machine, app, maps) = (&machine, &app, &maps);
            scope.spawn(move || {
                let mut peer = machine.peer(app);
                fetch(&mut peer, app, maps[0], LEN as usize);
                let mut peer = machine.peer(app);
                push(&mut peer, app, 1, n, app.reduce_in(0, 1, n));
                let mut peer = machine.peer(app);
                drop(remove(&mut peer, app, &[app.map_in(0, 1000 + i64::from(n))]));
            });
        }
        healthy.ask(&machine, failure.name(), 0);
    });
    // All those requests may take less time than the server needs to look at its disks once.
    if let Some(health) = noticed(failure) {
        machine.becomes(health);
    }
    let mut peer = machine.peer(&app);
    let again = || machine.peer(&app);
    let health = machine.health();
    let fetched = fetch(&mut peer, &app, maps[0], LEN as usize);
    let other = fetch(&mut again(), &app, maps[1], LEN as usize);
    assert_eq!(other, Outcome::Done, "{}", failure.name());
    let pushed = push(&mut again(), &app, 2, 0, app.reduce_in(0, 2, 0));
    let (registered, took) = timed(|| register_as(&mut again(), &app, "7"));
    assert!(took < Duration::from_secs(5), "Spark waits no longer: {took:?}");
    let (finalized, took) = timed(|| finalize(&mut again(), &app, 0));
    assert!(took < Duration::from_secs(10), "Spark waits no longer: {took:?}");
    let finalized = match finalized {
        Ok(told) if reduces.len() == 1 && told == reduces => "-",
        Ok(told) if told.len() == reduces.len() => "all partitions",
        Ok(told) if told == reduces[1..] => "without its partitions",
        other => panic!("{}: {other:?}", failure.name()),
    };
    let removed = match remove(&mut again(), &app, &maps) {
        Ok(2) => "all files",
        Ok(1) => "those of the others",
        other => panic!("{}: {other:?}", failure.name()),
    };
    let ready = machine.ask("/readyz");
    assert_eq!(ready.0, 200, "{}", ready.1);
    Some(format!(
        "| {} | {health} | {} | {} | {} | {finalized} | {removed} |",
        failure.name(),
        word(&fetched),
        word(&pushed),
        word(&registered),
    ))
}

/// What a row says at whatever moment it is asked. A disk that hangs in some calls only is known as hung while calls hang:
/// when they were given up it is tried again, and a request in between does what it can.
fn settled(failure: Failure, row: &str) -> Vec<&str> {
    let columns: Vec<&str> = row.split('|').map(str::trim).collect();
    let of_the_moment = [2, 3, 4, 6];
    let stays = |(n, column)| (!flaps(failure) || !of_the_moment.contains(&n)).then_some(column);
    columns.into_iter().enumerate().filter_map(stays).collect()
}

#[test]
fn one_faulty_disk_of_three_leaves_the_others_alone_and_does_what_the_table_says() {
    let only = std::env::var("SEALED_SHUFFLE_FAULT").ok();
    let chosen = |failure: &Failure| only.as_ref().is_none_or(|only| failure.name().contains(&**only));
    let failures = Failure::ALL.into_iter().filter(chosen);
    let mut skipped = 0;
    let mut rows = Vec::new();
    for failure in failures {
        match row(failure) {
            Some(row) => {
                println!("{row}");
                rows.push((failure, row));
            }
            None => skipped += 1,
        }
    }
    println!("{} faults tried, {skipped} skipped", rows.len());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operate.md");
    let chapter = fs::read_to_string(&path).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() && skipped == 0 && only.is_none() {
        let (begin, end) = ("<!-- disks:begin -->\n\n", "\n<!-- disks:end -->");
        let (before, rest) = chapter.split_once(begin).unwrap();
        let (_, after) = rest.split_once(end).unwrap();
        let head = "| the disk | its health | a fetch from it | a push to it | a registration | a finalization | a removal |\n\
                    |---|---|---|---|---|---|---|";
        fs::write(
            &path,
            format!(
                "{before}{begin}{head}\n{}\n{end}{after}",
                rows.iter().map(|(_, row)| &**row).collect::<Vec<_>>().join("\n")
            ),
        )
        .unwrap();
        return;
    }
    for (failure, row) in rows {
        let has = chapter.lines().any(|line| settled(failure, line) == settled(failure, &row));
        assert!(has, "docs/operate.md has not (UPDATE_DOCS=1 writes it):\n{row}");
    }
}
