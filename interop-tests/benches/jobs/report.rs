//! Runs, and the table of them.

use std::fmt::Write as _;

use sealed_shuffle_interop_tests::applications::JobReport;
use sealed_shuffle_interop_tests::modes::Mode;
use sealed_shuffle_measure::{Spread, machine};

use crate::options::Options;

/// Who serves shuffle blocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Variant {
    /// Executors each other.
    None,
    /// Spark's own service.
    Spark,
    /// Ours.
    Ours,
}

impl Variant {
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::Spark, Self::Ours];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "no service",
            Self::Spark => "Spark's service",
            Self::Ours => "our server",
        }
    }
}

/// One job.
pub(crate) struct Run {
    pub(crate) variant: Variant,
    pub(crate) digest: String,
    report: JobReport,
    /// Seconds of processors of the service in each phase.
    service: Vec<f64>,
    /// The most memory of the service so far.
    memory: Option<u64>,
}

impl Run {
    pub(crate) fn of(variant: Variant, report: JobReport, service: Vec<f64>, memory: Option<u64>) -> Self {
        Self { variant, digest: report.digest.clone(), report, service, memory }
    }

    /// For who waits.
    pub(crate) fn line(&self) -> String {
        let phases = self.report.phases.iter().zip(&self.service);
        let phases = phases.map(|(phase, service)| {
            format!("{} {:.1} s (service {service:.2} s)", phase.name, phase.seconds)
        });
        phases.collect::<Vec<_>>().join(", ")
    }

    /// What `of` says of each phase that counts, by its name.
    fn figure(&self, name: &str, of: Figure) -> f64 {
        let number =
            self.report.phases.iter().position(|phase| phase.name == name).expect("a phase of this name");
        let phase = &self.report.phases[number];
        match of {
            Figure::Wall => phase.seconds,
            Figure::Service => self.service[number],
            Figure::Executors => phase.executors,
            Figure::Driver => phase.driver,
        }
    }
}

#[derive(Clone, Copy)]
enum Figure {
    Wall,
    Service,
    Executors,
    Driver,
}

/// Medians with their spread, and the ratios of ours to Spark's service.
pub(crate) fn table(mode: &Mode, options: &Options, runs: &[Run]) -> String {
    let mut text = format!(
        "{mode}, {} rows of a kilobyte in {} partitions, {} rounds; seconds, median (smallest – largest)\n{}\n\n\
         | phase | | wall | service CPU | executors CPU | driver CPU | service memory |\n|---|---|---|---|---|---|---|\n",
        options.size.rows,
        options.size.partitions,
        options.rounds,
        machine(),
    );
    for phase in ["queries", "repartition"] {
        for variant in Variant::ALL {
            let of: Vec<&Run> = runs.iter().filter(|run| run.variant == variant).collect();
            let cell = |figure| spread(of.iter().map(|run| run.figure(phase, figure)));
            let memory = of.iter().filter_map(|run| run.memory).max();
            let memory = memory.map_or_else(|| "–".to_owned(), |bytes| format!("{} MB", bytes / 1_000_000));
            let service = if variant == Variant::None { "–".to_owned() } else { cell(Figure::Service) };
            writeln!(
                text,
                "| {phase} | {} | {} | {service} | {} | {} | {memory} |",
                variant.name(),
                cell(Figure::Wall),
                cell(Figure::Executors),
                cell(Figure::Driver),
            )
            .expect("text grows");
        }
        let ratio = |figure| {
            let of = |variant| {
                let runs = runs.iter().filter(move |run| run.variant == variant);
                runs.map(move |run| run.figure(phase, figure))
            };
            let ratios = of(Variant::Ours).zip(of(Variant::Spark)).map(|(ours, spark)| ours / spark);
            spread(ratios)
        };
        writeln!(
            text,
            "| {phase} | ours / Spark's | {} | {} | {} | {} | |",
            ratio(Figure::Wall),
            ratio(Figure::Service),
            ratio(Figure::Executors),
            ratio(Figure::Driver)
        )
        .expect("text grows");
    }
    text
}

fn spread(values: impl Iterator<Item = f64>) -> String {
    Spread::of(values).known().map_or_else(|| "–".to_owned(), |spread| format!("{spread:.2}"))
}
