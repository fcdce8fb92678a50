//! What operators do beside the server leaves its record, and how the trail is stands where an operator looks.

use std::fs;
use std::process::Output;
use std::time::{Duration, SystemTime};

use rustix::process::{Signal, geteuid};
use serde_json::Value;

use super::running::eventually;
use super::serving::sealed_shuffle;
use super::{Node, SECRET};

const ORPHAN: &str = "root/blockmgr-11111111-2222-3333-4444-555555555555";

/// A command with the configuration of the server.
fn command(node: &Node, arguments: &[&str]) -> Output {
    let mut command = sealed_shuffle();
    command.args(arguments).env("STATE_DIRECTORY", node.at("state"));
    command.arg("--properties-file").arg(node.at("properties")).output().unwrap()
}

fn done(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn orphan(node: &Node) {
    fs::create_dir_all(node.at(ORPHAN).join("0c")).unwrap();
    fs::write(node.at(ORPHAN).join("0c/shuffle_0_0_0.data"), [7; 300]).unwrap();
}

/// The records of operators' deeds with this action.
fn deeds(node: &Node, action: &str) -> Vec<Value> {
    let records = node.records(&[]).into_iter();
    records.filter(|one| one["what"] == "operator" && one["action"] == action).collect()
}

#[test]
fn directories_that_an_operator_removes_leave_a_record_each_with_its_user() {
    let node = Node::new();
    let _serving = node.start("");
    orphan(&node);
    done(&command(&node, &["orphans", "--older-than", "0s"]));
    assert!(node.at(ORPHAN).exists(), "it was shown alone");
    done(&command(&node, &["orphans", "--older-than", "0s", "--delete"]));
    assert!(!node.at(ORPHAN).exists());
    eventually("both records", || deeds(&node, "orphans_delete").len() == 2);
    let [begins, done] = &deeds(&node, "orphans_delete")[..] else { panic!("two") };
    assert_eq!((&begins["outcome"], &begins["directories"]), (&"begins".into(), &1.into()), "{begins:#}");
    assert_eq!((&done["outcome"], &done["files"]), (&"done".into(), &1.into()), "{done:#}");
    assert!(done["bytes"].as_u64() >= Some(300), "{done:#}");
    let path = node.dir.path().canonicalize().unwrap().join(ORPHAN);
    assert_eq!(done["about"], path.to_str().unwrap(), "{done:#}");
    assert_eq!(done["user"], geteuid().as_raw());
    assert_eq!(node.verify().0, Some(0), "{:?}", node.verify());
}

/// Of a server that has watched for as long as they must be quiet; a file of a look that began so long ago says that.
#[test]
fn directories_that_the_server_removes_by_itself_leave_a_record_each() {
    const AGE: Duration = Duration::from_secs(7200);
    let node = Node::new();
    orphan(&node);
    let ended = SystemTime::now() - AGE;
    for path in ["0c/shuffle_0_0_0.data", "0c", ""] {
        fs::File::open(node.at(ORPHAN).join(path)).unwrap().set_modified(ended).unwrap();
    }
    let since = ended.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    fs::create_dir_all(node.at("state")).unwrap();
    let watched = format!("{{\"version\":1,\"since\":{since},\"directories\":[]}}");
    fs::write(node.at("state/remains.json"), watched).unwrap();
    let serving = node.start("spark.sealed.cleanup.orphans on\nspark.sealed.cleanup.orphans.age 1h");
    eventually("it is gone", || !node.at(ORPHAN).exists());
    let done = node.record("its end", |one| one["what"] == "clean_up" && one["outcome"] == "done");
    assert_eq!((&done["action"], &done["files"]), (&"orphans_delete".into(), &1.into()), "{done:#}");
    let path = node.dir.path().canonicalize().unwrap().join(ORPHAN);
    assert_eq!(done["about"], path.to_str().unwrap(), "{done:#}");
    let begins = node.record("its begin", |one| one["what"] == "clean_up" && one["outcome"] == "begins");
    assert_eq!(begins["directories"], 1, "{begins:#}");
    assert!(begins["seq"].as_u64() < done["seq"].as_u64(), "{begins:#} {done:#}");
    assert_eq!(deeds(&node, "orphans_delete"), Vec::<Value>::new(), "no operator did it");
    assert_eq!(node.verify().0, Some(0), "{:?}", node.verify());
    drop(serving);
}

#[test]
fn keys_that_an_operator_makes_or_takes_away_leave_a_record_with_and_without_a_server() {
    let node = Node::new();
    let mut serving = node.start("");
    done(&command(&node, &["keys", "rotate"]));
    eventually("the server writes it", || deeds(&node, "keys_rotate").len() == 1);
    serving.signal(Signal::TERM);
    serving.wait();

    let name = done(&command(&node, &["keys", "rotate"]));
    let written = deeds(&node, "keys_rotate");
    assert_eq!(written.len(), 2, "nobody runs: the command wrote it by itself: {written:#?}");
    assert_eq!(
        (&written[1]["about"], &written[1]["user"]),
        (&name.trim().into(), &geteuid().as_raw().into())
    );
    done(&command(&node, &["keys", "rewrap"]));
    assert_eq!(deeds(&node, "keys_rewrap").len(), 1);
    // The key that was made first may be in use by files; the one in the midst wraps nothing.
    let list = done(&command(&node, &["keys", "list"]));
    let unneeded = list.lines().find(|line| line.ends_with("not needed"));
    let unneeded = unneeded.unwrap_or_else(|| panic!("{list}")).split('\t').next().unwrap().to_owned();
    done(&command(&node, &["keys", "drop", &unneeded]));
    let dropped = deeds(&node, "keys_drop");
    assert_eq!((dropped.len(), &dropped[0]["about"]), (1, &unneeded.into()), "{dropped:#?}");
    assert_eq!(node.verify().0, Some(0), "{:?}", node.verify());
    drop(node.start(""));
    assert_eq!(node.verify().0, Some(0), "the server goes on in it: {:?}", node.verify());
}

#[test]
fn command_that_cannot_leave_its_record_says_so() {
    let node = Node::new();
    let serving = node.start("spark.sealed.admin.socket off");
    // The server has the trail, and nobody reaches it.
    let rotated = command(&node, &["keys", "rotate"]);
    assert_eq!(rotated.status.code(), Some(1), "{rotated:?}");
    let said = String::from_utf8_lossy(&rotated.stderr);
    assert!(said.contains("the audit trail in ") && said.contains("does not tell of it"), "{said}");
    assert!(deeds(&node, "keys_rotate").is_empty());
    drop(serving);
}

#[test]
fn trail_is_shown_by_check_status_and_the_page_and_so_is_its_absence() {
    let node = Node::new();
    let serving = node.start("");
    let trail = node.trail().display().to_string();
    eventually("it is sealed", || done(&node.tell(&["status"])).contains("sealed "));
    let status = done(&node.tell(&["status"]));
    let line = status.lines().find(|line| line.starts_with("audit trail")).unwrap();
    assert!(line.contains(&format!("in {trail}: ")) && line.contains(" ago"), "{line}");
    let json = || serde_json::from_str::<Value>(&done(&node.tell(&["status", "--json"]))).unwrap();
    eventually("all of it is on the disk", || json()["audit"]["waiting"] == 0);
    let json = json();
    assert!(json["audit"]["lost"] == 0 && json["audit"]["written"].as_u64() > Some(0), "{json:#}");
    assert!(json["audit"]["seconds_since_sealed"].as_u64().is_some_and(|seconds| seconds < 600));
    let page = serving.admin_page("/");
    assert!(page.contains(&format!("Audit trail in {trail}: ")), "{page}");
    let checked = |node: &Node| {
        let output = command(node, &["check", "--conf", "spark.shuffle.service.port=0"]);
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .find(|line| line.contains("audit trail: "))
            .unwrap_or_else(|| panic!("{text}"))
            .to_owned()
    };
    let line = checked(&node);
    assert!(line.contains(&format!("in {trail}, ")) && line.contains("sealed up to record "), "{line}");
    drop(serving);
    fs::write(node.trail().join("audit.head"), "x").unwrap();
    assert!(checked(&node).contains("its end cannot be read"), "{}", checked(&node));

    let off = Node::new();
    let serving = off.start("spark.sealed.audit.enabled false");
    let status = done(&off.tell(&["status"]));
    assert!(
        status.contains("audit trail") && status.contains("off (spark.sealed.audit.enabled)"),
        "{status}"
    );
    assert!(serving.admin_page("/").contains("Audit trail: off."));
    assert!(checked(&off).contains("off: nobody writes down"), "{}", checked(&off));
    assert!(!status.contains(SECRET));
}
