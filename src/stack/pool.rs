//! The pools of free stacks, one for each class. A pool carves slots from
//! slabs, keeps free slots for the next goroutines, and gives the pages of idle
//! ones back to the kernel.
//!
//! ```text
//!   slab --carve--> in use <--take---- warm --scavenge--> cold
//!                      |                ^                   |
//!                      '------put-------'   <----take-------'
//! ```
//!
//! Invariants:
//! 1. The part of a slab below `fresh` was carved. Each carved slot is in use
//!    (caches count as use), in `warm`, in `cold`, or held by `scavenge`.
//! 2. `warm` and `cold` have room for every carved slot, so `put` never
//!    allocates and never fails.
//! 3. A `dry` pool has no stack, and the kernel refused it memory last time.
//!    Until `try_again`, which the goroutines that wait for a stack cause
//!    (`sched::starved`), each `take` fails without asking the kernel.
//! 4. `owed <= low <= warm.len()`. `warm` was never shorter than `low` in this
//!    period, so its first `low` stacks were not needed. Its first `owed` were
//!    not needed in the period before either, and are being scavenged.
//! 5. Whoever is told of stacks (`told`) knows each slab from before its first
//!    stack is handed out until it is unmapped; but for slabs that were there
//!    before, if there was no memory for them (`tell`).
//!
//! The lists lie apart from the stacks, 16 bytes a slot. A link on a free
//! stack would keep its page committed.

use super::guard::Guards;
use super::slot::{CLASSES, GUARD, OWN, Stack, slot_len};
use super::spans::{self, OwnStacks, Spans, Told};
use crate::base::lock::Rank;
use crate::base::sanitize;
use crate::base::sync::{AtomicBool, AtomicUsize, Ordering};
use crate::os::mem::{self, map_reserve};
use crate::os::{Errno, Lock, Result};
use core::ops::Range;
use std::collections::VecDeque;

/// How many stacks move between a cache and a pool at once.
pub(super) const HALF: usize = 16;

/// Bytes of a slab; halved until the kernel maps one.
const SLAB: usize = 64 << 20;

/// Slots that a list has room for from the start: 2 MiB of address space, none
/// of it committed. So lists seldom grow, and a thread that frees a stack
/// seldom gets an arena of the host's malloc for that.
const ROOM: usize = 1 << 18;

/// A stack is idle for one to two periods before its pages are given back.
const PERIOD: i64 = 1_000_000_000;

/// How many stacks of a class one call of `scavenge` handles, and the pause
/// until the next call, so that the kernel's work is spread out.
const BATCH: usize = 256;
const PAUSE: i64 = 1_000_000;

/// From so many stacks of a class on, new ones are populated with their first
/// page, several at once: such a program will use them, and one call costs
/// less than the faults.
const FEW: usize = 64;

/// The result of [`super::scavenge`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ScavengeResult {
    /// Stacks whose pages were given back.
    pub(crate) released: usize,
    /// When the next call is due, in monotonic nanoseconds; None if no stack is
    /// idle.
    pub(crate) next: Option<i64>,
}

/// Counts of stacks, read one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct StackStats {
    /// Bytes of address space, with guards and the uncarved rest.
    pub(crate) mapped: usize,
    /// Stacks in use or in the cache of a P.
    pub(crate) in_use: usize,
    /// Free stacks in the pools.
    pub(crate) idle: usize,
    /// Free stacks that hold no pages.
    pub(crate) cold: usize,
    /// Stacks without a guard, whether in use or not.
    pub(crate) unguarded: usize,
    /// The usable bytes of those in use, idle, and cold.
    pub(crate) in_use_bytes: usize,
    pub(crate) idle_bytes: usize,
    pub(crate) cold_bytes: usize,
}

/// All stacks of a process.
pub(super) struct Stacks {
    pub(super) guards: Guards,
    pools: [Lock<Pool>; CLASSES],
    /// Pages are given back with the stack. Set before there are stacks. atomic
    clean: AtomicBool,
    /// Some pool has or lately had a warm stack. atomic
    wanted: AtomicBool,
    /// Bytes. atomic
    mapped: AtomicUsize,
    /// Stacks with their own mapping.
    own: Lock<OwnStacks>,
}

/// The free stacks of one class.
struct Pool {
    /// Idle stacks that may have pages; the latest one is at the back.
    warm: VecDeque<usize>,
    /// Idle stacks without pages.
    cold: Vec<usize>,
    /// The part of the newest slab that was never carved.
    fresh: Range<usize>,
    /// All slabs: address and bytes. Neighbours are one entry: so the list
    /// rarely grows, on a thread that else would need no heap of its own.
    slabs: Vec<(usize, usize)>,
    /// How many slots were carved.
    carved: usize,
    /// How many slots all slabs have.
    slots: usize,
    /// Invariant 3.
    dry: bool,
    /// Invariant 4.
    low: usize,
    /// Invariant 4.
    owed: usize,
    /// When the period ends.
    period_end: i64,
    /// Invariant 5.
    told: Told,
}

impl Stacks {
    pub(super) const fn new() -> Self {
        Self {
            guards: Guards::new(),
            pools: [const { Lock::new(Rank::StackPool, Pool::new()) }; CLASSES],
            clean: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
            mapped: AtomicUsize::new(0),
            own: Lock::new(Rank::StackPool, OwnStacks::new()),
        }
    }

    fn pool(&self, class: u8) -> &Lock<Pool> {
        &self.pools[usize::from(class)]
    }

    /// One stack of `class`.
    pub(super) fn take_one(&self, class: u8) -> Result<Stack> {
        let mut base = [0];
        self.take(class, &mut base)?;
        Ok(Stack::in_slot(base[0], class))
    }

    /// Fills the front of `out` with free slots of `class`, the warmest last;
    /// returns their number, at least one.
    pub(super) fn take(&self, class: u8, out: &mut [usize]) -> Result<usize> {
        let mut pool = self.pool(class).lock();
        let n = pool.take_idle(out);
        if n > 0 {
            return Ok(n);
        }
        if pool.fresh.is_empty() {
            let grown = pool.grow(class);
            pool.dry = grown.is_err();
            self.mapped.fetch_add(grown?, Ordering::Relaxed);
        }
        let n = pool.carve(class, out);
        if sanitize::valgrind() {
            for base in &out[..n] {
                sanitize::stack_made(base + GUARD, slot_len(class) - GUARD);
            }
        }
        let many = pool.carved > FEW;
        drop(pool);
        // SAFETY: slots that this call took, which nobody uses.
        unsafe { self.guards.install_all(&out[..n]) };
        if many && n > 1 {
            populate_tops(&out[..n], slot_len(class));
        }
        Ok(n)
    }

    /// Takes free slots of `class` back; the last one is reused first.
    pub(super) fn put(&self, class: u8, bases: &[usize]) {
        let mut pool = self.pool(class).lock();
        pool.warm.extend(bases);
        pool.dry = false;
        // Stored under the lock: scavenge says why. Loaded first, so that the
        // cache line stays shared.
        if !self.wanted.load(Ordering::Relaxed) {
            self.wanted.store(true, Ordering::Relaxed);
        }
    }

    /// Takes a free slot of `class` back, without its pages but for the top
    /// one, which each goroutine touches.
    pub(super) fn put_clean(&self, class: u8, base: usize) {
        let len = slot_len(class) - mem::page_size();
        // An error leaves the pages: the host has locked the memory.
        // SAFETY: the low part of a slot of ours that nobody uses any more.
        let _ = unsafe { mem::discard(base as *mut u8, len) };
        self.put(class, &[base]);
    }

    pub(super) fn set_clean(&self, clean: bool) {
        self.clean.store(clean, Ordering::Relaxed);
    }

    pub(super) fn is_clean(&self) -> bool {
        self.clean.load(Ordering::Relaxed)
    }

    /// Lets dry pools ask the kernel for memory again.
    pub(super) fn try_again(&self) {
        for pool in &self.pools {
            pool.lock().dry = false;
        }
    }

    /// Calls `found` with each slab, under its pool's lock: from, to.
    pub(super) fn each_slab(&self, found: &mut dyn FnMut(usize, usize)) {
        for pool in &self.pools {
            for (base, len) in &pool.lock().slabs {
                found(*base, *base + *len);
            }
        }
    }

    /// Tells `to` of all stacks, those that are there and those to come.
    ///
    /// `ENOMEM`: not of all that are there. The caller tries again.
    pub(super) fn tell(&self, to: &'static Spans) -> Result<()> {
        for pool in &self.pools {
            let mut pool = pool.lock();
            pool.told = Some(to);
            for (base, len) in &pool.slabs {
                spans::add(pool.told, *base, *len)?;
            }
        }
        let mut own = self.own.lock();
        own.told = Some(to);
        for (base, len) in own.all() {
            spans::add(own.told, *base, *len)?;
        }
        Ok(())
    }

    /// A stack with a mapping of `len` bytes, guard included.
    pub(super) fn map_own(&self, len: usize) -> Result<Stack> {
        let at = map_reserve(len)?;
        let base = at as usize;
        let added = self.own.lock().add(base, len);
        if added.is_err() {
            // SAFETY: mapped above, and nobody uses it.
            unsafe { mem::unmap(at, len) };
            added?;
        }
        // SAFETY: mapped above, and nobody uses it.
        unsafe { self.guards.install(base) };
        if sanitize::valgrind() {
            // For good: a range that was registered later comes first.
            sanitize::stack_made(base + GUARD, len - GUARD);
        }
        self.mapped.fetch_add(len, Ordering::Relaxed);
        Ok(Stack { lo: base + GUARD, hi: base + len, class: OWN })
    }

    /// Unmaps a stack from [`Self::map_own`].
    pub(super) fn unmap_own(&self, s: Stack) {
        let len = s.hi - s.base();
        self.own.lock().remove(s.base(), len);
        // SAFETY: the whole mapping of a stack that nobody uses any more.
        unsafe { mem::unmap(s.base() as *mut u8, len) };
        self.mapped.fetch_sub(len, Ordering::Relaxed);
        self.try_again();
    }

    pub(super) fn scavenge_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    pub(super) fn scavenge(&self, now: i64) -> ScavengeResult {
        // A `put` before this thread looks into the pool is seen in the pool.
        // A later `put` sees false, by the pool's lock, and stores true.
        self.wanted.store(false, Ordering::Relaxed);
        let mut result = ScavengeResult { released: 0, next: None };
        for class in 0..CLASSES as u8 {
            let mut batch = [0; BATCH];
            let (n, next) = self.pool(class).lock().unneeded(now, &mut batch);
            let batch = &mut batch[..n];
            // Not under the lock, since the kernel takes long.
            discard(batch, slot_len(class));
            if n > 0 {
                self.pool(class).lock().cold.extend(&*batch);
            }
            result.released += n;
            result.next = earlier(result.next, next);
        }
        if result.next.is_some() {
            self.wanted.store(true, Ordering::Relaxed);
        }
        result
    }

    pub(super) fn stats(&self) -> StackStats {
        let mut stats = StackStats {
            mapped: self.mapped.load(Ordering::Relaxed),
            unguarded: self.guards.unguarded(),
            ..StackStats::default()
        };
        let own = self.own.lock();
        stats.in_use = own.all().len();
        let usable = own.all().iter().map(|(_, len)| len - GUARD);
        stats.in_use_bytes = usable.sum();
        drop(own);
        for (pool, class) in self.pools.iter().zip(0..) {
            let pool = pool.lock();
            let (carved, cold) = (pool.carved, pool.cold.len());
            let idle = pool.warm.len() + cold;
            drop(pool);
            let usable = slot_len(class) - GUARD;
            stats.in_use += carved - idle;
            stats.idle += idle;
            stats.cold += cold;
            stats.in_use_bytes += (carved - idle) * usable;
            stats.idle_bytes += idle * usable;
            stats.cold_bytes += cold * usable;
        }
        stats
    }
}

impl Pool {
    const fn new() -> Self {
        Self {
            warm: VecDeque::new(),
            cold: Vec::new(),
            fresh: 0..0,
            slabs: Vec::new(),
            carved: 0,
            slots: 0,
            dry: false,
            low: 0,
            owed: 0,
            period_end: 0,
            told: None,
        }
    }

    /// Takes idle slots into the front of `out`, warm ones before cold ones.
    fn take_idle(&mut self, out: &mut [usize]) -> usize {
        let n = out.len().min(self.warm.len());
        if n > 0 {
            let rest = self.warm.len() - n;
            for (to, base) in out.iter_mut().zip(self.warm.drain(rest..)) {
                *to = base;
            }
            self.low = self.low.min(rest);
            self.owed = self.owed.min(rest);
            return n;
        }
        let n = out.len().min(self.cold.len());
        let rest = self.cold.len() - n;
        for (to, base) in out.iter_mut().zip(self.cold.drain(rest..)) {
            *to = base;
        }
        n
    }

    /// Takes slots that were never used into the front of `out`. At least one
    /// is left.
    fn carve(&mut self, class: u8, out: &mut [usize]) -> usize {
        let bases = self.fresh.clone().step_by(slot_len(class));
        let mut n = 0;
        for (to, base) in out.iter_mut().zip(bases) {
            *to = base;
            n += 1;
        }
        self.fresh.start += n * slot_len(class);
        self.carved += n;
        n
    }

    /// Maps a slab when `fresh` is empty; returns the slab's length.
    ///
    /// `ENOMEM`, or `EAGAIN` where locked memory is at its limit.
    fn grow(&mut self, class: u8) -> Result<usize> {
        if self.dry {
            return Err(Errno::ENOMEM);
        }
        let slot = slot_len(class);
        let mut len = SLAB;
        loop {
            // Room first: the slab might take all the memory that is left.
            let slots = self.slots + len / slot;
            let room = self.make_room(slots);
            let mapped =
                room.ok_or(Errno::ENOMEM).and_then(|()| self.map_slab(len));
            match mapped {
                Ok(base) => {
                    self.add_slab(base, len);
                    self.slots = slots;
                    self.fresh = base..base + len;
                    return Ok(len);
                }
                Err(_) if len > slot => len /= 2,
                Err(e) => return Err(e),
            }
        }
    }

    fn map_slab(&self, len: usize) -> Result<usize> {
        let at = map_reserve(len)?;
        let added = spans::add(self.told, at as usize, len);
        if added.is_err() {
            // SAFETY: mapped above, and nobody uses it.
            unsafe { mem::unmap(at, len) };
        }
        added.map(|()| at as usize)
    }

    fn add_slab(&mut self, base: usize, len: usize) {
        match self.slabs.last_mut() {
            Some((at, size)) if base + len == *at => {
                (*at, *size) = (base, *size + len);
            }
            Some((at, size)) if *at + *size == base => *size += len,
            // There is room: make_room.
            _ => self.slabs.push((base, len)),
        }
    }

    /// Makes room for `slots` slots in both lists (invariant 2), and for more
    /// if possible; None without memory.
    fn make_room(&mut self, slots: usize) -> Option<()> {
        self.slabs.try_reserve(1).ok()?;
        let more = slots.max(ROOM);
        let (warm, cold) = (self.warm.len(), self.cold.len());
        let roomy = self.warm.try_reserve(more - warm).is_ok()
            && self.cold.try_reserve(more - cold).is_ok();
        if !roomy {
            self.warm.try_reserve_exact(slots - warm).ok()?;
            self.cold.try_reserve_exact(slots - cold).ok()?;
        }
        Some(())
    }

    /// Takes slots that were not needed lately into the front of `out`; returns
    /// their number and the time of the next call.
    fn unneeded(
        &mut self,
        now: i64,
        out: &mut [usize],
    ) -> (usize, Option<i64>) {
        if now >= self.period_end {
            self.owed = self.low;
            self.low = self.warm.len();
            self.period_end = now.saturating_add(PERIOD);
        }
        let n = self.owed.min(out.len());
        for (to, base) in out.iter_mut().zip(self.warm.drain(..n)) {
            *to = base;
        }
        self.owed -= n;
        self.low -= n;
        let next = if self.warm.is_empty() {
            None
        } else if self.owed > 0 {
            Some(now.saturating_add(PAUSE))
        } else {
            Some(self.period_end)
        };
        (n, next)
    }
}

impl Stacks {
    /// Unmaps all slabs: the pools are as in the beginning, and no memory of
    /// malloc's is kept.
    ///
    /// # Safety
    /// No stack is in use, or in the cache of a P.
    pub(super) unsafe fn unmap_all(&self) {
        for pool in &self.pools {
            let mut pool = pool.lock();
            let told = pool.told;
            let empty = Pool { told, ..Pool::new() };
            for (base, len) in core::mem::replace(&mut *pool, empty).slabs {
                spans::remove(told, base, len);
                // SAFETY: the whole mapping, and no stack is in use.
                unsafe { mem::unmap(base as *mut u8, len) };
                self.mapped.fetch_sub(len, Ordering::Relaxed);
            }
        }
        self.own.lock().free_room();
        self.wanted.store(false, Ordering::Relaxed);
    }
}

/// Populates the first page that each stack will touch.
fn populate_tops(bases: &[usize], slot: usize) {
    let page = mem::page_size();
    let mut tops = [0; HALF];
    for part in bases.chunks(HALF) {
        for (top, base) in tops.iter_mut().zip(part) {
            *top = base + slot - page;
        }
        mem::populate_all(&tops[..part.len()], page);
    }
}

/// Gives back the pages of free slots. Neighbours share one call, because the
/// kernel interrupts every processor for each call.
fn discard(bases: &mut [usize], slot: usize) {
    bases.sort_unstable();
    for run in bases.chunk_by(|a, b| a + slot == *b) {
        // An error leaves the pages: the host has locked the memory.
        // SAFETY: neighbouring slots of ours that nobody uses.
        let _ = unsafe { mem::discard(run[0] as *mut u8, run.len() * slot) };
    }
}

fn earlier(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        _ => a.or(b),
    }
}
