//! Bits of `G::flags`; models of goroutines have the same.

/// Stands for a host thread.
pub const HOST: u16 = 1;
/// The library's own: not counted, not reported.
pub const SYSTEM: u16 = 2;
/// Has run, so it has a stack; with `STEPS`: is in a step.
pub const STARTED: u16 = 4;
/// Locks its thread before its function runs.
pub const LOCK_AT_START: u16 = 8;
/// `main` of `gmp_run_main` or of the exe path.
pub const MAIN: u16 = 16;
/// Its arguments wait in `args`, `args_len` bytes.
pub const ARGS: u16 = 32;
/// Its function is over; what was put off until its end runs.
pub const ENDING: u16 = 64;
/// `stack_size` says how large a stack it wants.
pub const SIZED: u16 = 128;
/// May have a signal mask of its own; see `sched::sigmask`.
pub const SIGMASK: u16 = 256;
/// It ends by `gmp_exit`; the frames of its functions may be there yet.
pub const EXITED: u16 = 512;
/// One of the library's goroutines that stay until the runtime ends.
pub const STAYS: u16 = 1024;
/// Its frames are unwound, for `gmp_exit` or a panic.
pub const UNWINDS: u16 = 2048;
/// It runs in steps, and has a stack during each of them only; see
/// `sched::steps`.
pub const STEPS: u16 = 4096;
/// While it is Waiting: nothing that the last search for leaks has found
/// can end its wait (`gc::reach`). Written while the world is stopped, and
/// cleared by who cancels it.
pub const LEAKED: u16 = 8192;
/// Its handle was given out, so somebody may cancel it.
pub const HANDLE: u16 = 16384;
/// A host thread has started it: `parent` is the number of the stand-in.
pub const BY_THREAD: u16 = 32768;
