//! Locks of what lies above the scheduler: channels, buckets of waiters.
//!
//! A goroutine takes these outside: it needs no P for them. But a thread that
//! sleeps on one does so for a few instructions of another thread, and not in
//! the host's code, so sysmon shall not see a blocked goroutine there, take
//! its P, and start a thread in its place. So it goes inside to sleep. On a
//! machine with fewer CPUs than Ps, where who holds a lock is often preempted,
//! that was the difference between 16 threads and a hundred.

use super::enter::Inside;
use crate::{
    base::{self, Futex, sync::AtomicU32},
    os::futex::OsFutex,
};

/// Sleeps inside.
pub(crate) struct InsideFutex;

impl Futex for InsideFutex {
    fn wait(word: &AtomicU32, expected: u32, deadline: i64) -> bool {
        let _inside = Inside::enter();
        OsFutex::wait(word, expected, deadline)
    }

    fn wake(word: *const AtomicU32, count: u32) {
        OsFutex::wake(word, count);
    }

    fn barrier() {
        OsFutex::barrier();
    }
}

pub(crate) type RawLock = base::lock::RawLock<InsideFutex>;
pub(crate) type Lock<T> = base::lock::Lock<T, InsideFutex>;
pub(crate) type LockGuard<'a, T> = base::lock::LockGuard<'a, T, InsideFutex>;
