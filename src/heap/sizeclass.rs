//! The sizes of small objects, computed when this file is compiled.
//!
//! Go publishes the rule: sizes grow by steps that grow with the size; a span
//! has so many pages that at most an eighth is left over behind its last
//! object; two sizes that fit equally often into equally many pages are one;
//! and a size grows to the multiple of 128 that still fits as often. Here the
//! smallest size is a granule of 16 bytes, so that an object begins where a
//! granule begins.
//!
//! Up to 128 bytes each size has two classes: one for what fills an object, and
//! one for what leaves [`SLACK`] bytes or more. The end of the latter lies in
//! the object. So a pointer to the next object is no end pointer there, which
//! would keep this one (`mark`). Before, a word of the stack that kept a node
//! also kept all of a tree whose root had been allocated just before.
//!
//! Invariants:
//! 1. Each size is a multiple of [`GRANULE`]. The sizes ascend, or they are the
//!    same and the room ascends. Class 0 is that of large objects and has no
//!    size.
//! 2. `index` is exact for each offset in a span of the class.
//! 3. Bit b of word w in `starts` is 1 if and only if an object begins at
//!    granule 64w + b of the span.

/// Bytes of a page of the heap, as a shift and as a number.
pub const PAGE_SHIFT: usize = 13;
pub const PAGE: usize = 1 << PAGE_SHIFT;
/// Bytes for which there is one bit of each kind.
pub const GRANULE: usize = 16;
/// Granules of a word of bits.
pub const WORD: usize = 64;
/// Bytes for which there is one word of bits of each kind.
pub const WORD_BYTES: usize = WORD * GRANULE;
/// The largest small object.
pub const MAX_SMALL: usize = 32 << 10;
/// Bytes that the smaller one of two classes of a size leaves.
const SLACK: usize = 8;
/// Up to here there are two classes of a size.
const TWICE: usize = 128;
/// Up to here sizes are looked up by units of the slack, above by units of 128
/// bytes.
pub const FINE: usize = 1024;
const UNIT: usize = 128;
/// More than there are classes.
const MOST: usize = 90;
/// More words of bits than the spans of all classes have, one of each.
const WORDS: usize = 2048;

/// What an object holds, and who frees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Pointers, perhaps. Zeroed; freed when nothing points to it.
    Scan,
    /// No pointers. Not zeroed; freed when nothing points to it.
    Noscan,
    /// Pointers, perhaps. Zeroed; kept until somebody frees it.
    Root,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Scan, Self::Noscan, Self::Root];

    /// Whether the marker looks into such objects.
    #[inline(always)]
    pub const fn has_pointers(self) -> bool {
        !matches!(self, Self::Noscan)
    }
}

/// A size class.
#[derive(Clone, Copy, Debug)]
pub struct Class {
    /// Bytes from an object to the next.
    pub size: usize,
    /// Bytes that may be asked for.
    pub room: usize,
    /// Pages of a span.
    pub npages: usize,
    /// Objects of a span.
    pub nelems: usize,
    /// 2^32 / size, rounded up: Go's `divMul`.
    magic: u32,
    /// Where the words of the class are in [`STARTS`].
    first_word: usize,
}

impl Class {
    const NONE: Self = Self {
        size: 0,
        room: 0,
        npages: 0,
        nelems: 0,
        magic: 0,
        first_word: 0,
    };

    /// Which object of a span the byte at `offset` belongs to; `nelems` for
    /// what is left over.
    #[inline(always)]
    pub const fn index(&self, offset: usize) -> usize {
        ((offset as u64 * self.magic as u64) >> 32) as usize
    }

    /// Invariant 3, a word for each [`WORD_BYTES`] of a span.
    #[inline(always)]
    pub fn starts(&self) -> &'static [u64] {
        let words = self.npages * (PAGE / WORD_BYTES);
        &STARTS[self.first_word..self.first_word + words]
    }
}

/// Go's rule, as the opening tells it; and how many classes it gives.
const fn classes() -> ([Class; MOST], usize) {
    let mut all = [Class::NONE; MOST];
    let mut count = 1;
    let mut step = GRANULE;
    let mut size = GRANULE;
    while size <= MAX_SMALL {
        if size.is_power_of_two() {
            step = match size {
                2048.. => 256,
                128.. => size / 8,
                _ => GRANULE,
            };
        }
        let mut bytes = PAGE;
        while bytes % size > bytes / 8 {
            bytes += PAGE;
        }
        let npages = bytes / PAGE;
        let last = all[count - 1];
        let same = last.npages == npages && bytes / last.size == bytes / size;
        if size <= TWICE {
            let room = size - SLACK;
            all[count] = Class { size, room, npages, ..Class::NONE };
            count += 1;
        }
        if !same {
            count += 1;
        }
        all[count - 1] = Class { size, npages, ..Class::NONE };
        size += step;
    }
    let mut first_word = 0;
    let mut n = 1;
    while n < count {
        let class = &mut all[n];
        let bytes = class.npages * PAGE;
        let nelems = bytes / class.size;
        let roomy = bytes / nelems / UNIT * UNIT;
        if roomy > class.size {
            class.size = roomy;
        }
        if class.room == 0 {
            class.room = class.size;
        }
        class.nelems = nelems;
        class.magic = (1u64 << 32).div_ceil(class.size as u64) as u32;
        class.first_word = first_word;
        first_word += bytes / WORD_BYTES;
        n += 1;
    }
    assert!(first_word <= WORDS);
    (all, count)
}

/// How many classes there are, with that of large objects.
pub const CLASSES: usize = classes().1;

/// All classes.
pub static CLASS: [Class; CLASSES] = {
    let (all, _) = classes();
    let mut table = [Class::NONE; CLASSES];
    let mut n = 0;
    while n < CLASSES {
        table[n] = all[n];
        n += 1;
    }
    table
};

/// The words of [`Class::starts`], class by class.
static STARTS: [u64; WORDS] = {
    let (all, count) = classes();
    let mut words = [0; WORDS];
    let mut n = 1;
    while n < count {
        let class = all[n];
        let mut i = 0;
        while i < class.nelems {
            let granule = i * class.size / GRANULE;
            words[class.first_word + granule / WORD] |= 1 << (granule % WORD);
            i += 1;
        }
        n += 1;
    }
    words
};

/// The smallest class with room for `size` bytes.
const fn class_for(size: usize) -> u8 {
    let (all, _) = classes();
    let mut n = 1;
    while all[n].room < size {
        n += 1;
    }
    n as u8
}

static FINE_CLASS: [u8; FINE / SLACK + 1] = {
    let mut table = [0; FINE / SLACK + 1];
    let mut n = 0;
    while n < table.len() {
        table[n] = class_for(n * SLACK);
        n += 1;
    }
    table
};

static COARSE_CLASS: [u8; (MAX_SMALL - FINE) / UNIT + 1] = {
    let mut table = [0; (MAX_SMALL - FINE) / UNIT + 1];
    let mut n = 0;
    while n < table.len() {
        table[n] = class_for(FINE + n * UNIT);
        n += 1;
    }
    table
};

/// The class for an object of `size` bytes, at most [`MAX_SMALL`].
#[inline(always)]
pub fn class_of(size: usize) -> usize {
    if size <= FINE {
        return class_of_fine(size);
    }
    usize::from(COARSE_CLASS[(size - FINE).div_ceil(UNIT)])
}

/// The class for an object of `size` bytes, at most [`FINE`].
#[inline(always)]
pub fn class_of_fine(size: usize) -> usize {
    usize::from(FINE_CLASS[size.div_ceil(SLACK)])
}

/// The pages for a large object of `size` bytes.
pub const fn pages_for(size: usize) -> usize {
    size.div_ceil(PAGE)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_sizes_are_those_of_go_without_8_and_24() {
        let mut sizes: Vec<_> = CLASS.iter().map(|class| class.size).collect();
        sizes.dedup();
        let first = [0, 16, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192];
        assert_eq!(sizes[..13], first);
        let last = [24576, 27264, 28672, 32768];
        assert_eq!(sizes[sizes.len() - 4..], last);
        assert_eq!(sizes.len(), 66, "68 in Go");
        assert!(sizes.is_sorted());
        assert!(sizes.iter().all(|size| size % GRANULE == 0));
    }

    #[test]
    fn no_span_wastes_more_than_an_eighth() {
        for class in &CLASS[1..] {
            let bytes = class.npages * PAGE;
            assert!(bytes - class.nelems * class.size <= bytes / 8);
            assert!(class.npages < 15, "fits into the byte of a page");
        }
    }

    #[test]
    fn the_class_of_a_size_is_the_smallest_that_fits() {
        for size in 0..=MAX_SMALL {
            let n = class_of(size);
            assert!(CLASS[n].room >= size);
            assert!(n == 1 || CLASS[n - 1].room < size, "{size}");
        }
    }

    #[test]
    fn a_small_size_has_two_classes() {
        let of = |size| CLASS[class_of(size)];
        for size in (GRANULE..=TWICE).step_by(GRANULE) {
            let (less, full) = (of(size - SLACK), of(size));
            assert_eq!((less.size, less.room), (size, size - SLACK));
            assert_eq!((full.size, full.room), (size, size));
        }
        assert!(CLASS[17..].iter().all(|class| class.room == class.size));
    }

    #[test]
    fn offsets_lead_to_their_objects() {
        for class in &CLASS[1..] {
            let bytes = class.npages * PAGE;
            for offset in 0..bytes {
                let index = class.index(offset);
                assert_eq!(index, offset / class.size, "invariant 2");
            }
            let starts = class.starts();
            for granule in 0..bytes / GRANULE {
                let at = granule * GRANULE;
                let begins = at.is_multiple_of(class.size)
                    && at / class.size < class.nelems;
                let bit = starts[granule / WORD] >> (granule % WORD) & 1;
                assert_eq!(bit == 1, begins, "invariant 3");
            }
        }
    }
}
