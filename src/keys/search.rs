//! The search of a handshake for a secret that verifies.
//!
//! A secret may come after its application's first connection, so a search that has found none waits. It waits as long
//! where there are secrets and none verifies: otherwise the time would tell strangers which applications there are.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::AppSecret;
use tokio::time::{Instant, sleep};

use super::waiting::Place;
use super::{Lookup, Secrets};

/// Between two looks for a secret that is not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A secret that may be the peer's.
#[derive(Debug)]
pub struct Candidate {
    /// The secret.
    pub secret: Arc<AppSecret>,
    /// Whether it is the current one, and not the one before it.
    pub is_current: bool,
}

/// The search for the secret of one handshake.
#[derive(Debug)]
pub struct Search<'a> {
    secrets: &'a Secrets,
    app: &'a AppId,
    peer: IpAddr,
    began: Instant,
    tried: Vec<Arc<AppSecret>>,
    place: Option<Place>,
}

impl<'a> Search<'a> {
    pub(super) fn new(secrets: &'a Secrets, app: &'a AppId, peer: IpAddr) -> Self {
        Self { secrets, app, peer, began: Instant::now(), tried: Vec::new(), place: None }
    }

    /// The next secret that was not tried yet, the current one first. Waits for one until the time is over, or another
    /// handshake needs the place; the reason is for the log.
    pub async fn next(&mut self) -> Result<Candidate, String> {
        loop {
            let found = self.secrets.of(self.app).await;
            if let Lookup::Found(all) = &found
                && let Some(candidate) = self.untried(all)
            {
                self.tried.push(Arc::clone(&candidate.secret));
                return Ok(candidate);
            }
            let (waited, patience) = (self.began.elapsed(), self.secrets.patience());
            if waited >= patience {
                return Err(reason(&found, waited));
            }
            let place = self.place.get_or_insert_with(|| self.secrets.waiting_room().enter(self.peer));
            tokio::select! {
                () = sleep(LOOK_AGAIN.min(patience - waited)) => {}
                () = place.lost() => {
                    return Err(format!("{}; too many handshakes wait for a secret", reason(&found, waited)));
                }
            }
        }
    }

    fn untried(&self, all: &[Arc<AppSecret>]) -> Option<Candidate> {
        let is_tried = |secret: &AppSecret| self.tried.iter().any(|tried| **tried == *secret);
        let (at, secret) = all.iter().enumerate().find(|(_, secret)| !is_tried(secret))?;
        Some(Candidate { secret: Arc::clone(secret), is_current: at == 0 })
    }
}

fn reason(found: &Lookup, waited: Duration) -> String {
    let missing = match found {
        Lookup::Found(_) => return "no secret of this application verifies".to_owned(),
        Lookup::Refused(reason) => return reason.clone(),
        Lookup::NotYet { file: Some(file) } => format!("no file {}", file.display()),
        Lookup::NotYet { file: None } => "none was handed over".to_owned(),
    };
    format!(
        "there is no secret of this application: {missing} within {waited:.1?} (spark.sealed.auth.secret-wait)"
    )
}
