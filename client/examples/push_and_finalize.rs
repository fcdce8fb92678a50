//! Pushes the partitions of a map task to a merger, ends the merge, and says what was merged.
//!
//! ```text
//! _SPARK_AUTH_SECRET=… cargo run --example push_and_finalize -- node-1:7337 app-20261122052236-0000 0 part-0 part-1
//! ```
//!
//! Each file is one partition, in their order. The merger knows the application by its registered executors.

use std::error::Error;

use sealed_shuffle_client::{
    Address, AppId, AppSecret, BlockBody, Bytes, Client, EngineVersion, MapOutput, Merge, MergeStatus,
    ReduceId, Security, SessionCipher, Settings, ShuffleId, ShuffleMergeId,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, app, shuffle, files @ ..] = &arguments[..] else {
        return Err("HOST:PORT APP SHUFFLE FILE…".into());
    };
    let security = match std::env::var("_SPARK_AUTH_SECRET") {
        Ok(secret) => Security::aes(AppSecret::new(secret), EngineVersion::V1, SessionCipher::Ctr),
        Err(_) => Security::Plaintext,
    };
    // -1: the application has no attempts, as outside of YARN.
    let merge = Merge { app_attempt: -1, shuffle: ShuffleId(shuffle.parse()?), merge: ShuffleMergeId(0) };
    let partitions = files.iter().map(std::fs::read).collect::<Result<Vec<_>, _>>()?;
    run(security, server, app, merge, partitions).await?;
    Ok(())
}

/// Pushes the partitions of map task 0 and ends the merge.
pub(crate) async fn run(
    security: Security,
    server: &str,
    app: &str,
    merge: Merge,
    partitions: Vec<Vec<u8>>,
) -> Result<Vec<MergeStatus>, Box<dyn Error>> {
    let client = Client::new(Settings::new(security), AppId::new(app));
    let merger = Address::parse(server, 7337)?;
    let count = u32::try_from(partitions.len())?;
    let bodies = partitions.into_iter().map(|bytes| BlockBody::from(Bytes::from(bytes)));
    let output = MapOutput {
        merge,
        map_index: 0,
        partitions: count,
        blocks: (0..).map(ReduceId).zip(bodies).collect(),
    };
    let report = client.push(output, std::slice::from_ref(&merger)).await;
    println!("{report}");
    let statuses = client.finalize_shuffle_merge(&merger, merge).await?;
    for status in &statuses {
        println!("partition {}: {} bytes of {} map tasks", status.reduce, status.size, status.maps.len());
    }
    Ok(statuses)
}
