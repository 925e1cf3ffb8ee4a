//! Goroutines made and given their first frame.
//!
//! A goroutine costs a descriptor until it first runs: its stack is bound by
//! `execute` ([`bind_stack`]), its arguments wait in the descriptor. Only a
//! stack with a mapping of its own comes at once.

use super::{
    enter::{Inside, leave, owned_p},
    join, lockthread, park,
    procs::{wakep, wakep_for},
    schedule,
};
use crate::{
    arch,
    gmp::{
        BATCH, G, GOIDCACHE, GStatus, GmpFn, INLINE_ARGS, MAIN_STACK, OwnedP,
        SCHED, casgstatus, g_from_handle, galloc, galloc_many, gflag,
        handle_of,
    },
    os::{Errno, Result},
    stack::{self, Stack, StackCache},
};
use core::{
    ffi::{CStr, c_int, c_void},
    ptr,
    sync::atomic::Ordering::*,
};

/// Arguments of `gmp_go_copy` at most.
pub(crate) const MAX_ARGS: usize = 64 * 1024;

/// What a goroutine is started with.
pub(crate) struct NewG<'a> {
    pub func: GmpFn,
    pub arg: *mut c_void,
    /// Copied onto the new stack; `func` gets their address instead of `arg`.
    pub args: Option<&'a [u8]>,
    pub name: Option<&'a CStr>,
    /// Bytes; 0 for the default.
    pub stack_size: usize,
    /// Of `gflag`.
    pub flags: u16,
    /// Somebody will join or release it.
    pub joinable: bool,
}

impl NewG<'_> {
    #[inline(always)]
    pub(crate) fn new(func: GmpFn, arg: *mut c_void) -> Self {
        Self {
            func,
            arg,
            args: None,
            name: None,
            stack_size: 0,
            flags: 0,
            joinable: false,
        }
    }
}

/// `newproc(fn)` of the start path: from rt0_go, on g0. Makes the main
/// goroutine; on the exe path that runs the program's `main`. 0 or an errno.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn newproc(func: GmpFn, arg: *mut c_void) -> c_int {
    // Relaxed: set earlier on this thread.
    let stack_size = MAIN_STACK.load(Relaxed);
    let flags = if stack_size == 0 { gflag::SYSTEM } else { gflag::MAIN };
    let spec = NewG { stack_size, flags, ..NewG::new(func, arg) };
    let made = reserve_stacks().and_then(|()| newproc1(&spec).map(drop));
    made.map_or_else(|e| e.0, |()| 0)
}

/// Has the pool keep a stack for each goroutine of the start, the main one and
/// the library's two: until these run, nobody looks after who waits for one.
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
    newproc1(&NewG {
        name: Some(name),
        flags: gflag::SYSTEM,
        ..NewG::new(func, arg)
    })
}

/// Makes a goroutine and queues it: on this P to run next, or, from a thread
/// without one, in the global queue. Returns its handle.
///
/// Errors: `EINVAL` for a size that no stack can have, `ENOMEM`.
pub(crate) fn newproc1(spec: &NewG<'_>) -> Result<*mut c_void> {
    start(spec)
}

/// `newproc1` of a function and nothing else: the usual case, compiled for it.
pub(crate) fn newproc_plain(func: GmpFn, arg: *mut c_void) -> Result<()> {
    start(&NewG::new(func, arg)).map(drop)
}

#[inline(always)]
fn start(spec: &NewG<'_>) -> Result<*mut c_void> {
    check_sizes(spec)?;
    let _inside = Inside::enter();
    let creator = arch::getg();
    // SAFETY: null or this thread's G.
    let creator = unsafe { creator.as_ref() };
    let pp = creator.and_then(|g| owned_p(g.mp()));
    let gp = gfget(pp).ok_or(Errno::ENOMEM)?;
    if let Err(e) = fill(gp, spec) {
        gp.flags.set(0);
        gfput(pp, gp);
        return Err(e);
    }
    gp.parent.set(creator.map_or(0, |g| g.goid.get()));
    gp.goid.set(next_goid(pp));
    join::start(gp, spec.joinable);
    count(pp, gp, 1);
    let handle = handle_of(gp);
    casgstatus(gp, GStatus::Dead, GStatus::Runnable);
    match pp {
        Some(pp) => {
            queue_new(pp, gp);
            wakep_for(pp);
        }
        None => {
            SCHED.lock().globrunqput(gp);
            wakep();
        }
    }
    Ok(handle)
}

/// Queues a new goroutine: to run next, or behind the others where somebody
/// is next already. So several that start together run in the order in which
/// they were started, and the usual one costs no read-modify-write.
#[inline(always)]
fn queue_new(pp: OwnedP, gp: &'static G) {
    // Relaxed: only the owner puts somebody there; a thief takes whom it saw.
    if pp.runnext.load(Relaxed).is_null() {
        // Release: publishes the goroutine to a thief.
        pp.runnext.store(ptr::from_ref(gp).cast_mut(), Release);
    } else {
        park::runqput(pp, gp, false);
    }
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

/// Fills a dead G, whose rare fields are empty.
#[inline(always)]
fn fill(gp: &'static G, spec: &NewG<'_>) -> Result<()> {
    gp.func.set(Some(spec.func));
    gp.arg.set(spec.arg);
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

/// What is mapped for this goroutine alone is mapped now, where its caller can
/// be told that there is no memory for it.
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

/// Keeps a copy of `args` until the stack is bound.
fn keep_args(gp: &'static G, args: &[u8]) -> Result<()> {
    let mut place = gp.args.get().cast::<u8>();
    if args.len() > INLINE_ARGS {
        // SAFETY: malloc may be called with any size.
        let heap = unsafe { libc::malloc(args.len()) };
        if heap.is_null() {
            return Err(Errno::ENOMEM);
        }
        // SAFETY: INLINE_ARGS holds a pointer, and gp is ours.
        unsafe { place.cast::<*mut c_void>().write_unaligned(heap) };
        place = heap.cast();
    }
    // SAFETY: place has room for args.len() bytes of ours.
    unsafe { ptr::copy_nonoverlapping(args.as_ptr(), place, args.len()) };
    gp.args_len.set(args.len() as u32);
    gp.set_flag(gflag::ARGS);
    Ok(())
}

/// Moves the kept arguments to `to`, or just drops them.
fn take_args(gp: &'static G, to: Option<*mut u8>) {
    let len = gp.args_len.replace(0) as usize;
    gp.flags.set(gp.flags.get() & !gflag::ARGS);
    let mut place = gp.args.get().cast::<u8>();
    let mut heap = ptr::null_mut::<c_void>();
    if len > INLINE_ARGS {
        // SAFETY: keep_args wrote a pointer there.
        heap = unsafe { place.cast::<*mut c_void>().read_unaligned() };
        place = heap.cast();
    }
    if let Some(to) = to {
        // SAFETY: the caller's room for args_len bytes on the new stack.
        unsafe { ptr::copy_nonoverlapping(place, to, len) };
    }
    // SAFETY: null, or from malloc in keep_args.
    unsafe { libc::free(heap) };
}

/// Names a goroutine; the name is copied.
pub(crate) fn set_name(gp: &'static G, name: &CStr) -> Result<()> {
    // SAFETY: a C string.
    let copy = unsafe { libc::strdup(name.as_ptr()) };
    if copy.is_null() {
        return Err(Errno::ENOMEM);
    }
    let old = gp.name.swap(copy, AcqRel);
    // SAFETY: null, or from strdup. A dump that reads names runs when the
    // process dies, or takes care of itself.
    unsafe { libc::free(old.cast()) };
    Ok(())
}

/// Of a G that nobody else names.
#[inline(always)]
pub(super) fn drop_name(gp: &G) {
    if !gp.name.load(Relaxed).is_null() {
        drop_name_slow(gp);
    }
}

#[cold]
fn drop_name_slow(gp: &G) {
    let name = gp.name.swap(ptr::null_mut(), AcqRel);
    // SAFETY: from strdup in set_name, and taken out just now.
    unsafe { libc::free(name.cast()) };
}

fn next_goid(pp: Option<OwnedP>) -> u64 {
    let Some(pp) = pp else {
        return SCHED.goidgen.fetch_add(1, Relaxed) + 1;
    };
    let (mut next, mut end) = pp.goidcache.get();
    if next == end {
        next = SCHED.goidgen.fetch_add(GOIDCACHE, Relaxed) + 1;
        end = next + GOIDCACHE;
    }
    pp.goidcache.set((next + 1, end));
    next
}

/// Counts goroutines of the host for `gmp_num_goroutines`.
pub(super) fn count(pp: Option<OwnedP>, gp: &G, change: i64) {
    if gp.has(gflag::SYSTEM) {
        return;
    }
    match pp {
        Some(pp) => pp.count(change),
        None => {
            SCHED.ngoroutines.fetch_add(change, Relaxed);
        }
    }
}

/// A dead G, from this P's list, the global one, or new.
#[inline(always)]
pub(crate) fn gfget(pp: Option<OwnedP>) -> Option<&'static G> {
    match pp.and_then(|pp| pp.gfree().pop_front()) {
        Some(gp) => Some(gp),
        None => gfget_slow(pp),
    }
}

#[cold]
fn gfget_slow(pp: Option<OwnedP>) -> Option<&'static G> {
    let Some(pp) = pp else {
        let cached = SCHED.lock().gfree.pop_front();
        return cached.or_else(|| {
            let gp = galloc()?;
            casgstatus(gp, GStatus::Idle, GStatus::Dead);
            Some(gp)
        });
    };
    let batch = SCHED.lock().gfree.take();
    match batch {
        Some(batch) => pp.gfree().refill(batch),
        None => galloc_many(BATCH, |gp| {
            casgstatus(gp, GStatus::Idle, GStatus::Dead);
            gfput(Some(pp), gp);
        }),
    }
    pp.gfree().pop_front()
}

/// Puts a dead G where the next one is found.
#[inline(always)]
pub(crate) fn gfput(pp: Option<OwnedP>, gp: &'static G) {
    let Some(pp) = pp else {
        SCHED.lock().gfree.push_front(gp);
        return;
    };
    if let Some(batch) = pp.gfree().push_front(gp) {
        SCHED.lock().gfree.put(batch);
    }
}

/// Gives `gp`, which has not run, a stack and its first frame.
///
/// Errors: `ENOMEM`.
#[inline]
pub(crate) fn bind_stack(pp: OwnedP, gp: &'static G) -> Result<()> {
    bind(Some(&pp.get().stacks), gp)
}

/// The same without a P, on any thread.
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
    // enough for its arguments and a frame (check_sizes).
    gp.sched_sp.set(unsafe { arch::first_frame(sp) });
    Ok(())
}

/// Binds `stack` to `gp`, which has not run, and moves its arguments there.
/// Returns where its first function finds the stack pointer.
#[inline(always)]
pub(super) fn move_in(gp: &'static G, stack: Stack) -> usize {
    gp.set_stack(stack);
    let mut sp = stack.hi;
    if gp.has(gflag::ARGS) {
        sp = (sp - gp.args_len.get() as usize) & !15;
        take_args(gp, Some(sp as *mut u8));
        gp.arg.set(sp as *mut c_void);
    }
    gp.set_flag(gflag::STARTED);
    sp
}

/// What `gostart` calls.
#[repr(C)]
pub(crate) struct Entry {
    func: Option<GmpFn>,
    arg: *mut c_void,
}

/// First on a new goroutine's stack: does what the goroutine that was left
/// needs, and goes outside.
#[unsafe(no_mangle)]
extern "C" fn gostart1() -> Entry {
    let mp = schedule::after_switch();
    // SAFETY: curg is this goroutine: it just came on.
    let gp: &'static G = unsafe { &*arch::getg() };
    super::context::restore(gp, mp);
    if gp.has(gflag::LOCK_AT_START) {
        lockthread::lock_os_thread();
    }
    let entry = Entry { func: gp.func.get(), arg: gp.arg.get() };
    leave();
    entry
}

/// The goroutine behind a handle of the host.
///
/// Errors: `EINVAL` for null, a stale or an invented handle.
pub(crate) fn lookup(handle: *mut c_void) -> Result<&'static G> {
    g_from_handle(handle).ok_or(Errno::EINVAL)
}

/// The same, for what needs a goroutine that has not ended.
pub(crate) fn lookup_live(handle: *mut c_void) -> Result<&'static G> {
    let gp = lookup(handle)?;
    if gp.readgstatus() == GStatus::Dead { Err(Errno::EINVAL) } else { Ok(gp) }
}

/// Live goroutines of the host.
pub(crate) fn gcount() -> i64 {
    let mut n = SCHED.ngoroutines.load(Relaxed);
    for id in 0..crate::gmp::nallp() {
        n += crate::gmp::allp(id).live.load(Relaxed);
    }
    n.max(0)
}
