//! Our client as a load: the same work as `jvm/Bench.java`, in a process of its own so that its time can be told from
//! everyone else's. That process is this program again, with a first word that says so.
//!
//! ```text
//! serve-cost our-client CASE port=… app=… exec=… dirs=… sub_dirs=… connections=…
//!                       [bytes=… warm_up=… shuffle=… maps=… reduces=… [merged=true]]
//!                       [push=remove|keep shuffle=… maps=… reduces=… block=…]     without either: keeps its connections
//! ```
//!
//! It says `ready` when all connections are open and authenticated, and one line of JSON in the end.

use std::io::Read;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use sealed_shuffle_client::{Address, Client, MergedPartition};
use sealed_shuffle_config::raise_descriptor_limit;
use sealed_shuffle_interop_tests::oracle::{SORT_MANAGER, merging_manager};
use sealed_shuffle_measure::process::cpu_seconds;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::shuffle::{BlockId, ExecutorShuffleInfo, Strings};
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::case::Case;
use crate::pushes::Pushes;
use crate::words::Words;

const FIRST_WORD: &str = "our-client";
/// The line that says that all connections are open.
pub(crate) const READY: &str = "ready";

/// This program as the client of a case; the words follow.
pub(crate) fn command(case: &Case) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a bench knows its own path"));
    command.args([FIRST_WORD, case.name]);
    command
}

/// Whether this process is such a client; then it has done its work.
pub(crate) fn was_asked_for() -> bool {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() != Some(FIRST_WORD) {
        return false;
    }
    let case = Case::named(&words.next().expect("the case follows"));
    raise_descriptor_limit().expect("the descriptor limit can be raised");
    let runtime = Runtime::new().expect("a runtime needs a few threads");
    runtime.block_on(run(&case, &Words::of(words)));
    true
}

async fn run(case: &Case, words: &Words) {
    let settings = case.our_client();
    let server = Address::new("127.0.0.1", words.number("port"));
    let executor = ExecutorId::new(words.text("exec"));
    let clients: Vec<Client> = (0..words.number::<usize>("connections"))
        .map(|_| Client::new(settings.clone(), AppId::new(words.text("app"))))
        .collect();
    let info = ExecutorShuffleInfo {
        local_dirs: Strings::try_from_iter(words.text("dirs").split(',')).expect("a handful of directories"),
        sub_dirs_per_local_dir: words.number("sub_dirs"),
        shuffle_manager: match case.work.merges() {
            true => merging_manager(1),
            false => SORT_MANAGER.into(),
        },
    };
    clients[0].register(&server, &executor, info).await.expect("the service takes the registration");
    for client in &clients {
        let dirs = client.local_dirs(&server, std::slice::from_ref(&executor)).await;
        dirs.expect("the service knows the executor");
    }
    println!("{READY}");
    if words.has("push") {
        let pushes = Pushes::new(words, server.clone());
        let begun = Instant::now();
        let bytes = pushes.push(&clients).await;
        let seconds = begun.elapsed().as_secs_f64();
        let cpu = cpu_seconds(std::process::id()).expect("this process is there");
        println!("{}", json!({ "bytes": bytes, "seconds": seconds, "client_cpu_seconds": cpu }));
        if words.text("push") == "remove" {
            pushes.remove(&clients[0]).await;
        }
        return;
    }
    if !words.has("bytes") {
        // Whoever holds the other end of the pipe says how long.
        let mut input = Vec::new();
        std::io::stdin().read_to_end(&mut input).expect("standard input is a pipe");
        return;
    }
    let progress = Arc::new(Progress::new(words, server, executor));
    take(&clients, &progress, words.number("warm_up")).await;
    let before = progress.bytes.load(Ordering::Relaxed);
    let begun = Instant::now();
    take(&clients, &progress, before + words.number::<u64>("bytes")).await;
    let seconds = begun.elapsed().as_secs_f64();
    let (bytes, blocks) = (progress.bytes.load(Ordering::Relaxed), progress.blocks.load(Ordering::Relaxed));
    let cpu = cpu_seconds(std::process::id()).expect("this process is there");
    let answer = json!({
        "bytes": bytes, "timed_bytes": bytes - before, "blocks": blocks, "seconds": seconds, "client_cpu_seconds": cpu,
    });
    println!("{answer}");
}

/// All connections at once, until so many bytes have come since the beginning.
async fn take(clients: &[Client], progress: &Arc<Progress>, wanted: u64) {
    let mut workers = JoinSet::new();
    for client in clients {
        let (client, progress) = (client.clone(), Arc::clone(progress));
        workers.spawn(async move {
            while progress.bytes.load(Ordering::Relaxed) < wanted {
                progress.one_request(&client).await;
            }
        });
    }
    workers.join_all().await;
}

/// What is asked for, and what has come of it.
struct Progress {
    server: Address,
    executor: ExecutorId,
    shuffle: ShuffleId,
    maps: i64,
    reduces: u64,
    is_merged: bool,
    requests: AtomicU64,
    bytes: AtomicU64,
    blocks: AtomicU64,
}

impl Progress {
    fn new(words: &Words, server: Address, executor: ExecutorId) -> Self {
        Self {
            server,
            executor,
            shuffle: ShuffleId(words.number("shuffle")),
            maps: words.number("maps"),
            reduces: words.number("reduces"),
            is_merged: words.has("merged"),
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
        }
    }

    /// One partition of every map, as it is or merged.
    async fn one_request(&self, client: &Client) {
        let at = self.requests.fetch_add(1, Ordering::Relaxed) % self.reduces;
        let reduce = ReduceId(i32::try_from(at).expect("partitions are few"));
        let block = |map| BlockId::Shuffle { shuffle: self.shuffle, map: MapId(map), reduce };
        let mut fetch = match self.is_merged {
            true => {
                let partition = MergedPartition { shuffle: self.shuffle, merge: ShuffleMergeId(0), reduce };
                let chunks = client.merged_block_meta(&self.server, partition).await;
                let chunks = chunks.expect("every partition is merged").len();
                let chunks = 0..i32::try_from(chunks).expect("chunks are few");
                client.fetch_merged_chunks(&self.server, partition, chunks)
            }
            false => client.fetch(&self.server, &self.executor, (0..self.maps).map(block).collect()),
        };
        while let Some(outcome) = fetch.next().await {
            let (_, content) = outcome.expect("every block is there");
            self.bytes.fetch_add(content.len() as u64, Ordering::Relaxed);
            self.blocks.fetch_add(1, Ordering::Relaxed);
        }
    }
}
