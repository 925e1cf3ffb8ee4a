//! M: threads made and given back. How Ms sleep is in `idle`; what happens
//! where no thread is to be had, in `nothread`.
//!
//! ```text
//!   allocm --> admit --> thread made --> minit --> schedule, or mstartfn
//!     ^                    | no thread                    |
//!     |                  unmake                         mexit
//!     '---- freem <--------+------------------------------'
//! ```
//!
//! | an M is wanted by | its thread is made by |
//! |---|---|
//! | m0, before the template thread was asked for | m0 itself |
//! | another Worker, before that | sysmon |
//! | a Worker later; a locked M; a host thread | the template thread |
//! | sysmon; the template thread | itself |
//!
//! Invariant 1: a thread is made from a thread in a known state. A new thread
//! inherits affinity, priority and namespaces, and the host may have changed
//! those of its own threads and of locked Ms. Such threads ask the template
//! thread, which sysmon starts when it is first needed.
//!
//! Workers ask another thread although their state is known: they go on with
//! their work, and need no heap. (To make a thread the C library allocates, and
//! gives each thread that allocates a heap, two mappings. m0 has one.)

use super::{current::this_m, defers, fiber, nothread, sigmask};
use crate::{
    arch,
    base::{
        alloc::put,
        random::seed_of_m,
        sanitize,
        trace::{self, Event, Kind},
        turnstile::{self, TURNSTILE},
    },
    gmp::{
        Ask, CLOSING, COUNTERS, G, M, MKind, P, SCHED, SchedLocked, allm_push,
        ask, closing::Stage, galloc, hostwait::HostWait, is_main_thread,
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
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering::*},
};

/// Bytes of stack of an M's thread, for the scheduler, and for signal handlers
/// of a host that use no signal stack.
const THREAD_STACK: usize = 256 * 1024;

/// The host's `_cgo_thread_start`, or null.
pub(crate) static THREAD_START: AtomicPtr<()> = AtomicPtr::new(ptr::null_mut());

/// Two lists of Ms, by `schedlink`.
pub(super) struct Spare {
    /// Their threads have ended.
    free: Option<&'static M>,
    /// The template thread or sysmon is to make their threads.
    pub(super) wanted: Option<&'static M>,
}
/// Room for new Ms, which stay until the library is unloaded. Not from the C
/// library: its heap would be another one for each thread that makes an M.
struct MSlab {
    next: *mut M,
    left: usize,
}
// SAFETY: the pointer is to memory that stays mapped.
unsafe impl Send for MSlab {}

impl MSlab {
    /// Ms mapped at a time.
    const CHUNK: usize = 64;

    /// Room for an M; None where memory is out.
    fn take(&mut self) -> Option<*mut M> {
        if self.left == 0 {
            // Pages are aligned for anything.
            let chunk = os::mem::map_kept(Self::CHUNK * size_of::<M>());
            self.next = chunk.ok()?.cast();
            self.left = Self::CHUNK;
        }
        let at = self.next;
        self.next = at.wrapping_add(1);
        self.left -= 1;
        Some(at)
    }

    /// Takes unused room back. The room is lost if another thread has taken the
    /// next room meanwhile.
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

/// m0's thread was made by `newosproc0`.
pub(crate) static M0_IS_OURS: AtomicBool = AtomicBool::new(false);

pub(super) static SPARE: Lock<Spare> =
    Lock::new(crate::base::lock::Rank::Allp, NONE_SPARE);
const NONE_SPARE: Spare = Spare { free: None, wanted: None };

pub(super) static TEMPLATE_NOTE: Note = Note::new();
/// The template thread sleeps, or is about to. A maker that clears this wakes
/// it (`template`).
pub(super) static TEMPLATE_ASLEEP: AtomicBool = AtomicBool::new(false);
/// The template thread runs, or sysmon was asked to start it.
pub(super) static TEMPLATE_WANTED: AtomicBool = AtomicBool::new(false);

/// The threads that mark, from before they are made (`gc::markers`). atomic
pub(crate) static MARKERS: AtomicU32 = AtomicU32::new(0);

/// Numbers an M and publishes it in `allm`; m0 of a later start is known.
pub(crate) fn mcommoninit(mp: &'static M) {
    let mut sched = SCHED.lock();
    if mp.id.get() >= 0 {
        sched.nmfreed -= 1;
        return;
    }
    number(&mut sched, mp);
    drop(sched);
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

/// Sets up a new M's thread, on that thread.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn minit() {
    let mp = this_m();
    COUNTERS.threads_begun.add(1);
    // A pthread_cancel of this thread must not end the goroutines on it.
    mem::forget(NoCancel::new());
    mp.errno.set(os::errno_location());
    join_turnstile(mp);
    if sanitize::watches() {
        fiber::begin_g0(mp);
    }
    minit_stack(mp);
    minit_signals(mp);
    // Release: pairs with `retake::cputime` and `nomain::only_ours`.
    let tid = thread::gettid();
    mp.procid.store(tid, Release);
    let (tid, id) = (tid as u64, mp.id.get() as u64);
    trace::event(move || Event::of(Kind::Thread, 0).with(tid, id));
}

/// From now on a fork finds the locks of this thread, which is that of `mp` and
/// holds none (`base::turnstile`).
pub(super) fn join_turnstile(mp: &M) {
    // SeqCst: a fork that looks before this finds that the thread holds none,
    // and one that comes later finds it.
    mp.held.store(turnstile::known_at(), SeqCst);
    turnstile::make_known();
}

/// Ends what [`join_turnstile`] began, as the thread ends. Waits for a fork
/// that may look at the thread's storage.
pub(super) fn leave_turnstile(mp: &M) {
    turnstile::make_stranger();
    // SeqCst: before the look at the turnstile. Either that finds a fork, or
    // the fork finds null.
    mp.held.store(ptr::null_mut(), SeqCst);
    TURNSTILE.wait_while_shut::<os::OsFutex>();
}

/// In the child of a fork: the M of its one thread begins anew.
///
/// # Safety
/// The M's thread calls, and no other thread is in this process.
pub(super) unsafe fn begin_again(mp: &'static M) {
    // SAFETY: nobody uses it, the caller promises.
    unsafe { put(&raw const mp.park, Note::new()) };
    // SAFETY: the same.
    unsafe { put(&raw const mp.hostwait, HostWait::new()) };
    mp.spinning.set(false);
    mp.nextp.set(None);
    mp.schedlink.set(None);
    mp.busy_without_p.store(false, Relaxed);
}

/// Sets the bounds of g0's stack, unless the start path has: THREAD_STACK, from
/// here down. (pthread_getattr_np would know exactly, but allocates.)
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

/// The stack of a thread that the library has made: from, to. None if the M has
/// none: the thread has ended, or the host has made it and knows its bounds.
pub(crate) fn own_stack(mp: &M) -> Option<(usize, usize)> {
    // Acquire: pairs with `minit`, and with `init::schedinit`.
    let ours = mp.procid.load(Acquire) != 0
        && mp.kind.get() != MKind::Host
        && THREAD_START.load(Acquire).is_null();
    let g0 = mp.g0.get().filter(|_| ours)?;
    let (lo, hi) = (g0.stack_lo.get(), g0.stack_hi.get());
    (lo != 0).then_some((lo, hi))
}

/// Gives the thread a signal stack, and then its signal mask.
fn minit_signals(mp: &M) {
    give_sigstack(mp);
    sigmask::minit(mp);
}

/// Gives this thread a signal stack of ours, unless it has one.
pub(crate) fn give_sigstack(mp: &M) {
    if mp.gsignal.get().1 != 0 || signal::sigaltstack_get().bounds().is_some() {
        return;
    }
    let Some((lo, len)) = mpreinit() else { return };
    // SAFETY: taken for this thread, and given back in drop_sigstack only, once
    // the kernel does not use it.
    match unsafe { signal::sigaltstack_set(lo, len) } {
        Ok(()) => mp.gsignal.set((lo, len)),
        Err(_) => SIGSTACKS.lock().give(lo),
    }
}

/// Memory for a thread's signal stack, and its size; None if there is none.
#[inline]
fn mpreinit() -> Option<(usize, usize)> {
    let len = signal::sigstack_size();
    SIGSTACKS.lock().take(len).map(|lo| (lo, len))
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
    if super::child::is_dead_end() {
        // This thread may hold the lock.
        return;
    }
    SIGSTACKS.lock().give(lo);
}

/// An M with a g0, and no thread yet; None where memory is out.
pub(crate) fn allocm(kind: MKind) -> Option<&'static M> {
    let mut spare = SPARE.lock();
    if let Some(mp) = spare.free {
        spare.free = mp.schedlink.take();
        drop(spare);
        mp.kind.set(kind);
        mp.direct.store(false, Relaxed);
        mp.watched.begin();
        return Some(mp);
    }
    drop(spare);
    let at = MSLAB.lock().take()?;
    let Some(g0) = galloc() else {
        MSLAB.lock().give_back(at);
        return None;
    };
    // SAFETY: unused room for an M, aligned, and ours.
    unsafe { at.write(M::new(kind)) };
    // SAFETY: written just now, and never unmapped.
    let mp: &'static M = unsafe { &*at };
    mp.g0.set(Some(g0));
    g0.m.set(mp);
    g0.set_flag(crate::gmp::gflag::SYSTEM);
    Some(mp)
}

/// Gives back an M whose thread has ended, or could not be made.
pub(crate) fn freem(mp: &'static M) {
    forget_thread(mp);
    if super::child::is_dead_end() {
        return;
    }
    let mut spare = SPARE.lock();
    mp.schedlink.set(spare.free.replace(mp));
}

/// Clears the fields that describe the M's thread, which has ended.
fn forget_thread(mp: &M) {
    mp.cxa.set(ptr::null_mut());
    mp.procid.store(0, Relaxed);
    mp.busy_without_p.store(false, Relaxed);
    mp.curg.store(ptr::null_mut(), Relaxed);
    mp.suspend.reset();
    mp.listens.set(false);
    mp.lockedext.set(0);
    if !super::child::is_dead_end() {
        defers::free_kept(mp);
    }
}

/// `rt0_go` calls it when m0's M has ended. That M is not on the list of free
/// ones, since the start path knows it by name.
#[unsafe(no_mangle)]
extern "C" fn m0_ended() {
    arch::setg(None);
    leave_turnstile(&runtime_m0);
    fiber::end_g0();
    drop_sigstack(&runtime_m0);
    forget_thread(&runtime_m0);
    // Acquire: pairs with `preinit::newosproc0`.
    if M0_IS_OURS.load(Acquire) && may_join(&runtime_m0) {
        thread::ends();
    }
}

/// Starts a thread that runs `f`, then takes `pp` and schedules. A worker
/// without a P looks for work: it counts as spinning already.
///
/// Errors: `EAGAIN`, `ENOMEM` from the system or a limit; `pp` is still the
/// caller's.
pub(crate) fn newm(
    kind: MKind,
    f: Option<fn()>,
    pp: Option<&'static P>,
) -> Result<()> {
    nothread::may_make(kind)?;
    let mp = allocm(kind).ok_or(Errno::ENOMEM)?;
    if let Err(e) = admit(mp) {
        freem(mp);
        return Err(e);
    }
    mp.mstartfn.set(f);
    mp.nextp.set(pp);
    mp.spinning.set(kind == MKind::Worker && pp.is_none());
    mp.in_runtime.store(true, Relaxed);
    if kind != MKind::Sysmon
        && let Some(maker) = maker()
    {
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
/// Errors: `EAGAIN` if the limit was reached meanwhile, or while the runtime
/// ends.
fn admit(mp: &'static M) -> Result<()> {
    let mut sched = SCHED.lock();
    if CLOSING.has_come(Stage::Leaving) || sched.at_thread_limit() {
        return Err(Errno::EAGAIN);
    }
    sched.nmsys += i32::from(mp.is_system());
    if mp.id.get() >= 0 {
        // The M had a thread before, so it has a number.
        sched.nmfreed -= 1;
        return Ok(());
    }
    number(&mut sched, mp);
    drop(sched);
    publish(mp);
    Ok(())
}

/// Takes back an M whose thread could not be made.
pub(super) fn unmake(mp: &'static M) {
    mp.nextp.set(None);
    mp.spinning.set(false);
    let mut sched = SCHED.lock();
    sched.nmsys -= i32::from(mp.is_system());
    sched.nmfreed += 1;
    drop(sched);
    freem(mp);
}

/// The thread that makes a thread on behalf of another (module).
enum Maker {
    Template,
    Sysmon,
}

/// The maker of a thread that is wanted here; None: this thread itself.
fn maker() -> Option<Maker> {
    let Some(gp) = arch::getg() else {
        return Some(Maker::Template);
    };
    let mp = gp.mp();
    match mp.kind.get() {
        MKind::Sysmon
        | MKind::Template
        | MKind::Tracer
        | MKind::Dumper
        | MKind::Marker => None,
        MKind::Host => Some(Maker::Template),
        // Relaxed: a hint; have_started looks again.
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

/// An M, and whether its thread was made.
struct NewM {
    mp: &'static M,
    result: Result<()>,
}

/// Makes the thread of an M; on g0, as that needs stack, unless this is a host
/// thread.
pub(super) fn newm1(mp: &'static M) -> Result<()> {
    let mut new = NewM { mp, result: Ok(()) };
    let arg = ptr::from_mut(&mut new).cast();
    if arch::getg().is_none_or(G::is_host) {
        // SAFETY: its argument is a NewM.
        unsafe { thread_start(arg) };
    } else {
        // SAFETY: thread_start does not park, and its argument is a NewM.
        unsafe { arch::systemstack(thread_start, arg) };
    }
    nothread::tried(new.result);
    new.result
}

/// The argument of the host's `_cgo_thread_start`: the thread to make.
#[repr(C)]
struct ThreadStart {
    g: *const G,
    tls: *mut usize,
    func: os::thread::ThreadStart,
    arg: *mut c_void,
}

unsafe extern "C" fn thread_start(arg: *mut c_void) {
    let new = arg.cast::<NewM>();
    // SAFETY: the NewM of newm1, which waits for us.
    let new = unsafe { &mut *new };
    let mp = ptr::from_ref(new.mp).cast_mut().cast();
    // Acquire: pairs with `init::schedinit`.
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
    // SAFETY: `start` is what the contract says.
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
    clear_stack();
    leave_turnstile(mp);
    fiber::end_g0();
    drop_sigstack(mp);
    freem(mp);
    end_thread(mp);
    ptr::null_mut()
}

/// Clears what the schedulers' frames have left on this thread's stack, which
/// ends. The C library gives the stack to another thread, and a search for
/// leaks (`gc::reach`) would find the words there.
#[inline(never)]
fn clear_stack() {
    const DEPTH: usize = 2048;
    let mut words = [0_usize; DEPTH];
    for word in &mut words {
        // SAFETY: a word of this frame.
        unsafe { ptr::from_mut(word).write_volatile(0) };
    }
}

/// Whether the thread of `mp`, which ends, is to be joined. The one that has
/// forked is the child's main thread, which was not made there.
fn may_join(mp: &M) -> bool {
    !is_main_thread(mp) && !super::child::is_dead_end()
}

/// The last action of an M's thread. A thread that the host has made is the
/// host's to join.
fn end_thread(mp: &M) {
    // Acquire: pairs with `init::schedinit`.
    if THREAD_START.load(Acquire).is_null() && may_join(mp) {
        thread::ends();
    }
}

/// Names a thread that we made. A host that makes the threads names them.
fn name_thread(mp: &M) {
    // Acquire: pairs with `init::schedinit`.
    if !THREAD_START.load(Acquire).is_null() {
        return;
    }
    thread::set_thread_name(match mp.kind.get() {
        MKind::Sysmon => c"gmprt-sysmon",
        MKind::Template => c"gmprt-template",
        MKind::Tracer => c"gmprt-trace",
        MKind::Dumper => c"gmprt-dumper",
        MKind::Marker => c"gmprt-marker",
        MKind::Worker | MKind::Early | MKind::Host => c"gmprt-m",
    });
}

/// Lets another thread make the thread of `mp` (`template` has the protocol,
/// and why all is done under the lock).
fn have_started(maker: Maker, mp: &'static M) {
    let mut spare = SPARE.lock();
    mp.schedlink.set(spare.wanted.replace(mp));
    if matches!(maker, Maker::Sysmon) {
        ask(Ask::Threads);
    } else if !TEMPLATE_WANTED.swap(true, SeqCst) {
        ask(Ask::Template);
    } else if TEMPLATE_ASLEEP.swap(false, SeqCst) {
        TEMPLATE_NOTE.wakeup();
    }
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    // SAFETY: nobody uses it, the caller promises.
    unsafe { SPARE.renew(NONE_SPARE) };
    TEMPLATE_NOTE.clear();
    TEMPLATE_ASLEEP.store(false, Relaxed);
    TEMPLATE_WANTED.store(false, Relaxed);
    MARKERS.store(0, Relaxed);
}
