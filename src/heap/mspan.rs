//! A span: a run of pages that holds objects of one class and kind, or one
//! large object. Go's `mspan`; and the lists of spans.
//!
//! Free objects are found a word of bits at a time: `alloc_cache` has a 1 for
//! each free object that begins in the word before `freeindex`, and its lowest
//! 1 is the next object that is handed out. The object's alloc bit is stored at
//! that moment, so the bits of a cached span are true at any time, and a free
//! slot never looks like an object.
//!
//! A span is never unmapped while its heap lives, and its memory never becomes
//! something else. So spans are passed as `&'static`.
//!
//! Invariants:
//! 1. The *holder* of a span is the owner of the mcache that caches it; its
//!    sweeper; or, while it is in a list, the holder of its central's lock; or
//!    whoever has taken it from or brings it to the page heap.
//! 2. A field marked *fixed* changes only while the page heap has the span.
//! 3. Each 1 of `alloc_cache` is a free object of the span, whose bits are in
//!    `cache_pair`.
//! 4. A span is in one list at most, and `list` says in which.

use super::bits::Pair;
use super::poison;
use super::sizeclass::{CLASS, Class, GRANULE, Kind, PAGE, WORD_BYTES};
use super::sweepgen::SweepGen;
use crate::base::sync::{
    AtomicBool, AtomicUsize, Ordering::Relaxed, const_unless_loom,
};
use core::cell::Cell;

/// What the pages of a span are for: Go's `mSpanState`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SpanState {
    /// Nothing: it has no pages. Go's `mSpanDead`.
    Dead,
    /// Objects. Go's `mSpanInUse`.
    InUse,
    /// Stacks of goroutines, which are not this heap's. Go's `mSpanManual`.
    Manual,
}

/// In which list of its central a span is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InList {
    None,
    Partial,
    Full,
}

/// A span.
pub struct MSpan {
    // What allocation needs, in one line.
    /// holder. Invariant 3.
    alloc_cache: Cell<u64>,
    /// holder: the address of the first granule of `alloc_cache`'s word.
    cache_addr: Cell<usize>,
    /// holder: the bits of that word.
    cache_pair: Cell<Option<&'static Pair>>,
    /// fixed: bytes of an object; of a Manual span, all of its bytes.
    pub elemsize: Cell<usize>,
    /// holder: whether free objects may not be zero.
    pub needzero: Cell<bool>,
    /// fixed
    pub kind: Cell<Kind>,
    /// fixed: the size class, 0 for a large object.
    pub class: Cell<u8>,
    /// holder: the next word of bits that is to be looked at.
    freeindex: Cell<u32>,
    /// holder: how many objects are allocated; true while in a list.
    pub alloc_count: Cell<u32>,
    /// The first of what is to happen when an object goes (`specials`, whose
    /// lock guards it), or 0. Others may look whether it is 0.
    pub specials: AtomicUsize,

    pub sweepgen: SweepGen,
    /// atomic: another thread has freed an object of the cached span.
    freed_later: AtomicBool,
    /// lock: its central. Invariant 4.
    pub list: Cell<InList>,
    /// lock: its central, or the page heap.
    next: Cell<Option<&'static MSpan>>,
    prev: Cell<Option<&'static MSpan>>,
    /// fixed: the first byte.
    pub base: Cell<usize>,
    /// fixed
    pub npages: Cell<usize>,
    /// fixed
    pub state: Cell<SpanState>,
    /// fixed: the bits of the span; of a large object, the first word.
    bits: Cell<&'static [Pair]>,
    /// fixed: where objects begin, a word for each of `bits`; nothing of a
    /// large object.
    starts: Cell<&'static [u64]>,
}

// SAFETY: each field says who uses it when; the phase of `sweepgen` and the
// lock of the central hand the holder's fields on (invariant 1).
unsafe impl Sync for MSpan {}

impl MSpan {
    const_unless_loom! {
        /// A span without objects or pages: what an mcache has before it has
        /// spans (Go's `emptymspan`), and what becomes one by `init`.
        pub fn empty() -> Self {
            let specials = AtomicUsize::new(0);
            Self::with(SweepGen::new(0), AtomicBool::new(false), specials)
        }
    }

    const fn with(
        sweepgen: SweepGen,
        freed_later: AtomicBool,
        specials: AtomicUsize,
    ) -> Self {
        Self {
            alloc_cache: Cell::new(0),
            cache_addr: Cell::new(0),
            cache_pair: Cell::new(None),
            elemsize: Cell::new(0),
            needzero: Cell::new(false),
            kind: Cell::new(Kind::Noscan),
            class: Cell::new(0),
            freeindex: Cell::new(0),
            alloc_count: Cell::new(0),
            specials,
            sweepgen,
            freed_later,
            list: Cell::new(InList::None),
            next: Cell::new(None),
            prev: Cell::new(None),
            base: Cell::new(0),
            npages: Cell::new(0),
            state: Cell::new(SpanState::Dead),
            bits: Cell::new(&[]),
            starts: Cell::new(&[]),
        }
    }

    /// Makes it a span of `npages` pages at `base`, all of it free. The page
    /// heap has it.
    pub fn init(
        &self,
        base: usize,
        npages: usize,
        class: u8,
        kind: Kind,
        bits: &'static [Pair],
    ) {
        let (size, starts) = match class {
            0 => (npages * PAGE, [].as_slice()),
            _ => {
                let class = &CLASS[usize::from(class)];
                (class.size, class.starts())
            }
        };
        self.start_over();
        self.elemsize.set(size);
        self.kind.set(kind);
        self.class.set(class);
        self.alloc_count.set(0);
        self.freed_later.store(false, Relaxed);
        self.base.set(base);
        self.npages.set(npages);
        self.state.set(SpanState::InUse);
        self.bits.set(bits);
        self.starts.set(starts);
    }

    /// Makes it the span of stacks in `len` bytes at `base`; it never had
    /// objects. The page heap has it.
    pub fn init_manual(&self, base: usize, len: usize) {
        self.elemsize.set(len);
        self.base.set(base);
        self.npages.set(len.div_ceil(PAGE));
        self.state.set(SpanState::Manual);
    }

    /// Whether `addr` is in a Manual span.
    pub fn has(&self, addr: usize) -> bool {
        addr.wrapping_sub(self.base.get()) < self.elemsize.get()
    }

    #[inline(always)]
    pub fn class(&self) -> &'static Class {
        &CLASS[usize::from(self.class.get())]
    }

    /// Objects that the span has room for.
    pub fn nelems(&self) -> usize {
        if self.class.get() == 0 { 1 } else { self.class().nelems }
    }

    /// Bytes that objects do not occupy, were it not for the caches.
    pub fn free_bytes(&self) -> usize {
        let free = self.nelems() - self.alloc_count.get() as usize;
        free * self.elemsize.get()
    }

    pub fn is_full(&self) -> bool {
        self.alloc_count.get() as usize == self.nelems()
    }

    /// The bits of the object that begins `offset` bytes behind the base.
    pub fn bit(&self, offset: usize) -> (&'static Pair, u64) {
        let pair = &self.bits.get()[offset / WORD_BYTES];
        (pair, 1 << (offset / GRANULE % 64))
    }

    /// The next free object at hand, which is now allocated; None if there may
    /// be more in words to come. The holder calls.
    #[inline(always)]
    pub fn next_free_fast(&self) -> Option<usize> {
        let cache = self.alloc_cache.get();
        if cache == 0 {
            return None;
        }
        // SAFETY: invariant 3: where there is a 1, there is its word.
        let pair = unsafe { self.cache_pair.get().unwrap_unchecked() };
        self.alloc_cache.set(cache & (cache - 1));
        pair.set_alloc(cache & cache.wrapping_neg());
        let granule = cache.trailing_zeros() as usize;
        Some(self.cache_addr.get() + granule * GRANULE)
    }

    /// Looks for a word with free objects from `freeindex` on: Go's
    /// `refillAllocCache`. False if there is none. The holder calls.
    #[inline(always)]
    pub fn refill_alloc_cache(&self) -> bool {
        let from = self.freeindex.get() as usize;
        self.take_word(from) || self.refill_later(from + 1)
    }

    /// [`Self::refill_alloc_cache`] where the next word has nothing.
    #[cold]
    #[inline(never)]
    fn refill_later(&self, from: usize) -> bool {
        let words = self.starts.get().len();
        if (from..words).any(|word| self.take_word(word)) {
            return true;
        }
        self.freeindex.set(words as u32);
        false
    }

    /// Takes the free objects of a word of bits, if there are any.
    #[inline(always)]
    fn take_word(&self, word: usize) -> bool {
        let starts = self.starts.get().get(word);
        let Some((starts, pair)) = starts.zip(self.bits.get().get(word)) else {
            return false;
        };
        let free = starts & !pair.alloc();
        if free == 0 {
            return false;
        }
        self.alloc_cache.set(free);
        self.cache_addr.set(self.base.get() + word * WORD_BYTES);
        self.cache_pair.set(Some(pair));
        self.freeindex.set(word as u32 + 1);
        true
    }

    /// Frees the object at `offset`, which is allocated, in a span that the
    /// caller caches.
    #[inline]
    pub fn free_cached(&self, offset: usize) {
        let (pair, bit) = self.bit(offset);
        pair.clear_alloc(bit);
        self.needzero.set(true);
        let word = offset / WORD_BYTES;
        if self.base.get() + word * WORD_BYTES == self.cache_addr.get() {
            self.alloc_cache.set(self.alloc_cache.get() | bit);
        } else {
            // It is looked at again, and so are those behind it.
            self.freeindex.set(self.freeindex.get().min(word as u32));
        }
    }

    /// Tells the holder that the object at `offset` is freed; false if it was
    /// no object. The span is cached, and the caller holds the central's lock.
    pub fn free_later(&self, offset: usize) -> bool {
        let (pair, bit) = self.bit(offset);
        let freed = pair.free_later(bit);
        if freed {
            // Relaxed: a holder that misses it settles when it lets go.
            self.freed_later.store(true, Relaxed);
        }
        freed
    }

    /// Whether an object may begin at `offset`.
    pub fn has_bit(&self, offset: usize) -> bool {
        offset / WORD_BYTES < self.bits.get().len()
    }

    /// Whether others may have freed objects meanwhile.
    #[inline]
    pub fn has_freed_later(&self) -> bool {
        self.freed_later.load(Relaxed)
    }

    /// Frees what others have freed meanwhile; true if there was something. The
    /// holder calls, and has the central's lock or the world is stopped.
    pub fn settle(&self) -> bool {
        if !self.freed_later.load(Relaxed) {
            return false;
        }
        self.freed_later.store(false, Relaxed);
        let mut any = false;
        for pair in self.bits.get() {
            any |= pair.settle() != 0;
        }
        if any {
            self.needzero.set(true);
            self.freeindex.set(0);
        }
        any
    }

    /// Lets go of the free objects at hand, and counts those allocated. The
    /// holder calls, before the span goes into a list.
    pub fn let_go(&self) {
        self.start_over();
        // A span that an mcache brings back is full, as a rule.
        let words = self.starts.get().iter().zip(self.bits.get());
        let free = words.map(|(starts, pair)| ones(starts & !pair.alloc()));
        self.alloc_count.set(self.nelems() as u32 - free.sum::<u32>());
    }

    fn start_over(&self) {
        self.alloc_cache.set(0);
        self.cache_addr.set(0);
        self.cache_pair.set(None);
        self.freeindex.set(0);
    }

    /// Frees the objects that are not marked, and with `poison` fills them. The
    /// caller is the sweeper.
    pub fn sweep(&self, poison: bool) {
        let (mut freed, mut live) = (0, 0);
        for (w, pair) in self.bits.get().iter().enumerate() {
            let (dead, alive) = pair.sweep();
            freed |= dead;
            live += ones(alive);
            if poison {
                self.poison_all(w, dead);
            }
        }
        self.alloc_count.set(live);
        self.start_over();
        if freed != 0 {
            self.needzero.set(true);
        }
    }

    fn poison_all(&self, word: usize, mut dead: u64) {
        while dead != 0 {
            let granule = dead.trailing_zeros() as usize;
            self.poison(word * WORD_BYTES + granule * GRANULE);
            dead &= dead - 1;
        }
    }

    /// Fills the dead object at `offset`.
    pub fn poison(&self, offset: usize) {
        let at = self.base.get() + offset;
        // SAFETY: an object of this span that is dead and not yet free, so
        // nobody else uses it.
        unsafe { poison::fill(at, self.elemsize.get()) };
    }

    /// Each allocated object's address. Nobody changes the bits meanwhile.
    pub fn each_object(
        &self,
        mut found: impl FnMut(usize, &'static Pair, u64),
    ) {
        for (w, pair) in self.bits.get().iter().enumerate() {
            let mut alloc = pair.alloc();
            while alloc != 0 {
                let granule = alloc.trailing_zeros() as usize;
                let at = w * WORD_BYTES + granule * GRANULE;
                found(self.base.get() + at, pair, 1 << granule);
                alloc &= alloc - 1;
            }
        }
    }
}

/// The ones of a word that has none, as a rule: a processor may lack the
/// instruction that counts them.
#[inline(always)]
fn ones(word: u64) -> u32 {
    if word == 0 { 0 } else { word.count_ones() }
}

/// A list of spans, linked through them: Go's `mSpanList`. The lock is that of
/// the list's owner.
pub struct SpanList(Cell<Option<&'static MSpan>>);

impl Default for SpanList {
    fn default() -> Self {
        Self::new()
    }
}

impl SpanList {
    #[must_use]
    pub const fn new() -> Self {
        Self(Cell::new(None))
    }

    pub fn first(&self) -> Option<&'static MSpan> {
        self.0.get()
    }

    pub fn push(&self, s: &'static MSpan) {
        let next = self.0.replace(Some(s));
        s.next.set(next);
        s.prev.set(None);
        if let Some(next) = next {
            next.prev.set(Some(s));
        }
    }

    pub fn remove(&self, s: &'static MSpan) {
        let (prev, next) = (s.prev.take(), s.next.take());
        match prev {
            Some(prev) => prev.next.set(next),
            None => self.0.set(next),
        }
        if let Some(next) = next {
            next.prev.set(prev);
        }
    }

    pub fn count(&self) -> usize {
        self.iter().count()
    }

    /// All of them. One that was just returned may be removed.
    pub fn iter(&self) -> impl Iterator<Item = &'static MSpan> {
        let mut next = self.first();
        core::iter::from_fn(move || {
            let s = next?;
            next = s.next.get();
            Some(s)
        })
    }

    pub fn pop(&self) -> Option<&'static MSpan> {
        let s = self.first()?;
        self.remove(s);
        Some(s)
    }
}
