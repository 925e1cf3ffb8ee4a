//! The goroutines, for another collector in the process.
//!
//! Such a collector knows the threads that the program has told it of, and
//! stops them itself. It knows no goroutine: not the stacks, and not what the
//! runtime keeps for the host. So a thread of the host's stops the goroutines
//! first, then has the other collector collect, which asks for their stacks.
//!
//! ```text
//!   a thread of the host's                    the library
//!     stop                                      no fork; Ps Stopped, and the
//!       |                                       goroutines; the lists are held
//!     the other collector's collection
//!       | stops threads of the host's,
//!       | perhaps with a lock of ours
//!       +--- each --------------------------->  reads; takes no lock
//!     start                                     all go on
//! ```
//! Threads of the host's go on until the other collector stops them, and may be
//! anywhere then. The lists of `heap::kept` are changed by them too, so their
//! locks are held.
//!
//! Invariants:
//! 1. `OWNER` is the thread that has stopped the goroutines, or 0. `STOPPED` is
//!    that thread's.
//!
//! Rejected: the host's threads stopped too. In its handler such a thread hears
//! no signal of the other collector's, which would wait for ever.

use super::{
    malloc,
    roots::Roots,
    stop::{Stopped, Who, stop_threads},
};
use crate::{
    base::sync::{AtomicI32, Ordering::*},
    gmp::DEBUG,
    heap::kept,
    os::{Errno, Result, thread},
    sched::{fork::NoFork, stw::StoppedWorld},
};
use core::cell::UnsafeCell;

/// What is held from stop to start; dropped in this order.
struct Held {
    roots: Roots,
    kept: kept::Held,
    threads: Stopped,
    _world: StoppedWorld,
    _fork: NoFork,
}

struct Place(UnsafeCell<Option<Held>>);

// SAFETY: invariant 1.
unsafe impl Sync for Place {}

static OWNER: AtomicI32 = AtomicI32::new(0);
static STOPPED: Place = Place(UnsafeCell::new(None));

fn is_owner() -> bool {
    // Relaxed: the owner's own store, or another thread's.
    OWNER.load(Relaxed) == thread::gettid()
}

/// `gmp_gc_stop`.
///
/// Errors: `EPERM` on a goroutine, `EALREADY`, `EBUSY` if a thread does not
/// stop, `EDEADLK` in a callback, `ENOTSUP`, `ENOMEM`; `ESHUTDOWN` if the
/// runtime has ended meanwhile.
pub(crate) fn stop() -> Result<()> {
    if is_owner() {
        return Err(Errno(libc::EALREADY));
    }
    let mp = malloc::begin_as_host()?;
    // No goroutine runs on a stack that the other collector takes for a
    // thread's.
    DEBUG.hostrun.store(false, Relaxed);
    let fork = NoFork::begin();
    let Some(world) = StoppedWorld::begin() else {
        return Err(Errno(libc::ESHUTDOWN));
    };
    let Ok(threads) = stop_threads(mp, Who::Ours) else {
        drop(world);
        drop(fork);
        return Err(Errno(libc::EBUSY));
    };
    let kept = kept::Held::begin();
    let roots = Roots::new();
    let held = Held { roots, kept, threads, _world: world, _fork: fork };
    OWNER.store(thread::gettid(), Relaxed);
    // SAFETY: invariant 1; others have left before `NoFork` let us in.
    unsafe { *STOPPED.0.get() = Some(held) };
    Ok(())
}

/// `gmp_gc_each_stack`: calls `found` with each range of words that may hold
/// pointers of the host's.
///
/// Errors: `EPERM` if this thread has not stopped the goroutines; `ENOMEM`.
pub(crate) fn each(mut found: impl FnMut(usize, usize)) -> Result<()> {
    if !is_owner() {
        return Err(Errno(libc::EPERM));
    }
    // SAFETY: invariant 1.
    let held = unsafe { &mut *STOPPED.0.get() };
    let Some(held) = held else { return Err(Errno(libc::EPERM)) };
    if !held.roots.gather_ours(&held.threads, &held.kept) {
        return Err(Errno::ENOMEM);
    }
    let roots = &held.roots;
    for (from, to) in roots.plain.all().iter().chain(roots.guarded.all()) {
        found(*from, *to);
    }
    Ok(())
}

/// `gmp_gc_start`.
///
/// Errors: `EPERM` if this thread has not stopped the goroutines.
pub(crate) fn start() -> Result<()> {
    if !is_owner() {
        return Err(Errno(libc::EPERM));
    }
    // SAFETY: invariant 1.
    let held = unsafe { (*STOPPED.0.get()).take() };
    OWNER.store(0, Relaxed);
    drop(held);
    Ok(())
}
