//! Parking and readying: how a goroutine leaves its stack to wait, and how it
//! comes back. A yield, which waits for nothing, is in `yields`.
//!
//! A wait, from the side of whoever blocks:
//! 1. `let gp = current()?` (a host thread gets its G here);
//! 2. `let t = gp.park.arm(kind)`, or with the lock of 3 held, `wait::arm`;
//! 3. put `(gp, t)` where the waker will find it, under that object's lock;
//! 4. `gopark(gp, Wait { ticket: t, … })`, whose `unlock` lets wakers in;
//! 5. the [`Cause`] says who won. Not the waker: take yourself out again.
//!
//! And of whoever wakes: take `(gp, t)` out under the lock, `fire`, and on
//! [`Fire::Parked`] call [`ready`].
//!
//! Off the stack, `switch_off` runs what is next on this P directly, without
//! a visit to g0, unless something there wants the scheduler: a locked thread,
//! the world to be stopped, a timer that is due, every 61st time, or nothing
//! to run.

use super::{
    calls, cancel, context,
    enter::{Inside, owned_p},
    fork, host, lockthread,
    newproc::{bind_stack, lookup_live},
    procs::{wakep, wakep_for},
    schedule::{self, after_switch, alone},
    timing::add_timer,
};
use crate::{
    arch,
    gmp::{
        G, GStatus, Hook, HookFn, HookResult, M, OwnedP, SCHED, casgstatus,
        generation_of, gflag,
        parkword::{Cause, Fire, Ticket, WaitKind},
        wait::WakeList,
    },
    os::{Errno, Result, clock::nanotime},
    timers::{Timer, Timers},
};
use core::{
    ffi::{CStr, c_void},
    pin::pin,
    ptr,
    sync::atomic::Ordering::*,
};

pub(crate) use super::yields::{checkpoint, gosched};

/// A deadline that never comes.
pub(crate) const FOREVER: i64 = i64::MAX;
/// Every so often the scheduler looks at the global queue and the timers.
pub(crate) const TICK: u32 = 61;

/// How a goroutine waits.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    pub ticket: Ticket,
    /// Called with `arg` once the goroutine is off its stack and committed:
    /// lets in the wakers that need what it unlocks. A deadline or a cancel
    /// may have won by then, so it must not touch the goroutine.
    pub unlock: fn(arg: usize),
    pub arg: usize,
    /// What it waits for, as a C string that outlives the wait.
    pub reason: &'static CStr,
    /// Absolute nanoseconds, or [`FOREVER`].
    pub deadline: i64,
}

/// The G of this thread, made for a host thread that had none.
///
/// Errors: `EDEADLK` inside a callback that may not park; `ENOMEM`.
pub(crate) fn current() -> Result<&'static G> {
    let gp = arch::getg();
    // SAFETY: null, or this thread's G, which is type-stable.
    let Some(gp) = (unsafe { gp.as_ref() }) else { return host::attach() };
    // Relaxed: this thread writes it.
    if gp.mp().in_runtime.load(Relaxed) {
        return Err(Errno(libc::EDEADLK));
    }
    Ok(gp)
}

/// Whether this thread has a G already, so that [`current`] neither allocates
/// nor looks anything up and may be called under a lock.
pub(crate) fn has_g() -> bool {
    !arch::getg().is_null()
}

/// Whether the caller is inside a callback of ours, which may not wait.
pub(crate) fn in_callback() -> bool {
    let gp = arch::getg();
    // SAFETY: null, or this thread's G, which is type-stable.
    // Relaxed: this thread writes it.
    unsafe { gp.as_ref() }.is_some_and(|gp| gp.mp().in_runtime.load(Relaxed))
}

/// Nothing to unlock.
pub(crate) fn unlock_nothing(_arg: usize) {}

/// Parks the current goroutine until its ticket is fired: Running -> Waiting
/// -> Running. On a host thread it blocks the thread.
///
/// The caller may wake up on another M: it re-reads all per-M and per-P state.
pub(crate) fn gopark(gp: &'static G, wait: Wait) -> Cause {
    let inside = Inside::enter_on(gp.mp());
    let reason = wait.reason.as_ptr().cast_mut();
    // Release: who sees the pointer may read the string.
    gp.waitreason.store(reason, Release);
    if gp.is_host() {
        let arg = ptr::from_ref(&wait) as usize;
        return host::park(gp, wait.ticket, wait.deadline, (park_hook, arg));
    }
    if wait.deadline != FOREVER {
        return park_timed(gp, &wait);
    }
    let mp = park_now(gp, Off::park(&wait));
    let cause = gp.park.finish();
    inside.leave_on(mp);
    cause
}

#[cold]
fn park_timed(gp: &'static G, wait: &Wait) -> Cause {
    let arg = ptr::from_ref(gp) as usize;
    let timer = pin!(Timer::new(timed_out, arg, wait.ticket.raw()));
    // SAFETY: pinned, and removed below before it goes.
    unsafe { add_timer(&timer, wait.deadline) };
    park_now(gp, Off::park(wait));
    let cause = gp.park.finish();
    if cause != Cause::Timeout {
        Timers::remove(&timer);
    }
    cause
}

/// A deadline has come: the timer's function.
fn timed_out(arg: usize, ticket: u64) {
    let gp = arg as *const G;
    // SAFETY: a G is type-stable; the ticket tells whether it still waits.
    let gp = unsafe { &*gp };
    if gp.park.fire(Ticket::from_raw(ticket), Cause::Timeout) == Fire::Parked {
        ready(gp, true);
    }
}

/// Goes off the stack and comes back, perhaps on another M.
#[inline(always)]
fn park_now(gp: &'static G, off: Off) -> &'static M {
    let mp = gp.mp();
    let pinned = lockthread::pin_python(gp, mp);
    context::save(gp, mp);
    casgstatus(gp, GStatus::Running, GStatus::Waiting);
    switch_off(gp, mp, owned_p(mp), off);
    let mp = after_switch();
    context::restore(gp, mp);
    if pinned {
        lockthread::unpin_python(gp);
    }
    mp
}

/// How a goroutine leaves its stack.
#[derive(Clone, Copy)]
pub(crate) struct Off {
    pub hook: HookFn,
    pub arg: usize,
    /// The hook has to run on g0.
    pub to_g0: bool,
}

impl Off {
    fn park(wait: &Wait) -> Self {
        let arg = ptr::from_ref(wait) as usize;
        Self { hook: park_hook, arg, to_g0: false }
    }
}

/// The hook of gopark: commits, then lets wakers in. In this order who wakes
/// under the lock finds a goroutine that is off its stack, and has until its
/// `ready` to fill in what the goroutine waits for.
fn park_hook(gp: &'static G, arg: usize) -> HookResult {
    // SAFETY: the Wait on the parked goroutine's stack, which stays as it is
    // until somebody wins the ticket and readies it: after this copy.
    let wait = unsafe { *(arg as *const Wait) };
    let parked = gp.park.commit(wait.ticket);
    (wait.unlock)(wait.arg);
    if parked { HookResult::Left } else { HookResult::Ready }
}

/// What runs next on this P, if it can be switched to right here.
#[inline(always)]
fn next_here(mp: &'static M, pp: OwnedP) -> Option<&'static G> {
    if !schedule::may_go_on(mp, pp) {
        return None;
    }
    let gp = schedule::runqget(pp)?;
    let fit = gp.lockedm.get().is_null()
        && (gp.has(gflag::STARTED) || bind_stack(pp, gp).is_ok());
    if !fit {
        // Found, but for g0 to run.
        mp.nextg.set(gp);
        return None;
    }
    Some(gp)
}

/// Leaves the stack of `gp`, whose status says why, for what is next; the
/// next context runs the hook. Returns when `gp` runs again; the caller then
/// calls [`after_switch`].
#[inline(always)]
pub(crate) fn switch_off(
    gp: &'static G,
    mp: &'static M,
    pp: Option<OwnedP>,
    off: Off,
) {
    mp.hook.set(Some(Hook { run: off.hook, gp, arg: off.arg }));
    let next = match pp {
        Some(pp) if !off.to_g0 => next_here(mp, pp).map(|g| (pp, g)),
        _ => None,
    };
    let Some((pp, next)) = next else {
        // SAFETY: gp runs on its own stack, and schedule0 leaves g0 only
        // through gogo.
        unsafe { arch::mcall(schedule::schedule0) };
        return;
    };
    if ptr::eq(next, gp) {
        crate::base::throw::throw("switch_off: queued while it ran");
    }
    schedule::come_on(mp, pp, next);
    // SAFETY: next is Running, ours, and suspended at sched_sp.
    unsafe { arch::gswitch(gp.sched_sp.as_ptr(), next.sched_sp.get(), next) };
}

/// Makes a parked goroutine runnable: whoever won its ticket calls this, once.
///
/// `next`: it runs next on this P. On a thread without a P it goes to the
/// global queue.
pub(crate) fn ready(gp: &'static G, next: bool) {
    if gp.is_host() {
        return ready_host(gp);
    }
    casgstatus(gp, GStatus::Waiting, GStatus::Runnable);
    let me = arch::getg();
    // SAFETY: null, or this thread's G, which is type-stable.
    let Some(me) = (unsafe { me.as_ref() }) else {
        return ready_without_p(gp);
    };
    let mp = me.mp();
    let inside = Inside::enter_on(mp);
    match owned_p(mp) {
        Some(pp) => {
            runqput(pp, gp, next);
            wakep_for(pp);
        }
        None => ready_without_p(gp),
    }
    inside.leave_on(mp);
}

#[cold]
fn ready_host(gp: &'static G) {
    host::wake(gp);
}

#[cold]
fn ready_without_p(gp: &'static G) {
    SCHED.lock().globrunqput(gp);
    wakep();
}

/// Makes all of these runnable. A single one runs next; several queue up
/// behind what is there, first come first.
pub(crate) fn ready_all(mut list: WakeList) {
    let next = list.is_single();
    while let Some(gp) = list.pop() {
        ready(gp, next);
    }
}

/// Queues a runnable goroutine on this P; `next` puts it before the others,
/// and what was there behind them.
pub(crate) fn runqput(pp: OwnedP, gp: &'static G, next: bool) {
    let mut item = ptr::from_ref(gp).cast_mut();
    if next {
        // Relaxed: only the owner puts somebody there; a thief takes whom it
        // saw.
        let before = pp.runnext.load(Relaxed);
        if before.is_null() || alone() {
            // Release: publishes the goroutine to a thief.
            pp.runnext.store(item, Release);
            item = before;
        } else {
            // AcqRel: a thief takes it by the same word; Release publishes
            // the goroutine, Acquire the one that comes back.
            item = pp.runnext.swap(item, AcqRel);
        }
        if item.is_null() {
            return;
        }
    }
    // SAFETY: OwnedP holds the P.
    while !unsafe { pp.runq.push(item) } {
        if runqputslow(pp, item) {
            return;
        }
        // A thief took some while we looked, so there is room now.
    }
}

/// A full queue: its older half goes to the global one, `item` behind it.
#[cold]
fn runqputslow(pp: OwnedP, item: *mut G) -> bool {
    let mut sched = SCHED.lock();
    let mut put = |gp: *mut G| {
        // SAFETY: queues hold type-stable Gs.
        sched.globrunqput(unsafe { &*gp });
    };
    // SAFETY: OwnedP holds the P.
    let spilled = unsafe { pp.runq.spill(&mut put) };
    if spilled {
        put(item);
    }
    spilled
}

/// Sleeps until `deadline`.
///
/// Errors: `ECANCELED`; as [`current`].
pub(crate) fn sleep_until(deadline: i64) -> Result<()> {
    let gp = current()?;
    cancel::check()?;
    if deadline <= nanotime() {
        gosched();
        return Ok(());
    }
    match wait_for_nothing(gp, c"sleep", deadline) {
        Cause::Cancel => Err(Errno(libc::ECANCELED)),
        Cause::Wake | Cause::Timeout => Ok(()),
    }
}

/// Waits for what nobody will send: a deadline, a cancel.
pub(crate) fn wait_for_nothing(
    gp: &'static G,
    reason: &'static CStr,
    deadline: i64,
) -> Cause {
    let wait = Wait {
        ticket: gp.park.arm(WaitKind::Cancellable),
        unlock: unlock_nothing,
        arg: 0,
        reason,
        deadline,
    };
    gopark(gp, wait)
}

/// The type of the host's `unlockf`.
pub(crate) type UnlockFn =
    unsafe extern "C" fn(handle: *mut c_void, lock: *mut c_void) -> i32;

/// The host's `unlockf` and its lock.
#[derive(Clone, Copy)]
pub(crate) struct Unlockf {
    pub f: UnlockFn,
    pub handle: *mut c_void,
    pub lock: *mut c_void,
}

#[derive(Clone, Copy)]
struct UserPark {
    wait: Wait,
    unlockf: Option<Unlockf>,
}

/// `gmp_park`: waits for a permit, which a `gmp_ready` leaves. `unlockf` runs
/// on g0 when the goroutine is Waiting; 0 from it resumes at once.
///
/// Errors: as [`current`].
pub(crate) fn park_user(
    mut unlockf: Option<Unlockf>,
    reason: &'static CStr,
    deadline: i64,
) -> Result<Cause> {
    let gp = current()?;
    let inside = Inside::enter();
    gp.waitreason.store(reason.as_ptr().cast_mut(), Release);
    let wait = Wait {
        ticket: gp.park.arm(WaitKind::Park),
        unlock: unlock_nothing,
        arg: 0,
        reason,
        deadline,
    };
    if let Some(u) = &mut unlockf {
        u.handle = crate::gmp::handle_of(gp);
    }
    let user = UserPark { wait, unlockf };
    let arg = ptr::from_ref(&user) as usize;
    let cause = if gp.is_host() {
        host::park(gp, wait.ticket, deadline, (user_hook, arg))
    } else {
        park_user_goroutine(gp, wait, arg)
    };
    fork::stay_inside(inside);
    // The permit that ended the wait, or that came during it, is used up; it
    // counts for more than a deadline that passed at the same time. A cancel
    // leaves it.
    if cause == Cause::Cancel || gp.park.must_give_up() {
        return Ok(Cause::Cancel);
    }
    Ok(if gp.park.take_permit() { Cause::Wake } else { cause })
}

fn park_user_goroutine(gp: &'static G, wait: Wait, arg: usize) -> Cause {
    let ticket = wait.ticket.raw();
    let timer = pin!(Timer::new(timed_out, ptr::from_ref(gp) as usize, ticket));
    if wait.deadline != FOREVER {
        // SAFETY: pinned, and removed below before it goes.
        unsafe { add_timer(&timer, wait.deadline) };
    }
    park_now(gp, Off { hook: user_hook, arg, to_g0: true });
    let cause = gp.park.finish();
    if wait.deadline != FOREVER && cause != Cause::Timeout {
        Timers::remove(&timer);
    }
    cause
}

/// The hook of gmp_park; on g0, or on the host thread itself.
fn user_hook(gp: &'static G, arg: usize) -> HookResult {
    let user = arg as *const UserPark;
    // SAFETY: on the parked one's stack, which stays until the ticket is won
    // and it is readied: after these copies.
    let UserPark { wait, unlockf } = unsafe { *user };
    if let Some(u) = unlockf
        && !calls::unlock(gp, &u)
    {
        // Early: ours. Lost: fired meanwhile, before any commit, so the
        // winner leaves the readying to us as well.
        let _won = gp.park.fire(wait.ticket, Cause::Wake);
        return HookResult::Ready;
    }
    if gp.park.commit(wait.ticket) {
        HookResult::Left
    } else {
        HookResult::Ready
    }
}

/// Parks a goroutine of the library until [`ready_permit`] or the deadline;
/// may return early.
pub(crate) fn park_plain(reason: &'static CStr, deadline: i64) {
    if park_user(None, reason, deadline).is_err() {
        crate::base::throw::throw("park_plain: not on a goroutine");
    }
}

/// `gmp_ready`: leaves one permit, and ends a `gmp_park` that waits for it.
///
/// Errors: `EINVAL` for null, or a goroutine that has ended.
pub(crate) fn ready_permit(handle: *mut c_void) -> Result<()> {
    let gp = lookup_live(handle)?;
    let fire = gp.park.give_permit(generation_of(handle));
    if fire.ok_or(Errno::EINVAL)? == Fire::Parked {
        ready(gp, true);
    }
    Ok(())
}

/// Whether the caller runs on a goroutine of ours.
pub(crate) fn on_goroutine() -> Option<&'static G> {
    let gp = arch::getg();
    // SAFETY: null, or this thread's G, which is type-stable.
    let gp: &'static G = unsafe { gp.as_ref() }?;
    (!gp.is_host() && !ptr::eq(gp.mp().g0.get(), gp)).then_some(gp)
}

/// The same, for what may not be done from inside a callback.
///
/// Errors: `EPERM`.
pub(crate) fn current_goroutine() -> Result<&'static G> {
    let gp = on_goroutine().ok_or(Errno(libc::EPERM))?;
    // Relaxed: this thread writes it.
    if gp.mp().in_runtime.load(Relaxed) {
        return Err(Errno(libc::EPERM));
    }
    Ok(gp)
}

/// The caller's G: a goroutine, or the stand-in of a host thread; none on a
/// host thread that has none, and on g0.
pub(crate) fn self_g() -> Option<&'static G> {
    let gp = arch::getg();
    // SAFETY: null, or this thread's G, which is type-stable.
    let gp: &'static G = unsafe { gp.as_ref() }?;
    (!ptr::eq(gp.mp().g0.get(), gp)).then_some(gp)
}

/// A wait's end as the caller sees it.
pub(crate) fn outcome(cause: Cause) -> Result<()> {
    match cause {
        Cause::Wake => Ok(()),
        Cause::Timeout => Err(Errno(libc::ETIMEDOUT)),
        Cause::Cancel => Err(Errno(libc::ECANCELED)),
    }
}

/// What a call that cannot be interrupted looks at before it starts.
///
/// Errors: `ECANCELED`, `ETIMEDOUT`.
pub(crate) fn before_blocking(deadline: i64) -> Result<()> {
    cancel::check()?;
    if deadline != FOREVER && deadline <= nanotime() {
        return Err(Errno(libc::ETIMEDOUT));
    }
    Ok(())
}
