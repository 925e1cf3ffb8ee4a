//! Where the frame of a caller begins, for code that asks at each call.
//!
//! A walk has the kernel read for it, as nothing that it reads is sure to be
//! there. The object of a function that is on the stack of the calling thread
//! is sure to be there, though, with its tables: these are read by loads, which
//! takes a tenth of the time.
//!
//! # Invariants
//! 1. A read is answered only from the segment of the tables, and before that
//!    from the first page of the object: the kernel maps whole pages of both,
//!    and neither goes while the object is loaded.

use crate::{
    elf::Elf,
    memory::{Memory, OwnMemory},
    modules::{Module, Modules, OwnModules},
    regs::Registers,
    walk,
};
use core::{ops::Range, ptr};

/// The CFA of the function that `regs` are of; `None` if tables do not tell.
///
/// # Safety
/// It is a function on the stack of the calling thread.
#[must_use]
pub unsafe fn cfa(regs: &Registers) -> Option<u64> {
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

const PAGE: u64 = 4096;
const LOAD: u32 = 1;

/// Memory of a loaded object.
struct Loaded(Range<u64>);

impl Loaded {
    /// The segment with the unwind tables of an object.
    ///
    /// # Safety
    /// The object stays loaded.
    unsafe fn tables(module: &Module) -> Option<Self> {
        let first = Self(module.start..module.start + PAGE);
        let at = match module.eh_frame_hdr {
            0 => module.eh_frame,
            at => at,
        };
        let segments = Elf::new(&first, module.start)?;
        let has_it = segments.segments().find(|s| {
            s.kind == LOAD
                && at.wrapping_sub(module.bias.wrapping_add(s.address))
                    < s.in_file
        })?;
        let begin = module.bias.wrapping_add(has_it.address);
        let end = begin.checked_add(has_it.in_file)?;
        Some(Self(begin..end.next_multiple_of(PAGE)))
    }
}

impl Memory for Loaded {
    #[inline]
    fn near(&self) -> bool {
        true
    }

    #[inline]
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        let inside = at >= self.0.start
            && at.checked_add(to.len() as u64).is_some_and(|e| e <= self.0.end);
        if inside {
            // SAFETY: mapped, and read only, by invariant 1.
            unsafe {
                ptr::copy_nonoverlapping(
                    at as *const u8,
                    to.as_mut_ptr(),
                    to.len(),
                );
            }
        }
        inside
    }
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
