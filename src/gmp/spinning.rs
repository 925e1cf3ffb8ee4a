//! When an M is woken to look for work.
//!
//! To wake a thread costs a thousand times what it costs to queue a goroutine,
//! and Ms that look for work in vain cost CPU time. So an actor that makes work
//! (the maker) wakes one M, and only if a P is idle and no M looks already. An
//! M that looks for work *spins*: it is in `count` from the moment at which the
//! maker decides to wake it until it has found work or gives up. The M is woken
//! without a P, and takes an idle P if there is work when the M comes up. Until
//! then a host thread may take that P, and run on it the goroutine that the
//! host thread joins.
//!
//! A maker that sees a spinner wakes no M, so a spinner looks once more after
//! it has left `count`: for itself if it gives up, and for another M if it has
//! found work. The same holds where a P is put down, since a maker that saw no
//! idle P has woken no M.
//!
//! ```text
//!   maker                    spinner that stops       M that puts a P down
//!     queue the work  (a)      count -= 1      (c)      P on the list   (e)
//!     fence                    fence                    fence
//!     P idle and no   (b)      work and a P    (d)      work and no     (f)
//!       spinner: wake            idle: take it,           spinner: take
//!                                or wake                  it, or wake
//! ```
//! (a) pairs with (d) and (f), (b) with (c) and (e): of the maker and one of
//! the others at least one sees the other. (c) and (e) are ordered by the lock
//! of the list of idle Ps: a spinner that in (d) found no idle P had left
//! `count` before (e), so (f) does not count that spinner.
//!
//! Invariants:
//! 1. Each of the three changes its own word first, then has a fence, and then
//!    looks at the words of the others. Idle Ps are taken and put down under a
//!    lock.
//! 2. While work waits and a P is idle, an M spins, or one of the three is
//!    about to look.
//! 3. A spinner that gives up and has a P puts the P down before (c).
//!
//! Rejected:
//! - that only spinners look once more, as in Go, which wakes a spinner with a
//!   P: a P that goes idle after a spinner found none would stay idle beside
//!   the work;
//! - a look that comes before the change that it has to follow.
//!
//! Both break under the models in `tests/loom_spinning.rs`.

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
        /// No M spins.
        pub fn new() -> Self {
            Self { count: AtomicI32::new(0) }
        }
    }

    /// How many there are now; a hint.
    #[inline(always)]
    pub fn count(&self) -> i32 {
        self.count.load(Relaxed)
    }

    /// The maker has queued work: whether it has to wake an M. `idle`: how many
    /// Ps are idle.
    #[inline(always)]
    pub fn wanted(&self, idle: impl FnOnce() -> i32) -> bool {
        // Between (a) and (b).
        fence(SeqCst);
        idle() != 0 && self.count.load(Relaxed) == 0
    }

    /// Counts one more spinner if there is none; then the caller wakes an M.
    #[must_use]
    pub fn start_if_none(&self) -> bool {
        self.count.compare_exchange(0, 1, SeqCst, Relaxed).is_ok()
    }

    /// One more M spins, of itself.
    pub fn start(&self) {
        self.count.fetch_add(1, SeqCst);
    }

    /// A spinner stops, and looks at the queues next, or wakes an M that does.
    pub fn stop(&self) {
        if self.count.fetch_sub(1, SeqCst) <= 0 {
            throw("spinning: negative count");
        }
        // Between (c) and (d).
        fence(SeqCst);
    }

    /// An M without a P is about to sleep: whether it may. `spinning`: it did
    /// until now. `take` finds work and takes an idle P for it, or returns
    /// false. Where it returns true the M spins from now on, and may not sleep.
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

    /// The caller has put a P on the idle list: whether no M spins, so that the
    /// caller has to look at the queues next.
    #[must_use]
    pub fn put_down(&self) -> bool {
        // Between (e) and (f).
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
