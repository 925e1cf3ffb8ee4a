//! Dead Gs, kept for the next goroutines.
//!
//! ```text
//!   P:  own --full--> spare --both full--> depot (under sched.lock)
//!       own <-empty-- spare <-both empty-- depot, or new ones
//! ```
//! A P takes and keeps single Gs, without a lock. Between a P and the depot
//! move whole batches, so that a batch costs one link.
//!
//! Invariants:
//! 1. A G in here is Dead, chained by `schedlink`, and in no other list. In the
//!    depot, `arg` of a batch's first G is the first G of the next batch: a
//!    dead G has no other use for it.
//! 2. `own` holds `len` Gs, at most [`BATCH`]; `spare` and each batch hold
//!    none or `BATCH`.

use super::G;
use core::{cell::Cell, ptr};

/// Gs that move between a P and the depot at once. A P keeps two batches at
/// most.
pub(crate) const BATCH: u32 = 32;

/// The dead Gs of a P, whose owner alone uses them.
pub(crate) struct GFree {
    own: Cell<Option<&'static G>>,
    len: Cell<u32>,
    spare: Cell<Option<&'static G>>,
}

/// `BATCH` Gs in a chain.
#[must_use]
pub(crate) struct GBatch(&'static G);

impl GFree {
    pub(crate) const fn new() -> Self {
        Self { own: Cell::new(None), len: Cell::new(0), spare: Cell::new(None) }
    }

    /// Takes the G that died last.
    #[inline(always)]
    pub(crate) fn pop_front(&self) -> Option<&'static G> {
        if self.own.get().is_none() {
            self.own.set(self.spare.take());
            self.len.set(if self.own.get().is_none() { 0 } else { BATCH });
        }
        let gp = self.own.get()?;
        self.own.set(gp.schedlink.get());
        self.len.set(self.len.get() - 1);
        Some(gp)
    }

    /// Keeps `gp`. Returns a batch if there are too many.
    #[inline(always)]
    pub(crate) fn push_front(&self, gp: &'static G) -> Option<GBatch> {
        if self.len.get() == BATCH {
            return self.push_slow(gp);
        }
        gp.schedlink.set(self.own.replace(Some(gp)));
        self.len.set(self.len.get() + 1);
        None
    }

    #[cold]
    fn push_slow(&self, gp: &'static G) -> Option<GBatch> {
        gp.schedlink.set(None);
        let full = self.own.replace(Some(gp));
        self.len.set(1);
        self.spare.replace(full).map(GBatch)
    }

    /// Takes a batch in; `spare` is empty.
    pub(crate) fn refill(&self, batch: GBatch) {
        debug_assert!(self.spare.get().is_none());
        self.spare.set(Some(batch.0));
    }
}

/// The dead Gs that no P keeps; under sched.lock.
pub(crate) struct GDepot {
    /// Gs that make no whole batch.
    loose: GFree,
    batches: Option<&'static G>,
}

impl GDepot {
    pub(crate) const fn new() -> Self {
        Self { loose: GFree::new(), batches: None }
    }

    pub(crate) fn push_front(&mut self, gp: &'static G) {
        if let Some(batch) = self.loose.push_front(gp) {
            self.put(batch);
        }
    }

    pub(crate) fn pop_front(&mut self) -> Option<&'static G> {
        if let Some(gp) = self.loose.pop_front() {
            return Some(gp);
        }
        let batch = self.take()?;
        self.loose.refill(batch);
        self.loose.pop_front()
    }

    pub(crate) fn put(&mut self, batch: GBatch) {
        let rest = self.batches.replace(batch.0);
        let rest = rest.map_or(ptr::null(), ptr::from_ref).cast_mut();
        batch.0.arg.set(rest.cast());
    }

    pub(crate) fn take(&mut self) -> Option<GBatch> {
        let first = self.batches?;
        let rest = first.arg.replace(ptr::null_mut()).cast::<G>();
        // SAFETY: null, or the first of a batch (invariant 1).
        self.batches = unsafe { rest.as_ref() };
        Some(GBatch(first))
    }
}
