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
        parkword::{Cause, Fire, Ticket},
        wait::{Turn, Unlock, Wait, WakeList},
    },
    os::{Errno, Result, random},
    timers::{Timer, Timers},
};
use core::{pin::pin, ptr};
use shuttle::thread;

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

/// What `park` leaves to its hook, which may run on another thread.
struct LetIn {
    ticket: Ticket,
    unlock: fn(copy: usize),
    /// A copy of what is unlocked, in a box.
    copy: usize,
}

impl LetIn {
    fn new<U: Unlock>(ticket: Ticket, unlock: U) -> Self {
        let copy = Box::into_raw(Box::new(unlock)).addr();
        Self { ticket, unlock: Self::unlock::<U>, copy }
    }

    fn unlock<U: Unlock>(copy: usize) {
        // SAFETY: new's, once.
        let unlock = unsafe { Box::from_raw(copy as *mut U) };
        (*unlock).unlock();
    }
}

/// Parks until the ticket is fired: Running -> Waiting -> Running.
pub(crate) fn park<U: Unlock>(
    gp: &'static G,
    wait: &Wait,
    ticket: Ticket,
    unlock: U,
) -> Cause {
    let left = LetIn::new(ticket, unlock);
    if wait.deadline.is_never() {
        go_waiting(gp, left);
        return gp.park.finish();
    }
    let timer = pin!(timer_of(gp, ticket));
    // SAFETY: pinned, and removed below before it goes.
    unsafe { add_timer(&timer, wait.deadline) };
    go_waiting(gp, left);
    let cause = gp.park.finish();
    if cause != Cause::Timeout {
        Timers::remove(&timer);
    }
    cause
}

/// As the real one.
pub(crate) fn timer_of(gp: &'static G, ticket: Ticket) -> Timer {
    Timer::new(deadline_came, ptr::from_ref(gp) as usize, ticket.raw())
}

/// As `steps::leave`: here a goroutine of steps keeps its thread while it
/// waits, and no other one gets that.
///
/// # Safety
/// As the real one.
pub(crate) unsafe fn leave<U: Unlock>(
    gp: &'static G,
    wait: *const Wait,
    ticket: Ticket,
    timer: Option<&Timer>,
    unlock: U,
) -> &'static G {
    let left = LetIn::new(ticket, unlock);
    if let Some(timer) = timer {
        // SAFETY: the caller promises.
        let deadline = unsafe { (*wait).deadline };
        // SAFETY: it stays, and is removed, the caller promises.
        unsafe { add_timer(timer, deadline) };
    }
    go_waiting(gp, left);
    gp
}

/// As `steps::give_way`.
///
/// # Safety
/// None is needed.
pub(crate) unsafe fn give_way(gp: &'static G) -> &'static G {
    gosched();
    gp
}

fn deadline_came(gp: usize, ticket: u64) {
    let gp = gp as *const G;
    // SAFETY: Gs stay until the run ends; the ticket tells whether it waits.
    let gp = unsafe { &*gp };
    let fire = gp.park.fire(Ticket::from_raw(ticket), Cause::Timeout);
    if fire == Fire::Parked || mistakes(Mistake::LoserReadies) {
        goready(gp, Turn::Next);
    }
}

/// Leaves the stack and returns to it. The hook runs here, or on another thread
/// beside the goroutine, which may be readied before the hook has ended.
fn go_waiting(gp: &'static G, left: LetIn) {
    casgstatus(gp, GStatus::Running, GStatus::Waiting);
    if random(4) == 0 {
        let place = ptr::from_ref(gp).addr();
        let locks = locks::take();
        thread::spawn(move || {
            locks::give(locks);
            let gp = place as *const G;
            // SAFETY: Gs stay until the run ends.
            park_hook(unsafe { &*gp }, &left);
        });
    } else {
        arch::setg(None);
        park_hook(gp, &left);
        arch::setg(Some(gp));
    }
    while gp.readgstatus() != GStatus::Runnable {
        thread::park();
    }
    casgstatus(gp, GStatus::Runnable, GStatus::Running);
}

/// The hook of every park, as the real one: commits, then lets wakers in.
fn park_hook(gp: &'static G, left: &LetIn) {
    let unlock = || (left.unlock)(left.copy);
    let parked = if mistakes(Mistake::UnlocksFirst) {
        unlock();
        gp.park.commit(left.ticket)
    } else {
        let parked = gp.park.commit(left.ticket);
        unlock();
        parked
    };
    if !parked {
        goready(gp, Turn::Next);
    }
}

/// The locks that a thread holds, for another thread that takes its place.
#[cfg(debug_assertions)]
mod locks {
    use crate::base::rank::held::HELD;

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
pub(crate) fn goready(gp: &'static G, _turn: Turn) {
    let thread = gp.thread.borrow().clone().expect("it runs");
    casgstatus(gp, GStatus::Waiting, GStatus::Runnable);
    thread.unpark();
}

/// As the real one.
pub(crate) fn ready_all(mut list: WakeList) {
    while let Some(gp) = list.pop() {
        goready(gp, Turn::Last);
    }
}

pub(crate) fn on_goroutine() -> Option<&'static G> {
    arch::getg().filter(|gp| !gp.is_host())
}

pub(crate) fn current_goroutine() -> Result<&'static G> {
    on_goroutine().ok_or(Errno(libc::EPERM))
}
