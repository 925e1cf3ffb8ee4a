//! Channels.

use super::{
    code, framed, undo_at,
    watch::{Watch, at, gated, ungated},
};
use crate::{
    block::{
        chan::{self, Block, GmpChan},
        element::Extra,
    },
    boot,
    os::{Errno, Result},
    timers::Deadline,
};
use core::{
    ffi::{CStr, c_char, c_int, c_void},
    mem::offset_of,
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
    ungated(move || Watch::Nothing, move || GmpChan::make(elem_size, capacity))
        .map_or(ptr::null_mut(), |ch| ch.cast())
}

/// How to make a channel; begin with GMP_CHAN_ATTR_INIT.
///
/// With functions for its elements, a channel carries objects that own
/// something. A send that succeeds takes the object from the sender's memory,
/// as if it were copied and then forgotten; after a send that fails the sender
/// still has it. A receive makes the object in the receiver's memory, which has
/// to be unused.
///
/// The functions run on any thread, and while the channel is locked: they must
/// be short, must not use the channel, wait, or throw. A call of this library
/// that would have to wait returns -EDEADLK there.
#[repr(C)]
pub struct gmp_chan_attr {
    /// sizeof(gmp_chan_attr), which GMP_CHAN_ATTR_INIT sets.
    pub struct_size: usize,
    /// Bytes of an element; with functions, from 1 on.
    pub elem_size: usize,
    /// Elements that the channel buffers; 0 for none.
    pub capacity: usize,
    /// The name in dumps, which is copied; NULL for none.
    pub name: *const c_char,
    /// Called for each element that nobody receives: those that a channel holds
    /// when it is freed, the oldest first, and those that are received with a
    /// NULL for their place. NULL: nothing is to be done.
    pub destroy: Option<unsafe extern "C" fn(elem: *mut c_void)>,
    /// Called instead of memcpy: makes the element at `to`, which is unused
    /// memory, of the one at `from`, which is unused memory afterwards. NULL:
    /// the bytes are copied.
    pub r#move:
        Option<unsafe extern "C" fn(to: *mut c_void, from: *mut c_void)>,
}

/// Makes a channel as `attr` says.
///
/// Returns the channel, with one reference; NULL if there is no memory, for
/// NULL, an unknown struct_size, and functions for elements without size. Never
/// blocks.
///
/// ```c
/// gmp_chan_attr attr = GMP_CHAN_ATTR_INIT;
/// attr.elem_size = sizeof(char *);
/// attr.capacity = 16;
/// attr.name = "lines";
/// attr.destroy = drop_line; // frees the string at *(char **)elem
/// lines = gmp_chan_make_with(&attr); // gmp_chan *lines; NULL: no memory
/// ```
///
/// # Safety
/// `attr`: promise 1; its name: promise 3; its functions: promise 4, with
/// elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_make_with(
    attr: *const gmp_chan_attr,
) -> *mut gmp_chan {
    // SAFETY: promises 1 and 3, of `attr`.
    let made =
        ungated(move || Watch::Nothing, move || unsafe { make_with(attr) });
    made.map_or(ptr::null_mut(), |ch| ch.cast())
}

/// # Safety
/// `attr`: promise 1; its name: promise 3.
unsafe fn make_with(attr: *const gmp_chan_attr) -> Option<*mut GmpChan> {
    /// What the first version of the structure had.
    const FIRST: usize = offset_of!(gmp_chan_attr, r#move) + size_of::<usize>();
    if attr.is_null() {
        return None;
    }
    // SAFETY: promise 1: each version of the structure has its first field.
    let known = unsafe { (*attr).struct_size };
    if !(FIRST..=size_of::<gmp_chan_attr>()).contains(&known) {
        return None;
    }
    // SAFETY: promise 1, of a version that has all the fields there are.
    let attr = unsafe { &*attr };
    let extra = Extra::new(attr.destroy, attr.r#move);
    if attr.elem_size == 0 && extra.has_functions() {
        return None;
    }
    let name = match attr.name.is_null() {
        true => c"",
        // SAFETY: promise 3: the name is a C string, and is not null here.
        false => unsafe { CStr::from_ptr(attr.name) },
    };
    GmpChan::make_with(attr.elem_size, attr.capacity, Some((extra, name)))
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
/// channel, and elements that it still holds (gmp_chan_attr). Never blocks.
///
/// # Safety
/// `ch`: promise 1; the caller's reference is gone afterwards.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_chan_unref(ch: *mut gmp_chan) {
    if !ch.is_null() {
        // SAFETY: promise 1: the caller has the reference that goes here.
        ungated(
            move || Watch::Releases(at(ch)),
            move || unsafe {
                GmpChan::unref(ch.cast());
            },
        );
    }
}

/// # Safety
/// `ch`: promise 1. `elem`: promise 2, for one element.
#[inline(always)]
unsafe fn send(ch: *mut gmp_chan, elem: *const c_void, block: Block) -> c_int {
    if !boot::is_up() {
        // SAFETY: as here.
        return framed(unsafe { send_gated(ch, elem, block) });
    }
    // SAFETY: as here.
    code(unsafe { send_now(ch, elem, block) })
}

/// Apart, so that the usual way puts nothing into memory for it.
///
/// # Safety
/// As [`send`].
#[cold]
#[inline(never)]
unsafe fn send_gated(
    ch: *mut gmp_chan,
    elem: *const c_void,
    block: Block,
) -> c_int {
    // SAFETY: as here.
    let sends = || unsafe { send_now(ch, elem, block) };
    gated(gate(block), || Watch::Sends(ch.cast(), elem), sends, code)
}

/// The gate for a call that waits so long.
fn gate(block: Block) -> fn() -> Result<()> {
    match block {
        Block::Not => boot::gate_to_undo,
        Block::Until(_) => boot::gate,
    }
}

/// # Safety
/// As [`send`].
#[inline(always)]
unsafe fn send_now(
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

/// # Safety
/// `ch`: promise 1. `elem`: promise 2, for one element.
#[inline(always)]
unsafe fn recv(ch: *mut gmp_chan, elem: *mut c_void, block: Block) -> c_int {
    if !boot::is_up() {
        // SAFETY: as here.
        return framed(unsafe { recv_gated(ch, elem, block) });
    }
    // SAFETY: promise 1, of `ch`.
    code(chan::recv(unsafe { chan(ch) }, elem.cast(), block))
}

/// # Safety
/// As [`recv`].
#[cold]
#[inline(never)]
unsafe fn recv_gated(
    ch: *mut gmp_chan,
    elem: *mut c_void,
    block: Block,
) -> c_int {
    // SAFETY: promise 1, of `ch`.
    let receives = || chan::recv(unsafe { chan(ch) }, elem.cast(), block);
    gated(gate(block), || Watch::Receives(ch.cast(), elem), receives, code)
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
    unsafe { send(ch, elem, Block::UNTIL_DONE) }
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
    unsafe { send(ch, elem, Block::Until(deadline)) }
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
    unsafe { send(ch, elem, Block::Not) }
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
    unsafe { recv(ch, elem, Block::UNTIL_DONE) }
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
    unsafe { recv(ch, elem, block) }
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
    unsafe { recv(ch, elem, Block::Not) }
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
    undo_at(
        move || Watch::Releases(at(ch)),
        move || {
            // SAFETY: promise 1, of `ch`.
            let ch = unsafe { chan(ch) }.ok_or(Errno::EINVAL)?;
            chan::close(ch)
        },
    )
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
