//! Tells whether bytes look random, as ciphertext does. Encryption leaves no mark of its own.
//!
//! The measure is Pearson's chi-square over the 256 values of a byte, and the same over each byte mixed with the one behind
//! it. The greater of the two counts. For random bytes the mean is 255 with a standard deviation of 22.6, at any size of
//! the sample. For text or rows it grows with the sample, by a dozen for each byte. For compressed bytes it grows, too, but
//! slowly: a large sample tells most of them from ciphertext, a small one does not. So samples are taken through the whole
//! of a file, and measured together.
//!
//! | chi-square | at least so many bytes | judgement | random bytes fall outside |
//! |---|---|---|---|
//! | 140 to 400 | 256 | looks random | once in 10^7 samples |
//! | above 500 | 32 | not random | once in 10^9 samples |
//! | else | | cannot tell | |
//!
//! "Looks random" means no more than these words: few compressed bytes without their beginning look random, too.

/// Fewer bytes than this never look random.
pub const ENOUGH: usize = 256;

/// Fewer bytes than this are not judged.
pub const FEWEST: usize = 32;

/// The figures of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Measurement {
    /// Length of the sample.
    pub bytes: usize,
    /// Pearson's chi-square against the even distribution; of bytes or of neighbours, whichever is greater.
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

/// The bytes of any number of samples, counted. It takes 4 KiB, however many there are.
#[derive(Clone)]
pub struct Histogram {
    bytes: [u64; 256],
    neighbours: [u64; 256],
}

impl Default for Histogram {
    fn default() -> Self {
        Self { bytes: [0; 256], neighbours: [0; 256] }
    }
}

impl std::fmt::Debug for Histogram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Histogram of {:?}", self.measure())
    }
}

impl Histogram {
    /// Counts a sample.
    pub fn add(&mut self, sample: &[u8]) {
        for byte in sample {
            self.bytes[usize::from(*byte)] += 1;
        }
        for pair in sample.windows(2) {
            self.neighbours[usize::from(pair[0] ^ pair[1].rotate_left(3))] += 1;
        }
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.bytes.iter().all(|count| *count == 0)
    }

    /// Measures all that was counted.
    pub fn measure(&self) -> Measurement {
        let bytes: u64 = self.bytes.iter().sum();
        if bytes == 0 {
            return Measurement { bytes: 0, chi_square: 0.0, entropy: 0.0 };
        }
        let len = bytes as f64;
        let shares = self.bytes.iter().filter(|count| **count > 0).map(|count| *count as f64 / len);
        let entropy = -shares.map(|share| share * share.log2()).sum::<f64>();
        let chi_square = chi_square(&self.bytes).max(chi_square(&self.neighbours));
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        Measurement { bytes, chi_square, entropy: entropy.max(0.0) }
    }
}

fn chi_square(counts: &[u64; 256]) -> f64 {
    let all: u64 = counts.iter().sum();
    let expected = all.max(1) as f64 / 256.0;
    counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum()
}

impl Measurement {
    /// Measures the whole of `sample`.
    pub fn of(sample: &[u8]) -> Self {
        let mut counted = Histogram::default();
        counted.add(sample);
        counted.measure()
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
                let measured = Measurement::of(&ciphertext(len, seed << 64));
                assert_eq!(measured.judge(), Judgement::LooksRandom, "{measured:?}");
            }
        }
    }

    #[test]
    fn few_bytes_of_ciphertext_are_never_called_readable() {
        for len in 0..ENOUGH {
            for seed in 0..20_u128 {
                let measured = Measurement::of(&ciphertext(len, seed << 64));
                assert_eq!(measured.judge(), Judgement::TooFew, "{measured:?}");
            }
        }
    }

    #[test]
    fn text_and_rows_are_not_random_even_in_small_samples() {
        let text = b"a line of a book about nothing, and another one";
        assert_eq!(Measurement::of(text).judge(), Judgement::NotRandom);
        let row: Vec<u8> = [0, 0x0200_0000_0000_0000_u64, 0x0600_0000_0000_0000]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .chain([0; 8])
            .collect();
        assert_eq!(Measurement::of(&row).judge(), Judgement::NotRandom);
    }

    #[test]
    fn bytes_that_are_too_even_are_not_called_random() {
        let counting: Vec<u8> = (0..4).flat_map(|_| 0..=255).collect();
        let measured = Measurement::of(&counting);
        assert_eq!((measured.judge(), measured.entropy), (Judgement::NotRandom, 8.0), "neighbours show it");
    }
}
