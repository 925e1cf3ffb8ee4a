//! A report without a copy of the process: names and offsets, on the failing
//! thread, where nothing is allocated and no lock is taken. Each name is looked
//! for in the object's file, which may be large. So after some names or some
//! time the offsets in the objects must do.
//!
//! The view of another thread's goroutine may be a moment old: it serves a
//! report before the abort and no decision.

use super::{
    dump::{self, MAX_LISTED, alive, peek},
    live::{Deadlock, Headline, Search, edges},
};
use crate::{
    base::print::SigWriter,
    gmp::{G, GStatus, Traceback, each_g, gflag},
    os::clock::nanotime,
};
use core::{cell::Cell, fmt::Write as _, ptr};
use gmprt_inspect::{
    memory::OwnMemory,
    modules::OwnModules,
    names,
    regs::Registers,
    walk::{Frame, walk},
};

/// Frames of a goroutine.
const FRAMES: usize = 64;
/// Names of functions that are looked for.
const NAMES: usize = 200;
/// How long names are looked for, in nanoseconds.
const LIMIT: i64 = 1_000_000_000;

/// What is left for the search for names.
struct Budget {
    names: Cell<usize>,
    end: i64,
}

impl Budget {
    fn new() -> Self {
        let end = nanotime().saturating_add(LIMIT);
        Self { names: Cell::new(NAMES), end }
    }

    /// Whether another name can be looked for.
    fn take(&self) -> bool {
        let left = self.names.get();
        self.names.set(left.saturating_sub(1));
        left > 0 && nanotime() < self.end
    }
}

/// Where and how the process fails.
pub(super) struct Scene {
    pub level: Traceback,
    /// The failing goroutine.
    pub gp: Option<&'static G>,
    pub regs: Registers,
    /// It fails because all goroutines sleep.
    pub deadlock: bool,
}

/// Lists the goroutines of a fatal error.
pub(super) fn list(scene: &Scene) {
    let mut w = SigWriter::stderr();
    let budget = Budget::new();
    if scene.deadlock {
        Search::new().each(|circle| waiters(&mut w, circle, &budget));
    }
    if let Some(gp) = scene.gp {
        if !dump::is_told(ptr::from_ref(gp).addr()) {
            line(&mut w, gp);
        }
        frames(&mut w, &scene.regs, &budget);
        if scene.level == Traceback::Single {
            return;
        }
    }
    let shown = |gp: &&G| {
        let system = peek(&gp.flags) & gflag::SYSTEM != 0;
        let failing = scene.gp.is_some_and(|it| ptr::eq(it, *gp));
        let wanted = !system || scene.level == Traceback::System;
        alive(gp) && wanted && !failing
    };
    let mut all = each_g().filter(shown);
    for gp in all.by_ref().take(MAX_LISTED) {
        line(&mut w, gp);
        parked(&mut w, gp, &budget);
    }
    let more = all.count();
    if more > 0 {
        // A SigWriter reports no errors.
        let _ = writeln!(w, "... and {more} goroutines more");
    }
}

/// Writes a deadlock: each waiter with its frames.
pub(super) fn deadlock(w: &mut SigWriter, circle: &Deadlock) {
    waiters(w, circle, &Budget::new());
}

fn waiters(w: &mut SigWriter, circle: &Deadlock, budget: &Budget) {
    // A SigWriter reports no errors.
    let _ = writeln!(w, "{}", Headline(circle));
    for edge in edges(circle) {
        let _ = writeln!(w, "{edge}");
        parked(w, edge.waiter.gp.0, budget);
    }
}

/// Writes the frames of a goroutine that is off its stack.
fn parked(w: &mut SigWriter, gp: &G, budget: &Budget) {
    if matches!(gp.readgstatus(), GStatus::Waiting | GStatus::Runnable)
        && peek(&gp.stack_lo) != 0
    {
        let sp = peek(&gp.sched_sp) as u64;
        if let Some(regs) = Registers::parked(&OwnMemory, sp) {
            frames(w, &regs, budget);
        }
    }
}

fn line(w: &mut SigWriter, gp: &G) {
    // A SigWriter reports no errors.
    let _ = dump::head(w, gp);
    let parent = peek(&gp.parent);
    if peek(&gp.flags) & gflag::BY_THREAD != 0 {
        let _ = write!(w, ", started by a host thread");
    } else if parent != 0 {
        let _ = write!(w, ", started by goroutine {parent}");
    }
    let _ = writeln!(w);
}

/// Writes the frames from `regs` on.
fn frames(w: &mut SigWriter, regs: &Registers, budget: &Budget) {
    let mut frames = [Frame::default(); FRAMES];
    let (n, _end) = walk(&OwnMemory, &OwnModules, regs, &mut frames);
    for frame in &frames[..n] {
        let mut room = [0; 512];
        let at = frame.lookup();
        let name = if budget.take() {
            names::name(&OwnMemory, &OwnModules, at, &mut room)
        } else {
            names::place(&OwnModules, at, &mut room)
        };
        // A SigWriter reports no errors.
        let _ = writeln!(w, "    {name}");
    }
    if n == FRAMES {
        let _ = writeln!(w, "    ...");
    }
}
