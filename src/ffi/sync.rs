//! Locks and their like, embedded in the host's memory.

use super::{call, goroutine::gmp_fn};
use crate::{
    block::{
        cond::{self, Cond},
        mutex::{self, Mutex},
        once::{self, Begun, Once},
        rwmutex::{self, RwMutex},
        sema::{self, Sema},
        waitgroup::{self, WaitGroup},
    },
    boot,
    os::{Errno, Result},
    sched::calls::{Call, Frame},
    timers::FOREVER,
};
use core::{
    arch::naked_asm,
    ffi::{c_int, c_void},
};

unsafe extern "C" {
    fn gmprt_once_do(o: *mut gmp_once, func: gmp_fn, arg: *mut c_void)
    -> c_int;
    fn gmprt_once_do_until(
        o: *mut gmp_once,
        func: gmp_fn,
        arg: *mut c_void,
        deadline: i64,
    ) -> c_int;
}

/// A mutex that goroutines and host threads share; begin with GMP_MUTEX_INIT,
/// or all zero. It needs no destructor. It belongs to nobody: one may lock it
/// here and another unlock it there.
#[repr(C)]
pub struct gmp_mutex {
    pub _state: u32,
    pub _reserved: u32,
    pub _spare: [u64; 2],
}

/// A mutex that many may hold for reading, or one for writing; begin with
/// GMP_RWMUTEX_INIT, or all zero. It needs no destructor. It belongs to nobody.
/// A writer that waits keeps new readers out, so who holds it for reading must
/// not lock it for reading again.
#[repr(C)]
pub struct gmp_rwmutex {
    pub _state: u32,
    pub _writers: u32,
    pub _spare: [u64; 3],
}

/// A condition variable; begin with GMP_COND_INIT, or all zero. It needs no
/// destructor.
#[repr(C)]
pub struct gmp_cond {
    pub _waiters: u32,
    pub _reserved: u32,
    pub _spare: [u64; 2],
}

/// A counting semaphore; begin with GMP_SEMA_INIT(tokens), 0 to 2^31 - 1. It
/// needs no destructor. First come, first served.
#[repr(C)]
pub struct gmp_sema {
    pub _state: u32,
    pub _reserved: u32,
    pub _spare: [u64; 2],
}

/// Waits for a number of goroutines; begin with GMP_WAITGROUP_INIT, or all
/// zero. It needs no destructor.
#[repr(C)]
pub struct gmp_waitgroup {
    pub _state: u64,
    pub _reserved: u64,
    pub _spare: [u64; 2],
}

/// What is done once; begin with GMP_ONCE_INIT, or all zero. It needs no
/// destructor.
#[repr(C)]
pub struct gmp_once {
    pub _state: u32,
    pub _reserved: u32,
    pub _runner: u64,
    pub _spare: [u64; 2],
}

/// What the C surface calls `T` has room for a `U`.
const fn fits<T, U>() {
    assert!(size_of::<U>() <= size_of::<T>());
    assert!(align_of::<U>() <= align_of::<T>());
}

const _: () = fits::<gmp_mutex, Mutex>();
const _: () = fits::<gmp_rwmutex, RwMutex>();
const _: () = fits::<gmp_cond, Cond>();
const _: () = fits::<gmp_sema, Sema>();
const _: () = fits::<gmp_waitgroup, WaitGroup>();
const _: () = fits::<gmp_once, Once>();

/// # Safety
/// `m`: null, or a mutex.
unsafe fn mutex<'a>(m: *mut gmp_mutex) -> Result<&'a Mutex> {
    // SAFETY: the words of a mutex, which are atomic from here on.
    unsafe { m.cast::<Mutex>().as_ref() }.ok_or(Errno::EINVAL)
}

/// # Safety
/// `rw`: null, or an rwmutex.
unsafe fn rwmutex<'a>(rw: *mut gmp_rwmutex) -> Result<&'a RwMutex> {
    // SAFETY: the words of an rwmutex, which are atomic from here on.
    unsafe { rw.cast::<RwMutex>().as_ref() }.ok_or(Errno::EINVAL)
}

/// # Safety
/// `c`: null, or a condition.
unsafe fn cond<'a>(c: *mut gmp_cond) -> Result<&'a Cond> {
    // SAFETY: the words of a condition, which are atomic from here on.
    unsafe { c.cast::<Cond>().as_ref() }.ok_or(Errno::EINVAL)
}

/// # Safety
/// `s`: null, or a semaphore.
unsafe fn sema<'a>(s: *mut gmp_sema) -> Result<&'a Sema> {
    // SAFETY: the words of a semaphore, which are atomic from here on.
    unsafe { s.cast::<Sema>().as_ref() }.ok_or(Errno::EINVAL)
}

/// # Safety
/// `wg`: null, or a wait group.
unsafe fn group<'a>(wg: *mut gmp_waitgroup) -> Result<&'a WaitGroup> {
    // SAFETY: the words of a wait group, which are atomic from here on.
    unsafe { wg.cast::<WaitGroup>().as_ref() }.ok_or(Errno::EINVAL)
}

/// # Safety
/// `o`: null, or a once.
unsafe fn once<'a>(o: *mut gmp_once) -> Result<&'a Once> {
    // SAFETY: the words of a once, which are atomic from here on.
    unsafe { o.cast::<Once>().as_ref() }.ok_or(Errno::EINVAL)
}

/// 0, or -EAGAIN where a try failed.
fn tried(worked: bool) -> Result<()> {
    if worked { Ok(()) } else { Err(Errno::EAGAIN) }
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

/// gmp_mutex_lock until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. Unlike gmp_mutex_lock it is interrupted by a
/// cancel, with -ECANCELED. One in the past tries once.
///
/// # Safety
/// As gmp_mutex_lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_mutex_lock_until(
    m: *mut gmp_mutex,
    deadline: i64,
) -> c_int {
    // SAFETY: the caller's promise.
    call(|| mutex::lock_until(unsafe { mutex(m) }?, deadline))
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
        tried(mutex::try_lock(m))
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

/// Locks `rw` for writing; waits until nobody holds it. A cancel does not
/// interrupt it.
///
/// Returns 0; -EINVAL for null; -EDEADLK from inside an unlockf where it would
/// have to wait. Parks the goroutine; blocks a host thread.
///
/// # Safety
/// `rw`: null, or an rwmutex that stays where it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_lock(rw: *mut gmp_rwmutex) -> c_int {
    // SAFETY: the caller's promise.
    call(|| rwmutex::lock(unsafe { rwmutex(rw) }?))
}

/// gmp_rwmutex_lock until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. Unlike gmp_rwmutex_lock it is interrupted by a
/// cancel, with -ECANCELED. One in the past tries once.
///
/// # Safety
/// As gmp_rwmutex_lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_lock_until(
    rw: *mut gmp_rwmutex,
    deadline: i64,
) -> c_int {
    // SAFETY: the caller's promise.
    call(|| rwmutex::lock_until(unsafe { rwmutex(rw) }?, deadline))
}

/// Locks `rw` for writing if nobody holds it or waits for it.
///
/// Returns 0; -EAGAIN; -EINVAL for null. Never blocks.
///
/// # Safety
/// As gmp_rwmutex_lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_trylock(rw: *mut gmp_rwmutex) -> c_int {
    // SAFETY: the caller's promise.
    call(|| tried(rwmutex::try_lock(unsafe { rwmutex(rw) }?)))
}

/// Unlocks what was locked for writing. Readers that wait go first, all of
/// them; else the writer that has waited longest.
///
/// Returns 0; -EPERM if it is not locked for writing; -EINVAL for null. Never
/// blocks.
///
/// # Safety
/// As gmp_rwmutex_lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_unlock(rw: *mut gmp_rwmutex) -> c_int {
    // SAFETY: the caller's promise.
    call(|| rwmutex::unlock(unsafe { rwmutex(rw) }?))
}

/// Locks `rw` for reading, with any number of other readers; waits while
/// somebody holds it for writing, or waits to. A cancel does not interrupt it.
///
/// Returns 0; -EINVAL for null; -EDEADLK from inside an unlockf where it would
/// have to wait. Parks the goroutine; blocks a host thread.
///
/// # Safety
/// As gmp_rwmutex_lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_rlock(rw: *mut gmp_rwmutex) -> c_int {
    // SAFETY: the caller's promise.
    call(|| rwmutex::rlock(unsafe { rwmutex(rw) }?))
}

/// gmp_rwmutex_rlock until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT. Unlike gmp_rwmutex_rlock it is interrupted by a
/// cancel, with -ECANCELED. One in the past tries once.
///
/// # Safety
/// As gmp_rwmutex_lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_rlock_until(
    rw: *mut gmp_rwmutex,
    deadline: i64,
) -> c_int {
    // SAFETY: the caller's promise.
    call(|| rwmutex::rlock_until(unsafe { rwmutex(rw) }?, deadline))
}

/// Locks `rw` for reading if nobody holds it for writing or waits for it.
///
/// Returns 0; -EAGAIN; -EINVAL for null. Never blocks.
///
/// # Safety
/// As gmp_rwmutex_lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_tryrlock(rw: *mut gmp_rwmutex) -> c_int {
    // SAFETY: the caller's promise.
    call(|| tried(rwmutex::try_rlock(unsafe { rwmutex(rw) }?)))
}

/// Unlocks what was locked for reading.
///
/// Returns 0; -EPERM if it is not locked for reading; -EINVAL for null. Never
/// blocks.
///
/// # Safety
/// As gmp_rwmutex_lock.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_rwmutex_runlock(rw: *mut gmp_rwmutex) -> c_int {
    // SAFETY: the caller's promise.
    call(|| rwmutex::runlock(unsafe { rwmutex(rw) }?))
}

/// Unlocks `m`, waits for a signal, and locks `m` again, whatever it returns.
/// It is woken by a signal or broadcast only. Taking `m` again is not
/// interrupted.
///
/// Returns 0; -EINVAL for null; -EPERM if `m` is not locked; -EDEADLK from
/// inside an unlockf; -ECANCELED. Parks the goroutine; blocks a host thread.
///
/// # Safety
/// `c`, `m`: null, or a condition and a mutex that stay where they are.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_cond_wait(
    c: *mut gmp_cond,
    m: *mut gmp_mutex,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { gmp_cond_wait_until(c, m, FOREVER) }
}

/// gmp_cond_wait until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT, with `m` locked. One in the past returns at once.
///
/// # Safety
/// As gmp_cond_wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_cond_wait_until(
    c: *mut gmp_cond,
    m: *mut gmp_mutex,
    deadline: i64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's promise.
        let c = unsafe { cond(c) }?;
        // SAFETY: likewise.
        cond::wait(c, unsafe { mutex(m) }?, deadline)
    })
}

/// Wakes the one that has waited on `c` longest, if anybody does.
///
/// Returns 0; -EINVAL for null. Never blocks.
///
/// # Safety
/// `c`: null, or a condition that stays where it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_cond_signal(c: *mut gmp_cond) -> c_int {
    call(|| {
        // SAFETY: the caller's promise.
        cond::signal(unsafe { cond(c) }?);
        Ok(())
    })
}

/// Wakes all that wait on `c`.
///
/// Returns 0; -EINVAL for null. Never blocks.
///
/// # Safety
/// As gmp_cond_signal.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_cond_broadcast(c: *mut gmp_cond) -> c_int {
    call(|| {
        // SAFETY: the caller's promise.
        cond::broadcast(unsafe { cond(c) }?);
        Ok(())
    })
}

/// Takes a token of `s`; waits for one.
///
/// Returns 0; -EINVAL for null; -EDEADLK from inside an unlockf where it would
/// have to wait; -ECANCELED. Parks the goroutine; blocks a host thread.
///
/// # Safety
/// `s`: null, or a semaphore that stays where it is.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sema_acquire(s: *mut gmp_sema) -> c_int {
    // SAFETY: the caller's promise.
    call(|| sema::acquire(unsafe { sema(s) }?, FOREVER))
}

/// gmp_sema_acquire until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT, and no token was taken. One in the past tries once.
///
/// # Safety
/// As gmp_sema_acquire.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sema_acquire_until(
    s: *mut gmp_sema,
    deadline: i64,
) -> c_int {
    // SAFETY: the caller's promise.
    call(|| sema::acquire(unsafe { sema(s) }?, deadline))
}

/// Takes a token of `s` if there is one.
///
/// Returns 0; -EAGAIN; -EINVAL for null. Never blocks.
///
/// # Safety
/// As gmp_sema_acquire.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sema_try_acquire(s: *mut gmp_sema) -> c_int {
    // SAFETY: the caller's promise.
    call(|| tried(sema::try_acquire(unsafe { sema(s) }?)))
}

/// Gives `s` a token, whoever took it: the one that has waited longest gets
/// it.
///
/// Returns 0; -EOVERFLOW beyond 2^31 - 1 tokens; -EINVAL for null. Never
/// blocks.
///
/// # Safety
/// As gmp_sema_acquire.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_sema_release(s: *mut gmp_sema) -> c_int {
    // SAFETY: the caller's promise.
    call(|| sema::release(unsafe { sema(s) }?))
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

/// Waits until the counter is zero, or has been since this call began. The
/// group can be used again at any time.
///
/// Returns 0; -EINVAL for null; -EDEADLK from inside an unlockf where it would
/// have to wait; -ECANCELED. Parks the goroutine; blocks a host thread.
///
/// # Safety
/// As gmp_waitgroup_add.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_waitgroup_wait(wg: *mut gmp_waitgroup) -> c_int {
    // SAFETY: the caller's promise.
    call(|| waitgroup::wait(unsafe { group(wg) }?, FOREVER))
}

/// gmp_waitgroup_wait until `deadline` (nanoseconds of gmp_now, GMP_FOREVER
/// for none): then -ETIMEDOUT. One in the past looks once.
///
/// # Safety
/// As gmp_waitgroup_add.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_waitgroup_wait_until(
    wg: *mut gmp_waitgroup,
    deadline: i64,
) -> c_int {
    // SAFETY: the caller's promise.
    call(|| waitgroup::wait(unsafe { group(wg) }?, deadline))
}

/// Calls `fn(arg)` if no call with `o` has done so before; while another does,
/// waits for its end, which a cancel does not interrupt.
///
/// If `fn` ends its goroutine by gmp_exit, it counts as done. If it is left by
/// an exception, that goes on to the caller, and it is not done: the next call
/// begins anew, one that waits already too. The same if it is left by longjmp,
/// once the goroutine, or the thread, that did so waits for anything in a call
/// of this library, calls a gmp_once_do, or ends.
///
/// Returns 0; -EINVAL for null; -EDEADLK from within `fn` itself, and from
/// inside an unlockf where it is not done yet; -ENOMEM. Parks the goroutine;
/// blocks a host thread.
///
/// # Safety
/// `o`: null, or a once that stays where it is. `func` may be called with
/// `arg`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_once_do(
    o: *mut gmp_once,
    func: gmp_fn,
    arg: *mut c_void,
) -> c_int {
    naked_asm!(
        ".cfi_startproc",
        "jmp {}",
        ".cfi_endproc",
        sym gmprt_once_do
    )
}

/// gmp_once_do that waits for another's call until `deadline` (nanoseconds of
/// gmp_now, GMP_FOREVER for none): then -ETIMEDOUT. Unlike gmp_once_do it is
/// interrupted by a cancel, with -ECANCELED. Its own call of `fn` is not.
///
/// # Safety
/// As gmp_once_do.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_once_do_until(
    o: *mut gmp_once,
    func: gmp_fn,
    arg: *mut c_void,
    deadline: i64,
) -> c_int {
    naked_asm!(
        ".cfi_startproc",
        "jmp {}",
        ".cfi_endproc",
        sym gmprt_once_do_until
    )
}

/// What `callbacks.c` returns to the host, or 1: the function is to be called.
///
/// # Safety
/// As gmp_once_do; `out`: writable; `cfa` and `ret` are those of the frame
/// that calls `func`.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_once_begin(
    o: *mut gmp_once,
    func: gmp_fn,
    deadline: i64,
    until: bool,
    cfa: usize,
    ret: usize,
    out: *mut *const Call,
) -> c_int {
    let begun = boot::gate().and_then(|()| {
        // SAFETY: the caller's promise.
        let o = unsafe { once(o) }?;
        func.ok_or(Errno::EINVAL)?;
        let frame = Frame { cfa, ret };
        match until {
            true => once::begin_until(o, deadline, frame),
            false => once::begin(o, frame),
        }
    });
    match begun {
        Ok(Begun::Done) => 0,
        Ok(Begun::Run(call)) => {
            // SAFETY: writable, as promised.
            unsafe { out.write(call) };
            1
        }
        Err(e) => e.neg(),
    }
}

/// `callbacks.c` has called the function.
///
/// # Safety
/// `o` and `call` are as gmprt_once_begin had and gave them.
#[unsafe(no_mangle)]
unsafe extern "C" fn gmprt_once_end(
    o: *mut gmp_once,
    call: &'static Call,
    returned: bool,
) {
    // SAFETY: not null, gmprt_once_begin has looked.
    if let Ok(o) = unsafe { once(o) } {
        once::end(o, call, returned);
    }
}
