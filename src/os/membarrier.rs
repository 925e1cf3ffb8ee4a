//! A memory barrier on every running thread of this process at once: the rare
//! side's step (e) in `base::barrier`. It costs some microseconds, so that the
//! hot side pays nothing.
//!
//! If the kernel refuses membarrier, the hot side gets fences. The switch needs
//! care, as a hot thread may still run without:
//!
//! ```text
//!   hot side                        the first caller that is refused
//!     (a) store X                     (d) store Y
//!     (b) FENCES: false, no fence     (e) FENCES = true
//!     (c) load Y                      (f) sleep ARRIVAL, then settle
//!                                     (g) load X
//! ```
//! A store becomes visible within nanoseconds. So if (b) reads false, (a) is
//! visible long before (f) ends, and (g) sees (a). If (b) reads true, both
//! sides have fences, and the usual argument holds.

use super::{
    clock::usleep,
    errno::{Errno, KeepErrno, Result},
};
use crate::base::{
    barrier::{settle, settled},
    lock::use_fences,
};
use core::{
    ffi::c_int,
    sync::atomic::{Ordering::SeqCst, fence},
};

/// Many times as long as any store needs to become visible to all threads, in
/// microseconds.
const ARRIVAL: u32 = 1000;

/// Announces that this process will use [`everywhere`]. Takes milliseconds once
/// there are threads.
///
/// `ENOSYS`, `EINVAL` or `EPERM` if the kernel or a filter forbids it.
pub(crate) fn register() -> Result<()> {
    membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED as c_int)
}

/// Makes every running thread of this process execute a full barrier before
/// this returns. A thread that does not run executed a barrier when it was
/// switched out. Without membarrier the hot side has fences from now on.
pub(crate) fn everywhere() {
    if !settled() && barrier().is_err() {
        // Either not registered yet, or refused from now on.
        let _refused = register();
        if barrier().is_err() {
            use_fences();
            usleep(ARRIVAL);
            settle();
        }
    }
    fence(SeqCst);
}

/// The barrier; `EPERM` if the process is not registered.
fn barrier() -> Result<()> {
    membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED as c_int)
}

fn membarrier(command: c_int) -> Result<()> {
    let _keep = KeepErrno::new();
    // SAFETY: takes a command, flags and a CPU, no memory.
    let r = unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) };
    Errno::check(r).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_and_passes() {
        assert_eq!(register(), Ok(()));
        assert_eq!(barrier(), Ok(()));
    }

    #[test]
    fn an_unknown_command_is_an_error() {
        assert_eq!(membarrier(1 << 30), Err(Errno::EINVAL));
    }
}
