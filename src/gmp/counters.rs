//! Events counted for `gmp_get_stats`, and for nobody else.
//!
//! An event that is counted here costs a read-modify-write on a word that all
//! threads share, so it is a rare one: a system call follows, or a thread is
//! made. What happens all the time is counted by the P on which it happens
//! (`P::counts`), or is the difference of numbers that exist anyway.

use crate::base::alloc::put;
use core::sync::atomic::{AtomicU64, Ordering::*};

/// A number that only grows.
pub(crate) struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, n: u64) {
        // Release: pairs with get, so that the pairs below hold.
        self.0.fetch_add(n, Release);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Acquire)
    }
}

/// A reader that reads the second of a pair first finds it no larger than the
/// first: (`started`, `ended`), (`threads_begun`, `threads_ended`).
#[repr(align(128))]
pub(crate) struct Counters {
    /// Goroutines of the host's, started and ended on a thread without a P.
    pub started: Counter,
    pub ended: Counter,
    /// Threads that have begun to run Ms of ours, and those that have ended.
    pub threads_begun: Counter,
    pub threads_ended: Counter,
    /// Threads that the system or a limit has refused.
    pub threads_refused: Counter,
    /// Sleeps of Ms that have nothing to run, and wake-ups of such Ms.
    pub sleeps: Counter,
    pub wakeups: Counter,
    /// Ps taken from goroutines that blocked, and from busy ones.
    pub retaken_blocked: Counter,
    pub retaken_busy: Counter,
    /// Requests to a busy goroutine to yield at its next call.
    pub yields_requested: Counter,
    /// Goroutines that had to wait for memory for their stack.
    pub starved: Counter,
    /// Polls for descriptors by host threads, and their events (`M::polls`).
    pub polls: Counter,
    pub poll_events: Counter,
}

pub(crate) static COUNTERS: Counters = Counters::new();

impl Counters {
    const fn new() -> Self {
        Self {
            started: Counter::new(),
            ended: Counter::new(),
            threads_begun: Counter::new(),
            threads_ended: Counter::new(),
            threads_refused: Counter::new(),
            sleeps: Counter::new(),
            wakeups: Counter::new(),
            retaken_blocked: Counter::new(),
            retaken_busy: Counter::new(),
            yields_requested: Counter::new(),
            starved: Counter::new(),
            polls: Counter::new(),
            poll_events: Counter::new(),
        }
    }
}

/// All of them at 0 again (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset_counters() {
    // SAFETY: nobody uses it, the caller promises.
    unsafe { put(&raw const COUNTERS, Counters::new()) };
}
