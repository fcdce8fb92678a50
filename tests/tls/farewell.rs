//! The last words of a connection: a close_notify where it ended in order, an alert where it did not.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use rustls::AlertDescription;
use sealed_shuffle_config::{ClientAuth, Policy, TlsVersions};
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::ids::RequestId;
use sealed_shuffle_protocol::message::Head;

use crate::authority::{Authority, Bundle};
use crate::running::{APP, PATIENCE, Running, eventually, fetch, message};
use crate::support::{served, stream};

fn ask() -> Vec<u8> {
    message(&Head::RpcRequest { request: RequestId(1) }, &fetch(APP, 1, &[0]).encode().unwrap()).to_vec()
}

#[test]
fn a_peer_that_is_refused_reads_why_and_then_a_close_notify() {
    let authority = Authority::new("an authority");
    let own = Bundle::new(Some(&authority.issue()), &[]);
    let running = Running::start_with(|config| {
        config.tls = Some(own.config());
        config.policy = Policy::at_least(SecurityLevel::Tls);
    });
    let trust = Bundle::new(None, &[&authority]);
    for versions in [TlsVersions::V1_2, TlsVersions::V1_3] {
        let mut stream = stream(&running, &trust.client(versions));
        stream.write_all(&ask()).unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).unwrap();
        assert!(String::from_utf8_lossy(&heard).contains("spark.authenticate=true"));
    }
}

#[test]
fn a_server_that_stops_says_goodbye() {
    let authority = Authority::new("an authority");
    let running = served(Bundle::new(Some(&authority.issue()), &[]).config(), SecurityLevel::Tls);
    let trust = Bundle::new(None, &[&authority]);
    let mut stream = stream(&running, &trust.client(TlsVersions::V1_3));
    // An open stream would be waited for.
    stream.write_all(&message(&Head::RpcRequest { request: RequestId(1) }, b"nothing known")).unwrap();
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).unwrap();
    running.stop.cancel();
    // Without a close_notify this were an error.
    stream.read_to_end(&mut Vec::new()).unwrap();
}

#[test]
fn a_handshake_that_is_none_is_answered_with_an_alert() {
    let authority = Authority::new("an authority");
    let running = served(Bundle::new(Some(&authority.issue()), &[]).config(), SecurityLevel::Tls);
    let hellos: [&[u8]; 2] = [
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00",
        // No record that long exists.
        b"\x16\x03\x01\xff\xff\x01\x00",
    ];
    for (n, hello) in hellos.into_iter().enumerate() {
        let mut socket = TcpStream::connect(running.address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(hello).unwrap();
        let mut heard = Vec::new();
        socket.read_to_end(&mut heard).unwrap();
        assert_eq!((heard.first(), heard.len()), (Some(&21), 7), "hello {n}: {heard:?}");
        eventually("it is counted", || running.closes("tls") == n as u64 + 1);
    }
}

/// In TLS 1.3 a client may have sent a lot when the server looks at its certificate: the alert must not be lost in the
/// reset that unread bytes cause.
#[test]
fn an_alert_reaches_a_client_that_has_gone_on_talking() {
    let authority = Authority::new("an authority");
    let own = Bundle::new(Some(&authority.issue()), &[&authority]);
    let running = served(own.asking(ClientAuth::Need), SecurityLevel::Tls);
    let trust = Bundle::new(None, &[&authority]).client(TlsVersions::V1_3);
    for _ in 0..20 {
        let mut stream = stream(&running, &trust);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).unwrap();
        }
        // It may be refused while it talks.
        let talked = (0..50).try_for_each(|_| stream.write_all(&ask().repeat(100)));
        let error = match talked {
            Err(error) => error,
            Ok(()) => stream.read(&mut [0]).unwrap_err(),
        };
        assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
        let alert = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
        assert_eq!(alert, Some(&rustls::Error::AlertReceived(AlertDescription::CertificateRequired)));
    }
}
