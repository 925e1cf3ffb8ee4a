//! One collection, and when it begins.
//!
//! | cause | begins |
//! |---|---|
//! | an allocation finds the heap past its trigger | if nobody else has begun |
//! | `GMPDEBUG=gcstress=N` | at each Nth allocation |
//! | `gmp_gc` | always |
//! | forcegc: two minutes without one, and something was allocated | once |
//!
//! The thread that finds the cause makes the collection, on a stack of the
//! collector's own, since a goroutine's may be small. It gives its P away while
//! it waits for another stopper.
//!
//! An attempt fails if a thread does not answer, if there is no memory for the
//! roots or the marker, or if libraries come and go all the time. Then nothing
//! has happened, and the heap grows by another half before the next attempt.

use super::{
    markers, mcaches,
    roots::{Objects, ROOTS},
    settings,
    stop::{Failed, Who, stop_threads},
};
use crate::{
    arch,
    base::{
        print::SigWriter,
        sync::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::*},
    },
    gmp::{M, RUNTIME_INIT_TIME, gomaxprocs},
    heap::{self, MHEAP, Marking, Work},
    os::{Errno, Result, clock::nanotime, mem::map_data, task},
    sched::{
        background, fork,
        handoff::{entersyscall, exitsyscall},
        stw,
        urgent::{self, User},
    },
};
use core::{ffi::c_void, fmt::Write as _};
use gmprt_inspect::memory::{Memory, OwnMemory};
use std::sync::OnceLock;

/// Bytes of the collector's stack.
const STACK: usize = 256 << 10;
/// Attempts while objects are loaded and unloaded.
const ATTEMPTS: u32 = 3;

/// The collector's stack, or 0. Its user holds `SCHED.resize`.
static STACK_AT: AtomicUsize = AtomicUsize::new(0);
static WORK: OnceLock<Work> = OnceLock::new();
/// Said once that a thread does not stop.
static SAID: AtomicBool = AtomicBool::new(false);
/// Collections that were made, and nanoseconds of their pauses: all, the
/// longest, and the last one's.
static CYCLES: AtomicU64 = AtomicU64::new(0);
static PAUSES: AtomicU64 = AtomicU64::new(0);
static LONGEST: AtomicU64 = AtomicU64::new(0);
/// Attempts that failed.
static FAILED: AtomicU64 = AtomicU64::new(0);
/// When the last one ended.
static LAST: AtomicI64 = AtomicI64::new(0);

/// Why a collection begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    Due,
    Asked,
}

/// What collections have come to.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub cycles: u64,
    pub pauses: u64,
    pub longest: u64,
    pub failed: u64,
}

pub(crate) fn counts() -> Counts {
    // Relaxed: numbers, each for itself.
    Counts {
        cycles: CYCLES.load(Relaxed),
        pauses: PAUSES.load(Relaxed),
        longest: LONGEST.load(Relaxed),
        failed: FAILED.load(Relaxed),
    }
}

/// How an attempt has ended.
enum Outcome {
    Done {
        pause: i64,
        before: usize,
    },
    /// Objects were loaded meanwhile.
    Loaded,
    NoMemory,
    Failed(Failed),
}

/// [`gc_start_from`] where the frames of the host begin above the caller's.
pub(crate) fn gc_start(why: Why) -> Result<()> {
    unsafe extern "C" fn start(why: usize, _: usize, sp: usize) -> usize {
        let why =
            if why == Why::Asked as usize { Why::Asked } else { Why::Due };
        gc_start_from(why, sp).map_or_else(|e| e.0 as usize, |()| 0)
    }
    // SAFETY: it takes a Why.
    match unsafe { arch::callsaved(start, why as usize, 0) } {
        0 => Ok(()),
        e => Err(Errno(e as i32)),
    }
}

/// Makes a collection: Go's `gcStart`. The caller has a G, and is not in a
/// callback.
///
/// The frames of the host, and the registers, lie from `sp` on. The frames
/// below are not looked at: they lie where the host's were when its stack was
/// deeper, and what it left there would keep garbage. So the first frame of a
/// call that may collect is `arch::callsaved`'s.
///
/// Errors: `EBUSY` if a thread does not stop, `ENOMEM`.
#[inline(never)]
pub(crate) fn gc_start_from(why: Why, sp: usize) -> Result<()> {
    let seen = CYCLES.load(Acquire);
    let wanted = || {
        let more = why == Why::Asked || CYCLES.load(Acquire) == seen;
        if more {
            // Before the stop, so that the pause does without it.
            MHEAP.sweep_all();
        }
        more
    };
    let mut outcome = Outcome::Loaded;
    markers::hire(MHEAP.live());
    entersyscall();
    for _ in 0..ATTEMPTS {
        let objects = Objects::ask();
        let made = fork::while_none_forks(|| {
            stw::while_stopped_if(wanted, || stopped(&objects, sp))
        });
        let Some(made) = made else {
            exitsyscall();
            return Ok(());
        };
        outcome = made;
        if !matches!(outcome, Outcome::Loaded) {
            break;
        }
    }
    exitsyscall();
    finish(&outcome)
}

fn finish(outcome: &Outcome) -> Result<()> {
    if let Outcome::Done { pause, before } = *outcome {
        let pause = pause.max(0).unsigned_abs();
        PAUSES.fetch_add(pause, Relaxed);
        LONGEST.fetch_max(pause, Relaxed);
        LAST.store(nanotime(), Relaxed);
        if settings::TRACE.load(Relaxed) {
            print(pause, before);
        }
        background::sweep();
        return Ok(());
    }
    FAILED.fetch_add(1, Relaxed);
    MHEAP.pacing.postpone(MHEAP.live(), nanotime());
    match outcome {
        Outcome::Failed(why) => {
            if !SAID.swap(true, Relaxed) {
                warn(*why);
            }
            Err(Errno(libc::EBUSY))
        }
        _ => Err(Errno::ENOMEM),
    }
}

/// Says which thread keeps the collector from collecting.
fn warn(why: Failed) {
    let mut w = SigWriter::stderr();
    let signal = urgent::of(User::Collection).map(urgent::Name);
    let _ = match why {
        Failed::Signal => writeln!(
            w,
            "gmprt: no collection: another handler than the library's has \
             come for {}",
            signal.unwrap_or(urgent::Name(urgent::SIGNAL)),
        ),
        Failed::Thread(tid) => {
            let mut name = [0; 64];
            let name = task::thread_name(tid, &mut name);
            let name = core::str::from_utf8(name).unwrap_or("?");
            match signal {
                Some(signal) => writeln!(
                    w,
                    "gmprt: no collection: thread {tid} ({name}) does not \
                     stop; does it block {signal}?"
                ),
                None => writeln!(
                    w,
                    "gmprt: no collection: thread {tid} ({name}) came to no \
                     safe point; GMP_GC_SIGNAL is 0"
                ),
            }
        }
    };
    w.flush();
}

/// Go's line.
fn print(pause: u64, before: usize) {
    const MB: usize = 1 << 20;
    let now = nanotime() - RUNTIME_INIT_TIME.load(Relaxed);
    let stats = MHEAP.stats();
    let mut w = SigWriter::stderr();
    let _ = writeln!(
        w,
        "gc {} @{}.{:03}s: {}.{:03} ms clock, {}->{} MB, {} MB goal, {} MB \
         in pages, {} P",
        CYCLES.load(Relaxed),
        now / 1_000_000_000,
        now / 1_000_000 % 1000,
        pause / 1_000_000,
        pause / 1_000 % 1000,
        before / MB,
        MHEAP.pacing.marked() / MB,
        stats.trigger / MB,
        stats.in_use / MB,
        gomaxprocs(),
    );
    w.flush();
}

/// What is done on the collector's stack.
struct Job<'a> {
    me: &'static M,
    sp: usize,
    objects: &'a Objects,
    outcome: Outcome,
}

/// With all Ps Stopped. This thread's frames and registers lie from `sp` on.
fn stopped(objects: &Objects, sp: usize) -> Outcome {
    let (Some(gp), Some(top)) = (arch::getg(), stack()) else {
        return Outcome::NoMemory;
    };
    let mut job = Job { me: gp.mp(), sp, objects, outcome: Outcome::NoMemory };
    // SAFETY: `collect` takes a Job and does not park; the stack is the
    // collector's.
    unsafe { arch::callon(collect, (&raw mut job).cast(), top) };
    job.outcome
}

/// The top of the collector's stack. The caller is the stopper.
fn stack() -> Option<usize> {
    let mut at = STACK_AT.load(Relaxed);
    if at == 0 {
        at = map_data(STACK).ok()?.addr();
        STACK_AT.store(at, Relaxed);
    }
    Some(at + STACK)
}

unsafe extern "C" fn collect(job: *mut c_void) {
    // SAFETY: that of `stopped`, which waits.
    let job = unsafe { &mut *job.cast::<Job<'_>>() };
    job.outcome = job.run();
}

impl Job<'_> {
    fn run(&self) -> Outcome {
        let began = nanotime();
        let stopped = match stop_threads(self.me, Who::All) {
            Ok(stopped) => stopped,
            Err(why) => return Outcome::Failed(why),
        };
        let mut roots = ROOTS.lock();
        if !roots.gather(&stopped, self.objects, self.me, self.sp) {
            return Outcome::Loaded;
        }
        let work = WORK.get_or_init(Work::new);
        let all = heap::Roots {
            plain: roots.plain.all(),
            guarded: roots.guarded.all(),
            copy: |from, to| OwnMemory.read(from as u64, to),
        };
        let Some(marking) = Marking::new(&MHEAP, work, all, 1) else {
            return Outcome::NoMemory;
        };
        let before = MHEAP.live();
        MHEAP.sweep_all();
        MHEAP.begin_flushed(mcaches::all());
        markers::mark(&marking, before);
        MHEAP.end(marking.finish());
        mcaches::all().for_each(heap::MCache::prepare_for_sweep);
        // Release: pairs with gc_start's acquire.
        CYCLES.fetch_add(1, Release);
        drop(stopped);
        Outcome::Done { pause: nanotime() - began, before }
    }
}
