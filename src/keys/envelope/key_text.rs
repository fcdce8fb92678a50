//! 32 secret bytes as Base64 and back, without unwiped copies.

use std::convert::Infallible;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealed_shuffle_protocol::secret::Secret;
use zeroize::Zeroizing;

/// Characters of a key.
pub(super) const LEN: usize = 44;

/// Appends a key. `text` must have room for [`LEN`] more bytes; growing it would leave a copy behind.
pub(super) fn push(text: &mut String, key: &Secret<32>) {
    STANDARD.encode_string(key.as_bytes(), text);
}

/// Decodes a key; `None` if the text is none.
pub(super) fn parse(text: &str) -> Option<Secret<32>> {
    // The decoder also wants room for the padding.
    let mut bytes = Zeroizing::new([0; 36]);
    let decoded = STANDARD.decode_slice(text, &mut bytes[..]).ok()?;
    from_slice(&bytes[..decoded])
}

/// Makes a key of the bytes; `None` if they are more or fewer.
pub(super) fn from_slice(bytes: &[u8]) -> Option<Secret<32>> {
    if bytes.len() != 32 {
        return None;
    }
    let filled = Secret::fill_with(|out| {
        out.copy_from_slice(bytes);
        Ok::<_, Infallible>(())
    });
    filled.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_anything_else_is_none() {
        let mut text = String::new();
        push(&mut text, &Secret::new([200; 32]));
        assert_eq!(text.len(), LEN);
        assert_eq!(parse(&text), Some(Secret::new([200; 32])));
        for other in ["", "AAAA", &text[1..], &format!("{text}{text}"), &"?".repeat(44)] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
