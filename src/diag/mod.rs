//! Reports: of a process that fails, and of one that goes on.
//!
//! What reports a failure runs on the failing thread, also in signal handlers.
//! So it neither parks, locks nor allocates. Only `look`, and what runs in a
//! copy of the process, may allocate plainly (`base::reserve`).
//!
//! Its files, from the top to the bottom; each uses what stands below it:
//!
//! | file | what |
//! |---|---|
//! | `fault` | faults and aborts, of full stacks and of the host's code |
//! | `unwinding` | frames left for `gmp_exit`, a panic, an exception |
//! | `exception` | names an exception that no frame catches |
//! | `report` | the goroutines after a fatal error |
//! | `lockwait` | deadlocks of a living process |
//! | `plain` | the same where there is no copy of the process |
//! | `dumpsignal` | a dump when a signal comes |
//! | `look` | `gmp_dump` |
//! | `blocked` | what goroutines wait for, for the search for leaks |
//! | `own` | this process, as the crate `inspect` sees processes |
//! | `samples` | the stacks of all goroutines that compute, at a fatal error |
//! | `sample` | the stack of one |
//! | `live` | this process, as the search for deadlocks sees it |
//! | `cycles` | that search |
//! | `stackadvice` | how much stack the goroutines of each function use |
//! | `dump` | the words for a goroutine in a message |

mod blocked;
mod cycles;
pub(crate) mod dump;
pub(crate) mod dumpsignal;
mod exception;
pub(crate) mod fault;
mod live;
pub(crate) mod lockwait;
pub(crate) mod look;
mod own;
mod plain;
pub(crate) mod report;
mod sample;
mod samples;
pub(crate) mod stackadvice;
mod unwinding;
