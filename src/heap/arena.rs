//! Arenas: 64 MB of address space each, what is known of their pages, and the
//! table that leads from an address to its arena.
//!
//! ```text
//!   none --reserve--> Reserved --prepare--> Prepared --touch--> Ready
//! ```
//! A Reserved page has an address and no rights, a Prepared one may be used and
//! has no memory yet, a Ready one has. A page goes from Ready back to Prepared
//! when the scavenger gives its memory back. Arenas are prepared from their
//! front, [`CHUNK`] bytes and more at a time, so that a heap charges a strict
//! kernel with what it is about to use only.
//!
//! The table is flat, one word for each arena that the address space of a
//! process could have: 16 MB of zeros that are only read, but for the pages
//! that have an arena's word (`os::addresses`). A second one beside it leads to
//! the spans of stacks that lie in the same 64 MB of addresses (`manual`), by
//! two steps.
//!
//! Invariants:
//! 1. A word of the table is null or a `HeapArena`, which stays, with the
//!    arena.
//! 2. The entry of a page is [`PageInfo::NONE`] or tells its span's class and
//!    kind; `spans` then has the span. An entry is made before the span's first
//!    object is handed out, and goes after the last one was freed.
//! 3. A bit of an arena is 0 where its page has no span.

use super::bits::Pair;
use super::mspan::{MSpan, SpanList};
use super::sizeclass::{GRANULE, Kind, PAGE, PAGE_SHIFT, WORD_BYTES};
use crate::base::sync::{AtomicPtr, AtomicU16, Ordering::*};
use crate::os::{Result, addresses, ours};
use core::ptr;

/// Bytes of an arena, as a shift and as a number.
pub const ARENA_SHIFT: usize = 26;
pub const ARENA: usize = 1 << ARENA_SHIFT;
/// Pages of an arena.
pub const PAGES: usize = ARENA / PAGE;
/// The step in which an arena is prepared: Go's pallocChunk.
pub const CHUNK: usize = 4 << 20;
/// Words of bits of an arena.
const PAIRS: usize = ARENA / WORD_BYTES;
/// Arenas below the end of a process's addresses.
const MOST: usize = 1 << (47 - ARENA_SHIFT);
/// Lists of stacks that are mapped at once.
const LISTS: usize = 2048;

/// Where the kind of a page stands, and how many classes there could be.
const KIND_SHIFT: u16 = 7;
const KIND: usize = 1 << KIND_SHIFT;
/// More than any [`PageInfo::class_and_kind`].
pub const CLASSES_AND_KINDS: usize = 4 * KIND;

/// [`PageInfo::class_and_kind`] of the pages of such a span.
#[inline(always)]
pub fn class_and_kind(class: usize, kind: Kind) -> usize {
    (kind as usize) << KIND_SHIFT | class
}

/// What the marker has to know of a page, in 16 bits:
///
/// ```text
///   15   12 11   9 8   7 6        0
///   back + 1   0   kind    class
/// ```
/// `back` is the number of pages back to the span's base. A large object has
/// class 0, and its base is found through its span.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PageInfo(u16);

impl PageInfo {
    /// No span.
    pub const NONE: Self = Self(0);
    const LARGE: u16 = 15;

    pub fn new(class: u8, kind: Kind, back: usize) -> Self {
        let back = match class {
            0 => Self::LARGE,
            _ => back as u16 + 1,
        };
        Self(back << 12 | (kind as u16) << KIND_SHIFT | u16::from(class))
    }

    #[inline(always)]
    pub fn class(self) -> usize {
        usize::from(self.0) % KIND
    }

    /// The class of a [`Self::class_and_kind`].
    pub const fn class_of(class_and_kind: usize) -> usize {
        class_and_kind % KIND
    }

    /// Class and kind as one number, less than [`CLASSES_AND_KINDS`].
    #[inline(always)]
    pub fn class_and_kind(self) -> usize {
        usize::from(self.0) % (4 * KIND)
    }

    #[inline(always)]
    pub fn kind(self) -> Kind {
        match self.0 >> KIND_SHIFT & 3 {
            0 => Kind::Scan,
            1 => Kind::Noscan,
            _ => Kind::Root,
        }
    }

    /// Pages back to the base of a span of small objects.
    #[inline(always)]
    pub fn back(self) -> usize {
        usize::from(self.0 >> 12) - 1
    }
}

/// What is known of an arena.
#[repr(C)]
pub struct HeapArena {
    /// atomic
    pages: [AtomicU16; PAGES],
    /// atomic
    spans: [AtomicPtr<MSpan>; PAGES],
    bits: [Pair; PAIRS],
}

impl HeapArena {
    #[inline(always)]
    pub fn page(&self, addr: usize) -> PageInfo {
        // Relaxed: a reader holds an object of the span, or the world is
        // stopped, or any answer will do.
        PageInfo(self.pages[page_of(addr)].load(Relaxed))
    }

    /// The span at `addr`; None if there is none.
    #[inline]
    pub fn span(&self, addr: usize) -> Option<&'static MSpan> {
        let s = self.spans[page_of(addr)].load(Acquire);
        // SAFETY: null or a span, and spans stay.
        unsafe { s.as_ref() }
    }

    /// The bits of the granules around `addr`.
    #[inline(always)]
    pub fn pair(&self, addr: usize) -> &Pair {
        &self.bits[addr / WORD_BYTES % PAIRS]
    }

    /// The bits of `bytes` bytes at `addr`, all in this arena.
    pub fn pairs(&'static self, addr: usize, bytes: usize) -> &'static [Pair] {
        let first = addr / WORD_BYTES % PAIRS;
        &self.bits[first..first + bytes / WORD_BYTES]
    }

    /// Each page with a span that begins in it, of a kind for which `wanted`.
    pub fn each_span(
        &self,
        wanted: impl Fn(Kind) -> bool,
        mut found: impl FnMut(&'static MSpan),
    ) {
        for (n, page) in self.pages.iter().enumerate() {
            let info = PageInfo(page.load(Relaxed));
            if info == PageInfo::NONE || !wanted(info.kind()) {
                continue;
            }
            // SAFETY: null or a span, and spans stay.
            let s = unsafe { self.spans[n].load(Acquire).as_ref() };
            if let Some(s) = s.filter(|s| page_of(s.base.get()) == n) {
                found(s);
            }
        }
    }
}

fn page_of(addr: usize) -> usize {
    addr >> PAGE_SHIFT & (PAGES - 1)
}

/// The table of arenas, and that of stacks. A word is written once its page is
/// opened.
#[repr(C)]
struct Table {
    arenas: [AtomicPtr<HeapArena>; MOST],
    stacks: [AtomicPtr<Lists>; MOST / LISTS],
}

/// Stacks, for 64 MB of addresses each. lock: the page heap's
struct Lists([SpanList; LISTS]);

/// Stores the address that `map` returns in a word of the table.
fn store<T>(
    word: &AtomicPtr<T>,
    map: impl FnOnce() -> Result<*mut u8>,
) -> Result<()> {
    // SAFETY: the table stays.
    unsafe { addresses::open(ptr::from_ref(word).cast()) }?;
    // Pairs with the acquire of `of`.
    word.store(map()?.cast(), Release);
    Ok(())
}

/// The table of arenas.
#[derive(Clone, Copy)]
pub struct Arenas(&'static Table);

impl Arenas {
    /// An empty table.
    pub(super) fn new() -> Result<Self> {
        let at = ours::zeros_ours(size_of::<Table>())?.cast::<Table>();
        // SAFETY: a mapping of this length, zeroed: nulls. It stays.
        Ok(Self(unsafe { &*at }))
    }

    /// The arena that `addr` is in, where that is one of ours.
    #[inline(always)]
    pub fn of(self, addr: usize) -> Option<&'static HeapArena> {
        // Acquire: pairs with the release of add.
        let arena = self.0.arenas.get(addr >> ARENA_SHIFT)?.load(Acquire);
        // SAFETY: invariant 1.
        unsafe { arena.as_ref() }
    }

    /// [`Self::of`] where a granule begins at `at`.
    #[inline(always)]
    pub fn of_granule(self, at: usize) -> Option<&'static HeapArena> {
        // What is not a multiple of 16 becomes a number beyond the table.
        let granule = at.rotate_right(GRANULE.ilog2());
        let arena = granule >> (ARENA_SHIFT - GRANULE.ilog2() as usize);
        // Acquire: pairs with the release of add.
        let arena = self.0.arenas.get(arena)?.load(Acquire);
        // SAFETY: invariant 1.
        unsafe { arena.as_ref() }
    }

    /// Makes known the arena at `base`, which is reserved. The caller has the
    /// page heap's lock.
    pub(super) fn add(self, base: usize) -> Result<()> {
        let arena = || ours::map_ours_late(size_of::<HeapArena>());
        store(&self.0.arenas[base >> ARENA_SHIFT], arena)
    }

    /// The spans of stacks in the 64 MB around `addr`, where there may be any.
    /// The caller has the page heap's lock.
    pub(super) fn stacks(self, addr: usize) -> Option<&'static SpanList> {
        let n = addr >> ARENA_SHIFT;
        let lists = self.0.stacks.get(n / LISTS)?.load(Acquire);
        // SAFETY: null, or from `stacks_mut`, which stays.
        unsafe { lists.as_ref() }.map(|lists| &lists.0[n % LISTS])
    }

    /// [`Self::stacks`], for another span of them; None without memory, and
    /// where no process has addresses.
    pub(super) fn stacks_mut(self, addr: usize) -> Option<&'static SpanList> {
        let lists = self.0.stacks.get((addr >> ARENA_SHIFT) / LISTS)?;
        if lists.load(Acquire).is_null() {
            // Zeros are empty lists.
            store(lists, || ours::map_ours(size_of::<Lists>())).ok()?;
        }
        self.stacks(addr)
    }

    /// The span of objects at `addr`; None if there is none.
    #[inline]
    pub fn span(self, addr: usize) -> Option<&'static MSpan> {
        self.of(addr)?.span(addr)
    }

    /// Makes the pages of a span known. The caller has the page heap's lock.
    pub fn set_span(self, s: &'static MSpan) {
        let (class, kind) = (s.class.get(), s.kind.get());
        self.each_page(s, |arena, page, n| {
            let at = core::ptr::from_ref(s).cast_mut();
            arena.spans[page].store(at, Release);
            arena.pages[page].store(PageInfo::new(class, kind, n).0, Release);
        });
    }

    /// Forgets the pages of a span. The caller has the page heap's lock.
    pub fn clear_span(self, s: &'static MSpan) {
        self.each_page(s, |arena, page, _| {
            arena.pages[page].store(PageInfo::NONE.0, Release);
            arena.spans[page].store(core::ptr::null_mut(), Release);
        });
    }

    fn each_page(
        self,
        s: &MSpan,
        mut f: impl FnMut(&'static HeapArena, usize, usize),
    ) {
        for n in 0..s.npages.get() {
            let addr = s.base.get() + n * PAGE;
            if let Some(arena) = self.of(addr) {
                f(arena, page_of(addr), n);
            }
        }
    }
}
