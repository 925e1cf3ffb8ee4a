//! Whether a call may wait, and until when; and the waits that nothing but a
//! deadline or a cancel ends.

use crate::{
    gmp::{G, wait::Wait},
    os::{Errno, Result},
    sched::{cancel, host, park::park},
    timers::Deadline,
};
use core::ffi::CStr;

/// Whether a call may wait, and until when.
#[derive(Clone, Copy)]
pub(crate) enum Block {
    Not,
    Until(Deadline),
}

impl Block {
    /// The call waits for as long as it takes.
    pub(crate) const UNTIL_DONE: Self = Self::Until(Deadline::NEVER);
}

/// The caller, which has a G, and until when it may wait.
///
/// Errors: `EAGAIN` if it may not; `ETIMEDOUT`; as [`host::current`].
pub(super) fn may_park(block: Block) -> Result<(&'static G, Deadline)> {
    let Block::Until(deadline) = block else { return Err(Errno::EAGAIN) };
    let gp = host::current()?;
    deadline.check()?;
    Ok((gp, deadline))
}

/// Waits for a null channel, which is never ready, or for a select without
/// cases.
pub(super) fn wait_for_ever(block: Block, reason: &'static CStr) -> Result<()> {
    if let Block::Until(_) = block {
        cancel::check()?;
        // Gives a host thread its G.
        host::current()?;
    }
    let (gp, deadline) = may_park(block)?;
    let wait = Wait::until(deadline, reason);
    let ticket = wait.begin(gp);
    park(gp, &wait, ticket, ()).outcome()
}
