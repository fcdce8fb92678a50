//! The numbers that are checked in, and what is made of a difference.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::callgrind::{Count, version};
use crate::cases::Case;

/// A regression of more than this part fails.
const TOLERANCE: f64 = 0.1;

/// `baseline.json`.
pub(crate) struct Baseline {
    pub(crate) valgrind: String,
    architecture: String,
    abilities: String,
    instructions: BTreeMap<String, u64>,
}

impl Baseline {
    pub(crate) fn load() -> Self {
        let said: Value = serde_json::from_str(&fs::read_to_string(path()).unwrap()).unwrap();
        let text = |key: &str| said[key].as_str().unwrap().to_owned();
        let counts = said["instructions"].as_object().unwrap();
        Self {
            valgrind: text("valgrind"),
            architecture: text("architecture"),
            abilities: text("abilities"),
            instructions: counts.iter().map(|(name, n)| (name.clone(), n.as_u64().unwrap())).collect(),
        }
    }

    pub(crate) fn save(counted: &[(Case, Count)]) {
        let counts: BTreeMap<&str, u64> =
            counted.iter().map(|(case, counted)| (case.name(), counted.instructions)).collect();
        let text = json!({
            "architecture": std::env::consts::ARCH,
            "abilities": counted[0].1.abilities,
            "valgrind": version(),
            "instructions": counts,
        });
        fs::write(path(), serde_json::to_string_pretty(&text).unwrap() + "\n").unwrap();
    }

    pub(crate) fn judge(&self, case: Case, counted: &Count) -> Verdict {
        let now = counted.instructions;
        let comparable = self.architecture == std::env::consts::ARCH
            && (self.abilities == counted.abilities || !case.has_cipher());
        match self.instructions.get(case.name()) {
            Some(&before) if comparable => Verdict::Judged { now, before },
            _ => Verdict::NotJudged { now },
        }
    }
}

/// What a count means.
pub(crate) enum Verdict {
    Judged {
        now: u64,
        before: u64,
    },
    /// Not in the baseline, or counted for another processor.
    NotJudged {
        now: u64,
    },
}

impl Verdict {
    fn change(now: u64, before: u64) -> f64 {
        now as f64 / before as f64 - 1.0
    }

    pub(crate) fn is_regression(&self) -> bool {
        match *self {
            Self::Judged { now, before } => Self::change(now, before) > TOLERANCE,
            Self::NotJudged { .. } => false,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotJudged { now } => {
                write!(f, "{now:>10} instructions, not judged: the baseline is of another processor")
            }
            Self::Judged { now, before } => {
                let change = Self::change(now, before);
                write!(f, "{now:>10} instructions, {:+.1} %", 100.0 * change)?;
                if self.is_regression() {
                    f.write_str(", a regression")
                } else if change < -TOLERANCE {
                    f.write_str(", an improvement: make guard-update holds it")
                } else {
                    Ok(())
                }
            }
        }
    }
}

fn path() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "benches", "guard", "baseline.json"].iter().collect()
}
