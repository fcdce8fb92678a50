//! A partition whose three files lie in memory.

use std::sync::Arc;

use bytes::Bytes;
use sealed_shuffle_protocol::cipher::Segment;
use sealed_shuffle_protocol::ids::{AppId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};
use sealed_shuffle_protocol::stored::sealed::{
    ChunkOpener, HEAD, Headers, Index, Kind, MAX_SEGMENT, PIECE, PartitionSealer, Progress, Salt,
    SealedChunk, SealedError,
};

pub(crate) const PARTITION: MergedPartition =
    MergedPartition { shuffle: ShuffleId(4), merge: ShuffleMergeId(1), reduce: ReduceId(7) };
/// The attempt of the application that merges.
pub(crate) const ATTEMPT: i32 = 3;
pub(crate) const SALT: Salt = Salt([0x5a; 32]);

pub(crate) fn key() -> DataKey {
    DataKey::new([0x11; 32])
}

pub(crate) fn wrapped() -> WrappedKey {
    WrappedKey { key_id: "key-1".into(), bytes: Bytes::from_static(b"wrapped") }
}

pub(crate) fn context(app: &str) -> Context {
    Context::of(AppId::new(app))
}

/// The three files, as bytes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Files {
    pub(crate) data: Vec<u8>,
    pub(crate) index: Vec<u8>,
    pub(crate) meta: Vec<u8>,
}

impl Files {
    pub(crate) fn of(&mut self, kind: Kind) -> &mut Vec<u8> {
        match kind {
            Kind::Data => &mut self.data,
            Kind::Index => &mut self.index,
            Kind::Meta => &mut self.meta,
        }
    }

    pub(crate) fn len_of(&self, kind: Kind) -> usize {
        self.clone().of(kind).len()
    }

    pub(crate) fn write(&mut self, kind: Kind, at: u64, bytes: &[u8]) {
        let (file, at) = (self.of(kind), usize::try_from(at).unwrap());
        assert!(at <= file.len(), "nothing leaves a hole");
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Everything that a reader reads.
    pub(crate) fn read(&self, progress: Option<&Progress>) -> Result<Content, SealedError> {
        self.read_as(PARTITION, ATTEMPT, &context("app-1"), &key(), progress)
    }

    pub(crate) fn read_as(
        &self,
        partition: MergedPartition,
        attempt: i32,
        context: &Context,
        key: &DataKey,
        progress: Option<&Progress>,
    ) -> Result<Content, SealedError> {
        let index = Index::open(&mut self.index.clone(), partition, attempt, context, key, progress)?;
        let index = Arc::new(index);
        index.check(Kind::Data, &self.data, self.data.len() as u64)?;
        let meta = index.open_meta(&mut self.meta.clone())?;
        let chunks =
            (0..index.chunks().len()).map(|chunk| self.chunk(&index, chunk)).collect::<Result<_, _>>()?;
        Ok(Content { chunks, meta })
    }

    pub(crate) fn chunk(&self, index: &Arc<Index>, chunk: usize) -> Result<Vec<u8>, SealedError> {
        let mut opener = ChunkOpener::new(index.clone(), chunk).unwrap();
        let mut plain = Vec::new();
        while opener.sealed_left() > 0 {
            let at = usize::try_from(opener.position()).unwrap();
            let head = self.data.get(at..at + HEAD).ok_or(SealedError::Damaged { at: at as u64 })?;
            let len = opener.next_len(head.try_into().unwrap())?;
            let segment = self.data.get(at..at + len).ok_or(SealedError::Damaged { at: at as u64 })?;
            plain.extend_from_slice(opener.open(&mut segment.to_vec())?);
        }
        assert_eq!(opener.plain_left(), 0);
        assert_eq!(plain.len() as u64, opener.chunk().len());
        Ok(plain)
    }
}

/// What a partition holds, opened.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Content {
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) meta: Bytes,
}

/// A partition being written to memory.
pub(crate) struct Writer {
    pub(crate) sealer: PartitionSealer,
    pub(crate) files: Files,
    /// Every segment that ever was in a file, with its place.
    pub(crate) history: Vec<(Kind, u64, Vec<u8>)>,
    buffer: Segment,
}

impl Writer {
    pub(crate) fn new() -> Self {
        Self::of(PARTITION, &context("app-1"), SALT)
    }

    pub(crate) fn of(partition: MergedPartition, context: &Context, salt: Salt) -> Self {
        Self::with(&key(), &wrapped(), partition, ATTEMPT, context, salt)
    }

    pub(crate) fn with(
        key: &DataKey,
        wrapped: &WrappedKey,
        partition: MergedPartition,
        attempt: i32,
        context: &Context,
        salt: Salt,
    ) -> Self {
        let (sealer, Headers { data, index, meta }) =
            PartitionSealer::new(key, wrapped, context, partition, attempt, salt).unwrap();
        let buffer = Segment::with_capacity(MAX_SEGMENT);
        Self { sealer, files: Files { data, index, meta }, history: Vec::new(), buffer }
    }

    pub(crate) fn append(&mut self, piece: &[u8]) {
        self.append_torn(piece, usize::MAX);
    }

    /// Writes the first `written` bytes of the sealed piece.
    pub(crate) fn append_torn(&mut self, piece: &[u8], written: usize) {
        self.buffer.reset(PIECE);
        assert_eq!(self.buffer.put(piece), piece.len());
        let at = self.sealer.seal(&mut self.buffer).unwrap();
        let sealed = self.buffer.sealed();
        let written = written.min(sealed.len());
        self.history.push((Kind::Data, at, sealed.to_vec()));
        self.files.write(Kind::Data, at, &sealed[..written]);
    }

    pub(crate) fn block(&mut self, pieces: &[&[u8]]) {
        pieces.iter().for_each(|piece| self.append(piece));
        self.sealer.commit();
    }

    pub(crate) fn close_chunk(&mut self, meta: &[u8]) {
        let chunk = self.write_chunk(meta, true);
        self.sealer.chunk_written(&chunk).unwrap();
    }

    /// Writes the end of a chunk, without its record where that failed.
    pub(crate) fn write_chunk(&mut self, meta: &[u8], record: bool) -> SealedChunk {
        let chunk = self.sealer.seal_chunk(meta).unwrap();
        self.files.write(Kind::Meta, chunk.meta_at, &chunk.meta);
        self.history.push((Kind::Meta, chunk.meta_at, chunk.meta.clone()));
        if record {
            self.files.write(Kind::Index, chunk.index_at, &chunk.index);
        }
        self.history.push((Kind::Index, chunk.index_at, chunk.index.clone()));
        chunk
    }

    pub(crate) fn finish(mut self) -> (Files, Vec<(Kind, u64, Vec<u8>)>) {
        let commit = self.sealer.finish().unwrap();
        self.files.data.truncate(usize::try_from(commit.data_len).unwrap());
        self.files.meta.truncate(usize::try_from(commit.meta_len).unwrap());
        self.files.index.truncate(usize::try_from(commit.index_at).unwrap());
        self.files.write(Kind::Index, commit.index_at, &commit.index);
        (self.files, self.history)
    }
}

/// Two chunks, the first with a gap, of small blocks.
pub(crate) fn small() -> (Files, Vec<(Kind, u64, Vec<u8>)>) {
    small_of(PARTITION, "app-1", SALT)
}

pub(crate) fn small_of(
    partition: MergedPartition,
    app: &str,
    salt: Salt,
) -> (Files, Vec<(Kind, u64, Vec<u8>)>) {
    let mut writer = Writer::of(partition, &context(app), salt);
    writer.block(&[b"first block", b"in two pieces"]);
    writer.append(b"thrown off");
    writer.sealer.abort();
    writer.block(&[b"over it!!!"]);
    writer.write_chunk(b"lost", true);
    writer.close_chunk(b"bits");
    writer.block(&[b"second chnk"]);
    writer.close_chunk(b"more bits");
    writer.finish()
}

pub(crate) fn small_content() -> Content {
    let chunks = [&b"first blockin two piecesover it!!!"[..], b"second chnk"];
    Content { chunks: chunks.map(<[u8]>::to_vec).into(), meta: Bytes::from_static(b"bitsmore bits") }
}
