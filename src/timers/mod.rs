//! Timers: a heap of deadlines for each P.
//!
//! A timer calls a function once, at a point in time. Timers of equal time run
//! in the order in which they were added. A node of the heap has four children:
//! the heap is shallower than a binary one, and the children that a step
//! compares share a cache line or two.
//!
//! Not here: tickers, sleeping, and the wake-up when the first deadline
//! changes. The heap runs stored functions and knows no goroutine.
//!
//! ```text
//!   idle    -> pending  add
//!   pending -> pending  set, to another time; move_to, to another heap
//!   pending -> idle     remove; or it is due: run takes it out under the lock
//!                       and then calls its function
//!   pending -> stopped  stop; the timer stays in its heap
//!   pending -> idle     stop of a spilled timer; the caller calls its function
//!   stopped -> pending  set
//!   stopped -> idle     remove; or its entry comes up, or many are stopped: in
//!                       both of these cases its function is called, too
//! ```
//! Below, and in the functions, a stopped timer counts as pending.
//!
//! A heap has a dense table of *slots*, one for each timer in it: a slot holds
//! the timer's address, its function and its own time. An *entry* holds a slot
//! and the time by which the heap sorts it.
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | the heap of a P, under its lock |
//! | `heap.rs` | the heap itself |
//! | `spill.rs` | timers for which the heap has no memory |
//! | `timer.rs` | a timer, and what is kept of it |
//! | `deadline.rs` | until when a call may wait |
//!
//! Invariants:
//! 1. A pending timer has one entry, in the heap that `Timer::heap` names, and
//!    there the slot that `Timer::slot` names, which names the timer. Both
//!    fields are written under that heap's lock, and for a move under both
//!    locks. In a timer that is not pending the fields are stale, so the heap
//!    always checks the slot.
//! 2. A pending timer stays in place and lives: `add`'s caller promises it. A
//!    timer that is not pending is touched only by a function that gets it as
//!    an argument. The slot holds the call, so the heap takes a timer out by a
//!    change of the slot, and does not touch the timer. Where there is no
//!    memory for a slot, `Timer::slot` is [`SPILLED`], and the timer has no
//!    entry in the tables: it is a node of the tree in `spill`, which touches
//!    the timers themselves.
//! 3. `places` says for each slot in use where its entry is.
//! 4. `next` is the first entry's time, or `i64::MAX` if there is no timer but
//!    stopped ones; it is stored under the lock.
//! 5. Functions run without the lock. So a `remove` that finds the timer gone
//!    cannot tell whether the function ran or is about to run. A function that
//!    runs late sees by its `seq` that it is late.
//! 6. A timer's own time is its entry's time, a later one, or [`STOPPED`]. The
//!    heap acts on a later time when the entry comes up. A stopped timer is
//!    taken out when its entry comes up, or when there are many. The timer's
//!    function is called even so, sees by `seq` that the call is stale, and may
//!    release what the timer refers to.
//!
//! So there are two ways to give up a timer; Go uses the second for all.
//! `remove` is exact and costs a logarithm. A wait's deadline needs it, because
//! the timer lies on a stack. `stop` and `set` are almost free, for timers that
//! are started and stopped all the time.

mod deadline;
mod heap;
mod spill;

pub(crate) use deadline::Deadline;

#[cfg(test)]
mod tests;
mod timer;

pub(crate) use timer::{STOPPED, Timer, TimerFn};

use crate::base::lock::Rank;
use crate::base::sync::{AtomicI64, Ordering};
use crate::base::throw::throw;
use crate::base::trace::{self, Event, Kind};
use crate::os::{Lock, LockGuard};
use core::ptr;
use heap::{Heap, Pending};
use timer::Call;

/// The `seq` of no timer.
const GIVEN_UP: u64 = u64::MAX;

/// How many functions `run` copies out for each time that it takes the lock.
const BATCH: usize = 16;

/// The calls that [`Timers::stop`] leaves to its caller, for stopped timers
/// that it took out of their heap, other users' timers among them.
#[must_use]
#[derive(Default)]
pub(crate) struct Stopped {
    one: Option<Call>,
    swept: Vec<Call>,
}

impl Stopped {
    /// Makes the calls.
    pub(crate) fn call(self) {
        for Call { f, arg, seq } in self.one.into_iter().chain(self.swept) {
            f(arg, seq);
        }
    }
}

/// The pending timers of one P. Any thread may call any function.
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

    /// Makes `t` pending: its function is called at `when`, or soon after.
    ///
    /// True if a thread that sleeps until the first deadline may have to wake:
    /// `t` comes first now, or all other timers are stopped.
    ///
    /// # Safety
    /// `t` is not pending, and stays in place until [`Self::remove`] has
    /// returned or the function was called.
    pub(crate) unsafe fn add(&'static self, t: &Timer, when: Deadline) -> bool {
        let when = when.ns();
        let mut heap = self.heap.lock();
        if heap.has(t) {
            throw("timers.add: pending already");
        }
        // While all timers were stopped, nobody slept until an entry's time.
        let idle = self.next_when().is_never();
        let call = t.call();
        let first = heap.push(when, Pending { call, timer: t, when }) | idle;
        t.heap.store(self.name(), Ordering::Release);
        self.publish(&heap);
        first
    }

    /// Takes `t` out of its heap.
    ///
    /// True if `t` was pending: its function will not be called. False if the
    /// function was called or is about to be (invariant 5). Either way nobody
    /// touches `t` any more.
    pub(crate) fn remove(t: &Timer) -> bool {
        let removed = Self::pending(t, |at, mut heap| {
            heap.remove(t);
            at.publish(&heap);
        });
        removed.is_some()
    }

    /// Makes a pending `t` due at `when` instead, with `seq` for its function.
    /// Some(true) means the same as in [`Self::add`]; None: `t` is not pending.
    pub(crate) fn set(t: &Timer, when: Deadline, seq: u64) -> Option<bool> {
        Self::pending(t, |at, mut heap| {
            // While all were stopped, nobody slept until an entry's time.
            let idle = at.next_when().is_never();
            let first = heap.set(t, when.ns(), seq) | idle;
            at.publish(&heap);
            first
        })
    }

    /// Stops `t`. Its function is called some time later with the present
    /// `seq`, by the heap or by the caller, who makes the calls of the result.
    ///
    /// If `t` came first, a sleeping thread may still wake for it once, unless
    /// all timers are stopped.
    pub(crate) fn stop(t: &Timer) -> Stopped {
        let stopped = Self::pending(t, |at, mut heap| {
            let one = heap.stop(t);
            let swept = heap.sweep_if_many();
            at.publish(&heap);
            Stopped { one, swept }
        });
        stopped.unwrap_or_default()
    }

    /// Calls `f` with the locked heap that has `t`; None if no heap has it.
    fn pending<R>(
        t: &Timer,
        f: impl FnOnce(&'static Timers, LockGuard<'_, Heap>) -> R,
    ) -> Option<R> {
        loop {
            // Acquire: pairs with add and move_to.
            let at = t.heap.load(Ordering::Acquire).cast::<Timers>();
            // SAFETY: null, or a heap's name, and heaps are never freed.
            let at = unsafe { at.as_ref() }?;
            let heap = at.heap.lock();
            // Relaxed: the lock orders it. After a move to another heap, the
            // slot says nothing about this one.
            if t.heap.load(Ordering::Relaxed) == at.name() {
                return heap.has(t).then(|| f(at, heap));
            }
        }
    }

    /// The time of the first timer, never without one. Takes no lock. A thread
    /// that sleeps until then must be woken when [`Self::add`] says so.
    #[inline]
    pub(crate) fn next_when(&self) -> Deadline {
        // Acquire: pairs with publish. A caller that then sleeps, and the adder
        // that then wakes it, each need a fence of their own.
        Deadline::at(self.next.load(Ordering::Acquire))
    }

    /// Calls the functions of all timers that are due at `now`, in order;
    /// returns their number.
    pub(crate) fn run(&self, now: i64) -> usize {
        let mut ran = 0;
        while self.next_when().has_passed(now) {
            let mut due = [None; BATCH];
            let n = self.pop_due(now, &mut due);
            if n == 0 {
                break;
            }
            for Call { f, arg, seq } in due.into_iter().flatten() {
                trace::event(move || Event::of(Kind::Timer, 0));
                f(arg, seq);
            }
            ran += n;
        }
        ran
    }

    /// Takes timers that are due into the front of `to`; returns their number.
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

    /// Moves all timers to `other`, where equal times keep their order. Only
    /// one thread at a time moves timers, since it locks two heaps.
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

    /// Takes all timers out, and calls their functions with a `seq` that is no
    /// timer's: they release what the timers refer to, and do nothing else.
    pub(crate) fn give_up(&self) {
        loop {
            let mut some = [None; BATCH];
            let mut heap = self.heap.lock();
            let mut n = 0;
            while n < some.len()
                && let Some(call) = heap.pop(i64::MAX)
            {
                some[n] = Some(call);
                n += 1;
            }
            self.publish(&heap);
            drop(heap);
            for Call { f, arg, .. } in some.into_iter().flatten() {
                f(arg, GIVEN_UP);
            }
            if n < BATCH {
                return;
            }
        }
    }

    /// Frees the tables of an empty heap.
    pub(crate) fn shrink(&self) {
        let mut heap = self.heap.lock();
        if heap.len() == 0 {
            heap.drain_in_order(|_, _| {});
        }
    }

    /// How many timers are pending here, stopped ones not counted, and how many
    /// have come due so far.
    pub(crate) fn counts(&self) -> (usize, u64) {
        let heap = self.heap.lock();
        (heap.len() - heap.stopped(), heap.fired())
    }

    /// How many timers are here, stopped ones too.
    #[cfg(any(test, shuttle))]
    pub(crate) fn len(&self) -> usize {
        self.heap.lock().len()
    }

    /// The value of `Timer::heap` for this heap.
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
