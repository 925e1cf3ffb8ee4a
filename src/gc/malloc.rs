//! What the host asks of the heap: Go's `mallocgc`, and the rest.
//!
//! The calls never move the caller to another thread, but may wait for a
//! collection. In a callback they do not collect.
//!
//! In the child of a fork the heap may stand still (`forked`): what was
//! allocated stays, and nothing more is to be had.

use super::{
    bad_pointer::bad_pointer,
    cycle::{self, Why},
    forked,
    mcaches::own,
    settings,
};
use crate::{
    arch,
    base::sync::{AtomicBool, AtomicU32, Ordering::*},
    gmp::{M, SCHED},
    heap::{self, Kind, MCache, MHEAP, kept},
    os::{Errno, Result, clock::nanotime, exiting, signal::SigMask},
    sched::{
        background, child,
        enter::{Inside, give_way, owned_p},
        host, sigmask,
        suspended::{self, Busy},
        urgent::{self, User},
    },
    stack,
};
use core::{
    ffi::c_void,
    ptr::{self, NonNull},
};

/// Allocations of the long way, for `gcstress`.
static ALLOCATIONS: AtomicU32 = AtomicU32::new(0);
/// There is a heap.
static BEGUN: AtomicBool = AtomicBool::new(false);
/// The heap's table has all stacks.
static SPANS: stack::Spans = stack::Spans {
    add: |base, len| MHEAP.set_manual(base, len),
    remove: |base, len| MHEAP.clear_manual(base, len),
};

/// Memory for an object; null without memory. Go's `mallocgc`, the long way.
#[cold]
#[inline(never)]
pub(crate) fn malloc_slow(size: usize, kind: Kind) -> *mut u8 {
    unsafe extern "C" fn slow(size: usize, kind: usize, sp: usize) -> usize {
        malloc_from(size, Kind::ALL[kind], sp).addr()
    }
    // SAFETY: it takes a size and a kind.
    unsafe { arch::callsaved(slow, size, kind as usize) as *mut u8 }
}

/// [`mallocgc`], with the frames of the host from `sp` on.
fn malloc_from(size: usize, kind: Kind, sp: usize) -> *mut u8 {
    let Ok(mp) = begin() else { return ptr::null_mut() };
    let collect = || cycle::start_from(Why::Due, sp);
    if !make_room(mp, size.max(1), is_stressed(), collect) {
        return ptr::null_mut();
    }
    let mut first = false;
    let at = with_cache(mp, |cache| {
        first = MHEAP.pacing.note_use(nanotime);
        cache.alloc(size, kind)
    });
    if first {
        forcegc_is_due_later();
    }
    // What was swept meanwhile.
    background::wake_cleaner();
    at.flatten().map_or(ptr::null_mut(), NonNull::as_ptr)
}

/// Collects if that is due, or `wanted`, or if `more` bytes of objects would
/// pass the limit. Whether they do not.
fn make_room(
    mp: &M,
    more: usize,
    wanted: bool,
    collect: impl FnOnce() -> Result<()>,
) -> bool {
    let limit = MHEAP.pacing.limit();
    let past = || more > 0 && MHEAP.live().saturating_add(more) > limit;
    let nested = mp.in_runtime.load(Relaxed);
    if !nested && (MHEAP.is_due() || wanted || past()) {
        // What fails is tried again when the heap has grown.
        let _later = collect();
    }
    !past()
}

/// Whether it is the turn of `gcstress`.
fn is_stressed() -> bool {
    match settings::STRESS.load(Relaxed) {
        0 => false,
        n => ALLOCATIONS.fetch_add(1, Relaxed) % n == n - 1,
    }
}

/// Whether the host uses the heap.
pub(super) fn has_begun() -> bool {
    // Acquire: pairs with begin.
    BEGUN.load(Acquire)
}

/// The first step of each call but the fast one: this thread has a G, and there
/// is a heap.
///
/// Errors: `ENOTSUP` where a fork has left the heap, `ENOMEM`.
#[cold]
pub(super) fn begin() -> Result<&'static M> {
    if forked::refuses() {
        return Err(Errno(libc::ENOTSUP));
    }
    let gp = match arch::getg() {
        Some(gp) => gp,
        None => host::current()?,
    };
    // Acquire: pairs with the store below.
    if !BEGUN.load(Acquire) {
        // First: from here on a child of this process has no heap.
        want();
        // Before there is an object.
        exiting::watch();
        MHEAP.init().ok_or(Errno::ENOMEM)?;
        stack::tell(&SPANS)?;
        BEGUN.store(true, Release);
    }
    background::start_forcer(forcegchelper);
    let mp = gp.mp();
    // In the function of a gmp_blocking.
    suspended::blocking_ends(mp);
    if !mp.listens.replace(true) {
        listen_here();
    }
    give_way(mp);
    Ok(mp)
}

/// [`begin`] for another collector, which needs no heap of ours, but all that
/// the runtime keeps from now on.
///
/// Errors: `EPERM` on a goroutine; `EDEADLK` in a callback; `ENOTSUP` in the
/// child of a fork; `ENOMEM`.
pub(super) fn begin_as_host() -> Result<&'static M> {
    if child::is_a_child() {
        return Err(Errno(libc::ENOTSUP));
    }
    let gp = host::current()?;
    if !gp.is_host() {
        return Err(Errno(libc::EPERM));
    }
    want();
    Ok(gp.mp())
}

/// From now on collections find what they need, and stop threads.
fn want() {
    kept::want();
    suspended::want();
    if let Some(sig) = urgent::of(User::Collection) {
        sigmask::never_blocks(sig);
    }
}

/// `gmp_gc_set_percent`. Returns the former percentage.
pub(crate) fn set_percent(percent: i32) -> i32 {
    let was = MHEAP.pacing.set_percent(percent);
    forcegc_is_due_later();
    was
}

/// There may be a time now at which forcegc is due. sysmon may sleep until a P
/// is taken: it looks at that time under the lock, as it falls asleep.
#[cold]
fn forcegc_is_due_later() {
    SCHED.lock().wake_sysmon();
}

/// The goroutine that collects where nobody has for long.
unsafe extern "C" fn forcegchelper(_arg: *mut c_void) {
    while background::forcer_waits() {
        // What fails now is tried again.
        let _later = cycle::start(Why::Due);
    }
}

/// Lets collections stop this thread, whose host may have blocked all signals.
fn listen_here() {
    let mut mask = SigMask::current();
    if let Some(sig) = urgent::of(User::Collection)
        && mask.contains(sig)
    {
        mask.remove(sig);
        mask.restore();
    }
}

/// Calls `f` with this thread's mcache; None without memory.
fn with_cache<R>(mp: &'static M, f: impl FnOnce(&MCache) -> R) -> Option<R> {
    let inside = Inside::enter_on(mp);
    let busy = Busy::begin(mp);
    let result = own(mp, owned_p(mp)).map(f);
    drop(busy);
    inside.leave_on(mp);
    result
}

/// `gmp_gc_attach`: collections find what this thread has on its stack.
///
/// Errors: `ENOTSUP`, `ENOMEM`.
pub(crate) fn attach() -> Result<()> {
    let mp = begin()?;
    with_cache(mp, |_| ()).ok_or(Errno::ENOMEM)
}

/// `gmp_gc_realloc`.
///
/// # Safety
/// Nobody else uses the object.
pub(crate) unsafe fn realloc(at: *mut u8, size: usize) -> *mut u8 {
    let Some(at) = NonNull::new(at) else {
        return malloc_slow(size, Kind::Scan);
    };
    let Ok(mp) = begin() else { return ptr::null_mut() };
    // The old one is freed, so a smaller one passes no limit.
    let old = object(at.as_ptr()).map_or(0, |(_, bytes)| bytes);
    let more = size.saturating_sub(old);
    if !make_room(mp, more, false, || cycle::start(Why::Due)) {
        return ptr::null_mut();
    }
    let mut first = false;
    let new = with_cache(mp, |cache| {
        first = MHEAP.pacing.note_use(nanotime);
        // SAFETY: the caller's.
        unsafe { cache.realloc(at, size) }
    });
    if first {
        forcegc_is_due_later();
    }
    background::wake_cleaner();
    let Some(new) = new.flatten() else {
        let _null = bad_pointer("gmp_gc_realloc", at.as_ptr().addr());
        return ptr::null_mut();
    };
    new.as_ptr()
}

/// `gmp_gc_free`.
///
/// Errors: `EINVAL` if no object begins there, or it is free; `ENOTSUP`,
/// `ENOMEM`.
pub(crate) fn free(at: *mut u8) -> Result<()> {
    let mp = begin()?;
    let freed = with_cache(mp, |cache| cache.free(at.addr()));
    let freed = freed.unwrap_or_else(|| {
        let _inside = Inside::enter_on(mp);
        let _busy = Busy::begin(mp);
        MHEAP.free_without(at.addr())
    });
    background::wake_cleaner();
    if freed { Ok(()) } else { Err(bad_pointer("gmp_gc_free", at.addr())) }
}

/// The object that `at` points into: its address and its bytes.
pub(crate) fn object(at: *const u8) -> Option<(usize, usize)> {
    let object = if forked::is_left() {
        // Nothing changes any more: what was not swept stays.
        let found = MHEAP.arenas()?.find(at.addr());
        found.filter(heap::Object::is_allocated)?
    } else {
        let mp = begin().ok()?;
        let _inside = Inside::enter_on(mp);
        let _busy = Busy::begin(mp);
        MHEAP.object(at.addr())?
    };
    Some((object.base, object.room()))
}

/// `gmp_gc`: a whole collection, and all is swept. The frames of the host lie
/// from `sp` on.
///
/// Errors: `EDEADLK` in a callback; `EBUSY` if a thread does not stop;
/// `ENOTSUP`, `ENOMEM`.
pub(crate) fn collect(sp: usize) -> Result<()> {
    let mp = begin()?;
    if mp.in_runtime.load(Relaxed) {
        return Err(Errno(libc::EDEADLK));
    }
    cycle::start_from(Why::Asked, sp)
}
