//! Ps taken back from goroutines that are outside, blocked or busy.
//!
//! At each look sysmon compares every running P with what it saw before. The
//! same goroutine as last time, outside, while work waits:
//!
//! ```text
//!   its thread's CPU clock
//!     moved       -> busy:    1st such look: a yield is requested
//!                             then, while fewer than maxprocs busy threads
//!                             run without a P: the P goes; beyond that the
//!                             slice grows with their number
//!     stood still, and the kernel says that the thread
//!       could run -> it waits for a CPU, as another one with this P would
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
//! A crowd of new goroutines touches new pages, and threads that change the
//! memory of a process wait for one another: each would else cost a thread.
//! A fault may also wait for a disk, a network or a userfaultfd, so in the end
//! the P goes. A sleep is the same one as long as the clock stands still.
//!
//! The clock alone does not tell: on a loaded machine a busy thread's stands
//! still in many looks. And looks before which sysmon itself overslept tell
//! nothing.
//!
//! Nobody starves: a busy goroutine that loses its P runs on without one. But
//! each such thread takes CPU time from those with a P, hence the growing
//! slice: a thousand busy goroutines do not become a thousand threads.

use super::{
    handoff::handoffp, nothread::warn_no_thread, procs::try_retake,
    queue::work_waits,
};
use crate::{
    base::alloc::try_push,
    gmp::{
        DEBUG, G, M, MAXPROCS, P, SCHED, allp, gomaxprocs, m_of_word,
        owner::POwner,
    },
    os::{
        Errno,
        clock::thread_cputime,
        task::{self, Place, TaskStat},
    },
};
use core::{cell::UnsafeCell, mem, sync::atomic::Ordering::*};

/// The slice that a busy goroutine has once too many run without a P.
const SLICE: i64 = 10_000_000;
/// Switches between two looks that tell of goroutines that do not stay.
const FAST: u32 = 100;
/// How often threads that lost their P are looked at again.
const RECOUNT: i64 = 10_000_000;

/// How long a sleep may last that is short by rule.
const SHORT: i64 = 10_000_000;

/// What sysmon saw of a P at the last look.
struct Seen {
    /// 0: nothing
    m: u64,
    tick: u32,
    since: i64,
    cpu: Option<i64>,
    /// It slept uninterruptibly (a disk).
    deep: bool,
    /// Since when it has been in one sleep that is short by rule.
    short: Option<i64>,
    asked: bool,
    /// State of the thread with this id, by a kept fd.
    task: Option<(i32, TaskStat)>,
}

/// What it saw of all Ps. Here, so that no look needs memory.
struct SeenAll(UnsafeCell<[Seen; MAXPROCS]>);

// SAFETY: touched by sysmon's thread only.
unsafe impl Sync for SeenAll {}

static SEEN: SeenAll =
    SeenAll(UnsafeCell::new([const { Seen::nothing() }; MAXPROCS]));

/// A busy thread without a P.
struct Detached {
    m: u64,
    cpu: i64,
}

/// sysmon's memory.
pub(crate) struct Watch<'a> {
    seen: &'a mut [Seen; MAXPROCS],
    detached: Vec<Detached>,
    recounted: i64,
}

/// What a look found.
#[derive(Clone, Copy, Default)]
pub(crate) struct Found {
    /// Ps that run something.
    pub running: usize,
    /// Work waits behind a goroutine that did not move since the last look.
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
        // SAFETY: nobody else is given it, as the caller knows.
        let seen = unsafe { &mut *SEEN.0.get() };
        Self { seen, detached: Vec::new(), recounted: 0 }
    }

    /// One look at all Ps. `trusted`: it came in time, so it may judge who is
    /// blocked.
    pub(crate) fn look(&mut self, now: i64, trusted: bool) -> Found {
        let n = gomaxprocs().min(MAXPROCS);
        self.recount(now);
        let mut found = Found::default();
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
        found: &mut Found,
    ) {
        let pp = allp(id);
        let seen = &mut self.seen[id];
        let POwner::Running(m) = pp.owner.load() else {
            seen.m = 0;
            return;
        };
        found.running += 1;
        // Relaxed: a counter to compare.
        let tick = pp.schedtick.load(Relaxed);
        let fast = seen.m == m && tick.wrapping_sub(seen.tick) >= FAST;
        if !fast {
            pp.waking.forget();
        }
        if seen.m != m || seen.tick != tick {
            *seen = Seen { task: seen.task.take(), ..Seen::nothing() };
            (seen.m, seen.tick, seen.since) = (m, tick, now);
        }
        if pp.timers.next_when() <= now {
            // Relaxed: a hint for its next switch.
            pp.timer_due.store(true, Relaxed);
        }
        let mp = m_of_word(m);
        if !work_waits(pp, now) {
            // If work comes, the next look can judge at once.
            seen.watch(cputime(mp));
            return;
        }
        found.waits = true;
        // Relaxed: a hint; try_retake looks again behind a barrier.
        if mp.in_runtime.load(Relaxed) {
            return;
        }
        found.stuck |= !fast;
        match seen.judge(mp, now) {
            Verdict::Blocked if trusted => self.retake(pp, m, None),
            // A clock that has moved proves it, however late the look is.
            Verdict::Busy => self.busy(pp, mp, m, now),
            _ => {}
        }
    }

    fn busy(&mut self, pp: &'static P, mp: &'static M, m: u64, now: i64) {
        let seen = &mut self.seen[pp.id as usize];
        if !seen.asked {
            seen.asked = true;
            request_yield(mp);
            return;
        }
        let (cpu, since) = (seen.cpu.unwrap_or(0), seen.since);
        let beyond = self.detached.len() as i64 - gomaxprocs() as i64;
        if beyond >= 0 && now - since < SLICE * (beyond + 1) {
            return;
        }
        self.retake(pp, m, Some(cpu));
    }

    /// Takes the P; `busy` is the CPU time of a thread that goes on running.
    fn retake(&mut self, pp: &'static P, m: u64, busy: Option<i64>) {
        // Relaxed: set at boot.
        let handoff = DEBUG.handoff.load(Relaxed);
        if !handoff || out_of_threads() {
            return;
        }
        let mp = m_of_word(m);
        // Before the M can get another P, which takes the mark away.
        mp.detached.store(busy.is_some(), SeqCst);
        if !try_retake(pp, m, |pp, m| pp.owner.take(m)) {
            mp.detached.store(false, SeqCst);
            return;
        }
        self.seen[pp.id as usize].m = 0;
        if let Some(cpu) = busy {
            self.detached.retain(|d| d.m != m);
            // Without memory it does not count: slices stay short for longer.
            let _uncounted = try_push(&mut self.detached, Detached { m, cpu });
        }
        handoffp(pp);
    }

    /// Forgets threads that have a P again, or sleep. That a thread did not
    /// run lately says little: with many of them each has to wait.
    fn recount(&mut self, now: i64) {
        let due = now - self.recounted >= RECOUNT;
        if due {
            self.recounted = now;
        }
        self.detached.retain_mut(|d| {
            let mp = m_of_word(d.m);
            if !mp.detached.load(Relaxed) {
                return false;
            }
            if !due {
                return true;
            }
            // Acquire: pairs with minit.
            let tid = mp.procid.load(Acquire);
            if tid == 0 {
                return false;
            }
            let before = d.cpu;
            d.cpu = thread_cputime(tid).unwrap_or(before);
            d.cpu != before || TaskStat::open(tid).is_ok_and(|task| runs(&task))
        });
    }

    /// Busy threads that run without a P.
    pub(crate) fn detached(&self) -> usize {
        self.detached.len()
    }
}

impl Seen {
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

    /// Blocked or busy, from two readings of the thread's CPU clock.
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

    /// Keeps a reading of the clock: once it has moved, a sleep is over.
    fn watch(&mut self, cpu: Option<i64>) {
        if self.cpu != cpu {
            self.deep = false;
            self.short = None;
        }
        self.cpu = cpu;
    }

    /// Blocked, unless the sleep is soon over by rule.
    fn judge_sleep(&mut self, mp: &M, state: u8, now: i64) -> Verdict {
        // Acquire: pairs with minit.
        match task::place(mp.procid.load(Acquire)) {
            // It has been woken meanwhile.
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

    /// The thread's state as the kernel names it; 0 where it does not tell (no
    /// /proc, no fd to spare): the clock has to do then.
    fn state(&mut self, mp: &M) -> u8 {
        // Acquire: pairs with minit.
        let tid = mp.procid.load(Acquire);
        if self.task.as_ref().is_none_or(|t| t.0 != tid) {
            self.task = TaskStat::open(tid).ok().map(|t| (tid, t));
        }
        let task = self.task.as_ref();
        let state = task.and_then(|t| t.1.state().ok());
        if state.is_none() {
            // The host may have closed it: the next look opens it again.
            self.task = None;
        }
        state.unwrap_or(0)
    }
}

/// The CPU time of an M's thread so far.
fn cputime(mp: &M) -> Option<i64> {
    // Acquire: pairs with minit.
    thread_cputime(mp.procid.load(Acquire)).ok()
}

/// Whether the kernel says that the thread runs or could run.
fn runs(task: &TaskStat) -> bool {
    task.state().is_ok_and(|state| state == b'R')
}

/// Asks the goroutine that `mp` runs to yield at its next checkpoint.
fn request_yield(mp: &'static M) {
    // Acquire: pairs with come_on.
    let gp: *const G = mp.curg.load(Acquire);
    // SAFETY: null, or a type-stable G. If it has been left since, the next
    // come_on clears the request.
    if let Some(gp) = unsafe { gp.as_ref() } {
        gp.request_yield();
    }
}

/// Whether a P that is taken would find no thread to run it, which is said
/// once. The keeper of the time is one.
fn out_of_threads() -> bool {
    let kept = SCHED.lastpoll.load(SeqCst) == 0;
    let sched = SCHED.lock();
    let out = !kept && sched.midle.is_none() && sched.at_thread_limit();
    drop(sched);
    if out {
        warn_no_thread(Errno::EAGAIN);
    }
    out
}
