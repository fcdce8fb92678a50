//! Fetches partitions of map tasks from any server that speaks Spark's protocol: a shuffle service or an executor.
//!
//! ```text
//! _SPARK_AUTH_SECRET=… cargo run --example fetch_partition -- node-1:7337 app-20261122052236-0000 0 shuffle_0_0_0
//! ```
//!
//! Without a secret it speaks in clear.

use std::error::Error;

use sealed_shuffle_client::{
    Address, AppId, AppSecret, BlockId, Client, EngineVersion, ExecutorId, Security, SessionCipher, Settings,
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, app, executor, blocks @ ..] = &arguments[..] else {
        return Err("HOST:PORT APP EXECUTOR BLOCK…".into());
    };
    let security = match std::env::var("_SPARK_AUTH_SECRET") {
        // Spark's own default; a server of Spark's must have the same version and cipher.
        Ok(secret) => Security::aes(AppSecret::new(secret), EngineVersion::V1, SessionCipher::Ctr),
        Err(_) => Security::Plaintext,
    };
    let bytes = run(security, server, app, executor, blocks).await?;
    println!("{bytes} bytes");
    Ok(())
}

/// Fetches the blocks and answers how many bytes they have together.
pub(crate) async fn run(
    security: Security,
    server: &str,
    app: &str,
    executor: &str,
    blocks: &[String],
) -> Result<usize, Box<dyn Error>> {
    let client = Client::new(Settings::new(security), AppId::new(app));
    let server = Address::parse(server, 7337)?;
    let blocks = blocks.iter().map(|block| block.parse()).collect::<Result<Vec<BlockId>, _>>()?;
    let mut fetch = client.fetch(&server, &ExecutorId::new(executor), blocks);
    let mut total = 0;
    while let Some(outcome) = fetch.next().await {
        let (block, bytes) = outcome?;
        println!("{block}: {} bytes", bytes.len());
        total += bytes.len();
    }
    Ok(total)
}
