//! Everything that parks: channels, select, locks, groups, timers.
//!
//! All of it waits through one record (`gmp::wait`) and `sched::gopark`,
//! and nothing here touches a run queue. A goroutine that waits here may be
//! woken by the object, a deadline or a cancel; who loses changes nothing.
//!
//! | files | wait in |
//! |---|---|
//! | `chan`, `select` | the channel's own queues |
//! | `mutex`, `rwmutex`, `cond`, `sema` | a table by address (`parking`) |
//! | `waitgroup`, `once` | the same |
//! | `group` | its wait group |
//! | `ticker` | nothing: it sends, or starts goroutines |
//! | `io`, `file`, `net`, `child` | the poller's queues (`fdwait`) |
//!
//! Objects that hosts embed (the second and third row) are plain words without
//! destructors.

pub(crate) mod chan;
#[cfg(not(shuttle))]
pub(crate) mod child;
pub(crate) mod cond;
#[cfg(not(shuttle))]
mod fdwait;
#[cfg(not(shuttle))]
pub(crate) mod file;
pub(crate) mod group;
#[cfg(not(shuttle))]
pub(crate) mod io;
pub(crate) mod mutex;
#[cfg(not(shuttle))]
pub(crate) mod net;
#[cfg(not(shuttle))]
pub(crate) mod notify;
pub(crate) mod once;
pub(crate) mod parking;
pub(crate) mod rwmutex;
pub(crate) mod select;
pub(crate) mod sema;
pub(crate) mod ticker;
pub(crate) mod waitgroup;
