//! A stack, the slot that it fills together with its guard, and their sizes.

use crate::base::sync::{AtomicUsize, Ordering};
use crate::os::{Errno, Result, mem};

/// Bytes below a stack that fault. A frame larger than the guard may step over
/// it, unless the code was compiled with `-fstack-clash-protection`. So the
/// guard has 64 KiB, about the largest local buffer that C code has without
/// much thought. The guard shares a page of the page table with the stack, so
/// it takes address space and no memory.
pub(crate) const GUARD: usize = 64 << 10;

/// As much stack as guard; smaller slots would be mostly guard.
pub(super) const MIN_SLOT: usize = 2 * GUARD;
pub(super) const MAX_SLOT: usize = 8 << 20;
pub(super) const CLASSES: usize = (MAX_SLOT / MIN_SLOT).ilog2() as usize + 1;

/// Usable bytes of the largest stack with a class.
pub(crate) const POOLED_MOST: usize = MAX_SLOT - GUARD;

/// The most usable bytes of any stack.
pub(crate) const MAX_SIZE: usize = 1 << 30;

/// Stands for a class in a stack with its own mapping.
pub(super) const OWN: u8 = u8::MAX;

/// The class of no stack.
pub(super) const NONE: u8 = u8::MAX - 1;

/// Added to the class of a stack whose pages are given back when it is freed.
pub(super) const CLEAN: u8 = 1 << 6;

const _: () = assert!(CLASSES < CLEAN as usize && NONE > CLEAN | CLASSES as u8);

/// A name of a stack: copying it copies no right to use the stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Stack {
    /// The lowest address that may be used; the guard is below.
    pub(crate) lo: usize,
    /// The first address above the stack.
    pub(crate) hi: usize,
    /// The size class, perhaps with [`CLEAN`]; or `OWN`.
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

/// The address space of a stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shape {
    /// A slot of this class.
    Slot(u8),
    /// Its own mapping, with so many bytes, guard included.
    Own(usize),
}

impl Shape {
    /// The smallest shape with `size` usable bytes.
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
