//! The template thread, from which others are made: the invariant
//! of [`super::threads`]. It sleeps until an M is wanted, and never ends.

use super::{
    nothread,
    threads::{
        SPARE, TEMPLATE_ASLEEP, TEMPLATE_NOTE, TEMPLATE_WANTED, newm, newm1,
        unmake,
    },
};
use crate::gmp::MKind;
use core::sync::atomic::Ordering::*;

/// sysmon: starts the template thread.
pub(crate) fn start_template() {
    if newm(MKind::Template, Some(template_thread), None, false).is_err() {
        // The Ms that were asked for start from here, a known state too.
        TEMPLATE_WANTED.store(false, SeqCst);
        start_wanted();
    }
}

/// Starts threads on behalf of those that must not.
fn template_thread() {
    loop {
        TEMPLATE_NOTE.clear();
        TEMPLATE_ASLEEP.store(true, SeqCst);
        // Who put an M on the list before it saw us asleep counts on us.
        if start_wanted() && TEMPLATE_ASLEEP.swap(false, SeqCst) {
            continue;
        }
        TEMPLATE_NOTE.sleep();
    }
}

/// Starts every M that waits for a thread; whether there was one. On the
/// template thread or sysmon.
pub(super) fn start_wanted() -> bool {
    let mut at = SPARE.lock().wanted.take();
    let any = at.is_some();
    while let Some(mp) = at {
        at = mp.schedlink.take();
        if let Err(e) = newm1(mp) {
            let pp = mp.nextp.get();
            unmake(mp);
            nothread::refused(pp, e);
        }
    }
    any
}
