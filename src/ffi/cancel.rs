//! Cancel: ask a goroutine to end.

use super::{call, code, goroutine::gmp_g};
use crate::sched::cancel;
use core::ffi::c_int;

/// Cancels the goroutine `g`: each of its calls that block returns -ECANCELED,
/// the present one and all later ones, until `g` ends. Not interrupted are:
/// - gmp_mutex_lock, gmp_rwmutex_lock, gmp_rwmutex_rlock, and the end of
///   gmp_cond_wait, which locks the mutex again;
/// - gmp_once_do and gmp_group_free;
/// - calls that gmp_defer deferred, and destructors of keys;
/// - calls behind a shield (gmp_shield_enter).
///
/// A cancel takes up to some 10 us while other threads run; a group cancels all
/// its goroutines in the same time. To cancel twice does no harm.
///
/// Returns 0; -EINVAL if `g` has ended; -EPERM for the handle of a host thread.
/// Never blocks.
///
/// ```c
/// gmp_cancel(g); // the calls in which g waits return -ECANCELED,
/// gmp_join(g);   // and when g has cleaned up, it ends
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn gmp_cancel(g: *mut gmp_g) -> c_int {
    call(move || cancel::cancel(g.cast()))
}

/// Returns whether the calling goroutine is cancelled, also behind a shield;
/// false on a host thread. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_cancelled() -> bool {
    cancel::cancelled()
}

/// Begins a shield: until gmp_shield_leave, a cancel does not interrupt the
/// calling goroutine. Shields nest, up to 65,000. On a host thread it does
/// nothing.
///
/// Returns 0; -EAGAIN for one shield too many. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_shield_enter() -> c_int {
    code(cancel::shield_enter())
}

/// Ends the innermost shield.
///
/// Returns 0; -EPERM on a goroutine without a shield. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_shield_leave() -> c_int {
    code(cancel::shield_leave())
}
