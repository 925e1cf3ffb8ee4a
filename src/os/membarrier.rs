//! A memory barrier on every running thread of this process at once, which
//! makes plain stores of other threads visible to the caller.
//!
//! One side pays some microseconds here, so that the other side pays nothing:
//! see `base::barrier`.

use super::{
    clock::usleep,
    errno::{Errno, KeepErrno, Result},
};
use crate::base::barrier::{settle, settled, use_fences};
use core::{
    ffi::c_int,
    sync::atomic::{Ordering::SeqCst, fence},
};

/// How long a store that is under way may take to be seen by all, many times
/// over, in microseconds.
const ARRIVAL: u32 = 1000;

/// Announces that this process will use [`everywhere`]: it takes milliseconds
/// once there are threads.
///
/// `ENOSYS`, `EINVAL` or `EPERM` where the kernel or a filter forbids it.
pub(crate) fn register() -> Result<()> {
    membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED as c_int)
}

/// Has every thread of this process that runs execute a full barrier before
/// this returns; those that do not run have executed one when they stopped.
/// Where that cannot be had, the hot side has fences from now on.
pub(crate) fn everywhere() {
    if !settled() && barrier().is_err() {
        // Not registered yet, perhaps, or refused from now on.
        let _refused = register();
        if barrier().is_err() {
            use_fences();
            usleep(ARRIVAL);
            settle();
        }
    }
    fence(SeqCst);
}

/// `EPERM` if not registered.
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
