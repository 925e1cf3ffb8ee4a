//! Sanitizers are told of goroutines: of their start, of each switch, and of
//! their end.
//!
//! While a sanitizer watches, no goroutine switches to another one directly
//! (`M::direct`). So all is told on g0: [`left`], right after the switch from a
//! goroutine, and [`comes`], right before the switch to one. Both find g0's
//! stack in use while the sanitizer takes the other one for the thread's. That
//! is safe, because nothing between is instrumented.
//!
//! | sanitizer | a goroutine, and its stack |
//! |---|---|
//! | AddressSanitizer | the thread's stack while it runs; clean at its end |
//! | LeakSanitizer | suspended: a root, from its stack pointer up |
//! | ThreadSanitizer | a fiber from `newproc` to the end; then mapped anew |
//! | valgrind | a stack from its mapping on (`stack`) |
//!
//! Invariants:
//! 1. The fiber of a thread is that of the goroutine, or of the thread itself
//!    while it runs on g0 or the host's stack.
//! 2. On a g0 of our threads everything is ignored ([`sanitize::ignore`]) but
//!    the host's functions.
//!
//! LeakSanitizer stops all threads wherever they are. So a stack becomes a root
//! before the thread lets go of it, and the stack that a thread goes to is the
//! thread's before it is no root any more.
//!
//! # Rejected
//! - Whole stacks as roots: what lies below the stack pointer is dead, and
//!   would hide leaks.
//! - Telling around direct switches too: hooks would run as the goroutine that
//!   comes next.

use crate::{
    arch,
    base::sanitize::{self, Bounds, Fake, Fiber},
    gmp::{
        G, GStatus, INLINE_ARGS, M, MKind, gflag, runtime_m0,
        watched::{self, Watched, watched},
    },
    os::{Errno, Result},
    stack,
};
use core::{
    cell::Cell,
    ffi::CStr,
    fmt::{self, Write as _},
    ptr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

static TIMERS: u8 = 0;

/// The address of all timers: what a caller does before it starts one comes
/// before its function.
pub(crate) fn timers() -> usize {
    (&raw const TIMERS).addr()
}

static ENDS: u8 = 0;

/// The address of all ends: what goroutines have done comes before the return
/// of a shutdown.
pub(crate) fn ends() -> usize {
    (&raw const ENDS).addr()
}

static STOPS: u8 = 0;

/// The address of all stops for a collection: what a thread or a goroutine did
/// before it stood still comes before what the collector does.
pub(crate) fn stops() -> usize {
    (&raw const STOPS).addr()
}

/// The caller is about to stand still.
#[inline(always)]
pub(super) fn stands() {
    sanitize::race_release(stops());
}

/// The address of the cancels of `gp`: what a canceller did comes before what
/// the goroutine does once it knows.
fn cancels(gp: &G) -> usize {
    ptr::from_ref(gp).addr() + 1
}

/// The caller is about to cancel `gp`.
pub(crate) fn cancelling(gp: &G) {
    sanitize::race_release(cancels(gp));
}

/// `gp`, the caller, has learnt that it was cancelled.
pub(crate) fn knows_of_cancel(gp: &G) {
    sanitize::race_acquire(cancels(gp));
}

/// A goroutine is made, by the caller (Go's name).
///
/// Errors: `ENOMEM`.
#[cold]
pub(super) fn racegostart(
    gp: &'static G,
    gopc: usize,
    flags: u16,
    by_scheduler: bool,
) -> Result<()> {
    let w = watched::make(gp).ok_or(Errno::ENOMEM)?;
    let mut name = Name { text: [0; 32], len: 0 };
    // It is cut if there is no room.
    let _ = write!(name, "goroutine {}", gp.goid.get());
    let name = CStr::from_bytes_until_nul(&name.text).unwrap_or(c"goroutine");
    w.fiber.set(sanitize::create_fiber(name, gopc));
    // In the child of a fork, the last goroutine of this G may not have ended.
    w.fake.set(ptr::null_mut());
    w.ignored.set(false);
    exchange(&w.root, (0, 0));
    exchange(&w.fake_root, (0, 0));
    w.by_timer.set(by_scheduler);
    // No call of the host's has made it.
    w.ours.set(gopc == 0 && flags & gflag::MAIN == 0);
    Ok(())
}

/// A goroutine that was made is taken back, and will not run.
#[cold]
pub(super) fn unmade(gp: &G) {
    if let Some(w) = watched(gp) {
        sanitize::destroy_fiber(w.fiber.replace(ptr::null_mut()));
    }
}

/// A name, on the stack; the last byte stays NUL.
struct Name {
    text: [u8; 32],
    len: usize,
}

impl fmt::Write for Name {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = self.text.len() - 1 - self.len;
        let n = s.len().min(room);
        self.text[self.len..self.len + n].copy_from_slice(&s.as_bytes()[..n]);
        self.len += n;
        Ok(())
    }
}

/// On g0, before the switch to `gp`.
#[cold]
pub(super) fn comes(gp: &'static G, mp: &'static M) {
    let Some(w) = watched(gp) else { return };
    let g0 = &mp.watched;
    let (lo, hi) = (gp.stack_lo.get(), gp.stack_hi.get());
    if mp.kind.get() == MKind::Host && sanitize::follows_stacks() {
        // Frames of the host's are above g0's base.
        let base = mp.g0().sched_sp.get();
        g0.root.set(base);
    }
    let mut fake = ptr::null_mut();
    let was = sanitize::switch_stack(
        Some(&mut fake),
        Bounds { lo, len: hi - lo },
        w.fake.get(),
    );
    g0.fake.set(fake);
    g0.bounds.set(was);
    if g0.root.get() != 0 {
        sanitize::root(g0.root.get(), was.lo + was.len - g0.root.get());
    }
    if sanitize::leaks() && !sanitize::follows_stacks() {
        // Nobody says where the stack of a running goroutine is.
        move_root(w, lo, hi);
    }
    if sanitize::raceenabled() {
        tell_tls(mp);
        g0.fiber.set(sanitize::current_fiber());
        sanitize::switch_to_fiber(w.fiber.get());
        if w.ours.get() && !w.ignored.replace(true) {
            sanitize::ignore();
        }
        if w.by_timer.replace(false) {
            sanitize::race_acquire(timers());
        }
    }
}

/// On g0, after the switch from `gp`, which is suspended, waits without a stack
/// or has ended.
#[cold]
pub(super) fn left(gp: &'static G, mp: &'static M) {
    let Some(w) = watched(gp) else { return };
    let g0 = &mp.watched;
    let dead = gp.readgstatus() == GStatus::Dead;
    // Between two steps.
    let bare = !dead && !gp.has(gflag::STARTED);
    let (lo, hi) = (gp.stack_lo.get(), gp.stack_hi.get());
    stands();
    if dead {
        sanitize::race_release(ptr::from_ref(gp).addr());
        sanitize::race_release(gp.at_end.get().addr());
        sanitize::race_release(ends());
        racegoend(gp, w);
    } else if bare {
        forget_stack(w, lo, hi);
    } else if sanitize::leaks() {
        move_root(w, gp.sched_sp.get(), hi);
    }
    let mut fake = ptr::null_mut();
    let save = (!dead && !bare).then_some(&mut fake);
    sanitize::switch_stack(save, g0.bounds.get(), g0.fake.get());
    w.fake.set(fake);
    if g0.root.get() != 0 {
        let was = g0.bounds.get();
        sanitize::unroot(g0.root.get(), was.lo + was.len - g0.root.get());
        g0.root.set(0);
    }
    if !dead && !bare {
        root_fake(w, fake, hi - lo);
    }
    if sanitize::raceenabled() {
        let fiber = w.fiber.get();
        if dead && w.ignored.replace(false) {
            sanitize::heed();
        }
        sanitize::switch_to_fiber(g0.fiber.get());
        if dead {
            sanitize::destroy_fiber(fiber);
            // Go's racemalloc. As g0: nobody is to find who maps it.
            // SAFETY: the goroutine's, which has left it for good.
            unsafe { stack::renew(lo, hi) };
        }
    }
}

/// On g0: the stack from `lo` to `hi` was left between two steps, and what the
/// goroutine had put there for its hook is no longer needed.
///
/// # Safety
/// Nobody uses the stack.
#[cold]
pub(super) unsafe fn left_between(lo: usize, hi: usize) {
    if sanitize::raceenabled() {
        // As in `left`.
        // SAFETY: nobody uses the stack, the caller promises.
        unsafe { stack::renew(lo, hi) };
    }
}

/// A goroutine has ended (Go's name): nothing of it stays.
fn racegoend(gp: &G, w: &Watched) {
    let (lo, hi) = (gp.stack_lo.get(), gp.stack_hi.get());
    // The table of Gs is a root.
    gp.arg.set(ptr::null_mut());
    // SAFETY: the arguments are on the stack since its start.
    unsafe { gp.args.get().write([0; INLINE_ARGS]) };
    forget_stack(w, lo, hi);
}

/// Nothing of a goroutine stays on the stack.
fn forget_stack(w: &Watched, lo: usize, hi: usize) {
    move_root(w, 0, hi);
    root_fake(w, ptr::null_mut(), hi - lo);
    sanitize::unpoison(lo, hi - lo);
}

/// What LeakSanitizer has of the stack that ends at `hi` begins at `to` from
/// now on; 0 for nothing.
fn move_root(w: &Watched, to: usize, hi: usize) {
    exchange(&w.root, if to == 0 { (0, 0) } else { (to, hi - to) });
}

/// Makes the range `new` a root, in the place of `root`.
fn exchange(root: &Cell<(usize, usize)>, new: (usize, usize)) {
    let was = root.replace(new);
    if was == new {
        return;
    }
    if new.0 != 0 {
        sanitize::root(new.0, new.1);
    }
    if was.0 != 0 {
        sanitize::unroot(was.0, was.1);
    }
}

/// Frames that AddressSanitizer has put elsewhere are a root from the first
/// park on.
fn root_fake(w: &Watched, fake: Fake, stack: usize) {
    if !sanitize::leaks() {
        return;
    }
    // 11 sizes of frames with as many bytes each as the stack has, at most 1
    // MiB, behind their flags. A larger range does no harm: of it, only what is
    // mapped is looked at.
    let len = 12 * stack.next_power_of_two().clamp(1 << 16, 1 << 20);
    let new = if fake.is_null() { (0, 0) } else { (fake.addr(), len) };
    exchange(&w.fake_root, new);
}

/// Bytes from the begin of a thread's thread-local storage to its thread
/// pointer; 0 until it is known.
static BEFORE_TP: AtomicUsize = AtomicUsize::new(0);
/// Bytes behind the thread pointer: glibc's own.
const BEHIND_TP: usize = 4096;
/// More than any such storage has.
const MUCH: usize = 4 << 20;

/// A thread of ours begins, on its g0 (invariant 2).
#[cold]
pub(super) fn begin_g0(mp: &M) {
    // m0 since raceinit.
    if !ptr::eq(mp, &runtime_m0) {
        sanitize::ignore();
    }
    // The storage lies on top of a thread's stack, and of that we have used
    // next to nothing. On the main thread it lies elsewhere.
    let here = 0u8;
    let before = arch::thread_pointer().wrapping_sub((&raw const here).addr());
    if before < MUCH {
        BEFORE_TP.store(before, Relaxed);
    }
    tell_tls(mp);
}

/// Thread-local storage belongs to the goroutines that run on the thread, one
/// after the other. That order is nothing that ThreadSanitizer may know, or it
/// would find no race of two goroutines that run on one thread.
fn tell_tls(mp: &M) {
    let before = BEFORE_TP.load(Relaxed);
    if !mp.watched.told.replace(before != 0) && before != 0 {
        let lo = arch::thread_pointer() - before;
        sanitize::benign(lo, before + BEHIND_TP);
    }
}

/// It ends.
pub(super) fn end_g0() {
    sanitize::heed();
}

/// Calls the host's function `f` in the middle of a call of `gp`, maybe on g0:
/// to ThreadSanitizer, `gp` calls it. So `f` may unlock what `gp` has locked.
#[inline(always)]
pub(super) fn in_host<R>(gp: &G, f: impl FnOnce() -> R) -> R {
    if !sanitize::watches() {
        return f();
    }
    let was = begin_host(gp);
    let result = f();
    end_host(was);
    result
}

/// Returns the fiber that the thread goes back to, or null.
#[cold]
#[inline(never)]
fn begin_host(gp: &G) -> Fiber {
    let mut was = ptr::null_mut();
    if sanitize::raceenabled() {
        if !gp.is_host()
            && let Some(w) = watched(gp)
        {
            was = sanitize::current_fiber();
            // No other thread is on it: the wait is not committed.
            sanitize::switch_in_order(w.fiber.get());
        }
        // Ignored since the call began.
        sanitize::heed();
    }
    was
}

#[cold]
#[inline(never)]
fn end_host(was: Fiber) {
    sanitize::ignore();
    if !was.is_null() {
        sanitize::switch_in_order(was);
    }
}
