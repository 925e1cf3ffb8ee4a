//! The unwinder's header of an exception, by which frames of the host's are
//! left for `gmp_exit` and for panics.

use core::ffi::{c_int, c_void};

/// `struct _Unwind_Exception` (Itanium C++ ABI, level 1).
#[repr(C, align(16))]
pub(crate) struct Exception {
    class: u64,
    cleanup: Cleanup,
    /// The unwinder's.
    private: [usize; 2],
}

/// Called if somebody ends the exception, who should have let it go on.
pub(crate) type Cleanup =
    unsafe extern "C" fn(reason: c_int, exception: *mut c_void);

/// `GMPRT`, by which a debugger knows it.
const CLASS: u64 = u64::from_be_bytes(*b"GMPRT\0\0\0");

impl Exception {
    pub(crate) const fn new(cleanup: Cleanup) -> Self {
        Self { class: CLASS, cleanup, private: [0; 2] }
    }

    /// Whether an exception of this class is of this copy of the library, of
    /// which a process may have several: it was made with this `cleanup`.
    ///
    /// # Safety
    /// `this` is the header of an exception of this class.
    pub(crate) unsafe fn is_ours(
        this: *const Self,
        class: u64,
        cleanup: Cleanup,
    ) -> bool {
        if class != CLASS {
            return false;
        }
        // SAFETY: the caller promises.
        let its = unsafe { (*this).cleanup };
        its as usize == cleanup as usize
    }
}
