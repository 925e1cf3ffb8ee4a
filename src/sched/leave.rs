//! The end of a process whose main thread has left by `pthread_exit`.
//!
//! Such a process ends, with status 0, together with its last thread. The
//! threads of the runtime never end, so the runtime has to see for itself that
//! nobody else is left: no thread of the host's, and no goroutine of the
//! host's. A goroutine that runs, and one that waits for a time, a descriptor
//! or another goroutine that will come, keeps the process; where all of them
//! wait for ever, with no thread left that could wake them, that is a deadlock,
//! as under `gmp_run_main`. A timer that has yet to fire keeps nothing, as one
//! of POSIX's does not.
//!
//! The main thread tells, by the destructor of a pthread key, that it leaves.
//! From then on sysmon looks every [`PERIOD`], and never before: an idle
//! process whose main thread lives has no wake-ups. Nothing is seen where there
//! is no `/proc`, or where the library was loaded on another thread and the
//! main thread has made no call that waits: then the process goes on.
//!
//! Two looks in a row have to find nobody: a thread that one of the last
//! goroutines has made between the steps of the first is seen by the second.

use super::{deadlock, mainthread::main_has_left};
use crate::{
    gmp::{MKind, each_m, gcount},
    os::{proc, task, thread},
    timers::FOREVER,
};
use core::{ffi::c_void, ptr, sync::atomic::Ordering::*};

/// From one look to the next, in nanoseconds.
const PERIOD: i64 = 50_000_000;
/// Stack of the thread that ends the process: it runs the host's handlers.
const EXIT_STACK: usize = 1 << 20;

/// What sysmon keeps from look to look.
#[derive(Default)]
pub(super) struct Leave {
    last: i64,
    /// The last look found nobody but goroutines.
    alone: bool,
    ending: bool,
}

impl Leave {
    /// When to look again.
    pub(super) fn next(&self) -> i64 {
        if main_has_left() { self.last + PERIOD } else { FOREVER }
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

/// Whether all threads of this process are ours, or the rest of the main one.
fn only_ours() -> bool {
    let ours = |tid| {
        each_m().any(|mp| {
            // Acquire: pairs with minit and attach, which write the kind first.
            let same = mp.procid.load(Acquire) == tid;
            // SAFETY: aligned and initialised; a byte that is written meanwhile
            // is the one or the other.
            same && unsafe { mp.kind.as_ptr().read_volatile() } != MKind::Host
        })
    };
    let main = proc::id();
    task::all(|tid| tid == main || ours(tid)).unwrap_or(false)
}

/// Ends the process, on a thread that is as a host's to the handlers of
/// `atexit`. False: there was no thread to be had.
fn end() -> bool {
    unsafe extern "C" fn exit(_arg: *mut c_void) -> *mut c_void {
        proc::exit(0)
    }
    // SAFETY: exit takes no argument.
    unsafe { thread::newosproc(exit, ptr::null_mut(), EXIT_STACK) }.is_ok()
}
