//! A timer, and what the heaps keep of it. Invariants are those of `timers`.

use crate::base::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use core::{
    cell::{Cell, UnsafeCell},
    mem::MaybeUninit,
    ptr,
};

/// What a timer calls, with the `arg` and `seq` that it was made with.
///
/// Called on the M that runs the heap, on g0 or wherever `Timers::run` was
/// called, without a lock. The timer may be gone. It may add timers, but none
/// that is due already: `run` would not end.
pub(crate) type TimerFn = fn(arg: usize, seq: u64);

/// A deadline and what to call then. Its user keeps it in place, and does not
/// drop it, while it is pending.
pub(crate) struct Timer {
    /// Null or the address of the [`super::Timers`] that it was last added or
    /// moved to (invariant 1). atomic, written under that heap's lock
    pub(super) heap: AtomicPtr<()>,
    /// lock: the heap's
    slot: AtomicU32,
    /// const
    f: TimerFn,
    /// const
    arg: usize,
    /// Its user's, while it is not pending; then the heap keeps it.
    pub(super) seq: AtomicU64,
    /// lock: the heap's; initialised while the slot is [`SPILLED`]
    pub(super) node: UnsafeCell<MaybeUninit<Node>>,
}

// SAFETY: `node` is touched under the heap's lock only, the rest is atomic or
// constant.
unsafe impl Sync for Timer {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Timer {}

/// The slot of a timer that is pending without one.
pub(super) const SPILLED: u32 = u32::MAX - 1;
/// The slot of one that was.
pub(super) const NOWHERE: u32 = u32::MAX;

/// The time of a timer that is not due any more, but still in its heap.
pub(crate) const STOPPED: i64 = i64::MAX;

/// A function and its arguments.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub f: TimerFn,
    pub arg: usize,
    pub seq: u64,
}

impl Timer {
    /// A timer that is not pending.
    pub(crate) const fn new(f: TimerFn, arg: usize, seq: u64) -> Self {
        Self {
            heap: AtomicPtr::new(ptr::null_mut()),
            slot: AtomicU32::new(0),
            f,
            arg,
            seq: AtomicU64::new(seq),
            node: UnsafeCell::new(MaybeUninit::uninit()),
        }
    }

    /// What its function gets from the next time on. It is not pending.
    pub(crate) fn set_seq(&self, seq: u64) {
        // Relaxed: add publishes it with the heap's lock.
        self.seq.store(seq, Ordering::Relaxed);
    }

    /// It is not pending, as its user knows who was called for it: nobody has
    /// to ask the heap.
    pub(crate) fn has_run(&self) {
        // Relaxed: its user's, who adds it.
        self.heap.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// Under the lock of its heap.
    pub(super) fn slot(&self) -> u32 {
        self.slot.load(Ordering::Relaxed)
    }

    /// Under the lock of its heap.
    pub(super) fn set_slot(&self, slot: u32) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// What is called for it, from the next time on.
    pub(super) fn call(&self) -> Call {
        // Relaxed: its user's, who adds it.
        let seq = self.seq.load(Ordering::Relaxed);
        Call { f: self.f, arg: self.arg, seq }
    }
}

/// When a timer is due, or at least not before (invariant 6); in what order
/// among equals; and the slot that it has. From high bits to low: 64, 32, 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry(i128);

impl Entry {
    pub(super) fn new(when: i64, order: u32, slot: u32) -> Self {
        let rest = u64::from(order) << 32 | u64::from(slot);
        Self(i128::from(when) << 64 | i128::from(rest))
    }

    pub(super) fn when(self) -> i64 {
        (self.0 >> 64) as i64
    }

    pub(super) fn order(self) -> u32 {
        (self.0 >> 32) as u32
    }

    pub(super) fn slot(self) -> u32 {
        self.0 as u32
    }
}

/// What a timer in a tree has of it.
pub(super) struct Node {
    /// When it comes up, and in what order among equals.
    pub key: Cell<Entry>,
    /// Its own time (invariant 6 of `timers`).
    pub when: Cell<i64>,
    pub child: Cell<*const Timer>,
    pub next: Cell<*const Timer>,
    pub prev: Cell<*const Timer>,
}
