//! Where the frame of a caller begins, and how frames are left, for code that
//! asks often.
//!
//! A walk has the kernel read for it, as nothing that it reads is sure to be
//! there. The object of a function that is on the stack of the calling thread
//! is sure to be there, though, with its tables: these are read by loads, which
//! takes a tenth of the time. And what they say is remembered (`known`).

use crate::{
    known::{self, Here, Object},
    loaded::Loaded,
    memory::OwnMemory,
    modules::{Module, Modules, OwnModules},
    regs::Registers,
    walk,
};

/// The CFA of the function that `regs` are of; `None` if tables do not tell.
///
/// # Safety
/// It is a function on the stack of the calling thread.
#[must_use]
pub unsafe fn cfa(regs: &Registers) -> Option<u64> {
    let at = regs.pc().wrapping_sub(u64::from(!regs.exact()));
    // SAFETY: the caller promises.
    let known = unsafe { known::find(&mut Object::default(), at) };
    let rules = known.and_then(|entry| entry.rules.as_ref());
    rules.and_then(|rules| rules.cfa(regs)).or_else(|| {
        // SAFETY: the caller promises.
        unsafe { cfa_slow(regs) }
    })
}

#[cold]
unsafe fn cfa_slow(regs: &Registers) -> Option<u64> {
    let from_loads = || {
        let module = OwnModules.find(regs.pc())?;
        // SAFETY: it stays loaded, as the caller promises.
        let tables = unsafe { Loaded::tables(&module) }?;
        walk::cfa(&tables, &Known(module), regs)
    };
    from_loads().or_else(|| {
        let mut frame = [walk::Frame::default()];
        let _ = walk::walk(&OwnMemory, &OwnModules, regs, &mut frame);
        (frame[0].cfa != 0).then_some(frame[0].cfa)
    })
}

/// How many frames [`leave`] goes.
const FAR: usize = 1000;

/// The registers of the frame whose stack pointer is `to`, as an unwinding from
/// `regs` comes to it; `None` if a frame on the way has a personality routine,
/// or rules that are not those of nearly all frames. An unwinder then has more
/// to do than to restore registers.
///
/// # Safety
/// `regs` are of a frame of the calling thread, behind a call, and so is the
/// frame at `to`, if there is one.
#[must_use]
pub unsafe fn leave(regs: &Registers, to: u64) -> Option<Registers> {
    let mut regs = *regs;
    let mut object = Object::default();
    for _ in 0..FAR {
        let sp = regs.sp();
        if sp == to {
            return Some(regs);
        }
        // The byte before a return address is part of the call.
        let at = regs.pc().wrapping_sub(1);
        // SAFETY: the caller promises.
        let entry = unsafe { known::find(&mut object, at) }?;
        let rules = entry.rules.as_ref().filter(|_| !entry.personality)?;
        let cfa = rules.cfa(&regs)?;
        if cfa <= sp || cfa > to {
            return None;
        }
        rules.step(&Here, &mut regs).ok()?;
    }
    None
}

/// The one object that matters.
struct Known(Module);

impl Modules for Known {
    fn find(&self, _pc: u64) -> Option<Module> {
        Some(self.0)
    }

    fn path<'a>(
        &'a self,
        _module: &Module,
        _to: &'a mut [u8],
    ) -> Option<crate::modules::ModulePath<'a>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regs::number::RBP;

    /// The registers here, as a caller of the library has them.
    #[inline(never)]
    fn both() -> (Option<u64>, u64) {
        let (pc, sp, bp): (u64, u64, u64);
        // SAFETY: reads three registers.
        unsafe {
            core::arch::asm!(
                "lea {}, [rip]", "mov {}, rsp", "mov {}, rbp",
                out(reg) pc, out(reg) sp, out(reg) bp,
                options(nomem, nostack),
            );
        }
        let mut regs = Registers::at(pc, sp);
        regs.set(RBP, bp);
        let mut frame = [walk::Frame::default()];
        let _ = walk::walk(&OwnMemory, &OwnModules, &regs, &mut frame);
        let module = OwnModules.find(pc).expect("this program");
        // SAFETY: it is this program.
        let tables = unsafe { Loaded::tables(&module) }.expect("tables");
        (walk::cfa(&tables, &Known(module), &regs), frame[0].cfa)
    }

    #[test]
    fn loads_say_the_same_as_a_walk() {
        let (by_loads, by_walk) = both();
        assert_eq!(by_loads, Some(by_walk));
    }
}
