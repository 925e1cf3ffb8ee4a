//! A goroutine as the models of waits know it: its park word, and a thread of
//! loom's that runs its code and its hooks.

use gmprt::base::sync::{AtomicU32, Ordering::*, fence};
use gmprt::gmp::parkword::{Cause, Claim, Fire, ParkWord, Ticket, WaitKind};
use loom::cell::UnsafeCell;
use loom::sync::{Mutex, MutexGuard};
use loom::thread::{self, JoinHandle, Thread};
use std::sync::Arc;

/// Values of a goroutine's status.
pub const RUNNING: u32 = 0;
pub const WAITING: u32 = 1;
pub const RUNNABLE: u32 = 2;

/// The generation of the first goroutine in a G.
pub const FIRST: u32 = 1;

/// A cell that one thread may touch at a time.
pub struct Exclusive<T>(UnsafeCell<T>);

// SAFETY: that one thread at a time touches it is what loom checks.
unsafe impl<T> Sync for Exclusive<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Exclusive<T> {}

impl<T: Copy> Exclusive<T> {
    pub fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    pub fn set(&self, value: T) {
        // SAFETY: loom panics before another thread can be in here.
        self.0.with_mut(|p| unsafe { *p = value });
    }

    pub fn get(&self) -> T {
        // SAFETY: as above.
        self.0.with(|p| unsafe { *p })
    }
}

/// A goroutine. Its code is that of one thread of the model, on which the
/// hook runs too.
pub struct G {
    pub park: ParkWord,
    pub claim: Claim,
    pub status: AtomicU32,
    /// What the goroutine, and after it whoever resumes it, has in its hands.
    pub stack: Exclusive<u32>,
    pub thread: Thread,
}

/// What a hook says, as `sched`'s.
#[derive(PartialEq)]
pub enum HookResult {
    /// Somebody readies it.
    Left,
    /// The hook's caller does.
    Ready,
}

impl G {
    /// The goroutine that the calling thread runs.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            park: ParkWord::new(),
            claim: Claim::new(),
            status: AtomicU32::new(RUNNING),
            stack: Exclusive::new(0),
            thread: thread::current(),
        })
    }

    /// `casgstatus`, by whoever has the right to this step.
    pub fn set_status(&self, from: u32, to: u32) {
        let moved = self.status.compare_exchange(from, to, AcqRel, Acquire);
        assert_eq!(moved, Ok(from), "readied twice, or not parked");
    }

    /// Off the stack, the hook, and back once somebody has readied it.
    pub fn park(&self, hook: impl FnOnce(&Self) -> HookResult) -> Cause {
        self.stack.set(1);
        self.set_status(RUNNING, WAITING);
        if hook(self) == HookResult::Ready {
            self.ready();
        }
        self.sleep();
        self.park.finish()
    }

    /// Waiting, until readied.
    pub fn sleep(&self) {
        while self.status.load(Acquire) != RUNNABLE {
            thread::park();
        }
        self.set_status(RUNNABLE, RUNNING);
        assert_eq!(self.stack.get(), 2, "resumed by nobody");
    }

    /// The goroutine may run, here or elsewhere.
    pub fn ready(&self) {
        self.stack.set(2);
        self.set_status(WAITING, RUNNABLE);
        self.thread.unpark();
    }

    /// What everybody does after a fire.
    pub fn ready_if_parked(&self, fire: Fire) -> Fire {
        if fire == Fire::Parked {
            self.ready();
        }
        fire
    }

    pub fn fire(&self, ticket: Ticket, cause: Cause) -> Fire {
        self.ready_if_parked(self.park.fire(ticket, cause))
    }

    /// Somebody who fires, once.
    pub fn waker(
        self: &Arc<Self>,
        t: Ticket,
        cause: Cause,
    ) -> JoinHandle<Fire> {
        let gp = Arc::clone(self);
        thread::spawn(move || gp.fire(t, cause))
    }

    /// `gmp_ready` of the first goroutine, from a thread of its own. Lost
    /// too if that has ended.
    pub fn permit_giver(self: &Arc<Self>) -> JoinHandle<Fire> {
        let gp = Arc::clone(self);
        thread::spawn(move || match gp.park.give_permit(FIRST) {
            Some(fire) => gp.ready_if_parked(fire),
            None => Fire::Lost,
        })
    }

    /// `gmp_cancel` of the first goroutine, likewise.
    pub fn canceller(self: &Arc<Self>) -> JoinHandle<Fire> {
        self.canceller_with(|| fence(SeqCst))
    }

    /// The same; `barrier` has every thread pass one.
    pub fn canceller_with(self: &Arc<Self>, barrier: fn()) -> JoinHandle<Fire> {
        let gp = Arc::clone(self);
        thread::spawn(move || {
            if gp.park.post_cancel(FIRST).is_none() {
                return Fire::Lost;
            }
            barrier();
            gp.ready_if_parked(gp.park.end_cancelled(FIRST, &gp.claim))
        })
    }

    /// `gmp_park`, whose hook is `hook`.
    pub fn park_user(&self, ticket: Ticket, hook: Hook) -> (Cause, Permit) {
        let cause = self.park(|gp| hook(gp, ticket));
        if self.park.take_permit() {
            (Cause::Wake, Permit::Taken)
        } else {
            (cause, Permit::None)
        }
    }

    /// Takes the permit that is there or comes: a deadlock if it was lost.
    pub fn wait_for_permit(&self) {
        let ticket = self.park.arm(WaitKind::Park, false);
        let end = self.park_user(ticket, commit);
        assert_eq!(end, (Cause::Wake, Permit::Taken));
    }
}

/// Whether a `gmp_park` used up a permit.
#[derive(Debug, PartialEq)]
pub enum Permit {
    Taken,
    None,
}

pub type Hook = fn(&G, Ticket) -> HookResult;

/// The hook of a park with nothing to unlock.
pub fn commit(gp: &G, ticket: Ticket) -> HookResult {
    if gp.park.commit(ticket) { HookResult::Left } else { HookResult::Ready }
}

/// The hook of `gmp_park` when the host's `unlockf` says 0.
pub fn refused(gp: &G, ticket: Ticket) -> HookResult {
    let fire = gp.park.fire(ticket, Cause::Wake);
    assert_ne!(fire, Fire::Parked, "nobody committed");
    HookResult::Ready
}

pub fn check(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

/// A channel as its waiter sees it: who waits, under the lock.
pub type Object = Mutex<Option<Ticket>>;

/// How a hook lets the lock go.
pub type Unlock = fn(&G, Ticket, MutexGuard<'_, Option<Ticket>>) -> HookResult;

/// `sched::park`'s hook: commits, then unlocks.
pub fn park_hook(
    gp: &G,
    ticket: Ticket,
    lock: MutexGuard<'_, Option<Ticket>>,
) -> HookResult {
    let result = commit(gp, ticket);
    drop(lock);
    result
}
