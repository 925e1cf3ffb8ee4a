//! The exe path: a program that is linked with `asm/entry_amd64.S` and entered
//! at `_rt0_amd64_linux`. Its main thread is m0, and its C `main` is the main
//! goroutine, on a stack as large as the main thread's may grow. The process
//! ends with `main`. A deadlock of all goroutines is a fatal error.
//!
//! Invariant: `MAIN` is set before `rt0_go`, and only on this path.

use super::{
    arguments::arguments,
    phase::{State, change},
    run_main::main_stack,
};
use crate::{
    arch::call_base,
    base::{
        sync::{AtomicPtr, Ordering::*},
        throw::throw,
    },
    gmp::{MAIN_STACK, SCHED, gflag::EXITED, runtime_m0, set_main_thread},
    os::{auxv, proc},
    sched::{current::on_goroutine, goexit::goexit1},
};
use core::{
    ffi::{c_char, c_int},
    ptr,
};

type Main = unsafe extern "C" fn(
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;

unsafe extern "C" {
    /// The address of `_rt0_amd64_linux` in the program, or 0.
    safe fn rt0_entry() -> usize;
    fn rt0_go(argc: c_int, argv: *const *const c_char) -> !;
    /// The C library's variable for the environment.
    static environ: *const *const c_char;
}

/// The program's `main`, or null.
static MAIN: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Whether the program was entered at `_rt0_amd64_linux`.
pub(super) fn entered_at_rt0() -> bool {
    let entry = rt0_entry();
    entry != 0 && entry == auxv::entry()
}

/// Whether the main goroutine runs the program's `main`.
pub(super) fn has_main() -> bool {
    !MAIN.load(Relaxed).is_null()
}

/// Called by libc in place of `main`, through the entry object.
///
/// # Safety
/// Called once, on the main thread, by `asm/entry_amd64.S`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _rt0_amd64_exe(
    argc: c_int,
    argv: *const *const c_char,
    main: Main,
) -> ! {
    if !change(State::AwaitsMain, State::Starting) {
        throw("_rt0_amd64_exe: the program was not entered there");
    }
    MAIN.store(main as *mut (), Relaxed);
    MAIN_STACK.store(main_stack(), Relaxed);
    set_main_thread(&runtime_m0);
    // No host thread runs beside the goroutines, so a deadlock can be seen.
    SCHED.mains.fetch_add(1, SeqCst);
    // SAFETY: only this thread continues the start, by the gate's state.
    unsafe { rt0_go(argc, argv) }
}

/// Runs the program's `main` on the main goroutine, and ends the process with
/// the result.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn main_main() -> ! {
    let main = MAIN.load(Relaxed);
    let (argc, argv) = arguments();
    // SAFETY: the C library's variable.
    let envp = unsafe { environ };
    let args = [argc as usize, argv.addr(), envp.addr()];
    // SAFETY: the program's main, has_main said so, with its arguments.
    let result = unsafe { call_base(main, args) };
    if result.is_none() && on_goroutine().is_some_and(|gp| gp.has(EXITED)) {
        goexit1();
    }
    // If a function that main has deferred has recovered, main returns.
    proc::exit(result.unwrap_or(0) as c_int)
}
