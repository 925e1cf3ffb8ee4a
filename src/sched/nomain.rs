//! The end of a process whose main thread has left by `pthread_exit`.
//!
//! Such a process ends, with status 0, together with its last thread. The
//! threads of the runtime never end, so the runtime has to see for itself what
//! is left of the host:
//!
//! | left | the process |
//! |---|---|
//! | a thread | stays |
//! | a goroutine that runs, or that may still be woken | stays |
//! | goroutines that all wait for ever | ends with a deadlock's message |
//! | nothing, or timers only (POSIX's keep nothing either) | ends |
//!
//! From the main thread's end on (`mainthread`) sysmon looks every [`PERIOD`],
//! and never before: an idle process whose main thread lives has no wake-ups.
//! Without `/proc`, or where another thread loaded the library and the main
//! thread has made no call that waits, the process stays.
//!
//! Invariant 1: the process ends only if two looks in a row have found no
//! thread of the host's. The second sees a thread that one of the last
//! goroutines has made between the steps of the first.

use super::{deadlock, mainthread::main_has_left};
use crate::{
    gmp::{MKind, each_m, gcount},
    os::{proc, task, thread},
    timers::Deadline,
};
use core::{ffi::c_void, sync::atomic::Ordering::*};

/// Nanoseconds from one look to the next.
const PERIOD: i64 = 50_000_000;
/// Stack of the thread that calls `exit`, and so the host's handlers.
const EXIT_STACK: usize = 1 << 20;

/// sysmon's memory of the last look.
#[derive(Default)]
pub(super) struct NoMain {
    last: i64,
    /// The last look found no thread of the host's.
    alone: bool,
    ending: bool,
}

impl NoMain {
    /// When to look again.
    pub(super) fn next(&self) -> i64 {
        if main_has_left() { self.last + PERIOD } else { Deadline::NEVER.ns() }
    }

    /// Ends the process if nobody is left.
    pub(super) fn look(&mut self, now: i64) {
        if !main_has_left() || now < self.next() || self.ending {
            return;
        }
        self.last = now;
        let before = self.alone;
        self.alone = only_ours();
        if !before || !self.alone {
            return;
        }
        if gcount() == 0 {
            self.ending = end();
        } else {
            deadlock::check_alone();
        }
    }
}

/// Whether all threads of this process are ours, but for what the kernel keeps
/// of the main one.
fn only_ours() -> bool {
    let ours = |tid| {
        each_m().any(|mp| {
            // Acquire: pairs with `threads::minit` and `host::attach`, which
            // write the kind first.
            let same = mp.procid.load(Acquire) == tid;
            // SAFETY: aligned and initialised; while the M's thread writes the
            // byte, the read gives the old value or the new one.
            same && unsafe { mp.kind.as_ptr().read_volatile() } != MKind::Host
        })
    };
    let main = proc::id();
    task::all(|tid| tid == main || ours(tid)).unwrap_or(false)
}

/// Ends the process, on a new thread: the host's handlers of `atexit` may call
/// the library from it as from a host thread. False: no thread was to be had.
fn end() -> bool {
    unsafe extern "C" fn exit(_arg: *mut c_void) -> *mut c_void {
        proc::exit(0)
    }
    // SAFETY: exit takes no argument.
    unsafe { thread::newosproc_last(exit, EXIT_STACK) }.is_ok()
}
