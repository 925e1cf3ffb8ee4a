//! P: the right to run goroutines, with the queues and caches that come with
//! it.
//!
//! A P is held by at most one M (`owner`). Fields marked *owner* are touched
//! only by the holder, inside the runtime (invariant 1 of `owner`). [`OwnedP`]
//! is that role as a type.

use super::{G, GFree, M, owner::OwnerWord, runq::RunQueue};
use crate::{stack::StackCache, timers::Timers};
use core::{
    cell::Cell,
    ops::Deref,
    ptr,
    sync::atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, Ordering::*},
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
    pub(crate) fn skips(&self) -> bool {
        // Relaxed: a measure, here and below.
        let left = self.skip.load(Relaxed);
        if left > 0 {
            self.skip.store(left - 1, Relaxed);
        }
        left > 0
    }

    /// sysmon: the P switches slowly, so all are worth it.
    pub(crate) fn forget(&self) {
        self.skip.store(0, Relaxed);
    }

    /// A thief has taken something: it was worth it.
    pub(crate) fn worked(&self) {
        if !self.taken.load(Relaxed) {
            self.taken.store(true, Relaxed);
        }
    }

    /// One is made, by the owner.
    pub(crate) fn made(&self) {
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
    /// atomic: what runs next, before the queue (Go's `runnext`)
    pub runnext: AtomicPtr<G>,
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
    pub runq: RunQueue<G, RUNQ>,
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
            runnext: AtomicPtr::new(ptr::null_mut()),
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
        // Acquire: who sees that it was taken sees what was queued before.
        self.runq.is_empty_while(|| self.runnext.load(Acquire).is_null())
    }
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
        // Relaxed: only the owner, who asks, puts one there.
        self.runnext.load(Relaxed).is_null() && self.runq.owner_sees_empty()
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
