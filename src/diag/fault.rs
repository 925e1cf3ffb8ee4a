//! The SIGSEGV handler: it reports a goroutine's stack overflow and passes
//! every other fault to the host.
//!
//! The handler is installed by `libpreinit`. The action from before is saved
//! and gets every fault that is not on the guard of the current goroutine, as
//! if it were still installed. A host that installs its handler later replaces
//! ours and gets all faults; on our threads that handler has a signal stack.
//! SIGBUS is not handled, since Linux reports an access to either kind of guard
//! as SIGSEGV.
//!
//! Invariants:
//! 1. `SAVED` is written once, before the handler can run; so reading it is one
//!    load.
//! 2. The handler neither locks nor allocates. Of the runtime it reads g and
//!    the fields of the goroutine on this thread, and nothing else.

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

/// The host's action at the time when the library was loaded.
static SAVED: OnceLock<SigAction> = OnceLock::new();
/// The saved action was a SA_RESETHAND one and has run.
static RESET: AtomicBool = AtomicBool::new(false);

/// Installs the handler. Part of `libpreinit`: once.
pub(crate) fn install() {
    let Ok(old) = signal::sigaction_get(libc::SIGSEGV) else { return };
    if SAVED.set(old).is_err() {
        return;
    }
    let mut new = signal::handler_action(sigsegv);
    // The host's own handlers choose whether interrupted calls restart.
    new.sa_flags &= !libc::SA_RESTART;
    new.sa_flags |= old.sa_flags & libc::SA_RESTART;
    // Without the handler an overflow is a bare SIGSEGV: no reason to fail the
    // start.
    // SAFETY: the handler may run on any thread at any time.
    let _ = unsafe { signal::sigaction_set(libc::SIGSEGV, &new) };
}

/// The handler. It runs on the thread's signal stack, if there is one, with all
/// signals blocked.
unsafe extern "C" fn sigsegv(
    sig: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    if let Some(gp) = arch::getg() {
        // SAFETY: from the kernel, and valid until the handler returns.
        let info = unsafe { &*info };
        let lo = gp.stack_lo.get();
        // SAFETY: a fault has an address.
        let addr = unsafe { info.si_addr() }.addr();
        // A positive code is the kernel's, and then the address is valid.
        if lo != 0 && info.si_code > 0 && stack::guard_hit(lo, addr) {
            overflow(gp);
        }
    }
    // SAFETY: the handler's own arguments.
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

/// Performs the saved action, as the kernel would.
///
/// # Safety
/// The arguments are those of the handler.
unsafe fn chain(sig: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // Invariant 1.
    let Some(old) = SAVED.get() else { return };
    // SAFETY: from the kernel, and valid until the handler returns.
    let is_fault = unsafe { (*info).si_code } > 0;
    let once = old.sa_flags & libc::SA_RESETHAND != 0;
    match old.sa_sigaction {
        // The kernel ignores a signal that was sent, and never a fault.
        libc::SIG_IGN if !is_fault => {}
        libc::SIG_IGN | libc::SIG_DFL => default_action(sig, is_fault),
        // Relaxed: the flag guards no data, it only picks one thread.
        _ if once && RESET.swap(true, Relaxed) => default_action(sig, is_fault),
        handler => {
            // SAFETY: from the kernel, and valid until the handler returns.
            let blocked = unsafe { &(*context.cast::<libc::ucontext_t>()) };
            mask_for(old, sig, &blocked.uc_sigmask).restore();
            // SAFETY: the host's handler, of the kind in its flags, with the
            // kernel's arguments.
            unsafe { call(handler, old.sa_flags, sig, info, context) }
        }
    }
}

/// The default action, which ends the process. The faulting instruction runs
/// again and dies in place, where the core dump shows it. A signal that was
/// sent is sent again.
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

/// The mask under which the kernel would run `action` for `sig` on a thread
/// with the mask `blocked`.
fn mask_for(action: &SigAction, sig: c_int, blocked: &SigSet) -> SigMask {
    let deferred = action.sa_flags & libc::SA_NODEFER == 0;
    // Our handler runs with all signals blocked; the others are taken out.
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

/// Whether a set has `sig`: one bit for each signal, from signal 1.
fn is_member(set: &SigSet, sig: c_int) -> bool {
    // SAFETY: a set has at least one word, written by the kernel or the host.
    let word = unsafe { ptr::from_ref(set).cast::<u64>().read() };
    word >> (sig - 1) & 1 != 0
}

/// Calls `handler` in the way that `flags` ask for.
///
/// # Safety
/// `handler` is of the kind in `flags`; the others are the kernel's arguments.
unsafe fn call(
    handler: usize,
    flags: c_int,
    sig: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    if flags & libc::SA_SIGINFO != 0 {
        // SAFETY: of the kind in `flags`, the caller promises.
        let f = unsafe { mem::transmute::<usize, SigHandler>(handler) };
        // SAFETY: the kernel's arguments, the caller promises.
        unsafe { f(sig, info, context) }
    } else {
        type Plain = unsafe extern "C" fn(c_int);
        // SAFETY: of the kind in `flags`, the caller promises.
        let f = unsafe { mem::transmute::<usize, Plain>(handler) };
        // SAFETY: the kernel's arguments, the caller promises.
        unsafe { f(sig) }
    }
}
