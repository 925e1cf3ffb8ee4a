//! Mutexes and wait groups, embedded in the host's memory.

use super::call;
use crate::{
    block::{
        mutex::{self, Mutex},
        waitgroup::{self, WaitGroup},
    },
    os::{Errno, Result},
};
use core::ffi::c_int;

/// A mutex that goroutines and host threads share; begin with GMP_MUTEX_INIT,
/// or all zero. It needs no destructor. It belongs to nobody: one may lock it
/// here and another unlock it there.
#[repr(C)]
pub struct gmp_mutex {
    pub _state: u32,
    pub _sema: u32,
    pub _spare: [u64; 2],
}

/// Waits for a number of goroutines; begin with GMP_WAITGROUP_INIT, or all
/// zero. It needs no destructor.
#[repr(C)]
pub struct gmp_waitgroup {
    pub _state: u64,
    pub _sema: u32,
    pub _reserved: u32,
    pub _spare: [u64; 2],
}

const _: () = assert!(size_of::<Mutex>() <= size_of::<gmp_mutex>());
const _: () = assert!(align_of::<Mutex>() <= align_of::<gmp_mutex>());
const _: () = assert!(size_of::<WaitGroup>() <= size_of::<gmp_waitgroup>());
const _: () = assert!(align_of::<WaitGroup>() <= align_of::<gmp_waitgroup>());

/// # Safety
/// `m`: null, or a mutex.
unsafe fn mutex<'a>(m: *mut gmp_mutex) -> Result<&'a Mutex> {
    // SAFETY: the words of a mutex, which are atomic from here on.
    unsafe { m.cast::<Mutex>().as_ref() }.ok_or(Errno::EINVAL)
}

/// # Safety
/// `wg`: null, or a wait group.
unsafe fn group<'a>(wg: *mut gmp_waitgroup) -> Result<&'a WaitGroup> {
    // SAFETY: the words of a wait group, which are atomic from here on.
    unsafe { wg.cast::<WaitGroup>().as_ref() }.ok_or(Errno::EINVAL)
}

/// Locks `m`; waits until it is free. No waiter starves. A cancel does not
/// interrupt it.
///
/// Returns 0; -EINVAL for null; -EDEADLK from inside an unlockf where it would
/// have to wait. Parks the goroutine; blocks a host thread.
///
/// # Safety
/// `m`: null, or a mutex that stays where it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_mutex_lock(m: *mut gmp_mutex) -> c_int {
    // SAFETY: the caller's promise.
    call(|| mutex::lock(unsafe { mutex(m) }?))
}

/// Locks `m` if it is free.
///
/// Returns 0; -EAGAIN; -EINVAL for null. Never blocks.
///
/// # Safety
/// As gmp_mutex_lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_mutex_trylock(m: *mut gmp_mutex) -> c_int {
    call(|| {
        // SAFETY: the caller's promise.
        let m = unsafe { mutex(m) }?;
        if mutex::try_lock(m) { Ok(()) } else { Err(Errno::EAGAIN) }
    })
}

/// Unlocks `m`, whoever locked it.
///
/// Returns 0; -EPERM if it is not locked; -EINVAL for null. Never blocks.
///
/// # Safety
/// As gmp_mutex_lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_mutex_unlock(m: *mut gmp_mutex) -> c_int {
    // SAFETY: the caller's promise.
    call(|| mutex::unlock(unsafe { mutex(m) }?))
}

/// Adds `delta`, which may be negative, to the counter; at zero all waiters
/// go on.
///
/// Returns 0; -EINVAL for null, or if the counter would leave 0 to 2^31 - 1:
/// then it stays as it is. Never blocks.
///
/// # Safety
/// `wg`: null, or a wait group that stays where it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_waitgroup_add(
    wg: *mut gmp_waitgroup,
    delta: i64,
) -> c_int {
    // SAFETY: the caller's promise.
    call(|| waitgroup::add(unsafe { group(wg) }?, delta))
}

/// gmp_waitgroup_add of -1.
///
/// # Safety
/// As gmp_waitgroup_add.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_waitgroup_done(wg: *mut gmp_waitgroup) -> c_int {
    // SAFETY: the caller's promise.
    call(|| waitgroup::add(unsafe { group(wg) }?, -1))
}

/// Waits until the counter is zero. The group can be used again once all
/// waits have returned.
///
/// Returns 0; -EINVAL for null; -EDEADLK from inside an unlockf. Parks the
/// goroutine; blocks a host thread.
///
/// # Safety
/// As gmp_waitgroup_add.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_waitgroup_wait(wg: *mut gmp_waitgroup) -> c_int {
    // SAFETY: the caller's promise.
    call(|| waitgroup::wait(unsafe { group(wg) }?))
}
