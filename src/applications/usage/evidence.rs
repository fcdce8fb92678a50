//! What Spark version a peer looks like: from its handshake, cipher and TLS, and from messages that older releases
//! do not know.
//!
//! Sources: the message table of BlockTransferMessage (Spark 2.4.8 to 4.3.0), AuthEngine (X25519 from 3.1, the engine
//! version from 3.4), GcmTransportCipher (sound from 3.5.9), SSLFactory (4.0). A range is a guess about what is
//! shown, never a condition.

use sealed_shuffle_protocol::auth::EngineVersion;

use sealed_shuffle_protocol::channel::{Channel, Handshake};

/// Something that a peer said and not every release says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Evidence {
    /// FetchShuffleBlocks, GetLocalDirsForExecutors or RemoveBlocks: 3.0 and later.
    FetchShuffleBlocks,
    /// A registration that names a merge directory: 3.2 and later.
    PushMergeMeta,
    /// DiagnoseCorruption: 3.2 and later.
    DiagnoseCorruption,
    /// AES-GCM that takes one message of a connection: 3.4 to 4.1 (`cipher::BROKEN_GCM`).
    BrokenGcm,
}

impl Evidence {
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }

    const fn since(self) -> Release {
        match self {
            Self::FetchShuffleBlocks => Release(3, 0),
            Self::PushMergeMeta | Self::DiagnoseCorruption => Release(3, 2),
            Self::BrokenGcm => Release(3, 4),
        }
    }
}

/// Major and minor number.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Release(u8, u8);

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

/// The releases that a channel and the bits of some evidence allow, in words.
pub(super) fn range(channel: Channel, evidence: u8) -> String {
    let all = [
        Evidence::FetchShuffleBlocks,
        Evidence::PushMergeMeta,
        Evidence::DiagnoseCorruption,
        Evidence::BrokenGcm,
    ];
    let is_broken = evidence & Evidence::BrokenGcm.bit() != 0;
    let said = all.into_iter().filter(|one| evidence & one.bit() != 0).map(Evidence::since);
    let (since, until) = of_channel(channel, is_broken);
    match (said.chain(since).max(), until) {
        (Some(since), Some(until)) if since < until => format!("{since} to {until}"),
        (Some(since), Some(until)) if since == until => since.to_string(),
        (Some(since), _) => format!("{since} or later"),
        (None, Some(until)) => format!("{until} or earlier"),
        (None, None) => "any".to_owned(),
    }
}

fn of_channel(channel: Channel, is_broken: bool) -> (Option<Release>, Option<Release>) {
    let (since, until) = match channel.handshake {
        Handshake::None | Handshake::Sasl => (None, None),
        Handshake::Pbkdf2 => (Some(Release(2, 2)), Some(Release(3, 0))),
        Handshake::X25519(EngineVersion::V1) => (Some(Release(3, 1)), None),
        Handshake::X25519(EngineVersion::V2) => (Some(Release(3, 4)), None),
    };
    let sound = (channel.cipher == "AES/GCM/NoPadding" && !is_broken).then_some(Release(3, 5));
    let tls = channel.tls.map(|_| Release(4, 0));
    (since.max(sound).max(tls), if is_broken { Some(Release(4, 1)) } else { until })
}

#[cfg(test)]
mod tests {
    use sealed_shuffle_protocol::cipher::{SessionCipher, SessionMode};

    use super::*;
    use sealed_shuffle_protocol::channel::SecurityLevel;
    use sealed_shuffle_protocol::channel::TlsVersion;

    #[test]
    fn the_range_is_what_channel_and_messages_allow_together() {
        let aes = |version, cipher| Channel::aes(SessionMode { version, cipher });
        let legacy = Channel {
            level: SecurityLevel::AesLegacy,
            handshake: Handshake::Pbkdf2,
            cipher: "AES/CTR/NoPadding",
            tls: None,
        };
        let fetch = Evidence::FetchShuffleBlocks.bit();
        let (diagnose, broken) = (Evidence::DiagnoseCorruption.bit(), Evidence::BrokenGcm.bit());
        for (channel, evidence, range_in_words) in [
            (Channel::PLAINTEXT, 0, "any"),
            (Channel::PLAINTEXT, fetch, "3.0 or later"),
            (Channel::PLAINTEXT, fetch | diagnose, "3.2 or later"),
            (legacy, 0, "2.2 to 3.0"),
            (legacy, fetch, "3.0"),
            (aes(EngineVersion::V1, SessionCipher::Ctr), fetch, "3.1 or later"),
            (aes(EngineVersion::V2, SessionCipher::Ctr), 0, "3.4 or later"),
            (aes(EngineVersion::V1, SessionCipher::Gcm), 0, "3.5 or later"),
            (aes(EngineVersion::V1, SessionCipher::Gcm), fetch | broken, "3.4 to 4.1"),
            (
                aes(EngineVersion::V2, SessionCipher::Gcm).inside(TlsVersion::V1_3, "TLS_AES_256_GCM_SHA384"),
                broken,
                "4.0 to 4.1",
            ),
            (Channel::PLAINTEXT.inside(TlsVersion::V1_3, "TLS_AES_256_GCM_SHA384"), 0, "4.0 or later"),
        ] {
            assert_eq!(range(channel, evidence), range_in_words, "{channel:?} {evidence}");
        }
    }
}
