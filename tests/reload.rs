//! SIGHUP: policy and secrets are replaced while connections go on; `apps` shows who is concerned.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod running;
mod serving;

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::Output;
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use self::serving::{Serving, sealed_shuffle, serve};
use running::{APP, CTR, GCM, PATIENCE, Peer, eventually, register};

/// `serve` with a properties file that a test writes anew; killed on drop.
struct Served {
    serving: Serving,
    address: SocketAddr,
    dir: TempDir,
}

impl Served {
    fn start(properties: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("root")).unwrap();
        fs::create_dir(dir.path().join("secrets")).unwrap();
        write_properties(&dir, properties);
        let mut command = serve(dir.path());
        command.arg("--properties-file").arg(dir.path().join("properties"));
        let serving = Serving::start(command, &dir.path().join("log"));
        Self { address: serving.address, serving, dir }
    }

    /// Rewrites the file, sends SIGHUP and waits for `result` to be counted.
    fn reload(&self, properties: &str, result: &str) {
        let sample = format!("sealed_shuffle_reloads_total{{reason=\"{result}\"}}");
        let before = self.metric(&sample);
        write_properties(&self.dir, properties);
        self.serving.signal(Signal::HUP);
        eventually("it has read the file", || self.metric(&sample) == before + 1);
    }

    fn metric(&self, sample: &str) -> u64 {
        let mut socket = std::net::TcpStream::connect(&self.serving.admin).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        std::io::Write::write_all(
            &mut socket,
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
        let mut page = String::new();
        socket.read_to_string(&mut page).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    fn log(&self) -> String {
        self.serving.log()
    }

    fn secret(&self, name: &str, text: &str, mode: u32) {
        let new = self.dir.path().join("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
        fs::rename(new, self.secret_file(name)).unwrap();
    }

    fn secret_file(&self, name: &str) -> PathBuf {
        self.dir.path().join("secrets").join(name)
    }

    fn apps(&self, more: &[&str]) -> Output {
        sealed_shuffle().args(["apps", "--admin", &self.serving.admin]).args(more).output().unwrap()
    }
}

/// Writes `properties`, in which `DIR` stands for the test's directory.
fn write_properties(dir: &TempDir, properties: &str) {
    let text = format!("spark.local.dir DIR/root\n{properties}");
    let text = text.replace("DIR", dir.path().to_str().unwrap());
    fs::write(dir.path().join("properties"), text).unwrap();
}

const SHARED: &str = "spark.authenticate.secret one\n";
const OF_EACH: &str = "spark.sealed.auth.secret-dir DIR/secrets\nspark.sealed.auth.secret-wait 5s\n";

fn asks(peer: &mut Peer, served: &Served) -> Result<(), String> {
    let dir = served.dir.path().join("root/blockmgr-1");
    fs::create_dir_all(&dir).unwrap();
    peer.rpc(&register(&[dir.to_str().unwrap()])).map(drop)
}

fn connect(
    served: &Served,
    secret: &str,
    mode: sealed_shuffle_protocol::cipher::SessionMode,
) -> Result<Peer, String> {
    let mut peer = Peer::connect(served.address);
    peer.handshake(APP, secret, mode).map(|()| peer)
}

#[test]
fn a_raised_minimum_refuses_new_connections_and_leaves_running_ones() {
    let served = Served::start(SHARED);
    let mut running = connect(&served, "one", CTR).unwrap();
    asks(&mut running, &served).unwrap();
    served.reload(&format!("{SHARED}spark.sealed.security.minimum aes-gcm\n"), "replaced");
    asks(&mut running, &served).unwrap();
    let refused = asks(&mut connect(&served, "one", CTR).unwrap(), &served).unwrap_err();
    for word in ["aes-ctr", "aes-gcm", "spark.network.crypto.cipher=AES/GCM/NoPadding"] {
        assert!(refused.contains(word), "{word} is not in {refused}");
    }
    asks(&mut connect(&served, "one", GCM).unwrap(), &served).unwrap();
}

#[test]
fn a_bad_file_is_refused_and_the_old_one_stays() {
    let served = Served::start(SHARED);
    let bad = "spark.authenticate.secret two\nspark.sealed.security.minimum best\n";
    served.reload(bad, "refused");
    assert!(served.log().contains("the configuration stays as it was"), "{}", served.log());
    assert!(served.log().contains("not one of plaintext"), "{}", served.log());
    asks(&mut connect(&served, "one", CTR).unwrap(), &served).unwrap();
    assert!(connect(&served, "two", CTR).is_err());
}

#[test]
fn a_key_that_needs_a_restart_is_named() {
    let served = Served::start(SHARED);
    served.reload(&format!("{SHARED}spark.sealed.connections.max 7\n"), "replaced");
    assert!(served.log().contains("after a restart only: spark.sealed.connections.max"), "{}", served.log());
}

/// The process is confined by then (`spark.sealed.confinement.*`), which keeps it neither from reading nor from starting
/// programs.
#[test]
fn a_reload_may_name_new_files_and_a_program() {
    let served = Served::start(SHARED);
    let made = sealed_shuffle().args(["certs", "dev"]).arg(served.dir.path().join("tls")).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let tls = format!("{SHARED}spark.ssl.rpc.enabled true\n");
    let files = "spark.ssl.rpc.privateKey DIR/tls/key.pem\nspark.ssl.rpc.certChain DIR/tls/chain.pem\n";
    served.reload(&format!("{tls}{files}"), "replaced");
    let program = "spark.sealed.tls.command /bin/cat DIR/tls/key.pem DIR/tls/chain.pem\n";
    served.reload(&format!("{tls}{program}"), "replaced");
    asks(&mut connect(&served, "one", GCM).unwrap(), &served).unwrap();
    if !served.log().contains("confinement.seccomp: not in force") {
        assert!(served.log().contains("spark.sealed.tls.command names a program, which runs confined"));
    }
}

#[test]
fn two_shared_secrets_are_valid_during_a_rotation() {
    let served = Served::start(SHARED);
    served.secret("current", "new", 0o600);
    served.secret("previous", "old", 0o600);
    let keys = "spark.sealed.auth.secret-file DIR/secrets/current\n\
                spark.sealed.auth.previous-secret-file DIR/secrets/previous\n";
    served.reload(keys, "replaced");
    asks(&mut connect(&served, "new", GCM).unwrap(), &served).unwrap();
    asks(&mut connect(&served, "old", GCM).unwrap(), &served).unwrap();
    assert_eq!(served.metric("sealed_shuffle_secrets_total{secret=\"current\"}"), 1);
    assert_eq!(served.metric("sealed_shuffle_secrets_total{secret=\"previous\"}"), 1);
}

/// As the kubelet does it: a new directory, to which the link `..data` is then led, in one step.
fn mount(served: &Served, version: &str, files: &[(&str, &str)]) {
    let mounted = served.dir.path().join("secrets");
    let new = mounted.join(format!("..{version}"));
    fs::create_dir(&new).unwrap();
    for (name, content) in files {
        fs::write(new.join(name), content).unwrap();
        fs::set_permissions(new.join(name), fs::Permissions::from_mode(0o400)).unwrap();
        let link = mounted.join(name);
        if !link.is_symlink() {
            symlink(format!("..data/{name}"), link).unwrap();
        }
    }
    symlink(format!("..{version}"), mounted.join("..data_tmp")).unwrap();
    fs::rename(mounted.join("..data_tmp"), mounted.join("..data")).unwrap();
}

#[test]
fn a_mounted_secret_that_kubernetes_replaces_is_taken_up() {
    let served = Served::start(SHARED);
    // Bytes, of which Spark's secret is the Base64 text.
    let keys = "spark.authenticate.secret.file DIR/secrets/bytes\n";
    mount(&served, "1", &[("bytes", "one")]);
    served.reload(keys, "replaced");
    asks(&mut connect(&served, "b25l", GCM).unwrap(), &served).unwrap();
    mount(&served, "2", &[("bytes", "two")]);
    served.reload(keys, "replaced");
    asks(&mut connect(&served, "dHdv", GCM).unwrap(), &served).unwrap();
    assert!(connect(&served, "b25l", GCM).is_err());
    // A directory needs no signal.
    mount(&served, "3", &[("bytes", "three"), (APP, "own")]);
    served.reload(OF_EACH, "replaced");
    asks(&mut connect(&served, "own", GCM).unwrap(), &served).unwrap();
    mount(&served, "4", &[("bytes", "four"), (APP, "next")]);
    asks(&mut connect(&served, "next", GCM).unwrap(), &served).unwrap();
}

#[test]
fn an_application_proves_its_own_secret_and_no_other() {
    let served = Served::start(OF_EACH);
    served.secret(APP, "mine", 0o600);
    served.secret("app-2", "theirs", 0o600);
    assert!(connect(&served, "theirs", GCM).is_err());
    asks(&mut connect(&served, "mine", GCM).unwrap(), &served).unwrap();
}

#[test]
fn a_secret_that_comes_after_the_connection_is_waited_for() {
    let served = Served::start(OF_EACH);
    std::thread::scope(|scope| {
        let handshake = scope.spawn(|| connect(&served, "late", GCM));
        eventually("it is connected", || served.metric("sealed_shuffle_connections") == 1);
        served.secret(APP, "late", 0o600);
        assert!(handshake.join().unwrap().is_ok());
    });
}

#[test]
fn a_removed_secret_ends_the_connections_of_its_application() {
    let served = Served::start(OF_EACH);
    served.secret(APP, "mine", 0o600);
    let mut peer = connect(&served, "mine", GCM).unwrap();
    asks(&mut peer, &served).unwrap();
    fs::remove_file(served.secret_file(APP)).unwrap();
    let began = Instant::now();
    peer.wait_closed();
    assert!(began.elapsed() < PATIENCE);
    eventually("it is said", || served.log().contains("the secret of an application was removed"));
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let served = Served::start(OF_EACH);
    served.secret(APP, "mine", 0o644);
    assert!(connect(&served, "mine", GCM).is_err());
    eventually("it is said", || served.log().contains("chmod 600"));
}

#[test]
fn apps_shows_who_would_be_refused() {
    let served = Served::start(SHARED);
    let mut peer = connect(&served, "one", CTR).unwrap();
    asks(&mut peer, &served).unwrap();
    let output = served.apps(&["--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = &json["applications"][0];
    assert_eq!(
        (&row["app"], &row["executors"], &row["below_target"]),
        (&APP.into(), &1.into(), &true.into())
    );
    assert_eq!(row["channels"][0]["channel"], "aes-ctr");
    let table = String::from_utf8(served.apps(&[]).stdout).unwrap();
    assert!(table.contains("would be refused at aes-gcm; set spark.network.crypto.cipher="), "{table}");
    let table = String::from_utf8(served.apps(&["--target", "aes-ctr"]).stdout).unwrap();
    assert!(
        table.contains("0 of 1 applications that run would be refused at aes-ctr, 0 of 1 in the table"),
        "{table}"
    );
}

#[test]
fn apps_says_what_to_do_when_nobody_answers() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = sealed_shuffle().args(["apps", "--admin", &closed]).output().unwrap();
    assert_eq!(output.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--admin"), "{output:?}");
    let output = sealed_shuffle().args(["apps"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
}

/// A directory as the kubelet makes it: files are links into a directory of one version, to which `..data` leads.
struct MountedSecret(PathBuf);

impl MountedSecret {
    fn new(dir: PathBuf, secret: &str) -> Self {
        fs::create_dir(&dir).unwrap();
        symlink("..data/secret", dir.join("secret")).unwrap();
        let mounted = Self(dir);
        mounted.change("..1", secret);
        mounted
    }

    /// All of it at once.
    fn change(&self, version: &str, secret: &str) {
        let (dir, file) = (self.0.join(version), self.0.join(version).join("secret"));
        fs::create_dir(&dir).unwrap();
        fs::write(&file, secret).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
        symlink(version, self.0.join("..data_tmp")).unwrap();
        fs::rename(self.0.join("..data_tmp"), self.0.join("..data")).unwrap();
    }
}

const LOOKED_AT: &str = "the files of the configuration are looked at";

/// The control is a server that looks every half a minute, since its secret is mounted, and one that never does.
#[test]
fn a_secret_that_is_mounted_anew_is_taken_up_without_a_signal() {
    let serve = |keys: &str, place: &str| {
        let dir = tempfile::tempdir().unwrap();
        let mounted = MountedSecret::new(dir.path().join("mounted"), "the first secret of all");
        let file = match place {
            "mounted" => mounted.0.join("secret"),
            _ => mounted.0.join("..1/secret"),
        };
        let keys = format!("{keys}spark.sealed.auth.secret-file {}\n", file.display());
        (Served::start(&keys), mounted, dir)
    };
    let (often, mounted, _often) = serve("spark.sealed.reload.interval 20ms\n", "mounted");
    let (seldom, of_seldom, _seldom) = serve("", "mounted");
    let (never, _of_never, _never) = serve("", "elsewhere");
    drop(connect(&often, "the first secret of all", GCM).unwrap());
    mounted.change("..2", "another one, made later");
    of_seldom.change("..2", "another one, made later");
    let replaced = "sealed_shuffle_reloads_total{reason=\"replaced\"}";
    eventually("it has seen that", || often.metric(replaced) == 1);
    connect(&often, "another one, made later", GCM).unwrap();
    connect(&often, "the first secret of all", GCM).map(drop).unwrap_err();
    assert!(often.log().contains("a file has changed: reading the configuration again"), "{}", often.log());
    assert!(seldom.log().contains(LOOKED_AT) && seldom.log().contains("30s"), "{}", seldom.log());
    connect(&seldom, "the first secret of all", GCM).unwrap();
    assert!(!never.log().contains(LOOKED_AT), "{}", never.log());

    // What has a fault changes nothing, and is read once.
    let refused = "sealed_shuffle_reloads_total{reason=\"refused\"}";
    write_properties(&often.dir, "spark.sealed.security.minimum nonsense\n");
    eventually("it has seen the fault", || often.metric(refused) == 1);
    connect(&often, "another one, made later", GCM).unwrap();
    assert_eq!(often.metric(refused), 1, "{}", often.log());
}
