//! Sealed files that somebody changed, and the encrypted streams of Spark.

use bytes::Bytes;
use sealed_shuffle_protocol::cipher::Segment;
use sealed_shuffle_protocol::ids::{AppId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};
use sealed_shuffle_protocol::stored::io_encryption::{Decryptor, IoKey};
use sealed_shuffle_protocol::stored::sealed::{Header, Index, Outline, PIECE, PartitionSealer, Salt};

use super::input::{Input, masked, pieces};

const PARTITION: MergedPartition =
    MergedPartition { shuffle: ShuffleId(4), merge: ShuffleMergeId(1), reduce: ReduceId(7) };

fn context() -> Context {
    Context::of(AppId::new("app-1"))
}

/// The index file of a partition with one chunk, finalized.
fn index_file() -> Vec<u8> {
    let wrapped = WrappedKey { key_id: "key-1".into(), bytes: Bytes::from_static(b"wrapped") };
    let (mut sealer, headers) =
        PartitionSealer::new(&DataKey::new([0x11; 32]), &wrapped, &context(), PARTITION, 1, Salt([0x5a; 32]))
            .expect("the names are short");
    let mut piece = Segment::with_capacity(256);
    piece.reset(PIECE);
    piece.put(b"a pushed block");
    sealer.seal(&mut piece).expect("there is something to seal");
    sealer.commit();
    let chunk = sealer.seal_chunk(b"bitmap").expect("no block is open");
    sealer.chunk_written(&chunk).expect("nothing has changed");
    let commit = sealer.finish().expect("counters are left");
    [headers.index, chunk.index, commit.index].concat()
}

/// An index is opened where not a bit of it was changed; a header that decodes is the same when it is written again; a
/// stream of `spark.io.encryption` opens alike however it is cut.
pub(crate) fn sealed(data: &[u8]) {
    let mut input = Input(data);
    let (choice, size) = (input.byte(), input.byte());
    let genuine = index_file();
    let mut file = if choice.is_multiple_of(2) {
        input.0.to_vec()
    } else {
        let at = usize::from(u16::from_be_bytes([input.byte(), input.byte()])).min(genuine.len());
        [&genuine[..at], &masked(&genuine[at..], input.0)].concat()
    };
    if let Ok((header, len)) = Header::decode(&file) {
        assert_eq!(header.encode().as_deref(), Ok(&file[..len]));
    }
    // Its length alone says that it is finalized.
    let finalized = matches!(Outline::of(&file), Ok(Outline::Committed(_)));
    let is_genuine = file == genuine;
    let opened = Index::open(&mut file, PARTITION, 1, &context(), &DataKey::new([0x11; 32]), None);
    assert_eq!(opened.is_ok(), is_genuine, "changed and opened, or genuine and refused");
    assert!(finalized || !is_genuine, "finalized, and not told to be");

    let key = IoKey::from_bytes(&[7; 16]).expect("AES has such a key");
    let decrypt = |pieces: &mut dyn Iterator<Item = &[u8]>| {
        let mut decryptor = Decryptor::new(&key);
        let mut plain = Vec::new();
        for piece in pieces {
            plain.extend_from_slice(decryptor.apply(&mut piece.to_vec()));
        }
        (plain, decryptor.finish().is_ok())
    };
    let whole = decrypt(&mut std::iter::once(input.0));
    assert_eq!(decrypt(&mut pieces(input.0, size)), whole);
}
