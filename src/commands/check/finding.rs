//! What a check found, and how it is shown.

use serde_json::{Value, json};

use crate::commands::Exit;

/// Version of the JSON shape.
const SHAPE: u32 = 1;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Severity {
    /// As it should be.
    Good,
    /// It works, and probably not as it was meant.
    Warning,
    /// `serve` would not start, or applications would be refused.
    Fault,
}

impl Severity {
    fn mark(self) -> char {
        match self {
            Self::Good => '✓',
            Self::Warning => '!',
            Self::Fault => '✗',
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Warning => "warning",
            Self::Fault => "fault",
        }
    }
}

/// One line of a check.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Finding {
    pub(super) severity: Severity,
    /// What it is about, in a word.
    about: &'static str,
    text: String,
    /// What to do.
    hint: Option<String>,
    /// Whether waiting may cure it.
    may_pass: bool,
}

impl Finding {
    pub(super) fn good(about: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Good, about, text: text.into(), hint: None, may_pass: false }
    }

    pub(super) fn warning(about: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::good(about, text) }
    }

    pub(super) fn fault(about: &'static str, text: impl Into<String>) -> Self {
        Self { severity: Severity::Fault, ..Self::good(about, text) }
    }

    /// With what to do.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Waiting may cure it, and a service manager should try again.
    pub(super) fn that_may_pass(self) -> Self {
        Self { may_pass: true, ..self }
    }

    /// One or two lines; texts of several lines are indented.
    fn line(&self) -> String {
        let text = self.text.replace('\n', "\n    ");
        let hint = self.hint.iter().map(|hint| format!("\n    → {hint}")).collect::<String>();
        format!("{} {}: {text}{hint}", self.severity.mark(), self.about)
    }

    fn json(&self) -> Value {
        json!({"severity": self.severity.name(), "about": self.about, "text": self.text, "hint": self.hint})
    }
}

/// All that was found, in order.
#[derive(Debug, Default)]
pub(super) struct Findings {
    all: Vec<Finding>,
}

impl Extend<Finding> for Findings {
    fn extend<T: IntoIterator<Item = Finding>>(&mut self, found: T) {
        self.all.extend(found);
    }
}

impl Findings {
    fn count(&self, severity: Severity) -> usize {
        self.all.iter().filter(|finding| finding.severity == severity).count()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let lines: String = self.all.iter().map(|finding| finding.line() + "\n").collect();
        let counted = |count, one: &str| match count {
            1 => format!("1 {one}"),
            n => format!("{n} {one}s"),
        };
        let (faults, warnings) = (self.count(Severity::Fault), self.count(Severity::Warning));
        format!("{lines}{}, {}\n", counted(faults, "fault"), counted(warnings, "warning"))
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let findings: Vec<Value> = self.all.iter().map(Finding::json).collect();
        json!({
            "version": SHAPE,
            "faults": self.count(Severity::Fault),
            "warnings": self.count(Severity::Warning),
            "findings": findings,
        })
    }

    /// What `serve` would exit with; with `strict`, warnings count, too.
    pub(super) fn exit(&self, strict: bool) -> Option<Exit> {
        let faults = || self.all.iter().filter(|finding| finding.severity == Severity::Fault);
        match faults().next() {
            Some(_) if faults().all(|fault| fault.may_pass) => Some(Exit::TooEarly),
            Some(_) => Some(Exit::Config),
            None => (strict && self.count(Severity::Warning) > 0).then_some(Exit::Failed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(findings: Vec<Finding>) -> Findings {
        Findings { all: findings }
    }

    #[test]
    fn exit_is_that_of_the_worst() {
        let good = || Finding::good("roots", "fine");
        let warning = || Finding::warning("policy", "weak");
        let early = || Finding::fault("roots", "not there").that_may_pass();
        assert_eq!(of(vec![good()]).exit(true), None);
        assert_eq!(of(vec![good(), warning()]).exit(false), None);
        assert_eq!(of(vec![good(), warning()]).exit(true), Some(Exit::Failed));
        assert_eq!(of(vec![warning(), early()]).exit(false), Some(Exit::TooEarly));
        assert_eq!(of(vec![early(), Finding::fault("port", "taken")]).exit(false), Some(Exit::Config));
    }

    #[test]
    fn hint_stands_below_its_finding_and_faults_are_counted() {
        let found =
            of(vec![Finding::good("port", "free"), Finding::fault("secret", "none").hint("give one")]);
        assert_eq!(found.text(), "✓ port: free\n✗ secret: none\n    → give one\n1 fault, 0 warnings\n");
        assert_eq!(found.json()["findings"][1]["hint"], "give one");
    }
}
