//! What is wrong with a certificate fails closed on the side that looks, and says what to do.

use rcgen::CertificateParams;
use sealed_shuffle_client::{ErrorKind, FetchError};
use sealed_shuffle_config::{ClientAuth, TlsVersions};
use sealed_shuffle_protocol::channel::SecurityLevel;

use crate::authority::{Authority, Bundle, Issued, expired, for_hosts, not_yet_valid, self_signed};
use crate::running::{Running, eventually};
use crate::support::{failure, served, succeeds};

const BOTH: [TlsVersions; 2] = [TlsVersions::V1_2, TlsVersions::V1_3];

#[track_caller]
fn says(error: &FetchError, words: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in {error}");
    }
}

/// A server with that certificate, and a client that trusts its authority.
#[track_caller]
fn refused_by_the_client(authority: &Authority, own: &Issued, words: &[&str]) {
    let running = served(Bundle::new(Some(own), &[]).config(), SecurityLevel::Tls);
    let trust = Bundle::new(None, &[authority]);
    for (n, versions) in BOTH.into_iter().enumerate() {
        says(&failure(&running, trust.client(versions)), words);
        eventually("the server counts it", || running.closes("tls") == n as u64 + 1);
    }
    assert_eq!(running.metric("sealed_shuffle_executors"), 0);
}

fn refuses(leaf: CertificateParams, words: &[&str]) {
    let authority = Authority::new("an authority");
    refused_by_the_client(&authority, &authority.sign(leaf), words);
}

#[test]
fn an_expired_server_is_refused() {
    refuses(expired(), &["server's certificate expired on 20", "renew it there"]);
}

#[test]
fn a_server_that_is_not_valid_yet_is_refused() {
    refuses(not_yet_valid(), &["server's certificate is not valid before 20", "compare the clocks"]);
}

#[test]
fn a_server_of_another_name_is_refused() {
    let words = ["is not for 127.0.0.1", "but for \"elsewhere.example\"", "subjectAltName"];
    refuses(for_hosts(&["elsewhere.example"]), &[words[0], "elsewhere.example", words[2]]);
    refuses(for_hosts(&[]), &["names no host", "make it for 127.0.0.1", "subjectAltName"]);
}

#[test]
fn a_server_of_an_unknown_issuer_is_refused() {
    let own = Authority::new("another authority").issue();
    let words = ["no authority that is trusted here", "trust store"];
    refused_by_the_client(&Authority::new("an authority"), &own, &words);
    refused_by_the_client(&Authority::new("an authority"), &self_signed(), &words);
    // One that bears the name of the trusted one.
    refused_by_the_client(&Authority::new("an authority"), &Authority::new("an authority").issue(), &[]);
}

/// A server that looks at certificates, and the authority of both ends.
fn asking(asks: ClientAuth) -> (Running, Authority) {
    let authority = Authority::new("an authority");
    let own = Bundle::new(Some(&authority.issue()), &[&authority]);
    (served(own.asking(asks), SecurityLevel::Tls), authority)
}

#[test]
fn a_client_without_a_certificate_is_refused_where_one_is_needed() {
    let (running, authority) = asking(ClientAuth::Need);
    let trust = Bundle::new(None, &[&authority]);
    // In TLS 1.3 a client has sent its first request when it learns that it is refused.
    for _ in 0..20 {
        says(
            &failure(&running, trust.client(TlsVersions::V1_3)),
            &["certificate and we have none", "keyStore"],
        );
    }
    says(&failure(&running, trust.client(TlsVersions::V1_2)), &["certificate"]);
    eventually("all are counted", || running.closes("tls") == 21);
    assert_eq!(running.metric("sealed_shuffle_executors"), 0);
}

#[test]
fn a_client_whose_certificate_is_no_good_is_refused_where_one_is_wanted_or_needed() {
    for asks in [ClientAuth::Want, ClientAuth::Need] {
        let (running, authority) = asking(asks);
        let cases: [(Issued, &[&str]); 4] = [
            (authority.sign(expired()), &["our certificate has expired", "renew it"]),
            (authority.sign(not_yet_valid()), &["our certificate"]),
            (Authority::new("another").issue(), &["does not trust the authority of our certificate"]),
            (self_signed(), &["does not trust the authority of our certificate"]),
        ];
        for (own, words) in cases {
            let bundle = Bundle::new(Some(&own), &[&authority]);
            for versions in BOTH {
                says(&failure(&running, bundle.client(versions)), words);
            }
        }
        assert_eq!(running.metric("sealed_shuffle_executors"), 0);
    }
}

#[test]
fn a_client_with_a_good_certificate_is_served() {
    for asks in [ClientAuth::Want, ClientAuth::Need] {
        let (running, authority) = asking(asks);
        let bundle = Bundle::new(Some(&authority.issue()), &[&authority]);
        BOTH.into_iter().for_each(|versions| succeeds(&running, bundle.client(versions)));
    }
    let (running, authority) = asking(ClientAuth::Want);
    let trust = Bundle::new(None, &[&authority]);
    BOTH.into_iter().for_each(|versions| succeeds(&running, trust.client(versions)));
}

#[test]
fn skipping_the_name_skips_nothing_else() {
    let authority = Authority::new("an authority");
    let trust = Bundle::new(None, &[&authority]);
    let skipping = || trust.client_that(|config| config.skip_hostname_verification = true);
    let server = |own: &Issued| served(Bundle::new(Some(own), &[]).config(), SecurityLevel::Tls);
    succeeds(&server(&authority.sign(for_hosts(&["elsewhere.example"]))), skipping());
    says(&failure(&server(&authority.sign(expired())), skipping()), &["expired on"]);
    says(&failure(&server(&self_signed()), skipping()), &["no authority that is trusted"]);
}

#[test]
fn a_server_says_that_its_own_certificate_will_be_refused() {
    let authority = Authority::new("an authority");
    for (leaf, words) in [
        (expired(), "will be refused: it expired on"),
        (not_yet_valid(), "will be refused: it is not valid before"),
        (for_hosts(&[]), "names no host in a subjectAltName"),
    ] {
        let tls = Bundle::new(Some(&authority.sign(leaf)), &[]).server();
        assert!(tls.warnings().iter().any(|warning| warning.contains(words)), "{:?}", tls.warnings());
    }
    assert!(Bundle::new(Some(&authority.issue()), &[]).server().warnings().is_empty());
}
