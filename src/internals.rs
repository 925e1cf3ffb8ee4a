//! The parts that `bench/internals` measures one by one. The module exists with
//! the cargo feature `internals` only, and is not for programs.
//!
//! Public types are re-exported here; the rest is behind plain functions that
//! convert and make one call.

pub use crate::gmp::{
    owner::{OwnerWord, POwner},
    parkword::{Cause, Fire, ParkWord, Ticket, WaitKind},
    runq::RunQueue,
};

use crate::{
    arch,
    base::lock::Rank,
    block::parking::Bucket,
    os::{self, Lock},
    stack::{self, Stack, StackCache},
    timers::{Deadline, Timer, Timers},
};
use core::{cell::Cell, ptr};

/// A heap of timers that do nothing when they are due. Made once: it stays.
pub struct TimerHeap {
    timers: &'static Timers,
    all: Box<[Timer]>,
}

fn nothing(_arg: usize, _seq: u64) {}

impl TimerHeap {
    /// A heap for `n` timers, none of which is pending.
    #[must_use]
    pub fn new(n: usize) -> Self {
        let timers = Box::leak(Box::new(Timers::new()));
        let all = (0..n).map(|i| Timer::new(nothing, i, 0)).collect();
        Self { timers, all }
    }

    /// Makes timer `i`, which is not pending, due at `when`.
    #[inline]
    pub fn add(&self, i: usize, when: i64) -> bool {
        // SAFETY: not pending, or add throws; it stays until drop removes it.
        unsafe { self.timers.add(&self.all[i], Deadline::at(when)) }
    }

    /// Takes it out. True if it was pending.
    #[inline]
    pub fn remove(&self, i: usize) -> bool {
        Timers::remove(&self.all[i])
    }

    /// Makes it due at another time, if it is pending.
    #[inline]
    pub fn set(&self, i: usize, when: i64) -> Option<bool> {
        Timers::set(&self.all[i], Deadline::at(when), 0)
    }

    /// Stops it, as what the host stops: it may stay in the heap for a while.
    #[inline]
    pub fn stop(&self, i: usize) {
        Timers::stop(&self.all[i]).call();
    }

    /// Runs those that are due. Returns how many.
    #[inline]
    pub fn run(&self, now: i64) -> usize {
        self.timers.run(now)
    }
}

impl Drop for TimerHeap {
    fn drop(&mut self) {
        for timer in &self.all {
            Timers::remove(timer);
        }
    }
}

/// The stacks of the process: with a cache, as a P has it, or without.
#[derive(Default)]
pub struct Stacks(Option<StackCache>);

/// A stack that was taken. Nothing gives it back by itself.
#[must_use]
pub struct Taken(Stack);

impl Taken {
    /// The first address above it, a multiple of 16.
    #[must_use]
    pub fn top(&self) -> usize {
        self.0.hi
    }
}

impl Stacks {
    /// With a cache.
    #[must_use]
    pub fn cached() -> Self {
        Self(Some(StackCache::new()))
    }

    /// A stack of the default size.
    ///
    /// # Panics
    /// Where there is no memory.
    #[inline]
    pub fn take(&self) -> Taken {
        let stack = stack::stackalloc(self.0.as_ref(), 0);
        Taken(stack.expect("a stack"))
    }

    /// Gives one back that nobody runs on.
    #[inline]
    pub fn put(&self, stack: Taken) {
        stack::stackfree(self.0.as_ref(), stack.0);
    }
}

impl Drop for Stacks {
    fn drop(&mut self) {
        if let Some(cache) = &self.0 {
            stack::flush(cache);
        }
    }
}

/// Suspends the caller into `from` and resumes what is suspended at `to`: the
/// switch of a park without what it decides. The thread's goroutine stays the
/// same.
///
/// # Safety
/// `to` is where a context of this thread is suspended, or the address of six
/// zero words and a function's, the stack above which is a multiple of 16 less
/// 8; `from` is not used by anybody else.
#[inline]
pub unsafe fn switch(from: &Cell<usize>, to: usize) {
    let g = arch::getg().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: `to` is suspended and `from` the caller's alone, both promised.
    unsafe { arch::gswitch(from.as_ptr(), to, g) };
}

/// A counter behind the lock that channels and heaps have.
pub struct Counter(Lock<u64>);

impl Default for Counter {
    fn default() -> Self {
        Self(Lock::new(Rank::StackPool, 0))
    }
}

impl Counter {
    /// Counts one more.
    #[inline]
    pub fn add(&self) -> u64 {
        let mut count = self.0.lock();
        *count += 1;
        *count
    }
}

/// Looks for a waiter on `object`, as an unlock does whose word tells of one,
/// and wakes none. True if there is none.
#[inline]
pub fn nobody_waits<T>(object: &T) -> bool {
    Bucket::of(object).is_empty()
}

/// The clock that deadlines are on.
#[inline]
#[must_use]
pub fn nanotime() -> i64 {
    os::clock::nanotime()
}
