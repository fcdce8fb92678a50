//! A client of Spark 4.2 or later that is configured with PEM files reaches nobody from a JVM that was started
//! bare: its Netty asks for the peer's name, which Spark does not tell it. What Spark's own launcher of 4.3 adds to the
//! JVMs that it starts cures it. With key stores the same client works either way. Against Spark's own service, so this
//! documents Spark and not us.

use std::sync::Arc;

use sealed_shuffle_interop_tests::{
    fixture::{APP, Fixture},
    modes::matrix::is_chosen,
    modes::{Auth, Mode, Service, Stores, pem_client_conf},
    oracle::Executor,
    spark::{Connection, Credentials, Failure, Outcome, Peer, Spark},
};
use serde_json::Value;

const CURE: &str = "io.netty.handler.ssl.defaultEndpointVerificationAlgorithm=NONE";

/// Registers an executor beside a JVM that was started with these properties. The client does not look at how the
/// handshake ended, so what fails is its first request, and whether that knows the reason is a matter of time
/// (`TransportClientFactory`, Spark 4.3.0); the log always does.
fn register_with_pem(version: &'static str, properties: &[&str]) -> (Arc<Peer>, Result<Value, Failure>) {
    let peer = Arc::new(Peer::start_with(Spark::release(version), properties));
    let mode = Mode::new(version, Auth::None).inside_tls(Stores::Pem);
    let f = Fixture::start_on(Arc::clone(&peer), Service::Spark, mode, &[]);
    let mut credentials = Credentials::none(APP);
    for (key, value) in pem_client_conf() {
        credentials = credentials.with(key, &value);
    }
    let executor = Executor::beneath(f.root(), "1");
    let registered =
        Connection::open(&peer, f.address(), &credentials).and_then(|connection| {
            match connection.register(APP, "1", &executor) {
                Outcome::Failed(failure) => Err(failure),
                outcome => Ok(outcome.answer()),
            }
        });
    (peer, registered)
}

#[test]
fn clients_with_pem_files_need_an_option_of_the_jvm() {
    for version in ["4.2.1", "4.3.0"].into_iter().filter(|version| is_chosen() || *version == "4.3.0") {
        let (peer, registered) = register_with_pem(version, &[]);
        let failure = registered.expect_err("the client fails in a bare JVM");
        let reason = "Hostname or IP address is undefined";
        assert!(failure.message.contains(reason) || peer.logs(reason), "{failure:?}");
        register_with_pem(version, &[CURE]).1.expect("the option cures it");
    }
}

#[test]
fn older_clients_with_pem_files_do_not() {
    register_with_pem("4.0.5", &[]).1.expect("Spark 4.0 works in a bare JVM");
}
