//! How deep a stack has been: the high-water mark, from the pages that exist.
//!
//! The kernel gives memory to a stack page by page, where the stack is touched
//! for the first time. So the lowest page that exists says how deep the stack
//! has been, and no goroutine has noted anything for that.
//!
//! # How exact
//! - In whole pages, and the page of the first frame always counts.
//! - Since the stack was mapped, or since its pages were last given back, which
//!   comes after a second or two without use. A stack of the pool serves one
//!   goroutine after the other, so the mark is that of the deepest of these: no
//!   goroutine was deeper, and the one that has the stack now may have been
//!   less deep. It is exact for a stack with a mapping of its own (more than 8
//!   MiB), for one that is in use for the first time, and for all stacks under
//!   `GMPDEBUG=stackadvice=1`, where a goroutine leaves no pages behind.
//! - A page that was swapped out counts in [`ProcessPages`], and does not in
//!   [`OwnPages`].
//! - A page that was only read counts. So a reader of stacks reads no lower
//!   than the stack pointer, or the next mark is wrong.
//!
//! Rejected: a pattern painted over each new stack (it touches every page); the
//! soft-dirty bits of the kernel (one mark for the whole process, a fault for
//! each page, and many kernels do without).

use crate::memory::Memory;
use std::{fs::File, io, os::unix::fs::FileExt};

/// Pages looked at with one call.
const BATCH: usize = 512;

/// Which pages of a process exist.
pub trait Pages {
    /// The address of the lowest page in `lo..hi` that exists; None if none
    /// does. `lo` begins a page.
    ///
    /// Errors: the range is not mapped, or the process or its `/proc` is gone.
    fn lowest(&mut self, lo: u64, hi: u64) -> io::Result<Option<u64>>;
}

/// How many bytes of the stack `lo..hi` have been used at most; None where that
/// cannot be known. See the module for how exact that is.
pub fn stack_high_water(
    lo: u64,
    hi: u64,
    pages: &mut dyn Pages,
) -> Option<u64> {
    let lowest = pages.lowest(lo, hi).ok()?;
    Some(lowest.map_or(0, |at| hi - at))
}

/// The size of a page in bytes.
pub fn page_size() -> u64 {
    // SAFETY: takes a number and returns one.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    size.unsigned_abs()
}

/// Pages of this process. Neither allocates nor needs a descriptor, and may be
/// used in a signal handler.
pub struct OwnPages;

impl Pages for OwnPages {
    fn lowest(&mut self, lo: u64, hi: u64) -> io::Result<Option<u64>> {
        let page = page_size();
        let mut exist = [0; BATCH];
        for at in (lo..hi).step_by(BATCH * page as usize) {
            let end = hi.min(at + BATCH as u64 * page);
            // SAFETY: the kernel looks at the range without touching it, and
            // writes a byte for each page, of which there are BATCH at most.
            let done = unsafe {
                libc::mincore(
                    at as *mut libc::c_void,
                    (end - at) as usize,
                    exist.as_mut_ptr(),
                )
            };
            if done != 0 {
                return Err(io::Error::last_os_error());
            }
            let n = (end - at).div_ceil(page) as usize;
            let first = exist[..n].iter().position(|byte| byte & 1 != 0);
            if let Some(i) = first {
                return Ok(Some(at + i as u64 * page));
            }
        }
        Ok(None)
    }
}

/// Pages of another process, by `/proc/PID/pagemap`.
pub struct ProcessPages(File);

impl ProcessPages {
    /// Errors: no such process, or not ours to look into.
    pub fn of(pid: u32) -> io::Result<Self> {
        File::open(format!("/proc/{pid}/pagemap")).map(Self)
    }
}

impl Pages for ProcessPages {
    fn lowest(&mut self, lo: u64, hi: u64) -> io::Result<Option<u64>> {
        /// A page is there, or was swapped out.
        const EXISTS: u64 = 1 << 63 | 1 << 62;
        const WORD: usize = size_of::<u64>();
        let page = page_size();
        let mut entries = [0; BATCH * WORD];
        for at in (lo..hi).step_by(BATCH * page as usize) {
            let end = hi.min(at + BATCH as u64 * page);
            let n = (end - at).div_ceil(page) as usize;
            let entries = &mut entries[..n * WORD];
            self.0.read_exact_at(entries, at / page * WORD as u64)?;
            let exists = |bytes: &[u8]| {
                let word = bytes.try_into().map_or(0, u64::from_ne_bytes);
                word & EXISTS != 0
            };
            if let Some(i) = entries.chunks(WORD).position(exists) {
                return Ok(Some(at + i as u64 * page));
            }
        }
        Ok(None)
    }
}

/// Pages of a core, which has contents only: a page of zeros counts as one that
/// does not exist, so a mark may be too low.
pub struct CorePages<'a, M>(pub &'a M);

impl<M: Memory> Pages for CorePages<'_, M> {
    fn lowest(&mut self, lo: u64, hi: u64) -> io::Result<Option<u64>> {
        // As on every machine that we run on; a core does not tell.
        const PAGE: usize = 4096;
        let mut bytes = [0; PAGE];
        for at in (lo..hi).step_by(PAGE) {
            if self.0.read(at, &mut bytes) && bytes != [0; PAGE] {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGES: usize = 1200;

    /// A new mapping of [`PAGES`] pages.
    fn mapping() -> u64 {
        let len = PAGES * page_size() as usize;
        let (prot, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
        );
        // SAFETY: a new mapping, wherever the kernel likes.
        let at = unsafe {
            libc::mmap(std::ptr::null_mut(), len, prot, flags, -1, 0)
        };
        assert_ne!(at, libc::MAP_FAILED);
        // Else one touch brings many pages.
        // SAFETY: the mapping from above.
        unsafe { libc::madvise(at, len, libc::MADV_NOHUGEPAGE) };
        at as u64
    }

    fn touch(at: u64) {
        // SAFETY: in a mapping of this test's.
        unsafe { (at as *mut u8).write_volatile(1) };
    }

    #[test]
    fn all_ways_find_the_lowest_page_that_was_touched() {
        let page = page_size();
        let lo = mapping();
        let hi = lo + PAGES as u64 * page;
        let own = std::process::id();
        let mut ways: [Box<dyn Pages>; 2] = [
            Box::new(OwnPages),
            Box::new(ProcessPages::of(own).expect("/proc/self/pagemap")),
        ];
        let mut all = |expected: u64| {
            for pages in &mut ways {
                let found = stack_high_water(lo, hi, pages.as_mut());
                assert_eq!(found, Some(expected));
            }
        };
        all(0);
        // From the top to the bottom, past the ends of batches.
        for below in [1, 3, 48, 512, 513, 1024, PAGES as u64] {
            touch(hi - below * page + 8);
            all(below * page);
        }
        // A part of the range: what lies below does not count.
        let found = stack_high_water(hi - 2 * page, hi, &mut OwnPages);
        assert_eq!(found, Some(page));
    }

    #[test]
    fn what_is_not_mapped_has_no_mark() {
        let page = page_size();
        assert_eq!(stack_high_water(page, 9 * page, &mut OwnPages), None);
        assert!(ProcessPages::of(u32::MAX).is_err());
    }

    struct Core;

    impl Memory for Core {
        fn read(&self, at: u64, to: &mut [u8]) -> bool {
            to.fill(u8::from(at >= 0x7000));
            at >= 0x3000
        }
    }

    #[test]
    fn a_core_tells_by_contents() {
        let mut pages = CorePages(&Core);
        assert_eq!(stack_high_water(0x2000, 0xa000, &mut pages), Some(0x3000));
        assert_eq!(stack_high_water(0x2000, 0x6000, &mut pages), Some(0));
    }
}
