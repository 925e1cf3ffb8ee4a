//! gmprt: goroutines for any C, C++ or Python program, as one shared library.
//!
//! The public surface is `include/gmp.h`, generated from [`ffi`]. Lower layers
//! never use upper ones; `tests/tidy.rs` checks it:
//!
//! | layer | modules | does |
//! |---|---|---|
//! | 0 | `base` | atomics, locks and notes that block an M, `throw` |
//! | 1 | `os` | the operating system, and nobody else calls it |
//! | 2 | `stack`, `timers` | goroutine stacks; heaps of deadlines |
//! | 3 | `gmp` | the data: G, M, P, queues, who holds a P |
//! | 4 | `arch` | the stack switches of `asm/switch_amd64.S` |
//! | 6 | `sched` | policy: who runs what, where, when |
//! | 7 | `block`; `diag` | everything that parks; everything that looks |
//! | 8 | `boot` | the start path, once |
//! | 9 | `ffi` | convert, one call, convert |
//!
//! # The start path
//! `_rt0_amd64_lib` (a constructor) saves argc and argv, calls `libpreinit`,
//! makes a thread and returns. The thread: `_rt0_amd64_lib_go` → `rt0_go`
//! (g0, CPUID, TLS, m0) → `check` → `args` → `osinit` → `schedinit` →
//! `newproc(runtime_main)` → `mstart` → `mstart1` → `minit` → `schedule`,
//! which runs `runtime_main`: sysmon, init tasks, `gcenable`, and the gate of
//! the first call opens. A program entered at `_rt0_amd64_linux` comes to
//! `rt0_go` on its main thread, and `runtime_main` ends in `main_main`.

#[cfg(loom)]
pub mod base;
#[cfg(loom)]
pub mod gmp;

#[cfg(not(loom))]
mod arch;
#[cfg(not(loom))]
mod base;
#[cfg(not(loom))]
mod block;
#[cfg(not(loom))]
mod boot;
#[cfg(not(loom))]
mod diag;
#[cfg(not(loom))]
pub mod ffi;
#[cfg(not(loom))]
mod gmp;
#[cfg(not(loom))]
mod os;
#[cfg(not(loom))]
mod sched;
#[cfg(not(loom))]
mod stack;
#[cfg(not(loom))]
mod timers;
