//! M: an OS thread that runs goroutines, or a host thread that calls us.
//!
//! | kind | thread | g0 | P |
//! |---|---|---|---|
//! | Worker | ours; m0 too | its own | takes and leaves them |
//! | Early | a Worker's, with all signals blocked | its own | likewise |
//! | Sysmon, Template | ours | its own | never |
//! | Host | the host's | while it runs a goroutine in place | only then |
//!
//! The M's thread owns all fields but those marked otherwise.

use super::{G, P, hostwait::HostWait};
use crate::{base::throw::throw, os::Note};
use core::{
    cell::Cell,
    ptr,
    sync::atomic::{AtomicBool, AtomicI32, AtomicPtr},
};

/// What kind of thread an M is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MKind {
    Worker,
    /// Becomes a Worker before it runs a goroutine of the host's; see
    /// `sched::sigmask`.
    Early,
    Sysmon,
    Template,
    Host,
}

/// A function that runs right after a switch, on the next stack, for the
/// goroutine that was left: nobody uses its stack any more. It must not park.
pub(crate) type HookFn = fn(gp: &'static G, arg: usize) -> HookResult;

/// What a hook decided about the goroutine that was left.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookResult {
    /// It belongs to another actor now.
    Left,
    /// Its wait is over already: ready it.
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

/// An OS thread. The first fields are known to assembly.
#[repr(C, align(64))]
pub(crate) struct M {
    pub g0: Cell<Option<&'static G>>,
    /// The goroutine it runs; read by sysmon and by dumps.
    pub curg: AtomicPtr<G>,
    /// The P that it holds, unless sysmon took it; None if it knows of none.
    pub p: Cell<Option<&'static P>>,
    /// tls\[0\] is the address of this thread's word of g.
    pub tls: Cell<[usize; 2]>,
    /// Set while the thread runs our code; sysmon reads (`owner`).
    pub in_runtime: AtomicBool,
    pub spinning: Cell<bool>,
    /// sysmon sets, its thread clears: its P was taken while its goroutine was
    /// busy, and it has not come by since.
    pub busy_without_p: AtomicBool,
    pub kind: Cell<MKind>,
    pub errno: Cell<*mut i32>,
    pub cxa: Cell<*mut CxaGlobals>,
    pub hook: Cell<Option<Hook>>,

    pub id: Cell<i64>,
    /// Kernel's thread id (Go's procid); 0 before it runs.
    pub procid: AtomicI32,
    /// What it sleeps on.
    pub park: Note,
    /// Whether its host thread counts as asleep.
    pub hostwait: HostWait,
    /// Written by the actor that wakes it.
    pub nextp: Cell<Option<&'static P>>,
    /// The P that it lost last.
    pub oldp: Cell<Option<&'static P>>,
    /// Picked before it came to g0, which runs it next.
    pub nextg: Cell<Option<&'static G>>,
    pub lockedg: Cell<Option<&'static G>>,
    /// How often the goroutine locked it.
    pub lockedext: Cell<u32>,
    /// Runs instead of the scheduler.
    pub mstartfn: Cell<Option<fn()>>,
    /// sched.lock: idle list.
    pub schedlink: Cell<Option<&'static M>>,
    /// Written once, before it is published in `allm`.
    pub alllink: Cell<Option<&'static M>>,
    /// The signal stack's low end and size; 0 where it has none.
    pub gsignal: Cell<(usize, usize)>,
    pub rng: Cell<u64>,
}

// SAFETY: the Cells belong to the M's thread, or to the holder of sched.lock,
// as their comments say; the rest is atomic.
unsafe impl Sync for M {}
// SAFETY: nothing in it is tied to the thread that made it.
unsafe impl Send for M {}

impl M {
    pub(crate) const fn new(kind: MKind) -> Self {
        Self {
            g0: Cell::new(None),
            curg: AtomicPtr::new(ptr::null_mut()),
            p: Cell::new(None),
            in_runtime: AtomicBool::new(true),
            spinning: Cell::new(false),
            busy_without_p: AtomicBool::new(false),
            kind: Cell::new(kind),
            errno: Cell::new(ptr::null_mut()),
            cxa: Cell::new(ptr::null_mut()),
            hook: Cell::new(None),
            tls: Cell::new([0; 2]),
            id: Cell::new(-1),
            procid: AtomicI32::new(0),
            park: Note::new(),
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
            rng: Cell::new(1),
        }
    }

    /// Its g0, once it has one: before its thread begins.
    pub(crate) fn g0(&self) -> &'static G {
        let Some(g0) = self.g0.get() else { throw("an M without a g0") };
        g0
    }

    /// Whether `gp` is its g0.
    #[inline(always)]
    pub(crate) fn is_g0(&self, gp: &G) -> bool {
        // Compared as addresses: no test for an M without one.
        let g0 = self.g0.get().map_or(ptr::null(), ptr::from_ref);
        ptr::eq(g0, gp)
    }
}

/// No M: a goroutine that is locked to it runs on any but its last one
/// (`sched::migrate`).
pub(crate) static ELSEWHERE: M = M::new(MKind::Worker);
