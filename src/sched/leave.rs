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
//!
//! Invariant: `GONE` is set by the main thread only, and stays but in the child
//! of a fork.

use super::{
    deadlock, fork, newproc,
    park::FOREVER,
    sysmon::{self, Ask},
};
use crate::{
    gmp::{MKind, each_m},
    os::{proc, task, thread},
};
use core::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::*},
};

/// From one look to the next, in nanoseconds.
const PERIOD: i64 = 50_000_000;
/// Stack of the thread that ends the process: it runs the host's handlers.
const EXIT_STACK: usize = 1 << 20;

/// The pthread key of the main thread, plus 1; 0 until it is made.
static KEY: AtomicU32 = AtomicU32::new(0);
/// The main thread has left.
static GONE: AtomicBool = AtomicBool::new(false);

/// Called on any thread, at the load and when it gets a G: if it is the main
/// thread, the runtime will know when it leaves.
pub(crate) fn watch_main_thread() {
    if !thread::is_main() {
        return;
    }
    // Relaxed: this thread alone comes here.
    if KEY.load(Relaxed) == 0
        && let Ok(key) = thread::key_create(leaves)
    {
        KEY.store(key + 1, Relaxed);
    }
    if let Some(key) = KEY.load(Relaxed).checked_sub(1) {
        // Any value but null has the destructor run. An error, out of memory,
        // leaves the end of the process to its other threads.
        let _unwatched = thread::key_set(key, ptr::from_ref(&GONE).cast());
    }
}

/// In the child of a fork the calling thread is the main one, and lives.
pub(crate) fn in_child() {
    GONE.store(false, Release);
    watch_main_thread();
}

/// The main thread leaves, by `pthread_exit`.
unsafe extern "C" fn leaves(_value: *mut c_void) {
    // Release: pairs with sysmon's acquire.
    GONE.store(true, Release);
    if !fork::in_child() {
        sysmon::ask(Ask::Leave);
    }
}

/// Whether the main thread has left: one of the threads of the process is then
/// what the kernel keeps of it.
pub(super) fn main_has_left() -> bool {
    GONE.load(Acquire)
}

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
        if newproc::gcount() == 0 {
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
