//! Time stamps of events: the processor's counter where it is even, else the
//! clock; and their conversion to nanoseconds of the monotonic clock.
//!
//! A [`Stamp`] is both at one moment. Between two stamps the time is a straight
//! line, so what is converted between two stamps lies between their times.

use crate::os::clock::{cycles, cycles_are_even, nanotime};

/// The time of an event: cycles, or nanoseconds.
#[inline(always)]
pub(super) fn ticks() -> u64 {
    if cycles_are_even() { cycles() } else { nanotime() as u64 }
}

/// One moment on both clocks.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Stamp {
    pub ticks: u64,
    pub ns: i64,
}

impl Stamp {
    /// Now.
    pub(super) fn now() -> Self {
        let (mut best, mut gap) = (Self::default(), u64::MAX);
        // The shortest of a few readings is the most exact.
        for _ in 0..4 {
            let before = ticks();
            let ns = nanotime();
            let between = ticks().wrapping_sub(before);
            if between < gap {
                (best, gap) =
                    (Self { ticks: before + between / 2, ns }, between);
            }
        }
        best
    }
}

/// The line through two moments.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Line {
    pub from: Stamp,
    pub to: Stamp,
}

impl Line {
    /// The nanoseconds at `ticks`.
    pub(super) fn ns(&self, ticks: u64) -> i64 {
        let span = self.to.ticks.saturating_sub(self.from.ticks).max(1);
        let ns = i128::from(self.to.ns - self.from.ns);
        let past = i128::from(ticks) - i128::from(self.from.ticks);
        self.from.ns + (past * ns / i128::from(span)) as i64
    }

    /// The ticks `ns` before its end.
    pub(super) fn before_end(&self, ns: i64) -> u64 {
        let span = self.to.ticks.saturating_sub(self.from.ticks);
        let all = (self.to.ns - self.from.ns).max(1);
        let back = i128::from(span) * i128::from(ns) / i128::from(all);
        self.to.ticks.saturating_sub(back as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lie_on_the_line() {
        let line = Line {
            from: Stamp { ticks: 1_000, ns: 50 },
            to: Stamp { ticks: 4_000, ns: 1_050 },
        };
        assert_eq!(line.ns(1_000), 50);
        assert_eq!(line.ns(2_500), 550);
        assert_eq!(line.ns(4_000), 1_050);
        assert_eq!(line.ns(700), -50);
        assert_eq!(line.before_end(500), 2_500);
        let nothing = Line { from: line.from, to: line.from };
        assert_eq!(nothing.ns(1_000), 50);
    }

    #[test]
    fn a_stamp_is_of_this_moment() {
        let before = (ticks(), nanotime());
        let stamp = Stamp::now();
        let after = (ticks(), nanotime());
        assert!((before.0..=after.0).contains(&stamp.ticks));
        assert!((before.1..=after.1).contains(&stamp.ns));
    }
}
