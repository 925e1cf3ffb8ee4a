//! `gmp_run_main`: runs a host's `main` as a goroutine and returns its result.
//!
//! Invariant: a [`Run`] lies on the caller's stack, and the caller stays until
//! the goroutine that uses it has ended.

use crate::{
    arch::call_base,
    base::{sanitize, throw::before_return_from_main},
    gmp::{SCHED, gflag, lookup},
    os::{
        Errno, Result,
        thread::{self, main_stack_rlimit},
    },
    sched::{
        cancel::Shield,
        child,
        current::on_goroutine,
        host, join,
        newproc::{NewG, newproc1},
        panics, park,
    },
    stack::MAX_SIZE,
    timers::Deadline,
};
use core::{
    cell::Cell,
    ffi::{c_char, c_int, c_void},
    ptr,
    sync::atomic::Ordering::*,
};

/// C's `main` without the environment.
pub(crate) type Main = unsafe extern "C" fn(c_int, *mut *mut c_char) -> c_int;

/// The goroutine's argument.
struct Run {
    argc: c_int,
    argv: *mut *mut c_char,
    main: Main,
    /// Of the process that has called.
    generation: u32,
    /// None unless `main` has returned.
    result: Cell<Option<c_int>>,
}

/// Runs `main` on a goroutine with the main stack and returns its result. A
/// deadlock of all goroutines is fatal meanwhile.
///
/// If `main` ends by `gmp_exit`, this does not return. As in Go, the other
/// goroutines go on until all have ended or wait for ever, which is a deadlock.
///
/// Errors: `ENOMEM`; `EDEADLK` inside a callback that may not park.
pub(crate) fn run_main(
    argc: c_int,
    argv: *mut *mut c_char,
    main: Main,
) -> Result<c_int> {
    // Checks first that this thread can wait.
    host::current()?;
    let generation = child::generation();
    let run = Run { argc, argv, main, generation, result: Cell::new(None) };
    // Counted first: a deadlock may come before newproc1 has returned.
    SCHED.mains.fetch_add(1, SeqCst);
    let _shield = Shield::enter();
    let ended = start_main(&run).and_then(|g| {
        let main = lookup(g).map_or(0, |gp| ptr::from_ref(gp).addr());
        let ended = join::join(g, Deadline::NEVER);
        sanitize::race_acquire(main);
        ended
    });
    let result = loop {
        match (ended, run.result.get()) {
            (Ok(()), Some(result)) => break Ok(result),
            (Ok(()), None) => {
                park::park_plain(c"main exited", Deadline::NEVER);
                if host::take_shutdown() {
                    break Err(Errno(libc::ESHUTDOWN));
                }
            }
            (Err(e), _) => break Err(e),
        }
    };
    SCHED.mains.fetch_sub(1, SeqCst);
    before_return_from_main(panics::own());
    result
}

fn start_main(run: &Run) -> Result<*mut c_void> {
    newproc1(&NewG {
        name: Some(c"main"),
        stack_size: main_stack(),
        flags: gflag::MAIN,
        joinable: true,
        ..NewG::new(main_goroutine, ptr::from_ref(run).cast_mut().cast())
    })
}

/// The size that the first thread's stack may reach, up to the most that a
/// goroutine's may have.
pub(super) fn main_stack() -> usize {
    main_stack_rlimit().unwrap_or(MAX_SIZE).min(MAX_SIZE)
}

unsafe extern "C" fn main_goroutine(arg: *mut c_void) {
    // SAFETY: run_main's, which stays until this goroutine has ended (the
    // module's invariant).
    let run = unsafe { &*arg.cast::<Run>() };
    let Some(gp) = on_goroutine() else { return };
    gp.stands_for(run.main as *const ());
    let args = [run.argc as usize, run.argv.addr(), 0];
    // SAFETY: the host's main with the host's arguments.
    let result = match unsafe { call_base(run.main as *const (), args) } {
        Some(result) => result as c_int,
        None if gp.has(gflag::EXITED) => return,
        // A function that main has deferred has recovered: main returns.
        None => 0,
    };
    if run.generation != child::generation() {
        // A forked child: the thread that waits is the parent's.
        thread::exit_process(result);
    }
    run.result.set(Some(result));
}
