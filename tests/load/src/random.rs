//! Numbers that look random and are the same in every run: masks and patterns need variety, not secrecy.

/// An xorshift64* generator (Vigna, 2016).
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    /// The next number.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        self.word().to_be_bytes()[0]
    }

    /// A masking key.
    pub fn key(&mut self) -> [u8; 4] {
        let [first, second, third, fourth, ..] = self.word().to_be_bytes();
        [first, second, third, fourth]
    }
}
