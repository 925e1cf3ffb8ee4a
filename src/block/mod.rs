//! Everything that parks: channels, mutexes, wait groups.
//!
//! All of it waits through one record ([`wait::Sudog`]) and `sched::gopark`,
//! and nothing here touches a run queue. A goroutine that waits here may be
//! woken by the object, a deadline or a cancel; who loses changes nothing.
//!
//! Objects that hosts embed (mutex, wait group) are plain words without
//! destructors: their waiters queue in a table by address (`sema`).

pub(crate) mod chan;
pub(crate) mod mutex;
pub(crate) mod sema;
pub(crate) mod wait;
pub(crate) mod waitgroup;
