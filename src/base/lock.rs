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
//! leads to one entry of the table. One more count, of the sleepers of all
//! locks, spares an unlock the look into the table. A locker counts itself in
//! both before it sleeps (`barrier` explains step (e)):
//!
//! ```text
//!   unlock                          a locker that is about to sleep
//!     (a) load the counts; one is 0   (d) both counts += 1
//!         (else swap the word)        (e) every thread passes a barrier
//!     (b) word = Free                 (f) word = Sleepers, by a swap;
//!         light()                         if it was Free: locked,
//!     (c) load the counts; none is        else sleep and repeat (f)
//!         0: wake one
//! ```
//! (b) pairs with (f), (c) with (d). Either (b) comes before (e), and (f) finds
//! Free; or (c) comes after (e), finds both counts, and wakes the sleeper. An
//! unlock that swaps the word needs neither: the swap comes before (f), which
//! finds Free, or after it, and finds Sleepers.
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
//! # Forks
//! `turnstile` keeps a fork from copying a held lock: lockers count themselves
//! in, and the word of a free lock is the number of the turnstile's generation,
//! 0 in a process that is no child of such a fork. Some locks are held for
//! long, and nothing under them outlives a fork. Their [`Futex`] says that they
//! are not counted; the child makes such a lock anew.
//!
//! # Ranks
//! Every lock has a [`Rank`], and a thread acquires locks only in the order of
//! that table. Builds with debug assertions check the order at every `lock`.

use super::Futex;
pub use super::rank::Rank;
#[cfg(all(debug_assertions, not(loom)))]
use super::rank::held;
#[cfg(not(loom))]
use super::sync::static_of_a_run;
use super::sync::{
    AtomicU32, Ordering, const_unless_loom, release_over_changes32, spin_loop,
};
use super::throw::throw;
use super::turnstile::{Refused, Turnstile};
#[cfg(not(any(loom, shuttle)))]
use super::turnstile::{TURNSTILE, ThisThread};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

/// The word of a free lock in a model, and of an uncounted one; of all others
/// the turnstile has it.
const FREE: u32 = 0;
const HELD: u32 = 1;
const SLEEPERS: u32 = 2;

/// How long a locker that finds the lock held leaves the word alone before it
/// looks again: so many pauses at first, then twice as many each time, up to
/// the last. That is some microseconds in all, less than a sleep and a wake
/// cost. Meanwhile the holder may lock again without a cache miss, so two Ps
/// that share a channel take turns in longer runs. A model looks once and does
/// not pause: a pause yields there, and loom tries no order in which a thread
/// that has yielded goes on before the next step of the others.
const PAUSES: [u32; 2] =
    if cfg!(any(loom, shuttle)) { [0, 0] } else { [16, 256] };

/// Entries of the table of sleepers, few of which are in use at any time. A
/// model has one, since addresses differ from run to run.
#[cfg(not(loom))]
const ENTRIES: usize = if cfg!(shuttle) { 1 } else { 64 };

/// In `ASLEEP` where there are no barriers: each unlock is a swap then.
const FENCES: u32 = 1 << 31;

#[cfg(not(loom))]
static_of_a_run! {
    /// Threads that sleep, or are about to, on any lock; and [`FENCES`]. It
    /// spares an unlock the look into the table. atomic
    static ASLEEP: AtomicU32 = AtomicU32::new(0);
}

/// Where there are no barriers, once: from now on lockers and unlockers have
/// fences. See [`super::barrier::use_fences`].
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn use_fences() {
    ASLEEP.fetch_or(FENCES, Ordering::SeqCst);
    TURNSTILE.use_fences();
    super::barrier::use_fences();
}

/// The child of a fork, in which no thread sleeps.
#[cfg(not(any(loom, shuttle)))]
pub(crate) fn forget_sleepers() {
    ASLEEP.fetch_and(FENCES, Ordering::Relaxed);
    SLEEPING.iter().for_each(|n| n.store(0, Ordering::Relaxed));
}

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
    /// Stand for `ASLEEP` and the lock's entry in the table.
    #[cfg(loom)]
    sleeping: [AtomicU32; 2],
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
                sleeping: [AtomicU32::new(0), AtomicU32::new(0)],
                #[cfg(all(debug_assertions, not(loom)))]
                rank,
                futex: PhantomData,
            }
        }
    }

    /// Blocks the thread until it has the lock.
    #[inline]
    pub fn lock(&self) {
        let _stale = self.lock_fresh();
    }

    /// [`RawLock::lock`]; true where this is its first owner in the child of a
    /// fork: what it guards may name what is in the parent only.
    #[inline]
    #[must_use]
    pub fn lock_fresh(&self) -> bool {
        #[cfg(all(debug_assertions, not(loom)))]
        held::check(self.rank);
        let stale = !self.acquire_free() && self.lock_slow();
        #[cfg(all(debug_assertions, not(loom)))]
        held::add(self.rank);
        stale
    }

    /// Takes the lock if it is free. Ranks do not matter, since it never waits;
    /// but for a fork.
    #[inline]
    #[must_use]
    pub fn try_lock(&self) -> bool {
        let acquired = self.acquire_free() || self.try_slow();
        #[cfg(all(debug_assertions, not(loom)))]
        if acquired {
            held::add(self.rank);
        }
        acquired
    }

    /// Free again, with no thread that sleeps on it.
    ///
    /// # Safety
    /// No other thread uses the lock, and this one does not hold it.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) unsafe fn renew(&self) {
        self.word.store(FREE, Ordering::Relaxed);
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
        let counts = self.counts();
        if cfg!(debug_assertions) && self.seems_free() {
            throw("unlock: not locked");
        }
        // Relaxed: a stale count is caught by (c), invariant 2.
        if !counts.may_sleep() {
            // Pairs with the acquires of acquire_free and lock_slow.
            release_over_changes32(&self.word, Self::free_word());
            Self::count_out();
            light_here();
            if !counts.may_sleep() {
                return;
            }
        } else {
            let old = self.word.swap(Self::free_word(), Ordering::Release);
            Self::count_out();
            if old != SLEEPERS {
                return;
            }
        }
        Self::wake_one(word);
    }

    /// Kept out of the inlined unlock.
    #[cold]
    fn wake_one(word: *const AtomicU32) {
        F::wake(word, 1);
    }

    #[inline]
    fn counts(&self) -> Counts<'_> {
        #[cfg(not(loom))]
        return Counts(&raw const self.word, PhantomData);
        #[cfg(loom)]
        return Counts(&self.sleeping);
    }

    fn seems_free(&self) -> bool {
        Turnstile::is_free(self.word.load(Ordering::Relaxed))
    }

    #[cold]
    fn lock_slow(&self) -> bool {
        let [mut pauses, last] = PAUSES;
        loop {
            match self.word.load(Ordering::Relaxed) {
                SLEEPERS => break,
                HELD => (0..pauses).for_each(|_| spin_loop()),
                _ => {
                    if let Refused::Locked { stale } = self.take_refused() {
                        return stale;
                    }
                }
            }
            if pauses == last {
                break;
            }
            pauses *= 2;
        }
        self.lock_asleep()
    }

    /// [`RawLock::lock`], with a sleep if others are to unlock first.
    fn lock_asleep(&self) -> bool {
        if let Refused::Locked { stale } = self.take_refused() {
            return stale;
        }
        let counts = self.counts();
        counts.add();
        F::barrier();
        // Pairs with the release of unlock. Invariant 2: from here on this
        // thread takes the lock as Sleepers.
        let old = loop {
            let old = self.word.swap(SLEEPERS, Ordering::Acquire);
            if Turnstile::is_free(old) {
                break old;
            }
            F::wait(&self.word, SLEEPERS, i64::MAX);
        };
        // Every other sleeper has counted itself.
        counts.sub();
        Self::is_stale(old)
    }
}

/// The two counts in which a lock's sleepers are. By the address of the lock's
/// word, as the lock may be gone at the second look.
#[cfg(not(loom))]
#[derive(Clone, Copy)]
struct Counts<'a>(*const AtomicU32, PhantomData<&'a ()>);

#[cfg(loom)]
#[derive(Clone, Copy)]
struct Counts<'a>(&'a [AtomicU32; 2]);

#[cfg(not(loom))]
impl Counts<'_> {
    #[inline(always)]
    fn asleep(self) -> &'static AtomicU32 {
        &ASLEEP
    }

    #[inline(always)]
    fn entry(self) -> &'static AtomicU32 {
        // Divided by 8, so that neighbouring locks use different entries.
        &SLEEPING[self.0.addr() / 8 % ENTRIES]
    }
}

#[cfg(loom)]
impl<'a> Counts<'a> {
    fn asleep(self) -> &'a AtomicU32 {
        &self.0[0]
    }

    fn entry(self) -> &'a AtomicU32 {
        &self.0[1]
    }
}

impl Counts<'_> {
    /// (a) and (c): whether a thread may sleep on the lock.
    #[inline(always)]
    fn may_sleep(self) -> bool {
        let asleep = self.asleep().load(Ordering::Relaxed);
        asleep != 0
            && (asleep & FENCES != 0
                || self.entry().load(Ordering::Relaxed) != 0)
    }

    /// (d).
    fn add(self) {
        // Relaxed: the barrier, step (e), orders both.
        self.asleep().fetch_add(1, Ordering::Relaxed);
        self.entry().fetch_add(1, Ordering::Relaxed);
    }

    fn sub(self) {
        self.entry().fetch_sub(1, Ordering::Relaxed);
        self.asleep().fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a lock is counted where a fork may come (`turnstile`).
#[cfg(not(any(loom, shuttle)))]
impl<F: Futex> RawLock<F> {
    #[inline]
    fn acquire_free(&self) -> bool {
        if !F::COUNTED {
            return self.acquire_uncounted();
        }
        TURNSTILE.enter(&ThisThread);
        TURNSTILE.take(&self.word, HELD)
    }

    fn acquire_uncounted(&self) -> bool {
        // Pairs with the release of unlock.
        self.word
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    fn take_refused(&self) -> Refused {
        if F::COUNTED {
            return TURNSTILE.refused::<F>(&ThisThread, &self.word, HELD);
        }
        match self.acquire_uncounted() {
            true => Refused::Locked { stale: false },
            false => Refused::Held,
        }
    }

    #[cold]
    fn try_slow(&self) -> bool {
        let taken = self.take_refused() != Refused::Held;
        if !taken {
            Self::count_out();
        }
        taken
    }

    fn is_stale(word: u32) -> bool {
        F::COUNTED && TURNSTILE.is_stale(word)
    }

    #[inline]
    fn free_word() -> u32 {
        if F::COUNTED { TURNSTILE.free() } else { FREE }
    }

    /// After the word's change.
    #[inline]
    fn count_out() {
        if F::COUNTED {
            TURNSTILE.leave(&ThisThread);
        }
    }
}

/// The models of the lock know no fork.
#[cfg(any(loom, shuttle))]
impl<F: Futex> RawLock<F> {
    #[inline]
    fn acquire_free(&self) -> bool {
        // Pairs with the release of unlock.
        self.word
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok()
    }

    fn take_refused(&self) -> Refused {
        match self.acquire_free() {
            true => Refused::Locked { stale: false },
            false => Refused::Held,
        }
    }

    fn try_slow(&self) -> bool {
        false
    }

    fn is_stale(_word: u32) -> bool {
        false
    }

    fn free_word() -> u32 {
        FREE
    }

    fn count_out() {}
}

/// The fence between the two steps of an unlock. Where there are no barriers
/// the unlock is a swap, so only a model has one here.
#[cfg(not(any(loom, shuttle)))]
#[inline(always)]
fn light_here() {
    super::sync::compiler_fence(Ordering::SeqCst);
}

#[cfg(any(loom, shuttle))]
use super::barrier::light as light_here;

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
        self.lock_or_renew(|_| {})
    }

    /// [`Lock::lock`]; the first owner in the child of a fork calls `renew`, as
    /// the value may name what is in the parent only.
    #[inline]
    pub fn lock_or_renew(
        &self,
        renew: impl FnOnce(&mut T),
    ) -> LockGuard<'_, T, F> {
        let stale = self.raw.lock_fresh();
        let mut guard = LockGuard { lock: self, not_send: PhantomData };
        if stale {
            renew(&mut guard);
        }
        guard
    }

    /// Free again, and with this value; the old one is not dropped.
    ///
    /// # Safety
    /// No other thread uses the lock, and this one does not hold it.
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) unsafe fn renew(&self, value: T) {
        // SAFETY: by contract.
        unsafe { self.raw.renew() };
        // SAFETY: by contract nobody looks at it.
        unsafe { self.value.get().write(value) };
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
