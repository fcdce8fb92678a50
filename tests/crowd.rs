//! Many executors come at once, while others read. It has a process of its own: no other test would be served in time.
#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod running;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sealed_shuffle_client::{Address, Client, Security, Settings};
use sealed_shuffle_measure::Sample;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::shuffle::{ExecutorShuffleInfo, Strings};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use self::running::{APP, EXECUTOR, GCM, Running};

const HANDSHAKES: usize = 5000;
/// Before anybody reads.
const ALONE: usize = 500;
/// So many times as long a registration takes at most while others read: they share the processors with 64 streams. One that
/// waits for memory, a place or a turn of theirs takes its whole patience.
const SLOWER: f64 = 10.0;
const STREAMS: usize = 64;
const BLOCK: u64 = 8 << 20;

/// What Spark waits for the answer to a registration, once it is connected (`spark.shuffle.registration.timeout`).
const SPARKS_PATIENCE: f64 = 5.0;

/// More patient than Spark, since a machine may be busy with other things. Attempts and the other timeouts are Spark's.
fn client(running: &Running) -> Client {
    let secret = Arc::new(AppSecret::new(running.secret.clone()));
    let settings =
        Settings::new(Security::Aes { secret, mode: GCM }).registration_timeout(Duration::from_secs(60));
    Client::new(settings, AppId::new(APP))
}

/// So many executors register at once: how long each took, and all of them.
fn register(running: &Running, clients: &Runtime, executors: Range<usize>) -> (Vec<f64>, f64) {
    let began = Instant::now();
    let mut registrations = JoinSet::new();
    let dir = running.dir.to_str().unwrap().to_owned();
    for executor in executors {
        let (client, address) = (client(running), Address::from(running.address));
        let info = ExecutorShuffleInfo {
            local_dirs: Strings::try_from_iter([&dir]).unwrap(),
            sub_dirs_per_local_dir: 64,
            shuffle_manager: "org.apache.spark.shuffle.sort.SortShuffleManager".to_owned(),
        };
        registrations.spawn_on(
            async move {
                let began = Instant::now();
                client.register(&address, &ExecutorId::new(executor.to_string()), info).await.unwrap();
                began.elapsed().as_secs_f64()
            },
            clients.handle(),
        );
    }
    let took = clients.block_on(registrations.join_all());
    (took, began.elapsed().as_secs_f64())
}

#[test]
fn executors_that_all_come_at_once_are_registered_while_others_read() {
    let running = Running::start();
    running.write_map(1, &[BLOCK]);
    drop(running.registered(GCM));
    let address = Address::from(running.address);
    let clients = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (_, whole_alone) = register(&running, &clients, 0..ALONE);

    let (going, read) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU64::new(0)));
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        let (client, address) = (client(&running), address.clone());
        let (going, read) = (Arc::clone(&going), Arc::clone(&read));
        streams.spawn_on(
            async move {
                while going.load(Ordering::Relaxed) {
                    let blocks = vec!["shuffle_0_1_0".parse().unwrap()];
                    let mut fetch = client.fetch(&address, &ExecutorId::new(EXECUTOR), blocks);
                    let (_, bytes) = fetch.next().await.unwrap().unwrap();
                    read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                }
            },
            clients.handle(),
        );
    }
    running::eventually("they read", || read.load(Ordering::Relaxed) > STREAMS as u64 * BLOCK);

    let before = read.load(Ordering::Relaxed);
    let (took, whole) = register(&running, &clients, ALONE..HANDSHAKES);
    let meanwhile = read.load(Ordering::Relaxed) - before;
    going.store(false, Ordering::Relaxed);
    clients.block_on(streams.join_all());

    let sample = Sample::of(took.iter().copied());
    let [half, most] = [50, 99].map(|of| sample.percentile(of));
    let impatient = took.iter().filter(|&&took| took > SPARKS_PATIENCE).count();
    let slower = (whole / took.len() as f64) / (whole_alone / ALONE as f64);
    println!(
        "{} registrations in {whole:.3} s: half of them within {half:.3} s, 99 of 100 within {most:.3} s, {impatient} not \
         within {SPARKS_PATIENCE} s; {} MiB were read meanwhile. One took {slower:.1} times as long as without readers.",
        took.len(),
        meanwhile >> 20
    );
    // Who was closed came again after Spark's wait of seconds, which the figures above are made of.
    let closes = ["gave_way", "share_used_up", "starved", "evicted", "handshake_timeout", "idle"];
    println!("closed by the server: {:?}", closes.map(|reason| (reason, running.closes(reason))));
    assert!(slower < SLOWER, "{slower}");
    assert!(meanwhile > 0, "nobody read");
    assert!(running.metric("sealed_shuffle_executors") >= HANDSHAKES as u64);
    running.assert_serves();
}
