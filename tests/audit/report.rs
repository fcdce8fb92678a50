//! `report`: what an auditor gets from a server that runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, ExecutorShuffleInfo, RegisterExecutor, Strings,
};
use serde_json::Value;

use super::running::{APP, CTR, GCM, eventually, register};
use super::serving::sealed_shuffle;
use super::{Node, SECRET, connect};

/// The name of an application, which chose it.
const EVIL: &str = "<script>alert(1)</script>\"'&";

#[test]
fn report_says_what_is_encrypted_how_and_nothing_in_it_is_markup_of_others() {
    let node = Node::new();
    let serving = node.start("spark.sealed.security.target aes-gcm\nspark.sealed.cluster.name <b>cluster");
    let dir = node.at("root/blockmgr-1");
    fs::write(dir.join("readable.txt"), "not a block").unwrap();
    fs::create_dir(dir.join("0c")).unwrap();
    fs::write(dir.join("0c/shuffle_0_0_0.data"), "a block that anybody can read ".repeat(100)).unwrap();
    connect(&serving, APP, SECRET, CTR).unwrap().rpc(&register(&[dir.to_str().unwrap()])).unwrap();
    let evil_dir = node.at("root/blockmgr-2");
    fs::create_dir(&evil_dir).unwrap();
    let evil: BlockTransferMessage = RegisterExecutor {
        app: AppId::new(EVIL),
        executor: ExecutorId::new("1"),
        info: ExecutorShuffleInfo {
            local_dirs: Strings::try_from_iter([evil_dir.to_str().unwrap()]).unwrap(),
            sub_dirs_per_local_dir: 64,
            shuffle_manager: "org.apache.spark.shuffle.sort.SortShuffleManager".to_owned(),
        },
    }
    .into();
    connect(&serving, EVIL, SECRET, GCM).unwrap().rpc(&evil).unwrap();
    eventually("both are in the trail", || {
        node.trail().exists()
            && node.records(&[]).iter().filter(|one| one["what"] == "connection").count() == 2
    });

    let (html, json) = (node.at("report.html"), node.at("report.json"));
    let mut report = sealed_shuffle();
    report.args(["report", "--scan", "--out"]).arg(&html).arg("--json").arg(&json);
    report.arg("--properties-file").arg(node.at("properties")).env("STATE_DIRECTORY", node.at("state"));
    let output = report.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (page, text) = (fs::read_to_string(&html).unwrap(), fs::read_to_string(&json).unwrap());
    assert_eq!(fs::metadata(&html).unwrap().permissions().mode() & 0o777, 0o600);

    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["version"], 1);
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(report["host"], host.trim());
    assert_eq!(report["server"]["release"], env!("CARGO_PKG_VERSION"));
    assert!(report["made"].as_str().is_some_and(|time| time.ends_with('Z')));
    let served = report["transit"]["served"].as_array().unwrap();
    assert!(served.iter().any(|one| one["channel"] == "aes-ctr" && one["connections"] == 1), "{served:#?}");
    let apps = report["transit"]["applications"].as_array().unwrap();
    assert!(
        apps.iter().any(|one| one["app"] == APP && one["channels"][0]["channel"] == "aes-ctr"),
        "{apps:#?}"
    );
    assert_eq!(
        (&report["policy"]["minimum"], &report["policy"]["target"]),
        (&"aes-ctr".into(), &"aes-gcm".into())
    );
    let settings = report["settings"].as_array().unwrap();
    let origin = settings.iter().find(|one| one["key"] == "spark.sealed.security.target").unwrap();
    assert!(origin["origin"].as_str().unwrap().contains("properties"), "{origin}");
    let keys = &report["keys"];
    assert_eq!(
        (&keys["of"]["provider"], &keys["wrapping"]["keys"][0]["wraps"]),
        (&"local-file".into(), &true.into())
    );
    assert!(keys["wrapping"]["keys"][0]["age_seconds"].as_i64().is_some_and(|age| (0..600).contains(&age)));
    assert!(keys["of"]["service"].as_str().unwrap().starts_with("local file "), "{keys:#}");
    let needed = keys["needed"].as_array().unwrap();
    for by in ["the recovery store", "the audit trail"] {
        assert!(needed.iter().any(|one| one["by"] == by), "{needed:#?}");
    }
    assert!(report["at_rest"]["merged"].as_str().unwrap().starts_with("sealed"));
    assert_eq!(
        (&report["audit"]["trail"]["standing"], &report["audit"]["of"]["lost"]),
        (&"whole".into(), &0.into())
    );
    assert_eq!(report["confinement"].as_array().unwrap().len(), 3);
    assert_eq!(report["scan"]["total"]["readable"]["files"], 1, "{:#}", report["scan"]);

    assert!(!text.contains(SECRET) && !page.contains(SECRET), "no secret is in it");
    assert!(!page.contains("<script") && !page.contains("<b>cluster"), "{page}");
    for part in [
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "<strong class=\"good\">whole</strong>",
        "1 files are readable without a key",
        "1 of 2 applications that run would be refused at the target aes-gcm",
        "spark.sealed.security.target",
        "default-src 'none'",
    ] {
        assert!(page.contains(part), "{part:?} is not in\n{page}");
    }

    // Who may not change anything does not get it, and nothing is asked of a server that is not there.
    let mut over_tcp = sealed_shuffle();
    over_tcp.args(["report", "--json", "-", "--admin", &serving.admin]);
    over_tcp.arg("--properties-file").arg(node.at("properties"));
    assert_eq!(over_tcp.output().unwrap().status.code(), Some(77));
    assert_eq!(node.tell(&["report"]).status.code(), Some(2), "it wants a file");
    drop(serving);
    assert_eq!(node.tell(&["report", "--json", "-"]).status.code(), Some(69));
}
