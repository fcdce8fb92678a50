//! Spark's own streams of `spark.io.encryption` (`jvm/IoStreams.java`).

use std::path::Path;

use super::release::Spark;
use crate::machine::run;

/// The work of a stream.
#[derive(Clone, Copy, Debug)]
pub enum IoStream {
    /// Decrypt the first file into the second.
    Read,
    /// Encrypt the second file into the first.
    Write,
    /// Encrypt the second file into the first as a spill of three segments, and compress these into a third, whose name
    /// is the second's with `.lz4`.
    Spill,
}

/// Runs Spark's own streams: what, key in hexadecimal, encrypted file, plain file.
pub fn spark_streams(version: &str, work: &[(IoStream, &str, &Path, &Path)]) {
    let mut java = Spark::release(version).java();
    java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "IoStreams"]);
    for (what, key, sealed, plain) in work {
        let what = match what {
            IoStream::Read => "read",
            IoStream::Write => "write",
            IoStream::Spill => "spill",
        };
        java.args([what, key]).args([sealed, plain]);
    }
    run(&mut java, || format!("Spark's streams of {version} fail"));
}
