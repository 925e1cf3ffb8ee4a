//! The signal by which the library interrupts a thread of its own, or one of
//! the host's that uses it: for a dump, which wants the registers of a
//! goroutine that computes, and for a collection, which stops the thread.
//!
//! The signal is SIGURG, as in Go: the default action is to ignore it, so one
//! that comes late, or that nobody wants any more, does no harm, and debuggers
//! let it pass. Our handler is there while a user is; a signal says by its mark
//! which user has sent it. Any other SIGURG goes to the host's handler, where
//! ours has taken its place. Collections may have another signal, or none
//! (`GMP_GC_SIGNAL`).
//!
//! ThreadSanitizer would put the handler off: `putoff` says when it does not.
//! A call of the kernel that waits, and that our signal has interrupted, begins
//! again (`os::interrupted`).
//!
//! Invariants:
//! 1. The bit of a user is in `users` before the handler is looked at, and the
//!    handler goes only when no bit is left. A user whose signals bring no
//!    answer calls [`begin`] again.
//! 2. The handler neither locks nor allocates.
//! 3. The signal of collections is that of the environment, and is set before
//!    the first user begins.
//!
//! Rejected: SIGSEGV, whose handler is there already: where the host puts the
//! default action back, a signal on its way would end the process, and gdb
//! stops at each. A real-time signal: gdb stops at it too, and it fails where
//! the user's signals are at their limit.

use super::putoff;
use crate::{
    base::{
        sanitize,
        sync::{
            AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicUsize,
            Ordering::*,
        },
    },
    os::{
        Errno, Result,
        errno::KeepErrno,
        proc,
        signal::{self, Mark, Saved, SigMask},
        thread,
    },
};
use core::{
    ffi::{c_int, c_void},
    mem, ptr,
};

pub(crate) const SIGNAL: c_int = libc::SIGURG;

/// Who sends the signal.
#[derive(Clone, Copy)]
pub(crate) enum User {
    Dump,
    Collection,
}

/// Whether the handler may take the place of the host's, to which it passes
/// other signals on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chain {
    Yes,
    No,
}

/// Called in the handler, with the number that was sent.
pub(crate) type Answer = fn(number: u32, context: &mut libc::ucontext_t);

/// That of collections; 0: none. Invariant 3.
static COLLECTIONS: AtomicI32 = AtomicI32::new(SIGNAL);
/// Each user's [`Answer`], or null; the address marks its signals.
static ANSWERS: [AtomicPtr<()>; 2] =
    [const { AtomicPtr::new(ptr::null_mut()) }; 2];
/// [`SIGNAL`], and the other one of collections.
static LINES: [Line; 2] = [const { Line::new() }; 2];

/// What is known of one signal.
struct Line {
    /// A bit for each user. Invariant 1.
    users: AtomicU32,
    /// The host's action, where ours has taken its place.
    old: Saved,
    /// Our handler was installed for a collection, and has stayed.
    stays: AtomicBool,
    /// A handler that came after ours and passes signals on, or 0.
    passes: AtomicUsize,
}

impl Line {
    const fn new() -> Self {
        Self {
            users: AtomicU32::new(0),
            old: Saved::new(),
            stays: AtomicBool::new(false),
            passes: AtomicUsize::new(0),
        }
    }
}

fn line_of(sig: c_int) -> &'static Line {
    &LINES[usize::from(sig != SIGNAL)]
}

/// `GMP_GC_SIGNAL`: the signal of collections; 0 for none.
pub(crate) fn set_for_collections(sig: c_int) {
    COLLECTIONS.store(sig, Relaxed);
}

/// The user's signal, if it has one.
pub(crate) fn of(user: User) -> Option<c_int> {
    match user {
        User::Dump => Some(SIGNAL),
        User::Collection => match COLLECTIONS.load(Relaxed) {
            0 => None,
            sig => Some(sig),
        },
    }
}

/// Makes `answer` the user's. False: the host has another use for the signal,
/// or the system refuses, or there is none.
pub(crate) fn begin(user: User, answer: Answer, chain: Chain) -> bool {
    let Some(sig) = of(user) else { return false };
    // Release: pairs with the handler's acquire.
    ANSWERS[user as usize].store(answer as *mut (), Release);
    line_of(sig).users.fetch_or(1 << user as u32, SeqCst);
    let is_there = install(sig, chain);
    if !is_there {
        end(user);
    }
    is_there
}

/// The user sends no more signals; the last one takes the handler away.
pub(crate) fn end(user: User) {
    let Some(sig) = of(user) else { return };
    let others = !(1 << user as u32);
    // Also where the end of the runtime has taken the bit, and the handler:
    // this user may have installed it again.
    if line_of(sig).users.fetch_and(others, SeqCst) & others == 0 {
        remove(sig);
    }
}

/// Gives the host's handlers back. False: another handler than ours is there,
/// which may call ours.
pub(crate) fn give_back() -> bool {
    let other = of(User::Collection).filter(|sig| *sig != SIGNAL);
    give_back_of(SIGNAL) & other.is_none_or(give_back_of)
}

fn give_back_of(sig: c_int) -> bool {
    let line = line_of(sig);
    line.users.store(0, SeqCst);
    line.passes.store(0, Relaxed);
    if line.old.get().is_some() {
        let back = line.old.give_back(sig, handler);
        line.stays.store(!back, Relaxed);
        return back;
    }
    remove(sig);
    let plain = [libc::SIG_DFL, libc::SIG_IGN];
    let gone = signal::sigaction_get(sig)
        .is_ok_and(|now| plain.contains(&now.sa_sigaction));
    // Without a collection nobody has seen our handler for long.
    !line.stays.load(Relaxed) || gone && line.stays.swap(false, Relaxed)
}

/// Sends a user's signal to the thread `tid`.
///
/// Errors: as [`signal::send_marked`]; `EINVAL` if there is none.
pub(crate) fn send(user: User, tid: i32, number: u32) -> Result<()> {
    let sig = of(user).ok_or(Errno::EINVAL)?;
    signal::send_marked(tid, sig, Mark { number, value: mark(user as usize) })
}

/// Marks the signals of a user.
fn mark(user: usize) -> u64 {
    ptr::from_ref(&ANSWERS[user]).addr() as u64
}

fn is_ours(action: &signal::SigAction) -> bool {
    action.sa_sigaction == handler as *const () as usize
}

/// Installs the handler, unless it is there. A handler that has come after ours
/// stays where it is if it passes signals on, as ours does: another copy of
/// this library has such a one. Else ours comes before it again.
fn install(sig: c_int, chain: Chain) -> bool {
    let is_there = install_here(sig, chain);
    putoff::take_over(sig, handler);
    if is_there && chain == Chain::Yes {
        line_of(sig).stays.store(true, Relaxed);
    }
    is_there
}

fn install_here(sig: c_int, chain: Chain) -> bool {
    let line = line_of(sig);
    let plain = [libc::SIG_DFL, libc::SIG_IGN];
    let may = |action: &signal::SigAction| {
        is_ours(action)
            || action.sa_sigaction == libc::SIG_DFL
            || chain == Chain::Yes && line.old.get().is_none()
    };
    let Ok(mut now) = signal::sigaction_get(sig) else { return false };
    if is_ours(&now) {
        return true;
    }
    if line.stays.load(Relaxed) && !plain.contains(&now.sa_sigaction) {
        if passes_on(line, sig, now.sa_sigaction) {
            return true;
        }
        // It may have been there for one signal only.
        let Ok(then) = signal::sigaction_get(sig) else { return false };
        now = then;
    }
    if !may(&now) {
        return false;
    }
    if now.sa_sigaction != libc::SIG_DFL && !line.old.set(now) {
        return false;
    }
    let new = signal::handler_action(handler);
    // SAFETY: the handler may run on any thread at any time.
    match unsafe { signal::sigaction_set(sig, &new) } {
        Ok(old) if is_ours(&old) || old.sa_sigaction == now.sa_sigaction => {
            true
        }
        Ok(old) => {
            // The host's, which came in between.
            // SAFETY: it was installed.
            let _ = unsafe { signal::sigaction_set(sig, &old) };
            false
        }
        Err(_) => false,
    }
}

/// Our handler has got a signal of [`passes_on`].
static HEARD: AtomicBool = AtomicBool::new(false);

/// Whether `other`, which is in the place of our handler, calls ours for a
/// signal of ours. This thread sends itself one.
fn passes_on(line: &Line, sig: c_int, other: usize) -> bool {
    // These tools put signals off.
    if line.passes.load(Relaxed) == other
        || sanitize::raceenabled()
        || sanitize::valgrind()
    {
        return true;
    }
    HEARD.store(false, Relaxed);
    let before = SigMask::current();
    let mut mask = SigMask::current();
    mask.remove(sig);
    mask.restore();
    let value = ptr::from_ref(&HEARD).addr() as u64;
    let mark = Mark { number: 0, value };
    let sent = signal::send_marked(thread::gettid(), sig, mark);
    before.restore();
    let heard = HEARD.load(Relaxed);
    if heard {
        line.passes.store(other, Relaxed);
    }
    heard || sent.is_err()
}

/// Puts the former action back, if the handler is still ours.
fn remove(sig: c_int) {
    let line = line_of(sig);
    if line.old.get().is_some() {
        let _later = line.old.give_back(sig, handler);
        return;
    }
    if !signal::sigaction_get(sig).is_ok_and(|now| is_ours(&now)) {
        return;
    }
    if sig != SIGNAL && !replace(sig, libc::SIG_IGN) {
        // Ignored, so those of ours that a thread has blocked are forgotten;
        // the default action would end the process.
        return;
    }
    replace(sig, libc::SIG_DFL);
}

/// Puts `plain`, which runs no code, in place of the handler. False: another
/// handler has come in between, and stays.
fn replace(sig: c_int, plain: libc::sighandler_t) -> bool {
    let mut new = signal::handler_action(handler);
    new.sa_sigaction = plain;
    new.sa_flags = 0;
    // SAFETY: runs no code.
    let Ok(old) = (unsafe { signal::sigaction_set(sig, &new) }) else {
        return false;
    };
    if is_ours(&old) || old.sa_sigaction == libc::SIG_IGN {
        return true;
    }
    // SAFETY: it was installed, just now.
    let _ = unsafe { signal::sigaction_set(sig, &old) };
    false
}

/// The handler, on the thread's signal stack, with all signals blocked.
unsafe extern "C" fn handler(
    sig: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    // SAFETY: from the kernel, and valid until the handler returns.
    let mark = unsafe { signal::mark_of(info) };
    if mark.is_some_and(|it| it.value == ptr::from_ref(&HEARD).addr() as u64) {
        HEARD.store(true, Relaxed);
        return;
    }
    let user = mark.and_then(|it| (0..2).find(|n| self::mark(*n) == it.value));
    if putoff::hand_on(sig, info, context, user.is_some()) {
        return;
    }
    let (Some(mark), Some(user)) = (mark, user) else {
        match line_of(sig).old.get() {
            Some(old) => pass_on(old, sig, info, context),
            None => act_by_default(sig),
        }
        return;
    };
    // Acquire: pairs with begin.
    let answer = ANSWERS[user].load(Acquire);
    if answer.is_null() || !proc::is_own() {
        return;
    }
    let _keep = KeepErrno::new();
    // SAFETY: an Answer, from begin.
    let answer = unsafe { mem::transmute::<*mut (), Answer>(answer) };
    // SAFETY: from the kernel, and valid until the handler returns.
    let context = unsafe { &mut *context.cast::<libc::ucontext_t>() };
    answer(mark.number, context);
    putoff::begin_again(context);
}

/// Calls the host's handler, where the action has one.
fn pass_on(
    old: &signal::SigAction,
    sig: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    if ![libc::SIG_DFL, libc::SIG_IGN].contains(&old.sa_sigaction) {
        // SAFETY: it has a handler, and these are the kernel's arguments.
        unsafe { signal::call(old, sig, info, context) };
    }
}

/// Does what a signal of the host's does where the host has no handler.
#[cold]
fn act_by_default(sig: c_int) {
    const NOTHING: [c_int; 3] = [libc::SIGURG, libc::SIGCONT, libc::SIGWINCH];
    if NOTHING.contains(&sig) {
        return;
    }
    // Where the process lives on, the next collection installs the handler.
    if replace(sig, libc::SIG_DFL) {
        thread::raise_default(sig);
    }
}
