//! The spans that one thread allocates from without a lock: Go's `mcache`. A P
//! has one; a thread without a P may have one of its own.
//!
//! ```text
//!   next_free_fast ----> the word of bits at hand has a free object
//!        | no                                                (`take`)
//!   pop ----------------> an object that this thread has freed by hand
//!        | no                                                (`take_later`)
//!   refill_alloc_cache -> a later word of the span has one
//!        | no
//!   refill -------------> another span: swept with room; unswept, swept here;
//!                         new pages
//! ```
//!
//! Invariants:
//! 1. One thread at a time uses an mcache, its *owner*. While the world is
//!    stopped, the stopper is the owner of all.
//! 2. Between the move of h and the owner's next allocation stands a
//!    [`MCache::prepare_for_sweep`]. Else an object would be allocated in a
//!    span that is unswept, and swept away.
//! 3. A slot holds [`EMPTY`], or a span that is cached, of its class and kind.

use super::arena::class_and_kind;
use super::find::Object;
use super::freelist::FreeLists;
use super::mcentral::{Brought, Freed, Next};
use super::mheap::MHeap;
use super::mspan::MSpan;
use super::poison;
use super::seal;
use super::sizeclass::{
    CLASS, CLASSES, GRANULE, Kind, MAX_SMALL, PAGE, class_of, pages_for,
};
use super::specials;
use crate::base::sanitize;
use crate::base::sync::{Ordering::Relaxed, spin_loop};
use core::cell::Cell;
use core::ptr::{self, NonNull};

/// Go's `emptymspan`: has nothing free, so that a slot is never null.
static EMPTY: MSpan = MSpan::empty();

/// How many unswept spans a refill sweeps in the hope of one with room, before
/// it takes new pages: Go's spanBudget.
const SWEEP_BUDGET: usize = 100;

/// An mcache.
pub struct MCache {
    heap: &'static MHeap,
    /// owner. Invariant 3.
    alloc: [[Cell<&'static MSpan>; CLASSES]; 3],
    /// owner: bytes of objects that it has freed elsewhere, and not counted.
    freed: Cell<usize>,
    /// owner: what it has freed elsewhere, and hands out again.
    again: FreeLists,
    /// owner: the generation for which it is prepared.
    flush_gen: Cell<u32>,
}

// SAFETY: one thread at a time uses it, invariant 1; the spans in it are its
// own, and the rest of the heap is shared.
unsafe impl Send for MCache {}

impl MCache {
    /// An mcache without spans: Go's `allocmcache`.
    #[must_use]
    pub fn new(heap: &'static MHeap) -> Self {
        let alloc = [const { [const { Cell::new(&EMPTY) }; CLASSES] }; 3];
        let flush_gen = Cell::new(heap.sweepgen());
        let (freed, again) = (Cell::new(0), FreeLists::new());
        Self { heap, alloc, freed, again, flush_gen }
    }

    pub fn heap(&self) -> &'static MHeap {
        self.heap
    }

    /// Memory for an object of `size` bytes, where that takes a few
    /// instructions.
    #[inline(always)]
    pub fn alloc_fast(&self, size: usize, kind: Kind) -> Option<NonNull<u8>> {
        if size > MAX_SMALL {
            return None;
        }
        let class = class_of(size);
        let taken = self.take(class, kind);
        let taken = taken.or_else(|| self.take_later(class, kind))?;
        Some(taken.finish())
    }

    /// An object of a word of bits to come.
    #[inline(always)]
    pub fn take_later(&self, class: usize, kind: Kind) -> Option<Taken> {
        let s = self.slot(class, kind).get();
        if s.refill_alloc_cache() { Taken::of(s, kind) } else { None }
    }

    /// An object of the word of bits at hand, or one that was freed by hand.
    /// Objects of 1 KiB are each in another word.
    #[inline(always)]
    pub fn take(&self, class: usize, kind: Kind) -> Option<Taken> {
        let s = self.slot(class, kind).get();
        Taken::of(s, kind).or_else(|| {
            let at = self.again.pop(class_and_kind(class, kind))?;
            let dirty = if kind.has_pointers() { CLASS[class].size } else { 0 };
            Some(Taken { at, dirty })
        })
    }

    /// Invariant 3.
    #[inline(always)]
    fn slot(&self, class: usize, kind: Kind) -> &Cell<&'static MSpan> {
        debug_assert!(class < CLASSES);
        let slots = &self.alloc[kind as usize];
        // SAFETY: the class is one of those that `sizeclass` knows.
        unsafe { slots.get_unchecked(class) }
    }

    /// Memory for an object of `size` bytes; zeroed if it may hold pointers.
    /// None without memory.
    #[inline(always)]
    pub fn alloc(&self, size: usize, kind: Kind) -> Option<NonNull<u8>> {
        if self.heap.poison() {
            return self.alloc_checked(size, kind);
        }
        let at = self.alloc_fast(size, kind);
        at.or_else(|| self.alloc_slow(size, kind))
    }

    /// [`Self::alloc`] after [`Self::alloc_fast`] has found nothing.
    #[cold]
    pub fn alloc_slow(&self, size: usize, kind: Kind) -> Option<NonNull<u8>> {
        debug_assert_eq!(self.flush_gen.get(), self.heap.sweepgen());
        if size > MAX_SMALL {
            return self.alloc_large(size, kind);
        }
        self.take_slow(class_of(size), kind).map(Taken::finish)
    }

    /// [`Self::alloc`] where freed memory is filled.
    #[cold]
    fn alloc_checked(&self, size: usize, kind: Kind) -> Option<NonNull<u8>> {
        if size > MAX_SMALL {
            return self.alloc_large(size, kind);
        }
        let class = class_of(size);
        let taken = self.take(class, kind);
        let taken = taken.or_else(|| self.take_slow(class, kind))?;
        // SAFETY: it is handed out, with so many bytes.
        unsafe { poison::check(taken.at, CLASS[class].size) };
        Some(taken.finish())
    }

    /// An object of a small class, with locks and spans of others.
    fn take_slow(&self, class: usize, kind: Kind) -> Option<Taken> {
        let slot = &self.alloc[kind as usize][class];
        let mut s = slot.get();
        while !s.refill_alloc_cache() {
            let central = self.heap.central(class, kind);
            if !s.has_freed_later() || !central.settle(s) {
                self.refill(class, kind)?;
                s = slot.get();
            }
        }
        Taken::of(s, kind)
    }

    /// Puts a span with free objects into a slot whose span has none.
    fn refill(&self, class: usize, kind: Kind) -> Option<()> {
        let (heap, h) = (self.heap, self.heap.sweepgen());
        let slot = self.slot(class, kind);
        let old = slot.replace(&EMPTY);
        let old = if ptr::eq(old, &EMPTY) { None } else { Some(old) };
        let (brought, next) = heap.central(class, kind).exchange(h, old);
        let unused = brought.map_or(0, |brought| self.brought(brought));
        let Some(s) = self.cache_span(class, kind, next) else {
            heap.count_live(0, unused);
            return None;
        };
        heap.count_live(s.free_bytes(), unused + self.freed.take());
        slot.set(s);
        Some(())
    }

    /// A span with free objects, cached, where the central had `next`: Go's
    /// `cacheSpan`.
    fn cache_span(
        &self,
        class: usize,
        kind: Kind,
        mut next: Option<Next>,
    ) -> Option<&'static MSpan> {
        let (heap, h) = (self.heap, self.heap.sweepgen());
        let central = heap.central(class, kind);
        for _ in 0..SWEEP_BUDGET {
            match next {
                Some(Next::Cached(s)) => return Some(s),
                Some(Next::Unswept(s)) if heap.sweep_and_keep(s) => {
                    return Some(s);
                }
                Some(Next::Unswept(_)) => {}
                None => break,
            }
            next = central.take_unswept(h).map(Next::Unswept);
        }
        if let Some(Next::Unswept(s)) = next {
            heap.sweep_span(s);
        }
        let s = heap.alloc_span(class, kind)?;
        central.cache(h, s);
        Some(s)
    }

    /// Brings the span of a slot back.
    fn release(&self, class: usize, kind: Kind) {
        let s = self.slot(class, kind).replace(&EMPTY);
        if !ptr::eq(s, &EMPTY) {
            self.uncache_span(s);
        }
    }

    fn uncache_span(&self, s: &'static MSpan) {
        let (heap, h) = (self.heap, self.heap.sweepgen());
        let unused = self.brought(heap.central_of(s).uncache(h, s));
        heap.count_live(0, unused);
    }

    /// What became of a span that was cached. Returns by how many bytes `live`
    /// is less: objects that it had when it came were counted before.
    fn brought(&self, brought: Brought) -> usize {
        match brought {
            Brought::Kept(free) => free,
            Brought::Empty(s) => {
                let free = s.free_bytes();
                self.heap.free_span(s);
                free
            }
            // What was counted for it is gone since h has moved.
            Brought::Stale(s) => {
                self.heap.sweep_span(s);
                0
            }
        }
    }

    fn alloc_large(&self, size: usize, kind: Kind) -> Option<NonNull<u8>> {
        let (heap, h) = (self.heap, self.heap.sweepgen());
        // Rounded up it must not be more than addresses have.
        let npages = pages_for(size.checked_add(PAGE)?) - 1;
        let s = heap.alloc_pages(npages, 0, kind)?;
        heap.count_live(npages * PAGE, 0);
        let at = s.base.get() as *mut u8;
        if kind.has_pointers() && s.needzero.get() {
            // SAFETY: the pages of a span that nobody else knows yet.
            unsafe { ptr::write_bytes(at, 0, npages * PAGE) };
        }
        let (pair, bit) = s.bit(0);
        pair.set_alloc(bit);
        s.alloc_count.set(1);
        // It has an object, and so it is kept.
        let _ = heap.central(0, kind).put(h, s);
        NonNull::new(at)
    }

    /// Brings all spans back: Go's `releaseAll`.
    pub fn release_all(&self) {
        for kind in Kind::ALL {
            for class in 1..CLASSES {
                self.release(class, kind);
            }
        }
    }

    /// Frees what is kept to be handed out again. Before marking, with the
    /// world stopped: 25 ns an object. How many there are does not depend on
    /// the heap (`freelist`). A hundred threads with two full lists each take
    /// 0.3 ms, and 1.2 ms to stop.
    pub fn flush_freed(&self) {
        let Some(arenas) = self.heap.arenas() else { return };
        let object = |at| {
            let object = arenas.find(at);
            object.filter(|it| it.base == at)
        };
        self.again.take_all(object, |object| {
            let s = arenas.span(object.base);
            // Nobody sweeps.
            let freed = s.and_then(|s| self.heap.free_in(object, s)).flatten();
            self.freed.set(self.freed.get() + freed.unwrap_or(0));
        });
    }

    /// Applies what other threads have freed, so that the marks of the spans
    /// are zero. Before marking.
    pub fn settle(&self) {
        self.heap.count_live(0, self.freed.take());
        for s in self.alloc.iter().flatten() {
            s.get().settle();
        }
    }

    /// Brings back the spans that were cached before the last collection. The
    /// owner calls it before it allocates again.
    pub fn prepare_for_sweep(&self) {
        let h = self.heap.sweepgen();
        if self.flush_gen.get() != h {
            self.release_all();
            self.flush_gen.set(h);
        }
    }

    /// Frees the object that begins at `at`. False: there is no such object, or
    /// it is free.
    #[must_use]
    pub fn free(&self, at: usize) -> bool {
        // Memcheck learns of the word that `free_fast` looks at (`seal`).
        let refused = sanitize::memcheck() && self.heap.object_at(at).is_none();
        let rare = refused || self.heap.poison();
        !rare && (self.free_fast(self.heap, at) || self.free_own(at)) || {
            let freed = self.heap.free(at);
            self.freed.set(self.freed.get() + freed.unwrap_or(0));
            freed.is_some()
        }
    }

    /// [`Self::free`] where that takes a few instructions and no lock; false
    /// where it may take more. A caller that knows where the mcache's heap is
    /// says so.
    #[inline(always)]
    pub fn free_fast(&self, heap: &MHeap, at: usize) -> bool {
        let Some(arenas) = heap.arenas() else { return false };
        let Some(arena) = arenas.of_granule(at) else { return false };
        let Some(s) = arena.span(at) else { return false };
        // Relaxed: an object that is freed while a cleanup is added to it is
        // the host's mistake.
        if s.specials.load(Relaxed) != 0 {
            return false;
        }
        if !s.sweepgen.is_swept(heap.sweepgen()) {
            return false;
        }
        let pair = arena.pair(at);
        // No object begins there, or it is free. A mark: another thread has
        // freed it, or one near it, which the long way tells.
        let is_object =
            || pair.mark() == 0 && pair.alloc() >> (at / GRANULE % 64) & 1 != 0;
        if !is_object() {
            return false;
        }
        let Some(was) = seal::claim(at) else { return false };
        // Not before: another thread may have freed it just now, and the page
        // may be another span's. From here on it stays what it is.
        let n = arena.page(at).class_and_kind();
        if !is_object() || !self.again.has_room(n) {
            seal::release(at, was);
            return false;
        }
        self.again.push(n, at);
        true
    }

    /// [`Self::free`] into a span that this mcache has; false if it has not.
    fn free_own(&self, at: usize) -> bool {
        let Some((object, s)) = self.heap.object_at(at) else { return false };
        let rare = self.heap.poison() || s.specials.load(Relaxed) != 0;
        let (class, kind) = (object.class, object.kind);
        let slot = self.alloc[kind as usize].get(class);
        let own = slot.is_some_and(|slot| ptr::eq(slot.get(), s));
        if rare || !own {
            return false;
        }
        let Some(was) = seal::claim(at) else { return false };
        let (pair, bit) = object.bit();
        let freed = pair.alloc() & !pair.mark() & bit != 0;
        if freed {
            s.free_cached(at - s.base.get());
        }
        seal::release(at, was);
        freed
    }
}

impl MHeap {
    /// The object that begins at `at` and is allocated, with its span.
    fn object_at(&self, at: usize) -> Option<(Object, &'static MSpan)> {
        let arenas = self.arenas()?;
        let object = arenas.find(at)?;
        let s = arenas.span(at)?;
        (object.base == at && object.is_allocated()).then_some((object, s))
    }

    /// [`MCache::free`] for a thread that has no mcache.
    pub fn free_without(&self, at: usize) -> bool {
        let freed = self.free(at);
        self.count_live(0, freed.unwrap_or(0));
        freed.is_some()
    }

    /// Frees the object that begins at `at`, which is in no span of the
    /// caller's. Returns its bytes, by which `live` is less; None: there is no
    /// such object, or it is free.
    pub fn free(&self, at: usize) -> Option<usize> {
        loop {
            let (object, s) = self.object_at(at)?;
            specials::free(s, at);
            match self.free_in(&object, s) {
                Some(freed) => return freed,
                None => spin_loop(),
            }
        }
    }

    /// [`Self::free`] of an object in `s` of which nothing hangs. None: another
    /// thread sweeps the span.
    fn free_in(
        &self,
        object: &Object,
        s: &'static MSpan,
    ) -> Option<Option<usize>> {
        let (h, poison) = (self.sweepgen(), self.poison());
        let offset = object.base - s.base.get();
        match self.central_of(s).free(h, s, offset, poison) {
            Freed::Done => {}
            Freed::Later => return Some(Some(0)),
            Freed::NoObject => return Some(None),
            Freed::Empty(s) => self.free_span(s),
            Freed::Busy => return None,
        }
        Some(Some(object.size))
    }
}

/// An object that is handed out.
#[derive(Clone, Copy)]
pub struct Taken {
    pub at: usize,
    /// How many bytes have yet to be zeroed: all, or none.
    pub dirty: usize,
}

impl Taken {
    /// One of the free objects that `s` has at hand.
    #[inline(always)]
    fn of(s: &MSpan, kind: Kind) -> Option<Self> {
        let at = s.next_free_fast()?;
        let dirty = if kind.has_pointers() && s.needzero.get() {
            s.elemsize.get()
        } else {
            0
        };
        Some(Self { at, dirty })
    }

    /// Zeroes what has to be.
    fn finish(self) -> NonNull<u8> {
        let at = self.at as *mut u8;
        if !zero_few(&self) {
            // SAFETY: the object's bytes.
            unsafe { ptr::write_bytes(at, 0, self.dirty) };
        }
        // SAFETY: an address within a span, so not 0.
        unsafe { NonNull::new_unchecked(at) }
    }
}

/// Zeroes an object that was handed out, unless it has many bytes: false.
#[inline(always)]
pub fn zero_few(taken: &Taken) -> bool {
    let (n, at) = (taken.dirty / GRANULE, taken.at as *mut [u64; 2]);
    let put = |granule: usize| {
        // SAFETY: within the object, at a multiple of 16.
        unsafe { at.wrapping_add(granule).write([0; 2]) }
    };
    // From both ends, so that there is no loop.
    if n > 8 {
        return false;
    }
    if n > 4 {
        [0, 1, 2, 3, n - 4, n - 3, n - 2, n - 1].into_iter().for_each(put);
    } else if n > 2 {
        [0, 1, n - 2, n - 1].into_iter().for_each(put);
    } else if n > 0 {
        [0, n - 1].into_iter().for_each(put);
    }
    true
}
