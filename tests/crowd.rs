//! Many executors come at once, while others read. It has a process of its own: no other test would be served in time.
#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod running;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use sealed_shuffle_client::{Address, Client, Security, Settings};
use sealed_shuffle_measure::Sample;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::shuffle::{ExecutorShuffleInfo, Strings};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use self::running::{APP, EXECUTOR, GCM, Running};

const HANDSHAKES: usize = 5000;
const STREAMS: usize = 64;
const BLOCK: u64 = 8 << 20;

fn client(running: &Running) -> Client {
    let secret = Arc::new(AppSecret::new(running.secret.clone()));
    // Timeouts and attempts are Spark's.
    Client::new(Settings::new(Security::Aes { secret, mode: GCM }), AppId::new(APP))
}

#[test]
fn executors_that_all_come_at_once_are_registered_while_others_read() {
    let running = Running::start();
    running.write_map(1, &[BLOCK]);
    drop(running.registered(GCM));
    let address = Address::from(running.address);
    let clients = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
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
    let began = Instant::now();
    let mut registrations = JoinSet::new();
    let dir = running.dir.to_str().unwrap().to_owned();
    for executor in 0..HANDSHAKES {
        let (client, address) = (client(&running), address.clone());
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
    let (whole, meanwhile) = (began.elapsed(), read.load(Ordering::Relaxed) - before);
    going.store(false, Ordering::Relaxed);
    clients.block_on(streams.join_all());

    let sample = Sample::of(took.iter().copied());
    let [half, most] = [50, 99].map(|of| sample.percentile(of));
    println!(
        "{HANDSHAKES} registrations in {whole:?}: half of them within {half:.3} s, 99 of 100 within {most:.3} s; \
         {} MiB were read meanwhile",
        meanwhile >> 20
    );
    // Who was closed came again after Spark's wait of seconds, which the figures above are made of.
    let closes = ["gave_way", "share_used_up", "starved", "evicted", "handshake_timeout", "idle"];
    println!("closed by the server: {:?}", closes.map(|reason| (reason, running.closes(reason))));
    assert_eq!(took.len(), HANDSHAKES);
    assert!(meanwhile > 0, "nobody read");
    assert!(running.metric("sealed_shuffle_executors") >= HANDSHAKES as u64);
    running.assert_serves();
}
