//! Select.

use super::{call, chan::gmp_chan};
use crate::{
    block::{
        chan::{BLOCK, Block},
        select::{self, Case},
    },
    os::Errno,
};
use core::{
    ffi::{c_int, c_void},
    mem::offset_of,
    slice,
};

/// In `gmp_case.op`: send `*elem` on `ch`.
pub const GMP_SEND: c_int = 1;
/// In `gmp_case.op`: receive into `*elem` from `ch`.
pub const GMP_RECV: c_int = 2;

/// One case of a select.
#[repr(C)]
pub struct gmp_case {
    /// The channel; a case with NULL never runs.
    pub ch: *mut gmp_chan,
    /// What is sent, or where it is received; NULL drops what is received.
    pub elem: *mut c_void,
    /// GMP_SEND or GMP_RECV.
    pub op: c_int,
    /// Written in the case that ran: 0, or -EPIPE if its channel is closed
    /// (and drained, with `*elem` zeroed, to a receiver).
    pub result: c_int,
}

const _: () = assert!(size_of::<Case>() == size_of::<gmp_case>());
const _: () = assert!(align_of::<Case>() == align_of::<gmp_case>());
const _: () = assert!(offset_of!(gmp_case, op) == Case::OP);
const _: () = assert!(offset_of!(gmp_case, result) == Case::RESULT);
const _: () = assert!(GMP_SEND == select::SEND && GMP_RECV == select::RECV);

/// # Safety
/// As gmp_select.
unsafe fn run(cases: *mut gmp_case, n: usize, block: Block) -> c_int {
    let mut index = 0;
    let code = call(|| {
        if n > select::MAX_CASES || (cases.is_null() && n > 0) {
            return Err(Errno::EINVAL);
        }
        let cases: &mut [Case] = if n == 0 {
            &mut []
        } else {
            // SAFETY: the caller's promise; the layouts are the same.
            unsafe { slice::from_raw_parts_mut(cases.cast(), n) }
        };
        index = select::select(cases, block)?;
        Ok(())
    });
    if code == 0 { index as c_int } else { code }
}

/// Runs one of `n` cases: waits until one of them can go on, and picks one at
/// random, all alike, where several can. A channel may be in several cases, in
/// both directions. With no case, or only NULL channels, it waits for ever.
///
/// `cases`: the cases; only the `result` of the one that runs is written.
/// `n`: at most 65536.
///
/// Returns the index of the case that ran; -EINVAL for null `cases` with an
/// `n`, too many of them, an unknown `op`, or nothing to send; -EDEADLK from
/// inside an unlockf; -ENOMEM; -ECANCELED. Parks the goroutine; blocks a host
/// thread.
///
/// # Safety
/// `cases`: `n` cases, each with a channel to which the caller holds a
/// reference, or NULL, and an element that is readable or writable as its
/// `op` asks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_select(cases: *mut gmp_case, n: usize) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { run(cases, n, BLOCK) }
}

/// gmp_select until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for none):
/// then -ETIMEDOUT, and no case ran. One in the past tries once.
///
/// # Safety
/// As gmp_select.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_select_until(
    cases: *mut gmp_case,
    n: usize,
    deadline: i64,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { run(cases, n, Block::Until(deadline)) }
}

/// gmp_select if a case can run at once, else -EAGAIN: select with a default.
/// Never blocks.
///
/// # Safety
/// As gmp_select.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_try_select(
    cases: *mut gmp_case,
    n: usize,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { run(cases, n, Block::Never) }
}
