//! Which loaded object has an address: program, library, or the vDSO.
//!
//! [`OwnModules`] asks glibc's `_dl_find_object` (2.35), which neither
//! allocates nor locks, and is in static programs too. An older C library has
//! `dl_iterate_phdr`, which takes the loader's lock: there a handler waits for
//! a thread that is inside `dlopen`.
//!
//! A program without `.eh_frame_hdr` says only in its file where `.eh_frame` is.
//!
//! # Invariants
//! 1. What [`Modules::find`] returns was true when it was called. An object
//!    may be unloaded later, so its memory is read through [`Memory`].

use crate::{
    elf::Elf,
    memory::{Fd, KeepErrno, Memory, OwnMemory},
};
use core::{
    ffi::{CStr, c_char, c_int, c_void},
    ops::Range,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// A loaded object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Module {
    /// Addresses in the process less addresses in the file.
    pub bias: u64,
    /// Its first address in the process.
    pub start: u64,
    /// The address behind its last.
    pub end: u64,
    /// Where `.eh_frame_hdr` is in the process; 0 if there is none.
    pub eh_frame_hdr: u64,
    /// Where `.eh_frame` is, if there is no `.eh_frame_hdr`; 0 if unknown.
    pub eh_frame: u64,
    /// What [`Modules::path`] finds the name by.
    pub(crate) key: u64,
}

/// Where an object's file is, or what the object is called.
pub struct ModulePath<'a> {
    /// A path, or `[vdso]`.
    pub name: &'a [u8],
    /// The path by which the file can be opened: `name`, but for the program
    /// itself `/proc/self/exe`, which leads to the file even if it is renamed.
    pub open: &'a [u8],
}

/// The loaded objects of a process.
pub trait Modules {
    /// The object that has the address.
    fn find(&self, pc: u64) -> Option<Module>;

    /// Where the object's file is. `to` has room for the name, as for a path
    /// of 512 bytes; a longer one is cut.
    fn path<'a>(
        &'a self,
        module: &Module,
        to: &'a mut [u8],
    ) -> Option<ModulePath<'a>>;
}

impl<T: Modules + ?Sized> Modules for &T {
    fn find(&self, pc: u64) -> Option<Module> {
        (**self).find(pc)
    }

    fn path<'a>(
        &'a self,
        module: &Module,
        to: &'a mut [u8],
    ) -> Option<ModulePath<'a>> {
        (**self).path(module, to)
    }
}

/// The objects of the own process.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnModules;

/// glibc's `struct dl_find_object`.
#[repr(C)]
struct Found {
    flags: u64,
    map_start: *const c_void,
    map_end: *const c_void,
    link_map: *const c_void,
    eh_frame: *const c_void,
    reserved: [u64; 7],
}

impl Found {
    const NOTHING: Self = {
        let null = core::ptr::null();
        Self {
            flags: 0,
            map_start: null,
            map_end: null,
            link_map: null,
            eh_frame: null,
            reserved: [0; 7],
        }
    };
}

/// Where `.eh_frame` is in a program without `.eh_frame_hdr`: 1 before anybody
/// has looked, 0 if it cannot be found. Only gcc's static programs at a fixed
/// address are so, and of these a process has one.
static EH_FRAME: AtomicU64 = AtomicU64::new(1);

#[cold]
fn eh_frame_of_program(module: &Module) -> u64 {
    let known = EH_FRAME.load(Relaxed);
    if known != 1 {
        return known;
    }
    let _errno = KeepErrno::new();
    let found = || {
        let file = Fd::open(SELF)?;
        let section = Elf::new(&file, 0)?.section(b".eh_frame")?;
        Some(module.bias.wrapping_add(section.address))
    };
    let at = found().unwrap_or(0);
    EH_FRAME.store(at, Relaxed);
    at
}

type FindObject = unsafe extern "C" fn(*const c_void, *mut Found) -> c_int;

// A weak reference, which Rust has no word for: an old C library, and a static
// program without unwinder, have no such function.
core::arch::global_asm!(
    ".weak _dl_find_object",
    ".pushsection .text.gmprt_inspect_find_object, \"ax\", @progbits",
    ".globl gmprt_inspect_find_object",
    ".hidden gmprt_inspect_find_object",
    ".type gmprt_inspect_find_object, @function",
    "gmprt_inspect_find_object:",
    ".cfi_startproc",
    "mov rax, [rip + _dl_find_object@GOTPCREL]",
    "ret",
    ".cfi_endproc",
    ".size gmprt_inspect_find_object, . - gmprt_inspect_find_object",
    ".popsection",
);

unsafe extern "C" {
    /// The function, or null.
    fn gmprt_inspect_find_object() -> Option<FindObject>;
}

impl Modules for OwnModules {
    fn find(&self, pc: u64) -> Option<Module> {
        // SAFETY: no arguments.
        let mut module = match unsafe { gmprt_inspect_find_object() } {
            Some(find) => by_find_object(find, pc)?,
            None => by_iterating(pc)?,
        };
        if module.eh_frame_hdr == 0 {
            module.eh_frame = eh_frame_of_program(&module);
        }
        Some(module)
    }

    fn path<'a>(
        &'a self,
        module: &Module,
        to: &'a mut [u8],
    ) -> Option<ModulePath<'a>> {
        let len = OwnMemory.c_str(module.key, to)?.len();
        match &to[..len] {
            [] => own_program(to),
            b"linux-vdso.so.1" | b"linux-gate.so.1" => {
                Some(ModulePath { name: b"[vdso]", open: b"" })
            }
            _ => Some(ModulePath { name: &to[..len], open: &to[..len] }),
        }
    }
}

const SELF: &CStr = c"/proc/self/exe";

fn own_program(to: &mut [u8]) -> Option<ModulePath<'_>> {
    let _errno = KeepErrno::new();
    let place = to.as_mut_ptr().cast::<c_char>();
    // SAFETY: a C string, and a slice that is ours to write to.
    let len = unsafe { libc::readlink(SELF.as_ptr(), place, to.len()) };
    let name = match usize::try_from(len) {
        Ok(len) => &to[..len],
        Err(_) => b"the program",
    };
    Some(ModulePath { name, open: SELF.to_bytes() })
}

/// Where the object with `pc` has its `.eh_frame_hdr`, and the object; `None`
/// also where the C library cannot tell without a lock.
#[inline]
pub(crate) fn own_tables(pc: u64) -> Option<(Range<u64>, u64)> {
    let mut found = Found::NOTHING;
    // SAFETY: no arguments.
    let find = unsafe { gmprt_inspect_find_object() }?;
    // SAFETY: glibc's function, and room for its answer.
    if unsafe { find(pc as *const c_void, &raw mut found) } != 0 {
        return None;
    }
    let object = found.map_start as u64..found.map_end as u64;
    Some((object, found.eh_frame as u64))
}

fn by_find_object(find: FindObject, pc: u64) -> Option<Module> {
    let mut found = Found::NOTHING;
    // SAFETY: glibc's function, and room for its answer.
    if unsafe { find(pc as *const c_void, &raw mut found) } != 0 {
        return None;
    }
    // `l_addr` and `l_name` are the first words of a link map.
    let mut words = [0; 16];
    if !OwnMemory.read(found.link_map as u64, &mut words) {
        return None;
    }
    let [bias, key] =
        [0, 1].map(|i| u64::from_le_bytes(words.as_chunks().0[i]));
    Some(Module {
        bias,
        start: found.map_start as u64,
        end: found.map_end as u64,
        eh_frame_hdr: found.eh_frame as u64,
        eh_frame: 0,
        key,
    })
}

struct Search {
    pc: u64,
    found: Option<Module>,
}

fn by_iterating(pc: u64) -> Option<Module> {
    let mut search = Search { pc, found: None };
    let place = (&raw mut search).cast();
    // SAFETY: `look` gets the search that it expects.
    unsafe { libc::dl_iterate_phdr(Some(look), place) };
    search.found
}

/// # Safety
/// For `dl_iterate_phdr`, with a [`Search`].
unsafe extern "C" fn look(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    search: *mut c_void,
) -> c_int {
    // SAFETY: the caller's.
    let info = unsafe { &*info };
    // SAFETY: the search, which nobody else uses meanwhile.
    let search = unsafe { &mut *search.cast::<Search>() };
    let count = usize::from(info.dlpi_phnum);
    if info.dlpi_phdr.is_null() || count == 0 {
        return 0;
    }
    // SAFETY: the object's program headers.
    let headers = unsafe { core::slice::from_raw_parts(info.dlpi_phdr, count) };
    let bias = info.dlpi_addr;
    let mut module = Module {
        bias,
        start: u64::MAX,
        end: 0,
        eh_frame_hdr: 0,
        eh_frame: 0,
        key: info.dlpi_name as u64,
    };
    let mut inside = false;
    for header in headers {
        let at = bias.wrapping_add(header.p_vaddr);
        let end = at.wrapping_add(header.p_memsz);
        match header.p_type {
            libc::PT_LOAD => {
                inside |= (at..end).contains(&search.pc);
                module.start = module.start.min(at);
                module.end = module.end.max(end);
            }
            libc::PT_GNU_EH_FRAME => module.eh_frame_hdr = at,
            _ => {}
        }
    }
    if inside {
        search.found = Some(module);
    }
    c_int::from(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As with a C library before 2.35.
    #[test]
    fn objects_are_found_by_iterating_too() {
        // SAFETY: no arguments.
        let time = unsafe { libc::getauxval(libc::AT_SYSINFO_EHDR) };
        let here = objects_are_found_by_iterating_too as *const () as u64;
        let there = libc::malloc as *const () as u64;
        for pc in [here, there, time + 100] {
            let want = OwnModules.find(pc).expect("an object");
            let got = by_iterating(pc).expect("an object");
            assert_eq!(want.bias, got.bias);
            assert_eq!(want.eh_frame_hdr, got.eh_frame_hdr);
            assert!((got.start..got.end).contains(&pc));
        }
        assert_eq!(by_iterating(8), None);
        assert_eq!(OwnModules.find(8), None);
    }
}
