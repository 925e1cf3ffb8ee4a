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
//!    and is counted in `COUNT`.
//! 2. No stack that goes to a pool is overlooked: the goroutine is counted,
//!    and then `serve` looks into the pool, under its lock; whoever frees a
//!    stack puts it there, under that lock, and then looks at the count. One
//!    of them finds the other. A stack in a P's cache waits for sysmon.

use super::{newproc::bind_stack_now, procs};
use crate::{
    base::{lock::Rank, print::SigWriter},
    gmp::{G, GList, SCHED, allp, gflag, gomaxprocs},
    os::Lock,
    stack::{self, Stack},
};
use core::{
    fmt::Write,
    sync::atomic::{AtomicBool, AtomicU32, Ordering::*},
};

/// In nanoseconds: memory that comes back is found after so long.
pub(super) const AGAIN: i64 = 50_000_000;

/// By size: so one that wants much keeps nobody who wants little.
type Lists = [GList; stack::KINDS];

static LISTS: Lock<Lists> =
    Lock::new(Rank::Starved, [const { GList::new() }; stack::KINDS]);
/// Invariant 1.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Whether anybody waits for a stack.
#[inline(always)]
pub(super) fn any() -> bool {
    // Relaxed: invariant 2 is about the lock of the pool.
    COUNT.load(Relaxed) != 0
}

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
    COUNT.fetch_add(1, Relaxed);
    drop(lists);
    warn();
    serve();
    if any() {
        // It may be in its deep sleep.
        SCHED.lock().wake_sysmon();
    }
}

/// Takes a stack that nobody uses any more, for those who wait for one.
#[cold]
pub(super) fn give(stack: Stack) {
    stack::stackfree_slow(stack);
    serve();
}

/// Gives stacks to those who wait for one, as long as there are some.
fn serve() {
    for kind in 0..stack::KINDS {
        while let Some(gp) = take(kind) {
            if bind_stack_now(gp).is_err() {
                let mut lists = LISTS.lock();
                lists[kind].push_front(gp);
                COUNT.fetch_add(1, Relaxed);
                break;
            }
            SCHED.lock().globrunqput(gp);
            procs::wakep();
        }
    }
}

fn take(kind: usize) -> Option<&'static G> {
    let mut lists = LISTS.lock();
    let gp = lists[kind].pop_front()?;
    COUNT.fetch_sub(1, Relaxed);
    Some(gp)
}

/// sysmon: there may be memory again. Where there is none, stacks may lie in
/// the caches of Ps.
pub(super) fn again() {
    if !any() {
        return;
    }
    stack::try_again();
    procs::flush_idle();
    serve();
    if any() {
        for id in 0..gomaxprocs() {
            // Relaxed: a hint for its next switch, which leads to find.
            allp(id).timer_due.store(true, Relaxed);
        }
    }
}

/// A P's M comes by, and leaves what stacks the P has kept.
#[cold]
pub(super) fn leave_stacks(pp: &crate::gmp::P) {
    stack::flush(&pp.stacks);
    serve();
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
