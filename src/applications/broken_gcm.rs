//! Recognises clients whose AES-GCM takes one message of a connection and silently loses all others, and refuses them
//! by name rather than to let them wait for what they cannot hear.
//!
//! Source: GcmTransportCipher, the releases of `cipher::BROKEN_GCM`. Such a client reads the answer to its first request
//! (the handle of a stream), asks for chunks, hears nothing more, closes when its own deadline has passed
//! (`spark.shuffle.io.connectionTimeout`, 120 s) and sends the same request again on a new connection. No byte
//! that it sends tells it from a sound one, so it is recognised by what it hears:
//!
//! ```text
//!             answer in two messages           the same request again:          the same request
//!             asks for a chunk                 answer in one message            a third time
//!  unknown ──────────────────────► Hears       asks for chunks soon, then
//!     │                              ▲         the same silence
//!     └─ silence, the client gives up┼─► Deaf ─────────────────────────► Contrast ──────► Broken
//!                                    └───────────────┴── hears a later message ──┘         refused
//! ```
//!
//! * **Test**: the first handle of a connection goes out in two GCM messages. Whoever asks for a chunk has heard the
//!   second one, and is left alone from then on. This costs a healthy application one small write per address.
//! * **Contrast**: a client that did not react at all may be stopped, killed or cut off. So its next handle comes in
//!   one message: only a client that hears exactly one asks for chunks now, gets all of them, and is silent again for
//!   as long as before, since it gives up by the same deadline of its own.
//! * **Verdict**: only when it then asks for the same blocks once more, soon, is it refused: in the one message that
//!   it hears. Spark tries four times by default (`spark.shuffle.io.maxRetries`), so that the text arrives.
//!
//! Invariants: nobody is refused who has heard a second message from here within [`REMEMBERED`]; every step needs the
//! client to end a silence of [`SILENCE`] at least while nothing of ours waits for it, and the same request within
//! [`AGAIN`]. So one who fetches the same block in a loop, reads slowly, is killed at any point or fetches again what
//! it has is never near a verdict. What is known is about an application at an address, bounded by
//! [`PEERS`], and forgotten after [`REMEMBERED`].

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::{AppId, StreamId};

/// A client that waits shorter than that for an answer is no evidence. A healthy one asks for chunks at once.
const SILENCE: Duration = Duration::from_secs(2);

/// The same request comes again within that (`spark.shuffle.io.retryWait`, 5 s), or it is another story.
const AGAIN: Duration = Duration::from_secs(300);

/// For how long a client that hears is not tested again, and one that does not is refused.
const REMEMBERED: Duration = Duration::from_secs(1800);

/// Applications at addresses that are remembered.
const PEERS: usize = 4096;

/// Unfinished trials of one of them; an executor has one.
const TRIALS: usize = 8;

/// Requests for blocks of one connection that are remembered.
const OPENINGS: usize = 16;

/// What is known of all clients.
#[derive(Debug, Default)]
pub(crate) struct BrokenGcm {
    peers: Mutex<HashMap<Peer, PeerRecord>>,
    hasher: RandomState,
}

/// An application at an address.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Peer {
    pub(crate) app: AppId,
    pub(crate) address: IpAddr,
}

/// What is known of one.
#[derive(Debug)]
struct PeerRecord {
    hearing: Hearing,
    since: Instant,
}

#[derive(Debug)]
enum Hearing {
    /// It has heard a second message.
    Hears,
    /// Trials that are under way.
    Suspect(Vec<Trial>),
    /// It hears the first message only.
    Broken,
}

/// Requests after which a client was deaf.
#[derive(Clone, Debug)]
struct Trial {
    /// Hashes of the requests that no answer was heard to.
    openings: Vec<u64>,
    /// How long the client was silent before it gave up.
    silence: Duration,
    /// It has heard an answer in one message since, and was silent as long again.
    contrast: bool,
    /// When it last gave up.
    ended: Instant,
}

/// What one connection in AES-GCM shows of its client.
#[derive(Debug)]
pub(crate) struct Listening {
    peer: Peer,
    way: Way,
    openings: Vec<Opening>,
    requests: u32,
    /// When the first handle was queued.
    answered: Option<Instant>,
    /// When a chunk was first asked for.
    asked: Option<Instant>,
    last_request: Instant,
}

/// How the first handle of a connection went out.
#[derive(Clone, Debug)]
enum Way {
    /// It has not.
    NotYet,
    /// In two messages: a chunk asked for proves that the second one was heard.
    InTwo,
    /// In one message, the first of the connection, as the contrast to what this trial saw.
    InOne(Trial),
    /// There is nothing to find out.
    Settled,
}

/// A stream that was opened on a connection.
#[derive(Clone, Copy, Debug)]
struct Opening {
    print: u64,
    stream: StreamId,
    /// Its handle cannot have come with the first message: a chunk was asked for before.
    later: bool,
}

/// What to answer a request for blocks with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Answer {
    Whole,
    InTwo,
    Refusal,
}

/// The client is known not to hear.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Denial;

impl BrokenGcm {
    /// A connection of `peer` begins.
    pub(crate) fn listen(&self, peer: Peer, now: Instant) -> Result<Listening, Denial> {
        let settled = match self.peers().get(&peer) {
            Some(known) if known.is_old(now) => false,
            Some(PeerRecord { hearing: Hearing::Broken, .. }) => return Err(Denial),
            Some(PeerRecord { hearing: Hearing::Hears, .. }) => true,
            _ => false,
        };
        let way = if settled { Way::Settled } else { Way::NotYet };
        let openings = Vec::new();
        Ok(Listening { peer, way, openings, requests: 0, answered: None, asked: None, last_request: now })
    }

    /// The handle of `stream` is about to answer `body`.
    pub(crate) fn opened(&self, on: &mut Listening, body: &[u8], stream: StreamId, now: Instant) -> Answer {
        if matches!(on.way, Way::Settled) {
            return Answer::Whole;
        }
        let opening = Opening { print: self.hasher.hash_one(body), stream, later: on.asked.is_some() };
        if on.openings.len() < OPENINGS {
            on.openings.push(opening);
        }
        if !matches!(on.way, Way::NotYet) {
            return Answer::Whole;
        }
        on.answered = Some(now);
        let (way, answer) = self.begin(on, opening.print, now);
        on.way = way;
        answer
    }

    /// How the first handle of a connection is to go out.
    fn begin(&self, on: &Listening, print: u64, now: Instant) -> (Way, Answer) {
        let mut peers = self.peers();
        let Some(known) = peers.get_mut(&on.peer).filter(|known| !known.is_old(now)) else {
            return (Way::InTwo, Answer::InTwo);
        };
        let trials = match &mut known.hearing {
            Hearing::Hears => return (Way::Settled, Answer::Whole),
            Hearing::Broken => return (Way::Settled, Answer::Refusal),
            Hearing::Suspect(trials) => trials,
        };
        let matching = trials.iter().find(|trial| trial.openings.contains(&print) && !trial.is_old(now));
        match matching.cloned() {
            Some(trial) if trial.contrast => {
                (known.hearing, known.since) = (Hearing::Broken, now);
                (Way::Settled, Answer::Refusal)
            }
            // What was answered before on this connection was the one message already.
            Some(trial) if on.requests <= 1 => (Way::InOne(trial), Answer::Whole),
            _ => (Way::InTwo, Answer::InTwo),
        }
    }

    /// A chunk of `stream` was asked for: its handle was heard.
    pub(crate) fn asked(&self, on: &mut Listening, stream: StreamId, now: Instant) {
        let Some(opening) = on.openings.iter().find(|opening| opening.stream == stream) else { return };
        let hears = match on.way {
            Way::InTwo => true,
            Way::InOne(_) => opening.later,
            Way::NotYet | Way::Settled => return,
        };
        on.asked.get_or_insert(now);
        if hears {
            on.way = Way::Settled;
            self.learn(on.peer.clone(), Hearing::Hears, now);
        }
    }

    /// The client has ended the connection, having taken all that there was to take.
    pub(crate) fn fell_silent(&self, on: Listening, now: Instant) {
        let silence = now.saturating_duration_since(on.last_request);
        let openings = on.openings.iter().map(|opening| opening.print).collect();
        match &on.way {
            Way::InTwo if silence >= SILENCE => {
                self.suspect(on.peer, Trial { openings, silence, contrast: false, ended: now }, now);
            }
            Way::InOne(before) if silence >= SILENCE && on.is_contrast_to(before, silence) => {
                let mut openings: Vec<u64> = openings;
                openings.retain(|print| before.openings.contains(print));
                self.suspect(on.peer, Trial { openings, silence, contrast: true, ended: now }, now);
            }
            // It has done something that no broken one does: from the beginning.
            Way::InOne(before) => self.acquit(&on.peer, before),
            Way::InTwo | Way::NotYet | Way::Settled => {}
        }
    }

    /// Remembers a trial in the place of all that it goes on with.
    fn suspect(&self, peer: Peer, trial: Trial, now: Instant) {
        let mut peers = self.peers();
        make_room(&mut peers, &peer, now);
        let known = peers
            .entry(peer)
            .or_insert_with(|| PeerRecord { hearing: Hearing::Suspect(Vec::new()), since: now });
        if known.is_old(now) {
            known.hearing = Hearing::Suspect(Vec::new());
        }
        let Hearing::Suspect(trials) = &mut known.hearing else { return };
        known.since = now;
        trials
            .retain(|other| !other.is_old(now) && !other.openings.iter().any(|p| trial.openings.contains(p)));
        if trials.len() >= TRIALS {
            trials.remove(0);
        }
        trials.push(trial);
    }

    fn acquit(&self, peer: &Peer, before: &Trial) {
        let mut peers = self.peers();
        if let Some(PeerRecord { hearing: Hearing::Suspect(trials), .. }) = peers.get_mut(peer) {
            trials.retain(|trial| !trial.openings.iter().any(|print| before.openings.contains(print)));
        }
    }

    fn learn(&self, peer: Peer, hearing: Hearing, now: Instant) {
        let mut peers = self.peers();
        make_room(&mut peers, &peer, now);
        peers.insert(peer, PeerRecord { hearing, since: now });
    }

    /// Whether anything is known of clients of an application.
    #[cfg(test)]
    pub(super) fn knows(&self, app: &AppId) -> bool {
        self.peers().keys().any(|peer| peer.app == *app)
    }

    /// Forgets an application.
    pub(super) fn forget(&self, app: &AppId) {
        self.peers().retain(|peer, _| peer.app != *app);
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<Peer, PeerRecord>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes out what is old, or else a sixteenth of the oldest, so that a flood pays for few searches.
fn make_room(peers: &mut HashMap<Peer, PeerRecord>, for_peer: &Peer, now: Instant) {
    if peers.len() < PEERS || peers.contains_key(for_peer) {
        return;
    }
    peers.retain(|_, known| !known.is_old(now));
    if peers.len() < PEERS {
        return;
    }
    let mut ages: Vec<Instant> = peers.values().map(|known| known.since).collect();
    let (_, &mut oldest, _) = ages.select_nth_unstable(PEERS / 16);
    peers.retain(|_, known| known.since > oldest);
}

impl PeerRecord {
    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) > REMEMBERED
    }
}

impl Trial {
    fn is_old(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.ended) > AGAIN
    }
}

impl Listening {
    pub(crate) fn requested(&mut self, now: Instant) {
        self.requests = self.requests.saturating_add(1);
        self.last_request = now;
    }

    /// Whether there is something to find out still.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.way, Way::InTwo | Way::InOne(_))
    }

    /// Whether the client heard an answer in one message far sooner than it gave up on one in two, and then gave up
    /// by the same deadline.
    fn is_contrast_to(&self, before: &Trial, silence: Duration) -> bool {
        let (Some(answered), Some(asked)) = (self.answered, self.asked) else { return false };
        let reaction = asked.saturating_duration_since(answered);
        let margin = before.silence / 8 + Duration::from_millis(500);
        reaction < before.silence / 4 && silence.abs_diff(before.silence) <= margin
    }
}

#[cfg(test)]
mod tests;
