//! Layer 0: what every other layer stands on.
//!
//! Atomics, the locks and notes that block an M (an operating system thread),
//! and the two ways to end the process. Nothing here knows goroutines, and
//! nothing here sleeps by itself: locks and notes are generic over [`Futex`],
//! which `os` implements, and which a loom test replaces by a model.
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | what |
//! |---|---|
//! | `lock` | the lock that blocks an M, and the order of locks |
//! | `note` | a sleep of an M until it is woken |
//! | `barrier` | a fence whose cost the rare side bears |
//! | `mod.rs` | how a thread sleeps: [`Futex`] |
//! | `throw` | the ends of the process |
//! | `print` | text for a failure, without memory |
//! | `alloc` | memory that may be refused |
//! | `random` | the seed of random numbers, and two small generators |
//! | `sync` | atomics, or their models |
//!
//! The exception is [`print`] and [`throw`](mod@throw): they write to a file
//! descriptor and abort through the C library, because a failure has to be
//! told at any moment, before `os` is set up and from a signal handler too.

#[cfg(not(any(loom, shuttle)))]
pub(crate) mod alloc;
pub(crate) mod barrier;
#[cfg(all(test, not(any(loom, shuttle))))]
pub(crate) mod child;
pub mod lock;
pub mod note;
pub mod print;
#[cfg(not(any(loom, shuttle)))]
pub(crate) mod random;
pub mod sync;
pub mod throw;

use sync::AtomicU32;

/// How a thread sleeps on a word of memory and is woken.
///
/// The word's address is the only link between both sides. A wake may arrive
/// late, after the waker's reason is gone and the memory serves something
/// else: so every sleeper checks its word again, and whoever sleeps on a word
/// lives with wakes that mean nothing.
pub trait Futex {
    /// Sleeps while `*word == expected`, at most until `deadline`, in absolute
    /// nanoseconds of the monotonic clock; `i64::MAX` never expires.
    ///
    /// False if and only if the deadline passed. May return true for no
    /// reason.
    fn wait(word: &AtomicU32, expected: u32, deadline: i64) -> bool;

    /// Wakes up to `count` threads that sleep on `word`. Never dereferences
    /// it: the memory may be reused already.
    fn wake(word: *const AtomicU32, count: u32);

    /// Has every thread of the process pass a full barrier before this
    /// returns: the other side of [`barrier::light`].
    fn barrier();
}
