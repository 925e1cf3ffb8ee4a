//! Timers: a heap of deadlines for each P.
//!
//! A timer calls a function at a point in time, once. The heap has four
//! children to a node: shallower than a binary one, and the children compared
//! at each step share a cache line or two. Timers of equal time run in the
//! order in which they were added.
//!
//! Not here: tickers, sleeping, and who wakes up when the first deadline
//! changes. The heap runs stored functions and knows no goroutine.
//!
//! ```text
//!   idle --add--> pending --run: popped under the lock--> idle, f is called
//!     ^              |  ^
//!     '---remove-----'  '-- move_to: to another heap
//! ```
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the heap of a P, under its lock |
//! | `heap.rs` | the heap itself |
//! | `spill.rs` | timers for which the heap has no memory |
//! | `timer.rs` | a timer, and what is kept of it |
//!
//! Invariants:
//! 1. A pending timer has one entry, in the heap that `Timer::heap` says, and
//!    there the slot that it says, which says that it is its own. Both are
//!    written under the lock of that heap, and when it moves under both locks.
//!    What they say of a timer that is not pending is history: the heap looks
//!    into the slot.
//! 2. A pending timer is where it was when it was added, and lives: `add`'s
//!    caller promises it. Nobody here touches one that is not pending: what
//!    to call is in its slot, and it is taken out by a change of the slot.
//!    Where memory is out a timer has no slot, but [`SPILLED`], and no entry
//!    in the tables: it is in the tree of `spill`, and is touched.
//! 3. `places` says for each slot in use where its entry is.
//! 4. `next` is the first entry's time, or `i64::MAX` where all are stopped;
//!    stored under the lock.
//! 5. Functions run without the lock. So `remove` that finds the timer gone
//!    cannot say whether its function has run: it runs or ran, and tells by
//!    `seq` that it is late.
//! 6. A timer's own time is that of its entry, or later, or [`STOPPED`]: what
//!    a heap learns of a later time it acts upon when the entry comes up. A
//!    stopped one is taken out when it comes up, or when there are many, and
//!    its function is called all the same: it tells by `seq` that it is stale,
//!    and may give back what it holds.
//!
//! So there are two ways to give a timer up, after Go, which does the second
//! for all. `remove` is exact and costs a logarithm: for a timer that goes, as
//! a wait's deadline, which lies on a stack. `stop` and `set` cost next to
//! nothing for timers that are started and stopped all the time.

mod heap;
mod spill;

/// A deadline that never comes.
pub(crate) const FOREVER: i64 = i64::MAX;

#[cfg(test)]
mod tests;
mod timer;

pub(crate) use timer::{STOPPED, Timer, TimerFn};

use crate::base::lock::Rank;
use crate::base::sync::{AtomicI64, Ordering};
use crate::base::throw::throw;
use crate::os::{Lock, LockGuard};
use core::ptr;
use heap::{Heap, Pending};
use timer::Call;

/// How many functions `run` copies out for each time that it takes the lock.
const BATCH: usize = 16;

/// What [`Timers::stop`] leaves to its caller: timers, most of others, that
/// are in no heap any more.
#[must_use]
#[derive(Default)]
pub(crate) struct Stopped {
    one: Option<Call>,
    swept: Vec<Call>,
}

impl Stopped {
    /// Calls their functions.
    pub(crate) fn call(self) {
        for Call { f, arg, seq } in self.one.into_iter().chain(self.swept) {
            f(arg, seq);
        }
    }
}

/// The pending timers of one P. Any thread may call any of it.
pub(crate) struct Timers {
    /// Invariant 4.
    next: AtomicI64,
    heap: Lock<Heap>,
}

impl Timers {
    pub(crate) const fn new() -> Self {
        Self {
            next: AtomicI64::new(i64::MAX),
            heap: Lock::new(Rank::Timers, Heap::new()),
        }
    }

    /// Makes `t` pending: its function is called at `when`, in monotonic
    /// nanoseconds, or soon after.
    ///
    /// True if whoever sleeps until the former first may have to be woken: it
    /// comes first now, or the others are stopped.
    ///
    /// # Safety
    /// `t` is not pending. It stays where it is until [`Self::remove`] has
    /// returned, or its function was called.
    pub(crate) unsafe fn add(&'static self, t: &Timer, when: i64) -> bool {
        let mut heap = self.heap.lock();
        if heap.has(t) {
            throw("timers.add: pending already");
        }
        // Where all were stopped, nobody sleeps until an entry's time.
        let idle = self.next_when() == i64::MAX;
        let call = t.call();
        let first = heap.push(when, Pending { call, timer: t, when }) | idle;
        t.heap.store(self.name(), Ordering::Release);
        self.publish(&heap);
        first
    }

    /// Takes `t` off whatever heap it is in.
    ///
    /// True if it was pending; its function will not be called. False if not:
    /// its function was called, or is about to be (invariant 5). Either way
    /// nobody touches `t` any more.
    pub(crate) fn remove(t: &Timer) -> bool {
        let removed = Self::pending(t, |at, mut heap| {
            heap.remove(t);
            at.publish(&heap);
        });
        removed.is_some()
    }

    /// Lets `t`, if it is pending, be due at `when` instead, with `seq` for
    /// its function. True as of [`Self::add`]; None if it is not pending.
    pub(crate) fn set(t: &Timer, when: i64, seq: u64) -> Option<bool> {
        Self::pending(t, |at, mut heap| {
            // Where all were stopped, nobody sleeps until an entry's time.
            let idle = at.next_when() == i64::MAX;
            let first = heap.set(t, when, seq) | idle;
            at.publish(&heap);
            first
        })
    }

    /// Stops `t`: whatever heap it is in calls its function some time, with
    /// the `seq` that it has now, or leaves that to the caller.
    ///
    /// Where it comes first, somebody may yet wake up for it, once; unless all
    /// are stopped.
    pub(crate) fn stop(t: &Timer) -> Stopped {
        let stopped = Self::pending(t, |at, mut heap| {
            let one = heap.stop(t);
            let swept = heap.sweep_if_many();
            at.publish(&heap);
            Stopped { one, swept }
        });
        stopped.unwrap_or_default()
    }

    /// Calls `f` with the heap that `t` is in, locked; None if in none.
    fn pending<R>(
        t: &Timer,
        f: impl FnOnce(&'static Timers, LockGuard<'_, Heap>) -> R,
    ) -> Option<R> {
        loop {
            // Acquire: pairs with add and move_to.
            let at = t.heap.load(Ordering::Acquire).cast::<Timers>();
            // SAFETY: null or from `name`, which is given heaps that stay.
            let at = unsafe { at.as_ref() }?;
            let heap = at.heap.lock();
            // Relaxed: the lock orders it. Where it has moved before, its slot
            // says nothing about this heap.
            if t.heap.load(Ordering::Relaxed) == at.name() {
                return heap.has(t).then(|| f(at, heap));
            }
        }
    }

    /// The time of the first timer, `i64::MAX` if there is none. Takes no
    /// lock; whoever sleeps by it has to be woken when [`Self::add`] says so.
    #[inline]
    pub(crate) fn next_when(&self) -> i64 {
        // Acquire: pairs with publish. A caller that decides to sleep, and an
        // adder that decides to wake it, need a fence each of their own.
        self.next.load(Ordering::Acquire)
    }

    /// Calls the functions of all timers that are due at `now`, in order;
    /// gives their number back.
    pub(crate) fn run(&self, now: i64) -> usize {
        let mut ran = 0;
        while self.next_when() <= now {
            let mut due = [None; BATCH];
            let n = self.pop_due(now, &mut due);
            if n == 0 {
                break;
            }
            for Call { f, arg, seq } in due.into_iter().flatten() {
                f(arg, seq);
            }
            ran += n;
        }
        ran
    }

    /// Takes timers that are due, into the front of `to`; gives their number
    /// back.
    fn pop_due(&self, now: i64, to: &mut [Option<Call>]) -> usize {
        let mut heap = self.heap.lock();
        let mut n = 0;
        while n < to.len()
            && let Some(due) = heap.pop(now)
        {
            to[n] = Some(due);
            n += 1;
        }
        self.publish(&heap);
        n
    }

    /// Moves all timers to `other`, where equal times keep their order. One
    /// thread at a time moves timers: it holds the locks of both heaps.
    pub(crate) fn move_to(&self, other: &'static Timers) {
        if ptr::eq(self, other) {
            return;
        }
        let mut from = self.heap.lock();
        let mut to = other.heap.lock();
        from.drain_in_order(|when, timer| {
            to.push(when, timer);
            // SAFETY: pending, invariant 2.
            let t = unsafe { &*timer.timer };
            t.heap.store(other.name(), Ordering::Release);
        });
        other.publish(&to);
        self.publish(&from);
    }

    /// How many timers are pending here.
    pub(crate) fn len(&self) -> usize {
        self.heap.lock().len()
    }

    /// What a timer in this heap has in `heap`.
    fn name(&self) -> *mut () {
        ptr::from_ref(self).cast_mut().cast()
    }

    /// Keeps invariant 4.
    fn publish(&self, heap: &LockGuard<'_, Heap>) {
        // Release: pairs with next_when.
        let idle = heap.len() == heap.stopped();
        let next = if idle { i64::MAX } else { heap.first() };
        self.next.store(next, Ordering::Release);
    }
}
