//! The registers of a frame, each known or not, by DWARF's numbers.

use crate::memory::Memory;

/// DWARF's numbers of the registers of x86-64.
#[expect(missing_docs, reason = "names of registers")]
pub mod number {
    pub const RAX: usize = 0;
    pub const RDX: usize = 1;
    pub const RCX: usize = 2;
    pub const RBX: usize = 3;
    pub const RSI: usize = 4;
    pub const RDI: usize = 5;
    pub const RBP: usize = 6;
    pub const RSP: usize = 7;
    pub const R12: usize = 12;
    pub const R13: usize = 13;
    pub const R14: usize = 14;
    pub const R15: usize = 15;
    pub const RIP: usize = 16;
}
use number::{R12, R13, R14, R15, RBP, RBX, RIP, RSP};

/// How many registers there are: 16, and rip.
pub const COUNT: usize = 17;

/// The registers that a walk begins with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    values: [u64; COUNT],
    known: u32,
    exact: bool,
}

impl Registers {
    /// No register is known.
    #[must_use]
    pub const fn new() -> Self {
        Self { values: [0; COUNT], known: 0, exact: false }
    }

    /// The value of a register, if it is known.
    #[inline]
    #[must_use]
    pub fn get(&self, register: usize) -> Option<u64> {
        let known = register < COUNT && self.known & (1 << register) != 0;
        known.then(|| self.values[register])
    }

    /// Makes a register known.
    ///
    /// # Panics
    /// Where there is no such register.
    #[inline]
    pub fn set(&mut self, register: usize, value: u64) {
        self.values[register] = value;
        self.known |= 1 << register;
    }

    /// Makes a register unknown.
    #[inline]
    pub fn forget(&mut self, register: usize) {
        self.known &= !(1 << register);
    }

    /// The place in the code, or 0.
    #[must_use]
    pub fn pc(&self) -> u64 {
        self.get(RIP).unwrap_or(0)
    }

    /// The stack pointer, or 0.
    #[must_use]
    pub fn sp(&self) -> u64 {
        self.get(RSP).unwrap_or(0)
    }

    /// Whether the pc is the instruction itself, as in a signal's context, and
    /// not a return address, which is behind the call.
    #[must_use]
    pub fn exact(&self) -> bool {
        self.exact
    }

    /// The registers of a suspended context: `sched_sp` points at the frame
    /// that the opening of `asm/switch_amd64.S` draws. `None` if it cannot be
    /// read.
    pub fn parked(memory: &impl Memory, sched_sp: u64) -> Option<Self> {
        const SAVED: [usize; 7] = [R15, R14, R13, R12, RBX, RBP, RIP];
        let mut frame = [0; 64];
        if !memory.read(sched_sp, &mut frame) {
            return None;
        }
        let mut regs = Self::new();
        // The first word holds the control words.
        let words = frame.as_chunks::<8>().0.iter().skip(1);
        for (register, word) in SAVED.into_iter().zip(words) {
            regs.set(register, u64::from_le_bytes(*word));
        }
        regs.set(RSP, sched_sp.wrapping_add(64));
        Some(regs)
    }

    /// The registers at which a signal has interrupted a thread.
    #[must_use]
    pub fn from_ucontext(context: &libc::ucontext_t) -> Self {
        Self::from_gregs(|i| context.uc_mcontext.gregs[i] as u64)
    }

    /// The same, where a handler returns with `sp` at the `ucontext_t`.
    pub(crate) fn saved_by_signal(
        memory: &impl Memory,
        sp: u64,
    ) -> Option<Self> {
        const GREGS: usize =
            core::mem::offset_of!(libc::ucontext_t, uc_mcontext);
        let mut saved = [0; 8 * COUNT];
        let at = sp.wrapping_add(GREGS as u64);
        let words =
            memory.read(at, &mut saved).then_some(saved.as_chunks::<8>().0)?;
        Some(Self::from_gregs(|i| u64::from_le_bytes(words[i])))
    }

    fn from_gregs(saved: impl Fn(usize) -> u64) -> Self {
        // By DWARF's numbers.
        let order = [
            libc::REG_RAX,
            libc::REG_RDX,
            libc::REG_RCX,
            libc::REG_RBX,
            libc::REG_RSI,
            libc::REG_RDI,
            libc::REG_RBP,
            libc::REG_RSP,
            libc::REG_R8,
            libc::REG_R9,
            libc::REG_R10,
            libc::REG_R11,
            libc::REG_R12,
            libc::REG_R13,
            libc::REG_R14,
            libc::REG_R15,
            libc::REG_RIP,
        ];
        let mut regs = Self { exact: true, ..Self::new() };
        for (register, from) in order.into_iter().enumerate() {
            regs.set(register, saved(from as usize));
        }
        regs
    }

    /// The registers of a thread as the kernel's `user_regs_struct` has them:
    /// in a core's `NT_PRSTATUS`, or of a thread that is traced.
    #[must_use]
    pub fn from_user(saved: &[u64; 27]) -> Self {
        const ORDER: [usize; COUNT] =
            [10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16];
        let mut regs = Self { exact: true, ..Self::new() };
        for (register, from) in ORDER.into_iter().enumerate() {
            regs.set(register, saved[from]);
        }
        regs
    }

    /// Only pc and sp are known, as `/proc/PID/task/TID/syscall` has them for
    /// a thread in a system call. A walk ends where it needs another register.
    #[must_use]
    pub fn at(pc: u64, sp: u64) -> Self {
        let mut regs = Self { exact: true, ..Self::new() };
        regs.set(RIP, pc);
        regs.set(RSP, sp);
        regs
    }

    /// The registers here: the walk begins with the caller's own frame.
    #[inline(always)]
    #[must_use]
    pub fn here() -> Self {
        let mut saved = [0_u64; 8];
        // SAFETY: writes the eight words, and changes the one register that it
        // names.
        unsafe {
            core::arch::asm!(
                "mov [{to}], rbx",
                "mov [{to} + 8], rbp",
                "mov [{to} + 16], r12",
                "mov [{to} + 24], r13",
                "mov [{to} + 32], r14",
                "mov [{to} + 40], r15",
                "mov [{to} + 48], rsp",
                "lea {pc}, [rip]",
                "mov [{to} + 56], {pc}",
                to = in(reg) saved.as_mut_ptr(),
                pc = out(reg) _,
                options(nostack, preserves_flags),
            );
        }
        let order = [RBX, RBP, R12, R13, R14, R15, RSP, RIP];
        let mut regs = Self { exact: true, ..Self::new() };
        for (register, value) in order.into_iter().zip(saved) {
            regs.set(register, value);
        }
        regs
    }

    pub(crate) fn set_exact(&mut self, exact: bool) {
        self.exact = exact;
    }
}
