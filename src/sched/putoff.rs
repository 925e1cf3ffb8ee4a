//! ThreadSanitizer puts handlers off, and here is when ours need not wait.
//!
//! The tool takes the place of sigaction(2): the kernel gets a handler of the
//! tool's. That one calls the host's at once only where the thread waits in a
//! function of which the tool knows that it waits; else it notes the signal,
//! and the host's handler runs at the thread's next atomic operation or call of
//! a function that the tool takes the place of. For a handler may do anything,
//! and the tool, which it may have interrupted, is not prepared for that.
//!
//! So the library tells the tool of its handler, and then gives the handler to
//! the kernel itself, past the tool ([`take_over`]). The handler hands on to
//! the tool ([`hand_on`]) each signal that is the host's, and those of ours
//! that have come while the thread may have been inside of the tool. It is
//! outside where it
//!
//! - runs code of the program, in which the tool is a library of its own, as
//!   with gcc;
//! - is in a call of the C library that waits in the kernel. The tool itself
//!   makes such calls without the C library, but for those that wait for a lock
//!   of the loader's, while it writes a report.
//!
//! Then the thread can be stopped, and the tool can be told that it stands.
//! Where the program is linked with the tool, as with clang, a thread that
//! computes can be inside, and comes to its handler later.
//!
//! ```text
//!   kernel -> handler -> outside: answers
//!                     -> the tool's -> at once, or later: handler -> answers
//! ```
//!
//! Invariants:
//! 1. `uc_link`, of which the kernel makes no use, marks a context that the
//!    tool has got from us. So a handler that the tool calls knows it, also
//!    with the tool's copy of the context.
//! 2. The host sees what it sees elsewhere: the tool tells it of the kernel's
//!    handler where that is none of the tool's.
//!
//! Rejected: a handler that the tool does not know of, for signals of ours
//! only: the tool's would go, and with it the host's handlers. An answer
//! wherever the signal comes: inside of the tool the thread may hold a lock
//! that it needs to be told that the thread stands.

use crate::{
    arch,
    base::{
        sanitize,
        sync::{AtomicUsize, Ordering::*},
    },
    os::{
        interrupted, objects,
        signal::{self, SigHandler},
    },
};
use core::{
    ffi::{c_int, c_void},
    mem, ptr,
};

/// The tool's handler, or 0. One for all signals.
static TOOLS: AtomicUsize = AtomicUsize::new(0);
/// Code of the program, if the tool is not in it, and of the C library; data of
/// the loader.
static PROGRAM: Place = Place::new();
static LIBC: Place = Place::new();
static LOADER: Place = Place::new();

/// From, to; empty at first.
struct Place {
    from: AtomicUsize,
    to: AtomicUsize,
}

impl Place {
    const fn new() -> Self {
        Self { from: AtomicUsize::new(0), to: AtomicUsize::new(0) }
    }

    /// Each call sets the same, as none of these is unloaded.
    fn set(&self, (from, to): (usize, usize)) {
        self.from.store(from, Relaxed);
        // Release: pairs with `has`.
        self.to.store(to, Release);
    }

    fn has(&self, address: usize) -> bool {
        // Acquire: pairs with `set`.
        address < self.to.load(Acquire) && address >= self.from.load(Relaxed)
    }
}

/// Finds out where all that is. Takes the loader's lock.
pub(crate) fn learn() {
    if !sanitize::raceenabled() || LIBC.to.load(Relaxed) != 0 {
        return;
    }
    let found = objects::places();
    let (from, to) = found.program;
    if !(from..to).contains(&sanitize::race_tool()) {
        PROGRAM.set(found.program);
    }
    LOADER.set(found.loader);
    LIBC.set(found.libc);
}

/// Has the kernel call `ours` for `sig`, if that is the handler of which the
/// tool knows.
pub(super) fn take_over(sig: c_int, ours: SigHandler) {
    if !sanitize::raceenabled() {
        return;
    }
    let ours = ours as *const () as usize;
    if signal::sigaction_get(sig).map(|now| now.sa_sigaction) != Ok(ours) {
        return;
    }
    let Ok(mut now) = signal::kernel_action(sig) else { return };
    while ![ours, libc::SIG_DFL, libc::SIG_IGN].contains(&now.handler) {
        TOOLS.store(now.handler, Relaxed);
        let mut new = now;
        new.handler = ours;
        // SAFETY: may run at any time, as the tool's may.
        let was = match unsafe { signal::kernel_action_set(sig, &new) } {
            Ok(was) if was != now => was,
            _ => return,
        };
        // The host has set another meanwhile, for which the tool's stands too.
        now = was;
    }
}

/// In the handler: leaves the signal to the tool, if that is due. Ours may be
/// answered at once.
#[inline(always)]
pub(super) fn hand_on(
    sig: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    is_ours: bool,
) -> bool {
    sanitize::raceenabled() && hand_on_slow(sig, info, context, is_ours)
}

#[cold]
#[inline(never)]
fn hand_on_slow(
    sig: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
    is_ours: bool,
) -> bool {
    let mark = ptr::from_ref(&TOOLS).cast_mut().cast::<libc::ucontext_t>();
    let tools = TOOLS.load(Relaxed);
    if tools == 0 {
        return false;
    }
    let at = context;
    // SAFETY: the handler's, and valid until it returns.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    if context.uc_link == mark {
        // Invariant 1.
        context.uc_link = ptr::null_mut();
        return false;
    }
    if is_ours && is_outside(context) {
        return false;
    }
    context.uc_link = mark;
    // SAFETY: the kernel called it so, before `take_over`.
    let handler = unsafe { mem::transmute::<usize, SigHandler>(tools) };
    // SAFETY: the kernel's arguments, but for the mark.
    unsafe { handler(sig, info, at) };
    context.uc_link = ptr::null_mut();
    if is_ours {
        begin_again(context);
    }
    true
}

/// Has a call of the kernel begin again that the signal has interrupted.
pub(super) fn begin_again(context: &mut libc::ucontext_t) {
    let rest = arch::getg().map_or(ptr::null_mut(), |gp| gp.mp().rest.get());
    interrupted::begin_again(context, rest);
}

/// Whether the thread was outside of the tool.
fn is_outside(context: &libc::ucontext_t) -> bool {
    let register =
        |which: c_int| context.uc_mcontext.gregs[which as usize] as usize;
    let pc = register(libc::REG_RIP);
    // The word of a futex is the first argument.
    let waits =
        || !LOADER.has(register(libc::REG_RDI)) && interrupted::waits(context);
    PROGRAM.has(pc) || LIBC.has(pc) && waits()
}
