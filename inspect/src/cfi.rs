//! Unwind tables: the rules by which a frame's registers are found, from
//! `.eh_frame_hdr` and `.eh_frame`.
//!
//! A linker sorts all functions with rules in `.eh_frame_hdr`. A static
//! program at a fixed address has no such table, and there `.eh_frame` is
//! searched from its begin.

use crate::{
    bytes::{Bytes, OMIT},
    expr::Expr,
    memory::{Memory, Part},
    modules::Module,
    regs::COUNT,
};
use core::ops::Range;

/// How a register of the caller is found. An expression stands here by its
/// address and length, which leaves the rule small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// No word of it: the caller has the same value, as in libgcc.
    Unspecified,
    Undefined,
    Same,
    /// Saved at CFA plus this.
    At(i64),
    /// Is CFA plus this.
    Is(i64),
    /// Is in another register.
    In(u8),
    /// Saved at the expression's value.
    AtExpr(u64, u32),
    /// Is the expression's value.
    IsExpr(u64, u32),
}

/// How the CFA is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cfa {
    None,
    Register(u8, i64),
    Expr(Expr),
}

/// The rules at one pc.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) cfa: Cfa,
    pub(crate) rules: [Rule; COUNT],
    /// The register that has the return address: rip.
    pub(crate) return_column: u8,
    pub(crate) signal: bool,
}

/// Why there are no rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    NoCfi,
    Unreadable,
}

/// The rules at `pc`.
pub(crate) fn find<M: Memory>(
    memory: &M,
    module: &Module,
    pc: u64,
) -> Result<Row, Missing> {
    // Each keeps what it has read.
    let mut code = Bytes::new(memory, 0, 0);
    let mut of_cie = Bytes::new(memory, 0, 0);
    let fde = if module.eh_frame_hdr != 0 {
        by_table(&mut code, &mut of_cie, module, pc)
    } else {
        in_order(&mut code, &mut of_cie, module, module.eh_frame, pc)
    };
    let fde = fde.ok_or(Missing::Unreadable)?.ok_or(Missing::NoCfi)?;
    rules(&mut code, &mut of_cie, &fde, pc).ok_or(Missing::Unreadable)
}

/// Where the rules at a pc are from.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The row of the sorted table.
    pub(crate) row_at: u64,
    /// The records of the function, and of what it has in common with others.
    pub(crate) fde: Range<u64>,
    pub(crate) cie: Range<u64>,
    /// The function has a personality routine.
    pub(crate) personality: bool,
}

/// [`find`], where an object has a table of the usual form ([`is_usual`]); with
/// their source.
pub(crate) fn find_source<M: Memory>(
    memory: &M,
    module: &Module,
    pc: u64,
) -> Option<(Row, Source)> {
    let mut code = Bytes::new(memory, 0, 0);
    let mut of_cie = Bytes::new(memory, 0, 0);
    let hdr = module.eh_frame_hdr;
    let count = u64::from(memory.u32(hdr + 8)?);
    let table = hdr + 12;
    let row = search(&mut code, hdr, table, count, pc)??;
    let row_at = table + 8 * row;
    let by = i64::from(memory.u32(row_at + 4)? as i32);
    let at = hdr.wrapping_add_signed(by);
    let fde = entry(&mut code, &mut of_cie, module, at, None, pc)?.ok()?;
    let rules = rules(&mut code, &mut of_cie, &fde, pc)?;
    let source = Source {
        row_at,
        fde: at..fde.end,
        cie: fde.cie.at..fde.cie.end,
        personality: fde.cie.personality,
    };
    Some((rules, source))
}

/// Whether an `.eh_frame_hdr` with this first word is as all linkers write it:
/// the version; where `.eh_frame` is, 4 bytes relative to the place; 4 bytes of
/// count; pairs of 4 bytes, relative to the header.
pub(crate) fn is_usual(first: u64) -> bool {
    first.to_le_bytes().starts_with(&[1, 0x1b, 0x03, 0x3b])
}

/// A common information entry.
#[derive(Clone, Copy)]
struct Cie {
    at: u64,
    code_align: u64,
    data_align: i64,
    return_column: u8,
    /// How an entry's addresses are encoded.
    encoding: u8,
    augmented: bool,
    personality: bool,
    signal: bool,
    /// Where its instructions are.
    begin: u64,
    end: u64,
}

/// The entry of one function.
struct Fde {
    cie: Cie,
    start: u64,
    begin: u64,
    end: u64,
}

/// The entry of the function with `pc` by the table of `.eh_frame_hdr`. The
/// outer `None`: it cannot be read.
fn by_table<M: Memory>(
    code: &mut Bytes<'_, M>,
    of_cie: &mut Bytes<'_, M>,
    module: &Module,
    pc: u64,
) -> Option<Option<Fde>> {
    const SORTED: u8 = 0x3b; // pairs of 4 bytes, relative to the header
    let hdr = module.eh_frame_hdr;
    code.go_to(hdr, hdr.checked_add(32)?);
    let [version, frame, count, table] =
        [code.u8()?, code.u8()?, code.u8()?, code.u8()?];
    let eh_frame = code.pointer(frame, hdr)?;
    if version != 1 || count == OMIT || table != SORTED {
        return in_order(code, of_cie, module, eh_frame, pc);
    }
    let count = u64::from(u32::try_from(code.pointer(count, hdr)?).ok()?);
    let table = code.at();
    let end = table.checked_add(8 * count)?;
    let row = search(code, hdr, table, count, pc)?;
    let Some(row) = row else { return Some(None) };
    code.go_to(table + 8 * row + 4, end);
    let by = i64::from(code.u32()? as i32);
    let fde = hdr.wrapping_add_signed(by);
    entry(code, of_cie, module, fde, None, pc).map(|found| found.ok())
}

/// So many rows of the table are read at once, each a part of its own.
const WAYS: usize = 16;

/// The last row of the sorted table whose function begins at `pc` or before.
/// The outer `None`: the table cannot be read.
fn search<M: Memory>(
    code: &mut Bytes<'_, M>,
    hdr: u64,
    table: u64,
    count: u64,
    pc: u64,
) -> Option<Option<u64>> {
    let begins_before = |by: u32| {
        let by = i64::from(by as i32);
        hdr.wrapping_add_signed(by) <= pc
    };
    // The row is in low..high, or it is low - 1.
    let (mut low, mut high) = (0, count);
    while high - low > WAYS as u64 * 2 {
        let row =
            |i: usize| low + (high - low) * (i as u64 + 1) / (WAYS as u64 + 1);
        let mut begins = [[0; 4]; WAYS];
        let mut i = 0;
        let mut parts = begins.each_mut().map(|to| {
            let at = table + 8 * row(i);
            i += 1;
            Part { at, to }
        });
        if code.memory().read_many(&mut parts) < WAYS {
            return None;
        }
        let before =
            begins.partition_point(|b| begins_before(u32::from_le_bytes(*b)));
        let (from, to) =
            (before.checked_sub(1).map(row), row(before.min(WAYS - 1)));
        high = if before == WAYS { high } else { to };
        low = from.map_or(low, |row| row + 1);
    }
    code.go_to(table + 8 * low, table + 8 * high);
    while low < high && begins_before(code.u32()?) {
        code.skip(4)?;
        low += 1;
    }
    Some(low.checked_sub(1))
}

/// The entry of the function with `pc`, searched from `at` on.
fn in_order<M: Memory>(
    code: &mut Bytes<'_, M>,
    of_cie: &mut Bytes<'_, M>,
    module: &Module,
    mut at: u64,
    pc: u64,
) -> Option<Option<Fde>> {
    let mut last = None;
    while at != 0 {
        let Some(found) = entry(code, of_cie, module, at, last, pc) else {
            // The section's end is not known, and nothing need follow it.
            break;
        };
        match found {
            Ok(fde) => return Some(Some(fde)),
            Err(other) => {
                at = other.next;
                last = other.cie.or(last);
            }
        }
    }
    Some(None)
}

/// An entry that is not the one looked for.
struct Other {
    /// Where the next begins; 0 at the end.
    next: u64,
    cie: Option<Cie>,
}

/// Reads the entry at `at`: the function's, if that has `pc`. `last` is a CIE
/// that was read before.
fn entry<M: Memory>(
    code: &mut Bytes<'_, M>,
    of_cie: &mut Bytes<'_, M>,
    module: &Module,
    at: u64,
    last: Option<Cie>,
    pc: u64,
) -> Option<Result<Fde, Other>> {
    let Some((id_at, end)) = record(code, at)? else {
        return Some(Err(Other { next: 0, cie: None }));
    };
    let id = code.u32()?;
    if id == 0 {
        return Some(Err(Other { next: end, cie: None }));
    }
    let cie_at = id_at.wrapping_sub(u64::from(id));
    let cie = match last {
        Some(cie) if cie.at == cie_at => cie,
        _ => common(of_cie, module, cie_at)?,
    };
    let start = code.pointer(cie.encoding, module.eh_frame_hdr)?;
    let len = code.plain_pointer(cie.encoding & 0x0f)?;
    if pc.wrapping_sub(start) >= len {
        return Some(Err(Other { next: end, cie: Some(cie) }));
    }
    if cie.augmented {
        let len = code.uleb()?;
        code.skip(len)?;
    }
    Some(Ok(Fde { cie, start, begin: code.at(), end }))
}

/// The head of the record at `at`: where its id is, and its end. The inner
/// `None` at the end of all.
fn record<M: Memory>(
    code: &mut Bytes<'_, M>,
    at: u64,
) -> Option<Option<(u64, u64)>> {
    code.go_to(at, u64::MAX);
    let len = match code.u32()? {
        0 => return Some(None),
        0xffff_ffff => code.u64()?,
        len => u64::from(len),
    };
    let id_at = code.at();
    let end = id_at.checked_add(len)?;
    code.go_to(id_at, end);
    Some(Some((id_at, end)))
}

fn common<M: Memory>(
    code: &mut Bytes<'_, M>,
    module: &Module,
    at: u64,
) -> Option<Cie> {
    let (_, end) = record(code, at)??;
    let id = code.u32()?;
    let version = code.u8()?;
    if id != 0 || !matches!(version, 1 | 3 | 4) {
        return None;
    }
    let mut letters = [0; 8];
    let mut count = 0;
    loop {
        match code.u8()? {
            0 => break,
            letter => *letters.get_mut(count)? = letter,
        }
        count += 1;
    }
    if version == 4 {
        code.u16()?; // the sizes of addresses and segments
    }
    let code_align = code.uleb()?;
    let data_align = code.sleb()?;
    let column =
        if version == 1 { u64::from(code.u8()?) } else { code.uleb()? };
    let mut cie = Cie {
        at,
        code_align,
        data_align,
        return_column: u8::try_from(column).ok()?,
        encoding: 0,
        augmented: letters[0] == b'z',
        personality: letters[..count].contains(&b'P'),
        signal: false,
        begin: 0,
        end,
    };
    if cie.augmented {
        let len = code.uleb()?;
        cie.begin = code.at().checked_add(len)?;
        for letter in &letters[1..count] {
            match letter {
                b'R' => cie.encoding = code.u8()?,
                b'L' => _ = code.u8()?,
                b'P' => {
                    let encoding = code.u8()?;
                    code.pointer(encoding & 0x7f, module.eh_frame_hdr)?;
                }
                b'S' => cie.signal = true,
                b'B' => {}
                _ => return None,
            }
        }
    } else if count == 0 {
        cie.begin = code.at();
    } else {
        return None;
    }
    Some(cie)
}

/// What `DW_CFA_remember_state` remembers.
type State = (Cfa, [Rule; COUNT]);

/// Compilers remember one state at a time.
const REMEMBERED: usize = 4;

struct Machine<'c> {
    cie: &'c Cie,
    location: u64,
    row: Row,
    initial: [Rule; COUNT],
    remembered: [State; REMEMBERED],
    depth: usize,
}

fn rules<M: Memory>(
    code: &mut Bytes<'_, M>,
    of_cie: &mut Bytes<'_, M>,
    fde: &Fde,
    pc: u64,
) -> Option<Row> {
    let cie = &fde.cie;
    let none = [Rule::Unspecified; COUNT];
    let row = Row {
        cfa: Cfa::None,
        rules: none,
        return_column: cie.return_column,
        signal: cie.signal,
    };
    let mut machine = Machine {
        cie,
        location: fde.start,
        row,
        initial: none,
        remembered: [(Cfa::None, none); REMEMBERED],
        depth: 0,
    };
    of_cie.go_to(cie.begin, cie.end);
    while of_cie.rest() > 0 {
        machine.step(of_cie)?;
    }
    machine.initial = machine.row.rules;
    code.go_to(fde.begin, fde.end);
    while code.rest() > 0 {
        machine.step(code)?;
        if machine.location > pc {
            break;
        }
    }
    Some(machine.row)
}

impl Machine<'_> {
    /// Executes an instruction. One that changes the location changes nothing
    /// else.
    fn step<M: Memory>(&mut self, code: &mut Bytes<'_, M>) -> Option<()> {
        let op = code.u8()?;
        let low = op & 0x3f;
        match op >> 6 {
            1 => return self.advance(u64::from(low)),
            2 => {
                let by = self.factored(code.uleb()?);
                self.set(u64::from(low), Rule::At(by));
                return Some(());
            }
            3 => {
                self.restore(u64::from(low));
                return Some(());
            }
            _ => {}
        }
        match op {
            0x00 => Some(()),
            0x01 => {
                self.location = code.pointer(self.cie.encoding, 0)?;
                Some(())
            }
            0x02 => code.u8().and_then(|by| self.advance(by.into())),
            0x03 => code.u16().and_then(|by| self.advance(by.into())),
            0x04 => code.u32().and_then(|by| self.advance(by.into())),
            0x0a => self.remember(),
            0x0b => self.recall(),
            0x0c..=0x0f | 0x12 | 0x13 => self.define_cfa(code, op),
            0x2e => code.uleb().map(|_| ()), // the size of arguments
            _ => self.define_register(code, op),
        }
    }

    fn advance(&mut self, by: u64) -> Option<()> {
        let by = by.wrapping_mul(self.cie.code_align);
        self.location = self.location.wrapping_add(by);
        Some(())
    }

    fn factored(&self, offset: u64) -> i64 {
        (offset as i64).wrapping_mul(self.cie.data_align)
    }

    /// Registers beyond ours, as xmm0, are left out.
    fn set(&mut self, register: u64, rule: Rule) {
        let at = usize::try_from(register).unwrap_or(COUNT);
        if let Some(place) = self.row.rules.get_mut(at) {
            *place = rule;
        }
    }

    fn restore(&mut self, register: u64) {
        let at = usize::try_from(register).unwrap_or(COUNT);
        if let Some(rule) = self.initial.get(at) {
            self.set(register, *rule);
        }
    }

    fn remember(&mut self) -> Option<()> {
        let place = self.remembered.get_mut(self.depth)?;
        *place = (self.row.cfa, self.row.rules);
        self.depth += 1;
        Some(())
    }

    fn recall(&mut self) -> Option<()> {
        self.depth = self.depth.checked_sub(1)?;
        (self.row.cfa, self.row.rules) = self.remembered[self.depth];
        Some(())
    }

    fn define_cfa<M: Memory>(
        &mut self,
        code: &mut Bytes<'_, M>,
        op: u8,
    ) -> Option<()> {
        let old = self.row.cfa;
        let register = |of: u64| u8::try_from(of).ok();
        self.row.cfa = match (op, old) {
            (0x0c, _) => {
                let of = register(code.uleb()?)?;
                Cfa::Register(of, code.uleb()? as i64)
            }
            (0x12, _) => {
                let of = register(code.uleb()?)?;
                Cfa::Register(of, self.factored(code.sleb()? as u64))
            }
            (0x0d, Cfa::Register(_, by)) => {
                Cfa::Register(register(code.uleb()?)?, by)
            }
            (0x0e, Cfa::Register(of, _)) => {
                Cfa::Register(of, code.uleb()? as i64)
            }
            (0x13, Cfa::Register(of, _)) => {
                Cfa::Register(of, self.factored(code.sleb()? as u64))
            }
            (0x0f, _) => Cfa::Expr(expression(code)?),
            _ => return None,
        };
        Some(())
    }

    fn define_register<M: Memory>(
        &mut self,
        code: &mut Bytes<'_, M>,
        op: u8,
    ) -> Option<()> {
        let register = code.uleb()?;
        let rule = match op {
            0x05 => Rule::At(self.factored(code.uleb()?)),
            0x06 => {
                self.restore(register);
                return Some(());
            }
            0x07 => Rule::Undefined,
            0x08 => Rule::Same,
            0x09 => match u8::try_from(code.uleb()?) {
                Ok(other) => Rule::In(other),
                Err(_) => return None,
            },
            0x10 => {
                let Expr { at, len } = expression(code)?;
                Rule::AtExpr(at, len)
            }
            0x11 => Rule::At(self.factored(code.sleb()? as u64)),
            0x14 => Rule::Is(self.factored(code.uleb()?)),
            0x15 => Rule::Is(self.factored(code.sleb()? as u64)),
            0x16 => {
                let Expr { at, len } = expression(code)?;
                Rule::IsExpr(at, len)
            }
            0x2f => Rule::At(self.factored(code.uleb()?).wrapping_neg()),
            _ => return None,
        };
        self.set(register, rule);
        Some(())
    }
}

fn expression<M: Memory>(code: &mut Bytes<'_, M>) -> Option<Expr> {
    let len = code.uleb()?;
    let at = code.at();
    code.skip(len)?;
    Some(Expr { at, len: u32::try_from(len).ok()? })
}
