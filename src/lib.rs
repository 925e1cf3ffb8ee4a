//! gmprt: goroutines for any C, C++ or Python program, as one shared library.
//!
//! The public surface is `include/gmp.h`, generated from [`ffi`]. A module uses
//! only modules below it in this table, and none in its own row. The files of a
//! folder are in such an order too, in the table that opens its `mod.rs`.
//! `tests/tidy.rs` checks both. HACKING.md follows a goroutine through the
//! layers.
//!
//! | layer | modules | does | does not |
//! |---|---|---|---|
//! | 10 | `ffi` | the C surface: convert, one call, convert | hold logic |
//! | 9 | `boot` | the start path, once | get called later, but at the gate |
//! | 8 | `diag` | all reports | park, lock |
//! | 7 | `block`; `trace`; `gc` | parks; timeline; collections | queue |
//! | 6 | `sched` | which goroutine runs where, when | know channels or C |
//! | 5 | `netpoll` | waiters for descriptors | know the scheduler |
//! | 4 | `arch` | the stack switches of `asm/` | lock |
//! | 3 | `gmp` | the data: G, M, P, queues, owners of Ps | decide |
//! | 2 | `stack`; `timers`; `heap` | stacks; deadlines; objects | ready a G |
//! | 1 | `os` | all system calls | know G, M, P |
//! | 0 | `base` | atomics, locks that block a thread, `throw` | know the rest |
//!
//! Beside `ffi` stand `internals`, for benchmarks, and `model`, for tests.
//!
//! # The start path
//! `_rt0_amd64_lib` (a constructor) saves argc and argv, calls `libpreinit`,
//! makes a thread and returns. The thread runs `_rt0_amd64_lib_go` → `rt0_go`
//! (g0, CPUID, TLS, m0) → `check` → `args` → `osinit` → `schedinit` →
//! `newproc(runtime_main)` → `mstart` → `mstart1` → `minit` → `schedule`.
//! `schedule` runs `runtime_main`, which starts sysmon, runs the init tasks,
//! calls `gcenable` and opens the gate for the first call. A program that is
//! entered at `_rt0_amd64_linux` comes to `rt0_go` on its main thread, and its
//! `runtime_main` ends in `main_main`.

#![cfg_attr(
    shuttle,
    expect(dead_code, reason = "used only by layers that are left out")
)]

#[cfg(any(loom, shuttle))]
pub mod base;
#[cfg(loom)]
pub mod gmp;
#[cfg(loom)]
pub mod heap;

#[cfg(not(any(loom, shuttle)))]
mod arch;
#[cfg(not(any(loom, shuttle)))]
mod base;
#[cfg(not(any(loom, shuttle)))]
mod block;
#[cfg(not(any(loom, shuttle)))]
mod boot;
#[cfg(not(any(loom, shuttle)))]
mod diag;
#[cfg(not(any(loom, shuttle)))]
pub mod ffi;
#[cfg(not(any(loom, shuttle)))]
mod gc;
#[cfg(not(any(loom, shuttle)))]
mod gmp;
#[cfg(not(any(loom, shuttle)))]
#[doc(hidden)]
pub mod heap;
#[cfg(all(feature = "internals", not(any(loom, shuttle))))]
#[doc(hidden)]
pub mod internals;
#[cfg(not(any(loom, shuttle)))]
mod netpoll;
#[cfg(not(any(loom, shuttle)))]
mod os;
#[cfg(not(any(loom, shuttle)))]
mod sched;
#[cfg(not(any(loom, shuttle)))]
mod stack;
#[cfg(not(any(loom, shuttle)))]
mod timers;
#[cfg(not(any(loom, shuttle)))]
mod trace;

// Under shuttle: the real `block` over a model of the lower layers.
#[cfg(shuttle)]
#[path = "model/arch.rs"]
mod arch;
#[cfg(shuttle)]
mod block;
#[cfg(shuttle)]
#[path = "model/gmp.rs"]
mod gmp;
#[cfg(shuttle)]
#[path = "model/heap.rs"]
mod heap;
#[cfg(shuttle)]
pub mod model;
#[cfg(shuttle)]
#[path = "model/os.rs"]
mod os;
#[cfg(shuttle)]
#[path = "model/sched/mod.rs"]
mod sched;
#[cfg(shuttle)]
mod timers;
