//! The data of the scheduler: G (goroutine), M (OS thread), P (processor, the
//! right to run goroutines), their queues, and who owns a P.
//!
//! Nothing here decides: `sched` does. What is here is where each field is
//! guarded and, for what is lock-free, the protocol, in a file of its own that
//! runs under loom as well:
//!
//! | file | what | protocol |
//! |---|---|---|
//! | `keeper` | who sleeps in the poller | taken out by one of two |
//! | `owner` | which M holds a P | handoff, by membarrier |
//! | `joinword` | who frees what has ended | by the waiter, or one CAS |
//! | `parkword` | who wakes a waiter | one winner per wait |
//! | `runq` | a P's ring of runnable Gs | one producer, many thieves |
//! | `spinning` | who is woken to look for work | change, fence, look |
//!
//! Invariants:
//! 1. G, M and P live in type-stable memory: it is never unmapped nor reused
//!    for something else, so a stale reference reads an old or a new value of
//!    the same type, never garbage. Hence they are passed as `&'static`.
//! 2. A field marked *owner* is written only by its owner; for a G that is the
//!    thread that runs it, or, while it does not run, whoever took it out of
//!    the structure that held it (queue, list, wait record).
//! 3. A G is in at most one queue or list, chained by `schedlink`.

#[cfg(not(loom))]
mod ask;
#[cfg(not(loom))]
mod g;
#[cfg(not(loom))]
mod gfree;
#[cfg(not(loom))]
mod glife;
#[cfg(not(loom))]
mod gtab;
#[cfg(not(loom))]
mod m;
#[cfg(not(loom))]
mod p;
#[cfg(not(loom))]
mod schedt;
#[cfg(not(loom))]
mod settings;

pub mod joinword;
pub mod keeper;
pub mod owner;
pub mod parkword;
pub mod runq;
pub mod spinning;
#[cfg(not(loom))]
pub(crate) mod wait;

#[cfg(not(loom))]
pub(crate) use self::{
    ask::*,
    g::*,
    gfree::*,
    glife::*,
    gtab::{
        each_g, galloc, galloc_many, generation_of, handle_of, lookup,
        lookup_live,
    },
    m::*,
    p::*,
    schedt::*,
    settings::*,
};

/// The numbers of `asm/offsets.h`.
#[cfg(not(loom))]
pub(crate) mod offsets {
    include!(concat!(env!("OUT_DIR"), "/offsets.rs"));
}

#[cfg(not(loom))]
mod layout {
    use super::{G, M, offsets::*};
    use core::mem::offset_of;

    const _: () = assert!(offset_of!(G, stack_lo) == G_STACK_LO);
    const _: () = assert!(offset_of!(G, stack_hi) == G_STACK_HI);
    const _: () = assert!(offset_of!(G, stackguard0) == G_STACKGUARD0);
    const _: () = assert!(offset_of!(G, stackguard1) == G_STACKGUARD1);
    const _: () = assert!(offset_of!(G, sched_sp) == G_SCHED_SP);
    const _: () = assert!(offset_of!(G, m) == G_M);
    const _: () = assert!(offset_of!(M, g0) == M_G0);
    const _: () = assert!(offset_of!(M, curg) == M_CURG);
    const _: () = assert!(offset_of!(M, tls) == M_TLS);
    // A million parked goroutines pay for this each.
    const _: () = assert!(size_of::<G>() == 256);
}
