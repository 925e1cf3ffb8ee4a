//! The writable data of the objects that the loader has loaded: the program,
//! and its libraries.

use super::{auxv, errno::KeepErrno};
use core::{
    ffi::{c_int, c_void},
    slice,
};
use gmprt_inspect::memory::{Memory, OwnMemory, Part};

/// Calls `found` with the writable data of each loaded object but the library
/// that this code is in: from, to, and whether they are the C library's. Those
/// are not told from the program's in a static program. What the loader makes
/// read-only after it has relocated the object is left out. Before, calls
/// `entry` with each entry of `list`, for [`still_has`]. Takes the loader's
/// lock.
pub(crate) fn each_writable(
    list: usize,
    entry: &mut dyn FnMut(Entry),
    found: &mut dyn FnMut(usize, usize, bool),
) {
    let mut listed = false;
    let mut each = |object: &Object<'_>| {
        if !listed {
            listed = true;
            each_entry(list, entry);
        }
        if object.has_us() && !object.is_program() {
            return;
        }
        let of_libc = object.is_libc();
        let (a, z) = object.relro();
        object.each_writable(&mut |from, to| {
            if a <= from && from < z {
                found(z.min(to), to, of_libc);
            } else {
                found(from, to, of_libc);
            }
        });
    };
    each_object(&mut each);
}

/// Calls `found` with the writable data of the library that this code is in:
/// from, to. Nothing where the code is a part of the program. Takes the
/// loader's lock.
pub(crate) fn each_own(found: &mut dyn FnMut(usize, usize)) {
    each_object(&mut |object| {
        if object.has_us() && !object.is_program() {
            object.each_writable(found);
        }
    });
}

/// Where the objects are that each program has: from, to. Only the program, if
/// it is static.
#[derive(Default)]
pub(crate) struct Places {
    /// The code.
    pub program: (usize, usize),
    /// The code.
    pub libc: (usize, usize),
    /// The data, with its locks.
    pub loader: (usize, usize),
}

/// Takes the loader's lock.
pub(crate) fn places() -> Places {
    let mut found = Places::default();
    each_object(&mut |object| {
        let last_of = |flag| {
            let loads = object.loads();
            let last = loads.filter(|ph| ph.p_flags & flag != 0).last();
            last.map_or((0, 0), |ph| object.place(ph))
        };
        if object.is_program() {
            found.program = last_of(libc::PF_X);
        } else if object.is_libc() {
            found.libc = last_of(libc::PF_X);
        } else if object.base == auxv::loader() {
            found.loader = last_of(libc::PF_W);
        }
    });
    found
}

fn each_object(found: &mut dyn FnMut(&Object<'_>)) {
    type Found<'a> = &'a mut dyn FnMut(&Object<'_>);
    unsafe extern "C" fn each(
        info: *mut libc::dl_phdr_info,
        _size: usize,
        found: *mut c_void,
    ) -> c_int {
        // SAFETY: from the loader, while it calls.
        let info = unsafe { &*info };
        // SAFETY: that of each_object.
        let found = unsafe { &mut *found.cast::<Found<'_>>() };
        if let Some(object) = Object::of(info) {
            found(&object);
        }
        0
    }
    let _keep = KeepErrno::new();
    let mut found: Found<'_> = found;
    // SAFETY: `each` takes a Found, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(each), (&raw mut found).cast()) };
}

/// An object that is loaded.
struct Object<'a> {
    base: usize,
    headers: &'a [libc::Elf64_Phdr],
}

impl<'a> Object<'a> {
    fn of(info: &'a libc::dl_phdr_info) -> Option<Self> {
        if info.dlpi_phdr.is_null() {
            return None;
        }
        let count = usize::from(info.dlpi_phnum);
        // SAFETY: the headers of a loaded object.
        let headers = unsafe { slice::from_raw_parts(info.dlpi_phdr, count) };
        Some(Self { base: info.dlpi_addr as usize, headers })
    }

    fn place(&self, ph: &libc::Elf64_Phdr) -> (usize, usize) {
        let from = self.base.wrapping_add(ph.p_vaddr as usize);
        (from, from.wrapping_add(ph.p_memsz as usize))
    }

    fn loads(&self) -> impl Iterator<Item = &'a libc::Elf64_Phdr> {
        self.headers.iter().filter(|ph| ph.p_type == libc::PT_LOAD)
    }

    /// Whether this code is in it.
    fn has_us(&self) -> bool {
        self.has(each_object as *const () as usize)
    }

    /// Whether it is the C library, and nothing else. No tool takes the place
    /// of this function.
    fn is_libc(&self) -> bool {
        !self.is_program() && self.has(libc::syscall as *const () as usize)
    }

    fn has(&self, address: usize) -> bool {
        self.loads().any(|ph| {
            let (from, to) = self.place(ph);
            (from..to).contains(&address)
        })
    }

    fn is_program(&self) -> bool {
        self.headers.as_ptr().addr() == auxv::headers()
    }

    /// What the loader makes read-only.
    fn relro(&self) -> (usize, usize) {
        let is_relro = |ph: &&libc::Elf64_Phdr| ph.p_type == libc::PT_GNU_RELRO;
        let relro = self.headers.iter().find(is_relro);
        relro.map_or((0, 0), |ph| self.place(ph))
    }

    fn each_writable(&self, found: &mut dyn FnMut(usize, usize)) {
        for ph in self.loads().filter(|ph| ph.p_flags & libc::PF_W != 0) {
            let (from, to) = self.place(ph);
            found(from, to);
        }
    }
}

/// Where the loader's list of objects is; 0 where it is not known, as in a
/// static program, which loads nothing.
pub(crate) fn list() -> usize {
    const DT_DEBUG: u64 = 21;
    /// The type, address and size of a header.
    const HEADER: usize = size_of::<libc::Elf64_Phdr>();
    let (at, mut base) = (auxv::headers(), 0);
    let mut dynamic = 0;
    for n in 0..auxv::count_headers() {
        // SAFETY: the program's headers.
        let ph = unsafe { &*((at + n * HEADER) as *const libc::Elf64_Phdr) };
        match ph.p_type {
            libc::PT_PHDR => base = at.wrapping_sub(ph.p_vaddr as usize),
            libc::PT_DYNAMIC => dynamic = ph.p_vaddr as usize,
            _ => {}
        }
    }
    if dynamic == 0 {
        return 0;
    }
    let mut at = base.wrapping_add(dynamic) as u64;
    while let Some(tag) = OwnMemory.u64(at).filter(|tag| *tag != 0) {
        if tag == DT_DEBUG {
            return OwnMemory.u64(at + 8).unwrap_or(0) as usize;
        }
        at += 16;
    }
    0
}

/// An entry of the loader's list: where it lies, and where its object does.
pub(crate) type Entry = (usize, usize);

/// Where `struct r_debug` has the first entry.
const FIRST: usize = 8;

/// Words of an entry: where its object lies, the object's name and its dynamic
/// section, and the next entry.
type Words = [usize; 4];

/// Calls `found` with each entry of the list. The loader's lock is held.
fn each_entry(list: usize, found: &mut dyn FnMut(Entry)) {
    if list == 0 {
        return;
    }
    // SAFETY: the loader's, which changes it under its lock only.
    let mut at = unsafe { *((list + FIRST) as *const usize) };
    while at != 0 {
        // SAFETY: an entry of the list; the same.
        let [object, _, _, next] = unsafe { *(at as *const Words) };
        found((at, object));
        at = next;
    }
}

/// Whether the list has these entries, and no others: no object was loaded or
/// unloaded since. Takes no lock, and reads what may change meanwhile.
pub(crate) fn still_has(list: usize, entries: &[Entry]) -> bool {
    /// Entries that are looked at by one system call.
    const BATCH: usize = 31;
    const WORD: usize = size_of::<usize>();
    if list == 0 {
        return true;
    }
    let at = |n: usize| entries.get(n).map_or(0, |(at, _)| *at);
    let word = |bytes: &[u8]| {
        bytes.first_chunk().map_or(0, |it| usize::from_le_bytes(*it))
    };
    let starts = (0..entries.len().max(1)).step_by(BATCH);
    starts.into_iter().all(|from| {
        let batch = &entries[from..entries.len().min(from + BATCH)];
        let mut read = [[0; size_of::<Words>()]; BATCH + 1];
        let mut parts = read.each_mut().map(|to| Part { at: 0, to });
        let mut each = parts.iter_mut();
        if let Some(first) = each.next() {
            first.at = (list + FIRST) as u64;
            let to = core::mem::take(&mut first.to);
            first.to = &mut to[..WORD];
        }
        each.zip(batch).for_each(|(part, (at, _))| part.at = *at as u64);
        let parts = &mut parts[..batch.len() + 1];
        if OwnMemory.read_many(parts) < parts.len() {
            return false;
        }
        let mut each = batch.iter().zip(&read[1..]).zip(from + 1..);
        word(&read[0]) == at(0)
            && each.all(|(((_, object), entry), next)| {
                word(entry) == *object && word(&entry[3 * WORD..]) == at(next)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::sync::{AtomicUsize, Ordering::*};

    static DATA: AtomicUsize = AtomicUsize::new(7);

    #[test]
    fn data_of_the_program_is_found_and_code_is_not() {
        let at = (&raw const DATA).addr();
        let code = each_object as *const () as usize;
        let (mut data, mut all) = (0, 0);
        each_writable(0, &mut |_| {}, &mut |from, to, _| {
            assert!(from <= to && !(from..to).contains(&code));
            data += usize::from((from..to).contains(&at));
            all += 1;
        });
        assert_eq!(data, 1);
        assert!(all > 1, "the C library has data");
        assert_eq!(DATA.load(Relaxed), 7);
    }

    #[test]
    fn code_of_the_program_is_told_from_that_of_the_c_library() {
        let found = places();
        let has = |(from, to), at: usize| (from..to).contains(&at);
        assert!(has(found.program, each_object as *const () as usize));
        assert!(has(found.libc, libc::syscall as *const () as usize));
        assert!(!has(found.libc, each_object as *const () as usize));
        // The first member of `struct r_debug` is in the loader's data.
        assert!(has(found.loader, list()));
    }

    #[test]
    fn data_of_the_c_library_are_told_from_others() {
        unsafe extern "C" {
            static stdout: *const c_void;
        }
        // SAFETY: the C library's, which nobody changes here.
        let its = unsafe { stdout }.addr();
        let ours = (&raw const DATA).addr();
        let mut seen = 0;
        each_writable(0, &mut |_| {}, &mut |from, to, of_libc| {
            for (at, is) in [(its, true), (ours, false)] {
                if (from..to).contains(&at) {
                    assert_eq!(of_libc, is);
                    seen += 1;
                }
            }
        });
        assert_eq!(seen, 2);
    }

    #[test]
    fn a_part_of_the_program_has_no_data_of_its_own() {
        each_own(&mut |_, _| panic!("this code is in the program"));
    }

    #[test]
    fn a_library_that_is_loaded_is_noticed() {
        let list = list();
        assert_ne!(list, 0);
        let ask = || {
            let mut entries = Vec::new();
            each_writable(list, &mut |it| entries.push(it), &mut |_, _, _| {});
            entries
        };
        let before = ask();
        assert!(before.len() > 1, "the program and the C library");
        assert!(still_has(list, &before));
        assert!(!still_has(list, &before[1..]));
        assert!(!still_has(list, &before[..before.len() - 1]));
        assert!(!still_has(list, &[]));
        let mut elsewhere = before.clone();
        elsewhere[1].1 += 4096;
        assert!(!still_has(list, &elsewhere));
        // SAFETY: a library without constructors that matter.
        let it = unsafe { libc::dlopen(c"libutil.so.1".as_ptr(), 1) };
        // glibc may have it loaded already, or have none.
        let after = ask();
        assert_eq!(still_has(list, &before), after == before);
        if !it.is_null() {
            // SAFETY: from dlopen.
            unsafe { libc::dlclose(it) };
        }
        assert!(still_has(list, &ask()));
    }

    #[test]
    fn a_long_list_is_looked_at_to_its_end() {
        let mut words = vec![[0; 4]; 100];
        let at = |n: usize| words.as_ptr().addr() + n * size_of::<Words>();
        let entries: Vec<Entry> = (0..100).map(|n| (at(n), n * 4096)).collect();
        for (n, entry) in words.iter_mut().enumerate() {
            let next = entries.get(n + 1).map_or(0, |(at, _)| *at);
            *entry = [n * 4096, 1, 2, next];
        }
        let debug = [1, entries[0].0];
        let list = debug.as_ptr().addr();
        let mut seen = Vec::new();
        each_entry(list, &mut |it| seen.push(it));
        assert_eq!(seen, entries);
        for n in [1, 30, 31, 32, 62, 99, 100] {
            assert_eq!(still_has(list, &entries[..n]), n == 100);
        }
        words[99][3] = 8;
        assert!(!still_has(list, &entries));
    }
}
