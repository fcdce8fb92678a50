//! Asks a server in every mode which of them it answers, and holds that against a minimum.
//!
//! ```text
//! cargo run --example probe -- node-1:7337
//! ```

use std::error::Error;

use sealed_shuffle_client::{Address, Judgement, Probe, ProbeReport, SecurityLevel, Verdict};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server] = &arguments[..] else { return Err("HOST:PORT".into()) };
    let report = run(server).await?;
    match report.judge(SecurityLevel::AesCtr) {
        Judgement::Enough => println!("all that is accepted is sealed"),
        Judgement::Weaker(why) | Judgement::CannotTell(why) => println!("{why}"),
    }
    Ok(())
}

/// Looks at the server without a secret, as anybody could.
pub(crate) async fn run(server: &str) -> Result<ProbeReport, Box<dyn Error>> {
    let report = Probe::default().look_at(&Address::parse(server, 7337)?).await?;
    println!("{}: {}", report.server, report.peer);
    for seen in &report.modes {
        if seen.verdict == Verdict::Accepted {
            println!("accepts {} ({})", seen.mode.level, seen.mode.cipher);
        }
    }
    Ok(report)
}
