//! How a goroutine waits, and what for.

use super::parkword::WaitKind;
use crate::timers::Deadline;
use core::ffi::{CStr, c_char};

/// How a goroutine waits, and what for. It lies on the waiter's stack, and
/// `G::waiting` leads dumps to it.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    /// Which events end it, besides its waker.
    pub kind: WaitKind,
    pub deadline: Deadline,
    /// What it waits for, as a C string that outlives the wait.
    pub reason: *const c_char,
    /// The address of what it waits for; 0 if there is no such thing.
    pub object: usize,
    /// The actor that has to go on before the wait can end, for dumps and the
    /// search for deadlocks; 0 if none is known.
    pub held: usize,
}

impl Wait {
    /// A wait that a waker ends, the deadline, or a cancel.
    #[inline(always)]
    pub(crate) fn until(deadline: Deadline, reason: &'static CStr) -> Self {
        Self::new(WaitKind::Cancellable, deadline, reason)
    }

    /// A wait that only a waker ends.
    #[inline(always)]
    pub(crate) fn uninterrupted(reason: &'static CStr) -> Self {
        Self::new(WaitKind::Plain, Deadline::NEVER, reason)
    }

    #[inline(always)]
    pub(crate) fn new(
        kind: WaitKind,
        deadline: Deadline,
        reason: &'static CStr,
    ) -> Self {
        let reason = reason.as_ptr();
        Self { kind, deadline, reason, object: 0, held: 0 }
    }

    /// The same wait, for this object.
    #[inline(always)]
    pub(crate) fn on<T: ?Sized>(self, object: *const T) -> Self {
        Self { object: object.cast::<()>().addr(), ..self }
    }
}
