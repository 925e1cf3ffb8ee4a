//! Who looks for work, and whether somebody has to be woken for it.
//!
//! An M spins while it looks for work, from before it is woken for that. It is
//! woken without a P, and takes an idle one if there is work when it comes up:
//! until then a host thread may take that P, and run here what it joins.
//! Whoever makes work wakes an M only if a P is idle and nobody spins, so
//! whoever stops spinning looks once more:
//!
//! ```text
//!   maker                      M                       who puts a P down
//!     queue the work             count -= 1              put it on the list
//!     fence                      fence                   fence
//!     a P idle and nobody        work and a P idle:      work and nobody
//!       spins: wake one            take it                 spins: wake one
//! ```
//!
//! Invariants:
//! 1. Each of the three changes its own word first and then looks at those of
//!    the others, with a fence between, so of any two one sees the other.
//!    Idle Ps are taken and put down under a lock.
//! 2. While work waits and a P is idle, somebody spins, or is about to look.
//! 3. Who spins with a P puts that down before it stops spinning.
//!
//! Rejected: a spinner without a P under the rule for those with one, where
//! only spinners look once more (a P that goes idle after the spinner found
//! none stays idle beside the work), and looks that come before what they have
//! to follow. These break under the models in `tests/loom_spinning.rs`.

use crate::base::{
    sync::{AtomicI32, Ordering::*, const_unless_loom, fence},
    throw::throw,
};

/// The number of Ms that spin (Go's `nmspinning`).
pub struct Spinning {
    count: AtomicI32,
}

impl Spinning {
    const_unless_loom! {
        /// Nobody spins.
        pub fn new() -> Self {
            Self { count: AtomicI32::new(0) }
        }
    }

    /// How many there are now; a hint.
    #[inline(always)]
    pub fn count(&self) -> i32 {
        self.count.load(Relaxed)
    }

    /// Whether somebody has to be woken for the work that the caller has
    /// queued, where `idle` Ps are idle.
    #[inline(always)]
    pub fn wanted(&self, idle: impl FnOnce() -> i32) -> bool {
        // Pairs with the fences of `stop` and `put_down`: invariant 1.
        fence(SeqCst);
        idle() != 0 && self.count.load(Relaxed) == 0
    }

    /// Counts one that spins, if nobody does: the caller wakes it.
    #[must_use]
    pub fn claim(&self) -> bool {
        self.count.compare_exchange(0, 1, SeqCst, Relaxed).is_ok()
    }

    /// One more spins, of itself.
    pub fn start(&self) {
        self.count.fetch_add(1, SeqCst);
    }

    /// One stops, and looks at the queues next, or wakes somebody who does.
    pub fn stop(&self) {
        if self.count.fetch_sub(1, SeqCst) <= 0 {
            throw("spinning: negative count");
        }
        // Pairs with the fence of `wanted`: invariant 1.
        fence(SeqCst);
    }

    /// An M without a P is about to sleep: whether it may. `spinning`: it did
    /// until now. `take` finds work and takes an idle P for it, or returns
    /// false. If that is there, the M spins from now on, and may not sleep.
    #[must_use]
    pub fn may_sleep(
        &self,
        spinning: bool,
        take: impl FnOnce() -> bool,
    ) -> bool {
        if spinning {
            self.stop();
        } else if !self.put_down() {
            return true;
        }
        if take() {
            self.start();
            return false;
        }
        true
    }

    /// A P was put on the idle list: whether nobody spins, so that who put it
    /// there looks at the queues next.
    #[must_use]
    pub fn put_down(&self) -> bool {
        // Pairs with the fence of `wanted`, whose maker saw no idle P. Where a
        // spinner found none, the lock of the list orders its stop before.
        fence(SeqCst);
        self.count.load(Relaxed) == 0
    }
}

#[cfg(not(loom))]
impl Default for Spinning {
    fn default() -> Self {
        Self::new()
    }
}
