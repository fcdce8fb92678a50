//! Tells whether bytes look random, as ciphertext does. Encryption leaves no mark of its own.
//!
//! The measure is Pearson's chi-square over the 256 values of a byte. For random bytes its mean is 255 with a
//! standard deviation of 22.6, at any size of the sample. For text or rows it grows with the sample, by a dozen for
//! each byte.
//!
//! | chi-square | at least so many bytes | judgement | random bytes fall outside |
//! |---|---|---|---|
//! | 140 to 400 | 256 | looks random | once in 10^7 samples |
//! | above 500 | 32 | not random | once in 10^9 samples |
//! | else | | cannot tell | |
//!
//! "Looks random" means no more than these words: compressed bytes without their beginning look random, too.

/// Fewer bytes than this never look random.
pub const ENOUGH: usize = 256;

/// Fewer bytes than this are not judged.
pub const FEWEST: usize = 32;

/// The figures of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Measured {
    /// Length of the sample.
    pub bytes: usize,
    /// Pearson's chi-square against the even distribution.
    pub chi_square: f64,
    /// Shannon's entropy of the sample, in bits for each byte. It is for people: it cannot reach 8 in a small sample.
    pub entropy: f64,
}

/// The judgement of a sample.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Judgement {
    /// The bytes look like ciphertext.
    LooksRandom,
    /// No cipher makes such bytes.
    NotRandom,
    /// The sample is too short.
    TooFew,
    /// The sample is long enough, and is neither random nor clearly not random.
    Between,
}

impl Measured {
    /// Measures the whole of `sample`.
    pub fn of(sample: &[u8]) -> Self {
        let mut counts = [0_u32; 256];
        for byte in sample {
            counts[usize::from(*byte)] += 1;
        }
        if sample.is_empty() {
            return Self { bytes: 0, chi_square: 0.0, entropy: 0.0 };
        }
        let len = sample.len() as f64;
        let expected = len / 256.0;
        let chi_square = counts.iter().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        let shares = counts.iter().filter(|count| **count > 0).map(|count| f64::from(*count) / len);
        let entropy = -shares.map(|share| share * share.log2()).sum::<f64>();
        Self { bytes: sample.len(), chi_square, entropy: entropy.max(0.0) }
    }

    /// Judges the figures.
    pub fn judge(&self) -> Judgement {
        match self.chi_square {
            _ if self.bytes < FEWEST => Judgement::TooFew,
            chi_square if chi_square > 500.0 => Judgement::NotRandom,
            _ if self.bytes < ENOUGH => Judgement::TooFew,
            chi_square if (140.0..=400.0).contains(&chi_square) => Judgement::LooksRandom,
            _ => Judgement::Between,
        }
    }
}

#[cfg(test)]
mod tests {
    use sealed_shuffle_protocol::stored::io_encryption::{Encryptor, IoKey};

    use super::*;

    fn ciphertext(len: usize, seed: u128) -> Vec<u8> {
        let mut bytes = vec![0; len];
        Encryptor::new(&IoKey::from_bytes(&[1; 16]).unwrap(), seed.to_be_bytes()).apply(&mut bytes);
        bytes
    }

    #[test]
    fn ciphertext_looks_random_in_samples_of_every_size() {
        for len in [ENOUGH, 257, 1000, 4096, 65536] {
            for seed in 0..200_u128 {
                let measured = Measured::of(&ciphertext(len, seed << 64));
                assert_eq!(measured.judge(), Judgement::LooksRandom, "{measured:?}");
            }
        }
    }

    #[test]
    fn few_bytes_of_ciphertext_are_never_called_readable() {
        for len in 0..ENOUGH {
            for seed in 0..20_u128 {
                let measured = Measured::of(&ciphertext(len, seed << 64));
                assert_eq!(measured.judge(), Judgement::TooFew, "{measured:?}");
            }
        }
    }

    #[test]
    fn text_and_rows_are_not_random_even_in_small_samples() {
        let text = b"a line of a book about nothing, and another one";
        assert_eq!(Measured::of(text).judge(), Judgement::NotRandom);
        let row: Vec<u8> = [0, 0x0200_0000_0000_0000_u64, 0x0600_0000_0000_0000]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .chain([0; 8])
            .collect();
        assert_eq!(Measured::of(&row).judge(), Judgement::NotRandom);
    }

    #[test]
    fn bytes_that_are_too_even_are_not_called_random() {
        let counting: Vec<u8> = (0..4).flat_map(|_| 0..=255).collect();
        let measured = Measured::of(&counting);
        assert_eq!((measured.judge(), measured.entropy), (Judgement::Between, 8.0));
    }
}
