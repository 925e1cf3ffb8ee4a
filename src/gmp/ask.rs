//! What sysmon is asked to do, and the goroutine that it wakes for signals.

use super::SYSMON;
use core::{ffi::c_void, ptr, sync::atomic::AtomicPtr};

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
    NoMain = 16,
    /// Make threads for workers.
    Threads = 32,
}

/// Asks sysmon for something; from any thread, async-signal-safe.
pub(crate) fn ask(what: Ask) {
    SYSMON.ask(what as u32);
}

/// The goroutine that sends signals to channels; null before there is one.
pub(crate) static SIGNALER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
