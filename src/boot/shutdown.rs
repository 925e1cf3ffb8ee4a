//! `gmp_shutdown`: the runtime ends, and everything that it has taken from the
//! process is given back. And what the library does when it is unloaded.
//!
//! | step | state, stage of `CLOSING` |
//! |---|---|
//! | new goroutines are refused, the others cancelled | Stopping, Refusing |
//! | … until none is left, or the deadline passes | Stopping, Refusing |
//! | the library's own end; host threads' waits end | Closing, Closed |
//! | a trace is written; no signal is relayed | Closing, Closed |
//! | all Ms end and are joined | Closing, Leaving |
//! | handlers, stacks, descriptors, keys are given back | Closing, Leaving |
//! | a call starts the runtime again (`preinit`) | Fresh, Starting; Leaving |
//! | its main goroutine begins (`runtime_main`) | Starting, Open |
//!
//! `sched::winddown` has the steps. After the second there is no way back, and
//! nothing waits for the host's code but for a cleanup that runs already. Once
//! the library's goroutines have ended, and until Down, no thread forks, as the
//! child would have the half of everything (`sched::fork`). Not before: the
//! cleanup may fork, or collect, which waits for a fork; and the end waits for
//! the cleanup.
//!
//! # Late calls
//! A host thread may pass the gate, and do the work of its call in the midst of
//! the end, afterwards, or in the midst of the next start. The end waits for no
//! such call. So what a call begins, and what is there when the call is over,
//! is begun under a lock, and the call looks under the lock whether it may. The
//! end takes the same lock once it has moved what the call looks at, and gives
//! back what it finds.
//!
//! | begun | lock | looked at |
//! |---|---|---|
//! | a goroutine | `SCHED` | Closed |
//! | an M, counted then | `SCHED` | Leaving |
//! | the request for its thread | the list of wanted Ms | its place there |
//! | a trace, its tracer | that of `trace::session` | Closed |
//! | a handler for a channel | that of `block::notify` | a relay |
//! | a poller | that of `netpoll::poller` | Leaving |
//! | a stop of the world | `SCHED.resize` | `MAIN_STARTED` |
//!
//! For the value of a key there is no lock (`os::key`). A dump takes away what
//! it has installed. Goroutines of the library that a late call makes in the
//! next start, a second one of a kind maybe, are found by the list of all Gs.
//!
//! # Unloading
//! After a shutdown the library has no thread, no handler and no key, and the
//! host may unload it. What has stayed for a next start (descriptors of
//! goroutines, Ms, Ps, objects of the heap) is freed by [`unload`], from
//! `.fini_array`. By then no thread is in a call or uses an object: that is the
//! host's to see to, as with any library. `.fini_array` runs at the exit of the
//! process too, when threads of the host may go on calling; so the state
//! becomes Failed first, and they get an error. They may also go on with
//! objects. So in a process that has a heap, an exit is told from an unload
//! (`os::exiting`), and frees nothing.
//!
//! Rejected:
//! - all variables as they were at the load, after a shutdown: a thread of the
//!   host's that has just been refused may hold a lock, and handles of the last
//!   runtime would name goroutines of the next;
//! - waiting until no thread is in a call: to know that, each call of a host
//!   thread would have to count itself.

use super::{
    doinit, env, exe,
    gate::gate,
    keep,
    phase::{self, State, change},
};
use crate::{
    arch,
    base::{
        sync::{AtomicBool, Ordering::*},
        throw,
    },
    block::notify,
    diag::{dumpsignal, fault, lockwait, stackadvice},
    gc::{self, markers},
    gmp::{CLOSING, closing::Stage, gcount, main_thread_is_ours},
    os::{Errno, Result, clock::nanotime, exiting},
    sched::{
        current::in_callback,
        fork, panics, urgent,
        winddown::{self, Nap},
    },
    timers::Deadline,
    trace,
};
use core::{ffi::c_void, ptr};

/// Another handler than ours is where ours was, at the last shutdown.
static CHAINED: AtomicBool = AtomicBool::new(false);

/// `gmp_shutdown`. Returns the library's reference to itself, which the caller
/// gives up by `dlclose` as its very last action; null where there is none.
///
/// Errors: `ETIMEDOUT` if goroutines stay; `EDEADLK` on a goroutine and in a
/// callback; `ENOTSUP` on the exe path, and in a child that a goroutine has
/// forked; `EBUSY` if another handler has taken the place of ours; the error of
/// a failed start.
pub(crate) fn shutdown(deadline: Deadline) -> Result<*mut c_void> {
    let goroutine = arch::getg().is_some_and(|gp| !gp.is_host());
    // In the child of a fork nothing has started, and the thread counts as in a
    // callback until then.
    let child = matches!(phase::state(), State::Forked | State::Half);
    if goroutine || !child && in_callback() {
        return Err(Errno(libc::EDEADLK));
    }
    if exe::entered_at_rt0() || main_thread_is_ours() {
        // The process ends with that thread.
        return Err(Errno(libc::ENOTSUP));
    }
    loop {
        let seen = phase::state();
        match seen {
            State::Down if !CHAINED.load(Relaxed) && !keep::holds() => {
                return Ok(ptr::null_mut());
            }
            State::Down => {
                if let Some(result) = fork::while_none_forks(end_again) {
                    return result;
                }
            }
            // A reference is that of a thread which is about to start it.
            State::Fresh | State::NotStarted => return Ok(ptr::null_mut()),
            State::Failed => return Err(phase::error()),
            State::Forked | State::Half => return Ok(keep::drop_hold()),
            State::AwaitsMain => return Err(Errno(libc::ENOTSUP)),
            // Functions of GMP_INIT that are listed run before the end.
            State::Booted => gate()?,
            State::Up | State::Late => {
                if change(seen, State::Stopping) {
                    return end(deadline);
                }
            }
            State::Starting
            | State::Again
            | State::Opening
            | State::Stopping
            | State::Closing => {
                if !phase::sleep(seen, deadline.ns()) {
                    return Err(Errno(libc::ETIMEDOUT));
                }
            }
        }
    }
}

/// Gives back what the last shutdown could not. In Closing, so that no thread
/// starts the runtime meanwhile. None if one was faster.
///
/// Errors: `EBUSY` if it still cannot.
fn end_again() -> Option<Result<*mut c_void>> {
    change(State::Down, State::Closing).then(|| go_down(give_back()))
}

/// The state is Closing, and all has ended. `back`: the handlers as well.
///
/// Errors: `EBUSY` if not.
fn go_down(back: bool) -> Result<*mut c_void> {
    CHAINED.store(!back, Relaxed);
    // Before the state lets another thread start the runtime, with a reference
    // of that start.
    let reference = back.then(keep::drop_hold);
    phase::set(State::Down);
    reference.ok_or(Errno(libc::EBUSY))
}

/// Gives the handlers of signals back. False: another one is in the place of
/// one of ours, and may call ours.
fn give_back() -> bool {
    notify::give_back()
        & dumpsignal::give_back()
        & urgent::give_back()
        & fault::give_back()
}

/// The end, on the thread that has made the state Stopping.
fn end(deadline: Deadline) -> Result<*mut c_void> {
    CLOSING.set(Stage::Refusing);
    if !goroutines_end(deadline) {
        CLOSING.set(Stage::Open);
        doinit::reopen();
        return Err(Errno(libc::ETIMEDOUT));
    }
    phase::set(State::Closing);
    let mut nap = Nap::new();
    while winddown::stayers_live() || dumpsignal::searches() {
        nap.take();
    }
    fork::while_none_forks(close)
}

/// The end once no goroutine is left.
fn close() -> Result<*mut c_void> {
    let mut nap = Nap::new();
    while winddown::end_waits() {
        nap.take();
    }
    // An error of the file is printed, or was the host's to ask for.
    let _no_trace = trace::stop();
    notify::end();
    let ended = winddown::end_threads(|| {
        trace::end_tracer();
        dumpsignal::end_dumper();
        markers::end();
    });
    if !ended {
        phase::fail(Errno(libc::ESHUTDOWN));
        return Err(Errno(libc::EBUSY));
    }
    let back = give_back();
    winddown::settle();
    trace::tracer_ended();
    // SAFETY: it is of a goroutine that has ended.
    unsafe { doinit::reset() };
    // SAFETY: the same.
    unsafe { lockwait::reset() };
    // SAFETY: it is of a thread that has ended.
    unsafe { dumpsignal::reset() };
    env::ended();
    go_down(back)
}

/// Waits until the host's goroutines have ended; false once the deadline has
/// passed. Then none is left, and none can begin.
fn goroutines_end(deadline: Deadline) -> bool {
    let mut nap = Nap::new();
    loop {
        winddown::cancel_everybody();
        if gcount() == 0 && winddown::try_close() {
            return true;
        }
        if deadline.has_passed(nanotime()) {
            return false;
        }
        nap.take();
    }
}

/// The library is unloaded, or the process exits.
fn unload() {
    let seen = phase::state();
    if !matches!(seen, State::Down | State::NotStarted)
        || !change(seen, State::Opening)
    {
        // The runtime is up, and its reference keeps the library loaded: this
        // is the exit of the process.
        return;
    }
    phase::fail(Errno(libc::ESHUTDOWN));
    if seen == State::NotStarted {
        // A handler that calls ours will call what is not there any more.
        let _chained = fault::give_back();
        winddown::undo_preinit();
    } else if CHAINED.load(Relaxed) {
        return;
    }
    if exiting::may_be() {
        // The short way of the heap, which passes no gate, looks at a G, and
        // the host at objects.
        return;
    }
    // SAFETY: the runtime has ended or never began, and no thread is in a call
    // (module).
    unsafe { winddown::free() };
    // SAFETY: no handler is installed.
    unsafe { notify::free() };
    // SAFETY: no setting is read any more.
    unsafe { env::free() };
    // SAFETY: the same as for `winddown::free`.
    unsafe { gc::unload::free() };
}

/// Called at the exit of the process and when the library is unloaded, from
/// .fini_array.
#[unsafe(no_mangle)]
extern "C" fn libexit() {
    throw::before_exit(panics::own());
    stackadvice::print();
    trace::at_exit();
    unload();
    exiting::unwatch();
}
