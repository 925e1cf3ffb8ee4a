//! The heap itself, without locks: see invariants 1 to 3 of the module above.

use super::Timer;
use crate::base::sync::Ordering;
use crate::base::throw::fatal;

/// Children of a node.
const ARITY: usize = 4;

/// A heap of pending timers, the earliest first.
pub(super) struct Heap {
    entries: Vec<Entry>,
    /// How many were ever added: the order among equal times.
    added: u64,
}

/// When, and in what order among equals, a timer is due.
#[derive(Clone, Copy)]
struct Entry {
    when: i64,
    order: u64,
    timer: *const Timer,
}

// SAFETY: the timers behind the pointers live while they are pending and are
// changed under the heap's lock only, by whatever thread holds it.
unsafe impl Send for Heap {}

impl Entry {
    fn before(&self, other: &Self) -> bool {
        (self.when, self.order) < (other.when, other.order)
    }

    /// Tells the timer that its entry is at `pos`.
    fn moved_to(&self, pos: usize) {
        // SAFETY: pending, so it lives, invariant 2.
        let t = unsafe { &*self.timer };
        // Relaxed: guarded by the heap's lock.
        t.pos.store(pos, Ordering::Relaxed);
    }
}

impl Heap {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), added: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The earliest time, `i64::MAX` if there is none.
    pub(super) fn first(&self) -> i64 {
        self.entries.first().map_or(i64::MAX, |e| e.when)
    }

    /// Adds a timer, which is then at its `pos`.
    pub(super) fn push(&mut self, t: &Timer, when: i64) {
        if self.entries.try_reserve(1).is_err() {
            fatal("out of memory for timers");
        }
        let entry = Entry { when, order: self.added, timer: t };
        self.added += 1;
        self.entries.push(entry);
        self.sift_up(self.entries.len() - 1, entry);
    }

    /// Takes the earliest timer if it is due at `now`.
    pub(super) fn pop(&mut self, now: i64) -> Option<*const Timer> {
        let first = self.entries.first().filter(|e| e.when <= now)?.timer;
        self.remove(0);
        Some(first)
    }

    /// Takes the timer at `pos` out.
    pub(super) fn remove(&mut self, pos: usize) {
        let removed = self.entries.swap_remove(pos);
        // What was last fills the hole and finds its place from there.
        let Some(entry) = self.entries.get(pos).copied() else { return };
        if entry.before(&removed) {
            self.sift_up(pos, entry);
        } else {
            self.sift_down(pos, entry);
        }
    }

    /// Takes all timers out, in the order in which they are due.
    pub(super) fn drain_in_order(
        &mut self,
    ) -> impl Iterator<Item = (*const Timer, i64)> + '_ {
        self.entries.sort_unstable_by_key(|e| (e.when, e.order));
        self.entries.drain(..).map(|e| (e.timer, e.when))
    }

    /// Puts `entry` at `pos` or above, where its parent is before it.
    fn sift_up(&mut self, mut pos: usize, entry: Entry) {
        while pos > 0 {
            let parent = (pos - 1) / ARITY;
            if !entry.before(&self.entries[parent]) {
                break;
            }
            self.place(pos, self.entries[parent]);
            pos = parent;
        }
        self.place(pos, entry);
    }

    /// Puts `entry` at `pos` or below, where it is before its children.
    fn sift_down(&mut self, mut pos: usize, entry: Entry) {
        while let Some(child) = self.first_child(pos) {
            if !self.entries[child].before(&entry) {
                break;
            }
            self.place(pos, self.entries[child]);
            pos = child;
        }
        self.place(pos, entry);
    }

    /// The earliest child of the node at `pos`.
    fn first_child(&self, pos: usize) -> Option<usize> {
        let children = pos * ARITY + 1;
        let end = (children + ARITY).min(self.entries.len());
        let mut first = (children < end).then_some(children)?;
        for child in children + 1..end {
            if self.entries[child].before(&self.entries[first]) {
                first = child;
            }
        }
        Some(first)
    }

    fn place(&mut self, pos: usize, entry: Entry) {
        self.entries[pos] = entry;
        entry.moved_to(pos);
    }

    /// Whether every entry is where it belongs.
    #[cfg(test)]
    pub(super) fn is_sound(&self) -> bool {
        self.entries.iter().enumerate().all(|(i, e)| {
            let parent = &self.entries[i.saturating_sub(1) / ARITY];
            // SAFETY: pending, so it lives, invariant 2.
            let t = unsafe { &*e.timer };
            !e.before(parent) && t.pos.load(Ordering::Relaxed) == i
        })
    }
}
