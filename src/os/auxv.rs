//! The auxiliary vector: what the kernel tells a program at its start.

use core::ffi::c_ulong;

/// The page size in bytes.
pub(super) fn page_size() -> usize {
    get(libc::AT_PAGESZ)
}

/// Sixteen random bytes that the kernel chose for this program.
pub(crate) fn random() -> Option<[u8; 16]> {
    let at = get(libc::AT_RANDOM) as *const [u8; 16];
    // SAFETY: null, or sixteen bytes that the kernel put there for good.
    unsafe { at.as_ref() }.copied()
}

/// The least size of a signal stack in bytes: room for the registers that the
/// kernel saves on this processor. 0 on kernels that do not tell.
pub(crate) fn minsigstksz() -> usize {
    get(libc::AT_MINSIGSTKSZ)
}

/// Whether this program has more rights than its caller.
pub(crate) fn secure() -> bool {
    get(libc::AT_SECURE) != 0
}

/// The address of the vDSO, an ELF image that the kernel has mapped; or 0.
pub(super) fn sysinfo_ehdr() -> usize {
    get(libc::AT_SYSINFO_EHDR)
}

/// The program's entry point.
pub(crate) fn entry() -> usize {
    get(libc::AT_ENTRY)
}

/// Where the loader is; 0 in a static program.
pub(super) fn loader() -> usize {
    get(libc::AT_BASE)
}

/// Where the program's headers are.
pub(super) fn headers() -> usize {
    get(libc::AT_PHDR)
}

/// How many of them there are.
pub(super) fn count_headers() -> usize {
    get(libc::AT_PHNUM)
}

/// An address above all frames of the first thread's stack.
pub(crate) fn above_stack() -> usize {
    get(libc::AT_RANDOM)
}

fn get(tag: c_ulong) -> usize {
    // A tag that is not there gives 0 and sets errno. Only the boot path, which
    // has no caller, asks for such tags.
    // SAFETY: reads the vector, for any tag.
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
