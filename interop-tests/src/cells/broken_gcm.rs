//! Where the AES-GCM of a Spark loses messages: nobody can speak it, which is said by name.

use std::time::{Duration, Instant};

use sealed_shuffle_protocol::cipher::{BROKEN_GCM, SOUND_GCM};

use super::case::with_blocks;
use crate::{
    fixture::{APP, Fixture, SECRET},
    ours::OurCommand,
    spark::{Outcome, Store},
};

/// How long a client waits for an answer, where waiting is what is tested.
pub(super) const DEADLINE: (&str, &str) = ("spark.shuffle.io.connectionTimeout", "3s");
const RETRY_WAIT: (&str, &str) = ("spark.shuffle.io.retryWait", "1s");

/// What such a Spark does even with itself: one message comes through, the next is lost.
pub(super) fn loses_the_second_message(f: &Fixture) {
    let (executor, _, _) = with_blocks(f);
    let connection = f.connect();
    connection.register(APP, "1", &executor).answer();
    let outcome = connection.rpc_bytes("0700000000", 2000);
    assert!(matches!(outcome, Outcome::Silence), "this AES-GCM loses nothing: {outcome:?}");
}

/// The block store client, whose deadline is short so that the test is: it must read the sentence before its tries are
/// spent, and everybody of the application reads it from then on.
pub(super) fn is_refused_by_name(f: &Fixture) {
    f.expect_warning("recognised a Spark whose AES-GCM takes one message");
    let (executor, _, names) = with_blocks(f);
    let hasty = f.credentials().with(DEADLINE.0, DEADLINE.1).with(RETRY_WAIT.0, RETRY_WAIT.1);
    let store = Store::open(&f.peer, f.address(), &hasty);
    store.register("1", &executor).answer();
    for (name, outcome) in store.fetch("1", &names, false) {
        assert_names_the_broken_gcm(&name, &outcome.failure().message);
    }
    assert_names_the_broken_gcm("register", &f.connect().register(APP, "1", &executor).failure().message);
    let ours = f.ours().expect("the service is ours");
    assert!(ours.metric("sealed_shuffle_refusals_total") >= 2.0);
    let table: serde_json::Value =
        serde_json::from_str(&ours.admin_page("/applications")).expect("the table is JSON");
    let row = &table["applications"][0];
    let releases = if f.mode.tls.is_some() { "4.0 to 4.1" } else { "3.4 to 4.1" };
    assert_eq!(row["channels"][0]["spark"], releases, "{row:#}");
    assert_names_the_broken_gcm("the table", &row["last_refusal"]["reason"].to_string());
}

pub(super) fn is_explained(f: &Fixture) {
    let (executor, _, names) = with_blocks(f);
    let client = OurCommand::new(&f.mode, f.address(), APP, SECRET)
        .with(DEADLINE.0, DEADLINE.1)
        .with(RETRY_WAIT.0, RETRY_WAIT.1);
    client.register("1", &executor).unwrap_or_else(|e| panic!("one message comes through: {e:?}"));
    let begun = Instant::now();
    let refusal = client.fetch("1", &names[1..3]).expect_err("it cannot serve in GCM");
    assert_names_the_broken_gcm("fetch", &refusal.text);
    assert!(begun.elapsed() < Duration::from_secs(12), "it was tried in vain: {:?}", begun.elapsed());
}

#[track_caller]
fn assert_names_the_broken_gcm(what: &str, text: &str) {
    for word in [BROKEN_GCM, SOUND_GCM, "spark.network.crypto.cipher=AES/CTR/NoPadding"] {
        assert!(text.contains(word), "{what} says nothing of {word}: {text}");
    }
}
