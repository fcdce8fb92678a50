//! What damaged a merged chunk, from the checksum of what its reader received.

use sealed_shuffle_protocol::shuffle::CorruptionCause;
use sealed_shuffle_transport::lane::OnLane;

use super::fixture::{Fixture, block, partition};
use crate::disk::Examination;
use crate::disk::checksum::{Algorithm, Checksum};

const DATA: &[u8] = b"sixteen bytes or more of them";

fn checksum(algorithm: Algorithm, bytes: &[u8]) -> i64 {
    let mut checksum = Checksum::new(algorithm);
    checksum.update(bytes);
    checksum.value()
}

fn cause(fixture: &Fixture, is_authentic: bool, algorithm: &str, received: i64) -> CorruptionCause {
    let on = OnLane::here();
    let chunk = fixture.merger.find_chunk(&on, &partition(0, 0, 0), 0).unwrap();
    Examination::of_chunk(chunk, is_authentic, algorithm, received).finish(&on)
}

#[test]
fn the_network_is_told_from_what_is_authentic_and_from_what_lies_there() {
    let fixture = Fixture::new();
    assert_eq!(fixture.push(block(0, 0, 0, 0), DATA), "ok");
    for algorithm in [Algorithm::Adler32, Algorithm::Crc32, Algorithm::Crc32c] {
        let (name, sound) = (algorithm.name(), checksum(algorithm, DATA));
        assert_eq!(cause(&fixture, true, name, sound), CorruptionCause::ChecksumVerifyPass, "{name}");
        assert_eq!(cause(&fixture, true, name, sound ^ 1), CorruptionCause::NetworkIssue, "{name}");
        assert_eq!(cause(&fixture, false, name, sound ^ 1), CorruptionCause::NetworkIssue, "{name}");
        // Nobody knows whether that was pushed.
        assert_eq!(cause(&fixture, false, name, sound), CorruptionCause::UnknownIssue, "{name}");
    }
    assert_eq!(cause(&fixture, true, "MD5", 1), CorruptionCause::UnsupportedChecksumAlgorithm);
    assert_eq!(fixture.merger.counters().read_chunks, 0, "a diagnosis is no read");
}
