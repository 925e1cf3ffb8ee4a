//! Where the start is: the one word that says so, and all its changes.
//!
//! ```text
//!              GMP_AUTOSTART=0
//!   Fresh ---------------------> NotStarted --first call--+
//!     |  \__exe path_> AwaitsMain --rt0_go from main-+    |
//!     |                                              v    v
//!     +--the constructor, or a call before it----> Starting --> Failed
//!                                                     |
//!        Up <-----all done----- Opening <--a call-- Booted
//!         \--a plug-in's GMP_INIT--> Late --a call--> Opening
//!
//!   fork, in the child: Starting, Booted, Opening, Up, Late -> Forked
//! ```
//!
//! Invariants:
//! 1. `STATE` changes by compare-and-swap out of Fresh, NotStarted, Booted, Up
//!    and Late, which several threads may leave; out of the others one thread
//!    stores.
//! 2. Whoever changes it wakes all who sleep on it.
//! 3. `ERROR` is written before Failed and never again.
//! 4. Failed and Forked are for good.

use crate::{
    base::{
        Futex,
        sync::{AtomicI32, AtomicU32, Ordering::*},
    },
    os::{Errno, futex::OsFutex},
};

/// Where the start is; see the drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum State {
    /// The library is loaded, its constructor has not run.
    Fresh = 0,
    /// `GMP_AUTOSTART=0`: the first call starts it.
    NotStarted = 1,
    /// The program's entry is the runtime's, and main has yet to be reached.
    AwaitsMain = 2,
    /// A thread is being made, or initialises.
    Starting = 3,
    /// `runtime_main` has done its work.
    Booted = 4,
    /// The first call of a host does what has to wait for it, and functions
    /// of GMP_INIT run.
    Opening = 5,
    /// Calls go straight on.
    Up = 6,
    /// No thread was to be had; `ERROR` says why.
    Failed = 7,
    /// The child of a fork: the runtime's threads are the parent's.
    Forked = 8,
    /// As Up, but a plug-in has come with functions of GMP_INIT.
    Late = 9,
}

static STATE: AtomicU32 = AtomicU32::new(State::Fresh as u32);
static ERROR: AtomicI32 = AtomicI32::new(0);

/// The state now.
pub(super) fn state() -> State {
    // Acquire: pairs with the releases of set and change.
    match STATE.load(Acquire) {
        0 => State::Fresh,
        1 => State::NotStarted,
        2 => State::AwaitsMain,
        3 => State::Starting,
        4 => State::Booted,
        5 => State::Opening,
        6 => State::Up,
        7 => State::Failed,
        9 => State::Late,
        _ => State::Forked,
    }
}

/// The only thread that may leave the present state goes on to `to`.
pub(super) fn set(to: State) {
    STATE.store(to as u32, Release);
    OsFutex::wake(&raw const STATE, u32::MAX >> 1);
}

/// Goes from one state to another, if no other thread was faster.
#[must_use]
pub(super) fn change(from: State, to: State) -> bool {
    let (from, to) = (from as u32, to as u32);
    let won = STATE.compare_exchange(from, to, AcqRel, Relaxed).is_ok();
    if won {
        OsFutex::wake(&raw const STATE, u32::MAX >> 1);
    }
    won
}

/// The start failed.
pub(super) fn fail(why: Errno) {
    // Relaxed: published by set (invariant 3).
    ERROR.store(why.0, Relaxed);
    set(State::Failed);
}

/// Why it failed: in the state Failed.
pub(super) fn error() -> Errno {
    // Relaxed: published with Failed (invariant 3).
    Errno(ERROR.load(Relaxed))
}

/// Whether calls go straight on.
#[inline(always)]
pub(super) fn is_up() -> bool {
    // Acquire: pairs with set; what the start did comes before the call.
    STATE.load(Acquire) == State::Up as u32
}

/// Sleeps until the state is another than `seen`; false once `deadline` has
/// passed.
pub(super) fn sleep(seen: State, deadline: i64) -> bool {
    OsFutex::wait(&STATE, seen as u32, deadline)
}
