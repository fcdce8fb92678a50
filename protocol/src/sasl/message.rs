//! SaslMessage: the wrapping of the client's tokens.
//!
//! ```text
//! u8 0xea | i32 n, app id (UTF-8) | i32 token size, ignored | token: all the rest, may be empty
//! ```
//!
//! Source: SaslMessage, Spark 4.3.0.

use bytes::{BufMut, Bytes, BytesMut};

use super::error::SaslError;
use crate::codec::Decoder;
use crate::ids::AppId;

/// A token of the client, and the application whose secret it is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SaslMessage {
    app_id: AppId,
    token: Bytes,
}

impl SaslMessage {
    /// The first byte of the body.
    pub const TAG: u8 = 0xea;

    /// Wraps a token.
    pub fn new(app_id: AppId, token: Bytes) -> Self {
        Self { app_id, token }
    }

    /// The application. That of the first message counts; Spark's server ignores it in the second.
    pub fn app_id(&self) -> &AppId {
        &self.app_id
    }

    /// The token; empty in the first message.
    pub fn token(&self) -> &Bytes {
        &self.token
    }

    /// The body of the RPC.
    pub fn encode(&self) -> Bytes {
        let app_id = self.app_id.as_str().as_bytes();
        let mut out = BytesMut::with_capacity(1 + 4 + app_id.len() + 4 + self.token.len());
        out.put_u8(Self::TAG);
        for field in [app_id, &self.token] {
            let len =
                i32::try_from(field.len()).expect("fields are parsed from, or made for, one small frame");
            out.put_i32(len);
            out.put_slice(field);
        }
        out.freeze()
    }

    /// Reads the body of an RPC. The length of the token is not bounded here: by `body`, and where it is parsed.
    pub fn decode(body: &Bytes) -> Result<Self, SaslError> {
        let mut fields = Decoder::new(body.clone());
        let tag = fields.u8()?;
        if tag != Self::TAG {
            return Err(SaslError::Tag(tag));
        }
        let app_id = fields.read()?;
        let _ignored_size = fields.i32()?;
        Ok(Self { app_id, token: fields.into_rest() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_claimed_size_of_the_token_is_ignored() {
        let body = Bytes::from_static(b"\xea\0\0\0\x05app-1\xff\xff\xff\xfftoken");
        let message = SaslMessage::decode(&body).unwrap();
        assert_eq!(message, SaslMessage::new(AppId::new("app-1"), Bytes::from_static(b"token")));
        assert_eq!(message.encode()[10..14], [0, 0, 0, 5]);
    }

    #[test]
    fn refuses_what_ends_early_or_begins_otherwise() {
        let whole = SaslMessage::new(AppId::new("app-1"), Bytes::new()).encode();
        for end in 0..whole.len() {
            assert!(matches!(SaslMessage::decode(&whole.slice(..end)), Err(SaslError::Message(_))), "{end}");
        }
        assert!(matches!(SaslMessage::decode(&Bytes::from_static(b"\xfb")), Err(SaslError::Tag(0xfb))));
    }
}
