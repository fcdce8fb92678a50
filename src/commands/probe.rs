//! `probe`: tells which modes a server accepts, and whether its weakest level is good enough.

use std::io::{Write, stdout};
use std::time::Duration;

use clap::Args;
use sealed_shuffle_client::{
    Address, ClientError, Judgement, Observation, Probe as Prober, ProbeConfig, ProbeReport, Trust, Verdict,
};
use sealed_shuffle_config::ProcessEnvironment;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::ids::AppId;
use serde_json::json;

use super::table::columns;
use super::versioned::versioned;
use super::{ConfigArgs, Exit, Failure, complain, start_logging};

const HELP: &str = "Examples:
  sealed-shuffle probe node-1:7337
  sealed-shuffle probe node-1:7337 --secret-file secret --minimum tls --json

It asks for TLS 1.3 and 1.2. Then, in clear and inside TLS, it sends a request without proof, and the
handshakes of SASL, of Spark 2.2 to 3.0 and of Spark 3.1 and later with a random secret. Without a
configured secret that is all. With one, it tries each mode of the handshakes that the server speaks;
inside TLS only if the configuration trusts the server's certificate. An attacker who records one of
these handshakes can try secrets against it offline, exactly as with Spark's own client. Nothing else
of the secret leaves this machine. The request asks for a block of an executor that does not exist.
Nothing changes at the server; it may log refusals, and a server of ours lists the application of
--app-id.

Exit codes:
  0 everything that is accepted is at least --minimum, 1 something weaker is accepted,
  2 wrong usage, 69 could not tell: unreachable, or the answers do not say,
  78 wrong configuration";

/// Say which modes a server accepts: ours, Spark's shuffle service, block manager or RPC port, with or without TLS
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(crate) struct Probe {
    /// The server; without a port, that of spark.shuffle.service.port [7337]
    #[arg(value_name = "HOST:PORT")]
    server: String,

    /// The weakest level that is good enough: plaintext, sasl-conf, aes-legacy, aes-ctr, aes-gcm or tls; without it
    /// spark.sealed.security.minimum, and aes-gcm where that is not set
    #[arg(long, value_name = "LEVEL", value_parser = level)]
    minimum: Option<SecurityLevel>,

    /// Application to claim to be; servers with a secret for each application know no other
    #[arg(long, value_name = "APP", default_value = Prober::APP)]
    app_id: String,

    /// Longest wait for each answer
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,

    /// Ask without the secret, as anybody could, although one is configured
    #[arg(long)]
    no_secret: bool,

    /// Print the report as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

fn level(name: &str) -> Result<SecurityLevel, String> {
    SecurityLevel::named(name).ok_or_else(|| {
        let names = SecurityLevel::ALL.map(SecurityLevel::name).join(", ");
        format!("no level of security: use one of {names}")
    })
}

impl Probe {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let sources = self.config.sources();
        let config = ProbeConfig::from_sources(&sources, &ProcessEnvironment, !self.no_secret)?;
        let server = Address::parse(&self.server, config.service_port)
            .map_err(|error| Failure::new(Exit::Usage, error))?;
        start_logging(&config.log)?;
        for notice in &config.report.notices {
            complain(notice);
        }
        let minimum = self.minimum.or(config.minimum).unwrap_or(SecurityLevel::AesGcm);
        let mut prober = config.probe().map_err(|error| Failure::new(Exit::Config, error))?;
        prober.app = AppId::new(self.app_id);
        prober.timeout = Duration::from_secs(self.timeout);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
        let report = match runtime.block_on(prober.look_at(&server)) {
            Ok(report) => report,
            Err(error) => return Err(unreachable(&server, minimum, &error, self.json)),
        };
        print(&match self.json {
            true => format!("{:#}\n", versioned(report.to_json(minimum))),
            false => text(&report),
        })?;
        match report.judge(minimum) {
            Judgement::Enough => Ok(()),
            Judgement::Weaker(why) => Err(Failure::new(Exit::Failed, why)),
            Judgement::CannotTell(why) => {
                Err(Failure::new(Exit::Unreachable, format!("cannot tell whether {server} is safe: {why}")))
            }
        }
    }
}

fn unreachable(server: &Address, minimum: SecurityLevel, error: &ClientError, json: bool) -> Failure {
    if json {
        let object = json!({
            "server": server.to_string(),
            "reachable": false,
            "minimum": minimum.name(),
            "judgement": "cannot tell",
            "reason": error.to_string(),
        });
        if let Err(failure) = print(&format!("{:#}\n", versioned(object))) {
            return failure;
        }
    }
    Failure::new(Exit::Unreachable, error)
}

fn print(text: &str) -> Result<(), Failure> {
    stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(Exit::Failed, error))
}

const HEAD: [&str; 5] = ["LEVEL", "HANDSHAKE", "CIPHER", "TLS", "VERDICT"];

/// A table of what is spoken, then everything else a line at a time.
fn text(report: &ProbeReport) -> String {
    let mut text = format!("{}: {}\n\n", report.server, report.peer);
    let spoken = report.modes.iter().filter(|seen| !matches!(seen.verdict, Verdict::NotSpoken(_)));
    let lines: Vec<_> = std::iter::once(HEAD.map(str::to_owned)).chain(spoken.map(line)).collect();
    if lines.len() > 1 {
        text += &columns(&lines);
        text.push('\n');
    }
    for in_tls in [false, true] {
        text += &details(report, in_tls);
    }
    text += &tls(report);
    text += &format!("a wrong secret: {}\n", report.wrong_secret.label());
    for warning in &report.warnings {
        text += &format!("warning: {warning}\n");
    }
    let weakest = report.weakest().map_or("nothing was accepted", SecurityLevel::name);
    text += &format!("weakest accepted: {weakest}\n");
    text
}

fn line(seen: &Observation) -> [String; 5] {
    [
        seen.mode.level.name(),
        seen.mode.handshake.name(),
        seen.mode.cipher,
        seen.mode.tls.map_or("-", |tls| tls.name()),
        seen.verdict.label(),
    ]
    .map(str::to_owned)
}

/// Why a mode is not accepted; modes that share their reason share a line.
fn details(report: &ProbeReport, in_tls: bool) -> String {
    let mut shared: Vec<(&Verdict, Vec<String>)> = Vec::new();
    for seen in report.modes.iter().filter(|seen| seen.mode.tls.is_some() == in_tls) {
        if seen.verdict.detail().is_none() {
            continue;
        }
        let name = match seen.mode.handshake.name() {
            "none" => "without proof".to_owned(),
            handshake => format!("{handshake} {}", seen.mode.cipher),
        };
        match shared.iter_mut().find(|(verdict, _)| **verdict == seen.verdict) {
            Some((_, names)) => names.push(name),
            None => shared.push((&seen.verdict, vec![name])),
        }
    }
    let way = if in_tls { "in TLS" } else { "in clear" };
    let mut text = String::new();
    for (verdict, names) in shared {
        let why = verdict.detail().unwrap_or_default();
        text += &format!("{} {way}: {}: {why}\n", verdict.label(), names.join(", "));
    }
    text
}

fn tls(report: &ProbeReport) -> String {
    let Some(tls) = &report.tls else { return "TLS: not spoken\n".to_owned() };
    let mut text = String::new();
    for (version, seen) in &tls.versions {
        text += &match seen {
            Ok(suite) => format!("{}: {suite}\n", version.name()),
            Err(verdict) => {
                format!(
                    "{}: {} ({})\n",
                    version.name(),
                    verdict.label(),
                    verdict.detail().unwrap_or_default()
                )
            }
        };
    }
    for certificate in &tls.chain {
        text += &format!("certificate: {certificate}\n");
    }
    if tls.asks_certificate {
        text += "it asks for a certificate of the client's\n";
    }
    if tls.trust == Trust::Verified {
        text += "the certificate verifies against the configured trust\n";
    }
    text
}
