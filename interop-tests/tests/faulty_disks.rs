//! A disk of three fails in the midst of a real Spark job, in each of the ways in which disks fail: the job ends with equal rows,
//! and what lies on the other two is served. `src/disks.rs` has the layout, and why Spark can bear it.
//!
//! | `SEALED_SHUFFLE_DISK_FAILURES` | tries |
//! |---|---|
//! | none | one that hangs, and one that fails |
//! | `all` | each; `make disk-failures` |
//! | `WORD,WORD` | those whose names contain one of them |

use sealed_shuffle_faulty_disk::{Failure, Operation};
use sealed_shuffle_interop_tests::{
    disks::{FailingDisks, OF_FAILING_DISKS, RoundsOnDisks, failures_under_jobs},
    merger::{Lasting, OF_EACH_START},
    modes::{Cipher, Mode},
};
use tempfile::TempDir;

fn chosen() -> Vec<Failure> {
    let chosen = std::env::var("SEALED_SHUFFLE_DISK_FAILURES").unwrap_or_default();
    match &*chosen {
        "" => vec![Failure::Hangs(Operation::Read), Failure::Errors],
        "all" => failures_under_jobs(),
        words => {
            let is_meant = |failure: &Failure| words.split(',').any(|word| failure.name().contains(word));
            failures_under_jobs().into_iter().filter(is_meant).collect()
        }
    }
}

#[test]
#[ignore = "slow and rarely red: make nightly"]
fn job_ends_with_equal_rows_whatever_way_one_of_three_disks_fails_in_its_midst() {
    let Some(disks) = FailingDisks::make() else { return };
    let mode = Mode::newest(Cipher::Gcm, 2);
    let state = TempDir::with_prefix("interop-state-").expect("the temporary directory is writable");
    let service = Lasting::new(&mode, disks.paths()[0], state.path())
        .with("spark.local.dir", disks.list())
        .with("spark.sealed.merge.fsync", "true")
        .with("spark.sealed.disk.timeout", "2s");
    let server = service.start();
    let mut rounds = RoundsOnDisks::start(&mode, &server, disks);
    let failures = chosen();
    assert!(!failures.is_empty(), "no disk fails in this way");
    failures.iter().for_each(|failure| rounds.fail(*failure, &server));
    assert_eq!(rounds.finish(), failures.len());
    server.finish(&[&OF_FAILING_DISKS[..], &OF_EACH_START].concat());
}
