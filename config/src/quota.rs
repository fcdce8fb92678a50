//! What one application may have of what all share.

use super::ByteCount;
use super::error::Issue;
use super::key::AnyKey as _;
use super::keys;
use super::values::Values;

/// What one application may have; `None` leaves it to its share.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct QuotaConfig {
    /// Connections at the same time (`spark.sealed.quota.connections`).
    pub connections: Option<u64>,
    /// Memory of the budget (`spark.sealed.quota.memory`); never less than two segments.
    pub memory: Option<ByteCount>,
    /// Bytes of merged blocks on the disks (`spark.sealed.quota.merged-bytes`).
    pub merged_bytes: Option<ByteCount>,
    /// Bytes a second that it is sent (`spark.sealed.quota.bandwidth`).
    pub bandwidth: Option<ByteCount>,
}

impl QuotaConfig {
    pub(crate) fn read(v: &mut Values<'_>) -> Self {
        let memory = v.optional(&keys::QUOTA_MEMORY).map(|(memory, _)| memory);
        let segment_size = v.value(&keys::SEGMENT_SIZE);
        if let Some(memory) = memory.filter(|memory| memory.as_u64() < 2 * segment_size.as_u64()) {
            let reason = format!("less than two segments of {segment_size}");
            let remedy = format!("raise it, or lower {}", keys::SEGMENT_SIZE.name());
            v.refuse(Issue::new(keys::QUOTA_MEMORY.name(), reason, remedy).with_value(memory.to_string()));
        }
        Self {
            connections: v.optional(&keys::QUOTA_CONNECTIONS).map(|(most, _)| most.into()),
            memory,
            merged_bytes: v.optional(&keys::QUOTA_MERGED_BYTES).map(|(most, _)| most),
            bandwidth: v.optional(&keys::QUOTA_BANDWIDTH).map(|(most, _)| most),
        }
    }
}
