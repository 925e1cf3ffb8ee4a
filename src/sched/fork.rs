//! A fork: all other threads out of the runtime's locks before it, and one
//! thread that goes on after it, in the child.
//!
//! ```text
//!   prepare       one fork at a time; the turnstile shut, all locks free
//!   (the fork)
//!   parent        the turnstile open: as if nothing had been
//!   begin_child   the same, in the child, where no other thread is
//!   take_over     at the child's first call: `boot::again` has put all back to
//!                 what it was before the start; the thread that forked and its
//!                 goroutine join the new run
//! ```
//! `base::turnstile` has the protocol of the first step. Two sorts of data are
//! whole then: what a lock guards, and what is one word. Objects in the host's
//! memory are of these sorts, so they stay usable; what waits at them in the
//! parent is forgotten by their first owner in the child. All else is a run's:
//! queues, Ps, Ms, heaps of timers, the poller. The child makes it anew.
//!
//! Until the first call that passes the gate the child has no runtime. The
//! goroutine that forked goes on: a call that does not pass the gate finds its
//! M inside, as in a callback, and so does not switch. When its function
//! returns meanwhile, the goroutine ends like a thread: it runs the functions
//! that it has put off, then its thread ends, and the process with its last
//! thread.
//!
//! Invariants:
//! 1. Of the parent's goroutines the one that forked is there, if one did, and
//!    of the threads the one that forked. A host thread that has run the
//!    goroutine in place is the goroutine's M and nothing else: the call that
//!    it was in does not return.
//! 2. Between `begin_child` and `take_over` no M sleeps, and only the thread
//!    that forked has one.
//!
//! # What the turnstile does not cover
//! Handoff, sysmon and host threads change words without a lock, and a fork may
//! come between any two steps of theirs. Their invariants do not hold in the
//! child, and need not: nobody there reads these words before they are new.
//!
//! | words | new by |
//! |---|---|
//! | of a P: owner word, queue, `runnext`, cached Gs, timers | `reset_sched` |
//! | spinning Ms, timekeeper, sysmon's sleep, stops, the end | `reset_sched` |
//! | waits of host threads | `reset_sched` |
//! | threads wanted and refused, the template's sleep | `threads`, `nothread` |
//! | what sysmon has seen of Ms | `retake` |
//! | goroutines without a stack | `starved` |
//! | poller, descriptors, speculation | `netpoll` |
//! | rings and file of a trace | `trace` |
//! | park word, claim, join word of a G that is not here | `reset_gs` |
//! | note, `nextp`, `spinning` … of the forker's M | `begin_again` |
//! | all words of the other Ms and stand-ins | nobody: no list has them |
//!
//! The forker's own goroutine runs, so its park word is at rest but for a
//! permit or a cancel, which stay; sysmon's request to yield stays too, and
//! finds nothing to do. `tests/tidy/statics.rs` finds a static that is neither
//! new nor the process's. Objects of the host's that have two words for one
//! fact change both under the lock of their bucket (`block::once`,
//! `block::barrier`).
//!
//! A start, up to the making of m0's thread, and the end of the runtime once no
//! goroutine is left are kept apart from forks as a whole
//! ([`while_none_forks`]).
//!
//! Rejected: the world stopped, as for a change of the Ps. Goroutines without a
//! P and host threads change objects all the same, and a goroutine that
//! computes would be waited for.

use super::{
    calls,
    child::{self, State, is_dead_end},
    ending, host, lockthread, suspended, threads,
};
use crate::{
    arch,
    base::{
        lock::{Rank, forget_sleepers},
        throw::throw,
        trace,
        turnstile::{KNOWN, TURNSTILE, ThisThread, Turnstile, known_at},
    },
    gmp::{COUNTERS, G, M, MKind, SCHED, STOP, each_m, gflag, lone_m},
    os::{
        LongFutex, OsFutex,
        clock::{nanotime, usleep},
        thread,
    },
};
use core::{
    marker::PhantomData,
    ptr,
    sync::atomic::{AtomicI32, Ordering::*},
};
use gmprt_inspect::memory::{Memory, OwnMemory};

/// Nanoseconds that a fork waits for other threads to let go of their locks. A
/// holder needs microseconds, but may have to wait for a CPU.
const PATIENCE: i64 = 10_000_000_000;
/// Looks without a sleep in between, and the sleep then, in microseconds.
const LOOKS: u32 = 200;
const SLEEP: u32 = 20;

/// Forks, one at a time: held from `prepare` to `parent` or `begin_child`.
static ONE: crate::base::lock::RawLock<LongFutex> =
    crate::base::lock::RawLock::new(Rank::Fork);

/// Runs `f` while no thread forks: the beginning of a start, or the end of the
/// runtime. They change what a child needs, without a lock.
pub(crate) fn while_none_forks<R>(f: impl FnOnce() -> R) -> R {
    let _one = NoFork::begin();
    f()
}

/// No thread forks while it lives.
pub(crate) struct NoFork(PhantomData<*const ()>);

impl NoFork {
    pub(crate) fn begin() -> Self {
        suspended::safely(|| ONE.lock());
        Self(PhantomData)
    }
}

impl Drop for NoFork {
    fn drop(&mut self) {
        // SAFETY: locked in `begin`, on this thread.
        unsafe { ONE.unlock() };
    }
}

/// Before a fork, on the thread that forks: every other thread out of the
/// runtime's locks, and kept out.
pub(crate) fn prepare() {
    if is_in_section() {
        return;
    }
    suspended::safely(|| ONE.lock());
    TURNSTILE.shut::<OsFutex>();
    let until = nanotime() + PATIENCE;
    for mp in each_m().chain(host::each_hostm()) {
        wait_out(until, || is_out(mp));
    }
    wait_out(until, || TURNSTILE.strangers_are_out());
}

/// Whether the thread of this M holds no lock, or is the caller's.
fn is_out(mp: &M) -> bool {
    let count = mp.held.load(SeqCst).cast_const();
    if count.is_null() || ptr::eq(count, known_at()) {
        return true;
    }
    // SeqCst: as in `host::delete_key`, which runs at no fork.
    if mp.ends_untold.load(SeqCst) {
        return is_out_or_gone(mp, count);
    }
    // SAFETY: in the storage of a thread that lives: it waits for the turnstile
    // before it ends (`threads::leave_turnstile`).
    Turnstile::is_out(unsafe { &*count })
}

/// [`is_out`] for a thread that may have ended meanwhile, and its storage may
/// be somebody else's: then it has no count of a known thread.
#[cold]
fn is_out_or_gone(mp: &M, count: *const AtomicI32) -> bool {
    const MOST: i32 = 1 << 10;
    if !thread::exists(mp.procid.load(Relaxed)) {
        return true;
    }
    let count = OwnMemory.u32(count.addr() as u64);
    let count = count.map_or(0, |count| count as i32 ^ KNOWN);
    !(1..MOST).contains(&count) || Turnstile::is_out(&AtomicI32::new(count))
}

/// Waits until `is_out`.
fn wait_out(until: i64, is_out: impl Fn() -> bool) {
    for look in 0_u32.. {
        if is_out() {
            return;
        }
        if look < LOOKS {
            core::hint::spin_loop();
            continue;
        }
        if nanotime() > until {
            throw("fork: a thread keeps a lock of the runtime");
        }
        usleep(SLEEP);
    }
}

/// After a fork, in the process that has forked.
pub(crate) fn parent() {
    if is_in_section() {
        return;
    }
    TURNSTILE.open::<OsFutex>();
    // SAFETY: locked by prepare, on this thread.
    unsafe { ONE.unlock() };
}

/// Whether this thread holds a lock itself: the handler of a signal forks in a
/// critical section, or a function of a channel's elements does. Then the
/// others go on, since they may need that lock to let go of theirs, and the
/// child is a dead end anyway. Nor does the fork wait for another one, which
/// waits for that lock. The child of a dead end is one too.
fn is_in_section() -> bool {
    ThisThread.is_in_section() || is_dead_end()
}

/// In the child, before anything else there.
pub(crate) fn begin_child() {
    let interrupted = is_interrupted();
    TURNSTILE.begin_child(ThisThread.strange());
    forget_sleepers();
    if is_in_section() {
        // SAFETY: no other thread is in this process, and prepare has not
        // locked it; another fork of the parent's may have.
        unsafe { ONE.renew() };
    } else {
        // SAFETY: locked by prepare, on this thread.
        unsafe { ONE.unlock() };
    }
    // The rings and the file of a trace are the parent's.
    trace::set_hook(None);
    // SAFETY: no other thread is in this process.
    unsafe { host::reset() };
    if interrupted {
        child::set(State::DeadEnd);
    }
}

/// Whether this thread has forked in the middle of the runtime's code, so in
/// the handler of a signal.
fn is_interrupted() -> bool {
    let in_callback =
        |mp: &M| child::in_child() || mp.unlocking.get().is_some();
    is_in_section()
        || arch::getg().is_some_and(|gp| {
            let mp = gp.mp();
            mp.is_inside() && !in_callback(mp)
        })
}

/// In the child of a process whose runtime was up, or started: the Ms of that
/// run are not there, but this thread's.
pub(crate) fn leave_run() {
    // SAFETY: no other thread is in this process.
    unsafe { lone_m(arch::getg().map(G::mp)) };
}

/// In the child of a process without a run. All Ms are without a thread, as
/// they were there, and a next run finds them in the list of all. A host thread
/// keeps its G.
pub(crate) fn go_on_without_run() {
    let Some(gp) = arch::getg().filter(|gp| gp.is_host()) else { return };
    let mp = gp.mp();
    mp.procid.store(thread::gettid(), Release);
    host::publish(gp, mp);
}

/// In the child of a process whose runtime was up: from now on nothing
/// switches, until a call passes the gate.
pub(crate) fn wait_for_first_call() {
    let waited = child::in_child();
    if !is_dead_end() {
        child::set(State::Waits);
    }
    // g0's loop looks at it, should this thread be on its way there.
    STOP.want();
    child::nobody_forked();
    let Some(gp) = arch::getg() else { return };
    let mp = gp.mp();
    let was_inside = mp.in_runtime.swap(true, Relaxed);
    if !waited {
        child::was_inside(was_inside);
    }
    // On g0 an unlockf has forked, and `resume` goes on.
    let of_child = if mp.is_g0(gp) { mp.unlocking.get() } else { Some(gp) };
    let Some(of_child) = of_child else { return };
    if !of_child.is_host() {
        ending::see_to_end(of_child);
    }
    if is_dead_end() {
        return;
    }
    child::forked_on(mp, of_child);
    mp.procid.store(thread::gettid(), Release);
    // The P is the parent's, and so is a goroutine that was to come next.
    mp.set_p(None);
    mp.oldp.set(None);
    mp.nextg.set(None);
    if of_child.is_host() {
        host::publish(of_child, mp);
    }
}

/// Lets the forker's thread and goroutine into the new run, whose Ps are all
/// idle (module).
///
/// # Safety
/// In a child that waits for its first call, with all statics reset.
pub(crate) unsafe fn take_over() {
    STOP.end();
    calls::forget(child::outlives);
    if let Some((mp, gp)) = child::forker() {
        join_run(mp, gp);
    }
    child::set(State::Normal);
}

fn join_run(mp: &'static M, gp: &'static G) {
    // SAFETY: this M's thread runs, so its note is clear.
    unsafe { threads::begin_again(mp) };
    gp.waiting.store(ptr::null_mut(), Relaxed);
    gp.joiner.forget_waiter(gp.words());
    if gp.is_host() {
        host::publish(gp, mp);
    } else {
        if mp.kind.get() == MKind::Host {
            host::becomes_worker(mp);
        }
        threads::mcommoninit(mp);
        COUNTERS.threads_begun.add(1);
        if mp.lockedg.get().is_some() {
            lockthread::count_again();
        }
        if !gp.has(gflag::SYSTEM) {
            COUNTERS.started.add(1);
        }
        if gp.has(gflag::MAIN) {
            SCHED.mains.store(1, SeqCst);
        }
        crate::gmp::set_main_thread(mp);
    }
    mp.in_runtime.store(child::is_in_callback(), Release);
}
