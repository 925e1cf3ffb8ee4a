//! A one-shot event between two threads.
//!
//! One thread sleeps until another says that something has happened. The
//! wake-up may come before the sleep. Not a lock, not a counter, and not for
//! goroutines: it blocks the M.
//!
//! ```text
//!   Clear --sleep--> Sleeping --wakeup--> Woken
//!     ^ \______________wakeup_____________^  |
//!     |  \<--deadline--/                     |
//!     +-----------------clear----------------+
//! ```
//!
//! Invariants:
//! 1. At most one thread sleeps on a note at a time: its owner.
//! 2. Between two calls of `clear` there is at most one `wakeup`; a second one
//!    is a bug and throws.
//! 3. `clear` is called by the owner when no `wakeup` can be under way: before
//!    the note's address is given to the waker, or after a `sleep` returned
//!    and before the next waker learns of the note.
//! 4. What the waker did before `wakeup` is visible after the `sleep`.
//! 5. Once `sleep` has returned (true, with a deadline), the waker touches the
//!    note's memory no more. It may still name its address in a system call,
//!    so whoever sleeps on that address next may see a wake that is not meant
//!    for it; every sleeper here checks its word again. Freed and unmapped
//!    memory is no danger either, for the address is never dereferenced.
//!
//! Go's note wakes through the kernel every time; the Sleeping state spares
//! the system call when nobody sleeps yet.

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

    /// Makes the note ready for its next wake-up. The owner calls it; see
    /// invariant 3 for when.
    pub fn clear(&self) {
        // Relaxed: the waker learns of the note afterwards, through something
        // that orders this store before it (invariant 3).
        self.state.store(CLEAR, Ordering::Relaxed);
    }

    /// Wakes the owner, now or when it comes to sleep. Any thread may call it,
    /// once; see invariants 2 and 5.
    pub fn wakeup(&self) {
        let word = &raw const self.state;
        // Pairs with the acquires of sleep_until: publishes what came before.
        match self.state.swap(WOKEN, Ordering::Release) {
            CLEAR => {}
            // From here on only the address counts, invariant 5.
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
    /// True if woken, even when the deadline has passed as well. After false
    /// the note is as it was: the owner may sleep again, and a wake-up that
    /// comes now is not lost.
    pub fn sleep_until(&self, deadline: i64) -> bool {
        // Relaxed: publishes nothing; wakeup's swap reads only the value.
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
