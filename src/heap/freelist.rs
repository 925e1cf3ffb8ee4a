//! Objects that a thread has freed by hand and hands out again: what malloc
//! calls a thread cache. A program that frees and allocates in turn takes no
//! lock, and its spans neither fill nor empty.
//!
//! ```text
//!              push                    pop
//!   allocated ------> in a list here ------> allocated
//!                          |
//!                          | flush: a collection is about to mark
//!                          v
//!                         free
//! ```
//! The lists lie in the objects: the first word is the next object's address,
//! the second the *seal*, by which a second free is noticed. The seal is a
//! random number of the process, mixed with the object's address, so that no
//! memory has it by accident.
//!
//! Invariants:
//! 1. One thread at a time uses the lists, as their mcache.
//! 2. An object here keeps its alloc bit, has no mark, and is counted as live.
//!    So nobody else hands it out, and its span does not become empty. Nothing
//!    is to happen when it goes (`specials`).
//! 3. While marking, the lists are empty.
//! 4. An object that is sealed is here; one that is handed out is not sealed.

use super::sizeclass::{CLASS, CLASSES, Kind};
use crate::base::sync::{AtomicUsize, Ordering::Relaxed};
use crate::os::{auxv, clock};
use core::cell::Cell;

/// Bytes that a list has at most, but for one object; and objects.
const BYTES: usize = 16 << 10;
const OBJECTS: usize = 64;

/// How many objects a list has at most, by class.
static MOST: [u8; CLASSES] = {
    let mut most = [0; CLASSES];
    let mut class = 1;
    while class < CLASSES {
        let n = BYTES / CLASS[class].size;
        most[class] = match n {
            0 => 1,
            1..OBJECTS => n as u8,
            _ => OBJECTS as u8,
        };
        class += 1;
    }
    most
};

/// Mixed into all seals. Written before the first free.
static SEAL: AtomicUsize = AtomicUsize::new(0);

/// The two words of an object in a list.
type Link = [Cell<usize>; 2];

/// The lists of an mcache.
pub(super) struct FreeLists {
    /// owner: the first object of each list, or 0.
    first: [[Cell<usize>; CLASSES]; 3],
    /// owner
    count: [[Cell<u8>; CLASSES]; 3],
}

/// Chooses the seal of this process, once.
pub(super) fn init() {
    let random = auxv::random().map_or(0, u128::from_ne_bytes);
    let random = (random >> 64) as usize ^ clock::cycles() as usize;
    // Relaxed: the table of arenas is published later. If two threads come at
    // once, the first one's stays.
    let _ = SEAL.compare_exchange(0, random | 1, Relaxed, Relaxed);
}

/// The words of the small object at `at`.
fn link(at: usize) -> &'static Link {
    // SAFETY: an object has a granule of 16 bytes at least, and memory of the
    // heap stays.
    unsafe { &*(at as *const Link) }
}

fn seal(at: usize) -> usize {
    SEAL.load(Relaxed) ^ at
}

/// Whether the small object at `at`, which is allocated, is in a list.
#[inline(always)]
pub(super) fn is_sealed(at: usize) -> bool {
    link(at)[1].get() == seal(at)
}

impl FreeLists {
    pub(super) const fn new() -> Self {
        Self {
            first: [const { [const { Cell::new(0) }; CLASSES] }; 3],
            count: [const { [const { Cell::new(0) }; CLASSES] }; 3],
        }
    }

    /// Puts an object in; false if the list has enough.
    #[inline(always)]
    pub(super) fn push(&self, at: usize, class: usize, kind: Kind) -> bool {
        let count = &self.count[kind as usize][class];
        if count.get() >= MOST[class] {
            return false;
        }
        count.set(count.get() + 1);
        let [next, mark] = link(at);
        next.set(self.first[kind as usize][class].replace(at));
        mark.set(seal(at));
        true
    }

    /// Takes out the object that was freed last, which may have anything in it
    /// but a seal.
    #[inline(always)]
    pub(super) fn pop(&self, class: usize, kind: Kind) -> Option<usize> {
        let first = &self.first[kind as usize][class];
        let at = first.get();
        if at == 0 {
            return None;
        }
        let [next, mark] = link(at);
        first.set(next.get());
        mark.set(0);
        let count = &self.count[kind as usize][class];
        count.set(count.get() - 1);
        Some(at)
    }

    /// Takes all out.
    pub(super) fn take_all(&self, mut found: impl FnMut(usize)) {
        for kind in Kind::ALL {
            for class in 1..CLASSES {
                while let Some(at) = self.pop(class, kind) {
                    found(at);
                }
            }
        }
    }
}
