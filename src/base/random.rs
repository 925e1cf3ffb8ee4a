//! Random numbers for choices that have to be fair, and no more than that: the
//! seed of the process, and two small generators.
//!
//! Each M and each P has a stream of its own, whose start follows from the
//! seed. Threads share nothing but the seed.

use super::sync::{AtomicU64, Ordering::*};
use core::cell::Cell;

/// An odd number without a pattern: 2^64 by the golden ratio.
pub(crate) const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// The seed, from which the streams of Ms, Ps and threads without a G start. It
/// differs from process to process; `fastrandinit` writes it.
pub(crate) static RANDSEED: AtomicU64 = AtomicU64::new(0);

/// The start of the stream of the P with this number; never 0.
pub(crate) fn seed_of_p(id: u64) -> u64 {
    seed(id)
}

/// The start of an M's stream; no M starts where a P does. Never 0.
pub(crate) fn seed_of_m(id: u64) -> u64 {
    seed(id | 1 << 32)
}

fn seed(stream: u64) -> u64 {
    // Relaxed: written before the first P and the first thread.
    let start = RANDSEED.load(Relaxed);
    start.wrapping_add(STEP.wrapping_mul(stream)) | 1
}

/// The next number of a stream that is not 0 (xorshift).
pub(crate) fn xorshift(stream: &Cell<u64>) -> u64 {
    let mut x = stream.get();
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    stream.set(x);
    x
}

/// A number without a pattern for a term of a sequence in steps of [`STEP`]:
/// the finaliser of MurmurHash3, as in splitmix64.
pub(crate) fn mix(x: u64) -> u32 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x >> 32) as u32
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    /// The seed decides all starts, and the starts differ.
    #[test]
    fn random_numbers_start_by_the_seed() {
        let starts = |seed| {
            RANDSEED.store(seed, Relaxed);
            let ids = 0..100;
            let all = ids.flat_map(|id| [seed_of_p(id), seed_of_m(id)]);
            all.collect::<std::collections::BTreeSet<_>>()
        };
        let (one, other) = (starts(0x1234_5678_9abc), starts(0xfedc_ba98));
        assert!(one.len() > 195 && other.len() > 195);
        assert!(!one.contains(&0) && one.intersection(&other).count() < 5);
    }
}
