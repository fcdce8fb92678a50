//! Tells a server what follows from pods. Each call may wait for the server.

use std::path::PathBuf;

use sealed_shuffle_protocol::ids::AppId;
use tracing::{debug, info, warn};

use crate::handover::kubernetes::Order;
use crate::handover::{RelayError, Reply, Speaker};

/// The connection to the server, while there is one.
pub(super) struct Teller {
    socket: PathBuf,
    users: Vec<u32>,
    speaker: Option<Speaker>,
}

/// What came of telling.
#[derive(Default)]
pub(super) struct Outcome {
    /// Done, or refused for good.
    pub(super) done: Vec<Order>,
    /// What the server wants to be told later.
    pub(super) later: Option<String>,
}

impl Teller {
    pub(super) fn new(socket: PathBuf, users: Vec<u32>) -> Self {
        Self { socket, users, speaker: None }
    }

    pub(super) fn is_connected(&self) -> bool {
        self.speaker.is_some()
    }

    /// Connects where there is no connection, or the server has closed it, and asks which secrets the server holds; `None`
    /// where there was one.
    pub(super) fn connect(&mut self) -> Result<Option<Vec<AppId>>, RelayError> {
        match &self.speaker {
            Some(speaker) if !speaker.is_gone() => return Ok(None),
            _ => self.speaker = None,
        }
        let mut speaker = Speaker::connect(&self.socket, &self.users)?;
        let held = speaker.held()?.unwrap_or_default();
        info!(socket = %self.socket.display(), held = held.len(), "connected to the server");
        self.speaker = Some(speaker);
        Ok(Some(held))
    }

    /// Tells all of it. After an error the connection is gone, and the next server has to be told everything.
    pub(super) fn tell(&mut self, orders: Vec<Order>) -> (Outcome, Result<(), RelayError>) {
        let mut outcome = Outcome::default();
        for order in orders {
            let Some(speaker) = &mut self.speaker else { return (outcome, Err(RelayError::Gone)) };
            match say(speaker, &order) {
                Ok(Reply::NotNow(text)) => outcome.later = Some(text),
                Ok(Reply::Refused(text)) => {
                    warn!(app = %app_of(&order), text, "the server refuses {}", what_of(&order));
                    outcome.done.push(order);
                }
                Ok(Reply::Done) => {
                    match &order {
                        Order::EndExecutor(app, executor) => debug!(%app, %executor, "an executor is over"),
                        Order::Begin(app, _) => info!(%app, "handed over the secret of an application"),
                        Order::End(app) => info!(%app, "an application is over"),
                    }
                    outcome.done.push(order);
                }
                Err(error) => {
                    self.speaker = None;
                    return (outcome, Err(error));
                }
            }
        }
        (outcome, Ok(()))
    }
}

fn say(speaker: &mut Speaker, order: &Order) -> Result<Reply, RelayError> {
    match order {
        Order::Begin(app, secret) => speaker.started(app, secret),
        Order::EndExecutor(app, executor) => speaker.executor_ended(app, executor),
        Order::End(app) => speaker.ended(app),
    }
}

fn app_of(order: &Order) -> &AppId {
    match order {
        Order::Begin(app, _) | Order::EndExecutor(app, _) | Order::End(app) => app,
    }
}

fn what_of(order: &Order) -> &'static str {
    match order {
        Order::Begin(..) => "the secret of an application",
        Order::EndExecutor(..) => "the end of an executor",
        Order::End(_) => "the end of an application",
    }
}
