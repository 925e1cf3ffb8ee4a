//! The start path, in order. Every stage has Go's name and is a symbol, so that
//! a debugger stops there (`break schedinit`).
//!
//! | stage | where |
//! |---|---|
//! | `_rt0_amd64_lib` | `asm/rt0_amd64.S`: the constructor |
//! | `libpreinit`, `newosproc0` | `preinit.rs`; on the loading thread |
//! | `_rt0_amd64_lib_go`, `rt0_go`, `settls` | `asm/rt0_amd64.S`; on m0 |
//! | `check`, `args`, `osinit`, `schedinit` | `init.rs`, `env.rs`, `parse.rs` |
//! | `newproc`, `mstart`, `mstart1`, `minit`, `schedule` | `sched` |
//! | `runtime_main`, `runtime_inittasks`, `gcenable` | `runtime_main.rs` |
//! | the functions of `GMP_INIT` | `doinit.rs`; also later, for plug-ins |
//! | `main_main` | `exe.rs`; only in a program of the exe path |
//!
//! The exe path begins at `_rt0_amd64_linux` and `_rt0_amd64` in
//! `asm/entry_amd64.S`, and comes through `_rt0_amd64_exe` in `exe.rs` to
//! `rt0_go`, on the process's main thread.
//!
//! `gmp_run_main` (`run_main.rs`) also runs a `main` as a goroutine, in a
//! program that was started as usual.
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | what |
//! |---|---|
//! | `runtime_main.rs` | the main goroutine |
//! | `shutdown.rs` | `gmp_shutdown`, and the end of the library |
//! | `gate.rs` | the gate that each call passes |
//! | `again.rs` | the start in the child of a fork |
//! | `reset.rs` | all put back to what it was before the start |
//! | `init.rs` | the stages on m0 |
//! | `preinit.rs` | the stages on the loading thread |
//! | `keep.rs` | the library's reference to itself |
//! | `doinit.rs` | the functions of `GMP_INIT` |
//! | `exe.rs` | the exe path |
//! | `run_main.rs` | `gmp_run_main` |
//! | `env.rs` | the settings of the environment |
//! | `hooks.rs` | pointers that a host may set |
//! | `inittrace.rs` | times of the stages |
//! | `parse.rs` | parsers for values of settings |
//! | `arguments.rs` | the program's arguments |
//! | `phase.rs` | the state of the start |
//!
//! Invariants:
//! 1. The constructor waits for nothing: the loader's lock is held.
//! 2. Nothing here but `keep` calls `dlopen`, `dlsym` or `dl_iterate_phdr`, or
//!    uses thread-local storage that is allocated on demand. They take the
//!    loader's lock, which a host thread may hold while it waits for the start.
//! 3. After the start only `gate`, `run_main`, `arguments`, `shutdown`, and
//!    `doinit` for plug-ins are called.

mod again;
mod arguments;
mod doinit;
mod env;
mod exe;
mod gate;
mod hooks;
mod init;
mod inittrace;
mod keep;
mod parse;
mod phase;
mod preinit;
mod reset;
mod run_main;
mod runtime_main;
mod shutdown;

pub(crate) use arguments::arguments;
pub(crate) use doinit::{Task, register, unregister};
pub(crate) use gate::{gate, gate_to_start, gate_to_undo, is_up};
pub(crate) use run_main::run_main;
pub(crate) use shutdown::shutdown;
