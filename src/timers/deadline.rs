//! Deadlines, from the C surface down to the heap of timers.
//!
//! A deadline is a point of the monotonic clock, in nanoseconds, at which a
//! caller gives up waiting; [`Deadline::NEVER`] has none. The type costs
//! nothing: it is an `i64` that arithmetic and other numbers keep away from.

use crate::os::{Errno, Result, clock::nanotime};

/// Until when a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct Deadline(i64);

impl Deadline {
    /// The deadline that never passes: `GMP_FOREVER`.
    pub(crate) const NEVER: Self = Self(i64::MAX);

    /// A deadline of the C surface: nanoseconds of `gmp_now`, `GMP_FOREVER` for
    /// none.
    #[inline(always)]
    pub(crate) const fn from_c(ns: i64) -> Self {
        Self(ns)
    }

    /// The deadline at that point of the monotonic clock.
    #[inline(always)]
    pub(crate) const fn at(ns: i64) -> Self {
        Self(ns)
    }

    /// The deadline that is `ns` nanoseconds away.
    pub(crate) fn after(ns: i64) -> Self {
        Self(nanotime().saturating_add(ns))
    }

    /// The point of the monotonic clock, for a sleep and for the heap.
    #[inline(always)]
    pub(crate) const fn ns(self) -> i64 {
        self.0
    }

    #[inline(always)]
    pub(crate) const fn is_never(self) -> bool {
        self.0 == Self::NEVER.0
    }

    /// Whether the clock, which shows `now`, has reached the deadline.
    #[inline(always)]
    pub(crate) const fn has_passed(self, now: i64) -> bool {
        self.0 <= now
    }

    /// Reads the clock, unless there is no deadline.
    ///
    /// Errors: `ETIMEDOUT` if the deadline has passed.
    #[inline]
    pub(crate) fn check(self) -> Result<()> {
        if !self.is_never() && self.has_passed(nanotime()) {
            return Err(Errno(libc::ETIMEDOUT));
        }
        Ok(())
    }
}
