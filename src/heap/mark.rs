//! The marker: finds all objects that can be reached.
//!
//! Any word into an allocated object keeps the object. Of roots, a word that
//! equals the end of an object keeps that object too: compilers hold end
//! pointers in registers and index back from them.
//!
//! Marking is bound by cache misses: that of the bits of an object, and that of
//! the object. So a short queue stands between a word that is found and the
//! look at its bits, and both are prefetched when the word enters the queue.
//!
//! ```text
//!   scan --words--> candidates --find, mark--> stack --objects--> scan
//!                   (prefetch bits, object)    (prefetch the rest)
//! ```
//! The stack makes the order depth-first, nearly: the queue delays by its
//! length. An object that is longer than [`OBLET`] is scanned in such pieces,
//! so that several markers can share it.
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

use super::arena::{ARENA, Arenas, HeapArena};
use super::bits::Marked;
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
use core::{mem, ptr};

/// Addresses of words that may be pointers: from, to. Multiples of 8.
pub type Range = (usize, usize);

/// The length of the queue.
const CANDIDATES: usize = 16;
/// Lines of an object that are prefetched.
const LINES: usize = 4;
/// Bytes of a large object that are scanned at once.
const OBLET: usize = 128 << 10;
/// Bits of an entry that are an address; the class lies above.
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

/// A queue of N entries, 0 being none.
struct Queue<const N: usize> {
    ring: [usize; N],
    at: usize,
}

impl<const N: usize> Queue<N> {
    const fn new() -> Self {
        const { assert!(N.is_power_of_two()) };
        Self { ring: [0; N], at: 0 }
    }

    /// Puts an entry in, and takes the oldest one out.
    #[inline(always)]
    fn exchange(&mut self, entry: usize) -> usize {
        let old = mem::replace(&mut self.ring[self.at % N], entry);
        self.at += 1;
        old
    }

    /// The oldest entry; 0 if there is none.
    fn take(&mut self) -> usize {
        for _ in 0..N {
            let old = self.exchange(0);
            if old != 0 {
                return old;
            }
        }
        0
    }
}

/// A thread that marks.
struct Marker<'a, const ALONE: bool, L: Look> {
    arenas: Arenas,
    low: usize,
    length: usize,
    near: Near,
    work: GcWork<'a>,
    candidates: Queue<CANDIDATES>,
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
            candidates: Queue::new(),
            marked: 0,
            scanned: 0,
            copies: sanitize::memcheck(),
            look,
        })
    }

    /// Scans all that there is of one's own.
    fn drain(&mut self) {
        loop {
            if let Some(object) = self.work.pop() {
                self.scan(object);
            } else {
                let candidate = self.candidates.take();
                if candidate == 0 {
                    return;
                }
                self.mark(candidate);
            }
        }
    }

    /// Scans an object that was marked.
    #[inline(always)]
    fn scan(&mut self, object: usize) {
        let base = object & ((1 << ADDRESS) - 1);
        let size = match object >> ADDRESS {
            0 => self.scan_large(base),
            class => CLASS[class].size,
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

    #[inline(always)]
    fn scan_words(&mut self, from: usize, to: usize) {
        let mut at = from;
        while at < to {
            // SAFETY: a word of a root, as the caller promises, or of an
            // object of ours. The world is stopped.
            let word = unsafe { *(at as *const usize) };
            if word.wrapping_sub(self.low) < self.length {
                self.candidate(word);
            } else {
                self.look.look(word);
            }
            at += size_of::<usize>();
        }
    }

    /// A word that points near the heap.
    #[inline(always)]
    fn candidate(&mut self, word: usize) {
        if let Some(arena) = self.arenas.of(word) {
            prefetch(arena.pair(word));
            prefetch(word as *const u8);
            let oldest = self.candidates.exchange(word);
            if oldest != 0 {
                self.mark(oldest);
            }
        } else {
            self.look.look(word);
        }
    }

    /// Marks what `word` points into, and pushes it if it is new.
    #[inline(always)]
    fn mark(&mut self, word: usize) {
        let Some(object) = self.arenas.find(word) else { return };
        let (pair, bit) = object.bit();
        if let Marked::Now = pair.try_mark::<ALONE>(bit) {
            self.marked += object.size;
            if object.kind.has_pointers() {
                self.work.push(object.base | object.class << ADDRESS);
                let most = object.size.min(LINES * LINE);
                for line in (LINE..most).step_by(LINE) {
                    prefetch((object.base + line) as *const u8);
                }
            }
        }
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
            if far < self.length {
                self.candidate(word);
            } else {
                self.look.look(word);
            }
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
        let ends = |it: &Object| it.base + it.size == word;
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
