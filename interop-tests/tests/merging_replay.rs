//! Random conversations held with Spark's own merger (RemoteBlockPushResolver, Spark 4.3.0) and with our server at once,
//! over the wire: every answer must be the same, to the letter.
//!
//! The steps have the shape of those that the naive model of `src/merge/tests/model.rs` is compared by: blocks that
//! arrive piece by piece over several connections, duplicates, connections that are lost, other attempts, newer merges,
//! finalization, removal, and readers in between. They are made from a seed, so that a failure can be had again.
//!
//! After each step both have worked it off before the next one. Spark's handler runs on one thread, so what was sent
//! before a request is worked off before the second answer behind it; ours counts each byte of a push once it is taken.
//!
//! Where ours differs on purpose, it is said by name: [`Story::would_write_half_a_block`], [`Story::is_left_behind`], and
//! the tests of single differences below.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use sealed_shuffle_interop_tests::{
    merger::{Merger, merged_files},
    modes::{Auth, Mode, Service},
    oracle::Executor,
    wire::{Pusher, here, registration},
};
use sealed_shuffle_protocol::{
    ids::{AppId, ReduceId, ShuffleId, ShuffleMergeId},
    shuffle::{FinalizeShuffleMerge, PushBlockStream, RemoveShuffleMerge},
};

const SEEDS: u64 = 60;
const STEPS: usize = 30;
const CONNECTIONS: usize = 4;
const SHUFFLES: i32 = 2;
const MERGES: i32 = 3;
const REDUCES: i32 = 2;
const CHUNKS: i32 = 4;
/// Nothing on loopback takes so long.
const LIMIT: Duration = Duration::from_secs(20);

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A push begins on a connection that has none, and its first piece comes.
    Begin {
        connection: usize,
        block: Block,
        pieces: Vec<usize>,
    },
    /// The next piece of the push on a connection, unless it is the last.
    Data(usize),
    /// All that is left of it.
    Complete(usize),
    /// The connection is lost.
    Lose(usize),
    Finalize {
        attempt: i32,
        shuffle: i32,
        merge: i32,
    },
    Remove {
        attempt: i32,
        shuffle: i32,
        merge: i32,
    },
    Meta(Partition),
    Chunk(Partition, i32),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Partition {
    shuffle: i32,
    merge: i32,
    reduce: i32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Block {
    attempt: i32,
    partition: Partition,
    map: i32,
}

/// Numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn id(&mut self, end: i32) -> i32 {
        i32::try_from(self.below(end.unsigned_abs().into())).expect("ids are small")
    }

    fn attempt(&mut self) -> i32 {
        if self.below(20) == 0 { self.id(3) } else { 1 }
    }

    /// Mostly the oldest, so that something is merged.
    fn merge(&mut self) -> i32 {
        [0, 0, 0, 0, 0, 0, 1, 1, 2][usize::try_from(self.below(9)).expect("small")]
    }

    fn partition(&mut self) -> Partition {
        Partition { shuffle: self.id(SHUFFLES), merge: self.merge(), reduce: self.id(REDUCES) }
    }

    /// Each piece as long as all before it: memory for what waits is then exactly what waits, and ours counts that.
    fn pieces(&mut self) -> Vec<usize> {
        let first = 1 + self.below(6) as usize;
        (0..self.below(5) as usize)
            .scan(0, |len, _| {
                let piece = (*len).max(first);
                *len += piece;
                Some(piece)
            })
            .collect()
    }

    fn step(&mut self) -> Step {
        let connection = self.below(CONNECTIONS as u64) as usize;
        match self.below(42) {
            0..11 => {
                let block = Block { attempt: self.attempt(), partition: self.partition(), map: self.id(4) };
                Step::Begin { connection, block, pieces: self.pieces() }
            }
            11..20 => Step::Data(connection),
            20..31 => Step::Complete(connection),
            31..34 => Step::Lose(connection),
            34..36 => {
                Step::Finalize { attempt: self.attempt(), shuffle: self.id(SHUFFLES), merge: self.merge() }
            }
            36..38 => {
                let merge = if self.below(2) == 0 { -1 } else { self.merge() };
                Step::Remove { attempt: self.attempt(), shuffle: self.id(SHUFFLES), merge }
            }
            38..40 => Step::Meta(self.partition()),
            _ => Step::Chunk(self.partition(), self.id(CHUNKS + 1) - 1),
        }
    }
}

/// One of the two services, with what is kept for all conversations.
struct Side {
    /// In front, so that it is closed before the service is stopped.
    control: Pusher,
    merging: Merger,
}

impl Side {
    fn start(service: Service, more: &[(&str, &str)]) -> Self {
        // One thread; and no index is kept, for Spark's would not see the chunks that come later.
        let spark = [
            ("spark.shuffle.io.serverThreads", "1"),
            ("spark.shuffle.push.server.mergedIndexCacheSize", "0"),
        ];
        let more = [more, if service == Service::Spark { &spark } else { &[] }].concat();
        let merging = Merger::start_of(service, Mode::new("4.3.0", Auth::None), "16", &more);
        merging.f.allow_warning("a merged chunk failed");
        let control = Pusher::connect(merging.f.address(), merging.f.root());
        Self { control, merging }
    }

    /// Registers an application with directories of its own, on a connection of its own: streams whose chunk failed stay
    /// open as long as it.
    fn register(&mut self, app: &str) {
        let executor = Executor::merging_beneath(self.merging.f.root(), app);
        self.control = Pusher::connect(self.merging.f.address(), self.merging.f.root());
        assert_eq!(self.control.rpc(registration(app, &executor, 1)), "done");
    }

    /// A connection that the service has taken up.
    fn connect(&self, app: &str) -> Pusher {
        let mut pusher = Pusher::connect(self.merging.f.address(), self.merging.f.root());
        pusher.rpc(here(app));
        pusher
    }

    /// Bytes of pushes that ours has taken up, in whatever way.
    fn taken(&self) -> f64 {
        let metrics = self.merging.server().metrics();
        ["written_bytes_total", "ignored_bytes_total", "deferred_bytes"]
            .map(|name| metrics[&format!("sealed_shuffle_merge_{name}")])
            .iter()
            .sum()
    }

    /// Does something to a connection that nobody answers, and waits until the service is done with it.
    fn unanswered(&mut self, app: &str, what: impl FnOnce() -> Effect) {
        if self.merging.f.service == Service::Spark {
            what();
            // The first may be answered in the same round of the loop, the third comes after its tasks.
            for _ in 0..3 {
                self.control.rpc(here(app));
            }
            return;
        }
        let before = (self.taken(), self.connections());
        match what() {
            Effect::Bytes(bytes) => {
                let all = before.0 + bytes as f64;
                until("bytes are taken", || self.taken() >= all);
            }
            Effect::Lost => {
                until("the loss is noticed", || self.connections() < before.1);
                until("it is worked off", || is_idle(self.merging.server().id()));
            }
        }
    }

    fn connections(&self) -> f64 {
        self.merging.server().metric("sealed_shuffle_connections")
    }

    /// All merged files, by their place beneath the root.
    fn files(&self) -> BTreeSet<String> {
        let root = self.merging.f.root();
        let below = |path: &Path| path.strip_prefix(root).map(|path| path.display().to_string());
        merged_files(root).iter().map(|path| below(path).expect("they lie beneath the root")).collect()
    }
}

enum Effect {
    Bytes(usize),
    Lost,
}

#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::yield_now();
    }
}

/// Whether all threads of a process wait for something (`/proc/PID/task/TID/stat`, the state behind the name).
fn is_idle(process: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("stat")).ok())
        .all(|stat| stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('S')))
}

/// A push that is arriving, at both.
struct PushInProgress {
    block: Block,
    pieces: Vec<usize>,
    /// How many of them were sent.
    sent: usize,
}

/// One conversation.
struct Story<'a> {
    app: String,
    sides: &'a mut [Side; 2],
    connections: Vec<Option<[Pusher; 2]>>,
    pushes: Vec<Option<PushInProgress>>,
    byte: u8,
    /// Shuffles that were asked to be removed.
    removed: BTreeSet<i32>,
    /// What was said, for the reader of a failure.
    log: Vec<String>,
}

impl<'a> Story<'a> {
    fn begin(app: String, sides: &'a mut [Side; 2]) -> Self {
        sides.iter_mut().for_each(|side| side.register(&app));
        let connections = (0..CONNECTIONS).map(|_| None).collect();
        let pushes = (0..CONNECTIONS).map(|_| None).collect();
        Self { app, sides, connections, pushes, byte: 0, removed: BTreeSet::new(), log: Vec::new() }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Begin { connection, block, pieces } if self.pushes[*connection].is_none() => {
                self.log.push(format!("{step:?}"));
                self.start(*connection, *block, pieces);
            }
            Step::Data(connection) => {
                let left = self.pushes[*connection].as_ref().map_or(0, |push| push.pieces.len() - push.sent);
                if left > 1 {
                    self.log.push(format!("{step:?}"));
                    self.piece(*connection);
                }
            }
            Step::Complete(connection) if self.pushes[*connection].is_some() => {
                self.log.push(format!("{step:?}"));
                self.complete(*connection);
            }
            Step::Lose(connection)
                if self.pushes[*connection].is_some() && !self.would_write_half_a_block(*connection) =>
            {
                self.log.push(format!("{step:?}"));
                self.lose(*connection);
            }
            Step::Finalize { attempt, shuffle, merge } => {
                self.log.push(format!("{step:?}"));
                let message = FinalizeShuffleMerge {
                    app: AppId::new(&*self.app),
                    app_attempt: *attempt,
                    shuffle: ShuffleId(*shuffle),
                    merge: ShuffleMergeId(*merge),
                };
                self.both(|side, _| side.control.rpc(message.clone()));
            }
            Step::Remove { attempt, shuffle, merge } => {
                self.log.push(format!("{step:?}"));
                self.removed.insert(*shuffle);
                let message = RemoveShuffleMerge {
                    app: AppId::new(&*self.app),
                    app_attempt: *attempt,
                    shuffle: ShuffleId(*shuffle),
                    merge: ShuffleMergeId(*merge),
                };
                // Sent so that nobody answers it; the request behind it is worked off after it.
                self.both(|side, app| {
                    side.control.one_way(message.clone());
                    side.control.rpc(here(app)).replace(app, "APP")
                });
            }
            Step::Meta(at) => {
                self.log.push(format!("{step:?}"));
                self.read(*at, |side, app| side.control.meta(app, at.shuffle, at.merge, at.reduce));
            }
            Step::Chunk(at, chunk) => {
                self.log.push(format!("{step:?}"));
                self.read(*at, |side, app| side.control.chunk(app, at.shuffle, at.merge, at.reduce, *chunk));
            }
            Step::Begin { .. } | Step::Complete(_) | Step::Lose(_) => {}
        }
    }

    /// Decision 28: of a duplicate some of whose bytes were ignored Spark writes the rest when the writer dies, which
    /// is half a block that counts as whole; ours calls it a collision. No writer dies here while somebody pushes the
    /// same block; [`half_a_block_is_a_collision_with_ours`] shows the difference.
    fn would_write_half_a_block(&self, connection: usize) -> bool {
        let block = |at: usize| self.pushes[at].as_ref().map(|push| push.block);
        (0..CONNECTIONS).any(|other| other != connection && block(other) == block(connection))
    }

    fn start(&mut self, connection: usize, block: Block, pieces: &[usize]) {
        let (sides, app) = (&*self.sides, &self.app);
        self.connections[connection].get_or_insert_with(|| sides.each_ref().map(|side| side.connect(app)));
        let arriving = PushInProgress { block, pieces: pieces.to_vec(), sent: 0 };
        self.pushes[connection] = Some(arriving);
        // Of another attempt: answered at once, and closed.
        let is_answered = block.attempt != 1 || pieces.len() < 2;
        if !is_answered {
            return self.piece(connection);
        }
        self.complete(connection);
        if block.attempt != 1 {
            let mut pair = self.connections[connection].take().expect("it was made above");
            for pusher in &mut pair {
                assert!(pusher.is_closed(), "the connection goes on: {self}");
            }
        }
    }

    /// Sends the next piece, with the header in front of the first one; nobody answers.
    fn piece(&mut self, connection: usize) {
        let bytes = self.bytes(connection, 1);
        let push = self.pushes[connection].as_mut().expect("it has begun");
        let message =
            (push.sent == 0).then(|| (header(&self.app, push.block), push.pieces.iter().sum::<usize>()));
        push.sent += 1;
        let pair = self.connections[connection].as_mut().expect("it pushes");
        for (side, pusher) in self.sides.iter_mut().zip(pair) {
            side.unanswered(&self.app, || {
                match &message {
                    Some((message, len)) => pusher.begin(message.clone(), *len as u64, &bytes),
                    None => pusher.data(&bytes),
                }
                Effect::Bytes(bytes.len())
            });
        }
    }

    /// Sends all that is left; both answer.
    fn complete(&mut self, connection: usize) {
        let bytes = self.bytes(connection, usize::MAX);
        let push = self.pushes[connection].take().expect("it has begun");
        let mut pair = self.connections[connection].take().expect("it pushes");
        let len = push.pieces.iter().sum::<usize>() as u64;
        let mut number = 0;
        self.both(|_, app| {
            let pusher = &mut pair[number];
            number += 1;
            match push.sent {
                0 => pusher.begin(header(app, push.block), len, &bytes),
                _ => pusher.data(&bytes),
            }
            pusher.answer()
        });
        self.connections[connection] = Some(pair);
    }

    fn lose(&mut self, connection: usize) {
        self.pushes[connection] = None;
        let pair = self.connections[connection].take().expect("it pushes");
        for (side, pusher) in self.sides.iter_mut().zip(pair) {
            side.unanswered(&self.app, || {
                drop(pusher);
                Effect::Lost
            });
        }
    }

    /// The next pieces, each of bytes that no other has.
    fn bytes(&mut self, connection: usize, most: usize) -> Vec<u8> {
        let push = self.pushes[connection].as_ref().expect("it has begun");
        let mut bytes = Vec::new();
        for len in push.pieces.iter().skip(push.sent).take(most) {
            self.byte = self.byte.wrapping_add(1);
            bytes.resize(bytes.len() + len, self.byte);
        }
        bytes
    }

    /// Asks both, and compares.
    #[track_caller]
    fn both(&mut self, mut ask: impl FnMut(&mut Side, &str) -> String) {
        let [spark, ours] = &mut *self.sides;
        let (spark, ours) = (ask(spark, &self.app), ask(ours, &self.app));
        self.log.push(format!("    {spark}"));
        assert!(spark == ours, "ours said\n    {ours}\nwhere Spark said the last of\n{self}");
    }

    /// Asks both for what nobody changes: Spark deletes files in the background, so the answers may agree only later.
    #[track_caller]
    fn read(&mut self, at: Partition, mut ask: impl FnMut(&mut Side, &str) -> String) {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let [spark, ours] = &mut *self.sides;
            let (spark, ours) = (ask(spark, &self.app), ask(ours, &self.app));
            if spark == ours || Instant::now() > deadline {
                return self.both(ask);
            }
            if ours.ends_with(" not found") && self.is_left_behind(at) {
                return self.log.push(format!("    {ours}, and Spark's is left behind: {spark}"));
            }
            std::thread::yield_now();
        }
    }

    /// Once a shuffle is finalized, Spark knows only the partitions into which a block was merged, so that the removal
    /// of the shuffle leaves the files of the others: empty ones, of which MergeStatuses said nothing. Ours removes all.
    fn is_left_behind(&self, at: Partition) -> bool {
        let name = format!("shuffleMerged_{}_{}_{}_{}.index", self.app, at.shuffle, at.merge, at.reduce);
        let [spark, ours] = &*self.sides;
        let index = merged_files(spark.merging.f.root()).into_iter().find(|path| path.ends_with(&name));
        self.removed.contains(&at.shuffle)
            && index.and_then(|path| fs::metadata(path).ok()).is_some_and(|index| index.len() == 8)
            && !ours.files().iter().any(|path| path.ends_with(&name))
    }

    /// Files that only one has, but for those that Spark leaves behind.
    fn differing_files(&self) -> Vec<String> {
        let [spark, ours] = &*self.sides;
        let (spark, ours) = (spark.files(), ours.files());
        if spark == ours {
            return Vec::new();
        }
        let left: Vec<String> = partitions()
            .filter(|at| self.is_left_behind(*at))
            .map(|at| format!("shuffleMerged_{}_{}_{}_{}.", self.app, at.shuffle, at.merge, at.reduce))
            .collect();
        spark
            .symmetric_difference(&ours)
            .filter(|path| path.contains(&self.app) && !left.iter().any(|name| path.contains(name)))
            .cloned()
            .collect()
    }

    /// All connections are lost; everything is finalized and read, and the same files are left.
    fn end(mut self) {
        for connection in 0..CONNECTIONS {
            if self.connections[connection].is_some() {
                self.log.push(format!("{:?}", Step::Lose(connection)));
                self.lose(connection);
            }
        }
        self.read_all();
        for shuffle in 0..SHUFFLES {
            for merge in 0..MERGES {
                self.take(&Step::Finalize { attempt: 1, shuffle, merge });
            }
        }
        self.read_all();
        let deadline = Instant::now() + LIMIT;
        while !self.differing_files().is_empty() {
            assert!(Instant::now() < deadline, "only one of them has {:#?}\n{self}", self.differing_files());
            std::thread::yield_now();
        }
        let [_, ours] = &*self.sides;
        assert_eq!(ours.merging.server().metric("sealed_shuffle_merge_deferred_bytes"), 0.0, "{self}");
    }

    fn read_all(&mut self) {
        for at in partitions() {
            self.take(&Step::Meta(at));
            (0..CHUNKS).for_each(|chunk| self.take(&Step::Chunk(at, chunk)));
        }
    }
}

fn partitions() -> impl Iterator<Item = Partition> {
    let merges = (0..SHUFFLES).flat_map(|shuffle| (0..MERGES).map(move |merge| (shuffle, merge)));
    merges.flat_map(|(shuffle, merge)| (0..REDUCES).map(move |reduce| Partition { shuffle, merge, reduce }))
}

impl std::fmt::Display for Story<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.app)?;
        self.log.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn header(app: &str, block: Block) -> PushBlockStream {
    PushBlockStream {
        app: AppId::new(app),
        app_attempt: block.attempt,
        shuffle: ShuffleId(block.partition.shuffle),
        merge: ShuffleMergeId(block.partition.merge),
        map_index: block.map,
        reduce: ReduceId(block.partition.reduce),
        index: 0,
    }
}

#[test]
fn every_answer_is_that_of_sparks_own_merger() {
    let mut sides = [Side::start(Service::Spark, &[]), Side::start(Service::Ours, &[])];
    let mut said = BTreeSet::new();
    for seed in 0..SEEDS {
        let mut dice = Dice(seed);
        let mut story = Story::begin(format!("application_1700000000000_{seed:04}"), &mut sides);
        for _ in 0..STEPS {
            story.take(&dice.step());
        }
        said.extend(story.log.iter().filter_map(|line| kind(line)));
        story.end();
    }
    // The conversations are about something.
    for kind in
        ["Success", "TooLateBlockPush", "BlockAppendCollisionDetected", "TooOldAttemptPush", "StaleBlockPush"]
    {
        assert!(said.contains(kind), "nobody said {kind}: {said:?}");
    }
}

/// The first word of an answer.
fn kind(line: &str) -> Option<String> {
    line.strip_prefix("    ")?.split(' ').next().map(str::to_owned)
}
