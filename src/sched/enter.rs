//! Inside and outside the runtime, and the P that a call still holds.
//! `M::is_inside` tells another thread, for which work on the heap counts too.
//!
//! A thread is *inside* while it runs the library's code and needs its P.
//! Outside it runs the host's code, and the P is only lent to it: a retaker may
//! take the P back. Entry and exit are a plain store each; the protocol between
//! the M and the retaker is `gmp::owner`'s. Entries nest: a call from a
//! callback (`unlockf`) finds its M inside already, and must not park.
//!
//! Invariants:
//! 1. `in_runtime` is written by the M's own thread only.
//! 2. While a value of [`Inside`] lives, `in_runtime` is set in the M that runs
//!    the goroutine, which after a park may be another M than before.

use crate::{
    arch,
    base::{
        barrier::light,
        trace::{self, Event, Kind},
    },
    gmp::{M, OwnedP, m_word},
};
use core::{marker::PhantomData, mem, sync::atomic::Ordering::*};

/// The caller is inside the runtime until this value goes.
#[must_use]
pub(crate) struct Inside {
    /// An outer call has entered, or this is a host thread without a G.
    nested: bool,
    not_send: PhantomData<*const ()>,
}

impl Inside {
    /// Goes inside.
    #[inline(always)]
    pub(crate) fn enter() -> Self {
        match arch::getg() {
            Some(gp) => Self::enter_on(gp.mp()),
            None => Self { nested: true, not_send: PhantomData },
        }
    }

    /// [`Inside::enter`] on `mp`, this thread's M.
    #[inline(always)]
    pub(crate) fn enter_on(mp: &M) -> Self {
        // Relaxed: only this thread writes it (invariant 1).
        let nested = mp.in_runtime.load(Relaxed);
        mp.in_runtime.store(true, Relaxed);
        // The store comes before owned_p's read of the P's word: pairs with the
        // barrier of try_retake.
        light();
        Self { nested, not_send: PhantomData }
    }

    /// Goes outside again, on `mp`, this thread's M.
    #[inline(always)]
    pub(crate) fn leave_on(self, mp: &M) {
        if !self.nested {
            leave_on(mp);
        }
        mem::forget(self);
    }

    /// Whether an outer call is inside: then this one must not park.
    pub(crate) fn nested(&self) -> bool {
        self.nested
    }
}

impl Drop for Inside {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.nested {
            leave();
        }
    }
}

/// Goes outside: the goroutine of this thread runs the host's code next.
#[inline(always)]
pub(crate) fn leave() {
    if let Some(gp) = arch::getg() {
        leave_on(gp.mp());
    }
}

/// [`leave`] on `mp`, this thread's M.
#[inline(always)]
pub(super) fn leave_on(mp: &M) {
    // Release: pairs with try_retake's acquire; sysmon takes the P after all
    // that this M did to it.
    mp.in_runtime.store(false, Release);
}

/// The P that `mp`, this thread's M, still holds.
///
/// The result is valid until the M lets go of the P or goes outside.
#[inline(always)]
pub(crate) fn owned_p(mp: &M) -> Option<OwnedP> {
    let pp = mp.p.get()?;
    if pp.owner.enter(m_word(mp)) {
        // SAFETY: mp holds pp and is inside, so nobody takes pp from it
        // (invariants 1 and 2 of `gmp::owner`).
        return Some(unsafe { OwnedP::new(pp) });
    }
    lost_p(mp);
    None
}

/// Notes that sysmon has taken the P of `mp`.
#[cold]
fn lost_p(mp: &M) {
    mp.oldp.set(mp.take_p());
    trace::event(move || Event::of(Kind::LostP, 0));
}

/// The P that this thread's M still holds; None on a host thread without a G.
#[inline(always)]
pub(crate) fn current_p() -> Option<OwnedP> {
    let gp = arch::getg()?;
    owned_p(gp.mp())
}
