//! The form in which Spark's executors read a merged partition on their own host.
//!
//! | file | holds |
//! |---|---|
//! | `.data` | the blocks of all chunks, one behind the other |
//! | `.meta` | the bitmap of each chunk, one behind the other |
//! | `.index` | where each chunk begins, and the end of the last: 8 bytes each, big endian |
//!
//! Origin: `RemoteBlockPushResolver` and `IndexShuffleBlockResolver.getMergedBlockData`, Spark 4.3.0.

/// Bytes of an offset in the index.
pub(super) const OFFSET: usize = 8;

/// The index of a partition with these offsets.
pub(super) fn index_of(offsets: &[u64]) -> Vec<u8> {
    offsets.iter().flat_map(|offset| offset.to_be_bytes()).collect()
}

/// The offsets of an index: from 0, none before the one ahead of it.
pub(super) fn offsets(index: &[u8]) -> Option<Vec<u64>> {
    let (offsets, rest) = index.as_chunks::<OFFSET>();
    let offsets: Vec<u64> = offsets.iter().map(|offset| u64::from_be_bytes(*offset)).collect();
    (rest.is_empty() && offsets.first() == Some(&0) && offsets.is_sorted()).then_some(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_taken_from_zero_and_in_order_only() {
        assert_eq!(offsets(&index_of(&[0, 7, 7, 9])), Some(vec![0, 7, 7, 9]));
        for wrong in
            [index_of(&[]), index_of(&[1, 2]), index_of(&[0, 9, 7]), index_of(&[0, 9])[..12].to_vec()]
        {
            assert_eq!(offsets(&wrong), None, "{wrong:?}");
        }
    }
}
