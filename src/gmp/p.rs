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
use crate::{heap::MCache, stack::StackCache, timers::Timers};
use core::{
    cell::Cell,
    ops::Deref,
    ptr,
    sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::*},
};

/// Slots in a P's queue.
pub(crate) const RUNQ: usize = 256;
/// Goroutine ids that a P takes at a time.
pub(crate) const GOIDCACHE: u64 = 16;

/// Whether a wake-up for the goroutine in `runnext` is worth its price. In a
/// ping-pong that goroutine runs here before a thief could take it. So each
/// wake-up after which no thief took anything doubles the number of wake-ups
/// that are suppressed after it, up to a bound.
pub(crate) struct Waking {
    /// Wake-ups to suppress from now on; sysmon may clear it.
    skip: AtomicU32,
    /// owner: wake-ups suppressed after the last one that was made
    last_skip: Cell<u32>,
    /// A thief has taken something since the last wake-up.
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

    /// Whether the owner does without this wake-up.
    #[inline(always)]
    pub(crate) fn suppressed(&self) -> bool {
        // Relaxed: a measure, here and below.
        let left = self.skip.load(Relaxed);
        if left > 0 {
            self.skip.store(left - 1, Relaxed);
        }
        left > 0
    }

    /// sysmon: the P switches slowly, so every wake-up is worth its price.
    pub(crate) fn reset(&self) {
        self.skip.store(0, Relaxed);
    }

    /// A thief has taken something: the last wake-up was worth its price.
    pub(crate) fn stolen(&self) {
        if !self.taken.load(Relaxed) {
            self.taken.store(true, Relaxed);
        }
    }

    /// The owner makes a wake-up.
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
    /// owner stores, any thread reads: goroutines started or resumed on it
    pub schedtick: AtomicU64,
    /// const
    pub id: u32,
    /// owner: how many times in a row `runnext` came before the queue
    pub streak: Cell<u32>,
    /// owner: the last yield that took turns between the two queues chose the
    /// global one
    pub global_turn: Cell<bool>,
    /// owner: the next look for work begins with the global queue
    pub global_first: Cell<bool>,
    /// owner: the value of `schedtick` from which on the P is late (`is_late`)
    late_at: Cell<u64>,
    /// owner: which wake-ups for its work to suppress
    pub waking: Waking,
    /// The next switch goes by way of g0: for due timers, or for goroutines
    /// that wait for stacks. sysmon sets it; with `migrate=1` it is always set.
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
    /// owner adds, any thread reads: goroutines of the host's started on it,
    /// and ended on it
    pub started: AtomicU64,
    pub ended: AtomicU64,
    /// owner adds, any thread reads: looks for work on other Ps, and goroutines
    /// taken there
    steal_attempts: AtomicU64,
    stolen: AtomicU64,
    /// owner adds, any thread reads: how often it was let go of by an M whose
    /// goroutine needs no P
    handoffs: AtomicU64,
    /// owner: what goroutines on it allocate from, once one does; it stays
    pub mcache: Cell<Option<&'static MCache>>,
}

// SAFETY: owner-only fields are touched under ownership (module), `link` under
// sched.lock, the rest is atomic or locks itself.
unsafe impl Sync for P {}

impl P {
    pub(crate) const fn new(id: u32) -> Self {
        Self {
            owner: OwnerWord::new(),
            runnext: RunNext::new(),
            schedtick: AtomicU64::new(0),
            id,
            streak: Cell::new(0),
            global_turn: Cell::new(false),
            global_first: Cell::new(false),
            late_at: Cell::new(0),
            waking: Waking::new(),
            timer_due: AtomicBool::new(false),
            rng: Cell::new(1),
            goidcache: Cell::new((0, 0)),
            gfree: GFree::new(),
            stacks: StackCache::new(),
            runq: RunQueue::new(),
            timers: Timers::new(),
            link: Cell::new(None),
            started: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            steal_attempts: AtomicU64::new(0),
            stolen: AtomicU64::new(0),
            handoffs: AtomicU64::new(0),
            mcache: Cell::new(None),
        }
    }

    /// Whether the P has no runnable goroutine; from any thread. As in Go, a
    /// goroutine that the owner moves from `runnext` to the ring is not missed.
    pub(crate) fn runqempty(&self) -> bool {
        self.runq.is_empty_while(|| self.runnext.is_empty())
    }

    /// How many goroutines the ring held at some moment; from any thread.
    pub(crate) fn runq_len(&self) -> u32 {
        self.runq.len()
    }

    /// How many goroutines were started or resumed on it, the low half: to
    /// compare, and to act once in so many.
    #[inline(always)]
    pub(crate) fn schedtick(&self) -> u32 {
        // Relaxed: a counter that guards no data.
        self.schedtick.load(Relaxed) as u32
    }

    /// How many goroutines of the host's have ended on it. A reader that wants
    /// both reads this of all Ps before it reads any `counts`: then it sees no
    /// end without the start.
    pub(crate) fn ended(&self) -> u64 {
        // Acquire: pairs with count_end.
        self.ended.load(Acquire)
    }

    /// What else has happened on it so far; from any thread.
    pub(crate) fn counts(&self) -> PCounts {
        // Relaxed: counters, each for itself.
        PCounts {
            started: self.started.load(Relaxed),
            switches: self.schedtick.load(Relaxed),
            steal_attempts: self.steal_attempts.load(Relaxed),
            stolen: self.stolen.load(Relaxed),
            handoffs: self.handoffs.load(Relaxed),
        }
    }

    /// The goroutine in `runnext`; a hint for a thief.
    #[inline(always)]
    pub(crate) fn next(&self) -> Option<Next> {
        // SAFETY: null, or a type-stable G (invariant 1 of `gmp`).
        unsafe { self.runnext.seen().cast_const().as_ref() }.map(Next)
    }

    /// A thief takes the goroutine that it saw in `runnext`, unless that is
    /// gone.
    pub(crate) fn steal_next(&self, seen: Next) -> Option<&'static G> {
        let item = ptr::from_ref(seen.0).cast_mut();
        self.runnext.steal(item).then_some(seen.0)
    }
}

/// The counters of a P. They never go backwards, and a P is never freed.
#[derive(Clone, Copy, Default)]
pub(crate) struct PCounts {
    pub started: u64,
    pub switches: u64,
    pub steal_attempts: u64,
    pub stolen: u64,
    pub handoffs: u64,
}

/// Adds to a counter that one thread at a time writes.
#[inline(always)]
fn add(counter: &AtomicU64, n: u64) {
    // Relaxed, load and store: only the owner writes.
    counter.store(counter.load(Relaxed) + n, Relaxed);
}

/// A goroutine that was seen in a `runnext`. It may be gone since, and run
/// elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct Next(&'static G);

/// The goroutine of an item.
///
/// # Safety
/// `item` is null, or was taken from the queue of a P.
#[inline(always)]
unsafe fn queued(item: *mut G) -> Option<&'static G> {
    // SAFETY: null, or a type-stable G (invariant 1 of `gmp`).
    unsafe { item.cast_const().as_ref() }
}

/// A P that the caller's M holds, inside the runtime; or one that the caller
/// has in hand or has stopped (`sched::procs`, `sched::stw`).
///
/// Invariant: made only by an actor that has checked its hold (`sched::enter`)
/// or taken the P, and dead before the actor lets go of the P or goes outside.
#[derive(Clone, Copy)]
pub(crate) struct OwnedP(&'static P);

impl OwnedP {
    /// # Safety
    /// For as long as the value lives, the M of this thread holds `pp` and is
    /// inside; or this thread has `pp` in hand, or has stopped it.
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

    /// Whether the P has no runnable goroutine, or a thief is taking the last.
    #[inline(always)]
    pub(crate) fn owner_sees_empty(self) -> bool {
        self.runnext.seen().is_null() && self.ring_is_empty()
    }

    /// Whether the ring is empty, or a thief is taking the last of it.
    #[inline(always)]
    pub(crate) fn ring_is_empty(self) -> bool {
        self.0.runq.owner_sees_empty()
    }

    /// How many goroutines wait in the ring at most.
    #[inline]
    pub(crate) fn ring_len(self) -> u32 {
        self.0.runq.owner_len()
    }

    /// Puts `gp` into `runnext`; returns the goroutine that was there. `alone`:
    /// no other P exists.
    #[inline(always)]
    pub(crate) fn put_next(
        self,
        gp: &'static G,
        alone: bool,
    ) -> Option<&'static G> {
        let item = ptr::from_ref(gp).cast_mut();
        // SAFETY: the M holds the P (OwnedP's invariant).
        let before = unsafe { self.0.runnext.put(item, alone) };
        // SAFETY: from this P's `runnext`.
        unsafe { queued(before) }
    }

    /// Puts `gp` into `runnext` if that is empty; else false.
    #[must_use]
    #[inline(always)]
    pub(crate) fn put_next_if_none(self, gp: &'static G) -> bool {
        let item = ptr::from_ref(gp).cast_mut();
        // SAFETY: the M holds the P (OwnedP's invariant).
        unsafe { self.0.runnext.put_if_none(item) }
    }

    /// Takes the goroutine that the owner saw in `runnext`; None if a thief
    /// came first.
    #[inline(always)]
    pub(crate) fn take_next(
        self,
        seen: Next,
        alone: bool,
    ) -> Option<&'static G> {
        let item = ptr::from_ref(seen.0).cast_mut();
        // SAFETY: the M holds the P (OwnedP's invariant).
        let taken = unsafe { self.0.runnext.take(item, alone) };
        // SAFETY: from this P's `runnext`.
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

    /// Takes the oldest goroutine of the ring. `alone`: no other P exists.
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

    /// Moves half of the ring of `victim` to the own ring, which is empty.
    /// Returns how many goroutines.
    pub(crate) fn steal_from(self, victim: &P) -> u32 {
        // SAFETY: the M holds the P (OwnedP's invariant).
        unsafe { victim.runq.steal_into(&self.0.runq) }
    }

    /// Takes all goroutines out: `runnext` first, then the ring in order.
    pub(crate) fn drain(self, mut sink: impl FnMut(&'static G)) {
        let next = self.next().and_then(|next| self.take_next(next, false));
        if let Some(gp) = next {
            sink(gp);
        }
        while let Some(gp) = self.pop(false) {
            sink(gp);
        }
    }

    /// Counts a goroutine of the host's that starts here.
    #[inline(always)]
    pub(crate) fn count_start(self) {
        add(&self.started, 1);
    }

    /// Counts a goroutine of the host's that ends here.
    #[inline(always)]
    pub(crate) fn count_end(self) {
        // Relaxed: only the owner writes. Release: pairs with ended.
        self.0.ended.store(self.0.ended.load(Relaxed) + 1, Release);
    }

    /// Counts one more goroutine started or resumed on the P.
    #[inline(always)]
    pub(crate) fn tick(self) {
        add(&self.schedtick, 1);
    }

    /// Whether the P is late: its next look for work begins with descriptors
    /// and the global queue.
    #[inline(always)]
    pub(crate) fn is_late(self) -> bool {
        // Relaxed: only the owner writes.
        self.schedtick.load(Relaxed) >= self.late_at.get()
    }

    /// From the `n`th switch after this one on the P is late.
    pub(crate) fn late_in(self, n: u32) {
        // Relaxed: only the owner writes.
        self.late_at.set(self.schedtick.load(Relaxed) + u64::from(n));
    }

    /// The same, unless it is late before that.
    pub(crate) fn late_within(self, n: u32) {
        let before = self.late_at.get();
        self.late_in(n);
        self.late_at.set(self.late_at.get().min(before));
    }

    /// Counts a look for work on other Ps.
    pub(crate) fn count_steal_attempt(self) {
        add(&self.steal_attempts, 1);
    }

    /// Counts goroutines taken from another P.
    pub(crate) fn count_stolen(self, n: u32) {
        add(&self.stolen, n.into());
    }

    /// Counts that its M has let go of it, for a goroutine that needs no P. The
    /// P is in the caller's hands.
    pub(crate) fn count_handoff(self) {
        add(&self.handoffs, 1);
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

/// The M for which a number of [`m_word`] stands.
pub(crate) fn m_of_word(word: u64) -> &'static M {
    let mp = word as *const M;
    // SAFETY: only m_word makes these numbers, and Ms are type-stable.
    unsafe { &*mp }
}
