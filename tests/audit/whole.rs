//! What `audit verify` answers, and a trail that goes on after a kill.

use std::fs;

use rustix::process::Signal;

use super::running::{APP, GCM, register};
use super::serving::{Serving, sealed_shuffle, serve};
use super::{Node, SECRET, connect, files};

/// A trail of a server that has ended.
fn ended() -> Node {
    let node = Node::new();
    let mut serving = node.start("");
    let dir = node.at("root/blockmgr-1");
    connect(&serving, APP, SECRET, GCM).unwrap().rpc(&register(&[dir.to_str().unwrap()])).unwrap();
    node.record("it is written", |one| one["what"] == "connection");
    serving.signal(Signal::TERM);
    assert!(serving.wait().success());
    node
}

#[test]
fn verify_says_by_its_exit_code_and_by_file_and_line_what_is_wrong() {
    let node = ended();
    let file = files(&node.trail()).remove(0);
    let text = fs::read_to_string(&file).unwrap();
    let (code, said) = node.verify();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(": whole; "), "{said}");
    let last = said.lines().find_map(|line| line.strip_prefix("the last record is ")).unwrap();
    let output = node.audit(&["verify", "--expect", last, "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["version"], &json["standing"]), (&1.into(), &"whole".into()));
    assert_eq!(node.audit(&["verify", "--expect", "7"]).status.code(), Some(2));

    let (at, _) = text.lines().enumerate().find(|(_, line)| line.contains("\"connection\"")).unwrap();
    fs::write(&file, text.replace("aes-gcm", "aes-ctr")).unwrap();
    let (code, said) = node.verify();
    assert_eq!(code, Some(65), "{said}");
    assert!(said.contains("audit-00000001.jsonl:2: "), "the policy stands in line 2: {said}");
    assert!(said.contains(&format!("audit-00000001.jsonl:{}: this line was changed", at + 1)), "{said}");

    fs::write(&file, &text).unwrap();
    assert_eq!(node.verify().0, Some(0), "the control");
    let key = node.at("state/keys");
    fs::rename(&key, node.at("kept")).unwrap();
    let (code, said) = node.verify();
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("cannot be judged") && !key.exists(), "nothing is made: {said}");
    let output = node.audit(&["verify", "--dir", node.at("nowhere").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(66), "{output:?}");
    assert_eq!(node.audit(&["show", "--dir", node.at("nowhere").to_str().unwrap()]).status.code(), Some(66));
}

#[test]
fn trail_goes_on_after_a_kill() {
    let node = Node::new();
    for round in 1..=3 {
        let mut serving = node.start("");
        let dir = node.at("root/blockmgr-1");
        let mut peer = connect(&serving, APP, SECRET, GCM).unwrap();
        peer.rpc(&register(&[dir.to_str().unwrap()])).unwrap();
        drop(peer);
        let ended = |one: &serde_json::Value| one["what"] == "connection";
        super::eventually("it is written", || {
            node.trail().exists() && node.records(&[]).into_iter().filter(ended).count() == round
        });
        serving.signal(Signal::KILL);
        serving.wait();
        let (code, said) = node.verify();
        assert_eq!(code, Some(0), "{said}");
    }
    let records = node.records(&[]);
    let seqs: Vec<_> = records.iter().map(|one| one["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=records.len() as u64).collect::<Vec<_>>(), "one chain");
    assert!(records.iter().any(|one| one["what"] == "records_restored" && one["executors"] == 1));
}

#[test]
fn key_that_the_trail_needs_is_not_taken_out() {
    let node = ended();
    let keys = |what: &str, more: &[&str]| {
        let mut command = sealed_shuffle();
        command.args(["keys", what]).args(more).env("STATE_DIRECTORY", node.at("state"));
        command.arg("--properties-file").arg(node.at("properties")).output().unwrap()
    };
    assert_eq!(keys("rotate", &[]).status.code(), Some(0));
    let listed = String::from_utf8(keys("list", &[]).stdout).unwrap();
    let old = listed.lines().next().unwrap();
    assert!(old.contains("unwraps\tneeded by the audit trail in "), "{listed}");
    let name = old.split('\t').next().unwrap();
    assert_eq!(keys("drop", &[name]).status.code(), Some(77));
    // A new start goes on under the new key, and with the trail the need goes, too.
    let mut serving = node.start("");
    serving.signal(Signal::TERM);
    assert!(serving.wait().success());
    assert_eq!((node.verify().0, files(&node.trail()).len()), (Some(0), 2));
    fs::remove_dir_all(node.trail()).unwrap();
    let dropped = keys("drop", &[name]);
    assert_eq!(dropped.status.code(), Some(0), "the control: {dropped:?}");
}

#[test]
fn successor_goes_on_with_the_trail() {
    let node = Node::new();
    let mut first = node.start("");
    let dir = node.at("root/blockmgr-1");
    connect(&first, APP, SECRET, GCM).unwrap().rpc(&register(&[dir.to_str().unwrap()])).unwrap();
    node.record("it is written", |one| one["what"] == "connection");
    let mut command = serve(node.dir.path());
    command.arg("--takeover").arg("--properties-file").arg(node.at("properties"));
    let mut second = Serving::start(command, &node.at("log-2"));
    assert!(first.wait().success());
    let started = |one: &serde_json::Value| one["what"] == "server_started";
    super::eventually("the successor writes", || node.records(&[]).into_iter().filter(started).count() == 2);
    second.signal(Signal::TERM);
    assert!(second.wait().success());
    let (code, said) = node.verify();
    assert_eq!(code, Some(0), "{said}");
    let seqs: Vec<_> = node.records(&[]).iter().map(|one| one["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "one chain");
}
