//! The scheduler's globals: Go's `sched`, `allp`, `allm`, and what the start
//! finds out about the machine.
//!
//! `SCHED` has what `sched.lock` guards, in the lock's data, so that the guard
//! gives access; and beside it lengths of that data and measures, which any
//! thread reads. The words of a protocol are a static of its type each
//! ([`KEEPER`], [`SYSMON`], [`STOP`], [`HOST_WAITS`]).

use super::{
    G, GDepot, GList, M, MKind, P,
    closing::{Closing, Stage},
    hostwait::HostWaits,
    keeper::Keeper,
    spinning::Spinning,
    stopcount::StopCount,
    suspend::Stops,
    watchman::Watchman,
};
use crate::{
    base::{alloc::put, lock::Rank},
    os::{Lock, LockGuard, LongLock, OsFutex, clock::nanotime},
};
use core::{
    ptr,
    sync::atomic::{
        AtomicBool, AtomicI32, AtomicI64, AtomicPtr, AtomicU32, AtomicU64,
        AtomicUsize, Ordering::*,
    },
};

/// More Ps than anybody has CPUs.
pub(crate) const MAXPROCS: usize = 1024;

/// What `sched.lock` guards.
pub(crate) struct SchedLocked {
    /// The global queue.
    pub runq: GList,
    /// Idle Ms, by `schedlink`, the latest first.
    pub midle: Option<&'static M>,
    pub nmidle: i32,
    /// Ms that wait for their locked goroutine.
    pub nmidlelocked: i32,
    /// Ms ever numbered, and those that ended.
    pub mnext: i64,
    pub nmfreed: i64,
    /// Ms that never count as running: sysmon, the template thread, a wedged
    /// m0.
    pub nmsys: i32,
    /// 1 once m0 is wedged: its goroutine has ended locked to it.
    pub nmwedged: i32,
    /// Idle Ps, by `link`.
    pub pidle: Option<&'static P>,
    /// Dead Gs that no P holds.
    pub gfree: GDepot,
    /// Said once that no more threads are to be had.
    pub thread_warned: bool,
}

// SAFETY: the pointers go to type-stable Ms and Ps.
unsafe impl Send for SchedLocked {}

/// Go's `schedt`.
pub(crate) struct Sched {
    locked: Lock<SchedLocked>,
    /// Length of the global queue; changed under the lock.
    pub runqsize: AtomicU32,
    /// Number of idle Ps; changed under the lock.
    pub npidle: AtomicI32,
    /// Ms that look for work.
    pub nmspinning: Spinning,
    /// Ms of ours that a goroutine is locked to; a measure.
    pub nmlocked: AtomicI32,
    /// Last goroutine id handed out in a batch.
    pub goidgen: AtomicU64,
    /// Goroutines that wait for a stack (`sched::starved`, invariant 1).
    pub nstarved: AtomicU32,
    /// Number of `gmp_run_main` under way: deadlocks are reported.
    pub mains: AtomicI32,
    /// Changes to the set of Ps, one at a time.
    pub resize: LongLock<()>,
    /// Taking a P from an M that is outside, one at a time.
    pub retaking: Lock<()>,
}

pub(crate) static SCHED: Sched = Sched::new();

/// The idle M that keeps the time, and polls (Go's `lastpoll`, `pollUntil`).
pub(crate) static KEEPER: Keeper<OsFutex> = Keeper::new();
/// How sysmon sleeps (Go's `sysmonwait`, `sysmonnote`).
pub(crate) static SYSMON: Watchman<OsFutex> = Watchman::new();
/// Whether the world is to stop, and how many Ps have yet to do so (Go's
/// `gcwaiting`, `stopwait`, `stopnote`).
pub(crate) static STOP: StopCount<OsFutex> = StopCount::new();
/// The stop of all threads, for the collector.
pub(crate) static STOPS: Stops<OsFutex> = Stops::new();
/// How far the end of the runtime has come.
pub(crate) static CLOSING: Closing = Closing::new();
/// Host threads that sleep in a call without a deadline.
pub(crate) static HOST_WAITS: HostWaits = HostWaits::new();

impl Sched {
    const fn new() -> Self {
        Self {
            locked: Lock::new(
                Rank::Sched,
                SchedLocked {
                    runq: GList::new(),
                    midle: None,
                    nmidle: 0,
                    nmidlelocked: 0,
                    mnext: 0,
                    nmfreed: 0,
                    nmsys: 0,
                    nmwedged: 0,
                    pidle: None,
                    gfree: GDepot::new(),
                    thread_warned: false,
                },
            ),
            runqsize: AtomicU32::new(0),
            npidle: AtomicI32::new(0),
            nmspinning: Spinning::new(),
            nmlocked: AtomicI32::new(0),
            goidgen: AtomicU64::new(0),
            nstarved: AtomicU32::new(0),
            mains: AtomicI32::new(0),
            resize: LongLock::new(Rank::Stw, ()),
            retaking: Lock::new(Rank::Retake, ()),
        }
    }

    /// Whether a goroutine waits for a stack.
    #[inline(always)]
    pub(crate) fn any_starved(&self) -> bool {
        // Relaxed: invariants 2 and 3 of `sched::starved` are about locks.
        self.nstarved.load(Relaxed) != 0
    }

    pub(crate) fn lock(&self) -> LockGuard<'_, SchedLocked> {
        self.locked.lock()
    }
}

impl SchedLocked {
    /// Appends to the global queue.
    pub(crate) fn globrunqput(&mut self, gp: &'static G) {
        self.runq.push_back(gp);
        SCHED.runqsize.store(self.runq.len(), Release);
    }

    /// Puts before everything else in the global queue.
    pub(crate) fn globrunqputhead(&mut self, gp: &'static G) {
        self.runq.push_front(gp);
        SCHED.runqsize.store(self.runq.len(), Release);
    }

    /// Takes the head of the global queue.
    pub(crate) fn globrunqpop(&mut self) -> Option<&'static G> {
        let gp = self.runq.pop_front();
        SCHED.runqsize.store(self.runq.len(), Release);
        gp
    }

    /// Takes `gp` out of the global queue if it is the newest there.
    pub(crate) fn globrunqtake_newest(&mut self, gp: &'static G) -> bool {
        if !self.runq.is_newest(gp) {
            return false;
        }
        // Walking a long list under the lock would stall everybody.
        if self.runq.len() > 64 {
            return false;
        }
        let _newest = self.runq.pop_back();
        SCHED.runqsize.store(self.runq.len(), Release);
        true
    }

    /// Puts `pp` on the idle list. It is Idle, and nobody holds it.
    pub(crate) fn pidleput(&mut self, pp: &'static P) {
        pp.link.set(self.pidle);
        self.pidle = Some(pp);
        SCHED.npidle.fetch_add(1, SeqCst);
    }

    /// Takes an idle P, and wakes sysmon if it sleeps because there was
    /// nothing but idle ones.
    pub(crate) fn pidleget(&mut self) -> Option<&'static P> {
        let pp = self.pidle?;
        self.pidle = pp.link.take();
        SCHED.npidle.fetch_sub(1, SeqCst);
        self.wake_sysmon();
        Some(pp)
    }

    /// Takes this very P if it is idle.
    pub(crate) fn pidletake(&mut self, pp: &'static P) -> bool {
        let mut before: Option<&P> = None;
        let mut at = self.pidle;
        while let Some(idle) = at {
            at = idle.link.get();
            if !ptr::eq(idle, pp) {
                before = Some(idle);
                continue;
            }
            match before {
                Some(before) => before.link.set(at),
                None => self.pidle = at,
            }
            pp.link.set(None);
            SCHED.npidle.fetch_sub(1, SeqCst);
            self.wake_sysmon();
            return true;
        }
        false
    }

    /// Wakes sysmon out of its deep sleep, which it begins under the lock.
    pub(crate) fn wake_sysmon(&mut self) {
        if SYSMON.wake_deep() {
            // Before the goroutine parks that the P is taken for.
            renew_waitmark(nanotime());
        }
    }

    /// Ms that exist.
    pub(crate) fn mcount(&self) -> i64 {
        self.mnext - self.nmfreed
    }
}

/// The number of Ps (Go's gomaxprocs); changed with the world stopped.
pub(crate) static GOMAXPROCS: AtomicUsize = AtomicUsize::new(0);
/// CPUs that this process could run on when it started.
pub(crate) static NCPUALLOWED: AtomicUsize = AtomicUsize::new(1);
/// As many of them as its quota is worth; 0 until the first `num_cpu`.
pub(crate) static NCPU: AtomicUsize = AtomicUsize::new(0);
/// `runtime_main` has started what it starts itself: new goroutines may start
/// Ms from now on. (Go sets its mainStarted first of all; here a process that
/// only loads the library is to have no thread besides m0 and sysmon.) The
/// world is stopped while it is set only (`sched::stw`).
pub(crate) static MAIN_STARTED: AtomicBool = AtomicBool::new(false);
/// When `rt0_go` began, in nanoseconds of the clock: the start of the runtime.
pub(crate) static RUNTIME_INIT_TIME: AtomicI64 = AtomicI64::new(0);
/// Ms at most where nobody says otherwise (Go's `maxmcount`).
const MAXMCOUNT: i32 = 10_000;
/// Ms at most (`GMP_MAXTHREADS`): work that needs one more waits.
pub(crate) static MAXTHREADS: AtomicI32 = AtomicI32::new(MAXMCOUNT);

/// The monotonic clock, about, in units of 2^23 ns (8.4 ms): what a park notes
/// down, as the clock itself is dear. sysmon renews it at each of its looks,
/// at most 10 ms apart, and the actor that ends sysmon's deep sleep does. It is
/// later still where sysmon gets no CPU. It comes round after a year.
pub(crate) static WAITMARK: AtomicU32 = AtomicU32::new(0);
/// How many bits of the clock a mark leaves out.
pub(crate) const WAITMARK_SHIFT: u32 = 23;

/// The time as a mark.
#[inline(always)]
pub(crate) fn waitmark() -> u32 {
    WAITMARK.load(Relaxed)
}

/// Renews the mark, from the clock.
pub(crate) fn renew_waitmark(now: i64) {
    WAITMARK.store((now >> WAITMARK_SHIFT) as u32, Relaxed);
}

pub(crate) static ALLP: [AtomicPtr<P>; MAXPROCS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; MAXPROCS];
/// Ps ever made; those past `GOMAXPROCS` are Stopped and empty.
pub(crate) static NALLP: AtomicUsize = AtomicUsize::new(0);
pub(crate) static ALLM: AtomicPtr<M> = AtomicPtr::new(ptr::null_mut());

/// The number of Ps.
pub(crate) fn gomaxprocs() -> usize {
    GOMAXPROCS.load(Acquire)
}

/// The P with this number, which exists.
pub(crate) fn allp(id: usize) -> &'static P {
    // SAFETY: written once, before NALLP or GOMAXPROCS grew past it; never
    // freed. Callers stay below those.
    unsafe { &*ALLP[id].load(Acquire) }
}

/// How many Ps were ever made.
pub(crate) fn nallp() -> usize {
    NALLP.load(Acquire)
}

/// Adds a P, which is Stopped; one caller at a time.
pub(crate) fn allp_push(pp: &'static P) {
    let n = NALLP.load(Relaxed);
    ALLP[n].store(ptr::from_ref(pp).cast_mut(), Release);
    NALLP.store(n + 1, Release);
}

/// Publishes an M for dumps and sysmon. Ms are never taken out.
pub(crate) fn allm_push(mp: &'static M) {
    let mut head = ALLM.load(Acquire);
    loop {
        // SAFETY: null, or an M that was published, which is type-stable.
        mp.alllink.set(unsafe { head.as_ref() });
        let new = ptr::from_ref(mp).cast_mut();
        match ALLM.compare_exchange(head, new, AcqRel, Acquire) {
            Ok(_) => return,
            Err(now) => head = now,
        }
    }
}

/// All Ms, those without a thread too.
pub(crate) fn each_m() -> impl Iterator<Item = &'static M> {
    // Acquire: pairs with allm_push. SAFETY: null, or a type-stable M.
    let first: Option<&'static M> = unsafe { ALLM.load(Acquire).as_ref() };
    core::iter::successors(first, |mp| mp.alllink.get())
}

/// The first M, on the thread that ran `rt0_go`.
#[unsafe(no_mangle)]
pub(crate) static runtime_m0: M = M::new(MKind::Worker);
/// m0's g0.
#[unsafe(no_mangle)]
pub(crate) static runtime_g0: G = G::new(u32::MAX);

/// The M of the process's first thread, or null: m0 on the exe path, and in the
/// child of a fork the M of the goroutine that forked.
static MAIN_M: AtomicPtr<M> = AtomicPtr::new(ptr::null_mut());

/// Says that `mp` runs on the process's first thread.
pub(crate) fn set_main_thread(mp: &'static M) {
    MAIN_M.store(ptr::from_ref(mp).cast_mut(), Relaxed);
}

/// Whether an M runs on the process's first thread.
pub(crate) fn main_thread_is_ours() -> bool {
    !MAIN_M.load(Relaxed).is_null()
}

/// Whether `mp` runs on the process's first thread.
pub(crate) fn is_main_thread(mp: &M) -> bool {
    // Relaxed: set before the M runs, or in a child by its own thread.
    ptr::eq(MAIN_M.load(Relaxed), mp)
}

/// In the child of a fork: `mp` is the one M, for now.
///
/// # Safety
/// No other thread is in this process.
pub(crate) unsafe fn lone_m(mp: Option<&'static M>) {
    ALLM.store(ptr::null_mut(), Relaxed);
    if let Some(mp) = mp
        && mp.kind.get() != MKind::Host
    {
        allm_push(mp);
    }
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`); but for Ps, which stay and are empty, and goroutine ids,
/// which are given once.
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset_sched() {
    let goid = SCHED.goidgen.load(Relaxed);
    // SAFETY: nobody uses it, the caller promises.
    unsafe { put(&raw const SCHED, Sched::new()) };
    SCHED.goidgen.store(goid, Relaxed);
    // SAFETY: nobody uses it, the caller promises.
    unsafe { put(&raw const KEEPER, Keeper::new()) };
    // SAFETY: nobody uses it, the caller promises.
    unsafe { put(&raw const SYSMON, Watchman::new()) };
    // SAFETY: nobody uses it, the caller promises.
    unsafe { put(&raw const STOP, StopCount::new()) };
    // SAFETY: nobody uses it, the caller promises.
    unsafe { put(&raw const STOPS, Stops::new()) };
    // SAFETY: nobody uses it, the caller promises.
    unsafe { put(&raw const HOST_WAITS, HostWaits::new()) };
    CLOSING.set(Stage::Open);
    MAIN_STARTED.store(false, Relaxed);
    MAIN_M.store(ptr::null_mut(), Relaxed);
    ALLM.store(ptr::null_mut(), Relaxed);
    for id in 0..nallp() {
        let pp = allp(id);
        let (rng, mcache) = (pp.rng.get(), pp.mcache.get());
        // SAFETY: nobody uses it, the caller promises.
        unsafe { put(ptr::from_ref(pp), P::new(id as u32)) };
        pp.rng.set(rng);
        pp.mcache.set(mcache);
    }
}

/// m0 and its g0 as before the start.
///
/// # Safety
/// No other thread runs code of the library, and m0 is no thread's.
pub(crate) unsafe fn reset_m0() {
    // SAFETY: nobody uses it, the caller promises.
    unsafe { put(&raw const runtime_m0, M::new(MKind::Worker)) };
    // SAFETY: nobody uses it, the caller promises.
    unsafe { put(&raw const runtime_g0, G::new(u32::MAX)) };
}
