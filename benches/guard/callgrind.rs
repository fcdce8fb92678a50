//! Counting the instructions of one case, in a process of its own under valgrind.

use std::fs;
use std::hint::black_box;
use std::process::Command;

use crate::cases::Case;

/// The argument that makes this program run one case for the count.
pub(crate) const COUNT: &str = "count";

/// What callgrind found.
pub(crate) struct Count {
    pub(crate) instructions: u64,
    /// What the emulated processor can do.
    pub(crate) abilities: String,
}

/// Counts from the beginning of this function to its end: callgrind is told its name.
#[inline(never)]
pub(crate) fn count_from_here(work: &mut dyn FnMut()) {
    work();
    // Not in the place of the return: the count would end at the call.
    black_box(());
}

/// Runs `case` under callgrind.
pub(crate) fn count(case: Case) -> Count {
    let dir = tempfile::tempdir().unwrap();
    let found = dir.path().join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet", "--read-inline-info=no", "--toggle-collect=*count_from_here*"])
        .arg(format!("--callgrind-out-file={}", found.display()))
        .arg(std::env::current_exe().unwrap())
        .args([COUNT, case.name()])
        .env_remove("OPENSSL_ia32cap")
        .env_remove("GLIBC_TUNABLES")
        .output()
        .expect("valgrind is there: make setup-guard installs it");
    // Of a system call that it does not know it complains, and answers ENOSYS, which the code under test knows.
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(found).unwrap();
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: ")).unwrap();
    let instructions = totals.trim().parse().unwrap();
    assert!(instructions > 0, "callgrind did not see the function that switches the count on");
    Count { instructions, abilities: String::from_utf8(output.stdout).unwrap().trim().to_owned() }
}

/// Valgrind's name and release.
pub(crate) fn version() -> String {
    let output = Command::new("valgrind").arg("--version").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
