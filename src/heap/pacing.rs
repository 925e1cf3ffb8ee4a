//! When the next collection begins: Go's `GOGC` and memory limit, as numbers.
//!
//! A collection that leaves `live` bytes puts the next one at
//! `live * (1 + percent / 100)`, at least at [`LEAST`] (Go's heapminimum, which
//! grows with the percentage). A limit lowers that, though never below a
//! sixteenth above `live`: past the limit a heap would collect without end, and
//! Go bounds that by processor time. Here the distance does.

use crate::base::sync::{AtomicI32, AtomicUsize, Ordering::Relaxed};

/// The first collection begins at so many bytes, at 100 %.
pub const LEAST: usize = 4 << 20;
/// The percentage that means "never".
pub const OFF: i32 = -1;

/// The settings, and what follows.
pub struct Pacing {
    /// atomic
    percent: AtomicI32,
    /// Bytes; `usize::MAX` for none. atomic
    limit: AtomicUsize,
    /// What the last collection left. atomic
    marked: AtomicUsize,
    /// What `live` of the heap is when the next one begins. atomic
    trigger: AtomicUsize,
}

/// What `live` is when the next collection begins.
#[must_use]
pub fn goal(marked: usize, percent: i32, limit: usize) -> usize {
    let by_percent = match usize::try_from(percent) {
        Ok(percent) => {
            let share = |of: usize| (of / 100).saturating_mul(percent);
            let least = share(LEAST).max(PAGES_AT_LEAST);
            marked.saturating_add(share(marked)).max(least)
        }
        Err(_) => usize::MAX,
    };
    by_percent.min(limit.max(marked.saturating_add(marked / 16)))
}

/// A heap collects no more often than this, whatever it is told.
const PAGES_AT_LEAST: usize = 64 << 10;

impl Pacing {
    #[must_use]
    pub const fn new() -> Self {
        Self {
            percent: AtomicI32::new(100),
            limit: AtomicUsize::new(usize::MAX),
            marked: AtomicUsize::new(0),
            trigger: AtomicUsize::new(LEAST),
        }
    }

    #[inline]
    pub fn trigger(&self) -> usize {
        self.trigger.load(Relaxed)
    }

    /// Returns the former percentage.
    pub fn set_percent(&self, percent: i32) -> i32 {
        let was = self.percent.swap(percent.max(OFF), Relaxed);
        self.update();
        was
    }

    /// Returns the former limit.
    pub fn set_limit(&self, bytes: usize) -> usize {
        let was = self.limit.swap(bytes, Relaxed);
        self.update();
        was
    }

    /// A collection left `bytes`.
    pub fn set_marked(&self, bytes: usize) {
        self.marked.store(bytes, Relaxed);
        self.update();
    }

    /// What the last collection left.
    pub fn marked(&self) -> usize {
        self.marked.load(Relaxed)
    }

    fn update(&self) {
        let percent = self.percent.load(Relaxed);
        let goal = goal(self.marked(), percent, self.limit.load(Relaxed));
        self.trigger.store(goal, Relaxed);
    }
}

impl Default for Pacing {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_goal_is_gos() {
        const NONE: usize = usize::MAX;
        let gib = 1 << 30;
        assert_eq!(goal(0, 100, NONE), LEAST / 100 * 100);
        assert!(goal(gib, 100, NONE).abs_diff(2 * gib) < 100);
        assert!(goal(gib, 50, NONE).abs_diff(gib + gib / 2) < 100);
        assert_eq!(goal(gib, OFF, NONE), NONE);
        assert_eq!(goal(gib, 100, gib + gib / 2), gib + gib / 2);
        assert_eq!(goal(gib, OFF, 2 * gib), 2 * gib);
        // Past the limit a collection still has its distance.
        assert_eq!(goal(gib, 100, gib / 2), gib + gib / 16);
        assert_eq!(goal(0, 0, NONE), PAGES_AT_LEAST);
        assert_eq!(goal(NONE, i32::MAX, NONE), NONE);
    }

    #[test]
    fn settings_take_effect_at_once() {
        let pacing = Pacing::new();
        pacing.set_marked(100 << 20);
        assert_eq!(pacing.set_percent(OFF), 100);
        assert_eq!(pacing.trigger(), usize::MAX);
        assert_eq!(pacing.set_limit(1 << 30), usize::MAX);
        assert_eq!(pacing.trigger(), 1 << 30);
    }
}
