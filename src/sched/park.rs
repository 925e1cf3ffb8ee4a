//! Parking: how a goroutine leaves its stack to wait, and how it comes back.
//!
//! A wait, from the side of the goroutine (or host thread) that blocks:
//! 1. `let gp = host::current()?` (a host thread gets its G here);
//! 2. make a [`Wait`], which says until when and what for; its `begin` gives
//!    the *ticket* of this wait, or its `begin_locked`, which is cheaper, if
//!    the goroutine holds the lock of step 3 by now;
//! 3. put `gp` and the ticket where a waker finds them, under the lock of the
//!    object that the goroutine waits for;
//! 4. [`park`], which lets go of that lock once the goroutine is off its
//!    stack;
//! 5. the [`Cause`] says how the wait ended. If no waker ended it, the
//!    goroutine takes its own record out again.
//!
//! A waker takes `gp` and the ticket out under the lock, fires the ticket
//! (`gmp::parkword`), and on [`Fire::Parked`] calls [`ready`].
//!
//! The steps off the stack are `depart`'s. A yield, which waits for nothing, is
//! in `yields`.

use super::{
    calls::{self, Unlockf},
    cancel, child,
    depart::depart,
    enter::{Inside, owned_p},
    host::{self, current},
    ready::goready,
    schedule::Departure,
    timing::add_timer,
    yields::gosched,
};
use crate::{
    gmp::{
        G, GStatus, HookResult, M, gflag, handle_of,
        parkword::{Cause, Fire, Ticket, WaitKind},
        wait::{Turn, Unlock, Wait},
        waitmark,
    },
    os::{Errno, Result, clock::nanotime},
    timers::{Deadline, Timer, Timers},
};
use core::{ffi::CStr, pin::pin, ptr, sync::atomic::Ordering::*};

/// What is done for a goroutine that parks, once it is off its stack.
pub(super) trait OffStack: Copy {
    /// Whether it has to be done on g0; else it is done on whatever stack runs
    /// next.
    const ON_G0: bool;

    /// Commits the wait, or finds that it is over.
    fn off_stack(self, gp: &'static G) -> HookResult;
}

/// The hook of every park: the goroutine is off its stack, and `unlockf` lets
/// its wakers in.
///
/// `park_m` and `gopark` have no type parameters, because a debugger does not
/// find a function by its plain name that has.
#[inline(always)]
fn park_m(
    gp: &'static G,
    arg: usize,
    unlockf: fn(&'static G, usize) -> HookResult,
) -> HookResult {
    unlockf(gp, arg)
}

fn unlockf<H: OffStack>(gp: &'static G, arg: usize) -> HookResult {
    // SAFETY: from `departure`: an H on the stack of `gp`, which stays as it is
    // until the wait is committed or over, so until this copy has been made.
    let left = unsafe { *(arg as *const H) };
    left.off_stack(gp)
}

/// How a goroutine leaves its stack for which `left` is to be done then. The
/// caller keeps `left` until it is back.
#[inline(always)]
pub(super) fn departure<H: OffStack>(left: &H) -> Departure {
    Departure {
        hook: |gp, arg| park_m(gp, arg, unlockf::<H>),
        arg: ptr::from_ref(left) as usize,
        to_g0: H::ON_G0,
    }
}

/// What `park` leaves to its hook.
#[derive(Clone, Copy)]
struct LetIn<U> {
    ticket: Ticket,
    unlock: U,
}

impl<U: Unlock> OffStack for LetIn<U> {
    const ON_G0: bool = false;

    /// Commits, then lets wakers in. In this order a waker that has the lock
    /// finds a goroutine off its stack, and has until its `ready` to fill in
    /// what the goroutine waits for.
    #[inline(always)]
    fn off_stack(self, gp: &'static G) -> HookResult {
        let parked = gp.park.commit(self.ticket);
        self.unlock.unlock();
        if parked { HookResult::Left } else { HookResult::Ready }
    }
}

/// What is left for a wait that `unlock` lets wakers end.
#[inline(always)]
pub(super) fn let_in<U: Unlock>(ticket: Ticket, unlock: U) -> impl OffStack {
    LetIn { ticket, unlock }
}

/// Parks `gp`, the caller, until `ticket` is fired: Running -> Waiting ->
/// Running. On a host thread it blocks the thread. `unlock` lets wakers in.
///
/// The caller may wake up on another M: it re-reads all per-M and per-P state.
#[inline(never)]
pub(crate) fn park<U: Unlock>(
    gp: &'static G,
    wait: &Wait,
    ticket: Ticket,
    unlock: U,
) -> Cause {
    let inside = Inside::enter_on(gp.mp());
    let left = LetIn { ticket, unlock };
    let (cause, mp) = gopark(gp, wait, ticket, departure(&left));
    inside.leave_on(mp);
    cause
}

/// Goes off the stack, or to sleep on a host thread, and comes back; returns
/// the M that it runs on then. The hook of the departure runs in between.
#[inline(always)]
fn gopark(
    gp: &'static G,
    wait: &Wait,
    ticket: Ticket,
    departure: Departure,
) -> (Cause, &'static M) {
    // Release: a dump that sees the pointer may read the wait.
    gp.waiting.store(ptr::from_ref(wait).cast_mut(), Release);
    // Relaxed: a measure.
    gp.waitsince.store(waitmark(), Relaxed);
    if gp.is_host() {
        return (host::park(gp, ticket, wait, departure), gp.mp());
    }
    if !wait.deadline.is_never() {
        return park_until(gp, ticket, wait.deadline, departure);
    }
    let mp = go_waiting(gp, departure);
    (gp.park.finish(), mp)
}

/// Parks a goroutine with a deadline: a timer on its stack fires the ticket.
#[cold]
fn park_until(
    gp: &'static G,
    ticket: Ticket,
    deadline: Deadline,
    departure: Departure,
) -> (Cause, &'static M) {
    let timer = pin!(timer_of(gp, ticket));
    // SAFETY: pinned, and removed below before it goes.
    unsafe { add_timer(&timer, deadline) };
    let mp = go_waiting(gp, departure);
    let cause = gp.park.finish();
    if cause != Cause::Timeout {
        Timers::remove(&timer);
    }
    (cause, mp)
}

/// The timer of a wait, which fires its ticket.
#[inline(always)]
pub(crate) fn timer_of(gp: &'static G, ticket: Ticket) -> Timer {
    Timer::new(deadline_came, ptr::from_ref(gp) as usize, ticket.raw())
}

/// The function of a wait's timer.
fn deadline_came(gp: usize, ticket: u64) {
    let gp = gp as *const G;
    // SAFETY: a G is type-stable; the ticket tells whether it still waits.
    let gp = unsafe { &*gp };
    if gp.park.fire(Ticket::from_raw(ticket), Cause::Timeout) == Fire::Parked {
        goready(gp, Turn::Next);
    }
}

#[inline(always)]
fn go_waiting(gp: &'static G, departure: Departure) -> &'static M {
    let mp = gp.mp();
    depart(gp, mp, owned_p(mp), GStatus::Waiting, |_| departure)
}

/// Sleeps until `deadline`.
///
/// Errors: `ECANCELED`, `ESHUTDOWN`; as [`current`].
pub(crate) fn sleep_until(deadline: Deadline) -> Result<()> {
    let gp = current()?;
    cancel::check()?;
    if deadline.has_passed(nanotime()) {
        gosched();
        return Ok(());
    }
    let wait = Wait::until(deadline, c"sleep");
    let ticket = wait.begin(gp);
    match park(gp, &wait, ticket, ()) {
        Cause::Cancel => Err(Errno(libc::ECANCELED)),
        _ if gp.is_host() && host::take_shutdown() => {
            Err(Errno(libc::ESHUTDOWN))
        }
        Cause::Wake | Cause::Timeout => Ok(()),
    }
}

/// What gmp_park leaves to its hook.
#[derive(Clone, Copy)]
struct AskHost {
    ticket: Ticket,
    unlockf: Option<Unlockf>,
}

impl OffStack for AskHost {
    const ON_G0: bool = true;

    /// Calls `unlockf`, and commits unless it says that the wait is over. On
    /// g0, or on the host thread itself.
    fn off_stack(self, gp: &'static G) -> HookResult {
        if let Some(u) = self.unlockf
            && !calls::unlock(gp, &u)
        {
            // BeforePark: we have won. Lost: a waker won before any commit,
            // and so leaves the readying to us as well.
            let _won = gp.park.fire(self.ticket, Cause::Wake);
            return HookResult::Ready;
        }
        if gp.park.commit(self.ticket) {
            HookResult::Left
        } else {
            HookResult::Ready
        }
    }
}

/// `gmp_park`: waits for a permit, which a `gmp_ready` leaves. `unlockf` runs
/// on g0 when the goroutine is Waiting; 0 from it resumes at once.
///
/// Errors: as [`current`].
pub(crate) fn park_user(
    mut unlockf: Option<Unlockf>,
    reason: &'static CStr,
    deadline: Deadline,
) -> Result<Cause> {
    let gp = current()?;
    let inside = Inside::enter();
    let mut wait = Wait::new(WaitKind::Park, deadline, reason);
    if let Some(u) = &unlockf {
        wait = wait.on(u.lock);
    }
    let ticket = wait.begin(gp);
    if let Some(u) = &mut unlockf {
        gp.set_flag(gflag::HANDLE);
        u.handle = handle_of(gp);
    }
    let left = AskHost { ticket, unlockf };
    let (cause, _) = gopark(gp, &wait, ticket, departure(&left));
    child::stay_inside(inside);
    // The permit that ended the wait, or came during it, is used up. It counts
    // for more than a deadline that passed at the same time. A cancel leaves it
    // for the next park.
    if cause == Cause::Cancel || cancel::must_give_up(gp) {
        return Ok(Cause::Cancel);
    }
    Ok(if gp.park.take_permit() { Cause::Wake } else { cause })
}

/// Parks a goroutine of the library's own until `ready_permit` or the deadline;
/// may return early.
pub(crate) fn park_plain(reason: &'static CStr, deadline: Deadline) {
    if park_user(None, reason, deadline).is_err() {
        crate::base::throw::throw("park_plain: not on a goroutine");
    }
}

/// The check of a call that nothing can interrupt once it has started.
///
/// Errors: `ECANCELED`, `ETIMEDOUT`.
pub(crate) fn before_blocking(deadline: Deadline) -> Result<()> {
    cancel::check()?;
    deadline.check()
}
