//! What sysmon is asked to do, and the goroutine that it wakes for signals.

use super::{SCHED, sysmonwait};
use core::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU32, Ordering::*},
};

/// What sysmon may be asked to do.
#[repr(u32)]
pub(crate) enum Ask {
    /// Start the template thread.
    Template = 1,
    /// Make the poller anew, if the host has closed it.
    Poller = 2,
    /// Wake the relay of signals.
    Signals = 4,
    /// Take other signals itself.
    Mask = 8,
    /// Look whether the process is to end.
    Leave = 16,
    /// Make threads for workers.
    Threads = 32,
}

pub(crate) static ASKED: AtomicU32 = AtomicU32::new(0);

/// Asks sysmon for something; from any thread, async-signal-safe.
pub(crate) fn ask(what: Ask) {
    ASKED.fetch_or(what as u32, SeqCst);
    if SCHED.sysmonwait.swap(sysmonwait::AWAKE, SeqCst) != sysmonwait::AWAKE {
        SCHED.sysmonnote.wakeup();
    }
}

/// The goroutine that sends signals to channels; null before there is one.
pub(crate) static RELAY: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
