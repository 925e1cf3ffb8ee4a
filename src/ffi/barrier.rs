//! Barriers.

use super::{
    fits, numbered,
    watch::{Watch, at},
};
use crate::{
    block::barrier::{self, Barrier},
    os::{Errno, Result},
    timers::Deadline,
};
use core::ffi::c_int;

/// A meeting point for a fixed number of callers, round after round; begin with
/// GMP_BARRIER_INIT(n). n is from 1 on: with all bytes zero every wait is
/// -EINVAL.
#[repr(C)]
pub struct gmp_barrier {
    pub _count: u32,
    pub _arrived: u32,
    pub _spare: [u64; 2],
}

const _: () = fits::<gmp_barrier, Barrier>();

/// # Safety
/// `b`: promise 1.
unsafe fn barrier<'a>(b: *mut gmp_barrier) -> Result<&'a Barrier> {
    // SAFETY: promise 1: a barrier's words, which are atomic from here on.
    unsafe { b.cast::<Barrier>().as_ref() }.ok_or(Errno::EINVAL)
}

/// Waits until as many callers wait at `b` as it was made for. Then all of them
/// return, and the next round begins. What each has done before its call is
/// seen by all after it. A goroutine or thread may come again at once, and
/// another may come in its place.
///
/// A caller that a cancel reaches while it waits leaves the round as if it had
/// not come: the others go on waiting, for one more caller. If the round is
/// complete by then, the call succeeds.
///
/// Returns 1 to one caller of each round, the last, and 0 to the others. So the
/// one can do what is to be done once in a round. After 0 or 1, `b` may be
/// freed unless somebody comes for another round. May block.
///
/// ```c
/// int rc = gmp_barrier_wait(&all); // gmp_barrier all = GMP_BARRIER_INIT(4)
/// if (rc < 0)
///     fprintf(stderr, "gmp_barrier_wait: %s\n", gmp_strerror(rc));
/// ```
///
/// # Safety
/// `b`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_barrier_wait(b: *mut gmp_barrier) -> c_int {
    // SAFETY: promise 1, of `b`.
    numbered(
        move || Watch::Orders(at(b)),
        move || wait(unsafe { barrier(b) }?, Deadline::NEVER),
    )
}

/// gmp_barrier_wait with a deadline. A caller whose deadline passes leaves the
/// round as if it had not come. With a deadline in the past only the last
/// caller of a round succeeds. May block.
///
/// # Safety
/// As `gmp_barrier_wait`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_barrier_wait_until(
    b: *mut gmp_barrier,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    // SAFETY: promise 1, of `b`.
    numbered(
        move || Watch::Orders(at(b)),
        move || wait(unsafe { barrier(b) }?, deadline),
    )
}

fn wait(b: &Barrier, deadline: Deadline) -> Result<c_int> {
    barrier::wait(b, deadline).map(c_int::from)
}
