//! What the runtime keeps for the host in memory of `malloc`: elements of
//! channels, and arguments of timers and of members of groups. A collection has
//! to find it, so its owner puts a record of it into a list here.
//!
//! A record says how to find the words, not where they are: a channel has
//! elements in a part of its buffer, and the rest is stale.
//!
//! What cannot change once it is made, and was made before the first object of
//! the heap, holds no pointer to one. So such owners ask [`wanted`] first, and
//! a process without a heap does without their records.
//!
//! Invariants:
//! 1. A record that is in a list stays where it is, and so does what it is a
//!    part of. Its owner takes it out before the memory goes.
//! 2. `next` and `prev` are guarded by the lock of the list.
//!
//! Rejected: this memory from the heap itself, in spans that are never swept
//! (a process that makes a channel and uses no heap would pay for one, and the
//! child of a fork, where the heap stands still, could make no channel).

use crate::base::lock::Rank;
use crate::base::sync::{AtomicBool, Ordering::Relaxed};
use crate::os::{Lock, LockGuard};
use core::cell::Cell;
use core::ptr;

/// Calls the function with the words that a record stands for: from, to.
pub(crate) type Words = fn(&Kept, &mut dyn FnMut(usize, usize));

/// A record; a part of what it stands for.
pub(crate) struct Kept {
    /// const; None: it is in no list.
    words: Cell<Option<Words>>,
    next: Cell<*const Kept>,
    prev: Cell<*const Kept>,
}

/// Lists, by the address of the record, so that many threads make channels at
/// once.
const LISTS: usize = 16;

pub(crate) struct First(*const Kept);

// SAFETY: records stay while they are in the list (invariant 1).
unsafe impl Send for First {}

static KEPT: [Lock<First>; LISTS] =
    [const { Lock::new(Rank::Kept, First(ptr::null())) }; LISTS];

/// The heap is in use.
static WANTED: AtomicBool = AtomicBool::new(false);

/// The heap is in use from now on.
pub(crate) fn want() {
    WANTED.store(true, Relaxed);
}

/// Whether what is made now may hold a pointer to an object, for good.
#[inline(always)]
pub(crate) fn wanted() -> bool {
    // Relaxed: a thread that has such a pointer comes after the store.
    WANTED.load(Relaxed)
}

impl Kept {
    pub(crate) const fn new() -> Self {
        Self {
            words: Cell::new(None),
            next: Cell::new(ptr::null()),
            prev: Cell::new(ptr::null()),
        }
    }

    fn list(&self) -> &'static Lock<First> {
        &KEPT[ptr::from_ref(self).addr() / 64 % LISTS]
    }

    /// Puts the record into its list.
    ///
    /// # Safety
    /// Invariant 1, until [`Kept::remove`].
    #[cold]
    #[inline(never)]
    pub(crate) unsafe fn add(&self, words: Words) {
        self.words.set(Some(words));
        let mut list = self.list().lock();
        let next = core::mem::replace(&mut list.0, self);
        self.next.set(next);
        // SAFETY: null, or in the list, so there.
        if let Some(next) = unsafe { next.as_ref() } {
            next.prev.set(self);
        }
    }

    /// Takes the record out, if it is in its list.
    #[inline(always)]
    pub(crate) fn remove(&self) {
        if self.words.get().is_some() {
            self.remove_slow();
        }
    }

    #[cold]
    fn remove_slow(&self) {
        self.words.set(None);
        let mut list = self.list().lock();
        let (prev, next) = (self.prev.get(), self.next.get());
        // SAFETY: null, or in the list, so there.
        match unsafe { prev.as_ref() } {
            Some(prev) => prev.next.set(next),
            None => list.0 = next,
        }
        // SAFETY: the same.
        if let Some(next) = unsafe { next.as_ref() } {
            next.prev.set(prev);
        }
    }
}

/// Calls `found` with all words that are kept. What the records belong to
/// stands still.
pub(crate) fn each(found: &mut dyn FnMut(usize, usize)) {
    for list in &KEPT {
        of_list(&list.lock(), found);
    }
}

fn of_list(list: &First, found: &mut dyn FnMut(usize, usize)) {
    let mut at = list.0;
    // SAFETY: null, or in the list, so there.
    while let Some(kept) = unsafe { at.as_ref() } {
        if let Some(words) = kept.words.get() {
            words(kept, found);
        }
        at = kept.next.get();
    }
}

/// All lists, which stay as they are while it lives.
pub(crate) struct Held([LockGuard<'static, First>; LISTS]);

impl Held {
    pub(crate) fn begin() -> Self {
        Self(core::array::from_fn(|i| KEPT[i].lock()))
    }

    /// [`each`], of these.
    pub(crate) fn each(&self, found: &mut dyn FnMut(usize, usize)) {
        for list in &self.0 {
            of_list(list, found);
        }
    }
}

/// Memory of the host's that collections look into: this, and the bytes.
#[repr(C, align(16))]
struct Block {
    /// The first field, by which [`words_of_block`] finds the block.
    kept: Kept,
    /// const: how many follow.
    bytes: usize,
}

fn words_of_block(kept: &Kept, found: &mut dyn FnMut(usize, usize)) {
    // SAFETY: the first field of a block, which is there while it is kept.
    let block = unsafe { &*ptr::from_ref(kept).cast::<Block>() };
    let from = ptr::from_ref(block).addr() + size_of::<Block>();
    found(from, from + block.bytes);
}

/// `gmp_kept_malloc`: memory that collections look into; null without memory.
pub(crate) fn malloc(bytes: usize) -> *mut u8 {
    let Some(all) = bytes.checked_add(size_of::<Block>()) else {
        return ptr::null_mut();
    };
    // SAFETY: malloc may be called with any size.
    let place = unsafe { libc::malloc(all) }.cast::<Block>();
    if place.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: fresh memory of this size; malloc aligns it.
    unsafe { place.write(Block { kept: Kept::new(), bytes }) };
    // SAFETY: written.
    let block = unsafe { &*place };
    // SAFETY: it stays until `free`, which takes it out.
    unsafe { block.kept.add(words_of_block) };
    place.wrapping_add(1).cast()
}

/// `gmp_kept_free`.
///
/// # Safety
/// `at`: from [`malloc`], and used no more.
pub(crate) unsafe fn free(at: *mut u8) {
    let place = at.cast::<Block>().wrapping_sub(1);
    // SAFETY: the caller's promise.
    unsafe { &*place }.kept.remove();
    // SAFETY: from malloc, and in no list.
    unsafe { libc::free(place.cast()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kept: &Kept, found: &mut dyn FnMut(usize, usize)) {
        let at = ptr::from_ref(kept).addr();
        found(at, at + 8);
    }

    #[test]
    fn what_is_kept_is_found_until_it_is_taken_out() {
        let all: Vec<Box<Kept>> =
            (0..100).map(|_| Box::new(Kept::new())).collect();
        for kept in &all {
            // SAFETY: boxed, and removed below.
            unsafe { kept.add(one) };
        }
        let seen = || {
            let mut seen = Vec::new();
            each(&mut |from, _| seen.push(from));
            all.iter()
                .map(|kept| ptr::from_ref(&**kept).addr())
                .filter(|at| seen.contains(at))
                .count()
        };
        assert_eq!(seen(), 100);
        all.iter().skip(50).for_each(|kept| kept.remove());
        assert_eq!(seen(), 50);
        all.iter().for_each(|kept| kept.remove());
        assert_eq!(seen(), 0);
    }
}
