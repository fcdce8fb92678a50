//! Whoever can write to the files and has no key: nothing that he does is taken for what was sealed.

use std::sync::Arc;

use sealed_shuffle_protocol::ids::{AppId, MergedPartition, ReduceId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey};
use sealed_shuffle_protocol::stored::sealed::{
    ChunkOpener, HEAD, Header, Index, Kind, OVERHEAD, Outline, Progress, Salt, SealedError,
};

use crate::support::{ATTEMPT, Files, PARTITION, SALT, Writer, context, key, small, small_content, small_of};

#[test]
fn any_flipped_bit_is_found() {
    let (files, _) = small();
    for kind in Kind::ALL {
        for bit in 0..files.len_of(kind) * 8 {
            let mut changed = files.clone();
            changed.of(kind)[bit / 8] ^= 1 << (bit % 8);
            assert!(changed.read(None).is_err(), "{kind}: byte {}, bit {}", bit / 8, bit % 8);
        }
    }
}

#[test]
fn a_file_cut_short_anywhere_is_found() {
    let (files, _) = small();
    for kind in Kind::ALL {
        for len in 0..files.len_of(kind) {
            let mut cut = files.clone();
            cut.of(kind).truncate(len);
            assert!(cut.read(None).is_err(), "{kind} cut to {len}");
        }
    }
}

#[test]
fn appended_bytes_are_found() {
    let (files, history) = small();
    let tails = [&[0][..], &[0xff; 64]].into_iter().chain(history.iter().map(|(_, _, segment)| &segment[..]));
    for tail in tails {
        for kind in Kind::ALL {
            let mut longer = files.clone();
            longer.of(kind).extend_from_slice(tail);
            assert!(matches!(longer.read(None), Err(SealedError::Appended { .. })), "{kind}");
        }
    }
}

#[test]
fn bytes_removed_or_inserted_are_found() {
    let (files, _) = small();
    for kind in Kind::ALL {
        for at in 0..files.len_of(kind) {
            let (mut shorter, mut longer) = (files.clone(), files.clone());
            shorter.of(kind).remove(at);
            longer.of(kind).insert(at, 0);
            assert!(shorter.read(None).is_err() && longer.read(None).is_err(), "{kind} at {at}");
        }
    }
}

#[test]
fn what_was_aborted_is_not_taken_when_it_is_put_back() {
    let (files, history) = small();
    let mut replayed = 0;
    for (kind, at, segment) in history {
        let mut old = files.clone();
        old.write(kind, at, &segment);
        if old == files {
            continue;
        }
        replayed += 1;
        assert!(old.read(None).is_err(), "{kind} at {at}");
    }
    assert_eq!(replayed, 3, "a piece, a bitmap and a record were overwritten");
}

/// The name of the error says what happened.
#[test]
fn an_aborted_piece_of_the_same_size_is_known_by_its_number() {
    let (mut files, history) = small();
    let (kind, at, segment) = &history[2];
    files.write(*kind, *at, segment);
    assert_eq!(files.read(None), Err(SealedError::Replaced { at: *at, found: 2, expected: 3 }));
    // Under the number that belongs there it does not verify.
    files.data[usize::try_from(*at).unwrap() + 11] = 3;
    assert_eq!(files.read(None), Err(SealedError::Damaged { at: *at }));
}

#[test]
fn swapped_segments_are_found() {
    let mut writer = Writer::new();
    for text in [b"aaaa", b"bbbb", b"cccc", b"dddd"] {
        writer.block(&[text]);
        if text == b"bbbb" {
            writer.close_chunk(b"bits");
        }
    }
    writer.close_chunk(b"more");
    let (files, _) = writer.finish();
    let begin = |kind| Header::decode(files.clone().of(kind)).unwrap().1;
    let swap = |kind, sizes: &[usize]| {
        for (one, other) in [(0, 1), (1, 2), (0, sizes.len() - 1)] {
            let start = |n: usize| begin(kind) + sizes[..n].iter().sum::<usize>();
            let mut swapped = files.clone();
            let file = swapped.of(kind);
            for at in 0..sizes[one] {
                file.swap(start(one) + at, start(other) + at);
            }
            assert!(swapped.read(None).is_err(), "{kind}: {one} and {other}");
        }
    };
    swap(Kind::Data, &[4 + OVERHEAD; 4]);
    let (first, second) = (4 + OVERHEAD, begin(Kind::Meta));
    let mut swapped = files.clone();
    swapped.meta[second..].rotate_left(first);
    assert!(swapped.read(None).is_err(), "bitmaps");
    let mut swapped = files.clone();
    let (from, record) = (begin(Kind::Index), 57 + OVERHEAD);
    swapped.index[from..from + 2 * record].rotate_left(record);
    assert!(swapped.read(None).is_err(), "records");
}

#[test]
fn a_record_left_out_is_found() {
    let (files, _) = small();
    let begin = Header::decode(&files.index).unwrap().1;
    let first = 57 + 12 + OVERHEAD;
    let mut shorter = files;
    shorter.index.drain(begin..begin + first);
    assert!(matches!(shorter.read(None), Err(SealedError::Damaged { .. })));
}

/// Each file in the place of the same file of another partition, application or opening, alone and with the other two;
/// then with the header that belongs there in front.
#[test]
fn a_file_from_elsewhere_is_found() {
    let (files, _) = small();
    let other = |shuffle, merge, reduce| MergedPartition {
        shuffle: ShuffleId(shuffle),
        merge: ShuffleMergeId(merge),
        reduce: ReduceId(reduce),
    };
    let elsewhere = [
        ("reduce", small_of(other(4, 1, 8), "app-1", SALT).0),
        ("merge", small_of(other(4, 2, 7), "app-1", SALT).0),
        ("shuffle", small_of(other(5, 1, 7), "app-1", SALT).0),
        ("application", small_of(PARTITION, "app-2", SALT).0),
        ("opening", small_of(PARTITION, "app-1", Salt([9; 32])).0),
    ];
    for (what, foreign) in elsewhere {
        for kind in Kind::ALL {
            let mut mixed = files.clone();
            *mixed.of(kind) = foreign.clone().of(kind).clone();
            let found = mixed.read(None).unwrap_err();
            let named = match (what, kind) {
                ("opening", Kind::Index) => matches!(found, SealedError::OtherOpening { kind: Kind::Data }),
                ("opening", _) => found == SealedError::OtherOpening { kind },
                _ => matches!(found, SealedError::Foreign { .. }),
            };
            assert!(named, "{what}, {kind}: {found}");

            let header = Header::decode(files.clone().of(kind)).unwrap().1;
            let body = Header::decode(mixed.of(kind)).unwrap().1;
            let ours = files.clone().of(kind)[..header].to_vec();
            mixed.of(kind).splice(..body, ours);
            let found = mixed.read(None).unwrap_err();
            assert!(
                matches!(found, SealedError::Damaged { .. } | SealedError::Replaced { .. }),
                "{what}, {kind}"
            );
        }
        if what != "opening" {
            assert!(matches!(foreign.read(None), Err(SealedError::Foreign { .. })), "{what}");
        }
    }
}

#[test]
fn a_file_of_another_kind_is_found() {
    let (files, _) = small();
    for (to, from) in [(Kind::Data, Kind::Meta), (Kind::Index, Kind::Data), (Kind::Meta, Kind::Index)] {
        let mut mixed = files.clone();
        *mixed.of(to) = files.clone().of(from).clone();
        let found = mixed.read(None).unwrap_err();
        assert!(matches!(found, SealedError::Foreign { what: "kind of file", .. }), "{found}");
    }
}

#[test]
fn another_key_cluster_or_node_opens_nothing() {
    let (files, _) = small();
    let ours = context("app-1");
    let read =
        |context: &Context, key: &DataKey| files.read_as(PARTITION, ATTEMPT, context, key, None).unwrap_err();
    assert!(matches!(read(&ours, &DataKey::new([0x12; 32])), SealedError::Damaged { .. }));
    let mut moved = ours.clone();
    moved.node = Some("node-2".into());
    assert!(matches!(read(&moved, &key()), SealedError::Foreign { what: "node", .. }));
    let mut moved = ours;
    moved.cluster = "other".into();
    assert!(matches!(read(&moved, &key()), SealedError::Foreign { what: "cluster", .. }));
    assert!(matches!(
        read(&Context::of(AppId::new("x")), &key()),
        SealedError::Foreign { what: "application", .. }
    ));
}

/// Shuffles of another attempt bear the same numbers.
#[test]
fn files_of_another_attempt_open_for_no_other_one() {
    let (files, _) = small();
    let found = files.read_as(PARTITION, ATTEMPT + 1, &context("app-1"), &key(), None).unwrap_err();
    assert!(matches!(found, SealedError::Foreign { what: "attempt of its application", .. }), "{found}");
    // A header that says so is another header, and has another key.
    let mut changed = files;
    let at = 60;
    assert_eq!(changed.index[at..at + 4], ATTEMPT.to_be_bytes(), "it stands behind the partition");
    for kind in Kind::ALL {
        changed.of(kind)[at..at + 4].copy_from_slice(&(ATTEMPT + 1).to_be_bytes());
    }
    let found = changed.read_as(PARTITION, ATTEMPT + 1, &context("app-1"), &key(), None).unwrap_err();
    assert!(matches!(found, SealedError::Damaged { .. }), "{found}");
}

/// Without a key, and at every point at which a writer may have been stopped.
#[test]
fn an_index_shows_whether_it_is_finalized() {
    let mut writer = Writer::new();
    for text in [&b"one"[..], b"two"] {
        writer.block(&[text]);
        writer.close_chunk(b"bits");
    }
    let (Files { index, .. }, _) = writer.finish();
    let (header, begin) = Header::decode(&index).unwrap();
    for len in 0..=index.len() {
        let expected = match len {
            _ if len < begin => Outline::Begun,
            _ if len < index.len() => Outline::Open(header.clone()),
            _ => Outline::Committed(header.clone()),
        };
        assert_eq!(Outline::of(&index[..len]), Ok(expected), "{len}");
    }
    // Something behind it takes nothing back.
    assert_eq!(Outline::of(&[&index[..], b"more"].concat()), Ok(Outline::Committed(header)));
    assert_eq!(Outline::of(b"an index of another service"), Err(SealedError::NotSealed));
    let mut odd = index;
    odd[begin] = 0xff;
    assert!(matches!(Outline::of(&odd), Err(SealedError::Length { .. })));
}

/// A server that was killed leaves the files as they were after some write, the last one perhaps half done: as long as
/// the last write of all is not there, nothing is served.
#[test]
fn what_was_never_finalized_is_not_served() {
    let mut writer = Writer::new();
    let mut states = vec![writer.files.clone()];
    for text in [&b"one"[..], b"two"] {
        writer.append_torn(text, 5);
        states.push(writer.files.clone());
        writer.sealer.abort();
        writer.block(&[text]);
        states.push(writer.files.clone());
        let chunk = writer.write_chunk(b"bits", false);
        states.push(writer.files.clone());
        writer.files.write(Kind::Index, chunk.index_at, &chunk.index[..20]);
        states.push(writer.files.clone());
        writer.files.write(Kind::Index, chunk.index_at, &chunk.index);
        writer.sealer.chunk_written(&chunk).unwrap();
        states.push(writer.files.clone());
    }
    let (whole, _) = writer.finish();
    assert!(whole.read(None).is_ok());
    for state in states {
        assert!(state.read(None).is_err());
        let mut cut = state;
        cut.data.clone_from(&whole.data);
        cut.meta.clone_from(&whole.meta);
        assert!(cut.read(None).is_err(), "with the other two whole");
    }
}

#[test]
fn nothing_of_a_segment_comes_out_before_it_has_verified() {
    let mut writer = Writer::new();
    for text in [&[1; 100], &[2; 100], &[3; 100]] {
        writer.block(&[text]);
    }
    writer.close_chunk(b"bits");
    let (mut files, _) = writer.finish();
    let begin = Header::decode(&files.data).unwrap().1;
    let step = 100 + OVERHEAD;
    // The last byte of text in the second segment.
    files.data[begin + step + HEAD + 99] ^= 1;
    let index = Index::open(&mut files.index, PARTITION, ATTEMPT, &context("app-1"), &key(), None).unwrap();
    let mut opener = ChunkOpener::new(Arc::new(index), 0).unwrap();
    assert_eq!(opener.open(&mut files.data[begin..begin + step]).unwrap(), [1; 100]);
    let at = (begin + step) as u64;
    let damaged = Err(SealedError::Damaged { at });
    for _ in 0..2 {
        assert_eq!(
            opener.open(&mut files.data[begin + step..begin + 2 * step].to_vec()).map(|_| ()),
            damaged
        );
        assert_eq!(opener.plain_left(), 200, "and it stays before that segment");
    }
}

/// The writer says how far it is; a file that says anything else is not believed.
#[test]
fn an_index_that_its_writer_did_not_write_last_is_found() {
    let mut writer = Writer::new();
    writer.block(&[b"one"]);
    writer.write_chunk(b"lost", true);
    writer.block(&[b"two"]);
    writer.close_chunk(b"bits");
    let before = writer.sealer.progress();
    let then = writer.files.clone();
    writer.block(&[b"three"]);
    writer.close_chunk(b"bits");
    let now = writer.sealer.progress();
    assert!(writer.files.read(Some(&now)).is_ok());
    assert_eq!(
        writer.files.read(Some(&before)).unwrap().chunks,
        [b"onetwo"],
        "the past is still a beginning"
    );
    assert!(matches!(then.read(Some(&now)), Err(SealedError::Cut { .. })), "older files");
    for other in [
        Progress { last: now.last + 1, ..now },
        Progress { plain: now.plain + 1, ..now },
        Progress { data: now.data + 1, ..now },
        Progress { meta: now.meta - 1, ..now },
        Progress { chunks: 1, ..now },
        Progress { index: now.index - 1, ..now },
    ] {
        assert!(writer.files.read(Some(&other)).is_err(), "{other:?}");
    }
    let (final_files, _) = writer.finish();
    assert!(final_files.read(Some(&now)).is_ok(), "a commit behind it does not disturb");
}

#[test]
fn an_unfinished_partition_ends_where_its_writer_says() {
    let mut files: Files = small().0;
    let content = files.read(None).unwrap();
    assert_eq!(content, small_content());
    let end = files.index.len() as u64;
    let progress =
        Progress { chunks: 2, plain: 45, data: files.data.len() as u64, index: end, meta: 0, last: 0 };
    files.data.push(0);
    assert!(matches!(files.read(Some(&progress)), Err(SealedError::Record { .. })), "it has a commit");
}
