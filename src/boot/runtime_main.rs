//! The main goroutine: what is left of the start once goroutines can run.
//!
//! It is locked to m0 for that time. In a library it then calls what `GMP_INIT`
//! lists, whenever there is something; on the exe path it does so once, and
//! goes on to the program's `main`.

use super::{
    doinit, exe, hooks,
    inittrace::{self, stage},
    phase::{self, State},
};
use crate::{
    arch,
    base::{sync::Ordering::*, throw::throw},
    gmp::{DEBUG, MAIN_STARTED, RUNTIME_INIT_TIME, runtime_g0, runtime_m0},
    os::{Errno, Result, clock::nanotime},
    sched::{
        self, background, current::this_m, ending::with_cleanup,
        yields::gosched,
    },
};
use core::{
    ffi::{CStr, c_int, c_void},
    ptr,
};

/// What is initialised on the main goroutine, in this order: unlike the stages
/// before, these may start goroutines and park.
const INIT_TASKS: &[(&CStr, fn())] = &[(c"init clock", init_clock)];

/// The main goroutine (Go's `runtime.main`).
///
/// New goroutines may start Ms only when it is done: what it starts itself
/// runs on m0, so that a process that only loads the library has two threads
/// more, m0 and sysmon.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn runtime_main(_arg: *mut c_void) {
    stage(c"runtime_main");
    if !ptr::eq(this_m(), &runtime_m0) {
        throw("runtime_main: not on m0");
    }
    // Relaxed: sysmon's thread is made after it.
    RUNTIME_INIT_TIME.store(nanotime(), Relaxed);
    stage(c"sysmon");
    if let Err(e) = sched::start_sysmon() {
        start_failed(e.0);
        return;
    }
    sched::lock_os_thread();
    // Also if the host's part of it ends this goroutine (Go's needUnlock):
    // else m0 would wait for it for ever.
    with_cleanup(unlock, ptr::null_mut(), initialise);
    // SAFETY: unlock takes no argument.
    unsafe { unlock(ptr::null_mut()) };
    if exe::has_main() {
        exe::main_main();
    }
    if phase::state() != State::Failed {
        doinit::serve();
    }
}

/// There is no runtime, as this errno says: so will each call. A program that
/// was entered at `_rt0_amd64_linux` goes on without, on whatever stack this is
/// called on; elsewhere this returns, and m0's thread ends. `rt0_go` calls it
/// too, on g0.
#[unsafe(no_mangle)]
extern "C" fn start_failed(why: c_int) {
    phase::fail(Errno(why));
    if !exe::has_main() {
        return;
    }
    if arch::getg().is_some_and(|gp| ptr::eq(gp, &runtime_g0)) {
        // It is a thread like any other from now on.
        arch::setg(None);
    }
    exe::main_main()
}

/// What is done while locked to m0.
fn initialise() {
    runtime_inittasks();
    if let Err(e) = gcenable() {
        phase::fail(e);
        return;
    }
    // Release: pairs with the acquire of wakep_slow.
    MAIN_STARTED.store(true, Release);
    if exe::has_main() {
        stage(c"main_init");
        doinit::before_main();
    }
    stage(c"main_init_done");
    if DEBUG.inittrace.load(Relaxed) {
        inittrace::print();
    }
    if exe::has_main() {
        hooks::notify_runtime_init_done();
        return;
    }
    // A goroutine that the hook waits for may be the first to make a call, and
    // must not wait for this one.
    let hooked = hooks::wants_notice();
    if !hooked {
        doinit::may_serve();
    }
    phase::set(State::Booted);
    if hooked {
        hooks::notify_runtime_init_done();
        doinit::may_serve();
    }
}

/// Starts the goroutines that look after memory, and waits until they have
/// begun.
///
/// Errors: `ENOMEM`.
#[unsafe(no_mangle)]
#[inline(never)]
#[expect(improper_ctypes_definitions, reason = "plain name, called from here")]
extern "C" fn gcenable() -> Result<()> {
    stage(c"gcenable");
    background::start_both()?;
    // Not while locked to m0: another thread would have to run them.
    if sched::unlock_os_thread().is_err() {
        throw("gcenable: not locked to a thread");
    }
    while !background::have_begun() {
        gosched();
    }
    sched::lock_os_thread();
    Ok(())
}

unsafe extern "C" fn unlock(_arg: *mut c_void) {
    if sched::unlock_os_thread().is_err() {
        throw("runtime_main: not locked to its thread");
    }
}

/// Runs the init tasks.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn runtime_inittasks() {
    for (name, task) in INIT_TASKS {
        stage(name);
        task();
    }
}

/// Deadlines are points of a clock that has to be past its zero.
fn init_clock() {
    if nanotime() <= 0 {
        throw("init_clock: nanotime returning zero");
    }
}
