//! How many Ps still have to stop, for the actor that stops the world (the
//! stopper): `gmp_set_maxprocs`, while it changes the number of Ps.
//!
//! ```text
//!          want, under the lock          end, under the lock
//!   Free ----------------------> Wanted ----------------------> Free
//!                                 expect(n), arrive x n, wait
//! ```
//! The stopper stops the idle Ps itself, and counts the others. Each of them is
//! stopped by the M that holds it, when that comes to the scheduler or lets go
//! of its P, or by the stopper, where the goroutine runs foreign code.
//!
//! Invariants:
//! 1. `left` changes under `sched.lock` only, once for each P, when that has
//!    stopped. Whether a stop is wanted changes under the lock too, so an M
//!    that holds the lock knows; without the lock `is_wanted` is a hint.
//! 2. `left` comes to 0 once. An M that takes it there wakes the note; the
//!    stopper that does so itself knows it, and then no M wakes the note. So
//!    no wake-up is under way when the wait is over.
//! 3. One stopper at a time (`sched.resize`).

use crate::base::{
    Futex,
    note::Note,
    sync::{AtomicBool, AtomicI32, Ordering::Relaxed, const_unless_loom},
    throw::throw,
};

/// The count; see the module. All but [`Self::is_wanted`] and [`Self::wait`]
/// are called under `sched.lock`, which orders them: so all is relaxed.
pub struct StopCount<F> {
    wanted: AtomicBool,
    left: AtomicI32,
    note: Note<F>,
}

impl<F: Futex> StopCount<F> {
    const_unless_loom! {
        pub fn new() -> Self {
            Self {
                wanted: AtomicBool::new(false),
                left: AtomicI32::new(0),
                note: Note::new(),
            }
        }
    }

    /// Whether the world is to stop (Go's `gcwaiting`); a hint without the
    /// lock.
    #[inline(always)]
    pub fn is_wanted(&self) -> bool {
        self.wanted.load(Relaxed)
    }

    /// The stopper wants the world stopped. In the child of a fork it is wanted
    /// for ever, and nobody waits.
    pub fn want(&self) {
        self.note.clear();
        self.wanted.store(true, Relaxed);
    }

    /// So many Ps have to stop yet. False: none, and there is nothing to wait
    /// for.
    #[must_use]
    pub fn expect(&self, ps: i32) -> bool {
        self.left.store(ps, Relaxed);
        ps > 0
    }

    /// The caller's M has stopped a P.
    pub fn arrive(&self) {
        if self.arrive_taken() {
            self.note.wakeup();
        }
    }

    /// The stopper has stopped a P; true: it was the last.
    #[must_use]
    pub fn arrive_taken(&self) -> bool {
        let left = self.left.load(Relaxed) - 1;
        if left < 0 {
            throw("stopcount: more Ps than there are");
        }
        self.left.store(left, Relaxed);
        left == 0
    }

    /// The stopper waits until all have stopped. Each time that `look` has
    /// come, `take` stops Ps for Ms that cannot; it returns true where
    /// [`Self::arrive_taken`] did.
    pub fn wait(&self, look: impl Fn() -> i64, mut take: impl FnMut() -> bool) {
        while !self.note.sleep_until(look()) {
            if take() {
                return;
            }
        }
    }

    /// The world goes on.
    pub fn end(&self) {
        self.wanted.store(false, Relaxed);
    }
}

impl<F: Futex> Default for StopCount<F> {
    fn default() -> Self {
        Self::new()
    }
}
