//! The locks and counters that a host embeds in its structures.

use super::{Result, call, keep, number};
use crate::{
    block::{barrier, cond, mutex, once, rwmutex, sema, waitgroup},
    timers::Deadline,
};

/// `gmp_mutex`.
#[derive(Default)]
pub struct Mutex(mutex::Mutex);

impl Mutex {
    /// Locks.
    pub fn lock(&self) {
        number(mutex::lock(&self.0)).expect("it may park");
    }

    /// Locks, unless the deadline or a cancel comes first.
    pub fn lock_until(&self, deadline: i64) -> Result<()> {
        number(mutex::lock_until(&self.0, Deadline::at(deadline)))
    }

    /// Locks if possible without waiting.
    pub fn try_lock(&self) -> bool {
        mutex::try_lock(&self.0)
    }

    /// Unlocks.
    pub fn unlock(&self) -> Result<()> {
        number(mutex::unlock(&self.0))
    }
}

/// `gmp_rwmutex`.
#[derive(Default)]
pub struct RwMutex(rwmutex::RwMutex);

impl RwMutex {
    /// Locks for writing.
    pub fn lock(&self) {
        number(rwmutex::lock(&self.0)).expect("it may park");
    }

    /// Locks for reading.
    pub fn rlock(&self) {
        number(rwmutex::rlock(&self.0)).expect("it may park");
    }

    /// Locks for writing, unless the deadline or a cancel comes first.
    pub fn lock_until(&self, deadline: i64) -> Result<()> {
        number(rwmutex::lock_until(&self.0, Deadline::at(deadline)))
    }

    /// Locks for reading, unless the deadline or a cancel comes first.
    pub fn rlock_until(&self, deadline: i64) -> Result<()> {
        number(rwmutex::rlock_until(&self.0, Deadline::at(deadline)))
    }

    /// Locks for writing if possible without waiting.
    pub fn try_lock(&self) -> bool {
        rwmutex::try_lock(&self.0)
    }

    /// Locks for reading if possible without waiting.
    pub fn try_rlock(&self) -> bool {
        rwmutex::try_rlock(&self.0)
    }

    /// Unlocks after locking for writing.
    pub fn unlock(&self) -> Result<()> {
        number(rwmutex::unlock(&self.0))
    }

    /// Unlocks after locking for reading.
    pub fn runlock(&self) -> Result<()> {
        number(rwmutex::runlock(&self.0))
    }
}

/// `gmp_cond`.
#[derive(Default)]
pub struct Cond(cond::Cond);

impl Cond {
    /// Unlocks `m`, waits, and locks `m` again.
    pub fn wait(&self, m: &Mutex, deadline: i64) -> Result<()> {
        number(cond::wait(&self.0, &m.0, Deadline::at(deadline)))
    }

    /// Wakes one waiter.
    pub fn signal(&self) {
        cond::signal(&self.0);
    }

    /// Wakes all waiters.
    pub fn broadcast(&self) {
        cond::broadcast(&self.0);
    }
}

/// `gmp_sema`.
#[derive(Default)]
pub struct Sema(sema::Sema);

impl Sema {
    /// A semaphore with `tokens` tokens.
    pub fn new(tokens: u32) -> Self {
        let sema = Self::default();
        for _ in 0..tokens {
            sema.release();
        }
        sema
    }

    /// Takes a token, unless the deadline or a cancel comes first.
    pub fn acquire(&self, deadline: i64) -> Result<()> {
        number(sema::acquire(&self.0, Deadline::at(deadline)))
    }

    /// Takes a token if there is one.
    pub fn try_acquire(&self) -> bool {
        sema::try_acquire(&self.0)
    }

    /// Adds a token.
    pub fn release(&self) {
        number(sema::release(&self.0)).expect("few tokens");
    }
}

/// `gmp_barrier`.
pub struct Barrier(barrier::Barrier);

impl Barrier {
    /// A barrier for `count` callers.
    pub fn new(count: u32) -> Self {
        Self(barrier::Barrier::new(count))
    }

    /// Waits for the others, unless the deadline or a cancel comes first. True
    /// for the last caller.
    pub fn wait(&self, deadline: i64) -> Result<bool> {
        number(barrier::wait(&self.0, Deadline::at(deadline)))
    }
}

/// `gmp_waitgroup`.
pub struct WaitGroup(waitgroup::WaitGroup);

impl Default for WaitGroup {
    fn default() -> Self {
        Self(waitgroup::WaitGroup::new())
    }
}

impl WaitGroup {
    /// Adds to the counter.
    pub fn add(&self, delta: i64) -> Result<()> {
        number(waitgroup::add(&self.0, delta))
    }

    /// Waits for zero, unless the deadline or a cancel comes first.
    pub fn wait(&self, deadline: i64) -> Result<()> {
        number(waitgroup::wait(&self.0, Deadline::at(deadline)))
    }
}

/// `gmp_once`.
#[derive(Default)]
pub struct Once(once::Once);

impl Once {
    /// Calls `f` unless a function has been called already.
    pub fn call(&self, f: impl Fn() + Send + Sync + 'static) -> Result<()> {
        number(once::call(
            &self.0,
            call,
            keep(Box::new(move || {
                f();
                0
            })),
        ))
    }

    /// [`Self::call`], unless the deadline or a cancel comes first.
    pub fn call_until(
        &self,
        f: impl Fn() + Send + Sync + 'static,
        deadline: i64,
    ) -> Result<()> {
        let arg = keep(Box::new(move || {
            f();
            0
        }));
        number(once::call_until(&self.0, call, arg, Deadline::at(deadline)))
    }

    /// Calls `f`, whose result tells how it ends, with or without a deadline.
    /// Returns whether it was called here, and how it ended.
    pub fn call_left(
        &self,
        f: impl FnOnce() -> once::Left,
        deadline: Option<i64>,
    ) -> Result<Option<once::Left>> {
        number(once::call_left(&self.0, f, deadline.map(Deadline::at)))
    }
}
