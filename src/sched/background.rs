//! The library's two goroutines: `bgsweep` and `bgscavenge`.
//!
//! A burst of goroutines leaves stacks behind, in the pool and in the caches of
//! Ps that are idle by now, where their owners cannot give them back. bgsweep
//! empties those caches into the pool. bgscavenge gives the pages of stacks
//! that lie idle in the pool back to the kernel, a part at a time. (The names
//! are Go's; there the two work for the collector.)
//!
//! ```text
//!   sysmon --sees idle stacks--> bgscavenge --starts a round--> bgsweep
//!                                  ^      |
//!                                  +------+ until nothing is idle
//! ```
//! Both end with the runtime ([`end_both`]).
//!
//! Both park without a deadline when there is nothing to do: an idle process
//! has no wake-ups.
//!
//! Invariants:
//! 1. `SWEEPER` is null or the handle of bgsweep.
//! 2. `SCAVENGER` is not 0 only while bgscavenge waits for idle stacks; sysmon
//!    readies the goroutine whose handle it has taken out.

use super::{
    current::this_g, handoff::flush_idle, newproc::newproc_staying,
    park::park_plain, ready::ready_permit,
};
use crate::{
    base::sync::{AtomicPtr, AtomicU32, AtomicUsize, Ordering::*},
    gmp::{CLOSING, G, GmpFn, closing::Stage, handle_of},
    os::{Result, clock::nanotime},
    stack,
    timers::Deadline,
};
use core::{
    ffi::{CStr, c_void},
    ptr,
};

/// The handle of bgscavenge while it waits for idle stacks; 0 otherwise.
pub(super) static SCAVENGER: AtomicUsize = AtomicUsize::new(0);
static SWEEPER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
/// The handle of bgscavenge, once it has begun.
static SCAVENGER_HANDLE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
/// How many of the two have begun.
static BEGUN: AtomicU32 = AtomicU32::new(0);

/// Starts both; [`have_begun`] tells when they run.
///
/// Errors: `ENOMEM`.
pub(crate) fn start_both() -> Result<()> {
    start(bgsweep, c"bgsweep")?;
    start(bgscavenge, c"bgscavenge")
}

pub(crate) fn have_begun() -> bool {
    // Acquire: pairs with begin.
    BEGUN.load(Acquire) >= 2
}

fn start(f: GmpFn, name: &'static CStr) -> Result<()> {
    newproc_staying(f, ptr::null_mut(), name).map(drop)
}

/// Counts the calling goroutine as begun; returns it.
fn begin() -> &'static G {
    // Release: pairs with have_begun.
    BEGUN.fetch_add(1, Release);
    this_g()
}

/// Empties the caches of idle Ps into the pool, once for each permit.
unsafe extern "C" fn bgsweep(_arg: *mut c_void) {
    // Release: pairs with sweep.
    SWEEPER.store(handle_of(begin()), Release);
    loop {
        park_plain(c"sweep wait", Deadline::NEVER);
        if CLOSING.has_come(Stage::Closed) {
            return;
        }
        flush_idle();
    }
}

/// In the stage Closed: lets both end. Repeated until they have, as they may
/// have been about to park.
pub(crate) fn end_both() {
    sweep();
    let scavenger = SCAVENGER_HANDLE.load(Acquire);
    let _nobody = ready_permit(scavenger);
}

fn sweep() {
    // Null before bgsweep has begun: then nobody gets the permit. Acquire:
    // pairs with bgsweep's store.
    let _nobody = ready_permit(SWEEPER.load(Acquire));
}

/// Gives pages of idle stacks back to the kernel, round by round.
unsafe extern "C" fn bgscavenge(_arg: *mut c_void) {
    let handle = handle_of(begin());
    SCAVENGER_HANDLE.store(handle, Release);
    let handle = handle.addr();
    loop {
        // Release: pairs with sysmon's swap (invariant 2).
        SCAVENGER.store(handle, Release);
        park_plain(c"scavenge wait", Deadline::NEVER);
        SCAVENGER.store(0, Release);
        if CLOSING.has_come(Stage::Closed) {
            return;
        }
        sweep();
        while !CLOSING.has_come(Stage::Closed)
            && let Some(next) = stack::scavenge(nanotime()).next
        {
            park_plain(c"scavenge pause", Deadline::at(next));
        }
    }
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    SCAVENGER.store(0, Relaxed);
    SWEEPER.store(ptr::null_mut(), Relaxed);
    SCAVENGER_HANDLE.store(ptr::null_mut(), Relaxed);
    BEGUN.store(0, Relaxed);
}
