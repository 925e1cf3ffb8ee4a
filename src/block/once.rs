//! Once: Go's `sync.Once`.
//!
//! ```text
//!   New --CAS--> Running --its function has ended--> Done
//! ```
//! Everybody else waits for Done. It gets there however the function ends: by
//! returning or by `gmp_exit`, so it never runs twice.
//!
//! Invariants:
//! 1. QUEUED is set while anybody is in the line, under the lock of their
//!    bucket ([`super::parking`]), and only while it is Running.
//! 2. `runner` is the goid of who runs it, while it does.

use super::parking::{Bucket, End, How, Place, waiter};
use crate::{
    base::sync::{AtomicU32, AtomicU64, Ordering::*},
    gmp::{GmpFn, wait::WakeList},
    os::{Errno, Result},
    sched::{
        cancel, ending,
        park::{self, ready_all},
    },
};
use core::{ffi::c_void, ptr};

const NEW: u32 = 0;
const RUNNING: u32 = 1;
const DONE: u32 = 2;
const QUEUED: u32 = 4;

/// The words of a `gmp_once`; all zero has not run.
#[derive(Default)]
#[repr(C)]
pub struct Once {
    state: AtomicU32,
    /// Invariant 2.
    runner: AtomicU64,
}

/// Calls `f(arg)` unless that has been done; waits while another does.
///
/// Errors: `EDEADLK` from inside its own function, or where the caller may
/// not park.
pub(crate) fn call(o: &Once, f: GmpFn, arg: *mut c_void) -> Result<()> {
    // Acquire: pairs with complete.
    if o.state.load(Acquire) == DONE {
        return Ok(());
    }
    call_slow(o, (f, arg), How::uninterrupted(c"once"))
}

/// The same, unless the deadline passes or the caller is cancelled before it
/// is done or begun here.
///
/// Errors: as [`call`]; `ETIMEDOUT`, `ECANCELED`.
pub(crate) fn call_until(
    o: &Once,
    f: GmpFn,
    arg: *mut c_void,
    deadline: i64,
) -> Result<()> {
    cancel::check()?;
    if o.state.load(Acquire) == DONE {
        return Ok(());
    }
    call_slow(o, (f, arg), How::until(deadline, c"once"))
}

#[cold]
fn call_slow(o: &Once, call: (GmpFn, *mut c_void), how: How) -> Result<()> {
    let gp = park::current()?;
    let first = o.state.compare_exchange(NEW, RUNNING, Acquire, Acquire);
    if first.is_ok() {
        o.runner.store(gp.goid.get(), Relaxed);
        run(o, call);
        return Ok(());
    }
    // Relaxed: if it is ours, we wrote it.
    let runner = o.runner.load(Relaxed);
    if runner == gp.goid.get() && o.state.load(Relaxed) & RUNNING != 0 {
        return Err(Errno(libc::EDEADLK));
    }
    waiter(&how)?;
    let bucket = Bucket::of(o);
    // Acquire: pairs with complete.
    let queued = o.state.fetch_update(Acquire, Acquire, |old| {
        (old & RUNNING != 0).then_some(old | QUEUED)
    });
    if queued.is_err() {
        return Ok(());
    }
    match bucket.wait(gp, how, Place::LAST, None) {
        End::Woken { .. } => Ok(()),
        // QUEUED may stay: complete finds nobody then.
        End::Left(e, _bucket) => Err(e),
    }
}

/// Runs it, and marks it done however it ends.
fn run(o: &Once, (f, arg): (GmpFn, *mut c_void)) {
    let place = ptr::from_ref(o).cast_mut().cast();
    // SAFETY: the host's function with its argument.
    ending::with_cleanup(complete, place, || unsafe { f(arg) });
    // SAFETY: the same.
    unsafe { complete(place) };
}

/// It is done: lets the others go on. The change of the state is the last
/// touch.
unsafe extern "C" fn complete(o: *mut c_void) {
    // SAFETY: run's, whose caller keeps it.
    let o = unsafe { &*o.cast::<Once>() };
    o.runner.store(0, Relaxed);
    // Release: pairs with everybody's acquire.
    if o.state.compare_exchange(RUNNING, DONE, Release, Relaxed).is_ok() {
        return;
    }
    let mut list = WakeList::new();
    let bucket = Bucket::of(o);
    o.state.store(DONE, Release);
    bucket.hand_to_all(&mut list, |_| true);
    drop(bucket);
    ready_all(list);
}
