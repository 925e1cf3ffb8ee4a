//! A one-shot event between two threads.
//!
//! The owner of a note sleeps until a waker reports an event. The wake-up may
//! come before the sleep. A note is no lock and no counter, and is not for
//! goroutines: it blocks the M.
//!
//! ```text
//!   Clear    -> Sleeping  sleep
//!   Clear    -> Woken     wakeup; the next sleep returns at once
//!   Sleeping -> Woken     wakeup, which wakes the owner
//!   Sleeping -> Clear     the deadline has passed, or the owner gives up
//!   Woken    -> Clear     clear
//! ```
//!
//! ```text
//!   waker                            owner
//!     (a) store the event's data       (c) Clear -> Sleeping, by a CAS, and
//!     (b) word = Woken, by a swap;         sleep; if it fails: Woken
//!         if it was Sleeping: wake     (d) load Woken; load the data
//! ```
//! (b) pairs with (c) and (d): the swap releases; a CAS that fails and the load
//! acquire. Swap and CAS are on one word, so either (b) finds Sleeping and
//! wakes, or (c) finds Woken and does not sleep.
//!
//! Invariants:
//! 1. At most one thread sleeps on a note at a time: its owner.
//! 2. Between two calls of `clear` there is at most one `wakeup`; a second one
//!    is a bug and throws.
//! 3. The owner calls `clear` when no `wakeup` can be under way: before the
//!    waker gets the note's address, or after a `sleep` returned and before
//!    the next waker learns of the note.
//! 4. Everything the waker did before `wakeup` is visible after the `sleep`.
//! 5. Once `sleep` has returned (true, with a deadline), the waker no longer
//!    touches the note's memory. The waker may still name the address in a
//!    system call. Then the next sleeper on that address sees a spurious wake,
//!    which every sleeper expects; and the kernel never dereferences the
//!    address, so the memory may be freed or unmapped.
//!
//! Go's note wakes through the kernel every time. Here the Sleeping state
//! spares the system call while the owner is awake.

use super::Futex;
use super::sync::{AtomicU32, Ordering, const_unless_loom};
use super::throw::throw;
use core::marker::PhantomData;

const CLEAR: u32 = 0;
const WOKEN: u32 = 1;
const SLEEPING: u32 = 2;

/// A one-shot event; see the module.
pub struct Note<F> {
    /// atomic
    state: AtomicU32,
    futex: PhantomData<fn() -> F>,
}

impl<F: Futex> Note<F> {
    const_unless_loom! {
        /// A note that is clear.
        pub fn new() -> Self {
            Self { state: AtomicU32::new(CLEAR), futex: PhantomData }
        }
    }

    /// Makes the note ready for its next wake-up. The owner calls it, when
    /// invariant 3 allows.
    pub fn clear(&self) {
        // Relaxed: the waker learns of the note afterwards, through something
        // that orders this store before it (invariant 3).
        self.state.store(CLEAR, Ordering::Relaxed);
    }

    /// Wakes the owner, whose sleep has begun or will begin. Any thread may
    /// call it, once (invariants 2 and 5).
    pub fn wakeup(&self) {
        let word = &raw const self.state;
        // Pairs with the acquires of sleep_until: publishes all stores before.
        match self.state.swap(WOKEN, Ordering::Release) {
            CLEAR => {}
            // From here on the memory may be gone, invariant 5.
            SLEEPING => F::wake(word, 1),
            _ => throw("notewakeup: double wakeup"),
        }
    }

    /// Sleeps until the wake-up. The owner calls it.
    pub fn sleep(&self) {
        self.sleep_until(i64::MAX);
    }

    /// Sleeps until the wake-up or `deadline` (absolute nanoseconds of the
    /// monotonic clock; `i64::MAX` never expires). The owner calls it.
    ///
    /// True if woken, even when the deadline has passed as well. False leaves
    /// the note as before: the owner may sleep again, and a wake-up that comes
    /// between is not lost.
    pub fn sleep_until(&self, deadline: i64) -> bool {
        self.sleep_unless(deadline, || false)
    }

    /// [`Self::sleep_until`], and the owner gives up (false) when `over` says
    /// so. It asks before each sleep, with the note Sleeping.
    pub fn sleep_unless(&self, deadline: i64, over: impl Fn() -> bool) -> bool {
        // Relaxed on success: wakeup reads the value and nothing else.
        // Acquire on failure pairs with the release of wakeup.
        let armed = self.state.compare_exchange(
            CLEAR,
            SLEEPING,
            Ordering::Relaxed,
            Ordering::Acquire,
        );
        if let Err(state) = armed {
            if state != WOKEN {
                throw("notesleep: two sleepers");
            }
            return true;
        }
        loop {
            if over() {
                return !self.disarm();
            }
            let in_time = F::wait(&self.state, SLEEPING, deadline);
            // Pairs with the release of wakeup.
            if self.state.load(Ordering::Acquire) == WOKEN {
                return true;
            }
            if !in_time {
                return !self.disarm();
            }
        }
    }

    /// Sleeps until the wake-up, for an owner that is on a list from which a
    /// waker takes it first. If the deadline comes first, `withdraw` takes the
    /// owner off the list; it returns false if a waker has done so, whose
    /// wake-up is awaited then.
    ///
    /// True if woken. False: the owner is off the list, and has no waker.
    pub fn sleep_listed(
        &self,
        deadline: i64,
        withdraw: impl FnOnce() -> bool,
    ) -> bool {
        if self.sleep_until(deadline) {
            return true;
        }
        if withdraw() {
            return false;
        }
        self.sleep();
        true
    }

    /// Whether the owner sleeps, or is about to.
    pub fn is_sleeping(&self) -> bool {
        // Relaxed: the caller's fence orders it.
        self.state.load(Ordering::Relaxed) == SLEEPING
    }

    /// Has the owner ask again whether to give up, unless it is between its
    /// question and its sleep.
    pub fn nudge(&self) {
        F::wake(&raw const self.state, 1);
    }

    /// Takes Sleeping back; false if the wake-up was faster.
    fn disarm(&self) -> bool {
        // Acquire on failure pairs with the release of wakeup.
        self.state
            .compare_exchange(
                SLEEPING,
                CLEAR,
                Ordering::Relaxed,
                Ordering::Acquire,
            )
            .is_ok()
    }
}
