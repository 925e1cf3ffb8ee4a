//! A goroutine leaves its stack and comes back, perhaps on another M.
//!
//! A park (`park`) and a yield (`yields`) have this in common. They differ in
//! the status that they set and in their [`Departure`].

use super::{
    context, python,
    schedule::{Departure, after_switch, switch_off},
};
use crate::gmp::{G, GStatus, M, OwnedP, casgstatus};

/// Takes `gp`, the caller's goroutine, off its stack, with the status `to`.
/// `mp` and `pp` are the caller's. `how` chooses the [`Departure`] once the
/// status is set. Returns when the goroutine runs again, with its M of then.
#[inline(always)]
pub(super) fn depart(
    gp: &'static G,
    mp: &'static M,
    pp: Option<OwnedP>,
    to: GStatus,
    how: impl FnOnce(&M) -> Departure,
) -> &'static M {
    let pinned = python::pin_python(gp, mp);
    context::save(gp, mp);
    casgstatus(gp, GStatus::Running, to);
    switch_off(gp, mp, pp, how(mp));
    let mp = after_switch();
    context::restore(gp, mp);
    if pinned {
        python::unpin_python(gp);
    }
    mp
}
