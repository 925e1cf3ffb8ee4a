//! Parking and readying in a model: the real steps in their order. A goroutine
//! that is off its stack is a sleeping thread.

use super::{
    timing::add_timer,
    world::{Mistake, mistakes},
};
use crate::{
    arch,
    gmp::{
        G, GStatus, casgstatus, gdestroy, gfget, gflag,
        parkword::{Cause, Fire, Ticket, WaitKind},
        wait::WakeList,
    },
    os::{Errno, Result, random},
    timers::{FOREVER, Timer, Timers},
};
use core::{ffi::CStr, pin::pin, ptr};
use shuttle::thread;

/// How a goroutine waits, as the real one.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    pub ticket: Ticket,
    pub unlock: fn(arg: usize),
    pub arg: usize,
    pub reason: &'static CStr,
    pub deadline: i64,
}

/// The G of this thread; makes one for a host thread without.
pub(crate) fn current() -> Result<&'static G> {
    Ok(arch::getg().unwrap_or_else(attach))
}

fn attach() -> &'static G {
    let gp = gfget();
    casgstatus(gp, GStatus::Dead, GStatus::Running);
    gp.set_flag(gflag::HOST);
    *gp.thread.borrow_mut() = Some(thread::current());
    arch::setg(Some(gp));
    gp
}

/// Called at the end of a host thread.
pub(super) fn detach() {
    if let Some(gp) = arch::getg() {
        casgstatus(gp, GStatus::Running, GStatus::Dead);
        arch::setg(None);
        gdestroy(gp);
    }
}

pub(crate) fn has_g() -> bool {
    arch::getg().is_some()
}

/// Parks until the ticket is fired: Running -> Waiting -> Running.
pub(crate) fn gopark(gp: &'static G, wait: Wait) -> Cause {
    if wait.deadline == FOREVER {
        park_now(gp, wait);
        return gp.park.finish();
    }
    let arg = ptr::from_ref(gp) as usize;
    let timer = pin!(Timer::new(timed_out, arg, wait.ticket.raw()));
    // SAFETY: pinned, and removed below before it goes.
    unsafe { add_timer(&timer, wait.deadline) };
    park_now(gp, wait);
    let cause = gp.park.finish();
    if cause != Cause::Timeout {
        Timers::remove(&timer);
    }
    cause
}

fn timed_out(arg: usize, ticket: u64) {
    let gp = arg as *const G;
    // SAFETY: Gs stay until the run ends; the ticket tells whether it waits.
    let gp = unsafe { &*gp };
    let fire = gp.park.fire(Ticket::from_raw(ticket), Cause::Timeout);
    if fire == Fire::Parked || mistakes(Mistake::LoserReadies) {
        ready(gp, true);
    }
}

/// Leaves the stack and returns to it. The hook runs here, or on another thread
/// beside the goroutine, which may be readied before the hook has ended.
fn park_now(gp: &'static G, wait: Wait) {
    casgstatus(gp, GStatus::Running, GStatus::Waiting);
    if random(4) == 0 {
        let place = ptr::from_ref(gp).addr();
        let locks = locks::take();
        thread::spawn(move || {
            locks::give(locks);
            let gp = place as *const G;
            // SAFETY: Gs stay until the run ends.
            park_hook(unsafe { &*gp }, wait);
        });
    } else {
        arch::setg(None);
        park_hook(gp, wait);
        arch::setg(Some(gp));
    }
    while gp.readgstatus() != GStatus::Runnable {
        thread::park();
    }
    casgstatus(gp, GStatus::Runnable, GStatus::Running);
}

/// The hook of gopark: commits, then lets wakers in.
fn park_hook(gp: &'static G, wait: Wait) {
    let unlock = || (wait.unlock)(wait.arg);
    let parked = if mistakes(Mistake::UnlocksFirst) {
        unlock();
        gp.park.commit(wait.ticket)
    } else {
        let parked = gp.park.commit(wait.ticket);
        unlock();
        parked
    };
    if !parked {
        ready(gp, true);
    }
}

/// The locks that a thread holds, for another thread that takes its place.
#[cfg(debug_assertions)]
mod locks {
    use crate::base::lock::held::HELD;

    pub(super) fn take() -> impl IntoIterator<Item = u32> + Send + 'static {
        HELD.with(|held| held.each_ref().map(|n| n.take()))
    }

    pub(super) fn give(locks: impl IntoIterator<Item = u32>) {
        HELD.with(|held| held.iter().zip(locks).for_each(|(n, m)| n.set(m)));
    }
}

#[cfg(not(debug_assertions))]
mod locks {
    pub(super) fn take() {}

    pub(super) fn give((): ()) {}
}

/// Lets others run.
pub(crate) fn gosched() {
    thread::yield_now();
}

/// Makes a parked goroutine runnable. The winner of its ticket calls this once.
pub(crate) fn ready(gp: &'static G, _next: bool) {
    let thread = gp.thread.borrow().clone().expect("it runs");
    casgstatus(gp, GStatus::Waiting, GStatus::Runnable);
    thread.unpark();
}

/// As the real one.
pub(crate) fn ready_all(mut list: WakeList) {
    while let Some(gp) = list.pop() {
        ready(gp, false);
    }
}

/// Waits for a deadline or a cancel.
pub(crate) fn wait_for_nothing(
    gp: &'static G,
    reason: &'static CStr,
    deadline: i64,
) -> Cause {
    let ticket = gp.park.arm(WaitKind::Cancellable);
    let unlock = |_| {};
    gopark(gp, Wait { ticket, unlock, arg: 0, reason, deadline })
}

pub(crate) fn on_goroutine() -> Option<&'static G> {
    arch::getg().filter(|gp| !gp.is_host())
}

pub(crate) fn current_goroutine() -> Result<&'static G> {
    on_goroutine().ok_or(Errno(libc::EPERM))
}

/// The result of a wait for the caller.
pub(crate) fn outcome(cause: Cause) -> Result<()> {
    match cause {
        Cause::Wake => Ok(()),
        Cause::Timeout => Err(Errno(libc::ETIMEDOUT)),
        Cause::Cancel => Err(Errno(libc::ECANCELED)),
    }
}
