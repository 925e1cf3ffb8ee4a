//! A thread that a collection stops: the flag of those that are at work on the
//! heap, and the answer of those that are not. `gmp::suspend` has the protocol.
//!
//! The handler answers only where the collector knows what there is to scan. It
//! returns, and the stopper tries again, where the thread
//!
//! - holds a lock of the library: so whatever a lock guards is whole while the
//!   world is stopped, and the collector may lock;
//! - has its stack pointer on a signal stack of the host's, or on another stack
//!   than its goroutine's in the few instructions of a switch. A host thread
//!   may have switched to a stack that only the host knows (`gc::host_stack`).
//!
//! A thread that waits in a call of the library does so in a safe region
//! ([`safely`]): collections neither signal it nor wait for it, and its system
//! call is not interrupted. The function of `gmp_blocking` is the host's, and
//! may move pointers of the heap; so that is a region only where there is no
//! signal, and the host has been told what that asks for.
//!
//! | without a signal a thread stops | by |
//! |---|---|
//! | at its next park, or as it leaves a region | the protocol |
//! | at its next work on the heap | `late` ([`ask`]) |
//! | in `gmp_checkpoint` and `gmp_yield` | its request to yield ([`ask`]) |
//!
//! Invariants:
//! 1. A thread that has answered holds no lock, and no [`Busy`] lives on it. A
//!    safe one may take locks of the library meanwhile, for moments.
//! 2. What is captured by the function of a region lies in frames above the
//!    region's sp.

use super::{
    fiber,
    urgent::{self, User},
};
use crate::{
    arch,
    base::{sanitize, turnstile::ThisThread},
    gmp::{G, M, MKind, STOPS},
};
use core::{
    arch::asm,
    hint,
    mem::{self, MaybeUninit},
    ptr,
    sync::atomic::{AtomicBool, Ordering::*},
};

/// This thread is at work on the heap: it is not stopped while this lives, and
/// a P that it has found to be its own is not taken from it.
#[must_use]
pub(crate) struct Busy {
    mp: &'static M,
    nested: bool,
}

impl Busy {
    /// On `mp`, this thread's M.
    #[inline(always)]
    pub(crate) fn begin(mp: &'static M) -> Self {
        Self { mp, nested: mp.suspend.begin() }
    }

    /// The same where the thread is not busy yet, else None. A P that it holds
    /// afterwards no retaker takes while this lives (`procs::try_retake`).
    #[inline(always)]
    pub(crate) fn begin_alone(mp: &'static M) -> Option<Self> {
        if mp.suspend.begin() {
            return None;
        }
        Some(Self { mp, nested: false })
    }

    /// This thread's M.
    #[inline(always)]
    pub(crate) fn mp(&self) -> &'static M {
        self.mp
    }

    /// Ends it, as the last step of a function that returns `result`.
    #[inline(always)]
    pub(crate) fn leave_with<R>(self, result: R) -> R {
        let (mp, nested) = (self.mp, self.nested);
        mem::forget(self);
        if !nested && mp.suspend.end() {
            return answered_late(mp, result);
        }
        result
    }
}

impl Drop for Busy {
    #[inline(always)]
    fn drop(&mut self) {
        if !self.nested && self.mp.suspend.end() {
            answer_late(self.mp);
        }
    }
}

/// The registers that a call keeps.
pub(crate) type Saved = [usize; 6];

/// The callee-saved registers. What they hold may be a pointer of a caller's
/// that is nowhere else.
#[inline(always)]
pub(crate) fn save_registers(to: &mut Saved) {
    let to = to.as_mut_ptr();
    // SAFETY: writes the array.
    unsafe {
        asm!(
            "mov [{0}], rbx",
            "mov [{0} + 8], rbp",
            "mov [{0} + 16], r12",
            "mov [{0} + 24], r13",
            "mov [{0} + 32], r14",
            "mov [{0} + 40], r15",
            in(reg) to,
            options(nostack, preserves_flags),
        );
    }
}

/// A stop came while the thread was busy.
#[cold]
#[inline(never)]
fn answer_late(mp: &'static M) {
    mp.suspend.take_late();
    if ThisThread.is_in_section() {
        // Within a callback, under a lock. The stopper tries again.
        return;
    }
    let mut saved: Saved = [0; 6];
    save_registers(&mut saved);
    fiber::stands();
    // The frames of all callers lie above.
    note_frames(mp);
    mp.suspend.answer(&STOPS, saved.as_ptr().addr(), 0);
}

/// [`answer_late`], and then the end of a function.
#[cold]
#[inline(never)]
fn answered_late<R>(mp: &'static M, result: R) -> R {
    answer_late(mp);
    // Else the caller would not end by this call: it knows the result.
    hint::black_box(result)
}

/// The answer in the handler.
pub(crate) fn answer(_number: u32, context: &mut libc::ucontext_t) {
    let Some(gp) = arch::getg() else { return };
    let mp = gp.mp();
    if mp.suspend.is_safe()
        || mp.suspend.is_busy()
        || ThisThread.is_in_section()
    {
        return;
    }
    mp.suspend.handles(true);
    answer_here(gp, mp, context);
    mp.suspend.handles(false);
}

fn answer_here(gp: &G, mp: &M, context: &mut libc::ucontext_t) {
    let sp = context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize;
    let at = ptr::from_ref(context).addr();
    if !stands_well(gp, mp, sp, context) {
        return;
    }
    let mut sp = sp;
    let mut saved: Saved = [0; 6];
    if sanitize::raceenabled() {
        // The handler may have been put off, and be called as any function: the
        // thread has gone on since it was interrupted, with other registers.
        save_registers(&mut saved);
        let here = saved.as_ptr().addr();
        if stands_well(gp, mp, here, context) {
            sp = here;
        } else if !is_on_signal_stack(context, at) {
            // The tool's copy, of an earlier time, as the thread leaves its
            // sleep of the last stop. The stopper tries again.
            return;
        }
    }
    fiber::stands();
    note_frames(mp);
    mp.suspend.answer(&STOPS, sp, ptr::from_mut(context).addr());
}

/// Notes where AddressSanitizer has the frames of the stack that this thread
/// stands on.
#[inline(always)]
fn note_frames(mp: &M) {
    if sanitize::follows_stacks() {
        mp.watched.stands.set(sanitize::current_fake());
    }
}

/// Whether `sp` is on the stack of `gp`, or on one of this thread's that is not
/// for signals.
fn stands_well(gp: &G, mp: &M, sp: usize, context: &libc::ucontext_t) -> bool {
    !is_on_signal_stack(context, sp) && is_known(gp, mp, sp)
}

fn is_on_signal_stack(context: &libc::ucontext_t, address: usize) -> bool {
    let stack = &context.uc_stack;
    let lo = stack.ss_sp.addr();
    stack.ss_flags & libc::SS_DISABLE == 0
        && (lo..=lo + stack.ss_size).contains(&address)
}

/// [`stands_well`], where the stack is not the thread's signal stack.
fn is_known(gp: &G, mp: &M, sp: usize) -> bool {
    if !gp.is_host() && !mp.is_g0(gp) {
        return gp.on_stack(sp);
    }
    if mp.kind.get() == MKind::Host {
        return !on_goroutine(mp, sp);
    }
    mp.g0().on_stack(sp)
}

/// Whether `sp` is on the stack of the goroutine that `mp` runs in place.
fn on_goroutine(mp: &M, sp: usize) -> bool {
    // SAFETY: null, or a type-stable G.
    let gp = unsafe { mp.curg.load(Relaxed).as_ref() };
    gp.is_some_and(|gp| gp.on_stack(sp))
}

/// There may be collections, so a thread that waits enters a region. One that
/// waits already is signalled, as if it were in the host's code, unless its
/// wait was to be a long one.
static WANTED: AtomicBool = AtomicBool::new(false);

/// From now on threads that wait are in regions: the heap is in use, or threads
/// are not signalled when it is.
pub(crate) fn want() {
    WANTED.store(true, Relaxed);
}

/// Calls `f`, which waits and touches nothing of the host's but what it has
/// captured, in a safe region. The caller is inside or outside, and not busy.
#[inline(always)]
pub(crate) fn safely<R>(f: impl Fn() -> R) -> R {
    // Relaxed: a thread that comes too early is signalled.
    if WANTED.load(Relaxed) { safely_slow(f) } else { f() }
}

/// [`safely`] for a wait that may be a long one, as that of the thread that has
/// called `gmp_run_main`. Else each collection would interrupt a thread that
/// has begun to wait before the heap was in use.
pub(crate) fn safely_long<R>(f: impl Fn() -> R) -> R {
    safely_slow(f)
}

/// [`safely`], where there may be collections.
fn safely_slow<R>(f: impl Fn() -> R) -> R {
    let Some(gp) = arch::getg() else { return f() };
    let mut region = Region { gp, f, result: MaybeUninit::uninit() };
    let at = (&raw mut region).expose_provenance();
    // SAFETY: `Region::run` takes the address of a Region of these types.
    unsafe { arch::callsaved(run_of(&region), at, 0) };
    // SAFETY: `Region::run` has written it.
    unsafe { region.result.assume_init() }
}

/// A region, and what it is for: all in the caller's frame (invariant 2).
struct Region<F, R> {
    gp: &'static G,
    f: F,
    result: MaybeUninit<R>,
}

/// [`Region::run`] of its types.
fn run_of<F: Fn() -> R, R>(
    _region: &Region<F, R>,
) -> unsafe extern "C" fn(usize, usize, usize) -> usize {
    Region::<F, R>::run
}

impl<F: Fn() -> R, R> Region<F, R> {
    /// # Safety
    /// `at`: the address of a region, which nobody else uses.
    unsafe extern "C" fn run(at: usize, _: usize, sp: usize) -> usize {
        let at = ptr::with_exposed_provenance_mut::<Self>(at);
        // SAFETY: the caller's.
        let region = unsafe { &mut *at };
        let mp = region.gp.mp();
        let entered = enter(region.gp, mp, sp);
        region.result.write((region.f)());
        if entered {
            mp.suspend.leave(&STOPS);
        }
        0
    }
}

/// Enters a region, if this thread's stack is one that the collector knows.
fn enter(gp: &G, mp: &M, sp: usize) -> bool {
    let known = is_known(gp, mp, sp);
    if known {
        fiber::stands();
        note_frames(mp);
        mp.suspend.enter(&STOPS, sp);
    }
    known
}

/// This thread can be found from now on, or is at a safe
/// point: it waits while a stop is on.
#[inline(always)]
pub(crate) fn newcomer() {
    if STOPS.is_on() {
        wait_for_end();
    }
}

#[cold]
#[inline(never)]
fn wait_for_end() {
    // Where the stack is not known, the handler says no more than this.
    safely(|| STOPS.wait());
}

/// The function of `gmp_blocking` begins. The frames of the host, and its
/// registers, lie from `sp` on.
pub(crate) fn blocking_begins(sp: usize) {
    if urgent::of(User::Collection).is_some() {
        return;
    }
    let Some(gp) = arch::getg() else { return };
    let mp = gp.mp();
    if !mp.in_runtime.load(Relaxed) && enter(gp, mp, sp) {
        // A call of the heap takes the long way, which ends the region.
        mp.mcache_aside.set(mp.mcache.take());
        mp.mcache_at_hand.set(None);
    }
}

/// It has ended, or calls the heap: so does the region.
pub(crate) fn blocking_ends(mp: &M) {
    mp.suspend.leave(&STOPS);
    if let Some(cache) = mp.mcache_aside.take() {
        mp.mcache.set(Some(cache));
        mp.note_mcache();
    }
}

/// [`blocking_ends`], of this thread: it is about to run functions of the
/// host's without a return to the function of the `gmp_blocking` that it may be
/// in, or leaves that.
pub(crate) fn blocking_is_left() {
    if let Some(gp) = arch::getg() {
        blocking_ends(gp.mp());
    }
}

/// Asks the thread of `mp`, which gets no signal, to stop at its next safe
/// point.
pub(crate) fn ask(mp: &M) {
    mp.suspend.ask();
    let host = mp.kind.get() == MKind::Host;
    let running = mp.curg.load(Acquire);
    let standin = if host { mp.standin.load(Acquire) } else { running };
    for gp in [running, standin] {
        // SAFETY: null, or a type-stable G. A request that comes late finds
        // nothing to do.
        if let Some(gp) = unsafe { gp.as_ref() } {
            gp.request_yield();
        }
    }
}

/// Installs the handler; false if that cannot be.
pub(crate) fn listen() -> bool {
    urgent::begin(User::Collection, answer, urgent::Chain::Yes)
}
