//! A TCP proxy in front of a service that records both directions of every connection.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard},
    thread,
};

/// Recorded per connection and direction; what exceeds it is passed on and only counted.
const KEPT: usize = 64 << 20;

/// Both directions of one connection.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Client to service.
    pub sent: Vec<u8>,
    /// Service to client.
    pub received: Vec<u8>,
    /// Bytes in both directions, recorded or not.
    pub total: u64,
}

/// A listening proxy; it stops when dropped, its connections when either end closes.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    recordings: Arc<Mutex<Vec<Recording>>>,
    stopped: Arc<std::sync::atomic::AtomicBool>,
}

impl Proxy {
    /// Listens on a free port and passes everything on to `service`.
    pub fn before(service: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("a listener has an address");
        let recordings: Arc<Mutex<Vec<Recording>>> = Arc::default();
        let stopped = Arc::<std::sync::atomic::AtomicBool>::default();
        let (table, stop) = (Arc::clone(&recordings), Arc::clone(&stopped));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                pass_on(client, service, &table);
            }
        });
        Self { address, recordings, stopped }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has passed so far, by connection.
    pub fn recordings(&self) -> Vec<Recording> {
        locked(&self.recordings).clone()
    }

    /// Bytes that have passed so far.
    pub fn total(&self) -> u64 {
        locked(&self.recordings).iter().map(|recording| recording.total).sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stopped.store(true, std::sync::atomic::Ordering::Relaxed);
        // Wakes the listener, so that it sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

/// Whether `needle` occurs in `haystack`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn pass_on(client: TcpStream, service: SocketAddr, table: &Arc<Mutex<Vec<Recording>>>) {
    let Ok(server) = TcpStream::connect(service) else {
        return;
    };
    let index = {
        let mut recordings = locked(table);
        recordings.push(Recording::default());
        recordings.len() - 1
    };
    let (Ok(client_too), Ok(server_too)) = (client.try_clone(), server.try_clone()) else {
        return;
    };
    copy(client, server, Arc::clone(table), move |r, bytes| keep(&mut r[index].sent, bytes), index);
    copy(
        server_too,
        client_too,
        Arc::clone(table),
        move |r, bytes| keep(&mut r[index].received, bytes),
        index,
    );
}

fn copy(
    mut from: TcpStream,
    mut to: TcpStream,
    table: Arc<Mutex<Vec<Recording>>>,
    record: impl Fn(&mut [Recording], &[u8]) + Send + 'static,
    index: usize,
) {
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            {
                let mut recordings = locked(&table);
                record(&mut recordings, &buffer[..count]);
                recordings[index].total += count as u64;
            }
            if to.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
        // Either side may have gone already.
        to.shutdown(Shutdown::Write).ok();
        from.shutdown(Shutdown::Read).ok();
    });
}

fn keep(into: &mut Vec<u8>, bytes: &[u8]) {
    let room = KEPT.saturating_sub(into.len()).min(bytes.len());
    into.extend_from_slice(&bytes[..room]);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
