//! The wait record (Go's `sudog`) and queues of them.
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

use super::{
    G,
    parkword::{Fire, Ticket, WaitKind, Wakers},
};
use crate::base::sync::{AtomicPtr, Ordering::*};
use core::{cell::Cell, ptr};

/// Begins a wait in queues whose lock, or locks, the caller holds, with or
/// without a deadline. Where wakers behind these locks and a canceller are the
/// only actors, read-modify-writes are spared. A deadline is one more actor,
/// and a host thread looks whether it was woken before it sleeps.
#[inline]
pub(crate) fn arm(
    gp: &G,
    kind: WaitKind,
    forever: bool,
    wakers: Wakers,
) -> Ticket {
    if forever && !gp.is_host() {
        gp.park.arm_for(kind, wakers, &gp.claim)
    } else {
        gp.park.arm(kind)
    }
}

/// One goroutine in one queue.
pub(crate) struct Sudog {
    pub gp: &'static G,
    pub ticket: Ticket,
    /// What is sent, or where it is received; null for none.
    pub elem: *mut u8,
    /// It was taken out by the actor that ended its wait.
    pub woken: Cell<bool>,
    /// The waker did what the goroutine waits for.
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

    /// Under the lock: whether it is in a queue.
    pub(crate) fn queued(&self) -> bool {
        self.queued.get()
    }

    /// Under the lock, out of its queue: ends its goroutine's wait. False:
    /// another actor has.
    fn fire(&self) -> bool {
        // BeforePark cannot be (invariant 4).
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

// SAFETY: the records belong to goroutines that wait until they are taken
// out, under the lock of the queue's object (invariant 1).
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
        self.first().is_null()
    }

    /// The first, or null.
    pub(crate) fn first(&self) -> *const Sudog {
        // Relaxed: the lock orders it.
        self.head.load(Relaxed)
    }

    fn set_first(&self, to: *const Sudog) {
        self.head.store(to.cast_mut(), Relaxed);
    }

    /// Takes over all that wait in `other`; empty itself.
    pub(crate) fn take(&self, other: &Self) {
        self.set_first(other.first());
        self.tail.set(other.tail.replace(ptr::null()));
        other.set_first(ptr::null());
    }

    /// Appends, or with `front` puts first.
    pub(crate) fn enqueue(&self, sg: &Sudog, front: bool) {
        sg.queued.set(true);
        let (prev, next) = if front {
            (ptr::null(), self.first())
        } else {
            (self.tail.get(), ptr::null())
        };
        sg.prev.set(prev);
        sg.next.set(next);
        // SAFETY: null, or queued, so alive (invariant 1).
        match unsafe { prev.as_ref() } {
            Some(before) => before.next.set(sg),
            None => self.set_first(sg),
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(after) => after.prev.set(sg),
            None => self.tail.set(sg),
        }
    }

    /// Takes `sg` out; false if it was not in.
    pub(crate) fn remove(&self, sg: &Sudog) -> bool {
        if !sg.queued.replace(false) {
            return false;
        }
        let (prev, next) = (sg.prev.get(), sg.next.get());
        // SAFETY: null, or queued, so alive (invariant 1).
        match unsafe { prev.as_ref() } {
            Some(before) => before.next.set(next),
            None => self.set_first(next),
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(after) => after.prev.set(prev),
            None => self.tail.set(prev),
        }
        true
    }

    /// Takes the first out whose wait we end, for the reason that it waits
    /// for. The caller fills it in and then readies its goroutine: after
    /// that it is gone.
    #[inline]
    pub(crate) fn dequeue(&self) -> Option<&'static Sudog> {
        // SAFETY: as in dequeue_where.
        while let Some(sg) = unsafe { self.first().as_ref() } {
            sg.queued.set(false);
            let next = sg.next.get();
            self.set_first(next);
            // SAFETY: null, or queued, so alive (invariant 1).
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

    /// The same of those that `fit` picks.
    #[inline]
    pub(crate) fn dequeue_where(
        &self,
        fit: impl Fn(&Sudog) -> bool,
    ) -> Option<&'static Sudog> {
        let mut at = self.first();
        // SAFETY: null, or queued, so alive until its goroutine is readied,
        // which happens after the caller is done with it.
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

    /// The same for all of them, in order.
    pub(crate) fn dequeue_all(
        &self,
        fit: impl Fn(&Sudog) -> bool,
        mut each: impl FnMut(&'static Sudog),
    ) {
        let mut at = self.first();
        // SAFETY: as in dequeue_where.
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

/// Dequeued records, to be woken once the lock is free, in their order.
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
        // SAFETY: null, or a dequeued record, which stays until it is woken.
        match unsafe { self.tail.as_ref() } {
            Some(tail) => tail.next.set(sg),
            None => self.head = sg,
        }
        self.tail = sg;
    }

    /// Whether there is just one, or none.
    pub(crate) fn is_single(&self) -> bool {
        ptr::eq(self.head, self.tail)
    }

    /// The goroutine of the first, taken out, for the caller to ready.
    pub(crate) fn pop(&mut self) -> Option<&'static G> {
        // SAFETY: null, or a dequeued record that is not woken yet.
        let sg = unsafe { self.head.as_ref() }?;
        self.head = sg.next.get();
        if self.head.is_null() {
            self.tail = ptr::null();
        }
        Some(sg.gp)
    }
}
