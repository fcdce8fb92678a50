//! Places for connections: one for each that is open, and who gives way when there are none left.
//!
//! A peer that has proven nothing is a stranger. When all places are taken, the stranger that came first gives its place to
//! a peer that waits, once it had time for a handshake. So sockets that say nothing hold nobody up for longer than that.
//! Strangers of one address give way to each other before all places are taken. Peers that have proven who they are keep
//! their places, of which each application has a share.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealed_shuffle_transport::wire::PlaceSource;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Time for a handshake that nobody takes away.
const GRACE: Duration = Duration::from_secs(2);

/// The part of all places that strangers of one address have undisturbed.
const ADDRESS_SHARE: usize = 4;

/// Between two looks for a place where nobody has to give way.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    strangers: Mutex<Strangers>,
    most_of_address: usize,
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
    pub(super) fn new(number: usize) -> Arc<Self> {
        let most_of_address = (number / ADDRESS_SHARE).max(1);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(number)),
            strangers: Mutex::default(),
            most_of_address,
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

    fn strangers(&self) -> MutexGuard<'_, Strangers> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PlaceSource for Places {
    type Place = Place;

    async fn place(&self) -> Place {
        loop {
            if let Ok(place) = Arc::clone(&self.free).try_acquire_owned() {
                return place;
            }
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

    fn address(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[tokio::test(start_paused = true)]
    async fn silent_strangers_give_way_to_who_waits_after_their_grace() {
        let places = Places::new(8);
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
        let places = Places::new(1);
        let _place = places.place().await;
        let (stranger, gives_way) = places.stranger(address(1));
        drop(stranger);
        let waits = tokio::time::timeout(10 * GRACE, places.place()).await;
        assert!(waits.is_err() && !gives_way.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_of_one_address_give_way_to_each_other_first() {
        let places = Places::new(8);
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
