//! Peers that are refused.

use crate::machine::{Machine, SECRET};
use crate::row::{Is, Metric, Row};
use crate::running::{APP, CTR, GCM, Peer, register};

pub(crate) const WRONG_SECRET: Row = Row {
    fault: "An application has another secret",
    log: "WARN … refused a handshake; is spark.authenticate.secret the same here and in the application?… app=app-1",
    metric: Metric::new("sealed_shuffle_refusals_total{reason=\"authentication_failed\"}", Is::Positive),
    command: ("status", "refused … authentication_failed"),
    action: "Compare `spark.authenticate.secret` (or the file, or the Secret) of the application that the log names with the server's. \
             From many addresses: somebody tries",
    alert: "SealedShuffleRefusals",
};

pub(crate) fn wrong_secret() -> Result<Machine, String> {
    let machine = Machine::start("");
    assert!(Peer::connect(machine.serving.address).handshake(APP, "another", GCM).is_err());
    Ok(machine)
}

pub(crate) const BELOW_MINIMUM: Row = Row {
    fault: "An application speaks AES-CTR, and the minimum is AES-GCM",
    log: "WARN … refused a connection below the minimum; set spark.network.crypto.cipher=AES/GCM/NoPadding …(it speaks aes-ctr … app=app-1",
    metric: Metric::new("sealed_shuffle_refusals_total{reason=\"below_minimum\"}", Is::Positive),
    command: ("apps", "app-1 … refused … uses aes-ctr, and this server serves nothing below aes-gcm"),
    action: "`spark.network.crypto.cipher=AES/GCM/NoPadding` in the application (Spark 3.5.9, 4.0.4, 4.1.3, 4.2 or later), or \
             `spark.sealed.security.app.ID.minimum=aes-ctr` for it alone until then",
    alert: "SealedShuffleRefusals",
};

pub(crate) fn below_minimum() -> Result<Machine, String> {
    let machine = Machine::start("spark.sealed.security.minimum aes-gcm");
    let mut peer = Peer::connect(machine.serving.address);
    peer.handshake(APP, SECRET, CTR).unwrap();
    let dir = machine.place().executor();
    assert!(peer.rpc(&register(&[dir.to_str().unwrap()])).is_err());
    Ok(machine)
}
