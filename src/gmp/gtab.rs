//! The table of all Gs (Go's `allgs`), and the handles that hosts hold.
//!
//! A host may hold a handle (`gmp_g *`) after its goroutine has ended, when the
//! G lives again as another goroutine. So a handle is no address: it is the G's
//! index and generation, and a stale or invented handle is recognised without
//! being followed.
//!
//! ```text
//!   handle = generation << 32 | index + 1
//! ```
//! Gs live in slabs of [`SLAB`] descriptors that stay mapped until the library
//! is unloaded. They outlive a shutdown: a thread of the host's may look at
//! one at any time, and an old handle has to be stale in the next start too.
//!
//! Invariants:
//! 1. A slab pointer is written once, under `ALLG`. `COUNT` grows past a G only
//!    once that G is initialised. So readers need no lock.
//! 2. A G's generation changes when it dies, before it goes to a free list.

use super::{G, GStatus};
use crate::{
    base::lock::Rank,
    os::{self, Errno, Lock, Result},
};
use core::{
    ffi::c_void,
    ptr,
    sync::atomic::{AtomicPtr, AtomicU32, Ordering::*},
};

/// Gs in a slab: 256 KiB.
pub(crate) const SLAB: usize = 1024;
const SLAB_BYTES: usize = SLAB * size_of::<G>();
/// Slabs mapped at a time, at least, unless memory is scarce. Each chunk is as
/// large as all before it, so few mappings hold millions of Gs; pages that are
/// not touched cost nothing.
const CHUNK: usize = 64;
/// Gs whose pages the kernel makes at once, past the first slab: 64 KiB. Huge
/// pages cost less in all, but up to 5 ms at a time on a virtual machine.
const STEP: usize = 256;
/// Slabs at most: 67 million Gs.
pub(crate) const SLABS: usize = 65_536;

pub(crate) static TABLE: [AtomicPtr<G>; SLABS] =
    [const { AtomicPtr::new(ptr::null_mut()) }; SLABS];
/// The number of Gs ever made.
pub(crate) static COUNT: AtomicU32 = AtomicU32::new(0);
static ALLG: Lock<()> = Lock::new(Rank::Allg, ());

/// A new G, Idle, from the end of the table; None if memory is out.
pub(crate) fn galloc() -> Option<&'static G> {
    let mut new = None;
    galloc_many(1, |gp| new = Some(gp));
    new
}

/// Makes new Gs, Idle: `many`, or fewer at the end of a step, or none if memory
/// is out. `each` gets the last one first.
pub(crate) fn galloc_many(many: u32, mut each: impl FnMut(&'static G)) {
    let _guard = ALLG.lock();
    let first = COUNT.load(Relaxed);
    let (slab, at) = (first as usize / SLAB, first as usize % SLAB);
    let Some(entry) = TABLE.get(slab) else { return };
    if entry.load(Relaxed).is_null() && map_slabs(slab).is_none() {
        return;
    }
    let base = entry.load(Relaxed);
    let left = STEP - at % STEP;
    if left == STEP && slab > 0 {
        // SAFETY: at < SLAB, so within the slab.
        let step = unsafe { base.add(at) };
        os::mem::populate(step.cast(), STEP * size_of::<G>());
    }
    let many = many.min(left as u32);
    for i in (0..many).rev() {
        // SAFETY: at + i < SLAB, so within the slab.
        let place = unsafe { base.add(at + i as usize) };
        // SAFETY: the slab is mapped, and no reader comes to this place before
        // COUNT grows (invariant 1).
        each(unsafe { malg(place, first + i) });
    }
    // Release: pairs with the acquire in g_at.
    COUNT.store(first + many, Release);
}

/// Makes the G of this index, Idle. It has no stack yet: `execute` binds one.
///
/// # Safety
/// `place` is mapped for ever, and nobody reads it.
#[inline]
unsafe fn malg(place: *mut G, index: u32) -> &'static G {
    // SAFETY: by contract.
    unsafe { place.write(G::new(index)) };
    // SAFETY: just initialised, never unmapped.
    unsafe { &*place }
}

/// Maps a chunk of slabs from number `first` on, or one slab if memory is
/// scarce. Under `ALLG`.
fn map_slabs(first: usize) -> Option<()> {
    let many = CHUNK.max(first).min(SLABS - first);
    // Goroutines that wait hold on to what they point to.
    let (base, n) = match os::mem::map_kept_root(many * SLAB_BYTES) {
        Ok(base) => (base, many),
        Err(_) => (os::mem::map_kept_root(SLAB_BYTES).ok()?, 1),
    };
    for (i, entry) in TABLE[first..first + n].iter().enumerate() {
        // SAFETY: i < n, so within the mapping.
        let slab = unsafe { base.add(i * SLAB_BYTES) };
        // Release: pairs with the acquire in g_at (invariant 1).
        entry.store(slab.cast(), Release);
    }
    Some(())
}

/// The G with this index, if it was made.
pub(crate) fn g_at(index: u32) -> Option<&'static G> {
    // Acquire: pairs with galloc_many.
    if index >= COUNT.load(Acquire) {
        return None;
    }
    let base = TABLE[index as usize / SLAB].load(Acquire);
    // SAFETY: index < COUNT, so the slab is mapped and this place lies in it.
    let place = unsafe { base.add(index as usize % SLAB) };
    // SAFETY: initialised before COUNT grew past it (invariant 1).
    Some(unsafe { &*place })
}

/// The host's name for `gp` until it dies.
pub(crate) fn handle_of(gp: &G) -> *mut c_void {
    // The caller runs gp or keeps it alive, so its generation stays.
    let generation = u64::from(gp.park.generation());
    (generation << 32 | u64::from(gp.index + 1)) as *mut c_void
}

/// The generation that a handle names.
pub(crate) fn generation_of(handle: *mut c_void) -> u32 {
    (handle as u64 >> 32) as u32
}

/// The G of a handle; None if the goroutine has died. It may die at any moment
/// after that, so the caller does nothing that harms the G's next goroutine.
pub(crate) fn g_from_handle(handle: *mut c_void) -> Option<&'static G> {
    let bits = handle as u64;
    let index = (bits as u32).checked_sub(1)?;
    let gp = g_at(index)?;
    (gp.park.generation() == generation_of(handle)).then_some(gp)
}

/// Every G ever made, dead ones included; takes no lock.
pub(crate) fn each_g() -> impl Iterator<Item = &'static G> {
    (0..COUNT.load(Acquire)).filter_map(g_at)
}

/// How many Gs there are, dead ones included.
pub(crate) fn num_gs() -> usize {
    COUNT.load(Acquire) as usize
}

/// [`each_g`] from this index on.
pub(crate) fn each_g_from(first: u32) -> impl Iterator<Item = &'static G> {
    (first..COUNT.load(Acquire)).filter_map(g_at)
}

/// The goroutine behind a handle of the host.
///
/// Errors: `EINVAL` for null, a stale or an invented handle.
pub(crate) fn lookup(handle: *mut c_void) -> Result<&'static G> {
    g_from_handle(handle).ok_or(Errno::EINVAL)
}

/// [`lookup`] for a goroutine that must not have ended.
pub(crate) fn lookup_live(handle: *mut c_void) -> Result<&'static G> {
    let gp = lookup(handle)?;
    if gp.readgstatus() == GStatus::Dead { Err(Errno::EINVAL) } else { Ok(gp) }
}
