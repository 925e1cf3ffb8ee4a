//! The scheduler in numbers: for `gmp_get_stats` and `GMPDEBUG=schedtrace`.
//!
//! No event is counted in a path that goroutines take all the time. Ps count
//! what happens on them, without atomic operations (`P::counts`), rare events
//! have a counter (`gmp::counters`), and the rest are lengths that exist
//! anyway. Here they are read, one after the other, while everything goes on:
//! the time for that grows with the number of Ps and threads, and not with the
//! number of goroutines.
//!
//! Invariants:
//! 1. A counter never goes backwards: Ps and Ms are never freed, and what a P
//!    has counted stays with it while it is out of use.
//! 2. Ends are read before starts, so `live` is never too low by that.
//! 3. `running + runnable + waiting` is `live`. Goroutines that wait are in no
//!    list, so they are what is left.
//!
//! A goroutine that a host thread runs in place counts as waiting while it has
//! no P: the M of a host thread is in no list. The library's own goroutines are
//! not counted, but where they are queued.
//!
//! Rejected: a look at the status of each goroutine (a million lines of the
//! cache); the time between runnable and running, of each or of some (it costs
//! two looks at the clock, or one and a word in each G).

use crate::{
    gmp::{
        COUNTERS, G, GStatus, HOST_WAITS, KEEPER, M, MKind, P,
        RUNTIME_INIT_TIME, SCHED, each_m, each_p, gended, gflag, gomaxprocs,
        m_of_word, m_word, owner::POwner,
    },
    netpoll,
    os::clock::nanotime,
    stack,
};
use core::{cell::Cell, ptr, sync::atomic::Ordering::*};

/// All numbers of one moment.
pub(crate) struct Stats {
    /// Nanoseconds since the start.
    pub uptime: i64,
    pub goroutines: Goroutines,
    pub procs: Procs,
    pub threads: Threads,
    pub timers: Timers,
    pub net: Net,
    pub stacks: Stacks,
}

/// Goroutines of the host's.
#[derive(Default)]
pub(crate) struct Goroutines {
    pub live: u64,
    pub created: u64,
    pub ended: u64,
    pub running: u64,
    pub runnable: u64,
    pub waiting: u64,
    /// Of those that run: in the host's code, without a P.
    pub without_p: u64,
    /// Of those that are runnable: without a stack, for want of memory.
    pub starved: u64,
    /// How many had to wait for a stack so far.
    pub starved_ever: u64,
}

/// Ps, and what happens on them.
#[derive(Default)]
pub(crate) struct Procs {
    pub all: u64,
    pub idle: u64,
    pub switches: u64,
    pub runq_global: u64,
    pub runq_local: u64,
    pub runq_longest: u64,
    pub steal_attempts: u64,
    pub stolen: u64,
    pub handoffs: u64,
    pub retaken_blocked: u64,
    pub retaken_busy: u64,
    pub yields_requested: u64,
}

/// Threads of ours, but where the name says otherwise.
#[derive(Default)]
pub(crate) struct Threads {
    pub all: u64,
    pub begun: u64,
    pub ended: u64,
    pub refused: u64,
    pub idle: u64,
    pub spinning: u64,
    pub locked: u64,
    /// Busy threads that have lost their P.
    pub detached: u64,
    pub sleeps: u64,
    pub wakeups: u64,
    /// Host threads that sleep in a call without a deadline.
    pub hosts_asleep: u64,
}

/// Timers and deadlines.
#[derive(Default)]
pub(crate) struct Timers {
    pub pending: u64,
    pub fired: u64,
}

/// Waits for descriptors.
pub(crate) struct Net {
    pub waiters: u64,
    pub polls: u64,
    pub events: u64,
}

/// Stacks of goroutines, in bytes.
pub(crate) struct Stacks {
    pub in_use: u64,
    pub cached: u64,
    pub idle: u64,
    pub cold: u64,
    pub mapped: u64,
    /// A number of stacks.
    pub unguarded: u64,
}

/// Reads all. From any thread; takes locks for a few instructions each.
pub(crate) fn read() -> Stats {
    // Relaxed: set before there was another thread.
    let uptime = nanotime() - RUNTIME_INIT_TIME.load(Relaxed);
    let mut goroutines = Goroutines {
        // Invariant 2: the first of all.
        ended: gended(),
        created: COUNTERS.started.get(),
        // Relaxed, here and below: lengths of this moment.
        starved: SCHED.nstarved.load(Relaxed).into(),
        starved_ever: COUNTERS.starved.get(),
        ..Goroutines::default()
    };
    let (procs, timers) = read_ps(&mut goroutines);
    let (threads, net) = read_ms(&mut goroutines);
    let runnable = procs.runq_global + procs.runq_local + goroutines.starved;
    goroutines.share(runnable);
    Stats {
        uptime,
        goroutines,
        procs,
        threads,
        timers,
        net,
        stacks: read_stacks(),
    }
}

impl Goroutines {
    /// Keeps invariant 3.
    fn share(&mut self, runnable: u64) {
        self.live = self.created.saturating_sub(self.ended);
        self.running = self.running.min(self.live);
        self.without_p = self.without_p.min(self.running);
        self.runnable = runnable.min(self.live - self.running);
        self.starved = self.starved.min(self.runnable);
        self.waiting = self.live - self.running - self.runnable;
    }
}

/// Reads the Ps, those out of use too (invariant 1), the goroutines that host
/// threads run on them, and their timers.
fn read_ps(goroutines: &mut Goroutines) -> (Procs, Timers) {
    let mut procs = Procs {
        all: gomaxprocs() as u64,
        idle: at_least_0(SCHED.npidle.load(Relaxed)),
        runq_global: SCHED.runqsize.load(Relaxed).into(),
        retaken_blocked: COUNTERS.retaken_blocked.get(),
        retaken_busy: COUNTERS.retaken_busy.get(),
        yields_requested: COUNTERS.yields_requested.get(),
        ..Procs::default()
    };
    let mut timers = Timers::default();
    for pp in each_p() {
        let counts = pp.counts();
        goroutines.created += counts.started;
        procs.switches += counts.switches;
        procs.steal_attempts += counts.steal_attempts;
        procs.stolen += counts.stolen;
        procs.handoffs += counts.handoffs;
        let queued = queued_on(pp);
        procs.runq_local += queued;
        procs.runq_longest = procs.runq_longest.max(queued);
        let (pending, fired) = pp.timers.counts();
        timers.pending += pending as u64;
        timers.fired += fired;
        if let POwner::Running(m) | POwner::Retaking(m) = pp.owner.load() {
            let mp = m_of_word(m);
            let in_place = peek(&mp.kind) == MKind::Host && runs_one(mp);
            goroutines.running += u64::from(in_place);
        }
    }
    (procs, timers)
}

/// How many goroutines are queued on a P.
pub(super) fn queued_on(pp: &P) -> u64 {
    u64::from(pp.runq_len()) + u64::from(pp.next().is_some())
}

/// Reads the Ms of ours, the goroutines that they run, and their polls.
fn read_ms(goroutines: &mut Goroutines) -> (Threads, Net) {
    // The second of the pair first (`gmp::counters`).
    let ended = COUNTERS.threads_ended.get();
    let begun = COUNTERS.threads_begun.get();
    let mut threads = Threads {
        ended,
        begun,
        all: begun - ended,
        refused: COUNTERS.threads_refused.get(),
        spinning: at_least_0(SCHED.nmspinning.count()),
        locked: at_least_0(SCHED.nmlocked.load(Relaxed)),
        sleeps: COUNTERS.sleeps.get(),
        wakeups: COUNTERS.wakeups.get(),
        hosts_asleep: at_least_0(HOST_WAITS.count()),
        ..Threads::default()
    };
    let sched = SCHED.lock();
    threads.idle = at_least_0(sched.nmidle) + u64::from(KEEPER.is_kept());
    drop(sched);
    let mut net = Net {
        waiters: netpoll::waiters().into(),
        polls: COUNTERS.polls.get(),
        events: COUNTERS.poll_events.get(),
    };
    for mp in each_m() {
        let (polls, events) = mp.polls();
        net.polls += polls;
        net.events += events;
        if peek(&mp.kind) == MKind::Host || !runs_one(mp) {
            continue;
        }
        goroutines.running += 1;
        if !holds_p(mp) {
            goroutines.without_p += 1;
            threads.detached += u64::from(mp.busy_without_p.load(Relaxed));
        }
    }
    (threads, net)
}

/// Whether `mp` runs a goroutine of the host's.
fn runs_one(mp: &M) -> bool {
    let gp: *const G = mp.curg.load(Acquire);
    // SAFETY: null, or a type-stable G.
    let Some(gp) = (unsafe { gp.as_ref() }) else { return false };
    let system = peek(&gp.flags) & gflag::SYSTEM != 0;
    !system && gp.readgstatus() == GStatus::Running
}

/// Whether `mp` has a P that was not taken from it.
fn holds_p(mp: &M) -> bool {
    let Some(pp) = peek(&mp.p) else { return false };
    let (POwner::Running(m) | POwner::Retaking(m)) = pp.owner.load() else {
        return false;
    };
    m == m_word(mp)
}

fn read_stacks() -> Stacks {
    let stats = stack::stats();
    let cached: usize = each_p().map(|pp| pp.stacks.bytes()).sum();
    let cached = cached.min(stats.in_use_bytes);
    Stacks {
        in_use: (stats.in_use_bytes - cached) as u64,
        cached: cached as u64,
        idle: stats.idle_bytes as u64,
        cold: stats.cold_bytes as u64,
        mapped: stats.mapped as u64,
        unguarded: stats.unguarded as u64,
    }
}

fn at_least_0(n: i32) -> u64 {
    n.max(0).unsigned_abs().into()
}

/// Reads a word that its owner may write meanwhile.
fn peek<T: Copy>(cell: &Cell<T>) -> T {
    // SAFETY: aligned and initialised; on this processor a word that another
    // thread writes reads as the old value or the new one.
    unsafe { ptr::read_volatile(cell.as_ptr()) }
}
