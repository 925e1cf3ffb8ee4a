//! Park: wait and wake, to build locks and queues.

use super::{
    FOREVER, call_at,
    goroutine::gmp_g,
    watch::{Watch, goroutine},
};
use crate::{
    gmp::parkword::Cause,
    sched::{
        calls::{UnlockFn, Unlockf},
        park, ready,
    },
    timers::Deadline,
};
use core::ffi::{CStr, c_char, c_int, c_void};

/// The function that gmp_park calls once the goroutine `g` is parked, on the
/// scheduler's stack. It may unlock `lock`, and call what never blocks. It
/// returns 1, or 0 if `g` is to continue at once. It must return: an exception
/// that leaves it is a fatal error, and longjmp must not leave it.
#[expect(non_camel_case_types, reason = "the C name")]
pub type gmp_unlockf =
    Option<unsafe extern "C" fn(g: *mut gmp_g, lock: *mut c_void) -> c_int>;

type Unlock = unsafe extern "C" fn(g: *mut gmp_g, lock: *mut c_void) -> c_int;

/// Parks the caller until gmp_ready gives it a permit (gopark), and takes the
/// permit. A permit that the caller has already ends the park at once.
///
/// `unlockf` is called each time, once the caller is parked, with its handle
/// and `lock`; NULL for none. Lock what the waker locks too, put gmp_self()
/// where the waker finds it, and let `unlockf` unlock: so no waker comes before
/// the park. `reason` is a string for dumps; NULL for "park".
///
/// Returns 0, sometimes without a permit: check in a loop what you wait for;
/// -ECANCELED, which leaves a permit where it is; -ENOMEM or -EDEADLK, without
/// a call of `unlockf`. May block.
///
/// # Safety
/// `unlockf`: promise 4, with a handle and `lock`. `reason`: promise 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_park(
    unlockf: gmp_unlockf,
    lock: *mut c_void,
    reason: *const c_char,
) -> c_int {
    // SAFETY: promises 4 and 3, of `unlockf` and `reason`.
    unsafe { gmp_park_until(unlockf, lock, reason, FOREVER) }
}

/// gmp_park with a deadline. `unlockf` is called even if the deadline has
/// passed. May block.
///
/// # Safety
/// As `gmp_park`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_park_until(
    unlockf: gmp_unlockf,
    lock: *mut c_void,
    reason: *const c_char,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    call_at(
        move || Watch::Parks,
        move || {
            let unlockf = unlockf.map(|f| Unlockf {
                // SAFETY: the same function; its handle has another type.
                f: unsafe { core::mem::transmute::<Unlock, UnlockFn>(f) },
                handle: core::ptr::null_mut(),
                lock,
            });
            let reason: &'static CStr = if reason.is_null() {
                c"park"
            } else {
                // SAFETY: promise 3: `reason` is a C string until this returns,
                // which is how long the park uses it.
                unsafe { CStr::from_ptr(reason) }
            };
            park::park_user(unlockf, reason, deadline).and_then(Cause::outcome)
        },
    )
}

/// Gives the goroutine `g` a permit (goready): its gmp_park returns, the
/// present one or the next. A second permit before that has no effect.
///
/// Returns 0; -EINVAL if `g` has ended. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_ready(g: *mut gmp_g) -> c_int {
    call_at(
        move || Watch::Releases(goroutine(g.cast())),
        move || ready::ready_permit(g.cast()),
    )
}
