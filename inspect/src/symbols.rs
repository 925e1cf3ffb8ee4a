//! Names, files and lines of places in the code, where memory may be
//! allocated.
//!
//! A [`Symbolizer`] opens an object when it is first asked for an address of
//! it, and parses of its DWARF what the address needs. It keeps what it has
//! found, so a second question for an address is cheap.
//!
//! # Invariants
//! 1. A file is used only if it is the one that was loaded: its build id is
//!    that in memory, or, where there is none, its header.

use crate::{
    demangle::demangle,
    dwarf::Lines,
    elf::{DYNSYM, Elf, SYMBOL, SYMTAB, Symbol},
    mapped::Mapped,
    memory::{Fd, Memory},
    modules::{Module, Modules},
    names::{self, Table},
};
use std::{collections::BTreeMap, ffi::CString, rc::Rc};

/// Finds functions and lines by symbols and DWARF, and remembers what it has
/// opened. Outside handlers only.
pub struct Symbolizer<M, O> {
    memory: M,
    modules: O,
    objects: Vec<(Module, Object)>,
    places: BTreeMap<u64, Rc<Place>>,
}

/// What is known of one address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The object, by its whole path; `None` where no object has the address.
    pub object: Option<Rc<str>>,
    /// The address in the object's file, as addr2line takes it; without an
    /// object the address itself.
    pub at: u64,
    /// The functions, innermost first: those that the compiler has inlined,
    /// then the one that they are in. Empty if no function is known.
    pub functions: Vec<Function>,
    /// Why there are no lines, if it is not just that the object has none:
    /// [`REPLACED`] or [`COMPRESSED`].
    pub note: Option<&'static str>,
}

/// The object's file is not what was loaded.
pub const REPLACED: &str = "its file was deleted or replaced";
/// Nothing here can decompress it.
pub const COMPRESSED: &str = "its debug information is compressed";

/// A function at a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Its name, demangled.
    pub name: Option<Rc<str>>,
    /// The bytes after its begin; `None` for an inlined function.
    pub offset: Option<u64>,
    /// The source file.
    pub file: Option<Rc<str>>,
    /// The line there.
    pub line: Option<u32>,
}

impl<M: Memory, O: Modules> Symbolizer<M, O> {
    /// Opens nothing yet.
    pub fn new(memory: M, modules: O) -> Self {
        let (objects, places) = (Vec::new(), BTreeMap::new());
        Self { memory, modules, objects, places }
    }

    /// The place that [`crate::walk::Frame::lookup`] gives.
    pub fn place(&mut self, lookup: u64) -> Rc<Place> {
        if let Some(known) = self.places.get(&lookup) {
            return Rc::clone(known);
        }
        let place = Rc::new(self.look(lookup));
        self.places.insert(lookup, Rc::clone(&place));
        place
    }

    fn look(&mut self, lookup: u64) -> Place {
        let Some(module) = self.modules.find(lookup) else {
            return Place { at: lookup, ..Place::default() };
        };
        let known = self.objects.iter().position(|(m, _)| *m == module);
        let at = known.unwrap_or_else(|| {
            let object = Object::new(&self.memory, &self.modules, &module);
            self.objects.push((module, object));
            self.objects.len() - 1
        });
        let object = &mut self.objects[at].1;
        let at = lookup.wrapping_sub(module.bias);
        let mut functions = object.lines(at);
        let symbol = object.symbol(at).or_else(|| {
            let mut room = [0; 512];
            let name =
                names::name(&self.memory, &self.modules, lookup, &mut room);
            let known = !name.function.is_empty();
            known.then(|| (demangled(name.function), name.offset))
        });
        if let Some((name, offset)) = symbol {
            if functions.is_empty() {
                functions.push(Function::default());
            }
            if let Some(outer) = functions.last_mut() {
                outer.offset = Some(offset);
                outer.name.get_or_insert(name);
            }
        }
        let object_name = Some(Rc::clone(&object.name));
        Place { object: object_name, at, functions, note: object.note }
    }
}

/// What is open of an object.
struct Object {
    name: Rc<str>,
    note: Option<&'static str>,
    symbols: Option<Symbols>,
    lines: Option<Lines>,
}

impl Object {
    fn new<M: Memory, O: Modules>(
        memory: &M,
        modules: &O,
        module: &Module,
    ) -> Self {
        let mut room = vec![0; 4096];
        let path = modules.path(module, &mut room);
        let name = path.as_ref().map_or(&b"?"[..], |path| path.name);
        let name = String::from_utf8_lossy(name).into();
        let mut object = Self { name, note: None, symbols: None, lines: None };
        let Some(path) = path.filter(|path| !path.open.is_empty()) else {
            return object;
        };
        let file = CString::new(path.open).ok().and_then(|p| Fd::open(&p));
        let file = file.filter(|file| names::same(memory, module, file));
        let Some(file) = file.and_then(|file| Mapped::new(&file)) else {
            object.note = Some(REPLACED);
            return object;
        };
        let id = Elf::new(&file, 0).and_then(|elf| elf.build_id(None));
        let debug = id.and_then(|id| {
            let mut room = [0; 128];
            let debug = names::open(names::debug_path(&id, &mut room)?)?;
            let same = names::has_build_id(&debug, &id);
            same.then(|| Mapped::new(&debug))?
        });
        let file = Rc::new(file);
        let files = [Some(Rc::clone(&file)), debug.map(Rc::new)];
        for file in files.iter().flatten() {
            match Lines::new(file) {
                Ok(Some(lines)) => object.lines = Some(lines),
                Ok(None) => continue,
                Err(note) => object.note = Some(note),
            }
            break;
        }
        let full = files.iter().flatten();
        object.symbols = full
            .filter_map(|file| Symbols::new(file, SYMTAB))
            .next()
            .or_else(|| Symbols::new(&file, DYNSYM));
        object
    }

    fn lines(&self, at: u64) -> Vec<Function> {
        self.lines.as_ref().map(|lines| lines.find(at)).unwrap_or_default()
    }

    fn symbol(&mut self, at: u64) -> Option<(Rc<str>, u64)> {
        self.symbols.as_mut()?.find(at)
    }
}

/// The symbols of a file, sorted once there are many questions.
struct Symbols {
    file: Rc<Mapped>,
    table: Table,
    asked: u32,
    /// The numbers of the symbols, by address.
    sorted: Vec<u32>,
}

/// So many questions are answered by looking at each symbol.
const UNSORTED: u32 = 8;

impl Symbols {
    fn new(file: &Rc<Mapped>, kind: u32) -> Option<Self> {
        let elf = Elf::new(&**file, 0)?;
        let table = Table::in_file(&elf, kind)?;
        Some(Self {
            file: Rc::clone(file),
            table,
            asked: 0,
            sorted: Vec::new(),
        })
    }

    fn symbols(&self) -> &[[u8; SYMBOL]] {
        let from = self.table.at as usize;
        let rest = self.file.get(from..).unwrap_or_default();
        let all = rest.as_chunks::<SYMBOL>().0;
        &all[..all.len().min(self.table.len as usize)]
    }

    fn name(&self, symbol: &Symbol) -> &[u8] {
        let at = self.table.names as usize + symbol.name as usize;
        let rest = self.file.get(at..).unwrap_or_default();
        let name = rest.split(|&byte| byte == 0).next().unwrap_or_default();
        names::without_version(name)
    }

    fn find(&mut self, at: u64) -> Option<(Rc<str>, u64)> {
        self.asked += 1;
        if self.asked == UNSORTED {
            self.sort();
        }
        let all = self.symbols();
        let best = if self.sorted.is_empty() {
            self.best(all.iter().filter_map(Symbol::new), at)
        } else {
            let symbol = |&i: &u32| Symbol::new(all.get(i as usize)?);
            let begin = |i: &u32| symbol(i).map_or(0, |s| s.address);
            let end = self.sorted.partition_point(|i| begin(i) <= at);
            // Functions do not nest, but names of one function do.
            let near = self.sorted[end.saturating_sub(64)..end].iter();
            self.best(near.filter_map(symbol), at)
        };
        let best = best?;
        let name = self.name(&best);
        (!name.is_empty()).then(|| (demangled(name), at - best.address))
    }

    fn best(
        &self,
        symbols: impl Iterator<Item = Symbol>,
        at: u64,
    ) -> Option<Symbol> {
        let hidden =
            |s: &Symbol| matches!(self.name(s).first(), None | Some(b'_'));
        symbols.filter(|symbol| symbol.may_have(at)).reduce(|best, symbol| {
            let better = symbol.better(&best);
            let better =
                better.unwrap_or_else(|| hidden(&best) && !hidden(&symbol));
            if better { symbol } else { best }
        })
    }

    fn sort(&mut self) {
        let all = self.symbols();
        let address = |i: u32| Symbol::new(all.get(i as usize)?);
        let count = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let mut sorted: Vec<u32> =
            (0..count).filter(|&i| address(i).is_some()).collect();
        sorted.sort_by_key(|&i| address(i).map_or(0, |s| s.address));
        self.sorted = sorted;
    }
}

/// A function's name as its source has it.
pub(crate) fn demangled(name: &[u8]) -> Rc<str> {
    const STACK: usize = 64 << 10;
    let mut room = vec![0; 4096];
    if let Some(len) = demangle(name, &mut room, STACK) {
        return String::from_utf8_lossy(&room[..len]).into();
    }
    let plain = String::from_utf8_lossy(name);
    #[cfg(feature = "rust")]
    if let Ok(name) = rustc_demangle::try_demangle(&plain) {
        return format!("{name:#}").into();
    }
    plain.into()
}
