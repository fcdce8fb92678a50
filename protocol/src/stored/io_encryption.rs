//! The streams of `spark.io.encryption`: what executors write to their disks when it is on.
//!
//! ```text
//!  0               16
//!  +---------------+---------------------------+
//!  | IV, 16 random | AES-CTR(key, IV, payload) |
//!  +---------------+---------------------------+
//! ```
//!
//! A cached block or a broadcast file is one stream; a shuffle data file is one for each partition that is not empty;
//! a spill file one for each segment that was written. The counter block is the IV as a 128-bit number, one more for
//! each 16 bytes, carried through all 128 bits. There is no padding, no magic and **no authentication**: a wrong key
//! gives noise, and a changed byte gives a changed byte.
//!
//! Everything works in place on buffers of any split, so that a stream of any length needs one buffer. `stored` of the
//! `sealed-shuffle` crate puts these over readers and writers.
//!
//! Origin: `CryptoStreamUtils`, Spark 4.3.0 (bytes unchanged since 2.4.8).

use std::fmt;

use zeroize::Zeroizing;

use crate::crypto::ctr::KeyStream;
use crate::secret::Secret;

/// Bytes of the initialization vector that every stream begins with.
pub const IV_LEN: usize = 16;

/// The only transformation that there is here, and Spark's default.
pub const TRANSFORMATION: &str = "AES/CTR/NoPadding";

/// Spark's (internal) key for the transformation.
pub const TRANSFORMATION_KEY: &str = "spark.io.crypto.cipher.transformation";

/// Why a key, a transformation or a stream cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IoEncryptionError {
    /// A key of another size than AES has.
    #[error(
        "a key of {0} bytes: spark.io.encryption.keySizeBits is 128, 192 or 256, so it has 16, 24 or 32 bytes"
    )]
    KeyLength(usize),
    /// Text that is not an even number of hexadecimal digits.
    #[error("the key is not hexadecimal: two digits for each byte, nothing between them")]
    KeyText,
    /// Another cipher.
    #[error("{TRANSFORMATION_KEY} = {0} is not supported: only {TRANSFORMATION} is")]
    Transformation(String),
    /// The stream ends inside its IV.
    #[error(
        "reached the end of the stream after {read} bytes, {IV_LEN} expected: an encrypted stream begins with its IV"
    )]
    TooShort {
        /// Bytes that there were.
        read: usize,
    },
}

/// Accepts the transformation that is implemented, by its exact name (Spark hands it to Java as it stands).
pub fn check_transformation(name: &str) -> Result<(), IoEncryptionError> {
    match name {
        TRANSFORMATION => Ok(()),
        other => Err(IoEncryptionError::Transformation(other.to_owned())),
    }
}

/// The key of one application (`spark.io.encryption.keySizeBits` of it). Wiped when dropped, never printed.
#[derive(Eq, PartialEq)]
pub struct IoKey(KeyBytes);

#[derive(Eq, PartialEq)]
enum KeyBytes {
    Bits128(Secret<16>),
    Bits192(Secret<24>),
    Bits256(Secret<32>),
}

impl IoKey {
    /// The key as bytes: what `SecurityManager.getIOEncryptionKey` returns. The caller wipes its own copy.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, IoEncryptionError> {
        let key = match bytes.len() {
            16 => KeyBytes::Bits128(copied(bytes)),
            24 => KeyBytes::Bits192(copied(bytes)),
            32 => KeyBytes::Bits256(copied(bytes)),
            other => return Err(IoEncryptionError::KeyLength(other)),
        };
        Ok(Self(key))
    }

    /// The key as hexadecimal digits, upper or lower case.
    pub fn from_hex(text: &[u8]) -> Result<Self, IoEncryptionError> {
        let (pairs, rest) = text.as_chunks::<2>();
        if !rest.is_empty() || !text.iter().all(u8::is_ascii_hexdigit) {
            return Err(IoEncryptionError::KeyText);
        }
        let digit = |digit: u8| match digit {
            b'0'..=b'9' => digit - b'0',
            letter => letter.to_ascii_lowercase() - b'a' + 10,
        };
        let mut bytes = Zeroizing::new(Vec::with_capacity(pairs.len()));
        bytes.extend(pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)));
        Self::from_bytes(&bytes)
    }

    /// 128, 192 or 256.
    pub fn bits(&self) -> u32 {
        match &self.0 {
            KeyBytes::Bits128(_) => 128,
            KeyBytes::Bits192(_) => 192,
            KeyBytes::Bits256(_) => 256,
        }
    }

    fn stream(&self, iv: &[u8; IV_LEN]) -> KeyStream {
        match &self.0 {
            KeyBytes::Bits128(key) => KeyStream::aes_128(key.as_bytes(), iv),
            KeyBytes::Bits192(key) => KeyStream::aes_192(key.as_bytes(), iv),
            KeyBytes::Bits256(key) => KeyStream::aes_256(key.as_bytes(), iv),
        }
    }
}

impl fmt::Debug for IoKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IoKey({} bits, redacted)", self.bits())
    }
}

/// `from` has `N` bytes.
fn copied<const N: usize>(from: &[u8]) -> Secret<N> {
    let copied: Result<_, std::convert::Infallible> = Secret::fill_with(|out| {
        out.copy_from_slice(from);
        Ok(())
    });
    copied.unwrap_or_else(|never| match never {})
}

/// Makes one stream: first [`Encryptor::iv`] goes out as it is, then everything that went through
/// [`Encryptor::apply`], in order.
#[derive(Debug)]
pub struct Encryptor {
    iv: [u8; IV_LEN],
    stream: KeyStream,
}

impl Encryptor {
    /// Starts a stream. `iv` is random and **never used again** under this key: two streams with one IV show the
    /// difference of their payloads to everybody.
    pub fn new(key: &IoKey, iv: [u8; IV_LEN]) -> Self {
        Self { iv, stream: key.stream(&iv) }
    }

    /// The first bytes of the stream.
    pub fn iv(&self) -> &[u8; IV_LEN] {
        &self.iv
    }

    /// Encrypts the next bytes of the payload where they are.
    pub fn apply(&mut self, payload: &mut [u8]) {
        self.stream.apply(payload);
    }
}

/// Opens one stream, whose bytes arrive in pieces of any size.
#[derive(Debug)]
pub struct Decryptor<'k>(State<'k>);

#[derive(Debug)]
enum State<'k> {
    /// The first `filled` bytes of the IV have arrived.
    Iv {
        key: &'k IoKey,
        iv: [u8; IV_LEN],
        filled: usize,
    },
    Payload(KeyStream),
}

impl<'k> Decryptor<'k> {
    /// Before the first byte of a stream.
    pub fn new(key: &'k IoKey) -> Self {
        Self(State::Iv { key, iv: [0; IV_LEN], filled: 0 })
    }

    /// Takes the next bytes of the stream and decrypts them where they are. It returns the part of
    /// `bytes` behind the IV; nothing, as long as that is not whole.
    pub fn apply<'b>(&mut self, bytes: &'b mut [u8]) -> &'b mut [u8] {
        let payload = match &mut self.0 {
            State::Payload(_) => bytes,
            State::Iv { key, iv, filled } => {
                let taken = bytes.len().min(IV_LEN - *filled);
                let (start, payload) = bytes.split_at_mut(taken);
                iv[*filled..*filled + taken].copy_from_slice(start);
                *filled += taken;
                if *filled < IV_LEN {
                    return payload;
                }
                self.0 = State::Payload(key.stream(iv));
                payload
            }
        };
        if let State::Payload(stream) = &mut self.0 {
            stream.apply(payload);
        }
        payload
    }

    /// Whether the stream may end here: its IV was whole. Nothing tells whether the payload is.
    pub fn finish(&self) -> Result<(), IoEncryptionError> {
        match &self.0 {
            State::Iv { filled, .. } => Err(IoEncryptionError::TooShort { read: *filled }),
            State::Payload(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        digits
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    fn key(bits: usize) -> IoKey {
        IoKey::from_bytes(&(0..32).collect::<Vec<u8>>()[..bits / 8]).unwrap()
    }

    /// `CryptoStreamUtils` of Spark 4.3.0 (128 bits: also 3.5.9): 40 zero bytes under keys that count up from 00.
    /// The second and third rows carry out of the lower 32 bits, or out of all 128.
    #[test]
    fn encrypts_as_spark_does() {
        for (bits, iv, sealed) in [
            (
                128,
                "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
                "66a7c7e8345231489751de073316adadb281d700b79e3cada4ad73bb6e9c1fead27192567c5beb9d",
            ),
            (
                128,
                "ffffffffffffffffffffffffffffffff",
                "3c441f32ce07822364d7a2990e50bb13c6a13b37878f5b826f4f8162a1c8d8797346139595c0b41e",
            ),
            (
                128,
                "000000000000000000000000ffffffff",
                "57941ff3415881a0b2a7917ac5fa33b8426c768faa410b72ab103951259ba14ad4826774d118c535",
            ),
            (
                192,
                "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
                "2b82485254f26990b3d93602f0e5a8f3db082b83c994f731876f88c42bc1a904df7a7bc642ca1ce6",
            ),
            (
                256,
                "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
                "9200cd8d239680cb5a69e65440326314ca5f7b40f12a34c16ea755214a77868e996c215b1418f598",
            ),
        ] {
            let iv: [u8; IV_LEN] = bytes(iv).try_into().unwrap();
            let mut encryptor = Encryptor::new(&key(bits), iv);
            assert_eq!(encryptor.iv(), &iv);
            let mut payload = [0; 40];
            encryptor.apply(&mut payload);
            assert_eq!(payload.to_vec(), bytes(sealed), "{bits}");
        }
    }

    /// The first partition of a map output of Spark 4.3.0, and the rows that the same job wrote with encryption off.
    #[test]
    fn opens_a_partition_that_spark_wrote() {
        let mut stored = bytes(
            "fd40467ccbcc021e553088c7c9821fe0
             374548b546fd1a888e2aaa438f5a2faaf308aeb7ca6f38ae01c18fafe1d68db7fbde38372d4bfa4f3b71c62292169a3a
             212e880b44642fc016a5e70e30509b6a57b17847b524d6e75407e3375154127e0be1a7b3a2160b0f4886e8c7222f0af8
             3c099c67fe277400085394e24c41dd4f1390fd2bd88a99d441ee1b00d02dfe76d642b03f85b0b77652f15d80",
        );
        let rows = [2, 6, 10, 14, 18]
            .map(|value| format!("00000018 0000000000000000 0200000000000000 {value:02x}00000000000000"));
        let key = IoKey::from_hex(b"95c64f5952d3f44c6751d342fc406a99").unwrap();
        let mut decryptor = Decryptor::new(&key);
        assert_eq!(decryptor.apply(&mut stored).to_vec(), bytes(&rows.concat()));
        assert_eq!(decryptor.finish(), Ok(()));
    }

    #[test]
    fn refuses_a_stream_that_ends_inside_its_iv() {
        let key = key(128);
        for len in 0..IV_LEN {
            let mut decryptor = Decryptor::new(&key);
            assert!(decryptor.apply(&mut vec![7; len]).is_empty());
            assert_eq!(decryptor.finish(), Err(IoEncryptionError::TooShort { read: len }));
        }
        let mut decryptor = Decryptor::new(&key);
        assert!(decryptor.apply(&mut [7; IV_LEN]).is_empty());
        assert_eq!(decryptor.finish(), Ok(()), "an empty stream is an IV");
    }

    #[test]
    fn refuses_keys_of_other_sizes() {
        for len in [0, 8, 15, 17, 33, 64] {
            let refused = IoKey::from_bytes(&vec![0; len]).unwrap_err();
            assert_eq!(refused, IoEncryptionError::KeyLength(len));
            assert!(refused.to_string().contains("spark.io.encryption.keySizeBits"));
        }
        for bits in [128, 192, 256] {
            assert_eq!(key(bits).bits(), u32::try_from(bits).unwrap());
        }
    }

    #[test]
    fn reads_keys_in_hexadecimal_of_either_case() {
        let lower = IoKey::from_hex(b"00ff10aB00ff10ab00ff10ab00ff10ab").unwrap();
        let upper = IoKey::from_hex(b"00FF10AB00FF10AB00FF10AB00FF10AB").unwrap();
        assert!(lower == upper);
        assert_eq!(IoKey::from_hex(b"0").unwrap_err(), IoEncryptionError::KeyText);
        assert_eq!(IoKey::from_hex(b"0x").unwrap_err(), IoEncryptionError::KeyText);
        assert_eq!(IoKey::from_hex(b"00").unwrap_err(), IoEncryptionError::KeyLength(1));
    }

    #[test]
    fn refuses_other_transformations_by_name() {
        assert_eq!(check_transformation("AES/CTR/NoPadding"), Ok(()));
        for other in ["AES/GCM/NoPadding", "AES/CBC/PKCS5Padding", "aes/ctr/nopadding", ""] {
            let refused = check_transformation(other).unwrap_err().to_string();
            assert!(refused.contains(&format!("{TRANSFORMATION_KEY} = {other} ")), "{refused}");
        }
    }

    #[test]
    fn a_key_does_not_print() {
        assert_eq!(format!("{:?}", key(192)), "IoKey(192 bits, redacted)");
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_bytes(
            bits in prop_oneof![Just(128), Just(192), Just(256)],
            iv in any::<[u8; IV_LEN]>(),
            payload in prop::collection::vec(any::<u8>(), 0..5000),
            cuts in prop::collection::vec(0..700_usize, 0..12),
        ) {
            let key = key(bits);
            let mut whole = payload.clone();
            Encryptor::new(&key, iv).apply(&mut whole);

            let mut pieces = payload.clone();
            let mut encryptor = Encryptor::new(&key, iv);
            each_piece(&mut pieces, &cuts, |piece| encryptor.apply(piece));
            prop_assert_eq!(&pieces, &whole);

            let mut stored = [&iv[..], &whole].concat();
            let mut decryptor = Decryptor::new(&key);
            let mut opened = Vec::new();
            each_piece(&mut stored, &cuts, |piece| opened.extend_from_slice(decryptor.apply(piece)));
            prop_assert_eq!(opened, payload);
            prop_assert_eq!(decryptor.finish(), Ok(()));
        }
    }

    /// Cuts where `cuts` say, over and over; an empty piece is one, too.
    fn each_piece(bytes: &mut [u8], cuts: &[usize], mut take: impl FnMut(&mut [u8])) {
        let mut rest = bytes;
        for cut in cuts {
            let (piece, left) = rest.split_at_mut((*cut).min(rest.len()));
            take(piece);
            rest = left;
        }
        take(rest);
    }
}
