//! Start: version, start-up, the main goroutine, processors.

use super::{
    code,
    watch::{Watch, ungated},
};
use crate::{
    boot,
    gmp::gcount,
    os::Errno,
    sched::{fiber, stw},
    timers::Deadline,
};
use core::ffi::{CStr, c_char, c_int, c_void};

/// Returns the version of this library, "MAJOR.MINOR.PATCH". Never blocks.
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

/// Returns the meaning of an error in English: `code` is a negative errno or
/// its positive value. The text is static. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_strerror(code: c_int) -> *const c_char {
    crate::os::errno::strerror(code)
}

/// Blocks until the runtime has started, at most ten seconds. Every other call
/// does so by itself.
///
/// Returns 0; -ETIMEDOUT; the reason why the start failed, such as -EAGAIN if
/// no thread could be made; -ENOTSUP in the child of a fork that the handler of
/// a signal has made in the middle of a call.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_wait_init() -> c_int {
    code(boot::gate())
}

/// Runs `main(argc, argv)` as the main goroutine, on a stack as large as
/// RLIMIT_STACK, and returns as soon as `main` returns, without waiting for
/// other goroutines. Meanwhile a deadlock of all goroutines is reported and
/// ends the process.
///
/// Returns main's result; -ENOMEM if it could not be started. Blocks while
/// `main` runs.
///
/// # Safety
/// `main`: promise 4, with `argc` and `argv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_run_main(
    argc: c_int,
    argv: *mut *mut c_char,
    main: Option<
        unsafe extern "C" fn(argc: c_int, argv: *mut *mut c_char) -> c_int,
    >,
) -> c_int {
    let Some(main) = main else { return Errno::EINVAL.neg() };
    let run = || boot::run_main(argc, argv, main);
    match boot::gate_to_start().and_then(|()| run()) {
        Ok(result) => result,
        Err(e) => e.neg(),
    }
}

/// Ends the runtime. From now on no goroutine starts (-ESHUTDOWN), and those
/// that live are cancelled and waited for until `deadline`. Once none is left,
/// all that the library has taken from the process is given back: threads,
/// descriptors, handlers of signals, stacks. A trace is finished. Timers that
/// are pending never fire, but are yet to be freed.
///
/// Host threads that wait in a call are woken: the call returns -ESHUTDOWN and
/// has not done its work, as at a deadline. So does a call that comes while the
/// runtime ends. Locks without a deadline, gmp_once_do and gmp_group_free wait
/// on, as they do for a cancel: it is another host thread that they wait for.
///
/// A call that comes later starts the runtime again. Its settings are those of
/// the first start, GMP_INIT functions are not called again, and handles of
/// goroutines are stale. Calls that only give back or try (unlock, done,
/// release, close, unref, free, stop, try) start nothing, and work meanwhile
/// and afterwards.
///
/// Objects of gmp_gc_alloc and the like stay as they are, and the next start
/// goes on with them.
///
/// After 0 the library may be unloaded by dlclose(), once no thread is in a
/// call. All objects go with it: no pointer to one may be used any more, and
/// cleanups are not called. Before that, dlclose() leaves it loaded.
///
/// Returns 0, also if the runtime is not up; -ETIMEDOUT if goroutines stay, as
/// many as gmp_num_goroutines says: they are cancelled, and all else goes on;
/// -EBUSY if all has ended, but a handler of the host's or of another library
/// is in the place of ours and may call ours: call again once it has gone;
/// -EDEADLK on a goroutine and inside an unlockf; -ENOTSUP in a program that is
/// entered at _rt0_amd64_linux, and in a child that a goroutine has forked; why
/// the start failed. Blocks its thread.
#[unsafe(naked)]
#[unsafe(no_mangle)]
pub extern "C" fn gmp_shutdown(deadline: i64) -> c_int {
    core::arch::naked_asm!(
        ".cfi_startproc",
        "jmp {shutdown}",
        ".cfi_endproc",
        shutdown = sym shutdown_asm
    )
}

unsafe extern "C" {
    /// Calls [`gmprt_shutdown`], then the loader, which may unmap this code.
    #[link_name = "shutdown_leave"]
    fn shutdown_asm(deadline: i64) -> c_int;
}

/// Writes to `*this` what `dlclose` is to be called with, if not null.
#[unsafe(no_mangle)]
extern "C" fn gmprt_shutdown(deadline: i64, this: &mut *mut c_void) -> c_int {
    let deadline = Deadline::from_c(deadline);
    let result = ungated(
        move || Watch::Acquires(fiber::ends()),
        move || boot::shutdown(deadline),
    );
    code(result.map(|reference| *this = reference))
}

/// Gets the program's arguments, which its main gets too, as the loader or the
/// kernel has handed them over.
///
/// Writes to `*argv` an array that ends with a NULL and stays for ever; its
/// strings are the program's own. `argv` may be NULL.
///
/// Returns argc. If the arguments are not known, which may happen without
/// /proc, returns 0 and writes NULL. Never blocks.
///
/// # Safety
/// `argv`: promise 2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_args(argv: *mut *mut *mut c_char) -> c_int {
    if let Err(e) = boot::gate() {
        return e.neg();
    }
    let (argc, array) = boot::arguments();
    // SAFETY: promise 2: `argv` may be written.
    if let Some(argv) = unsafe { argv.as_mut() } {
        *argv = array.cast_mut().cast();
    }
    argc
}

/// Sets how many goroutines may run at once (GOMAXPROCS) to `n`, at most 1024;
/// `n` below 1 changes nothing. At first the number is GMP_MAXPROCS, or
/// GOMAXPROCS, or the CPUs that this process may use.
///
/// Returns the number before; -EDEADLK for a change inside an unlockf; -ENOMEM,
/// which changes nothing. Never parks its caller, but blocks for a moment until
/// goroutines have left the runtime.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_set_maxprocs(n: c_int) -> c_int {
    match boot::gate().and_then(|()| stw::set_maxprocs(n)) {
        Ok(before) => before,
        Err(e) => e.neg(),
    }
}

/// Returns how many CPUs this process may use: affinity and cgroup quota.
/// -ENOMEM if the first call has no memory to read the quota. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_num_cpu() -> c_int {
    match boot::gate().and_then(|()| stw::num_cpu()) {
        Ok(n) => n as c_int,
        Err(e) => e.neg(),
    }
}

/// Returns how many goroutines exist now, running or not. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_num_goroutines() -> i64 {
    match boot::gate_to_undo() {
        Ok(()) => gcount(),
        Err(e) => i64::from(e.neg()),
    }
}
