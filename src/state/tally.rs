//! The sum of all records: what tells that one was taken away, or an older one put back.
//!
//! ```text
//! records (u64) ‖ bytes of names and values (u64) ‖ exclusive or of HMAC-SHA256(tally key, name, value) over all (32)
//! ```
//!
//! Sealed as any record, written in the transaction that changes the others. Whoever has no key cannot make records
//! whose sum is the same: the summands are unknown to him.

use super::record::{Kind, Text};
use super::seal::{PART, StateKeys};

/// The sum.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Tally {
    pub(super) records: u64,
    pub(super) bytes: u64,
    sum: [u8; 32],
}

/// The name of its record.
pub(super) const NAME: [u8; PART + 1] = {
    let mut name = [0; PART + 1];
    name[PART] = Kind::Tally as u8;
    name
};

impl Tally {
    pub(super) fn add(&mut self, keys: &StateKeys, name: &[u8], value: &[u8]) {
        self.records = self.records.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size(name, value));
        self.mix(keys.share(name, value));
    }

    pub(super) fn remove(&mut self, keys: &StateKeys, name: &[u8], value: &[u8]) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size(name, value));
        self.mix(keys.share(name, value));
    }

    pub(super) fn encode(&self) -> Text {
        Text::new([&self.records.to_be_bytes()[..], &self.bytes.to_be_bytes(), &self.sum].concat())
    }

    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        let (records, rest) = text.split_first_chunk()?;
        let (bytes, rest) = rest.split_first_chunk()?;
        let sum = rest.try_into().ok()?;
        Some(Self { records: u64::from_be_bytes(*records), bytes: u64::from_be_bytes(*bytes), sum })
    }

    fn mix(&mut self, share: [u8; 32]) {
        self.sum.iter_mut().zip(share).for_each(|(sum, byte)| *sum ^= byte);
    }
}

pub(super) fn size(name: &[u8], value: &[u8]) -> u64 {
    u64::try_from(name.len() + value.len()).unwrap_or(u64::MAX)
}
