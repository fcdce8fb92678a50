//! A cluster leaves nothing on the machine, however its test ends.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use sealed_shuffle_interop_tests::{
    kubernetes::{Cluster, commands},
    machine::{Process, Turn},
};

use crate::shared::NEWEST;

const LIMIT: Duration = Duration::from_secs(300);
/// Set for the process that is killed.
const VICTIM: &str = "SEALED_SHUFFLE_KUBERNETES_VICTIM";
/// Said by it in the midst of what it does.
const IN_THE_MIDST: &str = "a pod runs";

/// All that a cluster has of the machine: mounts, control groups, network devices, directories; and settings that it would change.
fn machine() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("it is readable");
    all.extend(mounts.lines().map(|line| format!("mount {line}")));
    let own = format!("-{}", std::process::id());
    let mut groups = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = groups.pop() {
        let inside = fs::read_dir(&dir).into_iter().flatten().flatten().map(|entry| entry.path());
        // Those of the cluster that other tests of this process share are none of this test's business.
        groups.extend(inside.filter(|path| path.is_dir() && !path.to_string_lossy().ends_with(&own)));
        all.insert(format!("control group {}", dir.display()));
    }
    for dir in [
        "/",
        "/etc",
        "/mnt",
        "/opt",
        "/run",
        "/var",
        "/var/lib",
        "/var/log",
        "/sys/class/net",
        "/usr/libexec",
    ] {
        let inside = fs::read_dir(dir).into_iter().flatten().flatten();
        all.extend(inside.map(|entry| entry.path().display().to_string()));
    }
    for setting in [
        "kernel/keys/root_maxbytes",
        "kernel/keys/root_maxkeys",
        "kernel/panic",
        "kernel/panic_on_oops",
        "net/ipv4/ip_forward",
        "net/netfilter/nf_conntrack_max",
        "vm/overcommit_memory",
        "vm/panic_on_oom",
    ] {
        let value = fs::read_to_string(Path::new("/proc/sys").join(setting)).unwrap_or_default();
        all.insert(format!("{setting} = {value}"));
    }
    all
}

fn assert_becomes(before: &BTreeSet<String>) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let now = machine();
        let (more, less): (Vec<_>, Vec<_>) =
            (now.difference(before).collect(), before.difference(&now).collect());
        if more.is_empty() && less.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "there is {more:#?} more, and {less:#?} less");
        thread::sleep(Duration::from_millis(200));
    }
}

#[test]
#[ignore = "make interop-kubernetes"]
fn nothing_is_left_of_a_cluster_whose_test_is_killed() {
    let before = machine();
    let mut victim = victim();
    victim.wait_for(LIMIT, |line| line.contains(IN_THE_MIDST).then_some(()));
    let dirs = |of: &str| -> Vec<PathBuf> {
        let all =
            fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten().map(|entry| entry.path());
        all.filter(|path| fs::read_to_string(path.join("victim")).is_ok_and(|id| id == of)).collect()
    };
    let id = victim.id().to_string();
    assert_eq!(dirs(&id).len(), 1, "the control: its directory is found");
    assert_ne!(machine(), before, "the control: a cluster can be seen");
    victim.signal(rustix::process::Signal::KILL);
    assert_becomes(&before);
    let deadline = Instant::now() + LIMIT;
    while !dirs(&id).is_empty() {
        assert!(Instant::now() < deadline, "its directory is left: {:?}", dirs(&id));
        thread::sleep(Duration::from_millis(200));
    }
}

/// Before the API server answers, for which the node waits.
#[test]
#[ignore = "make interop-kubernetes"]
fn nothing_is_left_of_a_cluster_whose_test_is_killed_at_its_start() {
    let before = machine();
    let victim = victim();
    let group = format!("/sys/fs/cgroup/memory/sealed-shuffle-test-1-{}", victim.id());
    let deadline = Instant::now() + LIMIT;
    while !Path::new(&group).exists() {
        assert!(Instant::now() < deadline, "the control: it begins");
        thread::sleep(Duration::from_millis(10));
    }
    victim.signal(rustix::process::Signal::KILL);
    assert_becomes(&before);
}

/// A test with a cluster of its own, which stays until it is killed.
fn victim() -> Process {
    let mut victim = Command::new(std::env::current_exe().expect("a test knows its own path"));
    victim.args(["--exact", "nothing_left::a_cluster_until_it_is_killed", "--ignored", "--nocapture"]);
    Process::start("the test that is killed", victim.env(VICTIM, "1"))
}

/// Does nothing unless a test above runs it.
#[test]
#[ignore = "run by another test"]
fn a_cluster_until_it_is_killed() {
    if std::env::var_os(VICTIM).is_none() {
        return;
    }
    let _turns = Turn::wait_for_all();
    let cluster = Cluster::start(&[NEWEST], true).unwrap_or_else(|reason| panic!("{reason}"));
    fs::write(cluster.directory().join("victim"), std::process::id().to_string()).expect("it is writable");
    cluster.shell(&commands("Install the DaemonSet"));
    println!("{IN_THE_MIDST}");
    thread::sleep(LIMIT);
    panic!("it was not killed");
}
