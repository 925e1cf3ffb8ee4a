//! The data of the scheduler: G (goroutine), M (OS thread), P (processor, the
//! right to run goroutines), their queues, and who owns a P.
//!
//! Nothing here decides: `sched` does. Each field says how it is guarded. What
//! is lock-free is a protocol in a file of its own, which loom runs as it is.
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | what | protocol |
//! |---|---|---|
//! | `layout` | the offsets that assembly uses are true | |
//! | `glife` | Gs between two lives | |
//! | `ask` | what sysmon is asked to do | |
//! | `schedt` | Go's `sched`, `allp`, `allm` | |
//! | `watched` | what is kept for sanitizers | |
//! | `gtab` | the table of Gs, and handles | |
//! | `wait` | records of waiters, and their queues | |
//! | `p`, `gfree`, `m`, `g` | P; dead Gs; M; G | |
//! | `gflag` | the bits of a G's flags | |
//! | `exception` | the unwinder's header of an exception of ours | |
//! | `waitfor` | how a goroutine waits, and what for | |
//! | `offsets` | the offsets that assembly uses | |
//! | `counters` | events counted for statistics | |
//! | `settings` | the settings of the environment | |
//! | `closing` | how far the end of the runtime has come | store, fence, look |
//! | `hostwait` | host threads asleep, counted | a flag taken by one of two |
//! | `joinword` | who frees what has ended | by the waiter, or one CAS |
//! | `keeper` | the M that keeps the time | change, fence, look |
//! | `owner` | which M holds a P | handoff, by membarrier |
//! | `parkword`, `waitword` | how a wait ends | one winner per wait |
//! | `runq` | a P's ring of runnable Gs | one producer, many thieves |
//! | `spinning` | when an M is woken to look for work | change, fence, look |
//! | `stopcount` | Ps that have yet to stop | the last one wakes |
//! | `suspend` | threads stopped for the collector | a signal, an answer |
//! | `watchman` | the sleep of sysmon | swaps of one word |
//!
//! Invariants:
//! 1. G, M and P live in type-stable memory: until the library is unloaded it
//!    is neither unmapped nor reused for something else, so a stale reference
//!    reads an old or a new value of the same type, never garbage. Hence they
//!    are passed as `&'static`.
//! 2. A field marked *owner* is written only by its owner; for a G that is the
//!    thread that runs it, or, while it does not run, the actor that took it
//!    out of the structure that held it (queue, list, wait record).
//! 3. A G is in at most one queue or list, chained by `schedlink`.

#[cfg(not(loom))]
mod ask;
#[cfg(not(loom))]
mod counters;
#[cfg(not(loom))]
pub(crate) mod exception;
#[cfg(not(loom))]
mod g;
#[cfg(not(loom))]
pub(crate) mod gflag;
#[cfg(not(loom))]
mod gfree;
#[cfg(not(loom))]
mod glife;
#[cfg(not(loom))]
pub(crate) mod gtab;
#[cfg(not(loom))]
mod layout;
#[cfg(not(loom))]
mod m;
#[cfg(not(loom))]
pub(crate) mod offsets;
#[cfg(not(loom))]
mod p;
#[cfg(not(loom))]
mod schedt;
#[cfg(not(loom))]
mod settings;

pub mod closing;
pub mod hostwait;
pub mod joinword;
pub mod keeper;
pub mod owner;
pub mod parkword;
pub mod runq;
pub mod spinning;
pub mod stopcount;
pub mod suspend;
#[cfg(not(loom))]
pub(crate) mod wait;
#[cfg(not(loom))]
pub(crate) mod waitfor;
pub mod waitword;
#[cfg(not(loom))]
pub(crate) mod watched;
pub mod watchman;

#[cfg(not(loom))]
pub(crate) use self::{
    ask::*,
    counters::*,
    g::*,
    gfree::*,
    glife::*,
    gtab::{
        each_g, each_g_from, g_at, galloc, galloc_many, generation_of,
        handle_of, lookup, lookup_live, num_gs,
    },
    m::*,
    p::*,
    schedt::*,
    settings::*,
};
