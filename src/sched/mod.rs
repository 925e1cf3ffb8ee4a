//! The scheduler: who runs what, where, and when.
//!
//! Go's scheduler on Go's terms: goroutines (G) run on threads (M) that hold
//! a processor (P). What differs is that goroutine code here is foreign code,
//! which no compiler made interruptible, and that calls come from threads that
//! are not ours.
//!
//! # Inside and outside
//! A goroutine in the host's code runs *outside* with its P lent to it; sysmon
//! may take the P back at any moment. A call of the library goes *inside*
//! ([`enter::Inside`]) when it needs the P, and finds out whether it still has
//! one. Without a P, a call that cannot block acts as a host thread's would
//! (global queue, wake somebody), and a call that parks gives up the thread.
//!
//! # Where a goroutine goes
//! ```text
//!  newproc --> runq --> execute --> runs --> gopark --> a wait record
//!                ^                   | |                     |
//!                |<---- gosched -----+ +--> goexit1      ready |
//!                +---------------------------------------------+
//! ```
//! `gopark`, `gosched` and `goexit1` leave a *hook* behind: what has to happen
//! once nobody uses the old stack (let wakers in, queue it, free it). The next
//! context runs it first: another goroutine, to which the parking one switched
//! directly, or `schedule` on g0.
//!
//! # Files
//! | file | what |
//! |---|---|
//! | `enter` | inside and outside, the P that a call still has |
//! | `context` | what a switch keeps: errno, C++ exception state |
//! | `sigmask` | signal masks: of threads, and of a goroutine |
//! | `newproc`, `goexit` | G made and started; ended |
//! | `park` | gopark, ready; deadlines |
//! | `yields` | gosched, checkpoint |
//! | `starved` | those for whose stack there is no memory |
//! | `schedule` | g0's loop: schedule, execute |
//! | `find` | findrunnable and its five looks |
//! | `timing` | timers, and who sleeps until the next |
//! | `threads` | M: newm, startm, stopm, mexit |
//! | `nothread` | what happens where no thread is to be had |
//! | `procs` | P: acquire, release, hand off, stop the world, procresize |
//! | `lockthread` | LockOSThread |
//! | `migrate` | `GMPDEBUG=migrate=1`: no goroutine stays on its thread |
//! | `sysmon`, `retake` | the watcher; Ps taken from goroutines outside |
//! | `host` | threads that are not ours |
//! | `join` | who waits for a goroutine's end |
//! | `cancel` | cancels, and shields against them |
//! | `ending`, `local` | what runs at its end: defers, destructors of keys |
//! | `calls` | calls of the host's functions that may be left by a jump |
//! | `fork` | the child of a fork: nobody switches there |
//! | `lock` | locks for the layers above |
//! | `deadlock` | all asleep |
//! | `leave` | the main thread has left, and nobody else is there |
//!
//! # Rejected
//! - Signals to interrupt busy goroutines (Go's asyncPreempt): a guest takes
//!   no signal, and foreign code cannot be moved at any instruction.
//! - Wrapping system calls: every C function may block, known or not.
//! - One run queue: its lock is the first thing that two CPUs fight for.

pub(crate) mod calls;
pub(crate) mod cancel;
pub(crate) mod context;
pub(crate) mod deadlock;
pub(crate) mod ending;
pub(crate) mod enter;
pub(crate) mod find;
pub(crate) mod fork;
pub(crate) mod goexit;
pub(crate) mod host;
pub(crate) mod join;
pub(crate) mod leave;
pub(crate) mod local;
pub(crate) mod lock;
pub(crate) mod lockthread;
pub(crate) mod migrate;
pub(crate) mod newproc;
pub(crate) mod nothread;
pub(crate) mod park;
pub(crate) mod procs;
pub(crate) mod retake;
pub(crate) mod schedule;
pub(crate) mod sigmask;
mod starved;
pub(crate) mod sysmon;
pub(crate) mod threads;
pub(crate) mod timing;
pub(crate) mod yields;

pub(crate) use lockthread::{lock_os_thread, unlock_os_thread};
pub(crate) use sysmon::start_sysmon;
