//! findrunnable: where an M looks for work, and how it goes to sleep without
//! missing any.
//!
//! ```text
//!   look_local --> look_global --> look_net --> steal --> last_look
//!    timers, own P  global queue   descriptors  other Ps     |
//!                                                 P to the idle list
//!                                                            |
//!               work and an idle P: spins again <-- once more, without a P
//!                                                            | otherwise
//!                                              timekeeper's sleep, or stopm
//! ```
//! A look that finds work returns it. The order is Go's.
//!
//! # Spinning
//! An M that looks at other Ps *spins*, and begins to only while fewer than
//! half as many Ms spin as Ps are busy. The maker of work wakes an M only if
//! none spins (`wakep`), so each M that stops spinning looks once more:
//!
//! ```text
//!   M that goes to sleep             maker of work
//!     P to the idle list,              queue the work      (c)
//!       nmspinning -= 1     (a)        fence
//!     fence                            a P is idle and
//!     work is queued:       (b)        no M spins:         (d)
//!       take an idle P,                  wake an M
//!       spin again
//! ```
//! (a) pairs with (d) and (c) with (b): the M sees the work, or the maker sees
//! the P and no spinner. `gmp::spinning` has the proof, with letters of its own
//! and a third column for an M that puts a P down without having spun. An M
//! that is woken to look has no P: it begins at `nmspinning -= 1`, and takes an
//! idle P if work is queued, or sleeps again.
//!
//! Invariants:
//! 1. An M sleeps without a P, and does not spin.
//! 2. Each M that spins is counted in `nmspinning`, from before it is woken.

use super::{
    handoff::wakep,
    idle::stopm,
    keeper,
    procs::{acquirep, releasep},
    queue::{TICK, globrunqget, look_global, runqget, work_queued},
    ready::ready_all,
    starved,
    stw::gcstopm,
    timing::{look_net, look_net_late, run_timers, sleep_as_timekeeper},
};
use crate::{
    base::{
        random::xorshift,
        trace::{self, Event, Kind},
    },
    gmp::{G, M, OwnedP, P, SCHED, STOP, allp, gomaxprocs},
    os::clock::usleep,
};
use core::{ptr, sync::atomic::Ordering::*};

/// Rounds over the other Ps before a thief gives up.
const STEAL_ROUNDS: u32 = 4;
/// Microseconds for which a thief leaves `runnext` to its own P: most
/// goroutines there are about to run.
const RUNNEXT_GRACE: u32 = 3;

/// A runnable goroutine, and the P to run it on. None: the caller starts over;
/// this M may have slept, and may have another P or none.
///
/// Not inlined: gdb would stop at one of its instructions that need not be
/// reached.
#[inline(never)]
pub(crate) fn findrunnable(
    mp: &'static M,
    pp: OwnedP,
) -> Option<(OwnedP, &'static G)> {
    if let Some(gp) = look_local(pp) {
        return Some((pp, gp));
    }
    if let Some(gp) = look_global(pp) {
        return Some((pp, gp));
    }
    ready_all(look_net());
    if let Some(gp) = runqget(pp) {
        return Some((pp, gp));
    }
    if may_spin(mp)
        && let Some(gp) = steal(pp)
    {
        return Some((pp, gp));
    }
    last_look(mp, pp)
}

/// This P's timers and queue; if it is late, first descriptors and the global
/// queue.
fn look_local(pp: OwnedP) -> Option<&'static G> {
    run_timers(pp.get());
    if SCHED.any_starved() {
        starved::freed(Some(pp.get()));
    }
    let late = pp.is_late();
    if late {
        pp.late_in(TICK);
        ready_all(look_net_late());
    }
    if (pp.global_first.replace(false) || late)
        && let Some(gp) = look_global(pp)
    {
        return Some(gp);
    }
    runqget(pp)
}

/// Whether this M may look at other Ps: it spins already, or few enough Ms do,
/// and from now on it spins.
fn may_spin(mp: &M) -> bool {
    if mp.spinning.get() {
        return true;
    }
    let busy = gomaxprocs() as i32 - SCHED.npidle.load(Relaxed);
    if 2 * SCHED.nmspinning.count() >= busy {
        return false;
    }
    mp.spinning.set(true);
    SCHED.nmspinning.start();
    true
}

/// Takes half of another P's queue. The last round also runs the due timers of
/// other Ps, and takes from their `runnext`.
fn steal(pp: OwnedP) -> Option<&'static G> {
    pp.count_steal_attempt();
    let n = gomaxprocs();
    for round in 0..STEAL_ROUNDS {
        let last = round == STEAL_ROUNDS - 1;
        for id in steal_order(n, xorshift(&pp.rng)) {
            // Relaxed: a hint; schedule looks again.
            if STOP.is_wanted() {
                return None;
            }
            let victim = allp(id);
            if ptr::eq(victim, pp.get()) {
                continue;
            }
            if last
                && run_timers(victim) > 0
                && let Some(gp) = runqget(pp)
            {
                return Some(gp);
            }
            if let Some(gp) = runqsteal(pp, victim, last) {
                return Some(gp);
            }
        }
    }
    None
}

/// Steps of [`steal_order`]: one, and primes, since few of them divide a given
/// number of Ps.
const STEPS: [u8; 8] = [1, 3, 5, 7, 11, 13, 17, 19];

/// All numbers below `n`, from a random one on, in steps of a random length
/// that has no factor in common with `n` (Go's stealOrder). So thieves that
/// meet at one P go on to different ones.
fn steal_order(n: usize, random: u64) -> impl Iterator<Item = usize> {
    let mut at = (random as u32) as usize % n;
    let wanted = (random >> 32) as usize;
    let mut step = usize::from(STEPS[wanted % STEPS.len()]);
    if n.is_multiple_of(step) {
        step = 1;
    }
    step %= n;
    (0..n).map(move |_| {
        let this = at;
        at += step;
        if at >= n {
            at -= n;
        }
        this
    })
}

/// Takes half of the victim's queue, or its `runnext` if `take_next`.
#[inline(never)]
fn runqsteal(pp: OwnedP, victim: &P, take_next: bool) -> Option<&'static G> {
    // The own ring is empty, so half of another fits.
    let stolen = pp.steal_from(victim);
    if stolen > 0 {
        pp.count_stolen(stolen);
        victim.waking.stolen();
        note_theft(victim, stolen);
        return runqget(pp);
    }
    let seen = if take_next { victim.next()? } else { return None };
    // Taken only if the P has not switched during the grace: otherwise the
    // goroutine has run and come back, as in a ping-pong.
    let tick = victim.schedtick();
    usleep(RUNNEXT_GRACE);
    if victim.schedtick() != tick {
        return None;
    }
    let gp = victim.steal_next(seen)?;
    pp.count_stolen(1);
    victim.waking.stolen();
    note_theft(victim, 1);
    Some(gp)
}

fn note_theft(victim: &P, n: u32) {
    let (id, n) = (u64::from(victim.id), u64::from(n));
    trace::event(move || Event::of(Kind::Steal, 0).with(id, n));
}

/// Looks at the global queue under its lock; puts the P on the idle list and
/// looks on without it.
fn last_look(mp: &'static M, pp: OwnedP) -> Option<(OwnedP, &'static G)> {
    let mut sched = SCHED.lock();
    if STOP.is_wanted() {
        drop(sched);
        gcstopm(mp);
        return None;
    }
    if !sched.runq.is_empty() {
        return globrunqget(&mut sched, pp).map(|gp| (pp, gp));
    }
    let old = releasep(mp);
    sched.pidleput(old);
    drop(sched);
    stop_spinning(mp);
    None
}

/// The look without a P (module): takes an idle P for work, or sleeps, as the
/// timekeeper or until woken.
pub(super) fn stop_spinning(mp: &'static M) {
    let spinning = mp.spinning.replace(false);
    if !SCHED.nmspinning.may_sleep(spinning, || take_for_work(mp)) {
        mp.spinning.set(true);
        return;
    }
    if !sleep_as_timekeeper(mp) {
        stopm(mp);
    }
}

/// Takes an idle P, if there is one and work is queued (b).
fn take_for_work(mp: &'static M) -> bool {
    if !work_queued() {
        return false;
    }
    let pp = SCHED.lock().pidleget();
    match pp {
        Some(pp) => {
            acquirep(mp, pp);
            true
        }
        None => false,
    }
}

/// Stops spinning, as this M has found work; wakes another M if one is needed.
pub(crate) fn resetspinning(mp: &M) {
    mp.spinning.set(false);
    SCHED.nmspinning.stop();
    // While this M spun, makers of work and of timers woke no M: this M does so
    // now. An idle M beside an idle P is woken even without work, to look for
    // the next; but no thread is made for that.
    if work_queued()
        || keeper::unkept()
        || SCHED.npidle.load(Relaxed) != 0 && SCHED.lock().nmidle != 0
    {
        wakep();
    }
}

/// For an M that comes to the scheduler without a P: takes an idle one, or
/// sleeps.
pub(crate) fn without_p(mp: &'static M) {
    if mp.spinning.get() {
        stop_spinning(mp);
        return;
    }
    let mut sched = SCHED.lock();
    if !STOP.is_wanted()
        && let Some(pp) = sched.pidleget()
    {
        drop(sched);
        acquirep(mp, pp);
        return;
    }
    drop(sched);
    stopm(mp);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stealing_looks_at_each_p_once_in_many_orders() {
        for n in 1..=1024 {
            let mut orders = std::collections::HashSet::new();
            for i in 0..64_u64 {
                let random = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let order: Vec<_> = steal_order(n, random).collect();
                let mut all = order.clone();
                all.sort_unstable();
                assert!(all.into_iter().eq(0..n), "{n}: {order:?}");
                orders.insert(order);
            }
            assert!(orders.len() >= n.min(24), "{n}: {}", orders.len());
        }
    }
}
