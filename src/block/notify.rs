//! Signals as elements of channels: Go's `signal.Notify`.
//!
//! ```text
//!   handler     PENDING[signo] += 1; ask sysmon
//!   sysmon      gives the relay a permit
//!   relay       a goroutine: for each signal that is pending, a send to each
//!               channel that wants it; dropped where there is no room
//! ```
//! A handler is installed for each signal that the host asks for, from its
//! first channel to its last. The handler calls what the host had in that place
//! before, which is put back at the end.
//!
//! Invariants:
//! 1. `CHANNELS` has a reference to each channel in it.
//! 2. The handler reads only `PENDING` and `OLD`. `OLD` is written before the
//!    handler is installed, and what it points to is never freed.
//! 3. A permit stays until the relay has looked: a signal that comes while the
//!    relay looks makes the relay look again.
//!
//! Rejected:
//! - signalfd: every thread of the host would have to block the signal, and the
//!   first that does not dies of it;
//! - a descriptor that the handler writes to: a host may close it.

use super::chan::GmpChan;
use crate::{
    base::{
        alloc::try_box,
        lock::Rank,
        sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering::*},
    },
    gmp::{Ask, CLOSING, SIGNALER, ask, closing::Stage, wait::Turn},
    os::{
        Errno, Result,
        signal::{
            self, SigAction, call, handler_action, is_default, sigaction_get,
            sigaction_set,
        },
    },
    sched::{
        lock::{Lock, LockGuard},
        newproc::newproc_staying,
        park,
        ready::goready,
        sigmask,
    },
    timers::Deadline,
};
use core::{
    ffi::{c_int, c_void},
    mem, ptr,
};
use std::{boxed::Box, vec::Vec};

/// Signals are numbered from 1.
const SIGNALS: usize = 65;
/// Signals of a fault, which belong to the thread that made it.
const FAULTS: [c_int; 4] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL];

/// A channel that wants a signal.
struct Wish {
    signo: c_int,
    channel: *const GmpChan,
}

// SAFETY: the channel may be used from any thread (invariant 1).
unsafe impl Send for Wish {}

type Wishes = Vec<Wish>;

static CHANNELS: Lock<Wishes> = Lock::new(Rank::Signals, Vec::new());
static PENDING: [AtomicU32; SIGNALS] = [const { AtomicU32::new(0) }; SIGNALS];
/// A bit for each signal whose handler was not ours when it was to go.
static CHAINED: AtomicU64 = AtomicU64::new(0);
static OLD: [AtomicPtr<SigAction>; SIGNALS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS];

/// `gmp_signal_notify`: sends `signo` to `channel` whenever the signal comes.
///
/// Errors: `EINVAL` for a number that is no signal, for a signal of a fault or
/// one that cannot be caught, and for a channel of other elements than int or a
/// collected one;
/// `ENOMEM`.
pub(crate) fn notify(channel: &GmpChan, signo: c_int) -> Result<()> {
    let known = (1..SIGNALS as c_int).contains(&signo);
    // What waits for a signal counts as a reference, which a collected channel
    // does not have.
    let right =
        channel.elem_size() == size_of::<c_int>() && !channel.is_collected();
    if !known || FAULTS.contains(&signo) || !right {
        return Err(Errno::EINVAL);
    }
    let mut wishes = CHANNELS.lock();
    // Relaxed: written under the lock.
    if SIGNALER.load(Relaxed).is_null() {
        start()?;
    }
    let same = |w: &Wish| w.signo == signo && ptr::eq(w.channel, channel);
    if wishes.iter().any(same) {
        return Ok(());
    }
    wishes.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
    if !wishes.iter().any(|w| w.signo == signo) {
        install(signo)?;
    }
    channel.add_ref();
    wishes.push(Wish { signo, channel });
    Ok(())
}

/// `gmp_signal_stop`: sends `signo` to `channel` no longer. With the last
/// channel goes the handler, and the host's is put back.
///
/// Errors: `EINVAL` if the channel did not get the signal.
pub(crate) fn stop(channel: &GmpChan, signo: c_int) -> Result<()> {
    let mut wishes = CHANNELS.lock();
    let same = |w: &Wish| w.signo == signo && ptr::eq(w.channel, channel);
    let at = wishes.iter().position(same).ok_or(Errno::EINVAL)?;
    let wish = wishes.swap_remove(at);
    if !wishes.iter().any(|w| w.signo == signo) {
        let _in_place = uninstall(signo);
    }
    drop(wishes);
    // SAFETY: the wish's reference (invariant 1).
    unsafe { GmpChan::unref(wish.channel.cast_mut()) };
    Ok(())
}

/// Under the lock: starts the relay.
fn start() -> Result<()> {
    let relay = newproc_staying(relay, ptr::null_mut(), c"signals")?;
    // SeqCst: before the handler asks sysmon, and before a look for a deadlock.
    SIGNALER.store(relay, SeqCst);
    Ok(())
}

/// In the child of a fork: starts the relay if a channel wants signals.
///
/// Errors: `ENOMEM`.
pub(crate) fn start_again() -> Result<()> {
    let wishes = CHANNELS.lock();
    if wishes.is_empty() { Ok(()) } else { start() }
}

/// Under the lock: puts the handler in the place of the host's.
///
/// Errors: `EINVAL`, `ENOMEM`.
fn install(signo: c_int) -> Result<()> {
    let bit = 1 << signo;
    if CHAINED.fetch_and(!bit, Relaxed) & bit != 0 {
        // It is there yet, and another handler calls it: on top of that one it
        // would call itself.
        sigmask::sysmon_takes(signo, true);
        return Ok(());
    }
    let old = sigaction_get(signo)?;
    // SAFETY: null, or from an earlier install.
    let last = unsafe { OLD[signo as usize].load(Relaxed).as_ref() };
    if !last.is_some_and(|last| signal::same(last, &old)) {
        let old = try_box(old).ok_or(Errno::ENOMEM)?;
        // What was there is not freed (invariant 2): a handler that has just
        // begun may look at it. Release: pairs with the handler.
        OLD[signo as usize].store(Box::into_raw(old), Release);
    }
    // SAFETY: the handler is async-signal-safe.
    unsafe { sigaction_set(signo, &handler_action(handler)) }?;
    sigmask::sysmon_takes(signo, true);
    Ok(())
}

/// Under the lock: puts the host's handler back, unless the host has installed
/// another one meanwhile. False: another one is there, and may call ours.
fn uninstall(signo: c_int) -> bool {
    sigmask::sysmon_takes(signo, false);
    // SAFETY: from install, never freed (invariant 2).
    let old = unsafe { &*OLD[signo as usize].load(Acquire) };
    let back = signal::give_back(signo, handler, old);
    if !back {
        // Relaxed: changed under the lock, or when the runtime has ended.
        CHAINED.fetch_or(1 << signo, Relaxed);
    }
    back
}

/// Gives those handlers back that could not be given back before. False: some
/// still cannot.
pub(crate) fn give_back() -> bool {
    let before = CHAINED.swap(0, Relaxed);
    let again = |&signo: &c_int| before & 1 << signo != 0;
    let each = (1..SIGNALS as c_int - 1).filter(again);
    each.fold(true, |all, signo| uninstall(signo) & all)
}

/// The runtime ends: forgets all channels, and uninstalls their handlers.
pub(crate) fn end() {
    let mut wishes = CHANNELS.lock();
    let all = mem::take(&mut *wishes);
    for signo in 1..SIGNALS as c_int {
        if all.iter().any(|w| w.signo == signo) {
            let _in_place = uninstall(signo);
        }
    }
    // Relaxed: the goroutine has ended. Under the lock: a thread that asks for
    // a signal now, too late, needs a relay, and gets none.
    SIGNALER.store(ptr::null_mut(), Relaxed);
    drop(wishes);
    for wish in all {
        // SAFETY: the wish's reference (invariant 1).
        unsafe { GmpChan::unref(wish.channel.cast_mut()) };
    }
}

/// The library is unloaded.
///
/// # Safety
/// No handler of ours is installed or runs.
pub(crate) unsafe fn free() {
    for old in &OLD {
        let old = old.swap(ptr::null_mut(), Relaxed);
        if !old.is_null() {
            // SAFETY: from install, and nobody has it any more.
            drop(unsafe { Box::from_raw(old) });
        }
    }
}

/// The handler, on whatever thread; async-signal-safe.
unsafe extern "C" fn handler(
    signo: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    // Release: pairs with the relay.
    PENDING[signo as usize].fetch_add(1, Release);
    ask(Ask::Signals);
    // SAFETY: written before this handler was installed, never freed (invariant
    // 2).
    let old = unsafe { &*OLD[signo as usize].load(Acquire) };
    let f = old.sa_sigaction;
    if is_default(old) || f == libc::SIG_IGN {
        return;
    }
    // SAFETY: the host's handler, with what the kernel has for it.
    unsafe { call(old, signo, info, context) };
}

/// The relay: a goroutine that sends what is pending.
unsafe extern "C" fn relay(_arg: *mut c_void) {
    loop {
        for (signo, pending) in PENDING.iter().enumerate() {
            // Acquire: pairs with the handler. As in Go, several signals of one
            // number between two looks are one.
            if pending.swap(0, Acquire) != 0 {
                tell(&CHANNELS.lock(), signo as c_int);
            }
        }
        if CLOSING.has_come(Stage::Closed) {
            return;
        }
        park::park_plain(c"signals", Deadline::NEVER);
    }
}

/// Sends `signo` to the channels that want it and have room.
fn tell(wishes: &LockGuard<'_, Wishes>, signo: c_int) {
    for wish in wishes.iter().filter(|w| w.signo == signo) {
        // SAFETY: alive (invariant 1).
        let channel = unsafe { &*wish.channel };
        let receiver = channel.try_send(ptr::from_ref(&signo).cast());
        if let Some(gp) = receiver {
            goready(gp, Turn::Last);
        }
    }
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    PENDING.iter().for_each(|n| n.store(0, Relaxed));
    SIGNALER.store(ptr::null_mut(), Relaxed);
}
