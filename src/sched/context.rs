//! The state that a switch keeps besides the processor's: `errno`, the two
//! words behind `__cxa_get_globals` where C++ is in the process, and the signal
//! mask of a goroutine that has one of its own.
//!
//! All three belong to the thread. So a goroutine that leaves takes its own
//! values along, and a goroutine that comes brings its own. The exception words
//! are copied only if one of them is not zero: while the goroutine handles an
//! exception. The mask is `sigmask`'s; `asm/switch_amd64.S` keeps registers,
//! MXCSR and the x87 control word.
//!
//! Invariant 1: the exception words of a G are zero while the goroutine runs,
//! and the thread's are zero between two goroutines. So one exchange of the two
//! serves [`save`] and [`restore`].

use super::sigmask;
use crate::gmp::{CxaGlobals, G, M, gflag};
use core::sync::atomic::{AtomicPtr, Ordering::*};

/// `__cxa_get_globals`, once a C++ unit has registered it; else null.
static CXA_GET_GLOBALS: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

pub(crate) type GetGlobals = unsafe extern "C" fn() -> *mut CxaGlobals;

/// Registers the function that finds a thread's exception state. In practice
/// all callers name the same function; the last one counts.
pub(crate) fn set_cxa_get_globals(f: GetGlobals) {
    // Release: pairs with the acquire in cxa_of.
    CXA_GET_GLOBALS.store(f as *mut (), Release);
}

/// Saves the thread's state into the goroutine that leaves it.
#[inline(always)]
pub(crate) fn save(gp: &G, mp: &M) {
    // SAFETY: the address of this thread's errno, from minit or attach.
    gp.errno.set(unsafe { *mp.errno.get() });
    if let Some(cxa) = cxa_of(mp) {
        swap_cxa(gp, cxa);
    }
    if gp.has(gflag::SIGMASK) {
        sigmask::save(gp);
    }
}

/// Gives the thread the state of the goroutine that comes.
#[inline(always)]
pub(crate) fn restore(gp: &G, mp: &M) {
    // SAFETY: the address of this thread's errno, from minit or attach.
    unsafe { *mp.errno.get() = gp.errno.get() };
    if let Some(cxa) = cxa_of(mp) {
        swap_cxa(gp, cxa);
    }
    if gp.has(gflag::SIGMASK) {
        sigmask::restore(gp);
    }
}

/// Exchanges the goroutine's words with the thread's (invariant 1).
#[inline(always)]
fn swap_cxa(gp: &G, cxa: *mut CxaGlobals) {
    // SAFETY: this thread's globals: two words, never freed while it lives.
    let theirs = unsafe { cxa.read() };
    let ours = gp.cxa.get();
    if theirs != [0; 2] || ours != [0; 2] {
        gp.cxa.set(theirs);
        // SAFETY: this thread's two words.
        unsafe { cxa.write(ours) };
    }
}

/// This thread's exception words, where C++ is in the process.
#[inline(always)]
fn cxa_of(mp: &M) -> Option<*mut CxaGlobals> {
    // Acquire: pairs with set_cxa_get_globals.
    let f = CXA_GET_GLOBALS.load(Acquire);
    if f.is_null() {
        return None;
    }
    let known = mp.cxa.get();
    if known.is_null() { Some(cxa_slow(mp, f)) } else { Some(known) }
}

#[cold]
fn cxa_slow(mp: &M, f: *mut ()) -> *mut CxaGlobals {
    // SAFETY: stored by set_cxa_get_globals from a function of this type.
    let f: GetGlobals = unsafe { core::mem::transmute(f) };
    // SAFETY: __cxa_get_globals may be called on any thread.
    let globals = unsafe { f() };
    mp.cxa.set(globals);
    globals
}
