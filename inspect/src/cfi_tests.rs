//! The rules of every function of some libraries, compared with gimli's.

use crate::{
    cfi::{self, Cfa, Missing, Row, Rule},
    elf::Elf,
    expr::{Expr, evaluate},
    mapped::Mapped,
    memory::{Fd, Memory},
    modules::Module,
    regs::Registers,
};
use gimli::{
    BaseAddresses, CfaRule, CieOrFde, EhFrame, LittleEndian, RegisterRule,
    UnwindContext, UnwindExpression, UnwindSection,
};
use std::{ffi::CString, fs};

/// A file's bytes at the addresses at which it would be loaded.
struct Loaded {
    file: Mapped,
    /// Address, offset, length.
    runs: Vec<(u64, u64, u64)>,
}

impl Memory for Loaded {
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        let has = |&&(start, _, len): &&(u64, u64, u64)| {
            at.wrapping_sub(start) < len
                && len - (at - start) >= to.len() as u64
        };
        let run = self.runs.iter().find(has);
        run.is_some_and(|(start, offset, _)| {
            self.file.read(at - start + offset, to)
        })
    }
}

fn load(path: &str) -> Option<(Loaded, Module, Vec<u8>, u64)> {
    let file = Mapped::new(&Fd::open(&CString::new(path).ok()?)?)?;
    let elf = Elf::new(&file, 0)?;
    let loads = elf.segments().filter(|s| s.kind == libc::PT_LOAD);
    let runs = loads.map(|s| (s.address, s.offset, s.in_file)).collect();
    let hdr = elf.segments().find(|s| s.kind == libc::PT_GNU_EH_FRAME)?;
    let section = elf.section(b".eh_frame")?;
    let mut bytes = vec![0; section.size as usize];
    assert!(file.read(section.offset, &mut bytes));
    let module = Module { eh_frame_hdr: hdr.address, ..Module::default() };
    Some((Loaded { file, runs }, module, bytes, section.address))
}

/// What is at hand: libraries with rules of all kinds.
fn libraries() -> Vec<String> {
    let maps = fs::read_to_string("/proc/self/maps").expect("maps");
    let mut paths: Vec<_> = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5))
        .filter(|path| path.starts_with('/'))
        .map(str::to_owned)
        .collect();
    paths.dedup();
    let more = ["libstdc++.so.6", "libcrypto.so.3", "libm.so.6"];
    let folder = "/usr/lib/x86_64-linux-gnu/";
    paths.extend(more.map(|name| format!("{folder}{name}")));
    paths
}

#[test]
fn rules_are_those_that_gimli_finds() {
    let mut rows = 0;
    for path in libraries() {
        let Some((memory, module, bytes, at)) = load(&path) else { continue };
        println!("{path}");
        rows += compare(&memory, &module, &bytes, at);
    }
    println!("{rows} rows");
    assert!(rows > 10_000, "{rows} rows");
}

fn compare(memory: &Loaded, module: &Module, bytes: &[u8], at: u64) -> usize {
    let section = EhFrame::new(bytes, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(at);
    let mut context = UnwindContext::new();
    let mut entries = section.entries(&bases);
    let mut rows = 0;
    while let Ok(Some(entry)) = entries.next() {
        let CieOrFde::Fde(partial) = entry else { continue };
        let fde = partial.parse(EhFrame::cie_from_offset).expect("an entry");
        let mut table = fde.rows(&section, &bases, &mut context).expect("rows");
        while let Ok(Some(row)) = table.next_row() {
            let (start, end) = (row.start_address(), row.end_address());
            if start >= end {
                continue;
            }
            for pc in [start, end - 1] {
                let got = cfi::find(memory, module, pc);
                let got = got.unwrap_or_else(|e| panic!("{pc:#x}: {e:?}"));
                assert_eq!(got.signal, fde.is_signal_trampoline());
                same_cfa(row.cfa(), got.cfa, at);
                for (i, rule) in got.rules.iter().enumerate() {
                    let want = row.register(gimli::Register(i as u16));
                    same_rule(want.as_ref(), rule, at);
                }
            }
            rows += 1;
        }
    }
    rows
}

fn place(expression: &UnwindExpression<usize>, section: u64) -> (u64, u32) {
    (section + expression.offset as u64, expression.length as u32)
}

fn same_cfa(want: &CfaRule<usize>, got: Cfa, section: u64) {
    let want = match want {
        CfaRule::RegisterAndOffset { register, offset } => {
            Cfa::Register(register.0 as u8, *offset)
        }
        CfaRule::Expression(e) => {
            let (at, len) = place(e, section);
            Cfa::Expr(Expr { at, len })
        }
    };
    assert_eq!(want, got);
}

fn same_rule(want: Option<&RegisterRule<usize>>, got: &Rule, section: u64) {
    let expr = |e| place(e, section);
    let Some(want) = want else {
        return assert_eq!(*got, Rule::Unspecified);
    };
    let want = match want {
        RegisterRule::Undefined => Rule::Undefined,
        RegisterRule::SameValue => Rule::Same,
        RegisterRule::Offset(by) => Rule::At(*by),
        RegisterRule::ValOffset(by) => Rule::Is(*by),
        RegisterRule::Register(other) => Rule::In(other.0 as u8),
        RegisterRule::Expression(e) => {
            let (at, len) = expr(e);
            Rule::AtExpr(at, len)
        }
        RegisterRule::ValExpression(e) => {
            let (at, len) = expr(e);
            Rule::IsExpr(at, len)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(want, *got);
}

/// A table that is not sorted: all entries are looked at.
#[test]
fn rules_are_found_without_a_sorted_table() {
    let path = fs::read_link("/proc/self/exe").expect("this test's path");
    let path = path.to_str().expect("a plain path");
    let (memory, module, _, eh_frame) = load(path).expect("this test");
    let by_order = Module { eh_frame, ..Module::default() };
    let functions = [
        rules_are_found_without_a_sorted_table as *const () as u64,
        libraries as *const () as u64,
        load as *const () as u64,
    ];
    let maps = fs::read_to_string("/proc/self/maps").expect("maps");
    let start = maps.split('-').next().expect("the program comes first");
    let bias = u64::from_str_radix(start, 16).expect("an address");
    for pc in functions.map(|at| at - bias + 20) {
        let want = cfi::find(&memory, &module, pc).expect("rules");
        let got = cfi::find(&memory, &by_order, pc).expect("rules");
        assert_eq!((want.cfa, want.rules), (got.cfa, got.rules));
    }
    let beyond = cfi::find(&memory, &by_order, 1);
    assert_eq!(beyond.err(), Some(Missing::NoCfi));
}

/// Damaged tables are an answer, not the end of the process.
#[test]
fn damaged_tables_are_an_answer() {
    let path = "/lib/x86_64-linux-gnu/libc.so.6";
    let Some((memory, module, ..)) = load(path) else {
        panic!("no {path}");
    };
    let mut random = 12345_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let text = memory.runs[1];
    for _ in 0..20_000 {
        let damaged = Damaged { memory: &memory, seed: next() };
        let pc = text.0 + next() % text.2;
        let row = cfi::find(&damaged, &module, pc);
        if let Ok(Row { cfa: Cfa::Expr(expr), .. }) = row {
            let regs = Registers::at(pc, 8);
            evaluate(&damaged, &regs, expr, None);
        }
    }
}

/// Some bytes are others, depending on where they are.
struct Damaged<'a> {
    memory: &'a Loaded,
    seed: u64,
}

impl Memory for Damaged<'_> {
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        let read = self.memory.read(at, to);
        for (i, byte) in to.iter_mut().enumerate() {
            let mixed = ((at + i as u64) ^ self.seed)
                .wrapping_mul(0x9e37_79b9_7f4a_7c15);
            if mixed >> 58 == 0 {
                *byte = mixed as u8;
            }
        }
        read
    }
}

/// The bytes of an expression, and what each means.
#[test]
fn expressions_are_evaluated() {
    let regs = {
        let mut regs = Registers::at(0x1234, 0x8000);
        regs.set(crate::regs::number::RBP, 0x9000);
        regs
    };
    let cases: [(&[u8], Option<u64>); 14] = [
        (&[0x35], Some(5)),                         // lit5
        (&[0x77, 8], Some(0x8008)),                 // breg7 8
        (&[0x76, 0x78], Some(0x8ff8)),              // breg6 -8
        (&[0x92, 7, 8], Some(0x8008)),              // bregx 7 8
        (&[0x72, 0], None),                         // breg2: unknown
        (&[0x08, 0xff], Some(0xff)),                // const1u
        (&[0x09, 0xff], Some(u64::MAX)),            // const1s
        (&[0x33, 0x34, 0x1c], Some(u64::MAX)),      // lit3 lit4 minus
        (&[0x33, 0x34, 0x16, 0x1c], Some(1)),       // … swap minus
        (&[0x31, 0x32, 0x33, 0x17], Some(2)),       // lit1 lit2 lit3 rot
        (&[0x31, 0x28, 1, 0, 0x32, 0x33], Some(3)), // lit1 bra +1 lit2 lit3
        (&[0x2f, 0xfd, 0xff], None),                // skip -3: for ever
        (&[0x12], None),                            // dup of nothing
        // PLT: rsp + 8 + ((rip & 15) >= 11) * 8
        (
            &[0x77, 8, 0x80, 0, 0x3f, 0x1a, 0x3b, 0x2a, 0x33, 0x24, 0x22],
            Some(0x8008),
        ),
    ];
    for (bytes, want) in cases {
        let at = bytes.as_ptr() as u64;
        let expr = Expr { at, len: bytes.len() as u32 };
        let got = evaluate(&crate::memory::OwnMemory, &regs, expr, None);
        assert_eq!(got, want, "{bytes:x?}");
    }
}
