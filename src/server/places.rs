//! Places for connections: one for each that is open, and who gives way when there are none left.
//!
//! A peer that has proven nothing is a stranger. When all places are taken, the stranger that came first gives its place to
//! a peer that waits, once it had time for a handshake. So sockets that say nothing hold nobody up for longer than that.
//! Strangers of one address give way to each other before all places are taken. Peers that have proven who they are keep
//! their places, of which each application has a share.
//!
//! A place is given with a descriptor below the ceiling alone: those above are for operators, who want to see why peers wait.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use sealed_shuffle_transport::descriptors::Ceiling;
use sealed_shuffle_transport::wire::PlaceSource;
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::telemetry::Metrics;

/// Time for a handshake that nobody takes away.
const GRACE: Duration = Duration::from_secs(2);

/// The part of all places that strangers of one address have undisturbed.
const ADDRESS_SHARE: usize = 4;

/// Between two looks for a place where nobody has to give way.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// After so long without a lack it is said that nobody waits any more.
const RELIEF: Duration = Duration::from_secs(10);

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    number: usize,
    free: Arc<Semaphore>,
    room: Room,
    strangers: Mutex<Strangers>,
    most_of_address: usize,
    metrics: Arc<Metrics>,
    /// When something lacked last, while the log says that peers wait.
    lacked: Mutex<Option<Instant>>,
}

/// Where descriptors of connections come from.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) ceiling: Ceiling,
    /// The port closes when the server drains, while connections have their places still.
    pub(super) listener: Weak<TcpListener>,
}

impl Room {
    /// Whether the next connection has a descriptor below the ceiling.
    fn is_left(&self) -> bool {
        self.listener.upgrade().is_none_or(|listener| self.ceiling.has_room(&*listener).is_ok())
    }
}

/// What the next connection waits for.
#[derive(Clone, Copy, Debug)]
enum Lack {
    Places,
    Descriptors,
}

/// The place of one connection.
pub(super) type Place = OwnedSemaphorePermit;

/// Connections that have proven nothing, in the order in which they came.
#[derive(Debug, Default)]
struct Strangers {
    all: BTreeMap<u64, Entry>,
    /// How many each address has.
    of_address: HashMap<IpAddr, usize>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    since: Instant,
    gives_way: CancellationToken,
}

/// One stranger; dropped when it has proven who it is, or has gone.
#[derive(Debug)]
pub(super) struct Stranger {
    places: Arc<Places>,
    number: u64,
}

impl Places {
    pub(super) fn new(number: usize, room: Room, metrics: Arc<Metrics>) -> Arc<Self> {
        let most_of_address = (number / ADDRESS_SHARE).max(1);
        metrics.connections_most.set(i64::try_from(number).unwrap_or(i64::MAX));
        Arc::new(Self {
            number,
            free: Arc::new(Semaphore::new(number)),
            room,
            strangers: Mutex::default(),
            most_of_address,
            metrics,
            lacked: Mutex::default(),
        })
    }

    /// A connection from `address` begins. The token is cancelled when it has to give way.
    pub(super) fn stranger(self: &Arc<Self>, address: IpAddr) -> (Stranger, CancellationToken) {
        let mut strangers = self.strangers();
        let (now, number) = (Instant::now(), strangers.next);
        let gives_way = CancellationToken::new();
        strangers.next += 1;
        let of_address = strangers.of_address.entry(address).or_default();
        *of_address += 1;
        if *of_address > self.most_of_address {
            strangers.send_oldest_of_address_away(address, now);
        }
        strangers.all.insert(number, Entry { address, since: now, gives_way: gives_way.clone() });
        (Stranger { places: Arc::clone(self), number }, gives_way)
    }

    /// The next peer waits from now on. Said once, until it is over.
    fn waits_for(&self, lack: Lack) {
        self.metrics.connections_full.set(1);
        if self.lacked().replace(Instant::now()).is_some() {
            return;
        }
        let number = self.number;
        match lack {
            Lack::Places => warn!(
                "all {number} places for connections are taken: peers wait until one closes; raise \
                 spark.sealed.connections.max, and the limit of open descriptors (LimitNOFILE= of the unit) where that \
                 is lower"
            ),
            Lack::Descriptors => warn!(
                "no descriptor is left for another connection: peers wait until one closes; raise the limit of open \
                 descriptors (LimitNOFILE= of the unit, ulimit -n)"
            ),
        }
    }

    /// The next peer has a place and a descriptor.
    fn waits_no_more(&self) {
        self.metrics.connections_full.set(0);
        let mut lacked = self.lacked();
        if lacked.is_some_and(|last| last.elapsed() >= RELIEF) {
            *lacked = None;
            info!("connections are accepted without a wait again");
        }
    }

    fn lacked(&self) -> MutexGuard<'_, Option<Instant>> {
        self.lacked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn free_place(&self) -> Place {
        loop {
            if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
                return place;
            }
            self.waits_for(Lack::Places);
            let wait = self.strangers().send_oldest_away(Instant::now());
            tokio::select! {
                place = Arc::clone(&self.free).acquire_owned() => match place {
                    Ok(place) => return place,
                    Err(_) => unreachable!("the places are never closed"),
                },
                () = sleep(wait) => {}
            }
        }
    }

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlaceSource for Places {
    type Place = Place;

    async fn place(&self) -> Place {
        let place = self.free_place().await;
        while !self.room.is_left() {
            self.waits_for(Lack::Descriptors);
            self.strangers().send_oldest_away(Instant::now());
            sleep(LOOK_AGAIN).await;
        }
        self.waits_no_more();
        place
    }
}

impl Strangers {
    /// Has the oldest stranger give way if its time is over. How long to wait before looking again.
    fn send_oldest_away(&mut self, now: Instant) -> Duration {
        // Those that were sent away are still on their way out.
        let oldest = self.all.values().find(|entry| !entry.gives_way.is_cancelled());
        let Some(oldest) = oldest else { return LOOK_AGAIN };
        let age = now.saturating_duration_since(oldest.since);
        match GRACE.checked_sub(age) {
            None | Some(Duration::ZERO) => {
                oldest.gives_way.cancel();
                LOOK_AGAIN
            }
            Some(left) => left.min(LOOK_AGAIN),
        }
    }

    fn send_oldest_of_address_away(&mut self, address: IpAddr, now: Instant) {
        let mut of_address = self.all.values().filter(|entry| entry.address == address);
        let oldest = of_address.find(|entry| !entry.gives_way.is_cancelled());
        if let Some(oldest) = oldest.filter(|entry| now.saturating_duration_since(entry.since) >= GRACE) {
            oldest.gives_way.cancel();
        }
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let mut strangers = self.places.strangers();
        let Some(Entry { address, .. }) = strangers.all.remove(&self.number) else { return };
        if let Some(left) = strangers.of_address.get_mut(&address) {
            *left -= 1;
            if *left == 0 {
                strangers.of_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::time::advance;

    use super::*;

    /// So many places, and descriptors below `ceiling`; and the port.
    async fn places(number: usize, ceiling: Ceiling) -> (Arc<Places>, Arc<TcpListener>) {
        let listener = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let room = Room { ceiling, listener: Arc::downgrade(&listener) };
        (Places::new(number, room, Arc::default()), listener)
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_descriptor_there_is_no_place_and_the_metrics_say_so() {
        let (full, _port) = places(8, Ceiling::below(Some(3), 0)).await;
        assert!(tokio::time::timeout(10 * GRACE, full.place()).await.is_err(), "0 to 2 are open");
        assert_eq!((full.metrics.connections_full.get(), full.free.available_permits()), (1, 8));
        let (roomy, _port) = places(8, Ceiling::below(Some(1 << 20), 0)).await;
        let _place = roomy.place().await;
        assert_eq!((roomy.metrics.connections_full.get(), roomy.metrics.connections_most.get()), (0, 8));
    }

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[tokio::test(start_paused = true)]
    async fn silent_strangers_give_way_to_who_waits_after_their_grace() {
        let (places, _port) = places(8, Ceiling::NONE).await;
        let mut silent = Vec::new();
        for n in 0..8 {
            let place = places.place().await;
            let (stranger, gives_way) = places.stranger(address(n));
            silent.push(tokio::spawn(async move {
                gives_way.cancelled().await;
                drop((place, stranger));
                n
            }));
        }
        let began = Instant::now();
        let _place = places.place().await;
        assert!((GRACE..2 * GRACE).contains(&began.elapsed()), "{:?}", began.elapsed());
        assert_eq!(silent.remove(0).await.unwrap(), 0, "the oldest");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_a_stranger_no_more_keeps_its_place() {
        let (places, _port) = places(1, Ceiling::NONE).await;
        let _place = places.place().await;
        let (stranger, gives_way) = places.stranger(address(1));
        drop(stranger);
        let waits = tokio::time::timeout(10 * GRACE, places.place()).await;
        assert!(waits.is_err() && !gives_way.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_of_one_address_give_way_to_each_other_first() {
        let (places, _port) = places(8, Ceiling::NONE).await;
        let (first, other) = (places.stranger(address(1)), places.stranger(address(2)));
        let second = places.stranger(address(1));
        advance(GRACE).await;
        let _third = places.stranger(address(1));
        assert!(first.1.is_cancelled());
        assert!(!second.1.is_cancelled() && !other.1.is_cancelled());
        assert_eq!(places.strangers().of_address.len(), 2);
        drop((first, second, other));
        assert_eq!(places.strangers().of_address.len(), 1);
    }
}
