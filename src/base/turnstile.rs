//! The turnstile in front of the runtime's locks: how a fork finds all of them
//! free.
//!
//! A fork copies the memory while the other threads go on. In the child these
//! threads are not there, so a lock that one of them holds would stay locked,
//! and the data under it would be half changed, for ever. So the thread that is
//! about to fork, the *forker*, waits until no other thread holds a lock of the
//! runtime, and keeps the others from locking until the memory is copied. It
//! does not know the locks, which lie in every channel; each thread counts
//! those that it holds. Data without a lock are single words, or belong to a
//! run of the runtime and are made anew in the child.
//!
//! ```text
//!   Open --shut--> Shut --open--> Open       the process that forks
//!                    '---begin_child--> Open   its child; one more generation
//! ```
//! A free lock has the *number of the generation* in its word: how many forks
//! lie between this process and the first one. Lockers expect that number, so
//! shutting the turnstile costs them nothing: the number to expect, `now`,
//! becomes one that no word has.
//!
//! ```text
//!   locker                             forker
//!     held += 1             (a)          shut = 1, now = NEVER   (d)
//!     word: now -> Held     (b)          every thread passes a barrier
//!       refused, and shut:               every thread's held: 0  (e)
//!         held -= 1, sleep                 no: wait, and look again
//!     ... word = free                    fork
//!     held -= 1             (c)
//! ```
//! (a) pairs with (e), (b) with (d). The locker passes the barrier after (a),
//! and then (e) sees the count; or before (a), and then (b) finds NEVER, and
//! the locker backs out without a touch of what it wanted to lock. (c) releases
//! what the holder did to (e), which acquires it.
//!
//! A lock that comes from before the fork has an older number in its word in
//! the child. So the first to lock it there is refused as well, takes it by the
//! slow way, and is told: what the lock guards may name threads and goroutines
//! that are in the parent only. That is how objects in the host's memory forget
//! them, without a search for such objects.
//!
//! Invariants:
//! 1. A thread locks only while it counts the lock in `held`, and unlocks
//!    before it counts the lock out.
//! 2. While the turnstile is shut, no thread but the forker locks, unless it
//!    holds another lock: such a thread has to get on, and (e) waits for it.
//! 3. A word whose low two bits are 0 is free, of whatever generation.
//! 4. A thread whose count can be found has [`KNOWN`] added to it. The count
//!    of another thread is in `strangers`, too: each such lock costs a
//!    read-modify-write, until the thread has an M.
//! 5. While a thread is in `strangers`, or about to be, its own word is not 0:
//!    it has the count or [`STRANGE`] in it. So the handler of a signal that
//!    forks there does not wait for the thread that it interrupts.
//!
//! Rejected:
//! - a list of all locks, which the forker takes one after the other: making
//!   and freeing a channel would cost a list, and a fork the time of all locks;
//! - a flag that each call sets and clears, as the flag of `sched::enter`: a
//!   call that takes a lock and needs no P would pay for it;
//! - locks whose data can be mended in the child: pages are copied one after
//!   the other while other threads write, so their order says nothing.
//!
//! `tests/loom_fork.rs` models it.

use super::{
    Futex,
    sync::{AtomicI32, AtomicU32, Ordering::*, const_unless_loom, fence},
};

/// The low bits of a word that is not free, and `now` while it is shut.
const TAKEN: u32 = 3;
const NEVER: u32 = 3;
/// From one generation to the next.
const STEP: u32 = 4;

/// Invariant 4.
pub const KNOWN: i32 = i32::MIN;
/// Invariant 5: added to the count for each lock in `strangers`.
pub const STRANGE: i32 = 1 << 16;

/// The calling thread's count of the locks that it holds.
pub trait Held {
    /// (a). True: the thread is known.
    fn add(&self) -> bool;
    /// (c). True: the thread is known.
    fn sub(&self) -> bool;
    /// Locks held, without [`KNOWN`] and [`STRANGE`].
    fn count(&self) -> i32;
    /// Adds `by`, which is [`STRANGE`] or its negative.
    fn mark(&self, by: i32);
}

/// A turnstile.
pub struct Turnstile {
    /// What lockers expect in the word of a free lock.
    now: AtomicU32,
    /// The number of this generation.
    free: AtomicU32,
    /// 1 while it is shut; what refused lockers sleep on.
    shut: AtomicU32,
    /// Invariant 4.
    strangers: AtomicI32,
    /// A word that no lock has is expected for good, because lockers have to
    /// pass a fence, which the slow way has.
    fences: AtomicU32,
}

/// How a refused locker goes on.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The lock is held.
    Held,
    /// It has the lock now. `stale`: it is the first in this process.
    Locked { stale: bool },
}

impl Turnstile {
    const_unless_loom! {
        pub fn new() -> Self {
            Self {
                now: AtomicU32::new(0),
                free: AtomicU32::new(0),
                shut: AtomicU32::new(0),
                strangers: AtomicI32::new(0),
                fences: AtomicU32::new(0),
            }
        }
    }

    /// Whether a word is that of a free lock (invariant 3).
    pub fn is_free(word: u32) -> bool {
        word & TAKEN == 0
    }

    /// The word of a lock that is let go of.
    #[inline(always)]
    pub fn free(&self) -> u32 {
        // Relaxed: changed in a child only, on its one thread.
        self.free.load(Relaxed)
    }

    /// Step (a).
    #[inline(always)]
    pub fn enter(&self, held: &impl Held) {
        if !held.add() {
            self.enter_stranger(held);
        }
    }

    #[cold]
    fn enter_stranger(&self, held: &impl Held) {
        held.mark(STRANGE);
        // SeqCst: (a), for a thread whose own count nobody finds.
        self.strangers.fetch_add(1, SeqCst);
    }

    /// Step (c).
    #[inline(always)]
    pub fn leave(&self, held: &impl Held) {
        if !held.sub() {
            self.leave_stranger(held);
        }
    }

    #[cold]
    fn leave_stranger(&self, held: &impl Held) {
        // Release: pairs with wait_out.
        self.strangers.fetch_sub(1, Release);
        held.mark(-STRANGE);
    }

    /// Step (b), after [`Turnstile::enter`]: `word` becomes `taken`. False: see
    /// [`Turnstile::refused`].
    #[inline(always)]
    pub fn take(&self, word: &AtomicU32, taken: u32) -> bool {
        // Acquire: pairs with set_now; what a forker has looked at comes first.
        let now = self.now.load(Acquire);
        // Acquire: pairs with the release of the lock's unlock.
        word.compare_exchange(now, taken, Acquire, Relaxed).is_ok()
    }

    /// A locker that was refused: waits while it is shut, unless the locker may
    /// go on (invariant 2), and takes the lock if it is free.
    pub fn refused<F: Futex>(
        &self,
        held: &impl Held,
        word: &AtomicU32,
        taken: u32,
    ) -> Refused {
        self.wait_open::<F>(held);
        let mut old = word.load(Relaxed);
        while Self::is_free(old) {
            // Acquire: pairs with the release of the lock's unlock.
            match word.compare_exchange(old, taken, Acquire, Relaxed) {
                Ok(_) => return Refused::Locked { stale: self.is_stale(old) },
                Err(now) => old = now,
            }
        }
        Refused::Held
    }

    /// Whether a free word comes from before the fork.
    pub fn is_stale(&self, word: u32) -> bool {
        word != self.free()
    }

    /// Waits while it is shut, unless this thread has to get on.
    fn wait_open<F: Futex>(&self, held: &impl Held) {
        loop {
            // Between (a) and the look: pairs with (d), where lockers have no
            // barrier to rely on.
            fence(SeqCst);
            if self.shut.load(SeqCst) == 0 || held.count() > 1 {
                return;
            }
            self.leave(held);
            self.wait_while_shut::<F>();
            self.enter(held);
        }
    }

    /// Waits while it is shut. The thread holds no lock.
    pub fn wait_while_shut<F: Futex>(&self) {
        while self.shut.load(SeqCst) != 0 {
            F::wait(&self.shut, 1, i64::MAX);
        }
    }

    /// The forker: shuts it, (d), and has every thread pass a barrier. One
    /// forker at a time.
    pub fn shut<F: Futex>(&self) {
        self.shut.store(1, SeqCst);
        self.now.store(NEVER, SeqCst);
        F::barrier();
    }

    /// The forker: whether `count`, another thread's, is 0 now: (e).
    pub fn is_out(count: &AtomicI32) -> bool {
        // Acquire: pairs with (c).
        count.load(Acquire) & !KNOWN == 0
    }

    /// The forker, which holds no lock: whether no stranger holds one.
    pub fn strangers_are_out(&self) -> bool {
        // Acquire: pairs with leave_stranger.
        self.strangers.load(Acquire) == 0
    }

    /// The process that has forked: lets all in again.
    pub fn open<F: Futex>(&self) {
        self.set_now();
        self.shut.store(0, SeqCst);
        F::wake(&raw const self.shut, u32::MAX >> 1);
    }

    fn set_now(&self) {
        let fences = self.fences.load(SeqCst) != 0;
        let now = if fences { NEVER } else { self.free() };
        // Release: pairs with take. A locker that sees it too late is refused,
        // and looks.
        self.now.store(now, Release);
    }

    /// The child, on its only thread, which is a stranger that holds `mine`.
    pub fn begin_child(&self, mine: i32) {
        self.free.store(self.free().wrapping_add(STEP), Relaxed);
        self.strangers.store(mine, Relaxed);
        self.set_now();
        self.shut.store(0, Relaxed);
    }

    /// There are no barriers: from now on each locker takes the slow way, which
    /// has a fence. As [`super::barrier::use_fences`].
    pub fn use_fences(&self) {
        self.fences.store(1, SeqCst);
        self.now.store(NEVER, SeqCst);
    }

    /// The number of this generation: 0 in the first process.
    pub fn generation(&self) -> u32 {
        self.free() / STEP
    }
}

impl Default for Turnstile {
    fn default() -> Self {
        Self::new()
    }
}

/// The turnstile of this process.
#[cfg(not(any(loom, shuttle)))]
pub(crate) static TURNSTILE: Turnstile = Turnstile::new();

#[cfg(not(any(loom, shuttle)))]
pub(crate) use real::{ThisThread, known_at, make_known, make_stranger};

/// The count of this thread, in thread-local storage.
#[cfg(not(any(loom, shuttle)))]
mod real {
    use super::{AtomicI32, Held, KNOWN, STRANGE};
    use core::arch::asm;

    /// The thread that calls.
    pub(crate) struct ThisThread;

    /// Where the count is from the thread pointer: the same for all threads of
    /// the process. Not `pure`, or it would occupy a register from the lock to
    /// the unlock.
    #[inline(always)]
    fn offset() -> usize {
        let offset;
        // SAFETY: reads a constant that the loader has written.
        unsafe {
            asm!(
                "mov {0}, qword ptr [rip + gmprt_tls_held@GOTTPOFF]",
                out(reg) offset,
                options(readonly, nostack, preserves_flags),
            );
        }
        offset
    }

    /// Not `nomem`: what is locked is not touched before or after.
    macro_rules! count {
        ($step:literal) => {{
            // SAFETY: changes this thread's own word.
            unsafe {
                asm!(
                    concat!($step, " dword ptr fs:[{0}]"),
                    "jns {stranger}",
                    in(reg) offset(),
                    stranger = label { return false },
                    options(nostack),
                );
            }
            true
        }};
    }

    impl Held for ThisThread {
        #[inline(always)]
        fn add(&self) -> bool {
            count!("inc")
        }

        #[inline(always)]
        fn sub(&self) -> bool {
            count!("dec")
        }

        fn count(&self) -> i32 {
            word() & (STRANGE - 1)
        }

        fn mark(&self, by: i32) {
            set(word() + by);
        }
    }

    impl ThisThread {
        /// Whether it holds a lock, or is about to, or has just held one.
        pub(crate) fn is_in_section(&self) -> bool {
            word() & !KNOWN != 0
        }

        /// How many strangers' locks are its own.
        pub(crate) fn strange(&self) -> i32 {
            (word() & !KNOWN) / STRANGE
        }
    }

    fn word() -> i32 {
        let word: i32;
        // SAFETY: reads this thread's own word.
        unsafe {
            asm!(
                "mov {0:e}, dword ptr fs:[{1}]",
                out(reg) word,
                in(reg) offset(),
                options(nostack, preserves_flags, readonly),
            );
        }
        word
    }

    fn set(word: i32) {
        // SAFETY: writes this thread's own word.
        unsafe {
            asm!(
                "mov dword ptr fs:[{1}], {0:e}",
                in(reg) word,
                in(reg) offset(),
                options(nostack, preserves_flags),
            );
        }
    }

    /// This thread's count, for others to read while the thread lives.
    pub(crate) fn known_at() -> *mut AtomicI32 {
        let tp: usize;
        // SAFETY: the first word of a control block is its own address.
        unsafe {
            asm!(
                "mov {0}, qword ptr fs:[0]",
                out(reg) tp,
                options(nostack, preserves_flags, readonly),
            );
        }
        tp.wrapping_add(offset()) as *mut AtomicI32
    }

    /// From now on others find this thread's count, where `known_at` says. The
    /// thread holds no lock.
    pub(crate) fn make_known() {
        set(KNOWN);
    }

    /// Nobody finds it any more. The thread holds no lock.
    pub(crate) fn make_stranger() {
        set(0);
    }
}
