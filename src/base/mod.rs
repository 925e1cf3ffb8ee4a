//! Layer 0: what every other layer stands on.
//!
//! It has the atomics, the locks and notes that block an M (a thread of the
//! operating system), and the two ways to end the process. Nothing here knows
//! goroutines, and nothing here makes a system call to sleep: locks and notes
//! are generic over [`Futex`], which `os` implements and a loom test models.
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | what |
//! |---|---|
//! | `lock` | the lock that blocks an M, and the order of locks |
//! | `rank` | the order of locks |
//! | `turnstile` | all locks found free, for a fork |
//! | `note` | a sleep of an M until it is woken |
//! | `barrier` | a fence whose cost the rare side bears |
//! | `shortcut` | whether a call of the heap may take its short way |
//! | `mod.rs` | how a thread sleeps: [`Futex`] |
//! | `reserve` | the allocator, and memory for reports |
//! | `throw` | the ends of the process |
//! | `sanitize` | the sanitizers of the process |
//! | `trace` | events of the scheduler, for the timeline |
//! | `ring` | a ring of such events |
//! | `print` | text for a failure, without memory |
//! | `random` | random numbers and their seed |
//! | `alloc` | memory that may be refused |
//! | `sync` | atomics, or their models |
//!
//! [`print`](mod@print) and [`throw`](mod@throw) are the exception. They write
//! to a file descriptor and abort through the C library, because an error
//! message must get out at any moment: before `os` is set up, and from a signal
//! handler.

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
pub(crate) mod rank;
#[cfg(not(any(loom, shuttle)))]
pub(crate) mod reserve;
pub mod ring;
#[cfg(not(any(loom, shuttle)))]
pub(crate) mod sanitize;
#[cfg(not(any(loom, shuttle)))]
pub(crate) mod shortcut;
pub mod sync;
pub mod throw;
pub mod trace;
pub mod turnstile;

use sync::AtomicU32;

/// How a thread sleeps on a word of memory and is woken.
///
/// The word's address is the only link between sleeper and waker. A wake may
/// arrive late, when the memory already serves something else. So every
/// sleeper expects spurious wakes and checks its word again.
pub trait Futex {
    /// Sleeps while `*word == expected`, at most until `deadline`, in absolute
    /// nanoseconds of the monotonic clock; `i64::MAX` never expires.
    ///
    /// False if and only if the deadline passed. True may be spurious.
    fn wait(word: &AtomicU32, expected: u32, deadline: i64) -> bool;

    /// Wakes up to `count` threads that sleep on `word`. Never dereferences
    /// the pointer: the memory may be reused already.
    fn wake(word: *const AtomicU32, count: u32);

    /// Whether a fork waits until no thread holds a lock of this kind
    /// (`turnstile`).
    const COUNTED: bool = true;

    /// Has every thread of the process pass a full barrier before this
    /// returns: the other side of [`barrier::light`].
    fn barrier();
}
