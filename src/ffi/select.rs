//! Select.

use super::{
    chan::gmp_chan,
    error, framed,
    watch::{Watch, gated},
};
use crate::{
    block::{
        chan::Block,
        select::{self, Case},
    },
    boot,
    os::{Errno, Result},
    timers::Deadline,
};
use core::{
    ffi::{c_int, c_void},
    mem::offset_of,
    slice,
};

/// The op of a gmp_case that sends.
pub const GMP_SEND: c_int = 1;
/// The op of a gmp_case that receives.
pub const GMP_RECV: c_int = 2;

/// One case of a select.
#[repr(C)]
pub struct gmp_case {
    /// The channel; a case with NULL never runs.
    pub ch: *mut gmp_chan,
    /// The element to send, or where to receive it; NULL drops what comes.
    pub elem: *mut c_void,
    /// GMP_SEND or GMP_RECV.
    pub op: c_int,
    /// Written in the case that ran: 0; -EPIPE if its channel is closed, which
    /// zeroes the element of a receiver.
    pub result: c_int,
}

const _: () = assert!(size_of::<Case>() == size_of::<gmp_case>());
const _: () = assert!(align_of::<Case>() == align_of::<gmp_case>());
const _: () = assert!(offset_of!(gmp_case, op) == Case::OP);
const _: () = assert!(offset_of!(gmp_case, result) == Case::RESULT);
const _: () = assert!(GMP_SEND == select::SEND && GMP_RECV == select::RECV);

/// # Safety
/// As `gmp_select`.
#[inline(always)]
unsafe fn pass(cases: *mut gmp_case, n: usize, block: Block) -> c_int {
    if !boot::is_up() {
        // SAFETY: as here.
        return framed(unsafe { select_gated(cases, n, block) });
    }
    // SAFETY: as here.
    unsafe { run(cases, n, block) }
}

/// # Safety
/// As `gmp_select`.
#[cold]
#[inline(never)]
unsafe fn select_gated(cases: *mut gmp_case, n: usize, block: Block) -> c_int {
    let select = || {
        // SAFETY: as here.
        let index = unsafe { run(cases, n, block) };
        usize::try_from(index).map_err(|_| Errno(-index))
    };
    gated(boot::gate, || Watch::Selects(cases.cast(), n), select, as_c)
}

/// The index of a case, or a negative errno.
#[inline(always)]
fn as_c(index: Result<usize>) -> c_int {
    match index {
        Ok(index) => index as c_int,
        Err(e) => error(e),
    }
}

/// The select, past the gate. One for all, since it is large.
///
/// # Safety
/// As `gmp_select`.
#[inline(never)]
unsafe fn run(cases: *mut gmp_case, n: usize, block: Block) -> c_int {
    // SAFETY: as here.
    as_c(unsafe { select(cases, n, block) })
}

/// # Safety
/// As [`run`].
#[inline(always)]
unsafe fn select(
    cases: *mut gmp_case,
    n: usize,
    block: Block,
) -> Result<usize> {
    if n > select::MAX_CASES || (cases.is_null() && n > 0) {
        return Err(Errno::EINVAL);
    }
    let cases: &mut [Case] = if n == 0 {
        &mut []
    } else {
        // SAFETY: promise 2: there are `n` cases, which have this layout.
        unsafe { slice::from_raw_parts_mut(cases.cast(), n) }
    };
    select::select(cases, block)
}

/// Waits until one of `n` `cases` can run, and runs it; if several can, picks
/// one at random. A channel may be in several cases, and in both directions.
/// Without cases, or with NULL channels only, it waits for ever.
///
/// Returns the index of the case that ran, whose `result` is written; -EINVAL
/// if `n` is above 65536, or for an unknown `op` or a NULL `elem` to send;
/// -ENOMEM. May block.
///
/// ```c
/// gmp_case cases[] = {{in, &job, GMP_RECV, 0}, {stop, NULL, GMP_RECV, 0}};
/// if (gmp_select(cases, 2) == 1)
///     return; // stop is closed: do no more jobs
/// ```
///
/// # Safety
/// `cases`: promise 2, for `n` cases; of each its channel: promise 1; its
/// element: promise 2, for one element.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_select(cases: *mut gmp_case, n: usize) -> c_int {
    // SAFETY: promises 1 and 2, of `cases`.
    unsafe { pass(cases, n, Block::UNTIL_DONE) }
}

/// gmp_select with a deadline. May block.
///
/// # Safety
/// As `gmp_select`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_select_until(
    cases: *mut gmp_case,
    n: usize,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    // SAFETY: promises 1 and 2, of `cases`.
    unsafe { pass(cases, n, Block::Until(deadline)) }
}

/// gmp_select if a case can run at once, else -EAGAIN: a select with a default.
/// Never blocks.
///
/// # Safety
/// As `gmp_select`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_try_select(
    cases: *mut gmp_case,
    n: usize,
) -> c_int {
    // SAFETY: promises 1 and 2, of `cases`.
    unsafe { pass(cases, n, Block::Not) }
}
