//! This process, as `gmprt-inspect` looks into processes.
//!
//! The crate knows the library's data by its layout table, and reads all memory
//! through the kernel. So one code prints the dumps of the library, of the
//! command `gmprt`, and of fatal errors.

use super::live::{Deadlock, Headline, edges};
use crate::os::{clock::nanotime, task};
use core::ptr;
use gmprt_inspect::{
    dump::Options,
    goroutine::Threads,
    groups::Entry,
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

unsafe extern "C" {
    /// The layout table, of which only the address is used here.
    static gmp_debug_layout: u8;
}

/// This process.
pub(super) type Own = World<OwnMemory, OwnModules, OwnThreads>;

/// Its threads: the caller's registers are known, and those of the others only
/// where they are in a system call.
pub(super) struct OwnThreads {
    /// The G that the caller runs, or 0.
    pub g: usize,
    /// The caller's registers.
    pub regs: Registers,
}

impl Threads for OwnThreads {
    fn registers(&self, tid: u32, g: u64) -> Option<Registers> {
        if g == self.g as u64 {
            return Some(self.regs);
        }
        let (pc, sp) = task::stands(tid as i32)?;
        Some(Registers::at(pc, sp))
    }

    fn stack_used(&self, lo: u64, hi: u64) -> Option<u64> {
        stack_high_water(lo, hi, &mut OwnPages)
    }

    fn now(&self) -> Option<u64> {
        Some(nanotime().unsigned_abs())
    }
}

/// This process, with a caller that runs the G at `g` and has these registers.
/// Allocates, as all of the crate does that is not for handlers.
pub(super) fn world(g: usize, regs: Registers) -> Result<Own, Missing> {
    let table = (&raw const gmp_debug_layout).addr() as u64;
    let layout = Layout::read(&OwnMemory, table)?;
    World::new(OwnMemory, OwnModules, OwnThreads { g, regs }, &layout)
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
            text.body(&Entry::of(&it), &mut places)?;
        }
    }
    Ok(())
}
