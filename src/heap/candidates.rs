//! Words that a marker has found and that may be pointers, in the order in
//! which they were found.
//!
//! The marker looks at the oldest one when many have come after it, or when
//! there is nothing else to do. It fetches for each one before: for
//! [`Candidates::later`] when it takes the oldest one; while they are few, for
//! all that have come.
//!
//! With 8 instead of 32 a collection of trees takes half as long again; with
//! 128 it takes a little longer too.

/// How many there may be.
const MOST: usize = 128;
/// How many are many: as many more were found since the oldest one.
const MANY: usize = 32;

pub(super) struct Candidates {
    ring: [usize; MOST],
    /// The number of the oldest one, and that of the next to come. A number's
    /// place in the ring is its remainder.
    oldest: usize,
    next: usize,
}

impl Candidates {
    pub(super) const fn new() -> Self {
        const { assert!(MOST.is_power_of_two()) };
        Self { ring: [0; MOST], oldest: 0, next: 0 }
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.next.wrapping_sub(self.oldest)
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether it is time to look at the oldest one.
    #[inline(always)]
    pub(super) fn are_many(&self) -> bool {
        self.len() > MANY
    }

    /// Whether `n` more may come.
    #[inline(always)]
    pub(super) fn has_room(&self, n: usize) -> bool {
        self.len() + n <= MOST
    }

    /// Adds a word, if `really`. There is no branch, since nothing tells which
    /// words of an object are pointers: half the nodes of a tree are leaves.
    #[inline(always)]
    pub(super) fn add_if(&mut self, really: bool, word: usize) {
        self.ring[self.next % MOST] = word;
        self.next = self.next.wrapping_add(usize::from(really));
    }

    /// The number of the next to come.
    #[inline(always)]
    pub(super) fn next(&self) -> usize {
        self.next
    }

    /// The one that is to be fetched for when the oldest one is taken. Where
    /// they are not many, an old one, or 0.
    #[inline(always)]
    pub(super) fn later(&self) -> usize {
        self.ring[self.oldest.wrapping_add(MANY) % MOST]
    }

    /// Those from number `from` on that no call of [`Self::later`] will name.
    #[inline(always)]
    pub(super) fn since(&self, from: usize) -> impl Iterator<Item = usize> {
        let known = from.wrapping_sub(self.oldest).cast_signed().max(0);
        let soon = known.cast_unsigned()..self.len().min(MANY);
        soon.map(|n| self.ring[self.oldest.wrapping_add(n) % MOST])
    }

    /// Takes the oldest one; there is one.
    #[inline(always)]
    pub(super) fn take(&mut self) -> usize {
        let word = self.ring[self.oldest % MOST];
        self.oldest = self.oldest.wrapping_add(1);
        word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes what is due, and fetches, as the marker does.
    #[test]
    fn all_come_in_order_and_each_is_fetched_before() {
        let mut it = Candidates::new();
        let (mut found, mut taken) = (0, 0);
        let mut fetched = vec![false; 100_000];
        let mut random = 1_u64;
        while taken < 90_000 {
            let many = it.are_many();
            let from = it.next();
            if many {
                let later = it.later();
                fetched[later] = true;
                taken += 1;
                assert_eq!(it.take(), taken);
                assert!(fetched[taken]);
            }
            random = random.wrapping_mul(6_364_136_223_846_793_005) + 1;
            let add = (random >> 60).saturating_sub(14 * (random >> 59 & 1));
            for _ in 0..add {
                if it.has_room(2) {
                    found += 1;
                    it.add_if(true, found);
                    it.add_if(false, usize::MAX);
                }
            }
            if add == 0 && !it.is_empty() && !it.are_many() {
                taken += 1;
                assert_eq!(it.take(), taken);
                assert!(fetched[taken]);
            }
            if !many {
                it.since(from).for_each(|word| fetched[word] = true);
            }
            assert_eq!(it.len(), found - taken);
        }
    }
}
