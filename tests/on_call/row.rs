//! One fault, and what tells of it.

use std::fmt::Write as _;

use crate::machine::Machine;

/// In a text, stands for anything within the same line.
const ANYTHING: char = '…';

/// A fault.
pub(crate) struct Row {
    /// What happened.
    pub(crate) fault: &'static str,
    /// A line of the server's log; empty where there can be none.
    pub(crate) log: &'static str,
    pub(crate) metric: Metric,
    /// A command, and a line that it prints.
    pub(crate) command: (&'static str, &'static str),
    /// What to do.
    pub(crate) action: &'static str,
    /// The alert that fires, as it stands in docs/alerts.md; empty where none does.
    pub(crate) alert: &'static str,
}

/// A sample of the metrics page.
pub(crate) struct Metric {
    /// Name and labels.
    pub(crate) sample: &'static str,
    pub(crate) is: Is,
}

/// What a sample is.
#[derive(Clone, Copy)]
pub(crate) enum Is {
    /// More than nothing.
    Positive,
    One,
    /// A moment within the next thirty days.
    Soon,
}

impl Metric {
    pub(crate) const fn new(sample: &'static str, is: Is) -> Self {
        Self { sample, is }
    }

    pub(crate) fn holds(&self, page: &str) -> bool {
        let samples =
            page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        samples.filter(|(sample, _)| contains(sample, self.sample)).any(|(_, value)| {
            let value: f64 = value.parse().unwrap();
            match self.is {
                Is::Positive => value > 0.0,
                Is::One => value == 1.0,
                Is::Soon => (0.0..30.0 * 86_400.0).contains(&(value - now())),
            }
        })
    }

    fn text(&self) -> String {
        match self.is {
            Is::Positive => format!("`{}` above 0", self.sample),
            Is::One => format!("`{}` is 1", self.sample),
            Is::Soon => format!("`{}` less than 30 days ahead", self.sample),
        }
    }
}

fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

/// Whether the parts of `pattern` stand in `line`, in their order.
fn contains(line: &str, pattern: &str) -> bool {
    let mut rest = line;
    pattern.split(ANYTHING).map(str::trim).all(|part| match rest.split_once(part) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

impl Row {
    /// Of what tells of the fault, what a server does not show.
    pub(crate) fn missing(&self, machine: &Machine) -> Vec<String> {
        let mut missing = Vec::new();
        if !self.log.is_empty() && !machine.log().lines().any(|line| contains(line, self.log)) {
            missing.push(format!("log: {}\n{}", self.log, machine.log()));
        }
        let page = machine.page();
        if !self.metric.holds(&page) {
            missing.push(format!("metric: {}", self.metric.text()));
        }
        let (command, line) = self.command;
        let said = machine.tell(command);
        if !said.lines().any(|said| contains(said, line)) {
            missing.push(format!("command {command}: {line}\n{said}"));
        }
        missing
    }
}

/// Provokes the fault, and waits until everything tells of it.
pub(crate) fn holds(row: &Row, provoke: impl FnOnce() -> Result<Machine, String>) {
    let machine = match provoke() {
        Ok(machine) => machine,
        Err(reason) => {
            println!("SKIPPED: {}: {reason}", row.fault);
            let required = std::env::var("SEALED_SHUFFLE_ON_CALL").is_ok_and(|value| value == "required");
            assert!(!required, "{reason}");
            return;
        }
    };
    let mut last = Vec::new();
    eventually_or(|| {
        last = row.missing(&machine);
        last.is_empty()
    });
    assert!(last.is_empty(), "{}: not told of within a minute:\n{}", row.fault, last.join("\n"));
    assert!(!machine.log().contains(crate::machine::SECRET), "the log shows the secret");
}

/// Waits for `condition`, and for no longer than a person on call would.
fn eventually_or(mut condition: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !condition() && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// As code of the book, which a text with an apostrophe of code in it would end.
fn code(text: &str) -> String {
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// For the book.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| what happened | the log says | metric, alert | a command says | what to do |\n|---|---|---|---|---|\n",
    );
    for Row { fault, log, metric, command: (command, line), action, alert } in rows {
        let log = if log.is_empty() { "nothing: it cannot".to_owned() } else { code(log) };
        let alert = match *alert {
            "" => String::new(),
            alert => format!("; [{alert}](alerts.md#{})", alert.to_lowercase()),
        };
        let metric = metric.text();
        writeln!(
            table,
            "| {fault} | {log} | {metric}{alert} | `sealed-shuffle {command}`: {} | {action} |",
            code(line)
        )
        .unwrap();
    }
    table
}

/// A pattern is matched in its order, and within a line.
#[test]
fn parts_of_a_pattern_stand_in_their_order() {
    assert!(contains("WARN a disk: /data/1 is full now", "disk: … is full"));
    assert!(!contains("WARN is full disk: x", "disk: … is full"));
    assert!(contains("anything", ""));
}
