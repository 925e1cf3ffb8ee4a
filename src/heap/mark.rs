//! The marker: finds all objects that can be reached.
//!
//! Any word into an allocated object keeps the object. Of roots, a word that
//! equals the end of an object keeps that object too: compilers hold end
//! pointers in registers and index back from them. Where what was asked for
//! leaves slack, its end lies in the object (`sizeclass`).
//!
//! Marking is bound by cache misses: that of the bits of an object, and that of
//! the object. So a queue stands between a word that is found and the look at
//! its bits, and both are fetched while others are looked at (`candidates`).
//!
//! ```text
//!   scan --words--> candidates --mark--> stack --objects--> scan
//!                   (fetch bits, object) (fetch the rest)
//! ```
//! The stack makes the order depth-first, nearly: the queue delays by its
//! length. An object that is longer than [`OBLET`] is scanned in such pieces,
//! so that several markers can share it.
//!
//! After that it is bound by branches that no processor foresees. So a word
//! becomes a candidate without one, and as long as there is much of both, a
//! candidate is looked at for each object that is scanned, whatever was found.
//!
//! Stacks of parked goroutines are in no cache. Their lines are fetched for
//! many stacks together, and a line without a word near the heap is passed over
//! as a whole (`near`).
//!
//! Rejected: a second queue, between stack and scan, that prefetches only what
//! was not marked before. On a graph with five edges to an object it gains
//! nothing, and on a tree it costs a fifth. Stacks that are fetched some steps
//! ahead, one as each is scanned: that takes half as long again as
//! [`TOGETHER`] at once.
//!
//! Memcheck takes a look at a word that nobody has written for a mistake of the
//! program's. So under it all words are copied first, and the copies are said
//! to be written.
//!
//! Invariants:
//! 1. The world is stopped, and all mcaches are settled: all marks are zero
//!    when marking begins.
//! 2. An object is pushed by the marker that marked it, once; or it was dropped
//!    for want of memory, and `overflow` is set (`gcwork`).
//! 3. Nothing is locked, and `malloc` is not called.

use super::arena::{ARENA, Arenas, HeapArena, PageInfo};
use super::bits::Marked;
use super::candidates::Candidates;
use super::find::Object;
use super::gcwork::{GcWork, Work};
use super::mheap::MHeap;
use super::mspan::MSpan;
use super::near::{LINE, Near};
use super::sizeclass::{CLASS, GRANULE, Kind};
use crate::base::sanitize;
use crate::base::sync::{AtomicUsize, Ordering::*};
use crate::base::throw::throw;
use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
use core::ptr;

/// Addresses of words that may be pointers: from, to. Multiples of 8.
pub type Range = (usize, usize);

/// Lines of an object that are prefetched.
const LINES: usize = 4;
/// Bytes of a large object that are scanned at once.
const OBLET: usize = 128 << 10;
/// Bits of an entry that are an address. Above lies the size in granules; 0 for
/// a piece of a large object.
const ADDRESS: u32 = 48;
/// How many objects a marker scans between two looks at whether others wait.
const PATIENCE: u32 = 64;

/// Copies memory that may not be there any more; false if it is not.
pub type Copy = fn(from: usize, to: &mut [u8]) -> bool;

/// Roots: words to be scanned. `guarded` are those that might not be there any
/// more, and are read by `copy`.
#[derive(Clone, Copy)]
pub struct Roots<'a> {
    pub plain: &'a [Range],
    pub guarded: &'a [Range],
    pub copy: Copy,
}

impl<'a> Roots<'a> {
    /// Roots that are there.
    pub fn plain(plain: &'a [Range]) -> Self {
        Self { plain, guarded: &[], copy: |_, _| false }
    }
}

/// What looks at the words that a marker scans and that do not point near the
/// heap.
pub trait Look: core::marker::Copy {
    /// Whether it wants to see each word.
    const ANY: bool = true;

    fn look(self, word: usize);

    /// Whether a root that equals the end of the object at `base` keeps it.
    fn end_keeps(self, base: usize) -> bool {
        let _ = base;
        true
    }
}

/// Nobody looks.
impl Look for () {
    const ANY: bool = false;

    #[inline(always)]
    fn look(self, _word: usize) {}
}

/// Bytes that are copied at once.
const COPIED: usize = 16 << 10;
/// And where some of them are not there.
const PAGE_BYTES: usize = 4 << 10;

/// Ranges that are one job.
const TOGETHER: usize = 32;
/// Lines of each that are fetched before the first one is scanned.
const FETCHED: usize = 8;

/// One marking.
pub struct Marking<'a> {
    heap: &'a MHeap,
    arenas: Arenas,
    work: &'a Work,
    roots: Roots<'a>,
    /// The next of `roots`, and then of the arenas, that no marker has. atomic
    next: AtomicUsize,
    /// Bytes of the objects that were marked. atomic
    marked: AtomicUsize,
}

impl<'a> Marking<'a> {
    /// For so many markers, each of which calls [`Self::run`]; None without
    /// memory. The world need not be stopped yet.
    pub fn new(
        heap: &'a MHeap,
        work: &'a Work,
        roots: Roots<'a>,
        markers: u32,
    ) -> Option<Self> {
        let arenas = heap.arenas()?;
        work.begin(markers)?;
        let (next, marked) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Some(Self { heap, arenas, work, roots, next, marked })
    }

    /// An arena, by its number in the addresses that the heap has; None for
    /// those that are not the heap's. The outer None is behind the last.
    fn arena(&self, n: usize) -> Option<Option<&'static HeapArena>> {
        let (low, high) = self.heap.bounds();
        let base = low.checked_add(n * ARENA).filter(|base| *base < high)?;
        Some(self.arenas.of(base))
    }

    /// One marker more than was said calls [`Self::run`].
    pub fn join(&self) {
        self.work.join();
    }

    /// Marks, until all markers have nothing left. ALONE is for the only one.
    pub fn run<const ALONE: bool>(&self) {
        self.run_with::<ALONE, ()>(());
    }

    /// [`Self::run`] of the only marker, and [`Self::finish`], while `look`
    /// looks.
    pub fn run_looking(&self, look: impl Look) -> usize {
        self.run_with::<true, _>(look);
        self.finish_with(look)
    }

    fn run_with<const ALONE: bool, L: Look>(&self, look: L) {
        let marker = Marker::<ALONE, L>::new(self, look);
        let Some(mut marker) = marker else { return };
        loop {
            // AcqRel: jobs are taken in one order (`gcwork`).
            let job = self.next.fetch_add(1, AcqRel);
            let Roots { plain, guarded, copy } = self.roots;
            let n = plain.len().div_ceil(TOGETHER);
            let all = n + guarded.len();
            if job < n {
                marker.scan_together(plain, job * TOGETHER);
            } else if job < all {
                marker.scan_guarded(guarded[job - n], copy);
            } else if let Some(arena) = self.arena(job - all) {
                marker.scan_arena(arena);
            } else {
                break;
            }
            marker.drain();
        }
        while marker.work.wait() {
            marker.drain();
        }
        self.marked.fetch_add(marker.marked, Relaxed);
    }

    /// Marks what was dropped for want of memory; after all markers have
    /// returned, by one thread. Returns the bytes that are marked.
    pub fn finish(&self) -> usize {
        self.finish_with(())
    }

    fn finish_with<L: Look>(&self, look: L) -> usize {
        while self.work.take_overflow() {
            let marker = Marker::<true, L>::new(self, look);
            let Some(mut marker) = marker else {
                throw("finish: a marker has not given its blocks back");
            };
            for arena in (0..).map_while(|n| self.arena(n)) {
                marker.scan_marked(arena);
            }
            self.marked.fetch_add(marker.marked, Relaxed);
        }
        self.marked.load(Relaxed)
    }
}

/// A thread that marks.
struct Marker<'a, const ALONE: bool, L: Look> {
    arenas: Arenas,
    low: usize,
    length: usize,
    near: Near,
    work: GcWork<'a>,
    candidates: Candidates,
    marked: usize,
    scanned: u32,
    /// Words are copied before they are looked at.
    copies: bool,
    look: L,
}

/// [`Copy`] of memory that is there.
fn copy_of_own(from: usize, to: &mut [u8]) -> bool {
    // SAFETY: a part of a root or an object, as the caller promises, and the
    // copy's memory is elsewhere.
    unsafe {
        ptr::copy_nonoverlapping(from as *const u8, to.as_mut_ptr(), to.len());
    }
    true
}

#[inline(always)]
fn prefetch<T>(at: *const T) {
    // SAFETY: a hint, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) };
}

impl<'a, const ALONE: bool, L: Look> Marker<'a, ALONE, L> {
    fn new(marking: &Marking<'a>, look: L) -> Option<Self> {
        let (low, high) = marking.heap.bounds();
        let length = high.saturating_sub(low);
        Some(Self {
            arenas: marking.arenas,
            low,
            length,
            near: Near::new(low, length),
            work: GcWork::new(marking.work)?,
            candidates: Candidates::new(),
            marked: 0,
            scanned: 0,
            copies: sanitize::memcheck(),
            look,
        })
    }

    /// Scans all that there is of one's own: an object for each candidate that
    /// is looked at, as long as there are many of both.
    fn drain(&mut self) {
        self.fetch_since(0);
        loop {
            let many = self.candidates.are_many();
            let from = self.candidates.next();
            if many {
                self.mark_oldest();
            }
            if let Some(object) = self.work.pop() {
                self.scan(object);
            } else if self.candidates.is_empty() {
                return;
            } else {
                self.mark_oldest();
            }
            if !many {
                self.fetch_since(from);
            }
        }
    }

    /// Fetches for the candidates from number `from` on that are not yet many.
    #[inline(always)]
    fn fetch_since(&mut self, from: usize) {
        self.candidates.since(from).for_each(|word| self.fetch(word));
    }

    /// Looks at the oldest candidate, and fetches for a later one.
    #[inline(always)]
    fn mark_oldest(&mut self) {
        self.fetch(self.candidates.later());
        let oldest = self.candidates.take();
        self.mark(oldest);
    }

    /// Fetches what the look at a candidate will need: its bits, and the first
    /// line of the object.
    #[inline(always)]
    fn fetch(&self, word: usize) {
        if let Some(arena) = self.arenas.of(word) {
            prefetch(arena.pair(word));
            prefetch(word as *const u8);
        }
    }

    /// Scans an object that was marked.
    #[inline(always)]
    fn scan(&mut self, object: usize) {
        let base = object & ((1 << ADDRESS) - 1);
        let size = match object >> ADDRESS {
            0 => self.scan_large(base),
            granules => granules * GRANULE,
        };
        if !ALONE {
            self.scanned += 1;
            if self.scanned.is_multiple_of(PATIENCE) {
                self.work.balance();
            }
        }
        self.scan_object((base, base + size));
    }

    /// Scans a range in an object.
    #[inline(always)]
    fn scan_object(&mut self, range: Range) {
        if self.copies {
            let words = |this: &mut Self, (from, to)| this.scan_words(from, to);
            self.scan_copied(range, copy_of_own, words);
        } else {
            self.scan_words(range.0, range.1);
        }
    }

    /// How much of a large object is scanned from `at` on; pushes the rest.
    #[cold]
    fn scan_large(&mut self, at: usize) -> usize {
        let Some(s) = self.arenas.span(at) else { return 0 };
        let rest = s.base.get() + s.elemsize.get() - at;
        if rest > OBLET {
            self.work.push(at + OBLET);
            if !ALONE {
                self.work.balance();
            }
        }
        rest.min(OBLET)
    }

    /// Scans words of an object; of a longer one, by lines.
    #[inline(always)]
    fn scan_words(&mut self, from: usize, to: usize) {
        let mut at = from;
        if to - from > LINE {
            while at + LINE <= to {
                // SAFETY: words of an object of ours, and the world is stopped.
                let line = unsafe { *(at as *const [usize; LINE / 8]) };
                if L::ANY || self.near.any(line) {
                    self.add(line);
                }
                at += LINE;
            }
        }
        while at < to {
            // SAFETY: the same.
            self.add(unsafe { *(at as *const [usize; GRANULE / 8]) });
            at += GRANULE;
        }
    }

    /// Makes candidates of those words that point near the heap.
    #[inline(always)]
    fn add<const N: usize>(&mut self, words: [usize; N]) {
        while !self.candidates.has_room(N) {
            self.mark_oldest();
        }
        for word in words {
            let is_near = word.wrapping_sub(self.low) < self.length;
            if !is_near {
                self.look.look(word);
            }
            self.candidates.add_if(is_near, word);
        }
    }

    /// Marks what `word` points into, and pushes it if it is new. Most words
    /// are the address at which an object begins, and then its bits tell.
    #[inline(always)]
    fn mark(&mut self, word: usize) {
        let Some(arena) = self.arenas.of(word) else {
            self.look.look(word);
            return;
        };
        let pair = arena.pair(word);
        let bit = 1 << (word / GRANULE % 64);
        if pair.alloc() & bit == 0 {
            self.mark_inner(word);
        } else if let Marked::Now = pair.try_mark::<ALONE>(bit) {
            self.push(word & !(GRANULE - 1), arena.page(word));
        }
    }

    /// [`Self::mark`] of a word that points into no object's first granule.
    #[inline(never)]
    fn mark_inner(&mut self, word: usize) {
        let Some(object) = self.arenas.find(word) else { return };
        let (pair, bit) = object.bit();
        if let Marked::Now = pair.try_mark::<ALONE>(bit)
            && let Some(arena) = self.arenas.of(object.base)
        {
            self.push(object.base, arena.page(object.base));
        }
    }

    /// Pushes an object that was marked, if it may hold pointers.
    #[inline(always)]
    fn push(&mut self, base: usize, page: PageInfo) {
        let size = CLASS[page.class()].size;
        if size == 0 {
            self.count_large(base);
        }
        self.marked += size;
        if page.kind().has_pointers() {
            self.work.push(base | (size / GRANULE) << ADDRESS);
            let mut line = LINE;
            while line < size.min(LINES * LINE) {
                prefetch((base + line) as *const u8);
                line += LINE;
            }
        }
    }

    #[cold]
    fn count_large(&mut self, base: usize) {
        self.marked += self.arenas.span(base).map_or(0, |s| s.elemsize.get());
    }

    /// Scans a job's ranges. Most are the stacks of parked goroutines: a few
    /// lines each, which are in no cache, and are fetched all at once.
    fn scan_together(&mut self, plain: &[Range], first: usize) {
        let ranges = plain[first..].iter().take(TOGETHER);
        if self.copies {
            ranges.for_each(|it| self.scan_guarded(*it, copy_of_own));
            return;
        }
        for (from, to) in ranges.clone() {
            let from = from & !(LINE - 1);
            for at in (from..*to).step_by(LINE).take(FETCHED) {
                prefetch(at as *const u8);
            }
        }
        for range in ranges {
            self.scan_root(*range);
        }
    }

    /// Scans a range of roots, where a pointer may also be to an object's end.
    fn scan_root(&mut self, (from, to): Range) {
        let mut at = from;
        if !L::ANY {
            while at + LINE <= to {
                // SAFETY: words of a root, as the caller promises.
                if self.near.any(unsafe { *(at as *const _) }) {
                    self.scan_root_words(at, at + LINE);
                }
                at += LINE;
            }
        }
        self.scan_root_words(at, to);
    }

    /// [`Self::scan_root`], word by word.
    #[inline]
    fn scan_root_words(&mut self, from: usize, to: usize) {
        for at in (from..to).step_by(size_of::<usize>()) {
            // SAFETY: a word of a root, as the caller promises.
            let word = unsafe { *(at as *const usize) };
            let far = word.wrapping_sub(self.low);
            self.add([word]);
            if far <= self.length && word % GRANULE == 0 {
                self.mark_before(word);
            }
        }
    }

    /// Scans a range of roots that may not be there any more.
    fn scan_guarded(&mut self, range: Range, copy: Copy) {
        self.scan_copied(range, copy, |this, copied| {
            this.scan_root(copied);
            this.drain();
        });
    }

    /// Calls `scan` with copies of all that is there of a range.
    #[inline(never)]
    fn scan_copied(
        &mut self,
        (from, to): Range,
        copy: Copy,
        scan: fn(&mut Self, Range),
    ) {
        let mut room = [0u64; COPIED / 8];
        let base = room.as_mut_ptr();
        let mut at = from;
        while at < to {
            let mut len = (to - at).min(COPIED);
            // SAFETY: within the room, whose bytes are initialised.
            let bytes =
                unsafe { core::slice::from_raw_parts_mut(base.cast(), len) };
            if !copy(at, bytes) {
                // Up to the next page's begin, alone.
                len = len.min(PAGE_BYTES - at % PAGE_BYTES);
                if !copy(at, &mut bytes[..len]) {
                    at += len;
                    continue;
                }
            }
            if self.copies {
                sanitize::copy_is_read(base.cast(), len);
            }
            scan(self, (base.addr(), base.addr() + len / 8 * 8));
            at += len;
        }
    }

    /// Marks the object that ends at `word`.
    fn mark_before(&mut self, word: usize) {
        let before = self.arenas.find(word - 1);
        let ends = |it: &Object| it.is_full() && it.base + it.size == word;
        let before = before.filter(ends).map(|it| it.base);
        if before.is_some_and(|base| self.look.end_keeps(base)) {
            self.mark(word - 1);
        }
    }

    /// Scans the objects that are roots.
    fn scan_arena(&mut self, arena: Option<&'static HeapArena>) {
        let Some(arena) = arena else { return };
        let root = |kind| kind == Kind::Root;
        arena.each_span(root, |s| {
            s.each_object(|at, _, _| self.mark(at));
            // Not too many at once.
            self.drain();
        });
    }

    /// Scans the objects that are marked already, as some of them were not.
    fn scan_marked(&mut self, arena: Option<&'static HeapArena>) {
        let Some(arena) = arena else { return };
        arena.each_span(Kind::has_pointers, |s: &MSpan| {
            s.each_object(|at, pair, bit| {
                if pair.mark() & bit != 0 {
                    self.scan_object((at, at + s.elemsize.get()));
                    self.drain();
                }
            });
        });
    }
}
