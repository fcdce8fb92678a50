//! ClientChallenge and ServerResponse.
//!
//! ```text
//! u8 0xfa | str app id | str kdf | i32 iterations | str cipher | i32 key bits | bytes nonce | bytes challenge
//! u8 0xfb | bytes response | bytes nonce | bytes inputIv | bytes outputIv
//! ```
//!
//! Source: ClientChallenge and ServerResponse, Spark 3.0.3. Bytes behind the last field are ignored. A ServerResponse
//! begins like an [`AuthMessage`](crate::auth::AuthMessage) of later versions, but answers another challenge.

use bytes::{BufMut, Bytes, BytesMut};

use super::error::LegacyError;
use crate::codec::Decoder;
use crate::ids::AppId;
use crate::limits::NAME_MAX;

/// Spark's longest field is an encrypted app id with some 64 bytes behind it; other lengths are legal, so there is a
/// bound. The app id has the bound of all names.
const MAX_FIELD: usize = 1024;

/// A proof has the app id in it, and the nonce.
const MAX_PROOF: usize = NAME_MAX + 2 * MAX_FIELD;

/// A client's first message: the parameters of the exchange, and its proof.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientChallenge {
    pub(super) app_id: AppId,
    pub(super) kdf: String,
    pub(super) iterations: i32,
    pub(super) cipher: String,
    pub(super) key_length: i32,
    pub(super) nonce: Bytes,
    pub(super) challenge: Bytes,
}

impl ClientChallenge {
    /// The first byte of the body.
    pub const TAG: u8 = 0xfa;

    /// Reads the body of an RPC. Its fields are bounded: to [`NAME_MAX`] the texts, to 1 KiB the nonce, to a little
    /// more the proof.
    pub fn decode(body: &Bytes) -> Result<Self, LegacyError> {
        let mut fields = begin(body, Self::TAG)?;
        let message = Self {
            app_id: fields.read()?,
            kdf: fields.text("a key derivation", NAME_MAX)?,
            iterations: fields.i32()?,
            cipher: fields.text("a cipher", NAME_MAX)?,
            key_length: fields.i32()?,
            nonce: bounded(fields.bytes()?, MAX_FIELD)?,
            challenge: bounded(fields.bytes()?, MAX_PROOF)?,
        };
        if message.nonce.is_empty() {
            return Err(LegacyError::NoNonce);
        }
        Ok(message)
    }

    /// The body of the RPC.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(Self::TAG);
        put(&mut out, self.app_id.as_str().as_bytes());
        put(&mut out, self.kdf.as_bytes());
        out.put_i32(self.iterations);
        put(&mut out, self.cipher.as_bytes());
        out.put_i32(self.key_length);
        put(&mut out, &self.nonce);
        put(&mut out, &self.challenge);
        out.freeze()
    }

    /// The application whose secret it is about; unproven until it has been answered.
    pub fn app_id(&self) -> &AppId {
        &self.app_id
    }

    /// Java's name of the key derivation.
    pub fn kdf(&self) -> &str {
        &self.kdf
    }

    /// Iterations of the key derivation, as the peer wants them.
    pub fn iterations(&self) -> i32 {
        self.iterations
    }

    /// Bits of the key, as the peer wants them.
    pub fn key_length(&self) -> i32 {
        self.key_length
    }

    /// Java's name of the cipher.
    pub fn cipher(&self) -> &str {
        &self.cipher
    }
}

/// A server's answer: its proof, and the material of the session's keys. All of it is encrypted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServerResponse {
    pub(super) response: Bytes,
    pub(super) nonce: Bytes,
    pub(super) input_iv: Bytes,
    pub(super) output_iv: Bytes,
}

impl ServerResponse {
    /// The first byte of the body.
    pub const TAG: u8 = 0xfb;

    /// Reads the answer to the RPC. Its fields are bounded: to 1 KiB each, and a little more the proof.
    pub fn decode(body: &Bytes) -> Result<Self, LegacyError> {
        let mut fields = begin(body, Self::TAG)?;
        Ok(Self {
            response: bounded(fields.bytes()?, MAX_PROOF)?,
            nonce: bounded(fields.bytes()?, MAX_FIELD)?,
            input_iv: bounded(fields.bytes()?, MAX_FIELD)?,
            output_iv: bounded(fields.bytes()?, MAX_FIELD)?,
        })
    }

    /// The body of the answer.
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(Self::TAG);
        for field in [&self.response, &self.nonce, &self.input_iv, &self.output_iv] {
            put(&mut out, field);
        }
        out.freeze()
    }
}

fn begin(body: &Bytes, ours: u8) -> Result<Decoder, LegacyError> {
    let mut fields = Decoder::new(body.clone());
    let theirs = fields.u8()?;
    if theirs != ours {
        return Err(LegacyError::Tag { ours, theirs });
    }
    Ok(fields)
}

fn bounded(field: Bytes, most: usize) -> Result<Bytes, LegacyError> {
    match field.len() {
        len if len > most => Err(LegacyError::FieldTooLong(len)),
        _ => Ok(field),
    }
}

fn put(out: &mut BytesMut, field: &[u8]) {
    let len = i32::try_from(field.len()).expect("fields are parsed from, or made for, one small frame");
    out.put_i32(len);
    out.put_slice(field);
}
