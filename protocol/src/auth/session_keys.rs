//! The outcome of a handshake: the keys of both engine versions.

use crate::crypto::hkdf;
use crate::secret::Secret;

/// The keys and initial counters of a session, for either engine version. Wiped on drop.
#[derive(Debug)]
pub struct SessionKeys {
    v1: Secret<32>,
    v2: Secret<16>,
    input_iv: Secret<16>,
    output_iv: Secret<16>,
}

impl SessionKeys {
    /// From the agreement `z` and the transcript of both messages.
    pub(super) fn derive(z: Secret<32>, transcript: &[u8]) -> Self {
        Self {
            v2: hkdf::derive(z.as_bytes(), transcript, &[b"derivedKey"]),
            input_iv: hkdf::derive(z.as_bytes(), transcript, &[b"inputIv"]),
            output_iv: hkdf::derive(z.as_bytes(), transcript, &[b"outputIv"]),
            v1: z,
        }
    }

    /// Keys that were agreed on elsewhere: known answers, and captured sessions.
    pub fn from_parts(v1: Secret<32>, v2: Secret<16>, input_iv: Secret<16>, output_iv: Secret<16>) -> Self {
        Self { v1, v2, input_iv, output_iv }
    }

    /// The key of engine version 1: the agreement itself.
    pub fn v1(&self) -> &Secret<32> {
        &self.v1
    }

    /// The key of engine version 2.
    pub fn v2(&self) -> &Secret<16> {
        &self.v2
    }

    /// Keeps the key of version 1 alone.
    pub fn into_v1(self) -> Secret<32> {
        self.v1
    }

    /// Keeps the key of version 2 alone.
    pub fn into_v2(self) -> Secret<16> {
        self.v2
    }

    /// First counter block from server to client, as the client names it. CTR only.
    pub fn input_iv(&self) -> &[u8; 16] {
        self.input_iv.as_bytes()
    }

    /// First counter block from client to server, as the client names it. CTR only.
    pub fn output_iv(&self) -> &[u8; 16] {
        self.output_iv.as_bytes()
    }
}
