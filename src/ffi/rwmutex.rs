//! Mutexes that readers share.

use super::{
    call_at, fits, tried, undo_at,
    watch::{Watch, at},
};
use crate::{
    block::rwmutex::{self, RwMutex},
    os::{Errno, Result},
    timers::Deadline,
};
use core::ffi::c_int;

/// A mutex that many lock for reading, or one for writing; begin with
/// GMP_RWMUTEX_INIT. A writer that waits keeps new readers out: do not lock for
/// reading again what you have locked for reading.
#[repr(C)]
pub struct gmp_rwmutex {
    pub _state: u32,
    pub _writers: u32,
    pub _spare: [u64; 3],
}

const _: () = fits::<gmp_rwmutex, RwMutex>();

/// # Safety
/// `rw`: promise 1.
unsafe fn rwmutex<'a>(rw: *mut gmp_rwmutex) -> Result<&'a RwMutex> {
    // SAFETY: promise 1: an rwmutex's words, which are atomic from here on.
    unsafe { rw.cast::<RwMutex>().as_ref() }.ok_or(Errno::EINVAL)
}

/// Locks `rw` for writing: waits until nobody holds it. A cancel does not end
/// the wait.
///
/// Returns 0. May block.
///
/// # Safety
/// `rw`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_lock(rw: *mut gmp_rwmutex) -> c_int {
    // SAFETY: promise 1, of `rw`.
    call_at(
        move || Watch::Writes(at(rw)),
        move || rwmutex::lock(unsafe { rwmutex(rw) }?),
    )
}

/// gmp_rwmutex_lock with a deadline; a cancel ends the wait. May block.
///
/// # Safety
/// As `gmp_rwmutex_lock`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_lock_until(
    rw: *mut gmp_rwmutex,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    // SAFETY: promise 1, of `rw`.
    call_at(
        move || Watch::Writes(at(rw)),
        move || rwmutex::lock_until(unsafe { rwmutex(rw) }?, deadline),
    )
}

/// Locks `rw` for writing if nobody holds it or waits for it, else returns
/// -EAGAIN. Never blocks.
///
/// # Safety
/// As `gmp_rwmutex_lock`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_trylock(rw: *mut gmp_rwmutex) -> c_int {
    // SAFETY: promise 1, of `rw`.
    undo_at(
        move || Watch::Writes(at(rw)),
        move || tried(rwmutex::try_lock(unsafe { rwmutex(rw) }?)),
    )
}

/// Unlocks `rw`, which is locked for writing. All readers that wait go first;
/// if there is none, the writer that has waited longest.
///
/// Returns 0; -EPERM if it is not locked for writing. Never blocks.
///
/// # Safety
/// As `gmp_rwmutex_lock`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_unlock(rw: *mut gmp_rwmutex) -> c_int {
    // SAFETY: promise 1, of `rw`.
    undo_at(
        move || Watch::Releases(at(rw)),
        move || rwmutex::unlock(unsafe { rwmutex(rw) }?),
    )
}

/// Locks `rw` for reading: waits while a writer holds it or waits for it. A
/// cancel does not end the wait.
///
/// Returns 0. May block.
///
/// # Safety
/// As `gmp_rwmutex_lock`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_rlock(rw: *mut gmp_rwmutex) -> c_int {
    // SAFETY: promise 1, of `rw`.
    call_at(
        move || Watch::Acquires(at(rw)),
        move || rwmutex::rlock(unsafe { rwmutex(rw) }?),
    )
}

/// gmp_rwmutex_rlock with a deadline; a cancel ends the wait. May block.
///
/// # Safety
/// As `gmp_rwmutex_lock`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_rlock_until(
    rw: *mut gmp_rwmutex,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    // SAFETY: promise 1, of `rw`.
    call_at(
        move || Watch::Acquires(at(rw)),
        move || rwmutex::rlock_until(unsafe { rwmutex(rw) }?, deadline),
    )
}

/// Locks `rw` for reading if no writer holds it or waits for it, else returns
/// -EAGAIN. Never blocks.
///
/// # Safety
/// As `gmp_rwmutex_lock`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_tryrlock(rw: *mut gmp_rwmutex) -> c_int {
    // SAFETY: promise 1, of `rw`.
    undo_at(
        move || Watch::Acquires(at(rw)),
        move || tried(rwmutex::try_rlock(unsafe { rwmutex(rw) }?)),
    )
}

/// Unlocks `rw` once, which is locked for reading.
///
/// Returns 0; -EPERM if it is not locked for reading. Never blocks.
///
/// # Safety
/// As `gmp_rwmutex_lock`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_runlock(rw: *mut gmp_rwmutex) -> c_int {
    // SAFETY: promise 1, of `rw`.
    undo_at(
        move || Watch::Releases(at(rw) + 1),
        move || rwmutex::runlock(unsafe { rwmutex(rw) }?),
    )
}
