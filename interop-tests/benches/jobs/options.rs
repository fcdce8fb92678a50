//! What is asked for on the command line.

use sealed_shuffle_interop_tests::applications::JobSize;

use crate::case::Case;
use crate::variant::Variant;

const HELP: &str = "\
--case NAME     clear, ctr, gcm (3.5.9), gcm-io, tls (4.3.0), tls-4.0.5, tls-io; several times; all of them unless one is named
--rounds N      of all variants, after one that warms up and is tapped (3)
--rows N        of a kilobyte in the repartition (1000000)
--scale S       of the tables of TPC-H (0.2)
--queries N,N   of TPC-H (3,18)
--results       writes benches/JOBS.md and its pictures
It runs as root: each variant has a network, a process space and a session of its own.";

/// What is measured.
pub(crate) struct Options {
    pub(crate) cases: Vec<Case>,
    pub(crate) rounds: usize,
    pub(crate) size: JobSize,
    pub(crate) writes_results: bool,
    /// This process is the place of one variant.
    pub(crate) within: Option<Variant>,
}

impl Options {
    /// None where help was asked for.
    pub(crate) fn from_arguments() -> Option<Self> {
        let queries = vec![3, 18];
        let size = JobSize { scale: 0.2, queries, rows: 1_000_000, partitions: 16 };
        let mut options = Self { cases: Vec::new(), rounds: 3, size, writes_results: false, within: None };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} wants a value\n{HELP}"));
            match argument.as_str() {
                "--case" => {
                    let name = value();
                    let case = Case::all().into_iter().find(|case| case.name == name);
                    options.cases.push(case.unwrap_or_else(|| panic!("no such case: {name}\n{HELP}")));
                }
                "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
                "--rows" => options.size.rows = value().parse().expect("a number of rows"),
                "--scale" => options.size.scale = value().parse().expect("a number"),
                "--queries" => {
                    let numbers = value();
                    let numbers =
                        numbers.split(',').map(|number| number.parse().expect("a number of a query"));
                    options.size.queries = numbers.collect();
                }
                "--results" => options.writes_results = true,
                "--within" => {
                    let name = value();
                    let variant = Variant::ALL.into_iter().find(|variant| variant.word() == name);
                    options.within = Some(variant.unwrap_or_else(|| panic!("no such variant: {name}")));
                }
                // Cargo's own.
                "--bench" => {}
                _ => {
                    println!("{HELP}");
                    return None;
                }
            }
        }
        if options.cases.is_empty() {
            options.cases = Case::all().to_vec();
        }
        Some(options)
    }

    /// The arguments of the place of a variant.
    pub(crate) fn arguments_within(&self, variant: Variant, case: &Case) -> Vec<String> {
        let queries: Vec<String> = self.size.queries.iter().map(u32::to_string).collect();
        let [rows, scale] = [self.size.rows.to_string(), self.size.scale.to_string()];
        [
            ("--within", variant.word()),
            ("--case", case.name),
            ("--rows", &rows),
            ("--scale", &scale),
            ("--queries", &queries.join(",")),
        ]
        .into_iter()
        .flat_map(|(key, value)| [key.to_owned(), value.to_owned()])
        .collect()
    }
}
