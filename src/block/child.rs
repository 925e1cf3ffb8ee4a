//! Waiting for children: `gmp_waitpid`.
//!
//! A pidfd tells of one child's end, and of nothing else: not of the end of any
//! of several children, not of stops and continues. Each call begins with a try
//! that does not wait, so an error of waitpid(2) comes at once, and a deadline
//! in the past has been tried. Then:
//!
//! ```text
//!   a host thread without a deadline   waitpid(2) itself, which blocks it
//!   one child, its end                 the poller, by a pidfd
//!   anything else                      another try now and then
//! ```
//! "Anything else" includes a pidfd that is refused, whatever the reason: an
//! older kernel, a sandbox, no more descriptors. The pause between two tries
//! doubles from [`FIRST_PAUSE_NS`] to [`LAST_PAUSE_NS`], so the wait is at most
//! twice as long as the child lives, and 10 ms more.
//!
//! Rejected:
//! - a thread that blocks in waitpid(2): no cancel and no deadline would end
//!   that wait, and where threads have run out it would take the last one;
//! - a handler of SIGCHLD: with one, children of a host that ignores the
//!   signal would stay zombies.

use super::{
    fdwait::close,
    io::{self, READABLE},
};
use crate::{
    os::{Errno, Result, child},
    sched::{
        cancel, host,
        park::{self, before_blocking},
    },
    timers::Deadline,
};
use core::ffi::c_int;

const FIRST_PAUSE_NS: i64 = 100_000;
const LAST_PAUSE_NS: i64 = 10_000_000;

/// Options for more than a pidfd tells: stops and continues. Those of a traced
/// child come with `__WALL`.
const MORE_THAN_ENDS: c_int = libc::WUNTRACED | libc::WCONTINUED | libc::__WALL;

/// One call of `gmp_waitpid`.
struct Wanted {
    pid: i32,
    status: *mut c_int,
    options: c_int,
}

impl Wanted {
    /// waitpid(2), again after each signal.
    ///
    /// # Safety
    /// The status: null or writable.
    unsafe fn wait(&self, more: c_int) -> Result<i32> {
        loop {
            let options = self.options | more;
            // SAFETY: the caller's room.
            let done =
                unsafe { child::waitpid(self.pid, self.status, options) };
            if done != Err(Errno(libc::EINTR)) {
                return done;
            }
        }
    }

    /// A try that does not wait. None: the child has done nothing yet.
    ///
    /// # Safety
    /// As [`Wanted::wait`].
    unsafe fn look(&self) -> Result<Option<i32>> {
        // SAFETY: the caller's room.
        let found = unsafe { self.wait(libc::WNOHANG) }?;
        Ok((found != 0).then_some(found))
    }
}

/// waitpid(2) until `deadline`.
///
/// Errors: those of waitpid(2) but `EINTR`; `ETIMEDOUT`, `ECANCELED`;
/// `EDEADLK` where the caller may not park.
///
/// # Safety
/// `status`: null or writable.
pub(crate) unsafe fn waitpid(
    pid: i32,
    status: *mut c_int,
    options: c_int,
    deadline: Deadline,
) -> Result<i32> {
    cancel::check()?;
    let wanted = Wanted { pid, status, options };
    // SAFETY: the caller's room.
    if let Some(found) = unsafe { wanted.look() }? {
        return Ok(found);
    }
    if options & libc::WNOHANG != 0 {
        return Ok(0);
    }
    let host = host::current()?.is_host();
    if host && deadline.is_never() {
        // SAFETY: the caller's room.
        return unsafe { wanted.wait(0) };
    }
    if pid > 0
        && options & MORE_THAN_ENDS == 0
        && let Ok(ended) = child::pidfd(pid)
    {
        // SAFETY: the caller's room.
        let done = unsafe { wait_by_pidfd(&wanted, ended, deadline) };
        // Opened above, and used by nobody else.
        let _closed = close(ended);
        if let Some(done) = done {
            return done;
        }
    }
    // SAFETY: the caller's room.
    unsafe { look_now_and_then(&wanted, deadline) }
}

/// Waits for one child's end; None where the poller refuses its descriptor.
///
/// # Safety
/// As [`waitpid`].
unsafe fn wait_by_pidfd(
    wanted: &Wanted,
    ended: i32,
    deadline: Deadline,
) -> Option<Result<i32>> {
    loop {
        // Before the first wait, too: another call may have waited for the
        // child before the pidfd was opened, which then is another process's.
        // SAFETY: the caller's room.
        match unsafe { wanted.look() } {
            Ok(None) => {}
            Ok(Some(found)) => return Some(Ok(found)),
            Err(e) => return Some(Err(e)),
        }
        match io::wait_fd(ended, READABLE, deadline) {
            Ok(_) => {}
            Err(e) if refused(e) => return None,
            Err(e) => return Some(Err(e)),
        }
    }
}

/// Whether a wait failed for a reason that a wait by tries does not have.
fn refused(e: Errno) -> bool {
    !matches!(e, Errno(libc::ETIMEDOUT | libc::ECANCELED | libc::EDEADLK))
}

/// Tries again and again, with pauses.
///
/// # Safety
/// As [`waitpid`].
unsafe fn look_now_and_then(
    wanted: &Wanted,
    deadline: Deadline,
) -> Result<i32> {
    let mut pause = FIRST_PAUSE_NS;
    loop {
        before_blocking(deadline)?;
        let next = Deadline::after(pause).min(deadline);
        park::sleep_until(next)?;
        pause = (pause * 2).min(LAST_PAUSE_NS);
        // SAFETY: the caller's room.
        if let Some(found) = unsafe { wanted.look() }? {
            return Ok(found);
        }
    }
}
