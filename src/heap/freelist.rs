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
//! the second the seal (`seal`).
//!
//! Invariants:
//! 1. One thread at a time uses the lists, as their mcache.
//! 2. An object here keeps its alloc bit, has no mark, and is counted as live.
//!    So nobody else hands it out, and its span does not become empty. Nothing
//!    is to happen when it goes (`specials`).
//! 3. While marking, the lists are empty.
//! 4. An object that is sealed is here; one that is handed out is not sealed.
//!
//! A host that writes to an object which it has freed breaks a list. A flush
//! finds that by the seal, and ends the process. `pop` does not look, since
//! four instructions more are too many for what an allocation and a free have.

use super::find::Object;
use super::seal;
use super::sizeclass::{CLASS, CLASSES, Kind};
use crate::base::throw::fatal;
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

/// The lists of an mcache.
pub(super) struct FreeLists {
    /// owner: the first object of each list, or 0.
    first: [[Cell<usize>; CLASSES]; 3],
    /// owner
    count: [[Cell<u8>; CLASSES]; 3],
}

/// The first word of the object at `at`, which is in a list.
#[inline(always)]
fn next(at: usize) -> &'static Cell<usize> {
    // SAFETY: memory of the heap stays, and nobody else uses the object.
    unsafe { &*(at as *const Cell<usize>) }
}

impl FreeLists {
    pub(super) const fn new() -> Self {
        Self {
            first: [const { [const { Cell::new(0) }; CLASSES] }; 3],
            count: [const { [const { Cell::new(0) }; CLASSES] }; 3],
        }
    }

    /// Whether a list has enough.
    #[inline(always)]
    pub(super) fn is_full(&self, class: usize, kind: Kind) -> bool {
        self.count[kind as usize][class].get() >= MOST[class]
    }

    /// Puts an object in, which the caller has sealed.
    #[inline(always)]
    pub(super) fn push(&self, at: usize, class: usize, kind: Kind) {
        let count = &self.count[kind as usize][class];
        count.set(count.get() + 1);
        next(at).set(self.first[kind as usize][class].replace(at));
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
        first.set(next(at).get());
        seal::release(at, 0);
        let count = &self.count[kind as usize][class];
        count.set(count.get() - 1);
        Some(at)
    }

    /// Takes all out. `object` is what an address stands for: None where no
    /// object in a list begins there, since the host has written to one.
    pub(super) fn take_all(
        &self,
        object: impl Fn(usize) -> Option<Object>,
        mut found: impl FnMut(&Object),
    ) {
        for (first, count) in self.first.iter().zip(&self.count) {
            for (first, count) in first.iter().zip(count) {
                while first.get() != 0 {
                    let Some(object) = object(first.get()) else {
                        fatal("an object was written to after gmp_gc_free");
                    };
                    first.set(next(object.base).get());
                    seal::release(object.base, 0);
                    found(&object);
                }
                count.set(0);
            }
        }
    }
}
