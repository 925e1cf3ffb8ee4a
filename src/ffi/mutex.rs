//! Mutexes.

use super::{call, call_to_undo, code, fits, tried};
use crate::{
    block::mutex::{self, Mutex},
    boot,
    os::{Errno, Result},
    timers::Deadline,
};
use core::ffi::c_int;

/// A mutex, for goroutines and host threads; begin with GMP_MUTEX_INIT.
#[repr(C)]
pub struct gmp_mutex {
    pub _state: u32,
    pub _reserved: u32,
    pub _spare: [u64; 2],
}

const _: () = fits::<gmp_mutex, Mutex>();

/// # Safety
/// `m`: promise 1.
pub(super) unsafe fn mutex<'a>(m: *mut gmp_mutex) -> Result<&'a Mutex> {
    // SAFETY: promise 1: a mutex's words, which are atomic from here on.
    unsafe { m.cast::<Mutex>().as_ref() }.ok_or(Errno::EINVAL)
}

/// Locks `m`: waits until it is free. No waiter starves. A cancel does not end
/// the wait.
///
/// Returns 0. May block.
///
/// # Safety
/// `m`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_mutex_lock(m: *mut gmp_mutex) -> c_int {
    // SAFETY: promise 1, of `m`.
    let m = unsafe { m.cast::<Mutex>().as_ref() };
    if let Some(m) = m
        && boot::is_up()
        && mutex::lock_fast(m)
    {
        return 0;
    }
    // Not a tail call: dumps look for this function's frame.
    code(lock_slow(m))
}

#[cold]
#[inline(never)]
fn lock_slow(m: Option<&Mutex>) -> Result<()> {
    boot::gate()?;
    mutex::lock_slow_uninterrupted(m.ok_or(Errno::EINVAL)?)
}

/// gmp_mutex_lock with a deadline; a cancel ends the wait. May block.
///
/// # Safety
/// As `gmp_mutex_lock`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_mutex_lock_until(
    m: *mut gmp_mutex,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    // SAFETY: promise 1, of `m`.
    call(|| mutex::lock_until(unsafe { mutex(m) }?, deadline))
}

/// Locks `m` if it is free, else returns -EAGAIN. Never blocks.
///
/// # Safety
/// As `gmp_mutex_lock`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_mutex_trylock(m: *mut gmp_mutex) -> c_int {
    call_to_undo(|| {
        // SAFETY: promise 1, of `m`.
        let m = unsafe { mutex(m) }?;
        tried(mutex::try_lock(m))
    })
}

/// Unlocks `m`.
///
/// Returns 0; -EPERM if it is not locked. Never blocks.
///
/// # Safety
/// As `gmp_mutex_lock`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_mutex_unlock(m: *mut gmp_mutex) -> c_int {
    // SAFETY: promise 1, of `m`.
    match unsafe { m.cast::<Mutex>().as_ref() } {
        Some(m) if boot::is_up() && mutex::unlock_fast(m) => 0,
        m => unlock_slow(m),
    }
}

#[cold]
#[inline(never)]
fn unlock_slow(m: Option<&Mutex>) -> c_int {
    call_to_undo(|| mutex::unlock(m.ok_or(Errno::EINVAL)?))
}
