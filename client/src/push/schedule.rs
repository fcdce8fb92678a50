//! What may be sent now: the bounds on what is on its way (ShuffleBlockPusher.pushUpToMax, Spark 4.3.0).
//!
//! A request is sent when nothing is on its way, or while bytes and requests stay within their bounds. One whose merger
//! has as many blocks on their way as it may have waits aside, and others pass it.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::plan::Request;
use crate::Settings;

pub(super) struct Schedule {
    waiting: VecDeque<Request>,
    /// By merger.
    aside: BTreeMap<usize, VecDeque<Request>>,
    bytes: u64,
    requests: usize,
    blocks: HashMap<usize, usize>,
    bounds: Bounds,
}

struct Bounds {
    bytes: u64,
    requests: usize,
    blocks_per_merger: usize,
}

impl Schedule {
    pub(super) fn new(waiting: VecDeque<Request>, settings: &Settings) -> Self {
        let bounds = Bounds {
            bytes: settings.max_size_in_flight,
            requests: settings.max_requests_in_flight,
            blocks_per_merger: settings.max_blocks_in_flight,
        };
        Self { waiting, aside: BTreeMap::new(), bytes: 0, requests: 0, blocks: HashMap::new(), bounds }
    }

    /// The next request to send, which counts as on its way from then on.
    pub(super) fn next(&mut self) -> Option<Request> {
        let ready = self.aside.values().filter_map(VecDeque::front).find(|request| self.fits(request));
        if let Some(merger) = ready.map(|request| request.merger) {
            return self.take_aside(merger).inspect(|request| self.depart(request));
        }
        while let Some(front) = self.waiting.front().filter(|front| self.is_within_bounds(front)) {
            let has_room = self.has_room(front);
            let request = self.waiting.pop_front()?;
            if has_room {
                self.depart(&request);
                return Some(request);
            }
            self.aside.entry(request.merger).or_default().push_back(request);
        }
        None
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.requests == 0
    }

    /// A block of so many bytes has had its outcome.
    pub(super) fn block_done(&mut self, merger: usize, len: u64) {
        self.bytes = self.bytes.saturating_sub(len);
        if let Some(blocks) = self.blocks.get_mut(&merger) {
            *blocks = blocks.saturating_sub(1);
        }
    }

    /// A request has had its outcome.
    pub(super) fn request_done(&mut self) {
        self.requests = self.requests.saturating_sub(1);
    }

    /// Takes out what was not sent to one merger.
    pub(super) fn drop_merger(&mut self, merger: usize) -> Vec<Request> {
        let aside = self.aside.remove(&merger).into_iter().flatten();
        let (dropped, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|request| request.merger == merger);
        self.waiting = kept.into();
        dropped.into_iter().chain(aside).collect()
    }

    /// Takes out everything that was not sent.
    pub(super) fn stop(&mut self) -> Vec<Request> {
        let aside = std::mem::take(&mut self.aside).into_values().flatten();
        std::mem::take(&mut self.waiting).into_iter().chain(aside).collect()
    }

    fn fits(&self, request: &Request) -> bool {
        self.is_within_bounds(request) && self.has_room(request)
    }

    fn is_within_bounds(&self, request: &Request) -> bool {
        self.bytes == 0
            || (self.requests < self.bounds.requests
                && self.bytes.saturating_add(request.size()) <= self.bounds.bytes)
    }

    fn has_room(&self, request: &Request) -> bool {
        let on_their_way = self.blocks.get(&request.merger).copied().unwrap_or(0);
        on_their_way == 0 || on_their_way + request.blocks.len() <= self.bounds.blocks_per_merger
    }

    fn take_aside(&mut self, merger: usize) -> Option<Request> {
        let queue = self.aside.get_mut(&merger)?;
        let request = queue.pop_front();
        if queue.is_empty() {
            self.aside.remove(&merger);
        }
        request
    }

    fn depart(&mut self, request: &Request) {
        self.bytes = self.bytes.saturating_add(request.size());
        self.requests += 1;
        *self.blocks.entry(request.merger).or_default() += request.blocks.len();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sealed_shuffle_protocol::ids::ReduceId;

    use super::super::plan::PlannedBlock;
    use super::*;
    use crate::Security;

    /// `blocks` blocks of 10 bytes; the place of the first tells it.
    fn request(at: usize, merger: usize, blocks: usize) -> Request {
        let block = |_| PlannedBlock { at, reduce: ReduceId(0), body: Bytes::from_static(&[0; 10]).into() };
        Request { merger, blocks: (0..blocks).map(block).collect() }
    }

    fn schedule(
        requests: impl IntoIterator<Item = Request>,
        change: impl FnOnce(Settings) -> Settings,
    ) -> Schedule {
        let settings = change(Settings::new(Security::Plaintext));
        Schedule::new(requests.into_iter().collect(), &settings)
    }

    fn sent(schedule: &mut Schedule) -> Vec<usize> {
        std::iter::from_fn(|| schedule.next()).map(|request| request.blocks[0].at).collect()
    }

    fn done(schedule: &mut Schedule, merger: usize, blocks: usize) {
        (0..blocks).for_each(|_| schedule.block_done(merger, 10));
        schedule.request_done();
    }

    #[test]
    fn bytes_on_their_way_are_bounded_but_for_one_request() {
        let mut s =
            schedule([request(0, 0, 9), request(1, 1, 2), request(2, 2, 2)], |s| s.max_size_in_flight(40));
        assert_eq!(sent(&mut s), [0], "larger than the bound, and alone");
        done(&mut s, 0, 9);
        assert_eq!(sent(&mut s), [1, 2]);
        assert!(!s.is_idle());
        done(&mut s, 1, 2);
        done(&mut s, 2, 2);
        assert!(s.is_idle());
    }

    #[test]
    fn requests_on_their_way_are_bounded() {
        let mut s = schedule((0..3).map(|at| request(at, at, 1)), |s| s.max_requests_in_flight(2));
        assert_eq!(sent(&mut s), [0, 1]);
        done(&mut s, 1, 1);
        assert_eq!(sent(&mut s), [2]);
    }

    #[test]
    fn others_pass_what_waits_for_its_merger() {
        let requests = [request(0, 0, 2), request(1, 0, 2), request(2, 1, 2)];
        let mut s = schedule(requests, |s| s.max_blocks_in_flight(3));
        assert_eq!(sent(&mut s), [0, 2]);
        s.block_done(0, 10);
        assert_eq!(sent(&mut s), [1], "three of four fit once one is done");
    }

    #[test]
    fn what_was_not_sent_to_a_merger_is_dropped_with_it() {
        let requests = [request(0, 0, 2), request(1, 0, 2), request(2, 1, 2), request(3, 0, 1)];
        let mut s = schedule(requests, |s| s.max_blocks_in_flight(2).max_size_in_flight(40));
        assert_eq!(sent(&mut s), [0, 2]);
        let dropped: Vec<_> = s.drop_merger(0).iter().map(|request| request.blocks[0].at).collect();
        assert_eq!(dropped, [3, 1]);
        done(&mut s, 0, 2);
        done(&mut s, 1, 2);
        assert!(sent(&mut s).is_empty());
    }

    #[test]
    fn nothing_is_sent_after_a_stop() {
        let requests = [request(0, 0, 2), request(1, 0, 2), request(2, 1, 2)];
        let mut s = schedule(requests, |s| s.max_blocks_in_flight(2).max_requests_in_flight(1));
        assert_eq!(sent(&mut s), [0]);
        assert_eq!(s.stop().len(), 2);
        done(&mut s, 0, 2);
        assert!(sent(&mut s).is_empty());
    }
}
