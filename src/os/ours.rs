//! Mappings of the library's own that a look for pointers of the host's leaves
//! out (`gc::reach`): they hold addresses of objects, and are no reason for an
//! object to live.
//!
//! A list of ranges that only grows, without `malloc` and without a lock. Parts
//! of it are mapped when the first, which is static, is full.
//!
//! Invariants:
//! 1. A range in the list stays mapped until the library is unloaded. One of
//!    length 0 is not written yet. An object may begin where a range ends, and
//!    in a static program the list is a root: so it has lengths, and no ends.
//! 2. A part, once another leads to it, stays.

use super::{
    addresses,
    errno::Result,
    mem::{map_data, page_size, unmap},
};
use crate::base::sync::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::*};
use core::ptr;

/// Ranges in a part: 4 KB.
const RANGES: usize = 255;

/// All bytes zero are an empty one.
struct Part {
    used: AtomicUsize,
    next: AtomicPtr<Part>,
    /// Where it begins, and its length.
    ranges: [[AtomicUsize; 2]; RANGES],
}

static FIRST: Part = Part {
    used: AtomicUsize::new(0),
    next: AtomicPtr::new(ptr::null_mut()),
    ranges: [const { [AtomicUsize::new(0), AtomicUsize::new(0)] }; RANGES],
};
/// A range is in no part, for want of memory.
static SHORT: AtomicBool = AtomicBool::new(false);

/// [`map_data`] of a mapping that stays, and is in the list.
///
/// `ENOMEM`, or `EAGAIN` where locked memory is at its limit.
pub(crate) fn map_ours(len: usize) -> Result<*mut u8> {
    let base = map_data(len)?;
    add(base, len);
    Ok(base)
}

/// [`addresses::zeros`], of which the same is true.
///
/// `ENOMEM`, or `EAGAIN` where locked memory is at its limit.
pub(crate) fn zeros_ours(len: usize) -> Result<*mut u8> {
    let base = addresses::zeros(len)?;
    add(base, len);
    Ok(base)
}

/// [`map_ours`] of what is large, and of which not all will be used: under
/// `mlockall` it is not populated either.
///
/// `ENOMEM`, or `EAGAIN` where locked memory is at its limit.
pub(crate) fn map_ours_late(len: usize) -> Result<*mut u8> {
    let base = addresses::reserve(len, page_size(), 0)?;
    // SAFETY: reserved above, and nobody uses it.
    if let Err(e) = unsafe { addresses::prepare(base, len) } {
        // SAFETY: mapped above, and nobody uses it.
        unsafe { unmap(base, len) };
        return Err(e);
    }
    add(base, len);
    Ok(base)
}

/// Adds a range to the list.
fn add(base: *mut u8, len: usize) {
    let mut part = &FIRST;
    loop {
        // Relaxed: a number for each.
        let n = part.used.fetch_add(1, Relaxed);
        if let Some([from, length]) = part.ranges.get(n) {
            from.store(base.addr(), Relaxed);
            // Release: pairs with each.
            length.store(len, Release);
            return;
        }
        match part.next_or_map() {
            Some(next) => part = next,
            None => return SHORT.store(true, Relaxed),
        }
    }
}

/// Unmaps all of them, and the list.
///
/// # Safety
/// Nobody uses any of it any more, or maps one.
pub(crate) unsafe fn unmap_all() {
    let free = |from: usize, to| {
        // SAFETY: mapped here, and nobody uses it, the caller promises.
        unsafe { unmap(from as *mut u8, to - from) };
    };
    let _those_left_out_stay = each(&mut { free });
    let mut at = FIRST.next.swap(ptr::null_mut(), Acquire);
    // SAFETY: null, or a part (invariant 2).
    while let Some(part) = unsafe { at.as_ref() } {
        let next = part.next.load(Acquire);
        // SAFETY: a mapping of its own, and out of the list.
        unsafe { unmap(at.cast(), size_of::<Part>()) };
        at = next;
    }
    FIRST.ranges.iter().for_each(|[_, length]| length.store(0, Relaxed));
    FIRST.used.store(0, Relaxed);
}

/// Calls `found` with each range: from, to. False: some are left out.
pub(crate) fn each(found: &mut dyn FnMut(usize, usize)) -> bool {
    let mut part = Some(&FIRST);
    while let Some(this) = part {
        for [from, length] in &this.ranges {
            // Acquire: pairs with map_ours.
            let length = length.load(Acquire);
            if length != 0 {
                let from = from.load(Relaxed);
                found(from, from + length);
            }
        }
        // SAFETY: null, or a part (invariant 2).
        part = unsafe { this.next.load(Acquire).as_ref() };
    }
    !SHORT.load(Relaxed)
}

impl Part {
    /// The next part; None without memory.
    fn next_or_map(&self) -> Option<&'static Self> {
        let next = self.next.load(Acquire);
        // SAFETY: null, or a part (invariant 2).
        if let Some(next) = unsafe { next.as_ref() } {
            return Some(next);
        }
        let new = map_data(size_of::<Self>()).ok()?;
        let none = ptr::null_mut();
        // AcqRel: pairs with the acquires of each and next_or_map.
        match self.next.compare_exchange(none, new.cast(), AcqRel, Acquire) {
            // SAFETY: zeros are an empty part, and the mapping stays.
            Ok(_) => Some(unsafe { &*new.cast::<Self>() }),
            Err(other) => {
                // SAFETY: mapped above, and nobody else knows it.
                unsafe { unmap(new, size_of::<Self>()) };
                // SAFETY: a part (invariant 2).
                Some(unsafe { &*other })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_found_also_past_the_first_part() {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    (0..RANGES)
                        .map(|_| map_ours(4096).unwrap().addr())
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let mapped: Vec<_> =
            threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        let mut seen = Vec::new();
        assert!(each(&mut |from, to| {
            assert!(to > from);
            seen.push(from);
        }));
        assert!(mapped.iter().all(|at| seen.contains(at)));
    }
}
