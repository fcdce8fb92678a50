//! What a session does about clients whose AES-GCM loses messages: it listens to them, and refuses those that are known
//! not to hear ([`crate::applications::broken_gcm`]).

use std::time::Instant;

use sealed_shuffle_protocol::cipher::{SessionCipher, SessionMode};
use sealed_shuffle_protocol::connection::{CloseReason, Identity};
use sealed_shuffle_protocol::ids::{RequestId, StreamId};
use sealed_shuffle_protocol::shuffle::{BlockTransferMessage, StreamHandle};

use super::Failure;
use super::refusals::Refusal;
use super::session::{Engine, Session};
use crate::applications::Evidence;
use crate::applications::broken_gcm::{Answer, Denial, Listening, Peer};

impl Session {
    /// The session's cipher is known and the channel admitted: refuses a client that is known to be broken, and begins
    /// to look at any other that could be.
    pub(super) fn listen_for_broken_gcm(&mut self, engine: &Engine, mode: SessionMode) {
        let Some(Identity::Proven(app)) = engine.identity() else { return };
        if mode.cipher != SessionCipher::Gcm || self.refusal.is_some() {
            return;
        }
        let peer = Peer { app: app.clone(), address: self.peer.ip() };
        match self.shared.applications.broken_gcm().listen(peer, Instant::now()) {
            Ok(listening) => self.listening = Some(listening),
            Err(Denial) => self.refusal = Some(self.refuse_broken_gcm(false)),
        }
    }

    /// A request came.
    pub(super) fn heard_request(&mut self) {
        if let Some(listening) = &mut self.listening {
            listening.requested(Instant::now());
        }
    }

    /// A chunk of `stream` was asked for.
    pub(super) fn heard_of_stream(&mut self, stream: StreamId) {
        if let Some(listening) = &mut self.listening {
            self.shared.applications.broken_gcm().asked(listening, stream, Instant::now());
        }
    }

    /// Answers the request for blocks whose bytes are `body` with the handle of its stream, or refuses it.
    pub(super) fn answer_opening(
        &mut self,
        engine: &mut Engine,
        request: RequestId,
        body: &[u8],
        handle: StreamHandle,
    ) -> Result<(), CloseReason> {
        let answer = match &mut self.listening {
            Some(listening) if handle.num_chunks > 0 => {
                self.shared.applications.broken_gcm().opened(listening, body, handle.stream, Instant::now())
            }
            _ => Answer::Whole,
        };
        if self.listening.as_ref().is_some_and(Listening::is_open) {
            // Mostly the client's deadline is ours too; its giving up tells something, our closing nothing.
            let timeout = self.shared.idle_timeout();
            engine.set_idle_timeout(timeout.saturating_add(timeout / 2));
        }
        if answer == Answer::Refusal {
            let text = self.refuse_broken_gcm(true);
            engine.fail_rpc(request, &text)?;
            engine.close(CloseReason::Refused(text));
            return Ok(());
        }
        let handle = BlockTransferMessage::from(handle).encode()?;
        match answer {
            Answer::InTwo => engine.answer_rpc_in_two(request, &handle),
            Answer::Whole | Answer::Refusal => engine.answer_rpc(request, &handle),
        }
    }

    /// The connection has ended.
    pub(super) fn judge_silence(&mut self, engine: &Engine, reason: &CloseReason) {
        let Some(listening) = self.listening.take() else { return };
        let gave_up = matches!(reason, CloseReason::PeerClosed | CloseReason::Io(_));
        if gave_up && !engine.is_sending() {
            self.shared.applications.broken_gcm().fell_silent(listening, Instant::now());
        }
    }

    /// Counts and shows the refusal; the text is for the peer.
    fn refuse_broken_gcm(&self, is_news: bool) -> Failure {
        let text = self.refuse(&Refusal::BrokenGcm { app: self.claimed.clone(), is_news });
        if let Some(seen) = &self.seen {
            seen.evidence(Evidence::BrokenGcm);
            self.shared.applications.usage().refused(seen.app(), self.channel, self.peer.ip(), &text);
        }
        text
    }
}
