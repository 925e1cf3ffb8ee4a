//! The two ways to end the process: [`throw`] and [`fatal`].
//!
//! Both print `fatal error: …`, call the hook that dumps the goroutines, and
//! abort. `throw` is for our own bugs: its text is constant, begins with the
//! name of the function, and follows the word `gmprt`. `fatal` is for states
//! that the host cannot survive: a deadlock, too many threads, a stack
//! overflow.
//!
//! Both work in a signal handler, on any stack with 4 KiB left, with any lock
//! held, and never allocate.
//!
//! # `exit` during a fatal error
//! One thread may call `exit` while another one writes a fatal error. `exit`
//! then waits (Go's panicking, runningPanicDefers): a dump that is cut off and
//! a status of 0 would hide the error.
//!
//! ```text
//!   THROWER   0 -> a thread        the thread dies; an exit waits for the
//!                                  abort
//!             0 -> EXITING         exit came first; a thread that dies now
//!                                  waits PATIENCE for the process to end
//!             EXITING -> a thread  the exit took longer than PATIENCE
//!             a thread -> another  the first one is BY_SIGNAL, and took longer
//!                                  than PATIENCE
//!   REPORTER  0 -> a thread        an uncaught exception is reported there;
//!                                  an exit on another thread waits PATIENCE
//! ```
//!
//! Before that it waits `PANIC_PATIENCE` while panics run deferred functions,
//! which may not recover.
//!
//! A thread that dies of a signal may live on: the page that it missed is there
//! when its instruction runs again. So others wait PATIENCE for it, and not for
//! ever (`BY_SIGNAL`).
//!
//! Invariants:
//! 1. `THROWER` is 0, EXITING, or identifies the one thread that ends the
//!    process; that last value never changes, except after `BY_SIGNAL`, and in
//!    the child of a fork, which does not have that thread.
//! 2. `HOOK` is null or a `fn(*const c_void)`.

use super::print::SigWriter;
use super::trace::{self, Event, Kind};
use core::ffi::c_void;
use core::fmt::{self, Write as _};
use core::ptr;
// Core's atomics under loom too: a process ends once, not once per execution.
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// The address of the throwing thread's `errno`: no other living thread has
/// it, and it costs no system call. Invariant 1.
static THROWER: AtomicUsize = AtomicUsize::new(0);
/// The value of `THROWER` once `exit` has come to its last part; no errno has
/// this address.
const EXITING: usize = 1;
/// The thread that reports an uncaught exception, named like `THROWER`, or 0.
static REPORTER: AtomicUsize = AtomicUsize::new(0);
/// The thread in `THROWER` dies of a signal, and the kernel ends the process.
static BY_SIGNAL: AtomicBool = AtomicBool::new(false);
/// How many milliseconds one thread waits for another to end the process. The
/// end may never come: a language's handler need not return, an exit may hang.
const PATIENCE: u32 = 10_000;

/// How many panics have deferred functions that run. Each may end in a fatal
/// error, or be recovered.
pub static RUNNING_PANIC_DEFERS: AtomicUsize = AtomicUsize::new(0);
/// How many milliseconds the end of the process waits for them: deferred
/// functions should not take long, but they may.
const PANIC_PATIENCE: u32 = 100;

/// Dumps the goroutines. Invariant 2.
static HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Sets the function that runs once, after the message and before the abort.
///
/// `hook` runs on the failing thread's stack, which may be a signal stack,
/// under all locks which that thread holds: it may neither lock nor allocate.
/// If the hook fails itself, the process aborts at once. Its argument is the
/// one of [`fatal_at`], or null.
pub fn set_throw_hook(hook: fn(*const c_void)) {
    HOOK.store(hook as *mut (), Ordering::Release);
}

/// Ends the process because of a bug in gmprt. `msg` starts with the name of
/// the function that found it.
#[cold]
#[inline(never)]
#[cfg(not(loom))]
pub fn throw(msg: &'static str) -> ! {
    end(format_args!("gmprt: {msg}"))
}

/// Fails the model that is being explored.
#[cfg(loom)]
pub fn throw(msg: &'static str) -> ! {
    panic!("gmprt: {msg}")
}

/// Ends the process because of a state that the host cannot survive.
#[cold]
#[inline(never)]
pub fn fatal(msg: &str) -> ! {
    end(format_args!("{msg}"))
}

/// [`fatal`] with a formatted message, such as
/// `fatal_args(format_args!("stack overflow on goroutine {id}"))`.
#[cold]
#[inline(never)]
pub fn fatal_args(msg: fmt::Arguments<'_>) -> ! {
    end(msg)
}

/// Ends the process. Inlined, because with line tables alone as debug
/// information gdb finds a function by its name only if another is a part of
/// it: so `break throw` and `break fatal` work.
#[inline(always)]
fn end(msg: fmt::Arguments<'_>) -> ! {
    die(msg, ptr::null())
}

/// Ends the process because of a panic that nobody has recovered. `text` are
/// its lines.
#[cold]
pub fn fatalpanic(text: &dyn fmt::Display) -> ! {
    die_with(|w| write!(w, "{text}"), ptr::null())
}

/// [`fatal_args`] in a signal handler with this context (a `ucontext_t`): the
/// error is where the signal came.
#[cold]
pub fn fatal_at(context: *const c_void, msg: fmt::Arguments<'_>) -> ! {
    die(msg, context)
}

/// Whether this thread reports, from now on, that it dies of a signal: not if
/// it has done so already, nor during `exit`. If another thread reports its
/// end, this waits for the end.
pub fn dies() -> bool {
    let me = this_thread();
    // Relaxed: this thread's own value, or another's.
    if REPORTER.load(Ordering::Relaxed) == me {
        return false;
    }
    let take =
        THROWER.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed);
    match take {
        Ok(_) => {
            // Relaxed: others look at it for a while.
            BY_SIGNAL.store(true, Ordering::Relaxed);
            true
        }
        Err(it) if it == me || it == EXITING => false,
        Err(_) => {
            wait_for_the_end();
            false
        }
    }
}

fn die(msg: fmt::Arguments<'_>, context: *const c_void) -> ! {
    if cfg!(shuttle) {
        // Fails the schedule that is being tried.
        panic!("{msg}");
    }
    die_with(|w| writeln!(w, "fatal error: {msg}"), context)
}

fn die_with(
    say: impl FnOnce(&mut SigWriter) -> fmt::Result,
    context: *const c_void,
) -> ! {
    become_thrower();
    trace::event(move || Event::of(Kind::Fatal, 0));
    let mut w = SigWriter::stderr();
    // A SigWriter reports no errors.
    let _ = say(&mut w);
    drop(w);
    let hook = HOOK.load(Ordering::Acquire);
    if !hook.is_null() {
        // SAFETY: invariant 2.
        let hook =
            unsafe { core::mem::transmute::<*mut (), fn(*const c_void)>(hook) };
        hook(context);
    }
    abort()
}

/// Returns once, on the first thread that comes here. That thread's second
/// visit aborts, and every other thread waits for the end of the process.
fn become_thrower() {
    let me = this_thread();
    // Relaxed: the word guards no data, it only picks one thread.
    let take = |from| {
        THROWER.compare_exchange(from, me, Ordering::Relaxed, Ordering::Relaxed)
    };
    let mut won = take(0);
    if won == Err(EXITING) {
        // The process ends during this wait, unless its exit hangs.
        wait_while(|| true);
        won = take(EXITING);
    }
    while let Err(it) = won {
        if it == me {
            abort();
        }
        wait_for_the_end();
        won = take(it);
    }
    BY_SIGNAL.store(false, Ordering::Relaxed);
}

/// Notes that this thread begins to report an uncaught exception, after which
/// the language's runtime ends the process.
pub fn report_begins() {
    // Relaxed: the word guards no data. Of several, `exit` waits for the first.
    let _others = REPORTER.compare_exchange(
        0,
        this_thread(),
        Ordering::Relaxed,
        Ordering::Relaxed,
    );
}

/// Called late in `exit`. Waits for the end if another thread is already
/// ending the process because of an error; else no later error is reported.
///
/// `own`: the panics of the caller, which end with it.
pub fn before_exit(own: usize) {
    let me = this_thread();
    wait_for_panics(own);
    wait_while(|| {
        let reporter = REPORTER.load(Ordering::Relaxed);
        reporter != 0 && reporter != me
    });
    let exiting = THROWER.compare_exchange(
        0,
        EXITING,
        Ordering::Relaxed,
        Ordering::Relaxed,
    );
    match exiting {
        Ok(_) | Err(EXITING) => {}
        // A SIGABRT handler on this thread called exit.
        Err(it) if it == me => {}
        Err(_) => wait_for_the_end(),
    }
}

/// As [`before_exit`], for a main function that returns: it waits, but later
/// errors are still reported.
///
/// `own`: as in [`before_exit`].
pub fn before_return_from_main(own: usize) {
    let me = this_thread();
    wait_for_panics(own);
    let is_other = |word: &AtomicUsize| {
        let it = word.load(Ordering::Relaxed);
        it != 0 && it != EXITING && it != me
    };
    wait_while(|| is_other(&REPORTER));
    if is_other(&THROWER) {
        wait_for_the_end();
    }
}

/// In the child of a fork: the thread that ends the process is the parent's.
pub fn forget_in_child() {
    THROWER.store(0, Ordering::Relaxed);
    REPORTER.store(0, Ordering::Relaxed);
    BY_SIGNAL.store(false, Ordering::Relaxed);
    RUNNING_PANIC_DEFERS.store(0, Ordering::Relaxed);
}

/// Waits a moment for panics of others that may be about to end the process.
fn wait_for_panics(own: usize) {
    // Relaxed: the word guards no data.
    let some = || RUNNING_PANIC_DEFERS.load(Ordering::Relaxed) > own;
    wait_up_to(PANIC_PATIENCE, some);
}

/// A number of the calling thread, which no other living thread has: the
/// address of its `errno`. It costs no system call.
pub(crate) fn this_thread() -> usize {
    // SAFETY: takes no argument and may be called anywhere.
    unsafe { libc::__errno_location() as usize }
}

fn wait_while(still: impl FnMut() -> bool) {
    wait_up_to(PATIENCE, still);
}

fn wait_up_to(milliseconds: u32, mut still: impl FnMut() -> bool) {
    for _ in 0..milliseconds {
        if !still() {
            return;
        }
        // SAFETY: takes numbers only; a signal ends it early.
        unsafe { libc::poll(ptr::null_mut(), 0, 1) };
    }
}

/// Waits for the thread in `THROWER` to end the process. Returns only if that
/// thread has not died of its signal.
fn wait_for_the_end() {
    wait_while(|| true);
    while !BY_SIGNAL.load(Ordering::Relaxed) {
        // SAFETY: waits for a signal; no memory is involved.
        unsafe { libc::pause() };
    }
}

fn abort() -> ! {
    // SAFETY: async-signal-safe; ends the process.
    unsafe { libc::abort() }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use crate::base::child;

    #[test]
    fn throw_names_gmprt_and_runs_the_hook_before_the_abort() {
        let text = child::dies(libc::SIGABRT, || {
            set_throw_hook(|_| super::super::print::write_all(2, b"dump\n"));
            throw("casgstatus: bad transition");
        });
        let want = "fatal error: gmprt: casgstatus: bad transition\ndump\n";
        assert_eq!(text, want);
    }

    #[test]
    fn fatal_prints_its_message() {
        let text = child::dies(libc::SIGABRT, || {
            fatal_args(format_args!("{} threads", 10_000));
        });
        assert_eq!(text, "fatal error: 10000 threads\n");
    }

    #[test]
    fn an_exit_waits_for_the_thread_that_dies() {
        let text = child::dies(libc::SIGABRT, || {
            set_throw_hook(|_| {
                // Longer than a process takes to exit.
                std::thread::sleep(std::time::Duration::from_millis(200));
                super::super::print::write_all(2, b"dump\n");
            });
            std::thread::spawn(|| fatal("first"));
            while THROWER.load(Ordering::Relaxed) == 0 {}
            before_exit(0);
        });
        assert_eq!(text, "fatal error: first\ndump\n");
    }

    #[test]
    fn a_hook_that_fails_aborts_at_once() {
        let text = child::dies(libc::SIGABRT, || {
            set_throw_hook(|_| throw("hook: failed too"));
            fatal("first");
        });
        assert_eq!(text, "fatal error: first\n");
    }
}
