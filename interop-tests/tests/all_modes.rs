//! Every mode at once on one port: whole applications, each in a mode of its own, run side by side through one server
//! of ours, which tells afterwards who spoke how.
//!
//! Spark's service speaks one mode, so the same applications with a service each (`spark_…`) show that the recipes are
//! right; they take minutes and run in `make nightly`, as in `application.rs`.

use std::thread;

use sealed_shuffle_interop_tests::{
    applications::{Application, ApplicationReport, ROWS, result_without_a_service},
    fixture::{Fixture, SECRET},
    machine::Turn,
    modes::{Auth, Cipher, Mode, SaslCipher, Service, Stores},
    ours::Server,
};
use serde_json::Value;
use tempfile::TempDir;

const MODES: [Mode; 4] = [
    Mode::aes("4.3.0", Cipher::Gcm, 2),
    Mode::aes("4.0.5", Cipher::Ctr, 1),
    Mode::new("3.5.9", Auth::SaslConf(SaslCipher::TripleDes)),
    Mode::new("4.3.0", Auth::Sasl).inside_tls(Stores::Pkcs12),
];

#[test]
fn ours_serves_every_mode_on_one_port_and_tells_them_apart() {
    let root = TempDir::with_prefix("interop-").expect("the temporary directory is writable");
    let server = Server::start(root.path(), Some(SECRET), &conf_of_all());
    let port = server.address().port();
    let reports = side_by_side(|mode| Application::with_service(mode, port, SECRET, root.path()));
    let table = server.admin_page("/applications");
    let table: Value = serde_json::from_str(&table).unwrap_or_else(|e| panic!("{e}: {table}"));
    for (mode, report) in MODES.iter().zip(&reports) {
        let channels = channels_of(&table, &report.app);
        let [channel] = &channels[..] else { panic!("{mode} spoke in several ways: {channels:?}") };
        assert_eq!(channel.each_ref().map(String::as_str), mode.labels(), "{mode}");
    }
    server.finish(&["an application is below the target"]);
}

#[test]
#[ignore = "slow and rarely red: make nightly"]
fn spark_runs_the_applications_of_every_mode() {
    let services = MODES.map(|mode| Fixture::start(Service::Spark, mode));
    side_by_side(|mode| {
        let f = services.iter().find(|f| f.mode == *mode).expect("a service a mode");
        Application::with_service(mode, f.address().port(), SECRET, f.root())
    });
    for f in &services {
        let served = f.block_bytes_served();
        assert!(
            served > 100_000,
            "{}: the service served {served} bytes, the shuffles went another way",
            f.mode
        );
    }
}

/// Runs an application in each mode, all at the same time, to the same result.
fn side_by_side(application: impl Fn(&Mode) -> Application) -> Vec<ApplicationReport> {
    let expected = result_without_a_service();
    let turns = Turn::wait_for_all();
    // Ids are made of the second and a number; each application has a Master of its own to count. Spark 3.5 does not know the
    // key, and counts from 0000.
    let applications: Vec<Application> = (1..)
        .zip(&MODES)
        .map(|(n, mode)| application(mode).with("spark.deploy.appIdPattern", &format!("app-%s-{n}%03d")))
        .collect();
    let reports: Vec<ApplicationReport> = thread::scope(|scope| {
        let runs: Vec<_> = applications
            .iter()
            .map(|application| scope.spawn(|| application.run_beside_others(&turns)))
            .collect();
        runs.into_iter().map(|run| run.join().expect("the application ran")).collect()
    });
    for (mode, report) in MODES.iter().zip(&reports) {
        report.assert_nothing_recomputed();
        assert_eq!(report.canary_rows, ROWS, "{mode}");
        assert_eq!(report.result, expected, "another result than without the service in {mode}");
    }
    reports
}

/// What a server is told that shall speak all of them.
fn conf_of_all() -> Vec<(&'static str, String)> {
    let mut conf: Vec<(&'static str, String)> =
        MODES.iter().flat_map(|mode| mode.service_conf(Service::Ours)).collect();
    // The last of several values wins: authentication for all, and the lowest of the minimums.
    conf.push(("spark.sealed.security.minimum", "sasl-conf".to_owned()));
    conf
}

/// Channel, handshake and cipher of one application in `GET /applications`, each way that it spoke.
#[track_caller]
fn channels_of(table: &Value, app: &str) -> Vec<[String; 3]> {
    let rows = table["applications"].as_array().unwrap_or_else(|| panic!("no applications in {table}"));
    let row = rows.iter().find(|row| row["app"] == app).unwrap_or_else(|| panic!("no {app} in {table}"));
    let channels = row["channels"].as_array().unwrap_or_else(|| panic!("no channels in {row}"));
    let word = |channel: &Value, column: &str| channel[column].as_str().unwrap_or_default().to_owned();
    channels
        .iter()
        .map(|channel| ["channel", "handshake", "cipher"].map(|column| word(channel, column)))
        .collect()
}
