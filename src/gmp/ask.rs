//! Requests to sysmon, and the goroutine that relays signals.

use super::SYSMON;
use core::{ffi::c_void, ptr, sync::atomic::AtomicPtr};

/// A request to sysmon; some only wake it.
#[repr(u32)]
pub(crate) enum Ask {
    /// Start the template thread.
    Template = 1,
    /// Make the poller anew, if the host has closed it.
    Poller = 2,
    /// Wake [`SIGNALER`].
    Signals = 4,
    /// Change its signal mask (`sched::sigmask`).
    Mask = 8,
    /// Look whether the process is to end (`sched::nomain`).
    NoMain = 16,
    /// Make threads for workers.
    Threads = 32,
    /// End, as the runtime does.
    End = 64,
}

/// Makes a request; from any thread, async-signal-safe.
pub(crate) fn ask(what: Ask) {
    SYSMON.ask(what as u32);
}

/// The goroutine that sends signals to channels; null before there is one.
pub(crate) static SIGNALER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
