//! The gate, which each call of the library passes first. A call that comes
//! before the runtime is up waits here, begins the start, or opens the gate for
//! the calls that follow (`phase` has the states).

use super::{
    again, doinit, keep,
    phase::{self, State, change},
    preinit::{Start, libpreinit, libstart},
    reset,
};
use crate::{
    os::{Errno, Result, clock::nanotime},
    sched::{child, handoff, host},
};

/// How long a call waits for the start, in nanoseconds.
const PATIENCE: i64 = 10_000_000_000;

/// Whether calls pass the gate at once.
#[inline(always)]
pub(crate) fn is_up() -> bool {
    phase::is_up()
}

/// The gate. Every call of the library that needs the runtime passes it first,
/// and waits at most ten seconds for the start.
///
/// Errors: `ETIMEDOUT`; `EAGAIN` before `main` on the exe path; `ENOMEM` if the
/// functions of a plug-in need a goroutine; `ENOTSUP` in a dead end of a fork;
/// `ESHUTDOWN` while a shutdown ends the runtime; the error of a failed start.
#[inline]
pub(crate) fn gate() -> Result<()> {
    if phase::is_up() {
        return Ok(());
    }
    gate_slow(Call::Any)
}

/// The gate for calls that start goroutines.
///
/// Errors: as [`gate`]; `ESHUTDOWN` from the beginning of a shutdown on.
#[inline]
pub(crate) fn gate_to_start() -> Result<()> {
    if phase::is_up() {
        return Ok(());
    }
    gate_slow(Call::Start)
}

/// The gate for calls that wait for nothing and only give something back, such
/// as an unlock: these pass while the runtime ends, and do not start it again.
///
/// Errors: as [`gate`], but for `ESHUTDOWN`.
#[inline]
pub(crate) fn gate_to_undo() -> Result<()> {
    if phase::is_up() {
        return Ok(());
    }
    gate_slow(Call::Undo)
}

/// The kinds of calls, of which some pass during and after a shutdown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Start,
    Any,
    Undo,
}

#[cold]
fn gate_slow(call: Call) -> Result<()> {
    // While a sanitizer watches, each call comes here.
    if phase::state() == State::Up { Ok(()) } else { pass(call) }
}

fn pass(call: Call) -> Result<()> {
    let deadline = nanotime() + PATIENCE;
    loop {
        let seen = phase::state();
        match seen {
            State::Up => return Ok(()),
            State::Stopping if call != Call::Start => return Ok(()),
            State::Closing | State::Down if call == Call::Undo => {
                return Ok(());
            }
            State::Stopping | State::Closing => {
                return Err(Errno(libc::ESHUTDOWN));
            }
            State::Down => {
                // If it fails, another call was faster.
                let _as_before_the_load = change(State::Down, State::Fresh);
            }
            State::Failed => return Err(phase::error()),
            State::Half => start_over_in_child(),
            State::Forked if child::is_dead_end() => {
                return Err(Errno(libc::ENOTSUP));
            }
            State::Forked => {
                // `gmp_shutdown` may have dropped that of the parent.
                keep::hold();
                if change(State::Forked, State::Again) {
                    start_in_child()?;
                }
            }
            State::AwaitsMain => return Err(Errno::EAGAIN),
            State::Fresh => start_before_constructor(),
            State::NotStarted => {
                // Before the change, since it takes the loader's lock: another
                // thread may hold that, and wait here for the start.
                keep::hold();
                if change(State::NotStarted, State::Starting) {
                    libstart();
                }
            }
            State::Booted | State::Late => {
                if change(seen, State::Opening) {
                    host::first_call();
                    doinit::open(seen)?;
                }
            }
            State::Opening if doinit::passes() => return Ok(()),
            State::Starting | State::Opening | State::Again => {
                if !wait(seen, deadline) {
                    return Err(Errno(libc::ETIMEDOUT));
                }
            }
        }
    }
}

/// Starts the runtime in the child of a fork that came during the start.
fn start_over_in_child() {
    // As for NotStarted.
    keep::hold();
    if change(State::Half, State::Starting) {
        // SAFETY: no thread has passed the gate, and the parent's are not
        // there.
        unsafe { reset::before_start() };
        libstart();
    }
}

/// The state is Again: starts the runtime in the child of a fork.
fn start_in_child() -> Result<()> {
    let started = again::start();
    phase::set(started.unwrap_or(State::Forked));
    started.map(drop)
}

/// Waits for another state than `seen`. A goroutine lends its P meanwhile, as
/// the start may need it.
fn wait(seen: State, deadline: i64) -> bool {
    handoff::entersyscall();
    let changed = phase::sleep(seen, deadline);
    handoff::exitsyscall();
    changed
}

/// Starts the runtime for a call of another constructor that runs before ours,
/// or for one after a shutdown.
fn start_before_constructor() {
    // As for NotStarted.
    keep::hold();
    if libpreinit(0, core::ptr::null()) == Start::Now as i32 {
        libstart();
    }
}
