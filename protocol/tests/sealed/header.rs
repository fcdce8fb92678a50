//! The clear front of a file, read without any key.

use bytes::Bytes;
use proptest::prelude::*;
use sealed_shuffle_protocol::ids::{AppId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::stored::envelope::{Context, WrappedKey};
use sealed_shuffle_protocol::stored::sealed::{Header, Kind, MAGIC, MAX_NAME, Salt, SealedError, VERSION};

use crate::support::{ATTEMPT, PARTITION, SALT, context, small, wrapped};

fn header() -> impl Strategy<Value = Header> {
    let name = || "[a-zA-Z0-9_:/.é-]{0,40}";
    let ids = (any::<i32>(), any::<i32>(), any::<i32>());
    let key = (name(), prop::collection::vec(any::<u8>(), 0..300));
    let context = (name(), name(), prop::option::of(name()));
    (0..3_usize, any::<[u8; 32]>(), ids, any::<Option<i32>>(), key, context).prop_map(
        |(kind, salt, ids, attempt, key, (cluster, app, node))| {
            let mut context = Context::of(AppId::new(app));
            (context.cluster, context.node) = (cluster, node);
            let (shuffle, merge, reduce) = (ShuffleId(ids.0), ShuffleMergeId(ids.1), ReduceId(ids.2));
            let key = WrappedKey { key_id: key.0, bytes: key.1.into() };
            let partition = MergedPartition { shuffle, merge, reduce };
            let mut header = Header::new(Kind::ALL[kind], Salt(salt), partition, 0, key, context);
            header.attempt = attempt;
            header
        },
    )
}

proptest! {
    #[test]
    fn comes_back_from_its_bytes(header in header(), tail in prop::collection::vec(any::<u8>(), 0..20)) {
        let bytes = header.encode().unwrap();
        let mut file = bytes.clone();
        file.extend(tail);
        prop_assert_eq!(Header::len(&file), Ok(bytes.len()));
        prop_assert_eq!(Header::decode(&file), Ok((header, bytes.len())));
        for len in 0..bytes.len() {
            prop_assert!(Header::decode(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn takes_any_bytes_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Header::decode(&bytes).is_err());
    }

    /// One encoding for one meaning: what is read is what would be written.
    #[test]
    fn a_changed_header_is_refused_or_means_something_else(
        header in header(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = header.encode().unwrap();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        if let Ok((other, len)) = Header::decode(&bytes) {
            prop_assert_ne!(&other, &header);
            prop_assert_eq!(other.encode().unwrap(), &bytes[..len]);
        }
    }
}

#[test]
fn tells_a_newer_version_from_a_damaged_file() {
    let mut bytes = small().0.index;
    bytes[8..10].copy_from_slice(&(VERSION + 1).to_be_bytes());
    let newer = Err(SealedError::NewerVersion { found: 3 });
    assert_eq!(Header::len(&bytes), newer);
    bytes[9] = 0;
    assert_eq!(Header::decode(&bytes), Err(SealedError::Header("version")));
}

#[test]
fn tells_other_files_from_sealed_ones() {
    for other in [&b""[..], b"plain text, and much of it", b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x10", b"LZ4Block"]
    {
        assert_eq!(Header::decode(other), Err(SealedError::NotSealed));
    }
    assert!(matches!(Header::decode(&MAGIC), Err(SealedError::Cut { at: 8, needed: 16 })));
    assert!(matches!(Header::decode(&MAGIC[..3]), Err(SealedError::Cut { .. })));
}

#[test]
fn an_announced_length_is_checked_before_anything_is_read() {
    let mut bytes = small().0.index;
    for len in [0, 68, Header::MAX_LEN as u32 + 1, u32::MAX] {
        bytes[12..16].copy_from_slice(&len.to_be_bytes());
        assert_eq!(Header::len(&bytes), Err(SealedError::Header("length")), "{len}");
    }
}

#[test]
fn the_longest_fields_fit_and_longer_ones_are_refused() {
    let most = |key_id: usize, key: usize, name: usize| {
        let mut context = context(&"a".repeat(name));
        context.cluster = "c".repeat(name);
        context.node = Some("n".repeat(name));
        let key = WrappedKey { key_id: "k".repeat(key_id), bytes: Bytes::from(vec![0; key]) };
        Header::new(Kind::Meta, SALT, PARTITION, i32::MIN, key, context)
    };
    let (id, key) = (WrappedKey::MAX_ID, WrappedKey::MAX_BYTES);
    let longest = most(id, key, MAX_NAME);
    let bytes = longest.encode().unwrap();
    assert!(bytes.len() <= Header::MAX_LEN);
    assert_eq!(Header::decode(&bytes).unwrap().0, longest);
    for (id, key, name) in [(id + 1, key, 1), (id, key + 1, 1), (1, 1, MAX_NAME + 1), (1, 70_000, 1)] {
        assert!(matches!(most(id, key, name).encode(), Err(SealedError::TooLong { .. })));
    }
}

#[test]
fn shows_who_and_which_key_without_any_key() {
    let (file, _) = small();
    let (header, _) = Header::decode(&file.data).unwrap();
    assert_eq!((header.kind, header.partition, header.salt), (Kind::Data, PARTITION, SALT));
    assert_eq!((header.attempt, header.version()), (Some(ATTEMPT), VERSION));
    assert_eq!((header.key, header.context), (wrapped(), context("app-1")));
    assert_eq!(Kind::Index.file_name(&AppId::new("app-1"), PARTITION), "shuffleMerged_app-1_4_1_7.index");
}
