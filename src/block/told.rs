//! What ThreadSanitizer is told of waits between two steps (`steps`). There no
//! call of the host's is under way, of which `ffi::watch` could tell.

use super::chan::{GmpChan, Op};
#[cfg(not(shuttle))]
use crate::{base::sanitize, os::Result};
#[cfg(not(shuttle))]
use core::ptr;

/// Tells ThreadSanitizer of an operation between two steps. Its begin was told
/// when it was named.
#[cfg(not(shuttle))]
#[inline(always)]
pub(super) fn told(ch: &GmpChan, op: Op, elem: *const u8, done: bool) {
    if sanitize::watches() {
        tell(ch, op, elem, done);
    }
}

#[cfg(not(shuttle))]
#[cold]
#[inline(never)]
fn tell(ch: &GmpChan, op: Op, elem: *const u8, done: bool) {
    sanitize::race_acquire(ptr::from_ref(ch).addr());
    if op == Op::Recv && done {
        sanitize::heed();
        sanitize::writes(elem.cast(), ch.elem_size());
        sanitize::ignore();
    }
}

/// What the library does from here on, between two steps, is nothing that
/// ThreadSanitizer is to see.
#[cfg(not(shuttle))]
#[inline(always)]
pub(super) fn ignored() {
    if sanitize::watches() {
        sanitize::ignore();
    }
}

/// The next step is.
#[cfg(not(shuttle))]
#[inline(always)]
pub(super) fn seen() {
    if sanitize::watches() {
        sanitize::heed();
    }
}

#[cfg(shuttle)]
pub(super) fn ignored() {}

#[cfg(shuttle)]
pub(super) fn seen() {}

/// Tells ThreadSanitizer of a join that has found the goroutine at this address
/// at its end.
#[cfg(not(shuttle))]
pub(super) fn told_end(target: usize, result: &Result<()>) {
    if sanitize::watches() && result.is_ok() {
        sanitize::race_acquire(target);
    }
}

#[cfg(shuttle)]
pub(super) fn told(_ch: &GmpChan, _op: Op, _elem: *const u8, _done: bool) {}
