//! What the policy says of a connection, once, when its channel is known; and its entry in the table of applications.
//!
//! Below the policy every request is answered with a refusal in the peer's own cipher; what is served and below the
//! target is said to the operator, once for an application and a channel.

use sealed_shuffle_protocol::channel::Channel;
use sealed_shuffle_protocol::connection::{CloseReason, Identity};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::shuffle::BlockTransferMessage;
use sealed_shuffle_transport::pot::UsedUp;
use tracing::{debug, warn};

use super::Failure;
use super::refusals::Refusal;
use super::repeats::Loudness;
use super::session::{Engine, Session};
use crate::applications::Evidence;
use crate::keys::Watch;
use crate::telemetry::SecretUsed;

impl Session {
    /// The channel is known, and the identity with it: judges both. Called once a connection, for every mode but SASL,
    /// which is judged within its handshake.
    pub(super) fn admit(&mut self, engine: &Engine, channel: Channel) {
        let app = match engine.identity() {
            Some(Identity::Proven(app)) => Some(app),
            _ => None,
        };
        self.refusal = self.judge_channel(app, channel);
    }

    /// Judges the channel of a peer that has proven `app`, or nothing; the text is what it reads where it is refused.
    pub(super) fn judge_channel(&mut self, app: Option<&AppId>, channel: Channel) -> Option<Failure> {
        let channel = self.within_tls(channel);
        self.channel = Some(channel);
        self.shared.metrics.channel_known(channel);
        debug!(peer = %self.peer, app = app.map(tracing::field::display), ?channel, "the channel is known");
        let policy = self.shared.policy();
        if policy.verdict(app, &channel).served {
            if let Some(app) = app {
                let seen = self.shared.applications.usage().connected(app, true, channel, self.peer.ip());
                self.seen = Some(seen);
            }
            return None;
        }
        let text = self.refuse(&Refusal::BelowMinimum {
            app: app.cloned(),
            level: channel.level,
            policy: policy.to_string(),
            text: policy.refusal(app, &channel),
            cure: policy.cure(app, &channel).to_string(),
        });
        if let Some(app) = app {
            self.shared.applications.usage().refused(app, Some(channel), self.peer.ip(), &text);
        }
        Some(text)
    }

    /// The peer has proven `app` with one of its secrets. Called once a connection, for every handshake.
    pub(super) fn proven(&mut self, app: &AppId, secret: SecretUsed) {
        self.access = Some(self.shared.applications.prove(app, secret));
    }

    /// The application's secret was taken away, it is to give way to another connection, or the server stops.
    pub(super) async fn told(&self) {
        let revoked = async {
            match &self.access {
                Some(access) => access.revoked().await,
                None => std::future::pending().await,
            }
        };
        let stopping = async {
            match self.draining {
                true => std::future::pending().await,
                false => self.shared.draining.cancelled().await,
            }
        };
        let asked = async {
            match self.seat.as_ref().filter(|_| !self.gives_way) {
                Some(seat) => seat.asked().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = revoked => {}
            () = stopping => {}
            () = asked => {}
        }
    }

    /// Ends the connection where its application's secret was taken away; once.
    pub(super) fn end_if_revoked(&mut self, engine: &mut Engine) {
        if self.access.as_ref().is_some_and(Watch::is_revoked) {
            self.access = None;
            engine.close(CloseReason::Refused("the application's secret was removed".to_owned()));
        }
    }

    /// A peer that has proven nothing names `app`, which the general rules let it do; the application's own may not.
    pub(super) fn admit_unproven(&mut self, app: &AppId) -> Result<(), Failure> {
        if self.seen.as_ref().is_some_and(|seen| seen.app() == app) {
            return Ok(());
        }
        let channel = self.channel();
        let policy = self.shared.policy();
        if !policy.admits_unproven(app, &channel) {
            let text = policy.refusal(Some(app), &channel);
            let text = self.refuse(&Refusal::BelowMinimumOf { app: app.clone(), level: channel.level, text });
            self.shared.applications.usage().refused(app, Some(channel), self.peer.ip(), &text);
            return Err(text);
        }
        let seen = self.shared.applications.usage().connected(app, false, channel, self.peer.ip());
        self.seen = Some(seen);
        // Where nobody proves anything, a name is all that shares can go by.
        self.settle(app).map_err(|UsedUp { pot, .. }| {
            self.ends_with = Some(CloseReason::ShareUsedUp { what: pot });
            CloseReason::ShareUsedUp { what: pot }.to_string()
        })
    }

    /// What a message says of the peer's release.
    pub(super) fn learn(&self, message: &BlockTransferMessage) {
        let Some(seen) = &self.seen else { return };
        let evidence = match message {
            BlockTransferMessage::FetchShuffleBlocks(_)
            | BlockTransferMessage::GetLocalDirsForExecutors(_)
            | BlockTransferMessage::RemoveBlocks(_) => Evidence::FetchShuffleBlocks,
            BlockTransferMessage::DiagnoseCorruption(_) => Evidence::DiagnoseCorruption,
            // A merge directory stands behind a colon, as JSON.
            BlockTransferMessage::RegisterExecutor(m) if m.info.shuffle_manager.contains(":{") => {
                Evidence::PushMergeMeta
            }
            BlockTransferMessage::RegisterExecutor(_)
            | BlockTransferMessage::OpenBlocks(_)
            | BlockTransferMessage::UploadBlock(_)
            | BlockTransferMessage::UploadBlockStream(_)
            | BlockTransferMessage::PushBlockStream(_)
            | BlockTransferMessage::FinalizeShuffleMerge(_)
            | BlockTransferMessage::FetchShuffleBlockChunks(_)
            | BlockTransferMessage::RemoveShuffleMerge(_)
            // No release sends it yet, so it is no evidence of one.
            | BlockTransferMessage::DiagnoseShuffleChunkCorruption(_)
            | BlockTransferMessage::StreamHandle(_)
            | BlockTransferMessage::BlocksRemoved(_)
            | BlockTransferMessage::LocalDirsForExecutors(_)
            | BlockTransferMessage::MergeStatuses(_)
            | BlockTransferMessage::CorruptionCause(_)
            | BlockTransferMessage::BlockPushReturnCode(_) => return,
        };
        seen.evidence(evidence);
    }

    /// A request was granted: from the first one on the application uses this channel, and whoever cares hears where that
    /// is below the target.
    pub(super) fn granted(&self) {
        let Some(seen) = self.seen.as_ref().filter(|seen| seen.granted()) else { return };
        let (policy, channel, app) = (self.shared.policy(), self.channel(), seen.app());
        let Some(advice) = policy.advice(seen.is_proven().then_some(app), &channel) else { return };
        if seen.first_below(policy.target) {
            let words = format_args!("an application is below the target: {advice}");
            if self.shared.repeats.is_said(Loudness::Warn, "below_target", self.peer, &words) {
                warn!(%app, channel = %channel.level, peer = %self.peer, "{words}");
            }
        }
    }
}
