//! Timers and groups, which start goroutines.

use super::{Result, call, call_member, keep, number};
use crate::{
    block::{
        firing, group,
        ticker::{self, Call},
    },
    timers::Deadline,
};

/// A `gmp_timer`.
#[derive(Debug)]
pub struct Ticker(*const ticker::Ticker);

// SAFETY: a timer is counted, and locks itself.
unsafe impl Send for Ticker {}
// SAFETY: a timer is counted, and locks itself.
unsafe impl Sync for Ticker {}

impl Ticker {
    /// Calls `f` after `ns`, then every `period`; 0 means once.
    pub fn start(
        ns: i64,
        period: i64,
        f: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let arg = keep(Box::new(move || {
            f();
            0
        }));
        Self(firing::start(Call { f: call, arg, gopc: 0 }, ns, period))
    }

    fn t(&self) -> &ticker::Ticker {
        // SAFETY: the user has not freed it.
        unsafe { &*self.0 }
    }

    /// Stops the timer; true if it would have fired.
    pub fn stop(&self) -> bool {
        self.t().stop()
    }

    /// Lets the timer fire next after `ns`.
    pub fn reset(&self, ns: i64) -> bool {
        self.t().reset(ns)
    }

    /// Stops and frees the timer.
    pub fn free(self) {
        self.free_shared();
    }

    /// [`Self::free`] by one of its users; the others no longer use the timer.
    pub fn free_shared(&self) {
        // SAFETY: gives up the user's reference.
        unsafe { ticker::Ticker::free(self.0) };
    }
}

/// A reference to a `gmp_group`, for as long as that is not freed.
#[derive(Clone, Copy, Debug)]
pub struct Group(*mut group::Group);

// SAFETY: a group locks itself.
unsafe impl Send for Group {}
// SAFETY: a group locks itself.
unsafe impl Sync for Group {}

impl Default for Group {
    fn default() -> Self {
        Self(group::make())
    }
}

impl Group {
    fn gr(&self) -> &group::Group {
        // SAFETY: the user has not freed it.
        unsafe { &*self.0 }
    }

    /// Starts a member.
    pub fn go(
        &self,
        f: impl Fn() -> i32 + Send + Sync + 'static,
    ) -> Result<()> {
        number(group::go(self.gr(), call_member, keep(Box::new(f)), 0))
    }

    /// Waits for all members; returns their first error, or 0.
    pub fn wait(&self, deadline: i64) -> Result<i32> {
        number(group::wait(self.gr(), Deadline::at(deadline)))
    }

    /// Cancels all members, and the groups nested in this one.
    pub fn cancel(&self) {
        group::cancel_all(self.gr());
    }

    /// The group's address, as a number that a channel can carry.
    pub fn into_number(self) -> u64 {
        self.0.expose_provenance() as u64
    }

    /// The group of [`Self::into_number`].
    pub fn from_number(number: u64) -> Self {
        Self(core::ptr::with_exposed_provenance_mut(number as usize))
    }

    /// Cancels all members, waits for them, and frees the group.
    pub fn free(self) {
        // SAFETY: the caller's group, and nobody uses it any more.
        unsafe { group::free(self.0) };
    }
}
