//! Inside and outside the runtime, and the P that a call still holds.
//!
//! Entry and exit are a plain store each; the protocol is `gmp::owner`'s.
//! Entries nest: a call made from a hook of the user (`unlockf`) finds its M
//! inside already, and must not park.
//!
//! Invariants:
//! 1. `in_runtime` is written by the M's own thread only.
//! 2. While a value of [`Inside`] lives, the flag of the M that runs the
//!    goroutine is set. The M may be another at the end than at the start.

use crate::{
    arch,
    base::barrier::light,
    gmp::{M, OwnedP, m_word},
};
use core::{marker::PhantomData, mem, sync::atomic::Ordering::*};

/// The caller is inside the runtime until this goes.
#[must_use]
pub(crate) struct Inside {
    /// Entered by an outer call, or a host thread without a G.
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

    /// The same, on this thread's M.
    #[inline(always)]
    pub(crate) fn enter_on(mp: &M) -> Self {
        // Relaxed: only we write it (invariant 1).
        let nested = mp.in_runtime.load(Relaxed);
        mp.in_runtime.store(true, Relaxed);
        // Before the read of the P's word; the other side is try_retake.
        light();
        Self { nested, not_send: PhantomData }
    }

    /// Goes outside again, on this thread's M.
    #[inline(always)]
    pub(crate) fn leave_on(self, mp: &M) {
        if !self.nested {
            leave_on(mp);
        }
        mem::forget(self);
    }

    /// Whether an outer call was inside already: this one may not park.
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

#[inline(always)]
fn leave_on(mp: &M) {
    // Release: pairs with sysmon's acquire; what we did to the P comes before
    // it takes it.
    mp.in_runtime.store(false, Release);
}

/// The P that `mp`, this thread's M, still holds.
///
/// The result is valid until the M lets go of it or of the runtime.
#[inline(always)]
pub(crate) fn owned_p(mp: &M) -> Option<OwnedP> {
    let pp = mp.p.get()?;
    if pp.owner.enter(m_word(mp)) {
        // SAFETY: checked just now, and we are inside.
        return Some(unsafe { OwnedP::new(pp) });
    }
    lost_p(mp);
    None
}

#[cold]
fn lost_p(mp: &M) {
    mp.oldp.set(mp.p.take());
}

/// This thread's M and the P that it still holds; both none on a host thread
/// without a G.
#[inline(always)]
pub(crate) fn current_p() -> Option<OwnedP> {
    let gp = arch::getg()?;
    owned_p(gp.mp())
}
