//! The main goroutine: the rest of the start, once goroutines can run.
//!
//! For that time it is locked to m0. In a library it then calls the functions
//! of `GMP_INIT`, whenever some are listed. On the exe path it does so once,
//! and then runs the program's `main`.

use super::{
    doinit, exe, hooks,
    inittrace::{self, stage},
    phase::{self, State},
};
use crate::{
    arch,
    base::{sync::Ordering::*, throw::throw},
    diag::{dumpsignal, lockwait},
    gmp::{
        CLOSING, DEBUG, MAIN_STARTED, closing::Stage, renew_waitmark,
        runtime_g0, runtime_m0,
    },
    os::{Errno, Result, clock::nanotime},
    sched::{
        self, background, child::generation, current::this_m,
        ending::with_cleanup, yields::gosched,
    },
    trace,
};
use core::{
    ffi::{CStr, c_int, c_void},
    ptr,
};

/// The init tasks of the main goroutine, in order. Unlike the stages before,
/// they may start goroutines and park.
const INIT_TASKS: &[(&CStr, fn())] = &[(c"init clock", init_clock)];

/// The main goroutine (Go's `runtime.main`).
///
/// New goroutines start no Ms before it is done: those that it starts run on
/// m0. So a process that only loads the library gets two threads, m0 and
/// sysmon.
#[unsafe(no_mangle)]
#[inline(never)]
unsafe extern "C" fn runtime_main(_arg: *mut c_void) {
    stage(c"runtime_main");
    if !ptr::eq(this_m(), &runtime_m0) {
        throw("runtime_main: not on m0");
    }
    // No earlier: until now a late call finds that the last runtime has ended,
    // and makes no goroutine. On m0 that one could block before this one has
    // begun, and another M would take the P, and this one with it.
    CLOSING.set(Stage::Open);
    // sysmon's first look may come after the first waits.
    renew_waitmark(nanotime());
    stage(c"sysmon");
    if let Err(e) = sched::start_sysmon() {
        start_failed(e.0);
        return;
    }
    // Before this goroutine is locked, or another thread would make the
    // dumper.
    dumpsignal::start();
    trace::setting::begin();
    sched::lock_os_thread();
    // Unlocks even if the host's hook ends this goroutine (Go's needUnlock),
    // else m0 would wait for the goroutine for ever.
    let begun_in = generation();
    with_cleanup(unlock, ptr::null_mut(), initialise);
    // SAFETY: unlock takes no argument.
    unsafe { unlock(ptr::null_mut()) };
    if exe::has_main() {
        exe::main_main();
    }
    // In the child of a fork, by the host's hook, another goroutine serves.
    if phase::state() != State::Failed && generation() == begun_in {
        doinit::serve();
    }
}

/// Records that the start has failed with this errno, which each call will
/// return. On the exe path the program's `main` runs without a runtime, on the
/// current stack. Else this returns, and m0's thread ends. `rt0_go` calls it
/// too, on g0.
#[unsafe(no_mangle)]
extern "C" fn start_failed(why: c_int) {
    phase::fail(Errno(why));
    if !exe::has_main() {
        return;
    }
    if arch::is_running(&runtime_g0) {
        // From now on this thread is like any other.
        arch::setg(None);
    }
    exe::main_main()
}

/// The part that runs locked to m0.
fn initialise() {
    runtime_inittasks();
    if let Err(e) = gcenable().and_then(|()| lockwait::start()) {
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
    // The hook may wait for a goroutine that makes the first call, and that
    // call must not wait for this goroutine.
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
    // Locked to m0, this goroutine would need another thread to run them.
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

/// Checks that the clock is past its zero, as deadlines need.
fn init_clock() {
    if nanotime() <= 0 {
        throw("init_clock: nanotime returning zero");
    }
}
