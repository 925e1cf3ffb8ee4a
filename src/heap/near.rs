//! Which words of a line may point near the heap, eight words at once.
//!
//! Most roots are stacks, and most words there are no pointers to objects. So
//! the marker passes over a line of them by some vector instructions, and looks
//! at single words only where one of the line may be near.
//!
//! A word is near if its distance from the heap's low end is at most the heap's
//! length. The length is rounded up to the next power of two here: then the
//! distance has no bits from there on.

use core::arch::x86_64::*;
use core::mem;

/// Words of a line, and its bytes.
const WORDS: usize = 8;
pub(super) const LINE: usize = WORDS * size_of::<usize>();

/// The addresses from `low` up to `low + length`, and some more.
#[derive(Clone, Copy)]
pub(super) struct Near {
    low: __m128i,
    bits: __m128i,
}

impl Near {
    pub(super) fn new(low: usize, length: usize) -> Self {
        let bits = u64::from(usize::BITS - length.leading_zeros());
        // SAFETY: both are 16 bytes, and any bytes will do.
        let low = unsafe { mem::transmute::<[usize; 2], __m128i>([low; 2]) };
        // SAFETY: the same.
        let bits = unsafe { mem::transmute::<[u64; 2], __m128i>([bits, 0]) };
        Self { low, bits }
    }

    /// Whether a word of the line may be near.
    #[inline(always)]
    pub(super) fn any(self, line: [usize; WORDS]) -> bool {
        // SAFETY: each processor of 64 bits has SSE2.
        unsafe { self.any_by_sse2(line) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn any_by_sse2(self, line: [usize; WORDS]) -> bool {
        // SAFETY: as many bytes, and any will do.
        let [a, b, c, d]: [__m128i; 4] = unsafe { mem::transmute(line) };
        let (a, b) = (self.rest(a), self.rest(b));
        let (c, d) = (self.rest(c), self.rest(d));
        let some = _mm_or_si128(zeros(a, b), zeros(c, d));
        _mm_movemask_epi8(some) != 0
    }

    /// Of two words, what is 0 if they are near.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn rest(self, pair: __m128i) -> __m128 {
        let far = _mm_sub_epi64(pair, self.low);
        _mm_castsi128_ps(_mm_srl_epi64(far, self.bits))
    }
}

/// All ones for each of four words of 64 bits that is 0.
#[inline]
#[target_feature(enable = "sse2")]
fn zeros(a: __m128, b: __m128) -> __m128i {
    let lower = _mm_shuffle_ps::<0b10_00_10_00>(a, b);
    let upper = _mm_shuffle_ps::<0b11_01_11_01>(a, b);
    let both = _mm_castps_si128(_mm_or_ps(lower, upper));
    _mm_cmpeq_epi32(both, _mm_setzero_si128())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_near_word_if_one_is_near() {
        let low = 0x7f12_3400_0000;
        for length in [0, 1, 64 << 20, 3 << 26, 1 << 32, 5 << 40] {
            let near = Near::new(low, length);
            let rounded = (length + 1).next_power_of_two();
            for word in [
                low,
                low + length,
                low + length / 2,
                low + rounded - 1,
                low + rounded,
                low - 1,
                low ^ 1 << 63,
                low ^ 1 << 46,
                (low + 1) << 16,
                usize::MAX,
                1,
            ] {
                let is_near = word.wrapping_sub(low) < rounded;
                for place in 0..WORDS {
                    let mut line = [0; WORDS];
                    assert!(!near.any(line));
                    line[place] = word;
                    let any = near.any(line);
                    assert_eq!(any, is_near, "{word:#x} {length:#x}");
                }
            }
        }
    }
}
