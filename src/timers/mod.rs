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
//! Invariants:
//! 1. `Timer::heap` is null, or the heap that has the timer's only entry. It
//!    changes under the lock of the heap that has the entry, before and after.
//! 2. A pending timer is where it was when it was added, and lives: `add`'s
//!    caller promises it. Storing null in `heap` is the last that anybody
//!    here does to a timer; a function that is due is copied out before.
//! 3. `entries[i].timer` has `pos == i`.
//! 4. `next` is the first entry's time, or `i64::MAX`; stored under the lock.
//! 5. Functions run without the lock. So `remove` that finds the timer gone
//!    cannot say whether its function has run: it runs or ran, and tells by
//!    `seq` that it is late.
//!
//! Go deletes lazily, marking timers and sweeping them later; a position in
//! each timer makes the removal at the end of every wait that did not time out
//! logarithmic and exact, and lets a timer live on its user's stack.

mod heap;
#[cfg(test)]
mod tests;

use crate::base::lock::Rank;
use crate::base::sync::{AtomicI64, AtomicPtr, AtomicUsize, Ordering};
use crate::base::throw::throw;
use crate::os::{Lock, LockGuard};
use core::ptr;
use heap::Heap;

/// What a timer calls, with the `arg` and `seq` that it was made with.
///
/// Called on the M that runs the heap, on g0 or wherever [`Timers::run`] was
/// called, without a lock. The timer may be gone. It may add timers, but none
/// that is due already: `run` would not end.
pub(crate) type TimerFn = fn(arg: usize, seq: u64);

/// How many functions `run` copies out for each time that it takes the lock.
const BATCH: usize = 16;

/// A deadline and what to call then. Its user keeps it in place, and does not
/// drop it, while it is pending.
pub(crate) struct Timer {
    /// Null or the heap that it is in. atomic, written under that heap's lock
    heap: AtomicPtr<Timers>,
    /// lock: the heap's
    pos: AtomicUsize,
    /// const
    call: Call,
}

/// A function and its arguments.
#[derive(Clone, Copy)]
struct Call {
    f: TimerFn,
    arg: usize,
    seq: u64,
}

impl Timer {
    /// A timer that is not pending.
    pub(crate) const fn new(f: TimerFn, arg: usize, seq: u64) -> Self {
        Self {
            heap: AtomicPtr::new(ptr::null_mut()),
            pos: AtomicUsize::new(0),
            call: Call { f, arg, seq },
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
    /// True if it is now the first one here; then whoever sleeps until the
    /// former first may have to be woken.
    ///
    /// # Safety
    /// `t` is not pending. It stays where it is until [`Self::remove`] has
    /// returned, or its function was called.
    pub(crate) unsafe fn add(&'static self, t: &Timer, when: i64) -> bool {
        let mut heap = self.heap.lock();
        // Relaxed: a pending timer would be the caller's mistake.
        if !t.heap.load(Ordering::Relaxed).is_null() {
            throw("timers.add: pending already");
        }
        heap.push(t, when);
        t.heap.store(self.name(), Ordering::Release);
        let first = t.pos.load(Ordering::Relaxed) == 0;
        self.publish(&heap);
        first
    }

    /// Takes `t` off whatever heap it is in.
    ///
    /// True if it was pending; its function will not be called. False if not:
    /// its function was called, or is about to be (invariant 5). Either way
    /// nobody touches `t` any more.
    pub(crate) fn remove(t: &Timer) -> bool {
        loop {
            // Acquire: pairs with the stores of null in pop and remove, so
            // that all uses of `t` come before the caller ends its life.
            let at = t.heap.load(Ordering::Acquire);
            // SAFETY: null or from `name`, which is given heaps that stay.
            let Some(at) = (unsafe { at.as_ref() }) else { return false };
            let mut heap = at.heap.lock();
            // It may have run or moved before we had the lock; the lock
            // orders this load, invariant 1.
            if t.heap.load(Ordering::Relaxed) != at.name() {
                continue;
            }
            heap.remove(t.pos.load(Ordering::Relaxed));
            at.publish(&heap);
            // Under the lock, so that it is over when the caller goes on.
            t.heap.store(ptr::null_mut(), Ordering::Release);
            return true;
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

    /// Takes timers that are due into the front of `due`; gives their number
    /// back.
    fn pop_due(&self, now: i64, due: &mut [Option<Call>]) -> usize {
        let mut heap = self.heap.lock();
        let mut n = 0;
        while n < due.len()
            && let Some(t) = heap.pop(now)
        {
            // SAFETY: pending until the store below, invariant 2.
            let t = unsafe { &*t };
            due[n] = Some(t.call);
            n += 1;
            // Release: pairs with remove. The last touch, invariant 2.
            t.heap.store(ptr::null_mut(), Ordering::Release);
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
        for (t, when) in from.drain_in_order() {
            // SAFETY: pending, invariant 2.
            let t = unsafe { &*t };
            to.push(t, when);
            t.heap.store(other.name(), Ordering::Release);
        }
        other.publish(&to);
        self.publish(&from);
    }

    /// How many timers are pending here.
    pub(crate) fn len(&self) -> usize {
        self.heap.lock().len()
    }

    /// What a timer in this heap has in `heap`.
    fn name(&self) -> *mut Timers {
        ptr::from_ref(self).cast_mut()
    }

    /// Keeps invariant 4.
    fn publish(&self, heap: &LockGuard<'_, Heap>) {
        // Release: pairs with next_when.
        self.next.store(heap.first(), Ordering::Release);
    }
}
