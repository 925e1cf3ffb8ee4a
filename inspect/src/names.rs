//! Names of places in the code, in handlers: function and offset, or object
//! and offset.
//!
//! The symbols of a function that no other object calls are in the file alone,
//! and gone where the program was stripped. So the file is asked first, then
//! the file of debug information, and then the object in memory. The files are
//! read and not mapped, because a mapped file that someone cuts short is a
//! SIGBUS.

use crate::{
    demangle::demangle,
    elf::{BuildId, DYNSYM, Elf, SYMBOL, SYMTAB, Symbol},
    memory::{Fd, KeepErrno, Memory},
    modules::{Module, Modules},
};
use core::{ffi::CStr, fmt};

/// Room for a name.
pub type Room = [u8; 512];

/// A place in the code. Displays as `name+0x12`, or as `libx.so+0x1234` where
/// no function is known, or as `0x7f12` where no object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name<'a> {
    /// The function as the linker knows it, while a display of this has it as
    /// its source has; empty if unknown.
    pub function: &'a [u8],
    /// The file name of the object, without folders; empty where the function
    /// is known, or no object.
    pub object: &'a [u8],
    /// The bytes after the function's begin; or the address in the object's
    /// file, as addr2line takes it; or the address itself.
    pub offset: u64,
}

/// What a handler can spare for the names of C++.
const STACK: usize = 3 << 10;

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = !self.function.is_empty();
        let mut room = [0; 512];
        let plain = demangle(self.function, &mut room, STACK);
        let name = match plain {
            Some(len) => &room[..len],
            None if known => self.function,
            None => self.object,
        };
        for chunk in name.utf8_chunks() {
            f.write_str(chunk.valid())?;
            if !chunk.invalid().is_empty() {
                f.write_str("?")?;
            }
        }
        let plus = if name.is_empty() { "" } else { "+" };
        write!(f, "{plus}{:#x}", self.offset)
    }
}

/// Names the place that [`crate::walk::Frame::lookup`] gives. Neither
/// allocates nor locks; uses 6 KiB of stack, `room` not counted.
pub fn name<'a, M: Memory, O: Modules>(
    memory: &M,
    modules: &'a O,
    lookup: u64,
    room: &'a mut Room,
) -> Name<'a> {
    let _errno = KeepErrno::new();
    let (module, offset) = match located(modules, lookup) {
        Ok(place) => place,
        Err(name) => return name,
    };
    if let Some((len, from)) = function(memory, modules, &module, offset, room)
    {
        let function = &room[..len];
        return Name { function, object: b"", offset: offset - from };
    }
    in_object(modules, &module, offset, room)
}

/// As [`name`], where no time is left to look for the function.
pub fn place<'a, O: Modules>(
    modules: &'a O,
    lookup: u64,
    room: &'a mut Room,
) -> Name<'a> {
    let _errno = KeepErrno::new();
    match located(modules, lookup) {
        Ok((module, offset)) => in_object(modules, &module, offset, room),
        Err(name) => name,
    }
}

/// The module of a place, and the place in it; or the place's name where no
/// module is there.
fn located<'a>(
    modules: &impl Modules,
    lookup: u64,
) -> Result<(Module, u64), Name<'a>> {
    let Some(module) = modules.find(lookup) else {
        return Err(Name { function: b"", object: b"", offset: lookup });
    };
    let offset = lookup.wrapping_sub(module.bias);
    Ok((module, offset))
}

fn in_object<'a, O: Modules>(
    modules: &'a O,
    module: &Module,
    offset: u64,
    room: &'a mut Room,
) -> Name<'a> {
    let name = modules.path(module, room).map_or(&b"?"[..], |path| path.name);
    let object = name.rsplit(|&byte| byte == b'/').next().unwrap_or(name);
    Name { function: b"", object, offset }
}

/// Writes the name of the function into `room`. Returns its length, and where
/// the function begins.
fn function<M: Memory, O: Modules>(
    memory: &M,
    modules: &O,
    module: &Module,
    at: u64,
    room: &mut Room,
) -> Option<(usize, u64)> {
    let path = modules.path(module, room);
    let file = path.and_then(|path| open(path.open));
    if let Some(file) = file.filter(|file| same(memory, module, file)) {
        let found = in_file(&file, SYMTAB, at, room)
            .or_else(|| in_debug_file(&file, at, room))
            .or_else(|| in_file(&file, DYNSYM, at, room));
        if found.is_some() {
            return found;
        }
    }
    let table = Table::loaded(memory, module)?;
    table.find(memory, at, room)
}

/// Whether a file is what was loaded.
pub(crate) fn same<M: Memory>(memory: &M, module: &Module, file: &Fd) -> bool {
    let mut loaded = [0; 64];
    let mut on_disk = loaded;
    if !memory.read(module.start, &mut loaded) || !loaded.starts_with(ELF) {
        return true; // nobody knows better
    }
    let header = file.read_at(0, &mut on_disk) && on_disk == loaded;
    let id = build_id(memory, module);
    header && id.is_none_or(|id| has_build_id(file, &id))
}

const ELF: &[u8] = b"\x7fELF";

pub(crate) fn has_build_id(file: &Fd, id: &BuildId) -> bool {
    let of_file = || Elf::new(file, 0)?.build_id(None);
    of_file().as_ref() == Some(id)
}

/// The build id of a loaded object.
pub(crate) fn build_id<M: Memory>(
    memory: &M,
    module: &Module,
) -> Option<BuildId> {
    Elf::new(memory, module.start)?.build_id(Some(module.bias))
}

pub(crate) fn open(path: &[u8]) -> Option<Fd> {
    let mut with_end = [0; 513];
    if path.is_empty() || path.len() >= with_end.len() {
        return None;
    }
    with_end[..path.len()].copy_from_slice(path);
    Fd::open(CStr::from_bytes_until_nul(&with_end).ok()?)
}

/// Where a distribution has the debug information of a build.
pub(crate) fn debug_path<'a>(
    id: &BuildId,
    to: &'a mut [u8; 128],
) -> Option<&'a [u8]> {
    const FOLDER: &[u8] = b"/usr/lib/debug/.build-id/";
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    to[..FOLDER.len()].copy_from_slice(FOLDER);
    let mut len = FOLDER.len();
    for (i, byte) in id.bytes().iter().enumerate() {
        to[len] = DIGITS[usize::from(byte >> 4)];
        to[len + 1] = DIGITS[usize::from(byte & 15)];
        len += 2;
        if i == 0 {
            to[len] = b'/';
            len += 1;
        }
    }
    to[len..len + 6].copy_from_slice(b".debug");
    (id.bytes().len() > 1).then_some(&to[..len + 6])
}

fn in_debug_file(file: &Fd, at: u64, room: &mut Room) -> Option<(usize, u64)> {
    let id = Elf::new(file, 0)?.build_id(None)?;
    let mut path = [0; 128];
    let debug = open(debug_path(&id, &mut path)?)?;
    let same = has_build_id(&debug, &id);
    same.then(|| in_file(&debug, SYMTAB, at, room))?
}

fn in_file(
    file: &Fd,
    table: u32,
    at: u64,
    room: &mut Room,
) -> Option<(usize, u64)> {
    Table::in_file(&Elf::new(file, 0)?, table)?.find(file, at, room)
}

/// A table of symbols, and the names for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Table {
    pub(crate) at: u64,
    pub(crate) len: u64,
    pub(crate) names: u64,
}

/// So many symbols are read at once.
const BATCH: usize = 64;

impl Table {
    /// The section of this kind.
    pub(crate) fn in_file<M: Memory>(
        elf: &Elf<'_, M>,
        kind: u32,
    ) -> Option<Self> {
        let table = elf.section_of(kind)?;
        let names = elf.linked(table.link)?;
        let len = table.size / SYMBOL as u64;
        Some(Self { at: table.offset, len, names: names.offset })
    }

    /// The dynamic symbols of a loaded object.
    pub(crate) fn loaded<M: Memory>(
        memory: &M,
        module: &Module,
    ) -> Option<Self> {
        const DT_STRTAB: u64 = 5;
        const DT_SYMTAB: u64 = 6;
        const MOST: u64 = 200;
        let elf = Elf::new(memory, module.start)?;
        let dynamic = elf.segments().find(|s| s.kind == libc::PT_DYNAMIC)?;
        let at = module.bias.wrapping_add(dynamic.address);
        let (mut table, mut names) = (0, 0);
        for i in 0..MOST.min(dynamic.in_memory / 16) {
            let tag = memory.u64(at.wrapping_add(16 * i))?;
            let value = memory.u64(at.wrapping_add(16 * i + 8))?;
            // The loader has made addresses of them, but not in the vDSO.
            let low = value < module.start;
            let value =
                if low { value.wrapping_add(module.bias) } else { value };
            match tag {
                0 => break,
                DT_SYMTAB => table = value,
                DT_STRTAB => names = value,
                _ => {}
            }
        }
        // Nothing says how long the table is, but the names follow it.
        let len = names.checked_sub(table)? / SYMBOL as u64;
        (table != 0).then_some(Self { at: table, len, names })
    }

    fn find<M: Memory>(
        &self,
        memory: &M,
        at: u64,
        room: &mut Room,
    ) -> Option<(usize, u64)> {
        let mut best: Option<Symbol> = None;
        let mut batch = [0; SYMBOL * BATCH];
        let mut done = 0;
        while done < self.len {
            let count = (self.len - done).min(BATCH as u64);
            let bytes = &mut batch[..SYMBOL * count as usize];
            if !memory.read(self.at.wrapping_add(SYMBOL as u64 * done), bytes) {
                break;
            }
            for bytes in bytes.as_chunks::<SYMBOL>().0 {
                let Some(symbol) = Symbol::new(bytes) else { continue };
                if symbol.may_have(at)
                    && best.is_none_or(|b| self.better(memory, &symbol, &b))
                {
                    best = Some(symbol);
                }
            }
            done += count;
        }
        let best = best?;
        let name = memory.c_str(self.name_at(&best), room)?;
        let len = without_version(name).len();
        (len > 0).then_some((len, best.address))
    }

    fn name_at(&self, symbol: &Symbol) -> u64 {
        self.names.wrapping_add(symbol.name.into())
    }

    /// Whether a symbol is to be named rather than another one. Of two names
    /// of one function, that without underscore.
    fn better<M: Memory>(&self, memory: &M, a: &Symbol, b: &Symbol) -> bool {
        let hidden = |s: &Symbol| {
            let mut first = [0];
            !memory.read(self.name_at(s), &mut first)
                || matches!(first, [b'_' | 0])
        };
        a.better(b).unwrap_or_else(|| hidden(b) && !hidden(a))
    }
}

/// A name without `@@VERSION`.
pub(crate) fn without_version(name: &[u8]) -> &[u8] {
    name.split(|&byte| byte == b'@').next().unwrap_or(name)
}
