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
use core::{mem, ptr, sync::atomic::Ordering::*};

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
    let mut at = mem::replace(&mut SPARE.lock().wanted, ptr::null());
    let any = !at.is_null();
    // SAFETY: null, or a type-stable M that ask_template chained.
    while let Some(mp) = unsafe { at.as_ref() } {
        at = mp.schedlink.replace(ptr::null());
        if let Err(e) = newm1(mp) {
            // SAFETY: null, or the P that newm set aside.
            let pp = unsafe { mp.nextp.get().as_ref() };
            unmake(mp);
            nothread::refused(pp, e);
        }
    }
    any
}
