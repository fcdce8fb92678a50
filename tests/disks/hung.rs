//! A disk that hangs costs what lies on it, and nothing else.

use std::time::Duration;

use sealed_shuffle_faulty_disk::{Fault, Operation};

use crate::machine::{First, Machine, timed};
use crate::operations::{Outcome, fetch, register};
use crate::running::eventually;

const LEN: u64 = 100_000;

#[test]
fn hung_disk_leaves_the_fetches_of_others_alone() {
    let Some(machine) = Machine::start(First::Faulty) else { return };
    let app = machine.app("app-1", &[0, 1, 2]);
    app.make();
    let maps: Vec<i64> = (0..3).map(|dir| app.map_in(dir, 0)).collect();
    maps.iter().for_each(|map| app.write_map(*map, LEN));
    let mut peer = machine.peer(&app);
    assert_eq!(register(&mut peer, &app), Outcome::Done);
    for map in &maps {
        assert_eq!(fetch(&mut peer, &app, *map, LEN as usize), Outcome::Done, "before");
    }
    for (round, operation) in [(1, Operation::LookUp), (2, Operation::Read)] {
        // Nothing is known of these.
        let cold: Vec<i64> = (0..20).map(|n| app.map_in(0, 1000 * round + 40 * n)).collect();
        cold.iter().for_each(|map| app.write_map(*map, LEN));
        machine.disks.fault().set(operation, Fault::Hangs);
        // More than there are threads.
        std::thread::scope(|scope| {
            for map in &cold {
                let (machine, app) = (&machine, &app);
                scope.spawn(move || {
                    // Each is told, one way or the other.
                    let mut peer = machine.peer(app);
                    let got = fetch(&mut peer, app, *map, LEN as usize);
                    assert_ne!(got, Outcome::Done, "{operation:?}");
                });
            }
            eventually("calls hang", || machine.disks.fault().held() > 0);
            for map in maps[1..].iter().cycle().take(20) {
                let mut peer = machine.peer(&app);
                let (got, took) = timed(|| fetch(&mut peer, &app, *map, LEN as usize));
                assert_eq!(got, Outcome::Done);
                assert!(took < Duration::from_secs(2), "{operation:?}: {took:?}");
            }
            let (health, took) = timed(|| machine.ask("/healthz"));
            assert_eq!(health.0, 200);
            assert!(took < Duration::from_secs(1), "{took:?}");
        });
        machine.becomes("hung");
        let mut peer = machine.peer(&app);
        let (refused, took) = timed(|| fetch(&mut peer, &app, maps[0], LEN as usize));
        let Outcome::Refused(text) = refused else { panic!("{refused:?}") };
        assert!(text.starts_with("java.io.IOException: disk ") && text.contains("hung"), "{text}");
        assert!(took < Duration::from_secs(1), "it is known: {took:?}");
        assert_eq!(machine.ask("/readyz").0, 200, "two disks are left");

        machine.disks.fault().heal();
        machine.becomes("ok");
        assert_eq!(fetch(&mut peer, &app, maps[0], LEN as usize), Outcome::Done, "it comes back by itself");
    }
}
