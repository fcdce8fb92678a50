//! Lines of the log that a peer can cause again and again: refusals and closes.
//!
//! The first ones of a kind from an address are said in full. Further ones are counted, and a line sums them up once a
//! minute, with the last of them. Faults of ours, such as files that cannot be read, are told apart by their words as
//! well: each is said, once a minute. The tables are bounded: what finds no place in one is counted in one entry.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::shown::Shown;
use tracing::{info, warn};

/// Lines of a kind from an address that are said in full within a [`PERIOD`].
const IN_FULL: u32 = 4;

/// After so long the counting of a kind from an address begins anew.
const PERIOD: Duration = Duration::from_secs(60);

/// Subjects that are told apart, of peers and of faults each.
const MOST: usize = 1024;

/// How loud a line is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Loudness {
    Info,
    Warn,
}

/// What lines are counted together.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Subject {
    kind: &'static str,
    /// Whose address it is about; none for all that found no place.
    peer: Option<IpAddr>,
    /// A hash of the words, where those tell subjects apart.
    words: Option<u64>,
}

type Table = Mutex<HashMap<Subject, Entry>>;

/// The lines that were said, and those that were only counted.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    of_peers: Table,
    of_faults: Table,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    said: u32,
    sum: Sum,
}

/// What was counted and not said.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Sum {
    loudness: Loudness,
    count: u64,
    last: String,
}

impl Repeats {
    /// Whether a line of such a kind is to be said in full. If not, it is counted, and `words` are kept until the next.
    pub(super) fn is_said(
        &self,
        loudness: Loudness,
        kind: &'static str,
        peer: SocketAddr,
        words: &dyn Display,
    ) -> bool {
        let subject = Subject { kind, peer: Some(peer.ip().to_canonical()), words: None };
        is_said_at(&self.of_peers, Instant::now(), loudness, subject, words)
    }

    /// The same for a fault of ours that a peer came upon.
    pub(super) fn is_fault_said(&self, kind: &'static str, peer: SocketAddr, words: &dyn Display) -> bool {
        let mut hash = DefaultHasher::new();
        words.to_string().hash(&mut hash);
        let subject = Subject { kind, peer: Some(peer.ip().to_canonical()), words: Some(hash.finish()) };
        is_said_at(&self.of_faults, Instant::now(), Loudness::Warn, subject, words)
    }

    /// Sums up in the log what was counted for a minute; with `all`, whatever was counted.
    pub(super) fn sum_up(&self, all: bool) {
        let now = if all { Instant::now() + PERIOD } else { Instant::now() };
        let sums = [&self.of_peers, &self.of_faults].into_iter().flat_map(|table| take(table, now));
        for (Subject { kind, peer, .. }, Sum { loudness, count, last }) in sums {
            let peer = peer.map_or_else(|| "many addresses".to_owned(), |peer| peer.to_string());
            match loudness {
                Loudness::Warn => warn!(peer, count, kind, "more of the same kind; the last: {last}"),
                Loudness::Info => info!(peer, count, kind, "more of the same kind; the last: {last}"),
            }
        }
    }
}

fn is_said_at(
    table: &Table,
    now: Instant,
    loudness: Loudness,
    mut subject: Subject,
    words: &dyn Display,
) -> bool {
    let mut table = lock(table);
    if table.len() >= MOST && !table.contains_key(&subject) {
        subject = Subject { peer: None, words: None, ..subject };
    }
    let sum = Sum { loudness, count: 0, last: String::new() };
    let entry = table.entry(subject).or_insert(Entry { since: now, said: 0, sum });
    // The words of a fault are the same each time.
    if entry.said < if subject.words.is_some() { 1 } else { IN_FULL } {
        entry.said += 1;
        return true;
    }
    entry.sum.count += 1;
    entry.sum.last = Shown(&words.to_string()).to_string();
    false
}

/// Takes out the entries whose time is over, those with something to sum up to be said.
fn take(table: &Table, now: Instant) -> Vec<(Subject, Sum)> {
    let mut table = lock(table);
    let over = table.extract_if(|_, entry| now.saturating_duration_since(entry.since) >= PERIOD);
    let sums = over.map(|(subject, entry)| (subject, entry.sum));
    sums.filter(|(_, sum)| sum.count > 0).collect()
}

fn lock(table: &Table) -> MutexGuard<'_, HashMap<Subject, Entry>> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    fn of(kind: &'static str, peer: u32) -> Subject {
        Subject { kind, peer: Some(address(peer)), words: None }
    }

    #[test]
    fn the_first_of_a_kind_from_an_address_are_said_and_the_rest_is_summed_up_once() {
        let (table, now) = (Table::default(), Instant::now());
        let is_said = |kind, peer, n: u64| {
            is_said_at(&table, now, Loudness::Warn, of(kind, peer), &format_args!("line {n}\n"))
        };
        let said = (0..200).filter(|n| is_said("bad_frame", 1, *n)).count();
        assert_eq!(said, IN_FULL as usize);
        assert!(is_said("bad_frame", 2, 0) && is_said("io", 1, 0), "another address, another kind");
        assert_eq!(take(&table, now + PERIOD / 2), [], "not yet");
        let sum =
            Sum { loudness: Loudness::Warn, count: 200 - u64::from(IN_FULL), last: "line 199\\n".into() };
        assert_eq!(take(&table, now + PERIOD), [(of("bad_frame", 1), sum)]);
        assert!(is_said("bad_frame", 1, 0), "it begins anew");
    }

    #[test]
    fn what_finds_no_place_is_counted_in_one_entry() {
        let (table, now) = (Table::default(), Instant::now());
        let said = |n| is_said_at(&table, now, Loudness::Info, of("io", n), &"gone");
        let most = u32::try_from(MOST).unwrap();
        assert!((0..most).all(said));
        assert_eq!((most..most + 1000).filter(|n| said(*n)).count(), IN_FULL as usize);
        assert_eq!(lock(&table).len(), MOST + 1);
        let sums = take(&table, now + PERIOD);
        assert_eq!(sums.len(), 1);
        assert_eq!((sums[0].0.peer, sums[0].1.count), (None, 1000 - u64::from(IN_FULL)));
    }

    #[test]
    fn every_fault_is_said_and_the_same_one_once() {
        let (repeats, peer) = (Repeats::default(), SocketAddr::new(address(1), 7));
        let is_said = |file: u32| repeats.is_fault_said("body_failed", peer, &format_args!("file {file}"));
        assert!((0..100).all(is_said), "each names another file");
        assert!(!(0..100).any(is_said), "and was named");
    }
}
