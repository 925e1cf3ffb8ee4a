//! P: the right to run goroutines, with the queues and caches that come with
//! it.
//!
//! A P is held by at most one M (`owner`). Fields marked *owner* are touched
//! only by the holder, inside the runtime (invariant 1 of `owner`). [`OwnedP`]
//! is that role as a type.

use super::{
    G, GFree, M,
    owner::OwnerWord,
    runq::{RunNext, RunQueue},
};
use crate::{stack::StackCache, timers::Timers};
use core::{
    cell::Cell,
    ops::Deref,
    ptr,
    sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering::*},
};

/// Slots in a P's queue.
pub(crate) const RUNQ: usize = 256;
/// Goroutine ids that a P takes at a time.
pub(crate) const GOIDCACHE: u64 = 16;

/// Which wake-ups for what is next on a P are worth their price. The partner
/// in a ping-pong is gone before anybody could take it: each wake-up in vain
/// doubles the number of those that are not made, up to a bound.
pub(crate) struct Waking {
    /// How many are not made from now on; sysmon may clear it.
    skip: AtomicU32,
    /// owner: how many were not made after the last one
    last_skip: Cell<u32>,
    /// A thief has taken something since the last one.
    taken: AtomicBool,
}

impl Waking {
    const MAX_SKIP: u32 = (1 << 16) - 1;

    const fn new() -> Self {
        Self {
            skip: AtomicU32::new(0),
            last_skip: Cell::new(0),
            taken: AtomicBool::new(true),
        }
    }

    /// Whether this one is not made; owner.
    #[inline(always)]
    pub(crate) fn suppressed(&self) -> bool {
        // Relaxed: a measure, here and below.
        let left = self.skip.load(Relaxed);
        if left > 0 {
            self.skip.store(left - 1, Relaxed);
        }
        left > 0
    }

    /// sysmon: the P switches slowly, so all are worth it.
    pub(crate) fn reset(&self) {
        self.skip.store(0, Relaxed);
    }

    /// A thief has taken something: it was worth it.
    pub(crate) fn stolen(&self) {
        if !self.taken.load(Relaxed) {
            self.taken.store(true, Relaxed);
        }
    }

    /// One is made, by the owner.
    pub(crate) fn woke(&self) {
        let skip = match self.taken.load(Relaxed) {
            true => 0,
            false => (self.last_skip.get() * 2 + 1).min(Self::MAX_SKIP),
        };
        self.taken.store(false, Relaxed);
        self.last_skip.set(skip);
        self.skip.store(skip, Relaxed);
    }
}

/// A processor.
#[repr(C, align(128))]
pub(crate) struct P {
    /// atomic
    pub owner: OwnerWord,
    /// see `runq`
    runnext: RunNext<G>,
    /// owner stores, sysmon reads: goroutines started or resumed on it
    pub schedtick: AtomicU32,
    /// const
    pub id: u32,
    /// owner: how many times in a row `runnext` came before the queue
    pub streak: Cell<u32>,
    /// owner: the last yield that found others here and in the global queue ran
    /// one of the latter
    pub global_turn: Cell<bool>,
    /// owner: the next look for work begins with the global queue
    pub global_first: Cell<bool>,
    /// owner: how wake-ups for its work have gone
    pub waking: Waking,
    /// sysmon: a timer of this P is due, and it has not been looked at yet;
    /// always with `migrate=1`, where each switch goes by way of g0.
    pub timer_due: AtomicBool,
    /// owner
    pub rng: Cell<u64>,
    /// owner: next goroutine id, and the end of the batch
    pub goidcache: Cell<(u64, u64)>,
    /// owner: dead Gs
    gfree: GFree,
    /// owner
    pub stacks: StackCache,
    /// see `runq`
    runq: RunQueue<G, RUNQ>,
    /// own lock
    pub timers: Timers,
    /// sched.lock: the idle list
    pub link: Cell<Option<&'static P>>,
    /// owner adds, anybody reads: goroutines started on it less those ended
    pub live: AtomicI64,
}

// SAFETY: owner-only fields are touched under ownership (module), `link` under
// sched.lock, the rest is atomic or locks itself.
unsafe impl Sync for P {}

impl P {
    pub(crate) const fn new(id: u32) -> Self {
        Self {
            owner: OwnerWord::new(),
            runnext: RunNext::new(),
            schedtick: AtomicU32::new(0),
            id,
            streak: Cell::new(0),
            global_turn: Cell::new(false),
            global_first: Cell::new(false),
            waking: Waking::new(),
            timer_due: AtomicBool::new(false),
            rng: Cell::new(1),
            goidcache: Cell::new((0, 0)),
            gfree: GFree::new(),
            stacks: StackCache::new(),
            runq: RunQueue::new(),
            timers: Timers::new(),
            link: Cell::new(None),
            live: AtomicI64::new(0),
        }
    }

    /// Whether it has no runnable goroutine; for anybody. As Go's, it never
    /// says yes while the owner only moves one from `runnext` to the queue.
    pub(crate) fn runqempty(&self) -> bool {
        self.runq.is_empty_while(|| self.runnext.is_empty())
    }

    /// How many goroutines the ring held at some moment; for anybody.
    pub(crate) fn runq_len(&self) -> u32 {
        self.runq.len()
    }

    /// What runs next on it, if anything; a hint for a thief.
    #[inline(always)]
    pub(crate) fn next(&self) -> Option<Next> {
        // SAFETY: null, or a type-stable G (invariant 1 of `gmp`).
        unsafe { self.runnext.seen().cast_const().as_ref() }.map(Next)
    }

    /// A thief takes what it has seen to be next, unless that is gone.
    pub(crate) fn steal_next(&self, seen: Next) -> Option<&'static G> {
        let item = ptr::from_ref(seen.0).cast_mut();
        self.runnext.steal(item).then_some(seen.0)
    }
}

/// What was seen to run next on a P. It may be gone since, and run elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct Next(&'static G);

/// What was taken out of a P's queue.
///
/// # Safety
/// From the queue of a P, or null.
#[inline(always)]
unsafe fn queued(item: *mut G) -> Option<&'static G> {
    // SAFETY: null, or a type-stable G (invariant 1 of `gmp`).
    unsafe { item.cast_const().as_ref() }
}

/// A P that the caller's M holds, inside the runtime.
///
/// Invariant: made only by an M that checked its hold (`sched::enter`) or took
/// the P, and dead before the M lets go of it or of the runtime.
#[derive(Clone, Copy)]
pub(crate) struct OwnedP(&'static P);

impl OwnedP {
    /// # Safety
    /// The M of this thread holds `pp` and is in the runtime, for as long as
    /// the value lives.
    pub(crate) unsafe fn new(pp: &'static P) -> Self {
        Self(pp)
    }

    pub(crate) fn get(self) -> &'static P {
        self.0
    }

    /// The list of dead Gs.
    pub(crate) fn gfree(self) -> &'static GFree {
        &self.0.gfree
    }

    /// Whether it has no runnable goroutine, or a thief is taking the last.
    #[inline(always)]
    pub(crate) fn owner_sees_empty(self) -> bool {
        self.runnext.seen().is_null() && self.ring_is_empty()
    }

    /// The same of the ring alone.
    #[inline(always)]
    pub(crate) fn ring_is_empty(self) -> bool {
        self.0.runq.owner_sees_empty()
    }

    /// How many goroutines wait in the ring at most.
    #[inline]
    pub(crate) fn ring_len(self) -> u32 {
        self.0.runq.owner_len()
    }

    /// Lets `gp` run next, and returns what was next before. `alone`: no other
    /// P exists.
    #[inline(always)]
    pub(crate) fn put_next(
        self,
        gp: &'static G,
        alone: bool,
    ) -> Option<&'static G> {
        let item = ptr::from_ref(gp).cast_mut();
        // SAFETY: the M holds the P (OwnedP's invariant).
        let before = unsafe { self.0.runnext.put(item, alone) };
        // SAFETY: from this P.
        unsafe { queued(before) }
    }

    /// The same where nothing is next; else false, and nothing has changed.
    #[must_use]
    #[inline(always)]
    pub(crate) fn put_next_if_none(self, gp: &'static G) -> bool {
        let item = ptr::from_ref(gp).cast_mut();
        // SAFETY: the M holds the P (OwnedP's invariant).
        unsafe { self.0.runnext.put_if_none(item) }
    }

    /// Takes what it has seen to be next; None where a thief came first.
    #[inline(always)]
    pub(crate) fn take_next(
        self,
        seen: Next,
        alone: bool,
    ) -> Option<&'static G> {
        let item = ptr::from_ref(seen.0).cast_mut();
        // SAFETY: the M holds the P (OwnedP's invariant).
        let taken = unsafe { self.0.runnext.take(item, alone) };
        // SAFETY: from this P.
        unsafe { queued(taken) }
    }

    /// Appends `gp` to the ring; false if that is full.
    #[must_use]
    #[inline(always)]
    pub(crate) fn push(self, gp: &'static G) -> bool {
        let item = ptr::from_ref(gp).cast_mut();
        // SAFETY: the M holds the P (OwnedP's invariant).
        unsafe { self.0.runq.push(item) }
    }

    /// Takes the oldest of the ring. `alone`: no other P exists.
    #[inline(always)]
    pub(crate) fn pop(self, alone: bool) -> Option<&'static G> {
        let oldest = match alone {
            // SAFETY: the M holds the P, the only one.
            true => unsafe { self.0.runq.pop_alone() },
            // SAFETY: the M holds the P (OwnedP's invariant).
            false => unsafe { self.0.runq.pop() },
        };
        // SAFETY: queues hold type-stable Gs.
        oldest.map(|gp| unsafe { &*gp.cast_const() })
    }

    /// Moves the older half of a full ring to `sink`; false if a thief has made
    /// room.
    #[must_use]
    pub(crate) fn spill(self, mut sink: impl FnMut(&'static G)) -> bool {
        // SAFETY: queues hold type-stable Gs.
        let sink = |gp: *mut G| sink(unsafe { &*gp.cast_const() });
        // SAFETY: the M holds the P (OwnedP's invariant).
        unsafe { self.0.runq.spill(sink) }
    }

    /// Takes half of the ring of `victim` into the own one, which is empty.
    /// Returns how many.
    pub(crate) fn steal_from(self, victim: &P) -> u32 {
        // SAFETY: the M holds the P (OwnedP's invariant).
        unsafe { victim.runq.steal_into(&self.0.runq) }
    }

    /// Takes all goroutines out: what is next first, then the ring in order.
    pub(crate) fn drain(self, mut sink: impl FnMut(&'static G)) {
        let next = self.next().and_then(|next| self.take_next(next, false));
        if let Some(gp) = next {
            sink(gp);
        }
        while let Some(gp) = self.pop(false) {
            sink(gp);
        }
    }

    /// Counts goroutines that start (+1) or end (-1) here.
    pub(crate) fn count(self, change: i64) {
        // Relaxed, load and store: only the owner writes.
        self.live.store(self.live.load(Relaxed) + change, Relaxed);
    }

    /// Counts one more goroutine resumed on it.
    pub(crate) fn tick(self) -> u32 {
        // Relaxed, load and store: only the owner writes.
        let tick = self.schedtick.load(Relaxed).wrapping_add(1);
        self.schedtick.store(tick, Relaxed);
        tick
    }
}

impl Deref for OwnedP {
    type Target = P;

    fn deref(&self) -> &P {
        self.0
    }
}

/// The number that stands for `mp` in a P's owner word.
#[inline(always)]
pub(crate) fn m_word(mp: &M) -> u64 {
    core::ptr::from_ref(mp) as u64
}

/// The M behind such a number.
pub(crate) fn m_of_word(word: u64) -> &'static M {
    let mp = word as *const M;
    // SAFETY: only m_word makes these numbers, and Ms are type-stable.
    unsafe { &*mp }
}
