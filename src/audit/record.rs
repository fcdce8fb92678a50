//! What is written down, before it has its place in the chain.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sealed_shuffle_protocol::shown::short;
use serde_json::{Map, Value};
use time::OffsetDateTime;

/// A record without its place.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) time: SystemTime,
    pub(super) what: &'static str,
    pub(super) fields: Map<String, Value>,
}

impl Record {
    /// A record of what happens now.
    pub(super) fn now(what: &'static str) -> Self {
        Self { time: SystemTime::now(), what, fields: Map::new() }
    }

    /// With a text that may be anybody's: it is made harmless, and cut where it is long.
    pub(super) fn text(self, name: &str, text: &str) -> Self {
        self.value(name, short(text))
    }

    /// With a value of ours.
    pub(super) fn value(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// The same where there is one.
    pub(super) fn maybe(self, name: &str, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(name, text),
            None => self,
        }
    }
}

/// RFC 3339 in UTC, to the millisecond.
pub(crate) fn stamp(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let nanos = i128::from(u64::try_from(since.as_millis()).unwrap_or(0)) * 1_000_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (date, hour, minute, second) = (time.date(), time.hour(), time.minute(), time.second());
    let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
    let milli = time.millisecond();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// What one connection, or several, did. Adding to it is all that a request costs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Deeds {
    /// Executors that were registered.
    pub(crate) registered: u64,
    /// Blocks that were handed out, and their bytes.
    pub(crate) read_blocks: u64,
    pub(crate) read_bytes: u64,
    /// Blocks that were pushed, and their bytes.
    pub(crate) pushed_blocks: u64,
    pub(crate) pushed_bytes: u64,
    /// Those of them that were not merged: they came too late, or failed.
    pub(crate) not_merged: u64,
    /// Merges that were finalized.
    pub(crate) finalized: u64,
    /// Blocks and merges that were removed.
    pub(crate) removed_blocks: u64,
    pub(crate) removed_merges: u64,
    /// Blocks that were diagnosed.
    pub(crate) diagnosed: u64,
    /// Requests that failed or were refused.
    pub(crate) failed: u64,
}

impl Deeds {
    /// One handed out chunk.
    pub(crate) fn read(&mut self, blocks: u64, bytes: u64) {
        self.read_blocks += blocks;
        self.read_bytes += bytes;
    }

    /// One pushed block.
    pub(crate) fn pushed(&mut self, bytes: u64) {
        self.pushed_blocks += 1;
        self.pushed_bytes += bytes;
    }

    pub(super) fn add(&mut self, other: &Self) {
        // No field is left out.
        let Self {
            registered,
            read_blocks,
            read_bytes,
            pushed_blocks,
            pushed_bytes,
            not_merged,
            finalized,
            removed_blocks,
            removed_merges,
            diagnosed,
            failed,
        } = other;
        self.registered += registered;
        self.read_blocks += read_blocks;
        self.read_bytes += read_bytes;
        self.pushed_blocks += pushed_blocks;
        self.pushed_bytes += pushed_bytes;
        self.not_merged += not_merged;
        self.finalized += finalized;
        self.removed_blocks += removed_blocks;
        self.removed_merges += removed_merges;
        self.diagnosed += diagnosed;
        self.failed += failed;
    }

    /// What was done, without what was not.
    pub(super) fn put(&self, record: Record) -> Record {
        let named = [
            ("registered", self.registered),
            ("read_blocks", self.read_blocks),
            ("read_bytes", self.read_bytes),
            ("pushed_blocks", self.pushed_blocks),
            ("pushed_bytes", self.pushed_bytes),
            ("not_merged", self.not_merged),
            ("finalized", self.finalized),
            ("removed_blocks", self.removed_blocks),
            ("removed_merges", self.removed_merges),
            ("diagnosed", self.diagnosed),
            ("failed", self.failed),
        ];
        let done = named.into_iter().filter(|(_, count)| *count > 0);
        done.fold(record, |record, (name, count)| record.value(name, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_rfc_3339() {
        let at = UNIX_EPOCH + Duration::from_millis(1_764_500_000_007);
        assert_eq!(stamp(at), "2025-11-30T10:53:20.007Z");
        assert_eq!(stamp(UNIX_EPOCH), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn text_of_a_peer_is_harmless_and_short() {
        let record = Record::now("x").text("app", &format!("a\u{202e}\n{}", "é".repeat(1000)));
        let text = record.fields["app"].as_str().unwrap();
        assert!(text.starts_with("a\\u{202e}\\n") && text.chars().count() == 257, "{text}");
    }
}
