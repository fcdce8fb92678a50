//! The room for handshakes that wait for a secret: bounded, and fair between addresses.
//!
//! Whoever comes finds a place. Where there is none, the handshake that has waited longest goes, of the address that has
//! most of them: strangers push out each other, and not a peer whose secret is late.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Most handshakes that wait at the same time.
pub(super) const MOST_WAITING: usize = 256;

/// The room.
#[derive(Debug, Default)]
pub(super) struct WaitingRoom {
    places: Arc<Mutex<Places>>,
}

#[derive(Debug, Default)]
struct Places {
    next: u64,
    /// By the order of coming.
    taken: BTreeMap<u64, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    from: IpAddr,
    lost: CancellationToken,
}

/// A place in the room; its drop leaves it.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    lost: CancellationToken,
    places: Arc<Mutex<Places>>,
}

impl WaitingRoom {
    /// Takes a place for a peer at this address.
    pub(super) fn enter(&self, peer: IpAddr) -> Place {
        let mut places = lock(&self.places);
        let number = places.next;
        let lost = CancellationToken::new();
        places.next += 1;
        places.taken.insert(number, Waiter { from: network(peer), lost: lost.clone() });
        if places.taken.len() > MOST_WAITING {
            places.push_out();
        }
        Place { number, lost, places: Arc::clone(&self.places) }
    }
}

impl Places {
    fn push_out(&mut self) {
        let mut number_of = HashMap::new();
        self.taken.values().for_each(|waiting| *number_of.entry(waiting.from).or_insert(0) += 1);
        let most = number_of.values().copied().max().unwrap_or(0);
        let longest = self.taken.iter().find(|(_, waiting)| number_of.get(&waiting.from) == Some(&most));
        if let Some(number) = longest.map(|(number, _)| *number)
            && let Some(waiting) = self.taken.remove(&number)
        {
            waiting.lost.cancel();
        }
    }
}

impl Place {
    /// Resolves when the place went to somebody else.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.places).taken.remove(&self.number);
    }
}

/// What counts as one address: of IPv6 the network of 64 bits, since a peer has all addresses in its own.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

fn lock(places: &Mutex<Places>) -> MutexGuard<'_, Places> {
    places.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn strangers_of_one_address_push_out_each_other_alone() {
        let room = WaitingRoom::default();
        let honest = room.enter(address(1));
        let strangers: Vec<_> = (0..2 * MOST_WAITING).map(|_| room.enter(address(2))).collect();
        assert!(!honest.lost.is_cancelled());
        let left = strangers.iter().filter(|place| !place.lost.is_cancelled()).count();
        assert_eq!(left, MOST_WAITING - 1);
        assert!(strangers[0].lost.is_cancelled() && !strangers[2 * MOST_WAITING - 1].lost.is_cancelled());
    }

    #[test]
    fn a_peer_that_comes_into_a_full_room_finds_a_place() {
        let room = WaitingRoom::default();
        let strangers: Vec<_> = (0..MOST_WAITING as u32).map(|n| room.enter(address(100 + n))).collect();
        let honest = room.enter(address(1));
        assert!(!honest.lost.is_cancelled() && strangers[0].lost.is_cancelled());
        drop((honest, strangers));
        assert!(lock(&room.places).taken.is_empty(), "places are given back");
    }

    #[test]
    fn addresses_of_a_network_of_64_bits_count_as_one() {
        let of = |text: &str| network(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
