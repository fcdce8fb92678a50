//! AuthMessage: the one message of the handshake, the same in both directions.
//!
//! ```text
//! u8 0xfb | i32 n, app id (UTF-8) | i32 n, salt | i32 n, ciphertext
//! ```
//!
//! Source: AuthMessage, Spark 4.3.0. Bytes behind the last field are ignored, and are no part of the
//! transcript: that is made of re-encoded fields.

use bytes::{BufMut, Bytes, BytesMut};

use crate::ids::AppId;
use crate::limits::NAME_MAX;

pub(crate) const TAG: u8 = 0xfb;

/// Spark sends 16 bytes of salt and 60 of ciphertext; other lengths are legal, so there is a bound.
const MAX_FIELD: usize = 1024;

/// A sealed public key, and what is needed to derive the key that opens it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthMessage {
    app_id: AppId,
    salt: Bytes,
    ciphertext: Bytes,
}

impl AuthMessage {
    /// Reads the body of the RPC. Salt and ciphertext are bounded to 1 KiB each, the app id to [`NAME_MAX`].
    pub fn decode(bytes: &[u8]) -> Result<Self, AuthMessageError> {
        let (&tag, rest) = bytes.split_first().ok_or(AuthMessageError::Truncated)?;
        if tag != TAG {
            return Err(AuthMessageError::Tag(tag));
        }
        let (app_id, rest) = field(rest)?;
        let (salt, rest) = field(rest)?;
        let (ciphertext, _ignored) = field(rest)?;

        if app_id.len() > NAME_MAX {
            return Err(AuthMessageError::AppIdTooLong(app_id.len()));
        }
        let app_id = std::str::from_utf8(app_id).map_err(|_| AuthMessageError::AppIdNotUtf8)?;
        if let Some(long) = [salt, ciphertext].into_iter().find(|f| f.len() > MAX_FIELD) {
            return Err(AuthMessageError::FieldTooLong(long.len()));
        }
        Ok(Self {
            app_id: AppId::new(app_id),
            salt: Bytes::copy_from_slice(salt),
            ciphertext: Bytes::copy_from_slice(ciphertext),
        })
    }

    /// The body of the RPC, and this message's part of the transcript.
    pub fn encode(&self) -> Bytes {
        let fields = [self.app_id.as_str().as_bytes(), &self.salt, &self.ciphertext];
        let mut out = BytesMut::with_capacity(1 + fields.iter().map(|f| 4 + f.len()).sum::<usize>());
        out.put_u8(TAG);
        for field in fields {
            let len =
                i32::try_from(field.len()).expect("fields are parsed from, or made for, one small frame");
            out.put_i32(len);
            out.put_slice(field);
        }
        out.freeze()
    }

    /// The application whose secret seals this message; unproven until the message has been opened.
    pub fn app_id(&self) -> &AppId {
        &self.app_id
    }

    /// The salt of the key derivation.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// IV, sealed public key and tag.
    pub fn ciphertext(&self) -> &[u8] {
        &self.ciphertext
    }

    pub(super) fn new(app_id: AppId, salt: Bytes, ciphertext: Bytes) -> Self {
        Self { app_id, salt, ciphertext }
    }
}

/// Splits a counted field off the front. The count is held against what is there before it is used.
fn field(bytes: &[u8]) -> Result<(&[u8], &[u8]), AuthMessageError> {
    let (&count, rest) = bytes.split_first_chunk::<4>().ok_or(AuthMessageError::Truncated)?;
    let count = i32::from_be_bytes(count);
    let count = usize::try_from(count).map_err(|_| AuthMessageError::NegativeCount(count))?;
    rest.split_at_checked(count).ok_or(AuthMessageError::Truncated)
}

/// The bytes are no AuthMessage.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthMessageError {
    /// The message ends within a field.
    #[error("the message ends within a field")]
    Truncated,
    /// The first byte is another message's: 0xea is SASL, 0xfa the handshake of Spark 3.0 and earlier.
    #[error("the message begins with 0x{0:02x}, not 0xfb")]
    Tag(u8),
    /// A field claims a negative length.
    #[error("a field claims {0} bytes")]
    NegativeCount(i32),
    /// Salt or ciphertext is longer than anybody needs.
    #[error("a field has {0} bytes, more than {MAX_FIELD}")]
    FieldTooLong(usize),
    /// The app id is longer than any.
    #[error("an application id of {0} bytes is longer than the {NAME_MAX} that are taken")]
    AppIdTooLong(usize),
    /// The app id is not text.
    #[error("the app id is not UTF-8")]
    AppIdNotUtf8,
}
