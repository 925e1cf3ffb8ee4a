//! This process, as `gmprt-inspect` looks into processes.
//!
//! The crate knows the library's data by its layout table, and reads all memory
//! through the kernel. So one code prints the dumps of the library, of the
//! command `gmprt`, and of fatal errors.

use super::{
    live::{Deadlock, Headline, edges},
    sample::{Limits, Sampler},
    samples::Samples,
};
use crate::os::{
    clock::nanotime,
    task::{self, Stands},
    thread::osyield,
};
use core::{cell::Cell, ptr};
use gmprt_inspect::{
    dump::{Options, entry_of},
    goroutine::{Goroutine, Seen, Threads},
    layout::{Layout, Missing},
    memory::OwnMemory,
    modules::OwnModules,
    regs::Registers,
    snapshot::{Want, World},
    text::Text,
    touched::{OwnPages, stack_high_water},
};
use std::io::{self, Write};

/// Frames of a waiter in a deadlock.
const FRAMES: usize = 32;
/// For how long a look at the process keeps its processor, in nanoseconds.
const BREATH: i64 = 500_000;

unsafe extern "C" {
    /// The layout table, of which only the address is used here.
    static gmp_debug_layout: u8;
}

/// This process.
pub(super) type Own = World<OwnMemory, OwnModules, OwnThreads>;

/// Its threads: the caller's registers are known, and those of the others where
/// they are in a system call; the rest are asked.
pub(super) struct OwnThreads {
    /// The G that the caller runs, or 0.
    pub g: usize,
    /// The caller's registers.
    pub regs: Registers,
    /// Asks the others.
    sampler: Option<Sampler>,
    /// Has asked them.
    samples: Option<&'static Samples>,
    /// When other threads may have the processor.
    next: Cell<i64>,
}

impl OwnThreads {
    /// Threads of a process that goes on.
    pub(super) fn of_living(g: usize, regs: Registers) -> Self {
        let next = Cell::new(0);
        Self { g, regs, sampler: None, samples: None, next }
    }

    /// These, and those that run are asked where they are.
    pub(super) fn asked(self) -> Self {
        Self { sampler: Sampler::new(Limits::DUMP), ..self }
    }

    /// Those of one that ends, where nothing is worth waiting for.
    /// `samples` have been asked.
    pub(super) fn of_dying(
        g: usize,
        regs: Registers,
        samples: Option<&'static Samples>,
    ) -> Self {
        let next = Cell::new(i64::MAX);
        Self { g, regs, sampler: None, samples, next }
    }
}

impl Threads for OwnThreads {
    fn seen(&self, it: &Goroutine, to: &mut Vec<u8>) -> Seen {
        if it.at == self.g as u64 {
            return Seen::Registers(self.regs);
        }
        let g = it.at as usize;
        if let Some(seen) = self.samples.and_then(|all| all.find(g, to)) {
            return seen;
        }
        let tid = it.tid as i32;
        match (task::stands(tid), &self.sampler) {
            (Stands::At(pc, sp), _) => Seen::Registers(Registers::at(pc, sp)),
            (Stands::Runs, Some(sampler)) if !it.host => {
                sampler.ask(tid, g, it.id, |bytes| {
                    to.clear();
                    to.extend_from_slice(bytes);
                })
            }
            _ => Seen::No(""),
        }
    }

    fn stack_used(&self, lo: u64, hi: u64) -> Option<u64> {
        stack_high_water(lo, hi, &mut OwnPages)
    }

    fn now(&self) -> Option<u64> {
        Some(nanotime().unsigned_abs())
    }

    /// Lets other threads have the processor now and then. Otherwise the kernel
    /// takes it away when a slice of some milliseconds is over, and what a
    /// goroutine waits for stands still that long.
    fn breathe(&self) {
        if nanotime() >= self.next.get() {
            osyield();
            self.next.set(nanotime() + BREATH);
        }
    }
}

/// This process. Allocates, as all of the crate does that is not for handlers.
pub(super) fn world(threads: OwnThreads) -> Result<Own, Missing> {
    let table = (&raw const gmp_debug_layout).addr() as u64;
    let layout = Layout::read(&OwnMemory, table)?;
    World::new(OwnMemory, OwnModules, threads, &layout)
}

/// The address of a G, or 0.
pub(super) fn address(gp: Option<&crate::gmp::G>) -> usize {
    gp.map_or(0, |gp| ptr::from_ref(gp).addr())
}

/// Writes a deadlock: each waiter with its frames. `short` is that of
/// [`World::places`].
///
/// # Errors
/// Those of the writer.
pub(super) fn deadlock(
    world: &Own,
    circle: &Deadlock,
    short: &dyn Fn() -> bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let want = Want { system: true, frames: FRAMES, running: true };
    let mut places = world.places(short);
    let options = Options { stacks: true, ..Options::default() };
    let mut text = Text::new(out, options);
    text.line(format_args!("{}", Headline(circle)))?;
    for edge in edges(circle) {
        text.line(format_args!("{edge}"))?;
        if let Some(it) =
            world.one(address(Some(edge.waiter.gp.0)) as u64, &want)
        {
            text.body(&entry_of(world, &it), &mut places)?;
        }
    }
    Ok(())
}
