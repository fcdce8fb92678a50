//! RC4, in place: one of the ciphers that SASL DIGEST-MD5 has.
//!
//! **Usage limits.** The key stream is biased, and its secrecy is lost where one plaintext is sent under many keys
//! (RFC 7465). Kept for Spark peers that can do nothing else; policy decides whether they are served.

use rc4::{KeyInit, StreamCipher};

/// A key stream and the position in it. Wiped on drop.
pub struct Rc4(Box<rc4::Rc4>);

impl Rc4 {
    /// Starts under a 128-bit key.
    pub fn new(key: &[u8; 16]) -> Self {
        Self(Box::new(rc4::Rc4::new_from_slice(key).expect("RC4 takes keys of 16 bytes")))
    }

    /// Adds the next bytes of the stream to `text`: encrypts, or decrypts.
    pub fn apply(&mut self, text: &mut [u8]) {
        self.0.apply_keystream(text);
    }
}

impl std::fmt::Debug for Rc4 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rc4(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6229, section 2, 128-bit key 0x0102…10, offset 0.
    #[test]
    fn is_the_stream_of_the_rfc_however_it_is_cut() {
        let key = 0x01020304_05060708_090a0b0c_0d0e0f10_u128.to_be_bytes();
        let mut stream = [0; 16];
        let mut rc4 = Rc4::new(&key);
        let (front, back) = stream.split_at_mut(5);
        rc4.apply(front);
        rc4.apply(back);
        assert_eq!(stream, 0x9ac7cc9a_609d1ef7_b2932899_cde41b97_u128.to_be_bytes());
    }
}
