//! Runs of one case, and the table of them.

use sealed_shuffle_measure::{Spread, Table};
use serde_json::Value;

use crate::case::Case;
use crate::variant::Variant;

/// The phases that count.
pub(crate) const PHASES: [&str; 2] = ["queries", "repartition"];

/// One job, as its place told of it.
pub(crate) struct Run {
    variant: Variant,
    told: Value,
}

/// What is told of each phase, by its name.
#[derive(Clone, Copy, Eq, PartialEq)]
pub(crate) struct Figure(&'static str);

pub(crate) const WALL: Figure = Figure("seconds");
pub(crate) const SERVICE: Figure = Figure("service");
const EXECUTORS: Figure = Figure("executors");
const DRIVER: Figure = Figure("driver");
const LOOPBACK: Figure = Figure("loopback");

impl Run {
    pub(crate) fn of(variant: Variant, told: &Value) -> Self {
        Self { variant, told: told.clone() }
    }

    /// For who waits.
    pub(crate) fn line(&self) -> String {
        let phases = PHASES.iter().map(|phase| {
            format!(
                "{phase} {:.1} s (service {:.2} s)",
                self.figure(phase, WALL),
                self.figure(phase, SERVICE)
            )
        });
        phases.collect::<Vec<_>>().join(", ")
    }

    fn figure(&self, name: &str, Figure(of): Figure) -> f64 {
        let phases = self.told["phases"].as_array().expect("a run has phases");
        let phase = phases.iter().find(|phase| phase["name"] == name).expect("a phase of this name");
        phase[of].as_f64().expect("a figure is a number")
    }
}

/// All runs of one case.
pub(crate) struct Report {
    pub(crate) case: Case,
    digest: Option<Value>,
    runs: Vec<Run>,
    /// Frames with a canary, and all that were seen.
    taps: Vec<(Variant, u64, u64)>,
}

impl Report {
    pub(crate) fn new(case: Case) -> Self {
        Self { case, digest: None, runs: Vec::new(), taps: Vec::new() }
    }

    /// One more run, which must have computed what the others have.
    pub(crate) fn add(&mut self, run: Run, counts: bool) {
        let digest = self.digest.get_or_insert_with(|| run.told["digest"].clone());
        assert_eq!(*digest, run.told["digest"], "{} computes something else", run.variant.name());
        if let (Some(found), Some(frames)) =
            (run.told["tap"]["found"].as_u64(), run.told["tap"]["frames"].as_u64())
        {
            self.taps.push((run.variant, found, frames));
        }
        if counts {
            self.runs.push(run);
        }
    }

    fn of(&self, variant: Variant) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.variant == variant)
    }

    pub(crate) fn spread(&self, variant: Variant, phase: &str, figure: Figure) -> Spread {
        Spread::of(self.of(variant).map(|run| run.figure(phase, figure)))
    }

    fn ratio(&self, phase: &str, figure: Figure) -> Spread {
        let of = |variant| self.of(variant).map(move |run| run.figure(phase, figure));
        Spread::of_ratios(of(Variant::Ours).zip(of(Variant::Spark)))
    }

    /// Medians with their spread, and the ratios of ours to Spark's service.
    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new(&[
            "phase",
            "",
            "wall, s",
            "service, CPU-s",
            "executors, CPU-s",
            "driver, CPU-s",
            "on the loopback, GB",
            "service, MB",
        ]);
        for phase in PHASES {
            for variant in Variant::ALL {
                let cell = |figure| text(self.spread(variant, phase, figure));
                let memory = self.of(variant).filter_map(|run| run.told["memory"].as_u64()).max();
                let memory = memory.map_or_else(|| "–".to_owned(), |bytes| (bytes / 1_000_000).to_string());
                let service = if variant == Variant::None { "–".to_owned() } else { cell(SERVICE) };
                let bytes = self.spread(variant, phase, LOOPBACK).median / 1e9;
                table.row(&[
                    &phase,
                    &variant.name(),
                    &cell(WALL),
                    &service,
                    &cell(EXECUTORS),
                    &cell(DRIVER),
                    &format!("{bytes:.2}"),
                    &memory,
                ]);
            }
            let [wall, service, executors, driver] =
                [WALL, SERVICE, EXECUTORS, DRIVER].map(|figure| text(self.ratio(phase, figure)));
            table.row(&[&phase, &"ours / Spark's", &wall, &service, &executors, &driver, &"", &""]);
        }
        table
    }

    /// What the tap saw in the first round.
    pub(crate) fn tapped(&self) -> String {
        let of = |(variant, found, frames): &(Variant, u64, u64)| {
            let name = variant.name();
            match found {
                0 => format!("{name}: none in {frames} frames"),
                found => format!("{name}: **in {found}** of {frames} frames"),
            }
        };
        self.taps.iter().map(of).collect::<Vec<_>>().join("; ")
    }
}

fn text(spread: Spread) -> String {
    spread.known().map_or_else(|| "–".to_owned(), |spread| format!("{spread:.2}"))
}
