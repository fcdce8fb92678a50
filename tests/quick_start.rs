//! README.md's quick start and docs/install.md's first run do what they say.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The commands of the console blocks beneath a heading.
fn typed(document: &str, heading: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = fs::read_to_string(path).expect("it can be read");
    let (_, section) = text.split_once(&format!("\n## {heading}\n")).expect("it has this heading");
    let section = section.split("\n## ").next().unwrap_or(section);
    let blocks = section.split("```console\n").skip(1).filter_map(|block| block.split("```").next());
    blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned).collect()
}

/// What a shell prints in a directory of its own, with the program and nothing else of this process; the server logs to `$LOG`.
fn shell(script: &str) -> String {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let log = dir.path().join("log");
    let program =
        Path::new(env!("CARGO_BIN_EXE_sealed-shuffle")).parent().expect("a program lies in a directory");
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap_or_default());
    let output = Command::new("bash")
        .args(["-c", script])
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
    out.into_owned()
}

/// A line that starts a server, in the background of a script: it takes a free port, and the ready line gives words 3 and 6.
fn served(line: &str) -> String {
    format!(
        "exec 3< <(exec env {line} --port 0 2>$LOG)\nserver=$!\ntrap 'kill $server' EXIT\n\
         read -t 60 -r _ _ address _ _ admin _ <&3\nport=${{address##*:}}\n"
    )
}

/// The lines of the README's quick start, in a shell. Only the port is a free one here: the line that starts the server takes
/// it and waits for the ready line, and the others name it. The first line names where `make demo` builds; a test's program
/// may lie elsewhere.
#[test]
fn the_quick_start_ends_with_a_block() {
    let mut lines = typed("README.md", "Quick start");
    // What follows wants Spark.
    lines.truncate(6);
    assert!(lines[5].contains("sealed-shuffle fetch "), "{lines:#?}");
    assert!(lines[0].starts_with("export PATH=$PWD/target/debug:$PATH "), "{}", lines[0]);
    let mut script = String::from("set -eu\n");
    for line in lines {
        script += &match line.strip_suffix(" &") {
            Some(serve) => served(serve),
            None => format!("{}\n", line.replace("7337", "$port")),
        };
    }
    let out = shell(&script);
    assert!(out.ends_with("second"), "{out}");
}

/// The same in two terminals, which are one here; `/tmp/blocks` is another directory, too.
#[test]
fn the_first_run_by_hand_ends_with_blocks_that_were_counted() {
    let lines = typed("docs/install.md", "A first run by hand");
    assert_eq!(lines.len(), 9, "{lines:#?}");
    let mut script = String::from("set -eu\n");
    for line in lines {
        let line = line.replace("/tmp/blocks", "$PWD/blocks");
        script += &match line.contains(" serve ") {
            true => served(&line.replace("7338", "0")),
            false => format!("{}\n", line.replace("7337", "$port").replace("127.0.0.1:7338", "$admin")),
        };
    }
    let out = shell(&script);
    for said in ["shuffle_0_0_1", "shuffle_0_0_2", "sealed_shuffle_blocks_total"] {
        assert!(out.contains(said), "{said}: {out}");
    }
}
