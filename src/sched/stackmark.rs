//! `GMPDEBUG=stackadvice=1`: how much stack the goroutines of each entry
//! function have used at most.
//!
//! A stack tells how deep it has been by the pages that exist
//! (`gmprt_inspect::touched`). Free stacks keep their pages for the next
//! goroutine, so by default that is the depth of the deepest goroutine that the
//! stack has had lately. Under this setting a goroutine leaves no page behind
//! but the top one (`stack::is_clean`): the marks are exact, in whole pages.
//! Each end of a goroutine then costs two system calls, each page below the top
//! a fault for each goroutine that touches it, and no stack is handed on
//! without a switch (`relay` in `goexit`). Without the setting there is no cost
//! at all: the ends that come here are those that a P's cache does not take.
//!
//! Invariants:
//! 1. An entry of `MARKS` belongs to one function from its first use on.
//! 2. `largest` and `size` of an entry only grow.

use crate::{
    gmp::{G, GStatus, each_g, gflag},
    stack::{self, Stack},
};
use core::{
    cell::Cell,
    ptr,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::*},
};
use gmprt_inspect::touched::{OwnPages, stack_high_water};

/// Functions told apart; more of them share the last entry.
const FUNCTIONS: usize = 1024;

/// What is known of an entry function. atomic
struct Mark {
    /// Its address; 0 in an entry that is unused, and in the shared one.
    func: AtomicUsize,
    largest: AtomicU64,
    size: AtomicU64,
    ended: AtomicU64,
    living: AtomicU64,
}

static MARKS: [Mark; FUNCTIONS + 1] = [const {
    Mark {
        func: AtomicUsize::new(0),
        largest: AtomicU64::new(0),
        size: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        living: AtomicU64::new(0),
    }
}; FUNCTIONS + 1];

/// The stacks of all goroutines of one entry function.
#[derive(Clone, Copy)]
pub(crate) struct Used {
    /// The function's address; 0 for all functions for which there was no room.
    pub func: usize,
    /// The most bytes that one of them has used, in whole pages.
    pub largest: u64,
    /// The usable bytes of their largest stack.
    pub size: u64,
    /// How many have ended, and how many live.
    pub ended: u64,
    pub living: u64,
}

/// `gp` has ended, and nobody runs on its stack.
#[cold]
pub(super) fn ended(gp: &G, stack: Stack) {
    if !stack::is_clean() || gp.has(gflag::SYSTEM) {
        return;
    }
    if let Some(mark) = note(entry_of(gp), stack.lo, stack.hi) {
        mark.ended.fetch_add(1, Relaxed);
    }
}

/// Calls `each` with what is known of each entry function, the goroutines that
/// live measured now; and `pause` between two of these. Of two callers at a
/// time both may count the living wrong.
pub(crate) fn for_each(pause: impl Fn(), mut each: impl FnMut(Used)) {
    for mark in &MARKS {
        mark.living.store(0, Relaxed);
    }
    for gp in each_g() {
        measure(gp);
        pause();
    }
    for mark in &MARKS {
        let used = Used {
            func: mark.func.load(Relaxed),
            largest: mark.largest.load(Relaxed),
            size: mark.size.load(Relaxed),
            ended: mark.ended.load(Relaxed),
            living: mark.living.load(Relaxed),
        };
        if used.ended + used.living > 0 {
            each(used);
        }
    }
}

/// Measures a goroutine that may run, or end, meanwhile.
fn measure(gp: &'static G) {
    let dead = matches!(gp.readgstatus(), GStatus::Idle | GStatus::Dead);
    let flags = peek(&gp.flags);
    if dead || flags & gflag::SYSTEM != 0 || flags & gflag::STARTED == 0 {
        return;
    }
    let generation = gp.park.generation();
    let (lo, hi) = (peek(&gp.stack_lo), peek(&gp.stack_hi));
    let func = peek_entry(gp);
    if lo == 0 || gp.park.generation() != generation {
        return;
    }
    if let Some(mark) = note(func, lo, hi) {
        mark.living.fetch_add(1, Relaxed);
    }
}

/// Notes how deep a stack of a goroutine of `func` has been; None if that
/// cannot be known.
fn note(func: usize, lo: usize, hi: usize) -> Option<&'static Mark> {
    let used = stack_high_water(lo as u64, hi as u64, &mut OwnPages)?;
    let mark = mark_of(func);
    mark.largest.fetch_max(used, Relaxed);
    mark.size.fetch_max((hi - lo) as u64, Relaxed);
    Some(mark)
}

/// The entry of a function, made if there is room.
fn mark_of(func: usize) -> &'static Mark {
    // Functions are aligned, so the low bits tell little.
    let first = (func >> 4).wrapping_mul(0x9E37_79B9) % FUNCTIONS;
    for i in 0..FUNCTIONS {
        let mark = &MARKS[(first + i) % FUNCTIONS];
        // Relaxed: the entry's numbers are atomic by themselves.
        match mark.func.compare_exchange(0, func, Relaxed, Relaxed) {
            Ok(_) => return mark,
            Err(there) if there == func => return mark,
            Err(_) => {}
        }
    }
    &MARKS[FUNCTIONS]
}

/// The address of the function of `gp`, by its owner.
fn entry_of(gp: &G) -> usize {
    gp.func.get().map_or(0, |func| func as usize)
}

/// [`entry_of`], by any thread.
fn peek_entry(gp: &G) -> usize {
    peek(&gp.func).map_or(0, |func| func as usize)
}

/// Reads a word that its owner may write meanwhile.
fn peek<T: Copy>(cell: &Cell<T>) -> T {
    // SAFETY: aligned and initialised; on this processor a word that another
    // thread writes reads as the old value or the new one.
    unsafe { ptr::read_volatile(cell.as_ptr()) }
}
