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

use super::arena::{CLASSES_AND_KINDS, PageInfo, class_and_kind};
use super::find::Object;
use super::poison::written_after_free;
use super::seal;
use super::sizeclass::{CLASS, CLASSES, Kind};
use core::cell::Cell;

/// Bytes that a list has at most, but for one object; and objects.
const BYTES: usize = 16 << 10;
const OBJECTS: usize = 64;

/// How many objects the list of a class has at most. None of large objects.
const fn most(class: usize) -> u8 {
    if class == 0 || class >= CLASSES {
        return 0;
    }
    match BYTES / CLASS[class].size {
        0 => 1,
        n @ 1..OBJECTS => n as u8,
        _ => OBJECTS as u8,
    }
}

/// The lists of an mcache, by `PageInfo::class_and_kind`.
pub(super) struct FreeLists {
    /// owner: the first object of each, or 0.
    first: [Cell<usize>; CLASSES_AND_KINDS],
    /// owner: how many more each takes.
    room: [Cell<u8>; CLASSES_AND_KINDS],
}

fn size_of_class(class: usize) -> usize {
    CLASS[class].size
}

/// The first word of the object at `at`, which is in a list.
#[inline(always)]
fn next(at: usize) -> &'static Cell<usize> {
    // SAFETY: memory of the heap stays, and nobody else uses the object.
    unsafe { &*(at as *const Cell<usize>) }
}

impl FreeLists {
    pub(super) const fn new() -> Self {
        let mut room = [const { Cell::new(0) }; CLASSES_AND_KINDS];
        let mut n = 0;
        while n < CLASSES_AND_KINDS {
            room[n] = Cell::new(most(PageInfo::class_of(n)));
            n += 1;
        }
        Self { first: [const { Cell::new(0) }; CLASSES_AND_KINDS], room }
    }

    /// Whether list `n` takes one more.
    #[inline(always)]
    pub(super) fn has_room(&self, n: usize) -> bool {
        self.room[n % CLASSES_AND_KINDS].get() != 0
    }

    /// Puts an object into list `n`, which the caller has sealed. There is
    /// room.
    #[inline(always)]
    pub(super) fn push(&self, n: usize, at: usize) {
        let room = &self.room[n % CLASSES_AND_KINDS];
        room.set(room.get().wrapping_sub(1));
        next(at).set(self.first[n % CLASSES_AND_KINDS].replace(at));
    }

    /// Takes out of list `n` the object that was freed last, which may have
    /// anything in it but a seal.
    #[inline(always)]
    pub(super) fn pop(&self, n: usize) -> Option<usize> {
        let first = &self.first[n % CLASSES_AND_KINDS];
        let at = first.get();
        if at == 0 {
            return None;
        }
        first.set(next(at).get());
        seal::release(at, 0);
        let room = &self.room[n % CLASSES_AND_KINDS];
        room.set(room.get().wrapping_add(1));
        Some(at)
    }

    /// Takes all out. `object` is what an address stands for: None where none
    /// begins there, since the host has written to the one before.
    pub(super) fn take_all(
        &self,
        object: impl Fn(usize) -> Option<Object>,
        mut found: impl FnMut(&Object),
    ) {
        for kind in Kind::ALL {
            for class in 1..CLASSES {
                let n = class_and_kind(class, kind);
                let (first, bytes) = (&self.first[n], size_of_class(class));
                let mut last = 0;
                while first.get() != 0 {
                    let Some(object) = object(first.get()) else {
                        written_after_free(last, bytes);
                    };
                    if !object.is_in_a_list() {
                        written_after_free(object.base, bytes);
                    }
                    last = object.base;
                    first.set(next(object.base).get());
                    seal::release(object.base, 0);
                    found(&object);
                }
                self.room[n].set(most(class));
            }
        }
    }
}
