//! Reads a merged partition, and fetches as they are the blocks that cannot be had merged.
//!
//! ```text
//! _SPARK_AUTH_SECRET=… cargo run --example read_merged -- node-1:7337 app-20261122052236-0000 0 0 3 100
//! ```
//!
//! The numbers are shuffle, executor, partition and map tasks. A driver knows from the finalization which map tasks were
//! merged; here all of them are expected, and those that were not come by the fall-back.

use std::error::Error;

use sealed_shuffle_client::{
    Address, AppId, AppSecret, Bitmap, BlockId, Client, EngineVersion, ExecutorId, MapId, Merge, MergeStatus,
    MergedPart, ReduceId, RoaringBitmap, Security, SessionCipher, Settings, ShuffleId, ShuffleMergeId,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, app, shuffle, executor, partition, maps] = &arguments[..] else {
        return Err("HOST:PORT APP SHUFFLE EXECUTOR PARTITION MAPS".into());
    };
    let security = match std::env::var("_SPARK_AUTH_SECRET") {
        Ok(secret) => Security::aes(AppSecret::new(secret), EngineVersion::V1, SessionCipher::Ctr),
        Err(_) => Security::Plaintext,
    };
    let merge = Merge { app_attempt: -1, shuffle: ShuffleId(shuffle.parse()?), merge: ShuffleMergeId(0) };
    let maps: RoaringBitmap = (0..maps.parse()?).collect();
    let status = MergeStatus { reduce: ReduceId(partition.parse()?), size: 0, maps: Bitmap::from(maps) };
    let Read { merged, fetched } = run(security, server, app, executor, merge, status).await?;
    println!("{merged} bytes merged, {fetched} as they were");
    Ok(())
}

/// Bytes, by the way in which they came.
pub(crate) struct Read {
    pub(crate) merged: usize,
    pub(crate) fetched: usize,
}

/// Reads the partition. Map ids are map indexes here, as in Spark's old shuffle protocol.
pub(crate) async fn run(
    security: Security,
    server: &str,
    app: &str,
    executor: &str,
    merge: Merge,
    status: MergeStatus,
) -> Result<Read, Box<dyn Error>> {
    let client = Client::new(Settings::new(security), AppId::new(app));
    let server = Address::parse(server, 7337)?;
    let mut read = Read { merged: 0, fetched: 0 };
    let mut outcomes = client.read_merged(&server, merge, &status);
    while let Some(outcome) = outcomes.next().await {
        let fall_back = match outcome {
            MergedPart::Chunk(chunk) => {
                println!(
                    "chunk {}: {} bytes of {} map tasks",
                    chunk.chunk,
                    chunk.bytes.len(),
                    chunk.maps.len()
                );
                read.merged += chunk.bytes.len();
                continue;
            }
            MergedPart::FallBack(fall_back) => fall_back,
        };
        println!("{} map tasks as they are: {}", fall_back.maps.len(), fall_back.reason);
        let block = |map| BlockId::Shuffle {
            shuffle: merge.shuffle,
            map: MapId(i64::from(map)),
            reduce: status.reduce,
        };
        let blocks = fall_back.maps.iter().map(block).collect();
        let mut fetch = client.fetch(&server, &ExecutorId::new(executor), blocks);
        while let Some(outcome) = fetch.next().await {
            let (_, bytes) = outcome?;
            read.fetched += bytes.len();
        }
    }
    Ok(read)
}
