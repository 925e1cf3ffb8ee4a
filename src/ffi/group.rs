//! Groups of goroutines.

use super::{
    FOREVER, call_to_start, code, numbered,
    watch::{Watch, at, ungated},
    with_caller,
};
use crate::{
    block::group::{self, Group},
    boot,
    os::{Errno, Result},
    timers::Deadline,
};
use core::{
    ffi::{c_int, c_void},
    ptr,
};

/// Goroutines that belong together, its members: the first error of one cancels
/// all, and none outlives the group.
#[expect(non_camel_case_types, reason = "the C name")]
pub struct gmp_group;

/// # Safety
/// `gr`: promise 1.
unsafe fn group<'a>(gr: *mut gmp_group) -> Result<&'a Group> {
    // SAFETY: promise 1: a group of gmp_group_make's, or null.
    unsafe { gr.cast::<Group>().as_ref() }.ok_or(Errno::EINVAL)
}

/// Makes a group. If a member of another group makes it, the new group is
/// nested: a cancel of the outer group cancels the inner one. A group that is
/// made behind a shield, or in a call that gmp_defer deferred, is not nested.
///
/// Returns the group; NULL if there is no memory. Never blocks.
///
/// ```c
/// gmp_group *gr = gmp_group_make();
/// int rc = gmp_group_go(gr, fetch, first); // int fetch(void *first)
/// if (rc == 0)
///     rc = gmp_group_go(gr, fetch, second);
/// if (rc == 0)
///     rc = gmp_group_wait(gr); // 0, or the first error of the two
/// gmp_group_free(gr);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn gmp_group_make() -> *mut gmp_group {
    match boot::gate() {
        Ok(()) => ungated(move || Watch::Nothing, group::make).cast(),
        Err(_) => ptr::null_mut(),
    }
}

/// Starts a goroutine that calls `func(arg)`, as a member of `gr`. The first
/// result of a member that is not 0 is the error of the group, and cancels the
/// group. A member that ends by gmp_exit has the result 0. In a cancelled group
/// a member starts cancelled.
///
/// Returns 0; -ENOMEM. Never blocks.
///
/// # Safety
/// `gr`: promise 1. `func`: promise 4, with `arg`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_group_go(
    gr: *mut gmp_group,
    func: Option<unsafe extern "C" fn(arg: *mut c_void) -> c_int>,
    arg: *mut c_void,
) -> c_int {
    with_caller!("rcx", group_go)
}

/// # Safety
/// `gr`: promise 1.
unsafe extern "C" fn group_go(
    gr: *mut gmp_group,
    func: Option<unsafe extern "C" fn(arg: *mut c_void) -> c_int>,
    arg: *mut c_void,
    gopc: usize,
) -> c_int {
    call_to_start(move || {
        // SAFETY: promise 1, of `gr`.
        let gr = unsafe { group(gr) }?;
        group::go(gr, func.ok_or(Errno::EINVAL)?, arg, gopc)
    })
}

/// Waits until all members of `gr` have ended. More members can be started
/// meanwhile and afterwards, and waited for again.
///
/// Returns 0, or the error of the group; -EDEADLK on a member; -ECANCELED if
/// the caller is cancelled: the members go on. May block.
///
/// # Safety
/// `gr`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_group_wait(gr: *mut gmp_group) -> c_int {
    // SAFETY: promise 1, of `gr`.
    unsafe { gmp_group_wait_until(gr, FOREVER) }
}

/// gmp_group_wait with a deadline; after -ETIMEDOUT the members go on. May
/// block.
///
/// # Safety
/// As `gmp_group_wait`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_group_wait_until(
    gr: *mut gmp_group,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    // SAFETY: promise 1, of `gr`.
    numbered(
        move || Watch::Acquires(at(gr)),
        move || group::wait(unsafe { group(gr) }?, deadline),
    )
}

/// Cancels all members of `gr`, also those that start later, and the groups
/// nested in `gr`.
///
/// Returns 0. Never blocks.
///
/// # Safety
/// `gr`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_group_cancel(gr: *mut gmp_group) -> c_int {
    code(boot::gate().and_then(|()| {
        // SAFETY: promise 1, of `gr`.
        group::cancel_all(unsafe { group(gr) }?);
        Ok(())
    }))
}

/// Cancels `gr`, waits until all members have ended, and frees it; NULL does
/// nothing. A cancel does not end the wait. Meanwhile only members may use
/// `gr`. A member that frees its own group is a fatal error, and so is a wait
/// inside an unlockf. May block.
///
/// # Safety
/// `gr`: promise 1; only its members use it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_group_free(gr: *mut gmp_group) {
    if !gr.is_null() {
        // SAFETY: promise 1, of `gr`, which goes here.
        ungated(
            move || Watch::Nothing,
            move || unsafe { group::free(gr.cast()) },
        );
    }
}
