//! M: threads made and given back. How Ms sleep is in `idle`.
//!
//! Invariant: new threads are made from threads in a known state. The thread of
//! a locked goroutine and a host's may have been changed by the host (affinity,
//! priority, namespaces), and a new one would inherit that: they ask the
//! template thread, which sysmon starts when it is first needed. Workers ask it
//! too once it is there, and sysmon before: they go on with their work
//! meanwhile, and need no heap of their own for it, which the C library gives
//! to each thread that allocates, as it does to make one (two mappings). m0 has
//! such a heap since the start, and asks nobody.
//!
//! What happens where no thread is to be had is `nothread`'s.

use super::{current::this_m, nothread, sigmask};
use crate::{
    arch,
    base::random::seed_of_m,
    gmp::{
        Ask, G, M, MKind, P, SCHED, SchedLocked, allm_push, ask, galloc,
        runtime_m0,
    },
    os::{
        self, Errno, Lock, Note, Result,
        raw::NoCancel,
        signal::{self, SigMask, SigStacks},
        thread,
    },
};
use core::{
    ffi::{c_int, c_void},
    mem, ptr,
    sync::atomic::{AtomicBool, AtomicPtr, Ordering::*},
};

/// Stack of an M's thread. Goroutines run on their own; this carries the
/// scheduler, and the signal handlers of hosts that use no signal stack.
const THREAD_STACK: usize = 256 * 1024;

/// The host's `_cgo_thread_start`, or null.
pub(crate) static THREAD_START: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Ms whose thread ended, by `schedlink`, and Ms to be started by the
/// template thread or sysmon.
pub(super) struct Spare {
    free: Option<&'static M>,
    pub(super) wanted: Option<&'static M>,
}
/// Room for new Ms, which are never freed. Not the C library's heap, which
/// would be another one for each thread that makes an M.
struct MSlab {
    next: *mut M,
    left: usize,
}
// SAFETY: the pointer goes to memory that stays.
unsafe impl Send for MSlab {}

impl MSlab {
    /// So many are mapped at a time.
    const CHUNK: usize = 64;

    /// None where memory is out.
    fn take(&mut self) -> Option<*mut M> {
        if self.left == 0 {
            // Pages are aligned for anything.
            let chunk = os::mem::map_data(Self::CHUNK * size_of::<M>());
            self.next = chunk.ok()?.cast();
            self.left = Self::CHUNK;
        }
        let at = self.next;
        self.next = at.wrapping_add(1);
        self.left -= 1;
        Some(at)
    }

    /// Takes room back that has not been used. What others have taken since
    /// lies behind it: then it is lost.
    fn give_back(&mut self, at: *mut M) {
        if self.next == at.wrapping_add(1) {
            self.next = at;
            self.left += 1;
        }
    }
}

static MSLAB: Lock<MSlab> = Lock::new(
    crate::base::lock::Rank::Allp,
    MSlab { next: ptr::null_mut(), left: 0 },
);

/// Signal stacks, many in one mapping.
static SIGSTACKS: Lock<SigStacks> =
    Lock::new(crate::base::lock::Rank::Allp, SigStacks::new());

pub(super) static SPARE: Lock<Spare> = Lock::new(
    crate::base::lock::Rank::Allp,
    Spare { free: None, wanted: None },
);
pub(super) static TEMPLATE_NOTE: Note = Note::new();
/// The template thread sleeps; who clears this wakes it.
pub(super) static TEMPLATE_ASLEEP: AtomicBool = AtomicBool::new(false);
/// It runs, or was asked for.
pub(super) static TEMPLATE_WANTED: AtomicBool = AtomicBool::new(false);

/// Numbers an M and publishes it.
pub(crate) fn mcommoninit(mp: &'static M) {
    number(&mut SCHED.lock(), mp);
    publish(mp);
}

fn number(sched: &mut SchedLocked, mp: &'static M) {
    mp.id.set(sched.mnext);
    sched.mnext += 1;
}

fn publish(mp: &'static M) {
    mp.rng.set(seed_of_m(mp.id.get() as u64));
    allm_push(mp);
}

/// On a new M's thread: what belongs to the thread.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn minit() {
    let mp = this_m();
    // Goroutines are not this thread, whoever cancels it.
    mem::forget(NoCancel::new());
    mp.errno.set(os::errno_location());
    minit_stack(mp);
    minit_signals(mp);
    // Release: sysmon reads it.
    mp.procid.store(thread::gettid(), Release);
}

/// g0's stack, where the start path did not set it: what this thread was made
/// with, from here down. (pthread_getattr_np would know exactly, and allocate.)
fn minit_stack(mp: &M) {
    let g0 = mp.g0();
    if g0.stack_lo.get() == 0 {
        let hi = ptr::from_ref(&g0) as usize;
        g0.stack_hi.set(hi);
        g0.stack_lo.set(hi - THREAD_STACK);
        g0.reset_stackguard();
        g0.stackguard1.set(g0.stackguard0.load(Relaxed));
    }
}

/// A signal stack, then the signals that threads with goroutines take.
fn minit_signals(mp: &M) {
    give_sigstack(mp);
    sigmask::minit(mp);
}

/// Gives this thread a signal stack of ours, unless it has one.
pub(crate) fn give_sigstack(mp: &M) {
    if mp.gsignal.get().1 != 0 || signal::sigaltstack_get().bounds().is_some() {
        return;
    }
    let len = signal::sigstack_size();
    let Some(lo) = SIGSTACKS.lock().take(len) else { return };
    // SAFETY: taken for this, and given back after drop_sigstack only.
    match unsafe { signal::sigaltstack_set(lo, len) } {
        Ok(()) => mp.gsignal.set((lo, len)),
        Err(_) => SIGSTACKS.lock().give(lo),
    }
}

/// Takes our signal stack from this thread.
pub(crate) fn drop_sigstack(mp: &M) {
    let (lo, len) = mp.gsignal.replace((0, 0));
    if len == 0 {
        return;
    }
    let ours = signal::sigaltstack_get().bounds().is_some_and(|b| b.0 == lo);
    if ours {
        let _disabled = signal::sigaltstack_disable();
    }
    if super::child::in_child() {
        // Another thread of the parent's may hold the lock, for ever.
        return;
    }
    SIGSTACKS.lock().give(lo);
}

/// An M that no thread runs yet, with a g0; None where memory is out.
pub(crate) fn allocm(kind: MKind) -> Option<&'static M> {
    let mut spare = SPARE.lock();
    if let Some(mp) = spare.free {
        spare.free = mp.schedlink.take();
        drop(spare);
        mp.kind.set(kind);
        return Some(mp);
    }
    drop(spare);
    let at = MSLAB.lock().take()?;
    let Some(g0) = galloc() else {
        MSLAB.lock().give_back(at);
        return None;
    };
    // SAFETY: room for an M, which nobody else uses and which stays.
    unsafe { at.write(M::new(kind)) };
    // SAFETY: written just now.
    let mp: &'static M = unsafe { &*at };
    mp.g0.set(Some(g0));
    g0.m.set(mp);
    g0.set_flag(crate::gmp::gflag::SYSTEM);
    Some(mp)
}

/// An M that no thread runs any more, for the next one.
pub(crate) fn freem(mp: &'static M) {
    forget_thread(mp);
    if super::child::in_child() {
        return;
    }
    let mut spare = SPARE.lock();
    mp.schedlink.set(spare.free.replace(mp));
}

/// No thread runs `mp` any more.
fn forget_thread(mp: &M) {
    mp.cxa.set(ptr::null_mut());
    mp.procid.store(0, Relaxed);
    mp.detached.store(false, Relaxed);
    mp.curg.store(ptr::null_mut(), Relaxed);
    mp.lockedext.set(0);
}

/// `rt0_go` calls it when m0's M has ended, before the thread does. The start
/// path knows m0 by name, so it is no M for others.
#[unsafe(no_mangle)]
extern "C" fn m0_ended() {
    arch::setg(None);
    drop_sigstack(&runtime_m0);
    forget_thread(&runtime_m0);
}

/// Starts a thread that runs `f`, then takes `pp` and schedules.
///
/// Errors: `EAGAIN`, `ENOMEM` from the system or a limit; `pp` is untouched.
pub(crate) fn newm(
    kind: MKind,
    f: Option<fn()>,
    pp: Option<&'static P>,
    spinning: bool,
) -> Result<()> {
    nothread::may_make(kind)?;
    let mp = allocm(kind).ok_or(Errno::ENOMEM)?;
    if let Err(e) = admit(mp) {
        freem(mp);
        return Err(e);
    }
    mp.mstartfn.set(f);
    mp.nextp.set(pp);
    mp.spinning.set(spinning);
    mp.in_runtime.store(true, Relaxed);
    if let Some(maker) = maker() {
        have_started(maker, mp);
        return Ok(());
    }
    let result = newm1(mp);
    if result.is_err() {
        unmake(mp);
    }
    result
}

/// Counts an M whose thread is about to be made.
///
/// Errors: `EAGAIN` if others have reached the limit meanwhile.
fn admit(mp: &'static M) -> Result<()> {
    let mut sched = SCHED.lock();
    if sched.at_thread_limit() {
        return Err(Errno::EAGAIN);
    }
    sched.nmsys += i32::from(is_system(mp));
    if mp.id.get() >= 0 {
        // It had a thread before.
        sched.nmfreed -= 1;
        return Ok(());
    }
    number(&mut sched, mp);
    drop(sched);
    publish(mp);
    Ok(())
}

/// Whether its thread never runs goroutines.
fn is_system(mp: &M) -> bool {
    matches!(mp.kind.get(), MKind::Sysmon | MKind::Template)
}

/// Takes back an M whose thread could not be made.
pub(super) fn unmake(mp: &'static M) {
    mp.nextp.set(None);
    mp.spinning.set(false);
    let mut sched = SCHED.lock();
    sched.nmsys -= i32::from(is_system(mp));
    sched.nmfreed += 1;
    drop(sched);
    freem(mp);
}

/// Who makes threads for those that do not do it themselves: the invariant.
enum Maker {
    Template,
    Sysmon,
}

/// Who makes the threads that are wanted here; None: this thread itself.
fn maker() -> Option<Maker> {
    let Some(gp) = arch::getg() else {
        return Some(Maker::Template);
    };
    let mp = gp.mp();
    match mp.kind.get() {
        MKind::Sysmon | MKind::Template => None,
        MKind::Host => Some(Maker::Template),
        // Relaxed: a hint; ask looks again.
        MKind::Worker | MKind::Early
            if mp.lockedext.get() > 0 || TEMPLATE_WANTED.load(Relaxed) =>
        {
            Some(Maker::Template)
        }
        MKind::Worker | MKind::Early => {
            (!ptr::eq(mp, &runtime_m0)).then_some(Maker::Sysmon)
        }
    }
}

struct NewM {
    mp: &'static M,
    result: Result<()>,
}

/// Makes the thread; on g0, since that takes stack.
pub(super) fn newm1(mp: &'static M) -> Result<()> {
    let mut new = NewM { mp, result: Ok(()) };
    let arg = ptr::from_mut(&mut new).cast();
    // SAFETY: thread_start does not park, and gets what it expects.
    unsafe { arch::systemstack(thread_start, arg) };
    nothread::tried(new.result);
    new.result
}

/// What `_cgo_thread_start` gets: how to make the thread of an M.
#[repr(C)]
struct ThreadStart {
    g: *const G,
    tls: *mut usize,
    func: os::thread::ThreadStart,
    arg: *mut c_void,
}

unsafe extern "C" fn thread_start(arg: *mut c_void) {
    let new = arg.cast::<NewM>();
    // SAFETY: newm1's.
    let new = unsafe { &mut *new };
    let mp = ptr::from_ref(new.mp).cast_mut().cast();
    // Acquire: pairs with the store at boot.
    let hook = THREAD_START.load(Acquire);
    new.result = if hook.is_null() {
        // SAFETY: newosproc_start takes an M.
        unsafe { thread::newosproc(newosproc_start, mp, THREAD_STACK) }
    } else {
        let start = ThreadStart {
            g: new.mp.g0(),
            tls: new.mp.tls.as_ptr().cast(),
            func: newosproc_start,
            arg: mp,
        };
        call_hook(hook, &start)
    };
}

fn call_hook(hook: *mut (), start: &ThreadStart) -> Result<()> {
    type Hook = unsafe extern "C" fn(*const ThreadStart) -> c_int;
    // SAFETY: the host's hook has this type by contract.
    let hook = unsafe { mem::transmute::<*mut (), Hook>(hook) };
    let all = SigMask::block_all();
    // SAFETY: as above.
    let result = unsafe { hook(start) };
    all.restore();
    if result == 0 { Ok(()) } else { Err(Errno(result.saturating_abs())) }
}

/// The first function of an M's thread.
unsafe extern "C" fn newosproc_start(arg: *mut c_void) -> *mut c_void {
    let mp = arg.cast::<M>().cast_const();
    // SAFETY: a type-stable M, which this thread runs from now on.
    let mp: &'static M = unsafe { &*mp };
    let g0 = mp.g0();
    g0.stack_lo.set(0);
    arch::setg(Some(g0));
    name_thread(mp);
    // SAFETY: g is this M's g0, on its own thread.
    unsafe { arch::mstart() };
    arch::setg(None);
    drop_sigstack(mp);
    freem(mp);
    ptr::null_mut()
}

/// Names a thread that we made; those of a host's hook are the host's to name.
fn name_thread(mp: &M) {
    // Acquire: pairs with the store at boot.
    if !THREAD_START.load(Acquire).is_null() {
        return;
    }
    thread::set_thread_name(match mp.kind.get() {
        MKind::Sysmon => c"gmprt-sysmon",
        MKind::Template => c"gmprt-template",
        MKind::Worker | MKind::Early | MKind::Host => c"gmprt-m",
    });
}

/// Has another thread start `mp`.
fn have_started(maker: Maker, mp: &'static M) {
    let mut spare = SPARE.lock();
    mp.schedlink.set(spare.wanted.replace(mp));
    drop(spare);
    if matches!(maker, Maker::Sysmon) {
        ask(Ask::Threads);
    } else if !TEMPLATE_WANTED.swap(true, SeqCst) {
        ask(Ask::Template);
    } else if TEMPLATE_ASLEEP.swap(false, SeqCst) {
        TEMPLATE_NOTE.wakeup();
    }
}
