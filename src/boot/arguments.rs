//! The program's arguments. `args` and `goargs` write them, on m0 alone. A
//! caller that reads them has passed the gate, or runs on the main goroutine.

use crate::base::sync::{AtomicI32, AtomicPtr, Ordering::*};
use core::{
    ffi::{c_char, c_int},
    ptr,
};

/// The program's arguments; debuggers read them too.
#[unsafe(no_mangle)]
pub(super) static runtime_argc: AtomicI32 = AtomicI32::new(0);
#[unsafe(no_mangle)]
pub(super) static runtime_argv: AtomicPtr<*const c_char> =
    AtomicPtr::new(ptr::null_mut());

/// The program's arguments, as `main` gets them.
pub(crate) fn arguments() -> (c_int, *const *const c_char) {
    (runtime_argc.load(Relaxed), runtime_argv.load(Relaxed))
}
