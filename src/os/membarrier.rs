//! A memory barrier on every running thread of this process at once, which
//! makes plain stores of other threads visible to the caller.
//!
//! One side pays some microseconds here, so that the other side pays nothing.
//! Every result matters: a caller that goes on after a failure has no barrier.

use super::errno::{Errno, KeepErrno, Result};
use core::ffi::c_int;

/// Announces that this process will use [`barrier`]. Once per process, and
/// again in the child of a fork.
///
/// `ENOSYS`, `EINVAL` or `EPERM` where the kernel or a filter forbids it.
pub(crate) fn register() -> Result<()> {
    membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED as c_int)
}

/// Has every thread of this process that runs execute a full barrier before
/// this returns; those that do not run have executed one when they stopped.
///
/// `EPERM` if not registered.
pub(crate) fn barrier() -> Result<()> {
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
