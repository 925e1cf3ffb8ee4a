//! Mutexes.

use super::{
    call_at, code, fits, framed, tried, undo_at,
    watch::{Watch, at, gated},
};
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
    framed(lock_slow(m))
}

#[cold]
#[inline(never)]
fn lock_slow(m: Option<&Mutex>) -> c_int {
    gated(
        boot::gate,
        move || Watch::Acquires(m.map_or(0, |m| at(m))),
        move || mutex::lock_slow_uninterrupted(m.ok_or(Errno::EINVAL)?),
        code,
    )
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
    call_at(
        move || Watch::Acquires(at(m)),
        move || mutex::lock_until(unsafe { mutex(m) }?, deadline),
    )
}

/// Locks `m` if it is free, else returns -EAGAIN. Never blocks.
///
/// # Safety
/// As `gmp_mutex_lock`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_mutex_trylock(m: *mut gmp_mutex) -> c_int {
    undo_at(
        move || Watch::Acquires(at(m)),
        move || {
            // SAFETY: promise 1, of `m`.
            let m = unsafe { mutex(m) }?;
            tried(mutex::try_lock(m))
        },
    )
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
    undo_at(
        move || Watch::Releases(m.map_or(0, |m| at(m))),
        move || mutex::unlock(m.ok_or(Errno::EINVAL)?),
    )
}
