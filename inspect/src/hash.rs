//! A hash for maps that are made in the library: the standard one keeps its
//! keys in thread-local storage, which the library must not have.

use core::hash::{BuildHasherDefault, Hasher};

/// Makes [`Fnv`]s.
pub type State = BuildHasherDefault<Fnv>;

/// Fowler, Noll and Vo's hash with words for bytes, and mixed at the end.
#[derive(Clone, Copy, Debug)]
pub struct Fnv(u64);

const PRIME: u64 = 0x0100_0000_01b3;

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        // The upper bits of a product are the good ones.
        let mixed = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(PRIME);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }
}
