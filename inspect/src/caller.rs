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
    use crate::regs::number::{R12, R13, R14, R15, RBP, RBX};

    /// The registers here, as a caller of the library has them.
    #[inline(always)]
    fn registers() -> Registers {
        let mut values = [0u64; 8];
        // SAFETY: reads registers.
        unsafe {
            core::arch::asm!(
                "lea {pc}, [rip]",
                "mov [{to}], {pc}",
                "mov [{to} + 8], rsp",
                "mov [{to} + 16], rbp",
                "mov [{to} + 24], rbx",
                "mov [{to} + 32], r12",
                "mov [{to} + 40], r13",
                "mov [{to} + 48], r14",
                "mov [{to} + 56], r15",
                pc = out(reg) _,
                to = in(reg) &raw mut values,
                options(nostack),
            );
        }
        let mut regs = Registers::at(values[0], values[1]);
        for (register, value) in
            [RBP, RBX, R12, R13, R14, R15].into_iter().zip(&values[2..])
        {
            regs.set(register, *value);
        }
        regs
    }

    /// The CFA of this function: by loads, as it is remembered, by a walk.
    #[inline(never)]
    fn each() -> [Option<u64>; 4] {
        let regs = registers();
        let mut frame = [walk::Frame::default()];
        let _ = walk::walk(&OwnMemory, &OwnModules, &regs, &mut frame);
        let module = OwnModules.find(regs.pc()).expect("this program");
        // SAFETY: it is this program.
        let tables = unsafe { Loaded::tables(&module) }.expect("tables");
        let loads = walk::cfa(&tables, &Known(module), &regs);
        // SAFETY: this function.
        let first = unsafe { cfa(&regs) };
        // SAFETY: as above.
        let again = unsafe { cfa(&regs) };
        [loads, first, again, Some(frame[0].cfa)]
    }

    #[test]
    fn loads_say_the_same_as_a_walk() {
        for _ in 0..2 {
            let [loads, first, again, walk] = each();
            assert_eq!([loads, first, again], [walk; 3]);
        }
    }

    /// The frames from here on, as a walk and as a jump come to them: places
    /// in the code.
    #[inline(never)]
    fn frames() -> ([walk::Frame; 4], [Option<Registers>; 4]) {
        // The caller's frame has the pc of a call, and this one has none.
        let mut regs = registers();
        regs.set_exact(false);
        let mut frames = [walk::Frame::default(); 4];
        let _ = walk::walk(&OwnMemory, &OwnModules, &regs, &mut frames);
        // SAFETY: frames of this thread, from this function on.
        let there = frames.map(|it| unsafe { leave(&regs, it.cfa) });
        (frames, there)
    }

    #[test]
    fn frames_are_left_as_in_a_walk() {
        for _ in 0..2 {
            let (frames, there) = frames();
            assert!(there[0].is_some(), "{frames:x?}");
            for (i, regs) in there.iter().enumerate() {
                // None has a destructor of the test's on the way.
                let Some(regs) = regs else { break };
                assert_eq!(regs.sp(), frames[i].cfa);
                if let Some(next) = frames.get(i + 1) {
                    assert_eq!(regs.pc(), next.pc);
                }
            }
        }
    }

    #[test]
    fn a_frame_that_is_not_there_is_not_found() {
        let mut regs = registers();
        regs.set_exact(false);
        // SAFETY: of this thread.
        assert!(unsafe { leave(&regs, regs.sp() + 1) }.is_none());
    }
}
