//! What the documents show as typed. Each block `console` says on the line before whether a test runs it, and every command
//! of ours in it is one that there is.
//!
//! ```text
//! <!-- run by tests/quick_start.rs -->
//! <!-- not run: it needs a cluster -->
//! ```

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::links::Documents;

/// A block, and what stands before it.
pub(super) struct Console {
    /// File and line.
    place: String,
    mark: Mark,
    /// The commands, each with the lines that continue it.
    commands: Vec<String>,
}

#[derive(Debug, Eq, PartialEq)]
enum Mark {
    /// By this file of ours.
    Run(String),
    /// For this reason.
    NotRun(String),
    None,
}

impl Console {
    /// Those of all documents but decisions, which stand as they were made.
    pub(super) fn all(documents: &Documents) -> Vec<Self> {
        let mut all = Vec::new();
        for path in documents.paths().filter(|path| !path.starts_with("docs/decisions")) {
            let name = path.display().to_string();
            all.extend(Self::of(&name, documents.text(&name)));
        }
        all
    }

    pub(super) fn of(name: &str, text: &str) -> Vec<Self> {
        let (mut found, mut before, mut lines) = (Vec::new(), "", text.lines().enumerate());
        while let Some((number, line)) = lines.next() {
            if line.trim() == "```console" {
                let block: Vec<_> = lines
                    .by_ref()
                    .map(|(_, line)| line.trim_start())
                    .take_while(|line| *line != "```")
                    .collect();
                let place = format!("{name}:{}", number + 1);
                found.push(Self { place, mark: Mark::of(before), commands: commands(&block) });
            }
            if !line.trim().is_empty() {
                before = line.trim();
            }
        }
        found
    }

    pub(super) fn is_run(&self) -> bool {
        matches!(self.mark, Mark::Run(_))
    }

    /// What is wrong with it.
    pub(super) fn faults(&self, tree: &Path) -> Vec<String> {
        let mut faults = Vec::new();
        match &self.mark {
            Mark::None => faults.push("says neither `run by FILE` nor `not run: WHY`".to_owned()),
            Mark::NotRun(why) if why.is_empty() => faults.push("does not say why it is not run".to_owned()),
            Mark::NotRun(_) => {}
            // The file reads this document.
            Mark::Run(file) => match fs::read_to_string(tree.join(file)) {
                Ok(text) if text.contains(self.document()) => {}
                Ok(_) => faults.push(format!("{file} does not read {}", self.document())),
                Err(error) => faults.push(format!("{file}: {error}")),
            },
        }
        faults.extend(self.commands.iter().flat_map(|command| unknown(tree, command)));
        faults.into_iter().map(|fault| format!("{}: {fault}", self.place)).collect()
    }

    fn document(&self) -> &str {
        self.place.rsplit_once(':').map_or("", |(document, _)| document)
    }
}

impl Mark {
    fn of(line: &str) -> Self {
        let Some(said) = line.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->")) else {
            return Self::None;
        };
        match (said.strip_prefix("run by "), said.strip_prefix("not run: ")) {
            (Some(file), _) => Self::Run(file.to_owned()),
            (_, Some(why)) => Self::NotRun(why.to_owned()),
            _ => Self::None,
        }
    }
}

fn commands(block: &[&str]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in block {
        let line = match line.strip_prefix("$ ").or_else(|| line.strip_prefix("# ")) {
            Some(command) => {
                found.push(String::new());
                command
            }
            None if goes_on => line,
            None => continue,
        };
        let (said, remark) = line.split_once(" #").unwrap_or((line, ""));
        goes_on = remark.is_empty() && said.ends_with('\\');
        if let Some(command) = found.last_mut() {
            *command = format!("{command} {}", said.trim_end_matches('\\').trim()).trim().to_owned();
        }
    }
    found
}

/// Parts of a command that name something of ours that is not there: commands and flags of the program, targets of the
/// Makefile, tests and benches.
fn unknown(tree: &Path, command: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for part in command.split(['|', ';', '&']) {
        // Only variables may stand before the program.
        let words: Vec<&str> = part.split_whitespace().collect();
        let from = |program: &str| {
            let at = words
                .iter()
                .position(|word| !word.contains('=') && word.rsplit('/').next() == Some(program))?;
            words[..at].iter().all(|word| word.contains('=')).then(|| &words[at + 1..])
        };
        if let Some(words) = from("sealed-shuffle") {
            faults.extend(unknown_to_the_program(words));
        } else if let Some(words) = from("make") {
            let makefile = fs::read_to_string(tree.join("Makefile")).expect("there is a Makefile");
            let targets = words.iter().take_while(|word| !word.contains('='));
            for target in targets.filter(|word| !word.starts_with(['-', '/'])) {
                if !makefile.lines().any(|line| line.starts_with(&format!("{target}:"))) {
                    faults.push(format!("the Makefile has no {target}"));
                }
            }
        } else if let Some(words) = from("cargo") {
            for pair in words.windows(2).filter(|pair| ["--test", "--bench"].contains(&pair[0])) {
                let dir = if pair[0] == "--test" { "tests" } else { "benches" };
                let of = |package: &str| tree.join(package).join(dir).join(pair[1]);
                let is_there = ["", "interop-tests", "protocol", "client", "transport", "config"]
                    .iter()
                    .any(|package| of(package).is_dir() || of(package).with_extension("rs").is_file());
                if !is_there {
                    faults.push(format!("there is no {} {}", pair[0], pair[1]));
                }
            }
        }
    }
    faults
}

fn unknown_to_the_program(words: &[&str]) -> Vec<String> {
    let help = |commands: &[&str]| {
        let mut program = Command::new(env!("CARGO_BIN_EXE_sealed-shuffle"));
        program.args(commands).arg("--help").env_clear().stdin(Stdio::null());
        let output = program.output().expect("the program can be started");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let shown = words.join(" ");
    let mut commands = Vec::new();
    let mut known = help(&[]).expect("the program has a help");
    for word in words {
        let is_command =
            |line: &str| line.strip_prefix("  ").is_some_and(|line| line.split(' ').next() == Some(*word));
        let listed =
            known.split_once("Commands:\n").map(|(_, listed)| listed.split("\n\n").next().unwrap_or(""));
        match listed {
            None => break,
            Some(listed) if listed.lines().any(is_command) => commands.push(*word),
            Some(_) => return vec![format!("the program has no command {word} (sealed-shuffle {shown})")],
        }
        match help(&commands) {
            Some(text) => known = text,
            None => return vec![format!("the program has no command {}", commands.join(" "))],
        }
    }
    let flags = words.iter().filter(|word| word.starts_with("--") && word.len() > 2);
    let names =
        |flag: &str| known.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).any(|word| word == flag);
    flags
        .filter(|flag| !names(flag.split('=').next().unwrap_or(flag)))
        .map(|flag| format!("sealed-shuffle {} has no {flag}", commands.join(" ")))
        .collect()
}
