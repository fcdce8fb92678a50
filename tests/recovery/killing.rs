//! Two hundred times: several connections push and finalize, the server is killed at a random moment, and the next one
//! over the same directories serves all that was announced, and nothing that is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use roaring::RoaringBitmap;
use sealed_shuffle_client::{Merge, MergeStatus};
use sealed_shuffle_protocol::shuffle::ReturnCode;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::content::{Read, block, merge, partition, read};
use crate::place::{Place, Reached, Served};
use crate::random::Chance;
use crate::watch::Watch;

const ROUNDS: i32 = 200;
/// On a machine that is busy otherwise few answers come before the kill. Then there are further rounds, in which it comes
/// later, until everything has happened; so many times as many at most.
const STRETCHES: i32 = 4;
const SHUFFLES: i32 = 2;
const MAPS: i32 = 4;
const REDUCES: i32 = 8;
const CONNECTIONS: usize = 3;
/// Announced merges that are kept; older ones are removed.
const KEPT: usize = 6;

#[test]
fn what_was_announced_survives_a_kill_at_any_moment() {
    let (place, runtime) = (Place::new(), Runtime::new().unwrap());
    let watch = Watch::over(&place);
    let mut server = place.serve(&[]);
    place.hand_over();
    runtime.block_on(place.register(server.reach(), "1")).unwrap();

    let mut all = Rounds::new(&place);
    let began = Instant::now();
    let mut round = 0;
    while round < ROUNDS || (round < ROUNDS * STRETCHES && !all.tally.all_has_happened()) {
        let work = runtime.block_on(all.begin(round, &server));
        let told = runtime.block_on(all.killed_in(server, work));
        watch.assert_clean();
        if all.chance.one_in(8) {
            // What the start itself changes is no less whole.
            place.kill_while_starting(Duration::from_micros(all.chance.within(0..40_000)));
        }
        let starting = Instant::now();
        server = place.serve(&[]);
        all.starts += starting.elapsed();
        runtime.block_on(all.verify(&server, told));
        round += 1;
    }
    let took = began.elapsed();
    let looks = watch.assert_clean();
    watch.assert_all_clean();
    eprintln!(
        "{round} rounds in {took:?}, a start takes {:?}, {looks} looks at the files; {:?}",
        all.starts / round.unsigned_abs(),
        all.tally
    );
    assert!(all.tally.all_has_happened(), "{:?}", all.tally);
    server.stop();
}

/// How often what happened.
#[derive(Debug, Default)]
struct Tally {
    pushed: u64,
    /// Merges whose statuses came.
    announced: u64,
    /// Partitions that were read right, over all restarts.
    served: u64,
    /// Merges that were finalized, and the answer was lost.
    finalized_unheard: u64,
    /// Merges that were forgotten and began again.
    begun_again: u64,
}

impl Tally {
    /// Chance has tried what there is to try.
    fn all_has_happened(&self) -> bool {
        let Self { pushed, announced, served, finalized_unheard: _, begun_again } = self;
        [(pushed, 1000), (announced, 10), (served, 300), (begun_again, 10)]
            .iter()
            .all(|(count, wanted)| *count >= wanted)
    }
}

/// When the server is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    After(Duration),
    /// As long after a finalization was asked for.
    Finalizing(Duration),
}

struct Rounds<'a> {
    place: &'a Place,
    chance: Chance,
    announced: Vec<(Merge, Vec<MergeStatus>)>,
    /// The executor whose registration was answered last.
    executor: String,
    starts: Duration,
    tally: Tally,
}

/// What clients were told before the server went away.
struct Told {
    merges: Vec<(Merge, Option<Vec<MergeStatus>>)>,
    executor: Option<String>,
}

/// Clients at work, which will tell what they were told.
struct Work {
    clients: JoinSet<Told>,
    finalizing: mpsc::Receiver<()>,
    pushed: Arc<AtomicU64>,
    moment: Moment,
}

impl<'a> Rounds<'a> {
    fn new(place: &'a Place) -> Self {
        Self {
            place,
            chance: Chance::seeded(),
            announced: Vec::new(),
            executor: "1".to_owned(),
            starts: Duration::ZERO,
            tally: Tally::default(),
        }
    }

    async fn begin(&mut self, round: i32, server: &Served) -> Work {
        let reached: Vec<Reached> = (0..CONNECTIONS).map(|_| server.reach()).collect();
        let (said, finalizing) = mpsc::channel();
        let pushed = Arc::new(AtomicU64::new(0));
        let mut clients = JoinSet::new();
        for merge in (0..SHUFFLES).map(|n| merge(round * SHUFFLES + n)) {
            let plan = Plan::by(&mut self.chance, merge);
            clients.spawn(plan.run(reached.clone(), said.clone(), Arc::clone(&pushed)));
        }
        if self.chance.one_in(2) {
            let (to, executor) = (reached[0].clone(), format!("e-{round}"));
            let registration = self.place.register(to, &executor);
            clients.spawn(async move {
                let executor = registration.await.is_ok().then_some(executor);
                Told { merges: Vec::new(), executor }
            });
        }
        let later = u64::from((1 + round / ROUNDS).unsigned_abs());
        let moment = match self.chance.one_in(3) {
            true => Moment::Finalizing(Duration::from_micros(later * self.chance.within(0..4000))),
            false => Moment::After(Duration::from_micros(later * self.chance.within(0..30_000))),
        };
        Work { clients, finalizing, pushed, moment }
    }

    /// Kills the server in the midst of the work.
    async fn killed_in(&mut self, server: Served, work: Work) -> Told {
        let Work { mut clients, finalizing, pushed, moment } = work;
        let killing = tokio::task::spawn_blocking(move || {
            match moment {
                Moment::After(wait) => std::thread::sleep(wait),
                Moment::Finalizing(wait) => {
                    // It comes, unless a push has failed.
                    finalizing.recv_timeout(Duration::from_secs(10)).ok();
                    std::thread::sleep(wait);
                }
            }
            server.kill();
        });
        let mut all = Told { merges: Vec::new(), executor: None };
        while let Some(told) = clients.join_next().await {
            let told = told.unwrap();
            all.merges.extend(told.merges);
            all.executor = all.executor.or(told.executor);
        }
        killing.await.unwrap();
        self.tally.pushed += pushed.load(Ordering::SeqCst);
        all
    }

    async fn verify(&mut self, server: &Served, told: Told) {
        let reached = server.reach();
        reached.plain("1").await.unwrap();
        self.executor = told.executor.unwrap_or_else(|| self.executor.clone());
        reached.plain(&self.executor).await.unwrap();
        for (merge, statuses) in told.merges {
            let statuses = match statuses {
                Some(statuses) => {
                    self.tally.announced += 1;
                    statuses
                }
                None => self.unheard(&reached, merge).await,
            };
            self.announced.push((merge, statuses));
        }
        for (merge, statuses) in &self.announced {
            for status in statuses {
                served_whole(&reached, *merge, status).await;
                self.tally.served += 1;
            }
        }
        while self.announced.len() > KEPT {
            let (merge, _) = self.announced.remove(0);
            reached.client.remove_shuffle_merge(&reached.server, merge).await.unwrap();
        }
    }

    /// A merge of whose end nobody was told: it was finalized, and all that is served is right, or it is forgotten, and
    /// begins again.
    async fn unheard(&mut self, reached: &Reached, merge: Merge) -> Vec<MergeStatus> {
        for reduce in 0..REDUCES {
            // Judged by what is in it.
            drop(read(reached, partition(merge, reduce)).await);
        }
        let again = block(merge, 77, 0, 100);
        match reached.client.push_block(&reached.server, merge, again).await.unwrap() {
            ReturnCode::TooLateBlockPush => {
                self.tally.finalized_unheard += 1;
                Vec::new()
            }
            ReturnCode::Success => {
                self.tally.begun_again += 1;
                let statuses = reached.client.finalize_shuffle_merge(&reached.server, merge).await.unwrap();
                let only = RoaringBitmap::from_iter([77]);
                assert_eq!(statuses.len(), 1, "what was pushed before the kill is forgotten");
                assert_eq!(statuses[0].maps.as_roaring(), &only);
                statuses
            }
            other => panic!("{merge:?}: {other:?}"),
        }
    }
}

async fn served_whole(from: &Reached, merge: Merge, status: &MergeStatus) {
    match read(from, partition(merge, status.reduce.0)).await {
        Read::Whole { maps, len } => {
            assert_eq!((&maps, len), (status.maps.as_roaring(), status.size), "{merge:?}");
        }
        Read::Refused(texts) => panic!("{merge:?}, partition {} is not served: {texts:?}", status.reduce),
    }
}

/// What is pushed of a shuffle before it is finalized.
struct Plan {
    merge: Merge,
    /// Blocks of each connection: map, partition and length.
    blocks: Vec<Vec<(i32, i32, usize)>>,
}

impl Plan {
    fn by(chance: &mut Chance, merge: Merge) -> Self {
        let maps = i32::try_from(chance.within(1..u64::from(MAPS.unsigned_abs()) + 1)).unwrap();
        let mut blocks = vec![Vec::new(); CONNECTIONS];
        for (map, reduce) in (0..maps).flat_map(|map| (0..REDUCES).map(move |reduce| (map, reduce))) {
            if chance.one_in(5) {
                continue;
            }
            let len = usize::try_from(chance.within(1..3000)).unwrap();
            let connection = usize::try_from(chance.within(0..CONNECTIONS as u64)).unwrap();
            blocks[connection].push((map, reduce, len));
        }
        Self { merge, blocks }
    }

    async fn run(self, to: Vec<Reached>, said: mpsc::Sender<()>, pushed: Arc<AtomicU64>) -> Told {
        let mut pushing = JoinSet::new();
        for (reached, blocks) in to.iter().cloned().zip(self.blocks) {
            let pushed = Arc::clone(&pushed);
            pushing.spawn(async move {
                for (map, reduce, len) in blocks {
                    let block = block(self.merge, map, reduce, len);
                    match reached.client.push_block(&reached.server, self.merge, block).await {
                        Ok(ReturnCode::Success) => pushed.fetch_add(1, Ordering::SeqCst),
                        Ok(ReturnCode::BlockAppendCollisionDetected) => 0,
                        Ok(other) => panic!("{other:?}"),
                        // It was killed.
                        Err(_) => break,
                    };
                }
            });
        }
        while let Some(done) = pushing.join_next().await {
            done.unwrap();
        }
        // Nobody listens where the moment is another one.
        said.send(()).ok();
        let statuses = to[0].client.finalize_shuffle_merge(&to[0].server, self.merge).await.ok();
        Told { merges: vec![(self.merge, statuses)], executor: None }
    }
}
