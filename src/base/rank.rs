//! The order of the runtime's locks, and its check in debug builds.

#[cfg(all(debug_assertions, not(loom)))]
use super::throw::throw;

/// The lock order, outermost first: a thread that holds a lock of one rank
/// acquires only locks of ranks below it in this list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Rank {
    /// A fork (`sched/fork.rs`).
    Fork,
    /// The trace that is being taken (`trace/session.rs`).
    Trace,
    /// The right to dump the goroutines (`diag/look.rs`).
    Dumps,
    /// Functions of `GMP_INIT` that are still to be called (`boot/doinit.rs`).
    Inits,
    /// The right to stop the world and to change the number of Ps
    /// (`gmp/schedt.rs`).
    Stw,
    /// The roots of a collection (`gc/roots.rs`).
    Roots,
    /// The right to take a P from an M that is outside (`gmp/schedt.rs`).
    Retake,
    /// The tree of groups (`block/group.rs`).
    Groups,
    /// The members of one group (`block/group.rs`).
    Group,
    /// The winner of a race between addresses (`block/net.rs`).
    Dial,
    /// One timer of the host's (`block/ticker.rs`).
    Ticker,
    /// The channels that wait for signals (`block/notify.rs`).
    Signals,
    /// One channel (`block/hchan.rs`). Select locks several, in the order of
    /// their addresses.
    Chan,
    /// One bucket of waiters by address (`block/parking.rs`).
    Parking,
    /// The running calls of the host's functions (`sched/calls.rs`).
    Calls,
    /// The growth of the table of descriptors, and the exchange of the poller
    /// (`netpoll/poller.rs`).
    Netpoll,
    /// One descriptor (`netpoll/desc.rs`).
    Poll,
    /// Global lists: runnable and dead Gs, idle Ps and Ms (`gmp/schedt.rs`).
    Sched,
    /// Goroutines that wait for a stack (`sched/starved.rs`).
    Starved,
    /// The table of keys of goroutine-local storage (`sched/local.rs`).
    Keys,
    /// The growth of the table of all Gs (`gmp/gtab.rs`).
    Allg,
    /// The memory of Ms, their signal stacks, and the spare Ms
    /// (`sched/threads.rs`).
    Allp,
    /// One heap of timers (`timers/mod.rs`). Two at once while one is emptied
    /// into the other.
    Timers,
    /// One size class of stacks (`stack/pool.rs`).
    StackPool,
    /// Spans of one class and kind (`heap/mcentral.rs`).
    HeapCentral,
    /// The pages of a heap (`heap/mheap.rs`).
    HeapPages,
    /// What is to happen when an object goes (`heap/specials.rs`).
    Specials,
    /// What the runtime keeps for the host (`heap/kept.rs`), and what the host
    /// has named as roots (`gc/roots.rs`); words for a thread that does not
    /// stop (`gc/unstopped.rs`). Another collector's stop locks all lists of
    /// the first, in their order.
    Kept,
    /// The names of goroutines (`gmp/glife.rs`).
    Names,
    /// The events of threads without an M (`trace/recorder.rs`).
    Recorder,
    /// The thread that has ended last (`os/thread.rs`).
    Ended,
}

impl Rank {
    #[cfg(all(debug_assertions, not(loom)))]
    const COUNT: usize = Rank::Ended as usize + 1;

    /// Whether a thread may hold several locks of this rank at once.
    #[cfg(all(debug_assertions, not(loom)))]
    const fn nests(self) -> bool {
        matches!(self, Rank::Chan | Rank::Timers | Rank::Kept)
    }
}

/// The ranks that this thread holds, for the check of debug builds.
#[cfg(all(debug_assertions, not(loom)))]
pub(crate) mod held {
    use super::{Rank, throw};
    use core::cell::Cell;
    #[cfg(shuttle)]
    use shuttle::thread_local;

    thread_local! {
        /// How many locks of each rank this thread holds. Its initialiser is
        /// constant and it has no destructor, so a host thread keeps nothing
        /// of ours.
        pub(crate) static HELD: [Cell<u32>; Rank::COUNT] =
            const { [const { Cell::new(0) }; Rank::COUNT] };
    }

    // None of these is inlined: the caller may continue on another thread
    // after a switch, and must not have kept the address of HELD.

    /// Throws if this thread may not acquire a lock of `rank` now.
    #[inline(never)]
    pub(in crate::base) fn check(rank: Rank) {
        let first = rank as usize + usize::from(rank.nests());
        HELD.with(|held| {
            if held[first..].iter().any(|n| n.get() != 0) {
                throw("lock: acquired against the order of ranks");
            }
        });
    }

    #[inline(never)]
    pub(in crate::base) fn add(rank: Rank) {
        HELD.with(|held| {
            let n = &held[rank as usize];
            n.set(n.get() + 1);
        });
    }

    #[inline(never)]
    pub(in crate::base) fn remove(rank: Rank) {
        HELD.with(|held| {
            let n = &held[rank as usize];
            match n.get().checked_sub(1) {
                Some(rest) => n.set(rest),
                None => throw("unlock: not held by this thread"),
            }
        });
    }
}
