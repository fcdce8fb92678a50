//! Which blocks go together, and to which merger (ShuffleBlockPusher.prepareBlockPushRequests, Spark 4.3.0).

use std::collections::VecDeque;

use sealed_shuffle_protocol::ids::ReduceId;
use sealed_shuffle_transport::random::random_bytes;

use super::MapOutput;
use super::report::PushOutcome;
use crate::{BlockBody, Settings};

/// The merger of a partition: neighbours go to the same one.
///
/// `partitions` and `mergers` are those of the whole shuffle, the same for every map task. What lies outside of them goes
/// to the first or last merger.
pub fn merger_of(reduce: ReduceId, partitions: u32, mergers: usize) -> usize {
    let mergers = u32::try_from(mergers).unwrap_or(u32::MAX);
    // In floating point as Spark has it, so that both choose alike at every border.
    let place = f64::from(reduce.0) / f64::from(partitions.max(1)) * f64::from(mergers);
    // A cast to an integer takes what is below it for 0.
    place.floor().min(f64::from(mergers.saturating_sub(1))) as usize
}

/// Blocks that are sent one behind the other to one merger.
#[derive(Debug)]
pub(super) struct Request {
    /// Which merger.
    pub(super) merger: usize,
    pub(super) blocks: Vec<PlannedBlock>,
}

/// A block that will be sent.
#[derive(Debug)]
pub(super) struct PlannedBlock {
    /// Its place in the map output.
    pub(super) at: usize,
    pub(super) reduce: ReduceId,
    pub(super) body: BlockBody,
}

impl Request {
    pub(super) fn size(&self) -> u64 {
        self.blocks.iter().map(|block| block.body.len()).fold(0, u64::saturating_add)
    }
}

/// What will be sent in requests, in no order, and what will not, by its place.
pub(super) struct Plan {
    pub(super) requests: VecDeque<Request>,
    pub(super) left_out: Vec<(usize, PushOutcome)>,
}

impl Plan {
    /// Neighbours of one merger become a request until it is full; what is not sent separates them.
    pub(super) fn of(output: &MapOutput, mergers: usize, settings: &Settings) -> Self {
        let mut left_out = Vec::new();
        let mut requests: Vec<Request> = Vec::new();
        let mut open: Option<(Request, u64)> = None;
        for (at, (reduce, body)) in output.blocks.iter().enumerate() {
            if body.is_empty() {
                left_out.push((at, PushOutcome::Empty));
                continue;
            }
            let merger = merger_of(*reduce, output.partitions, mergers);
            let is_small = body.len() <= settings.max_block_to_push;
            let fits = open.as_ref().is_some_and(|(request, size)| {
                is_small
                    && request.merger == merger
                    && size.saturating_add(body.len()) <= settings.max_push_batch
                    && request.blocks.len() < settings.max_blocks_in_flight
            });
            if !fits {
                requests.extend(open.take().map(|(request, _)| request));
            }
            if !is_small {
                left_out.push((at, PushOutcome::TooLarge));
                continue;
            }
            let (request, size) = open.get_or_insert_with(|| (Request { merger, blocks: Vec::new() }, 0));
            request.blocks.push(PlannedBlock { at, reduce: *reduce, body: body.clone() });
            *size += body.len();
        }
        requests.extend(open.map(|(request, _)| request));
        let mut random = Random::new();
        for request in &mut requests {
            random.shuffle(&mut request.blocks);
        }
        random.shuffle(&mut requests);
        Self { requests: requests.into(), left_out }
    }
}

/// Tasks that all push in the order of partitions would meet at the same one; no more than that hangs on it.
struct Random(u64);

impl Random {
    /// Without randomness from the system everything stays in its order.
    fn new() -> Self {
        Self(random_bytes().map_or(0, u64::from_be_bytes))
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        if self.0 == 0 {
            return;
        }
        for last in (1..items.len()).rev() {
            // Xorshift, which never becomes 0.
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            let other = usize::try_from(self.0 % (last as u64 + 1)).unwrap_or(last);
            items.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sealed_shuffle_protocol::ids::{ShuffleId, ShuffleMergeId};

    use super::*;
    use crate::{Merge, Security};

    fn output(lens: &[usize]) -> MapOutput {
        let body = |len: &usize| BlockBody::from(Bytes::from(vec![0; *len]));
        let blocks = (0..).map(ReduceId).zip(lens.iter().map(body)).collect();
        let merge = Merge { app_attempt: 1, shuffle: ShuffleId(0), merge: ShuffleMergeId(0) };
        MapOutput { merge, map_index: 0, partitions: u32::try_from(lens.len()).unwrap(), blocks }
    }

    /// The partitions of each request with its merger, sorted.
    fn planned(
        lens: &[usize],
        mergers: usize,
        change: impl FnOnce(Settings) -> Settings,
    ) -> Vec<(usize, Vec<i32>)> {
        let settings = change(Settings::new(Security::Plaintext).max_block_to_push(10).max_push_batch(30));
        let sorted = |request: Request| {
            let mut reduces: Vec<_> = request.blocks.iter().map(|block| block.reduce.0).collect();
            reduces.sort_unstable();
            (request.merger, reduces)
        };
        let mut all: Vec<_> =
            Plan::of(&output(lens), mergers, &settings).requests.into_iter().map(sorted).collect();
        all.sort();
        all
    }

    /// Computed in Java, in the order of operations of ShuffleBlockPusher, Spark 4.3.0.
    #[test]
    fn partitions_are_spread_as_spark_spreads_them() {
        let mergers = |partitions: u32, mergers| -> Vec<_> {
            (0..partitions.cast_signed())
                .map(|reduce| merger_of(ReduceId(reduce), partitions, mergers))
                .collect()
        };
        assert_eq!(mergers(10, 3), [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]);
        assert_eq!(mergers(3, 7), [0, 2, 4]);
        assert_eq!(mergers(5, 1), [0; 5]);
        assert_eq!(mergers(49, 49)[..11], [0, 0, 1, 3, 3, 5, 6, 7, 7, 9, 10], "floating point is what it is");
        assert_eq!(merger_of(ReduceId(i32::MAX), 4, 3), 2);
        assert_eq!(merger_of(ReduceId(-1), 4, 3), 0);
        assert_eq!(merger_of(ReduceId(1), 0, 0), 0);
    }

    #[test]
    fn neighbours_of_one_merger_are_one_request() {
        assert_eq!(planned(&[5; 8], 2, |settings| settings), [(0, vec![0, 1, 2, 3]), (1, vec![4, 5, 6, 7])]);
    }

    #[test]
    fn requests_end_where_they_are_full() {
        assert_eq!(planned(&[10; 5], 1, |settings| settings), [(0, vec![0, 1, 2]), (0, vec![3, 4])]);
        let two = |settings: Settings| settings.max_blocks_in_flight(2);
        assert_eq!(planned(&[1; 5], 1, two), [(0, vec![0, 1]), (0, vec![2, 3]), (0, vec![4])]);
        let tiny = |settings: Settings| settings.max_push_batch(1);
        assert_eq!(planned(&[10; 2], 1, tiny), [(0, vec![0]), (0, vec![1])]);
    }

    #[test]
    fn empty_and_large_blocks_are_left_out_and_large_ones_separate() {
        assert_eq!(planned(&[5, 0, 5, 11, 5], 1, |settings| settings), [(0, vec![0, 2]), (0, vec![4])]);
    }
}
