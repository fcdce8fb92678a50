//! Lines of the log that a peer can cause again and again: refusals and closes.
//!
//! The first ones of a kind from an address are said in full. Further ones are counted, and a line sums them up once a
//! minute, with the last of them. The table is bounded: what finds no place in it is counted in one entry.

use std::collections::HashMap;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::shown::Shown;
use tracing::{info, warn};

/// Lines of a kind from an address that are said in full within a [`PERIOD`].
const IN_FULL: u32 = 4;

/// After so long the counting of a kind from an address begins anew.
const PERIOD: Duration = Duration::from_secs(60);

/// Kinds from addresses that are told apart.
const MOST: usize = 1024;

/// How loud a line is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Loudness {
    Info,
    Warn,
}

/// A kind of line, and whose address it is about; no address for all that found no place.
type Subject = (&'static str, Option<IpAddr>);

/// The lines that were said, and those that were only counted.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    table: Mutex<HashMap<Subject, Entry>>,
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
        self.is_said_at(Instant::now(), loudness, kind, peer.ip().to_canonical(), words)
    }

    /// Sums up in the log what was counted for a minute; with `all`, whatever was counted.
    pub(super) fn sum_up(&self, all: bool) {
        let now = if all { Instant::now() + PERIOD } else { Instant::now() };
        for ((kind, peer), Sum { loudness, count, last }) in self.take(now) {
            let peer = peer.map_or_else(|| "many addresses".to_owned(), |peer| peer.to_string());
            match loudness {
                Loudness::Warn => warn!(peer, count, kind, "more of the same kind; the last: {last}"),
                Loudness::Info => info!(peer, count, kind, "more of the same kind; the last: {last}"),
            }
        }
    }

    fn is_said_at(
        &self,
        now: Instant,
        loudness: Loudness,
        kind: &'static str,
        peer: IpAddr,
        words: &dyn Display,
    ) -> bool {
        let mut table = self.table();
        let is_full = table.len() >= MOST && !table.contains_key(&(kind, Some(peer)));
        let subject = (kind, if is_full { None } else { Some(peer) });
        let entry = table.entry(subject).or_insert_with(|| Entry {
            since: now,
            said: 0,
            sum: Sum { loudness, count: 0, last: String::new() },
        });
        if entry.said < IN_FULL {
            entry.said += 1;
            return true;
        }
        entry.sum.count += 1;
        entry.sum.last = Shown(&words.to_string()).to_string();
        false
    }

    /// Takes out the entries whose time is over, those with something to sum up to be said.
    fn take(&self, now: Instant) -> Vec<(Subject, Sum)> {
        let mut table = self.table();
        let over = table.extract_if(|_, entry| now.saturating_duration_since(entry.since) >= PERIOD);
        let sums = over.map(|(subject, entry)| (subject, entry.sum));
        sums.filter(|(_, sum)| sum.count > 0).collect()
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Subject, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn the_first_of_a_kind_from_an_address_are_said_and_the_rest_is_summed_up_once() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let is_said = |kind, peer, n: u64| {
            repeats.is_said_at(now, Loudness::Warn, kind, address(peer), &format_args!("line {n}\n"))
        };
        let said = (0..200).filter(|n| is_said("bad_frame", 1, *n)).count();
        assert_eq!(said, IN_FULL as usize);
        assert!(is_said("bad_frame", 2, 0) && is_said("io", 1, 0), "another address, another kind");
        assert_eq!(repeats.take(now + PERIOD / 2), [], "not yet");
        let sum =
            Sum { loudness: Loudness::Warn, count: 200 - u64::from(IN_FULL), last: "line 199\\n".into() };
        assert_eq!(repeats.take(now + PERIOD), [(("bad_frame", Some(address(1))), sum)]);
        assert!(is_said("bad_frame", 1, 0), "it begins anew");
    }

    #[test]
    fn what_finds_no_place_is_counted_in_one_entry() {
        let (repeats, now) = (Repeats::default(), Instant::now());
        let said = |n| repeats.is_said_at(now, Loudness::Info, "io", address(n), &"gone");
        let most = u32::try_from(MOST).unwrap();
        assert!((0..most).all(said));
        assert_eq!((most..most + 1000).filter(|n| said(*n)).count(), IN_FULL as usize);
        assert_eq!(repeats.table().len(), MOST + 1);
        let sums = repeats.take(now + PERIOD);
        assert_eq!(sums.len(), 1);
        assert_eq!((sums[0].0, sums[0].1.count), (("io", None), 1000 - u64::from(IN_FULL)));
    }
}
