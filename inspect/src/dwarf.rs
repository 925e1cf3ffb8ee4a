//! Functions and lines by DWARF.

use crate::{
    elf::{Elf, NOBITS},
    mapped::Mapped,
    symbols::{COMPRESSED, Function, demangled},
};
use addr2line::{Context, LookupResult};
use gimli::{Dwarf, EndianSlice, LittleEndian, Section, SectionId};
use std::{mem, rc::Rc};

type Reader = EndianSlice<'static, LittleEndian>;

/// The DWARF of a file.
///
/// # Invariants
/// 1. `context` is dropped before `_file`, whose bytes it reads, and no slice
///    of them leaves this module.
pub(crate) struct Lines {
    context: Context<Reader>,
    _file: Rc<Mapped>,
}

impl Lines {
    /// `None` if the file has no DWARF; an error if that cannot be read.
    pub(crate) fn new(file: &Rc<Mapped>) -> Result<Option<Self>, &'static str> {
        let Some(elf) = Elf::new(&**file, 0) else { return Ok(None) };
        let mut compressed = false;
        let mut section = |id: SectionId| -> &[u8] {
            const SHF_COMPRESSED: u64 = 0x800;
            let found = elf.section(id.name().as_bytes());
            let Some(found) = found.filter(|s| s.kind != NOBITS) else {
                return &[];
            };
            compressed |= found.flags & SHF_COMPRESSED != 0;
            let begin = found.offset as usize;
            let end = begin.saturating_add(found.size as usize);
            file.get(begin..end).unwrap_or_default()
        };
        let dwarf = Dwarf::load(|id| {
            // SAFETY: the bytes stay mapped as long as they are used,
            // invariant 1.
            let bytes: &'static [u8] =
                unsafe { mem::transmute::<&[u8], &'static [u8]>(section(id)) };
            Ok::<Reader, ()>(EndianSlice::new(bytes, LittleEndian))
        });
        if compressed {
            return Err(COMPRESSED);
        }
        let Ok(dwarf) = dwarf else { return Ok(None) };
        if dwarf.debug_info.reader().is_empty() {
            return Ok(None);
        }
        let context = Context::from_dwarf(dwarf).ok();
        Ok(context.map(|context| Self { context, _file: Rc::clone(file) }))
    }

    /// The functions at an address of the file, innermost first.
    pub(crate) fn find(&self, at: u64) -> Vec<Function> {
        let mut found = Vec::new();
        let mut lookup = self.context.find_frames(at);
        let frames = loop {
            use addr2line::LookupContinuation;
            match lookup {
                LookupResult::Output(frames) => break frames,
                // Parts of DWARF that are in other files.
                LookupResult::Load { continuation, .. } => {
                    lookup = continuation.resume(None);
                }
            }
        };
        let Ok(mut frames) = frames else { return found };
        while let Ok(Some(frame)) = frames.next() {
            let name = frame.function.as_ref();
            let location = frame.location.as_ref();
            found.push(Function {
                name: name.map(|name| demangled(name.name.slice())),
                offset: None,
                file: location.and_then(|l| l.file).map(Rc::from),
                line: location.and_then(|l| l.line),
            });
        }
        found
    }
}
