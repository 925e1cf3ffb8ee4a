//! Which M holds a P: one word with the M and the state.
//!
//! A goroutine runs foreign code, which may block for ever. So its P is only
//! lent to it: a retaker, which is sysmon or the stopper of the world, takes
//! the P back from an M that is outside the runtime. The M enters and leaves
//! the runtime all the time, and pays no read-modify-write for that.
//!
//! ```text
//!             acquire ->             begin_retake ->
//!   Idle <--------------> Running(M) <-------------> Retaking(M)
//!    ^  ^   <- release      |   <- enter, cancel_retake  |  |
//!    |  |                   |                            |  |
//!    |  +-------------------|------------- take ---------+  |
//!    |                      | stop_own                      |
//!    v                      v                               |
//!   Stopped <---------------+------- take_stopped ----------+
//!  (down: stop, up: restart)
//! ```
//! | transition | actor | cause |
//! |---|---|---|
//! | Idle -> Running | an M that has the P in hand | it runs goroutines |
//! | Running -> Retaking | a retaker | the M seems to be outside |
//! | Retaking -> Running | the M, by `enter` | it came back |
//! | | the retaker, by `cancel_retake` | it has seen the M inside |
//! | Retaking -> Idle, Stopped | the retaker, by `take` | the M is outside |
//! | Running -> Idle, Stopped | the M, inside | it has no work, or is to stop |
//! | Idle -> Stopped -> Idle | the stopper | the world stops, and goes on |
//!
//! ```text
//!   M that enters                           retaker
//!     in_runtime = true             (a)       word: Running -> Retaking   (c)
//!     (no fence)                              barrier in every thread
//!     word is still Running?        (b)       in_runtime?                 (d)
//!       no: take it back, or it               no: take the P
//!       is lost                               yes: give it back
//! ```
//! An M at work on the heap counts as inside, with a flag of its own for the
//! same steps (`gc::shortway`).
//!
//! (a) pairs with (d), and (b) with (c). The barrier falls before (a), between
//! (a) and (b), or after (b) in the M's thread: in the first two cases (b) sees
//! (c), or what came of it; in the last two (d) sees (a).
//!
//! Invariants:
//! 1. Only the holder of a P touches its owner-only fields. M holds P if and
//!    only if the word says Running(M) or Retaking(M), and M's flag is set, or
//!    M runs the code of the goroutine and does not look.
//! 2. Either the retaker sees the flag of an M that enters, and gives the P
//!    back; or the M sees Retaking, or what came of it.
//! 3. Every move is a compare-and-swap, so of the M's Retaking -> Running and
//!    the retaker's Retaking -> Idle exactly one succeeds.
//! 4. The holder leaves (release) only with its flag set. A retaker may be in
//!    the middle of a retake then, and finds the word changed.
//! 5. One retakes at a time, from begin_retake to its end. Else a retaker may
//!    take the P by a retake that another began, after the M was back and gone:
//!    and then no barrier came between the M's next entry and the take.
//!
//! Rejected: two words, one for the M and one for the state (the P may move to
//! another M between the retaker's looks at the two); an entry that only looks
//! and never moves Retaking back (retaker and M both go on, or neither does).
//! These break under the models in `tests/loom_owner.rs`, as do two retakers.

use crate::base::sync::{AtomicU64, Ordering::*};

/// What a P's word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum POwner {
    /// No M holds it: it is on the idle list, or in some actor's hands.
    Idle,
    /// The M with this id holds it.
    Running(u64),
    /// As Running, and a retaker wants it.
    Retaking(u64),
    /// The stopper of the world holds it.
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
        // Acquire: pairs with cas and restart. An actor that sees Idle or
        // Running(M) sees what the former holder wrote.
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
        // (b). Acquire: for the slow path, where another wrote last; on the
        // fast one the caller did.
        if self.0.load(Acquire) == RUNNING | m {
            return true;
        }
        self.enter_slow(m)
    }

    /// [`Self::enter`] that gives up where a retaker has come: false.
    #[must_use]
    #[inline(always)]
    pub fn is_held_by(&self, m: u64) -> bool {
        // Relaxed: the holder wrote last, or the answer is no. A sum, which is
        // one instruction.
        self.0.load(Relaxed) == m + RUNNING
    }

    #[cold]
    fn enter_slow(&self, m: u64) -> bool {
        let (from, to) = (RETAKING | m, RUNNING | m);
        match self.0.compare_exchange(from, to, AcqRel, Acquire) {
            Ok(_) => true,
            // Running: a retaker saw the flag and moved it back meanwhile.
            Err(now) => now == to,
        }
    }

    /// The holder lets go, in the runtime: Running(m) -> Idle.
    pub fn release(&self, m: u64) {
        self.leave(m, IDLE);
    }

    /// The holder stops its P for the stopper.
    pub fn stop_own(&self, m: u64) {
        self.leave(m, STOPPED);
    }

    fn leave(&self, m: u64, to: u64) {
        // Between the two tries a retaker may come (the second succeeds) or
        // come and go (the first does, next time round). It cannot take the
        // P: the holder's flag is set (invariant 2).
        while !self.cas(RUNNING | m, to) && !self.cas(RETAKING | m, to) {
            crate::base::sync::spin_loop();
        }
    }

    /// A retaker: Running(m) -> Retaking(m), (c). A barrier in every thread has
    /// to follow, then a look at m's flag, (d).
    #[must_use]
    pub fn begin_retake(&self, m: u64) -> bool {
        self.cas(RUNNING | m, RETAKING | m)
    }

    /// sysmon, where m was outside: Retaking(m) -> Idle. False: m came back
    /// first.
    #[must_use]
    pub fn take(&self, m: u64) -> bool {
        self.cas(RETAKING | m, IDLE)
    }

    /// The same for the stopper: Retaking(m) -> Stopped.
    #[must_use]
    pub fn take_stopped(&self, m: u64) -> bool {
        self.cas(RETAKING | m, STOPPED)
    }

    /// A retaker, where m was inside: Retaking(m) -> Running(m), unless m did
    /// so, or left.
    pub fn cancel_retake(&self, m: u64) {
        let _changed = self.cas(RETAKING | m, RUNNING | m);
    }

    /// Idle -> Stopped.
    #[must_use]
    pub fn stop(&self) -> bool {
        self.cas(IDLE, STOPPED)
    }

    /// Stopped -> Idle, by the stopper.
    pub fn restart(&self) {
        // Release: pairs with load and cas. The stopper owns a Stopped P;
        // nobody else moves it.
        self.0.store(IDLE, Release);
    }
}

#[cfg(not(loom))]
impl Default for OwnerWord {
    fn default() -> Self {
        Self::new()
    }
}
