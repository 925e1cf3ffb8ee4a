//! Stacks of goroutines in the table of arenas: spans in the state Manual, as
//! Go's `allocManual` makes them.
//!
//! Go's `stackalloc` takes its spans from the heap. Here a process has stacks
//! before it has a heap, and most have no heap at all. So `stack` maps its
//! slabs itself, and whoever begins the heap has `stack` tell it of each slab,
//! of those that are there and of those to come. From then on an address says
//! what it is: an object's, a stack's, or neither.
//!
//! A slab begins anywhere, and may share its 64 MB of addresses with other
//! mappings of the process, though not with an arena. So the spans of stacks
//! are in a table of their own beside that of arenas, as a list for each 64 MB,
//! with one or two spans in it; a slab that lies in two such parts has two
//! spans. What looks for objects, the marker above all, reads the first table
//! only, and finds nothing at a stack.
//!
//! Invariants:
//! 1. The lists, and the fields of spans in them, are used under the page
//!    heap's lock. A span that leaves a list is Dead, and in `spare_manual`.
//! 2. No two spans overlap.
//! 3. A span of objects never becomes one of stacks, nor the other way: a late
//!    second free may still look into a span that has no object any more, and
//!    finds the bits of objects there, its own or others'.
//!
//! Rejected: slabs at multiples of 64 MB, each an arena (a process without a
//! heap would pay by more system calls for each slab, and by addresses). An
//! entry for each page, as objects have (64 KB of memory for a slab).

use super::arena::{ARENA, Arenas};
use super::mheap::{MHeap, Pages};
use super::mspan::{MSpan, SpanState};

impl MHeap {
    /// The `len` bytes at `base` are stacks from now on. What was known of
    /// them is forgotten. None without memory: then none of them is known.
    pub fn set_manual(&self, base: usize, len: usize) -> Option<()> {
        let arenas = self.arenas()?;
        let mut pages = self.pages.lock();
        pages.clear_manual(arenas, base, len);
        for (from, to) in parts(base, len) {
            if pages.add_manual(arenas, from, to).is_none() {
                pages.clear_manual(arenas, base, len);
                return None;
            }
        }
        Some(())
    }

    /// The `len` bytes at `base`, which begin and end as one or several calls
    /// of [`Self::set_manual`] have said, are no stacks any more.
    pub fn clear_manual(&self, base: usize, len: usize) {
        if let Some(arenas) = self.arenas() {
            self.pages.lock().clear_manual(arenas, base, len);
        }
    }

    /// What `addr` lies in: Go's `spanOf`, and the state of that span.
    #[must_use]
    pub fn state_of(&self, addr: usize) -> SpanState {
        let Some(arenas) = self.arenas() else { return SpanState::Dead };
        let _pages = self.pages.lock();
        let stack = arenas.stacks(addr).and_then(|list| {
            let mut all = list.iter();
            all.find(|s| s.has(addr))
        });
        let s = stack.or_else(|| arenas.span(addr));
        s.map_or(SpanState::Dead, |s| s.state.get())
    }
}

/// The parts of a range, each within 64 MB of the table: from, to.
fn parts(base: usize, len: usize) -> impl Iterator<Item = (usize, usize)> {
    let end = base + len;
    let mut from = base;
    core::iter::from_fn(move || {
        let to = (from + 1).next_multiple_of(ARENA).min(end);
        (from < end).then(|| (core::mem::replace(&mut from, to), to))
    })
}

impl Pages {
    fn add_manual(
        &mut self,
        arenas: Arenas,
        from: usize,
        to: usize,
    ) -> Option<()> {
        let list = arenas.stacks_mut(from)?;
        let s = self.spare_manual.pop().or_else(|| self.carve())?;
        s.init_manual(from, to - from);
        list.push(s);
        self.manual += to - from;
        Some(())
    }

    fn clear_manual(&mut self, arenas: Arenas, base: usize, len: usize) {
        let is_there = |s: &&MSpan| s.base.get().wrapping_sub(base) < len;
        for (from, _) in parts(base, len) {
            let Some(list) = arenas.stacks(from) else { continue };
            for s in list.iter().filter(is_there) {
                list.remove(s);
                s.state.set(SpanState::Dead);
                self.manual -= s.elemsize.get();
                self.spare_manual.push(s);
            }
        }
    }
}
