//! The units of systemd.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::outcome::{stderr, stdout};
use super::{documents, sealed_shuffle, text, tool, tree};

const UNITS: [&str; 2] = ["sealed-shuffle.service", "sealed-shuffle-standalone.service"];

/// Above it, `systemd-analyze security` calls a unit exposed; the scores that the documents name are below.
const MOST_EXPOSED: [&str; 2] = ["2.0", "1.4"];

/// The units as they are installed, with the program that was built, and with the drop-ins that the book shows.
fn installed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for unit in UNITS {
        let unit_text = text(&format!("deploy/systemd/{unit}"));
        assert!(unit_text.contains("ExecStart=/usr/bin/sealed-shuffle"));
        let built =
            unit_text.replace("=/usr/bin/sealed-shuffle", concat!("=", env!("CARGO_BIN_EXE_sealed-shuffle")));
        fs::write(dir.path().join(unit), built).unwrap();
    }
    dir
}

fn analyze(arguments: &[&str], unit: &Path) -> Option<(bool, String)> {
    let program = tool("systemd-analyze", "package systemd")?;
    let version = stdout(&Command::new(&program).arg("--version").output().unwrap());
    let number: u32 = version.split_whitespace().nth(1)?.parse().ok()?;
    if number < 250 {
        eprintln!("not tested: systemd-analyze {number} cannot judge a unit that is not loaded");
        return None;
    }
    let output = Command::new(program).args(arguments).arg(unit).output().unwrap();
    Some((output.status.success(), stdout(&output) + &stderr(&output)))
}

#[test]
fn systemd_understands_every_line_of_the_units_and_of_drop_ins_in_the_book() {
    let dir = installed();
    for unit in UNITS {
        let Some((sound, said)) = analyze(&["verify", "--man=no"], &dir.path().join(unit)) else { return };
        assert!(sound && said.is_empty(), "{unit}: {said}");
    }
    let drop_ins: Vec<_> =
        documents().into_iter().flat_map(|(_, text)| blocks(&text, ".service.d/")).collect();
    assert!(drop_ins.len() >= 2, "the book has drop-ins for User=");
    for (number, drop_in) in
        drop_ins.iter().filter(|text| text.contains("sealed-shuffle.service.d")).enumerate()
    {
        let dir = installed();
        let beside = dir.path().join("sealed-shuffle.service.d");
        fs::create_dir(&beside).unwrap();
        fs::write(beside.join(format!("{number}.conf")), drop_in).unwrap();
        let Some((sound, said)) = analyze(&["verify", "--man=no"], &dir.path().join(UNITS[0])) else {
            return;
        };
        assert!(sound && said.is_empty(), "{drop_in}\n{said}");
    }
}

/// The control of the test above.
#[test]
fn systemd_finds_a_line_that_it_does_not_know() {
    let dir = installed();
    let unit = dir.path().join(UNITS[0]);
    fs::write(&unit, fs::read_to_string(&unit).unwrap().replace("LimitNOFILE", "LimitFiles")).unwrap();
    let Some((_, said)) = analyze(&["verify", "--man=no"], &unit) else { return };
    assert!(said.contains("LimitFiles"), "{said}");
}

#[test]
fn units_are_as_little_exposed_as_the_book_says() {
    let dir = installed();
    for (unit, most) in UNITS.into_iter().zip(MOST_EXPOSED) {
        let Some((_, said)) = analyze(&["security", "--offline=true", "--no-pager"], &dir.path().join(unit))
        else {
            return;
        };
        let score =
            said.lines().find_map(|line| line.split_once(&format!("exposure level for {unit}: "))).unwrap().1;
        let score: f32 = score.split(' ').next().unwrap().parse().unwrap();
        eprintln!("systemd-analyze security: {unit} has {score}");
        assert!(score <= most.parse().unwrap(), "{unit} has {score}, and had {most}:\n{said}");
    }
    assert!(text("docs/install.md").contains(&format!("gives it {}", MOST_EXPOSED[0])));
}

/// Blocks of systemd's files whose first line names a path with `part` in it.
fn blocks(document: &str, part: &str) -> Vec<String> {
    let mut found = Vec::new();
    for block in document.split("```ini\n").skip(1) {
        let (block, _) = block.split_once("```").unwrap();
        if block.lines().next().is_some_and(|line| line.contains(part)) {
            found.push(block.to_owned());
        }
    }
    found
}

/// `UPDATE_DOCS=1 cargo test --test installed` writes the block instead.
#[test]
fn the_book_shows_the_unit() {
    const BEGIN: &str = "<!-- unit:begin -->\n";
    const END: &str = "<!-- unit:end -->";
    let path = tree().join("docs/install.md");
    let chapter = fs::read_to_string(&path).unwrap();
    let (before, rest) = chapter.split_once(BEGIN).unwrap();
    let (shown, after) = rest.split_once(END).unwrap();
    let wanted = format!("\n```ini\n{}```\n\n", text("deploy/systemd/sealed-shuffle.service"));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
        return;
    }
    assert!(shown == wanted, "the unit in docs/install.md is out of date: run with UPDATE_DOCS=1");
    // Another copy would be a second source.
    let units = documents().into_iter().flat_map(|(_, text)| blocks(&text, "/sealed-shuffle.service\n"));
    assert_eq!(units.count(), 0, "only this one is shown whole");
}

/// What the unit starts is understood: the flags of the settings file and of the units are flags of the program.
#[test]
fn the_program_takes_what_the_units_pass() {
    let settings = text("deploy/systemd/sealed-shuffle.default");
    let options = settings.lines().find_map(|line| line.strip_prefix("SEALED_SHUFFLE_OPTS=")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut serve = sealed_shuffle(&["serve", "--check-config"]);
    serve.args(options.split(' ')).env("_SPARK_AUTH_SECRET", "a secret of the unit's test");
    serve.env("SPARK_LOCAL_DIRS", dir.path()).env("STATE_DIRECTORY", dir.path().join("state"));
    let output = serve.env("SPARK_CONF_DIR", tree().join("deploy/packages")).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("deploy/packages/spark-defaults.conf"), "{}", stdout(&output));
    let unit = text("deploy/systemd/sealed-shuffle-standalone.service");
    let started =
        unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/sealed-shuffle ")).unwrap();
    let socket = dir.path().join("none.sock");
    let arguments = started
        .replace("${SEALED_SHUFFLE_HANDOVER}", socket.to_str().unwrap())
        .replace("$SEALED_SHUFFLE_WORKERS", "--worker http://127.0.0.1:1");
    let output = sealed_shuffle(&arguments.split(' ').collect::<Vec<_>>()).arg("--once").output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(69),
        "nobody answers, and nothing is wrong with the flags: {}",
        stderr(&output)
    );
}
