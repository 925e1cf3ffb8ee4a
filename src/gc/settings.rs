//! The settings of collections, and those by which each call takes the long way
//! (`base::shortcut`).

use crate::{
    base::{
        sanitize,
        shortcut::{Why, set_closed},
        sync::{
            AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering::Relaxed,
        },
    },
    heap::MHEAP,
};

/// `GMPDEBUG=gcstress=N`: each Nth allocation collects; 0: none does.
pub(crate) static STRESS: AtomicU32 = AtomicU32::new(0);
/// `GMPDEBUG=gctrace=1`: a line for each collection.
pub(crate) static TRACE: AtomicBool = AtomicBool::new(false);
/// `GMP_GOGC`; `i32::MIN`: not set.
pub(crate) static PERCENT: AtomicI32 = AtomicI32::new(i32::MIN);

/// `GMP_MEMLIMIT`, in bytes; 0: not set.
pub(crate) static LIMIT: AtomicUsize = AtomicUsize::new(0);

/// Sets [`STRESS`].
pub(crate) fn set_stress(n: u32) {
    STRESS.store(n, Relaxed);
    set_closed(Why::Stress, n != 0);
}

/// `GMPDEBUG=forcegc=MS`.
pub(crate) fn set_period(ms: u32) {
    MHEAP.pacing.set_period(i64::from(ms) * 1_000_000);
}

/// What the environment has said is so, but for what the host has set since: a
/// runtime that starts again has the heap that it had.
pub(crate) fn apply() {
    static APPLIED: AtomicBool = AtomicBool::new(false);
    if APPLIED.swap(true, Relaxed) {
        return;
    }
    if STRESS.load(Relaxed) != 0 {
        MHEAP.set_poison();
    }
    if sanitize::memcheck() {
        set_closed(Why::Memcheck, true);
    }
    let percent = PERCENT.load(Relaxed);
    if percent != i32::MIN {
        MHEAP.pacing.set_percent(percent);
    }
    let limit = LIMIT.load(Relaxed);
    if limit != 0 {
        MHEAP.pacing.set_limit(limit);
    }
}
