//! Layer 1: the operating system. No other layer makes system calls.
//!
//! A port to another system provides these files, from the top to the bottom;
//! each uses what stands below it:
//!
//! | file | contract |
//! |---|---|
//! | `thread` | make, join and name threads; stack bounds and limits |
//! | `key` | a value per thread, until its key is deleted |
//! | `futex` | sleep on a word, wake sleepers; the locks and notes of an M |
//! | `copy` | a copy of the process that does one thing and ends |
//! | `signal` | masks, signal stacks, handlers |
//! | `signame` | signals by name |
//! | `interrupted` | a call in which a signal has found its thread |
//! | `membarrier` | a barrier on all running threads of the process |
//! | `clock` | monotonic time, CPU time of another thread, short sleeps |
//! | `child` | children: their ends, stops and continues |
//! | `cpu` | how many processors this process may use |
//! | `objects` | the data of the objects that are loaded |
//! | `ours` | mappings that a look for pointers leaves out |
//! | `addresses` | addresses without memory |
//! | `maps` | all memory that is mapped |
//! | `mem` | map, guard, discard and unmap memory |
//! | `task` | whether another thread runs, where it waits; how many there are |
//! | `proc` | number, end and arguments of this process |
//! | `epoll` | which descriptors are ready |
//! | `net` | sockets and addresses |
//! | `own` | descriptors of the library's own |
//! | `file` | files on disks, bytes moved inside the kernel |
//! | `fd` | reading, writing and the like, without waiting |
//! | `raw` | calls that are no points of cancellation |
//! | `fallback` | which calls may be missing, and what is done instead |
//! | `exiting` | whether the process exits, or the library is unloaded |
//! | `dl` | symbols of other libraries |
//! | `vdso` | the kernel's code for reading the clock |
//! | `auxv` | what the kernel tells at the start |
//! | `errno` | error numbers, this thread's `errno` and how to keep it |
//!
//! The layer knows no G, M or P. A function here changes the caller's `errno`
//! only if its text says so, because C code must not notice calls that it did
//! not make. Results are values: [`errno::Result`].

pub(crate) mod addresses;
pub(crate) mod auxv;
pub(crate) mod child;
pub(crate) mod clock;
pub(crate) mod copy;
pub(crate) mod cpu;
pub(crate) mod dl;
pub(crate) mod epoll;
pub(crate) mod errno;
pub(crate) mod exiting;
pub(crate) mod fallback;
pub(crate) mod fd;
pub(crate) mod file;
pub(crate) mod futex;
pub(crate) mod interrupted;
pub(crate) mod key;
pub(crate) mod maps;
pub(crate) mod mem;
pub(crate) mod membarrier;
pub(crate) mod net;
pub(crate) mod objects;
pub(crate) mod ours;
pub(crate) mod own;
pub(crate) mod proc;
pub(crate) mod raw;
pub(crate) mod signal;
pub(crate) mod signame;
pub(crate) mod task;
pub(crate) mod thread;
mod vdso;

/// C's types in the signatures of the public functions.
pub(crate) mod types {
    pub use libc::{
        addrinfo, iovec, mode_t, msghdr, pid_t, sockaddr, socklen_t, ssize_t,
        timespec,
    };
}

pub(crate) use errno::{Errno, Result, errno_location};
pub(crate) use futex::{
    Lock, LockGuard, LongFutex, LongLock, LongLockGuard, Note, OsFutex,
};
