//! The operator's page in a browser: under load, with a peer that is refused and a disk that is away.
//!
//! Needs Chromium and Node, which `make page` installs; it is skipped where they are not there, unless
//! `SEALED_SHUFFLE_PAGE=required`. `UPDATE_DOCS=1` puts the pictures into the book.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

#[path = "../running/mod.rs"]
mod running;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use running::{CTR, GCM, Peer, Running};
use serde_json::Value;

/// Sections of the page.
const SECTIONS: [&str; 8] =
    ["applications", "disks", "keys", "policy", "refusals", "shares", "state", "throughput"];

/// The browser and the folder with the library that drives it; or why there is none.
fn browser() -> Result<(PathBuf, PathBuf), String> {
    let program = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
    let program = program.map(PathBuf::from).into_iter().find(|path| path.exists());
    let program = program.ok_or("there is no Chromium")?;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    match folder.join("node_modules/playwright-core").exists() {
        true => Ok((program, folder)),
        false => Err(format!("playwright-core is not in {}", folder.display())),
    }
}

#[test]
fn page_shows_what_the_server_does_by_keyboard_on_a_telephone_in_the_dark_and_without_a_script() {
    let (program, folder) = match browser() {
        Ok(found) => found,
        Err(why) => {
            assert!(std::env::var_os("SEALED_SHUFFLE_PAGE").is_none(), "{why}: `make page` installs it");
            eprintln!("SKIPPED: {why} (`make page` installs it)");
            return;
        }
    };
    let running = Running::start_with(|config| {
        let away = config.roots.paths[0].with_file_name("away");
        config.roots.paths.push(away);
    });
    running.write_map(1, &[4 << 20]);
    let stop = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let (running, stop) = (&running, &stop);
        // A load that lasts as long as somebody looks.
        for mode in [CTR, GCM] {
            let mut peer = running.registered(mode);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    // It is in the process of the server, whose memory the page shows.
                    peer.heard = Vec::new();
                    let stream = peer.open(1, &[0]).unwrap().stream;
                    peer.chunk(stream, 0).unwrap();
                }
            });
        }
        let refuse = || assert!(Peer::connect(running.address).handshake("impostor", "wrong", GCM).is_err());
        let seen = look(&program, &folder, &format!("http://{}", running.admin), refuse);
        stop.store(true, Ordering::Relaxed);
        seen
    });

    assert_eq!(
        (&seen["complaints"], &seen["foreign"]),
        (&Value::Array(vec![]), &Value::Array(vec![])),
        "{seen:#}"
    );
    let policy = seen["policy"].as_str().unwrap();
    assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    let sections = seen["sections"].as_object().unwrap();
    let ids: BTreeSet<_> = sections.keys().map(String::as_str).collect();
    assert_eq!(ids, SECTIONS.into());
    for (section, words) in [
        ("state", &["serving, ready", "1 application with 1 executor"][..]),
        ("throughput", &["aes-ctr", "aes-gcm", "iB/s"]),
        (
            "policy",
            &["aes-ctr and better", "1 of 1 applications that run would be refused at the target aes-gcm"],
        ),
        ("applications", &["app-1", "would be refused at aes-gcm; set spark.network.crypto.cipher"]),
        ("refusals", &["impostor", "authentication_failed"]),
        ("disks", &["missing", "mount or make the directory", "ok"]),
        ("shares", &["segments", "connections"]),
        ("keys", &["TLS is not spoken"]),
    ] {
        let shown = sections[section].as_str().unwrap();
        for word in words {
            assert!(shown.contains(word), "{word:?} is not in {section}:\n{shown}");
        }
    }
    assert!(seen["fresh"].as_str().unwrap().starts_with("As of "), "{seen:#}");
    let reached: BTreeSet<_> = seen["reached"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    for place in ["served-caption", "apps-caption", "roots-caption", "pots-caption", "/metrics"] {
        assert!(reached.contains(place), "Tab does not reach {place}: {reached:?}");
    }
    assert_eq!(seen["focus"], "served-caption", "the focus is lost when the page updates itself");
    assert_ne!(seen["paper"]["light"], seen["paper"]["dark"]);
    let (wide, room) = (seen["small"]["wide"].as_u64().unwrap(), seen["small"]["room"].as_u64().unwrap());
    assert!(wide <= room, "on a telephone the page is {wide} wide, and has {room}");
    assert!(seen["still"]["state"].as_str().unwrap().contains("serving, ready"));
    assert!(seen["still"]["disks"].as_str().unwrap().contains("missing"), "without a script: {seen:#}");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        fs::copy(folder.join("page.png"), docs.join("page.png")).unwrap();
    }
}

/// Runs the browser; `when_ready` is called while it looks.
fn look(program: &Path, folder: &Path, url: &str, when_ready: impl FnOnce()) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/look.mjs");
    // Beside the library: a module is looked for from where the script lies.
    let script_there = folder.join("look.mjs");
    fs::copy(script, &script_there).unwrap();
    let mut node = Command::new("timeout")
        .args(["120", "node"])
        .arg(&script_there)
        .arg(url)
        .arg(folder)
        .arg(program)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(node.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    if line.trim() == "ready" {
        when_ready();
    }
    said.read_to_string(&mut line).unwrap();
    let mut shown = String::new();
    node.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert!(node.wait().unwrap().success(), "{line}\n{shown}");
    serde_json::from_str(&shown).unwrap()
}
