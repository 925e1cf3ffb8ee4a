//! `gmp_recover`: stops a panic, in the function that the panic calls.
//!
//! The frame of such a function begins where `gmprt_run_defers` calls it. The
//! caller's frame is found by unwind tables, which are remembered
//! (`gmprt_inspect::caller`).

use super::{
    calls,
    current::self_g,
    defers::{Kind, records},
    panicrecord::{Panic, PanicInfo},
};
use core::ptr;
use gmprt_inspect::{
    caller,
    regs::{Registers, number::RBP},
};

/// Where a caller of the library goes on, with the registers by which its frame
/// is found.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    pub pc: usize,
    pub sp: usize,
    pub rbp: usize,
}

/// `gmp_recover` (Go's `gorecover`): null if there is nothing to recover, or
/// the caller is not the function that the panic calls.
///
/// Newer panics than that one have been left by a jump.
pub(crate) fn gorecover(caller: Caller) -> *const PanicInfo {
    let found = || {
        let gp = self_g()?;
        let mut panics = records(gp)
            .filter(|r| r.kind() == Kind::Panic)
            .map(Panic::of_record);
        let mut begin = None;
        let calls_it = |p: &&Panic| {
            let argp = p.argp.get();
            // A deferred function may end with a jump to gmp_recover. And if
            // tables do not tell where its frame begins, it counts.
            argp == caller.sp || {
                let cfa = *begin.get_or_insert_with(|| begin_of(caller));
                cfa == argp || cfa == 0
            }
        };
        let panic = panics.find(calls_it)?;
        // Its frame is above the caller's, or has been left by a jump.
        let sp = ptr::from_ref(&gp).addr();
        let under_way =
            !panic.recovered.get() && !calls::gone(gp, panic.frame, sp);
        under_way.then_some(panic)
    };
    let Some(panic) = found() else { return ptr::null() };
    panic.recovered.set(true);
    panic.info_at()
}

/// The CFA of the caller's frame; 0 if tables do not tell.
fn begin_of(at: Caller) -> usize {
    // The byte before the return address is part of the call.
    let mut regs = Registers::at(at.pc as u64 - 1, at.sp as u64);
    regs.set(RBP, at.rbp as u64);
    // SAFETY: the caller of gmp_recover, which runs on this thread.
    unsafe { caller::cfa(&regs) }.unwrap_or(0) as usize
}
