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
    /// search for deadlocks: an address with a [`held`] tag; 0 if none is
    /// known.
    pub held: usize,
}

/// Tags of [`Wait::held`], in its two lowest bits.
pub(crate) mod held {
    /// The actor is in the holder words at this address (`block::holder`).
    pub const WORD: usize = 0;
    /// This G has to end.
    pub const G: usize = 1;
    /// All members of this group have to end.
    pub const GROUP: usize = 2;
    /// The actor that keeps readers out of the rwmutex with these holder
    /// words.
    pub const READ: usize = 3;
    /// All of them.
    pub const TAG: usize = 3;
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

    /// The same wait, which the actor in these holder words can end.
    #[inline(always)]
    pub(crate) fn held_by<T>(self, words: *const T) -> Self {
        Self { held: words.addr() | held::WORD, ..self }
    }

    /// The same wait, of a reader.
    #[inline(always)]
    pub(crate) fn kept_out_by<T>(self, words: *const T) -> Self {
        Self { held: words.addr() | held::READ, ..self }
    }

    /// The same wait, which the end of `gp` ends.
    #[inline(always)]
    pub(crate) fn for_end_of<T>(self, gp: *const T) -> Self {
        Self { held: gp.addr() | held::G, ..self }
    }

    /// The same wait, which ends with the last member of `group`.
    #[inline(always)]
    pub(crate) fn for_all_of<T>(self, group: *const T) -> Self {
        Self { held: group.addr() | held::GROUP, ..self }
    }
}
