//! The C surface: convert, one call, convert. No logic lives here.
//!
//! `include/gmp.h` is generated from this folder alone (`make header`):
//! `template.h` has its headings in reading order, its terms and conventions,
//! and what cbindgen cannot make; a line `@chan.rs` there stands for the
//! declarations of that file, with their doc comments.
//!
//! The files, from the top to the bottom; each uses what stands below it. The
//! header has its headings the other way round:
//!
//! | file | heading |
//! |---|---|
//! | `layout` | none: a table for debuggers |
//! | `hooks` | Hooks |
//! | `dump`, `trace`, `stats` | Seeing inside |
//! | `gc` | Heap |
//! | `signal` | Signals |
//! | `process` | Processes |
//! | `file` | Files |
//! | `net`, `socket` | Sockets |
//! | `io` | Descriptors |
//! | `timer`, `time` | Time |
//! | `group` | Groups |
//! | `once`, `waitgroup`, `barrier`, `sema` | Locks |
//! | `cond`, `rwmutex`, `mutex` | Locks |
//! | `step` | Steps |
//! | `select` | Select |
//! | `chan` | Channels |
//! | `local` | Storage |
//! | `thread` | Threads |
//! | `park` | Park |
//! | `cancel` | Cancel |
//! | `panic` | Panic |
//! | `goroutine` | Goroutines |
//! | `runtime` | Start |
//! | `mod.rs` | none: results as a host sees them |
//! | `watch` | none: calls as sanitizers see them |
//!
//! # Conventions
//! - A doc comment is for C programmers; `# Safety` is for Rust, and does not
//!   get into the header. Code in fences becomes an example of the header,
//!   which `tests/header.rs` compiles.
//! - An `int` is 0 or a negative errno. Makers return null for out of memory
//!   and invalid arguments.
//! - Every function that needs the runtime passes `boot::gate` first, which
//!   waits for the start at most ten seconds.
//! - A panic cannot get out: panics abort.
//!
//! # Safety
//! A caller promises of its arguments, until the function returns or as long as
//! its text says:
//! 1. A pointer to an object is null, or the object is alive: initialised or
//!    made by its maker, not freed, and not moved while it is used.
//! 2. A pointer to memory is null, or the memory is there: as many bytes as the
//!    size beside it says, or one value of its type; to be read where it is
//!    const, else to be written.
//! 3. A string is null, or ends with a NUL.
//! 4. A function is null, or may be called with its argument, on any thread.
//!
//! `# Safety` of a function names its promises by these numbers. Each function
//! looks for null by itself.

pub mod barrier;
pub mod cancel;
pub mod chan;
pub mod cond;
pub mod dump;
pub mod file;
pub mod gc;
pub mod goroutine;
pub mod group;
pub mod hooks;
pub mod io;
pub mod layout;
pub mod local;
pub mod mutex;
pub mod net;
pub mod once;
pub mod panic;
pub mod park;
pub mod process;
pub mod runtime;
pub mod rwmutex;
pub mod select;
pub mod sema;
pub mod signal;
pub mod socket;
pub mod stats;
pub mod step;
pub mod thread;
pub mod time;
pub mod timer;
pub mod trace;
pub mod waitgroup;
mod watch;

use crate::{
    boot,
    os::{Errno, Result, types::ssize_t},
    sched::host,
    timers::Deadline,
};
use core::{arch::asm, ffi::c_int};
use watch::{Moved, Watch, gated};

/// The deadline of a call without one.
const FOREVER: i64 = Deadline::NEVER.ns();

/// The body of an entry that starts a goroutine. `$function` gets the entry's
/// arguments and then, in `$register`, the address at which the caller goes on.
macro_rules! with_caller {
    ($register:literal, $function:path) => {
        core::arch::naked_asm!(
            ".cfi_startproc",
            concat!("mov ", $register, ", [rsp]"),
            "jmp {function}",
            ".cfi_endproc",
            function = sym $function,
        )
    };
}
use with_caller;

/// `f`'s result as the host sees it, once the runtime is up.
#[inline(always)]
fn call(f: impl FnOnce() -> Result<()>) -> c_int {
    call_at(|| Watch::Nothing, f)
}

/// [`call`] of something that orders goroutines, as `watch` says.
#[inline(always)]
fn call_at(
    watch: impl FnOnce() -> Watch,
    f: impl FnOnce() -> Result<()>,
) -> c_int {
    passed(boot::gate, watch, f, code)
}

/// [`call`] for an `f` that starts a goroutine.
#[inline(always)]
fn call_to_start(f: impl FnOnce() -> Result<()>) -> c_int {
    passed(boot::gate_to_start, || Watch::Nothing, f, code)
}

/// [`call`] for an `f` that waits for nothing and only gives something back, or
/// tries: it passes during and after a shutdown, and starts nothing.
#[inline(always)]
fn call_to_undo(f: impl FnOnce() -> Result<()>) -> c_int {
    undo_at(|| Watch::Nothing, f)
}

/// [`call_to_undo`] of something that orders goroutines, as `watch` says.
#[inline(always)]
fn undo_at(
    watch: impl FnOnce() -> Watch,
    f: impl FnOnce() -> Result<()>,
) -> c_int {
    passed(boot::gate_to_undo, watch, f, code)
}

/// `f`, once `gate` has been passed, and its result as `as_c` gives it to C.
#[inline(always)]
fn passed<T: Moved, R>(
    gate: fn() -> Result<()>,
    watch: impl FnOnce() -> Watch,
    f: impl FnOnce() -> Result<T>,
    as_c: impl FnOnce(Result<T>) -> R,
) -> R {
    if boot::is_up() { as_c(f()) } else { framed(gated(gate, watch, f, as_c)) }
}

/// Makes the call whose result this is no tail call: dumps look for the frame
/// of the function of `gmp.h`. So the usual way needs no frame for it.
#[inline(always)]
fn framed<R>(result: R) -> R {
    // SAFETY: no instruction.
    unsafe { asm!("", options(nomem, nostack, preserves_flags)) };
    result
}

/// 0, or a negative errno.
#[inline]
fn code(result: Result<()>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(e) => error(e),
    }
}

/// A negative errno. A wait of a host thread that has ended with the runtime
/// has ended as at a deadline.
///
/// Apart, so that a call that succeeds needs no frame for it.
#[cold]
#[inline(never)]
fn error(e: Errno) -> c_int {
    if e == Errno(libc::ETIMEDOUT) && host::take_shutdown() {
        return Errno(libc::ESHUTDOWN).neg();
    }
    e.neg()
}

/// A count, or a negative errno.
#[inline(always)]
fn counted(
    watch: impl FnOnce() -> Watch,
    f: impl FnOnce() -> Result<usize>,
) -> ssize_t {
    passed(boot::gate, watch, f, size)
}

/// A count, or a negative errno.
#[inline(always)]
fn size(result: Result<usize>) -> ssize_t {
    match result {
        Ok(n) => n as ssize_t,
        Err(e) => error(e) as ssize_t,
    }
}

/// A descriptor or other number from 0 on, or a negative errno.
#[inline(always)]
fn numbered(
    watch: impl FnOnce() -> Watch,
    f: impl FnOnce() -> Result<c_int>,
) -> c_int {
    passed(boot::gate, watch, f, number)
}

#[inline]
fn number(result: Result<c_int>) -> c_int {
    match result {
        Ok(n) => n,
        Err(e) => error(e),
    }
}

/// Refuses a null buffer that has a size.
fn buffer<T>(at: *const T, n: usize) -> Result<()> {
    if at.is_null() && n > 0 { Err(Errno::EINVAL) } else { Ok(()) }
}

/// 0, or -EAGAIN where a try failed.
fn tried(worked: bool) -> Result<()> {
    if worked { Ok(()) } else { Err(Errno::EAGAIN) }
}

/// The C structure `T`, in the host's memory, has room for a `U`.
const fn fits<T, U>() {
    assert!(size_of::<U>() <= size_of::<T>());
    assert!(align_of::<U>() <= align_of::<T>());
}
