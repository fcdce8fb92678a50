//! The bytes of a record before it is sealed.
//!
//! Numbers are big-endian; a text is its length (u32) and its UTF-8 bytes; a list is its count (u32) and its texts. Each
//! record begins with the names that its own name is made of, so that a reader can tell that they agree.
//!
//! | kind | fields |
//! |---|---|
//! | executor | application, executor, proof (u8: 1 proven, 0 not), sub-directories (i32), shuffle manager, directories |
//! | secret | application, secret |
//! | attempt | application, attempt (i32), sub-directories (i32), directories, wrapped key (u8: 1 there is one, 0 not; its id, its bytes) |
//! | finalized | application, attempt (i32), shuffle (i32), merge (i32), room: a text that this release leaves empty and does not read |

use sealed_shuffle_protocol::ids::{AppId, ExecutorId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::stored::envelope::WrappedKey;
use zeroize::Zeroizing;

use crate::disk::Proof;

/// A record in clear; wiped.
pub(super) type Text = Zeroizing<Vec<u8>>;

/// Longest record in clear. A registration comes in a request of at most a few hundred KiB.
pub(super) const LONGEST: usize = 4 << 20;

/// The kind of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Kind {
    Tally = 0,
    Executor = 1,
    Secret = 2,
    Attempt = 3,
    Finalized = 4,
}

impl Kind {
    pub(super) fn of(byte: u8) -> Option<Self> {
        let all = [Self::Tally, Self::Executor, Self::Secret, Self::Attempt, Self::Finalized];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A registered executor.
#[derive(Debug)]
pub(super) struct ExecutorRecord {
    pub(super) app: AppId,
    pub(super) executor: ExecutorId,
    pub(super) proof: Proof,
    pub(super) sub_dirs: i32,
    pub(super) shuffle_manager: String,
    pub(super) dirs: Vec<String>,
}

impl ExecutorRecord {
    pub(super) fn encode<S: AsRef<str>>(
        app: &AppId,
        executor: &ExecutorId,
        dirs: &[S],
        sub_dirs: i32,
        shuffle_manager: &str,
        proof: Proof,
    ) -> Text {
        let mut out = Text::default();
        put(&mut out, app.as_str());
        put(&mut out, executor.as_str());
        out.push(u8::from(proof == Proof::Proven));
        out.extend_from_slice(&sub_dirs.to_be_bytes());
        put(&mut out, shuffle_manager);
        put_all(&mut out, dirs.iter().map(AsRef::as_ref));
        out
    }

    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        let mut from = Fields(text);
        let record = Self {
            app: AppId::new(from.text()?),
            executor: ExecutorId::new(from.text()?),
            proof: match from.byte()? {
                0 => Proof::Unproven,
                1 => Proof::Proven,
                _ => return None,
            },
            sub_dirs: from.i32()?,
            shuffle_manager: from.text()?.to_owned(),
            dirs: from.texts()?,
        };
        from.end().then_some(record)
    }
}

/// A secret that was handed over.
pub(super) fn secret(app: &AppId, secret: &AppSecret) -> Text {
    let (name, secret) = (app.as_str().as_bytes(), secret.as_bytes());
    // One allocation: nothing is left behind where it grew.
    let mut out = Text::new(Vec::with_capacity(8 + name.len() + secret.len()));
    put_bytes(&mut out, name);
    put_bytes(&mut out, secret);
    out
}

/// An application and its secret.
pub(super) fn parse_secret(text: &[u8]) -> Option<(AppId, AppSecret)> {
    let mut from = Fields(text);
    let found = (AppId::new(from.text()?), AppSecret::new(from.text()?.to_owned()));
    from.end().then_some(found)
}

/// An attempt of an application that merges.
#[derive(Debug)]
pub(super) struct AttemptRecord {
    pub(super) app: AppId,
    pub(super) attempt: i32,
    pub(super) sub_dirs: i32,
    pub(super) dirs: Vec<String>,
    pub(super) key: Option<WrappedKey>,
}

impl AttemptRecord {
    pub(super) fn encode<'a>(
        app: &AppId,
        attempt: i32,
        sub_dirs: i32,
        dirs: impl ExactSizeIterator<Item = &'a str>,
        key: Option<&WrappedKey>,
    ) -> Text {
        let mut out = Text::default();
        put(&mut out, app.as_str());
        out.extend_from_slice(&attempt.to_be_bytes());
        out.extend_from_slice(&sub_dirs.to_be_bytes());
        put_all(&mut out, dirs);
        out.push(u8::from(key.is_some()));
        if let Some(key) = key {
            put(&mut out, &key.key_id);
            put_bytes(&mut out, &key.bytes);
        }
        out
    }

    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        let mut from = Fields(text);
        let record = Self {
            app: AppId::new(from.text()?),
            attempt: from.i32()?,
            sub_dirs: from.i32()?,
            dirs: from.texts()?,
            key: match from.byte()? {
                0 => None,
                1 => Some(WrappedKey { key_id: from.text()?.into(), bytes: from.bytes()?.to_vec().into() }),
                _ => return None,
            },
        };
        from.end().then_some(record)
    }
}

/// A merge that is finalized.
#[derive(Debug)]
pub(super) struct FinalizedRecord {
    pub(super) app: AppId,
    pub(super) attempt: i32,
    pub(super) shuffle: ShuffleId,
    pub(super) merge: ShuffleMergeId,
}

impl FinalizedRecord {
    pub(super) fn encode(app: &AppId, attempt: i32, shuffle: ShuffleId, merge: ShuffleMergeId) -> Text {
        let mut out = Text::default();
        put(&mut out, app.as_str());
        for number in [attempt, shuffle.0, merge.0] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        put(&mut out, "");
        out
    }

    pub(super) fn decode(text: &[u8]) -> Option<Self> {
        let mut from = Fields(text);
        let record = Self {
            app: AppId::new(from.text()?),
            attempt: from.i32()?,
            shuffle: ShuffleId(from.i32()?),
            merge: ShuffleMergeId(from.i32()?),
        };
        from.bytes()?;
        from.end().then_some(record)
    }
}

pub(super) fn put(out: &mut Text, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_bytes(out: &mut Text, bytes: &[u8]) {
    // A record that is too long is refused as a whole when it is sealed.
    let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
}

fn put_all<'a>(out: &mut Text, texts: impl ExactSizeIterator<Item = &'a str>) {
    let count = u32::try_from(texts.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_be_bytes());
    texts.for_each(|text| put(out, text));
}

/// The fields of a record that are still to be read.
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        Self(text)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(super) fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn len(&mut self) -> Option<usize> {
        usize::try_from(u32::from_be_bytes(self.array()?)).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.len()?;
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn texts(&mut self) -> Option<Vec<String>> {
        let count = self.len()?;
        // Each takes its length at least.
        if count > self.0.len() / 4 {
            return None;
        }
        (0..count).map(|_| self.text().map(str::to_owned)).collect()
    }

    pub(super) fn end(&self) -> bool {
        self.0.is_empty()
    }
}
