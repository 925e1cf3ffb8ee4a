//! Walks a stack: the frames from a set of registers to the first function.
//!
//! A walk reads `.eh_frame`, which compilers write for exceptions and which
//! stripped programs keep too. It neither allocates nor locks and uses at most
//! 6 KiB of stack, so a handler on a signal stack can walk.
//!
//! # Invariants
//! 1. A walk ends: it makes at most as many frames as it has room for, and each
//!    frame has a CFA above that of the frame before. Where a stack is left for
//!    another, as for g0's or at a signal, the CFA may fall; 8 times at most.
//! 2. A return address may be the first of the next function, behind a call
//!    that never returns. So the byte before it is looked up, but not behind a
//!    signal's frame, whose pc is the instruction itself.
//!
//! # Rejected
//! - Frame pointers: most code has none.
//! - gimli and framehop read the tables by pointers, and these tables may be
//!   unloaded meanwhile; and gimli's rows alone take 4 KiB of stack.

use crate::{
    cfi::{self, Cfa, Missing, Row, Rule},
    expr::{Expr, evaluate},
    memory::Memory,
    modules::Modules,
    regs::{
        Registers,
        number::{R12, R13, R14, R15, RBP, RBX, RIP, RSP},
    },
};

/// A frame of a stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Where the frame's function goes on.
    pub pc: u64,
    /// The stack pointer before the call of the frame's function; 0 if the
    /// walk ended at this frame.
    pub cfa: u64,
    /// Whether `pc` is the instruction itself, and not a return address.
    pub exact: bool,
    /// Whether this is the kernel's frame of a signal handler: the next frame
    /// is the one that was interrupted.
    pub signal: bool,
}

impl Frame {
    /// The address by which function and line are found.
    #[must_use]
    pub fn lookup(&self) -> u64 {
        if self.exact { self.pc } else { self.pc.wrapping_sub(1) }
    }
}

/// Why a walk has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// At the first function of the stack.
    Complete,
    /// There is no room for more frames.
    Full,
    /// At a pc that no object has, or whose object says nothing of it: code
    /// that was made at run time, or without unwind tables.
    NoCfi(u64),
    /// The tables or the stack of the frame with this pc cannot be read, or
    /// need a register that is not known.
    Unreadable(u64),
    /// The frame with this pc leads back to where the walk has been.
    Circle(u64),
}

/// Walks from `regs` on. Returns how many of `frames` it has filled, from the
/// innermost on, and why it has ended.
pub fn walk<M: Memory, O: Modules>(
    memory: &M,
    modules: &O,
    regs: &Registers,
    frames: &mut [Frame],
) -> (usize, End) {
    let rules = |memory: &M, pc| rules_at(memory, modules, pc);
    walk_by(memory, modules, regs, frames, rules)
}

/// The CFA of the frame that `regs` are of, if it is a register and an offset.
pub(crate) fn cfa<M: Memory, O: Modules>(
    memory: &M,
    modules: &O,
    regs: &Registers,
) -> Option<u64> {
    let (pc, exact) = (regs.pc(), regs.exact());
    let frame = Frame { pc, exact, ..Frame::default() };
    match rules_at(memory, modules, frame.lookup()) {
        Ok(Rules::Simple(simple)) => simple.cfa(regs),
        _ => None,
    }
}

/// How many frames may lie below the frame before, invariant 1.
const FALLS: u32 = 8;

/// A walk with the rules of frames from `rules`.
#[inline]
pub(crate) fn walk_by<M: Memory, O: Modules>(
    memory: &M,
    modules: &O,
    regs: &Registers,
    frames: &mut [Frame],
    mut rules: impl FnMut(&M, u64) -> Result<Rules, Missing>,
) -> (usize, End) {
    let mut regs = *regs;
    let mut falls = 0;
    let mut before = Frame::default();
    for (count, frame) in frames.iter_mut().enumerate() {
        let pc = regs.pc();
        *frame = Frame { pc, exact: regs.exact(), ..Frame::default() };
        if pc == 0 && !frame.exact {
            return (count, End::Complete);
        }
        let step = match rules(memory, frame.lookup()) {
            Ok(Rules::Simple(simple)) => simple.step(memory, &mut regs),
            Ok(Rules::Full(row)) => step_full(memory, &row, &mut regs),
            Err(Missing::NoCfi) => step_without(memory, modules, &mut regs),
            Err(Missing::Unreadable) => Err(End::Unreadable(pc)),
        };
        match step {
            Ok(cfa) => frame.cfa = cfa,
            Err(end) => return (count + 1, end),
        }
        frame.signal = regs.exact();
        let other_stack = frame.signal || before.signal;
        if count > 0 && frame.cfa <= before.cfa && !other_stack {
            falls += 1;
            if falls > FALLS || regs.pc() == pc && frame.cfa == before.cfa {
                return (count + 1, End::Circle(pc));
            }
        }
        before = *frame;
    }
    (frames.len(), End::Full)
}

/// The rules of a frame.
#[expect(clippy::large_enum_variant, reason = "a handler has no heap")]
pub(crate) enum Rules {
    Simple(Simple),
    Full(Row),
}

/// The rules at the address `pc`, from the tables.
#[inline(never)]
pub(crate) fn rules_at<M: Memory, O: Modules>(
    memory: &M,
    modules: &O,
    pc: u64,
) -> Result<Rules, Missing> {
    let module = modules.find(pc).ok_or(Missing::NoCfi)?;
    let row = cfi::find(memory, &module, pc)?;
    Ok(match Simple::from_row(&row) {
        Some(simple) => Rules::Simple(simple),
        None => Rules::Full(row),
    })
}

/// The registers that functions save.
const SAVED: [usize; 6] = [RBX, RBP, R12, R13, R14, R15];

/// The rules of nearly all frames: the CFA is a register and an offset, the
/// return address is below it, and so are some of [`SAVED`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Simple {
    cfa_offset: i32,
    cfa_register: u8,
    /// The first function: it has no caller.
    first: bool,
    /// How many words below the CFA each of [`SAVED`] is; 0 if not saved.
    below: [u8; 6],
}

/// So many words below the CFA are read at once.
const WORDS: usize = 8;

impl Simple {
    pub(crate) fn from_row(row: &Row) -> Option<Self> {
        let Cfa::Register(cfa_register, offset) = row.cfa else { return None };
        let mut simple = Self {
            cfa_offset: i32::try_from(offset).ok()?,
            cfa_register,
            first: row.rules[RIP] == Rule::Undefined,
            below: [0; 6],
        };
        let plain = row.rules[RIP] == Rule::At(-8) || simple.first;
        if row.signal || usize::from(row.return_column) != RIP || !plain {
            return None;
        }
        for (register, rule) in row.rules.iter().enumerate() {
            match *rule {
                _ if register == RIP => {}
                Rule::Unspecified | Rule::Same => {}
                Rule::At(offset) => {
                    let saved = SAVED.iter().position(|&s| s == register)?;
                    let words = offset.checked_div(-8)?;
                    if offset % 8 != 0 || words == 0 {
                        return None;
                    }
                    simple.below[saved] = u8::try_from(words).ok()?;
                }
                _ => return None,
            }
        }
        Some(simple)
    }

    #[inline]
    pub(crate) fn cfa(&self, regs: &Registers) -> Option<u64> {
        let base = regs.get(usize::from(self.cfa_register))?;
        Some(base.wrapping_add_signed(i64::from(self.cfa_offset)))
    }

    /// Goes to the caller, and returns the CFA.
    #[inline]
    pub(crate) fn step<M: Memory>(
        &self,
        memory: &M,
        regs: &mut Registers,
    ) -> Result<u64, End> {
        let pc = regs.pc();
        let cfa = self.cfa(regs).ok_or(End::Unreadable(pc))?;
        if self.first {
            return Err(End::Complete);
        }
        let mut read = [0; 8 * WORDS];
        let from = cfa.wrapping_sub(read.len() as u64);
        // One system call instead of several.
        let at_once = !memory.near() && memory.read(from, &mut read);
        let word = |below: u8| {
            if at_once && usize::from(below) <= WORDS {
                let from = 8 * (WORDS - usize::from(below));
                read[from..].first_chunk().map(|b| u64::from_le_bytes(*b))
            } else {
                memory.u64(cfa.wrapping_sub(8 * u64::from(below)))
            }
        };
        let caller = word(1).ok_or(End::Unreadable(pc))?;
        for (register, below) in SAVED.into_iter().zip(self.below) {
            if below != 0 {
                match word(below) {
                    Some(value) => regs.set(register, value),
                    None => regs.forget(register),
                }
            }
        }
        regs.set(RSP, cfa);
        regs.set(RIP, caller);
        regs.set_exact(false);
        Ok(cfa)
    }
}

/// Goes to the caller by any rules, and returns the CFA.
#[inline(never)]
fn step_full<M: Memory>(
    memory: &M,
    row: &Row,
    regs: &mut Registers,
) -> Result<u64, End> {
    let unreadable = End::Unreadable(regs.pc());
    let cfa = match row.cfa {
        Cfa::None => None,
        Cfa::Register(register, offset) => regs
            .get(usize::from(register))
            .map(|value| value.wrapping_add_signed(offset)),
        Cfa::Expr(expr) => evaluate(memory, regs, expr, None),
    };
    let cfa = cfa.ok_or(unreadable)?;
    let mut caller = *regs;
    caller.set(RSP, cfa);
    for (register, rule) in row.rules.iter().enumerate() {
        let value = match *rule {
            Rule::Unspecified => continue,
            Rule::Same => regs.get(register),
            Rule::Undefined => None,
            Rule::At(by) => memory.u64(cfa.wrapping_add_signed(by)),
            Rule::Is(by) => Some(cfa.wrapping_add_signed(by)),
            Rule::In(other) => regs.get(usize::from(other)),
            Rule::AtExpr(at, len) => {
                let expr = Expr { at, len };
                evaluate(memory, regs, expr, Some(cfa))
                    .and_then(|at| memory.u64(at))
            }
            Rule::IsExpr(at, len) => {
                evaluate(memory, regs, Expr { at, len }, Some(cfa))
            }
        };
        match value {
            Some(value) => caller.set(register, value),
            None => caller.forget(register),
        }
    }
    let column = usize::from(row.return_column);
    match row.rules.get(column) {
        None => return Err(unreadable),
        Some(Rule::Undefined) => return Err(End::Complete),
        Some(_) => {}
    }
    let pc = caller.get(column).ok_or(unreadable)?;
    caller.set(RIP, pc);
    caller.set_exact(row.signal);
    *regs = caller;
    Ok(cfa)
}

/// Goes to the caller where no table has the pc: behind a handler without CFI
/// and behind a call that led nowhere.
#[cold]
#[inline(never)]
fn step_without<M: Memory, O: Modules>(
    memory: &M,
    modules: &O,
    regs: &mut Registers,
) -> Result<u64, End> {
    let pc = regs.pc();
    let nothing = End::NoCfi(pc);
    let sp = regs.get(RSP).ok_or(nothing)?;
    if returns_from_signal(memory, pc) {
        let context = Registers::saved_by_signal(memory, sp).ok_or(nothing)?;
        *regs = context;
        return Ok(regs.sp());
    }
    let caller = memory.u64(sp).ok_or(nothing)?;
    if regs.exact()
        && modules.find(pc).is_none()
        && modules.find(caller).is_some()
        && follows_call(memory, caller)
    {
        let cfa = sp.wrapping_add(8);
        regs.set(RSP, cfa);
        regs.set(RIP, caller);
        regs.set_exact(false);
        return Ok(cfa);
    }
    Err(nothing)
}

/// Whether the code at `pc` is a restorer, to which a signal handler returns.
fn returns_from_signal<M: Memory>(memory: &M, pc: u64) -> bool {
    // mov rax, SYS_rt_sigreturn; syscall
    const RESTORER: [u8; 9] = [0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05];
    let mut code = [0; RESTORER.len()];
    memory.read(pc, &mut code) && code == RESTORER
}

/// Whether the instruction before `pc` is a call.
fn follows_call<M: Memory>(memory: &M, pc: u64) -> bool {
    let mut code = [0; 7];
    let len = code.len();
    if !memory.read(pc.wrapping_sub(len as u64), &mut code) {
        return false;
    }
    // call rel32, and call of a register or of memory: ff /2 with 0, 1 or 4
    // bytes of displacement, and one more byte for an index.
    let indirect = |bytes: usize| {
        let from = len - bytes;
        code[from] == 0xff && code[from + 1] & 0x38 == 0x10
    };
    code[2] == 0xe8 || [2, 3, 4, 6, 7].into_iter().any(indirect)
}
