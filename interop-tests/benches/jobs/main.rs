//! What whole jobs cost: without a service, with Spark's own, and with ours.
//!
//! `make bench-jobs [ARGS=OPTIONS]`
//!
//! One application at a time, in three phases (`python/jobs.py`): a warm-up that is not counted, queries of TPC-H, and a
//! repartition of which nearly all bytes are shuffled. Variants take turns, each in a place of its own ([`place`]), and each pair
//! of neighbours gives a ratio. Every run must compute the same. Services stay for the whole measurement; the first job of each
//! warms it up, and its wire is tapped. Nothing is asserted of times: the bench reports.

mod case;
mod options;
mod place;
mod report;
mod results;
mod variant;

use sealed_shuffle_interop_tests::applications::prepare_job;
use sealed_shuffle_interop_tests::services::build_ours;
use sealed_shuffle_interop_tests::spark::Spark;

use self::case::Case;
use self::options::Options;
use self::place::Place;
use self::report::{Report, Run};
use self::results::Results;
use self::variant::Variant;

fn main() {
    let Some(options) = Options::from_arguments() else { return };
    if let Some(variant) = options.within {
        return place::play(variant, &options);
    }
    println!("our server: {}", build_ours().display());
    // A place sees no other network.
    for case in &options.cases {
        Spark::release(case.mode.version);
    }
    prepare_job(&options.size);
    let mut results = Results::begin(&options);
    for case in &options.cases {
        results.add(measured(case, &options));
        println!("\n{}", results.last());
        if options.writes_results {
            results.write();
        }
    }
}

fn measured(case: &Case, options: &Options) -> Report {
    let mut places = Variant::ALL.map(|variant| (variant, Place::start(variant, case, options)));
    let mut report = Report::new(case.clone());
    // The first round warms the services up. Who begins changes from round to round.
    for round in 0..=options.rounds {
        places.rotate_left(usize::from(round > 0));
        for (variant, place) in &mut places {
            let run = Run::of(*variant, &place.run(round == 0));
            eprintln!("{}, round {round}, {}: {}", case.name, variant.name(), run.line());
            report.add(run, round > 0);
        }
    }
    places.into_iter().for_each(|(_, place)| place.finish());
    report
}
