//! A thread that a collection stops: the flag of those that are at work on the
//! heap, and the answer of those that are not. `gmp::suspend` has the protocol.
//!
//! The handler answers only where the collector knows what there is to scan. It
//! returns, and the stopper tries again, where the thread
//!
//! - holds a lock of the library: so whatever a lock guards is whole while the
//!   world is stopped, and the collector may lock;
//! - has its stack pointer on another stack than its goroutine's or its own:
//!   a signal stack of the host's, or in the few instructions of a switch.
//!
//! Invariants:
//! 1. A thread that has answered holds no lock, and no [`Busy`] lives on it.

use super::urgent;
use crate::{
    arch,
    base::{sanitize, turnstile::ThisThread},
    gmp::{G, M, MKind, STOPS},
    os::auxv,
};
use core::{arch::asm, ptr, sync::atomic::Ordering::Relaxed};

/// This thread is at work on the heap: it is not stopped while this lives.
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
    // The frames of all callers lie above.
    note_frames(mp);
    mp.suspend.answer(&STOPS, saved.as_ptr().addr(), 0);
}

/// The answer in the handler.
pub(crate) fn answer(_number: u32, context: &mut libc::ucontext_t) {
    let Some(gp) = arch::getg() else { return };
    let mp = gp.mp();
    if mp.suspend.is_busy() || ThisThread.is_in_section() {
        return;
    }
    mp.suspend.handles(true);
    answer_here(gp, mp, context);
    mp.suspend.handles(false);
}

fn answer_here(gp: &G, mp: &M, context: &mut libc::ucontext_t) {
    let sp = context.uc_mcontext.gregs[libc::REG_RSP as usize] as usize;
    if !stands_well(gp, mp, sp, context) {
        return;
    }
    note_frames(mp);
    mp.suspend.answer(&STOPS, sp, ptr::from_mut(context).addr());
}

/// Notes where AddressSanitizer has the frames of the stack that this thread
/// stands on.
fn note_frames(mp: &M) {
    if sanitize::follows_stacks() {
        mp.watched.stands.set(sanitize::current_fake());
    }
}

/// Whether `sp` is on the stack of `gp`, or on this thread's own.
fn stands_well(gp: &G, mp: &M, sp: usize, context: &libc::ucontext_t) -> bool {
    let stack = &context.uc_stack;
    let lo = stack.ss_sp.addr();
    if stack.ss_flags & libc::SS_DISABLE == 0
        && (lo..=lo + stack.ss_size).contains(&sp)
    {
        return false;
    }
    if !gp.is_host() && !mp.is_g0(gp) {
        return gp.on_stack(sp);
    }
    if mp.kind.get() == MKind::Host {
        return !on_goroutine(mp, sp) && end_of_stack(mp, sp).is_some();
    }
    mp.g0().on_stack(sp)
}

/// Where the stack of the host thread of `mp` ends, if `sp` is on it. The C
/// libraries put the thread's control block above its stack, but for the first
/// thread; that one's stack begins where the kernel has put its random bytes.
pub(crate) fn end_of_stack(mp: &M, sp: usize) -> Option<usize> {
    /// More than any stack of a thread has.
    const MOST: usize = 1 << 30;
    // Relaxed: the thread has set it, and stands.
    let block = mp.tp.load(Relaxed);
    let is_below = |end: usize| sp < end && end - sp < MOST;
    [block, auxv::above_stack()].into_iter().find(|end| is_below(*end))
}

/// Whether `sp` is on the stack of the goroutine that `mp` runs in place.
fn on_goroutine(mp: &M, sp: usize) -> bool {
    // SAFETY: null, or a type-stable G.
    let gp = unsafe { mp.curg.load(Relaxed).as_ref() };
    gp.is_some_and(|gp| gp.on_stack(sp))
}

/// Installs the handler; false if that cannot be.
pub(crate) fn listen() -> bool {
    urgent::begin(urgent::User::Collection, answer, urgent::Chain::Yes)
}
