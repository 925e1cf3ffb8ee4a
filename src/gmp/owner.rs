//! Who holds a P: one word with the M and the state.
//!
//! ```text
//!            acquire                  begin_retake
//!   Idle ---------------> Running(M) --------------> Retaking(M)
//!    ^  \                  |  ^  ^                     |  |
//!    |   \ stop            |  |  +---- enter, cancel --+  |
//!    |    v                |  +---- acquire (M0 only)     |
//!    |   Stopped <---------+------- release / take -------+
//!    +--------------------------------------------------- +
//! ```
//!
//! A goroutine runs foreign code with its P only lent to it. Two sides race
//! for the P, without a read-modify-write on the owner's side:
//!
//! - the owner enters the runtime: it sets its M's `in_runtime` flag with a
//!   plain store, then reads the word ([`OwnerWord::enter`]);
//! - sysmon retakes: it moves the word to Retaking
//!   ([`OwnerWord::begin_retake`]), makes every thread of the process run a
//!   full barrier (membarrier), reads the flag of the M in the word, and then
//!   takes the P ([`OwnerWord::take`]) or gives it back
//!   ([`OwnerWord::cancel_retake`]).
//!
//! Invariants:
//! 1. Only the holder of a P touches its owner-only fields. M holds P if and
//!    only if the word says Running(M) or Retaking(M), and M's flag is set, or
//!    M runs the code of the goroutine and does not look.
//! 2. Either the owner's store of the flag comes before the barrier, so that
//!    sysmon sees it and gives the P back; or the owner's read of the word
//!    comes after it, so that the owner sees Retaking, or what came of it.
//! 3. Every move is a compare-and-swap, so of the owner's Retaking -> Running
//!    and sysmon's Retaking -> Idle exactly one succeeds.
//! 4. The owner leaves (release) only with its flag set; sysmon may be in the
//!    middle of a retake then, and finds the word changed.
//! 5. One retakes at a time, from begin_retake to its end. Else what one takes
//!    may be a retake that another began, after the owner was back and gone:
//!    and then no barrier came between the owner's next entry and the take.
//!
//! Rejected: two words, one for the M and one for the state (the P may move to
//! another M between sysmon's looks at the two); an entry that only looks and
//! never moves Retaking back (sysmon and owner both go on, or neither does).
//! These break under the models in `tests/loom_owner.rs`, as do two retakers.

use crate::base::sync::{AtomicU64, Ordering::*};

/// What a P's word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum POwner {
    /// Nobody holds it: on the idle list, or in somebody's hands on the way.
    Idle,
    /// The M with this id holds it.
    Running(u64),
    /// As Running, and sysmon wants it.
    Retaking(u64),
    /// Held by whoever stopped the world.
    Stopped,
}

const IDLE: u64 = 0;
const RUNNING: u64 = 1;
const RETAKING: u64 = 2;
const STOPPED: u64 = 3;
const STATE: u64 = 3;

/// One P's word: `M | state`, where M is a multiple of 4 and not 0.
#[derive(Debug)]
pub struct OwnerWord(AtomicU64);

impl OwnerWord {
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self(AtomicU64::new(STOPPED))
    }

    #[cfg(loom)]
    pub fn new() -> Self {
        Self(AtomicU64::new(STOPPED))
    }

    /// The word now; stale at once unless the caller is the holder.
    pub fn load(&self) -> POwner {
        // Pairs with the releases below: who sees Idle or Running(M) sees what
        // the former holder wrote.
        let word = self.0.load(Acquire);
        match word & STATE {
            RUNNING => POwner::Running(word & !STATE),
            RETAKING => POwner::Retaking(word & !STATE),
            STOPPED => POwner::Stopped,
            _ => POwner::Idle,
        }
    }

    fn cas(&self, from: u64, to: u64) -> bool {
        // AcqRel: a holder's writes to the P come before its release and
        // after the next one's acquire.
        self.0.compare_exchange(from, to, AcqRel, Acquire).is_ok()
    }

    /// Idle -> Running(m).
    #[must_use]
    pub fn acquire(&self, m: u64) -> bool {
        self.cas(IDLE, RUNNING | m)
    }

    /// The owner's check once its flag is set: whether it still holds the P.
    #[must_use]
    #[inline(always)]
    pub fn enter(&self, m: u64) -> bool {
        // Acquire: pairs with nobody's release on the fast path (we wrote
        // last); on the slow one the CAS orders.
        if self.0.load(Acquire) == RUNNING | m {
            return true;
        }
        self.enter_slow(m)
    }

    #[cold]
    fn enter_slow(&self, m: u64) -> bool {
        let (from, to) = (RETAKING | m, RUNNING | m);
        match self.0.compare_exchange(from, to, AcqRel, Acquire) {
            Ok(_) => true,
            // Running: a retaker saw our flag and moved it back meanwhile.
            Err(now) => now == to,
        }
    }

    /// The holder lets go, in the runtime: Running(m) -> Idle.
    pub fn release(&self, m: u64) {
        self.leave(m, IDLE);
    }

    /// The holder stops its P for whoever stops the world.
    pub fn stop_own(&self, m: u64) {
        self.leave(m, STOPPED);
    }

    fn leave(&self, m: u64, to: u64) {
        // Between the two tries sysmon may come (the second succeeds) or
        // come and go (the first does, next time round). It cannot take the
        // P: our flag is set (invariant 2).
        while !self.cas(RUNNING | m, to) && !self.cas(RETAKING | m, to) {
            crate::base::sync::spin_loop();
        }
    }

    /// sysmon, or who stops the world: Running(m) -> Retaking(m). A barrier
    /// in every thread has to follow, then a look at m's flag.
    #[must_use]
    pub fn begin_retake(&self, m: u64) -> bool {
        self.cas(RUNNING | m, RETAKING | m)
    }

    /// m was outside: Retaking(m) -> Idle. False: m came back first.
    #[must_use]
    pub fn take(&self, m: u64) -> bool {
        self.cas(RETAKING | m, IDLE)
    }

    /// The same for who stops the world: Retaking(m) -> Stopped.
    #[must_use]
    pub fn take_stopped(&self, m: u64) -> bool {
        self.cas(RETAKING | m, STOPPED)
    }

    /// m was in the runtime: Retaking(m) -> Running(m), unless m did so, or
    /// left.
    pub fn cancel_retake(&self, m: u64) {
        let _changed = self.cas(RETAKING | m, RUNNING | m);
    }

    /// Idle -> Stopped.
    #[must_use]
    pub fn stop(&self) -> bool {
        self.cas(IDLE, STOPPED)
    }

    /// Stopped -> Idle, by who stopped the world.
    pub fn restart(&self) {
        // The caller owns a Stopped P; nobody else moves it.
        self.0.store(IDLE, Release);
    }
}

#[cfg(not(loom))]
impl Default for OwnerWord {
    fn default() -> Self {
        Self::new()
    }
}
