//! Goroutines made and started.
//!
//! A goroutine costs a descriptor until it first runs: `execute` binds its
//! stack (`frame::bind_stack`), and its arguments wait in the descriptor. Only
//! a stack with a mapping of its own is bound at once, as here the caller can
//! still be told that there is no memory for it.

use super::{
    current::this_g,
    enter::{Inside, leave, owned_p},
    fiber,
    frame::{bind_stack_now, keep_args, take_args},
    handoff::{wakep, wakep_for},
    lockthread,
    queue::queue_new,
    schedule,
};
use crate::{
    arch,
    base::sanitize,
    gmp::{
        CLOSING, G, GStatus, GmpFn, MAIN_STACK, SCHED, casgstatus,
        closing::Stage, count_end, count_start, drop_name, gdestroy, gfget,
        gflag, gfput, handle_of, next_goid, set_name,
    },
    os::{Errno, Result},
    stack,
};
use core::{
    ffi::{CStr, c_int, c_void},
    sync::atomic::Ordering::*,
};

/// The most bytes of arguments that `gmp_go_copy` takes.
pub(crate) const MAX_ARGS: usize = 64 * 1024;

/// How a goroutine is to be started.
pub(crate) struct NewG<'a> {
    pub func: GmpFn,
    pub arg: *mut c_void,
    /// Where the host's call returns to, as a hint for dumps; 0 for none.
    pub gopc: usize,
    /// Copied onto the new stack; `func` gets their address instead of `arg`.
    pub args: Option<&'a [u8]>,
    pub name: Option<&'a CStr>,
    /// Bytes; 0 for the default.
    pub stack_size: usize,
    /// Bits of `gflag`.
    pub flags: u16,
    /// The caller gets a handle to join or release it.
    pub joinable: bool,
}

impl NewG<'_> {
    #[inline(always)]
    pub(crate) fn new(func: GmpFn, arg: *mut c_void) -> Self {
        Self {
            func,
            arg,
            gopc: 0,
            args: None,
            name: None,
            stack_size: 0,
            flags: 0,
            joinable: false,
        }
    }
}

/// `newproc(fn)` of the start path: from rt0_go, on g0. Makes the main
/// goroutine, which runs the program's `main` on the exe path. 0 or an errno.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn newproc(func: GmpFn, arg: *mut c_void) -> c_int {
    // Relaxed: set earlier on this thread.
    let stack_size = MAIN_STACK.load(Relaxed);
    let flags = match stack_size {
        0 => gflag::SYSTEM | gflag::STAYS,
        _ => gflag::MAIN,
    };
    let spec = NewG { stack_size, flags, ..NewG::new(func, arg) };
    let made = reserve_stacks().and_then(|()| newproc1(&spec).map(drop));
    made.map_or_else(|e| e.0, |()| 0)
}

/// Puts a stack into the pool for each goroutine of the start: the main one and
/// the library's two. Until these run, nobody serves a goroutine that waits for
/// a stack (`starved`).
fn reserve_stacks() -> Result<()> {
    let mut kept = [None; 3];
    let all = kept.iter_mut().try_for_each(|room| {
        *room = Some(stack::stackalloc(None, 0)?);
        Ok(())
    });
    for kept in kept.into_iter().flatten() {
        stack::stackfree(None, kept);
    }
    all
}

/// Starts a goroutine of the library itself.
pub(crate) fn newproc_system(
    func: GmpFn,
    arg: *mut c_void,
    name: &'static CStr,
) -> Result<*mut c_void> {
    newproc_own(func, arg, name, gflag::SYSTEM)
}

/// [`newproc_system`] of a goroutine that stays until the runtime ends: it
/// ends once `CLOSING` says so and it was given a permit.
pub(crate) fn newproc_staying(
    func: GmpFn,
    arg: *mut c_void,
    name: &'static CStr,
) -> Result<*mut c_void> {
    newproc_own(func, arg, name, gflag::SYSTEM | gflag::STAYS)
}

fn newproc_own(
    func: GmpFn,
    arg: *mut c_void,
    name: &'static CStr,
    flags: u16,
) -> Result<*mut c_void> {
    newproc1(&NewG { name: Some(name), flags, ..NewG::new(func, arg) })
}

/// Makes a goroutine and queues it: on this P, to run next; on a thread without
/// a P, in the global queue. Returns its handle.
///
/// Errors: `EINVAL` for a size that no stack can have, `ENOMEM`; `ESHUTDOWN` on
/// a thread without a P, while the runtime ends.
pub(crate) fn newproc1(spec: &NewG<'_>) -> Result<*mut c_void> {
    if sanitize::watches() {
        return newproc_watched(spec);
    }
    start::<false>(spec)
}

/// [`newproc1`] while a sanitizer watches.
#[cold]
#[inline(never)]
fn newproc_watched(spec: &NewG<'_>) -> Result<*mut c_void> {
    start::<true>(spec)
}

/// [`newproc1`] compiled for the usual case: a function and nothing else, and
/// no sanitizer.
pub(crate) fn newproc_plain(
    func: GmpFn,
    arg: *mut c_void,
    gopc: usize,
) -> Result<()> {
    start::<false>(&NewG { gopc, ..NewG::new(func, arg) }).map(drop)
}

#[inline(always)]
fn start<const WATCHED: bool>(spec: &NewG<'_>) -> Result<*mut c_void> {
    check_sizes(spec)?;
    let _inside = Inside::enter();
    let creator = arch::getg();
    let pp = creator.and_then(|g| owned_p(g.mp()));
    let gp = gfget(pp).ok_or(Errno::ENOMEM)?;
    if let Err(e) = fill(gp, spec) {
        gp.flags.set(0);
        gfput(pp, gp);
        return Err(e);
    }
    gp.parent.set(creator.map_or(0, |g| g.goid.get()));
    gp.goid.set(next_goid(pp));
    if WATCHED && let Err(e) = race_start(gp, spec, creator) {
        empty(gp);
        gfput(pp, gp);
        return Err(e);
    }
    gp.start_join(spec.joinable);
    count_start(pp, gp);
    let handle = handle_of(gp);
    casgstatus(gp, GStatus::Dead, GStatus::Runnable);
    match pp {
        Some(pp) => {
            queue_new(pp, gp);
            wakep_for(pp);
        }
        None => {
            if creator.is_some_and(G::is_host) {
                gp.set_flag(gflag::BY_THREAD);
            }
            let mut sched = SCHED.lock();
            // Under the lock: `gmp::closing`.
            if CLOSING.has_come(Stage::Closed) {
                drop(sched);
                unmake(gp);
                return Err(Errno(libc::ESHUTDOWN));
            }
            sched.globrunqput(gp);
            drop(sched);
            wakep();
        }
    }
    Ok(handle)
}

/// Takes back a goroutine that was made without a P, and is in no queue.
#[cold]
fn unmake(gp: &'static G) {
    casgstatus(gp, GStatus::Runnable, GStatus::Dead);
    count_end(None, gp);
    if let Some(stack) = gp.take_stack() {
        stack::stackfree(None, stack);
    }
    take_args(gp, None);
    drop_name(gp);
    if sanitize::watches() {
        fiber::unmade(gp);
    }
    gdestroy(gp, None);
}

/// Tells sanitizers of a goroutine that `creator` makes.
///
/// Errors: `ENOMEM`.
fn race_start(
    gp: &'static G,
    spec: &NewG<'_>,
    creator: Option<&G>,
) -> Result<()> {
    // The scheduler makes one for a timer.
    let by_scheduler = creator.is_some_and(|g| g.mp().is_g0(g));
    fiber::racegostart(gp, spec.gopc, spec.flags, by_scheduler)
}

/// Takes out of a G what [`fill`] has put there.
fn empty(gp: &'static G) {
    take_args(gp, None);
    drop_name(gp);
    if let Some(stack) = gp.take_stack() {
        stack::stackfree_slow(stack);
    }
    gp.flags.set(0);
}

#[inline(always)]
fn check_sizes(spec: &NewG<'_>) -> Result<()> {
    if spec.stack_size > stack::MAX_SIZE {
        return Err(Errno::EINVAL);
    }
    let Some(args) = spec.args else { return Ok(()) };
    let stack = match spec.stack_size {
        0 => stack::default_size() + stack::GUARD,
        n => n,
    };
    if args.len() > MAX_ARGS.min(stack / 4) {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

/// Fills a dead G; its rare fields are empty.
#[inline(always)]
fn fill(gp: &'static G, spec: &NewG<'_>) -> Result<()> {
    gp.func.set(Some(spec.func));
    gp.arg.set(spec.arg);
    gp.gopc.set(spec.gopc);
    gp.flags.set(spec.flags);
    gp.errno.set(0);
    if spec.stack_size != 0 {
        gp.stack_size.set(spec.stack_size as u32);
        gp.set_flag(gflag::SIZED);
        if spec.stack_size > stack::POOLED_MOST {
            return fill_and_bind(gp, spec);
        }
    }
    fill_rest(gp, spec)
}

/// Fills a G and binds a stack with a mapping of its own (module).
#[cold]
fn fill_and_bind(gp: &'static G, spec: &NewG<'_>) -> Result<()> {
    fill_rest(gp, spec)?;
    bind_stack_now(gp).inspect_err(|_| {
        take_args(gp, None);
        drop_name(gp);
    })
}

#[inline(always)]
fn fill_rest(gp: &'static G, spec: &NewG<'_>) -> Result<()> {
    if let Some(name) = spec.name {
        set_name(gp, name)?;
    }
    if let Some(args) = spec.args
        && let Err(e) = keep_args(gp, args)
    {
        drop_name(gp);
        return Err(e);
    }
    Ok(())
}

/// The function that `gostart` calls, and its argument.
#[repr(C)]
pub(crate) struct FirstCall {
    func: Option<GmpFn>,
    arg: *mut c_void,
}

/// The first call on a new goroutine's stack: runs the hook of the goroutine
/// that was left, and goes outside.
#[unsafe(no_mangle)]
extern "C" fn gostart1() -> FirstCall {
    let mp = schedule::after_switch();
    let gp = this_g();
    super::context::restore(gp, mp);
    let mut func = gp.func.get();
    if gp.has(gflag::LOCK_AT_START | gflag::STEPS) {
        func = begin_otherwise(gp);
    }
    let entry = FirstCall { func, arg: gp.arg.get() };
    leave();
    entry
}

/// Begins a goroutine that is locked from its start, or a step of one. Returns
/// its function.
#[cold]
#[inline(never)]
fn begin_otherwise(gp: &G) -> Option<GmpFn> {
    if gp.has(gflag::LOCK_AT_START) {
        lockthread::lock_os_thread();
    }
    if !gp.has(gflag::STEPS) {
        return gp.func.get();
    }
    // A later step begins here as well.
    gp.clear_flag(gflag::LOCK_AT_START);
    Some(arch::gmprt_run_steps)
}
