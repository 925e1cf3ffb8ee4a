//! ELF: the headers of an object, in its file or where it is loaded.

use crate::memory::Memory;

/// An ELF object in some memory, by its header.
pub(crate) struct Elf<'m, M> {
    memory: &'m M,
    /// Where the file's begin is.
    base: u64,
    header: Header,
}

#[derive(Clone, Copy)]
struct Header {
    kind: u16,
    segments_at: u64,
    segments: u16,
    sections_at: u64,
    sections: u32,
    names: u32,
}

/// A program header.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Segment {
    pub(crate) kind: u32,
    pub(crate) flags: u32,
    pub(crate) offset: u64,
    pub(crate) address: u64,
    pub(crate) in_file: u64,
    pub(crate) in_memory: u64,
}

/// A section header.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Section {
    name: u32,
    pub(crate) kind: u32,
    pub(crate) flags: u64,
    pub(crate) address: u64,
    pub(crate) offset: u64,
    pub(crate) size: u64,
    pub(crate) link: u32,
}

pub(crate) const NOBITS: u32 = 8;
/// All symbols.
pub(crate) const SYMTAB: u32 = 2;
/// Those that other objects see.
pub(crate) const DYNSYM: u32 = 11;
const EXTENDED: u16 = 0xffff;

/// The number of `N` bytes at a place in a header.
fn number<const N: usize>(bytes: &[u8], at: usize) -> u64 {
    let mut all = [0; 8];
    all[..N].copy_from_slice(&bytes[at..at + N]);
    u64::from_le_bytes(all)
}

impl<'m, M: Memory> Elf<'m, M> {
    /// The 64-bit little-endian object at `base`, if one is there.
    pub(crate) fn new(memory: &'m M, base: u64) -> Option<Self> {
        let mut bytes = [0; 64];
        if !memory.read(base, &mut bytes) || bytes[..6] != *b"\x7fELF\x02\x01" {
            return None;
        }
        let header = Header {
            kind: number::<2>(&bytes, 16) as u16,
            segments_at: number::<8>(&bytes, 32),
            segments: number::<2>(&bytes, 56) as u16,
            sections_at: number::<8>(&bytes, 40),
            sections: number::<2>(&bytes, 60) as u32,
            names: number::<2>(&bytes, 62) as u32,
        };
        let plain = number::<2>(&bytes, 54) == 56 || header.segments == 0;
        let mut elf = Self { memory, base, header };
        if elf.header.names == u32::from(EXTENDED)
            || elf.header.sections == 0 && elf.header.sections_at != 0
        {
            // Too many for the header: the first section has the numbers.
            let first = elf.section_at(0).unwrap_or_default();
            elf.header.sections = first.size as u32;
            elf.header.names = first.link;
        }
        plain.then_some(elf)
    }

    /// `ET_EXEC`, `ET_DYN`, `ET_CORE`.
    pub(crate) fn kind(&self) -> u16 {
        self.header.kind
    }

    /// A core of many mappings has more segments than the header can count.
    fn segment_count(&self) -> u64 {
        match self.header.segments {
            EXTENDED => self.extended_count().unwrap_or(0),
            count => u64::from(count),
        }
    }

    fn extended_count(&self) -> Option<u64> {
        let at = self.base.checked_add(self.header.sections_at)?;
        self.memory.u32(at.checked_add(44)?).map(u64::from)
    }

    pub(crate) fn segments(&self) -> impl Iterator<Item = Segment> + '_ {
        (0..self.segment_count()).map_while(|i| {
            let mut bytes = [0; 56];
            let at = self.header.segments_at.checked_add(i * 56)?;
            let at = self.base.checked_add(at)?;
            self.memory.read(at, &mut bytes).then(|| Segment {
                kind: number::<4>(&bytes, 0) as u32,
                flags: number::<4>(&bytes, 4) as u32,
                offset: number::<8>(&bytes, 8),
                address: number::<8>(&bytes, 16),
                in_file: number::<8>(&bytes, 32),
                in_memory: number::<8>(&bytes, 40),
            })
        })
    }

    fn section_at(&self, i: u32) -> Option<Section> {
        let mut bytes = [0; 64];
        let at = self.header.sections_at.checked_add(u64::from(i) * 64)?;
        let at = self.base.checked_add(at)?;
        self.memory.read(at, &mut bytes).then(|| Section {
            name: number::<4>(&bytes, 0) as u32,
            kind: number::<4>(&bytes, 4) as u32,
            flags: number::<8>(&bytes, 8),
            address: number::<8>(&bytes, 16),
            offset: number::<8>(&bytes, 24),
            size: number::<8>(&bytes, 32),
            link: number::<4>(&bytes, 40) as u32,
        })
    }

    /// The section with this name, in a file.
    pub(crate) fn section(&self, name: &[u8]) -> Option<Section> {
        let names = self.section_at(self.header.names)?;
        let mut room = [0; 32];
        (0..self.header.sections).find_map(|i| {
            let section = self.section_at(i)?;
            let at = names.offset.checked_add(section.name.into())?;
            let found = self.memory.c_str(at, &mut room)?;
            (found == name).then_some(section)
        })
    }

    /// The section of this kind, in a file.
    pub(crate) fn section_of(&self, kind: u32) -> Option<Section> {
        let mut all =
            (0..self.header.sections).map_while(|i| self.section_at(i));
        all.find(|section| section.kind == kind)
    }

    /// The section with this number, in a file.
    pub(crate) fn linked(&self, number: u32) -> Option<Section> {
        self.section_at(number)
    }

    /// What addresses of the file are less than those in memory, where the
    /// object is loaded with its header at `base`.
    pub(crate) fn bias(&self) -> Option<u64> {
        let first = self.segments().find(|s| s.kind == libc::PT_LOAD)?;
        Some(self.base.wrapping_sub(first.address.wrapping_sub(first.offset)))
    }

    /// The build id, in a file or, with `bias`, where the object is loaded.
    pub(crate) fn build_id(&self, bias: Option<u64>) -> Option<BuildId> {
        self.segments().filter(|s| s.kind == libc::PT_NOTE).find_map(|s| {
            let at = match bias {
                Some(bias) => bias.wrapping_add(s.address),
                None => self.base.wrapping_add(s.offset),
            };
            build_id_in(self.memory, at, s.in_file)
        })
    }
}

/// The name that a linker gives to a build: 20 bytes, mostly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BuildId {
    bytes: [u8; 32],
    len: usize,
}

impl BuildId {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A note: its type, and where its description is.
pub(crate) struct Note {
    pub(crate) kind: u32,
    pub(crate) name: [u8; 8],
    pub(crate) at: u64,
    pub(crate) len: u64,
}

/// The notes from `at` on, in `len` bytes.
pub(crate) fn notes<M: Memory>(
    memory: &M,
    at: u64,
    len: u64,
) -> impl Iterator<Item = Note> + '_ {
    let mut next = at;
    let end = at.saturating_add(len);
    core::iter::from_fn(move || {
        let mut head = [0; 12];
        if end.saturating_sub(next) < 12 || !memory.read(next, &mut head) {
            return None;
        }
        let name_len = number::<4>(&head, 0);
        let len = number::<4>(&head, 4);
        let name_at = next.checked_add(12)?;
        let at = name_at.checked_add(name_len.next_multiple_of(4))?;
        next = at.checked_add(len.next_multiple_of(4))?;
        let mut name = [0; 8];
        let some = &mut name[..name_len.min(8) as usize];
        memory.read(name_at, some).then_some(Note {
            kind: number::<4>(&head, 8) as u32,
            name,
            at,
            len,
        })
    })
}

fn build_id_in<M: Memory>(memory: &M, at: u64, len: u64) -> Option<BuildId> {
    const NT_GNU_BUILD_ID: u32 = 3;
    let note = notes(memory, at, len)
        .find(|n| n.kind == NT_GNU_BUILD_ID && n.name.starts_with(b"GNU\0"))?;
    let mut id = BuildId { bytes: [0; 32], len: note.len.min(32) as usize };
    let len = id.len;
    memory.read(note.at, &mut id.bytes[..len]).then_some(id)
}

/// A symbol of a function, or a label of assembly.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Symbol {
    /// Where its name is among the names.
    pub(crate) name: u32,
    pub(crate) address: u64,
    pub(crate) size: u64,
    function: bool,
}

/// The bytes of a symbol in a table.
pub(crate) const SYMBOL: usize = 24;

impl Symbol {
    /// The symbol in these bytes of a table, if it is for code.
    #[inline]
    pub(crate) fn new(bytes: &[u8; SYMBOL]) -> Option<Self> {
        const NOTYPE: u8 = 0;
        const FUNC: u8 = 2;
        const IFUNC: u8 = 10;
        let kind = bytes[4] & 0xf;
        let defined = bytes[6] != 0 || bytes[7] != 0;
        if !defined || !matches!(kind, NOTYPE | FUNC | IFUNC) {
            return None;
        }
        Some(Self {
            name: number::<4>(bytes, 0) as u32,
            address: number::<8>(bytes, 8),
            size: number::<8>(bytes, 16),
            function: kind != NOTYPE,
        })
    }

    /// Whether the symbol may have the address: a label without size has what
    /// follows it.
    #[inline]
    pub(crate) fn may_have(&self, at: u64) -> bool {
        const MOST: u64 = 4096;
        let size = if self.size == 0 { MOST } else { self.size };
        at.wrapping_sub(self.address) < size
    }

    /// Whether this symbol tells more of an address than another one that may
    /// have it too. `None`: as much.
    pub(crate) fn better(&self, other: &Self) -> Option<bool> {
        let rank = |s: &Self| (s.size != 0, s.address, s.function);
        let (mine, its) = (rank(self), rank(other));
        (mine != its).then_some(mine > its)
    }
}
