//! A client of Spark 4.2 or later that is configured with PEM files reaches nobody from a JVM that was started
//! bare: its Netty asks for the peer's name, which Spark does not tell it. What Spark's own launcher of 4.3 adds to the
//! JVMs that it starts cures it. With key stores the same client works either way. Against Spark's own service, so this
//! documents Spark and not us.

use std::sync::Arc;

use sealed_shuffle_interop_tests::{
    client::{Connection, Credentials, Failure},
    mode::{Auth, Mode},
    peer::Peer,
    service::{APP, Fixture, Service},
    spark::Spark,
    tls::{Stores, pem_client_conf},
};

const CURE: &str = "io.netty.handler.ssl.defaultEndpointVerificationAlgorithm=NONE";

fn connect_with_pem(version: &'static str, properties: &[&str]) -> Result<(), Failure> {
    let peer = Arc::new(Peer::start_with(Spark::release(version), properties));
    let mode = Mode::new(version, Auth::None).inside_tls(Stores::Pem);
    let f = Fixture::start_on(Arc::clone(&peer), Service::Spark, mode, &[]);
    let mut credentials = Credentials::none(APP);
    for (key, value) in pem_client_conf() {
        credentials = credentials.with(key, &value);
    }
    let connection = Connection::open(&peer, f.address(), &credentials)?;
    connection.register(APP, "1", &f.executor("1")).answer();
    Ok(())
}

#[test]
fn clients_with_pem_files_need_an_option_of_the_jvm() {
    let failure = connect_with_pem("4.3.0", &[]).expect_err("Spark 4.3 fails in a bare JVM");
    let text = [failure.message.clone(), failure.causes.join("\n")].concat();
    assert!(text.contains("Hostname or IP address is undefined"), "{failure:?}");
    connect_with_pem("4.3.0", &[CURE]).expect("the option cures it");
}

#[test]
fn older_clients_with_pem_files_do_not() {
    connect_with_pem("4.0.5", &[]).expect("Spark 4.0 works in a bare JVM");
}
