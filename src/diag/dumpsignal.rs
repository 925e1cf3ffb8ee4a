//! `GMPDEBUG=dumpsignal=QUIT`: a dump on standard error whenever that signal
//! comes.
//!
//! The handler only notes the request and wakes a thread that does nothing
//! else, so a process is dumped too whose goroutines all run, or all wait. The
//! handler calls the host's, if there was one. The default action, which would
//! end the process, is not taken. The child of a fork has the handler and not
//! the thread: there the default action is taken.
//!
//! ```text
//!   handler                          the thread
//!     (a) ASKED: swap true             (c) sleep; clear the note
//!     (b) it was false: wake           (d) ASKED: swap false; dump
//! ```
//! (a) pairs with (d): a signal that finds ASKED true comes before (d), and the
//! dump after (d) answers it. So there is one wake-up for each sleep.
//!
//! The thread searches for leaks, too. A collection keeps forks away, and so
//! does the end of the runtime, which waits for the thread:
//!
//! ```text
//!   the thread                        the thread that shuts down
//!     SEARCHES = true       (e)         stage = Closed            (g)
//!     fence                             fence
//!     stage Closed? not now (f)         SEARCHES? waits           (h)
//!     search                            keeps forks away
//!     SEARCHES = false
//! ```
//! (e) pairs with (h) and (f) with (g): the thread sees that the runtime ends,
//! or the other one waits for the search.
//!
//! Invariant: `OLD` is written before the handler is installed, and again only
//! after the handler was given back.

use super::{blocked::search_leaks, look};
use crate::{
    base::{
        print::SigWriter,
        sync::{AtomicBool, Ordering::*, fence},
    },
    gc::leaks::{self, Searched},
    gmp::{CLOSING, DEBUG, MKind, Traceback, closing::Stage},
    os::{
        Note, Result,
        signal::{self, Saved, call, handler_action, is_default},
        thread,
    },
    sched::{child, sigmask, threads::newm},
};
use core::{
    ffi::{c_int, c_void},
    fmt::Write as _,
};
use gmprt_inspect::dump::Options;

static ASKED: AtomicBool = AtomicBool::new(false);
static NOTE: Note = Note::new();
/// The thread makes a collection, or looks whether it may.
static SEARCHES: AtomicBool = AtomicBool::new(false);
/// The host's action.
static OLD: Saved = Saved::new();

/// Installs the handler, if the setting asks for it. Part of the start.
pub(crate) fn start() {
    // Relaxed: set before this goroutine was made.
    let sig = DEBUG.dumpsignal.load(Relaxed) as c_int;
    if sig == 0 {
        return;
    }
    if let Err(e) = install(sig) {
        let mut w = SigWriter::stderr();
        // A SigWriter reports no errors.
        let _ = writeln!(w, "gmprt: GMPDEBUG: no dumpsignal: error {}", e.0);
    }
}

/// Errors: those of `newm` and of sigaction(2).
fn install(sig: c_int) -> Result<()> {
    newm(MKind::Dumper, Some(dumper), None)?;
    if OLD.get().is_some() {
        // After a shutdown that could not give it back: another handler calls
        // it.
        sigmask::sysmon_takes(sig, true);
        return Ok(());
    }
    let old = signal::sigaction_get(sig)?;
    if !OLD.set(old) {
        // In the child of a fork the handler is there.
        return Ok(());
    }
    let mut new = handler_action(handler);
    // Interrupted calls go on where the host's own handler lets them, and where
    // there was none.
    if !is_default(&old) && old.sa_sigaction != libc::SIG_IGN {
        new.sa_flags &= !libc::SA_RESTART;
        new.sa_flags |= old.sa_flags & libc::SA_RESTART;
    }
    // SAFETY: the handler may run on any thread at any time.
    unsafe { signal::sigaction_set(sig, &new) }?;
    sigmask::sysmon_takes(sig, true);
    Ok(())
}

/// Gives the handler back, in the stage Leaving. False: somebody has put
/// another one in its place, and may call ours.
pub(crate) fn give_back() -> bool {
    let sig = DEBUG.dumpsignal.load(Relaxed) as c_int;
    if sig == 0 || OLD.get().is_none() {
        return true;
    }
    sigmask::sysmon_takes(sig, false);
    OLD.give_back(sig, handler)
}

/// In the stage Leaving: lets the thread end. Repeated until it has.
pub(crate) fn end_dumper() {
    // AcqRel: (a).
    let asleep = DEBUG.dumpsignal.load(Relaxed) != 0;
    if asleep && !ASKED.swap(true, AcqRel) {
        NOTE.wakeup();
    }
}

/// The handler, on whatever thread; async-signal-safe.
unsafe extern "C" fn handler(
    sig: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    if child::in_child() {
        if OLD.get().is_none_or(is_default) {
            thread::raise_default(sig);
            return;
        }
    // AcqRel: (a).
    } else if !ASKED.swap(true, AcqRel) {
        NOTE.wakeup();
    }
    let Some(old) = OLD.get() else { return };
    if !is_default(old) && old.sa_sigaction != libc::SIG_IGN {
        // SAFETY: the host's handler, with the kernel's arguments.
        unsafe { call(old, sig, info, context) };
    }
}

/// The thread: a dump for each request, until the runtime ends.
fn dumper() {
    loop {
        NOTE.sleep();
        NOTE.clear();
        // AcqRel: (d).
        ASKED.swap(false, AcqRel);
        if CLOSING.has_come(Stage::Leaving) {
            return;
        }
        let level = DEBUG.traceback();
        let options = Options {
            system: level == Traceback::System,
            stacks: level >= Traceback::All,
            running: true,
            ..Options::default()
        };
        if let Err(e) = look::dump_with(2, options, search) {
            let mut w = SigWriter::stderr();
            // A SigWriter reports no errors.
            let _ = writeln!(w, "gmprt: no dump: error {}", e.0);
        }
    }
}

/// Searches for leaks, unless the runtime ends.
fn search() -> Searched {
    SEARCHES.store(true, SeqCst);
    // Between (e) and (f).
    fence(SeqCst);
    let searched = match CLOSING.has_come(Stage::Closed) {
        true if leaks::are_wanted() => Searched::Failed,
        true => Searched::Unused,
        false => search_leaks(),
    };
    SEARCHES.store(false, SeqCst);
    searched
}

/// (h), in the stage Closed: whether the thread searches yet.
pub(crate) fn searches() -> bool {
    SEARCHES.load(SeqCst)
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    ASKED.store(false, Relaxed);
    SEARCHES.store(false, Relaxed);
    NOTE.clear();
}
