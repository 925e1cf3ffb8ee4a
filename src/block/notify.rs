//! Signals as elements of channels: Go's `signal.Notify`.
//!
//! ```text
//!   handler: PENDING[signo] += 1, ask sysmon
//!   sysmon: a permit for the relay
//!   relay (a goroutine): a send to each channel, dropped where there is no
//!   room
//! ```
//! A signalfd would need every thread of the host to block the signal, and the
//! first that does not dies of it; and a descriptor is the host's to close. So
//! this is a handler, and a word that sysmon sleeps on, for the signals that
//! the host asks for, from the first channel to the last. What the host has
//! had in that place is called as before, and put back at the end.
//!
//! Invariants:
//! 1. `CHANNELS` has a reference to each channel in it.
//! 2. The handler reads only `PENDING` and `OLD`, and `OLD` is written before
//!    the handler is installed and never freed.
//! 3. A permit stays until the relay has looked: a signal that comes while it
//!    looks has it look again.

use super::chan::GmpChan;
use crate::{
    base::{
        alloc::try_box,
        lock::Rank,
        sync::{AtomicPtr, AtomicU32, Ordering::*},
    },
    gmp::{Ask, RELAY, ask},
    os::{
        Errno, Result,
        signal::{SigAction, handler_action, sigaction_get, sigaction_set},
    },
    sched::{
        lock::{Lock, LockGuard},
        newproc::newproc_system,
        park,
        ready::ready,
        sigmask,
    },
    timers::FOREVER,
};
use core::{
    ffi::{c_int, c_void},
    ptr,
};
use std::{boxed::Box, vec::Vec};

/// Signals are numbered from 1.
const SIGNALS: usize = 65;
/// Those of a fault belong to whoever made it.
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
static OLD: [AtomicPtr<SigAction>; SIGNALS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; SIGNALS];

/// `gmp_signal_notify`: sends `signo` to `channel` whenever it comes.
///
/// Errors: `EINVAL` for a number that is no signal, one that cannot be caught,
/// a fault's, or elements of another size; `ENOMEM`.
pub(crate) fn notify(channel: &GmpChan, signo: c_int) -> Result<()> {
    let known = (1..SIGNALS as c_int).contains(&signo);
    let right = channel.elem_size() == size_of::<c_int>();
    if !known || FAULTS.contains(&signo) || !right {
        return Err(Errno::EINVAL);
    }
    let mut wishes = CHANNELS.lock();
    // Relaxed: written under the lock.
    if RELAY.load(Relaxed).is_null() {
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

/// `gmp_signal_stop`: no more of `signo` for `channel`. The last one puts back
/// what the host has had there.
///
/// Errors: `EINVAL` if it did not get it.
pub(crate) fn stop(channel: &GmpChan, signo: c_int) -> Result<()> {
    let mut wishes = CHANNELS.lock();
    let same = |w: &Wish| w.signo == signo && ptr::eq(w.channel, channel);
    let at = wishes.iter().position(same).ok_or(Errno::EINVAL)?;
    let wish = wishes.swap_remove(at);
    if !wishes.iter().any(|w| w.signo == signo) {
        uninstall(signo);
    }
    drop(wishes);
    // SAFETY: the wish's reference (invariant 1).
    unsafe { GmpChan::unref(wish.channel.cast_mut()) };
    Ok(())
}

/// Under the lock: makes the goroutine that listens.
fn start() -> Result<()> {
    let relay = newproc_system(relay, ptr::null_mut(), c"signals")?;
    // SeqCst: before the handler asks, and before who looks for a deadlock.
    RELAY.store(relay, SeqCst);
    Ok(())
}

/// Under the lock.
fn install(signo: c_int) -> Result<()> {
    let old = try_box(sigaction_get(signo)?).ok_or(Errno::ENOMEM)?;
    // Kept for good: a handler that has just begun may look at it.
    OLD[signo as usize].store(Box::into_raw(old), Release);
    // SAFETY: the handler is safe to run anywhere, at any time.
    unsafe { sigaction_set(signo, &handler_action(handler)) }?;
    sigmask::sysmon_takes(signo, true);
    Ok(())
}

/// Under the lock. Leaves alone what the host has installed meanwhile.
fn uninstall(signo: c_int) {
    sigmask::sysmon_takes(signo, false);
    let ours = handler as *const () as usize;
    if sigaction_get(signo).is_ok_and(|now| now.sa_sigaction == ours) {
        // SAFETY: from install.
        let old = unsafe { &*OLD[signo as usize].load(Acquire) };
        // SAFETY: what was there before. It cannot fail: it is a signal.
        let _ours = unsafe { sigaction_set(signo, old) };
    }
}

/// On whatever thread; async-signal-safe.
unsafe extern "C" fn handler(
    signo: c_int,
    info: *mut libc::siginfo_t,
    context: *mut c_void,
) {
    PENDING[signo as usize].fetch_add(1, Release);
    ask(Ask::Signals);
    // SAFETY: written before this handler was installed, never freed.
    let old = unsafe { &*OLD[signo as usize].load(Acquire) };
    let f = old.sa_sigaction;
    if f == libc::SIG_DFL || f == libc::SIG_IGN {
        return;
    }
    if old.sa_flags & libc::SA_SIGINFO != 0 {
        type Informed =
            unsafe extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
        // SAFETY: the host's handler, of the kind that its flags say.
        let f = unsafe { core::mem::transmute::<usize, Informed>(f) };
        // SAFETY: with what the kernel has for it.
        unsafe { f(signo, info, context) };
    } else {
        // SAFETY: as above.
        let f = unsafe {
            core::mem::transmute::<usize, unsafe extern "C" fn(c_int)>(f)
        };
        // SAFETY: as above.
        unsafe { f(signo) };
    }
}

/// The goroutine that listens.
unsafe extern "C" fn relay(_arg: *mut c_void) {
    loop {
        for (signo, pending) in PENDING.iter().enumerate() {
            // Acquire: pairs with the handler. As in Go, signals of one kind
            // that come at once are one.
            if pending.swap(0, Acquire) != 0 {
                tell(&CHANNELS.lock(), signo as c_int);
            }
        }
        park::park_plain(c"signals", FOREVER);
    }
}

/// Sends `signo` to the channels that want it and have room.
fn tell(wishes: &LockGuard<'_, Wishes>, signo: c_int) {
    for wish in wishes.iter().filter(|w| w.signo == signo) {
        // SAFETY: alive (invariant 1).
        let channel = unsafe { &*wish.channel };
        let receiver = channel.try_send(ptr::from_ref(&signo).cast());
        if let Some(gp) = receiver {
            ready(gp, false);
        }
    }
}
