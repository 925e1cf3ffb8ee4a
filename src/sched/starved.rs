//! Goroutines that are about to run for the first time, and for whose stack
//! there is no memory now.
//!
//! ```text
//!   execute --no stack--> in the list of its size --serve--> has a stack;
//!                              ^                 |           global queue
//!                              '---still none----'
//! ```
//! [`serve`] runs whenever a stack is freed while somebody is here, and, since
//! memory comes back without us too, at each look of sysmon's, which does not
//! sleep for longer than [`AGAIN`] meanwhile. A P's cache gives its stacks to
//! the pool whenever its M comes by the scheduler, and sysmon has the Ms do so.
//! Nobody tries in a loop, and who has a stack runs on.
//!
//! Invariants:
//! 1. A goroutine in a list is Runnable, has no stack, is in no other queue,
//!    and is counted in `SCHED.nstarved`.
//! 2. No stack that goes to a pool is overlooked: the goroutine is counted,
//!    and then `serve` looks into the pool, under its lock; whoever frees a
//!    stack puts it there, under that lock, and then looks at the count. One
//!    of them finds the other: if `serve` looked first, the freer sees the
//!    count, and waits for the lock of the lists, under which `serve` has the
//!    goroutine in its hands, until that is back in its list. A stack in a P's
//!    cache is found when the P's M comes by (`find`), or waits for sysmon.
//! 3. A goroutine is counted until it is in the global queue, so whoever looks
//!    at that queue under its lock and then at the count sees it in one of
//!    them: it is no deadlock, and sysmon does not sleep for long.

use super::{frame::bind_stack_now, handoff};
use crate::{
    base::{lock::Rank, print::SigWriter},
    gmp::{G, GList, P, SCHED, allp, gflag, gomaxprocs},
    os::Lock,
    stack,
};
use core::{
    fmt::Write,
    sync::atomic::{AtomicBool, Ordering::*},
};

/// In nanoseconds: memory that comes back is found after so long.
pub(super) const AGAIN: i64 = 50_000_000;

/// By size: so one that wants much keeps nobody who wants little.
type Lists = [GList; stack::KINDS];

static LISTS: Lock<Lists> =
    Lock::new(Rank::Starved, [const { GList::new() }; stack::KINDS]);

fn kind(gp: &G) -> usize {
    let sized = gp.has(gflag::SIZED);
    stack::kind(if sized { gp.stack_size.get() as usize } else { 0 })
}

/// `gp`, which the caller would have run, waits for a stack. The caller is
/// inside, on g0.
#[cold]
pub(super) fn wait_for_stack(gp: &'static G) {
    let mut lists = LISTS.lock();
    lists[kind(gp)].push_back(gp);
    SCHED.nstarved.fetch_add(1, Relaxed);
    drop(lists);
    warn();
    serve();
    if SCHED.any_starved() {
        // It may be in its deep sleep.
        SCHED.lock().wake_sysmon();
    }
}

/// A stack was freed just now, into the cache of `pp`, if any.
#[cold]
pub(super) fn freed(pp: Option<&P>) {
    if let Some(pp) = pp {
        stack::flush(&pp.stacks);
    }
    serve();
}

/// Gives stacks to those who wait for one, as long as there are some.
fn serve() {
    for kind in 0..stack::KINDS {
        while let Some(gp) = take(kind) {
            SCHED.lock().globrunqput(gp);
            // Relaxed: invariant 3 is about the lock of the queue.
            SCHED.nstarved.fetch_sub(1, Relaxed);
            handoff::wakep();
        }
    }
}

/// Takes the first of its list that can have a stack, and has it now. Under
/// the lock: who comes with a stack meanwhile tries after us (invariant 2).
fn take(kind: usize) -> Option<&'static G> {
    let mut lists = LISTS.lock();
    let gp = lists[kind].pop_front()?;
    if bind_stack_now(gp).is_ok() {
        return Some(gp);
    }
    lists[kind].push_front(gp);
    None
}

/// sysmon: there may be memory again. Where there is none, stacks may lie in
/// the caches of Ps.
pub(super) fn again() {
    if !SCHED.any_starved() {
        return;
    }
    stack::try_again();
    handoff::flush_idle();
    serve();
    if SCHED.any_starved() {
        for id in 0..gomaxprocs() {
            // Relaxed: a hint for its next switch, which leads to find.
            allp(id).timer_due.store(true, Relaxed);
        }
    }
}

/// Says once that goroutines wait for memory.
fn warn() {
    static SAID: AtomicBool = AtomicBool::new(false);
    if SAID.swap(true, Relaxed) {
        return;
    }
    let mut w = SigWriter::stderr();
    // A SigWriter reports no errors.
    let _ = writeln!(
        w,
        "gmprt: no memory for another stack; goroutines that have not begun \
         wait until one comes free (RLIMIT_AS, vm.max_map_count)"
    );
    w.flush();
}
