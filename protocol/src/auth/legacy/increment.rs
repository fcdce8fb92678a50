//! The `+ 1` of the response, which is Java's: on a signed number, written as short as it can be.
//!
//! Source: AuthEngine.rawResponse, Spark 3.0.3; BigInteger.toByteArray.

use zeroize::Zeroizing;

/// One more than `number`, both big-endian two's complement. The result has as few bytes as its sign allows, but one at
/// least; so it can be shorter than `number`, or one byte longer.
///
/// # Panics
///
/// When `number` is empty.
pub(super) fn increment(number: &[u8]) -> Zeroizing<Vec<u8>> {
    let sign = if number[0] & 0x80 == 0 { 0 } else { 0xff };
    let mut wide = Zeroizing::new(Vec::with_capacity(number.len() + 1));
    wide.push(sign);
    wide.extend_from_slice(number);
    for byte in wide.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            break;
        }
    }
    let spare = wide.windows(2).take_while(|pair| is_sign_only(pair[0], pair[1])).count();
    wide.drain(..spare);
    wide
}

/// Whether `first` says nothing that the top bit of `next` does not say.
fn is_sign_only(first: u8, next: u8) -> bool {
    matches!((first, next & 0x80), (0, 0) | (0xff, 0x80))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_as_java_does() {
        let long = |first: &[u8], middle: u8, last: &[u8]| {
            [first, &vec![middle; 16 - first.len() - last.len()], last].concat()
        };
        let cases: [(Vec<u8>, Vec<u8>); 17] = [
            (vec![0], vec![1]),
            (vec![0x7f], vec![0, 0x80]),
            (vec![0x80], vec![0x81]),
            (vec![0xff], vec![0]),
            (vec![0x7f, 0xff], vec![0, 0x80, 0]),
            (vec![0xff, 0xff], vec![0]),
            (vec![0, 0xff], vec![1, 0]),
            (vec![0, 0], vec![1]),
            (vec![0, 0x80], vec![0, 0x81]),
            (vec![0xff, 0x7f], vec![0x80]),
            (long(&[], 0xff, &[]), vec![0]),
            (long(&[0x7f], 0xff, &[]), [&[0, 0x80][..], &[0; 15]].concat()),
            (long(&[], 0, &[1]), vec![2]),
            (long(&[0x80], 0, &[]), long(&[0x80], 0, &[1])),
            (long(&[0xff, 0x80], 0, &[]), [&[0x80][..], &[0; 13], &[1]].concat()),
            (long(&[], 0xff, &[0xfe]), vec![0xff]),
            (long(&[0x12], 0, &[0xff]), long(&[0x12], 0, &[1, 0])),
        ];
        for (number, next) in cases {
            assert_eq!(*increment(&number), next, "{number:02x?}");
        }
    }
}
