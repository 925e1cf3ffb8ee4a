//! What starts goroutines: timers and groups.

use super::{Result, call, call_member, keep, number};
use crate::block::{firing, group, ticker};

/// A `gmp_timer`.
#[derive(Debug)]
pub struct Ticker(*const ticker::Ticker);

// SAFETY: counted, and locked.
unsafe impl Send for Ticker {}
// SAFETY: likewise.
unsafe impl Sync for Ticker {}

impl Ticker {
    /// Calls `f` in `ns`, then every `period`, 0: not again.
    pub fn start(
        ns: i64,
        period: i64,
        f: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let arg = keep(Box::new(move || {
            f();
            0
        }));
        Self(firing::start(call, arg, ns, period))
    }

    fn t(&self) -> &ticker::Ticker {
        // SAFETY: alive until it is freed.
        unsafe { &*self.0 }
    }

    /// Stops it; whether it would have fired.
    pub fn stop(&self) -> bool {
        self.t().stop()
    }

    /// Fires next in `ns`.
    pub fn reset(&self, ns: i64) -> bool {
        self.t().reset(ns)
    }

    /// Stops it and frees it.
    pub fn free(self) {
        self.free_shared();
    }

    /// The same by one of those who share it; the others use it no more.
    pub fn free_shared(&self) {
        // SAFETY: the user's reference, given up.
        unsafe { ticker::Ticker::free(self.0) };
    }
}

/// A reference to a `gmp_group`, for as long as that is not freed.
#[derive(Clone, Copy, Debug)]
pub struct Group(*mut group::Group);

// SAFETY: locked.
unsafe impl Send for Group {}
// SAFETY: likewise.
unsafe impl Sync for Group {}

impl Default for Group {
    fn default() -> Self {
        Self(group::make())
    }
}

impl Group {
    fn gr(&self) -> &group::Group {
        // SAFETY: alive until it is freed.
        unsafe { &*self.0 }
    }

    /// Starts a member.
    pub fn go(
        &self,
        f: impl Fn() -> i32 + Send + Sync + 'static,
    ) -> Result<()> {
        number(group::go(self.gr(), call_member, keep(Box::new(f))))
    }

    /// Waits for all members: the first error, or 0.
    pub fn wait(&self, deadline: i64) -> Result<i32> {
        number(group::wait(self.gr(), deadline))
    }

    /// Cancels all members, and the groups below.
    pub fn cancel(&self) {
        group::cancel_all(self.gr());
    }

    /// Its address, to send it somewhere.
    pub fn into_number(self) -> u64 {
        self.0.expose_provenance() as u64
    }

    /// The reverse.
    pub fn from_number(number: u64) -> Self {
        Self(core::ptr::with_exposed_provenance_mut(number as usize))
    }

    /// Cancels, waits, frees.
    pub fn free(self) {
        // SAFETY: the caller's, and nobody uses it any more.
        unsafe { group::free(self.0) };
    }
}
