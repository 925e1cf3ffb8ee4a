//! Which pages of the arenas are free, and which of these have no memory:
//! Go's `pageAlloc`, made of bitmaps.
//!
//! Go keeps a radix tree of summaries, so that a hole of any size is found in
//! some steps in terabytes. Here each arena has a bitmap of 128 words, and a
//! bound for its longest hole; the bounds of all arenas lie side by side, 32
//! arenas a cache line. Looking for a page reads at most so many bounds as
//! there are arenas (16 a gigabyte), from the first one that may have a page
//! on, and one bitmap. Allocation is first-fit, lowest address first, as in Go.
//!
//! A span longer than an arena gets arenas of its own, side by side. The pages
//! behind its end are for others, but last: an arena that had a span longer
//! than half an arena is apart, and shorter spans take its pages where no other
//! arena has any, not even unprepared ones. So one short span that stays does
//! not take the place of a long one that comes again. New arenas lie below the
//! others, and lowest first alone would put a short span into each of them.
//!
//! No short span begins where an arena does (invariant 6). glibc's `malloc` has
//! the address at which its next heap would lie, the end of its last one, in
//! its data. Its heaps and our arenas are aligned alike, and the kernel puts
//! both side by side, so an arena often begins at that address. In a static
//! program that word is a root (`gc::roots` leaves it out elsewhere), and the
//! arena's first object would be no garbage, with all that it leads to. Long
//! spans do begin there: if 32 MB objects did not, one would take an arena.
//!
//! Invariants:
//! 1. `free` has a 1 for each page that is Prepared and in no span.
//! 2. `clean` has a 1 for each page that reads as zeros and has no memory. It
//!    may be set for pages that are not prepared.
//! 3. No hole of arena n, without its first page, is longer than its `most`.
//! 4. Pages from `prepared` on are Reserved.
//! 5. `arenas` ascends by address.
//! 6. The first page of an arena is in no span of less than [`LONG`] pages.
//! 7. An arena that is apart had a span of more than half an arena, and no
//!    shorter one since.

use super::arena::{ARENA, CHUNK, PAGES};
use super::sizeclass::PAGE;
use super::table::Table;
use core::ops::Range;

const WORDS: usize = PAGES / 64;
/// Pages of a span that may begin where an arena does. Of shorter ones an arena
/// has room for eight beside its first page, so at most a ninth is lost.
const LONG: usize = PAGES / 8;
/// A span of more pages sets its arenas apart.
const HALF: usize = PAGES / 2;

/// A set of the pages of an arena.
#[derive(Clone, Copy)]
struct Bitmap([u64; WORDS]);

impl Bitmap {
    fn is_set(&self, page: usize) -> bool {
        self.0[page / 64] >> (page % 64) & 1 == 1
    }

    fn change(&mut self, pages: Range<usize>, set: bool) {
        let mut at = pages.start;
        while at < pages.end {
            let end = pages.end.min((at / 64 + 1) * 64);
            let mask = u64::MAX >> (64 - (end - at)) << (at % 64);
            let word = &mut self.0[at / 64];
            *word = if set { *word | mask } else { *word & !mask };
            at = end;
        }
    }

    fn all(&self, pages: Range<usize>) -> bool {
        pages.into_iter().all(|page| self.is_set(page))
    }

    /// A word, without the page at which no short span begins.
    fn begins(&self, w: usize) -> u64 {
        self.0[w] & if w == 0 { !1 } else { !0 }
    }

    /// The first run of `n` pages where so long a span may begin, from a word
    /// on; else the length of the longest run there.
    fn run(&self, from: usize, n: usize) -> Result<usize, usize> {
        let (mut start, mut length, mut longest) = (0, 0, 0);
        for w in from..WORDS {
            let word = if n < LONG { self.begins(w) } else { self.0[w] };
            if word == u64::MAX {
                if length == 0 {
                    start = w * 64;
                }
                length += 64;
                if length >= n {
                    return Ok(start);
                }
                continue;
            }
            let mut at = 0;
            while at < 64 {
                let rest = word >> at;
                let ones = (!rest).trailing_zeros().min(64 - at);
                if ones > 0 {
                    if length == 0 {
                        start = w * 64 + at as usize;
                    }
                    length += ones as usize;
                    if length >= n {
                        return Ok(start);
                    }
                    at += ones;
                }
                if at < 64 {
                    longest = longest.max(length);
                    length = 0;
                    at += (word >> at).trailing_zeros().min(64 - at);
                }
            }
        }
        Err(longest.max(length))
    }
}

/// The pages of an arena.
#[derive(Clone, Copy)]
struct ArenaPages {
    base: usize,
    free: Bitmap,
    clean: Bitmap,
    prepared: usize,
    /// No word of `free` before it has a page where a short span may begin.
    low: usize,
}

/// What is asked of each arena first.
#[derive(Clone, Copy)]
struct Room {
    /// Invariant 3.
    most: u16,
    /// Invariant 7.
    apart: bool,
}

/// The pages of all arenas.
pub(super) struct PageAlloc {
    arenas: Table<ArenaPages>,
    room: Table<Room>,
    /// No arena before it has a free page where a short span may begin.
    first: usize,
    /// Pages that are free, and of these without memory.
    pub(super) free: usize,
    pub(super) clean: usize,
}

/// Pages that were found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Run {
    pub(super) base: usize,
    pub(super) npages: usize,
    /// Whether all of them read as zeros.
    pub(super) clean: bool,
}

/// Pages that are to be prepared: base, and bytes.
pub(super) type Unprepared = (usize, usize);

/// How many arenas have room for a span of `npages` pages.
pub(super) fn arenas_for(npages: usize) -> usize {
    npages.div_ceil(PAGES)
}

impl PageAlloc {
    pub(super) const fn new() -> Self {
        Self {
            arenas: Table::new(),
            room: Table::new(),
            first: 0,
            free: 0,
            clean: 0,
        }
    }

    /// Calls `found` with the list of the arenas: from, to.
    pub(super) fn each_list(&self, found: &mut dyn FnMut(usize, usize)) {
        let list = self.arenas.as_ptr_range();
        found(list.start.addr(), list.end.addr());
    }

    /// Calls `found` with the address of each arena.
    pub(super) fn each_arena(&self, found: impl FnMut(usize)) {
        self.arenas.iter().map(|arena| arena.base).for_each(found);
    }

    /// How many arenas there are.
    pub(super) fn len(&self) -> usize {
        self.arenas.len()
    }

    /// The lowest address of an arena, if there is any.
    pub(super) fn lowest(&self) -> Option<usize> {
        self.arenas.first().map(|arena| arena.base)
    }

    /// Makes room for `n` more arenas; None without memory.
    pub(super) fn reserve(&mut self, n: usize) -> Option<()> {
        self.arenas.reserve(n)?;
        self.room.reserve(n)
    }

    /// Adds an arena that is Reserved; None without memory.
    pub(super) fn add(&mut self, base: usize) -> Option<()> {
        self.reserve(1)?;
        let at = self.arenas.partition_point(|arena| arena.base < base);
        let free = Bitmap([0; WORDS]);
        let clean = Bitmap([u64::MAX; WORDS]);
        let arena = ArenaPages { base, free, clean, prepared: 0, low: 0 };
        // Both have room, and so this succeeds.
        self.arenas.insert(at, arena)?;
        self.room.insert(at, Room { most: 0, apart: false })?;
        if at < self.first {
            self.first = at;
        }
        Some(())
    }

    /// Takes the lowest `npages` pages in a row; for a short span, of arenas
    /// that are not apart, and of others where no pages could be prepared.
    pub(super) fn take(&mut self, npages: usize) -> Option<Run> {
        if npages > PAGES {
            return self.take_many(npages);
        }
        if npages > HALF {
            return self.take_any(npages);
        }
        let run = self.take_where(npages, |room| !room.apart);
        if run.is_some() || self.unprepared_where(npages, false).is_some() {
            return run;
        }
        self.take_any(npages)
    }

    /// Takes the lowest `npages` pages in a row, no more than an arena has,
    /// whatever is apart.
    pub(super) fn take_any(&mut self, npages: usize) -> Option<Run> {
        self.take_where(npages, |_| true)
    }

    fn take_where(
        &mut self,
        npages: usize,
        wanted: impl Fn(&Room) -> bool,
    ) -> Option<Run> {
        // The first page may be one more.
        let least = npages - usize::from(npages >= LONG);
        for n in self.first..self.arenas.len() {
            let room = &mut self.room[n];
            if usize::from(room.most) < least {
                if n == self.first && room.most == 0 {
                    self.first += 1;
                }
                continue;
            }
            if !wanted(room) {
                continue;
            }
            let arena = &mut self.arenas[n];
            let words = arena.low..WORDS;
            let none = |w: &usize| arena.free.begins(*w) == 0;
            arena.low += words.take_while(none).count();
            match arena.free.run(arena.low, npages) {
                Ok(page) => {
                    room.apart = npages > HALF;
                    return Some(self.take_at(n, page, npages));
                }
                Err(longest) => room.most = longest as u16,
            }
        }
        None
    }

    fn take_at(&mut self, n: usize, page: usize, npages: usize) -> Run {
        let arena = &mut self.arenas[n];
        let pages = page..page + npages;
        let clean = arena.clean.all(pages.clone());
        let cleans = pages.clone().filter(|page| arena.clean.is_set(*page));
        self.clean -= if clean { npages } else { cleans.count() };
        self.free -= npages;
        arena.free.change(pages.clone(), false);
        arena.clean.change(pages, false);
        Run { base: arena.base + page * PAGE, npages, clean }
    }

    /// Arenas side by side that are free as a whole, for more pages than one
    /// has.
    fn take_many(&mut self, npages: usize) -> Option<Run> {
        let many = arenas_for(npages);
        let whole = |arena: &ArenaPages| {
            arena.prepared == PAGES && arena.free.0 == [u64::MAX; WORDS]
        };
        let found = self.arenas.windows(many).position(|arenas| {
            let next =
                |pair: &[ArenaPages]| pair[0].base + ARENA == pair[1].base;
            arenas.iter().all(whole) && arenas.windows(2).all(next)
        })?;
        let base = self.arenas[found].base;
        let (mut left, mut clean) = (npages, true);
        for n in found..found + many {
            let here = left.min(PAGES);
            clean &= self.take_at(n, 0, here).clean;
            self.room[n].apart = true;
            left -= here;
        }
        Some(Run { base, npages, clean })
    }

    /// Gives pages back. With `clean` they have no memory.
    pub(super) fn put(&mut self, base: usize, npages: usize, clean: bool) {
        let (mut base, mut left) = (base, npages);
        self.free += npages;
        self.clean += if clean { npages } else { 0 };
        while left > 0 {
            let n = self.arenas.partition_point(|arena| arena.base <= base) - 1;
            let arena = &mut self.arenas[n];
            let page = (base - arena.base) / PAGE;
            let here = left.min(PAGES - page);
            arena.free.change(page..page + here, true);
            arena.clean.change(page..page + here, clean);
            arena.low = arena.low.min(page / 64);
            // Holes may have grown together; `take` finds the truth.
            self.room[n].most = PAGES as u16;
            self.first = self.first.min(n);
            base += here * PAGE;
            left -= here;
        }
    }

    /// Where pages can be prepared so that `npages` in a row become free, first
    /// in arenas that are not apart; None: another arena is needed.
    pub(super) fn unprepared(&self, npages: usize) -> Option<Unprepared> {
        self.unprepared_where(npages, false)
            .or_else(|| self.unprepared_where(npages, true))
    }

    fn unprepared_where(
        &self,
        npages: usize,
        apart: bool,
    ) -> Option<Unprepared> {
        let skipped = usize::from(npages < LONG);
        let mut arenas = self.arenas.iter().zip(self.room.iter());
        let (arena, _) = arenas.find(|(arena, room)| {
            let holes = (skipped..arena.prepared).rev();
            let hole = holes.take_while(|page| arena.free.is_set(*page));
            // One look is enough for most: the free end is short.
            let left = PAGES - arena.prepared.max(skipped);
            room.apart == apart
                && arena.prepared < PAGES
                && left + hole.take(npages).count() >= npages
        })?;
        let least = CHUNK / PAGE;
        let pages = npages + skipped * usize::from(arena.prepared == 0);
        let pages = pages.next_multiple_of(least);
        let pages = pages.min(PAGES - arena.prepared);
        Some((arena.base + arena.prepared * PAGE, pages * PAGE))
    }

    /// The pages of the answer of [`Self::unprepared`], or of a whole new
    /// arena, are Prepared, and free from now on.
    pub(super) fn prepared(&mut self, (base, bytes): Unprepared) {
        let (mut at, end) = (base, base + bytes);
        while at < end {
            let n = self.arenas.partition_point(|arena| arena.base <= at) - 1;
            let arena = &mut self.arenas[n];
            let here = end.min(arena.base + ARENA) - at;
            arena.prepared += here / PAGE;
            self.put(at, here / PAGE, true);
            at += here;
        }
    }

    /// Takes free pages that have memory, the highest first, at most `most` in
    /// a row.
    pub(super) fn take_dirty(&mut self, most: usize) -> Option<Run> {
        for n in (0..self.arenas.len()).rev() {
            let arena = &self.arenas[n];
            let dirty = |w: usize| arena.free.0[w] & !arena.clean.0[w];
            let Some(w) = (0..WORDS).rev().find(|w| dirty(*w) != 0) else {
                continue;
            };
            let last = w * 64 + 63 - dirty(w).leading_zeros() as usize;
            let is = |page: &usize| {
                arena.free.is_set(*page) && !arena.clean.is_set(*page)
            };
            let down = (0..=last).rev().take(most);
            let npages = down.take_while(is).count();
            return Some(self.take_at(n, last + 1 - npages, npages));
        }
        None
    }
}
