//! The signal by which the library interrupts a thread of its own, or one of
//! the host's that uses it: for a dump, which wants the registers of a
//! goroutine that computes, and for a collection, which stops the thread.
//!
//! The signal is SIGURG, as in Go: the default action is to ignore it, so one
//! that comes late, or that nobody wants any more, does no harm, and debuggers
//! let it pass. Our handler is there while a user is; a signal says by its mark
//! which user has sent it. Any other SIGURG goes to the host's handler, where
//! ours has taken its place.
//!
//! # A call that waits
//! A thread may be about to wait, or wait. SA_RESTART does not cover poll(2),
//! nanosleep(2) and their like: they return EINTR, for which a host need not be
//! prepared. So the handler has them begin again, where it knows the call by
//! the instruction before it. Their timeout begins again too.
//!
//! Invariants:
//! 1. The bit of a user is in `USERS` before the handler is looked at, and the
//!    handler goes only when no bit is left. A user whose signals bring no
//!    answer calls [`begin`] again.
//! 2. The handler neither locks nor allocates.
//!
//! Rejected: SIGSEGV, whose handler is there already: where the host puts the
//! default action back, a signal on its way would end the process, and gdb
//! stops at each. A real-time signal: gdb stops at it too, and it fails where
//! the user's signals are at their limit.

use crate::{
    base::sync::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*},
    os::{
        Result,
        errno::KeepErrno,
        proc,
        signal::{self, Mark, Saved},
    },
};
use core::{
    ffi::{c_int, c_void},
    mem, ptr,
};
use gmprt_inspect::memory::{Memory, OwnMemory};

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

/// A bit for each user. Invariant 1.
static USERS: AtomicU32 = AtomicU32::new(0);
/// Each user's [`Answer`], or null; the address marks its signals.
static ANSWERS: [AtomicPtr<()>; 2] =
    [const { AtomicPtr::new(ptr::null_mut()) }; 2];
/// The host's action, where ours has taken its place.
static OLD: Saved = Saved::new();
/// Our handler was installed for a collection, and has stayed.
static STAYS: AtomicBool = AtomicBool::new(false);

/// Makes `answer` the user's. False: the host has another use for the signal,
/// or the system refuses.
pub(crate) fn begin(user: User, answer: Answer, chain: Chain) -> bool {
    // Release: pairs with the handler's acquire.
    ANSWERS[user as usize].store(answer as *mut (), Release);
    USERS.fetch_or(1 << user as u32, SeqCst);
    let is_there = install(chain);
    if !is_there {
        end(user);
    }
    is_there
}

/// The user sends no more signals; the last one takes the handler away.
pub(crate) fn end(user: User) {
    let bit = 1 << user as u32;
    if USERS.fetch_and(!bit, SeqCst) == bit {
        remove();
    }
}

/// Gives the host's handler back. False: another handler than ours is there,
/// which may call ours.
pub(crate) fn give_back() -> bool {
    USERS.store(0, SeqCst);
    if OLD.get().is_some() {
        let back = OLD.give_back(SIGNAL, handler);
        STAYS.store(!back, Relaxed);
        return back;
    }
    remove();
    let plain = [libc::SIG_DFL, libc::SIG_IGN];
    let gone = signal::sigaction_get(SIGNAL)
        .is_ok_and(|now| plain.contains(&now.sa_sigaction));
    // Without a collection nobody has seen our handler for long.
    !STAYS.load(Relaxed) || gone && STAYS.swap(false, Relaxed)
}

/// Sends a user's signal to the thread `tid`.
///
/// Errors: as [`signal::send_marked`].
pub(crate) fn send(user: User, tid: i32, number: u32) -> Result<()> {
    signal::send_marked(
        tid,
        SIGNAL,
        Mark { number, value: mark(user as usize) },
    )
}

/// Marks the signals of a user.
fn mark(user: usize) -> u64 {
    ptr::from_ref(&ANSWERS[user]).addr() as u64
}

fn is_ours(action: &signal::SigAction) -> bool {
    action.sa_sigaction == handler as *const () as usize
}

/// Installs the handler, unless it is there. A handler that has come after ours
/// and stays where it is passes signals on, as ours does: another copy of this
/// library has such a one. Where it does not, no thread answers.
fn install(chain: Chain) -> bool {
    let is_there = install_here(chain);
    if is_there && chain == Chain::Yes {
        STAYS.store(true, Relaxed);
    }
    is_there
}

fn install_here(chain: Chain) -> bool {
    let plain = [libc::SIG_DFL, libc::SIG_IGN];
    let may = |action: &signal::SigAction| {
        is_ours(action)
            || action.sa_sigaction == libc::SIG_DFL
            || chain == Chain::Yes && OLD.get().is_none()
    };
    let Ok(now) = signal::sigaction_get(SIGNAL) else { return false };
    let stays = STAYS.load(Relaxed) && !plain.contains(&now.sa_sigaction);
    if is_ours(&now) || stays || !may(&now) {
        return is_ours(&now) || stays;
    }
    if now.sa_sigaction != libc::SIG_DFL && !OLD.set(now) {
        return false;
    }
    let new = signal::handler_action(handler);
    // SAFETY: the handler may run on any thread at any time.
    match unsafe { signal::sigaction_set(SIGNAL, &new) } {
        Ok(old) if is_ours(&old) || old.sa_sigaction == now.sa_sigaction => {
            true
        }
        Ok(old) => {
            // The host's, which came in between.
            // SAFETY: it was installed.
            let _ = unsafe { signal::sigaction_set(SIGNAL, &old) };
            false
        }
        Err(_) => false,
    }
}

/// Puts the former action back, if the handler is still ours.
fn remove() {
    if OLD.get().is_some() {
        let _later = OLD.give_back(SIGNAL, handler);
        return;
    }
    if !signal::sigaction_get(SIGNAL).is_ok_and(|now| is_ours(&now)) {
        return;
    }
    let mut default = signal::handler_action(handler);
    default.sa_sigaction = libc::SIG_DFL;
    default.sa_flags = 0;
    // SAFETY: runs no code.
    let old = unsafe { signal::sigaction_set(SIGNAL, &default) };
    if let Ok(old) = old
        && !is_ours(&old)
    {
        // SAFETY: it was installed, just now.
        let _ = unsafe { signal::sigaction_set(SIGNAL, &old) };
    }
}

/// The handler, on the thread's signal stack, with all signals blocked.
unsafe extern "C" fn handler(
    sig: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    // SAFETY: from the kernel, and valid until the handler returns.
    let mark = unsafe { signal::mark_of(info) };
    let user = mark.and_then(|it| (0..2).find(|n| self::mark(*n) == it.value));
    let (Some(mark), Some(user)) = (mark, user) else {
        if let Some(old) = OLD.get() {
            pass_on(old, sig, info, context);
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
    begin_again(context);
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

/// Has a call that waits, and that our signal has interrupted, begin again.
fn begin_again(context: &mut libc::ucontext_t) {
    /// Those that return EINTR after any handler and have changed nothing.
    const WAITS: [i64; 15] = [
        libc::SYS_poll,
        libc::SYS_ppoll,
        libc::SYS_select,
        libc::SYS_pselect6,
        libc::SYS_epoll_wait,
        libc::SYS_epoll_pwait,
        libc::SYS_epoll_pwait2,
        libc::SYS_nanosleep,
        libc::SYS_clock_nanosleep,
        libc::SYS_futex,
        libc::SYS_semop,
        libc::SYS_semtimedop,
        libc::SYS_rt_sigtimedwait,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
    ];
    const SYSCALL: [u8; 2] = [0x0f, 0x05];
    /// `mov eax, number`.
    const MOV: u8 = 0xb8;
    /// Bytes between that and the call, in the C library.
    const BETWEEN: [usize; 3] = [0, 4, 5];
    const LEN: usize = 5 + 5 + SYSCALL.len();
    let saved = &mut context.uc_mcontext.gregs;
    if saved[libc::REG_RAX as usize] != -i64::from(libc::EINTR) {
        return;
    }
    let pc = saved[libc::REG_RIP as usize];
    let mut code = [0; LEN];
    let from = pc as u64 - LEN as u64;
    let Some(code) = OwnMemory
        .read(from, &mut code)
        .then_some(&code[..])
        .and_then(|code| code.strip_suffix(&SYSCALL))
    else {
        return;
    };
    let number = |between: &usize| {
        let end = code.len() - between;
        let [MOV, number @ ..] = *code[..end].last_chunk::<5>()? else {
            return None;
        };
        Some(i64::from(i32::from_le_bytes(number)))
    };
    let mut numbers = BETWEEN.iter().filter_map(number);
    if let Some(number) = numbers.find(|it| WAITS.contains(it)) {
        saved[libc::REG_RAX as usize] = number;
        saved[libc::REG_RIP as usize] = pc - SYSCALL.len() as i64;
    }
}
