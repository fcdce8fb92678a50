//! What a server that runs accepts, asked as `probe` asks it.

use sealed_shuffle_client::{Address, Judgement, ProbeConfig, ProbeReport};
use sealed_shuffle_config::{Environment, Sources};
use sealed_shuffle_protocol::channel::SecurityLevel;

use super::finding::Finding;
use crate::commands::{Exit, Failure};

const ABOUT: &str = "probe";

/// Where a server is, from what was written; without a port, that of the configuration.
pub(super) async fn look(
    sources: &Sources,
    environment: &dyn Environment,
    server: &str,
) -> Result<Vec<Finding>, Failure> {
    let config = match ProbeConfig::from_sources(sources, environment, true) {
        Ok(config) => config,
        Err(error) => return Ok(vec![Finding::fault(ABOUT, error.to_string())]),
    };
    let server =
        Address::parse(server, config.service_port).map_err(|error| Failure::new(Exit::Usage, error))?;
    let minimum = config.minimum.unwrap_or(SecurityLevel::AesGcm);
    let prober = match config.probe() {
        Ok(prober) => prober,
        Err(error) => return Ok(vec![Finding::fault(ABOUT, error.to_string())]),
    };
    Ok(match prober.look_at(&server).await {
        Ok(report) => seen(&report, minimum),
        Err(error) => vec![
            Finding::fault(ABOUT, format!("{server}: {error}"))
                .hint("is the server running, and does a firewall let this machine through?")
                .that_may_pass(),
        ],
    })
}

fn seen(report: &ProbeReport, minimum: SecurityLevel) -> Vec<Finding> {
    let ProbeReport { server, peer, .. } = report;
    let more = format!("`sealed-shuffle probe {server}` lists each mode");
    let judged = match (report.judge(minimum), report.weakest()) {
        (Judgement::Enough, Some(weakest)) => {
            Finding::good(ABOUT, format!("{server} is {peer}; the weakest that it accepts is {weakest}"))
        }
        (Judgement::Enough, None) => {
            Finding::warning(ABOUT, format!("{server} is {peer}, and accepts nothing of what was tried"))
                .hint(format!("is the secret of this configuration the server's? {more}"))
        }
        (Judgement::Weaker(why), _) => {
            Finding::warning(ABOUT, format!("{server} is {peer}: {why}")).hint(format!(
                "raise spark.sealed.security.minimum at a server of ours; spark.network.crypto.* at Spark's own. {more}"
            ))
        }
        (Judgement::CannotTell(why), _) => Finding::warning(
            ABOUT,
            format!("{server} is {peer}; whether it accepts less than {minimum} cannot be told: {why}"),
        )
        .hint(more),
    };
    let remarks = report.warnings.iter().map(|text| Finding::warning(ABOUT, format!("{server}: {text}")));
    std::iter::once(judged).chain(remarks).collect()
}
