//! When the next collection begins: Go's `GOGC` and memory limit, as numbers.
//!
//! A collection that leaves `live` bytes puts the next one at
//! `live * (1 + percent / 100)`, at least at [`LEAST`] (Go's heapminimum, which
//! grows with the percentage). A limit lowers that, though never below a
//! sixteenth above `live`: past the limit a heap would collect without end, and
//! Go bounds that by processor time. Here the distance does.
//!
//! A cleanup comes after a collection. So a heap that is used is collected when
//! two minutes have gone (Go's forcegc), also in a process that does nothing
//! else: sysmon sleeps until [`Pacing::forced_at`] at most. Once the heap was
//! collected there is no such time before the next allocation, and an idle
//! process has no wake-ups.

use crate::base::sync::{AtomicI32, AtomicI64, AtomicUsize, Ordering::Relaxed};

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
    /// When something was first allocated from new memory since the last
    /// collection, in nanoseconds of the clock; 0: not yet. atomic
    used: AtomicI64,
    /// [`PERIOD`], or what a test has set. atomic
    period: AtomicI64,
}

/// Nanoseconds after which a heap that is used is collected in any case, unless
/// the percentage is [`OFF`]: Go's forcegcperiod.
const PERIOD: i64 = 120_000_000_000;

/// What `live` is when the next collection begins.
#[must_use]
pub fn goal(marked: usize, percent: i32, limit: usize) -> usize {
    let by_percent = match u128::try_from(percent) {
        Ok(percent) => {
            let share = |of: usize| {
                usize::try_from(of as u128 * percent / 100)
                    .unwrap_or(usize::MAX)
            };
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
            used: AtomicI64::new(0),
            period: AtomicI64::new(PERIOD),
        }
    }

    /// Sets the nanoseconds after which a heap that is used is collected.
    pub fn set_period(&self, ns: i64) {
        self.period.store(ns, Relaxed);
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

    /// The limit; `usize::MAX` for none.
    pub fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// A collection could not be made: the next attempt comes when the heap has
    /// grown by another half, or after another long time.
    pub fn postpone(&self, live: usize, now: i64) {
        self.trigger.fetch_max(live.saturating_add(live / 2), Relaxed);
        if self.used.load(Relaxed) != 0 {
            self.used.store(now, Relaxed);
        }
    }

    /// A collection left `bytes`.
    pub fn set_marked(&self, bytes: usize) {
        self.marked.store(bytes, Relaxed);
        self.used.store(0, Relaxed);
        self.update();
    }

    /// Something is allocated, at this time. True: for the first time since the
    /// last collection, so [`Self::forced_at`] has a new answer. The caller's
    /// allocation and this come in one go: no collection comes between.
    #[must_use]
    pub fn note_use(&self, now: impl FnOnce() -> i64) -> bool {
        let first = self.used.load(Relaxed) == 0;
        if first {
            self.used.store(now(), Relaxed);
        }
        first
    }

    /// None has to come because of what was allocated until now.
    pub fn forget_use(&self) {
        self.used.store(0, Relaxed);
    }

    /// When a collection has to come, since the last one is long ago; None
    /// where nothing was allocated since, or the percentage is [`OFF`].
    pub fn forced_at(&self) -> Option<i64> {
        let used = self.used.load(Relaxed);
        let on = used != 0 && self.percent.load(Relaxed) != OFF;
        on.then(|| used.saturating_add(self.period.load(Relaxed)))
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
        assert_eq!(goal(0, 100, NONE), LEAST);
        assert_eq!(goal(gib, 100, NONE), 2 * gib);
        assert_eq!(goal(gib, 50, NONE), gib + gib / 2);
        assert_eq!(goal(gib, OFF, NONE), NONE);
        assert_eq!(goal(gib, 100, gib + gib / 2), gib + gib / 2);
        assert_eq!(goal(gib, OFF, 2 * gib), 2 * gib);
        // Past the limit a collection still has its distance.
        assert_eq!(goal(gib, 100, gib / 2), gib + gib / 16);
        assert_eq!(goal(0, 0, NONE), PAGES_AT_LEAST);
        assert_eq!(goal(NONE, i32::MAX, NONE), NONE);
    }

    #[test]
    fn a_heap_that_is_used_is_collected_in_the_end() {
        let pacing = Pacing::new();
        assert_eq!(pacing.forced_at(), None);
        assert!(pacing.note_use(|| 1000));
        assert!(!pacing.note_use(|| 2000));
        assert_eq!(pacing.forced_at(), Some(PERIOD + 1000));
        pacing.set_percent(OFF);
        assert_eq!(pacing.forced_at(), None);
        pacing.set_percent(100);
        pacing.set_period(7);
        assert_eq!(pacing.forced_at(), Some(1007));
        pacing.postpone(0, 3000);
        assert_eq!(pacing.forced_at(), Some(3007));
        pacing.set_marked(0);
        assert_eq!(pacing.forced_at(), None);
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
