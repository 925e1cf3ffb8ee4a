//! Memory that may not be there: of the own process, or of anything else that
//! implements [`Memory`].
//!
//! A dump looks at stacks and objects while their owners go on, so each of
//! them may be gone. A reader that follows a pointer would crash; here the
//! kernel copies, and an address that is not mapped is an answer, `false`.
//!
//! # Invariants
//! 1. [`OwnMemory`] neither allocates nor locks, and leaves `errno` as it was:
//!    it is for signal handlers too.
//! 2. A read that returns `false` may have changed a part of `to`.
//!
//! # Rejected
//! - Catching SIGSEGV around plain loads: the handler would compete with the
//!   host's, and a thread of the host's may have the signal blocked.

use core::{
    mem::MaybeUninit,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};
use libc::{c_int, c_void, iovec};

/// Reads the memory of a process.
pub trait Memory {
    /// Copies the bytes from address `at` on to `to`; `false` if one of them
    /// cannot be read.
    fn read(&self, at: u64, to: &mut [u8]) -> bool;

    /// Whether most reads cost a few instructions, and no system call.
    #[inline]
    fn near(&self) -> bool {
        false
    }

    /// Reads several parts, in order, and returns how many it has read until
    /// the first that cannot be read whole. Cheaper than as many reads.
    fn read_many(&self, parts: &mut [Part<'_>]) -> usize {
        let good = |part: &mut Part<'_>| self.read(part.at, part.to);
        let len = parts.len();
        parts.iter_mut().position(|part| !good(part)).unwrap_or(len)
    }

    /// The little-endian number of eight bytes at `at`.
    fn u64(&self, at: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.read(at, &mut bytes).then(|| u64::from_le_bytes(bytes))
    }

    /// The little-endian number of four bytes at `at`.
    fn u32(&self, at: u64) -> Option<u32> {
        let mut bytes = [0; 4];
        self.read(at, &mut bytes).then(|| u32::from_le_bytes(bytes))
    }

    /// The C string at `at`, without its end; `None` if it cannot be read. Of
    /// a longer one, what fits into `to`.
    fn c_str<'a>(&self, at: u64, to: &'a mut [u8]) -> Option<&'a [u8]> {
        let mut len = 0;
        while len < to.len() {
            // Aligned pieces never reach over a page that the string ends in.
            let from = at.checked_add(len as u64)?;
            let step = (32 - from as usize % 32).min(to.len() - len);
            let piece = &mut to[len..len + step];
            if !self.read(from, piece) {
                return None;
            }
            if let Some(end) = piece.iter().position(|&byte| byte == 0) {
                return Some(&to[..len + end]);
            }
            len += step;
        }
        Some(&to[..len])
    }
}

impl<M: Memory + ?Sized> Memory for &M {
    #[inline]
    fn near(&self) -> bool {
        (**self).near()
    }

    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        (**self).read(at, to)
    }

    fn read_many(&self, parts: &mut [Part<'_>]) -> usize {
        (**self).read_many(parts)
    }
}

/// One of several parts of memory to be read.
pub struct Part<'a> {
    /// Where it begins in the process.
    pub at: u64,
    /// Where it is copied to: as many bytes as this has.
    pub to: &'a mut [u8],
}

/// A copy of some memory, as a stack, over the memory that it was copied from:
/// what lies in the copy is read from the copy.
pub struct Copied<'a, M> {
    /// The rest.
    pub below: &'a M,
    /// Where the copy begins in the process.
    pub at: u64,
    /// The copy.
    pub bytes: &'a [u8],
}

impl<M: Memory> Memory for Copied<'_, M> {
    #[inline]
    fn near(&self) -> bool {
        true
    }

    #[inline]
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        let from = at.wrapping_sub(self.at) as usize;
        let bytes = from
            .checked_add(to.len())
            .and_then(|end| self.bytes.get(from..end));
        match bytes {
            Some(bytes) => {
                to.copy_from_slice(bytes);
                true
            }
            None => self.below.read(at, to),
        }
    }

    fn read_many(&self, parts: &mut [Part<'_>]) -> usize {
        let inside = |part: &Part<'_>| {
            part.at.wrapping_sub(self.at) < self.bytes.len() as u64
        };
        if !parts.iter().any(inside) {
            return self.below.read_many(parts);
        }
        let good = |part: &mut Part<'_>| self.read(part.at, part.to);
        let len = parts.len();
        parts.iter_mut().position(|part| !good(part)).unwrap_or(len)
    }

    #[inline]
    fn u64(&self, at: u64) -> Option<u64> {
        let from = at.wrapping_sub(self.at) as usize;
        match self.bytes.get(from..).and_then(|rest| rest.first_chunk()) {
            Some(bytes) => Some(u64::from_le_bytes(*bytes)),
            None => self.below.u64(at),
        }
    }
}

/// Memory of which a part counts as unreadable.
pub struct Fenced<'a, M> {
    /// The memory.
    pub below: &'a M,
    /// Where that part begins.
    pub from: u64,
    /// The address behind it.
    pub to: u64,
}

impl<M: Memory> Memory for Fenced<'_, M> {
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        let end = at.saturating_add(to.len() as u64);
        (end <= self.from || at >= self.to) && self.below.read(at, to)
    }
}

/// The memory of the own process, read by the kernel: `process_vm_readv`, and
/// where a sandbox refuses that, `/proc/self/mem`.
///
/// In a child of `fork` or `clone` it is the child's.
#[derive(Clone, Copy, Debug, Default)]
pub struct OwnMemory;

/// Whether `process_vm_readv` is refused here.
static REFUSED: AtomicBool = AtomicBool::new(false);

/// How many parts go into one system call.
pub(crate) const BATCH: usize = 32;

impl Memory for OwnMemory {
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        self.read_many(&mut [Part { at, to }]) == 1
    }

    fn read_many(&self, parts: &mut [Part<'_>]) -> usize {
        let _errno = KeepErrno::new();
        let mut done = 0;
        for batch in parts.chunks_mut(BATCH) {
            let read = read_own(batch);
            done += read;
            if read < batch.len() {
                break;
            }
        }
        done
    }
}

fn read_own(batch: &mut [Part<'_>]) -> usize {
    if !REFUSED.load(Relaxed) {
        // SAFETY: no arguments.
        let pid = unsafe { libc::getpid() };
        match read_process(pid, batch) {
            Ok(read) => return read,
            Err(libc::EFAULT) => return 0,
            Err(_) => REFUSED.store(true, Relaxed),
        }
    }
    let Some(mem) = Fd::open(c"/proc/self/mem") else { return 0 };
    read_file(&mem, batch)
}

/// `process_vm_readv`: how many of the parts, at most [`BATCH`], were read
/// whole, or the error of the first.
pub(crate) fn read_process(
    pid: c_int,
    batch: &mut [Part<'_>],
) -> Result<usize, c_int> {
    let empty = iovec { iov_base: core::ptr::null_mut(), iov_len: 0 };
    let mut here = [empty; BATCH];
    let mut there = [empty; BATCH];
    let count = batch.len().min(BATCH);
    for (i, part) in batch.iter_mut().take(BATCH).enumerate() {
        let iov_len = part.to.len();
        here[i] = iovec { iov_base: part.to.as_mut_ptr().cast(), iov_len };
        there[i] = iovec { iov_base: part.at as *mut c_void, iov_len };
    }
    // By number: ThreadSanitizer takes the place of libc's function, and may
    // run a handler there.
    // SAFETY: `here` are slices that are ours to write to; the kernel checks
    // `there`.
    let read = unsafe {
        libc::syscall(
            libc::SYS_process_vm_readv,
            pid,
            here.as_ptr(),
            count,
            there.as_ptr(),
            count,
            0usize,
        )
    };
    let Ok(mut read) = usize::try_from(read) else { return Err(errno()) };
    let whole = |part: &Part<'_>| {
        let len = part.to.len();
        let fits = len <= read;
        read = read.saturating_sub(len);
        !fits
    };
    Ok(batch[..count].iter().position(whole).unwrap_or(count))
}

/// The same by a file that is the process's memory.
pub(crate) fn read_file(mem: &Fd, batch: &mut [Part<'_>]) -> usize {
    let good = |part: &mut Part<'_>| mem.read_at(part.at, part.to);
    let count = batch.len();
    batch.iter_mut().position(|part| !good(part)).unwrap_or(count)
}

/// A descriptor, closed at the end. System calls by number, as libc's
/// functions are cancellation points.
#[derive(Debug)]
pub(crate) struct Fd(pub(crate) c_int);

impl Fd {
    /// Opens a file to be read.
    pub(crate) fn open(path: &core::ffi::CStr) -> Option<Self> {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NOCTTY;
        // SAFETY: a C string.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat,
                libc::AT_FDCWD,
                path.as_ptr(),
                flags,
                0,
            )
        };
        // Not then_some: it would make and close a descriptor -1.
        (fd >= 0).then(|| Self(fd as c_int))
    }

    /// How many bytes the file has.
    pub(crate) fn len(&self) -> Option<usize> {
        let mut stat = MaybeUninit::<libc::stat>::uninit();
        // SAFETY: room for the answer.
        let failed = unsafe { libc::fstat(self.0, stat.as_mut_ptr()) } != 0;
        if failed {
            return None;
        }
        // SAFETY: the call has filled it.
        let stat = unsafe { stat.assume_init() };
        usize::try_from(stat.st_size).ok()
    }

    /// Fills `to` from the offset `at` on.
    pub(crate) fn read_at(&self, at: u64, to: &mut [u8]) -> bool {
        let mut done = 0;
        while done < to.len() {
            let rest = &mut to[done..];
            // SAFETY: `rest` is ours to write to.
            let read = unsafe {
                libc::syscall(
                    libc::SYS_pread64,
                    self.0,
                    rest.as_mut_ptr(),
                    rest.len(),
                    at.wrapping_add(done as u64),
                )
            };
            match read {
                1.. => done += read as usize,
                _ if read < 0 && errno() == libc::EINTR => {}
                _ => return false,
            }
        }
        true
    }
}

/// A file is memory from its begin on.
impl Memory for Fd {
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        self.read_at(at, to)
    }
}

impl Drop for Fd {
    fn drop(&mut self) {
        // SAFETY: our own descriptor, closed once.
        unsafe { libc::syscall(libc::SYS_close, self.0) };
    }
}

pub(crate) fn errno() -> c_int {
    // SAFETY: no arguments.
    let place = unsafe { libc::__errno_location() };
    // SAFETY: the C library's, of this thread.
    unsafe { *place }
}

/// Restores `errno` at its end.
pub(crate) struct KeepErrno(c_int);

impl KeepErrno {
    pub(crate) fn new() -> Self {
        Self(errno())
    }
}

impl Drop for KeepErrno {
    fn drop(&mut self) {
        // SAFETY: no arguments.
        let place = unsafe { libc::__errno_location() };
        // SAFETY: the C library's, of this thread.
        unsafe { *place = self.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in a sandbox that refuses `process_vm_readv`.
    #[test]
    fn own_memory_is_read_by_a_file_too() {
        let mem = Fd::open(c"/proc/self/mem").expect("the own memory");
        let number = 0x0123_4567_89ab_cdef_u64;
        let mut copy = [0; 8];
        let at = &raw const number as u64;
        let good = Part { at, to: &mut copy };
        let mut more = [0; 8];
        let bad = Part { at: 8, to: &mut more };
        assert_eq!(read_file(&mem, &mut [good, bad]), 1);
        assert_eq!(u64::from_le_bytes(copy), number);
    }
}
