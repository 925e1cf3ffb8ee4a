//! Whoever keeps a table of addresses and is told of all stacks: the heap, once
//! it begins. And the stacks with their own mapping, which are in no slab.
//!
//! `heap` stands beside `stack` and neither knows the other, so `gc` brings the
//! two functions. They are called under the lock of a pool, or of
//! [`OwnStacks`].

use crate::os::{Errno, Result};

/// What is called with the addresses of stacks: from, bytes. `add` before a
/// stack there is handed out; None without memory, then none is. `remove`
/// before they are unmapped, also where `add` was not called.
pub(crate) struct Spans {
    pub(crate) add: fn(usize, usize) -> Option<()>,
    pub(crate) remove: fn(usize, usize),
}

/// [`Spans`], or nobody yet.
pub(super) type Told = Option<&'static Spans>;

/// Tells of one mapping.
///
/// `ENOMEM`
pub(super) fn add(told: Told, base: usize, len: usize) -> Result<()> {
    match told {
        Some(spans) => (spans.add)(base, len).ok_or(Errno::ENOMEM),
        None => Ok(()),
    }
}

/// It is about to be unmapped.
pub(super) fn remove(told: Told, base: usize, len: usize) {
    if let Some(spans) = told {
        (spans.remove)(base, len);
    }
}

/// The stacks with their own mapping.
pub(super) struct OwnStacks {
    /// Address and bytes of each, in no order.
    all: Vec<(usize, usize)>,
    pub(super) told: Told,
}

impl OwnStacks {
    pub(super) const fn new() -> Self {
        Self { all: Vec::new(), told: None }
    }

    pub(super) fn all(&self) -> &[(usize, usize)] {
        &self.all
    }

    /// `ENOMEM`
    pub(super) fn add(&mut self, base: usize, len: usize) -> Result<()> {
        self.all.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        add(self.told, base, len)?;
        self.all.push((base, len));
        Ok(())
    }

    pub(super) fn remove(&mut self, base: usize, len: usize) {
        remove(self.told, base, len);
        // The last ones are the likeliest.
        let at = self.all.iter().rposition(|it| *it == (base, len));
        if let Some(at) = at {
            self.all.swap_remove(at);
        }
    }

    /// Frees the memory of the list where it has no stack.
    pub(super) fn free_room(&mut self) {
        if self.all.is_empty() {
            self.all = Vec::new();
        }
    }
}
