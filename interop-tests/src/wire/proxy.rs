//! A TCP proxy in front of a service that records both directions of every connection, and can do what networks do:
//! change a byte, or stop delivering.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

/// Recorded per connection and direction; what exceeds it is passed on and only counted.
const KEPT: usize = 64 << 20;

/// Shorter pieces pass unchanged: they could be a length alone, and a changed length only makes a reader wait.
const CHANGEABLE: usize = 48;
/// How long a test waits for bytes to arrive at a closed gate.
const GATE_LIMIT: Duration = Duration::from_secs(30);

/// Which way bytes go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From the client.
    ToService,
    /// From the service.
    ToClient,
}

/// What the proxy is told to do to what passes next.
#[derive(Debug, Default)]
struct Mischief {
    flip: Option<Direction>,
    /// Bytes to clients that still pass before the gate closes.
    gate: Option<u64>,
    waiting: bool,
}

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
    mischief: Arc<(Mutex<Mischief>, Condvar)>,
    stopped: Arc<std::sync::atomic::AtomicBool>,
}

impl Proxy {
    /// Listens on a free port and passes everything on to `service`.
    pub fn before(service: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("a listener has an address");
        let recordings: Arc<Mutex<Vec<Recording>>> = Arc::default();
        let stopped = Arc::<std::sync::atomic::AtomicBool>::default();
        let mischief: Arc<(Mutex<Mischief>, Condvar)> = Arc::default();
        let (table, orders, stop) = (Arc::clone(&recordings), Arc::clone(&mischief), Arc::clone(&stopped));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                pass_on(client, service, &table, &orders);
            }
        });
        Self { address, recordings, mischief, stopped }
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

impl Proxy {
    /// Changes one bit of what passes next this way.
    pub fn flip_next(&self, direction: Direction) {
        locked(&self.mischief.0).flip = Some(direction);
    }

    /// Delivers so many more bytes to clients, then none until [`Proxy::open_gate`].
    pub fn close_gate_after(&self, bytes: u64) {
        locked(&self.mischief.0).gate = Some(bytes);
    }

    /// Waits until bytes wait at the closed gate.
    pub fn await_gate(&self) {
        let (mischief, changed) = &*self.mischief;
        let waited = changed.wait_timeout_while(locked(mischief), GATE_LIMIT, |mischief| !mischief.waiting);
        assert!(waited.is_ok_and(|(_, limit)| !limit.timed_out()), "nothing arrived at the gate");
    }

    /// Delivers again.
    pub fn open_gate(&self) {
        locked(&self.mischief.0).gate = None;
        self.mischief.1.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.open_gate();
        self.stopped.store(true, std::sync::atomic::Ordering::Relaxed);
        // Wakes the listener, so that it sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

/// Whether `needle` occurs in `haystack`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn pass_on(
    client: TcpStream,
    service: SocketAddr,
    table: &Arc<Mutex<Vec<Recording>>>,
    mischief: &Arc<(Mutex<Mischief>, Condvar)>,
) {
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
    for (from, to, direction) in
        [(client, server, Direction::ToService), (server_too, client_too, Direction::ToClient)]
    {
        let (table, mischief) = (Arc::clone(table), Arc::clone(mischief));
        thread::spawn(move || copy(from, to, direction, index, &table, &mischief));
    }
}

fn copy(
    mut from: TcpStream,
    mut to: TcpStream,
    direction: Direction,
    index: usize,
    table: &Mutex<Vec<Recording>>,
    mischief: &(Mutex<Mischief>, Condvar),
) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &mut buffer[..count];
        do_mischief(bytes, direction, mischief);
        {
            let recording = &mut locked(table)[index];
            recording.total += count as u64;
            keep(recording.way(direction), bytes);
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    // Either side may have gone already.
    to.shutdown(Shutdown::Write).ok();
    from.shutdown(Shutdown::Read).ok();
}

/// Changes the bytes if that was ordered, and returns when they may pass.
fn do_mischief(bytes: &mut [u8], direction: Direction, (orders, changed): &(Mutex<Mischief>, Condvar)) {
    let mut orders = locked(orders);
    if orders.flip == Some(direction)
        && bytes.len() > CHANGEABLE
        && let Some(last) = bytes.last_mut()
    {
        *last ^= 1;
        orders.flip = None;
    }
    if direction == Direction::ToService {
        return;
    }
    while let Some(left) = orders.gate {
        let passing = bytes.len() as u64;
        if passing <= left {
            orders.gate = Some(left - passing);
            return;
        }
        orders.waiting = true;
        changed.notify_all();
        orders = changed.wait(orders).unwrap_or_else(std::sync::PoisonError::into_inner);
    }
    orders.waiting = false;
}

impl Recording {
    fn way(&mut self, direction: Direction) -> &mut Vec<u8> {
        match direction {
            Direction::ToService => &mut self.sent,
            Direction::ToClient => &mut self.received,
        }
    }
}

fn keep(into: &mut Vec<u8>, bytes: &[u8]) {
    let room = KEPT.saturating_sub(into.len()).min(bytes.len());
    into.extend_from_slice(&bytes[..room]);
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
