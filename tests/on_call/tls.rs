//! Certificates and clocks.

use time::OffsetDateTime;

use crate::authority::{Authority, Bundle, for_hosts};
use crate::machine::{Machine, Place, SECRET};
use crate::row::{Is, Metric, Row};
use crate::serving::sealed_shuffle;

pub(crate) const EXPIRING: Row = Row {
    fault: "The server's certificate ends soon",
    log: "WARN … our certificate expires soon; renew it",
    metric: Metric::new("sealed_shuffle_certificate_not_after_seconds", Is::Soon),
    command: ("check", "certificate: … days are left"),
    action: "Renew it, and put the new files in the place of the old: they are taken up without a restart",
    alert: "SealedShuffleCertificateEnds",
};

pub(crate) fn expiring() -> Result<Machine, String> {
    // From yesterday until tomorrow.
    Ok(speaking_tls(&Authority::new("an authority"), |_| {}))
}

pub(crate) const EARLY: Row = Row {
    fault: "A clock is wrong by an hour: here, or where the certificate was made",
    log: "ERROR … our certificate is not valid yet: peers refuse us; is the clock of this machine right, … seconds=",
    metric: Metric::new("sealed_shuffle_closes_total{reason=\"tls\"}", Is::Positive),
    command: ("status", "certificate … NOT VALID before … is the clock of this machine right?"),
    action: "`timedatectl` here, on the clients and where certificates are made. Where only one client is refused, it is that one's clock",
    alert: "",
};

pub(crate) fn early() -> Result<Machine, String> {
    let authority = Authority::new("an authority");
    let machine = speaking_tls(&authority, |leaf| {
        let now = OffsetDateTime::now_utc();
        (leaf.not_before, leaf.not_after) = (now + std::time::Duration::from_secs(3600), now + 90 * DAY);
    });
    // A client whose clock is right.
    let server = machine.serving.address.to_string();
    let trust = Bundle::new(None, &[&authority]);
    let mut client = sealed_shuffle();
    client.args(["fetch", "shuffle_0_0_0", "--server", &server, "--app-id", "app-1", "--executor-id", "1"]);
    client.args(["--conf", "spark.ssl.rpc.enabled=true", "--conf"]);
    client.arg(format!("spark.sealed.tls.bundle={}", trust.path().display()));
    let output = client.env("_SPARK_AUTH_SECRET", SECRET).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("not valid before"), "{said}");
    Ok(machine)
}

const DAY: std::time::Duration = std::time::Duration::from_secs(86_400);

fn speaking_tls(authority: &Authority, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Machine {
    let place = Place::new();
    let mut leaf = for_hosts(&["localhost", "127.0.0.1"]);
    change(&mut leaf);
    let issued = authority.sign(leaf);
    let (key, chain) = (place.write("key.pem", &issued.key), place.write("chain.pem", &issued.chain));
    place.start(&format!(
        "spark.ssl.rpc.enabled true\nspark.ssl.rpc.privateKey {}\nspark.ssl.rpc.certChain {}",
        key.display(),
        chain.display()
    ))
}
