//! Groups of goroutines.

use super::{call, code};
use crate::{
    block::group::{self, Group},
    boot,
    os::{Errno, Result},
    timers::FOREVER,
};
use core::{
    ffi::{c_int, c_void},
    ptr,
};

/// Goroutines that belong together: the first error of one cancels all, and
/// none outlives gmp_group_free.
#[expect(non_camel_case_types, reason = "the C name")]
pub struct gmp_group;

/// # Safety
/// `gr`: null, or a group.
unsafe fn group<'a>(gr: *mut gmp_group) -> Result<&'a Group> {
    // SAFETY: the caller's promise.
    unsafe { gr.cast::<Group>().as_ref() }.ok_or(Errno::EINVAL)
}

/// Makes a group. On a goroutine that is a member of another group, the new
/// one is nested in it: cancelling the outer one cancels the inner one. Not so
/// behind a shield, and in what gmp_defer put off.
///
/// Returns NULL for out of memory. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_group_make() -> *mut gmp_group {
    match boot::gate() {
        Ok(()) => group::make().cast(),
        Err(_) => ptr::null_mut(),
    }
}

/// Starts a goroutine that calls `fn(arg)`, as a member of `gr`. If its result
/// is the first one that is not 0, that is the group's error, and the group is
/// cancelled. In a group that is cancelled already it starts cancelled. One
/// that ends by gmp_exit has the result 0.
///
/// Returns 0; -EINVAL for null; -ENOMEM. Never blocks.
///
/// # Safety
/// `gr`: null, or a group. `func` may be called with `arg`, on another thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_group_go(
    gr: *mut gmp_group,
    func: Option<unsafe extern "C" fn(arg: *mut c_void) -> c_int>,
    arg: *mut c_void,
) -> c_int {
    call(|| {
        // SAFETY: the caller's promise.
        let gr = unsafe { group(gr) }?;
        group::go(gr, func.ok_or(Errno::EINVAL)?, arg)
    })
}

/// Waits until all members have ended. More can be started meanwhile and
/// afterwards, and waited for again.
///
/// Returns the group's error: the first result of a member that was not 0; 0
/// where there was none; -EINVAL for null; -EDEADLK on a member, and from
/// inside an unlockf; -ECANCELED if the caller is cancelled, with the members
/// still running. Parks the goroutine; blocks a host thread.
///
/// # Safety
/// `gr`: null, or a group.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_group_wait(gr: *mut gmp_group) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { gmp_group_wait_until(gr, FOREVER) }
}

/// gmp_group_wait until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT, with the members still running.
///
/// # Safety
/// As gmp_group_wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_group_wait_until(
    gr: *mut gmp_group,
    deadline: i64,
) -> c_int {
    let mut error = 0;
    let code = call(|| {
        // SAFETY: the caller's promise.
        error = group::wait(unsafe { group(gr) }?, deadline)?;
        Ok(())
    });
    if code == 0 { error } else { code }
}

/// Cancels all members, those that are started later, and the groups nested
/// in `gr`.
///
/// Returns 0; -EINVAL for null. Never blocks.
///
/// # Safety
/// `gr`: null, or a group.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_group_cancel(gr: *mut gmp_group) -> c_int {
    code(boot::gate().and_then(|()| {
        // SAFETY: the caller's promise.
        group::cancel_all(unsafe { group(gr) }?);
        Ok(())
    }))
}

/// Cancels the group, waits until all members have ended, which nothing
/// interrupts, and frees it. NULL does nothing. A member that frees its own
/// group is a fatal error, and so is a wait from inside an unlockf. Parks the
/// goroutine; blocks a host thread.
///
/// # Safety
/// `gr`: null, or a group that nobody uses any more but its members.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_group_free(gr: *mut gmp_group) {
    if !gr.is_null() {
        // SAFETY: the caller's promise.
        unsafe { group::free(gr.cast()) };
    }
}
