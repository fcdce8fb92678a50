//! Guards what the hot paths cost, by counting instructions: a regression of more than a tenth fails.
//!
//! `make guard` runs every case under callgrind and compares with `baseline.json`; `make guard-update` writes that file
//! anew. Wall time is shown and never judged. Without an argument (`cargo test`) every case runs once.
//!
//! What is pinned: the compiler by `rust-toolchain.toml`, crates by `Cargo.lock`, the processor's abilities by valgrind,
//! which emulates those of its own choice (AVX2 and AES-NI, no AVX-512) and shows them by CPUID, from which `aes`,
//! aws-lc-rs and libc choose their code. What is not: the release of valgrind and of libc. The baseline names the architecture and the
//! abilities that it was counted with; where they differ, the cases with a cipher in them are shown and not judged.
//! Count is the development profile, which the tests have built anyway: opt-level 1 for this crate, 3 for the protocol's.

#![allow(clippy::unwrap_used)] // a guard that cannot run should stop

mod callgrind;
mod cases;
mod verdict;

use std::process::ExitCode;
use std::time::Instant;

use cases::Case;
use sealed_shuffle_measure::Spread;
use verdict::Baseline;

/// Runs for the wall time.
const TIMED: usize = 100;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["check"] => check(),
        ["update"] => update(),
        [callgrind::COUNT, name] => count_this(name),
        _ => {
            Case::ALL.iter().for_each(|case| case.ready()());
            ExitCode::SUCCESS
        }
    }
}

/// Compares with the baseline.
fn check() -> ExitCode {
    let baseline = Baseline::load();
    let mut is_good = true;
    for case in Case::ALL {
        let counted = callgrind::count(case);
        let verdict = baseline.judge(case, &counted);
        is_good &= !verdict.is_regression();
        println!("{:<18} {verdict}; {:.1} µs here", case.name(), microseconds(case));
    }
    if is_good {
        return ExitCode::SUCCESS;
    }
    println!(
        "more than a tenth above benches/guard/baseline.json (counted with {}; this is {}). If it is meant to be so: \
         make guard-update",
        baseline.valgrind,
        callgrind::version()
    );
    ExitCode::FAILURE
}

/// Writes the baseline.
fn update() -> ExitCode {
    let counted: Vec<_> = Case::ALL.iter().map(|case| (*case, callgrind::count(*case))).collect();
    Baseline::save(&counted);
    for (case, counted) in counted {
        println!("{:<18} {}", case.name(), counted.instructions);
    }
    ExitCode::SUCCESS
}

/// Under callgrind: says what the processor can do, and runs one case for the count.
fn count_this(name: &str) -> ExitCode {
    let Some(case) = Case::ALL.into_iter().find(|case| case.name() == name) else { return ExitCode::FAILURE };
    let mut work = case.ready();
    // What happens once (allocations, looking at the processor) is not the path.
    work();
    println!("{}", cases::abilities());
    callgrind::count_from_here(&mut work);
    ExitCode::SUCCESS
}

/// Median of wall time.
fn microseconds(case: Case) -> f64 {
    let mut work = case.ready();
    let took = (0..TIMED).map(|_| {
        let begun = Instant::now();
        work();
        begun.elapsed().as_secs_f64()
    });
    1e6 * Spread::of(took).median
}
