//! What is kept of goroutines for sanitizers: nothing, where no sanitizer
//! watches.
//!
//! A G has no room for it. So there is a table beside that of Gs, whose parts
//! are made when a sanitizer is there and a goroutine with such an index first
//! starts.

use super::{G, gtab};
use crate::{
    base::sanitize::{Fake, Fiber},
    os,
};
use core::{
    cell::Cell,
    ptr,
    sync::atomic::{AtomicPtr, Ordering::*},
};

/// What sanitizers know of a goroutine. All fields: owner, as of a G.
pub(crate) struct Watched {
    /// ThreadSanitizer's, or null.
    pub fiber: Cell<Fiber>,
    /// AddressSanitizer's memory for its frames while it does not run.
    pub fake: Cell<Fake>,
    /// The part of its stack that LeakSanitizer has as a root: where it begins,
    /// 0 for none, and its length.
    pub root: Cell<(usize, usize)>,
    /// The same of `fake`.
    pub fake_root: Cell<(usize, usize)>,
    /// It was started by the scheduler, for a timer.
    pub by_timer: Cell<bool>,
    /// The library's own code is its function, and is ignored.
    pub ours: Cell<bool>,
    pub ignored: Cell<bool>,
}

/// Parts of the table, each for the Gs of a slab. Written once.
static TABLE: [AtomicPtr<Watched>; gtab::SLABS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; gtab::SLABS];

/// What is kept for `gp`; None before [`make`].
pub(crate) fn watched(gp: &G) -> Option<&'static Watched> {
    let index = gp.index as usize;
    // Acquire: pairs with make.
    let part = TABLE[index / gtab::SLAB].load(Acquire);
    if part.is_null() {
        return None;
    }
    // SAFETY: a part has room for all Gs of a slab.
    let place = unsafe { part.add(index % gtab::SLAB) };
    // SAFETY: mapped as zeros, which are such values, and kept.
    Some(unsafe { &*place })
}

/// Makes room for what is kept for `gp`; None where memory is out.
pub(crate) fn make(gp: &G) -> Option<&'static Watched> {
    let entry = &TABLE[gp.index as usize / gtab::SLAB];
    if entry.load(Acquire).is_null() {
        let bytes = gtab::SLAB * size_of::<Watched>();
        let part = os::mem::map_kept(bytes).ok()?;
        let none = ptr::null_mut();
        // If another thread was faster, this part stays unused.
        // AcqRel: pairs with watched.
        let _first = entry.compare_exchange(none, part.cast(), AcqRel, Acquire);
    }
    watched(gp)
}
