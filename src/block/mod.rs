//! Everything that parks: channels, select, locks, groups, timers.
//!
//! All of it waits with one record (`gmp::wait`) and in one function
//! (`sched::park::park`), and nothing here touches a run queue. A waker, a
//! deadline and a cancel may each end a wait. One of them wins, and the others
//! change nothing.
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | waits in |
//! |---|---|
//! | `steps` | nothing: its goroutines wait where a step says |
//! | `net`, `file`, `child`, `io` | the poller's queues, by `fdwait` |
//! | `fdwait` | these queues |
//! | `group` | its wait group |
//! | `once`, `cond`, `mutex`, `rwmutex`, `sema` | `parking` |
//! | `barrier`, `waitgroup` | `parking` |
//! | `holder` | nothing: it knows who holds an object |
//! | `parking` | a table by address |
//! | `notify` | nothing: it sends signals on channels |
//! | `firing` | nothing: it sends ticks, or starts goroutines |
//! | `told` | nothing: what ThreadSanitizer is told of `steps` |
//! | `select`, `chan` | the channel's own queues |
//! | `patience` | nothing but a deadline |
//! | `hchan` | nothing: the memory of channels |
//! | `ticker` | nothing: timers of hosts |
//! | `element` | nothing: elements that a function moves |
//!
//! Objects that hosts embed (those that wait in `parking`) are plain words
//! without destructors.

pub(crate) mod barrier;
pub(crate) mod chan;
#[cfg(not(shuttle))]
pub(crate) mod child;
pub(crate) mod cond;
pub(crate) mod element;
#[cfg(not(shuttle))]
mod fdwait;
#[cfg(not(shuttle))]
pub(crate) mod file;
pub(crate) mod firing;
pub(crate) mod group;
mod hchan;
pub(crate) mod holder;
#[cfg(not(shuttle))]
pub(crate) mod io;
pub(crate) mod mutex;
#[cfg(not(shuttle))]
pub(crate) mod net;
#[cfg(not(shuttle))]
pub(crate) mod notify;
pub(crate) mod once;
pub(crate) mod parking;
mod patience;
pub(crate) mod rwmutex;
pub(crate) mod select;
pub(crate) mod sema;
pub(crate) mod steps;
pub(crate) mod ticker;
mod told;
pub(crate) mod waitgroup;
