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
        sync::spin_loop,
        trace::{self, Event, Kind},
    },
    gmp::{M, OwnedP, P, m_word, owner::POwner},
    os::thread::osyield,
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

/// Lets a retaker that is at work take the P of `mp`, this thread's M: for
/// calls of which a goroutine may make one after the other. A retaker needs
/// some microseconds from its change of the word to its look at the flags. Such
/// a goroutine has come back by then, and would take its P back each time: the
/// other goroutines, and the stopper of the world, would wait for seconds.
#[inline(always)]
pub(crate) fn give_way(mp: &M) {
    if let Some(pp) = mp.p.get()
        && !pp.owner.is_held_by(m_word(mp))
    {
        give_way_slow(mp, pp);
    }
}

/// Waits, outside, while a retaker is at the P. Not for long: it may be without
/// a CPU.
#[cold]
#[inline(never)]
fn give_way_slow(mp: &M, pp: &P) {
    /// Looks without a pause for other threads, and with one.
    const LOOKS: (u32, u32) = (200, 50);
    for look in 0..LOOKS.0 + LOOKS.1 {
        // Relaxed: this thread writes it. In a callback the retaker gives up.
        if mp.in_runtime.load(Relaxed)
            || pp.owner.load() != POwner::Retaking(m_word(mp))
        {
            return;
        }
        if look < LOOKS.0 { spin_loop() } else { osyield() }
    }
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
