//! Symbols of other libraries in this process, and this library's reference to
//! itself.

use super::{auxv, errno::KeepErrno};
use crate::base::sync::{AtomicBool, Ordering::Relaxed};
use core::{
    arch::asm,
    ffi::{CStr, c_char, c_int, c_long, c_void},
    mem::{self, MaybeUninit},
};

/// The address of a global symbol, or null.
///
/// Takes the loader's lock, so no signal handler calls it, and of constructors
/// only one whose thread has that lock. Does not search libraries that were
/// loaded with `RTLD_LOCAL`.
pub(crate) fn find(name: &CStr) -> *mut c_void {
    let _keep = KeepErrno::new();
    // SAFETY: name ends with a NUL.
    let at = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    if at.is_null() {
        // Drops the message, which is about a name of ours.
        // SAFETY: concerns this thread's pending message only.
        unsafe { libc::dlerror() };
    }
    at
}

/// The address of a function of the C library, or 0. A statically linked
/// program may have none: the static library refers to it weakly (Makefile).
macro_rules! wish {
    ($name:literal) => {{
        let f: usize;
        // SAFETY: reads one word of the global offset table.
        unsafe {
            asm!(
                concat!("mov {f}, qword ptr [rip + ", $name, "@GOTPCREL]"),
                f = out(reg) f,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        f
    }};
}

/// A reference to the library that this code is in, so that it stays loaded
/// until [`release`]; null where that is the program itself, or where the
/// loader refuses.
///
/// Takes the loader's lock.
pub(crate) fn hold_self() -> *mut c_void {
    type DlAddr =
        unsafe extern "C" fn(*const c_void, *mut libc::Dl_info) -> c_int;
    type DlOpen = unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void;
    let _keep = KeepErrno::new();
    let address = wish!("dladdr");
    if address == 0 {
        return core::ptr::null_mut();
    }
    // SAFETY: the C library's function of this type.
    let address = unsafe { mem::transmute::<usize, DlAddr>(address) };
    let mut info = MaybeUninit::<libc::Dl_info>::zeroed();
    let here = hold_self as *const c_void;
    // SAFETY: any address, and a local variable.
    let found = unsafe { address(here, info.as_mut_ptr()) };
    // SAFETY: all bytes zero are one, and dladdr has written it if it found it.
    let info = unsafe { info.assume_init() };
    // The program's own table of headers lies in its first page.
    let program = auxv::headers() & !(auxv::page_size() - 1);
    if found == 0 || info.dli_fbase as usize == program {
        return core::ptr::null_mut();
    }
    // No reference: for one of dlopen the linker has a warning in each static
    // program, where this line is not reached.
    let open = find(c"dlopen");
    if open.is_null() {
        return core::ptr::null_mut();
    }
    // SAFETY: the C library's function of this type.
    let open = unsafe { mem::transmute::<*mut c_void, DlOpen>(open) };
    // By the very name that the loader has for it: no file is opened.
    // SAFETY: a string of the loader's.
    let this =
        unsafe { open(info.dli_fname, libc::RTLD_NOW | libc::RTLD_NOLOAD) };
    if this.is_null() {
        // SAFETY: concerns this thread's pending message only.
        unsafe { libc::dlerror() };
    } else {
        learn_namespace(this);
    }
    this
}

/// The library is in a namespace of `dlmopen`.
static APART: AtomicBool = AtomicBool::new(false);

/// Whether it is, as far as [`hold_self`] has learnt.
pub(crate) fn is_apart() -> bool {
    // Relaxed: learnt before the start.
    APART.load(Relaxed)
}

fn learn_namespace(this: *mut c_void) {
    /// `RTLD_DI_LMID`. It writes 0 for the namespace of the program.
    const LMID: c_int = 1;
    type DlInfo =
        unsafe extern "C" fn(*mut c_void, c_int, *mut c_long) -> c_int;
    let info = find(c"dlinfo");
    if info.is_null() {
        return;
    }
    // SAFETY: the C library's function of this type, for this question.
    let info = unsafe { mem::transmute::<*mut c_void, DlInfo>(info) };
    let mut lmid = 0;
    // SAFETY: a handle of dlopen, and a local variable.
    if unsafe { info(this, LMID, &raw mut lmid) } == 0 {
        APART.store(lmid != 0, Relaxed);
    } else {
        // A C library without namespaces.
        // SAFETY: concerns this thread's pending message only.
        unsafe { libc::dlerror() };
    }
}

/// Gives a reference from [`hold_self`] up, where it is not the last one.
pub(crate) fn release(this: *mut c_void) {
    type DlClose = unsafe extern "C" fn(*mut c_void) -> c_int;
    let close = wish!("dlclose");
    if this.is_null() || close == 0 {
        return;
    }
    let _keep = KeepErrno::new();
    // SAFETY: the C library's function of this type.
    let close = unsafe { mem::transmute::<usize, DlClose>(close) };
    // SAFETY: from dlopen, and given up here.
    unsafe { close(this) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_found_and_what_is_not_leaves_no_message() {
        assert!(!find(c"malloc").is_null());
        assert!(find(c"gmprt_no_such_symbol").is_null());
        // SAFETY: concerns this thread's pending message only.
        assert!(unsafe { libc::dlerror() }.is_null());
    }
}
