//! The C surface: convert, one call, convert. No logic lives here.
//!
//! `include/gmp.h` is generated from these files alone (`make header`), their
//! doc comments with it; `prelude.h` and `postlude.h` hold what cbindgen
//! cannot make: initialisers, `errno`, the C++ registration.
//!
//! # Conventions
//! - An `int` is 0 or a negative errno. Makers return null for out of memory
//!   and invalid arguments.
//! - Every function that needs the runtime passes [`gate`] first, which waits
//!   for the start at most ten seconds.
//! - A panic cannot get out: panics abort.

pub mod chan;
pub mod file;
pub mod goroutine;
pub mod group;
pub mod io;
pub mod local;
pub mod net;
pub mod process;
pub mod runtime;
pub mod select;
pub mod signal;
pub mod sync;
pub mod time;
pub mod timer;

use crate::{boot, os::Result};
use core::ffi::c_int;

/// `f`'s result as the host sees it, once the runtime is up.
#[inline]
fn call(f: impl FnOnce() -> Result<()>) -> c_int {
    code(boot::gate().and_then(|()| f()))
}

/// 0, or a negative errno.
#[inline]
fn code(result: Result<()>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(e) => e.neg(),
    }
}
