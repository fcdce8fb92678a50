//! Completions and manual pages follow the command line.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use super::outcome::{code, stderr, stdout};
use super::sealed_shuffle;

/// The commands that `--help` lists.
fn commands() -> BTreeSet<String> {
    let help = stdout(&sealed_shuffle(&["--help"]).output().unwrap());
    let (_, listed) = help.split_once("Commands:\n").unwrap();
    let (listed, _) = listed.split_once("\n\n").unwrap();
    let first = |line: &str| line.strip_prefix("  ")?.split(' ').next().map(str::to_owned);
    let names: BTreeSet<_> = listed.lines().filter_map(first).filter(|name| !name.is_empty()).collect();
    assert!(names.len() > 10 && names.contains("serve") && !names.contains("man"), "{names:?}");
    names
}

#[test]
fn a_script_for_each_shell_knows_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = sealed_shuffle(&["completions", shell]).output().unwrap();
        assert_eq!(code(&output), 0, "{shell}: {}", stderr(&output));
        let script = stdout(&output);
        for command in commands() {
            assert!(script.contains(&command), "{shell} does not know {command}");
        }
        assert!(script.contains("check-config"), "{shell} knows no flags");
    }
    let output = sealed_shuffle(&["completions", "csh"]).output().unwrap();
    assert_eq!((code(&output), stdout(&output)), (2, String::new()));
}

/// clap_complete alone finds none of them: see `mended`.
#[test]
fn bash_completes_flags_of_commands_and_of_those_within_others() {
    let script = stdout(&sealed_shuffle(&["completions", "bash"]).output().unwrap());
    let function = script.split_once("complete -F ").unwrap().1.split(' ').next().unwrap();
    for (words, completed) in [
        ("che", "check"),
        ("serve --takeo", "--takeover"),
        ("hand-over standalone --work", "--worker"),
        ("completions fi", "fish"),
    ] {
        let (before, current) = words.rsplit_once(' ').unwrap_or(("", words));
        let previous = before.rsplit(' ').next().unwrap();
        let asked = format!(
            "COMP_WORDS=(sealed-shuffle {words})\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             {function} sealed-shuffle '{current}' '{previous}'\necho \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["-c", &format!("{script}\n{asked}")]).output().unwrap();
        assert_eq!(stdout(&output).trim(), completed, "{words}: {}", stderr(&output));
    }
}

#[test]
fn every_command_has_a_manual_page_with_its_flags() {
    let dir = tempfile::tempdir().unwrap();
    let output = sealed_shuffle(&["man", dir.path().to_str().unwrap()]).output().unwrap();
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let page = |name: &str| fs::read_to_string(dir.path().join(format!("{name}.1")));
    for command in commands().iter().filter(|name| *name != "help") {
        let text =
            page(&format!("sealed-shuffle-{command}")).unwrap_or_else(|error| panic!("{command}: {error}"));
        assert!(text.contains(".SH NAME") && text.contains(".SH DESCRIPTION"), "{command}");
    }
    assert!(page("sealed-shuffle-serve").unwrap().contains("takeover"));
    assert!(page("sealed-shuffle-hand-over-standalone").unwrap().contains("worker"));
    assert!(page("sealed-shuffle-man").is_err(), "it is no command for people");
    let away = dir.path().join("away");
    let output = sealed_shuffle(&["man", away.to_str().unwrap()]).output().unwrap();
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains(away.to_str().unwrap()));
}
