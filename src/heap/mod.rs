//! The collected heap's memory: arenas, spans, size classes, caches, and the
//! marker.
//!
//! Here is how objects are laid out, handed out, found, marked and swept. What
//! is *not* here: who is stopped and how, which words are roots, when a cycle
//! runs, and on which thread. The layer knows no goroutine.
//!
//! The names are Go's. What differs:
//!
//! - Objects of 8 and 24 bytes lie 16 and 32 apart: an object begins with a
//!   granule of 16. Such small sizes have classes of their own all the same.
//! - The bits of objects are not in the `mspan` but beside the arena, two for
//!   each granule. So a word that may be a pointer costs one line of them.
//! - The alloc bits are true at any time, where Go's are stale and `freeindex`
//!   tells. So a stale pointer keeps nothing, and a second free is noticed.
//! - The sets of spans are lists under the central's lock instead of a
//!   lock-free `spanSet`, because a free takes spans out of the middle.
//! - Free pages are found by bitmaps and a bound for each arena, not by a radix
//!   tree.
//! - There is no tiny allocator: objects that share a block keep each other.
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | what |
//! |---|---|
//! | `cycle` | one collection; the sweep |
//! | `mark` | the marker |
//! | `candidates` | words that the marker has found |
//! | `near` | many words that may be pointers, at once |
//! | `malloc` | what a user asks of an object |
//! | `mcache` | the spans that one thread allocates from |
//! | `manual` | stacks of goroutines, in the table of arenas |
//! | `mheap` | spans from pages; the scavenger; statistics |
//! | `pagealloc` | which pages are free |
//! | `table` | a list that needs no `malloc` |
//! | `pacing` | when to collect |
//! | `freelist` | what a thread has freed by hand and hands out again |
//! | `find` | from a word to an object |
//! | `arena` | the arenas, and the table of them |
//! | `mcentral` | spans that no mcache has |
//! | `specials` | cleanups and weak pointers |
//! | `kept` | what the runtime keeps for the host elsewhere |
//! | `mspan` | a span; lists of spans |
//! | `sweepgen` | where a span is between two collections |
//! | `bits` | allocated, marked |
//! | `gcwork` | what is yet to be scanned; how markers end |
//! | `seal` | a second free is noticed |
//! | `poison` | freed memory, filled |
//! | `sizeclass` | the sizes |
//!
//! Every allocation of memory may fail, and then nothing has changed. A marker
//! that has no memory for its list goes on without (`gcwork`).

#[cfg(not(loom))]
pub(crate) mod arena;
pub mod bits;
#[cfg(not(loom))]
mod candidates;
#[cfg(not(loom))]
pub(crate) mod cycle;
#[cfg(not(loom))]
pub(crate) mod find;
#[cfg(not(loom))]
pub(crate) mod freelist;
pub mod gcwork;
#[cfg(not(loom))]
pub(crate) mod kept;
#[cfg(not(loom))]
pub(crate) mod malloc;
#[cfg(not(loom))]
mod manual;
#[cfg(not(loom))]
pub(crate) mod mark;
#[cfg(not(loom))]
pub(crate) mod mcache;
pub mod mcentral;
#[cfg(not(loom))]
pub(crate) mod mheap;
pub mod mspan;
#[cfg(not(loom))]
mod near;
#[cfg(not(loom))]
pub(crate) mod pacing;
#[cfg(not(loom))]
pub(crate) mod pagealloc;
#[cfg_attr(loom, expect(dead_code, reason = "a model hands nothing out"))]
mod poison;
mod seal;
pub mod sizeclass;
#[cfg(not(loom))]
pub(crate) mod specials;
pub mod sweepgen;
#[cfg(not(loom))]
mod table;
#[cfg(all(test, not(loom)))]
mod tests;
#[cfg(all(test, not(loom)))]
mod tests_faults;
#[cfg(all(test, not(loom)))]
mod tests_model;
#[cfg(all(test, not(loom)))]
mod tests_parts;
#[cfg(all(test, not(loom)))]
mod tests_threads;

#[cfg(not(loom))]
pub(crate) use self::mheap::MHEAP;
#[cfg(not(loom))]
pub use self::{
    find::Object,
    gcwork::{Gate, Work},
    mark::{Look, Marking, Range, Roots},
    mcache::{MCache, Taken, zero_few},
    mheap::{HeapStats, MHeap},
    mspan::SpanState,
    sizeclass::{FINE, Kind, MAX_SMALL, class_of, class_of_fine},
};
