//! Pressure from peers, and disks that fail.

use super::fixture::{APP, Fixture, answer, block, refusal};
use crate::merge::memory::Step;
use sealed_shuffle_transport::lane::OnLane;

const NO_SPACE: &str = "java.io.IOException: Destination failed while reading stream\n\
                        Caused by: java.io.IOException: No space left on device";

#[test]
fn a_deferred_push_beyond_the_budget_is_a_collision() {
    let fixture = Fixture::with(|settings| settings.deferred_bytes = 120);
    let (mut a, mut b) = (fixture.started(block(0, 0, 1, 0)), fixture.started(block(0, 0, 2, 0)));
    a.data(&OnLane::here(), &[b"A"]).unwrap();
    b.data(&OnLane::here(), &[&[b'B'; 60]]).unwrap();
    b.data(&OnLane::here(), &[&[b'B'; 60]]).unwrap();
    assert_eq!(fixture.merger.counters().deferred_bytes, 0);
    assert_eq!(answer(a.complete(&OnLane::here())), "ok");
    // The writer is done, and still what is left of it may not be written.
    b.data(&OnLane::here(), &[b"b"]).unwrap();
    assert_eq!(answer(b.complete(&OnLane::here())), "2 shufflePush_0_0_2_0");
    assert_eq!(fixture.push(block(0, 0, 2, 0), b"BBB"), "ok");
    fixture.finalize(0, 0).unwrap();
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), b"ABBB");
}

#[test]
fn a_merger_that_has_a_successor_writes_nothing_more() {
    let fixture = Fixture::new();
    assert_eq!(fixture.push(block(0, 0, 1, 0), b"before"), "ok");
    let mut under_way = fixture.started(block(0, 0, 2, 0));
    under_way.data(&OnLane::here(), &[b"half"]).unwrap();
    fixture.merger.retire();
    under_way.data(&OnLane::here(), &[b"rest"]).unwrap();
    assert_eq!(answer(under_way.complete(&OnLane::here())), "2 shufflePush_0_0_2_0");
    // As one that met another writer: Spark pushes on, and reads the block where it was written.
    assert_eq!(fixture.push(block(0, 0, 3, 0), b"after"), "2 shufflePush_0_0_3_0");
    assert_eq!(fixture.push(block(0, 0, 1, 7), b"after"), "2 shufflePush_0_0_1_7");
    fixture.finalize(0, 0).unwrap();
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), b"before");
}

#[test]
fn a_duplicate_whose_original_is_lost_leaves_no_half_block() {
    let fixture = Fixture::new();
    let (mut a, mut b) = (fixture.started(block(0, 0, 1, 0)), fixture.started(block(0, 0, 1, 0)));
    a.data(&OnLane::here(), &[b"fir"]).unwrap();
    b.data(&OnLane::here(), &[b"fir"]).unwrap();
    drop(a);
    b.data(&OnLane::here(), &[b"st"]).unwrap();
    assert_eq!(answer(b.complete(&OnLane::here())), "2 shufflePush_0_0_1_0");
    assert_eq!(fixture.push(block(0, 0, 1, 0), b"first"), "ok");
    fixture.finalize(0, 0).unwrap();
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), b"first");
}

#[test]
fn negative_numbers_and_absurd_sizes_are_refused_and_nothing_is_written() {
    let fixture = Fixture::new();
    for (push, what) in [
        (block(-1, 0, 0, 0), "shuffleId -1"),
        (block(0, -2, 0, 0), "shuffleMergeId -2"),
        (block(0, 0, i32::MIN, 0), "mapIndex -2147483648"),
        (block(0, 0, 0, -1), "reduceId -1"),
    ] {
        let refused = refusal(fixture.begin(push).unwrap_err());
        assert_eq!(
            refused,
            format!("java.lang.IllegalArgumentException: A pushed block with {what} is refused")
        );
    }
    for len in [1 << 31, u64::MAX >> 1, u64::MAX] {
        let refused = refusal(fixture.merger.begin(&OnLane::here(), &block(0, 0, 0, 0), len).unwrap_err());
        assert!(refused.ends_with(&format!("with {len} bytes is refused")), "{refused}");
    }
    assert!(fixture.store.paths().is_empty());
}

#[test]
fn a_partition_that_cannot_be_made_fails_its_push_and_is_tried_again() {
    let fixture = Fixture::new();
    fixture.store.fail(Step::Create, true);
    let text = format!(
        "closed: java.lang.RuntimeException: Cannot initialize merged shuffle partition for appId {APP} shuffleId 0 \
         shuffleMergeId 0 reduceId 5"
    );
    assert_eq!(fixture.push(block(0, 0, 0, 5), b"x"), text);
    assert_eq!(fixture.push(block(0, 0, 0, 5), b"x"), text);
    assert_eq!(fixture.merger.counters().open_partitions, 0);
    fixture.store.fail(Step::Create, false);
    assert_eq!(fixture.push(block(0, 0, 0, 5), b"x"), "ok");
}

#[test]
fn partitions_and_shuffles_are_bounded() {
    let fixture = Fixture::with(|settings| (settings.partitions, settings.shuffles) = (3, 3));
    assert_eq!(fixture.push(block(0, 0, 0, 0), b"x"), "ok");
    assert_eq!(fixture.push(block(0, 0, 0, 1), b"x"), "ok");
    let cannot = "closed: java.lang.RuntimeException: Cannot initialize merged shuffle partition for appId";
    assert!(fixture.push(block(0, 0, 0, 2), b"x").starts_with(cannot));
    fixture.finalize(0, 0).unwrap();
    assert_eq!(fixture.push(block(1, 0, 0, 2), b"x"), "ok");
    assert!(fixture.push(block(2, 0, 0, 2), b"x").starts_with(cannot));
    assert_eq!(
        fixture.finalize(3, 0).unwrap_err(),
        format!(
            "java.lang.RuntimeException: Error while finalizing shuffle merge for application {APP} shuffle 3 with \
             shuffleMergeId 0"
        )
    );
}

#[test]
fn the_fifth_disk_error_closes_the_partition_to_pushes() {
    let fixture = Fixture::new();
    assert_eq!(fixture.push(block(0, 0, 9, 0), b"good"), "ok");
    fixture.store.fail(Step::Append, true);
    for map in 0..4 {
        assert_eq!(fixture.push(block(0, 0, map, 0), b"xxxx"), format!("closed: {NO_SPACE}"));
    }
    let threshold = |map| {
        format!(
            "java.lang.IllegalStateException: IOExceptions exceeded the threshold when merging shufflePush_0_0_{map}_0"
        )
    };
    assert_eq!(
        fixture.push(block(0, 0, 4, 0), b"xxxx"),
        format!(
            "closed: java.io.IOException: Destination failed while reading stream\nCaused by: {}",
            threshold(4)
        )
    );
    fixture.store.fail(Step::Append, false);
    assert_eq!(fixture.push(block(0, 0, 5, 0), b"xxxx"), format!("closed: {}", threshold(5)));
    // Blocks that are merged already are known as merged, and other partitions are as before.
    assert_eq!(fixture.push(block(0, 0, 9, 0), b"good"), "ok");
    assert_eq!(fixture.push(block(0, 0, 5, 1), b"xxxx"), "ok");
    fixture.finalize(0, 0).unwrap();
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), b"good");
}

#[test]
fn a_chunk_that_cannot_be_closed_becomes_part_of_the_next() {
    let fixture = Fixture::new();
    fixture.store.fail(Step::CloseChunk, true);
    assert_eq!(fixture.push(block(0, 0, 1, 0), &[b'a'; 20]), "ok");
    fixture.store.fail(Step::CloseChunk, false);
    assert_eq!(fixture.push(block(0, 0, 2, 0), b"b"), "ok");
    let meta = fixture.meta(0, 0, 0).unwrap();
    assert_eq!(meta.chunks, 1);
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), [&[b'a'; 20][..], b"b"].concat());
}

#[test]
fn what_is_in_no_chunk_is_not_reported() {
    let fixture = Fixture::new();
    assert_eq!(fixture.push(block(0, 0, 1, 0), &[b'a'; 16]), "ok");
    assert_eq!(fixture.push(block(0, 0, 2, 0), b"bb"), "ok");
    assert_eq!(fixture.push(block(0, 0, 3, 1), b"c"), "ok");
    fixture.store.fail(Step::CloseChunk, true);
    let statuses = fixture.finalize(0, 0).unwrap();
    assert_eq!(statuses.bitmaps, [[1].into_iter().collect()]);
    assert_eq!(statuses.sizes, [16]);
}

#[test]
fn a_partition_that_cannot_be_finished_is_left_out() {
    let fixture = Fixture::new();
    assert_eq!(fixture.push(block(0, 0, 1, 0), b"a"), "ok");
    fixture.store.fail(Step::Finalize, true);
    assert_eq!(fixture.finalize(0, 0).unwrap().reduces, []);
    fixture.remove(0, -1).unwrap();
    fixture.merger.clean_up(&OnLane::here());
    assert!(fixture.store.paths().is_empty());
}

#[test]
fn the_disk_error_of_a_deferred_block_leaves_the_connection() {
    let fixture = Fixture::new();
    let (mut a, mut b) = (fixture.started(block(0, 0, 1, 0)), fixture.started(block(0, 0, 2, 0)));
    a.data(&OnLane::here(), &[b"AA"]).unwrap();
    b.data(&OnLane::here(), &[b"BB"]).unwrap();
    assert_eq!(answer(a.complete(&OnLane::here())), "ok");
    fixture.store.fail(Step::Append, true);
    assert_eq!(
        answer(b.complete(&OnLane::here())),
        "java.io.IOException: Failure post-processing complete stream; failing this rpc and leaving channel active\n\
         Caused by: java.io.IOException: No space left on device"
    );
    fixture.store.fail(Step::Append, false);
    assert_eq!(fixture.merger.counters().deferred_bytes, 0);
    assert_eq!(fixture.push(block(0, 0, 2, 0), b"BB"), "ok");
    fixture.finalize(0, 0).unwrap();
    assert_eq!(fixture.chunk(0, 0, 0, 0).unwrap(), b"AABB");
}

#[test]
fn an_application_whose_id_is_a_path_merges_nothing() {
    let fixture = Fixture::unregistered(|_| {});
    let meta = format!(r#"{}:{{"mergeDir":"m"}}"#, super::fixture::CLASS);
    fixture.register("../app", &meta).unwrap();
    let mut push = block(0, 0, 0, 0);
    push.app = sealed_shuffle_protocol::ids::AppId::new("../app");
    push.app_attempt = -1;
    assert!(fixture.push(push, b"x").starts_with("closed: java.lang.RuntimeException: Cannot initialize"));
    assert!(fixture.store.paths().is_empty());
}
