//! Goroutines that are about to run for the first time, and for whose stack
//! there is no memory now.
//!
//! ```text
//!   execute --no stack--> in the list of its size --serve--> has a stack;
//!                              ^                 |           global queue
//!                              '---still none----'
//! ```
//! [`serve`] runs whenever a stack is freed while a goroutine waits here.
//! Memory also comes back without us, so sysmon calls it at each look, and
//! meanwhile sleeps for [`AGAIN`] at most. Stacks in the cache of a P count as
//! well: an M empties the cache into the pool whenever it comes by the
//! scheduler, and sysmon makes the Ms do so. No thread tries in a loop.
//!
//! ```text
//!   goroutine without a stack     thread that frees a stack
//!     into its list,                into the pool,           (c)
//!       nstarved += 1   (a)           under the pool's lock
//!     a stack in the    (b)         nstarved != 0: serve     (d)
//!       pool, under its lock?
//! ```
//! (a) pairs with (d), and (c) with (b). The lock of the pool orders them: (b)
//! finds the stack, or comes before (c), and then (d) sees the count. The freer
//! waits for the lock of the lists, under which (b) runs, and finds the
//! goroutine there.
//!
//! Invariants:
//! 1. A goroutine in a list is Runnable, has no stack, is in no other queue,
//!    and is counted in `SCHED.nstarved`.
//! 2. No stack that goes to a pool is overlooked, by the columns above. One in
//!    the cache of a P waits until its M comes by (`find`), or for sysmon.
//! 3. A goroutine is counted until it is in the global queue. So a look at that
//!    queue, under its lock, and then at the count finds it in one of them: it
//!    is no deadlock, and sysmon does not sleep for long.

use super::{frame::bind_stack_now, handoff};
use crate::{
    base::{lock::Rank, print::SigWriter},
    gmp::{COUNTERS, G, GList, P, SCHED, allp, gflag, gomaxprocs},
    os::Lock,
    stack,
};
use core::{
    fmt::Write,
    sync::atomic::{AtomicBool, Ordering::*},
};

/// Nanoseconds until sysmon looks for memory again.
pub(super) const AGAIN: i64 = 50_000_000;

/// A list for each size of stacks, so that a goroutine that wants a large one
/// does not hold up those that want small ones.
type Lists = [GList; stack::KINDS];

static LISTS: Lock<Lists> =
    Lock::new(Rank::Starved, [const { GList::new() }; stack::KINDS]);

/// The list of `gp`.
fn kind(gp: &G) -> usize {
    let sized = gp.has(gflag::SIZED);
    stack::kind(if sized { gp.stack_size.get() as usize } else { 0 })
}

/// Makes `gp`, which the caller was about to run, wait for a stack. The caller
/// is inside, on g0.
#[cold]
pub(super) fn wait_for_stack(gp: &'static G) {
    let mut lists = LISTS.lock();
    lists[kind(gp)].push_back(gp);
    SCHED.nstarved.fetch_add(1, Relaxed);
    COUNTERS.starved.add(1);
    drop(lists);
    warn();
    serve();
    if SCHED.any_starved() {
        // sysmon may be in its deep sleep, and has to look.
        SCHED.lock().wake_sysmon();
    }
}

/// Serves those that wait, after a stack was freed into the cache of `pp`, or
/// into the pool.
#[cold]
pub(super) fn freed(pp: Option<&P>) {
    if let Some(pp) = pp {
        stack::flush(&pp.stacks);
    }
    serve();
}

/// Gives stacks to the goroutines that wait, as long as there are some.
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

/// Takes the first goroutine of a list and gives it a stack; None if there is
/// no goroutine or no stack. All under the lock of the lists: a freer that
/// comes meanwhile tries afterwards (invariant 2).
fn take(kind: usize) -> Option<&'static G> {
    let mut lists = LISTS.lock();
    let gp = lists[kind].pop_front()?;
    if bind_stack_now(gp).is_ok() {
        return Some(gp);
    }
    lists[kind].push_front(gp);
    None
}

/// sysmon: tries again, as there may be memory now. If there is none, makes the
/// Ms empty the caches of their Ps.
pub(super) fn again() {
    if !SCHED.any_starved() {
        return;
    }
    stack::try_again();
    handoff::flush_idle();
    serve();
    if SCHED.any_starved() {
        for id in 0..gomaxprocs() {
            // Relaxed: a hint for the P's next switch, which goes by `find`.
            allp(id).timer_due.store(true, Relaxed);
        }
    }
}

/// Warns once that goroutines wait for memory.
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

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    // SAFETY: nobody uses it, the caller promises.
    unsafe { LISTS.renew([const { GList::new() }; stack::KINDS]) };
}
