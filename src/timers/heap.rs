//! The heap itself, without locks: see invariants 1 to 3 of the module above.

use super::{STOPPED, Timer};
use crate::base::sync::Ordering;
use crate::base::throw::fatal;

/// Children of a node.
const ARITY: usize = 4;
/// Stopped timers are swept when they are more than one in so many, and more
/// than so many.
const SWEEP_PART: usize = 2;
const SWEEP_MIN: usize = 32;

/// A heap of pending timers, the earliest first.
pub(super) struct Heap {
    entries: Vec<Entry>,
    /// How many of them are stopped (invariant 6).
    stopped: usize,
    /// How many were ever added: the order among equal times.
    added: u64,
}

/// When, and in what order among equals, a timer is due; or at least not
/// before (invariant 6).
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

    fn timer(&self) -> &Timer {
        // SAFETY: pending, so it lives, invariant 2.
        unsafe { &*self.timer }
    }

    /// Tells the timer that its entry is at `pos`.
    fn moved_to(&self, pos: usize) {
        // Relaxed: guarded by the heap's lock.
        self.timer().pos.store(pos, Ordering::Relaxed);
    }
}

impl Heap {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), stopped: 0, added: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The earliest time, `i64::MAX` if there is none.
    pub(super) fn first(&self) -> i64 {
        self.entries.first().map_or(i64::MAX, |e| e.when)
    }

    /// Adds a timer, which is then at its `pos`; its own time may be later.
    pub(super) fn push(&mut self, t: &Timer, when: i64) {
        if self.entries.try_reserve(1).is_err() {
            fatal("out of memory for timers");
        }
        let entry = Entry { when, order: self.added, timer: t };
        self.added += 1;
        self.stopped += usize::from(t.when() == STOPPED);
        self.entries.push(entry);
        self.sift_up(self.entries.len() - 1, entry);
    }

    /// Takes the first timer if it is due at `now`, or stopped.
    pub(super) fn pop(&mut self, now: i64) -> Option<*const Timer> {
        loop {
            let stopped = self.pop_stopped();
            if stopped.is_some() {
                return stopped;
            }
            let mut first = *self.entries.first().filter(|e| e.when <= now)?;
            let when = first.timer().when();
            if when > first.when {
                first.when = when;
                self.sift_down(0, first);
                continue;
            }
            self.remove(0);
            return Some(first.timer);
        }
    }

    /// Takes the first timer if it is stopped.
    pub(super) fn pop_stopped(&mut self) -> Option<*const Timer> {
        let first = self.entries.first()?.timer;
        // SAFETY: pending, so it lives, invariant 2.
        if unsafe { &*first }.when() != STOPPED {
            return None;
        }
        self.remove(0);
        Some(first)
    }

    /// The timer at `pos` is now due at `when`. True if it is the first one
    /// for that reason.
    pub(super) fn set(&mut self, pos: usize, when: i64) -> bool {
        let mut entry = self.entries[pos];
        if entry.timer().when() == STOPPED {
            self.stopped -= 1;
        }
        entry.timer().set_when(when);
        if when >= entry.when {
            return false;
        }
        entry.when = when;
        self.sift_up(pos, entry);
        self.entries[0].timer == entry.timer
    }

    /// The timer at `pos` is not due any more, but stays for now. True: there
    /// are so many of these that they should be swept.
    pub(super) fn stop(&mut self, pos: usize) -> bool {
        self.entries[pos].timer().set_when(STOPPED);
        self.stopped += 1;
        self.stopped > SWEEP_MIN.max(self.entries.len() / SWEEP_PART)
    }

    /// Takes all stopped timers out, with `each`.
    pub(super) fn sweep(&mut self, mut each: impl FnMut(&Timer)) {
        self.entries.retain(|e| {
            let stays = e.timer().when() != STOPPED;
            if !stays {
                each(e.timer());
            }
            stays
        });
        self.stopped = 0;
        for pos in (0..self.entries.len()).rev() {
            self.sift_down(pos, self.entries[pos]);
        }
    }

    /// How many are stopped.
    pub(super) fn stopped(&self) -> usize {
        self.stopped
    }

    /// Takes the timer at `pos` out.
    pub(super) fn remove(&mut self, pos: usize) {
        let removed = self.entries.swap_remove(pos);
        self.stopped -= usize::from(removed.timer().when() == STOPPED);
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
        self.stopped = 0;
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
            let t = e.timer();
            let placed = t.pos.load(Ordering::Relaxed) == i;
            !e.before(parent) && placed && t.when() >= e.when
        })
    }
}
