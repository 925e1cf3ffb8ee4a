//! The seal of an object that is being freed by hand: a second free, though it
//! comes at the same moment on another thread, finds it and is refused.
//!
//! Whoever frees a small object exchanges its second word for a random number
//! of the process, mixed with the object's address so that no memory has it by
//! accident. An object that is handed out is not sealed.
//!
//! ```text
//!   one thread                            another, or the first one again
//!     (a) seal                              (c) seal
//!     (b) allocated, and no mark?           (d) free it, or mark it as freed
//!                                           (e) put the word back
//! ```
//! Of (a) and (c) one is first, and the other finds the seal. If (a) comes
//! behind (e), (b) finds the object free, since (d) comes before (e). Then (a)
//! puts the word back as well. An object in a `freelist` stays sealed.
//!
//! Memcheck takes a look at a word that nobody has written for a mistake of the
//! program's. So it is told that the word is defined ([`is_sealed`]), and under
//! it no free takes the short way.

#[cfg(not(loom))]
use crate::base::{
    sanitize,
    sync::{AtomicUsize, Ordering::*},
};
#[cfg(not(loom))]
use crate::os::{auxv, clock};

/// Mixed into all seals. Written before the first free.
#[cfg(not(loom))]
static SEAL: AtomicUsize = AtomicUsize::new(0);

/// Chooses the seal of this process, once.
#[cfg(not(loom))]
pub(super) fn init() {
    let random = auxv::random().map_or(0, u128::from_ne_bytes);
    let random = (random >> 64) as usize ^ clock::cycles() as usize;
    // Relaxed: the table of arenas is published later. If two threads come at
    // once, the first one's stays.
    let _ = SEAL.compare_exchange(0, random | 1, Relaxed, Relaxed);
}

/// The second word of the small object at `at`.
#[cfg(not(loom))]
#[inline(always)]
fn word(at: usize) -> &'static AtomicUsize {
    // SAFETY: an object has two words at least, and memory of the heap stays.
    unsafe { &(*(at as *const [AtomicUsize; 2]))[1] }
}

#[cfg(not(loom))]
#[inline(always)]
fn seal(at: usize) -> usize {
    SEAL.load(Relaxed) ^ at
}

/// Whether the small object at `at` is sealed.
#[cfg(not(loom))]
#[inline(always)]
pub(super) fn is_sealed(at: usize) -> bool {
    if sanitize::memcheck() {
        sanitize::word_is_read(word(at).as_ptr());
    }
    word(at).load(Relaxed) == seal(at)
}

/// Seals the small object at `at`. Returns the word that was there; None if it
/// is sealed.
#[cfg(not(loom))]
#[inline(always)]
pub(super) fn claim(at: usize) -> Option<usize> {
    let seal = seal(at);
    // AcqRel: (a), (c) and (e) are in one order, with (d) and (b).
    let was = word(at).swap(seal, AcqRel);
    (was != seal).then_some(was)
}

/// Takes the seal off.
#[cfg(not(loom))]
#[inline(always)]
pub(super) fn release(at: usize, was: usize) {
    // Release: (e), after (d).
    word(at).store(was, Release);
}

/// The model has no memory.
#[cfg(loom)]
pub(super) fn claim(_at: usize) -> Option<usize> {
    Some(0)
}

#[cfg(loom)]
pub(super) fn release(_at: usize, _was: usize) {}
