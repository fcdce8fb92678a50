//! Disks that are full or away.

use std::fs;

use crate::machine::{MERGING, Machine, Place};
use crate::row::{Is, Metric, Row};
use crate::running::eventually;

pub(crate) const FULL: Row = Row {
    fault: "A local directory is full: nothing is merged there",
    log: "WARN … disk is full … root=",
    metric: Metric::new("sealed_shuffle_disk_health{disk=\"…\",health=\"full\"}", Is::One),
    command: ("status", "disk … full"),
    action: "`sealed-shuffle apps` shows who uses how much; end what is over, remove [what was left](operate.md#what-it-leaves-on-the-disks)",
    alert: "SealedShuffleDiskNotWritable",
};

pub(crate) fn full() -> Result<Machine, String> {
    let mut place = Place::new();
    let root = place.root();
    place.mount(&root, 8)?;
    let machine =
        place.start("spark.shuffle.push.server.mergedShuffleFileManagerImpl RemoteBlockPushResolver");
    Place::fill(&root);
    Ok(machine)
}

pub(crate) const STATE_FULL: Row = Row {
    fault: "The disk of the state directory is full",
    log: "ERROR … the recovery store cannot be written",
    metric: Metric::new("sealed_shuffle_state_unwritten", Is::Positive),
    command: ("status", "recovery store … are not written yet"),
    action: "Make room on the disk of `spark.sealed.state.dir`. Do not restart before `state_unwritten` is 0",
    alert: "SealedShuffleStateUnwritten",
};

pub(crate) fn state_full() -> Result<Machine, String> {
    let mut place = Place::new();
    let state = place.state();
    place.mount(&state, 16)?;
    let machine = place.start("");
    Place::fill(&state);
    // The store has some room of its own.
    let mut number = 0;
    eventually("a change is not written", || {
        number += 1;
        let dir = machine.place().root().join(format!("spark-{number}/blockmgr-1"));
        fs::create_dir_all(&dir).unwrap();
        assert!(machine.register_at(
            &format!("app-{number}"),
            &dir,
            "org.apache.spark.shuffle.sort.SortShuffleManager"
        ));
        STATE_FULL.metric.holds(&machine.page())
    });
    Ok(machine)
}

pub(crate) const REMOVED: Row = Row {
    fault: "A local directory was removed or unmounted",
    log: "ERROR … disk is missing … does not exist;…: mount or make the directory; it is taken up when it is there",
    metric: Metric::new("sealed_shuffle_disk_health{disk=\"…\",health=\"missing\"}", Is::One),
    command: ("check", "local directory: … cannot be used: No such file or directory"),
    action: "Mount or make it again: it is taken up by itself. Or take it out of `SPARK_LOCAL_DIRS` of Worker and server",
    alert: "SealedShuffleDiskLost",
};

pub(crate) fn removed() -> Result<Machine, String> {
    let machine = Machine::start("");
    assert!(machine.register("app-1", MERGING));
    fs::remove_dir_all(machine.place().root()).unwrap();
    Ok(machine)
}
