//! How many host threads sleep in a call without a deadline, and have not been
//! woken; for the search for deadlocks.
//!
//! A host thread sleeps on the note of its M, and its waker is the actor that
//! ended its wait (`parkword`). The thread counts from the sleep to the
//! wake-up, not until it runs again: a thread that was woken will go on.
//!
//! | `HostWait` | the thread | moves |
//! |---|---|---|
//! | false | is awake, or was woken | `fall_asleep` -> true |
//! | true | sleeps, or is about to | `wake` -> false, `fall_asleep` -> false |
//!
//! Invariants:
//! 1. Each sleep adds as much as it takes away. The actor that takes the flag
//!    away, the waker or the thread, knows of the other: the waker counts down,
//!    and then the thread has counted up or will; a thread that takes its own
//!    flag away counts nothing.
//! 2. The waker may count down before the thread counts up: so the sum is too
//!    low for a moment, and never too high. A deadlock is not reported for it.
//!
//! ```text
//!   host thread                             waker
//!     swap flag: true              (a)        end the wait
//!     the wait goes on: count up              swap flag: false           (b)
//!     else take the flag away, or             it was true: count down
//!       count up for the waker                wake the note
//! ```
//! (a) pairs with (b): a (b) that came before (a) found false, and (a) reads
//! it, so the thread sees that the wait is over.

use crate::base::sync::{
    AtomicBool, AtomicI32, AtomicU32,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
    const_unless_loom,
};

/// Whether one host thread counts as asleep.
pub struct HostWait(AtomicBool);

/// The number of those that do.
///
/// Relaxed: a thread that has counted takes `sched.lock` before it sleeps, and
/// so does a waker with an M; the search holds that lock. A waker without one
/// takes no lock: while it lives, the search counts a thread too many, and once
/// it has ended, `woken` tells.
pub struct HostWaits {
    count: AtomicI32,
    /// How many were woken so far; wraps.
    woken: AtomicU32,
}

impl HostWait {
    const_unless_loom! {
        pub fn new() -> Self {
            Self(AtomicBool::new(false))
        }
    }
}

impl HostWaits {
    const_unless_loom! {
        pub fn new() -> Self {
            Self { count: AtomicI32::new(0), woken: AtomicU32::new(0) }
        }
    }

    /// How many there are.
    pub fn count(&self) -> i32 {
        self.count.load(Relaxed)
    }

    /// How many wake-ups there were. A search that finds the same number before
    /// it reads the count, and after it has counted the threads, has missed
    /// none of a thread that it does not know and that has ended since.
    pub fn woken(&self) -> u32 {
        // Acquire: pairs with wake.
        self.woken.load(Acquire)
    }

    /// The thread of `mine` is about to sleep on its note, unless its wait is
    /// over already, as `waiting` says.
    pub fn fall_asleep(&self, mine: &HostWait, waiting: impl FnOnce() -> bool) {
        // AcqRel: (a).
        mine.0.swap(true, AcqRel);
        // Relaxed: the second side does nothing that the first has to see.
        if waiting() || !mine.0.swap(false, Relaxed) {
            self.count.fetch_add(1, Relaxed);
        }
    }

    /// The caller has ended the wait of this thread, and wakes it next.
    pub fn wake(&self, mine: &HostWait) {
        // AcqRel: (b).
        if mine.0.swap(false, AcqRel) {
            self.count.fetch_sub(1, Relaxed);
            // Release: pairs with woken.
            self.woken.fetch_add(1, Release);
        }
    }

    /// A thread sleeps, or no longer, whose waker is told of it by other means:
    /// one that waits for the goroutine that is locked to it.
    pub fn add(&self, change: i32) {
        self.count.fetch_add(change, Relaxed);
    }
}

impl Default for HostWait {
    fn default() -> Self {
        Self::new()
    }
}

impl Default for HostWaits {
    fn default() -> Self {
        Self::new()
    }
}
