//! The runnable goroutines of a P: a ring (Go's `runq`) and one place before it
//! (Go's `runnext`). One owner, many thieves.
//!
//! The owner, which is the holder of the P (`owner`), appends to the ring at
//! `tail` and takes from it at `head`. A thief takes half of the ring, from
//! `head`, by compare-and-swap. The goroutine in the place before the ring runs
//! next; the owner puts it there and takes it, and a thief may take it when the
//! ring is empty.
//!
//! ```text
//!   owner: push --> tail [ . . . . ] head --> pop (owner)
//!                                         --> steal_into (thief): half of it
//!   owner: put  --> next --> take (owner), steal (thief)
//! ```
//! Invariants:
//! 1. Only the owner stores `tail` and the slots. Owner and thieves move `head`
//!    forward, by compare-and-swap.
//! 2. `tail - head <= N`, and the slots in `[head, tail)` hold the queue.
//! 3. A slot that a thief has read counts only if the thief's compare-and-swap
//!    of `head` succeeds: then the owner had not reused the slot.
//! 4. Only the owner puts an item into the place before the ring. A thief takes
//!    the item that it saw there, or nothing.
//!
//! The types here do not know who holds the P, so the owner's functions are
//! `unsafe`; `OwnedP` has them for everybody else.

use crate::base::sync::{AtomicPtr, AtomicU32, Ordering::*, const_unless_loom};
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
        // Relaxed: thieves only make it shorter.
        self.tail.load(Relaxed).wrapping_sub(self.head.load(Relaxed))
    }

    /// Appends `item`. A full ring takes nothing and returns false.
    ///
    /// # Safety
    /// The caller holds the P.
    #[must_use]
    pub unsafe fn push(&self, item: *mut T) -> bool {
        // Acquire: pairs with steal_into, whose thief is done with every slot
        // before head.
        let head = self.head.load(Acquire);
        // Relaxed: only the owner stores tail, and we are the owner.
        let tail = self.tail.load(Relaxed);
        if tail.wrapping_sub(head) >= N as u32 {
            return false;
        }
        self.slot(tail).store(item, Relaxed);
        // Release: publishes the slot. Pairs with steal_into.
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

/// The place before the ring.
#[derive(Debug)]
pub struct RunNext<T>(AtomicPtr<T>);

impl<T> RunNext<T> {
    const_unless_loom! {
        pub fn new() -> Self {
            Self(AtomicPtr::new(ptr::null_mut()))
        }
    }

    /// Whether nothing is there; for anybody.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        // Acquire: who sees that it was taken sees what was queued before.
        self.0.load(Acquire).is_null()
    }

    /// What is there, or null; a hint but for the owner, which finds it gone at
    /// most.
    #[inline(always)]
    pub fn seen(&self) -> *mut T {
        // Relaxed: put, take and steal order.
        self.0.load(Relaxed)
    }

    /// Puts `item` there, and returns what was there or null. `alone`: no other
    /// P exists.
    ///
    /// # Safety
    /// The caller holds the P.
    #[inline(always)]
    pub unsafe fn put(&self, item: *mut T, alone: bool) -> *mut T {
        let before = self.seen();
        if before.is_null() || alone {
            // Nobody else puts one there (invariant 4). Release: publishes the
            // item to steal.
            self.0.store(item, Release);
            return before;
        }
        // AcqRel: publishes the item to steal, and the old one may be stolen.
        self.0.swap(item, AcqRel)
    }

    /// The same where nothing is there; else false, and nothing has changed.
    ///
    /// # Safety
    /// The caller holds the P.
    #[must_use]
    #[inline(always)]
    pub unsafe fn put_if_none(&self, item: *mut T) -> bool {
        let none = self.seen().is_null();
        if none {
            // As in put.
            self.0.store(item, Release);
        }
        none
    }

    /// Takes what is there, of which the owner has `seen` that it is not null;
    /// null where a thief came first. `alone`: no other P exists.
    ///
    /// # Safety
    /// The caller holds the P.
    #[inline(always)]
    pub unsafe fn take(&self, seen: *mut T, alone: bool) -> *mut T {
        if alone {
            self.0.store(ptr::null_mut(), Relaxed);
            return seen;
        }
        // AcqRel: as in put.
        self.0.swap(ptr::null_mut(), AcqRel)
    }

    /// A thief takes the item that it has seen; false if that is gone.
    #[must_use]
    pub fn steal(&self, seen: *mut T) -> bool {
        // Acquire: pairs with put.
        let none = ptr::null_mut();
        self.0.compare_exchange(seen, none, AcqRel, Relaxed).is_ok()
    }
}

impl<T> Default for RunNext<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(not(loom))]
impl<T, const N: usize> Default for RunQueue<T, N> {
    fn default() -> Self {
        Self::new()
    }
}
