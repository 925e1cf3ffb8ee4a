//! `GMPDEBUG=lockwait=SECONDS`: deadlocks of a living process, told once.
//!
//! In a host, threads that the library does not know may wake any goroutine, so
//! silence proves no deadlock (`sched::deadlock`). A circle of waiters does
//! (`cycles`). sysmon looks for circles whose waiters have all waited for so
//! many seconds, tells each on standard error, and the process goes on.
//!
//! A look takes a piece of the table of Gs, and ends after [`LOOK`], since
//! sysmon must not be late for its other work. A search that has begun is ended
//! by its own bound (`cycles`). All looks together take a fiftieth of a CPU at
//! most. A G that waits for something whose holder is known says so in a byte
//! (`G::held`), or is in the join word of another G; the rest costs two loads.
//! With the setting on, sysmon sleeps no longer than until the next look, in an
//! idle process too.
//!
//! To tell a deadlock takes longer, for the names and lines of frames. That is
//! the work of a goroutine, the reporter. sysmon gives one deadlock to it at a
//! time; another is still there at the next scan.
//!
//! Invariants:
//! 1. What is in [`SCAN`] is touched by sysmon's thread alone.
//! 2. `TO_TELL.circle` belongs to sysmon while `full` is false, and to the
//!    reporter while it is true.

use super::{
    live::{Deadlock, Search},
    look,
    own::{self, OwnThreads},
    plain,
};
use crate::{
    base::{
        alloc::put,
        print::{SigWriter, write_all},
        reserve,
        sync::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering::*},
    },
    gmp::{CLOSING, DEBUG, closing::Stage, each_g_from, handle_of},
    os::{Result, clock::nanotime},
    sched::{
        current::this_g, newproc::newproc_staying, park::park_plain,
        ready::ready_permit, sysmon::set_watcher,
    },
    timers::Deadline,
};
use core::{cell::UnsafeCell, ffi::c_void, ptr};
use gmprt_inspect::regs::Registers;
use std::io;

const SECOND: i64 = 1_000_000_000;
/// Gs of one look.
const PIECE: usize = 16_384;
/// Nanoseconds after which a look begins no further search.
const LOOK: i64 = 500_000;
/// Nanoseconds between two looks of one scan.
const BREAK: i64 = 1_000_000;
/// Nanoseconds between two scans, at most.
const PAUSE: i64 = 5 * SECOND;
/// A scan is followed by a pause of so many times its length, at least.
const SHARE: i64 = 50;

/// The scan that is under way.
struct Scan {
    /// The index of the G to go on with.
    next: AtomicU32,
    /// How many nanoseconds it has taken.
    spent: AtomicI64,
    /// When the next may begin.
    again: AtomicI64,
    search: Search,
}

// SAFETY: the search is touched by sysmon's thread alone (invariant 1).
unsafe impl Sync for Scan {}

static SCAN: Scan = Scan::new();

impl Scan {
    const fn new() -> Self {
        Self {
            next: AtomicU32::new(0),
            spent: AtomicI64::new(0),
            again: AtomicI64::new(0),
            search: Search::new(),
        }
    }
}

/// A deadlock on its way from sysmon to the reporter.
struct Handover {
    /// Invariant 2.
    full: AtomicBool,
    circle: UnsafeCell<Option<Deadlock>>,
    /// The handle of the reporter; 0 before it has begun.
    reporter: AtomicUsize,
}

// SAFETY: invariant 2.
unsafe impl Sync for Handover {}

static TO_TELL: Handover = Handover::new();

impl Handover {
    const fn new() -> Self {
        Self {
            full: AtomicBool::new(false),
            circle: UnsafeCell::new(None),
            reporter: AtomicUsize::new(0),
        }
    }
}

/// Makes sysmon look, and starts the reporter, if the setting says so.
///
/// Errors: `ENOMEM`.
pub(crate) fn start() -> Result<()> {
    if long() == 0 {
        return Ok(());
    }
    newproc_staying(reporter, ptr::null_mut(), c"lockwait")?;
    set_watcher(look);
    Ok(())
}

/// The nanoseconds after which a wait is long.
fn long() -> i64 {
    // Relaxed: set at boot.
    i64::from(DEBUG.lockwait.load(Relaxed)) * SECOND
}

/// sysmon looks at a piece; returns when it has to look again.
fn look(now: i64) -> i64 {
    let next = SCAN.next.load(Relaxed);
    if next == 0 {
        let again = SCAN.again.load(Relaxed);
        if now < again {
            return again;
        }
        SCAN.spent.store(0, Relaxed);
        SCAN.search.begin();
        // A wake-up that failed is made up for.
        if TO_TELL.full.load(Relaxed) {
            wake_reporter();
        }
    }
    let begin = nanotime();
    let next = piece(next, begin + LOOK);
    SCAN.next.store(next, Relaxed);
    let end = nanotime();
    let spent = SCAN.spent.load(Relaxed) + end - begin;
    SCAN.spent.store(spent, Relaxed);
    if next != 0 {
        return end + BREAK;
    }
    // All have been looked at. A deadlock is told a quarter later than the
    // setting says, at most, unless there are very many to look at.
    let pause = (long() / 4).min(PAUSE).max(spent * SHARE);
    SCAN.again.store(end + pause, Relaxed);
    end + pause
}

/// Looks at the Gs from index `first` on, until about this time; returns the
/// index to go on with, or 0 after the last.
fn piece(first: u32, until: i64) -> u32 {
    let mut late = false;
    for (n, gp) in each_g_from(first).enumerate() {
        if n == PIECE || late {
            return gp.index;
        }
        let Some(gp) = SCAN.search.waiter(gp) else { continue };
        if let Some(circle) = SCAN.search.look(gp, long())
            && hand_over(&circle)
        {
            SCAN.search.found(&circle);
        }
        late = nanotime() >= until;
    }
    0
}

/// Gives a deadlock to the reporter; false: it is busy, so try again.
fn hand_over(circle: &Deadlock) -> bool {
    // Acquire: both pair with `reporter`.
    let begun = TO_TELL.reporter.load(Acquire) != 0;
    if !begun || TO_TELL.full.load(Acquire) {
        return false;
    }
    // SAFETY: invariant 2.
    unsafe { *TO_TELL.circle.get() = Some(*circle) };
    // Release: pairs with `reporter`.
    TO_TELL.full.store(true, Release);
    wake_reporter();
    true
}

/// Has the reporter look at `full`. If that fails, the circle stays with the
/// reporter (invariant 2), and the next scan tries again.
fn wake_reporter() {
    let reporter = TO_TELL.reporter.load(Acquire);
    let _woken = ready_permit(reporter as *mut c_void);
}

/// The reporter: a goroutine of the library's, since it takes its time.
unsafe extern "C" fn reporter(_arg: *mut c_void) {
    // Release: pairs with hand_over.
    TO_TELL.reporter.store(handle_of(this_g()).addr(), Release);
    loop {
        park_plain(c"lockwait wait", Deadline::NEVER);
        if CLOSING.has_come(Stage::Closed) {
            return;
        }
        // Acquire: pairs with hand_over.
        if TO_TELL.full.load(Acquire) {
            // SAFETY: invariant 2.
            let circle = unsafe { (*TO_TELL.circle.get()).take() };
            // Release: pairs with hand_over.
            TO_TELL.full.store(false, Release);
            if let Some(circle) = circle {
                tell(&circle);
            }
        }
    }
}

/// Tells a deadlock on standard error.
fn tell(circle: &Deadlock) {
    let mut told = Err(io::ErrorKind::OutOfMemory.into());
    let g = own::address(Some(this_g()));
    let regs = Registers::here();
    let _no_room = look::apart(&mut || told = write(circle, g, regs));
    if told.is_err() {
        let mut w = SigWriter::stderr();
        plain::deadlock(&mut w, circle);
    }
}

/// Writes a deadlock with its places, in one piece.
fn write(circle: &Deadlock, g: usize, regs: Registers) -> io::Result<()> {
    let threads = OwnThreads::of_living(g, regs);
    let world = own::world(threads).map_err(io::Error::other)?;
    let mut all = Vec::new();
    own::deadlock(&world, circle, &reserve::is_pressed, &mut all)?;
    write_all(2, &all);
    Ok(())
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    // SAFETY: nobody uses it, the caller promises.
    unsafe { put(&raw const SCAN, Scan::new()) };
    // SAFETY: nobody uses it, the caller promises.
    unsafe { put(&raw const TO_TELL, Handover::new()) };
}
