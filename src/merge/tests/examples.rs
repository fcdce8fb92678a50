//! The answers of Spark 4.3.0, and the content of its files, in the scenarios that were run against it.

use bytes::Bytes;
use sealed_shuffle_protocol::ids::ReduceId;
use sealed_shuffle_protocol::shuffle::{Bitmap, BlockTransferMessage};
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{APP, CLASS, Fixture, answer, block, refusal};

const NAME: &str = "shuffleMerged_application_1700000000000_0001_0_0_0";
const STALE_FINALIZE: &str = "is stale shuffle finalize request as shuffle blocks of a higher shuffleMergeId for the \
                              shuffle is already being pushed";

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// The pushes of the first example into reduce 0, and one into reduce 1.
fn pushed() -> Fixture {
    let fixture = Fixture::new();
    for (map, data) in [(0, "AAAA"), (5, "BBBBBBBBBB"), (2, "CCCCCC"), (7, ""), (1, "DDD")] {
        assert_eq!(fixture.push(block(0, 0, map, 0), data.as_bytes()), "ok");
    }
    assert_eq!(fixture.push(block(0, 0, 0, 1), &[b'z'; 20]), "ok");
    fixture
}

fn statuses(fixture: &Fixture, shuffle: i32, merge: i32) -> (Vec<ReduceId>, Vec<i64>) {
    let statuses = fixture.finalize(shuffle, merge).unwrap();
    (statuses.reduces, statuses.sizes)
}

#[test]
fn files_grow_as_in_spark() {
    let fixture = Fixture::new();
    let data = format!("d1/merge_manager_1/33/{NAME}.data");
    let index = format!("d1/merge_manager_1/35/{NAME}.index");
    let meta = format!("d2/merge_manager_1/20/{NAME}.meta");
    let one = hex("0000000000000000");
    let two = hex("0000000000000000 0000000000000014");
    let first = hex("3a300000 01000000 0000 0200 10000000 0000 0200 0500");
    let none = Vec::new();
    let steps = [
        (0, "AAAA", 4, &one, &none),
        (0, "AAAA", 4, &one, &none),
        (5, "BBBBBBBBBB", 14, &one, &none),
        (2, "CCCCCC", 20, &two, &first),
        (7, "", 20, &two, &first),
        (1, "DDD", 23, &two, &first),
    ];
    for (map, bytes, len, offsets, bitmaps) in steps {
        assert_eq!(fixture.push(block(0, 0, map, 0), bytes.as_bytes()), "ok");
        assert_eq!(fixture.file(&data).len(), len, "after map {map}");
        assert_eq!(&fixture.file(&index), offsets, "after map {map}");
        assert_eq!(&fixture.file(&meta), bitmaps, "after map {map}");
    }
    fixture.finalize(0, 0).unwrap();
    assert_eq!(fixture.file(&data), b"AAAABBBBBBBBBBCCCCCCDDD");
    assert_eq!(fixture.file(&index), hex("0000000000000000 0000000000000014 0000000000000017"));
    let both = [first, hex("3a300000 01000000 0000 0100 10000000 0100 0700")].concat();
    assert_eq!(fixture.file(&meta), both);

    let fixture = pushed();
    let name = NAME.strip_suffix('0').unwrap().to_owned() + "1";
    assert_eq!(fixture.file(&format!("d2/merge_manager_1/02/{name}.data")), [b'z'; 20]);
    assert_eq!(fixture.file(&format!("d2/merge_manager_1/14/{name}.index")), two);
    let meta = fixture.file(&format!("d1/merge_manager_1/30/{name}.meta"));
    assert_eq!(meta, hex("3a300000 01000000 0000 0000 10000000 0000"));
}

#[test]
fn finalization_answers_as_in_spark() {
    let fixture = pushed();
    let mut statuses = fixture.finalize(0, 0).unwrap();
    // The order of partitions is open. The bytes of this one are those of Spark.
    if statuses.reduces[0] == ReduceId(1) {
        statuses.reduces.reverse();
        statuses.bitmaps.reverse();
        statuses.sizes.reverse();
    }
    let expected = hex("0e 00000000 00000000 00000002
         3a300000 01000000 0000 0400 10000000 0000 0100 0200 0500 0700
         3a300000 01000000 0000 0000 10000000 0000
         00000002 00000000 00000001 00000002 0000000000000017 0000000000000014");
    let expected = BlockTransferMessage::decode(Bytes::from(expected)).unwrap();
    assert_eq!(BlockTransferMessage::from(statuses), expected);

    let again = fixture.finalize(0, 0).unwrap_err();
    assert_eq!(
        again,
        format!(
            "java.lang.RuntimeException: Shuffle merge finalize request for shuffle 0 with shuffleMergeId 0 {STALE_FINALIZE}"
        )
    );
    // A higher id gets the same answer, as long as nothing was pushed for it.
    assert!(fixture.finalize(0, 1).unwrap_err().contains(STALE_FINALIZE));
}

#[test]
fn metadata_and_chunks_are_served_as_in_spark() {
    let fixture = pushed();
    let first = hex("3a300000 01000000 0000 0200 10000000 0000 0200 0500");
    // Chunks that are closed are there before the end.
    let meta = fixture.meta(0, 0, 0).unwrap();
    assert_eq!((meta.chunks, &meta.bitmaps[..]), (1, &first[..]));
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), b"AAAABBBBBBBBBBCCCCCC");
    fixture.finalize(0, 0).unwrap();
    let meta = fixture.meta(0, 0, 0).unwrap();
    assert_eq!(meta.chunks, 2);
    let maps = Bitmap::decode_all(meta.bitmaps).unwrap();
    assert_eq!(maps, [[0, 2, 5].into_iter().collect(), [1, 7].into_iter().collect()]);
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), b"AAAABBBBBBBBBBCCCCCC");
    assert_eq!(fixture.chunk(0, 0, 0, 1).unwrap(), b"DDD");
    assert_eq!(fixture.chunk(0, 0, 1, 0).unwrap(), [b'z'; 20]);
    for chunk in [2, -1, i32::MAX, i32::MIN] {
        assert_eq!(fixture.chunk(0, 0, 0, chunk).unwrap_err(), "java.lang.IndexOutOfBoundsException");
    }

    let name = NAME.strip_suffix('0').unwrap().to_owned() + "9";
    let (index, data) = (fixture.meta(0, 0, 9).unwrap_err(), fixture.chunk(0, 0, 9, 0).unwrap_err());
    assert!(index.starts_with("java.lang.RuntimeException: Merged shuffle index file /"), "{index}");
    assert!(index.ends_with(&format!("/{name}.index not found")), "{index}");
    assert!(data.starts_with("java.lang.RuntimeException: Merged shuffle data file /"), "{data}");
    assert!(data.ends_with(&format!("/{name}.data not found")), "{data}");
}

#[test]
fn a_partition_without_a_chunk_is_empty() {
    let fixture = Fixture::new();
    assert_eq!(fixture.push(block(0, 0, 3, 0), b"abc"), "ok");
    let path = fixture.path(&format!("d1/merge_manager_1/35/{NAME}.index"));
    let empty = format!("java.lang.RuntimeException: Merged shuffle index file {path} is empty");
    assert_eq!(fixture.meta(0, 0, 0).unwrap_err(), empty);
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap_err(), "java.lang.IndexOutOfBoundsException");
    // A partition that got only empty blocks is empty, too, although it is in the result.
    let fixture = Fixture::new();
    assert_eq!(fixture.push(block(0, 0, 3, 0), b""), "ok");
    assert_eq!(statuses(&fixture, 0, 0), (vec![ReduceId(0)], vec![0]));
    assert!(fixture.meta(0, 0, 0).unwrap_err().ends_with(" is empty"));
}

#[test]
fn a_push_before_registration_closes_the_connection() {
    let fixture = Fixture::unregistered(|_| {});
    let expected = format!(
        "closed: java.lang.IllegalArgumentException: application {APP} is not registered or NM was restarted."
    );
    assert_eq!(fixture.push(block(0, 0, 0, 0), b"x"), expected);
    fixture.register(APP, CLASS).unwrap();
    assert_eq!(fixture.push(block(0, 0, 0, 0), b"x"), expected);
    assert!(fixture.store.paths().is_empty());
}

#[test]
fn another_attempt_is_too_old_and_closes_the_connection() {
    let fixture = Fixture::new();
    for data in [&b"x"[..], b""] {
        let mut push = block(0, 0, 9, 0);
        push.app_attempt = 2;
        assert_eq!(fixture.push(push, data), "closed: 4 shufflePush_0_0_9_0");
    }
    assert!(fixture.store.paths().is_empty());
}

#[test]
fn a_push_after_finalization_is_too_late() {
    let fixture = pushed();
    fixture.finalize(0, 0).unwrap();
    assert_eq!(fixture.push(block(0, 0, 8, 0), b"x"), "1 shufflePush_0_0_8_0");
    assert_eq!(fixture.push(block(0, 0, 0, 0), b"AAAA"), "1 shufflePush_0_0_0_0");
    assert_eq!(fixture.push(block(0, 0, 0, 44), b"x"), "1 shufflePush_0_0_0_44");
}

#[test]
fn a_newer_merge_makes_the_older_one_stale() {
    let fixture = pushed();
    fixture.finalize(0, 0).unwrap();
    let files = fixture.store.paths();
    assert_eq!(fixture.push(block(0, 1, 0, 0), b"new"), "ok");
    fixture.merger.clean_up(&OnLane::here());
    for path in files {
        assert!(fixture.store.file(&path).is_some(), "{path} was deleted");
    }
    assert_eq!(
        fixture.meta(0, 0, 0).unwrap_err(),
        "java.lang.RuntimeException: MergedBlockMeta fetch for shuffle 0 with shuffleMergeId 0 reduceId 0 is stale \
         shuffle block fetch request as shuffle blocks of a higher shuffleMergeId for the shuffle is available"
    );
    assert_eq!(
        fixture.chunk(0, 0, 0, 0).unwrap_err(),
        "java.lang.RuntimeException: MergedBlockData fetch for shuffle 0 with shuffleMergeId 0 reduceId 0 is stale \
         shuffle block fetch request as shuffle blocks of a higher shuffleMergeId for the shuffle is available"
    );
    assert_eq!(fixture.push(block(0, 0, 9, 0), b"old"), "3 shufflePush_0_0_9_0");
    assert!(fixture.finalize(0, 0).unwrap_err().contains(STALE_FINALIZE));
}

#[test]
fn finalizing_a_newer_merge_drops_the_open_one() {
    let fixture = Fixture::new();
    assert_eq!(fixture.push(block(0, 1, 0, 0), b"one"), "ok");
    assert_eq!(fixture.store.paths().len(), 3);
    assert_eq!(statuses(&fixture, 0, 2), (vec![], vec![]));
    fixture.merger.clean_up(&OnLane::here());
    assert!(fixture.store.paths().is_empty());
    assert_eq!(fixture.push(block(0, 2, 0, 0), b"two"), "1 shufflePush_0_2_0_0");
}

#[test]
fn an_unknown_shuffle_is_finalized_empty() {
    let fixture = Fixture::new();
    let statuses = fixture.finalize(55, 0).unwrap();
    let bytes = BlockTransferMessage::from(statuses).encode().unwrap();
    assert_eq!(bytes, hex("0e 00000037 00000000 00000000 00000000 00000000"));
    assert_eq!(fixture.push(block(55, 0, 1, 2), b"x"), "1 shufflePush_55_0_1_2");
}

#[test]
fn a_block_collides_with_the_writer_and_may_come_again() {
    let fixture = Fixture::new();
    let mut a = fixture.started(block(0, 0, 1, 0));
    a.data(&OnLane::here(), &[b"AA"]).unwrap();
    assert_eq!(fixture.push(block(0, 0, 2, 0), b"BBBB"), "2 shufflePush_0_0_2_0");
    a.data(&OnLane::here(), &[b"aa"]).unwrap();
    assert_eq!(answer(a.complete(&OnLane::here())), "ok");
    assert_eq!(fixture.push(block(0, 0, 2, 0), b"BBBB"), "ok");
    fixture.finalize(0, 0).unwrap();
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), b"AAaaBBBB");
    assert_eq!(fixture.merger.counters().collisions, 1);
}

#[test]
fn a_deferred_block_follows_the_writer() {
    let fixture = Fixture::new();
    let (mut a, mut b) = (fixture.started(block(0, 0, 1, 0)), fixture.started(block(0, 0, 2, 0)));
    a.data(&OnLane::here(), &[b"AA"]).unwrap();
    b.data(&OnLane::here(), &[b"BB"]).unwrap();
    assert!(fixture.merger.counters().deferred_bytes >= 2);
    assert_eq!(fixture.merger.counters().deferred_blocks, 1);
    a.data(&OnLane::here(), &[b"aa"]).unwrap();
    assert_eq!(answer(a.complete(&OnLane::here())), "ok");
    b.data(&OnLane::here(), &[b"bb"]).unwrap();
    assert_eq!(fixture.merger.counters().deferred_bytes, 0);
    assert_eq!(answer(b.complete(&OnLane::here())), "ok");
    fixture.finalize(0, 0).unwrap();
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), b"AAaaBBbb");
    // This time the push is deferred to its end.
    let (mut a, mut b) = (fixture.started(block(1, 0, 1, 0)), fixture.started(block(1, 0, 2, 0)));
    a.data(&OnLane::here(), &[b"A"]).unwrap();
    b.data(&OnLane::here(), &[b"B"]).unwrap();
    assert_eq!(answer(a.complete(&OnLane::here())), "ok");
    assert_eq!(answer(b.complete(&OnLane::here())), "ok");
    fixture.finalize(1, 0).unwrap();
    assert_eq!(fixture.chunk(1, 0, 0, 0).unwrap(), b"AB");
}

#[test]
fn a_lost_writer_is_overwritten_or_cut_off() {
    let fixture = Fixture::new();
    let mut lost = fixture.started(block(0, 0, 1, 0));
    lost.data(&OnLane::here(), &[b"partial"]).unwrap();
    drop(lost);
    assert_eq!(fixture.push(block(0, 0, 2, 0), b"BB"), "ok");
    let mut lost = fixture.started(block(0, 0, 3, 0));
    lost.data(&OnLane::here(), &[b"partial"]).unwrap();
    drop(lost);
    let statuses = fixture.finalize(0, 0).unwrap();
    assert_eq!(statuses.bitmaps, [[2].into_iter().collect::<Bitmap>()]);
    assert_eq!(statuses.sizes, [2]);
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), b"BB");
    assert_eq!(fixture.file(&format!("d1/merge_manager_1/33/{NAME}.data")), b"BB");
}

#[test]
fn a_writer_that_finalization_overtakes_is_too_late() {
    let fixture = Fixture::new();
    assert_eq!(fixture.push(block(0, 0, 1, 0), b"AA"), "ok");
    let mut late = fixture.started(block(0, 0, 2, 0));
    late.data(&OnLane::here(), &[b"BB"]).unwrap();
    let statuses = fixture.finalize(0, 0).unwrap();
    assert_eq!(statuses.bitmaps, [[1].into_iter().collect::<Bitmap>()]);
    late.data(&OnLane::here(), &[b"bb"]).unwrap();
    assert_eq!(answer(late.complete(&OnLane::here())), "1 shufflePush_0_0_2_0");
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), b"AA");
}

#[test]
fn statuses_list_partitions_in_their_order() {
    let fixture = Fixture::new();
    let reduces = [7, 3, 100, 0, 42, 5, 1];
    reduces.iter().for_each(|reduce| assert_eq!(fixture.push(block(0, 0, 1, *reduce), b"x"), "ok"));
    let statuses = fixture.finalize(0, 0).unwrap();
    let listed: Vec<i32> = statuses.reduces.iter().map(|reduce| reduce.0).collect();
    assert_eq!(listed, [0, 1, 3, 5, 7, 42, 100]);
}

#[test]
fn a_newer_attempt_replaces_the_older_one() {
    let fixture = pushed();
    let (mut writer, mut deferred) = (fixture.started(block(3, 0, 1, 0)), fixture.started(block(3, 0, 2, 0)));
    writer.data(&OnLane::here(), &[b"AA"]).unwrap();
    deferred.data(&OnLane::here(), &[b"BB"]).unwrap();
    fixture.register_attempt(2).unwrap();
    fixture.merger.clean_up(&OnLane::here());
    assert!(fixture.store.paths().is_empty());
    let closed = "java.io.IOException: Destination failed while reading stream\n\
                  Caused by: java.nio.channels.ClosedChannelException";
    assert_eq!(writer.data(&OnLane::here(), &[b"aa"]).unwrap_err().spark_text(), closed);
    assert_eq!(deferred.data(&OnLane::here(), &[b"bb"]).unwrap_err().spark_text(), closed);
    assert_eq!(fixture.push(block(0, 0, 1, 0), b"x"), "closed: 4 shufflePush_0_0_1_0");
    // The older one registers again: it is accepted and has no effect.
    fixture.register_attempt(1).unwrap();
    assert_eq!(fixture.push(block(0, 0, 1, 0), b"x"), "closed: 4 shufflePush_0_0_1_0");
    let dirs = fixture.merger.local_dirs(&sealed_shuffle_protocol::ids::AppId::new(APP)).unwrap();
    assert_eq!(dirs, ["d1", "d2"].map(|dir| fixture.path(&format!("{dir}/merge_manager_2"))));
}

#[test]
fn messages_of_another_attempt_are_refused() {
    let fixture = Fixture::unregistered(|_| {});
    fixture.register_attempt(2).unwrap();
    let text = |message: &str| {
        format!(
            "java.lang.IllegalArgumentException: The attempt id 1 in this {message} message does not match with the \
             current attempt id 2 stored in shuffle service for application {APP}"
        )
    };
    assert_eq!(fixture.finalize(0, 0).unwrap_err(), text("FinalizeShuffleMerge"));
    assert_eq!(fixture.remove(0, 0).unwrap_err(), text("RemoveShuffleMerge"));
    assert_eq!(refusal(fixture.begin(block(0, 0, 0, 0)).unwrap_err()), "4 shufflePush_0_0_0_0");
}

#[test]
fn removal_deletes_and_ends_the_merge() {
    let fixture = pushed();
    fixture.finalize(0, 0).unwrap();
    fixture.remove(0, -1).unwrap();
    fixture.merger.clean_up(&OnLane::here());
    assert!(fixture.store.paths().is_empty());
    assert_eq!(fixture.push(block(0, 0, 9, 0), b"x"), "1 shufflePush_0_0_9_0");
    // The merge is open and removed by its id.
    assert_eq!(fixture.push(block(1, 3, 0, 0), b"x"), "ok");
    fixture.remove(1, 3).unwrap();
    fixture.merger.clean_up(&OnLane::here());
    assert!(fixture.store.paths().is_empty());
    assert_eq!(fixture.push(block(1, 3, 0, 0), b"x"), "1 shufflePush_1_3_0_0");
    // A later id: the current data are deleted, and the later merge is over, too.
    assert_eq!(fixture.push(block(2, 0, 0, 0), b"x"), "ok");
    fixture.remove(2, 4).unwrap();
    fixture.merger.clean_up(&OnLane::here());
    assert!(fixture.store.paths().is_empty());
    assert_eq!(fixture.push(block(2, 4, 0, 0), b"x"), "1 shufflePush_2_4_0_0");
    assert_eq!(
        fixture.remove(2, 3).unwrap_err(),
        format!(
            "java.lang.RuntimeException: Asked to remove old shuffle merged data for application {APP} shuffleId 2 \
             shuffleMergeId 3, but current shuffleMergeId 4 "
        )
    );
    // The shuffle is unknown: "current" removes nothing, and a named merge is over from now on.
    fixture.remove(7, -1).unwrap();
    assert_eq!(fixture.push(block(7, 0, 0, 0), b"x"), "ok");
    fixture.remove(8, 0).unwrap();
    assert_eq!(fixture.push(block(8, 0, 0, 0), b"x"), "1 shufflePush_8_0_0_0");
}
