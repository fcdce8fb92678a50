//! The name in a StreamRequest to a shuffle service: a chunk of an open stream.
//!
//! Source: `OneForOneStreamManager.parseStreamChunkId`, Spark 4.3.0.

use std::fmt;

use thiserror::Error;

use crate::ids::{ChunkIndex, StreamId};
use crate::shuffle::java;

/// `<stream id>_<chunk index>`, in decimal.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct StreamName {
    /// The stream.
    pub stream: StreamId,
    /// Which of its chunks.
    pub chunk: ChunkIndex,
}

impl StreamName {
    /// Reads a name as Spark does: parts behind the second are ignored.
    pub fn parse(name: &str) -> Result<Self, StreamNameError> {
        let mut parts = java::split(name);
        let stream = parts.next().ok_or(StreamNameError::MissingPart { part: 0 })?;
        let stream = java::parse(stream).ok_or_else(|| StreamNameError::not_a_number(stream))?;
        let chunk = parts.next().ok_or(StreamNameError::MissingPart { part: 1 })?;
        let chunk = java::parse(chunk).ok_or_else(|| StreamNameError::not_a_number(chunk))?;
        Ok(Self { stream: StreamId(stream), chunk: ChunkIndex(chunk) })
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.stream, self.chunk)
    }
}

/// Why a StreamRequest names no chunk.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum StreamNameError {
    /// There is no such part.
    #[error("stream name has only {part} parts instead of stream id and chunk index")]
    MissingPart {
        /// The first part that is missing.
        part: usize,
    },
    /// A part that is no number, or too large a one.
    #[error("stream name holds {text:?} where a number should be")]
    NotANumber {
        /// The part.
        text: String,
    },
}

impl StreamNameError {
    /// The first line of Spark's answer, to the letter.
    pub fn spark_text(&self) -> String {
        match self {
            Self::MissingPart { part } => java::array_index_exception(*part, *part),
            Self::NotANumber { text } => java::number_format_exception(text),
        }
    }

    fn not_a_number(text: &str) -> Self {
        Self::NotANumber { text: text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let name = StreamName { stream: StreamId(6_345_036_243_736_943_969), chunk: ChunkIndex(2) };
        assert_eq!(StreamName::parse("6345036243736943969_2"), Ok(name));
        assert_eq!(name.to_string(), "6345036243736943969_2");
    }

    #[test]
    fn parts_behind_the_second_are_ignored() {
        assert_eq!(StreamName::parse("1_2_3"), Ok(StreamName { stream: StreamId(1), chunk: ChunkIndex(2) }));
    }

    #[test]
    fn errors_have_the_words_of_spark() {
        let text = |name| StreamName::parse(name).unwrap_err().spark_text();
        assert_eq!(text("abc"), "java.lang.NumberFormatException: For input string: \"abc\"");
        assert_eq!(text(""), "java.lang.NumberFormatException: For input string: \"\"");
        assert_eq!(text("1_2147483648"), "java.lang.NumberFormatException: For input string: \"2147483648\"");
        let missing = "java.lang.ArrayIndexOutOfBoundsException: Index 1 out of bounds for length 1";
        assert_eq!(text("5"), missing);
        assert_eq!(text("5_"), missing);
    }
}
