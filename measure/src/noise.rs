//! Numbers that look like noise and are the same in every run (xorshift, Marsaglia 2003).

/// A generator whose numbers need not be good: bytes that no layer can squeeze, places that no cache expects.
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Default for Noise {
    fn default() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }
}

impl Noise {
    /// Numbers that depend on the seed alone.
    pub fn seeded(seed: u64) -> Self {
        // Zero would stay zero.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// `len` bytes, the numbers big-endian.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next_u64().to_be_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_on_the_seed_alone_and_does_not_repeat() {
        assert_eq!(Noise::seeded(7).bytes(5000), Noise::seeded(7).bytes(5000));
        assert_ne!(Noise::seeded(7).bytes(5000), Noise::seeded(8).bytes(5000));
        let mut noise = Noise::seeded(0);
        let numbers: std::collections::BTreeSet<u64> = (0..10_000).map(|_| noise.next_u64()).collect();
        assert_eq!(numbers.len(), 10_000);
    }

    #[test]
    fn has_as_many_bytes_as_were_asked_for() {
        for len in [0, 1, 8, 13] {
            assert_eq!(Noise::default().bytes(len).len(), len);
        }
    }
}
