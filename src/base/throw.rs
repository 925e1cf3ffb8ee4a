//! The two ways to end the process: [`throw`] and [`fatal`].
//!
//! Both print `fatal error: …`, call the hook that dumps the goroutines, and
//! abort. `throw` is for our own bugs and says `gmprt` first; its text is
//! constant and starts with the name of the function. `fatal` is for what the
//! host cannot survive: a deadlock, too many threads, an overflown stack.
//!
//! Both work in a signal handler, on any stack with 4 KiB left, with any lock
//! held, and never allocate.
//!
//! Invariants:
//! 1. `THROWER` is 0, or identifies the one thread that ends the process; it
//!    is set once and never changes again.
//! 2. `HOOK` is null or a `fn()`.

use super::print::SigWriter;
use core::fmt::{self, Write as _};
use core::ptr;
// Core's atomics under loom too: a process ends once, not once per execution.
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// The address of the throwing thread's `errno`, which no other living thread
/// shares: an identity that costs no system call. Invariant 1.
static THROWER: AtomicUsize = AtomicUsize::new(0);

/// Dumps what is known about the goroutines. Invariant 2.
static HOOK: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Has `hook` called once, after the message and before the abort.
///
/// It runs on the failing thread's stack, which may be a signal stack, with
/// whatever locks that thread holds: it may neither lock nor allocate. If it
/// fails itself, the process aborts at once.
pub fn set_throw_hook(hook: fn()) {
    HOOK.store(hook as *mut (), Ordering::Release);
}

/// Ends the process because of a bug in gmprt. `msg` starts with the name of
/// the function that found it.
#[cold]
#[inline(never)]
#[cfg(not(loom))]
pub fn throw(msg: &'static str) -> ! {
    die(format_args!("gmprt: {msg}"))
}

/// Fails the model that is being explored.
#[cfg(loom)]
pub fn throw(msg: &'static str) -> ! {
    panic!("gmprt: {msg}")
}

/// Ends the process because of what the host cannot survive.
#[cold]
#[inline(never)]
pub fn fatal(msg: &str) -> ! {
    die(format_args!("{msg}"))
}

/// As [`fatal`], with a message that is put together as it is printed, such as
/// `fatal_args(format_args!("stack overflow on goroutine {id}"))`.
#[cold]
#[inline(never)]
pub fn fatal_args(msg: fmt::Arguments<'_>) -> ! {
    die(msg)
}

fn die(msg: fmt::Arguments<'_>) -> ! {
    if cfg!(shuttle) {
        // Fails the schedule that is being tried.
        panic!("{msg}");
    }
    become_thrower();
    let mut w = SigWriter::stderr();
    // A SigWriter reports no errors.
    let _ = writeln!(w, "fatal error: {msg}");
    drop(w);
    let hook = HOOK.load(Ordering::Acquire);
    if !hook.is_null() {
        // SAFETY: invariant 2.
        let hook = unsafe { core::mem::transmute::<*mut (), fn()>(hook) };
        hook();
    }
    abort()
}

/// Returns on the first thread that comes here, once. That thread's second
/// visit aborts, and every other thread waits for the end.
fn become_thrower() {
    // SAFETY: takes no argument and may be called anywhere.
    let me = unsafe { libc::__errno_location() } as usize;
    // Relaxed: the word guards no data, it only picks one thread.
    let won =
        THROWER.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed);
    match won {
        Ok(_) => {}
        Err(it) if it == me => abort(),
        Err(_) => loop {
            // SAFETY: waits for a signal; no memory is involved.
            unsafe { libc::pause() };
        },
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
            set_throw_hook(|| super::super::print::write_all(2, b"dump\n"));
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
    fn a_hook_that_fails_aborts_at_once() {
        let text = child::dies(libc::SIGABRT, || {
            set_throw_hook(|| throw("hook: failed too"));
            fatal("first");
        });
        assert_eq!(text, "fatal error: first\n");
    }
}
