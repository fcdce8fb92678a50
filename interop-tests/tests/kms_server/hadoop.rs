//! Hadoop KMS, the real one: what is sealed under it opens after restarts of both and after a roll-over, and what it refuses
//! is said with what to do.

use std::process::Command;

use sealed_shuffle_interop_tests::{
    fixture::SECRET,
    kms::HadoopKms,
    merger,
    modes::{Material, Service},
    ours::{Server, binary},
};
use tempfile::TempDir;

use crate::app::{App, mode, no_clear_text};

const KEY: &str = "shuffle";

fn dir() -> TempDir {
    TempDir::with_prefix("interop-hadoop-kms-").expect("the temporary directory is writable")
}

/// What a server and a command are told.
fn conf(uri: &str, key: &str) -> Vec<(&'static str, String)> {
    [
        ("spark.sealed.keys.provider", "hadoop-kms"),
        ("spark.sealed.keys.hadoop-kms.uri", uri),
        ("spark.sealed.keys.hadoop-kms.key-name", key),
        ("spark.sealed.keys.timeout", "5s"),
    ]
    .map(|(key, value)| (key, value.to_owned()))
    .into()
}

/// `keys check`: its exit code, and what it says.
fn check(conf: &[(&'static str, String)]) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.env_clear().args(["keys", "check"]);
    conf.iter().for_each(|(key, value)| _ = command.arg("--conf").arg(format!("{key}={value}")));
    let output = command.output().expect("the binary starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn refused(conf: &[(&'static str, String)], code: i32, words: &[&str]) {
    let (found, text) = check(conf);
    assert_eq!(found, Some(code), "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{word}: {text}"));
}

#[test]
fn what_is_sealed_under_hadoop_kms_opens_after_a_restart_and_a_roll_over() {
    let Some(mut kms) = HadoopKms::start() else { return };
    kms.create_key(KEY, 256);
    let (root, state) = (dir(), dir());
    let serve = |uri: String| {
        let mut all = mode().service_conf(Service::Ours);
        all.extend(merger::conf(state.path(), "16"));
        all.extend(conf(&uri, KEY));
        Server::launch(&mut Server::command(root.path(), Some(SECRET), &all))
    };
    let server = serve(kms.uri());
    let app = App::new(root.path(), &server, "app-1");
    app.register().expect("the key service is there");
    let first = app.merges(0);
    assert_eq!(kms.roll(KEY), format!("{KEY}@1"));
    let other = App::new(root.path(), &server, "app-2");
    other.register().expect("the key service is there");
    let second = other.merges(0);
    no_clear_text(root.path());
    // It makes connections although it is confined, to this service alone.
    let confined = server.log().iter().any(|line| line.contains("TCP connections of its own to ports"));
    let cannot = server
        .log()
        .iter()
        .any(|line| line.contains("TCP is not restricted") || line.contains("no Landlock"));
    assert!(confined || cannot, "{:#?}", server.log());
    server.finish(&["is not TLS"]);

    kms.restart();
    let server = serve(kms.uri());
    App::new(root.path(), &server, "app-1").read(0, &first).expect("it is known, and opens");
    App::new(root.path(), &server, "app-2").read(0, &second).expect("it is known, and opens");
    assert!(kms.audit("DECRYPT_EEK").iter().all(|line| line.contains("user=sealed-shuffle")));
    server.finish(&["is not TLS", "sealed anew"]);

    // Without the service nobody opens it.
    kms.stop();
    refused(&conf(&kms.uri(), KEY), 69, &["brought no answer", "Connection refused"]);
}

#[test]
fn what_hadoop_kms_refuses_is_said_with_what_to_do() {
    let Some(kms) = HadoopKms::start() else { return };
    kms.create_key(KEY, 128);
    let (code, text) = check(&conf(&kms.uri(), KEY));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("under shuffle@0") && text.contains("right application alone"), "{text}");
    // Nobody listens at the first of two hosts.
    let two = kms.uri().replace("127.0.0.1", "127.0.0.2;127.0.0.1");
    assert_eq!(check(&conf(&two, KEY)).0, Some(0));

    refused(&conf(&kms.uri(), "absent"), 66, &["absent", "key-name"]);
    kms.create_key("guarded", 256);
    refused(
        &conf(&kms.uri(), "guarded"),
        77,
        &["not authorized", "GENERATE_EEK and DECRYPT_EEK", "kms-acls.xml"],
    );
    refused(&conf(&kms.uri().replace("/kms", "/elsewhere"), KEY), 78, &["path of", "hadoop-kms.uri"]);
    refused(&conf(&kms.uri().replace("http@", "https@"), KEY), 69, &["TLS"]);
}

#[test]
fn hadoop_kms_over_tls_is_believed_where_its_authority_is_named() {
    let Some(mut kms) = HadoopKms::start() else { return };
    kms.create_key(KEY, 256);
    kms.restart_over_tls();
    let authority = Material::shared().file("trustedCertificates.pem");
    let named = |file: &str| {
        [conf(&kms.uri(), KEY), vec![("spark.sealed.keys.hadoop-kms.ca-file", file.to_owned())]].concat()
    };
    let (code, text) = check(&named(&authority));
    assert_eq!(code, Some(0), "{text}");
    refused(&conf(&kms.uri(), KEY), 69, &["TLS", "UnknownIssuer"]);
    refused(&named("/not/there"), 78, &["/not/there"]);
}
