//! What serving one GB from page cache costs the server process, ours and Spark's own, with Spark's client as the load.
//!
//! `cargo run --release -p sealed-shuffle-interop-tests --example cpu_per_gb [GB] [CONNECTIONS]`; our binary is the one
//! in the same target directory, or `SEALED_SHUFFLE_BIN`. With `SEALED_SHUFFLE_ONLY=spark` ours is left out.

use sealed_shuffle_interop_tests::{
    load::{Load, SparkService, anonymous_megabytes, cpu_seconds},
    matrix::{Cipher, Mode},
    oracle::{Executor, content},
    server::Server,
    service::SECRET,
};
use serde_json::Value;
use tempfile::TempDir;

const MAPS: u32 = 8;
const REDUCES: u32 = 64;
const BLOCK: usize = 256 * 1024;

fn main() {
    let argument = |n: usize, otherwise: f64| {
        std::env::args().nth(n).map_or(otherwise, |text| text.parse().expect("arguments are numbers"))
    };
    let load = Load {
        connections: argument(2, 16.0) as u32,
        bytes: (argument(1, 4.0) * 1e9) as u64,
        maps: MAPS,
        reduces: REDUCES,
    };
    let root = TempDir::with_prefix("interop-load-").expect("the temporary directory is writable");
    let executor = Executor::beneath(root.path(), "1");
    let partitions: Vec<Vec<u8>> = (0..REDUCES).map(|n| content(u64::from(n), BLOCK)).collect();
    (0..MAPS).for_each(|map| executor.write_map(0, u64::from(map), &partitions));

    println!("| mode | server | server CPU-s/GB | client CPU-s/GB | MB/s | anonymous MB |");
    println!("|---|---|---|---|---|---|");
    for mode in [Mode::newest(Cipher::Ctr, 1), Mode::newest(Cipher::Gcm, 2)] {
        let spark = SparkService::start(&mode, root.path(), SECRET);
        measure("Spark", &mode, spark.id(), || load.run(&mode, spark.address(), SECRET, &executor));
        drop(spark);
        if std::env::var("SEALED_SHUFFLE_ONLY").is_ok_and(|only| only == "spark") {
            continue;
        }
        let ours = Server::start(root.path(), Some(SECRET), &mode.conf());
        measure("ours", &mode, ours.id(), || load.run(&mode, ours.address(), SECRET, &executor));
        ours.finish(&[]);
    }
}

/// One run to warm up (JIT, page cache), one that counts.
fn measure(name: &str, mode: &Mode, id: u32, run: impl Fn() -> Value) {
    run();
    let before = cpu_seconds(id);
    let result = run();
    let cpu = cpu_seconds(id) - before;
    let number = |key: &str| result[key].as_f64().expect("a number");
    let gigabytes = number("bytes") / 1e9;
    println!(
        "| {mode} | {name} | {:.2} | {:.2} | {:.0} | {:.0} |",
        cpu / gigabytes,
        number("client_cpu_seconds") / gigabytes,
        1000.0 * gigabytes / number("seconds"),
        anonymous_megabytes(id),
    );
}
