//! What others can cause again and again: the first of a kind are written in full within a minute, and the rest is summed
//! up in one record. The tables are bounded: what finds no place in one is summed up in one entry.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use super::record::{Deeds, Record, stamp};

/// After so long a kind begins anew.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

/// What is counted together.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Subject {
    pub(super) what: &'static str,
    /// A word of ours: why something was refused.
    pub(super) reason: &'static str,
    /// Whose it is: an application or an address. None for all that found no place.
    pub(super) whose: Option<(&'static str, String)>,
}

/// How much is written in full within a [`PERIOD`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    /// Of one kind.
    pub(super) each: u32,
    /// Of all kinds.
    pub(super) all: u32,
    /// Kinds that are told apart.
    pub(super) subjects: usize,
}

/// A table of kinds.
#[derive(Debug)]
pub(super) struct Sums {
    bound: Bound,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    entries: HashMap<Subject, Entry>,
    since: Option<Instant>,
    in_full: u32,
}

#[derive(Debug)]
struct Entry {
    since: Instant,
    began: SystemTime,
    in_full: u32,
    count: u64,
    deeds: Deeds,
    last: String,
}

impl Sums {
    pub(super) fn new(bound: Bound) -> Self {
        Self { bound, table: Mutex::default() }
    }

    /// Whether one of a kind is to be written in full. If not, it is counted.
    pub(super) fn is_in_full(&self, now: Instant, subject: Subject, deeds: &Deeds, last: &str) -> bool {
        let mut guard = self.table();
        let table = &mut *guard;
        if table.since.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD) {
            (table.since, table.in_full) = (Some(now), 0);
        }
        let has_place = table.entries.len() < self.bound.subjects || table.entries.contains_key(&subject);
        let subject = if has_place { subject } else { Subject { whose: None, ..subject } };
        let is_known = subject.whose.is_some();
        let entry = table.entries.entry(subject).or_insert_with(|| Entry {
            since: now,
            began: SystemTime::now(),
            in_full: 0,
            count: 0,
            deeds: Deeds::default(),
            last: String::new(),
        });
        if is_known && entry.in_full < self.bound.each && table.in_full < self.bound.all {
            entry.in_full += 1;
            table.in_full += 1;
            return true;
        }
        entry.count += 1;
        entry.deeds.add(deeds);
        last.clone_into(&mut entry.last);
        false
    }

    /// The sums of what was counted for a [`PERIOD`]; with `all`, of whatever was counted.
    pub(super) fn take(&self, now: Instant, all: bool) -> Vec<Record> {
        let mut table = self.table();
        let is_over = |entry: &Entry| all || now.saturating_duration_since(entry.since) >= PERIOD;
        let over: Vec<_> = table.entries.extract_if(|_, entry| is_over(entry)).collect();
        over.into_iter()
            .filter(|(_, entry)| entry.count > 0)
            .map(|(subject, entry)| sum(subject, entry))
            .collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sum(Subject { what, reason, whose }: Subject, entry: Entry) -> Record {
    let record = Record::now(what).value("summed", entry.count);
    let record = record.value("since", stamp(entry.began));
    let record = match whose {
        Some((name, whose)) => record.text(name, &whose),
        None => record,
    };
    let record = if reason.is_empty() { record } else { record.value("reason", reason) };
    let record = if entry.last.is_empty() { record } else { record.text("last", &entry.last) };
    entry.deeds.put(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Bound = Bound { each: 4, all: 10, subjects: 3 };

    fn of(whose: u32) -> Subject {
        Subject { what: "refused", reason: "x", whose: Some(("address", whose.to_string())) }
    }

    #[test]
    fn whoever_comes_again_and_again_leaves_a_bounded_number_of_records() {
        let (sums, now) = (Sums::new(BOUND), Instant::now());
        let deeds = Deeds { read_bytes: 2, ..Deeds::default() };
        let in_full = (0..1000).filter(|_| sums.is_in_full(now, of(1), &deeds, "it")).count();
        assert_eq!(in_full, 4);
        let in_full = (0..1000).filter(|n| sums.is_in_full(now, of(*n), &deeds, "it")).count();
        assert!(in_full <= 6, "of all kinds together no more than the bound: {in_full}");
        assert_eq!(sums.take(now + PERIOD / 2, false).len(), 0, "not yet");
        let taken = sums.take(now + PERIOD, false);
        assert!(taken.len() <= 4, "{taken:?}");
        let counted: u64 = taken.iter().map(|record| record.fields["summed"].as_u64().unwrap()).sum();
        assert_eq!(counted as usize + 4 + in_full, 2000, "nothing is lost");
        let bytes: u64 = taken.iter().map(|record| record.fields["read_bytes"].as_u64().unwrap()).sum();
        assert_eq!(bytes, 2 * counted);
        assert!(sums.is_in_full(now + PERIOD, of(1), &deeds, "it"), "it begins anew");
    }
}
