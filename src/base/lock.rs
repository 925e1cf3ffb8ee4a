//! The lock that blocks an M.
//!
//! It guards short critical sections of the runtime, on any thread, host
//! threads included. The lock is neither fair nor re-entrant, and no thread
//! holds it across a switch to another goroutine's code. It is not for users:
//! their locks park the goroutine (`block`).
//!
//! ```text
//!   Free     -> Held      lock
//!   Free     -> Sleepers  lock, by a thread that was about to sleep or woke
//!   Held     -> Sleepers  another locker is about to sleep
//!   Held     -> Free      unlock
//!   Sleepers -> Free      unlock, which wakes one sleeper
//! ```
//! The price of a lock is its read-modify-writes, so the unlock has none while
//! no thread sleeps. A small table counts the sleepers; the address of a lock
//! leads to one entry of the table. A locker counts itself there before it
//! sleeps (`barrier` explains step (e)):
//!
//! ```text
//!   unlock                          a locker that is about to sleep
//!     (a) load the count: 0           (d) count += 1
//!         (else swap the word)        (e) every thread passes a barrier
//!     (b) word = Free                 (f) word = Sleepers, by a swap;
//!         light()                         if it was Free: locked,
//!     (c) load the count; not 0:          else sleep and repeat (f)
//!         wake one
//! ```
//! (b) pairs with (f), (c) with (d). Either (b) comes before (e), and (f) finds
//! Free; or (c) comes after (e), finds the count, and wakes the sleeper.
//!
//! Invariants:
//! 1. While the word is not Free, exactly one thread is between `lock` and
//!    `unlock`.
//! 2. While a thread sleeps on the word, the word is Sleepers or a wake is
//!    under way. A sleeper sets Sleepers itself, and takes the lock as
//!    Sleepers, because others may still sleep. An unlock that stores Free over
//!    Sleepers read the count before the sleeper was in it, and step (c) of
//!    that unlock makes up for it.
//! 3. After its store, `unlock` uses the word's address only to wake, because
//!    the memory may be reused by then (see [`Futex`]). So the counts are not
//!    in the lock.
//! 4. The thread that locks also unlocks, though perhaps on another stack: a
//!    parking goroutine's channel is unlocked on g0.
//!
//! Rejected: parking_lot. Its unlock is a read-modify-write, and its queue of
//! sleepers lives in thread-local storage that is allocated on demand, also
//! where the runtime must not allocate.
//!
//! # Ranks
//! Every lock has a [`Rank`], and a thread acquires locks only in the order of
//! that table. Builds with debug assertions check the order at every `lock`.

use super::Futex;
use super::barrier::light;
#[cfg(not(loom))]
use super::sync::static_of_a_run;
use super::sync::{
    AtomicU32, Ordering, const_unless_loom, release_over_changes32, spin_loop,
};
use super::throw::throw;
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// The lock order, outermost first: a thread that holds a lock of one rank
/// acquires only locks of ranks below it in this list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Rank {
    /// The trace that is being taken (`trace/session.rs`).
    Trace,
    /// The right to dump the goroutines (`diag/look.rs`).
    Dumps,
    /// Functions of `GMP_INIT` that are still to be called (`boot/doinit.rs`).
    Inits,
    /// The right to stop the world and to change the number of Ps
    /// (`gmp/schedt.rs`).
    Stw,
    /// The right to take a P from an M that is outside (`gmp/schedt.rs`).
    Retake,
    /// The tree of groups (`block/group.rs`).
    Groups,
    /// The members of one group (`block/group.rs`).
    Group,
    /// The winner of a race between addresses (`block/net.rs`).
    Dial,
    /// One timer of the host's (`block/ticker.rs`).
    Ticker,
    /// The channels that wait for signals (`block/notify.rs`).
    Signals,
    /// One channel (`block/chan.rs`). Select locks several, in the order of
    /// their addresses.
    Chan,
    /// One bucket of waiters by address (`block/parking.rs`).
    Parking,
    /// The running calls of the host's functions (`sched/calls.rs`).
    Calls,
    /// The growth of the table of descriptors, and the exchange of the poller
    /// (`netpoll/poller.rs`).
    Netpoll,
    /// One descriptor (`netpoll/desc.rs`).
    Poll,
    /// Global lists: runnable and dead Gs, idle Ps and Ms (`gmp/schedt.rs`).
    Sched,
    /// Goroutines that wait for a stack (`sched/starved.rs`).
    Starved,
    /// The table of keys of goroutine-local storage (`sched/local.rs`).
    Keys,
    /// The growth of the table of all Gs (`gmp/gtab.rs`).
    Allg,
    /// The memory of Ms, their signal stacks, and the spare Ms
    /// (`sched/threads.rs`).
    Allp,
    /// One heap of timers (`timers/mod.rs`). Two at once while one is emptied
    /// into the other.
    Timers,
    /// One size class of stacks (`stack/pool.rs`).
    StackPool,
    /// The names of goroutines (`gmp/glife.rs`).
    Names,
    /// The events of threads without an M (`trace/recorder.rs`).
    Recorder,
}

impl Rank {
    #[cfg(all(debug_assertions, not(loom)))]
    const COUNT: usize = Rank::Recorder as usize + 1;

    /// Whether a thread may hold several locks of this rank at once.
    #[cfg(all(debug_assertions, not(loom)))]
    const fn nests(self) -> bool {
        matches!(self, Rank::Chan | Rank::Timers)
    }
}

const FREE: u32 = 0;
const HELD: u32 = 1;
const SLEEPERS: u32 = 2;

/// How long a locker that finds the lock held leaves the word alone before it
/// looks again: so many pauses at first, then twice as many each time, up to
/// the last. That is some microseconds in all, less than a sleep and a wake
/// cost. Meanwhile the holder may lock again without a cache miss, so two Ps
/// that share a channel take turns in longer runs. A model looks once.
const PAUSES: [u32; 2] =
    if cfg!(any(loom, shuttle)) { [1, 1] } else { [16, 256] };

/// Entries of the table of sleepers, few of which are in use at any time. A
/// model has one, since addresses differ from run to run.
#[cfg(not(loom))]
const ENTRIES: usize = if cfg!(shuttle) { 1 } else { 64 };

#[cfg(not(loom))]
static_of_a_run! {
    /// For each entry, how many threads sleep or are about to sleep on the
    /// locks whose addresses lead to it.
    static SLEEPING: [AtomicU32; ENTRIES] =
        [const { AtomicU32::new(0) }; ENTRIES];
}

/// A lock without data; see the module.
pub struct RawLock<F> {
    /// atomic
    word: AtomicU32,
    /// Stands for the lock's entry in the table.
    #[cfg(loom)]
    sleeping: AtomicU32,
    #[cfg(all(debug_assertions, not(loom)))]
    rank: Rank,
    futex: PhantomData<fn() -> F>,
}

impl<F: Futex> RawLock<F> {
    const_unless_loom! {
        /// A free lock.
        pub fn new(rank: Rank) -> Self {
            #[cfg(not(all(debug_assertions, not(loom))))]
            let _ = rank;
            Self {
                word: AtomicU32::new(FREE),
                #[cfg(loom)]
                sleeping: AtomicU32::new(0),
                #[cfg(all(debug_assertions, not(loom)))]
                rank,
                futex: PhantomData,
            }
        }
    }

    /// Blocks the thread until it has the lock.
    #[inline]
    pub fn lock(&self) {
        #[cfg(all(debug_assertions, not(loom)))]
        held::check(self.rank);
        if !self.acquire_free() {
            self.lock_slow();
        }
        #[cfg(all(debug_assertions, not(loom)))]
        held::add(self.rank);
    }

    /// Takes the lock if it is free. Ranks do not matter, since it never waits.
    #[inline]
    #[must_use]
    pub fn try_lock(&self) -> bool {
        let acquired = self.acquire_free();
        #[cfg(all(debug_assertions, not(loom)))]
        if acquired {
            held::add(self.rank);
        }
        acquired
    }

    /// Releases the lock and wakes one sleeper, if there is any.
    ///
    /// # Safety
    /// This thread holds the lock, and no longer uses the data under it.
    #[inline]
    pub unsafe fn unlock(&self) {
        #[cfg(all(debug_assertions, not(loom)))]
        held::remove(self.rank);
        let word = &raw const self.word;
        let sleeping = self.sleeping();
        if cfg!(debug_assertions) && self.word.load(Ordering::Relaxed) == FREE {
            throw("unlock: not locked");
        }
        // Relaxed: a stale count is caught by (c), invariant 2.
        if sleeping.load(Ordering::Relaxed) == 0 {
            // Pairs with the acquires of acquire_free and lock_slow.
            release_over_changes32(&self.word, FREE);
            light();
            if sleeping.load(Ordering::Relaxed) == 0 {
                return;
            }
        } else if self.word.swap(FREE, Ordering::Release) != SLEEPERS {
            return;
        }
        Self::wake_one(word);
    }

    /// Kept out of the inlined unlock.
    #[cold]
    fn wake_one(word: *const AtomicU32) {
        F::wake(word, 1);
    }

    #[cfg(not(loom))]
    #[inline]
    fn sleeping(&self) -> &'static AtomicU32 {
        // Divided by 8, so that neighbouring locks use different entries.
        &SLEEPING[(&raw const *self).addr() / 8 % ENTRIES]
    }

    #[cfg(loom)]
    fn sleeping(&self) -> &AtomicU32 {
        &self.sleeping
    }

    #[inline]
    fn acquire_free(&self) -> bool {
        // Pairs with the release of unlock.
        self.word
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    #[cold]
    fn lock_slow(&self) {
        let [mut pauses, last] = PAUSES;
        while pauses <= last {
            match self.word.load(Ordering::Relaxed) {
                FREE if self.acquire_free() => return,
                // Others sleep already, so spinning gains nothing.
                SLEEPERS => break,
                _ => (0..pauses).for_each(|_| spin_loop()),
            }
            pauses *= 2;
        }
        let sleeping = self.sleeping();
        // Relaxed: the barrier, step (e), orders it.
        sleeping.fetch_add(1, Ordering::Relaxed);
        F::barrier();
        // Pairs with the release of unlock. Invariant 2: from here on this
        // thread takes the lock as Sleepers.
        while self.word.swap(SLEEPERS, Ordering::Acquire) != FREE {
            F::wait(&self.word, SLEEPERS, i64::MAX);
        }
        // Every other sleeper has counted itself.
        sleeping.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A lock and the value under it.
pub struct Lock<T, F> {
    raw: RawLock<F>,
    /// lock: raw
    value: UnsafeCell<T>,
}

// SAFETY: only a guard reaches the value, and one thread at a time has one
// (invariant 1); that needs no more than T: Send.
unsafe impl<T: Send, F> Sync for Lock<T, F> {}

impl<T, F> Lock<T, F> {
    /// Where the value lies in the lock, for reports that read without it.
    pub const VALUE_AT: usize = core::mem::offset_of!(Self, value);
}

impl<T, F: Futex> Lock<T, F> {
    const_unless_loom! {
        /// A free lock around `value`.
        pub fn new(rank: Rank, value: T) -> Self {
            Self { raw: RawLock::new(rank), value: UnsafeCell::new(value) }
        }
    }

    /// Blocks the thread until it has the lock.
    #[inline]
    pub fn lock(&self) -> LockGuard<'_, T, F> {
        self.raw.lock();
        LockGuard { lock: self, not_send: PhantomData }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<LockGuard<'_, T, F>> {
        let acquired = self.raw.try_lock();
        acquired.then(|| LockGuard { lock: self, not_send: PhantomData })
    }
}

/// Access to a locked value; unlocks at drop. Not `Send`: the thread that
/// locked has to unlock (invariant 4).
pub struct LockGuard<'a, T, F: Futex> {
    lock: &'a Lock<T, F>,
    not_send: PhantomData<*mut ()>,
}

// SAFETY: a shared guard gives out shared references to the value only.
unsafe impl<T: Sync, F: Futex> Sync for LockGuard<'_, T, F> {}

impl<T, F: Futex> Deref for LockGuard<'_, T, F> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists, so its thread holds the lock, invariant 1.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T, F: Futex> DerefMut for LockGuard<'_, T, F> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard's thread holds the lock, invariant 1, and the
        // guard is borrowed mutably.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T, F: Futex> Drop for LockGuard<'_, T, F> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the guard's thread holds the lock, and the guard is gone.
        unsafe { self.lock.raw.unlock() }
    }
}

/// The ranks that this thread holds, for the check of debug builds.
#[cfg(all(debug_assertions, not(loom)))]
pub(crate) mod held {
    use super::Rank;
    use crate::base::throw::throw;
    use core::cell::Cell;
    #[cfg(shuttle)]
    use shuttle::thread_local;

    thread_local! {
        /// How many locks of each rank this thread holds. Its initialiser is
        /// constant and it has no destructor, so a host thread keeps nothing
        /// of ours.
        pub(crate) static HELD: [Cell<u32>; Rank::COUNT] =
            const { [const { Cell::new(0) }; Rank::COUNT] };
    }

    // None of these is inlined: the caller may continue on another thread
    // after a switch, and must not have kept the address of HELD.

    /// Throws if this thread may not acquire a lock of `rank` now.
    #[inline(never)]
    pub(super) fn check(rank: Rank) {
        let first = rank as usize + usize::from(rank.nests());
        HELD.with(|held| {
            if held[first..].iter().any(|n| n.get() != 0) {
                throw("lock: acquired against the order of ranks");
            }
        });
    }

    #[inline(never)]
    pub(super) fn add(rank: Rank) {
        HELD.with(|held| {
            let n = &held[rank as usize];
            n.set(n.get() + 1);
        });
    }

    #[inline(never)]
    pub(super) fn remove(rank: Rank) {
        HELD.with(|held| {
            let n = &held[rank as usize];
            match n.get().checked_sub(1) {
                Some(rest) => n.set(rest),
                None => throw("unlock: not held by this thread"),
            }
        });
    }
}
