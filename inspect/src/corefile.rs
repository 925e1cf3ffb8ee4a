//! A core: the memory of a process that has died, its threads' registers, and
//! its mappings.
//!
//! A core leaves out what is in files anyway, as code and unwind tables. These
//! pages are read from the files, each of which must be the build that the
//! core was made with.
//!
//! # Invariants
//! 1. A page that the core has is read from the core.
//! 2. A file is read only if its ELF header and its build id are those in the
//!    core. A core that has not even these pages of a file does not say which
//!    build it is, and then the file is not read either.

use crate::{
    elf::{self, Elf, Note},
    mapped::Mapped,
    memory::{Fd, Memory},
    names,
    objects::Mapping,
    process::Error,
    regs::Registers,
};
use std::{cell::RefCell, ffi::CString, os::unix::ffi::OsStrExt, path::Path};

/// A core, open.
pub struct Core {
    file: Mapped,
    segments: Vec<Segment>,
    mappings: Vec<Mapping>,
    threads: Vec<Thread>,
    pid: u32,
    backing: RefCell<Vec<Backing>>,
}

/// A thread of the process that died.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    /// Its number.
    pub id: u32,
    /// The signal that it died of, or 0.
    pub signal: u32,
    /// Where it was.
    pub regs: Registers,
    /// Its thread pointer: fs.
    pub fs: u64,
}

/// A run of memory that the core has.
#[derive(Clone, Copy)]
struct Segment {
    start: u64,
    len: u64,
    offset: u64,
}

/// A file that the process had mapped.
struct Backing {
    path: Vec<u8>,
    /// The file, or why it is not used.
    file: Result<Mapped, String>,
}

const NT_PRSTATUS: u32 = 1;
const NT_PRPSINFO: u32 = 3;
const NT_FILE: u32 = 0x4649_4c45;
const NT_AUXV: u32 = 6;

impl Core {
    /// Opens a core.
    ///
    /// # Errors
    /// It cannot be opened, or is no core of an x86-64 process.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let name = CString::new(path.as_os_str().as_bytes());
        let file = name.ok().and_then(|name| Fd::open(&name));
        let file = file.ok_or_else(|| {
            let error = std::io::Error::last_os_error();
            Error(format!("{shown} cannot be opened: {error}"))
        })?;
        let no_core = || Error(format!("{shown} is not a core"));
        let file = Mapped::new(&file).ok_or_else(no_core)?;
        let elf = Elf::new(&file, 0).ok_or_else(no_core)?;
        if elf.kind() != ET_CORE {
            return Err(no_core());
        }
        let all: Vec<_> = elf.segments().collect();
        let mut core = Self {
            segments: Vec::new(),
            mappings: Vec::new(),
            threads: Vec::new(),
            pid: 0,
            backing: RefCell::default(),
            file,
        };
        for segment in &all {
            match segment.kind {
                libc::PT_LOAD => core.add(segment),
                libc::PT_NOTE => core.read_notes(segment),
                _ => {}
            }
        }
        core.segments.sort_by_key(|segment| segment.start);
        core.mappings.sort_by_key(|mapping| mapping.start);
        if core.threads.is_empty() {
            return Err(Error(format!("{shown} has no threads of x86-64")));
        }
        Ok(core)
    }

    /// The threads; the one that the process died of comes first.
    #[must_use]
    pub fn threads(&self) -> &[Thread] {
        &self.threads
    }

    /// The number that the process had; 0 if the core does not say.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What was mapped.
    #[must_use]
    pub fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    /// Files that the core needs and that are not used, each with its reason
    /// in words. Complete after what was of interest has been read.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let backing = self.backing.borrow();
        backing.iter().filter_map(|b| b.file.as_ref().err().cloned()).collect()
    }

    fn add(&mut self, segment: &elf::Segment) {
        self.segments.push(Segment {
            start: segment.address,
            len: segment.in_file,
            offset: segment.offset,
        });
        self.mappings.push(Mapping {
            start: segment.address,
            end: segment.address.saturating_add(segment.in_memory),
            offset: 0,
            executable: segment.flags & libc::PF_X != 0,
            writable: segment.flags & libc::PF_W != 0,
            path: Vec::new(),
        });
    }

    fn read_notes(&mut self, segment: &elf::Segment) {
        let all = elf::notes(&self.file, segment.offset, segment.in_file);
        for note in all.collect::<Vec<_>>() {
            match note.kind {
                NT_PRSTATUS => self.threads.extend(self.thread(&note)),
                NT_PRPSINFO => {
                    // A `struct elf_prpsinfo`.
                    const PID: u64 = 24;
                    self.pid = self.file.u32(note.at + PID).unwrap_or(0);
                }
                NT_FILE => _ = self.name_mappings(&note),
                NT_AUXV => self.name_vdso(&note),
                _ => {}
            }
        }
    }

    /// A thread's `struct elf_prstatus`.
    fn thread(&self, note: &Note) -> Option<Thread> {
        const SIGNAL: u64 = 12;
        const ID: u64 = 32;
        const REGISTERS: u64 = 112;
        const FS: usize = 21;
        let word = |i: u64| self.file.u64(note.at + REGISTERS + 8 * i);
        let mut saved = [0; 27];
        for (i, place) in saved.iter_mut().enumerate() {
            *place = word(i as u64)?;
        }
        Some(Thread {
            id: self.file.u32(note.at + ID)?,
            signal: self.file.u32(note.at + SIGNAL)? & 0xffff,
            regs: Registers::from_user(&saved),
            fs: saved[FS],
        })
    }

    /// `NT_FILE`: a count, the size of a page, then for each mapping of a file
    /// begin, end and offset in pages; then the paths.
    fn name_mappings(&mut self, note: &Note) -> Option<()> {
        let bytes = self.bytes(note)?.to_vec();
        let words = bytes.as_chunks::<8>().0;
        let word = |i: usize| words.get(i).map(|w| u64::from_le_bytes(*w));
        let count = usize::try_from(word(0)?).ok()?;
        let page = word(1)?;
        let names = bytes.get(count.checked_mul(24)?.checked_add(16)?..)?;
        for (i, name) in names.split(|&b| b == 0).take(count).enumerate() {
            let (start, end) = (word(2 + 3 * i)?, word(3 + 3 * i)?);
            let offset = word(4 + 3 * i)?.checked_mul(page)?;
            let known = self.mappings.iter_mut().find(|m| m.start == start);
            let mapping = match known {
                Some(mapping) => mapping,
                None => {
                    // gdb's cores leave code out, rights and all.
                    let executable = true;
                    let new = Mapping::default();
                    self.mappings.push(Mapping {
                        start,
                        end,
                        executable,
                        ..new
                    });
                    self.mappings.last_mut()?
                }
            };
            mapping.offset = offset;
            mapping.path = name.to_vec();
        }
        Some(())
    }

    fn name_vdso(&mut self, note: &Note) {
        const AT_SYSINFO_EHDR: u64 = 33;
        let auxv = self.bytes(note).unwrap_or_default().as_chunks::<16>().0;
        let (tags, _) = auxv.as_flattened().as_chunks::<8>();
        let pairs = tags.chunks_exact(2);
        let at = pairs
            .map(|pair| pair[..].iter().map(|w| u64::from_le_bytes(*w)))
            .find_map(|mut pair| {
                (pair.next()? == AT_SYSINFO_EHDR).then(|| pair.next())?
            });
        let vdso = self.mappings.iter_mut().find(|m| Some(m.start) == at);
        if let Some(vdso) = vdso {
            vdso.path = b"[vdso]".to_vec();
        }
    }

    fn bytes(&self, note: &Note) -> Option<&[u8]> {
        let begin = usize::try_from(note.at).ok()?;
        let end = begin.checked_add(usize::try_from(note.len).ok()?)?;
        self.file.get(begin..end)
    }

    /// Reads what the core has from `at` on: how many bytes.
    fn read_some(&self, at: u64, to: &mut [u8]) -> usize {
        let end = self.segments.partition_point(|s| s.start <= at);
        let Some(segment) = end.checked_sub(1).map(|i| self.segments[i]) else {
            return 0;
        };
        let inside = at - segment.start;
        let len = segment.len.saturating_sub(inside).min(to.len() as u64);
        let len = len as usize;
        let good =
            self.file.read(segment.offset.wrapping_add(inside), &mut to[..len]);
        if good { len } else { 0 }
    }

    /// Reads from the file that was mapped there: how many bytes.
    fn read_backing(&self, at: u64, to: &mut [u8]) -> usize {
        let end = self.mappings.partition_point(|m| m.start <= at);
        let mapping = end.checked_sub(1).map(|i| &self.mappings[i]);
        let mapping = mapping.filter(|m| at < m.end && !m.path.is_empty());
        let Some(mapping) = mapping.filter(|m| m.path[0] == b'/') else {
            return 0;
        };
        let mut backing = self.backing.borrow_mut();
        let known = backing.iter().position(|b| b.path == mapping.path);
        let i = known.unwrap_or_else(|| {
            let path = mapping.path.clone();
            let file = self.open_backing(&path);
            backing.push(Backing { path, file });
            backing.len() - 1
        });
        let Ok(file) = &backing[i].file else { return 0 };
        let len = (mapping.end - at).min(to.len() as u64) as usize;
        let from = mapping.offset + (at - mapping.start);
        if file.read(from, &mut to[..len]) { len } else { 0 }
    }

    /// Whether the file at `path`, from which the process had an object, is
    /// the build that the core was made with.
    ///
    /// # Errors
    /// In words: it is not, or that is not to be told.
    pub fn fits(&self, path: &[u8]) -> Result<(), String> {
        self.open_backing(path).map(drop)
    }

    /// Invariant 2.
    fn open_backing(&self, path: &[u8]) -> Result<Mapped, String> {
        let shown = String::from_utf8_lossy(path);
        let name = CString::new(path).unwrap_or_default();
        let file = Fd::open(&name).ok_or_else(|| {
            let error = std::io::Error::last_os_error();
            format!("{shown}, which the core needs, cannot be opened: {error}")
        })?;
        let other =
            || format!("{shown} is not the build that the core was made with");
        let unknown =
            || format!("the core does not say which build of {shown} it needs");
        let first =
            self.mappings.iter().find(|m| m.offset == 0 && m.path == path);
        let start = first.ok_or_else(unknown)?.start;
        let dumped = Dumped(self);
        let loaded = Elf::new(&dumped, start).ok_or_else(unknown)?;
        let mut header = [0; 64];
        let mut on_disk = header;
        let read = dumped.read(start, &mut header)
            && file.read_at(0, &mut on_disk)
            && header == on_disk;
        let bias = loaded.bias().ok_or_else(unknown)?;
        let id = loaded.build_id(Some(bias));
        if !read || !id.is_none_or(|id| names::has_build_id(&file, &id)) {
            return Err(other());
        }
        Mapped::new(&file).ok_or_else(other)
    }
}

const ET_CORE: u16 = 4;

/// What the core itself has, without files.
struct Dumped<'a>(&'a Core);

impl Memory for Dumped<'_> {
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        read_pieces(at, to, |at, to| self.0.read_some(at, to))
    }
}

impl Memory for Core {
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        read_pieces(at, to, |at, to| match self.read_some(at, to) {
            0 => self.read_backing(at, to),
            len => len,
        })
    }
}

fn read_pieces(
    at: u64,
    to: &mut [u8],
    read: impl Fn(u64, &mut [u8]) -> usize,
) -> bool {
    let mut done = 0;
    while done < to.len() {
        match read(at.wrapping_add(done as u64), &mut to[done..]) {
            0 => return false,
            len => done += len,
        }
    }
    true
}
