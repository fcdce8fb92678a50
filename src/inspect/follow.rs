//! Follows the segments of a file that begins as a sealed one. It needs no key.

use std::fs::File;
use std::io;

use sealed_shuffle_protocol::stored::sealed::{HEAD, OVERHEAD};

use super::reading::{SAMPLE, read_at, read_range};
use super::sealed::SealedHeader;

/// Segments that are followed where not all are: those of a gigabyte, where blocks are large.
const FOLLOWED: u64 = 4096;

/// Of the segments that are followed, the first ones are sampled all, and then every so manieth.
const SAMPLED: u64 = 64;

/// Whether the file, of `len` bytes, goes on as a sealed one: segments, nothing between them, and nothing behind them.
/// The last one may be cut, where another one is whole: it is being written. `on` gets ciphertext, of `all` segments or
/// samples of them.
pub fn walk(
    header: &SealedHeader,
    file: &File,
    len: u64,
    all: bool,
    mut on: impl FnMut(&[u8]),
) -> io::Result<bool> {
    let Some((mut at, most)) = header.segments() else { return Ok(false) };
    let (mut number, mut text) = (0_u64, Vec::new());
    while at < len && (all || number < FOLLOWED) {
        let mut head = [0; HEAD];
        if read_at(file, &mut head, at)? < head.len() {
            return Ok(false);
        }
        let [a, b, c, d, ..] = head;
        let plain = u64::from(u32::from_be_bytes([a, b, c, d]));
        if plain == 0 || plain > most as u64 {
            return Ok(false);
        }
        let end = at + plain + OVERHEAD as u64;
        let from = at + HEAD as u64;
        let sealed = from..(from + plain).min(len);
        if all || number < SAMPLED || number.is_multiple_of(SAMPLED) {
            let sampled = if all { sealed.end } else { sealed.end.min(sealed.start + SAMPLE as u64) };
            for start in (sealed.start..sampled).step_by(SAMPLE) {
                let piece = start..sampled.min(start + SAMPLE as u64);
                on(read_range(file, &piece, &mut text)?);
            }
        }
        if end > len {
            return Ok(number > 0);
        }
        (at, number) = (end, number + 1);
    }
    Ok(true)
}
