//! `GMPDEBUG=gctrace=1`: a line for each collection, in Go's form.
//!
//! ```text
//!   gc 3 @0.412s 2%: 0.02+1.31+0.01 ms clock, 0.09+0/2.62/0+0.04 ms cpu,
//!       8->8->3 MB, 8 MB goal, 0 MB stacks, 1 MB globals, 4 P (forced)
//! ```
//! (on one line). The three times are Go's of the sweep termination, of the
//! mark and of the mark termination: until all threads stand and the roots are
//! known, until all is marked, and until all go on. Nothing of the program runs
//! meanwhile, so no time is an assist's or an idle P's, and the first size is
//! the second. In a stop all Ps count as busy, as in Go.

use crate::{
    base::print::SigWriter,
    gmp::{RUNTIME_INIT_TIME, gomaxprocs},
    os::clock::nanotime,
};
use core::{
    fmt::{self, Write as _},
    sync::atomic::Ordering::Relaxed,
};

/// What the line tells of a collection.
pub(super) struct Told {
    /// Nanoseconds of the three parts.
    pub parts: [i64; 3],
    /// How many threads have marked.
    pub markers: u32,
    /// Bytes of objects before, and of those that live.
    pub before: usize,
    pub marked: usize,
    /// The bytes at which it was to begin.
    pub goal: usize,
    /// Bytes of stacks and of data that were looked through.
    pub stacks: usize,
    pub globals: usize,
}

impl Told {
    /// Nanoseconds for which the world stood still.
    pub(super) fn pause(&self) -> u64 {
        self.parts.iter().sum::<i64>().max(0).unsigned_abs()
    }

    /// Prints the line of the collection with this number; `pauses` is the time
    /// of all so far.
    pub(super) fn print(&self, number: u64, pauses: u64, forced: bool) {
        const MB: usize = 1 << 20;
        let now = nanotime() - RUNTIME_INIT_TIME.load(Relaxed);
        let percent = pauses * 100 / now.max(1).unsigned_abs();
        let procs = gomaxprocs() as i64;
        let [stop, mark, end] = self.parts;
        let mut w = SigWriter::stderr();
        // A SigWriter reports no errors.
        let _ = write!(
            w,
            "gc {number} @{}.{:03}s {percent}%: {}+{}+{} ms clock, \
             {}+0/{}/0+{} ms cpu, ",
            now / 1_000_000_000,
            now / 1_000_000 % 1000,
            Ms(stop),
            Ms(mark),
            Ms(end),
            Ms(stop * procs),
            Ms(mark * i64::from(self.markers)),
            Ms(end * procs),
        );
        let before = self.before / MB;
        let _ = writeln!(
            w,
            "{before}->{before}->{} MB, {} MB goal, {} MB stacks, {} MB \
             globals, {procs} P{}",
            self.marked / MB,
            self.goal / MB,
            self.stacks / MB,
            self.globals / MB,
            if forced { " (forced)" } else { "" },
        );
        w.flush();
    }
}

/// Nanoseconds as milliseconds, with two digits or more, as Go has them.
struct Ms(i64);

impl fmt::Display for Ms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = self.0.max(0) / 1000;
        let (ms, us) = (us / 1000, us % 1000);
        match ms {
            0 => write!(f, "0.{us:03}"),
            1..10 => write!(f, "{ms}.{:02}", us / 10),
            _ => write!(f, "{ms}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_as_many_digits_as_they_need() {
        let text = |ns| Ms(ns).to_string();
        assert_eq!(text(0), "0.000");
        assert_eq!(text(26_400), "0.026");
        assert_eq!(text(1_319_000), "1.31");
        assert_eq!(text(123_456_789), "123");
    }
}
