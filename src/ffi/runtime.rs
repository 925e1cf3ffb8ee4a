//! Runtime: version, start, number of Ps, `gmp_run_main`.

use super::{call, code};
use crate::{
    boot,
    gmp::gcount,
    os::Errno,
    sched::{context, handoff, park, stw},
};
use core::{
    arch::naked_asm,
    ffi::{CStr, c_char, c_int, c_void},
};

unsafe extern "C" {
    fn gmprt_blocking(
        func: super::goroutine::gmp_fn,
        arg: *mut c_void,
    ) -> c_int;
    fn gmprt_blocking_until(
        func: super::goroutine::gmp_fn,
        arg: *mut c_void,
        deadline: i64,
    ) -> c_int;
}

/// The version of this library, "MAJOR.MINOR.PATCH". Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_rt_version() -> *const c_char {
    const VERSION: &CStr = match CStr::from_bytes_with_nul(
        concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes(),
    ) {
        Ok(version) => version,
        Err(_) => c"",
    };
    VERSION.as_ptr()
}

/// Waits until the runtime has started, at most ten seconds.
///
/// Returns 0; -ETIMEDOUT; or why the start failed, such as -EAGAIN where no
/// thread was to be had; -ENOTSUP in the child of a fork. Any other call waits
/// the same way by itself.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_wait_init() -> c_int {
    code(boot::gate())
}

/// Sets how many goroutines may run at once (GOMAXPROCS); the initial value is
/// GMP_MAXPROCS, or GOMAXPROCS, or the CPUs this process may use.
///
/// `n`: the new number; below 1 only asks; above 1024 counts as 1024.
///
/// Returns the former number; a negative errno if the runtime is not up;
/// -EDEADLK from inside an unlockf, which may only ask; -ENOMEM, and the number
/// stays. Waits for a moment
/// until goroutines inside the runtime have let go, but never parks the
/// caller.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_set_maxprocs(n: c_int) -> c_int {
    match boot::gate().and_then(|()| stw::set_maxprocs(n)) {
        Ok(before) => before,
        Err(e) => e.neg(),
    }
}

/// The number of CPUs that this process may use: affinity and cgroup quota.
/// Never blocks once the runtime is up.
///
/// Returns it; a negative errno if the runtime is not up; -ENOMEM, if there is
/// no memory to read the quota at the first call.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_num_cpu() -> c_int {
    match boot::gate().and_then(|()| stw::num_cpu()) {
        Ok(n) => n as c_int,
        Err(e) => e.neg(),
    }
}

/// The number of goroutines that exist now, running or not. Never blocks once
/// the runtime is up.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_num_goroutines() -> i64 {
    match boot::gate() {
        Ok(()) => gcount(),
        Err(e) => i64::from(e.neg()),
    }
}

/// Runs `main` as the main goroutine, on a stack as large as RLIMIT_STACK, and
/// returns its result as soon as it returns, without waiting for other
/// goroutines. Meanwhile a deadlock of all goroutines is reported and ends
/// the process.
///
/// `argc`, `argv`: handed to `main`.
///
/// Returns main's result; a negative errno where it could not be started
/// (-EINVAL for a null `main`; -ENOMEM). Blocks the calling thread, or parks
/// the calling goroutine.
///
/// # Safety
/// `main` may be called with `argc` and `argv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_run_main(
    argc: c_int,
    argv: *mut *mut c_char,
    main: Option<unsafe extern "C" fn(c_int, *mut *mut c_char) -> c_int>,
) -> c_int {
    let Some(main) = main else { return Errno::EINVAL.neg() };
    let run = || boot::run_main(argc, argv, main);
    match boot::gate().and_then(|()| run()) {
        Ok(result) => result,
        Err(e) => e.neg(),
    }
}

/// The program's arguments, as its main gets them: what the loader or the
/// kernel has handed over, whoever asks and when.
///
/// `argv`: NULL, or where to put the array, which ends with a NULL and stays
/// for ever; its strings are the program's own. NULL comes there if nothing is
/// known of the arguments, which may be where there is no /proc.
///
/// Returns argc, 0 if nothing is known; a negative errno if the runtime is not
/// up. Never blocks once the runtime is up.
///
/// # Safety
/// `argv` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_args(argv: *mut *mut *mut c_char) -> c_int {
    if let Err(e) = boot::gate() {
        return e.neg();
    }
    let (argc, array) = boot::arguments();
    // SAFETY: the caller's promise.
    if let Some(argv) = unsafe { argv.as_mut() } {
        *argv = array.cast_mut().cast();
    }
    argc
}

/// What GMP_INIT makes of a function. Programs do not use it themselves.
#[repr(C)]
pub struct gmp_init_task {
    /// The function.
    pub func: Option<unsafe extern "C" fn()>,
    /// Its name.
    pub name: *const c_char,
    /// The library's.
    pub reserved: [*mut c_void; 3],
}

const _: () = assert!(size_of::<gmp_init_task>() == size_of::<boot::Task>());

/// For GMP_INIT: lists a function that is to be called. Programs do not call it
/// themselves.
///
/// Returns 0; -EINVAL for a null `task` or function. Never blocks.
///
/// # Safety
/// `task` stays until the process ends or gmp_init_unregister.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_init_register(task: *mut gmp_init_task) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { init_task(task) } {
        Some(task) => boot::register(task),
        None => return Errno::EINVAL.neg(),
    }
    0
}

/// For GMP_INIT: the object of a function goes. If it was not called, it never
/// is. Programs do not call it themselves.
///
/// Returns 0; -EINVAL as gmp_init_register. Never blocks.
///
/// # Safety
/// As gmp_init_register.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_init_unregister(
    task: *mut gmp_init_task,
) -> c_int {
    // SAFETY: the caller's promise.
    match unsafe { init_task(task) } {
        Some(task) => boot::unregister(task),
        None => return Errno::EINVAL.neg(),
    }
    0
}

/// # Safety
/// `task` is null, or as gmp_init_register wants it.
unsafe fn init_task(task: *mut gmp_init_task) -> Option<&'static boot::Task> {
    // SAFETY: the caller's promise.
    unsafe { task.as_ref() }?.func?;
    // SAFETY: the same record, whose function is not null.
    Some(unsafe { &*task.cast::<boot::Task>() })
}

/// What an error code means, in English: the text of a negative errno or of
/// its positive value. Never blocks; the text is static.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_strerror(code: c_int) -> *const c_char {
    crate::os::errno::strerror(code)
}

/// For gmp.h under C++: tells where C++ keeps a thread's exception state
/// (`__cxa_get_globals`), so that each goroutine has its own. Programs do not
/// call it themselves.
///
/// Returns 0; -EINVAL for null. Never blocks.
///
/// # Safety
/// `f` is `__cxa_get_globals`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_register_cxa(
    f: Option<unsafe extern "C" fn() -> *mut c_void>,
) -> c_int {
    let Some(f) = f else { return Errno::EINVAL.neg() };
    // SAFETY: the same function, whose result is two words, as promised.
    let f = unsafe {
        core::mem::transmute::<
            unsafe extern "C" fn() -> *mut c_void,
            context::GetGlobals,
        >(f)
    };
    context::set_cxa_get_globals(f);
    0
}

/// Calls `fn(arg)`, which may block for as long as it likes: the other
/// goroutines go on at once, where without it they would after about a
/// millisecond. On a host thread it is a plain call. `fn` may be left by an
/// exception, longjmp or gmp_exit.
///
/// Returns 0; -EINVAL for a null `fn`; -ECANCELED if the caller was cancelled
/// before: then `fn` is not called, and once it is, nothing interrupts it.
/// Blocks while `fn` does; stays on the caller's thread.
///
/// # Safety
/// `func` may be called with `arg`.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_blocking(
    func: super::goroutine::gmp_fn,
    arg: *mut c_void,
) -> c_int {
    naked_asm!(
        ".cfi_startproc",
        "jmp {}",
        ".cfi_endproc",
        sym gmprt_blocking
    )
}

/// gmp_blocking, unless `deadline` (nanoseconds of gmp_now) has passed: then
/// -ETIMEDOUT, and `fn` is not called. Once it is, no deadline ends it.
///
/// # Safety
/// As gmp_blocking.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_blocking_until(
    func: super::goroutine::gmp_fn,
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

/// `callbacks.c` asks whether it is to call the function: 0, or what it
/// returns to the host.
#[unsafe(no_mangle)]
extern "C" fn gmprt_blocking_begin(
    func: super::goroutine::gmp_fn,
    deadline: i64,
) -> c_int {
    call(|| {
        func.ok_or(Errno::EINVAL)?;
        park::before_blocking(deadline)?;
        handoff::entersyscall();
        Ok(())
    })
}

/// `callbacks.c` has called the function, or an exception leaves it.
#[unsafe(no_mangle)]
extern "C" fn gmprt_blocking_end() {
    handoff::exitsyscall();
}
