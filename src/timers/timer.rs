//! A timer, and the parts of it that the heaps keep. `timers` has the
//! invariants.

use crate::base::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering};
use core::{
    cell::{Cell, UnsafeCell},
    mem::MaybeUninit,
    ptr,
};

/// The function of a timer, called with the timer's `arg` and `seq`.
///
/// It runs on the M and the stack that called `Timers::run`, without a lock.
/// The timer may be gone by then. The function may add timers, but none that is
/// due already: `run` would not end.
pub(crate) type TimerFn = fn(arg: usize, seq: u64);

/// A deadline and a function to call then. While the timer is pending, its user
/// neither moves nor drops it.
pub(crate) struct Timer {
    /// The address of the [`super::Timers`] that the timer was last added or
    /// moved to, or null (invariant 1). atomic, written under that heap's lock
    pub(super) heap: AtomicPtr<()>,
    /// lock: the heap's
    slot: AtomicU32,
    /// const
    f: TimerFn,
    /// const
    arg: usize,
    /// owner: the timer's user while it is not pending, then the heap
    pub(super) seq: AtomicU64,
    /// lock: the heap's; initialised while the slot is [`SPILLED`]
    pub(super) node: UnsafeCell<MaybeUninit<Node>>,
}

// SAFETY: `node` is touched under the heap's lock only, the rest is atomic or
// constant.
unsafe impl Sync for Timer {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Timer {}

/// The slot of a timer in the tree of `spill`.
pub(super) const SPILLED: u32 = u32::MAX - 1;
/// The slot of a timer that has left that tree.
pub(super) const NOWHERE: u32 = u32::MAX;

/// The own time of a stopped timer, which is still in its heap.
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

    /// Sets the `seq` of the next call. The timer is not pending.
    pub(crate) fn set_seq(&self, seq: u64) {
        // Relaxed: add publishes it with the heap's lock.
        self.seq.store(seq, Ordering::Relaxed);
    }

    /// Notes that the timer is not pending, since its user has seen the call:
    /// so nobody has to look into the heap.
    pub(crate) fn has_run(&self) {
        // Relaxed: the timer is its user's until the user adds it.
        self.heap.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// Called under the lock of its heap.
    pub(super) fn slot(&self) -> u32 {
        self.slot.load(Ordering::Relaxed)
    }

    /// Called under the lock of its heap.
    pub(super) fn set_slot(&self, slot: u32) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    /// The next call.
    pub(super) fn call(&self) -> Call {
        // Relaxed: the timer is its user's until the user adds it.
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

/// The part of a timer that makes it a node of the tree.
pub(super) struct Node {
    /// When the timer comes up, and its order among equals.
    pub key: Cell<Entry>,
    /// The timer's own time (invariant 6 of `timers`).
    pub when: Cell<i64>,
    pub child: Cell<*const Timer>,
    pub next: Cell<*const Timer>,
    pub prev: Cell<*const Timer>,
}
