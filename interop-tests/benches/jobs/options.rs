//! What is asked for on the command line.

use sealed_shuffle_interop_tests::applications::JobSize;
use sealed_shuffle_interop_tests::modes::{Auth, Cipher, Mode, Stores};

const HELP: &str = "\
--mode NAME     clear, ctr, gcm or tls, several times; all of them unless one is named
--rounds N      of all variants, after one that warms up (3)
--rows N        of a kilobyte in the large shuffle (1000000)";

/// What is measured.
pub(crate) struct Options {
    named: Vec<String>,
    pub(crate) rounds: usize,
    pub(crate) size: JobSize,
}

impl Options {
    /// None where help was asked for.
    pub(crate) fn from_arguments() -> Option<Self> {
        let mut options =
            Self { named: Vec::new(), rounds: 3, size: JobSize { rows: 1_000_000, partitions: 16 } };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().unwrap_or_else(|| panic!("{argument} wants a value\n{HELP}"));
            match argument.as_str() {
                "--mode" => options.named.push(value()),
                "--rounds" => options.rounds = value().parse().expect("a number of rounds"),
                "--rows" => options.size.rows = value().parse().expect("a number of rows"),
                // Cargo's own.
                "--bench" => {}
                _ => {
                    println!("{HELP}");
                    return None;
                }
            }
        }
        Some(options)
    }

    pub(crate) fn modes(&self) -> Vec<Mode> {
        let all = [
            ("clear", Mode::new("4.3.0", Auth::None)),
            ("ctr", Mode::newest(Cipher::Ctr, 2)),
            ("gcm", Mode::newest(Cipher::Gcm, 2)),
            ("tls", Mode::new("4.3.0", Auth::Sasl).inside_tls(Stores::Pkcs12)),
        ];
        let is_named = |name: &str| self.named.is_empty() || self.named.iter().any(|named| named == name);
        let modes: Vec<Mode> =
            all.into_iter().filter(|(name, _)| is_named(name)).map(|(_, mode)| mode).collect();
        assert!(!modes.is_empty(), "no such mode\n{HELP}");
        modes
    }
}
