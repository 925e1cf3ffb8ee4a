//! The work on the thread that loads the library: `libpreinit`, and the making
//! of the thread that becomes m0.

use super::{
    env, exe,
    inittrace::stage,
    keep,
    phase::{self, State, change},
};
use crate::{
    base::{
        sync::{AtomicBool, Ordering::*},
        throw::{self, set_throw_hook},
    },
    block::holder,
    diag::{fault, report},
    gc::forked,
    netpoll,
    os::{
        Errno, membarrier, proc, task,
        thread::{self, ThreadStart},
    },
    sched::{fork, host, mainthread, sigmask, threads::M0_IS_OURS},
    trace,
};
use core::ffi::{c_char, c_int, c_void};

unsafe extern "C" {
    /// Makes m0's thread, by the host's hook or by `newosproc0`.
    #[link_name = "libstart"]
    safe fn libstart_asm();
    /// The C library's variable for the environment.
    static environ: *const *const c_char;
}

/// The result of `libpreinit`, for the constructor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Start {
    /// Make no thread: the start comes later, or another thread does it.
    No = 0,
    /// Make m0's thread.
    Now = 1,
}

/// The constructor's arguments are the program's.
static ARGS_PLAUSIBLE: AtomicBool = AtomicBool::new(false);

/// Whether the constructor's arguments are the program's.
pub(super) fn args_plausible() -> bool {
    ARGS_PLAUSIBLE.load(Relaxed)
}

/// Whether m0's thread is one of ours, with all signals blocked.
pub(super) fn own_thread() -> bool {
    M0_IS_OURS.load(Acquire)
}

/// Does what must be done before the host's code runs on: copies the
/// environment while nobody changes it, notes the signal mask of the loading
/// thread, and installs the handlers for stack overflows and for forks.
///
/// Returns a [`Start`].
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn libpreinit(
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    stage(c"libpreinit");
    // The child of a fork goes on behind that (`State::Half`).
    let start = fork::while_none_forks(|| prepare_start(argc, argv));
    if start == Start::Now {
        // The loader's lock is this thread's, if anybody has it.
        keep::hold();
    }
    start as c_int
}

fn prepare_start(argc: c_int, argv: *const *const c_char) -> Start {
    if !change(State::Fresh, State::Starting) {
        return Start::No;
    }
    ARGS_PLAUSIBLE.store(plausible(argc, argv), Relaxed);
    env::capture();
    proc::own();
    sigmask::at_load();
    set_throw_hook(last_words);
    host::hostinit();
    holder::init(thread::gettid());
    mainthread::watch_main_thread();
    fault::install();
    register_membarrier();
    watch_forks();
    if exe::entered_at_rt0() {
        phase::set(State::AwaitsMain);
        return Start::No;
    }
    if !env::autostart() {
        phase::set(State::NotStarted);
        return Start::No;
    }
    Start::Now
}

/// Has the three called around forks, from the first start on. The C library
/// registers it with this library's handle, and forgets it when the library is
/// unloaded.
fn watch_forks() {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if !WATCHED.swap(true, Relaxed) {
        // An error means no memory. Then a fork is as if by `_Fork`.
        // SAFETY: the three may be called around any fork.
        unsafe {
            libc::pthread_atfork(Some(prepare), Some(in_parent), Some(in_child))
        };
    }
}

/// What a fatal error does before the end.
fn last_words(context: *const c_void) {
    report::print_goroutines(context);
    trace::at_fatal();
}

/// Registers the barrier that sysmon uses, while that is free. With a second
/// thread in the process it takes ten milliseconds, and sysmon does it later.
fn register_membarrier() {
    if task::count_threads() == Some(1) {
        // An error comes again when sysmon tries.
        let _ = membarrier::register();
    }
}

/// Whether `argc` and `argv` are the program's. glibc passes them to
/// constructors, and the environment follows `argv` in memory until the program
/// changes it. Other C libraries pass nothing and leave any values in the
/// registers, so nothing is read through `argv`.
fn plausible(argc: c_int, argv: *const *const c_char) -> bool {
    // SAFETY: the C library's variable. A thread that changes it now would race
    // with the loader too.
    let end = unsafe { environ };
    let words = usize::try_from(argc).unwrap_or(0) + 1;
    words > 1 && !argv.is_null() && core::ptr::eq(argv.wrapping_add(words), end)
}

/// Called before a fork, on the thread that forks.
extern "C" fn prepare() {
    fork::prepare();
}

/// Called after a fork, in the process that has forked.
extern "C" fn in_parent() {
    fork::parent();
}

/// Called in the child of a fork, on its one thread.
extern "C" fn in_child() {
    fork::begin_child();
    proc::own();
    throw::forget_in_child();
    thread::forget_threads();
    mainthread::in_child();
    match phase::state() {
        State::Fresh
        | State::NotStarted
        | State::AwaitsMain
        | State::Down
        | State::Failed => fork::go_on_without_run(),
        State::Starting | State::Half => {
            phase::set(State::Half);
            fork::leave_run();
        }
        State::Booted
        | State::Opening
        | State::Up
        | State::Late
        | State::Stopping
        | State::Closing
        | State::Again
        | State::Forked => {
            phase::set(State::Forked);
            fork::leave_run();
            netpoll::close_in_child();
            fork::wait_for_first_call();
        }
    }
    forked::in_child();
}

/// Makes m0's thread. The state is Starting.
pub(super) fn libstart() {
    libstart_asm();
}

/// Makes the thread that becomes m0. Returns 0 or an errno.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn newosproc0(stack_size: usize, start: ThreadStart) -> c_int {
    // Release: pairs with m0_ended.
    M0_IS_OURS.store(true, Release);
    // SAFETY: start is _rt0_amd64_lib_go, and nobody else starts m0 (the
    // state is Starting).
    match unsafe { thread::newosproc(start, core::ptr::null_mut(), stack_size) }
    {
        Ok(()) => 0,
        Err(e) => e.0,
    }
}

/// Notes the result of making m0's thread: 0, or the errno that the first call
/// will report.
#[unsafe(no_mangle)]
extern "C" fn libstarted(errno: c_int) {
    if errno != 0 {
        phase::fail(Errno(errno.saturating_abs()));
    }
}
