//! The command line as a contract: exit codes, what goes to which stream, JSON.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod outcome;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use sealed_shuffle::internals::disk::layout::Placement;
use sealed_shuffle_transport::lane::OnLane;
use serde_json::Value;
use tempfile::TempDir;

use self::outcome::{code, stderr, stdout};

const SECRET: &str = "a secret of the command line's tests";

/// The binary with nothing of this process's environment but the secret.
fn sealed_shuffle(secret: Option<&str>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealed-shuffle"));
    command.env_clear().stdin(Stdio::null());
    if let Some(secret) = secret {
        command.env("_SPARK_AUTH_SECRET", secret);
    }
    command
}

/// `serve` with one executor's files; killed on drop.
struct Served {
    process: Child,
    server: String,
    root: TempDir,
}

impl Served {
    fn start(bind: &str) -> Self {
        Self::start_with(bind, |_| {})
    }

    fn start_with(bind: &str, change: impl FnOnce(&mut Command)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let data: &[u8] = b"AAAACCCCCD";
        write(root.path(), "shuffle_0_3_0.data", data);
        let offsets: Vec<u8> = [0_u64, 4, 4, 9, 10].iter().flat_map(|offset| offset.to_be_bytes()).collect();
        write(root.path(), "shuffle_0_3_0.index", &offsets);
        let mut command = sealed_shuffle(Some(SECRET));
        command
            .args(["serve", "--bind", bind, "--port", "0", "--conf"])
            .arg(format!("spark.local.dir={}", root.path().display()))
            .env("STATE_DIRECTORY", root.path().join("state"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        change(&mut command);
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let server =
            line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Self { process, server, root }
    }

    fn registered() -> Self {
        let served = Self::start("127.0.0.1");
        let output = served.register(&[]);
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        served
    }

    fn register(&self, more: &[&str]) -> Output {
        let dir = blockmgr(self.root.path());
        sealed_shuffle(Some(SECRET))
            .args(["register", "--server", &self.server, "--app-id", "app-1", "--executor-id", "1"])
            .arg("--local-dir")
            .arg(dir)
            .args(more)
            .output()
            .unwrap()
    }

    fn fetch(&self, secret: &str, rest: &[&str]) -> Output {
        fetch(Some(secret), &self.server, rest)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn fetch(secret: Option<&str>, server: &str, rest: &[&str]) -> Output {
    sealed_shuffle(secret)
        .args(["fetch", "--server", server, "--app-id", "app-1", "--executor-id", "1"])
        .args(["--conf", "spark.shuffle.io.maxRetries=0"])
        .args(rest)
        .output()
        .unwrap()
}

fn blockmgr(root: &Path) -> PathBuf {
    root.join("blockmgr-1")
}

fn write(root: &Path, name: &str, content: &[u8]) {
    let dir = blockmgr(root).join(Placement::of(name, 1, 64).unwrap().sub_dir());
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join(name), content).unwrap();
}

#[test]
fn root_that_is_away_keeps_serve_from_starting_only_if_no_other_one_can_be_used() {
    let there = tempfile::tempdir().unwrap();
    let (away, file) = (there.path().join("away"), there.path().join("file"));
    std::fs::write(&file, "").unwrap();
    let dirs = |paths: &[&Path]| {
        let paths: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
        paths.join(",")
    };
    Served::start_with("127.0.0.1", |command| {
        command.env("SPARK_LOCAL_DIRS", dirs(&[&away, there.path()]));
    });
    // 75: it may come, and a service manager tries again. 78: a file stays one.
    for (root, expected) in [(&away, 75), (&file, 78)] {
        let mut command = sealed_shuffle(Some(SECRET));
        command.args(["serve", "--bind", "127.0.0.1", "--port", "0"]);
        command.env("SPARK_LOCAL_DIRS", root).env("STATE_DIRECTORY", there.path().join("state"));
        let output = command.output().unwrap();
        assert_eq!(code(&output), expected, "{}", stderr(&output));
        assert!(stderr(&output).contains(root.to_str().unwrap()), "{}", stderr(&output));
    }
}

#[test]
fn register_says_what_it_did_on_standard_output() {
    let served = Served::start("127.0.0.1");
    let output = served.register(&[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let text = stdout(&output);
    assert!(text.starts_with("registered executor 1 of app-1 at 127.0.0.1:"), "{text}");
    let json: Value = serde_json::from_str(&stdout(&served.register(&["--json"]))).unwrap();
    assert_eq!(json["executor"], "1");
}

#[test]
fn fetch_prints_a_line_for_each_block_and_nothing_else_on_standard_output() {
    let served = Served::registered();
    let output =
        served.fetch(SECRET, &["shuffle_0_3_0", "shuffle_0_3_1", "shuffle_0_3_2", "shuffle_0_3_0_4"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let crc = |bytes: &[u8]| format!("crc32c:{:08x}", crc32c::crc32c(bytes));
    let mut lines: Vec<_> = stdout(&output).lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            format!("shuffle_0_3_0 4 {}", crc(b"AAAA")),
            format!("shuffle_0_3_0_4 10 {}", crc(b"AAAACCCCCD")),
            format!("shuffle_0_3_1 0 {}", crc(b"")),
            format!("shuffle_0_3_2 5 {}", crc(b"CCCCC")),
        ]
    );
    assert!(stderr(&output).contains("fetched 4 of 4 blocks"), "{}", stderr(&output));
}

#[test]
fn fetch_writes_files_and_names_them() {
    let served = Served::registered();
    let out = served.root.path().join("out/deep");
    let output =
        served.fetch(SECRET, &["--out", out.to_str().unwrap(), "--json", "shuffle_0_3_0_4", "shuffle_0_3_3"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    assert_eq!(std::fs::read(out.join("shuffle_0_3_0_4")).unwrap(), b"AAAACCCCCD");
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(json["bytes"], 11);
    let files: Vec<_> =
        json["blocks"].as_array().unwrap().iter().map(|block| block["file"].as_str().unwrap()).collect();
    assert!(files.contains(&out.join("shuffle_0_3_3").to_str().unwrap()));
}

#[test]
fn a_missing_block_exits_66_and_the_others_are_fetched() {
    let served = Served::registered();
    let output = served.fetch(SECRET, &["shuffle_0_9_0", "shuffle_0_3_0"]);
    assert_eq!(code(&output), 66, "{}", stderr(&output));
    assert!(stdout(&output).starts_with("shuffle_0_3_0 4 "), "{}", stdout(&output));
    assert!(stderr(&output).contains("shuffle_0_9_0"));
    let output = served.fetch(SECRET, &["--json", "shuffle_0_9_0"]);
    assert_eq!(code(&output), 66);
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(
        (&json["failed"][0]["block"], &json["failed"][0]["kind"]),
        (&"shuffle_0_9_0".into(), &"missing".into())
    );
}

#[test]
fn a_wrong_secret_exits_77() {
    let served = Served::registered();
    let output = served.fetch("another secret", &["shuffle_0_3_0"]);
    assert_eq!(code(&output), 77, "{}", stderr(&output));
    assert!(stdout(&output).is_empty());
    assert!(stderr(&output).contains("spark.authenticate.secret"));
    assert!(!stderr(&output).contains("another secret"), "no secret is printed");
}

#[test]
fn nobody_listening_exits_69() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let output = fetch(Some(SECRET), &free, &["rdd_0_0"]);
    assert_eq!(code(&output), 69, "{}", stderr(&output));
}

#[test]
fn bytes_that_are_no_frames_exit_65() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap().to_string();
    let answer = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        socket
    });
    let output = fetch(None, &server, &["--conf", "spark.authenticate=false", "rdd_0_0"]);
    assert_eq!(code(&output), 65, "{}", stderr(&output));
    drop(answer.join().unwrap());
}

#[test]
fn a_server_that_merges_refuses_to_start_without_its_keys() {
    let (root, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let keys = state.path().join("keys");
    std::fs::write(&keys, "not for everybody").unwrap();
    std::fs::set_permissions(&keys, std::fs::Permissions::from_mode(0o644)).unwrap();
    let output = sealed_shuffle(Some(SECRET))
        .args(["serve", "--port", "0"])
        .args(["--conf", &format!("spark.local.dir={}", root.path().display())])
        .args(["--conf", &format!("spark.sealed.state.dir={}", state.path().display())])
        .args(["--conf", "spark.shuffle.push.server.mergedShuffleFileManagerImpl=RemoteBlockPushResolver"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 78);
    let said = stderr(&output);
    assert!(said.contains("chmod 600") && said.contains(keys.to_str().unwrap()), "{said}");
    assert_eq!(stdout(&output), "", "no port is bound");
}

#[test]
fn wrong_configuration_exits_78_and_names_the_key() {
    let output = fetch(None, "h:1", &["rdd_0_0"]);
    assert_eq!(code(&output), 78);
    assert!(stderr(&output).contains("spark.authenticate.secret"));
    let output = fetch(Some(SECRET), "h:1", &["--conf", "spark.shuffle.io.retryWait=soon", "rdd_0_0"]);
    assert_eq!(code(&output), 78);
    assert!(stderr(&output).contains("spark.shuffle.io.retryWait"));
}

#[test]
fn wrong_usage_exits_2() {
    for (server, rest) in [
        ("h:1", &[][..]),
        ("h:1", &["nonsense"]),
        ("h:1", &["rdd_0_0", "rdd_0_0"]),
        ("::1:7337", &["rdd_0_0"]),
        ("h:1", &["--out", "/tmp", "test_/../../x"]),
    ] {
        let output = fetch(Some(SECRET), server, rest);
        assert_eq!(code(&output), 2, "{server} {rest:?}: {}", stderr(&output));
        assert!(stdout(&output).is_empty());
    }
}

#[test]
fn addresses_of_ipv6_are_written_in_brackets() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6");
        return;
    }
    let served = Served::start("::1");
    assert!(served.server.starts_with("[::1]:"), "{}", served.server);
    let output = served.register(&[]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
}

/// `certs dev` into `dir`.
fn certs(dir: &Path, more: &[&str]) -> Output {
    sealed_shuffle(None).args(["certs", "dev"]).arg(dir).args(more).output().unwrap()
}

const FILES: [(&str, u32); 9] = [
    ("ca.pem", 0o644),
    ("chain.pem", 0o644),
    ("key.pem", 0o600),
    ("keystore.p12", 0o600),
    ("truststore.p12", 0o644),
    ("keystore.jks", 0o600),
    ("truststore.jks", 0o644),
    ("bundle.zip", 0o600),
    ("spark-tls.conf", 0o600),
];

fn modes(dir: &Path) -> Vec<(String, u32)> {
    let mut found: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            (entry.file_name().into_string().unwrap(), mode)
        })
        .collect();
    found.sort();
    found
}

#[test]
fn certs_dev_writes_every_format_and_closes_what_is_secret() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap().join("made/deep");
    let output = certs(&dir, &["--host", "node-1.example"]);
    assert_eq!(code(&output), 0, "{}", stderr(&output));
    let mut expected = FILES.map(|(name, mode)| (name.to_owned(), mode)).to_vec();
    expected.sort();
    assert_eq!(modes(&dir), expected);
    let named: Vec<_> = stdout(&output).lines().map(str::to_owned).collect();
    assert_eq!(named, FILES.map(|(name, _)| dir.join(name).display().to_string()));
    for word in ["localhost", "127.0.0.1", "node-1.example", "30 days", "spark-tls.conf"] {
        assert!(stderr(&output).contains(word), "{word}: {}", stderr(&output));
    }
}

#[test]
fn certs_dev_replaces_nothing_unless_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    // Readable by all, as somebody else may have left it.
    std::fs::write(dir.path().join("key.pem"), "mine").unwrap();
    let output = certs(dir.path(), &[]);
    assert_eq!(code(&output), 1);
    assert!(stderr(&output).contains("key.pem is there already"), "{}", stderr(&output));
    assert!(stderr(&output).contains("--force"), "{}", stderr(&output));
    assert_eq!(modes(dir.path()).len(), 1, "nothing else was written either");
    assert_eq!(read("key.pem"), b"mine");

    assert_eq!(code(&certs(dir.path(), &["--force"])), 0);
    let first = read("key.pem");
    assert!(first.starts_with(b"-----BEGIN PRIVATE KEY-----"));
    assert_eq!(code(&certs(dir.path(), &[])), 1);
    assert_eq!(read("key.pem"), first);
    assert_eq!(code(&certs(dir.path(), &["--force"])), 0);
    assert_ne!(read("key.pem"), first);
    let mut expected = FILES.map(|(name, mode)| (name.to_owned(), mode)).to_vec();
    expected.sort();
    assert_eq!(modes(dir.path()), expected);
}

/// Server and client over what `certs dev` has made, in each of its formats.
#[test]
fn what_certs_dev_makes_serves_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    assert_eq!(code(&certs(&dir, &[])), 0);
    let at = |name: &str| dir.join(name).display().to_string();
    let conf = std::fs::read_to_string(dir.join("spark-tls.conf")).unwrap();
    let password = conf.lines().find_map(|line| line.strip_prefix("spark.ssl.rpc.keyStorePassword")).unwrap();
    let stores = |kind: &str| {
        [
            format!("spark.ssl.rpc.keyStore={}", at(&format!("keystore.{kind}"))),
            format!("spark.ssl.rpc.keyStorePassword={}", password.trim()),
            format!("spark.ssl.rpc.trustStore={}", at(&format!("truststore.{kind}"))),
            format!("spark.ssl.rpc.trustStorePassword={}", password.trim()),
        ]
        .to_vec()
    };
    let pem = vec![
        format!("spark.ssl.rpc.privateKey={}", at("key.pem")),
        format!("spark.ssl.rpc.certChain={}", at("chain.pem")),
    ];
    let bundle = vec![format!("spark.sealed.tls.bundle={}", at("bundle.zip"))];
    // One server with the file that is pasted, clients with each format.
    let log = dir.join("log");
    let served = Served::start_with("127.0.0.1", |serve| {
        serve.arg("--properties-file").arg(dir.join("spark-tls.conf"));
        serve.args(["--conf", "spark.sealed.security.minimum=tls"]);
        serve.stderr(std::fs::File::create(&log).unwrap());
    });
    let flags = |settings: &[String]| -> Vec<String> {
        let enabled = ["spark.ssl.rpc.enabled=true".to_owned()];
        settings.iter().chain(&enabled).flat_map(|setting| ["--conf".to_owned(), setting.clone()]).collect()
    };
    for (n, settings) in [pem, bundle, stores("p12"), stores("jks")].into_iter().enumerate() {
        let flags = flags(&settings);
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        if n == 0 {
            let output = served.register(&flags);
            assert_eq!(code(&output), 0, "{}", stderr(&output));
        }
        let output = served.fetch(SECRET, &[&flags[..], &["shuffle_0_3_0"]].concat());
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        assert!(stdout(&output).starts_with("shuffle_0_3_0 4 "), "{}", stdout(&output));
    }
    let output = served.fetch(SECRET, &["shuffle_0_3_0"]);
    assert_eq!(code(&output), 77, "{}", stderr(&output));
    assert!(stderr(&output).contains("spark.ssl.rpc.enabled=true"), "{}", stderr(&output));

    // Another authority of the same name.
    let other = tempfile::tempdir().unwrap();
    assert_eq!(code(&certs(other.path(), &[])), 0);
    let bundle = [format!("spark.sealed.tls.bundle={}", other.path().join("bundle.zip").display())];
    let flags = flags(&bundle);
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let output = served.fetch(SECRET, &[&flags[..], &["shuffle_0_3_0"]].concat());
    assert_eq!(code(&output), 77, "{}", stderr(&output));
    assert!(stderr(&output).contains("certificate"), "{}", stderr(&output));

    let log = std::fs::read_to_string(&log).unwrap();
    assert!(log.contains("was made by `certs dev`, for trying out"), "{log}");
}

#[test]
fn the_demo_proves_itself() {
    for cipher in ["gcm", "ctr"] {
        let output = sealed_shuffle(None).args(["demo", "--size", "1", "--cipher", cipher]).output().unwrap();
        assert_eq!(code(&output), 0, "{}", stderr(&output));
        let text = stdout(&output);
        assert!(text.lines().last().unwrap().starts_with("OK: 512 blocks, "), "{text}");
        assert!(text.lines().count() <= 20, "{text}");
    }
    let output = sealed_shuffle(None).args(["demo", "--size", "1", "--json"]).output().unwrap();
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((&json["ok"], &json["tap"]["canary"]), (&true.into(), &0.into()));
    assert!(stderr(&output).lines().last().unwrap().starts_with("OK:"));
}

#[test]
fn every_client_command_shows_an_example() {
    for command in ["register", "fetch", "demo"] {
        let output = sealed_shuffle(None).args([command, "--help"]).output().unwrap();
        assert_eq!(code(&output), 0);
        assert!(stdout(&output).contains(&format!("sealed-shuffle {command} --")), "{command}");
    }
}

fn probe(secret: Option<&str>, server: &str, rest: &[&str]) -> Output {
    sealed_shuffle(secret).args(["probe", server]).args(rest).output().unwrap()
}

#[test]
fn probe_exits_as_the_minimum_says() {
    let served = Served::start("127.0.0.1");
    for (secret, rest, expected) in [
        (Some(SECRET), &["--minimum", "aes-ctr"][..], 0),
        (Some(SECRET), &["--conf", "spark.sealed.security.minimum=aes-ctr"], 0),
        (Some(SECRET), &[], 1),
        (Some(SECRET), &["--minimum", "tls"], 1),
        (Some("another secret"), &[], 69),
        (None, &[], 69),
        (Some(SECRET), &["--no-secret"], 69),
        (None, &["--minimum", "plaintext"], 0),
        (None, &["--minimum", "aes"], 2),
        (None, &["--conf", "spark.shuffle.service.port=x"], 78),
    ] {
        let output = probe(secret, &served.server, rest);
        assert_eq!(code(&output), expected, "{secret:?} {rest:?}: {}{}", stdout(&output), stderr(&output));
    }
}

#[test]
fn probe_reports_on_standard_output() {
    let served = Served::start("127.0.0.1");
    let output = probe(Some(SECRET), &served.server, &[]);
    let text = stdout(&output);
    assert!(text.contains(": a Sealed Shuffle server\n"), "{text}");
    assert!(text.contains("weakest accepted: aes-ctr\n"), "{text}");
    assert_eq!(stderr(&output), "sealed-shuffle: aes-ctr is accepted, below aes-gcm\n");
    let json: Value =
        serde_json::from_str(&stdout(&probe(Some(SECRET), &served.server, &["--json"]))).unwrap();
    assert_eq!(
        (json["judgement"].as_str(), json["weakest_accepted"].as_str()),
        (Some("weaker"), Some("aes-ctr"))
    );
    assert_eq!((json["reachable"].as_bool(), json["peer"].as_str()), (Some(true), Some("sealed-shuffle")));
    assert_eq!(json["modes"].as_array().unwrap().len(), 12);
    assert!(!json.to_string().contains(SECRET));
}

#[test]
fn probe_of_nobody_cannot_tell() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = listener.local_addr().unwrap().to_string();
    drop(listener);
    let output = probe(None, &server, &["--json"]);
    assert_eq!(code(&output), 69, "{}", stderr(&output));
    let json: Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!((json["reachable"].as_bool(), json["judgement"].as_str()), (Some(false), Some("cannot tell")));
}

/// `keys` with a state directory of the test's own.
fn keys(verb: &str, state: &Path, more: &[&str]) -> Output {
    let mut command = sealed_shuffle(None);
    command.args(["keys", verb, "--conf"]).arg(format!("spark.sealed.state.dir={}", state.display()));
    for setting in more {
        command.args(["--conf", setting]);
    }
    command.output().unwrap()
}

#[test]
fn a_key_file_is_listed_and_rotated_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let missing = keys("rotate", dir.path(), &[]);
    assert_eq!(missing.status.code(), Some(66), "{}", String::from_utf8_lossy(&missing.stderr));
    assert!(keys("check", dir.path(), &[]).status.success());
    assert!(!dir.path().join("keys").exists(), "a check makes nothing");

    sealed_shuffle::internals::keys::envelope::LocalKeyFile::open_or_make(
        &OnLane::here(),
        &dir.path().join("keys"),
    )
    .unwrap();
    let rotated = keys("rotate", dir.path(), &[]);
    let name = String::from_utf8(rotated.stdout).unwrap();
    let listed = String::from_utf8(keys("list", dir.path(), &[]).stdout).unwrap();
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split('\t').collect()).collect();
    assert_eq!(lines.len(), 2, "{listed}");
    assert_eq!((lines[0][2], lines[1][2], lines[1][0]), ("unwraps", "wraps", name.trim()), "{listed}");
    let checked = keys("check", dir.path(), &["spark.sealed.cluster.name=c"]);
    let text = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.status.success() && text.contains(name.trim()), "{text}");

    std::fs::set_permissions(dir.path().join("keys"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = keys("check", dir.path(), &[]);
    assert_eq!(refused.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("chmod 600"));
}

#[test]
fn a_check_tells_a_program_that_binds_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("careless");
    // Answers what it was given, whoever asks.
    let text = "read -r line; printf '{\"key_id\":\"k\",\"ciphertext\":\"%s\",\"plaintext\":\"%s\"}' \
                $(printf %s \"$line\" | sed 's/.*\"\\(plaintext\\|ciphertext\\)\":\"\\([^\"]*\\)\".*/\\2 \\2/')";
    std::fs::write(&file, text).unwrap();
    let command = format!("spark.sealed.keys.command=/bin/sh {}", file.display());
    let checked = keys("check", dir.path(), &["spark.sealed.keys.provider=command", &command]);
    let text = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(checked.status.code(), Some(78), "{text}");
    assert!(text.contains("opens for another"), "{text}");
    let list = keys("list", dir.path(), &["spark.sealed.keys.provider=command", &command]);
    assert!(String::from_utf8_lossy(&list.stderr).contains("not in a local key file"));
}

/// What `hand-over` answers to lines, and how it ends.
fn hand_over(socket: &Path, lines: &str) -> Output {
    let mut command = sealed_shuffle(None);
    command.args(["hand-over", "--socket"]).arg(socket).stdin(Stdio::piped());
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

#[test]
fn a_secret_that_is_handed_over_lets_our_client_in_until_the_end() {
    const APP: &str = "application_1700000000000_0001";
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let served = Served::start_with("127.0.0.1", |command| {
        command.env_remove("_SPARK_AUTH_SECRET");
        command.args(["--conf", "spark.sealed.auth.secret-wait=0s", "--conf"]);
        command.arg(format!("spark.sealed.handover.socket={}", socket.display()));
    });
    let register = |secret| {
        let mut command = sealed_shuffle(Some(secret));
        command.args(["register", "--server", &served.server, "--app-id", APP, "--executor-id", "1"]);
        // What is handed over is laid out as YARN does it.
        command.arg("--local-dir").arg(served.root.path().join("appcache").join(APP).join("blockmgr-1"));
        // A refusal is final: waiting would be in vain.
        command.args(["--conf", "spark.shuffle.registration.maxAttempts=1"]).output().unwrap()
    };
    assert_ne!(register("given").status.code(), Some(0), "nothing was handed over");
    // "given" in base64.
    let said = format!("sealed-shuffle-handover 1\nstarted {APP} Z2l2ZW4=\n");
    let told = hand_over(&socket, &said);
    assert_eq!((told.status.code(), &told.stdout[..]), (Some(0), &b"ok\nok\n"[..]));
    assert_ne!(register("another").status.code(), Some(0));
    let registered = register("given");
    assert_eq!(registered.status.code(), Some(0), "{}", String::from_utf8_lossy(&registered.stderr));
    let told = hand_over(&socket, &format!("sealed-shuffle-handover 1\nended {APP}\n"));
    assert_eq!((told.status.code(), &told.stdout[..]), (Some(0), &b"ok\nok\n"[..]));
    assert_ne!(register("given").status.code(), Some(0), "it is over");
    drop(served);
    assert_eq!(hand_over(&socket, "").status.code(), Some(69), "nobody listens");
}
