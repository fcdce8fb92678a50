//! The client's examples run.

use std::error::Error;

use sealed_shuffle_client::{Security, SecurityLevel};

use crate::support::*;

#[expect(dead_code, reason = "its `main` reads arguments")]
#[path = "../../client/examples/fetch_partition.rs"]
mod fetch_partition;
#[expect(dead_code, reason = "its `main` reads arguments")]
#[path = "../../client/examples/probe.rs"]
mod probe;

#[tokio::test]
async fn a_partition_is_fetched_in_every_mode() -> Result<(), Box<dyn Error>> {
    for security in modes() {
        let server = Running::start(&security).await;
        server.write_map(0, 3, &[b"AAAA", b"", b"CCCCC"]);
        server.register(&client(security.clone())).await?;
        let blocks = ["shuffle_0_3_0", "shuffle_0_3_2"].map(str::to_owned);
        let address = server.address.to_string();
        let bytes =
            fetch_partition::run(security, &address, app().as_str(), executor().as_str(), &blocks).await?;
        assert_eq!(bytes, 9);
    }
    Ok(())
}

#[tokio::test]
async fn a_server_in_clear_is_told_by_a_probe() -> Result<(), Box<dyn Error>> {
    let server = Running::start(&Security::Plaintext).await;
    let report = probe::run(&server.address.to_string()).await?;
    assert_eq!(report.weakest(), Some(SecurityLevel::Plaintext));
    Ok(())
}
