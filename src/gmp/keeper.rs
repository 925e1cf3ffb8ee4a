//! Who sleeps in the poller, and how that is taken from an M that cannot be
//! woken any more.
//!
//! The host may close the descriptors of the poller while an M sleeps in it.
//! The instance lives on as long as that sleep, and no bell rings there. So
//! whoever makes a new poller abandons the sleeper: the M is the keeper of the
//! time no longer, and finds that out when it wakes, for whatever reason.
//!
//! ```text
//!   the keeper                       who renews the poller
//!     (a) sleeper = this M             (c) poller = the new one
//!     (b) load the poller, sleep       (d) sleeper = nobody
//!     (e) sleeper: this M -> nobody
//! ```
//! Invariants:
//! 1. Of (d) and (e), one takes the M out, and that side alone sets right what
//!    a keeper's end sets right.
//! 2. Either (d) finds the M, which is abandoned; or (a) comes after (d), with
//!    which it pairs, and (b) loads the new poller. So nobody who counts as
//!    the keeper sleeps in a poller that is gone.
//!
//! An M may be abandoned that sleeps in the new one: then two do, and the one
//! that is woken for nothing rings for the other.

use crate::base::sync::{
    AtomicUsize,
    Ordering::{AcqRel, Acquire},
    const_unless_loom,
};

/// The M that sleeps in the poller, by an address; 0 for nobody.
pub struct Keeper {
    sleeper: AtomicUsize,
}

impl Keeper {
    const_unless_loom! {
        pub fn new() -> Self {
            Self { sleeper: AtomicUsize::new(0) }
        }
    }

    /// `m`, the keeper, is about to look where to sleep.
    pub fn sleeps(&self, m: usize) {
        // AcqRel: pairs with abandon, invariant 2; so a swap and no store.
        self.sleeper.swap(m, AcqRel);
    }

    /// It is awake. False: it has been abandoned meanwhile.
    #[must_use]
    pub fn woke(&self, m: usize) -> bool {
        let was = self.sleeper.compare_exchange(m, 0, AcqRel, Acquire);
        was.is_ok()
    }

    /// Whether somebody sleeps, or is about to: a bell that was rung before
    /// and heard by another is meant for that one, or for nobody any more.
    pub fn asleep(&self) -> bool {
        self.sleeper.load(Acquire) != 0
    }

    /// There is a new poller. True: an M was abandoned, and the caller ends
    /// its keeping.
    #[must_use]
    pub fn abandon(&self) -> bool {
        self.sleeper.swap(0, AcqRel) != 0
    }
}

impl Default for Keeper {
    fn default() -> Self {
        Self::new()
    }
}
