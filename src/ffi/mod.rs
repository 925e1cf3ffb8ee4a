//! The C surface: convert, one call, convert. No logic lives here.
//!
//! `include/gmp.h` is generated from these files alone (`make header`), their
//! doc comments with it; `prelude.h` and `postlude.h` hold what cbindgen
//! cannot make: initialisers, `errno`, the C++ registration.
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | what |
//! |---|---|
//! | `runtime` | the start, and settings |
//! | `sync`, `local` | locks and their like; keys and defers |
//! | `process`, `signal` | children and signals; signal masks |
//! | `select`, `timer` | select; timers and tickers |
//! | `chan` | channels |
//! | `group`, `goroutine` | goroutines |
//! | `io`, `file`, `net` | descriptors, files, names |
//! | `time` | the clock, and sleep |
//! | `mod.rs` | results as a host sees them |
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

use crate::{
    boot,
    os::{Errno, Result, types::ssize_t},
};
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

/// A count, or a negative errno.
fn counted(f: impl FnOnce() -> Result<usize>) -> ssize_t {
    match boot::gate().and_then(|()| f()) {
        Ok(n) => n as ssize_t,
        Err(e) => e.neg() as ssize_t,
    }
}

/// A descriptor or other number from 0 on, or a negative errno.
fn numbered(f: impl FnOnce() -> Result<c_int>) -> c_int {
    match boot::gate().and_then(|()| f()) {
        Ok(n) => n,
        Err(e) => e.neg(),
    }
}

/// Refuses a null buffer that has a size.
fn buffer<T>(at: *const T, n: usize) -> Result<()> {
    if at.is_null() && n > 0 { Err(Errno::EINVAL) } else { Ok(()) }
}
