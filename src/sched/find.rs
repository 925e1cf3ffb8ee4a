//! findrunnable: where an M looks for work, in Go's order, and how it goes to
//! sleep without missing any.
//!
//! # Spinning
//! An M that found nothing on its own P spins: it looks at the others' before
//! it sleeps. At most half as many spin as are busy. Whoever makes work wakes
//! an M only if none spins (`wakep`), so the last one to stop spinning looks
//! once more ([`rest`]); the protocol is `gmp::spinning`'s. An M that is woken
//! for this has no P, and comes to `rest` first: it goes on with an idle P, or
//! back to sleep.

use super::{
    handoff::wakep,
    idle::stopm,
    keeper,
    procs::{acquirep, releasep},
    queue::{TICK, globrunqget, look_global, runqget, work_queued},
    ready::ready_all,
    starved,
    stw::gcstopm,
    timing::{keep_time, look_net, look_net_late, run_timers},
};
use crate::{
    base::random::xorshift,
    gmp::{G, M, OwnedP, P, SCHED, allp, gomaxprocs},
    os::clock::usleep,
};
use core::{ptr, sync::atomic::Ordering::*};

/// Rounds over the other Ps before an M gives up.
const STEAL_ROUNDS: u32 = 4;
/// How long a thief leaves `runnext` to the P that just set it, in
/// microseconds: most are about to run there.
const RUNNEXT_GRACE: u32 = 3;

/// A runnable goroutine, and the P to run it on: sleeps until there is one.
/// None: start over, something else came up.
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

/// The timers, now and then descriptors and the global queue, and this P's own.
fn look_local(pp: OwnedP) -> Option<&'static G> {
    run_timers(pp.get());
    if SCHED.any_starved() {
        starved::freed(Some(pp.get()));
    }
    // Relaxed: only we write it.
    let late = pp.schedtick.load(Relaxed).is_multiple_of(TICK);
    if late {
        ready_all(look_net_late());
    }
    if (pp.global_first.replace(false) || late)
        && let Some(gp) = look_global(pp)
    {
        return Some(gp);
    }
    runqget(pp)
}

/// Whether this M may look at other Ps: it spins, or few enough do.
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

/// Takes half of another P's queue, looking at each P in an order of its own;
/// due timers and `runnext` in the last round only.
fn steal(pp: OwnedP) -> Option<&'static G> {
    let n = gomaxprocs();
    for round in 0..STEAL_ROUNDS {
        let last = round == STEAL_ROUNDS - 1;
        for id in steal_order(n, xorshift(&pp.rng)) {
            // Relaxed: a hint; schedule looks again.
            if SCHED.gcwaiting.load(Relaxed) {
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

/// Steps of [`steal_order`]: one, and primes, which most numbers are not
/// multiples of.
const STEPS: [u8; 8] = [1, 3, 5, 7, 11, 13, 17, 19];

/// All numbers below `n`, from a random one on in steps of a random length
/// that has no factor in common with `n` (Go's stealOrder): thieves that meet
/// at one P part again.
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

fn runqsteal(pp: OwnedP, victim: &P, take_next: bool) -> Option<&'static G> {
    // SAFETY: OwnedP holds pp, whose queue is empty, so half of another fits.
    let n = unsafe { victim.runq.steal_into(&pp.runq) };
    if n > 0 {
        victim.waking.worked();
        return runqget(pp);
    }
    // Relaxed: taken by the swap below.
    let seen = victim.runnext.load(Relaxed);
    if !take_next || seen.is_null() {
        return None;
    }
    // Only the goroutine that was there before the grace is taken, and if the
    // P has not switched meanwhile: else this one came back, as in a
    // ping-pong, or has a grace of its own. Relaxed: a hint.
    let tick = victim.schedtick.load(Relaxed);
    usleep(RUNNEXT_GRACE);
    if victim.schedtick.load(Relaxed) != tick {
        return None;
    }
    // AcqRel: as in runqput.
    victim
        .runnext
        .compare_exchange(seen, ptr::null_mut(), AcqRel, Relaxed)
        .ok()
        .map(|gp| {
            victim.waking.worked();
            // SAFETY: not null, see above; queues hold type-stable Gs.
            unsafe { &*gp }
        })
}

/// Gives the P back, stops spinning, looks everywhere once more, and sleeps:
/// as the keeper of the time, or until woken.
fn last_look(mp: &'static M, pp: OwnedP) -> Option<(OwnedP, &'static G)> {
    let mut sched = SCHED.lock();
    if SCHED.gcwaiting.load(Relaxed) {
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
    rest(mp);
    None
}

/// This M has no P: takes one if there is work, else sleeps, as the keeper of
/// the time or until woken.
pub(super) fn rest(mp: &'static M) {
    let spinning = mp.spinning.replace(false);
    if !SCHED.nmspinning.may_sleep(spinning, || take_for_work(mp)) {
        mp.spinning.set(true);
        return;
    }
    if !keep_time(mp) {
        stopm(mp);
    }
}

/// Takes an idle P for work that waits, if there are both.
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

/// This M found work and stops spinning: others may be needed.
pub(crate) fn resetspinning(mp: &M) {
    mp.spinning.set(false);
    SCHED.nmspinning.stop();
    // What came while this M spun has woken nobody. And another one may look
    // out for what comes next, though no thread is made for that alone.
    if work_queued()
        || keeper::unkept()
        || SCHED.npidle.load(Relaxed) != 0 && SCHED.lock().nmidle != 0
    {
        wakep();
    }
}

/// This M comes to the scheduler without a P: takes an idle one, or sleeps.
pub(crate) fn without_p(mp: &'static M) {
    if mp.spinning.get() {
        rest(mp);
        return;
    }
    let mut sched = SCHED.lock();
    if !SCHED.gcwaiting.load(Relaxed)
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
