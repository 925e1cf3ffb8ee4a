//! The wait record (Go's `sudog`) and queues of them.
//!
//! A record lies on the stack of the goroutine that waits, which does not
//! leave before the record is out of its queue:
//!
//! 1. a record is queued and taken out under the lock of its queue's object;
//! 2. a waker takes it out, fires its ticket, and on a win fills it in, still
//!    under the lock, before it readies the goroutine;
//! 3. a goroutine that wakes for another reason takes the lock and, if it is
//!    still queued, takes its record out itself.

use crate::{
    gmp::{
        G,
        parkword::{Cause, Fire, Ticket},
    },
    sched::park::ready,
};
use core::{cell::Cell, ptr};

/// One goroutine in one queue.
pub(crate) struct Sudog {
    pub gp: &'static G,
    pub ticket: Ticket,
    /// What is sent, or where it is received; null for none.
    pub elem: *mut u8,
    /// The waker did what the goroutine waits for.
    pub success: Cell<bool>,
    /// What it waits on, where a queue serves several (`sema`).
    pub key: usize,
    queued: Cell<bool>,
    next: Cell<*const Sudog>,
    prev: Cell<*const Sudog>,
}

impl Sudog {
    pub(crate) fn new(
        gp: &'static G,
        ticket: Ticket,
        elem: *mut u8,
        key: usize,
    ) -> Self {
        Self {
            gp,
            ticket,
            elem,
            success: Cell::new(false),
            key,
            queued: Cell::new(false),
            next: Cell::new(ptr::null()),
            prev: Cell::new(ptr::null()),
        }
    }
}

/// A queue of waiters, first in first out.
#[derive(Debug)]
pub(crate) struct WaitQ {
    head: *const Sudog,
    tail: *const Sudog,
}

// SAFETY: the records belong to goroutines that wait until they are taken
// out, under the lock of the queue's object (invariant 1).
unsafe impl Send for WaitQ {}

impl WaitQ {
    pub(crate) const fn new() -> Self {
        Self { head: ptr::null(), tail: ptr::null() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_null()
    }

    /// Appends, or with `front` puts first.
    pub(crate) fn enqueue(&mut self, sg: &Sudog, front: bool) {
        sg.queued.set(true);
        let (prev, next) = if front {
            (ptr::null(), self.head)
        } else {
            (self.tail, ptr::null())
        };
        sg.prev.set(prev);
        sg.next.set(next);
        // SAFETY: null, or queued, so alive (invariant 1).
        match unsafe { prev.as_ref() } {
            Some(before) => before.next.set(sg),
            None => self.head = sg,
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(after) => after.prev.set(sg),
            None => self.tail = sg,
        }
    }

    /// Takes `sg` out if it is in.
    pub(crate) fn remove(&mut self, sg: &Sudog) {
        if !sg.queued.replace(false) {
            return;
        }
        let (prev, next) = (sg.prev.get(), sg.next.get());
        // SAFETY: null, or queued, so alive (invariant 1).
        match unsafe { prev.as_ref() } {
            Some(before) => before.next.set(next),
            None => self.head = next,
        }
        // SAFETY: as above.
        match unsafe { next.as_ref() } {
            Some(after) => after.prev.set(prev),
            None => self.tail = prev,
        }
    }

    /// Takes the first out whose wait we end, for the reason that it waits
    /// for. The caller fills it in and readies its goroutine with [`wake`],
    /// both before it may be gone.
    pub(crate) fn dequeue(&mut self) -> Option<&'static Sudog> {
        self.dequeue_key(0)
    }

    /// The same among those that wait on `key`.
    pub(crate) fn dequeue_key(&mut self, key: usize) -> Option<&'static Sudog> {
        let mut at = self.head;
        // SAFETY: null, or queued, so alive until its goroutine is readied,
        // which happens after the caller is done with it.
        while let Some(sg) = unsafe { at.as_ref() } {
            at = sg.next.get();
            if sg.key != key {
                continue;
            }
            self.remove(sg);
            // A ticket that is queued under the lock is committed, so a win
            // is never Early: gopark commits before it unlocks.
            if sg.gp.park.fire(sg.ticket, Cause::Wake) != Fire::Lost {
                return Some(sg);
            }
        }
        None
    }
}

/// Readies the goroutine of a dequeued record, which is gone afterwards.
pub(crate) fn wake(gp: &'static G) {
    ready(gp, true);
}
