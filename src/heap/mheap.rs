//! The heap of pages: Go's `mheap`. It has the arenas, hands out spans, takes
//! them back, and gives pages that stay free back to the kernel.
//!
//! A heap begins with nothing: [`MHeap::new`] maps no memory, and
//! [`MHeap::init`] (Go's `mheap_.init`) maps the table of arenas, of which the
//! kernel commits what is touched.
//!
//! Invariants:
//! 1. A span belongs to a holder (`mspan`), or it is in a list of spare
//!    ones with nothing in it. Spans are carved from mappings that stay.
//! 2. A span that is brought back has no bit set, and no list has it.
//! 3. `live` is at least the number of bytes that were handed out since the
//!    last collection and that this one left: an mcache counts a whole span
//!    when it takes the span, and gives back what it did not use.
//!
//! Locks: `pages`, inside which nothing else is locked.

use super::arena::{ARENA, ARENA_SHIFT, Arenas};
use super::mcentral::{Brought, MCentral};
use super::mspan::{MSpan, SpanList, SpanState};
use super::pacing::Pacing;
use super::pagealloc::{self, PageAlloc, Run};
use super::poison;
use super::seal;
use super::sizeclass::{CLASS, CLASSES, Kind, PAGE};
use super::specials::{self, Special};
use crate::base::lock::Rank;
use crate::base::sanitize;
use crate::base::sync::{
    AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering::*,
};
use crate::os::{
    Errno, Lock, OsFutex, Result, addresses, clock::cycles, mem, ours,
};
use core::ops::Range;
use std::sync::OnceLock;

/// Bytes from which spans are carved, at once.
const SPANS: usize = 256 << 10;
/// Pages that the scavenger takes at once: it has no lock while the kernel
/// works, and these pages are not to be had meanwhile.
const SCAVENGED: usize = 256;

/// Where the first arena is wanted: at one of these addresses, and the others
/// below it.
///
/// The kernel puts nothing there by itself. Beside its mappings glibc's malloc
/// has the address at which its next heap would lie, which is aligned as an
/// arena is: a word in its data that would keep an object. The data of a
/// sanitizer has halves of the addresses of mappings. And under valgrind
/// mappings begin at 64 MB, where any number of the program's would be an
/// address. Numbers of 32 bits are none here, and text is none, since the byte
/// 0x1e is no letter.
const PLACE: Range<usize> = 0x1e << 40..0x1f << 40;
/// The same under ThreadSanitizer, which uses those addresses for itself, and
/// under valgrind, whose memcheck is slow beyond 128 GB.
const LOW_PLACE: Range<usize> = 0x1e_8000_0000..0x1f_0000_0000;

/// All that the lock of the heap guards.
pub(super) struct Pages {
    alloc: PageAlloc,
    /// Spans that are none.
    pub(super) spare: SpanList,
    /// The same of stacks (`manual`).
    pub(super) spare_manual: SpanList,
    /// Bytes in Manual spans.
    pub(super) manual: usize,
    /// Where the next spans are carved.
    carve: usize,
    carve_end: usize,
    /// Spans that were ever carved.
    spans: usize,
}

// SAFETY: the lists lead to spans that the page heap has, under its lock.
unsafe impl Send for Pages {}

/// A heap.
pub struct MHeap {
    arenas: OnceLock<Arenas>,
    /// lock
    pub(super) pages: Lock<Pages>,
    /// The generation h. Changes while the world is stopped. atomic
    sweepgen: AtomicU32,
    /// The first central that may have unswept spans. atomic
    sweep_next: AtomicUsize,
    /// By kind and class; class 0 has the large objects.
    central: [[MCentral<OsFutex>; CLASSES]; 3],
    /// Invariant 3; may be below 0 for a moment. atomic
    live: AtomicI64,
    /// Bytes of pages in spans. atomic
    in_use: AtomicUsize,
    /// When to collect next.
    pub pacing: Pacing,
    /// Whether freed memory is filled. Set before the first allocation. atomic
    poison: AtomicBool,
    /// The addresses of all arenas, as numbers of arenas: where the library is
    /// a part of the program its data are roots. atomic
    low: AtomicUsize,
    high: AtomicUsize,
    /// Bytes that were given back. atomic
    scavenged: AtomicUsize,
}

/// The heap of the process: Go's `mheap_`. Mapped by the first allocation.
pub(crate) static MHEAP: MHeap = MHeap::new();

/// What a heap consists of, in bytes but for the last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HeapStats {
    /// Addresses of arenas.
    pub reserved: usize,
    /// Pages in spans.
    pub in_use: usize,
    /// Pages in no span, with memory and without.
    pub free: usize,
    /// Of these, pages without memory.
    pub clean: usize,
    /// Handed out since the last collection, and left by it.
    pub live: usize,
    /// What `live` will be when the next collection begins.
    pub trigger: usize,
    /// Given back to the kernel, ever.
    pub scavenged: usize,
    /// Stacks of goroutines, with guards and what is unused: Go's
    /// `stacks_inuse`.
    pub stacks: usize,
}

impl MHeap {
    /// A heap without arenas.
    #[must_use]
    pub const fn new() -> Self {
        let pages = Pages {
            alloc: PageAlloc::new(),
            spare: SpanList::new(),
            spare_manual: SpanList::new(),
            manual: 0,
            carve: 0,
            carve_end: 0,
            spans: 0,
        };
        Self {
            arenas: OnceLock::new(),
            pages: Lock::new(Rank::HeapPages, pages),
            sweepgen: AtomicU32::new(2),
            sweep_next: AtomicUsize::new(0),
            central: [const { [const { MCentral::new() }; CLASSES] }; 3],
            live: AtomicI64::new(0),
            in_use: AtomicUsize::new(0),
            pacing: Pacing::new(),
            poison: AtomicBool::new(false),
            low: AtomicUsize::new(usize::MAX >> ARENA_SHIFT),
            high: AtomicUsize::new(0),
            scavenged: AtomicUsize::new(0),
        }
    }

    /// Maps what the first allocation needs; None without memory.
    #[must_use]
    pub fn init(&self) -> Option<()> {
        if self.arenas.get().is_none() {
            let arenas = Arenas::new().ok()?;
            seal::init();
            // A second table, if two threads come at once, is never touched.
            let _ = self.arenas.set(arenas);
        }
        Some(())
    }

    /// The table of arenas; None before `init`.
    #[inline(always)]
    pub fn arenas(&self) -> Option<Arenas> {
        self.arenas.get().copied()
    }

    #[inline(always)]
    pub fn sweepgen(&self) -> u32 {
        // Relaxed: it changes at a stop.
        self.sweepgen.load(Relaxed)
    }

    /// Begins the next cycle of sweeping: all spans are unswept, and `marked`
    /// bytes in them live. The world is stopped, and all was swept.
    pub(super) fn advance(&self, marked: usize) {
        self.sweepgen.fetch_add(2, Relaxed);
        self.sweep_next.store(0, Relaxed);
        self.live.store(marked as i64, Relaxed);
        self.pacing.set_marked(marked);
    }

    /// Bytes that were handed out since the last collection, and what it left.
    pub fn live(&self) -> usize {
        usize::try_from(self.live.load(Relaxed)).unwrap_or(0)
    }

    /// Bytes of pages in spans.
    pub fn in_use(&self) -> usize {
        self.in_use.load(Relaxed)
    }

    /// Whether it is time to collect.
    #[inline]
    pub fn is_due(&self) -> bool {
        self.live() >= self.pacing.trigger()
    }

    pub(super) fn count_live(&self, more: usize, less: usize) {
        self.live.fetch_add(more as i64 - less as i64, Relaxed);
    }

    pub(super) fn central(
        &self,
        class: usize,
        kind: Kind,
    ) -> &MCentral<OsFutex> {
        &self.central[kind as usize][class]
    }

    /// The central of a span.
    pub(super) fn central_of(&self, s: &MSpan) -> &MCentral<OsFutex> {
        self.central(usize::from(s.class.get()), s.kind.get())
    }

    /// An unswept span that the caller sweeps; None if there is none.
    pub(super) fn next_unswept(&self, h: u32) -> Option<&'static MSpan> {
        let centrals = self.central.as_flattened();
        loop {
            // Relaxed: who passes a central by finds less to do.
            let n = self.sweep_next.load(Relaxed);
            if let Some(s) = centrals.get(n)?.take_unswept(h) {
                return Some(s);
            }
            // Nothing becomes unswept before the next cycle.
            let _ =
                self.sweep_next.compare_exchange(n, n + 1, Relaxed, Relaxed);
        }
    }

    fn sweep(&self, s: &MSpan) {
        specials::sweep(s);
        s.sweep(self.poison());
    }

    /// Sweeps a span that the caller has acquired, and puts it where it
    /// belongs.
    pub(super) fn sweep_span(&self, s: &'static MSpan) {
        self.sweep(s);
        if let Brought::Empty(s) = self.central_of(s).put(self.sweepgen(), s) {
            self.free_span(s);
        }
    }

    /// [`Self::sweep_span`] for the caller's mcache, which gets the span if
    /// that has free objects: true.
    pub(super) fn sweep_and_keep(&self, s: &'static MSpan) -> bool {
        self.sweep(s);
        let (h, central) = (self.sweepgen(), self.central_of(s));
        if s.is_full() {
            // It has objects, and so the central keeps it.
            let _ = central.put(h, s);
            return false;
        }
        central.cache(h, s);
        true
    }

    /// Fills freed memory from now on.
    pub fn set_poison(&self) {
        self.poison.store(true, Relaxed);
    }

    #[inline]
    pub fn poison(&self) -> bool {
        self.poison.load(Relaxed)
    }

    /// The addresses that arenas are within.
    pub fn bounds(&self) -> (usize, usize) {
        let address = |n: &AtomicUsize| n.load(Relaxed) << ARENA_SHIFT;
        (address(&self.low), address(&self.high))
    }

    /// A span of a class, with nothing in it and nobody else's; None without
    /// memory.
    pub(super) fn alloc_span(
        &self,
        class: usize,
        kind: Kind,
    ) -> Option<&'static MSpan> {
        self.alloc_pages(CLASS[class].npages, class as u8, kind)
    }

    /// A span of `npages` pages: Go's `mheap.alloc`.
    pub(super) fn alloc_pages(
        &self,
        npages: usize,
        class: u8,
        kind: Kind,
    ) -> Option<&'static MSpan> {
        let arenas = self.arenas()?;
        let mut pages = self.pages.lock();
        let s = pages.span()?;
        let Some(run) = self.take(&mut pages, npages) else {
            pages.spare.push(s);
            return None;
        };
        let arena = arenas.of(run.base)?;
        let bits = if class == 0 { PAGE } else { npages * PAGE };
        s.init(run.base, npages, class, kind, arena.pairs(run.base, bits));
        s.needzero.set(!run.clean);
        if self.poison() {
            Self::poison_new(s, run.clean);
        }
        s.sweepgen.reset(self.sweepgen());
        arenas.set_span(s);
        drop(pages);
        self.in_use.fetch_add(npages * PAGE, Relaxed);
        Some(s)
    }

    /// Fills a new span of small objects.
    #[cold]
    fn poison_new(s: &MSpan, clean: bool) {
        let (base, bytes) = (s.base.get(), s.npages.get() * PAGE);
        if !clean {
            // SAFETY: nobody else knows the span yet.
            unsafe { poison::check_pages(base, bytes) };
        }
        if s.class.get() != 0 {
            // SAFETY: the same.
            unsafe { poison::fill(base, bytes) };
            s.needzero.set(true);
        }
    }

    /// Takes a span back in which nothing is allocated: Go's `freeSpan`.
    pub(super) fn free_span(&self, s: &'static MSpan) {
        let Some(arenas) = self.arenas() else { return };
        let (base, npages) = (s.base.get(), s.npages.get());
        let mut pages = self.pages.lock();
        arenas.clear_span(s);
        s.state.set(SpanState::Dead);
        pages.alloc.put(base, npages, false);
        pages.spare.push(s);
        drop(pages);
        self.in_use.fetch_sub(npages * PAGE, Relaxed);
    }

    fn take(&self, pages: &mut Pages, npages: usize) -> Option<Run> {
        if let Some(run) = pages.alloc.take(npages) {
            return Some(run);
        }
        if self.grow(pages, npages).is_err() {
            // The kernel gives no more. What is apart may have some.
            return pages.alloc.take_any(npages);
        }
        pages.alloc.take(npages)
    }

    /// Makes `npages` pages free that are none yet: Go's `mheap.grow`.
    fn grow(&self, pages: &mut Pages, npages: usize) -> Result<()> {
        let many = pagealloc::arenas_for(npages);
        if many > 1 {
            let base = self.reserve(pages, many)?;
            pages.alloc.prepared((base, many * ARENA));
            return Ok(());
        }
        let found = pages.alloc.unprepared(npages);
        let found = match found {
            Some(found) => found,
            None => {
                self.reserve(pages, 1)?;
                pages.alloc.unprepared(npages).ok_or(Errno::ENOMEM)?
            }
        };
        prepare(pages, found)
    }

    /// Reserves arenas side by side; returns the first one's address. Several
    /// are prepared too: what is more than the kernel gives costs no more than
    /// the question.
    fn reserve(&self, pages: &mut Pages, many: usize) -> Result<usize> {
        let arenas = self.arenas().ok_or(Errno::ENOMEM)?;
        let len = many.checked_mul(ARENA).ok_or(Errno::ENOMEM)?;
        let below = |low: usize| low.wrapping_sub(len);
        let hint = pages.alloc.lowest().map_or_else(first_place, below);
        let base = addresses::reserve(len, ARENA, hint)? as usize;
        let ready = many == 1
            // SAFETY: reserved above, and nobody uses it.
            || unsafe { addresses::prepare(base as *mut u8, len) }.is_ok();
        if !ready || pages.alloc.reserve(many).is_none() {
            // SAFETY: mapped above, and nobody knows of it.
            unsafe { mem::unmap(base as *mut u8, len) };
            return Err(Errno::ENOMEM);
        }
        for at in (base..base + len).step_by(ARENA) {
            let added = arenas.add(at);
            if added.is_err() || pages.alloc.add(at).is_none() {
                // Arenas that are known already stay, as Reserved ones.
                // SAFETY: mapped above, and nobody has pages of it.
                unsafe { mem::unmap(at as *mut u8, base + len - at) };
                return Err(Errno::ENOMEM);
            }
            sanitize::root(at, ARENA);
            // Of each, as those before one that fails will be used.
            self.low.fetch_min(at >> ARENA_SHIFT, Relaxed);
            self.high.fetch_max((at + ARENA) >> ARENA_SHIFT, Relaxed);
        }
        Ok(base)
    }

    /// Gives at least `bytes` bytes of free pages back to the kernel, the
    /// highest first; returns how many it has given. One thread at a time calls
    /// this.
    pub fn scavenge(&self, bytes: usize) -> usize {
        let mut given = 0;
        while given < bytes {
            let most = SCAVENGED.min((bytes - given).div_ceil(PAGE));
            let Some(run) = self.pages.lock().alloc.take_dirty(most) else {
                break;
            };
            let len = run.npages * PAGE;
            // SAFETY: pages of ours in no span, taken above.
            let gone = unsafe { mem::discard(run.base as *mut u8, len) };
            let clean = gone.is_ok();
            self.pages.lock().alloc.put(run.base, run.npages, clean);
            if !clean {
                // The host has locked the memory.
                break;
            }
            given += len;
        }
        self.scavenged.fetch_add(given, Relaxed);
        given
    }

    /// Bytes of free pages with memory, beyond what the heap will need until
    /// the next collection and a tenth: Go's gcPercentGoal of the scavenger.
    pub fn excess(&self) -> usize {
        let HeapStats { in_use, free, clean, trigger, .. } = self.stats();
        let goal = trigger.saturating_add(trigger / 10);
        let dirty = free - clean;
        (in_use + dirty).saturating_sub(goal).min(dirty)
    }

    /// Calls `found` with the memory of `malloc` that has addresses of arenas:
    /// from, to.
    pub fn each_list(&self, found: &mut dyn FnMut(usize, usize)) {
        self.pages.lock().alloc.each_list(found);
    }

    /// Calls `found` with each special of an object, which may free it. Nothing
    /// else uses the heap.
    pub(crate) fn each_special(&self, found: &mut dyn FnMut(*const Special)) {
        let Some(arenas) = self.arenas() else { return };
        self.pages.lock().alloc.each_arena(|base| {
            if let Some(arena) = arenas.of(base) {
                arena.each_span(|_| true, |s| specials::each_of(s, found));
            }
        });
    }

    /// Unmaps all objects, and what is known of their pages. What else the heap
    /// has mapped is `ours`.
    ///
    /// # Safety
    /// Nobody uses the heap, or an object, from now on.
    pub(crate) unsafe fn unmap(&self) {
        let mut pages = self.pages.lock();
        pages.alloc.each_arena(|base| {
            sanitize::unroot(base, ARENA);
            // SAFETY: mapped whole, and nobody uses it, the caller promises.
            unsafe { mem::unmap(base as *mut u8, ARENA) };
        });
        pages.alloc = PageAlloc::new();
    }

    pub fn stats(&self) -> HeapStats {
        let pages = self.pages.lock();
        let (free, clean) = (pages.alloc.free, pages.alloc.clean);
        let reserved = pages.alloc.len() * ARENA;
        let stacks = pages.manual;
        drop(pages);
        HeapStats {
            reserved,
            in_use: self.in_use(),
            free: free * PAGE,
            clean: clean * PAGE,
            live: self.live(),
            trigger: self.pacing.trigger(),
            scavenged: self.scavenged.load(Relaxed),
            stacks,
        }
    }
}

impl Default for MHeap {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the first arena is asked for: elsewhere in each process, as with the
/// kernel's own mappings.
fn first_place() -> usize {
    let low = sanitize::raceenabled() || sanitize::valgrind();
    let place = if low { LOW_PLACE } else { PLACE };
    let n = cycles().wrapping_mul(0x9e37_79b9_7f4a_7c15) as usize;
    place.start + n % place.len() / ARENA * ARENA
}

fn prepare(pages: &mut Pages, (base, len): (usize, usize)) -> Result<()> {
    // SAFETY: a part of a reservation of ours.
    unsafe { addresses::prepare(base as *mut u8, len) }?;
    pages.alloc.prepared((base, len));
    Ok(())
}

impl Pages {
    /// A span that is none yet; None without memory.
    pub(super) fn span(&mut self) -> Option<&'static MSpan> {
        self.spare.pop().or_else(|| self.carve())
    }

    /// A span that never was one; None without memory.
    pub(super) fn carve(&mut self) -> Option<&'static MSpan> {
        let size = size_of::<MSpan>().next_multiple_of(64);
        if self.carve + size > self.carve_end {
            self.carve = ours::map_ours(SPANS).ok()? as usize;
            self.carve_end = self.carve + SPANS;
        }
        let at = self.carve as *mut MSpan;
        self.carve += size;
        self.spans += 1;
        // SAFETY: within a fresh mapping, at a multiple of 64.
        unsafe { at.write(MSpan::empty()) };
        // SAFETY: written above; the mapping stays.
        Some(unsafe { &*at })
    }
}
