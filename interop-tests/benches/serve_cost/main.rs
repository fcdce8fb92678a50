//! What serving costs the server process: ours beside Spark's own service, with Spark's own client and with ours.
//!
//! `cargo bench -p sealed-shuffle-interop-tests --bench serve_cost [-- OPTIONS]`
//!
//! ```text
//! one executor's files, in the page cache ─┬─ our server (release build) ◄─┐  a client: takes blocks over 16
//!                                          └─ Spark 4.3.0's service      ◄─┴─ connections, or opens 1000
//! ```
//!
//! The two take turns, after a warm-up of each. CPU time is the service process's own, kernel work on its behalf
//! included, so that the client, which shares the cores, does not count. What is pushed is removed after each run, when
//! no clock runs. Reading merged chunks is compared with reading plain blocks as large from the same server of ours.
//! The ratio is formed within each pair of
//! neighbouring runs, since machines are not equally fast all the time. Nothing is asserted: the bench reports.
//! With `--cold` both are started anew for every run: what a JVM costs that has just been started. With `--results` it
//! does all that `docs/results.md` shows, and writes that file and its picture.

mod case;
mod load;
mod memory;
mod options;
mod our_client;
mod plot;
mod pushes;
mod report;
mod results;
mod runs;
mod services;
mod words;

use sealed_shuffle_interop_tests::services::build_ours;
use sealed_shuffle_interop_tests::spark::Spark;

use self::case::{SPARK, Work};
use self::load::Shuffle;
use self::options::Options;
use self::report::Report;

fn main() {
    if our_client::was_asked_for() {
        return;
    }
    let Some(options) = Options::from_arguments() else { return };
    let binary = build_ours();
    println!("our server: {}", binary.display());
    let spark = Spark::release(SPARK);
    let shuffle =
        Shuffle::write(options.results || options.cases().iter().any(|case| case.work == Work::Merged));
    if options.results {
        return results::make(&spark, &shuffle, &options);
    }
    let measure = |case| runs::measure(&spark, &shuffle, case, options.start, options.pairs, &options);
    let reports: Vec<Report> = options.cases().into_iter().map(measure).collect();
    println!("\n{}", report::machine(SPARK));
    println!("{}", report::load(&options));
    println!("\n{}", report::tables(&reports));
    reports.iter().filter_map(Report::bound).for_each(|line| println!("{line}"));
    if options.json {
        reports.iter().for_each(|report| println!("{}", report.json()));
    }
}
