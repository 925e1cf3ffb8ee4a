//! The threads that mark beside the collector. Go up to 1.4 had idle Ms do it
//! (`helpgc`); here they may be the host's threads, or be stopped.
//!
//! A heap of 16 MB has one marker, and each 16 MB more has another, up to one
//! for each P; the stack of a goroutine counts as half a kilobyte. The threads
//! are made before a collection that wants them. One that finds nothing to do
//! for as long as an idle M may last (`GMPDEBUG=idlethread`) ends.
//!
//! ```text
//!   collector                          marker
//!     MARKING; open the gate             sleep while ROUND is what it was
//!     ROUND += 1; wake                   pass the gate; mark; leave
//!     mark; shut the gate                again
//! ```
//! A marker that is not awake in time finds the gate shut. `heap::gcwork` has
//! the protocol of the gate.
//!
//! Invariants:
//! 1. Only what is inside of the gate looks at `MARKING`.
//! 2. `MARKERS` counts the threads, from before they are made, which another
//!    thread may do, or fail to.

use super::settings;
use crate::{
    base::{
        Futex,
        sync::{AtomicPtr, AtomicU32, Ordering::*},
    },
    gmp::{CLOSING, DEBUG, MKind, closing::Stage, gcount, gomaxprocs},
    heap::{Gate, Marking},
    os::{OsFutex, clock::nanotime},
    sched::threads::{MARKERS, newm},
};
use core::ptr;

/// Bytes of objects for each marker.
const SHARE: usize = 16 << 20;
/// Bytes of objects that take as long as the stack of a goroutine.
const STACK: usize = 512;

static GATE: Gate = Gate::new();
static MARKING: AtomicPtr<Marking<'static>> = AtomicPtr::new(ptr::null_mut());
/// atomic: a number for each collection.
static ROUND: AtomicU32 = AtomicU32::new(0);

/// How many others are to mark where so many bytes are alive, and so many
/// goroutines.
fn wanted(live: usize, stacks: usize) -> u32 {
    let live = live.saturating_add(stacks * STACK);
    let procs = u32::try_from(gomaxprocs()).unwrap_or(1);
    let shares = match settings::STRESS.load(Relaxed) {
        0 => u32::try_from(live / SHARE).unwrap_or(u32::MAX),
        // All that there may be, for a test.
        _ => u32::MAX,
    };
    shares.min(procs.saturating_sub(1))
}

/// Makes the threads that a collection wants. Fewer will do.
pub(super) fn hire(live: usize) {
    let wanted = wanted(live, usize::try_from(gcount()).unwrap_or(0));
    let more = |n: u32| (n < wanted).then_some(n + 1);
    while MARKERS.fetch_update(Relaxed, Relaxed, more).is_ok() {
        if newm(MKind::Marker, Some(marker), None).is_err() {
            MARKERS.fetch_sub(1, Relaxed);
            return;
        }
    }
}

/// Marks, with the others, where so many bytes are alive, and so many stacks.
/// The world is stopped. Returns how many mark.
pub(super) fn mark(marking: &Marking<'_>, live: usize, stacks: usize) -> u32 {
    let others = wanted(live, stacks).min(MARKERS.load(Relaxed));
    if others == 0 {
        marking.run::<true>();
        return 1;
    }
    let at = ptr::from_ref(marking).cast_mut();
    // Relaxed: the gate publishes it.
    MARKING.store(at.cast(), Relaxed);
    GATE.open();
    ROUND.fetch_add(1, Release);
    OsFutex::wake(&raw const ROUND, others);
    marking.run::<false>();
    GATE.shut();
    others + 1
}

/// Marks beside the collector, if it does.
fn help() {
    if !GATE.enter() {
        return;
    }
    // SAFETY: invariant 1: the collector waits.
    let marking = unsafe { &*MARKING.load(Relaxed) };
    marking.join();
    marking.run::<false>();
    GATE.leave();
}

/// A thread of them.
fn marker() {
    let mut seen = ROUND.load(Acquire);
    loop {
        help();
        if CLOSING.has_come(Stage::Leaving) {
            break;
        }
        let deadline = match DEBUG.idlethread.load(Relaxed) {
            0 => i64::MAX,
            ms => nanotime().saturating_add(i64::from(ms) * 1_000_000),
        };
        let woken = OsFutex::wait(&ROUND, seen, deadline);
        let now = ROUND.load(Acquire);
        if !woken && now == seen {
            break;
        }
        seen = now;
    }
    MARKERS.fetch_sub(1, Relaxed);
}

/// In the stage Leaving: lets them end. Repeated until they have.
pub(crate) fn end() {
    if MARKERS.load(Relaxed) != 0 {
        ROUND.fetch_add(1, Release);
        OsFutex::wake(&raw const ROUND, u32::MAX >> 1);
    }
}
