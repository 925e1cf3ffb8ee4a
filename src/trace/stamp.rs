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

/// The line through two moments. All bytes zero: no line yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub from: Stamp,
    pub to: Stamp,
    /// Nanoseconds a tick, in units of 2^-SHIFT.
    slope: i64,
}

/// So many bits that an hour's last event is right to the nanosecond.
const SHIFT: u32 = 50;

impl Line {
    pub(super) fn new(from: Stamp, to: Stamp) -> Self {
        let span = to.ticks.saturating_sub(from.ticks).max(1);
        let slope = (i128::from(to.ns - from.ns) << SHIFT) / i128::from(span);
        Self { from, to, slope: i64::try_from(slope).unwrap_or(0) }
    }

    /// The nanoseconds at `ticks`.
    pub(super) fn ns(&self, ticks: u64) -> i64 {
        let past = i128::from(ticks) - i128::from(self.from.ticks);
        let ns = past * i128::from(self.slope) + (1 << (SHIFT - 1));
        self.from.ns + (ns >> SHIFT) as i64
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
        let from = Stamp { ticks: 1_000, ns: 50 };
        let line = Line::new(from, Stamp { ticks: 4_000, ns: 1_050 });
        assert_eq!(line.ns(1_000), 50);
        assert_eq!(line.ns(2_500), 550);
        assert_eq!(line.ns(4_000), 1_050);
        assert_eq!(line.ns(700), -50);
        assert_eq!(line.before_end(500), 2_500);
        let nothing = Line::new(from, from);
        assert_eq!(nothing.ns(1_000), 50);
        // A day at 3 GHz.
        let end = Stamp { ticks: 259_200_000_001_000, ns: 86_400_000_000_050 };
        assert_eq!(Line::new(from, end).ns(end.ticks), end.ns);
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
