//! Partitions that are merged side by side on real files, with fewer descriptors than partitions.

use proptest::prelude::*;
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{Blocks, Fixture, drain, key, partition};
use crate::sealed_files::{Fsync, SealedLimits, SealedWriter};

const PARTITIONS: usize = 3;

#[derive(Clone, Debug)]
enum Step {
    Block(usize, usize),
    Abort(usize),
    Close,
    Read,
    /// The server starts anew with this partition.
    Again,
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let step = prop_oneof![
        5 => (0..5000_usize, 1..3000_usize).prop_map(|(len, piece)| Step::Block(len, piece)),
        2 => (1..9000_usize).prop_map(Step::Abort),
        3 => Just(Step::Close),
        1 => Just(Step::Read),
        1 => Just(Step::Again),
    ];
    (0..PARTITIONS, step)
}

#[derive(Default)]
struct Model {
    chunks: Vec<Vec<u8>>,
    open: Vec<u8>,
    meta: Vec<u8>,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn each_partition_keeps_what_was_committed_to_it(steps in prop::collection::vec(step(), 0..40)) {
        let fixture = Fixture::with(SealedLimits { write_handles: 1, read_handles: 1, ..SealedLimits::default() });
        let mut writers: Vec<SealedWriter> = (0..PARTITIONS).map(|n| fixture.create(n as i32)).collect();
        let mut models: Vec<Model> = (0..PARTITIONS).map(|_| Model::default()).collect();
        for (n, (which, step)) in steps.into_iter().enumerate() {
            let (writer, model) = (&mut writers[which], &mut models[which]);
            match step {
                Step::Block(len, piece) => {
                    let block = vec![n as u8; len];
                    writer.pieces(&block, piece).unwrap();
                    writer.commit().unwrap();
                    model.open.extend(block);
                }
                Step::Abort(len) => {
                    writer.pieces(&vec![0xee; len], 4000).unwrap();
                    writer.abort();
                }
                Step::Close => {
                    let bitmap = [n as u8; 3];
                    writer.close_chunk(&OnLane::here(), &bitmap).unwrap();
                    model.chunks.push(std::mem::take(&mut model.open));
                    model.meta.extend(bitmap);
                }
                Step::Read => {
                    let (id, progress) = (writer.id(), writer.progress());
                    let opened = fixture.store.open_unfinished(&OnLane::here(), &fixture.place, id, &key(), &progress).unwrap();
                    prop_assert_eq!(&fixture.store.meta(&OnLane::here(), &fixture.place, &opened).unwrap()[..], &model.meta[..]);
                    for (chunk, expected) in model.chunks.iter().enumerate() {
                        prop_assert_eq!(&drain(&mut fixture.chunk(&opened, chunk).unwrap()).unwrap(), expected);
                    }
                }
                Step::Again => {
                    let reduce = writer.id().reduce.0;
                    prop_assert!(fixture.open(reduce).unwrap_err().is_refused());
                    *writer = fixture.create(reduce);
                    *model = Model::default();
                }
            }
        }
        for (writer, model) in writers.into_iter().zip(models) {
            let id = writer.id();
            let finalized = writer.finalize(&OnLane::here(), Fsync::Never).unwrap();
            prop_assert_eq!(id, partition(id.reduce.0));
            prop_assert_eq!(finalized.len, model.chunks.iter().map(Vec::len).sum::<usize>() as u64);
            let (chunks, meta) = fixture.read(id.reduce.0).unwrap();
            prop_assert_eq!(chunks, model.chunks);
            prop_assert_eq!(&meta[..], &model.meta[..]);
        }
        prop_assert_eq!(fixture.store.handles().0, 0);
    }
}
