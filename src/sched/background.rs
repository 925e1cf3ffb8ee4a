//! The library's own goroutines: `bgsweep`, `bgscavenge`, the helper of
//! forcegc, and the one that calls cleanups.
//!
//! A burst of goroutines leaves stacks behind, in the pool and in the caches of
//! Ps that are idle by now, where their owners cannot give them back. bgsweep
//! empties those caches into the pool, and sweeps what a collection has left.
//! bgscavenge gives the pages of stacks that lie idle in the pool, and free
//! pages of the heap, back to the kernel, a part at a time.
//!
//! ```text
//!   sysmon --sees idle stacks--> bgscavenge --starts a round--> bgsweep
//!                                  ^      |                       ^  |
//!                                  +------+ until nothing is idle |  |
//!                                  |     a collection ------------+  |
//!                                  +------------- the heap is swept -+
//! ```
//! The helper of forcegc is there once the heap is used. sysmon wakes it where
//! nothing was collected for two minutes, though something was allocated. The
//! goroutine that calls cleanups is there once an object has one; bgsweep, or a
//! thread that has swept or freed, wakes it. Another one takes its place where
//! a cleanup has ended it, or left something behind (`gc::cleanups`).
//!
//! All end with the runtime (`winddown::stayers_live`), and park without a
//! deadline when there is nothing to do: an idle process has no wake-ups.
//!
//! Invariants:
//! 1. `SWEEPER` is null or the handle of bgsweep.
//! 2. `SCAVENGER` is not 0 only while bgscavenge waits for idle stacks, and
//!    `FORCER` only while the helper waits; the waker readies the goroutine
//!    whose handle it has taken out.

use super::{
    current::{this_g, this_m},
    enter::Inside,
    handoff::flush_idle,
    newproc::newproc_staying,
    park::park_plain,
    ready::ready_permit,
    suspended::Busy,
    yields::gosched,
};
use crate::{
    base::{
        sync::{AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering::*},
        trace::{Event, Kind, event},
    },
    gmp::{CLOSING, G, GmpFn, closing::Stage, gflag, handle_of},
    heap::{MHEAP, specials},
    os::{Result, clock::nanotime},
    stack,
    timers::Deadline,
};
use core::{
    ffi::{CStr, c_void},
    ptr,
};

/// The handle of bgscavenge while it waits for idle stacks; 0 otherwise.
pub(super) static SCAVENGER: AtomicUsize = AtomicUsize::new(0);
static SWEEPER: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
/// The handle of bgscavenge, once it has begun.
static SCAVENGER_HANDLE: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
/// How many of the two that the start makes have begun.
static BEGUN: AtomicU32 = AtomicU32::new(0);
/// The handle of the helper of forcegc while it waits; 0 otherwise.
static FORCER: AtomicUsize = AtomicUsize::new(0);
static FORCER_ITSELF: Late = Late::new();
static CLEANER: Late = Late::new();

/// A goroutine that is made when it is needed.
struct Late {
    /// Its handle, or null.
    handle: AtomicPtr<c_void>,
    /// Somebody starts it, or has.
    started: AtomicBool,
}

impl Late {
    const fn new() -> Self {
        Self {
            handle: AtomicPtr::new(ptr::null_mut()),
            started: AtomicBool::new(false),
        }
    }

    /// Starts it, unless it is there. It is tried again where there is no
    /// memory.
    #[inline(always)]
    fn start(&self, f: GmpFn, name: &'static CStr) -> Result<()> {
        if self.started.load(Relaxed) || self.started.swap(true, Relaxed) {
            return Ok(());
        }
        let made = newproc_staying(f, ptr::null_mut(), name);
        // Release: pairs with wake.
        match made {
            Ok(handle) => self.handle.store(handle, Release),
            Err(_) => self.started.store(false, Relaxed),
        }
        made.map(drop)
    }

    /// Gives it a permit, once it is there.
    fn wake(&self) {
        // Acquire: pairs with start.
        let _nobody = ready_permit(self.handle.load(Acquire));
    }

    fn reset(&self) {
        self.handle.store(ptr::null_mut(), Relaxed);
        self.started.store(false, Relaxed);
    }
}

/// Starts both; [`have_begun`] tells when they run.
///
/// Errors: `ENOMEM`.
pub(crate) fn start_both() -> Result<()> {
    start(bgsweep, c"bgsweep")?;
    start(bgscavenge, c"bgscavenge")
}

pub(crate) fn have_begun() -> bool {
    // Acquire: pairs with begin.
    BEGUN.load(Acquire) >= 2
}

fn start(f: GmpFn, name: &'static CStr) -> Result<()> {
    newproc_staying(f, ptr::null_mut(), name).map(drop)
}

/// Counts the calling goroutine as begun; returns it.
fn begin() -> &'static G {
    // Release: pairs with have_begun.
    BEGUN.fetch_add(1, Release);
    this_g()
}

/// Empties the caches of idle Ps into the pool, once for each permit.
unsafe extern "C" fn bgsweep(_arg: *mut c_void) {
    // Release: pairs with sweep.
    SWEEPER.store(handle_of(begin()), Release);
    loop {
        park_plain(c"sweep wait", Deadline::NEVER);
        if CLOSING.has_come(Stage::Closed) {
            return;
        }
        flush_idle();
        sweep_heap();
    }
}

/// Sweeps what the last collection has left, a few spans between two looks
/// whether others want to run.
fn sweep_heap() {
    const SPANS: usize = 64;
    while MHEAP.arenas().is_some() {
        let more = {
            let mp = this_m();
            let _inside = Inside::enter_on(mp);
            let _busy = Busy::begin(mp);
            (0..SPANS).all(|_| MHEAP.sweepone())
        };
        if CLOSING.has_come(Stage::Closed) {
            return;
        }
        if !more {
            heap_is_swept();
            return;
        }
        gosched();
    }
}

/// What comes after the last span.
pub(crate) fn heap_is_swept() {
    event(|| Event::of(Kind::GcSwept, 0));
    wake_cleaner();
    if MHEAP.excess() > 0 {
        wake(&SCAVENGER);
    }
}

/// Whether `gp` is a goroutine of the library's that calls no function of the
/// host's: the host has no pointer on its stack. What looks like one is left
/// over from a sweep. The world is stopped.
pub(crate) fn has_no_host(gp: &G) -> bool {
    let places = [&SWEEPER, &SCAVENGER_HANDLE, &FORCER_ITSELF.handle];
    // Relaxed: one that has just begun has swept nothing.
    gp.has(gflag::SYSTEM)
        && places.iter().any(|it| it.load(Relaxed) == handle_of(gp))
}

/// Gives free pages of the heap back to the kernel, a megabyte at a time.
fn scavenge_heap() {
    /// Bytes, and nanoseconds between two steps.
    const STEP: usize = 1 << 20;
    const PAUSE: i64 = 1_000_000;
    while !CLOSING.has_come(Stage::Closed)
        && MHEAP.arenas().is_some()
        && MHEAP.excess() > STEP / 2
        && MHEAP.scavenge(STEP) > 0
    {
        park_plain(c"scavenge pause", Deadline::at(nanotime() + PAUSE));
    }
}

/// Readies the goroutine whose handle is in `place`, if one waits there.
pub(super) fn wake(place: &AtomicUsize) {
    let handle = place.swap(0, AcqRel) as *mut c_void;
    // Fails for 0, and where the goroutine has ended with the runtime.
    let _nobody = ready_permit(handle);
}

/// Starts the helper of forcegc, which calls `collect`, unless it is there.
pub(crate) fn start_forcer(helper: GmpFn) {
    // Without memory now, the next allocation tries again.
    let _later = FORCER_ITSELF.start(helper, c"forcegc helper");
}

/// Starts the goroutine that calls cleanups, unless it is there.
///
/// Errors: `ENOMEM`.
pub(crate) fn start_cleaner(cleaner: GmpFn) -> Result<()> {
    CLEANER.start(cleaner, c"cleanups")
}

/// The goroutine waits until cleanups are due. False: it is to end.
pub(crate) fn cleaner_waits() -> bool {
    park_plain(c"cleanup wait", Deadline::NEVER);
    !CLOSING.has_come(Stage::Closed)
}

/// Whether the calling goroutine, which calls cleanups, is as it was before it
/// called one.
pub(crate) fn cleaner_is_as_new() -> bool {
    let gp = this_g();
    !gp.park.cancelled()
        && gp.defers.get().is_null()
        && gp.locals.get().is_null()
        && !gp.is_locked()
}

/// The calling goroutine is about to end: another one calls cleanups.
pub(crate) fn replace_cleaner(cleaner: GmpFn) {
    if CLOSING.has_come(Stage::Closed) {
        return;
    }
    CLEANER.reset();
    // Without memory now, the next object with a cleanup tries again.
    let _later = start_cleaner(cleaner);
    wake_cleaner();
}

/// Wakes it if some are due.
#[inline(always)]
pub(crate) fn wake_cleaner() {
    if specials::any_due() {
        CLEANER.wake();
    }
}

/// The helper waits until it is to collect. False: it is to end.
pub(crate) fn forcer_waits() -> bool {
    // Release: pairs with wake.
    FORCER.store(handle_of(this_g()).addr(), Release);
    park_plain(c"force gc (idle)", Deadline::NEVER);
    FORCER.store(0, Release);
    !CLOSING.has_come(Stage::Closed)
}

/// Has the helper collect.
#[inline(never)]
pub(super) fn forcegc() {
    if FORCER.load(Relaxed) != 0 {
        wake(&FORCER);
    }
}

/// Wakes bgsweep.
pub(crate) fn sweep() {
    // Null before bgsweep has begun: then nobody gets the permit. Acquire:
    // pairs with bgsweep's store.
    let _nobody = ready_permit(SWEEPER.load(Acquire));
}

/// Gives pages of idle stacks and of the heap back to the kernel, round by
/// round.
unsafe extern "C" fn bgscavenge(_arg: *mut c_void) {
    let handle = handle_of(begin());
    SCAVENGER_HANDLE.store(handle, Release);
    let handle = handle.addr();
    loop {
        // Release: pairs with sysmon's swap (invariant 2).
        SCAVENGER.store(handle, Release);
        park_plain(c"scavenge wait", Deadline::NEVER);
        SCAVENGER.store(0, Release);
        if CLOSING.has_come(Stage::Closed) {
            return;
        }
        sweep();
        while !CLOSING.has_come(Stage::Closed)
            && let Some(next) = stack::scavenge(nanotime()).next
        {
            park_plain(c"scavenge pause", Deadline::at(next));
        }
        scavenge_heap();
    }
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    SCAVENGER.store(0, Relaxed);
    SWEEPER.store(ptr::null_mut(), Relaxed);
    SCAVENGER_HANDLE.store(ptr::null_mut(), Relaxed);
    BEGUN.store(0, Relaxed);
    FORCER.store(0, Relaxed);
    FORCER_ITSELF.reset();
    CLEANER.reset();
}
