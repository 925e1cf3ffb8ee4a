//! DWARF expressions, as unwind tables have them: where a frame's CFA is, or
//! where a register was saved.

use crate::{bytes::Bytes, memory::Memory, regs::Registers};

/// An expression's place in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expr {
    pub(crate) at: u64,
    pub(crate) len: u32,
}

/// Deeper ones are not known to exist; libgcc has 64.
const DEPTH: usize = 24;

/// A loop in an expression ends after so many operations.
const STEPS: usize = 1000;

struct Stack {
    values: [u64; DEPTH],
    len: usize,
}

impl Stack {
    fn push(&mut self, value: u64) -> Option<()> {
        *self.values.get_mut(self.len)? = value;
        self.len += 1;
        Some(())
    }

    fn pop(&mut self) -> Option<u64> {
        self.len = self.len.checked_sub(1)?;
        Some(self.values[self.len])
    }

    fn peek(&self, below: usize) -> Option<u64> {
        let at = self.len.checked_sub(below + 1)?;
        Some(self.values[at])
    }

    fn apply(&mut self, f: impl FnOnce(u64) -> Option<u64>) -> Option<()> {
        let value = f(self.pop()?)?;
        self.push(value)
    }

    fn combine(
        &mut self,
        f: impl FnOnce(u64, u64) -> Option<u64>,
    ) -> Option<()> {
        let top = self.pop()?;
        let below = self.pop()?;
        self.push(f(below, top)?)
    }

    /// The topmost becomes the third.
    fn rotate(&mut self) -> Option<()> {
        let from = self.len.checked_sub(3)?;
        self.values[from..self.len].rotate_right(1);
        Some(())
    }

    fn swap(&mut self) -> Option<()> {
        let from = self.len.checked_sub(2)?;
        self.values[from..self.len].reverse();
        Some(())
    }
}

/// The value of an expression, which begins with `first` on its stack.
pub(crate) fn evaluate<M: Memory>(
    memory: &M,
    regs: &Registers,
    expr: Expr,
    first: Option<u64>,
) -> Option<u64> {
    let end = expr.at.checked_add(u64::from(expr.len))?;
    let mut code = Bytes::new(memory, expr.at, end);
    let mut stack = Stack { values: [0; DEPTH], len: 0 };
    if let Some(first) = first {
        stack.push(first)?;
    }
    for _ in 0..STEPS {
        if code.rest() == 0 {
            return stack.pop();
        }
        match code.u8()? {
            0x28 => jump(&mut code, expr, stack.pop()? != 0)?,
            0x2f => jump(&mut code, expr, true)?,
            op @ (0x70..=0x8f | 0x92) => {
                let plain = u64::from(op.wrapping_sub(0x70));
                let register = if op == 0x92 { code.uleb()? } else { plain };
                let value = regs.get(usize::try_from(register).ok()?)?;
                stack.push(value.wrapping_add_signed(code.sleb()?))?;
            }
            0x06 => stack.apply(|at| memory.u64(at))?,
            op @ (0x03..=0x11 | 0x30..=0x4f) => {
                stack.push(constant(&mut code, op)?)?;
            }
            0x94 => {
                let size = code.u8()?;
                stack
                    .apply(|at| Bytes::new(memory, at, u64::MAX).sized(size))?;
            }
            op @ 0x12..=0x17 => shuffle(&mut code, &mut stack, op)?,
            0x23 => {
                let more = code.uleb()?;
                stack.apply(|v| Some(v.wrapping_add(more)))?;
            }
            0x96 => {}
            op => calculate(&mut stack, op)?,
        }
    }
    None
}

/// `DW_OP_bra`, `DW_OP_skip`.
fn jump<M: Memory>(
    code: &mut Bytes<'_, M>,
    expr: Expr,
    taken: bool,
) -> Option<()> {
    let by = code.u16()? as i16;
    if taken {
        let to = code.at().wrapping_add_signed(i64::from(by));
        let end = expr.at + u64::from(expr.len);
        if !(expr.at..=end).contains(&to) {
            return None;
        }
        code.go_to(to, end);
    }
    Some(())
}

/// `DW_OP_addr`, `DW_OP_const*`, `DW_OP_lit*`.
fn constant<M: Memory>(code: &mut Bytes<'_, M>, op: u8) -> Option<u64> {
    match op {
        0x30..=0x4f => Some(u64::from(op - 0x30)),
        0x03 | 0x0e | 0x0f => code.u64(),
        0x08 => code.u8().map(u64::from),
        0x09 => code.u8().map(|v| v as i8 as u64),
        0x0a => code.u16().map(u64::from),
        0x0b => code.u16().map(|v| v as i16 as u64),
        0x0c => code.u32().map(u64::from),
        0x0d => code.u32().map(|v| v as i32 as u64),
        0x10 => code.uleb(),
        0x11 => code.sleb().map(|v| v as u64),
        _ => None,
    }
}

/// `DW_OP_dup` to `DW_OP_rot`.
fn shuffle<M: Memory>(
    code: &mut Bytes<'_, M>,
    stack: &mut Stack,
    op: u8,
) -> Option<()> {
    match op {
        0x12 => stack.push(stack.peek(0)?),
        0x13 => stack.pop().map(|_| ()),
        0x14 => stack.push(stack.peek(1)?),
        0x15 => {
            let below = usize::from(code.u8()?);
            stack.push(stack.peek(below)?)
        }
        0x16 => stack.swap(),
        _ => stack.rotate(),
    }
}

/// The operations on the one or two values on top.
fn calculate(stack: &mut Stack, op: u8) -> Option<()> {
    let signed = |v: u64| v as i64;
    match op {
        0x19 => return stack.apply(|v| Some(signed(v).unsigned_abs())),
        0x1f => return stack.apply(|v| Some(v.wrapping_neg())),
        0x20 => return stack.apply(|v| Some(!v)),
        _ => {}
    }
    stack.combine(|a, b| {
        let shift = u32::try_from(b).unwrap_or(u32::MAX);
        Some(match op {
            0x1a => a & b,
            0x1b => signed(a).checked_div(signed(b))? as u64,
            0x1c => a.wrapping_sub(b),
            0x1d => a.checked_rem(b)?,
            0x1e => a.wrapping_mul(b),
            0x21 => a | b,
            0x22 => a.wrapping_add(b),
            0x24 => a.checked_shl(shift).unwrap_or(0),
            0x25 => a.checked_shr(shift).unwrap_or(0),
            0x26 => (signed(a) >> shift.min(63)) as u64,
            0x27 => a ^ b,
            0x29 => u64::from(a == b),
            0x2a => u64::from(signed(a) >= signed(b)),
            0x2b => u64::from(signed(a) > signed(b)),
            0x2c => u64::from(signed(a) <= signed(b)),
            0x2d => u64::from(signed(a) < signed(b)),
            0x2e => u64::from(a != b),
            _ => return None,
        })
    })
}
