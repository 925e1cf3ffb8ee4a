//! A goroutine's stack, its kept arguments, and its first frame.
//!
//! ```text
//!   newproc: keep_args --> in G, or malloc --> move_in: the top of the stack
//!   execute: bind_stack --> stack, first frame; gflag::STARTED
//! ```
//! Invariants:
//! 1. `gflag::STARTED` is set once the stack is bound, for the rest of the
//!    goroutine's life.
//! 2. With `gflag::ARGS`, `args` holds `args_len` bytes or, if there are more
//!    than `INLINE_ARGS`, a pointer to them from `malloc`.

use crate::{
    arch,
    gmp::{G, INLINE_ARGS, OwnedP, gflag, offsets::GOSTART_SPACE},
    os::{Errno, Result},
    stack::{self, Stack, StackCache},
};
use core::{ffi::c_void, ptr};

/// Gives `gp`, which has not run, a stack and its first frame.
///
/// Errors: `ENOMEM`.
#[inline]
pub(crate) fn bind_stack(pp: OwnedP, gp: &'static G) -> Result<()> {
    bind(Some(&pp.get().stacks), gp)
}

/// [`bind_stack`] without a P, on any thread.
#[cold]
pub(super) fn bind_stack_now(gp: &'static G) -> Result<()> {
    bind(None, gp)
}

#[inline(always)]
fn bind(cache: Option<&StackCache>, gp: &'static G) -> Result<()> {
    let sized = gp.has(gflag::SIZED);
    let size = if sized { gp.stack_size.get() as usize } else { 0 };
    let stack = stack::stackalloc(cache, size)?;
    let sp = move_in(gp, stack);
    // SAFETY: a multiple of 16 on the goroutine's own stack, which is large
    // enough for its arguments and a frame (newproc's check_sizes).
    gp.sched_sp.set(unsafe { arch::first_frame(sp) });
    Ok(())
}

/// Binds `stack` to `gp`, which has not run, and moves its arguments there.
/// Returns the stack pointer for its first frame.
#[inline(always)]
pub(super) fn move_in(gp: &'static G, stack: Stack) -> usize {
    gp.set_stack(stack);
    let mut sp = stack.hi;
    if gp.has(gflag::ARGS) {
        sp = (sp - gp.args_len.get() as usize) & !15;
        // Before they are there: so a collection looks at all of the stack.
        gp.arg.set(sp as *mut c_void);
        take_args(gp, Some(sp as *mut u8));
    }
    gp.set_flag(gflag::STARTED);
    sp
}

/// Keeps a copy of `args` in `gp` until its stack is bound.
pub(super) fn keep_args(gp: &'static G, args: &[u8]) -> Result<()> {
    let mut place = gp.args.get().cast::<u8>();
    if args.len() > INLINE_ARGS {
        // SAFETY: malloc may be called with any size.
        let heap = unsafe { libc::malloc(args.len()) };
        if heap.is_null() {
            return Err(Errno::ENOMEM);
        }
        // SAFETY: INLINE_ARGS bytes have room for a pointer, and gp is ours.
        unsafe { place.cast::<*mut c_void>().write_unaligned(heap) };
        place = heap.cast();
    }
    // SAFETY: place has room for args.len() bytes, and is ours.
    unsafe { ptr::copy_nonoverlapping(args.as_ptr(), place, args.len()) };
    gp.args_len.set(args.len() as u32);
    gp.set_flag(gflag::ARGS);
    Ok(())
}

/// Where the words of the host's on the stack of `gp` end. Above are the bytes
/// that `gostart` leaves free, unless arguments lie there.
#[inline]
pub(crate) fn end_of_words(gp: &G) -> usize {
    let (hi, arg) = (gp.stack_hi.get(), gp.arg.get().addr());
    if gp.on_stack(arg) { hi } else { hi - GOSTART_SPACE }
}

/// Calls `found` with the words of the kept arguments of `gp`, which stands
/// still, from, to; also with that of its argument, if that is `wanted`.
pub(crate) fn words(
    gp: &G,
    wanted: impl Fn(usize) -> bool,
    found: &mut dyn FnMut(usize, usize),
) {
    if wanted(gp.arg.get().addr()) {
        let arg = gp.arg.as_ptr().addr();
        found(arg, arg + size_of::<usize>());
    }
    let len = gp.args_len.get() as usize;
    if !gp.has(gflag::ARGS) {
        return;
    }
    let mut place = gp.args.get().cast::<u8>();
    if len > INLINE_ARGS {
        // SAFETY: keep_args has written a pointer there (invariant 2).
        place = unsafe { place.cast::<*mut u8>().read_unaligned() };
    }
    found(place.addr(), place.addr() + len);
}

/// Moves the kept arguments to `to`, or drops them.
pub(super) fn take_args(gp: &'static G, to: Option<*mut u8>) {
    let len = gp.args_len.replace(0) as usize;
    gp.flags.set(gp.flags.get() & !gflag::ARGS);
    let mut place = gp.args.get().cast::<u8>();
    let mut heap = ptr::null_mut::<c_void>();
    if len > INLINE_ARGS {
        // SAFETY: keep_args has written a pointer there (invariant 2).
        heap = unsafe { place.cast::<*mut c_void>().read_unaligned() };
        place = heap.cast();
    }
    if let Some(to) = to {
        // SAFETY: the caller has args_len bytes of room there, on a new stack.
        unsafe { ptr::copy_nonoverlapping(place, to, len) };
    }
    // SAFETY: null, or from malloc in keep_args.
    unsafe { libc::free(heap) };
}
