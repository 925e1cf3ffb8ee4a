//! A P's ring of runnable goroutines: one producer, many consumers.
//!
//! As Go's `runq`: the P's owner appends at `tail` and takes at `head`;
//! thieves take half, from `head`, by compare-and-swap.
//!
//! Invariants:
//! 1. Only the owner stores `tail` and the slots; anybody moves `head`
//!    forward, by compare-and-swap.
//! 2. `tail - head <= N`, and the slots in `[head, tail)` hold the queue.
//! 3. A slot that a thief read counts only if its CAS of `head` succeeds:
//!    then the owner had not reused the slot.
//!
//! Owner is whoever holds the P (`owner`): the type cannot see it, so the
//! owner's functions are `unsafe`.

use crate::base::sync::{AtomicPtr, AtomicU32, Ordering::*};
use core::ptr;

/// A ring of `N` pointers; `N` is a power of two.
#[derive(Debug)]
pub struct RunQueue<T, const N: usize> {
    /// atomic: owner and thieves
    head: AtomicU32,
    /// owner stores; anybody reads
    tail: AtomicU32,
    /// owner stores; anybody reads
    slots: [AtomicPtr<T>; N],
}

impl<T, const N: usize> RunQueue<T, N> {
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Self {
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            slots: [const { AtomicPtr::new(ptr::null_mut()) }; N],
        }
    }

    #[cfg(loom)]
    pub fn new() -> Self {
        Self {
            head: AtomicU32::new(0),
            tail: AtomicU32::new(0),
            slots: core::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
        }
    }

    fn slot(&self, at: u32) -> &AtomicPtr<T> {
        &self.slots[at as usize & (N - 1)]
    }

    /// How many it held at some moment during the call; for anybody.
    pub fn len(&self) -> u32 {
        loop {
            // Acquire twice: head, tail, head again as in Go's runqempty, so
            // that the two belong together.
            let head = self.head.load(Acquire);
            let tail = self.tail.load(Acquire);
            if self.head.load(Acquire) == head {
                return tail.wrapping_sub(head);
            }
        }
    }

    /// Whether it was empty and `also` true at one moment during the call.
    pub fn is_empty_while(&self, also: impl Fn() -> bool) -> bool {
        loop {
            // Acquire: as in len. The head first: if it is the tail that we
            // read next, the ring is empty from then until the tail moves.
            let head = self.head.load(Acquire);
            let tail = self.tail.load(Acquire);
            let also = also();
            if self.tail.load(Acquire) == tail {
                return head == tail && also;
            }
        }
    }

    /// Whether the owner, who asks, would find it empty.
    #[inline]
    pub fn owner_sees_empty(&self) -> bool {
        // Relaxed: thieves only make it emptier.
        self.head.load(Relaxed) == self.tail.load(Relaxed)
    }

    /// How many the owner, who asks, would find at most.
    #[inline]
    pub fn owner_len(&self) -> u32 {
        // Relaxed: as above.
        self.tail.load(Relaxed).wrapping_sub(self.head.load(Relaxed))
    }

    /// Appends `item`. A full ring takes nothing and returns false.
    ///
    /// # Safety
    /// The caller holds the P.
    #[must_use]
    pub unsafe fn push(&self, item: *mut T) -> bool {
        // Pairs with the release of head in take: thieves are done with every
        // slot before it.
        let head = self.head.load(Acquire);
        // Relaxed: only the owner stores tail, and we are the owner.
        let tail = self.tail.load(Relaxed);
        if tail.wrapping_sub(head) >= N as u32 {
            return false;
        }
        self.slot(tail).store(item, Relaxed);
        // Pairs with the acquire of tail in take: publishes the slot.
        self.tail.store(tail.wrapping_add(1), Release);
        true
    }

    /// Takes the oldest.
    ///
    /// # Safety
    /// The caller holds the P.
    pub unsafe fn pop(&self) -> Option<*mut T> {
        let mut head = self.head.load(Acquire);
        loop {
            let tail = self.tail.load(Relaxed);
            if head == tail {
                return None;
            }
            let item = self.slot(head).load(Relaxed);
            let next = head.wrapping_add(1);
            // Release: our read of the slot comes before a later reuse.
            match self.head.compare_exchange(head, next, AcqRel, Acquire) {
                Ok(_) => return Some(item),
                Err(now) => head = now,
            }
        }
    }

    /// [`pop`](Self::pop) where there are no thieves.
    ///
    /// # Safety
    /// The caller holds the P, and no other P exists.
    pub unsafe fn pop_alone(&self) -> Option<*mut T> {
        // Relaxed: only the owner moves either.
        let head = self.head.load(Relaxed);
        if head == self.tail.load(Relaxed) {
            return None;
        }
        let item = self.slot(head).load(Relaxed);
        self.head.store(head.wrapping_add(1), Release);
        Some(item)
    }

    /// Takes the older half out of a full ring and gives it to `sink`.
    /// False: a thief came first, so there is room now.
    ///
    /// # Safety
    /// The caller holds the P.
    #[must_use]
    pub unsafe fn spill(&self, mut sink: impl FnMut(*mut T)) -> bool {
        let head = self.head.load(Acquire);
        let tail = self.tail.load(Relaxed);
        let n = tail.wrapping_sub(head) / 2;
        if n as usize != N / 2 {
            return false;
        }
        let next = head.wrapping_add(n);
        // Release: as in pop. The slots stay ours to read afterwards: only
        // the owner writes slots, and that is us.
        let won = self.head.compare_exchange(head, next, AcqRel, Relaxed);
        if won.is_err() {
            return false;
        }
        for i in 0..n {
            sink(self.slot(head.wrapping_add(i)).load(Relaxed));
        }
        true
    }

    /// Takes half of `self`, rounded up, for `dst`, which has room for
    /// `N / 2` and is empty. Returns how many.
    ///
    /// # Safety
    /// The caller holds the P of `dst`.
    pub unsafe fn steal_into(&self, dst: &Self) -> u32 {
        let to = dst.tail.load(Relaxed);
        loop {
            let head = self.head.load(Acquire);
            // Pairs with push's release: the slots before tail are written.
            let tail = self.tail.load(Acquire);
            let len = tail.wrapping_sub(head);
            let n = len - len / 2;
            if n == 0 {
                return 0;
            }
            if n as usize > N / 2 {
                // head and tail were read at different times.
                continue;
            }
            for i in 0..n {
                let item = self.slot(head.wrapping_add(i)).load(Relaxed);
                dst.slot(to.wrapping_add(i)).store(item, Relaxed);
            }
            let next = head.wrapping_add(n);
            // Release: our reads of the slots come before their reuse
            // (invariant 3).
            let won = self.head.compare_exchange(head, next, AcqRel, Acquire);
            if won.is_ok() {
                dst.tail.store(to.wrapping_add(n), Release);
                return n;
            }
        }
    }
}

#[cfg(not(loom))]
impl<T, const N: usize> Default for RunQueue<T, N> {
    fn default() -> Self {
        Self::new()
    }
}
