//! What whole jobs cost: without a service, with Spark's own, and with ours.
//!
//! `cargo bench -p sealed-shuffle-interop-tests --bench jobs [-- OPTIONS]`
//!
//! One application at a time, in three phases (`python/jobs.py`): a warm-up that is not counted, queries, and a repartition
//! of which nearly all bytes are shuffled. Variants take turns, and each pair of neighbours gives a ratio. Every run must
//! compute the same. Services stay for the whole measurement, and one job before it warms them up. Nothing is asserted of
//! times: the bench reports.

mod options;
mod report;

use sealed_shuffle_interop_tests::applications::{JobReport, run_job};
use sealed_shuffle_interop_tests::fixture::SECRET;
use sealed_shuffle_interop_tests::modes::{Mode, Service};
use sealed_shuffle_interop_tests::services::{ServiceProcess, build_ours};
use sealed_shuffle_interop_tests::spark::Spark;
use sealed_shuffle_measure::process::{cpu_seconds, most_memory};
use tempfile::TempDir;

use self::options::Options;
use self::report::{Run, Variant};

fn main() {
    let Some(options) = Options::from_arguments() else { return };
    println!("our server: {}", build_ours().display());
    for mode in options.modes() {
        let runs = measured(&mode, &options);
        println!("\n{}", report::table(&mode, &options, &runs));
    }
}

/// A service, and where executors write that use it.
struct Served {
    service: ServiceProcess,
    root: TempDir,
}

impl Served {
    fn start(variant: Variant, mode: &Mode) -> Option<Self> {
        let root = TempDir::with_prefix("jobs-").expect("the temporary directory is writable");
        let secret = mode.authenticates().then_some(SECRET);
        let service = match variant {
            Variant::None => return None,
            Variant::Spark => {
                let conf = mode.service_conf(Service::Spark);
                ServiceProcess::spark(&Spark::release(mode.version), root.path(), secret, &conf)
            }
            Variant::Ours => {
                ServiceProcess::ours(root.path(), secret, mode.service_conf(Service::Ours), None)
            }
        };
        Some(Self { service, root })
    }
}

fn measured(mode: &Mode, options: &Options) -> Vec<Run> {
    let served = Variant::ALL.map(|variant| (variant, Served::start(variant, mode)));
    let mut runs: Vec<Run> = Vec::new();
    // The first round warms the services up.
    for round in 0..=options.rounds {
        for (variant, served) in &served {
            let run = run(mode, options, *variant, served.as_ref());
            eprintln!("{mode}, round {round}, {}: {}", variant.name(), run.line());
            if let Some(first) = runs.first() {
                assert_eq!(first.digest, run.digest, "{} computes something else", variant.name());
            }
            if round > 0 {
                runs.push(run);
            }
        }
    }
    served.into_iter().filter_map(|(_, served)| served).for_each(|served| {
        served.service.stop();
        drop(served.root);
    });
    runs
}

fn run(mode: &Mode, options: &Options, variant: Variant, served: Option<&Served>) -> Run {
    let took = || served.map_or(0.0, |served| cpu_seconds(served.service.id()).expect("the service runs"));
    // At the begin of each phase, and at the end of the last.
    let mut marks = Vec::new();
    let place = served.map(|served| (served.service.port(), served.root.path()));
    let report: JobReport = run_job(mode, SECRET, place, options.size, |_| marks.push(took()));
    let service = marks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let memory = served.map(|served| most_memory(served.service.id()).expect("the service runs"));
    Run::of(variant, report, service, memory)
}
