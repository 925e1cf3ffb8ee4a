//! A stack, the slot that it fills with its guard, and how large both are.

use crate::base::sync::{AtomicUsize, Ordering};
use crate::os::{Errno, Result, mem};

/// Bytes below a stack that fault. A frame that is larger than this and whose
/// low end is written first steps over the guard, unless it was compiled with
/// `-fstack-clash-protection`: so the guard has room for local buffers of
/// 64 KiB, as large as C code has them without much thought. It lies in the
/// same page of the page table as the stack, and so takes address space only.
pub(crate) const GUARD: usize = 64 << 10;

/// As much stack as guard: smaller ones would be guard for the most part.
pub(super) const MIN_SLOT: usize = 2 * GUARD;
pub(super) const MAX_SLOT: usize = 8 << 20;
pub(super) const CLASSES: usize = (MAX_SLOT / MIN_SLOT).ilog2() as usize + 1;

/// Usable bytes of the largest stack that is in a class.
pub(crate) const POOLED_MOST: usize = MAX_SLOT - GUARD;

/// The most usable bytes that a stack may have.
pub(crate) const MAX_SIZE: usize = 1 << 30;

/// The class of stacks that are in no class.
pub(super) const OWN: u8 = u8::MAX;

/// A stack in use, or its name: copying it copies no right to use it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stack {
    /// The lowest address that may be used; the guard is below.
    pub(crate) lo: usize,
    /// The first address above the stack.
    pub(crate) hi: usize,
    /// The size class, or `OWN`.
    pub(crate) class: u8,
}

impl Stack {
    /// The stack in the slot of `class` at `base`.
    pub(super) fn in_slot(base: usize, class: u8) -> Self {
        Self { lo: base + GUARD, hi: base + slot_len(class), class }
    }

    /// Where the slot begins: with the guard.
    pub(super) fn base(&self) -> usize {
        self.lo - GUARD
    }
}

/// The least usable size that is handed out. atomic
pub(super) static MIN_SIZE: AtomicUsize = AtomicUsize::new(MIN_SLOT - GUARD);

/// How a stack's address space is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// A slot of a class.
    Slot(u8),
    /// A mapping of its own of so many bytes, guard included.
    Own(usize),
}

impl Shape {
    /// The shape that has `size` usable bytes at least.
    pub(super) fn of(size: usize) -> Result<Self> {
        if size > MAX_SIZE {
            return Err(Errno::EINVAL);
        }
        let len = size.max(MIN_SIZE.load(Ordering::Relaxed)) + GUARD;
        if len > MAX_SLOT {
            return Ok(Shape::Own(len.next_multiple_of(mem::page_size())));
        }
        let slot = len.next_power_of_two().max(MIN_SLOT);
        Ok(Shape::Slot((slot / MIN_SLOT).ilog2() as u8))
    }

    /// Bytes of address space, guard included.
    pub(super) fn len(self) -> usize {
        match self {
            Shape::Slot(class) => slot_len(class),
            Shape::Own(len) => len,
        }
    }
}

/// Bytes of a slot of `class`.
pub(super) const fn slot_len(class: u8) -> usize {
    MIN_SLOT << class
}
