//! Semaphores.

use super::{
    call_at, fits, tried, undo_at,
    watch::{Watch, at, ungated},
};
use crate::{
    block::sema::{self, Sema},
    os::{Errno, Result},
    timers::Deadline,
};
use core::ffi::c_int;

/// A counting semaphore; begin with GMP_SEMA_INIT(tokens), 0 to 2^31 - 1. All
/// bytes zero are no tokens.
#[repr(C)]
pub struct gmp_sema {
    pub _state: u32,
    pub _reserved: u32,
    pub _spare: [u64; 2],
}

const _: () = fits::<gmp_sema, Sema>();

/// # Safety
/// `s`: promise 1.
unsafe fn sema<'a>(s: *mut gmp_sema) -> Result<&'a Sema> {
    // SAFETY: promise 1: a semaphore's words, which are atomic from here on.
    unsafe { s.cast::<Sema>().as_ref() }.ok_or(Errno::EINVAL)
}

/// Takes a token of `s`: waits until there is one. First come, first served.
///
/// Returns 0. May block.
///
/// # Safety
/// `s`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sema_acquire(s: *mut gmp_sema) -> c_int {
    // SAFETY: promise 1, of `s`.
    call_at(
        move || Watch::Acquires(at(s)),
        move || sema::acquire(unsafe { sema(s) }?, Deadline::NEVER),
    )
}

/// gmp_sema_acquire with a deadline. May block.
///
/// # Safety
/// As `gmp_sema_acquire`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sema_acquire_until(
    s: *mut gmp_sema,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    // SAFETY: promise 1, of `s`.
    call_at(
        move || Watch::Acquires(at(s)),
        move || sema::acquire(unsafe { sema(s) }?, deadline),
    )
}

/// Takes a token of `s` if there is one, else returns -EAGAIN. Never blocks.
///
/// # Safety
/// As `gmp_sema_acquire`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sema_try_acquire(s: *mut gmp_sema) -> c_int {
    // SAFETY: promise 1, of `s`.
    undo_at(
        move || Watch::Acquires(at(s)),
        move || tried(sema::try_acquire(unsafe { sema(s) }?)),
    )
}

/// Gives a token to `s`. The one that has waited longest gets it.
///
/// Returns 0; -EOVERFLOW if there are 2^31 - 1 tokens already. Never blocks.
///
/// # Safety
/// As `gmp_sema_acquire`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sema_release(s: *mut gmp_sema) -> c_int {
    // SAFETY: promise 1, of `s`.
    undo_at(
        move || Watch::Releases(at(s)),
        move || sema::release(unsafe { sema(s) }?),
    )
}

/// Returns how many tokens `s` has now, which is 0 while somebody waits for
/// one; -EINVAL for NULL. Never blocks.
///
/// # Safety
/// As `gmp_sema_acquire`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sema_value(s: *const gmp_sema) -> i64 {
    // SAFETY: promise 1, of `s`.
    let s = unsafe { sema(s.cast_mut()) };
    let value = s.map(|s| {
        ungated(move || Watch::Acquires(at(s)), move || sema::value(s))
    });
    value.map_or_else(|e| i64::from(e.neg()), i64::from)
}
