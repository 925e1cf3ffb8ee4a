//! Semaphores by address: what mutexes and wait groups sleep on (Go's
//! `semaRoot`).
//!
//! A semaphore is a `u32` in the host's memory, its count of tokens; who
//! finds none queues here, in one of [`ROOTS`] buckets by address. So the
//! embedded objects stay a few words and need no destructor.
//!
//! Invariants:
//! 1. Under the lock: a semaphore with waiters has no tokens, but for those
//!    that somebody takes without the lock.
//! 2. A waiter that was dequeued has been given its token.
//! 3. A release touches the semaphore only under the lock, last with the
//!    addition of its token: whoever gets that, or was woken, may free the
//!    memory at once.

use super::wait::{Sudog, WaitQ, wake};
use crate::{
    base::lock::Rank,
    gmp::{
        G,
        parkword::{Ticket, WaitKind},
    },
    os::{RawLock, Result},
    sched::park::{self, Wait, gopark},
};
use core::{
    cell::UnsafeCell,
    ffi::CStr,
    ptr,
    sync::atomic::{AtomicU32, Ordering::*},
};

/// Buckets: a prime, so that strides of addresses spread.
const ROOTS: usize = 251;

#[repr(align(64))]
struct Root {
    lock: RawLock,
    /// lock
    queue: UnsafeCell<WaitQ>,
}

// SAFETY: the queue is touched under the lock.
unsafe impl Sync for Root {}

impl Root {
    #[expect(clippy::mut_from_ref, reason = "guarded by the lock")]
    fn queue(&self) -> &mut WaitQ {
        // SAFETY: the caller holds the lock and makes no second reference.
        unsafe { &mut *self.queue.get() }
    }

    fn unlock(&self) {
        // SAFETY: the caller holds the lock.
        unsafe { self.lock.unlock() };
    }
}

static TABLE: [Root; ROOTS] = [const {
    Root {
        lock: RawLock::new(Rank::Sema),
        queue: UnsafeCell::new(WaitQ::new()),
    }
}; ROOTS];

fn root(addr: usize) -> &'static Root {
    &TABLE[(addr >> 3) % ROOTS]
}

/// How a waiter queues and what for.
#[derive(Clone, Copy)]
pub(crate) struct SemaWait {
    pub kind: WaitKind,
    pub deadline: i64,
    /// Before those that wait already.
    pub lifo: bool,
    pub reason: &'static CStr,
}

fn cansemacquire(sema: &AtomicU32) -> bool {
    // Relaxed load: the CAS counts. Acquire: pairs with semrelease.
    sema.fetch_update(Acquire, Relaxed, |n| n.checked_sub(1)).is_ok()
}

/// Takes a token, waiting for one.
///
/// Errors: `ETIMEDOUT`, `ECANCELED` where `how.kind` allows it, `EDEADLK`.
pub(crate) fn semacquire(sema: &AtomicU32, how: SemaWait) -> Result<()> {
    if cansemacquire(sema) {
        return Ok(());
    }
    let gp = park::current()?;
    let ticket = gp.park.arm(how.kind);
    let key = ptr::from_ref(sema) as usize;
    let root = root(key);
    root.lock.lock();
    if cansemacquire(sema) {
        root.unlock();
        forget_wait(gp, ticket);
        return Ok(());
    }
    let sg = Sudog::new(gp, ticket, ptr::null_mut(), key);
    root.queue().enqueue(&sg, how.lifo);
    let cause = gopark(
        gp,
        Wait {
            ticket,
            unlock: unlock_root,
            arg: ptr::from_ref(root) as usize,
            reason: how.reason,
            deadline: how.deadline,
        },
    );
    let result = park::outcome(cause);
    if result.is_err() {
        root.lock.lock();
        root.queue().remove(&sg);
        root.unlock();
    }
    result
}

/// Ends a wait that nobody has seen.
fn forget_wait(gp: &'static G, ticket: Ticket) {
    let _early = gp.park.fire(ticket, crate::gmp::parkword::Cause::Wake);
    gp.park.finish();
}

/// What gopark calls once the waiter is off its stack.
fn unlock_root(arg: usize) {
    // SAFETY: a bucket of the static table, locked by semacquire.
    let root = unsafe { &*(arg as *const Root) };
    root.unlock();
}

/// Gives a token to the first waiter, or adds it where nobody waits.
pub(crate) fn semrelease(sema: &AtomicU32) {
    let key = ptr::from_ref(sema) as usize;
    let root = root(key);
    root.lock.lock();
    let waiter = root.queue().dequeue_key(key).map(|sg| sg.gp);
    if waiter.is_none() {
        // Release: pairs with cansemacquire.
        sema.fetch_add(1, Release);
    }
    root.unlock();
    if let Some(gp) = waiter {
        wake(gp);
    }
}
