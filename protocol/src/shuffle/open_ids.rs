//! How Spark's external shuffle service reads the names in an OpenBlocks.
//!
//! The first name decides the kind and the shuffle; every other name must agree. Map ids are 32-bit here,
//! unlike everywhere else since Spark 3.0. An executor reads names as [`crate::shuffle::BlockId`] instead.
//!
//! Source: `ExternalBlockHandler.ManagedBufferIterator`, Spark 4.3.0. The texts of the errors are its own, to
//! the letter, and in its order: clients see them.

use thiserror::Error;

use crate::ids::{MapId, ReduceId, ShuffleId, ShuffleMergeId};
use crate::shuffle::{MergedChunk, Strings, java};

/// The blocks that an OpenBlocks asks for, in the order of their names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum OpenRequest {
    /// Blocks of one shuffle.
    Shuffle {
        /// The shuffle.
        shuffle: ShuffleId,
        /// The blocks.
        blocks: Vec<ShuffleBlock>,
    },
    /// Chunks of merged partitions of one shuffle.
    Chunks {
        /// The shuffle.
        shuffle: ShuffleId,
        /// The attempt of merging it.
        merge: ShuffleMergeId,
        /// The chunks.
        chunks: Vec<MergedChunk>,
    },
    /// Cached partitions of RDDs.
    Rdd {
        /// The blocks.
        blocks: Vec<RddBlock>,
    },
}

/// A partition of one map task.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ShuffleBlock {
    /// The map task.
    pub map: MapId,
    /// The partition.
    pub reduce: ReduceId,
}

/// A cached partition of an RDD.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RddBlock {
    /// The RDD.
    pub rdd: i32,
    /// The partition.
    pub split: i32,
}

impl OpenRequest {
    /// Reads the names.
    pub fn parse(names: &Strings) -> Result<Self, OpenError> {
        let first = names.iter().next().ok_or(OpenError::NoBlocks)?;
        if let Some(["shuffle", shuffle, _, _]) = java::split_exactly(first) {
            return shuffle_blocks(ShuffleId(number(shuffle)?), names);
        }
        if let Some(["shuffleChunk", shuffle, merge, _, _]) = java::split_exactly(first) {
            return chunks(ShuffleId(number(shuffle)?), ShuffleMergeId(number(merge)?), names);
        }
        if let Some(["rdd", _, _]) = java::split_exactly(first) {
            return rdd_blocks(names);
        }
        Err(OpenError::UnexpectedBlock(first.to_owned()))
    }

    /// How many blocks or chunks are asked for.
    pub fn len(&self) -> usize {
        match self {
            Self::Shuffle { blocks, .. } => blocks.len(),
            Self::Chunks { chunks, .. } => chunks.len(),
            Self::Rdd { blocks } => blocks.len(),
        }
    }

    /// Whether nothing is asked for, which parsing never yields.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why an OpenBlocks is refused.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum OpenError {
    /// It names nothing.
    #[error("no block is named")]
    NoBlocks,
    /// The first name is of a kind that a shuffle service does not serve.
    #[error("{0:?} names no block that a shuffle service serves")]
    UnexpectedBlock(String),
    /// A later name is not of a shuffle block, as the first was.
    #[error("{0:?} names no shuffle block, as the first name does")]
    UnexpectedShuffleBlock(String),
    /// A later name is not of a chunk, as the first was.
    #[error("{0:?} names no shuffle chunk, as the first name does")]
    UnexpectedChunk(String),
    /// A later name is not of an RDD block, as the first was.
    #[error("{0:?} names no RDD block, as the first name does")]
    UnexpectedRddBlock(String),
    /// A block of another shuffle than the first.
    #[error("{name:?} is not of shuffle {expected}, as the first name is")]
    OtherShuffle {
        /// The shuffle of the first name.
        expected: ShuffleId,
        /// The name.
        name: String,
    },
    /// A chunk of another shuffle or merge attempt than the first.
    #[error("{name:?} is not of shuffle {shuffle} and merge {merge}, as the first name is")]
    OtherMerge {
        /// The shuffle of the first name.
        shuffle: ShuffleId,
        /// The merge attempt of the first name.
        merge: ShuffleMergeId,
        /// The name.
        name: String,
    },
    /// A part that is no 32-bit number.
    #[error("block name holds {0:?} where a 32-bit number should be")]
    NotANumber(String),
}

impl OpenError {
    /// The first line of Spark's answer, to the letter.
    pub fn spark_text(&self) -> String {
        let message = match self {
            Self::NoBlocks => return java::array_index_exception(0, 0),
            Self::NotANumber(text) => return java::number_format_exception(text),
            Self::UnexpectedBlock(name) => format!("Unexpected block id format: {name}"),
            Self::UnexpectedShuffleBlock(name) => format!("Unexpected shuffle block id format: {name}"),
            Self::UnexpectedChunk(name) => format!("Unexpected shuffle chunk id format: {name}"),
            Self::UnexpectedRddBlock(name) => format!("Unexpected RDD block id format: {name}"),
            Self::OtherShuffle { expected, name } => format!("Expected shuffleId={expected}, got:{name}"),
            Self::OtherMerge { shuffle, merge, name } => {
                format!("Expected shuffleId = {shuffle} and shuffleMergeId = {merge} but got {name}")
            }
        };
        format!("java.lang.IllegalArgumentException: {message}")
    }
}

fn shuffle_blocks(expected: ShuffleId, names: &Strings) -> Result<OpenRequest, OpenError> {
    let mut blocks = Vec::with_capacity(names.len());
    for name in names {
        let Some(["shuffle", shuffle, map, reduce]) = java::split_exactly(name) else {
            return Err(OpenError::UnexpectedShuffleBlock(name.to_owned()));
        };
        if number(shuffle)? != expected.0 {
            return Err(OpenError::OtherShuffle { expected, name: name.to_owned() });
        }
        let map = MapId(i64::from(number(map)?));
        blocks.push(ShuffleBlock { map, reduce: ReduceId(number(reduce)?) });
    }
    Ok(OpenRequest::Shuffle { shuffle: expected, blocks })
}

fn chunks(shuffle: ShuffleId, merge: ShuffleMergeId, names: &Strings) -> Result<OpenRequest, OpenError> {
    let mut chunks = Vec::with_capacity(names.len());
    for name in names {
        let Some(["shuffleChunk", its_shuffle, its_merge, reduce, chunk]) = java::split_exactly(name) else {
            return Err(OpenError::UnexpectedChunk(name.to_owned()));
        };
        if number(its_shuffle)? != shuffle.0 || number(its_merge)? != merge.0 {
            return Err(OpenError::OtherMerge { shuffle, merge, name: name.to_owned() });
        }
        chunks.push(MergedChunk { reduce: ReduceId(number(reduce)?), chunk: number(chunk)? });
    }
    Ok(OpenRequest::Chunks { shuffle, merge, chunks })
}

fn rdd_blocks(names: &Strings) -> Result<OpenRequest, OpenError> {
    let mut blocks = Vec::with_capacity(names.len());
    for name in names {
        let Some(["rdd", rdd, split]) = java::split_exactly(name) else {
            return Err(OpenError::UnexpectedRddBlock(name.to_owned()));
        };
        blocks.push(RddBlock { rdd: number(rdd)?, split: number(split)? });
    }
    Ok(OpenRequest::Rdd { blocks })
}

fn number(text: &str) -> Result<i32, OpenError> {
    java::parse(text).ok_or_else(|| OpenError::NotANumber(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(names: &[&str]) -> Result<OpenRequest, OpenError> {
        OpenRequest::parse(&Strings::try_from_iter(names).unwrap())
    }

    fn text(names: &[&str]) -> String {
        parse(names).unwrap_err().spark_text()
    }

    #[test]
    fn the_first_name_decides_the_kind() {
        let shuffle = parse(&["shuffle_0_3_1", "shuffle_0_4_2_"]).unwrap();
        let blocks = [(3, 1), (4, 2)].map(|(m, r)| ShuffleBlock { map: MapId(m), reduce: ReduceId(r) });
        assert_eq!(shuffle, OpenRequest::Shuffle { shuffle: ShuffleId(0), blocks: blocks.to_vec() });

        let rdd = parse(&["rdd_7_12"]).unwrap();
        assert_eq!(rdd, OpenRequest::Rdd { blocks: vec![RddBlock { rdd: 7, split: 12 }] });

        let chunks = parse(&["shuffleChunk_5_2_9_0"]).unwrap();
        assert_eq!(
            chunks,
            OpenRequest::Chunks {
                shuffle: ShuffleId(5),
                merge: ShuffleMergeId(2),
                chunks: vec![MergedChunk { reduce: ReduceId(9), chunk: 0 }],
            }
        );
    }

    #[test]
    fn errors_have_the_words_of_spark() {
        let illegal = |message: &str| format!("java.lang.IllegalArgumentException: {message}");
        assert_eq!(text(&["broadcast_0"]), illegal("Unexpected block id format: broadcast_0"));
        assert_eq!(text(&["shuffle_0_1_2_3"]), illegal("Unexpected block id format: shuffle_0_1_2_3"));
        assert_eq!(
            text(&["shuffle_0_3_0", "rdd_1_1"]),
            illegal("Unexpected shuffle block id format: rdd_1_1")
        );
        assert_eq!(
            text(&["rdd_1_1", "shuffle_0_3_0"]),
            illegal("Unexpected RDD block id format: shuffle_0_3_0")
        );
        assert_eq!(
            text(&["shuffleChunk_0_0_1_0", "rdd_1_1"]),
            illegal("Unexpected shuffle chunk id format: rdd_1_1")
        );
        assert_eq!(
            text(&["shuffle_0_3_0", "shuffle_1_3_0"]),
            illegal("Expected shuffleId=0, got:shuffle_1_3_0")
        );
        assert_eq!(
            text(&["shuffleChunk_5_2_9_0", "shuffleChunk_5_3_9_0"]),
            illegal("Expected shuffleId = 5 and shuffleMergeId = 2 but got shuffleChunk_5_3_9_0")
        );
        assert_eq!(text(&["shuffle_x_3_0"]), "java.lang.NumberFormatException: For input string: \"x\"");
        assert_eq!(text(&[]), "java.lang.ArrayIndexOutOfBoundsException: Index 0 out of bounds for length 0");
    }

    #[test]
    fn map_ids_are_32_bit() {
        assert_eq!(parse(&["shuffle_0_3000000000_0"]), Err(OpenError::NotANumber("3000000000".into())));
    }
}
