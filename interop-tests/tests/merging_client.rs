//! Our client against Spark's own merger (RemoteBlockPushResolver behind ExternalBlockHandler): push, finalize, read and
//! remove, and every outcome that a push can have, in clear and in AES-CTR and AES-GCM.

use std::collections::BTreeMap;

use sealed_shuffle_client::{
    BlockBody, FallBackReason, MapOutput, Merge, MergeStatus, MergedPart, MergedPartition, PushReport,
    PushedBlock,
};
use sealed_shuffle_interop_tests::{
    fixture::{APP, SECRET},
    merger::Merger,
    modes::matrix::is_chosen,
    modes::{Auth, Cipher, Mode, Service, number},
    oracle::{Executor, content},
    ours::OurClient,
    spark::spark_metrics,
};
use sealed_shuffle_protocol::{
    ids::{ReduceId, ShuffleId, ShuffleMergeId},
    shuffle::ReturnCode,
};

const MERGE: Merge = Merge { app_attempt: 1, shuffle: ShuffleId(0), merge: ShuffleMergeId(0) };

/// The newest release in clear and in either cipher, and older ones in what they have.
fn merging_modes() -> Vec<Mode> {
    let mut modes = vec![
        Mode::new("4.3.0", Auth::None),
        Mode::newest(Cipher::Ctr, 1),
        Mode::newest(Cipher::Gcm, 2),
        Mode::aes("3.5.9", Cipher::Gcm, 1),
        Mode::new("3.2.4", Auth::None),
        Mode::aes("3.2.4", Cipher::Ctr, 1),
    ];
    if is_chosen() {
        modes.extend([
            Mode::new("3.5.9", Auth::None),
            Mode::aes("3.5.9", Cipher::Ctr, 2),
            Mode::aes("4.0.5", Cipher::Gcm, 2),
            Mode::new("3.3.4", Auth::None),
            Mode::aes("3.3.4", Cipher::Ctr, 1),
            Mode::aes("3.4.4", Cipher::Ctr, 1),
        ]);
    }
    modes
}

/// A merger of Spark's with chunks of 16 bytes and more, and our client of a registered application.
struct Scene {
    merger: Merger,
    client: OurClient,
}

impl Scene {
    fn each(test: impl Fn(&Self)) {
        for mode in merging_modes() {
            eprintln!("in mode {mode}");
            test(&Self::start(mode));
        }
    }

    fn start(mode: Mode) -> Self {
        let merger = Merger::start_of(Service::Spark, mode, "16", &[]);
        let client = OurClient::with(&mode, merger.f.address(), APP, SECRET, |settings| {
            settings.connections_per_peer(2)
        });
        let executor = Executor::merging_beneath(merger.f.root(), "1");
        client.register_merging("1", &executor).expect("the directories lie beneath the root");
        Self { merger, client }
    }

    #[track_caller]
    fn push(&self, merge: Merge, map_index: i32, reduce: i32, body: &[u8]) -> ReturnCode {
        let block = PushedBlock { map_index, reduce: ReduceId(reduce), body: body.as_block() };
        let pushed = self.client.call(async |client, server| client.push_block(server, merge, block).await);
        pushed.unwrap_or_else(|error| panic!("not pushed: {error}"))
    }

    #[track_caller]
    fn finalize(&self, merge: Merge) -> Vec<MergeStatus> {
        let statuses =
            self.client.call(async |client, server| client.finalize_shuffle_merge(server, merge).await);
        let mut statuses = statuses.unwrap_or_else(|error| panic!("not finalized: {error}"));
        statuses.sort_by_key(|status| status.reduce);
        statuses
    }

    /// Whether requests for what was merged fail: before 3.5, behind the AES handshake (a null in AuthRpcHandler).
    fn has_no_meta(&self) -> bool {
        let mode = self.merger.f.mode;
        number(mode.version) < (3, 5) && mode.authenticates()
    }

    /// Whether it is such a merger, from which nothing is read, and all of it is fallen back on.
    #[track_caller]
    fn is_fallen_back_on(&self, merge: Merge, status: &MergeStatus) -> bool {
        if !self.has_no_meta() {
            return false;
        }
        let (chunks, others) = self.read(merge, status);
        assert!(chunks.is_empty() && matches!(others[..], [FallBackReason::Meta(_)]), "{others:?}");
        let partition = MergedPartition { shuffle: merge.shuffle, merge: merge.merge, reduce: status.reduce };
        let bytes = self.client.call(async |client, server| {
            let mut fetch = client.fetch_merged_chunks(server, partition, [0]);
            fetch.next().await.expect("one outcome").expect("chunks need no meta").1.len()
        });
        assert!(bytes > 0);
        true
    }

    /// Chunks with their map indexes, and what is to be fetched as it is.
    fn read(&self, merge: Merge, status: &MergeStatus) -> (BTreeMap<i32, Chunk>, Vec<FallBackReason>) {
        self.client.call(async |client, server| {
            let mut read = client.read_merged(server, merge, status);
            let (mut chunks, mut others) = (BTreeMap::new(), Vec::new());
            while let Some(outcome) = read.next().await {
                match outcome {
                    MergedPart::Chunk(chunk) => {
                        chunks.insert(chunk.chunk, (chunk.maps.into_iter().collect(), chunk.bytes.to_vec()));
                    }
                    MergedPart::FallBack(other) => others.push(other.reason),
                }
            }
            (chunks, others)
        })
    }

    /// Bytes that Spark says it merged; releases before 3.4 count nothing.
    #[track_caller]
    fn assert_wrote(&self, bytes: u64) {
        let counts = spark_metrics(&self.merger.f.peer, self.merger.f.address());
        let expected = (number(self.merger.f.mode.version) >= (3, 4)).then_some(bytes);
        assert_eq!(counts.get("blockBytesWritten").copied(), expected);
    }
}

/// Map indexes and bytes.
type Chunk = (Vec<u32>, Vec<u8>);

trait Block {
    fn as_block(&self) -> BlockBody;
}

impl Block for [u8] {
    fn as_block(&self) -> BlockBody {
        BlockBody::from(bytes::Bytes::from(self.to_vec()))
    }
}

/// The worked example whose files and frames were compared byte by byte.
#[test]
fn blocks_are_merged_finalized_read_and_removed() {
    Scene::each(|merger| {
        for (map, body) in [(0, "AAAA"), (0, "AAAA"), (5, "BBBBBBBBBB"), (2, "CCCCCC"), (7, ""), (1, "DDD")] {
            assert_eq!(merger.push(MERGE, map, 0, body.as_bytes()), ReturnCode::Success, "{map}");
        }
        assert_eq!(merger.push(MERGE, 0, 1, &[b'z'; 20]), ReturnCode::Success);
        let statuses = merger.finalize(MERGE);
        let told: Vec<_> = statuses
            .iter()
            .map(|status| (status.reduce.0, status.size, status.maps.as_roaring().iter().collect::<Vec<_>>()))
            .collect();
        assert_eq!(told, [(0, 23, vec![0, 1, 2, 5, 7]), (1, 20, vec![0])]);
        assert_eq!(merger.push(MERGE, 8, 0, b"late"), ReturnCode::TooLateBlockPush);

        merger.assert_wrote(43);
        if merger.is_fallen_back_on(MERGE, &statuses[0]) {
            return;
        }
        let (chunks, others) = merger.read(MERGE, &statuses[0]);
        assert_eq!(chunks[&0], (vec![0, 2, 5], b"AAAABBBBBBBBBBCCCCCC".to_vec()));
        assert_eq!(chunks[&1], (vec![1, 7], b"DDD".to_vec()));
        assert!(chunks.len() == 2 && others.is_empty(), "{others:?}");
        let (chunks, others) = merger.read(MERGE, &statuses[1]);
        assert_eq!(chunks[&0], (vec![0], vec![b'z'; 20]));
        assert!(chunks.len() == 1 && others.is_empty(), "{others:?}");

        if number(merger.merger.f.mode.version) < (3, 4) {
            return; // It does not know of removal.
        }
        let current = Merge { merge: ShuffleMergeId(-1), ..MERGE };
        merger
            .client
            .call(async |client, server| client.remove_shuffle_merge(server, current).await)
            .expect("it is sent");
        // Files are deleted behind the request; the one behind it sees them or not, in the end not.
        let partition = MergedPartition { shuffle: MERGE.shuffle, merge: MERGE.merge, reduce: ReduceId(0) };
        let gone = (0..1000).find_map(|_| {
            merger.client.call(async |client, server| client.merged_block_meta(server, partition).await).err()
        });
        let gone = gone.expect("the files are deleted soon");
        assert!(gone.to_string().contains("not found"), "{gone}");
        let (chunks, others) = merger.read(MERGE, &statuses[0]);
        assert!(chunks.is_empty() && matches!(others[..], [FallBackReason::Meta(_)]), "{others:?}");
    });
}

#[test]
fn a_map_output_comes_back_in_chunks_byte_for_byte() {
    Scene::each(|merger| {
        let bodies: Vec<Vec<u8>> =
            (0..60).map(|reduce| content(reduce, (reduce * reduce * 20) as usize)).collect();
        let output = |map_index| {
            let blocks = (0..).map(ReduceId).zip(bodies.iter().map(|body| body.as_block()));
            MapOutput { merge: MERGE, map_index, partitions: 60, blocks: blocks.collect() }
        };
        let reports: Vec<PushReport> = (0..3)
            .map(|map| {
                merger
                    .client
                    .call(async |client, server| client.push(output(map), std::slice::from_ref(server)).await)
            })
            .collect();
        for report in &reports {
            assert_eq!(report.counts(), [("empty", 1), ("merged", 59)], "{report}");
        }
        let statuses = merger.finalize(MERGE);
        assert_eq!(statuses.len(), 59);
        let mut bytes = 0;
        for status in &statuses {
            bytes += status.size;
            if merger.is_fallen_back_on(MERGE, status) {
                continue;
            }
            let body = &bodies[usize::try_from(status.reduce.0).expect("not negative")];
            let (chunks, others) = merger.read(MERGE, status);
            assert!(others.is_empty(), "{others:?}");
            let merged: Vec<u8> = chunks.into_values().flat_map(|(_, chunk)| chunk).collect();
            assert!(merged == body.repeat(3), "partition {}", status.reduce);
            assert_eq!(merged.len() as u64, status.size);
        }
        merger.assert_wrote(bytes);
        let late = merger
            .client
            .call(async |client, server| client.push(output(9), std::slice::from_ref(server)).await);
        assert_eq!(late.stopped_by().map(|pushed| pushed.label()), Some("too_late"), "{late}");
    });
}

/// Larger than what a pusher sends by itself, and than any buffer.
#[test]
fn a_large_block_is_pushed_and_read() {
    Scene::each(|merger| {
        let body = content(5, 7_654_321);
        assert_eq!(merger.push(MERGE, 0, 0, &body), ReturnCode::Success);
        let statuses = merger.finalize(MERGE);
        if merger.is_fallen_back_on(MERGE, &statuses[0]) {
            return;
        }
        let (chunks, _) = merger.read(MERGE, &statuses[0]);
        assert!(chunks[&0].1 == body && chunks.len() == 1);
    });
}

#[test]
fn stale_and_too_old_pushes_have_their_names() {
    Scene::each(|merger| {
        let newer = Merge { merge: ShuffleMergeId(1), ..MERGE };
        assert_eq!(merger.push(newer, 0, 0, b"x"), ReturnCode::Success);
        assert_eq!(merger.push(MERGE, 1, 0, b"x"), ReturnCode::StaleBlockPush);
        let other = Merge { app_attempt: 2, ..newer };
        assert_eq!(merger.push(other, 1, 0, b"x"), ReturnCode::TooOldAttemptPush);
        // It is answered at once, and the rest of it is never read.
        assert_eq!(merger.push(other, 1, 0, &content(1, 30_000_000)), ReturnCode::TooOldAttemptPush);
        let statuses = merger.finalize(newer);
        assert_eq!((statuses.len(), statuses[0].size), (1, 1));
        let again = merger
            .client
            .call(async |client, server| client.finalize_shuffle_merge(server, newer).await)
            .expect_err("twice is refused");
        assert!(again.to_string().contains("is stale shuffle finalize request"), "{again}");
    });
}
