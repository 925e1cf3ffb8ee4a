//! Waits: how a wait begins ([`Wait`]), what the waiter unlocks once it is off
//! its stack ([`Unlock`]), its record in a queue (Go's `sudog`), and such
//! queues.
//!
//! A record lies on the stack of the goroutine that waits. The goroutine does
//! not leave that stack frame before the record is out of its queue.
//!
//! | the record | moved there by |
//! |---|---|
//! | queued | the goroutine, which then parks |
//! | taken out, the wait is won | a waker, which readies the goroutine |
//! | taken out, the wait is lost | a waker that is late, or the goroutine |
//!
//! Invariants:
//! 1. A record is queued and taken out under the lock of its queue's object.
//! 2. A waker takes the record out, fires its ticket, and on a win fills the
//!    record in. It does so under the lock, before it readies the goroutine.
//! 3. A goroutine that was woken, by any actor, takes the lock, and takes out
//!    the records of its own that are still queued. It need not where a waker
//!    has taken out its only one.
//! 4. A ticket in a queue is committed before the lock is free, since gopark
//!    commits before it unlocks. So a waker that wins always readies the
//!    goroutine.

pub(crate) use super::waitfor::Wait;
#[cfg(not(shuttle))]
pub(crate) use super::waitfor::held;
use super::{
    G,
    parkword::{Cause, Fire, Ticket, Wakers},
};
use crate::{
    base::sync::{AtomicPtr, Ordering::*},
    os::{Errno, Result},
};
use core::{cell::Cell, ptr};

impl Wait {
    /// Begins the wait of `gp`, the caller; any thread may end it.
    #[inline]
    pub(crate) fn begin(&self, gp: &G) -> Ticket {
        gp.park.arm(self.kind, gp.shielded())
    }

    /// Begins the wait of `gp`, the caller, in queues whose locks the caller
    /// holds. That saves read-modify-writes where only wakers with these locks
    /// and a canceller can end the wait. A deadline could end it too, and a
    /// host thread looks whether it was woken before it sleeps.
    #[inline]
    pub(crate) fn begin_locked(&self, gp: &G, wakers: Wakers) -> Ticket {
        if self.deadline.is_never() && !gp.is_host() {
            gp.park.arm_for(self.kind, gp.shielded(), wakers, &gp.claim)
        } else {
            self.begin(gp)
        }
    }
}

impl Cause {
    /// The end of a wait as a call's result.
    ///
    /// Errors: `ETIMEDOUT`, `ECANCELED`.
    #[inline]
    pub(crate) fn outcome(self) -> Result<()> {
        match self {
            Self::Wake => Ok(()),
            Self::Timeout => Err(Errno(libc::ETIMEDOUT)),
            Self::Cancel => Err(Errno(libc::ECANCELED)),
        }
    }
}

/// A thing that a waiting goroutine lets go of once it is off its stack: as a
/// rule the lock that its wakers need.
///
/// `park` copies the value off the stack, commits the wait, and then calls
/// [`Unlock::unlock`] on whatever stack runs next. The deadline or a canceller
/// may have ended the wait by then.
///
/// # Safety
/// The object behind the value stays until `unlock` is done with the object.
/// Either the goroutine takes that lock before it goes on, and only then may
/// free the object, or another owner keeps the object.
pub(crate) unsafe trait Unlock: Copy {
    fn unlock(self);
}

// SAFETY: it refers to nothing.
unsafe impl Unlock for () {
    fn unlock(self) {}
}

// SAFETY: both do as they promise.
unsafe impl<A: Unlock, B: Unlock> Unlock for (A, B) {
    fn unlock(self) {
        self.0.unlock();
        self.1.unlock();
    }
}

/// An end of a queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Front,
    Back,
}

/// When a goroutine that was woken runs, of those that its waker's P has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Next.
    Next,
    /// After all that are queued there.
    Last,
}

/// One goroutine in one queue.
pub(crate) struct Sudog {
    pub gp: &'static G,
    pub ticket: Ticket,
    /// The element to send, or room for the one to receive; null for none.
    pub elem: *mut u8,
    /// The waker that took this record out has ended the wait.
    pub woken: Cell<bool>,
    /// The waker has done what the goroutine waits for.
    pub success: Cell<bool>,
    queued: Cell<bool>,
    next: Cell<*const Sudog>,
    prev: Cell<*const Sudog>,
}

impl Sudog {
    pub(crate) fn new(gp: &'static G, ticket: Ticket, elem: *mut u8) -> Self {
        Self {
            gp,
            ticket,
            elem,
            woken: Cell::new(false),
            success: Cell::new(false),
            queued: Cell::new(false),
            next: Cell::new(ptr::null()),
            prev: Cell::new(ptr::null()),
        }
    }

    /// Under the lock: whether the record is in a queue.
    pub(crate) fn queued(&self) -> bool {
        self.queued.get()
    }

    /// Under the lock, with the record out of its queue: ends its goroutine's
    /// wait. False: that was over.
    fn fire(&self) -> bool {
        // Never before the commit (invariant 4).
        let fire = self.gp.park.fire_locked(self.ticket, &self.gp.claim);
        let won = fire != Fire::Lost;
        self.woken.set(won);
        won
    }
}

/// A queue of waiters, first in first out. Used under the lock of its object,
/// but for [`WaitQ::seems_empty`].
#[derive(Debug)]
pub(crate) struct WaitQ {
    head: AtomicPtr<Sudog>,
    tail: Cell<*const Sudog>,
}

// SAFETY: a queue is used under the lock of its object (invariant 1), and its
// records are alive (invariant 3).
unsafe impl Send for WaitQ {}

impl WaitQ {
    pub(crate) const fn new() -> Self {
        Self {
            head: AtomicPtr::new(ptr::null_mut()),
            tail: Cell::new(ptr::null()),
        }
    }

    /// A hint that needs no lock.
    pub(crate) fn seems_empty(&self) -> bool {
        // Acquire: looks that come later see no older state.
        self.head.load(Acquire).is_null()
    }

    /// The first, or null.
    pub(crate) fn first(&self) -> *const Sudog {
        // Relaxed: the lock orders it.
        self.head.load(Relaxed)
    }

    fn set_first(&self, to: *const Sudog) {
        self.head.store(to.cast_mut(), Relaxed);
    }

    /// Drops all without a look at them: in the child of a fork, where the
    /// stacks that they lie on may be used otherwise.
    #[cold]
    pub(crate) fn forget(&self) {
        self.set_first(ptr::null());
        self.tail.set(ptr::null());
    }

    /// Takes over all that wait in `other`, being empty itself.
    pub(crate) fn take(&self, other: &Self) {
        self.set_first(other.first());
        self.tail.set(other.tail.replace(ptr::null()));
        other.set_first(ptr::null());
    }

    /// Puts `sg` in.
    pub(crate) fn enqueue(&self, sg: &Sudog, at: At) {
        sg.queued.set(true);
        let (prev, next) = match at {
            At::Front => (ptr::null(), self.first()),
            At::Back => (self.tail.get(), ptr::null()),
        };
        sg.prev.set(prev);
        sg.next.set(next);
        // SAFETY: null, or queued, so alive (invariant 3).
        match unsafe { prev.as_ref() } {
            Some(before) => before.next.set(sg),
            None => self.set_first(sg),
        }
        // SAFETY: null, or queued, so alive (invariant 3).
        match unsafe { next.as_ref() } {
            Some(after) => after.prev.set(sg),
            None => self.tail.set(sg),
        }
    }

    /// Takes `sg` out; false if it is not in the queue.
    pub(crate) fn remove(&self, sg: &Sudog) -> bool {
        if !sg.queued.replace(false) {
            return false;
        }
        let (prev, next) = (sg.prev.get(), sg.next.get());
        // SAFETY: null, or queued, so alive (invariant 3).
        match unsafe { prev.as_ref() } {
            Some(before) => before.next.set(next),
            None => self.set_first(next),
        }
        // SAFETY: null, or queued, so alive (invariant 3).
        match unsafe { next.as_ref() } {
            Some(after) => after.prev.set(prev),
            None => self.tail.set(prev),
        }
        true
    }

    /// Takes out the first record whose wait is not over, and ends that wait.
    /// The caller fills the record in and then readies its goroutine; after
    /// that the record is gone.
    #[inline]
    pub(crate) fn dequeue(&self) -> Option<&'static Sudog> {
        // SAFETY: null, or queued, so alive until the caller readies it.
        while let Some(sg) = unsafe { self.first().as_ref() } {
            sg.queued.set(false);
            let next = sg.next.get();
            self.set_first(next);
            // SAFETY: null, or queued, so alive (invariant 3).
            match unsafe { next.as_ref() } {
                Some(after) => after.prev.set(ptr::null()),
                None => self.tail.set(ptr::null()),
            }
            if sg.fire() {
                return Some(sg);
            }
        }
        None
    }

    /// [`WaitQ::dequeue`] of the records that `fit` accepts.
    #[inline]
    pub(crate) fn dequeue_where(
        &self,
        mut fit: impl FnMut(&Sudog) -> bool,
    ) -> Option<&'static Sudog> {
        let mut at = self.first();
        // SAFETY: null, or queued, so alive until the caller readies it.
        while let Some(sg) = unsafe { at.as_ref() } {
            at = sg.next.get();
            if fit(sg) {
                self.remove(sg);
                if sg.fire() {
                    return Some(sg);
                }
            }
        }
        None
    }

    /// [`WaitQ::dequeue_where`] for all of them, in order.
    pub(crate) fn dequeue_all(
        &self,
        fit: impl Fn(&Sudog) -> bool,
        mut each: impl FnMut(&'static Sudog),
    ) {
        let mut at = self.first();
        // SAFETY: null, or queued, so alive until the caller readies it.
        while let Some(sg) = unsafe { at.as_ref() } {
            at = sg.next.get();
            if fit(sg) {
                self.remove(sg);
                if sg.fire() {
                    each(sg);
                }
            }
        }
    }
}

/// Dequeued records, whose goroutines are readied once the lock is free, in
/// their order.
#[must_use]
pub(crate) struct WakeList {
    head: *const Sudog,
    tail: *const Sudog,
}

impl WakeList {
    pub(crate) const fn new() -> Self {
        Self { head: ptr::null(), tail: ptr::null() }
    }

    pub(crate) fn push(&mut self, sg: &'static Sudog) {
        sg.next.set(ptr::null());
        // SAFETY: null, or dequeued and not readied, so alive.
        match unsafe { self.tail.as_ref() } {
            Some(tail) => tail.next.set(sg),
            None => self.head = sg,
        }
        self.tail = sg;
    }

    /// Whether there is one record, or none.
    pub(crate) fn is_single(&self) -> bool {
        ptr::eq(self.head, self.tail)
    }

    /// Takes out the first record; returns its goroutine, for the caller to
    /// ready.
    pub(crate) fn pop(&mut self) -> Option<&'static G> {
        // SAFETY: null, or dequeued and not readied, so alive.
        let sg = unsafe { self.head.as_ref() }?;
        self.head = sg.next.get();
        if self.head.is_null() {
            self.tail = ptr::null();
        }
        Some(sg.gp)
    }
}
