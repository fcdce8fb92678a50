//! Medians and spread, as tables of Markdown and as JSON.

use sealed_shuffle_measure::{Spread, Table};
use serde_json::{Value, json};

use crate::cipher::{Candidate, Mode};
use crate::ours::ServerFigures;
use crate::transfer::Run;

/// Everything about one mode.
pub(crate) struct Line {
    pub(crate) mode: Mode,
    /// The fastest, and its segment size.
    pub(crate) candidate: Candidate,
    pub(crate) segment: usize,
    /// All that were tried, by the sender's CPU seconds per GB.
    pub(crate) tried: Vec<(Candidate, usize, Spread)>,
    pub(crate) floor: Vec<Run>,
    /// As many as of the floor, or none.
    pub(crate) ours: Vec<ServerFigures>,
}

impl Line {
    /// Ours over the floor's sender, within each pair.
    fn ratio(&self) -> Spread {
        let pairs = self.ours.iter().zip(&self.floor);
        Spread::of_ratios(pairs.map(|(ours, floor)| (ours.server_per_gb, floor.sender_per_gb())))
    }

    fn floor(&self, of: impl Fn(&Run) -> f64) -> Spread {
        Spread::of(self.floor.iter().map(of))
    }

    fn ours(&self, of: impl Fn(&ServerFigures) -> f64) -> Spread {
        Spread::of(self.ours.iter().map(of))
    }

    /// The best segment size of each implementation.
    fn best(&self) -> Vec<(Candidate, usize, Spread)> {
        let mut best: Vec<(Candidate, usize, Spread)> = Vec::new();
        for tried in &self.tried {
            if best.iter().all(|(candidate, ..)| *candidate != tried.0) {
                best.push(*tried);
            }
        }
        best
    }
}

/// For people; `docs/performance.md` has it as it is.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut floor =
        Table::new(&["mode", "cipher", "segment", "sender, CPU-s/GB", "receiver, CPU-s/GB", "MB/s"]);
    for line in lines {
        floor.row(&[
            &line.mode.name(),
            &line.candidate.name(),
            &kib(line.segment),
            &line.floor(Run::sender_per_gb),
            &line.floor(Run::receiver_per_gb),
            &format!("{:.0}", line.floor(Run::megabytes_per_second)),
        ]);
    }
    let mut tried = Table::new(&["tried", "best segment", "sender, CPU-s/GB"]);
    for line in lines {
        for (candidate, segment, spread) in line.best() {
            tried.row(&[&format!("{}: {}", line.mode.name(), candidate.name()), &kib(segment), &spread]);
        }
    }
    if lines.iter().any(|line| line.ours.is_empty()) {
        return format!(
            "{floor}\n\n{tried}\n\nSEALED_SHUFFLE_BIN names no program: the floor was measured alone"
        );
    }
    let mut ours = Table::new(&[
        "mode",
        "our server, CPU-s/GB",
        "over the floor's sender",
        "bound",
        "our client, CPU-s/GB",
        "MB/s",
    ]);
    for line in lines {
        let ratio = line.ratio();
        let bound = line.mode.bound().map_or_else(String::new, |bound| {
            format!("{bound} {}", if ratio.median <= bound { "✔" } else { "✖" })
        });
        ours.row(&[
            &line.mode.name(),
            &line.ours(|ours| ours.server_per_gb),
            &format!("{ratio:.2}"),
            &bound,
            &line.ours(|ours| ours.client_per_gb),
            &format!("{:.0}", line.ours(|ours| ours.megabytes_per_second)),
        ]);
    }
    format!("{floor}\n\n{tried}\n\n{ours}")
}

fn kib(bytes: usize) -> String {
    format!("{} KiB", bytes >> 10)
}

/// For programs.
pub(crate) fn json(lines: &[Line]) -> String {
    let lines: Vec<Value> = lines
        .iter()
        .map(|line| {
            let tried = line.tried.iter().map(|(candidate, segment, spread)| {
                json!({
                    "cipher": candidate.name(),
                    "segment_bytes": segment,
                    "sender_cpu_seconds_per_gb": spread.json(),
                })
            });
            let mut said = json!({
                "mode": line.mode.name(),
                "cipher": line.candidate.name(),
                "segment_bytes": line.segment,
                "rounds": line.floor.len(),
                "sender_cpu_seconds_per_gb": line.floor(Run::sender_per_gb).json(),
                "receiver_cpu_seconds_per_gb": line.floor(Run::receiver_per_gb).json(),
                "megabytes_per_second": line.floor(Run::megabytes_per_second).json(),
                "tried": tried.collect::<Vec<_>>(),
            });
            if !line.ours.is_empty() {
                said["ours"] = json!({
                    "server_cpu_seconds_per_gb": line.ours(|ours| ours.server_per_gb).json(),
                    "client_cpu_seconds_per_gb": line.ours(|ours| ours.client_per_gb).json(),
                    "megabytes_per_second": line.ours(|ours| ours.megabytes_per_second).json(),
                    "server_over_floor_sender": line.ratio().json(),
                    "bound": line.mode.bound(),
                });
            }
            said
        })
        .collect();
    json!({ "version": env!("CARGO_PKG_VERSION"), "floor": lines }).to_string()
}
