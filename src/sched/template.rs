//! The template thread, which makes threads on behalf of threads whose
//! properties a new one must not inherit (`threads`, invariant 1). It sleeps
//! while no M is wanted, and ends with the runtime.
//!
//! ```text
//!   maker (have_started)            template thread
//!     push the M on `wanted`  (a)     TEMPLATE_ASLEEP = true      (c)
//!     TEMPLATE_ASLEEP = false (b)     take `wanted`, start all    (d)
//!       was true: wake it             some, and _ASLEEP = false
//!                                       was true: once more
//!                                     else: sleep until woken
//! ```
//! (a) pairs with (d). Under the lock of the list the template thread takes the
//! M, or the push comes after (d), and then (b) sees (c). Exactly one thread
//! changes `TEMPLATE_ASLEEP` from true to false; if that is a maker, it wakes
//! the template thread.
//!
//! The maker keeps the lock until it has asked: a maker whose M the end of the
//! runtime takes back ([`drop_wanted`]) has done with all that [`ended`] puts
//! back. A late one would leave the next runtime a `TEMPLATE_WANTED` without a
//! template thread, or a second template thread.

use super::{
    nothread,
    threads::{
        MARKERS, SPARE, TEMPLATE_ASLEEP, TEMPLATE_NOTE, TEMPLATE_WANTED, newm,
        newm1, unmake,
    },
};
use crate::gmp::{CLOSING, M, MKind, P, SCHED, closing::Stage};
use core::sync::atomic::Ordering::*;

/// sysmon: starts the template thread.
#[unsafe(export_name = "startTemplateThread")]
#[inline(never)]
pub(crate) fn start_template_thread() {
    if newm(MKind::Template, Some(template_thread), None).is_err() {
        // sysmon's thread is in a known state too.
        TEMPLATE_WANTED.store(false, SeqCst);
        start_wanted();
    }
}

/// The template thread's loop (module).
fn template_thread() {
    while !CLOSING.has_come(Stage::Leaving) {
        TEMPLATE_NOTE.clear();
        TEMPLATE_ASLEEP.store(true, SeqCst);
        // A maker that pushed before (c) has not woken us: (d) looks.
        if start_wanted() && TEMPLATE_ASLEEP.swap(false, SeqCst) {
            continue;
        }
        TEMPLATE_NOTE.sleep();
    }
}

/// In the stage Leaving: lets the template thread end.
pub(super) fn end_template() {
    if TEMPLATE_ASLEEP.swap(false, SeqCst) {
        TEMPLATE_NOTE.wakeup();
    }
}

/// The runtime has ended, and its threads.
pub(super) fn ended() {
    TEMPLATE_NOTE.clear();
    TEMPLATE_ASLEEP.store(false, Relaxed);
    TEMPLATE_WANTED.store(false, Relaxed);
}

/// In the stage Leaving: takes back every M in `wanted`, as nobody makes its
/// thread.
pub(super) fn drop_wanted() {
    let mut at = SPARE.lock().wanted.take();
    while let Some(mp) = at {
        at = mp.schedlink.take();
        match take_back(mp) {
            (Some(pp), _) => nothread::put_away(pp),
            (None, true) => SCHED.nmspinning.stop(),
            (None, false) => {}
        }
    }
}

/// Takes back an M of `wanted`. The P that it was to bring, and whether it was
/// to spin.
fn take_back(mp: &'static M) -> (Option<&'static P>, bool) {
    let was = (mp.nextp.get(), mp.spinning.get());
    if mp.kind.get() == MKind::Marker {
        MARKERS.fetch_sub(1, Relaxed);
    }
    unmake(mp);
    was
}

/// Starts every M in `wanted`; false if there was none. On the template thread
/// or sysmon.
pub(super) fn start_wanted() -> bool {
    let mut at = SPARE.lock().wanted.take();
    let any = at.is_some();
    while let Some(mp) = at {
        at = mp.schedlink.take();
        if let Err(e) = newm1(mp) {
            let (pp, spins) = take_back(mp);
            // What is no worker does without.
            if spins || pp.is_some() {
                nothread::refused(pp, e);
            }
        }
    }
    any
}
