//! The auxiliary vector: what the kernel tells a program at its start.

use core::ffi::c_ulong;

/// The page size in bytes.
pub(super) fn page_size() -> usize {
    get(libc::AT_PAGESZ)
}

/// Sixteen random bytes, the same for the whole life of the program.
pub(crate) fn random() -> Option<[u8; 16]> {
    let at = get(libc::AT_RANDOM) as *const [u8; 16];
    // SAFETY: the kernel put sixteen bytes there, which stay, or null.
    unsafe { at.as_ref() }.copied()
}

/// The least size of a signal stack in bytes: what the kernel stores of this
/// processor's registers. 0 on kernels that do not tell.
pub(crate) fn minsigstksz() -> usize {
    get(libc::AT_MINSIGSTKSZ)
}

/// Whether this program has more rights than whoever started it.
pub(crate) fn secure() -> bool {
    get(libc::AT_SECURE) != 0
}

/// Where the kernel has mapped its vDSO, an ELF image; 0 if it has not.
pub(super) fn sysinfo_ehdr() -> usize {
    get(libc::AT_SYSINFO_EHDR)
}

/// Where the program was entered.
pub(crate) fn entry() -> usize {
    get(libc::AT_ENTRY)
}

fn get(tag: c_ulong) -> usize {
    // SAFETY: reads the vector; 0 for a tag that is not there. It sets errno
    // then, which only the boot path, without a caller, can notice.
    unsafe { libc::getauxval(tag) as usize }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_something_plausible() {
        assert_eq!(page_size(), 4096);
        assert_ne!(random(), Some([0; 16]));
        assert!((0..1 << 20).contains(&minsigstksz()));
        assert_ne!(entry(), 0);
        assert!(!secure());
    }
}
