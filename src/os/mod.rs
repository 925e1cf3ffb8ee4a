//! Layer 1: the operating system, and the only place that calls it.
//!
//! What another system has to provide, file by file:
//!
//! | module | contract |
//! |---|---|
//! | `errno` | error numbers, this thread's `errno` and how to keep it |
//! | `futex` | sleep on a word, wake sleepers; the locks and notes of an M |
//! | `clock` | monotonic time, CPU time of another thread, short sleeps |
//! | `thread` | make, join and name threads; stack bounds and limits |
//! | `task` | whether another thread runs, where it waits; how many there are |
//! | `membarrier` | a barrier on all running threads of the process |
//! | `mem` | map, guard, discard and unmap memory |
//! | `cpu` | how many processors this process may use |
//! | `epoll` | which descriptors are ready |
//! | `fallback` | which calls may be missing, and what is done instead |
//! | `fd` | reading, writing and the like, without waiting |
//! | `own` | descriptors of the library's own |
//! | `auxv` | what the kernel tells at the start |
//! | `vdso` | the kernel's code for reading the clock |
//! | `signal` | masks, signal stacks, handlers |
//! | `child` | children: their ends, stops and continues |
//! | `raw` | calls that are no points of cancellation |
//! | `proc` | number, end and arguments of this process |
//! | `dl` | symbols of other libraries |
//!
//! It knows no G, M or P. No function here changes the caller's `errno`
//! unless it says so, because C code must not notice calls that it did not
//! make. Results are values: [`errno::Result`].

pub(crate) mod auxv;
pub(crate) mod child;
pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod dl;
pub(crate) mod epoll;
pub(crate) mod errno;
pub(crate) mod fallback;
pub(crate) mod fd;
pub(crate) mod file;
pub(crate) mod futex;
pub(crate) mod mem;
pub(crate) mod membarrier;
pub(crate) mod net;
pub(crate) mod own;
pub(crate) mod proc;
pub(crate) mod raw;
pub(crate) mod signal;
pub(crate) mod task;
pub(crate) mod thread;
mod vdso;

/// C's types that calls of the surface pass on.
pub(crate) mod types {
    pub use libc::{
        addrinfo, iovec, mode_t, msghdr, pid_t, sockaddr, socklen_t, ssize_t,
    };
}

pub(crate) use errno::{Errno, Result, errno_location};
pub(crate) use futex::{Lock, LockGuard, Note};
