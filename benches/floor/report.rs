//! Medians and spread, as tables of Markdown and as JSON.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use crate::cipher::{Candidate, Mode};
use crate::ours::Ours;
use crate::transfer::Took;

/// Everything about one mode.
pub(crate) struct Line {
    pub(crate) mode: Mode,
    /// The fastest, and its segment size.
    pub(crate) candidate: Candidate,
    pub(crate) segment: usize,
    /// All that were tried, by the sender's CPU seconds per GB.
    pub(crate) tried: Vec<(Candidate, usize, Spread)>,
    pub(crate) floor: Vec<Took>,
    /// As many as of the floor, or none.
    pub(crate) ours: Vec<Ours>,
}

impl Line {
    /// Ours over the floor's sender, within each pair.
    fn ratio(&self) -> Spread {
        let pairs = self.ours.iter().zip(&self.floor);
        Spread::of(&pairs.map(|(ours, floor)| ours.server_per_gb / floor.sender_per_gb()).collect::<Vec<_>>())
    }

    fn floor(&self, of: impl Fn(&Took) -> f64) -> Spread {
        Spread::of(&self.floor.iter().map(of).collect::<Vec<_>>())
    }

    fn ours(&self, of: impl Fn(&Ours) -> f64) -> Spread {
        Spread::of(&self.ours.iter().map(of).collect::<Vec<_>>())
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

/// Median, least and most.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    /// Of at least one value; of none, nothing is known.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let last = sorted.len().saturating_sub(1);
        Self { median: (at(last / 2) + at(sorted.len() / 2)) / 2.0, least: at(0), most: at(last) }
    }

    fn json(&self) -> Value {
        json!({ "median": self.median, "least": self.least, "most": self.most })
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(3);
        write!(f, "{:.digits$} ({:.digits$} – {:.digits$})", self.median, self.least, self.most)
    }
}

/// For people; `docs/performance.md` has it as it is.
pub(crate) fn table(lines: &[Line]) -> String {
    let mut out = String::from("| mode | cipher | segment | sender, CPU-s/GB | receiver, CPU-s/GB | MB/s |");
    out.push_str("\n|---|---|---|---|---|---|");
    for line in lines {
        write!(
            out,
            "\n| {} | {} | {} KiB | {} | {} | {:.0} |",
            line.mode.name(),
            line.candidate.name(),
            line.segment >> 10,
            line.floor(Took::sender_per_gb),
            line.floor(Took::receiver_per_gb),
            line.floor(Took::megabytes_per_second),
        )
        .unwrap();
    }
    out.push_str("\n\n| tried | best segment | sender, CPU-s/GB |\n|---|---|---|");
    for line in lines {
        for (candidate, segment, spread) in line.best() {
            let (mode, name) = (line.mode.name(), candidate.name());
            write!(out, "\n| {mode}: {name} | {} KiB | {spread} |", segment >> 10).unwrap();
        }
    }
    if lines.iter().any(|line| line.ours.is_empty()) {
        out.push_str("\n\nSEALED_SHUFFLE_BIN names no program: the floor was measured alone");
        return out;
    }
    out.push_str(
        "\n\n| mode | our server, CPU-s/GB | over the floor's sender | bound | our client, CPU-s/GB | MB/s |",
    );
    out.push_str("\n|---|---|---|---|---|---|");
    for line in lines {
        let ratio = line.ratio();
        let bound = line.mode.bound().map_or_else(String::new, |bound| {
            format!("{bound} {}", if ratio.median <= bound { "✔" } else { "✖" })
        });
        write!(
            out,
            "\n| {} | {} | {ratio:.2} | {bound} | {} | {:.0} |",
            line.mode.name(),
            line.ours(|ours| ours.server_per_gb),
            line.ours(|ours| ours.client_per_gb),
            line.ours(|ours| ours.megabytes_per_second),
        )
        .unwrap();
    }
    out
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
                "sender_cpu_seconds_per_gb": line.floor(Took::sender_per_gb).json(),
                "receiver_cpu_seconds_per_gb": line.floor(Took::receiver_per_gb).json(),
                "megabytes_per_second": line.floor(Took::megabytes_per_second).json(),
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
