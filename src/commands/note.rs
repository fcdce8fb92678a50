//! Notes in the audit trail what an operator does beside the server.
//!
//! The server that runs writes it. Where none runs, nobody writes the trail, and the command does it by itself.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use sealed_shuffle_config::{AuditConfig, ProcessEnvironment, Sources};

use super::admin::RunningServer;
use super::{Exit, Failure};
use crate::admin::deed::Deed;
use crate::audit::{Actor, Audit, AuditCounters, audit_app};
use crate::keys::envelope::open_provider;

/// Tells the server that runs.
pub(super) fn tell(server: &RunningServer, deed: &Deed) -> Result<(), Failure> {
    let answer = server.ask(&Method::POST, &deed.path())?;
    match answer.status {
        StatusCode::OK => Ok(()),
        _ => Err(answer.refused("it does not note this in its audit trail: is it a server of this release?")),
    }
}

/// Tells the server that runs, and else writes it into the trail that its configuration names, if there is one.
pub(super) fn note(
    server: Result<&RunningServer, &Failure>,
    sources: &Sources,
    deed: &Deed,
) -> Result<(), Failure> {
    match server {
        // Its socket may be off, and it may run.
        Err(failure) => write(sources, deed, failure),
        Ok(server) => match tell(server, deed) {
            Err(failure) if failure.exit == Exit::Unreachable => write(sources, deed, &failure),
            told => told,
        },
    }
}

/// Writes it into the trail, which no server may have open.
fn write(sources: &Sources, deed: &Deed, nobody: &Failure) -> Result<(), Failure> {
    let (trail, envelope) = AuditConfig::configured(sources, &ProcessEnvironment)?;
    let Some(trail) = trail else { return Ok(()) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(Exit::Failed, format!("cannot start: {error}")))?;
    let is_written = runtime.block_on(async {
        let provider = open_provider(&envelope).await?;
        let audit = Audit::begin(&trail, AuditCounters::default());
        audit.open(&trail, &Arc::clone(&provider), envelope.context(audit_app()));
        let user = rustix::process::geteuid().as_raw();
        audit.operator(Actor::User(user), deed.action(), deed.subject(), deed.outcome(), deed.numbers());
        Ok::<_, Failure>(audit.end().await)
    })?;
    // What hangs must not hold up the command.
    runtime.shutdown_background();
    match is_written {
        true => Ok(()),
        false => {
            let text = format!(
                "done, but the audit trail in {} does not tell of it: it cannot be written here, and {nobody}",
                trail.dir.display()
            );
            Err(Failure::new(Exit::Failed, text))
        }
    }
}
