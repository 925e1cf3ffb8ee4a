//! M: an OS thread that runs goroutines, or a host thread that calls us.
//!
//! | kind | thread | g0 | P |
//! |---|---|---|---|
//! | Worker | ours; m0 too | its own | takes and leaves them |
//! | Early | a Worker's, with all signals blocked | its own | as a Worker |
//! | Sysmon, Template, Tracer, Dumper | ours | its own | never |
//! | Host | the host's | while it runs a goroutine in place | only then |
//!
//! The M's thread owns all fields but those marked otherwise.

use super::{G, P, hostwait::HostWait, suspend::Suspend};
use crate::{
    base::{
        sanitize::{Bounds, Fake, Fiber, watches},
        throw::throw,
    },
    heap::MCache,
    os::{Note, key::KeyNumber},
};
use core::{
    cell::{Cell, UnsafeCell},
    ffi::c_void,
    ptr,
    sync::atomic::{
        AtomicBool, AtomicI32, AtomicPtr, AtomicU64, AtomicUsize,
        Ordering::{Acquire, Relaxed},
    },
};

/// The kind of an M's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum MKind {
    Worker,
    /// Becomes a Worker before it runs a goroutine of the host's; see
    /// `sched::sigmask`.
    Early,
    Sysmon,
    Template,
    /// Writes the file of a trace.
    Tracer,
    /// Writes the dumps that a signal asks for.
    Dumper,
    /// Marks beside the collector.
    Marker,
    Host,
}

/// The most records of what goroutines defer that an M keeps.
const DEFERS: usize = 32;

/// A function that runs right after a switch, on the next stack, for the
/// goroutine that has left: its own stack is free. A hook must not park.
pub(crate) type HookFn = fn(gp: &'static G, arg: usize) -> HookResult;

/// A hook's decision about the goroutine that has left.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookResult {
    /// The goroutine belongs to another actor now.
    Left,
    /// The goroutine's wait is over already: ready it.
    Ready,
}

/// The hook that a switch leaves behind for the next stack.
#[derive(Clone, Copy)]
pub(crate) struct Hook {
    pub run: HookFn,
    pub gp: &'static G,
    pub arg: usize,
}

/// The two words behind `__cxa_get_globals`.
pub(crate) type CxaGlobals = [usize; 2];

/// What a sanitizer knows of the g0 of an M, while a goroutine runs. All
/// fields: the M's thread.
pub(crate) struct WatchedG0 {
    pub fiber: Cell<Fiber>,
    pub fake: Cell<Fake>,
    pub bounds: Cell<Bounds>,
    /// Where the frames of the host's begin on a host thread's stack, which
    /// LeakSanitizer has as a root from there on; else 0.
    pub root: Cell<usize>,
    /// Where the frames are of the stack on which the thread has stopped; read
    /// by the collector.
    pub stands: Cell<Fake>,
    /// ThreadSanitizer knows the thread's thread-local storage.
    pub told: Cell<bool>,
}

impl WatchedG0 {
    pub(crate) const fn new() -> Self {
        Self {
            fiber: Cell::new(ptr::null_mut()),
            fake: Cell::new(ptr::null_mut()),
            bounds: Cell::new(Bounds { lo: 0, len: 0 }),
            root: Cell::new(0),
            stands: Cell::new(ptr::null_mut()),
            told: Cell::new(false),
        }
    }

    /// Another thread has this M.
    pub(crate) fn begin(&self) {
        self.root.set(0);
        self.told.set(false);
    }
}

/// An OS thread. The first fields are known to assembly.
#[repr(C, align(64))]
pub(crate) struct M {
    pub g0: Cell<Option<&'static G>>,
    /// The goroutine that the M runs; read by sysmon and by dumps.
    pub curg: AtomicPtr<G>,
    /// The P that the M holds, unless a retaker has taken it (`owner`).
    pub p: Cell<Option<&'static P>>,
    /// tls\[0\] is the address of this thread's word of g.
    pub tls: Cell<[usize; 2]>,
    /// Set while the thread is inside; retakers read it (`owner`).
    pub in_runtime: AtomicBool,
    pub spinning: Cell<bool>,
    /// sysmon sets, the M's thread clears: the P was taken while the goroutine
    /// was busy, and the M has neither had a P nor slept since.
    pub busy_without_p: AtomicBool,
    pub kind: Cell<MKind>,
    /// It may switch from goroutine to goroutine without g0: a Worker with its
    /// signal mask, unless a sanitizer watches. Any thread clears it: the mask
    /// has changed (`sched::sigmask`).
    pub direct: AtomicBool,
    pub errno: Cell<*mut i32>,
    pub cxa: Cell<*mut CxaGlobals>,
    pub hook: Cell<Option<Hook>>,

    pub id: Cell<i64>,
    /// The kernel's id of the thread (Go's procid); 0 while there is none.
    pub procid: AtomicI32,
    /// Of a host thread, for reports: its thread pointer, else 0; and its
    /// stand-in, written before that.
    pub tp: AtomicUsize,
    pub standin: AtomicPtr<G>,
    /// Once it has been a host thread's: it is in the list of those.
    pub hostlisted: Cell<bool>,
    /// Written before the M is published in that list, and not after that.
    pub hostlink: Cell<Option<&'static M>>,
    /// The note on which the M sleeps.
    pub park: Note,
    /// Of a host thread: the key that has a value for it.
    pub key: Cell<KeyNumber>,
    /// Only the waker ends the wait of the host thread.
    pub lasts: AtomicBool,
    /// The last wait of the host thread has ended as the runtime ends.
    pub shut: Cell<bool>,
    /// Whether the M's host thread counts as asleep.
    pub hostwait: HostWait,
    /// The P that the waker of the M brings; the waker writes it.
    pub nextp: Cell<Option<&'static P>>,
    /// The P that the M had last.
    pub oldp: Cell<Option<&'static P>>,
    /// The goroutine that g0 runs next, picked before the switch to g0.
    pub nextg: Cell<Option<&'static G>>,
    pub lockedg: Cell<Option<&'static G>>,
    /// The goroutine's locks to the M less its unlocks.
    pub lockedext: Cell<u32>,
    /// The function that the thread runs instead of the scheduler.
    pub mstartfn: Cell<Option<fn()>>,
    /// sched.lock: idle list.
    pub schedlink: Cell<Option<&'static M>>,
    /// Written before the M is published in `allm`, and not after that.
    pub alllink: Cell<Option<&'static M>>,
    /// The low end and size of the signal stack that is ours; 0 if none is.
    pub gsignal: Cell<(usize, usize)>,
    pub rng: Cell<u64>,
    /// sched.lock: on the idle list, and the M before it there.
    pub idle: Cell<bool>,
    pub idleprev: Cell<Option<&'static M>>,
    /// The M's thread sets it once: where events go, or null (`trace`).
    pub recorder: AtomicPtr<c_void>,
    /// How many locks the thread holds, where its storage has that; null where
    /// that cannot be found (`base::turnstile`).
    pub held: AtomicPtr<AtomicI32>,
    /// Of a host thread: nobody tells of its end, since its key was deleted.
    pub ends_untold: AtomicBool,
    /// The goroutine, or stand-in, whose `unlockf` the thread calls.
    pub unlocking: Cell<Option<&'static G>>,
    /// Memory for what goroutines defer (`sched::defers`), and how much.
    pub deferpool: [Cell<*mut c_void>; DEFERS],
    pub ndefers: Cell<usize>,
    /// The M's thread adds, any thread reads: polls for descriptors, and the
    /// events that these brought, over all threads that the M has had.
    polls: AtomicU64,
    poll_events: AtomicU64,
    /// What a sanitizer knows of g0, while a goroutine runs.
    pub watched: WatchedG0,
    /// How the M's thread stops for the collector.
    pub suspend: Suspend,
    /// The thread has made sure that the signal of a stop comes through.
    pub listens: Cell<bool>,
    /// What is left of a sleep that a signal of ours has interrupted
    /// (`os::interrupted`); the kernel writes it.
    pub rest: UnsafeCell<libc::timespec>,
    /// What the M's thread allocates from where it has no P; it stays.
    pub mcache: Cell<Option<&'static MCache>>,
    /// That of `p`, or `mcache` without one: `note_mcache` follows each change
    /// of these. None also where a call is to take the long way.
    pub mcache_at_hand: Cell<Option<&'static MCache>>,
    /// `mcache`, in the region of a `gmp_blocking` (`sched::suspended`).
    pub mcache_aside: Cell<Option<&'static MCache>>,
}

// SAFETY: the Cells belong to the M's thread, to the M's waker or to the holder
// of sched.lock, as their comments say; the rest is atomic.
unsafe impl Sync for M {}
// SAFETY: nothing in it is tied to the thread that made it.
unsafe impl Send for M {}

impl M {
    /// Sets the P that the M holds, on its thread.
    pub(crate) fn set_p(&self, pp: Option<&'static P>) {
        self.p.set(pp);
        self.note_mcache();
    }

    /// Takes the P that the M holds, on its thread.
    pub(crate) fn take_p(&self) -> Option<&'static P> {
        let pp = self.p.get()?;
        self.set_p(None);
        Some(pp)
    }

    /// An mcache of the M, or of its P, is another one.
    pub(crate) fn note_mcache(&self) {
        let cache = match self.p.get() {
            Some(pp) => pp.mcache.get(),
            None => self.mcache.get(),
        };
        self.mcache_at_hand.set(cache);
    }

    /// Whether the thread is inside, or at work on the heap, which counts as
    /// inside.
    pub(crate) fn is_inside(&self) -> bool {
        // Acquire: pairs with leave_on.
        self.in_runtime.load(Acquire) || self.suspend.is_at_work()
    }

    pub(crate) const fn new(kind: MKind) -> Self {
        Self {
            g0: Cell::new(None),
            curg: AtomicPtr::new(ptr::null_mut()),
            p: Cell::new(None),
            in_runtime: AtomicBool::new(true),
            spinning: Cell::new(false),
            busy_without_p: AtomicBool::new(false),
            kind: Cell::new(kind),
            direct: AtomicBool::new(false),
            errno: Cell::new(ptr::null_mut()),
            cxa: Cell::new(ptr::null_mut()),
            hook: Cell::new(None),
            tls: Cell::new([0; 2]),
            id: Cell::new(-1),
            procid: AtomicI32::new(0),
            tp: AtomicUsize::new(0),
            standin: AtomicPtr::new(ptr::null_mut()),
            hostlisted: Cell::new(false),
            hostlink: Cell::new(None),
            park: Note::new(),
            key: Cell::new(KeyNumber::NONE),
            lasts: AtomicBool::new(false),
            shut: Cell::new(false),
            hostwait: HostWait::new(),
            nextp: Cell::new(None),
            oldp: Cell::new(None),
            nextg: Cell::new(None),
            lockedg: Cell::new(None),
            lockedext: Cell::new(0),
            mstartfn: Cell::new(None),
            schedlink: Cell::new(None),
            alllink: Cell::new(None),
            gsignal: Cell::new((0, 0)),
            idle: Cell::new(false),
            idleprev: Cell::new(None),
            rng: Cell::new(1),
            recorder: AtomicPtr::new(ptr::null_mut()),
            held: AtomicPtr::new(ptr::null_mut()),
            ends_untold: AtomicBool::new(false),
            unlocking: Cell::new(None),
            deferpool: [const { Cell::new(ptr::null_mut()) }; DEFERS],
            ndefers: Cell::new(0),
            polls: AtomicU64::new(0),
            poll_events: AtomicU64::new(0),
            watched: WatchedG0::new(),
            suspend: Suspend::new(),
            listens: Cell::new(false),
            rest: UnsafeCell::new(libc::timespec { tv_sec: 0, tv_nsec: 0 }),
            mcache: Cell::new(None),
            mcache_at_hand: Cell::new(None),
            mcache_aside: Cell::new(None),
        }
    }

    /// It runs goroutines from now on, as a Worker.
    pub(crate) fn becomes_worker(&self) {
        self.kind.set(MKind::Worker);
        self.has_its_mask();
    }

    /// It may switch without g0, unless a sanitizer watches.
    pub(crate) fn has_its_mask(&self) {
        self.direct.store(!watches(), Relaxed);
    }

    /// The M's g0, which is set before the thread begins.
    pub(crate) fn g0(&self) -> &'static G {
        let Some(g0) = self.g0.get() else { throw("an M without a g0") };
        g0
    }

    /// Counts a poll of the M's thread, which brought so many events.
    pub(crate) fn count_poll(&self, events: usize) {
        // Relaxed, load and store: only the M's thread writes.
        let add = |to: &AtomicU64, n| to.store(to.load(Relaxed) + n, Relaxed);
        add(&self.polls, 1);
        add(&self.poll_events, events as u64);
    }

    /// How many polls there were, and how many events.
    pub(crate) fn polls(&self) -> (u64, u64) {
        // Relaxed: counters, each for itself.
        (self.polls.load(Relaxed), self.poll_events.load(Relaxed))
    }

    /// Whether the M's thread never runs goroutines.
    pub(crate) fn is_system(&self) -> bool {
        matches!(
            self.kind.get(),
            MKind::Sysmon
                | MKind::Template
                | MKind::Tracer
                | MKind::Dumper
                | MKind::Marker
        )
    }

    /// Whether `gp` is the M's g0.
    #[inline(always)]
    pub(crate) fn is_g0(&self, gp: &G) -> bool {
        // Compared as addresses: no test for an M without one.
        let g0 = self.g0.get().map_or(ptr::null(), ptr::from_ref);
        ptr::eq(g0, gp)
    }
}

/// Stands for no M: a goroutine that is locked to it continues on any M but the
/// one that it left (`sched::migrate`).
pub(crate) static ELSEWHERE: M = M::new(MKind::Worker);
