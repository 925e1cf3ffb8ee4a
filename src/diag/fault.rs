//! The handlers of faults and aborts: they say which goroutine it was and
//! where, and then what would have happened happens.
//!
//! | signal | on a goroutine | if the host has no handler |
//! |---|---|---|
//! | SIGSEGV on the guard of its stack | a fatal error: stack overflow | |
//! | another fault, an abort | its frames | the default action |
//! | the same on a host thread | nothing | the default action |
//!
//! `libpreinit` installs the handlers: for SIGSEGV always, for the others where
//! the action is the default one. The action from before is saved and gets
//! every signal that is not reported, as if it were still installed. A host
//! that installs its handler later replaces ours and gets all; on our threads
//! that handler has a signal stack. An access to either kind of guard is a
//! SIGSEGV, not a SIGBUS.
//!
//! The default action of a fault comes when the instruction runs again, so the
//! process dies of the same signal, and its core shows the place.
//!
//! A signal that another process has sent says nothing of the goroutine on
//! whose thread it arrives, and goes to the saved action. One that the process
//! sends itself is an abort: `abort`, an assertion, `std::terminate`. An
//! uncaught exception is told before the language aborts (`exception`), and not
//! again here.
//!
//! The child of a `vfork` has its parent's memory, where a report would be the
//! parent's: its signals go to the saved action.
//!
//! A host that puts our action back with signal(2) takes the details of the
//! signal away. Then nothing is told, and the process dies of it.
//!
//! Invariants:
//! 1. `SAVED` is written for a signal before the handler can run for it, and
//!    again only once the handler was given back; so reading it is one load.
//! 2. The handler neither locks nor allocates. Of the runtime it reads g and
//!    the fields of the goroutine on this thread, and nothing else, before it
//!    knows that the process ends.

use super::{
    dump::{self, peek},
    report::print_goroutines,
};
use crate::{
    arch,
    base::{
        print::SigWriter,
        sync::{AtomicU64, Ordering::*},
        throw::{dies, fatal_at},
    },
    gmp::{DEBUG, G, Traceback, gflag},
    os::{
        proc,
        signal::{self, Saved, SigAction, SigMask, call},
        thread,
    },
    stack, trace,
};
use core::{
    ffi::{c_int, c_void},
    fmt::{self, Write as _},
    mem, ptr,
};

type SigSet = libc::sigset_t;

/// How many signals there are.
const SIGNALS: c_int = 64;

/// The signals that are handled.
const HANDLED: [c_int; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
];

/// The host's actions at the time when the library was loaded, in the order of
/// [`HANDLED`].
static SAVED: [Saved; HANDLED.len()] = [const { Saved::new() }; HANDLED.len()];
/// A bit for each signal whose saved action was a SA_RESETHAND one and has run.
static RESET: AtomicU64 = AtomicU64::new(0);

/// Installs the handlers. Part of `libpreinit`.
pub(crate) fn install() {
    for (sig, saved) in HANDLED.into_iter().zip(&SAVED) {
        let Ok(old) = signal::sigaction_get(sig) else { continue };
        let default = old.sa_sigaction == libc::SIG_DFL;
        if sig != libc::SIGSEGV && !default || !saved.set(old) {
            continue;
        }
        let mut new = signal::handler_action(handler);
        // The host's own handlers choose whether interrupted calls restart.
        new.sa_flags &= !libc::SA_RESTART;
        new.sa_flags |= old.sa_flags & libc::SA_RESTART;
        signal::stands_for_default(&new);
        // Without the handler nothing is told of a fault: no reason to fail the
        // start.
        // SAFETY: the handler may run on any thread at any time.
        let _ = unsafe { signal::sigaction_set(sig, &new) };
    }
}

/// Gives the handlers back. False: somebody has put another one in the place
/// of ours, and may call ours.
pub(crate) fn give_back() -> bool {
    let each = HANDLED.into_iter().zip(&SAVED);
    let back = each.map(|(sig, saved)| saved.give_back(sig, handler));
    let all = back.fold(true, |all, back| all & back);
    RESET.store(0, Relaxed);
    all
}

fn saved(sig: c_int) -> Option<&'static SigAction> {
    let at = HANDLED.iter().position(|it| *it == sig)?;
    SAVED[at].get()
}

/// The handler. It runs on the thread's signal stack, if there is one, with all
/// signals blocked.
unsafe extern "C" fn handler(
    sig: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    if !signal::has_details(sig) {
        // SAFETY: the handler's own arguments.
        return unsafe { without_details(sig, context) };
    }
    // SAFETY: from the kernel, and valid until the handler returns.
    let what = unsafe { &*info };
    // A positive code is the kernel's, and then the address is valid.
    let is_fault = what.si_code > 0;
    if let Some(gp) = arch::getg().filter(|_| sig == libc::SIGSEGV && is_fault)
    {
        let lo = gp.stack_lo.get();
        // SAFETY: a fault has an address.
        let addr = unsafe { what.si_addr() }.addr();
        if lo != 0 && stack::guard_hit(lo, addr) && proc::is_own() {
            overflow(gp, context);
        }
    }
    if is_fatal(sig, what)
        && dump::failing_goroutine().is_some()
        && proc::is_own()
        && dies()
    {
        // SAFETY: the handler's own arguments.
        unsafe { tell(sig, what, context) };
    }
    // SAFETY: the handler's own arguments.
    unsafe { chain(sig, info, context) }
}

/// The handler of a signal whose details are not there. Nobody knows whether
/// the instruction would fail again, so the default action is taken here.
///
/// # Safety
/// The arguments are those of the handler.
unsafe fn without_details(sig: c_int, context: *mut c_void) {
    // SAFETY: all zero is a signal of which nothing is known.
    let mut none: libc::siginfo_t = unsafe { mem::zeroed() };
    none.si_signo = sig;
    match saved(sig).map_or(libc::SIG_DFL, |old| old.sa_sigaction) {
        libc::SIG_DFL | libc::SIG_IGN => thread::raise_default(sig),
        // SAFETY: the handler's own arguments, and details.
        _ => unsafe { chain(sig, &raw mut none, context) },
    }
}

/// Ends the process: the current goroutine's stack is full.
fn overflow(gp: &G, context: *const c_void) -> ! {
    struct Overflow<'a>(&'a G);
    impl fmt::Display for Overflow<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let (lo, hi) = (self.0.stack_lo.get(), self.0.stack_hi.get());
            let size = hi - lo;
            writeln!(f, "stack overflow")?;
            dump::head(f, self.0)?;
            write!(
                f,
                ": stack of {size} bytes at {lo:#x} exceeded; \
                 gmp_attr.stack_size or GMP_STACKSIZE make it larger"
            )
        }
    }
    dump::told(gp);
    fatal_at(context, format_args!("{}", Overflow(gp)))
}

/// Whether the signal ends the process by a fault or abort of this thread's: it
/// has no handler of the host's, and no other process has sent it.
fn is_fatal(sig: c_int, info: &libc::siginfo_t) -> bool {
    let Some(old) = saved(sig) else { return false };
    if info.si_code > 0 {
        return matches!(old.sa_sigaction, libc::SIG_DFL | libc::SIG_IGN);
    }
    // SAFETY: a signal that was sent has its sender.
    let by = unsafe { info.si_pid() };
    old.sa_sigaction == libc::SIG_DFL && by == proc::id()
}

/// Prints what has happened, and where, and completes the trace.
///
/// # Safety
/// The arguments are those of the handler.
unsafe fn tell(sig: c_int, info: &libc::siginfo_t, context: *const c_void) {
    if DEBUG.traceback() != Traceback::None {
        // SAFETY: from the kernel, and valid until the handler returns.
        let state = unsafe { &*context.cast::<libc::ucontext_t>() };
        let mut w = SigWriter::stderr();
        // A SigWriter reports no errors.
        let _ = writeln!(w, "fatal error: {}", Fault { sig, info, state });
        drop(w);
        print_goroutines(context);
    }
    trace::at_fatal();
}

/// `SIGSEGV: write to address 0x0`.
struct Fault<'a> {
    sig: c_int,
    info: &'a libc::siginfo_t,
    state: &'a libc::ucontext_t,
}

impl Fault<'_> {
    /// A fault in an access to memory.
    fn access(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// The processor's number of page faults.
        const PAGE_FAULT: i64 = 14;
        /// Bits of the error code.
        const WRITE: i64 = 2;
        const FETCH: i64 = 16;
        let saved = &self.state.uc_mcontext.gregs;
        if saved[libc::REG_TRAPNO as usize] != PAGE_FAULT {
            // The kernel has no address then.
            return f.write_str("access to an address that no memory can have");
        }
        // SAFETY: a fault has an address.
        let at = unsafe { self.info.si_addr() }.addr();
        let error = saved[libc::REG_ERR as usize];
        f.write_str(match error {
            e if e & FETCH != 0 => "jump to",
            e if e & WRITE != 0 => "write to",
            _ => "read of",
        })?;
        write!(f, " address {at:#x}")
    }
}

impl fmt::Display for Fault<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Codes of SIGFPE: a division of integers, by zero or too large.
        const INTDIV: c_int = 1;
        const INTOVF: c_int = 2;
        let sent = self.info.si_code <= 0;
        match self.sig {
            libc::SIGABRT => {
                // As a noexcept function does.
                return f.write_str(match dump::failing() {
                    Some(gp) if peek(&gp.flags) & gflag::UNWINDS != 0 => {
                        "SIGABRT: abort while gmp_exit or a recovered panic \
                         unwinds"
                    }
                    _ => "SIGABRT: abort",
                });
            }
            libc::SIGSEGV => f.write_str("SIGSEGV: ")?,
            libc::SIGBUS => f.write_str("SIGBUS: ")?,
            libc::SIGFPE => f.write_str("SIGFPE: ")?,
            libc::SIGILL => f.write_str("SIGILL: ")?,
            _ => f.write_str("SIGTRAP: ")?,
        }
        match (self.sig, self.info.si_code) {
            _ if sent => f.write_str("sent by this process"),
            (libc::SIGSEGV | libc::SIGBUS, _) => self.access(f),
            (libc::SIGFPE, INTDIV | INTOVF) => {
                f.write_str("division of integers, by zero or too large")
            }
            (libc::SIGFPE, _) => f.write_str("floating point exception"),
            (libc::SIGILL, _) => f.write_str("illegal instruction"),
            _ => f.write_str("breakpoint"),
        }
    }
}

/// Performs the saved action, as the kernel would.
///
/// # Safety
/// The arguments are those of the handler.
unsafe fn chain(sig: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // Invariant 1.
    let Some(old) = saved(sig) else { return };
    // SAFETY: from the kernel, and valid until the handler returns.
    let code = unsafe { (*info).si_code };
    let is_fault = code > 0;
    let again = is_fault && fails_again(sig, code);
    let once = old.sa_flags & libc::SA_RESETHAND != 0;
    match old.sa_sigaction {
        // The kernel ignores a signal that was sent, and never a fault.
        libc::SIG_IGN if !is_fault => {}
        libc::SIG_IGN | libc::SIG_DFL => default_action(sig, again),
        _ if once && was_reset(sig) => default_action(sig, again),
        _ => {
            // SAFETY: from the kernel, and valid until the handler returns.
            let blocked = unsafe { &(*context.cast::<libc::ucontext_t>()) };
            mask_for(old, sig, &blocked.uc_sigmask).restore();
            // SAFETY: the host's handler, with the kernel's arguments.
            unsafe { call(old, sig, info, context) }
        }
    }
}

/// Whether the kernel would have reset the action already.
fn was_reset(sig: c_int) -> bool {
    let bit = 1 << sig;
    // Relaxed: the flag guards no data, it only picks one thread.
    RESET.fetch_or(bit, Relaxed) & bit != 0
}

/// Whether the instruction of a fault fails again: not a breakpoint, which is
/// passed, nor one that has not touched the broken page of which it is told.
fn fails_again(sig: c_int, code: c_int) -> bool {
    match sig {
        libc::SIGTRAP => false,
        libc::SIGBUS => code != libc::BUS_MCEERR_AO,
        _ => true,
    }
}

/// The default action, which ends the process. An instruction that fails again
/// runs again and dies in place, where the core dump shows it. Any other signal
/// is sent again.
fn default_action(sig: c_int, again: bool) {
    if !again {
        thread::raise_default(sig);
        return;
    }
    let mut default = signal::handler_action(handler);
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
