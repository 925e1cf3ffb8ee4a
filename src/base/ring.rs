//! A ring of events: one writer that never waits, and a reader that copies
//! while the writer goes on.
//!
//! Each thread writes its events into a ring of its own, round and round. The
//! reader, one at a time, copies a stretch and then looks how far the writer
//! has come: what the writer may have overwritten meanwhile does not count. So
//! the ring always holds the newest events, and old ones are lost, never torn.
//!
//! ```text
//!   writer                              reader
//!     fence                 (a)           end = pos                (e)
//!     slot[pos % N] = event (b)           copy slots [from, end)   (f)
//!     pos += 1              (c)           fence                    (g)
//!                                         now = pos                (h)
//!                                         keep those i with i + N > now
//! ```
//! (c) of event i pairs with (e): the reader copies events that are written.
//! (a) pairs with (g): if (f) has read any word of event j from slot i % N,
//! with j = i + N, then (h) sees pos >= j, since the writer had stored that
//! before its fence. Then i + N > now does not hold, and i is dropped.
//!
//! Invariants:
//! 1. One thread at a time writes. A ring may pass to another thread, through
//!    something that orders.
//! 2. `pos` is the number of events ever written; it only grows.
//! 3. An event that the reader keeps is whole, and is the one of its number.
//!
//! Rejected: a ring that refuses when it is full (the writer would read the
//! reader's position, and a flight recorder wants the newest); buffers handed
//! over whole (a mostly idle thread's events would come late).

use super::sync::{AtomicU64, Ordering::*, fence};
#[cfg(not(loom))]
use core::slice;

/// Words of an event.
pub const WORDS: usize = 4;
/// An event as the ring holds it.
pub type Words = [u64; WORDS];
/// The most bytes of text that go with an event.
pub const MAX_TEXT: usize = 128;

/// Room for one event. All bytes zero are a valid one.
#[derive(Debug)]
#[repr(transparent)]
pub struct Slot([AtomicU64; WORDS]);

impl Slot {
    #[cfg(loom)]
    fn new() -> Self {
        Self(core::array::from_fn(|_| AtomicU64::new(0)))
    }
}

/// A ring over slots that stay.
#[derive(Debug)]
pub struct Ring {
    /// the writer stores, the reader reads; invariant 2
    pos: AtomicU64,
    slots: Slots,
}

/// The slots, which stay where they are.
#[cfg(not(loom))]
type Slots = &'static [Slot];
#[cfg(loom)]
type Slots = Box<[Slot]>;

/// What the reader has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The number of the first event; those before it are lost.
    pub first: u64,
    /// How many there are.
    pub n: usize,
}

impl Ring {
    /// A ring of `n` slots, a power of two.
    #[cfg(loom)]
    pub fn new(n: usize) -> Self {
        let slots = Vec::from_iter((0..n).map(|_| Slot::new())).into();
        Self { pos: AtomicU64::new(0), slots }
    }

    /// A ring over `n` slots, a power of two, at `at`.
    ///
    /// # Safety
    /// The memory is zeroed, aligned, stays, and is this ring's alone.
    #[cfg(not(loom))]
    pub unsafe fn new(at: *const Slot, n: usize) -> Self {
        // SAFETY: the caller's promise; zeros are valid.
        let slots = unsafe { slice::from_raw_parts(at, n) };
        Self { pos: AtomicU64::new(0), slots }
    }

    /// How many events it holds at most.
    pub fn capacity(&self) -> u64 {
        self.slots.len() as u64
    }

    /// How many events were ever written.
    pub fn written(&self) -> u64 {
        // Acquire: (e).
        self.pos.load(Acquire)
    }

    fn slot(&self, n: u64) -> &Slot {
        &self.slots[n as usize & (self.slots.len() - 1)]
    }

    /// Writes an event.
    ///
    /// # Safety
    /// The caller is the one writer (invariant 1).
    #[inline]
    pub unsafe fn put(&self, event: Words) {
        // Relaxed: only the writer stores it.
        let pos = self.pos.load(Relaxed);
        fence(Release); // (a)
        for (word, value) in self.slot(pos).0.iter().zip(event) {
            word.store(value, Relaxed); // (b)
        }
        self.pos.store(pos + 1, Release); // (c)
    }

    /// Copies events from number `from` on to the front of `to`, as many as
    /// there are and fit. The first may have a higher number.
    pub fn copy(&self, from: u64, to: &mut [Words]) -> Copied {
        let end = self.written();
        let first = from.max(self.oldest(end));
        let n = (end.saturating_sub(first) as usize).min(to.len());
        for (i, event) in to[..n].iter_mut().enumerate() {
            let slot = self.slot(first + i as u64);
            for (value, word) in event.iter_mut().zip(&slot.0) {
                *value = word.load(Relaxed); // (f)
            }
        }
        fence(Acquire); // (g)
        // Relaxed: (h), ordered by the fence.
        let kept = self.oldest(self.pos.load(Relaxed)).max(first);
        let gone = ((kept - first) as usize).min(n);
        to.copy_within(gone..n, 0);
        Copied { first: kept, n: n - gone }
    }

    /// The first event that is whole for sure once `pos` were written.
    fn oldest(&self, pos: u64) -> u64 {
        (pos + 1).saturating_sub(self.capacity())
    }
}
