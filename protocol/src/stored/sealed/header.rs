//! The clear front of a sealed file: its kind, its owner, and the key that opens it.
//!
//! Nothing in it is secret, and nothing in it is to be believed before a segment has opened: the file's key is
//! derived from all of its bytes ([`FileKey`](super::file_key)), so a file whose header was changed does not open.

use std::fmt;

use bytes::{BufMut, Bytes};

use super::error::SealedError;
use super::partition::Kind;
use crate::ids::{AppId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use crate::stored::envelope::{Context, WrappedKey};

/// First bytes of every sealed file. The first is no ASCII and begins no compressed block, serialized object or
/// Spark file; the line breaks show a file that went through a text-mode transfer.
pub const MAGIC: [u8; 8] = *b"\x89SSF\r\n\x1a\n";
/// The version that is written. [`WITHOUT_ATTEMPT`] is read, too.
pub const VERSION: u16 = 2;
/// The version before, whose headers do not say of which attempt they are.
pub const WITHOUT_ATTEMPT: u16 = 1;

/// The header of a sealed file.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Header {
    /// Which file of a partition it is.
    pub kind: Kind,
    /// Names this opening of the partition; its three files have it in common, no other file has it.
    pub salt: Salt,
    /// The partition that it belongs to.
    pub partition: MergedPartition,
    /// The attempt of the application that merged it; `None` in a file of version 1, which does not say.
    pub attempt: Option<i32>,
    /// The data key, as its key service wrapped it.
    pub key: WrappedKey,
    /// The binding of the data key: cluster, application, node.
    pub context: Context,
}

/// 32 random bytes that no two openings of a partition for writing share. Not secret.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Salt(pub [u8; Self::LEN]);

impl Salt {
    /// Bytes of a salt.
    pub const LEN: usize = 32;
}

impl fmt::Debug for Salt {
    /// The first bytes tell two apart.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.0.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
        write!(f, "Salt({first:016x}…)")
    }
}

impl Header {
    /// No header is longer: a reader that has this many bytes of a file, or all of it, has the header.
    pub const MAX_LEN: usize = 16 << 10;
    /// Up to here every version is alike.
    pub const PREFIX: usize = 16;

    /// The header of `kind` for an opening named by `salt`.
    pub fn new(
        kind: Kind,
        salt: Salt,
        partition: MergedPartition,
        attempt: i32,
        key: WrappedKey,
        context: Context,
    ) -> Self {
        Self { kind, salt, partition, attempt: Some(attempt), key, context }
    }

    /// The version of the format that it is of.
    pub fn version(&self) -> u16 {
        self.attempt.map_or(WITHOUT_ATTEMPT, |_| VERSION)
    }

    /// The header as it stands in the file.
    ///
    /// Fails where a name or the wrapped key is longer than the format has room for.
    pub fn encode(&self) -> Result<Vec<u8>, SealedError> {
        let fields = [
            (self.key.key_id.as_bytes(), WrappedKey::MAX_ID),
            (&self.key.bytes[..], WrappedKey::MAX_BYTES),
            (self.context.cluster.as_bytes(), MAX_NAME),
            (self.context.app.as_str().as_bytes(), MAX_NAME),
        ];
        let node = self.context.node.as_deref().map(|node| (node.as_bytes(), MAX_NAME));
        let mut out = Vec::with_capacity(FIXED + 128 + self.key.bytes.len());
        out.put_slice(&MAGIC);
        out.put_u16(self.version());
        out.put_u8(self.kind as u8);
        out.put_u8(AES_256_GCM);
        out.put_u32(0);
        out.put_slice(&self.salt.0);
        out.put_i32(self.partition.shuffle.0);
        out.put_i32(self.partition.merge.0);
        out.put_i32(self.partition.reduce.0);
        if let Some(attempt) = self.attempt {
            out.put_i32(attempt);
        }
        for (bytes, most) in fields {
            put_field(&mut out, bytes, most)?;
        }
        out.put_u8(u8::from(node.is_some()));
        if let Some((bytes, most)) = node {
            put_field(&mut out, bytes, most)?;
        }
        let len = u32::try_from(out.len()).expect("every field was checked against its bound");
        out[LEN_AT..LEN_AT + 4].copy_from_slice(&len.to_be_bytes());
        Ok(out)
    }

    /// Reads the header at the front of a file, and says how many bytes it has. Needs no key, and believes nothing.
    pub fn decode(file: &[u8]) -> Result<(Self, usize), SealedError> {
        let (version, len) = Self::prefix(file)?;
        let header = file.get(..len).ok_or(SealedError::Cut { at: file.len() as u64, needed: len as u64 })?;
        let mut left = Fields(&header[Self::PREFIX..]);
        let kind = match (header[KIND_AT], header[KIND_AT + 1]) {
            (1, AES_256_GCM) => Kind::Data,
            (2, AES_256_GCM) => Kind::Index,
            (3, AES_256_GCM) => Kind::Meta,
            _ => return Err(SealedError::Header("kind of file or cipher")),
        };
        let salt = Salt(*left.array()?);
        let partition = MergedPartition {
            shuffle: ShuffleId(left.i32()?),
            merge: ShuffleMergeId(left.i32()?),
            reduce: ReduceId(left.i32()?),
        };
        let attempt = match version {
            WITHOUT_ATTEMPT => None,
            _ => Some(left.i32()?),
        };
        let key_id = left.text(WrappedKey::MAX_ID)?.to_owned();
        let bytes = Bytes::copy_from_slice(left.field(WrappedKey::MAX_BYTES)?);
        let cluster = left.text(MAX_NAME)?.to_owned();
        let app = AppId::new(left.text(MAX_NAME)?);
        let node = match left.array()? {
            [0] => None,
            [1] => Some(left.text(MAX_NAME)?.to_owned()),
            _ => return Err(SealedError::Header("node")),
        };
        if !left.0.is_empty() {
            return Err(SealedError::Header("length"));
        }
        let key = WrappedKey { key_id, bytes };
        Ok((Self { kind, salt, partition, attempt, key, context: Context { cluster, app, node } }, len))
    }

    /// How long the header says that it is, from its first [`Header::PREFIX`] bytes.
    pub fn len(file: &[u8]) -> Result<usize, SealedError> {
        Self::prefix(file).map(|(_, len)| len)
    }

    /// Version and length.
    fn prefix(file: &[u8]) -> Result<(u16, usize), SealedError> {
        let prefix: Option<&[u8; Self::PREFIX]> = file.first_chunk();
        let magic = &file[..file.len().min(MAGIC.len())];
        let prefix = match prefix {
            _ if *magic != MAGIC[..magic.len()] || magic.is_empty() => return Err(SealedError::NotSealed),
            None => return Err(SealedError::Cut { at: file.len() as u64, needed: Self::PREFIX as u64 }),
            Some(prefix) => prefix,
        };
        let [.., high, low, _kind, _cipher, a, b, c, d] = *prefix;
        let version = u16::from_be_bytes([high, low]);
        match version {
            WITHOUT_ATTEMPT | VERSION => {}
            0 => return Err(SealedError::Header("version")),
            newer => return Err(SealedError::NewerVersion { found: newer }),
        }
        let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        match (FIXED..=Self::MAX_LEN).contains(&len) {
            true => Ok((version, len)),
            false => Err(SealedError::Header("length")),
        }
    }
}

/// Longest name of a cluster, application or node: names of files and hosts are shorter.
pub const MAX_NAME: usize = 1024;

/// The number of the only cipher.
const AES_256_GCM: u8 = 1;
pub(super) const KIND_AT: usize = 10;
const LEN_AT: usize = 12;
/// Bytes of a header without an attempt in which every field of variable length is empty.
const FIXED: usize = Header::PREFIX + Salt::LEN + 3 * 4 + 4 * 2 + 1;

const _: () = assert!(
    FIXED + 4 + 2 + WrappedKey::MAX_ID + WrappedKey::MAX_BYTES + 3 * MAX_NAME <= Header::MAX_LEN,
    "the longest header fits its bound"
);

fn put_field(out: &mut Vec<u8>, bytes: &[u8], most: usize) -> Result<(), SealedError> {
    let len = u16::try_from(bytes.len()).ok().filter(|_| bytes.len() <= most);
    out.put_u16(len.ok_or(SealedError::TooLong { bytes: bytes.len() as u64, most: most as u64 })?);
    out.put_slice(bytes);
    Ok(())
}

/// The rest of a header.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], SealedError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(SealedError::Header("length"))?;
        self.0 = rest;
        Ok(array)
    }

    fn i32(&mut self) -> Result<i32, SealedError> {
        self.array().copied().map(i32::from_be_bytes)
    }

    fn field(&mut self, most: usize) -> Result<&'a [u8], SealedError> {
        let len = usize::from(u16::from_be_bytes(*self.array()?));
        let (field, rest) = self
            .0
            .split_at_checked(len)
            .filter(|_| len <= most)
            .ok_or(SealedError::Header("length of a field"))?;
        self.0 = rest;
        Ok(field)
    }

    fn text(&mut self, most: usize) -> Result<&'a str, SealedError> {
        std::str::from_utf8(self.field(most)?).map_err(|_| SealedError::Header("text"))
    }
}
