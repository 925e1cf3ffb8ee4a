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
    gctrace::Told,
    markers, mcaches,
    reach::{Own, Search, Waits},
    roots::{ANYWHERE, Objects, ROOTS, Roots},
    settings,
    stop::{Stopped, Who, stop_threads},
    unstopped::Unstopped,
};
use crate::{
    arch,
    base::{
        sanitize,
        sync::{AtomicU64, AtomicUsize, Ordering::*},
        trace::{Event, Kind, event},
    },
    gmp::{G, M},
    heap::{self, MHEAP, Marking, Work},
    os::{Errno, Result, clock::nanotime, ours::map_ours},
    sched::{
        background,
        enter::Inside,
        fiber, fork,
        handoff::{entersyscall, exitsyscall},
        stw,
        suspended::{self, Busy},
    },
};
use core::ffi::c_void;
use gmprt_inspect::memory::{Memory, OwnMemory};
use std::sync::OnceLock;

/// Bytes of the collector's stack.
const STACK: usize = 256 << 10;
/// Bytes of spans that take less long to sweep than bgsweep to wake.
const SWEPT_ALONE: usize = 512 << 10;
/// Attempts while objects are loaded and unloaded.
const ATTEMPTS: u32 = 10;

/// The collector's stack, or 0. Its user holds `SCHED.resize`.
static STACK_AT: AtomicUsize = AtomicUsize::new(0);
static WORK: OnceLock<Work> = OnceLock::new();
/// Collections that were made, and nanoseconds of their pauses: all, the
/// longest, and the last one's.
static CYCLES: AtomicU64 = AtomicU64::new(0);
static PAUSES: AtomicU64 = AtomicU64::new(0);
static LONGEST: AtomicU64 = AtomicU64::new(0);
/// Attempts that failed.
static FAILED: AtomicU64 = AtomicU64::new(0);

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

/// Tells the timeline.
fn tell(kind: Kind, bytes: usize, number: u64) {
    event(move || Event::of(kind, 0).with(bytes as u64, number));
}

/// How an attempt has ended.
enum Outcome {
    Done(Told),
    /// Objects were loaded meanwhile.
    Loaded,
    /// Not all memory can be looked through.
    Unseen(Errno),
    NoMemory,
    Failed(Unstopped),
}

/// [`start_from`] where the frames of the host begin above the caller's.
pub(crate) fn start(why: Why) -> Result<()> {
    unsafe extern "C" fn from(why: usize, _: usize, sp: usize) -> usize {
        let why =
            if why == Why::Asked as usize { Why::Asked } else { Why::Due };
        start_from(why, sp).map_or_else(|e| e.0 as usize, |()| 0)
    }
    // SAFETY: it takes a Why.
    match unsafe { arch::callsaved(from, why as usize, 0) } {
        0 => Ok(()),
        e => Err(Errno(e as i32)),
    }
}

/// Makes a collection. The caller has a G, and is not in a
/// callback.
///
/// The frames of the host, and the registers, lie from `sp` on. The frames
/// below are not looked at: they lie where the host's were when its stack was
/// deeper, and what it left there would keep garbage. So the first frame of a
/// call that may collect is `arch::callsaved`'s.
///
/// Errors: `EBUSY` if a thread does not stop, `ENOMEM`; `ESHUTDOWN` if the
/// runtime has ended meanwhile.
pub(crate) fn start_from(why: Why, sp: usize) -> Result<()> {
    gc_start(why, None, sp)
}

/// [`start`], and a search for leaked goroutines.
///
/// Errors: also those of `Search::add_memory`.
pub(super) fn gc_search(waits: &Waits) -> Result<()> {
    unsafe extern "C" fn start(waits: usize, _: usize, sp: usize) -> usize {
        // SAFETY: that of gc_search, which waits.
        let waits = unsafe { &*(waits as *const Waits) };
        let made = gc_start(Why::Asked, Some(waits), sp);
        made.map_or_else(|e| e.0 as usize, |()| 0)
    }
    let waits = core::ptr::from_ref(waits).addr();
    // SAFETY: it takes a Waits.
    match unsafe { arch::callsaved(start, waits, 0) } {
        0 => Ok(()),
        e => Err(Errno(e as i32)),
    }
}

/// Go's `gcStart`: a collection, if no other thread has made one meanwhile that
/// does as well.
#[inline(never)]
fn gc_start(why: Why, waits: Option<&Waits>, sp: usize) -> Result<()> {
    let seen = CYCLES.load(Acquire);
    let wanted = || {
        let more = why == Why::Asked || CYCLES.load(Acquire) == seen;
        if more {
            // Not a part of the stop that is told.
            stw::rest();
            // Before the stop, so that the pause does without it.
            MHEAP.sweep_all();
            tell(Kind::GcStop, MHEAP.live(), CYCLES.load(Relaxed) + 1);
        }
        more
    };
    let mut outcome = Outcome::Loaded;
    markers::hire(MHEAP.live());
    entersyscall();
    for _ in 0..ATTEMPTS {
        // The loader's lock may be held by a thread that has stopped for
        // another's collection.
        let objects = suspended::safely(Objects::ask);
        let mut own =
            waits.map(|waits| (waits, suspended::safely(|| Own::ask(waits))));
        let made = fork::while_none_forks(|| {
            stw::while_stopped_if(wanted, || {
                stopped(&objects, own.as_mut(), sp)
            })
        });
        objects.give_back();
        let Some(made) = made else {
            exitsyscall();
            return match why {
                Why::Due => Ok(()),
                Why::Asked => Err(Errno(libc::ESHUTDOWN)),
            };
        };
        outcome = made;
        if !matches!(outcome, Outcome::Loaded) {
            break;
        }
    }
    exitsyscall();
    finish(&outcome, why)
}

fn finish(outcome: &Outcome, why: Why) -> Result<()> {
    if let Outcome::Done(told) = outcome {
        let pause = told.pause();
        let pauses = PAUSES.fetch_add(pause, Relaxed) + pause;
        LONGEST.fetch_max(pause, Relaxed);
        if settings::TRACE.load(Relaxed) {
            let number = CYCLES.load(Relaxed);
            told.print(number, pauses, why == Why::Asked);
        }
        if why == Why::Due || MHEAP.in_use() > SWEPT_ALONE {
            background::sweep();
        }
        if why == Why::Asked {
            sweep_rest();
        }
        return Ok(());
    }
    tell(Kind::GcSwept, 0, 0);
    if let Outcome::Unseen(why) = *outcome {
        return Err(why);
    }
    FAILED.fetch_add(1, Relaxed);
    MHEAP.pacing.postpone(MHEAP.live(), nanotime());
    match outcome {
        Outcome::Failed(why) => {
            why.say();
            Err(Errno(libc::EBUSY))
        }
        Outcome::Loaded => Err(Errno(libc::EBUSY)),
        _ => Err(Errno::ENOMEM),
    }
}

/// Sweeps what nobody has swept yet.
fn sweep_rest() {
    while let Some(mp) = arch::getg().map(G::mp) {
        let _inside = Inside::enter_on(mp);
        let _busy = Busy::begin(mp);
        if !MHEAP.sweepone() {
            break;
        }
    }
    background::heap_is_swept();
}

/// What is done on the collector's stack.
struct Job<'a> {
    me: &'static M,
    sp: usize,
    objects: &'a Objects,
    /// Of a search for leaks.
    own: Option<&'a mut (&'a Waits, Own)>,
    outcome: Outcome,
}

/// With all Ps Stopped. This thread's frames and registers lie from `sp` on.
fn stopped<'a>(
    objects: &'a Objects,
    own: Option<&'a mut (&'a Waits, Own)>,
    sp: usize,
) -> Outcome {
    let (Some(gp), Some(top)) = (arch::getg(), stack()) else {
        return Outcome::NoMemory;
    };
    let outcome = Outcome::NoMemory;
    let mut job = Job { me: gp.mp(), sp, objects, own, outcome };
    // SAFETY: `collect` takes a Job and does not park; the stack is the
    // collector's.
    unsafe { arch::callon(collect, (&raw mut job).cast(), top) };
    job.outcome
}

/// The top of the collector's stack. The caller is the stopper.
fn stack() -> Option<usize> {
    let mut at = STACK_AT.load(Relaxed);
    if at == 0 {
        at = map_ours(STACK).ok()?.addr();
        if sanitize::valgrind() {
            sanitize::stack_made(at, STACK);
        }
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
    fn run(&mut self) -> Outcome {
        let began = nanotime();
        let stopped = match stop_threads(self.me, Who::All) {
            Ok(stopped) => stopped,
            // Here is room for the search for a name.
            Err(why) => return Outcome::Failed(Unstopped::of(why)),
        };
        let mut roots = ROOTS.lock();
        let here = (self.me, self.sp);
        // A search looks at more than pointers to objects.
        let near = match self.own {
            None => MHEAP.bounds(),
            Some(_) => ANYWHERE,
        };
        if !roots.gather(&stopped, self.objects, here, near, |_| false) {
            return self.without_roots(&roots);
        }
        let (before, goal) = (MHEAP.live(), MHEAP.pacing.trigger());
        let (stacks, globals) = roots.sizes();
        let stood = nanotime();
        tell(Kind::GcMark, before, 0);
        let marked = match self.own.take() {
            None => mark(&roots, before),
            Some(own) => self.mark_for_leaks(&stopped, &mut roots, own),
        };
        let (marked, markers) = match marked {
            Ok(marked) => marked,
            Err(outcome) => return outcome,
        };
        let done = nanotime();
        // What anybody did to an object that is freed now comes before what
        // others do to the next one there.
        let heap = (&raw const MHEAP).addr();
        sanitize::race_pass(fiber::stops(), heap);
        MHEAP.end(marked);
        mcaches::all().for_each(heap::MCache::prepare_for_sweep);
        // Release: pairs with gc_start's acquire.
        CYCLES.fetch_add(1, Release);
        drop(stopped);
        tell(Kind::GcEnd, marked, MHEAP.pacing.trigger() as u64);
        let parts = [stood - began, done - stood, nanotime() - done];
        Outcome::Done(Told {
            parts,
            markers,
            before,
            marked,
            goal,
            stacks,
            globals,
        })
    }

    /// Why there are no roots.
    fn without_roots(&self, roots: &Roots) -> Outcome {
        if roots.is_short() || self.objects.is_short() {
            return Outcome::NoMemory;
        }
        Outcome::Loaded
    }

    /// [`mark`], and a search for leaked goroutines. The roots of all have been
    /// gathered, so there is room for them.
    fn mark_for_leaks(
        &self,
        stopped: &Stopped,
        roots: &mut Roots,
        (waits, own): &mut (&Waits, Own),
    ) -> core::result::Result<Marked, Outcome> {
        let search = Search::begin(waits).map_err(Outcome::Unseen)?;
        let here = (self.me, self.sp);
        let left_out = |gp: &G| search.leaves_out(gp);
        if !roots.gather(stopped, self.objects, here, ANYWHERE, left_out) {
            return Err(self.without_roots(roots));
        }
        let added = search.add_memory(roots, own, self.objects);
        added.map_err(Outcome::Unseen)?;
        let work = WORK.get_or_init(Work::new);
        // Also that of the rounds after the first.
        work.begin(1).ok_or(Outcome::NoMemory)?;
        begin_marking();
        Ok((search.mark(roots, work), 1))
    }
}

/// The bytes that live, and how many threads have marked.
type Marked = (usize, u32);

/// All is swept, and no mcache has a span.
fn begin_marking() {
    MHEAP.sweep_all();
    MHEAP.begin_flushed(mcaches::all());
}

/// Marks from these roots, with `before` bytes alive at most. Returns the bytes
/// that live.
fn mark(roots: &Roots, before: usize) -> core::result::Result<Marked, Outcome> {
    let work = WORK.get_or_init(Work::new);
    let roots = heap::Roots {
        plain: roots.plain.all(),
        guarded: roots.guarded.all(),
        copy: |from, to| OwnMemory.read(from as u64, to),
    };
    let marking = Marking::new(&MHEAP, work, roots, 1);
    let marking = marking.ok_or(Outcome::NoMemory)?;
    begin_marking();
    let markers = markers::mark(&marking, before, roots.plain.len());
    Ok((marking.finish(), markers))
}
