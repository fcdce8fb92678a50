//! AWS KMS: how often it asks, and what an outage means to those who push and read.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use sealed_shuffle_interop_tests::{
    fixture::SECRET,
    kms::{Fault, KmsProxy, Moto, REGION},
    merger,
    modes::Service,
    ours::Server,
};
use tempfile::TempDir;

use crate::app::{App, mode, no_clear_text};

/// What the server warns of as long as the key service is away.
const AWAY: &[&str] = &["gave no data key", "cannot take part in merging", "sealed data waits for it"];

/// A key service that can fail, and the directories of a server.
struct Scene {
    _moto: Moto,
    proxy: KmsProxy,
    key: String,
    root: TempDir,
    state: TempDir,
}

impl Scene {
    fn new() -> Self {
        let moto = Moto::start();
        let proxy = KmsProxy::before(moto.address());
        let key = moto.symmetric_key();
        let dir = || TempDir::with_prefix("interop-kms-").expect("the temporary directory is writable");
        Self { _moto: moto, proxy, key, root: dir(), state: dir() }
    }

    fn serve(&self, remembers: bool) -> Server {
        Server::launch(&mut self.command(remembers))
    }

    fn command(&self, remembers: bool) -> Command {
        let mut conf = mode().service_conf(Service::Ours);
        conf.extend(merger::conf(self.state.path(), "16"));
        conf.extend([
            ("spark.sealed.keys.provider", "aws-kms".to_owned()),
            ("spark.sealed.keys.kms.key-id", self.key.clone()),
            ("spark.sealed.keys.kms.endpoint", self.proxy.url()),
            ("spark.sealed.keys.kms.region", REGION.to_owned()),
            ("spark.sealed.keys.timeout", "5s".to_owned()),
            ("spark.shuffle.service.db.enabled", remembers.to_string()),
        ]);
        let mut command = Server::command(self.root.path(), Some(SECRET), &conf);
        command.envs([("AWS_ACCESS_KEY_ID", "AKIDTEST"), ("AWS_SECRET_ACCESS_KEY", "of the test")]);
        command
    }

    /// Calls of the key service: keys that were made, and keys that were unwrapped.
    fn calls(&self) -> (usize, usize) {
        (self.proxy.calls("GenerateDataKey").len(), self.proxy.calls("Decrypt").len())
    }
}

#[test]
fn one_call_makes_the_key_of_an_application_and_one_unwraps_it_after_a_restart() {
    let scene = Scene::new();
    let server = scene.serve(true);
    assert_eq!(scene.calls(), (1, 0), "the node's own");
    let app = App::new(scene.root.path(), &server, "app-1");
    app.register().expect("the key service is there");
    app.register().expect("again");
    let first = app.merges(0);
    app.merges(1);
    assert_eq!(scene.calls(), (2, 0));
    server.finish(&["is not TLS"]);

    let server = scene.serve(true);
    assert_eq!(scene.calls(), (2, 1), "the node's own");
    let app = App::new(scene.root.path(), &server, "app-1");
    app.read(0, &first).expect("it is known, and opens");
    app.merges(2);
    assert_eq!(scene.calls(), (2, 2));
    no_clear_text(scene.root.path());
    server.finish(&["is not TLS"]);
}

#[test]
fn in_an_outage_who_has_a_key_goes_on_and_others_are_told_to_come_back() {
    let scene = Scene::new();
    let server = scene.serve(true);
    let app = App::new(scene.root.path(), &server, "app-1");
    app.register().expect("the key service is there");
    let first = app.merges(0);
    scene.proxy.fail_always(Some(Fault::Answer(503, "ServiceUnavailable", "away")));
    app.merges(1);
    let other = App::new(scene.root.path(), &server, "app-2");
    let refused = other.register().expect_err("it has no key");
    assert!(refused.to_string().contains("cannot merge"), "{refused}");
    assert!(refused.to_string().contains("waits for the key service"), "{refused}");
    assert!(!refused.to_string().contains("arn:"), "peers learn no names: {refused}");
    server.finish(&[&["is not TLS"], AWAY].concat());

    // Nothing in memory, and nothing remembered: the server runs, and what was merged waits.
    let server = scene.serve(false);
    let app = App::new(scene.root.path(), &server, "app-1");
    app.register().expect_err("it has no key");
    let waiting = app.read(0, &first).expect_err("it does not open");
    assert!(!waiting.is_empty());
    scene.proxy.fail_always(None);
    let deadline = Instant::now() + Duration::from_secs(60);
    while let Err(error) = app.register() {
        assert!(Instant::now() < deadline, "the key service is back, and yet: {error}");
        thread::sleep(Duration::from_millis(200));
    }
    app.read(0, &first).expect("it opens again");
    no_clear_text(scene.root.path());
    server.finish(&[&["is not TLS"], AWAY].concat());
}

/// With recovery on, the store waits for its key: what needs none is served meanwhile, and then all is as it was.
#[test]
fn a_server_that_is_to_remember_starts_without_its_key_service_and_takes_up_all_when_it_is_back() {
    let scene = Scene::new();
    let server = scene.serve(true);
    let app = App::new(scene.root.path(), &server, "app-1");
    app.register().expect("it registers");
    let merged = app.merges(0);
    server.finish(&["is not TLS"]);

    for fault in [
        Fault::Answer(503, "ServiceUnavailable", "away"),
        Fault::Answer(400, "ExpiredTokenException", "the token has expired"),
        Fault::Answer(400, "AccessDeniedException", "not yet"),
    ] {
        scene.proxy.fail_always(Some(fault));
        let server = scene.serve(true);
        let app = App::new(scene.root.path(), &server, "app-1");
        let other = App::new(scene.root.path(), &server, "app-2");
        let refused = other.register().expect_err("an application that merges needs a key");
        assert!(refused.to_string().contains("try again"), "{refused}");
        scene.proxy.fail_always(None);
        // The meta data of a merged partition are asked for without an executor; a read waits until they are known.
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = app.read(0, &merged) {
            assert!(Instant::now() < deadline, "the key service is back, and yet: {error}");
            thread::sleep(Duration::from_millis(200));
        }
        server.finish(&[
            "is not TLS",
            "recovery store",
            "AWS KMS does not let",
            "gave no data key",
            "cannot take part",
        ]);
    }
}
