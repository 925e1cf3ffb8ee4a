//! The scheduler: which goroutine runs on which thread, and when.
//!
//! The model is Go's: goroutines (G) run on threads (M) that hold a processor
//! (P). Two things differ. Goroutines run foreign code, which no compiler made
//! interruptible; and calls come from threads that the library did not make.
//!
//! # Inside and outside
//! A goroutine runs the host's code *outside* the runtime, with its P lent to
//! it: sysmon may take the P back at any moment. A call of the library that
//! needs the P goes *inside* ([`enter::Inside`]) and finds out whether its M
//! still has one. Without a P, a call that cannot block does what a host
//! thread's does (global queue, wake an M), and a call that parks leaves an M
//! that has to take an idle P or sleep.
//!
//! # Where a goroutine goes
//! ```text
//!  newproc --> runq --> execute --> runs --> gopark --> a wait record
//!                ^                   | |                      |
//!                |<---- gosched -----+ +--> goexit1           |
//!                +--------------------- ready ----------------+
//! ```
//! `gopark`, `gosched` and `goexit1` leave a *hook* behind: the work that has
//! to wait until no thread uses the old stack (let wakers in, queue the
//! goroutine, free the stack). The next context on the thread runs the hook
//! first: either the goroutine to which the old one switched directly, or
//! `schedule` on g0.
//!
//! Invariants:
//! 1. Until its hook has begun, on another stack, a goroutine that leaves its
//!    stack is in no run queue, and no other thread can ready or free it.
//! 2. A call that cannot block never moves its caller to another thread.
//!
//! # Files
//! A file uses files below it in this table, and none above.
//!
//! | file | what |
//! |---|---|
//! | `fork` | a fork: what comes before, and who goes on after it |
//! | `goexit` | the end of a goroutine, and what its thread runs next |
//! | `join` | waiting for that end |
//! | `inplace` | a host thread that runs the goroutine that it joins |
//! | `winddown` | the end of the runtime: its goroutines, its Ms |
//! | `sysmon` | the thread that watches all others |
//! | `background` | goroutines that give idle stacks back |
//! | `steps` | goroutines that have a stack during a step only |
//! | `park` | gopark, deadlines, permits |
//! | `yields` | gosched, checkpoint |
//! | `panics` | gmp_call, panics, gmp_exit: what runs, how far they go |
//! | `recover` | gmp_recover: whether the caller may stop a panic |
//! | `host` | host threads: their G and M, their waits |
//! | `depart` | off a stack and back on it |
//! | `python` | goroutines with Python frames stay on their thread |
//! | `calls` | calls of the host's functions that a jump may leave |
//! | `newproc` | goroutines made and started |
//! | `nomain` | the end of a process whose main thread has left |
//! | `retake` | Ps taken from goroutines that are outside |
//! | `template` | the thread from which other threads are made |
//! | `schedule` | g0's loop, and the switch to the next goroutine |
//! | `ending` | functions that a goroutine has put off until its end |
//! | `cancel` | cancels, and shields against them |
//! | `local` | values of keys, and their destructors |
//! | `panicrecord` | what is kept of a panic |
//! | `find` | findrunnable and its five looks |
//! | `timing` | timers, and the timekeeper's sleep |
//! | `lockthread` | LockOSThread |
//! | `stw` | the world stopped, procresize |
//! | `migrate` | `GMPDEBUG=migrate=1`: no goroutine stays on its thread |
//! | `starved` | goroutines that wait for memory for their stack |
//! | `ready` | parked goroutines made runnable, host threads woken |
//! | `handoff` | the next M for a P that is let go; wakep, startm |
//! | `threads` | Ms made and given back: newm |
//! | `defers` | the list of what a goroutine has put off |
//! | `nothread` | what happens where no thread is to be had |
//! | `idle` | Ms without work: stopm, mget |
//! | `threadend` | the end of an M's thread |
//! | `deadlock` | the check that everything sleeps for ever |
//! | `keeper` | is there a timekeeper, and how to break its sleep |
//! | `procs` | a P taken and let go |
//! | `mainthread` | whether the main thread has left |
//! | `context` | what a switch keeps: errno, C++ exception state |
//! | `sigmask` | signal masks: of threads, and of a goroutine |
//! | `queue` | run queues: a P's own, and the global one |
//! | `frame` | a goroutine's stack and its first frame |
//! | `lock` | locks for the layers above |
//! | `stats` | the scheduler in numbers |
//! | `stackmark` | how much stack each function's goroutines use |
//! | `suspended` | threads stopped for a collection |
//! | `urgent` | the signal that interrupts a thread |
//! | `putoff` | the same, where ThreadSanitizer puts handlers off |
//! | `child` | whether this is the child of a fork |
//! | `enter` | inside and outside, the P that a call still has |
//! | `fiber` | sanitizers are told of goroutines |
//! | `random` | random numbers of the caller's thread |
//! | `current` | the caller: a goroutine, a host thread, an M |
//!
//! # Rejected
//! - Signals that interrupt busy goroutines (Go's asyncPreempt): a library
//!   takes no signal from its host, and foreign code cannot be stopped at any
//!   instruction.
//! - Wrappers around system calls: any C function may block, known or not.
//! - One run queue for all: every CPU would fight for its lock.

pub(crate) mod background;
pub(crate) mod calls;
pub(crate) mod cancel;
pub(crate) mod child;
pub(crate) mod context;
pub(crate) mod current;
pub(crate) mod deadlock;
mod defers;
mod depart;
pub(crate) mod ending;
pub(crate) mod enter;
pub(crate) mod fiber;
pub(crate) mod find;
pub(crate) mod fork;
pub(crate) mod frame;
pub(crate) mod goexit;
pub(crate) mod handoff;
pub(crate) mod host;
pub(crate) mod idle;
pub(crate) mod inplace;
pub(crate) mod join;
pub(crate) mod keeper;
pub(crate) mod local;
pub(crate) mod lock;
pub(crate) mod lockthread;
pub(crate) mod mainthread;
pub(crate) mod migrate;
pub(crate) mod newproc;
pub(crate) mod nomain;
pub(crate) mod nothread;
pub(crate) mod panicrecord;
pub(crate) mod panics;
pub(crate) mod park;
pub(crate) mod procs;
pub(crate) mod putoff;
pub(crate) mod python;
pub(crate) mod queue;
pub(crate) mod random;
pub(crate) mod ready;
pub(crate) mod recover;
pub(crate) mod retake;
pub(crate) mod schedule;
pub(crate) mod sigmask;
pub(crate) mod stackmark;
pub(crate) mod starved;
pub(crate) mod stats;
pub(crate) mod steps;
pub(crate) mod stw;
pub(crate) mod suspended;
pub(crate) mod sysmon;
pub(crate) mod template;
mod threadend;
pub(crate) mod threads;
pub(crate) mod timing;
pub(crate) mod urgent;
pub(crate) mod winddown;
pub(crate) mod yields;

pub(crate) use lockthread::{lock_os_thread, unlock_os_thread};
pub(crate) use sysmon::start_sysmon;
