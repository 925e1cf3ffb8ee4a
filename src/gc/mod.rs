//! Collections: who is stopped, what is a root, when, and by whom. The memory,
//! the marker and the sweep are `heap`'s.
//!
//! A collection stops the world, marks, and lets the world go on; what is dead
//! is swept afterwards, by allocation and by bgsweep.
//!
//! ```text
//!   an allocation past the trigger, gmp_gc, forcegc
//!      |  no thread forks; one stopper (SCHED.resize)
//!      v
//!   what the last one left is swept; the loader says where data is
//!      v
//!   every P is Stopped                         (sched::stw)
//!      v
//!   every thread with a stack of the host's    (stop: by a signal)
//!      v
//!   roots: stacks, registers, data, what the runtime keeps
//!      v
//!   mark; the generation moves; all mcaches are empty
//!      v
//!   all go on; bgsweep is woken
//! ```
//!
//! | file | what |
//! |---|---|
//! | `unload` | the heap's end |
//! | `cleanups` | what happens when an object goes |
//! | `others` | another collector's collection |
//! | `leaks` | the search for leaked goroutines |
//! | `shortway` | the short way of an allocation and of a free |
//! | `malloc` | the calls of the host |
//! | `bad_pointer` | what is said of a pointer to no object |
//! | `cycle` | one collection, and when it begins |
//! | `unstopped` | what is said of a thread that does not stop |
//! | `reach` | goroutines that wait for what nothing else reaches |
//! | `forked` | the heap in the child of a fork |
//! | `gctrace` | a line for each collection |
//! | `markers` | threads that mark too |
//! | `roots` | where marking begins |
//! | `host_stack` | where the stacks of a host thread are |
//! | `stop` | the threads |
//! | `mcaches` | all mcaches |
//! | `ranges` | a list that needs no malloc |
//! | `settings` | numbers of the environment |
//!
//! Invariants:
//! 1. Between stop and start the collector calls no `malloc`, and takes no lock
//!    but the library's own, which no stopped thread holds
//!    (`sched::suspended`).
//! 2. The heap is touched by a thread that is inside with a [`Busy`], or by the
//!    stopper. An mcache belongs to the M that holds its P, or to its M.
//! 3. Each word of the host's that the runtime keeps is in a G, in a record of
//!    `heap::kept`, or on a stack.
//!
//! [`Busy`]: crate::sched::suspended::Busy
//!
//! A process that makes no call of the heap has none of this: no mapping, no
//! handler, no signal.

mod bad_pointer;
pub(crate) mod cleanups;
pub(crate) mod cycle;
pub(crate) mod forked;
mod gctrace;
mod host_stack;
pub(crate) mod leaks;
pub(crate) mod malloc;
pub(crate) mod markers;
mod mcaches;
pub(crate) mod others;
mod ranges;
pub(crate) mod reach;
pub(crate) mod roots;
pub(crate) mod settings;
pub(crate) mod shortway;
mod stop;
pub(crate) mod unload;
mod unstopped;
