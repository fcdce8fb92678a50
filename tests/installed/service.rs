//! The unit under a systemd that is the first process of its machine. `make systemd` does not let a machine skip them.

use std::process::Command;

use super::machine::{Machine, SECRET, State, typed};
use super::outcome::{code, stderr, stdout};
use super::running::{APP, GCM, Peer, eventually, register};
use super::text;

/// Which score the documents name; `systemd-analyze security` gives a unit that is loaded a better one than a file.
const MOST_EXPOSED: f32 = 2.0;

/// Asked for at first, since what follows would be told of a service that is away.
#[track_caller]
fn started(machine: &Machine) -> State {
    let output = machine.systemctl("start");
    let state = machine.state();
    assert!(
        code(&output) == 0 && state.active == "active",
        "{state:?}: {}\n{}",
        stderr(&output),
        machine.log()
    );
    state
}

#[test]
fn it_is_active_when_it_listens_and_starts_again_after_a_kill() {
    let Some(machine) = Machine::with_the_service("") else { return };
    let before = started(&machine);
    assert_eq!((before.restarts, before.result.as_str()), (0, "success"));
    // systemd waited for the word of the server: the port takes connections now.
    drop(machine.connect(7337));
    machine.done(&format!("kill -KILL {}", before.main));
    // One look for both: until systemd has seen the kill it still shows what was.
    eventually("it runs again", || {
        let now = machine.state();
        now.active == "active" && now.main != before.main
    });
    assert_eq!(machine.state().restarts, 1);
    drop(machine.connect(7337));
}

/// The control: one that says nothing does not become active.
#[test]
fn a_service_that_says_nothing_is_not_active() {
    let Some(machine) = Machine::with_the_service("") else { return };
    machine.drop_in("[Service]\nExecStart=\nExecStart=/bin/sleep 1000\nTimeoutStartSec=300ms\nRestart=no\n");
    assert_ne!(code(&machine.systemctl("start")), 0);
    let state = machine.state();
    assert_eq!((state.active.as_str(), state.result.as_str()), ("failed", "timeout"));
}

#[test]
fn a_reload_keeps_the_process_and_a_configuration_with_a_fault_changes_nothing() {
    let Some(machine) = Machine::with_the_service("") else { return };
    let before = started(&machine);
    let status = || machine.done("sealed-shuffle status --socket /var/lib/sealed-shuffle/admin.sock");
    assert!(!status().contains("aes-gcm or better"), "{}", status());
    machine.properties("spark.sealed.security.minimum aes-gcm");
    assert_eq!(code(&machine.systemctl("reload")), 0);
    eventually("it is in force", || machine.log().contains("as they were read policy=aes-gcm or better"));
    machine.properties("spark.sealed.security.minimum nonsense");
    assert_ne!(code(&machine.systemctl("reload")), 0, "nobody hears of the fault");
    eventually("the fault is told", || {
        machine
            .log()
            .contains("the configuration stays as it was: wrong configuration: spark.sealed.security.minimum")
    });
    eventually("systemd knows that the reload is over", || machine.state().active == "active");
    assert_eq!(machine.state(), before);
    // A start needs a sound one, and is not tried again without.
    machine.done(&format!("kill -KILL {}", before.main));
    eventually("it has failed", || machine.state().active == "failed");
    let state = machine.state();
    assert_eq!((state.result.as_str(), state.restarts), ("exit-code", 1), "{}", machine.log());
}

/// Line by line, but for where the program is.
#[test]
fn it_is_checked_begun_and_reloaded_as_the_book_says() {
    let Some(machine) = Machine::with_the_service("") else { return };
    let commands =
        typed("or where `SPARK_CONF_DIR` in that file says.").replace("/usr/bin", "/usr/local/bin");
    assert!(commands.contains("systemd-run") && commands.contains("systemctl reload"), "{commands}");
    let said = machine.done(&commands);
    assert!(said.contains(" local directory: /data") && said.contains("0 faults"), "{said}");
    assert_eq!(machine.state().active, "active");
    eventually("it has read its configuration again", || {
        machine.log().contains("in force as they were read")
    });
    assert_eq!(machine.done("systemctl is-enabled sealed-shuffle").trim(), "enabled");
}

/// More starts than systemd's own limit takes (5 within 10 seconds), at a rate that reaches it.
const OFTEN: &str = "[Service]\nRestartSec=100ms\n";
const STARTS: u32 = 8;

#[test]
fn it_is_started_for_as_long_as_its_directories_are_away() {
    let Some(machine) = Machine::with_the_service("") else { return };
    // The server ends with 75 then.
    machine.done("rmdir /data");
    machine.drop_in(OFTEN);
    assert_ne!(code(&machine.systemctl("start")), 0);
    eventually("more starts than systemd allows by itself", || machine.state().restarts >= STARTS);
    assert_ne!(machine.state().active, "failed");
    machine.done("mkdir /data && chown spark /data");
    eventually("it runs", || machine.state().active == "active");
}

/// The control: with the limit of other units it stays down. Their interval is 10 s, which eight starts of a slow machine
/// take longer than.
#[test]
fn a_unit_with_systemds_own_limit_stays_down() {
    let Some(machine) = Machine::with_the_service("") else { return };
    machine.done("rmdir /data");
    machine.drop_in(&format!("[Unit]\nStartLimitIntervalSec=10min\nStartLimitBurst=5\n{OFTEN}"));
    assert_ne!(code(&machine.systemctl("start")), 0);
    eventually("it has failed", || machine.state().active == "failed");
    machine.done("mkdir /data && chown spark /data");
    assert_eq!(machine.state().active, "failed");
    assert!(machine.state().restarts < STARTS, "{:?}", machine.state());
}

/// A key service made of shell, which answers while a file is there. It runs as the service does, and is confined with it.
const KEEPER: &str = r#"
    [ -e /data/open ] || { echo "cannot connect to keys.example:443" >&2; exit 75; }
    read -r line
    member() { printf %s "$line" | sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }
    case $1 in
        wrap) printf '{"key_id":"shelf","ciphertext":"%s"}\n' "$(member plaintext)" ;;
        unwrap) printf '{"plaintext":"%s"}\n' "$(member ciphertext)" ;;
    esac
"#;

#[test]
fn it_starts_and_stays_while_a_key_service_is_away() {
    let keys = "spark.sealed.keys.provider command\nspark.sealed.keys.command /bin/sh /etc/keeper";
    let Some(machine) = Machine::with_the_service(keys) else { return };
    machine.write("/etc/keeper", KEEPER.as_bytes());
    machine.done("touch /data/open");
    started(&machine);
    let waits = || {
        machine
            .done("curl -sf http://127.0.0.1:7338/metrics")
            .contains("\nsealed_shuffle_state_waits_for_key 1\n")
    };
    eventually("its store is open", || !waits());
    machine.done("systemctl stop sealed-shuffle && rm /data/open");
    let state = started(&machine);
    assert!(waits());
    machine.done("touch /data/open");
    eventually("its store is open again", || !waits());
    assert_eq!(machine.state(), state, "nothing was started again for that");
}

#[test]
fn a_stop_lets_what_is_being_fetched_finish() {
    const LEN: u64 = 64 << 20;
    let Some(machine) = Machine::with_the_service("") else { return };
    machine.done(&format!(
        "mkdir -p /data/b/0c /data/b/30 && truncate -s {LEN} /data/b/0c/shuffle_0_0_0.data && \
         printf '\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\004\\0\\0\\0' >/data/b/30/shuffle_0_0_0.index && chown -R spark /data/b"
    ));
    started(&machine);
    let mut peer = Peer::on(machine.connect(7337));
    peer.handshake(APP, SECRET, GCM).unwrap();
    peer.rpc(&register(&["/data/b"])).unwrap();
    let stream = peer.open(0, &[0]).unwrap().stream;
    peer.ask_for_chunk(stream, 0);
    assert!(peer.read_some() > 0);
    machine.done("systemctl stop --no-block sealed-shuffle");
    eventually("it drains", || machine.log().contains("draining: no new connections"));
    // More than all buffers between take is still to come.
    assert_eq!(machine.state().active, "deactivating");
    assert_eq!(peer.asked_chunk().unwrap().len() as u64, LEN);
    eventually("it has ended", || machine.state().active == "inactive");
    let ended = machine.state();
    assert_eq!((ended.result.as_str(), ended.restarts), ("success", 0), "{}", machine.log());
}

#[test]
fn what_the_unit_closes_is_closed() {
    let Some(machine) = Machine::with_the_service("") else { return };
    let main = started(&machine).main;
    let status = machine.done(&format!("cat /proc/{main}/status"));
    for line in ["CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let uid = machine.done("id -u spark");
    assert!(status.contains(&format!("Uid:\t{}\t", uid.trim())), "{status}");
    // Root, which may write everywhere, in the mounts of the service.
    let touched =
        |place: &str| code(&machine.run(&["nsenter", "--target", &main, "--mount", "touch", place]));
    for place in ["/usr/x", "/etc/x", "/boot/x", "/home/x", "/sys/fs/cgroup/x"] {
        assert_ne!(touched(place), 0, "{place}");
    }
    for place in ["/data/x", "/var/lib/sealed-shuffle/x"] {
        assert_eq!(touched(place), 0, "{place}");
    }
    let said = machine.done("systemd-analyze security sealed-shuffle.service --no-pager");
    let (_, score) = said.split_once("exposure level for sealed-shuffle.service: ").unwrap();
    let score: f32 = score.split(' ').next().unwrap().parse().unwrap();
    eprintln!("systemd-analyze security: the service that runs has {score}");
    assert!(score <= MOST_EXPOSED, "{said}");
    assert!(text("docs/install.md").contains(&format!("gives it {MOST_EXPOSED:.1}")));
}

/// `SEALED_SHUFFLE_DEB` names the package. Installed on the machine as it is, with its scripts.
#[test]
fn the_package_installs_runs_upgrades_and_goes() {
    let Some(deb) = std::env::var_os("SEALED_SHUFFLE_DEB").filter(|deb| !deb.is_empty()) else {
        eprintln!("not tested: SEALED_SHUFFLE_DEB names no package");
        return;
    };
    if Command::new("dpkg").arg("--version").output().is_err() {
        eprintln!("not tested: this machine has no dpkg");
        return;
    }
    let Some(machine) = Machine::bare() else { return };
    machine.write("/tmp/package.deb", &std::fs::read(deb).unwrap());
    machine.done("dpkg -i /tmp/package.deb");
    let listed = machine
        .done("dpkg -L sealed-shuffle | while read -r path; do [ -d \"$path\" ] || echo \"$path\"; done");
    assert!(listed.lines().count() > 20, "{listed}");
    assert_eq!(machine.done("stat -c '%a %G' /etc/sealed-shuffle/spark-defaults.conf").trim(), "640 spark");
    assert_eq!(machine.state().active, "inactive", "a package starts nothing");
    machine.configure("");
    machine.done("systemctl enable --now sealed-shuffle");
    let before = machine.state();
    assert_eq!(before.active, "active");
    machine.done("dpkg -i /tmp/package.deb");
    assert_eq!(machine.state(), before, "an upgrade restarts nothing");
    machine.done("dpkg --purge sealed-shuffle");
    assert_eq!(machine.state().active, "inactive");
    let there = |paths: &str| stdout(&machine.run(&["sh", "-c", &format!("ls -d {paths} 2>/dev/null")]));
    assert_eq!(there(&listed.replace('\n', " ")), "");
    assert_eq!(there("/etc/systemd/system/*.wants/sealed-shuffle*"), "");
    // Without the key what was merged could not be opened; executors may be of the user.
    assert_eq!(there("/var/lib/sealed-shuffle/keys").trim(), "/var/lib/sealed-shuffle/keys");
    machine.done("getent passwd spark");
}
