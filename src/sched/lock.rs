//! Locks of the layers above the scheduler: channels, buckets of waiters.
//!
//! A goroutine takes these locks outside, as it needs no P for them. To sleep
//! on one it goes inside. Such a sleep lasts for a few instructions of another
//! thread; outside, sysmon would see a goroutine blocked in the host's code,
//! take its P, and start a thread for it. On a machine with fewer CPUs than Ps,
//! where the holder of a lock is often preempted, that made a hundred threads
//! out of 16.

use super::enter::Inside;
use crate::{
    base::{self, Futex, sync::AtomicU32},
    os::futex::OsFutex,
};

/// The operating system's futex, with the sleep inside the runtime.
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
