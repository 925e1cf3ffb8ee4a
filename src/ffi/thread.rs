//! Threads: long calls, and goroutines that need one thread.

use super::{call, code, goroutine::gmp_fn};
use crate::{
    boot,
    os::Errno,
    sched::{self, handoff, park, suspended},
    timers::Deadline,
};
use core::{
    arch::naked_asm,
    ffi::{c_int, c_void},
};

unsafe extern "C" {
    fn gmprt_blocking(func: gmp_fn, arg: *mut c_void) -> c_int;
    fn gmprt_blocking_until(
        func: gmp_fn,
        arg: *mut c_void,
        deadline: i64,
    ) -> c_int;
}

/// Locks the calling goroutine to its thread (runtime.LockOSThread): the
/// goroutine runs only there, and nothing else does. Locks nest. A goroutine
/// that ends locked ends the thread, unless that is the first of the process.
/// On a host thread it does nothing.
///
/// Returns 0. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_lock_os_thread() -> c_int {
    call(move || {
        sched::lock_os_thread();
        Ok(())
    })
}

/// Undoes one gmp_lock_os_thread.
///
/// Returns 0; -EPERM on a goroutine that is not locked. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_unlock_os_thread() -> c_int {
    code(boot::gate().and_then(|()| sched::unlock_os_thread()))
}

/// Calls `func(arg)`, which may wait or compute for any time: other goroutines
/// run at once. Without gmp_blocking they would after about a millisecond. On a
/// host thread it is a plain call. An exception, longjmp or gmp_exit may leave
/// `func`.
///
/// With GMP_GC_SIGNAL=0 a collection may run beside `func`. Then it must not
/// move pointers to objects of the heap, nor leave by longjmp; and but for
/// calls of the heap, which end this, it calls nothing of this library.
///
/// Returns 0; -ECANCELED if the caller is cancelled already: then `func` is not
/// called. Nothing interrupts `func` itself. Blocks as long as `func` runs, and
/// stays on the caller's thread.
///
/// # Safety
/// `func`: promise 4, with `arg`, on this thread.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_blocking(func: gmp_fn, arg: *mut c_void) -> c_int {
    naked_asm!(
        ".cfi_startproc",
        "jmp {}",
        ".cfi_endproc",
        sym gmprt_blocking
    )
}

/// gmp_blocking with a deadline, which counts until `func` is called. Blocks as
/// long as `func` runs.
///
/// # Safety
/// As `gmp_blocking`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_blocking_until(
    func: gmp_fn,
    arg: *mut c_void,
    deadline: i64,
) -> c_int {
    naked_asm!(
        ".cfi_startproc",
        "jmp {}",
        ".cfi_endproc",
        sym gmprt_blocking_until
    )
}

/// Tells `callbacks.c` whether to call the function: 0, or the error that it
/// returns to the host. The frames and registers of the host lie from `sp` on.
#[unsafe(no_mangle)]
extern "C" fn gmprt_blocking_begin(
    func: gmp_fn,
    deadline: i64,
    sp: *const c_void,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    call(move || {
        func.ok_or(Errno::EINVAL)?;
        park::before_blocking(deadline)?;
        handoff::entersyscall();
        suspended::blocking_begins(sp.addr());
        Ok(())
    })
}

/// `callbacks.c` has called the function, or an exception leaves it.
#[unsafe(no_mangle)]
extern "C" fn gmprt_blocking_end() {
    suspended::blocking_is_left();
    handoff::exitsyscall();
}
