//! What a person on call is told of each fault, provoked on a server that runs: the line of the log, the metric, and what a
//! command says. `docs/on-call.md` is the same table: `UPDATE_DOCS=1 cargo test --test on_call` writes it.
//!
//! A machine that cannot provoke a fault skips its row and says why; `SEALED_SHUFFLE_ON_CALL=required` makes a failure of that.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

#[path = "../authority/mod.rs"]
mod authority;
mod disks;
mod keys;
mod limits;
mod machine;
mod peers;
mod row;
#[path = "../running/mod.rs"]
mod running;
#[path = "../serving/mod.rs"]
mod serving;
mod tls;

use std::fs;
use std::path::Path;

use self::row::Row;

/// Each row, and the test that provokes it.
macro_rules! rows {
    ($($name:ident: $row:expr, $provoke:expr;)+) => {
        const ROWS: &[Row] = &[$($row),+];

        $(
            #[test]
            fn $name() {
                row::holds(&$row, $provoke);
            }
        )+
    };
}

rows! {
    wrong_secret: peers::WRONG_SECRET, peers::wrong_secret;
    channel_below_the_minimum: peers::BELOW_MINIMUM, peers::below_minimum;
    merge_disk_full: disks::FULL, disks::full;
    state_disk_full: disks::STATE_FULL, disks::state_full;
    root_removed: disks::REMOVED, disks::removed;
    certificate_that_ends_soon: tls::EXPIRING, tls::expiring;
    clock_that_is_an_hour_behind: tls::EARLY, tls::early;
    descriptors_used_up: limits::DESCRIPTORS, limits::descriptors;
    connections_used_up: limits::CONNECTIONS, limits::connections;
    memory_used_up: limits::MEMORY, limits::memory;
    key_service_down_while_it_runs: keys::DOWN, keys::down;
    key_service_down_at_the_start: keys::AWAY, keys::away;
    log_that_takes_nothing: limits::LOG, limits::log;
}

const BEGIN: &str = "<!-- on-call:begin -->\n";
const END: &str = "<!-- on-call:end -->";

#[test]
fn table_of_the_book_is_the_one_that_the_tests_hold() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/on-call.md");
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (there, after) = rest.split_once(END).unwrap();
    let table = row::table(ROWS);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(there == table, "docs/on-call.md is out of date: UPDATE_DOCS=1 writes it; it would be\n{table}");
}

/// The control of all rows: a server that is well shows nothing of any.
#[test]
fn server_that_is_well_tells_of_no_fault() {
    let machine = machine::Machine::start("");
    for row in ROWS {
        let missing = row.missing(&machine);
        assert!(missing.iter().any(|part| part.starts_with("metric")), "{}: {missing:?}", row.fault);
        assert!(row.log.is_empty() || missing.iter().any(|part| part.starts_with("log")), "{}", row.fault);
        assert!(missing.iter().any(|part| part.starts_with("command")), "{}: {missing:?}", row.fault);
    }
}
