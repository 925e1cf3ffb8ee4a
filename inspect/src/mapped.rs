//! Files that are mapped to be read.

use crate::memory::{Fd, Memory};
use core::{ops::Deref, ptr, slice};

/// A mapped file. Whoever cuts the file short meanwhile causes a SIGBUS, as
/// with every mapped program.
pub(crate) struct Mapped {
    at: *const u8,
    len: usize,
}

impl Mapped {
    pub(crate) fn new(file: &Fd) -> Option<Self> {
        let len = file.len().filter(|&len| len > 0)?;
        // SAFETY: a new mapping at a place that the kernel chooses.
        let at = unsafe {
            libc::mmap(
                ptr::null_mut(),
                len,
                libc::PROT_READ,
                libc::MAP_PRIVATE,
                file.0,
                0,
            )
        };
        (at != libc::MAP_FAILED).then_some(Self { at: at.cast(), len })
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: mapped, so many bytes, until the drop.
        unsafe { slice::from_raw_parts(self.at, self.len) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: our own mapping; no slice outlives `self`.
        unsafe { libc::munmap(self.at.cast_mut().cast(), self.len) };
    }
}

impl Memory for Mapped {
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        let from = usize::try_from(at).unwrap_or(usize::MAX);
        let bytes =
            from.checked_add(to.len()).and_then(|end| self.get(from..end));
        bytes.map(|bytes| to.copy_from_slice(bytes)).is_some()
    }
}
