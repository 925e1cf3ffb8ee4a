//! Finds the function that reads the clock in the vDSO, the code that the
//! kernel maps into every program.
//!
//! libc's `clock_gettime` calls the same function. But the program or another
//! library may interpose its own (libfaketime does), and then deadlines would
//! belong to a clock that the kernel does not have.
//!
//! The image is an ELF file in memory, complete and valid, since the kernel
//! made it. `dl_iterate_phdr` would find it too, but takes the loader's lock.

use super::auxv;
use core::{
    ffi::{CStr, c_char, c_int},
    mem, ptr,
};

/// The type of `__vdso_clock_gettime`, which returns 0 or a negative errno.
pub(super) type ClockGettime =
    unsafe extern "C" fn(libc::clockid_t, *mut libc::timespec) -> c_int;

const DT_HASH: u64 = 4;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;
const DT_GNU_HASH: u64 = 0x6fff_fef5;

/// The vDSO's `clock_gettime`. None without a vDSO, which valgrind hides, or
/// if its format is unknown.
pub(super) fn clock_gettime() -> Option<ClockGettime> {
    let at = Image::find()?.symbol(c"__vdso_clock_gettime")?;
    // SAFETY: the kernel's function of this name has this type.
    Some(unsafe { mem::transmute::<*const (), ClockGettime>(at) })
}

/// A loaded ELF image.
struct Image {
    /// The difference between addresses in memory and in the file.
    bias: usize,
    symbols: *const libc::Elf64_Sym,
    strings: *const c_char,
    count: usize,
}

/// Reads the value at an address in the image.
///
/// # Safety
/// `at` lies in a mapped image and is aligned.
unsafe fn read<T: Copy>(at: usize) -> T {
    // SAFETY: mapped and aligned, the caller promises.
    unsafe { ptr::read(ptr::with_exposed_provenance(at)) }
}

impl Image {
    fn find() -> Option<Self> {
        let base = auxv::sysinfo_ehdr();
        if base == 0 {
            return None;
        }
        // SAFETY: the kernel says that an ELF image is mapped there.
        let head: libc::Elf64_Ehdr = unsafe { read(base) };
        if head.e_ident[..4] != *b"\x7fELF" {
            return None;
        }
        let (mut load, mut dynamic) = (None, None);
        for i in 0..usize::from(head.e_phnum) {
            let size = usize::from(head.e_phentsize);
            let at = base + head.e_phoff as usize + i * size;
            // SAFETY: within the image's table of segments.
            let segment: libc::Elf64_Phdr = unsafe { read(at) };
            match segment.p_type {
                libc::PT_LOAD if load.is_none() => {
                    load = Some((segment.p_offset, segment.p_vaddr));
                }
                libc::PT_DYNAMIC => dynamic = Some(segment.p_offset),
                _ => {}
            }
        }
        let (offset, address) = load?;
        let bias =
            base.wrapping_add(offset as usize).wrapping_sub(address as usize);
        // SAFETY: the image's dynamic section.
        unsafe { Self::from_dynamic(bias, base + dynamic? as usize) }
    }

    /// # Safety
    /// `at` is the dynamic section of an image that is loaded with `bias`.
    unsafe fn from_dynamic(bias: usize, mut at: usize) -> Option<Self> {
        let (mut symbols, mut strings, mut count) = (0, 0, None);
        loop {
            // SAFETY: the section ends with a tag of 0.
            let [tag, value]: [u64; 2] = unsafe { read(at) };
            at += size_of::<[u64; 2]>();
            let there = bias.wrapping_add(value as usize);
            match tag {
                0 => break,
                DT_STRTAB => strings = there,
                DT_SYMTAB => symbols = there,
                // SAFETY: a hash table, whose second word is the count.
                DT_HASH => count = Some(unsafe { read::<[u32; 2]>(there) }[1]),
                DT_GNU_HASH if count.is_none() => {
                    // SAFETY: a GNU hash table of this image.
                    count = Some(unsafe { count_gnu_hash(there) });
                }
                _ => {}
            }
        }
        (symbols != 0 && strings != 0).then_some(Self {
            bias,
            symbols: ptr::with_exposed_provenance(symbols),
            strings: ptr::with_exposed_provenance(strings),
            count: count? as usize,
        })
    }

    /// The address of a function.
    fn symbol(&self, name: &CStr) -> Option<*const ()> {
        for i in 0..self.count {
            // SAFETY: i is less than the number of symbols.
            let symbol = unsafe { *self.symbols.wrapping_add(i) };
            let text = self.strings.wrapping_add(symbol.st_name as usize);
            // SAFETY: a symbol's name is a C string.
            let found = unsafe { CStr::from_ptr(text) } == name;
            if found && symbol.st_shndx != 0 {
                let at = self.bias.wrapping_add(symbol.st_value as usize);
                return Some(ptr::with_exposed_provenance(at));
            }
        }
        None
    }
}

/// The number of symbols, from a GNU hash table: one more than the last symbol
/// of the last chain, whose hash is odd.
///
/// # Safety
/// `at` is a GNU hash table of a loaded image.
unsafe fn count_gnu_hash(at: usize) -> u32 {
    // SAFETY: the first four words of the table.
    let [buckets, first, bloom, _]: [u32; 4] = unsafe { read(at) };
    let table = at + 16 + bloom as usize * size_of::<u64>();
    let chains = table + buckets as usize * size_of::<u32>();
    let last = (0..buckets as usize)
        // SAFETY: the buckets follow the filter.
        .map(|i| unsafe { read::<u32>(table + i * size_of::<u32>()) })
        .max();
    let Some(mut last) = last.filter(|last| *last >= first) else {
        return first;
    };
    loop {
        let link = chains + (last - first) as usize * size_of::<u32>();
        last += 1;
        // SAFETY: a chain ends with an odd hash.
        if unsafe { read::<u32>(link) } & 1 != 0 {
            return last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_clock_is_found() {
        let Some(read_clock) = clock_gettime() else {
            // As under valgrind.
            assert_eq!(auxv::sysinfo_ehdr(), 0);
            return;
        };
        let mut now = libc::timespec { tv_sec: -1, tv_nsec: -1 };
        // SAFETY: now is a local variable.
        let r = unsafe { read_clock(libc::CLOCK_MONOTONIC, &raw mut now) };
        assert_eq!(r, 0);
        assert!(now.tv_sec >= 0 && (0..1_000_000_000).contains(&now.tv_nsec));
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        let missing = Image::find().and_then(|i| i.symbol(c"__vdso_nothing"));
        assert!(missing.is_none());
    }

    /// Both tables of this very image say the same.
    #[test]
    fn both_hash_tables_count_alike() {
        let Some(image) = Image::find() else { return };
        assert!((1..100).contains(&image.count), "{}", image.count);
    }
}
