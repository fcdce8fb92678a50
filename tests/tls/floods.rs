//! Strangers that make TLS as costly as it can be, beside a client that has a block within its time.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use sealed_shuffle_config::TlsVersions;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_transport::tls::LiveClientTls;

use crate::authority::{Authority, Bundle};
use crate::running::Running;
use crate::support::{served, stream, succeeds};

/// A handshake, a registration and a block of 2 MiB. They take milliseconds; a busy machine gets its time.
const SOON: Duration = Duration::from_secs(5);

const STRANGERS: usize = 8;

/// Does `attack` on several threads until it ends, each time with a new connection.
struct Flood {
    going: Arc<Going>,
    threads: Vec<JoinHandle<()>>,
}

/// Whether the flood goes on, and what it has done.
#[derive(Default)]
struct Going {
    stop: AtomicBool,
    done: AtomicUsize,
}

impl Going {
    fn on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn count(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Flood {
    fn of(attack: impl Fn(&Going) + Clone + Send + 'static) -> Self {
        let going = Arc::new(Going::default());
        let threads = (0..STRANGERS)
            .map(|_| {
                let (going, attack) = (Arc::clone(&going), attack.clone());
                thread::spawn(move || {
                    while going.on() {
                        attack(&going);
                    }
                })
            })
            .collect();
        Self { going, threads }
    }

    /// Ends it. It must have done something.
    fn end(self) {
        let done = self.going.done.load(Ordering::Relaxed);
        assert!(done > 100, "an attack that was no attack: {done} times");
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.going.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn node() -> (Running, Arc<LiveClientTls>) {
    let authority = Authority::new("an authority");
    let own = Bundle::new(Some(&authority.issue()), &[]);
    let trust = Bundle::new(None, &[&authority]);
    (served(own.config(), SecurityLevel::Tls), trust.client(TlsVersions::V1_3))
}

#[track_caller]
fn assert_served(running: &Running, tls: &Arc<LiveClientTls>) {
    let began = Instant::now();
    succeeds(running, Arc::clone(tls));
    assert!(began.elapsed() < SOON, "served after {:?}", began.elapsed());
}

/// Good clients are served before the attack, in it, and after it.
#[track_caller]
fn assert_holds_nobody_up(
    running: &Running,
    tls: &Arc<LiveClientTls>,
    attack: impl Fn(&Going) + Clone + Send + 'static,
) {
    assert_served(running, tls);
    let flood = Flood::of(attack);
    for _ in 0..3 {
        assert_served(running, tls);
    }
    flood.end();
    running.assert_serves_tls(tls);
}

/// The first record of a handshake.
fn hello(tls: &LiveClientTls) -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut client = rustls::ClientConnection::new(tls.current(), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

#[test]
fn handshakes_that_are_begun_and_left_hold_nobody_up() {
    let (running, tls) = node();
    // Each costs the server a signature.
    let (address, hello) = (running.address, hello(&tls));
    assert_holds_nobody_up(&running, &tls, move |going| {
        let mut socket = TcpStream::connect(address).unwrap();
        // The server may have taken the place away.
        if socket.write_all(&hello).is_ok() && socket.read(&mut [0; 16]).is_ok_and(|read| read > 0) {
            going.count();
        }
    });
}

#[test]
fn keys_that_are_updated_without_end_hold_nobody_up() {
    let (running, tls) = node();
    let (running, attackers) = (Arc::new(running), Arc::clone(&tls));
    let server = Arc::clone(&running);
    assert_holds_nobody_up(&running, &tls, move |going| {
        let mut stream = stream(&server, &attackers);
        stream.sock.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        while going.on() {
            // Each asks for an update of the other side, too, whose answers nobody reads.
            let updated = stream.conn.is_handshaking() || stream.conn.refresh_traffic_keys().is_ok();
            let done = if stream.conn.is_handshaking() {
                stream.conn.complete_io(&mut stream.sock).map(drop)
            } else {
                stream.flush()
            };
            if !updated || done.is_err() {
                return;
            }
            going.count();
        }
    });
}

#[test]
fn records_of_the_largest_size_that_open_to_nothing_hold_nobody_up() {
    let (running, tls) = node();
    let (address, hello) = (running.address, hello(&tls));
    assert_holds_nobody_up(&running, &tls, move |going| {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        // A record of application data (RFC 8446, section 5.1) before there are keys for it.
        let mut record = vec![23, 3, 3, 0x41, 0];
        record.resize(5 + 0x4100, 7);
        if socket.write_all(&hello).is_err() {
            return;
        }
        while going.on() && socket.write_all(&record).is_ok() {
            going.count();
        }
    });
}

impl Running {
    /// Nothing panicked, a good client is served, and nothing is held once all have gone.
    #[track_caller]
    fn assert_serves_tls(&self, tls: &Arc<LiveClientTls>) {
        assert_served(self, tls);
        crate::running::assert_no_panics();
        crate::running::eventually("the budget is free again", || {
            self.metric("sealed_shuffle_memory_in_use_bytes") == 0
        });
    }
}
