//! Ps taken back from goroutines that are outside, blocked or busy.
//!
//! sysmon cannot ask foreign code whether it sleeps or computes. So each look
//! compares every running P with the look before, and judges a P that still
//! runs the same goroutine, outside, while work waits:
//!
//! ```text
//!   its thread's CPU clock
//!     moved       -> busy:    1st such look: a yield is requested
//!                             then, while fewer than maxprocs busy threads
//!                             run without a P: the P goes; beyond that the
//!                             slice grows with their number
//!     stood still, and the kernel says that the thread
//!       could run -> it waits for a CPU, as another thread with this P would
//!       sleeps    -> where? (`os::task::place`)
//!         in a page fault, or a call that changes the process's memory
//!                 -> it waits its turn at the memory: blocked once that has
//!                    taken 10 ms
//!         in another call
//!                 -> blocked: the P goes at once, or at the next look where
//!                    the sleep is one that is over soon as a rule (state D)
//!         unknown (no such file, no permission)
//!                 -> as in another call
//! ```
//! Faults and memory calls come in crowds: new goroutines touch new pages, and
//! threads that change the memory of a process wait for one another. Without
//! the 10 ms each would cost a thread. But a fault may also wait for a disk, a
//! network or a userfaultfd, so in the end the P goes. A sleep is the same one
//! as long as the clock stands still.
//!
//! A busy goroutine that loses its P runs on without one, and takes CPU time
//! from those with a P. Hence the growing slice: a thousand busy goroutines do
//! not become a thousand threads.
//!
//! Invariants:
//! 1. `SEEN` is touched by sysmon's thread only.
//! 2. A P is judged blocked only by a look that came in time: if sysmon itself
//!    overslept, a clock that stands still tells nothing.
//! 3. `M::busy_without_p` is set before the P is taken, and cleared when the M
//!    gets a P or sleeps, or the take fails.
//!
//! Rejected: a judgement by the clock alone (on a loaded machine the clock of a
//! busy thread stands still in many looks).

use super::{
    handoff::handoffp, nothread::warn_no_thread, procs::try_retake,
    queue::work_waits,
};
use crate::{
    base::alloc::try_push,
    gmp::{
        COUNTERS, DEBUG, G, KEEPER, M, MAIN_STARTED, MAXPROCS, P, SCHED, allp,
        gomaxprocs, m_of_word, nallp, owner::POwner,
    },
    os::{
        Errno,
        clock::thread_cputime,
        task::{self, Place, TaskStat},
    },
};
use core::{cell::UnsafeCell, mem, sync::atomic::Ordering::*};

/// The slice of a busy goroutine, for each thread too many without a P.
const SLICE: i64 = 10_000_000;
/// A P that has made so many switches since the last look is not stuck.
const FAST: u32 = 100;
/// Nanoseconds between two counts of the busy threads without a P.
const RECOUNT: i64 = 10_000_000;

/// How long a fault or a memory call may sleep before it counts as blocked.
const SHORT: i64 = 10_000_000;

/// One P as the last look saw it.
struct LastLook {
    /// The M of the owner word; 0: nothing was seen.
    m: u64,
    tick: u32,
    since: i64,
    cpu: Option<i64>,
    /// Its thread was in an uninterruptible sleep (state D: a disk).
    deep: bool,
    /// When the present fault or memory call was first seen.
    short: Option<i64>,
    asked: bool,
    /// The id of its thread, and the open file with the thread's state.
    task: Option<(i32, TaskStat)>,
}

/// All Ps as the last look saw them. Static, so that no look needs memory.
struct LastLooks(UnsafeCell<[LastLook; MAXPROCS]>);

// SAFETY: touched by sysmon's thread only (invariant 1).
unsafe impl Sync for LastLooks {}

static SEEN: LastLooks =
    LastLooks(UnsafeCell::new([const { LastLook::nothing() }; MAXPROCS]));

/// A busy thread without a P.
struct WithoutP {
    m: u64,
    cpu: i64,
}

/// sysmon's memory.
pub(crate) struct Watch<'a> {
    seen: &'a mut [LastLook; MAXPROCS],
    without_p: Vec<WithoutP>,
    recounted: i64,
}

impl Drop for Watch<'_> {
    /// The runtime ends: closes the files.
    fn drop(&mut self) {
        for seen in &mut self.seen[..nallp()] {
            *seen = LastLook::nothing();
        }
    }
}

#[derive(Clone, Copy, Default)]
pub(crate) struct LookResult {
    /// Ps that run something.
    pub running: usize,
    /// Work waits behind a goroutine that is outside and has not switched.
    pub stuck: bool,
    /// Work waits somewhere.
    pub waits: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Unknown,
    Blocked,
    Busy,
}

impl Watch<'_> {
    /// On sysmon's thread, of which there is one.
    pub(crate) fn new() -> Self {
        // SAFETY: called once, on sysmon's thread (invariant 1).
        let seen = unsafe { &mut *SEEN.0.get() };
        Self { seen, without_p: Vec::new(), recounted: 0 }
    }

    /// Looks at all Ps. `trusted`: the look came in time (invariant 2).
    pub(crate) fn look(&mut self, now: i64, trusted: bool) -> LookResult {
        let n = gomaxprocs().min(MAXPROCS);
        self.recount(now);
        let mut found = LookResult::default();
        for id in 0..n {
            self.look_at(id, now, trusted, &mut found);
        }
        found
    }

    fn look_at(
        &mut self,
        id: usize,
        now: i64,
        trusted: bool,
        found: &mut LookResult,
    ) {
        let pp = allp(id);
        let seen = &mut self.seen[id];
        let POwner::Running(m) = pp.owner.load() else {
            seen.m = 0;
            return;
        };
        found.running += 1;
        let tick = pp.schedtick();
        let fast = seen.m == m && tick.wrapping_sub(seen.tick) >= FAST;
        if !fast {
            pp.waking.reset();
        }
        if seen.m != m || seen.tick != tick {
            *seen = LastLook { task: seen.task.take(), ..LastLook::nothing() };
            (seen.m, seen.tick, seen.since) = (m, tick, now);
        }
        if pp.timers.next_when().has_passed(now) {
            // Relaxed: a hint for its next switch.
            pp.timer_due.store(true, Relaxed);
        }
        let mp = m_of_word(m);
        if !work_waits(pp, now) {
            // So the next look can judge at once, should work come.
            seen.watch(cputime(mp));
            return;
        }
        found.waits = true;
        // Relaxed: a hint, as in try_retake, which looks again after a barrier.
        if mp.in_runtime.load(Relaxed) {
            return;
        }
        found.stuck |= !fast;
        match seen.judge(mp, now) {
            Verdict::Blocked if trusted => self.retake(pp, m, None),
            // A clock that has moved is proof, however late the look.
            Verdict::Busy => self.busy(pp, mp, m, now),
            _ => {}
        }
    }

    fn busy(&mut self, pp: &'static P, mp: &'static M, m: u64, now: i64) {
        let seen = &mut self.seen[pp.id as usize];
        if !seen.asked {
            seen.asked = true;
            COUNTERS.yields_requested.add(1);
            request_yield(mp);
            return;
        }
        let (cpu, since) = (seen.cpu.unwrap_or(0), seen.since);
        let beyond = self.without_p.len() as i64 - gomaxprocs() as i64;
        if beyond >= 0 && now - since < SLICE * (beyond + 1) {
            return;
        }
        self.retake(pp, m, Some(cpu));
    }

    /// Takes the P. `busy`: its thread runs on, and has had so much CPU time.
    fn retake(&mut self, pp: &'static P, m: u64, busy: Option<i64>) {
        // Acquire: pairs with `runtime_main::initialise`. Before that the start
        // runs on m0 alone, and a P that is taken would make a thread.
        if !MAIN_STARTED.load(Acquire) {
            return;
        }
        // Relaxed: set at boot.
        let handoff = DEBUG.handoff.load(Relaxed);
        if !handoff || out_of_threads() {
            return;
        }
        let mp = m_of_word(m);
        // Before the M can get another P, which clears the mark (invariant 3).
        mp.busy_without_p.store(busy.is_some(), SeqCst);
        if !try_retake(pp, m, |pp, m| pp.owner.take(m)) {
            mp.busy_without_p.store(false, SeqCst);
            return;
        }
        match busy {
            Some(_) => COUNTERS.retaken_busy.add(1),
            None => COUNTERS.retaken_blocked.add(1),
        }
        self.seen[pp.id as usize].m = 0;
        if let Some(cpu) = busy {
            self.without_p.retain(|d| d.m != m);
            // Without memory the thread is not counted, and slices stay short.
            let _uncounted = try_push(&mut self.without_p, WithoutP { m, cpu });
        }
        handoffp(pp);
    }

    /// Drops threads that have a P again, or sleep, from `without_p`. A clock
    /// that stands still is no sleep: the thread may wait for a CPU.
    fn recount(&mut self, now: i64) {
        let due = now - self.recounted >= RECOUNT;
        if due {
            self.recounted = now;
        }
        self.without_p.retain_mut(|d| {
            let mp = m_of_word(d.m);
            if !mp.busy_without_p.load(Relaxed) {
                return false;
            }
            if !due {
                return true;
            }
            // Acquire: pairs with `threads::minit`.
            let tid = mp.procid.load(Acquire);
            if tid == 0 {
                return false;
            }
            let before = d.cpu;
            d.cpu = thread_cputime(tid).unwrap_or(before);
            d.cpu != before || TaskStat::open(tid).is_ok_and(|task| runs(&task))
        });
    }
}

impl LastLook {
    const fn nothing() -> Self {
        Self {
            m: 0,
            tick: 0,
            since: 0,
            cpu: None,
            deep: false,
            short: None,
            asked: false,
            task: None,
        }
    }

    /// The module's tree, from the last two readings of the CPU clock.
    fn judge(&mut self, mp: &M, now: i64) -> Verdict {
        let before = self.cpu;
        self.watch(cputime(mp));
        if before.is_none() || self.cpu.is_none() {
            return Verdict::Unknown;
        }
        if before != self.cpu {
            return Verdict::Busy;
        }
        match self.state(mp) {
            b'R' => Verdict::Unknown,
            state => self.judge_sleep(mp, state, now),
        }
    }

    /// Keeps a reading of the clock. If it has moved, the last sleep is over.
    fn watch(&mut self, cpu: Option<i64>) {
        if self.cpu != cpu {
            self.deep = false;
            self.short = None;
        }
        self.cpu = cpu;
    }

    /// Blocked, unless the sleep is one that is soon over as a rule.
    fn judge_sleep(&mut self, mp: &M, state: u8, now: i64) -> Verdict {
        // Acquire: pairs with `threads::minit`.
        match task::place(mp.procid.load(Acquire)) {
            // The thread was woken meanwhile.
            Ok(None) => return Verdict::Unknown,
            Ok(Some(Place::Fault | Place::Memory)) => {
                let since = *self.short.get_or_insert(now);
                if now - since < SHORT {
                    return Verdict::Unknown;
                }
            }
            Ok(Some(Place::Call)) | Err(_) => {}
        }
        if state == b'D' && !mem::replace(&mut self.deep, true) {
            return Verdict::Unknown;
        }
        Verdict::Blocked
    }

    /// The kernel's letter for the thread's state; 0 where it cannot be read
    /// (no /proc, no fd to spare).
    fn state(&mut self, mp: &M) -> u8 {
        // Acquire: pairs with `threads::minit`.
        let tid = mp.procid.load(Acquire);
        if self.task.as_ref().is_none_or(|t| t.0 != tid) {
            self.task = TaskStat::open(tid).ok().map(|t| (tid, t));
        }
        let task = self.task.as_ref();
        let state = task.and_then(|t| t.1.state().ok());
        if state.is_none() {
            // The host may have closed the file: the next look opens it again.
            self.task = None;
        }
        state.unwrap_or(0)
    }
}

fn cputime(mp: &M) -> Option<i64> {
    // Acquire: pairs with `threads::minit`.
    thread_cputime(mp.procid.load(Acquire)).ok()
}

/// Whether the kernel says that the thread runs or could run.
fn runs(task: &TaskStat) -> bool {
    task.state().is_ok_and(|state| state == b'R')
}

/// Asks the goroutine that `mp` runs to yield at its next checkpoint.
fn request_yield(mp: &'static M) {
    // Acquire: pairs with set_current.
    let gp: *const G = mp.curg.load(Acquire);
    // SAFETY: null, or a type-stable G. If the M has left it since, the request
    // is cleared when the G is switched to again.
    if let Some(gp) = unsafe { gp.as_ref() } {
        gp.request_yield();
    }
}

/// Whether a P that is taken would find no thread to run it; warns once if so.
/// The timekeeper is such a thread.
fn out_of_threads() -> bool {
    let kept = KEEPER.is_kept();
    let sched = SCHED.lock();
    let out = !kept && sched.midle.is_none() && sched.at_thread_limit();
    drop(sched);
    if out {
        warn_no_thread(Errno::EAGAIN);
    }
    out
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    // SAFETY: nobody uses it, the caller promises (invariant 1).
    let seen = unsafe { &mut *SEEN.0.get() };
    seen.iter_mut().for_each(|look| *look = LastLook::nothing());
}
