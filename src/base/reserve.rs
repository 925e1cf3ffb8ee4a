//! The allocator: the C library's, and behind it a reserve for reports.
//!
//! A report about the process (`diag`) reads symbols and debug information with
//! crates that allocate as any Rust program does, and that abort the process
//! where memory is out. A report must not do that to its host. So while a
//! report is under way, its thread gets memory from a region that was mapped
//! before the report began, wherever `malloc` has none. In the copy of the
//! process that reports a fatal error, all memory comes from the region: the
//! copy has one thread, and another thread of the original may have held
//! `malloc`'s lock.
//!
//! ```text
//!   MALLOC --begin--> BEHIND --end--> MALLOC       a report in this process
//!   MALLOC --only--> ONLY                          a copy, until its end
//! ```
//!
//! The region is a stack of blocks: the newest one can grow and be freed in
//! place, others are freed once none is left.
//!
//! Invariants:
//! 1. One thread at a time reports, and only that thread takes blocks of the
//!    region and frees them; reports exclude each other.
//! 2. `BASE` and `LEN` change only while no block is in use.
//!
//! Outside of reports the price is a load in `alloc` and one in `dealloc`.

use super::{
    sanitize,
    sync::{AtomicBool, AtomicUsize, Ordering::*},
    throw::this_thread,
};
use core::ptr;
use std::alloc::{GlobalAlloc, Layout, System};

const MALLOC: usize = 0;
/// In the copy of the process. Any other value is the reporting thread.
const ONLY: usize = 1;
/// The most bytes of a region.
pub(crate) const MAX: usize = 64 << 20;
/// The value of `BASE` without a region: no address lies [`MAX`] above it.
const NO_REGION: usize = 1 << 63;

/// `MALLOC`, `ONLY`, or the thread that reports.
static MODE: AtomicUsize = AtomicUsize::new(MALLOC);
static BASE: AtomicUsize = AtomicUsize::new(NO_REGION);
static LEN: AtomicUsize = AtomicUsize::new(0);
/// Bytes of the region that are taken.
static USED: AtomicUsize = AtomicUsize::new(0);
/// Blocks of the region that are in use.
static LIVE: AtomicUsize = AtomicUsize::new(0);
/// Whether this report has had a block of the region.
static PRESSED: AtomicBool = AtomicBool::new(false);

struct Reserve;

/// A report clears what it gives back: the report has copied stacks and the
/// addresses of objects, and the next search for leaks would find them there.
///
/// # Safety
/// The block has `len` bytes, and nobody uses it.
unsafe fn forget(at: *mut u8, len: usize) {
    if MODE.load(Relaxed) != MALLOC {
        // SAFETY: so many bytes, which nobody uses.
        unsafe { at.write_bytes(0, len) };
        // Else the compiler leaves out what comes right before a free.
        core::hint::black_box(at);
    }
}

#[global_allocator]
static GLOBAL: Reserve = Reserve;

/// Whether a region is there, from [`lend`].
pub(crate) fn has_region() -> bool {
    LEN.load(Relaxed) != 0
}

/// Lends a region; under the lock of reports, while there is none.
///
/// # Safety
/// Nobody else uses the `len` bytes at `base` until they are taken back.
pub(crate) unsafe fn lend(base: usize, len: usize) {
    USED.store(0, Relaxed);
    LEN.store(len, Relaxed);
    BASE.store(base, Relaxed);
}

/// Takes the region back, unless blocks of it are in use: its address and
/// length. Under the lock of reports.
pub(crate) fn take_back() -> Option<(usize, usize)> {
    if LIVE.load(Relaxed) != 0 || !has_region() {
        return None;
    }
    let base = BASE.swap(NO_REGION, Relaxed);
    Some((base, LEN.swap(0, Relaxed)))
}

/// From now on this thread gets memory of the region where `malloc` has none.
pub(crate) fn begin() {
    PRESSED.store(false, Relaxed);
    MODE.store(this_thread(), Relaxed);
}

/// Undoes [`begin`].
pub(crate) fn end() {
    MODE.store(MALLOC, Relaxed);
}

/// Whether it is time to be modest: `malloc` had no memory since [`begin`], or
/// in a copy half of the region was in use.
pub(crate) fn is_pressed() -> bool {
    PRESSED.load(Relaxed)
}

/// In the copy of the process: all memory comes from the region.
pub(crate) fn only() {
    LIVE.store(0, Relaxed);
    PRESSED.store(false, Relaxed);
    MODE.store(ONLY, Relaxed);
}

#[inline(always)]
fn is_ours(at: *mut u8) -> bool {
    // Relaxed: the owner of a block has seen the region (invariant 2).
    let offset = at.addr().wrapping_sub(BASE.load(Relaxed));
    // One load, unless a region is near.
    offset < MAX && offset < LEN.load(Relaxed)
}

/// A block of the region; null where it is full.
fn take(layout: Layout) -> *mut u8 {
    let base = BASE.load(Relaxed);
    if !has_region() {
        return ptr::null_mut();
    }
    let Some(at) = base
        .checked_add(USED.load(Relaxed))
        .and_then(|at| at.checked_next_multiple_of(layout.align()))
    else {
        return ptr::null_mut();
    };
    let end = at.saturating_add(layout.size());
    if end > base + LEN.load(Relaxed) {
        return ptr::null_mut();
    }
    note_used(end - base);
    LIVE.store(LIVE.load(Relaxed) + 1, Relaxed);
    ptr::with_exposed_provenance_mut(at)
}

fn note_used(bytes: usize) {
    USED.store(bytes, Relaxed);
    if MODE.load(Relaxed) == ONLY && bytes > LEN.load(Relaxed) / 2 {
        PRESSED.store(true, Relaxed);
    }
}

/// Whether a block of `size` bytes is the newest one.
fn is_newest(at: *mut u8, size: usize) -> bool {
    at.addr() + size == BASE.load(Relaxed) + USED.load(Relaxed)
}

#[cold]
fn give(at: *mut u8, size: usize) {
    let live = LIVE.load(Relaxed) - 1;
    LIVE.store(live, Relaxed);
    if live == 0 {
        USED.store(0, Relaxed);
    } else if is_newest(at, size) {
        USED.store(USED.load(Relaxed) - size, Relaxed);
    }
}

/// What `malloc` has refused, for the thread that reports.
#[cold]
fn refused(layout: Layout) -> *mut u8 {
    // Relaxed: a thread reads what it has written itself, or another value.
    if MODE.load(Relaxed) != this_thread() {
        return ptr::null_mut();
    }
    PRESSED.store(true, Relaxed);
    take(layout)
}

// SAFETY: a block is the C library's, or of the region: as large and aligned as
// asked for, and of one owner, invariants 1 and 2.
unsafe impl GlobalAlloc for Reserve {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if MODE.load(Relaxed) == ONLY {
            return take(layout);
        }
        // SAFETY: the caller's promises.
        let at = unsafe { System.alloc(layout) };
        sanitize::no_leak(at);
        if at.is_null() { refused(layout) } else { at }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let malloc = MODE.load(Relaxed) != ONLY;
        if malloc {
            // SAFETY: the caller's promises.
            let at = unsafe { System.alloc_zeroed(layout) };
            sanitize::no_leak(at);
            if !at.is_null() {
                return at;
            }
        }
        let at = if malloc { refused(layout) } else { take(layout) };
        if !at.is_null() {
            // SAFETY: the block has this size.
            unsafe { at.write_bytes(0, layout.size()) };
        }
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        if is_ours(at) {
            give(at, layout.size());
        } else if MODE.load(Relaxed) != ONLY {
            // SAFETY: the block has this size, and nobody uses it.
            unsafe { forget(at, layout.size()) };
            // SAFETY: the C library's block, as the caller promises.
            unsafe { System.dealloc(at, layout) };
        }
    }

    unsafe fn realloc(
        &self,
        at: *mut u8,
        layout: Layout,
        size: usize,
    ) -> *mut u8 {
        let ours = is_ours(at);
        if !ours && matches!(MODE.load(Relaxed), MALLOC) {
            // SAFETY: the C library's block, as the caller promises.
            let moved = unsafe { System.realloc(at, layout, size) };
            if !moved.is_null() {
                return moved;
            }
        }
        if ours && is_newest(at, layout.size()) {
            let used = USED.load(Relaxed) - layout.size();
            if size <= LEN.load(Relaxed) - used {
                note_used(used + size);
                return at;
            }
        }
        // SAFETY: the caller promises that this layout is valid.
        let new =
            unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: a layout with a size, the caller promises.
        let to = unsafe { self.alloc(new) };
        if !to.is_null() {
            let n = layout.size().min(size);
            // SAFETY: two blocks of at least n bytes each.
            unsafe { at.copy_to_nonoverlapping(to, n) };
            // SAFETY: the block that the caller has given up.
            unsafe { self.dealloc(at, layout) };
        }
        to
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::child;
    use std::vec::Vec;

    /// A region of `len` bytes, for the rest of the process.
    fn region(len: usize) {
        let room: &'static mut [u64] = vec![0; len / 8].leak();
        // SAFETY: leaked.
        unsafe { lend(room.as_ptr().addr(), len) };
    }

    #[test]
    fn in_a_copy_all_memory_is_of_the_region() {
        child::returns(|| {
            let before = Vec::<u64>::with_capacity(100);
            region(1 << 20);
            only();
            let mut list: Vec<u64> = (0..1000).collect();
            assert!(is_ours(list.as_mut_ptr().cast()));
            let boxed = Box::new([7u64; 100]);
            list.extend(0..1000);
            assert!(is_ours(list.as_mut_ptr().cast()));
            assert_eq!(list.iter().sum::<u64>(), 999_000);
            assert_eq!(boxed.iter().sum::<u64>(), 700);
            assert!(Vec::<u8>::new().try_reserve(1 << 20).is_err());
            assert!(!is_pressed());
            assert!(Vec::<u8>::new().try_reserve(600 << 10).is_ok());
            assert!(is_pressed());
            drop((list, boxed, before));
            assert_eq!(USED.load(Relaxed), 0);
        });
    }

    #[test]
    fn a_report_outlives_the_end_of_memory() {
        child::returns(|| {
            region(1 << 20);
            let huge = Layout::from_size_align(1 << 60, 8).unwrap();
            // SAFETY: the layout has a size.
            assert!(unsafe { GLOBAL.alloc(huge) }.is_null());
            begin();
            assert!(!is_pressed());
            let small = Layout::from_size_align(100, 64).unwrap();
            let at = refused(small);
            assert!(is_ours(at) && is_pressed());
            assert_eq!(at.addr() % 64, 0);
            assert_eq!(take_back(), None);
            end();
            assert!(refused(small).is_null());
            // SAFETY: a block of this layout.
            unsafe { GLOBAL.dealloc(at, small) };
            assert!(take_back().is_some());
        });
    }
}
