//! The command line of the bench.

use crate::case::Case;
use crate::services::Start;

/// What was asked for; every default is what the figures of `docs/performance.md` were made with.
pub(crate) struct Options {
    /// Pairs of runs a case.
    pub(crate) pairs: usize,
    /// Bytes of blocks that the client takes in each run.
    pub(crate) bytes: u64,
    pub(crate) connections: usize,
    /// Connections that the client opens in each run of a case of handshakes.
    pub(crate) handshakes: usize,
    /// Keys for our server.
    pub(crate) conf: Vec<(String, String)>,
    /// Leaves Spark's service out: for comparing two builds of ours.
    pub(crate) only_ours: bool,
    /// How the services are before a run.
    pub(crate) start: Start,
    /// Writes `docs/results.md` and its picture instead, of what stands in there.
    pub(crate) results: bool,
    /// Where results are written, pairs of runs of all but the usual blocks at services just started.
    pub(crate) other_pairs: Option<usize>,
    pub(crate) json: bool,
    cases: Vec<String>,
}

const USAGE: &str = "options: --pairs N (5), --gigabytes N (3), --connections N (16), \
                     --handshakes N (1000), --case NAME (all; may be repeated), --conf KEY=VALUE (for our server), --ours (leaves Spark's out), \
                     --cold (services anew for every run), --json, \
                     --results (writes docs/results.md), --other-pairs N (with --results, for what is not about 128 KiB blocks and services just started)";

impl Options {
    /// `None` where cargo only wants to know whether the bench runs at all: `cargo test`, `cargo bench -- --test`.
    pub(crate) fn from_arguments() -> Option<Self> {
        let mut options = Self {
            pairs: 5,
            bytes: 3_000_000_000,
            connections: 16,
            handshakes: 1000,
            conf: Vec::new(),
            only_ours: false,
            start: Start::Warm,
            results: false,
            other_pairs: None,
            json: false,
            cases: Vec::new(),
        };
        let mut is_bench = false;
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value =
                || arguments.next().unwrap_or_else(|| panic!("{argument} needs a value; {USAGE}"));
            match argument.as_str() {
                "--bench" => is_bench = true,
                "--test" => return None,
                "--ours" => options.only_ours = true,
                "--cold" => options.start = Start::Cold,
                "--results" => options.results = true,
                "--json" => options.json = true,
                "--pairs" => options.pairs = number(&value()),
                "--other-pairs" => options.other_pairs = Some(number(&value())),
                "--gigabytes" => options.bytes = 1_000_000_000 * number(&value()) as u64,
                "--connections" => options.connections = number(&value()),
                "--handshakes" => options.handshakes = number(&value()),
                "--case" => options.cases.push(value()),
                "--conf" => {
                    let pair = value();
                    let (key, value) =
                        pair.split_once('=').unwrap_or_else(|| panic!("not KEY=VALUE: {pair}"));
                    options.conf.push((key.to_owned(), value.to_owned()));
                }
                _ => panic!("unknown argument {argument}; {USAGE}"),
            }
        }
        is_bench.then_some(options)
    }

    /// The cases to run.
    pub(crate) fn cases(&self) -> Vec<Case> {
        let mut cases = Case::all();
        cases.retain(|case| self.cases.is_empty() || self.cases.iter().any(|name| name == case.name));
        assert!(!cases.is_empty(), "none of the cases {:?} exists, but {}", self.cases, Case::names());
        cases
    }
}

fn number(text: &str) -> usize {
    text.parse().ok().filter(|n| *n > 0).unwrap_or_else(|| panic!("not a positive number: {text}; {USAGE}"))
}
