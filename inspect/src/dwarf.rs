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
/// 1. `context` is dropped before `_unpacked` and `_file`, whose bytes it
///    reads, and no slice of them leaves this module.
pub(crate) struct Lines {
    context: Context<Reader>,
    _unpacked: Vec<Box<[u8]>>,
    _file: Rc<Mapped>,
}

impl Lines {
    /// `None` if the file has no DWARF; an error if that cannot be read.
    pub(crate) fn new(file: &Rc<Mapped>) -> Result<Option<Self>, &'static str> {
        let Some(elf) = Elf::new(&**file, 0) else { return Ok(None) };
        let mut unpacked = Vec::new();
        let dwarf = Dwarf::load(|id| -> Result<Reader, &'static str> {
            let bytes = section(&elf, file, id, &mut unpacked)?;
            // SAFETY: the bytes stay where they are as long as they are used,
            // invariant 1.
            let bytes: &'static [u8] =
                unsafe { mem::transmute::<&[u8], &'static [u8]>(bytes) };
            Ok(EndianSlice::new(bytes, LittleEndian))
        })?;
        if dwarf.debug_info.reader().is_empty() {
            return Ok(None);
        }
        let context = Context::from_dwarf(dwarf).ok();
        Ok(context.map(|context| Self {
            context,
            _unpacked: unpacked,
            _file: Rc::clone(file),
        }))
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

/// The bytes of a section; none if the file lacks it. Those of a compressed one
/// are in `unpacked`.
fn section<'a>(
    elf: &Elf<'_, Mapped>,
    file: &'a Mapped,
    id: SectionId,
    unpacked: &'a mut Vec<Box<[u8]>>,
) -> Result<&'a [u8], &'static str> {
    const SHF_COMPRESSED: u64 = 0x800;
    let found = elf.section(id.name().as_bytes());
    let Some(found) = found.filter(|s| s.kind != NOBITS) else {
        return Ok(&[]);
    };
    let begin = found.offset as usize;
    let end = begin.saturating_add(found.size as usize);
    let bytes = file.get(begin..end).unwrap_or_default();
    if found.flags & SHF_COMPRESSED == 0 {
        return Ok(bytes);
    }
    unpacked.push(unpack(bytes).ok_or(COMPRESSED)?);
    Ok(unpacked.last().map_or(&[], |bytes| bytes))
}

#[cfg(not(feature = "decompress"))]
fn unpack(_bytes: &[u8]) -> Option<Box<[u8]>> {
    None
}

/// The kind of compression, and the size of what is compressed, stand before
/// the bytes.
#[cfg(feature = "decompress")]
fn unpack(bytes: &[u8]) -> Option<Box<[u8]>> {
    const ZLIB: u32 = 1;
    let (head, packed) = bytes.split_at_checked(24)?;
    let kind = u32::from_le_bytes(*head.first_chunk()?);
    let size = u64::from_le_bytes(*head[8..].first_chunk()?);
    let size = usize::try_from(size).ok().filter(|_| kind == ZLIB)?;
    let whole =
        miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(packed, size);
    Some(whole.ok()?.into_boxed_slice())
}
