//! The state of the start: one word, and all its changes.
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
//!   Up, Late --gmp_shutdown--> Stopping --no goroutine is left--> Closing
//!      ^-------some stay----------'                   all has ended  |
//!   Fresh <--a call, which starts the runtime again-- Down <---------'
//!        Down --gmp_shutdown, for what the last one left--> Closing
//!
//!   fork, in the child: Booted, Opening, Up, Late, Again -> Forked
//!                       Stopping, Closing -> Forked
//!                       Starting -> Half
//!   Forked --a call--> Again --> Up, Late; an error: Forked
//!   Half --a call--> Starting
//! ```
//!
//! Invariants:
//! 1. Several threads may leave Fresh, NotStarted, Forked, Half, Booted, Up,
//!    Late and Down, so they do it by compare-and-swap. Only one thread may
//!    leave any other state, and does it by a store.
//! 2. The thread that changes `STATE` wakes all threads that sleep on it.
//! 3. `ERROR` is written before Failed and never again.
//! 4. Failed is final, and so is Forked in a dead end (`sched::child`).
//! 5. The thread that has made the state Stopping, or Closing from Down, is the
//!    one that shuts down, and may leave Stopping and Closing.

use crate::{
    base::{
        Futex, sanitize,
        shortcut::{Why, set_closed},
        sync::{AtomicI32, AtomicU32, Ordering::*},
    },
    os::{Errno, futex::OsFutex},
};

/// The stage of the start; see the drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum State {
    /// The library is loaded, and its constructor has not run; or a call finds
    /// Down, and is about to start the runtime.
    Fresh = 0,
    /// `GMP_AUTOSTART=0`: the first call starts the runtime.
    NotStarted = 1,
    /// On the exe path: `main` is not reached yet.
    AwaitsMain = 2,
    /// m0's thread is being made, or initialises.
    Starting = 3,
    /// `runtime_main` has done its work.
    Booted = 4,
    /// The first call does the work that waits for it: the functions of
    /// `GMP_INIT` run.
    Opening = 5,
    /// Calls pass.
    Up = 6,
    /// There is no runtime, for want of a thread or memory; `ERROR` tells.
    Failed = 7,
    /// The child of a fork, before its first call: no runtime.
    Forked = 8,
    /// As Up, but a plug-in has brought functions of `GMP_INIT`.
    Late = 9,
    /// The child's first call starts the runtime.
    Again = 10,
    /// The child of a fork that came during the start.
    Half = 11,
    /// `gmp_shutdown` waits until all goroutines have ended. Calls pass, but
    /// none starts a goroutine.
    Stopping = 12,
    /// No goroutine is left, and the rest of the runtime ends.
    Closing = 13,
    /// The runtime has been shut down.
    Down = 14,
}

static STATE: AtomicU32 = AtomicU32::new(State::Fresh as u32);
static ERROR: AtomicI32 = AtomicI32::new(0);

/// Beside the state: a sanitizer watches, so no call passes at once. From the
/// first change of the state after `raceinit` on.
const WATCHED: u32 = 1 << 8;

/// The word of a state.
fn word(state: State) -> u32 {
    state as u32 | if sanitize::watches() { WATCHED } else { 0 }
}

/// The present state.
pub(super) fn state() -> State {
    // Acquire: pairs with the releases of set and change.
    match STATE.load(Acquire) & !WATCHED {
        0 => State::Fresh,
        1 => State::NotStarted,
        2 => State::AwaitsMain,
        3 => State::Starting,
        4 => State::Booted,
        5 => State::Opening,
        6 => State::Up,
        7 => State::Failed,
        9 => State::Late,
        10 => State::Again,
        11 => State::Half,
        12 => State::Stopping,
        13 => State::Closing,
        14 => State::Down,
        _ => State::Forked,
    }
}

/// Moves to `to`, on the only thread that may leave the present state.
pub(super) fn set(to: State) {
    STATE.store(word(to), SeqCst);
    tell();
    OsFutex::wake(&raw const STATE, u32::MAX >> 1);
}

/// Moves from one state to another; false if another thread was faster.
#[must_use]
pub(super) fn change(from: State, to: State) -> bool {
    let (from, to) = (word(from), word(to));
    let won = STATE.compare_exchange(from, to, SeqCst, Relaxed).is_ok();
    if won {
        tell();
        OsFutex::wake(&raw const STATE, u32::MAX >> 1);
    }
    won
}

/// Opens or closes the short way of the heap. Two threads that change the state
/// one after the other may come here in another order, so each looks again:
/// the last one to store has seen the last state.
fn tell() {
    loop {
        let state = STATE.load(SeqCst);
        set_closed(Why::NotUp, state != State::Up as u32);
        if STATE.load(SeqCst) == state {
            return;
        }
    }
}

/// Moves to Failed.
pub(super) fn fail(why: Errno) {
    // Relaxed: published by set (invariant 3).
    ERROR.store(why.0, Relaxed);
    set(State::Failed);
}

/// The error of the start, in the state Failed.
pub(super) fn error() -> Errno {
    // Relaxed: published with Failed (invariant 3).
    Errno(ERROR.load(Relaxed))
}

/// Whether calls pass at once.
#[inline(always)]
pub(super) fn is_up() -> bool {
    // Acquire: pairs with set; the whole start comes before the call.
    STATE.load(Acquire) == State::Up as u32
}

/// Sleeps until the state is not `seen`; false once `deadline` has passed.
pub(super) fn sleep(seen: State, deadline: i64) -> bool {
    OsFutex::wait(&STATE, word(seen), deadline)
}
