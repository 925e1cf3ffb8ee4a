//! Channels.

use super::call;
use crate::{
    block::chan::{self, Block, GmpChan},
    os::{Errno, Result},
    timers::Deadline,
};
use core::{
    ffi::{c_int, c_void},
    ptr,
};

/// A channel: it carries elements of one size, copied in and out.
#[expect(non_camel_case_types, reason = "the C name")]
pub struct gmp_chan;

/// # Safety
/// `ch`: promise 1.
pub(super) unsafe fn chan<'a>(ch: *const gmp_chan) -> Option<&'a GmpChan> {
    // SAFETY: promise 1: null, or a channel that the caller has a reference to.
    unsafe { ch.cast::<GmpChan>().as_ref() }
}

/// Makes a channel for elements of `elem_size` bytes, which may be 0. The
/// channel buffers `capacity` elements; if that is 0, each send waits for its
/// receiver.
///
/// Returns the channel, with one reference; NULL if there is no memory. Never
/// blocks.
#[unsafe(no_mangle)]
pub extern "C" fn gmp_chan_make(
    elem_size: usize,
    capacity: usize,
) -> *mut gmp_chan {
    GmpChan::make(elem_size, capacity).map_or(ptr::null_mut(), |ch| ch.cast())
}

/// Takes one more reference to `ch`, which may be NULL. Returns `ch`. Never
/// blocks.
///
/// # Safety
/// `ch`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_ref(ch: *mut gmp_chan) -> *mut gmp_chan {
    // SAFETY: promise 1, of `ch`.
    if let Some(ch) = unsafe { chan(ch) } {
        ch.add_ref();
    }
    ch
}

/// Drops one reference to `ch`, which may be NULL. The last reference frees the
/// channel. Never blocks.
///
/// # Safety
/// `ch`: promise 1; the caller's reference is gone afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_unref(ch: *mut gmp_chan) {
    if !ch.is_null() {
        // SAFETY: promise 1: the caller has the reference that goes here.
        unsafe { GmpChan::unref(ch.cast()) };
    }
}

/// # Safety
/// `ch`: promise 1. `elem`: promise 2, for one element.
#[inline(always)]
unsafe fn send(
    ch: *mut gmp_chan,
    elem: *const c_void,
    block: Block,
) -> Result<()> {
    // SAFETY: promise 1, of `ch`.
    let ch = unsafe { chan(ch) };
    if elem.is_null() && ch.is_some_and(|ch| ch.elem_size() > 0) {
        return Err(Errno::EINVAL);
    }
    chan::send(ch, elem.cast(), block)
}

/// Sends a copy of `*elem` on `ch`: waits until a receiver or the buffer takes
/// it. On a NULL channel it waits for ever. `elem` may be NULL if elements have
/// no size.
///
/// Returns 0; -EPIPE if `ch` is closed, before or meanwhile. May block.
///
/// # Safety
/// `ch`: promise 1. `elem`: promise 2, for one element.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_send(
    ch: *mut gmp_chan,
    elem: *const c_void,
) -> c_int {
    // SAFETY: promises 1 and 2, of `ch` and `elem`.
    call(|| unsafe { send(ch, elem, Block::UNTIL_DONE) })
}

/// gmp_chan_send with a deadline. May block.
///
/// # Safety
/// As `gmp_chan_send`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_send_until(
    ch: *mut gmp_chan,
    elem: *const c_void,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    // SAFETY: promises 1 and 2, of `ch` and `elem`.
    call(|| unsafe { send(ch, elem, Block::Until(deadline)) })
}

/// gmp_chan_send if it need not wait, else -EAGAIN. Never blocks.
///
/// # Safety
/// As `gmp_chan_send`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_try_send(
    ch: *mut gmp_chan,
    elem: *const c_void,
) -> c_int {
    // SAFETY: promises 1 and 2, of `ch` and `elem`.
    call(|| unsafe { send(ch, elem, Block::Not) })
}

/// Receives an element from `ch` into `*elem`: waits until there is one. On a
/// NULL channel it waits for ever. If `elem` is NULL, the element is dropped.
///
/// Returns 0; -EPIPE if `ch` is closed and its buffer empty: then `*elem` is
/// zeroed. May block.
///
/// # Safety
/// `ch`: promise 1. `elem`: promise 2, for one element.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_recv(
    ch: *mut gmp_chan,
    elem: *mut c_void,
) -> c_int {
    // SAFETY: promise 1, of `ch`.
    call(|| chan::recv(unsafe { chan(ch) }, elem.cast(), Block::UNTIL_DONE))
}

/// gmp_chan_recv with a deadline. May block.
///
/// # Safety
/// As `gmp_chan_recv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_recv_until(
    ch: *mut gmp_chan,
    elem: *mut c_void,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    let block = Block::Until(deadline);
    // SAFETY: promise 1, of `ch`.
    call(|| chan::recv(unsafe { chan(ch) }, elem.cast(), block))
}

/// gmp_chan_recv if it need not wait, else -EAGAIN. Never blocks.
///
/// # Safety
/// As `gmp_chan_recv`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_try_recv(
    ch: *mut gmp_chan,
    elem: *mut c_void,
) -> c_int {
    // SAFETY: promise 1, of `ch`.
    call(|| chan::recv(unsafe { chan(ch) }, elem.cast(), Block::Not))
}

/// Closes `ch`. Receivers get what the buffer holds and then -EPIPE; senders
/// get -EPIPE at once, also those that wait now.
///
/// Returns 0; -EPIPE if `ch` is closed already. Never blocks.
///
/// # Safety
/// `ch`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_close(ch: *mut gmp_chan) -> c_int {
    call(|| {
        // SAFETY: promise 1, of `ch`.
        let ch = unsafe { chan(ch) }.ok_or(Errno::EINVAL)?;
        chan::close(ch)
    })
}

/// Returns how many elements the buffer of `ch` holds now; 0 for NULL. Never
/// blocks.
///
/// # Safety
/// `ch`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_len(ch: *const gmp_chan) -> usize {
    // SAFETY: promise 1, of `ch`.
    unsafe { chan(ch) }.map_or(0, GmpChan::len)
}

/// Returns how many elements the buffer of `ch` can hold; 0 for NULL. Never
/// blocks.
///
/// # Safety
/// `ch`: promise 1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_cap(ch: *const gmp_chan) -> usize {
    // SAFETY: promise 1, of `ch`.
    unsafe { chan(ch) }.map_or(0, GmpChan::capacity)
}
