//! Channels.

use super::call;
use crate::{
    block::chan::{self, BLOCK, Block, GmpChan},
    os::{Errno, Result},
};
use core::{
    ffi::{c_int, c_void},
    ptr,
};

/// A channel; freed when its last reference goes.
#[expect(non_camel_case_types, reason = "the C name")]
pub struct gmp_chan;

/// # Safety
/// `ch`: null, or a channel to which the caller holds a reference.
unsafe fn chan<'a>(ch: *const gmp_chan) -> Option<&'a GmpChan> {
    // SAFETY: the caller's promise.
    unsafe { ch.cast::<GmpChan>().as_ref() }
}

/// Makes a channel for elements of `elem_size` bytes, with one reference.
///
/// `elem_size`: may be 0. `capacity`: elements that it buffers; 0 makes every
/// send wait for its receiver.
///
/// Returns NULL for out of memory or a size beyond all memory. Never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_chan_make(
    elem_size: usize,
    capacity: usize,
) -> *mut gmp_chan {
    GmpChan::make(elem_size, capacity).map_or(ptr::null_mut(), |ch| ch.cast())
}

/// Takes one more reference to `ch`; returns `ch`. NULL does nothing. Never
/// blocks.
///
/// # Safety
/// `ch`: null, or a channel to which the caller holds a reference.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_ref(ch: *mut gmp_chan) -> *mut gmp_chan {
    // SAFETY: the caller's promise.
    if let Some(ch) = unsafe { chan(ch) } {
        ch.add_ref();
    }
    ch
}

/// Drops one reference to `ch`; the last one frees it. NULL does nothing.
/// Never blocks.
///
/// # Safety
/// `ch`: null, or the caller's reference, which it uses no more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_unref(ch: *mut gmp_chan) {
    if !ch.is_null() {
        // SAFETY: the caller's promise.
        unsafe { GmpChan::unref(ch.cast()) };
    }
}

/// # Safety
/// As `gmp_chan_send`.
#[inline(always)]
unsafe fn send(
    ch: *mut gmp_chan,
    elem: *const c_void,
    block: Block,
) -> Result<()> {
    // SAFETY: the caller's promise.
    let ch = unsafe { chan(ch) };
    if elem.is_null() && ch.is_some_and(|ch| ch.elem_size() > 0) {
        return Err(Errno::EINVAL);
    }
    chan::send(ch, elem.cast(), block)
}

/// Sends a copy of `*elem` on `ch`; waits until a receiver or the buffer takes
/// it. On a NULL channel it waits for ever.
///
/// Returns 0; -EPIPE if `ch` is or gets closed; -EINVAL for a null `elem`
/// (unless elements have no size); -EDEADLK from inside an unlockf;
/// -ECANCELED. Parks the goroutine; blocks a host thread.
///
/// # Safety
/// `ch`: null, or a channel to which the caller holds a reference. `elem`:
/// null, or readable for one element.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_send(
    ch: *mut gmp_chan,
    elem: *const c_void,
) -> c_int {
    // SAFETY: the caller's promise.
    call(|| unsafe { send(ch, elem, BLOCK) })
}

/// gmp_chan_send until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT, and nothing was sent. One in the past tries once.
///
/// # Safety
/// As gmp_chan_send.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_send_until(
    ch: *mut gmp_chan,
    elem: *const c_void,
    deadline: i64,
) -> c_int {
    // SAFETY: the caller's promise.
    call(|| unsafe { send(ch, elem, Block::Until(deadline)) })
}

/// gmp_chan_send if that is possible at once, else -EAGAIN. Never blocks.
///
/// # Safety
/// As gmp_chan_send.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_try_send(
    ch: *mut gmp_chan,
    elem: *const c_void,
) -> c_int {
    // SAFETY: the caller's promise.
    call(|| unsafe { send(ch, elem, Block::Never) })
}

/// Receives an element from `ch` into `*elem`; waits until there is one. On a
/// NULL channel it waits for ever.
///
/// `elem`: may be NULL, which drops the element.
///
/// Returns 0; -EPIPE if `ch` is closed and drained, with `*elem` zeroed;
/// -EDEADLK from inside an unlockf; -ECANCELED. Parks the goroutine; blocks a
/// host thread.
///
/// # Safety
/// `ch`: null, or a channel to which the caller holds a reference. `elem`:
/// null, or writable for one element.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_recv(
    ch: *mut gmp_chan,
    elem: *mut c_void,
) -> c_int {
    // SAFETY: the caller's promise.
    call(|| chan::recv(unsafe { chan(ch) }, elem.cast(), BLOCK))
}

/// gmp_chan_recv until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT, and nothing was received. One in the past tries
/// once.
///
/// # Safety
/// As gmp_chan_recv.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_recv_until(
    ch: *mut gmp_chan,
    elem: *mut c_void,
    deadline: i64,
) -> c_int {
    let block = Block::Until(deadline);
    // SAFETY: the caller's promise.
    call(|| chan::recv(unsafe { chan(ch) }, elem.cast(), block))
}

/// gmp_chan_recv if that is possible at once, else -EAGAIN. Never blocks.
///
/// # Safety
/// As gmp_chan_recv.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_try_recv(
    ch: *mut gmp_chan,
    elem: *mut c_void,
) -> c_int {
    // SAFETY: the caller's promise.
    call(|| chan::recv(unsafe { chan(ch) }, elem.cast(), Block::Never))
}

/// Closes `ch`: receivers drain what it buffers and then get -EPIPE, senders
/// get that at once, those that wait now included.
///
/// Returns 0; -EPIPE if it is closed already; -EINVAL for NULL. Never blocks.
///
/// # Safety
/// `ch`: null, or a channel to which the caller holds a reference.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_close(ch: *mut gmp_chan) -> c_int {
    call(|| {
        // SAFETY: the caller's promise.
        let ch = unsafe { chan(ch) }.ok_or(Errno::EINVAL)?;
        chan::close(ch)
    })
}

/// How many elements `ch` buffers now; 0 for NULL. Never blocks.
///
/// # Safety
/// `ch`: null, or a channel to which the caller holds a reference.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_len(ch: *const gmp_chan) -> usize {
    // SAFETY: the caller's promise.
    unsafe { chan(ch) }.map_or(0, GmpChan::len)
}

/// How many elements `ch` can buffer; 0 for NULL. Never blocks.
///
/// # Safety
/// `ch`: null, or a channel to which the caller holds a reference.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_cap(ch: *const gmp_chan) -> usize {
    // SAFETY: the caller's promise.
    unsafe { chan(ch) }.map_or(0, GmpChan::capacity)
}
