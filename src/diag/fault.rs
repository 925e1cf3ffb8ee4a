//! SIGSEGV: an overflown goroutine stack is named; every other fault belongs
//! to the host.
//!
//! The handler is in place from `libpreinit` on. What was there before is
//! kept and gets every fault that is not on a guard of the current goroutine,
//! as if it stood there itself. A host that sets its handler later replaces
//! ours, and gets its faults without us; on our threads it finds a signal
//! stack to run on. SIGBUS is left alone: Linux reports an access to either
//! kind of guard as SIGSEGV.
//!
//! Invariants:
//! 1. `SAVED` is written once, before the handler can run; to read it is one
//!    load then.
//! 2. The handler locks and allocates nothing, and uses of the runtime only g
//!    and the fields of the goroutine that runs on this thread.

use super::dump;
use crate::{
    arch,
    base::{
        sync::{AtomicBool, Ordering::*},
        throw::fatal_args,
    },
    gmp::G,
    os::{
        signal::{self, SigAction, SigHandler, SigMask},
        thread,
    },
    stack,
};
use core::{
    ffi::{c_int, c_void},
    fmt, mem, ptr,
};
use std::sync::OnceLock;

type SigSet = libc::sigset_t;

/// How many signals there are.
const SIGNALS: c_int = 64;

/// The host's action, as it was when the library was loaded.
static SAVED: OnceLock<SigAction> = OnceLock::new();
/// It was one for a single time, and has had it.
static RESET: AtomicBool = AtomicBool::new(false);

/// Installs the handler. Part of `libpreinit`: once.
pub(crate) fn install() {
    let Ok(old) = signal::sigaction_get(libc::SIGSEGV) else { return };
    if SAVED.set(old).is_err() {
        return;
    }
    let mut new = signal::handler_action(sigsegv);
    // Whether an interrupted call is taken up again is the host's choice.
    new.sa_flags &= !libc::SA_RESTART;
    new.sa_flags |= old.sa_flags & libc::SA_RESTART;
    // Without a handler an overflow kills the process unnamed: no reason to
    // fail the start.
    // SAFETY: the handler may run on any thread at any time.
    let _ = unsafe { signal::sigaction_set(libc::SIGSEGV, &new) };
}

/// The handler; on the thread's signal stack if it has one, with all signals
/// blocked.
unsafe extern "C" fn sigsegv(
    sig: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    if let Some(gp) = arch::getg() {
        // SAFETY: the kernel's, for this call.
        let info = unsafe { &*info };
        let lo = gp.stack_lo.get();
        // SAFETY: a fault has an address.
        let addr = unsafe { info.si_addr() }.addr();
        // A positive code: from the kernel, so the address is one.
        if lo != 0 && info.si_code > 0 && stack::guard_hit(lo, addr) {
            overflow(gp);
        }
    }
    // SAFETY: as we got them.
    unsafe { chain(sig, info, context) }
}

/// Ends the process: the current goroutine's stack is full.
fn overflow(gp: &G) -> ! {
    struct Overflow<'a>(&'a G);
    impl fmt::Display for Overflow<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let (lo, hi) = (self.0.stack_lo.get(), self.0.stack_hi.get());
            let size = hi - lo;
            writeln!(f, "stack overflow")?;
            dump::head(f, self.0)?;
            write!(f, ": stack of {size} bytes at {lo:#x} exceeded")
        }
    }
    dump::told(gp);
    fatal_args(format_args!("{}", Overflow(gp)))
}

/// Does what would have happened without us.
///
/// # Safety
/// The arguments are those of the handler.
unsafe fn chain(sig: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // Invariant 1.
    let Some(old) = SAVED.get() else { return };
    // SAFETY: the kernel's, for this call.
    let is_fault = unsafe { (*info).si_code } > 0;
    let once = old.sa_flags & libc::SA_RESETHAND != 0;
    match old.sa_sigaction {
        // The kernel does not ignore a fault.
        libc::SIG_IGN if !is_fault => {}
        libc::SIG_IGN | libc::SIG_DFL => default_action(sig, is_fault),
        // Relaxed: which of two threads comes first is anybody's guess.
        _ if once && RESET.swap(true, Relaxed) => default_action(sig, is_fault),
        handler => {
            // SAFETY: the kernel's, for this call.
            let blocked = unsafe { &(*context.cast::<libc::ucontext_t>()) };
            mask_for(old, sig, &blocked.uc_sigmask).restore();
            // SAFETY: the host's handler, of the kind that its flags say, with
            // what the kernel has for it.
            unsafe { call(handler, old.sa_flags, sig, info, context) }
        }
    }
}

/// The default action, which ends the process: the faulting instruction runs
/// again and dies in place, where the core dump shows it; a signal that
/// somebody sent is sent again.
fn default_action(sig: c_int, is_fault: bool) {
    if !is_fault {
        thread::raise_default(sig);
        return;
    }
    let mut default = signal::handler_action(sigsegv);
    default.sa_sigaction = libc::SIG_DFL;
    default.sa_flags = 0;
    // SAFETY: runs no code of ours.
    let _ = unsafe { signal::sigaction_set(sig, &default) };
}

/// What the kernel would block while it runs `action` for `sig` on a thread
/// that had `blocked` blocked.
fn mask_for(action: &SigAction, sig: c_int, blocked: &SigSet) -> SigMask {
    let deferred = action.sa_flags & libc::SA_NODEFER == 0;
    // All are blocked in our handler: what should not be is taken out.
    let mut mask = SigMask::current();
    for s in 1..=SIGNALS {
        let keep = (s == sig && deferred)
            || is_member(&action.sa_mask, s)
            || is_member(blocked, s);
        if !keep {
            mask.remove(s);
        }
    }
    mask
}

/// Whether a set of the kernel's has `sig`: one bit for each, from signal 1.
fn is_member(set: &SigSet, sig: c_int) -> bool {
    // SAFETY: a set is at least one word, which the kernel or the host has
    // filled.
    let word = unsafe { ptr::from_ref(set).cast::<u64>().read() };
    word >> (sig - 1) & 1 != 0
}

/// # Safety
/// `handler` is a handler of the kind that `flags` say, the others are what
/// the kernel passed.
unsafe fn call(
    handler: usize,
    flags: c_int,
    sig: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    if flags & libc::SA_SIGINFO != 0 {
        // SAFETY: as the caller promises.
        let f = unsafe { mem::transmute::<usize, SigHandler>(handler) };
        // SAFETY: as above.
        unsafe { f(sig, info, context) }
    } else {
        type Plain = unsafe extern "C" fn(c_int);
        // SAFETY: as the caller promises.
        let f = unsafe { mem::transmute::<usize, Plain>(handler) };
        // SAFETY: as above.
        unsafe { f(sig) }
    }
}
