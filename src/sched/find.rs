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
    park::{TICK, ready_all},
    procs::{acquirep, gcstopm, releasep, wakep},
    schedule::runqget,
    starved,
    threads::stopm,
    timing::{self, keep_time, look_net, look_net_late, run_timers},
};
use crate::{
    arch,
    gmp::{
        G, M, OwnedP, P, RANDSEED, RUNQ, SCHED, SchedLocked, allp, gomaxprocs,
    },
    os::clock::usleep,
};
use core::{
    ptr,
    sync::atomic::{AtomicU64, Ordering::*},
};

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
    if starved::any() {
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

/// Takes this P's share of the global queue; the first is the result.
pub(super) fn look_global(pp: OwnedP) -> Option<&'static G> {
    // Acquire: pairs with globrunqput.
    if SCHED.runqsize.load(Acquire) == 0 {
        return None;
    }
    globrunqget(&mut SCHED.lock(), pp)
}

/// Takes this P's share, but no more than half of what its queue has room for;
/// the first is the result.
fn globrunqget(sched: &mut SchedLocked, pp: OwnedP) -> Option<&'static G> {
    let size = sched.runq.len();
    let share = size / gomaxprocs() as u32 + 1;
    let room = RUNQ as u32 - pp.runq.owner_len();
    let n = share.min(size).min(room / 2);
    let first = sched.globrunqpop()?;
    for _ in 1..n {
        let Some(gp) = sched.globrunqpop() else { break };
        // SAFETY: OwnedP holds the P.
        if !unsafe { pp.runq.push(ptr::from_ref(gp).cast_mut()) } {
            sched.globrunqputhead(gp);
            break;
        }
    }
    Some(first)
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
        for id in steal_order(n, random(pp)) {
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

/// A number that differs from P to P and from call to call (xorshift).
fn random(pp: OwnedP) -> u64 {
    let mut x = pp.rng.get();
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    pp.rng.set(x);
    x
}

/// A number for choices that have to be fair and not more (Go's cheaprand).
pub(crate) fn cheaprand() -> u32 {
    static SEED: AtomicU64 = AtomicU64::new(0);
    const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
    let gp = arch::getg();
    // SAFETY: null, or this thread's G, which is type-stable.
    let x = match unsafe { gp.as_ref() } {
        Some(gp) => {
            let rng = &gp.mp().rng;
            rng.set(rng.get().wrapping_add(STEP));
            rng.get()
        }
        // Relaxed: written long before.
        None => SEED.fetch_add(STEP, Relaxed) ^ RANDSEED.load(Relaxed),
    };
    // The finaliser of MurmurHash3, as in splitmix64.
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x >> 32) as u32
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

/// Whether a goroutine waits in any queue.
pub(super) fn work_queued() -> bool {
    SCHED.runqsize.load(Acquire) != 0
        || (0..gomaxprocs()).any(|id| !allp(id).runqempty())
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
        || timing::unkept()
        || SCHED.npidle.load(Relaxed) != 0 && SCHED.lock().nmidle != 0
    {
        wakep();
    }
}

/// Whether work waits that this P or an idle one could do; hints.
pub(crate) fn work_waits(pp: &P, now: i64) -> bool {
    !pp.runqempty()
        || SCHED.runqsize.load(Relaxed) != 0
        || pp.timers.next_when() <= now
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
