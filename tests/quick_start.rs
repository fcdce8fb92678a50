//! The README's quick start does what it says.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The lines of the README's quick start, in a shell. Only the port is a free one here: the line that starts the server takes
/// it and waits for the ready line, and the others name it. The first line names where `make demo` builds; a test's program
/// may lie elsewhere.
#[test]
fn the_quick_start_ends_with_a_block() {
    let readme =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).expect("it can be read");
    let (_, section) = readme.split_once("## Quick start\n").expect("the README has a quick start");
    let (_, block) = section.split_once("```console\n").expect("the quick start has a console block");
    let (block, _) = block.split_once("```").expect("the block ends");
    let lines: Vec<&str> =
        block.lines().map(|line| line.strip_prefix("$ ").expect("each line is a command")).collect();
    assert_eq!(lines.len(), 6, "{lines:#?}");

    assert!(lines[0].starts_with("export PATH=$PWD/target/debug:$PATH "), "{}", lines[0]);
    let dir = tempfile::tempdir().expect("a directory can be made");
    let log = dir.path().join("log");
    let mut script = String::from("set -eu\n");
    for line in lines {
        match line.strip_suffix(" &") {
            Some(serve) => {
                script += &format!(
                    "exec 3< <(exec {serve} --port 0 2>$LOG)\nserver=$!\ntrap 'kill $server' EXIT\n\
                     read -t 60 -r _ _ address _ <&3\nport=${{address##*:}}\n"
                );
            }
            None => script += &format!("{}\n", line.replace("7337", "$port")),
        }
    }
    let program =
        Path::new(env!("CARGO_BIN_EXE_sealed-shuffle")).parent().expect("a program lies in a directory");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&dir)
        .env_clear()
        .env("PATH", path)
        .env("LOG", &log)
        .env("TMPDIR", dir.path())
        .env("STATE_DIRECTORY", dir.path().join("state"))
        .output()
        .expect("bash can be started");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let log = fs::read_to_string(log).unwrap_or_default();
    assert!(output.status.success(), "{script}\n{out}{err}{log}");
    assert!(out.ends_with("second"), "{out}{err}");
}
