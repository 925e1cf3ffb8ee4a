//! Freed memory, filled: with `GMPDEBUG=gcstress` whoever reads it has no
//! pointer in hand that looks right, and whoever writes to it is told when the
//! memory is handed out again.
//!
//! Invariant 1: where memory is filled, each free slot of a span of small
//! objects is, and each page that a span has had, unless the kernel has made it
//! anew. So what is neither filled nor such a page was written to.

use super::sizeclass::PAGE;
use crate::base::throw::fatal_args;
use core::{ptr, slice};

/// The byte that fills it.
pub const POISON: u8 = 0xdb;

const WORD: u64 = u64::from_ne_bytes([POISON; 8]);

/// Fills `bytes` bytes at `at`.
///
/// # Safety
/// They are memory of the heap that nobody uses.
pub(super) unsafe fn fill(at: usize, bytes: usize) {
    // SAFETY: the caller's.
    unsafe { ptr::write_bytes(at as *mut u8, POISON, bytes) };
}

/// Ends the process if somebody has written to the slot at `at`.
///
/// # Safety
/// A slot of `bytes` bytes that the caller is about to hand out.
pub(super) unsafe fn check(at: usize, bytes: usize) {
    // SAFETY: the caller's.
    let words = unsafe { words(at, bytes) };
    if let Some(n) = words.iter().position(|word| *word != WORD) {
        fatal_args(format_args!(
            "the object at {at:#x}, of {bytes} bytes, was written to after it \
             was freed: {:#x} at offset {}. {CAUSE}",
            words[n],
            n * 8
        ));
    }
}

/// Ends the process if somebody has written to pages that no span has.
///
/// # Safety
/// The caller has taken them.
pub(super) unsafe fn check_pages(base: usize, bytes: usize) {
    for page in (base..base + bytes).step_by(PAGE) {
        // SAFETY: the caller's.
        let words = unsafe { words(page, PAGE) };
        // It was used before, or the kernel has made it.
        let want = if words[0] == 0 { 0 } else { WORD };
        if let Some(n) = words.iter().position(|word| *word != want) {
            fatal_args(format_args!(
                "an object of the heap was written to after it was freed: \
                 {:#x} at {:#x}. {CAUSE}",
                words[n],
                page + n * 8
            ));
        }
    }
}

const CAUSE: &str = "gmp_gc_free freed it, or a collection that has seen no \
                     pointer to it";

/// # Safety
/// `bytes` bytes at `at`, a multiple of 8, that nobody writes to meanwhile.
unsafe fn words(at: usize, bytes: usize) -> &'static [u64] {
    // SAFETY: the caller's.
    unsafe { slice::from_raw_parts(at as *const u64, bytes / 8) }
}

/// Ends the process because the host has written to the slot at `at`.
#[cold]
#[inline(never)]
pub(super) fn written_after_free(at: usize, bytes: usize) -> ! {
    fatal_args(format_args!(
        "the object at {at:#x}, of {bytes} bytes, was written to after \
         gmp_gc_free"
    ))
}
