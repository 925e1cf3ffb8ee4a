//! Layer 1 in a model: threads sleep by shuttle, time is the model's, and
//! memory comes from an arena that never reuses any.
//!
//! All state here belongs to one run, the schedule that is being tried.

#[path = "../os/errno.rs"]
pub(crate) mod errno;

pub(crate) use errno::{Errno, Result};

/// Does nothing, since every access is sequentially consistent.
pub(crate) mod membarrier {
    pub(crate) fn everywhere() {}
}

use crate::base::{Futex, lock, sync::AtomicU32};
use core::cell::{Cell, RefCell};
use shuttle::{
    rand::RngCore,
    thread::{self, Thread},
};

/// State of a run, which shuttle's threads share.
pub(crate) struct Shared<T>(pub T);

// SAFETY: shuttle runs all threads of a run on one thread of the system, and
// switches between them in its own functions only.
unsafe impl<T> Sync for Shared<T> {}

/// A random number below `n`, from the seed of this run.
pub(crate) fn random(n: u64) -> u64 {
    shuttle::rand::thread_rng().next_u64() % n
}

pub(crate) type Lock<T> = lock::Lock<T, ModelFutex>;
pub(crate) type LockGuard<'a, T> = lock::LockGuard<'a, T, ModelFutex>;
pub(crate) type RawLock = lock::RawLock<ModelFutex>;

/// Sleeps and wakes by shuttle's tokens.
pub(crate) struct ModelFutex;

shuttle::lazy_static! {
    /// The sleeping threads, each with its word.
    static ref SLEEPERS: Shared<RefCell<Vec<(usize, Thread)>>> =
        Shared(RefCell::new(Vec::new()));
}

impl Futex for ModelFutex {
    fn wait(word: &AtomicU32, expected: u32, deadline: i64) -> bool {
        assert_eq!(deadline, i64::MAX, "locks have no deadlines");
        // Before the check, since other threads run while a static is made.
        let all = &SLEEPERS.0;
        if word.load(core::sync::atomic::Ordering::SeqCst) != expected {
            return true;
        }
        let me = thread::current();
        all.borrow_mut().push((core::ptr::from_ref(word).addr(), me.clone()));
        while all.borrow().iter().any(|(_, t)| t.id() == me.id()) {
            thread::park();
        }
        true
    }

    fn wake(word: *const AtomicU32, count: u32) {
        for _ in 0..count {
            let mut all = SLEEPERS.0.borrow_mut();
            let first = all.iter().position(|(at, _)| *at == word.addr());
            let Some(first) = first else { return };
            let (_, sleeper) = all.remove(first);
            drop(all);
            sleeper.unpark();
        }
    }

    fn barrier() {}
}

/// The model's time.
pub(crate) mod clock {
    use super::{Cell, Shared, random};

    /// Longer than a waiter waits before it starves, in nanoseconds.
    const LONG: i64 = 2_000_000;

    shuttle::lazy_static! {
        static ref NOW: Shared<Cell<i64>> = Shared(Cell::new(1));
    }

    /// The present time; now and then it leaps.
    pub(crate) fn nanotime() -> i64 {
        match random(16) {
            0 => pass(LONG),
            1..8 => pass(1),
            _ => {}
        }
        NOW.0.get()
    }

    /// Lets `ns` pass.
    pub(crate) fn pass(ns: i64) {
        NOW.0.set(NOW.0.get() + ns);
    }

    /// Lets time pass until `when`.
    pub(crate) fn pass_until(when: i64) {
        NOW.0.set(NOW.0.get().max(when));
    }
}

/// The C library's memory. Freed memory is never reused: it is overwritten with
/// bytes that make any access through an atomic of shuttle's fail.
pub(crate) mod memory {
    pub(crate) use ::libc::*;

    use super::{RefCell, Shared};
    use core::mem::MaybeUninit;

    const ARENA: usize = 1 << 18;
    const FREED: u8 = 0xdb;

    /// Allocates upwards, so that addresses have the same order in each replay.
    struct Arena {
        place: Box<[MaybeUninit<u128>]>,
        used: usize,
        /// The address and length of each, and whether it is in use.
        all: Vec<(usize, usize, bool)>,
        /// Addresses with a number.
        numbers: Vec<usize>,
    }

    shuttle::lazy_static! {
        static ref MEMORY: Shared<RefCell<Arena>> =
            Shared(RefCell::new(Arena {
                place: Box::new_uninit_slice(ARENA / 16),
                used: 0,
                all: Vec::new(),
                numbers: Vec::new(),
            }));
    }

    /// # Safety
    /// None is needed: as C's `malloc`.
    pub(crate) unsafe fn malloc(bytes: usize) -> *mut c_void {
        let mut arena = MEMORY.0.borrow_mut();
        let at = arena.used;
        arena.used += bytes.div_ceil(16).max(1);
        let end = arena.used;
        let place = &raw mut arena.place[at..end];
        let place = place.cast::<c_void>();
        let addr = place.expose_provenance();
        arena.all.push((addr, (end - at) * 16, true));
        place
    }

    /// # Safety
    /// As C's `free`: null, or from `malloc` and not used any more.
    pub(crate) unsafe fn free(place: *mut c_void) {
        if place.is_null() {
            return;
        }
        let mut arena = MEMORY.0.borrow_mut();
        let all = arena.all.iter_mut().find(|a| a.0 == place.addr());
        let (_, bytes, used) = all.expect("free: not from malloc");
        assert!(core::mem::take(used), "free: freed already");
        // SAFETY: from malloc with this length, and no longer used.
        unsafe { core::ptr::write_bytes(place.cast::<u8>(), FREED, *bytes) };
    }

    /// A number for an address whose bits matter, the same in each replay.
    pub(crate) fn number(addr: usize) -> usize {
        let all = &mut MEMORY.0.borrow_mut().numbers;
        all.iter().position(|a| *a == addr).unwrap_or_else(|| {
            all.push(addr);
            all.len() - 1
        })
    }

    /// Checks at the end of a run that all memory is freed, and that nothing
    /// wrote there afterwards.
    pub(crate) fn check() {
        let arena = MEMORY.0.borrow();
        for &(at, bytes, used) in &arena.all {
            assert!(!used, "memory is left: {bytes} bytes");
            let at = core::ptr::with_exposed_provenance::<u8>(at);
            // SAFETY: of this length, in the arena, and written by free.
            let freed = unsafe { core::slice::from_raw_parts(at, bytes) };
            let same = freed.iter().all(|byte| *byte == FREED);
            assert!(same, "written to after it was freed: {bytes} bytes");
        }
    }
}
