//! The two goroutines of the runtime's own: `bgsweep` and `bgscavenge`.
//!
//! In Go they serve the collector; here they give back the memory of stacks. A
//! burst of goroutines leaves free stacks in the pool, and in the caches of Ps
//! that have gone idle and cannot return them. bgsweep empties those caches
//! into the pool. bgscavenge gives the pages of idle stacks in the pool back to
//! the kernel, a part at a time.
//!
//! ```text
//!   sysmon --sees idle stacks--> bgscavenge --starts a round--> bgsweep
//!                                  ^      |
//!                                  +------+ until nothing is idle
//! ```
//!
//! Without work both park without a deadline, so an idle process does not wake
//! up.
//!
//! Invariant: `SWEEPER` is null or the G of bgsweep, which never ends.

use super::{
    current::this_g, handoff::flush_idle, newproc::newproc_system,
    park::park_plain, ready::ready_permit,
};
use crate::{
    base::sync::{AtomicPtr, AtomicU32, AtomicUsize, Ordering::*},
    gmp::{G, GmpFn, handle_of},
    os::{Result, clock::nanotime},
    stack,
    timers::FOREVER,
};
use core::{
    ffi::{CStr, c_void},
    ptr,
};

/// The handle of bgscavenge while it waits for idle stacks; 0 otherwise.
pub(super) static SCAVENGER: AtomicUsize = AtomicUsize::new(0);
static SWEEPER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
/// How many of the two have begun.
static BEGUN: AtomicU32 = AtomicU32::new(0);

/// Starts both; [`have_begun`] says when they have.
///
/// Errors: `ENOMEM`.
pub(crate) fn start_both() -> Result<()> {
    start(bgsweep, c"bgsweep")?;
    start(bgscavenge, c"bgscavenge")
}

/// Whether both have begun.
pub(crate) fn have_begun() -> bool {
    // Acquire: pairs with begin.
    BEGUN.load(Acquire) >= 2
}

fn start(f: GmpFn, name: &'static CStr) -> Result<()> {
    newproc_system(f, ptr::null_mut(), name).map(drop)
}

/// Notes that the calling goroutine has begun; returns it.
fn begin() -> &'static G {
    // Release: pairs with have_begun.
    BEGUN.fetch_add(1, Release);
    this_g()
}

/// Empties the stack caches of idle Ps into the pool, once for each permit.
unsafe extern "C" fn bgsweep(_arg: *mut c_void) {
    // Release: pairs with sweep.
    SWEEPER.store(handle_of(begin()), Release);
    loop {
        park_plain(c"sweep wait", FOREVER);
        flush_idle();
    }
}

/// Wakes bgsweep.
fn sweep() {
    // Before bgsweep has begun, the handle is null and wakes nobody.
    let _nobody = ready_permit(SWEEPER.load(Acquire));
}

/// Gives pages back, round by round.
unsafe extern "C" fn bgscavenge(_arg: *mut c_void) {
    let handle = handle_of(begin()).addr();
    loop {
        // Release: pairs with sysmon, which takes the handle and readies it.
        SCAVENGER.store(handle, Release);
        park_plain(c"scavenge wait", FOREVER);
        SCAVENGER.store(0, Release);
        sweep();
        while let Some(next) = stack::scavenge(nanotime()).next {
            park_plain(c"scavenge pause", next);
        }
    }
}
