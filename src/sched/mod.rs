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
//! A file uses those that stand below it, and none above.
//!
//! | file | what |
//! |---|---|
//! | `goexit` | the end of a goroutine, and what its thread goes on with |
//! | `join` | who waits for that end |
//! | `inplace` | a host thread that runs the goroutine that it joins |
//! | `sysmon` | the watcher |
//! | `background` | goroutines that give idle stacks back |
//! | `park` | gopark, deadlines, permits |
//! | `yields` | gosched, checkpoint |
//! | `host` | threads that are not ours |
//! | `python` | goroutines with Python frames stay on their thread |
//! | `calls` | calls of the host's functions that may be left by a jump |
//! | `newproc` | goroutines made and started |
//! | `leave` | the end of a process whose main thread has left |
//! | `retake` | Ps taken from goroutines that are outside |
//! | `template` | the thread from which others are made |
//! | `schedule` | g0's loop, and the switch to what is next |
//! | `fork` | the child of a fork: nobody switches there |
//! | `ending` | what a goroutine has put off until its end |
//! | `cancel` | cancels, and shields against them |
//! | `local` | values of keys, and their destructors |
//! | `find` | findrunnable and its five looks |
//! | `timing` | timers, and the sleep of who keeps the time |
//! | `lockthread` | LockOSThread |
//! | `stw` | the world stopped, procresize |
//! | `migrate` | `GMPDEBUG=migrate=1`: no goroutine stays on its thread |
//! | `starved` | goroutines for whose stack there is no memory |
//! | `ready` | who waited becomes runnable |
//! | `handoff` | who gets a P that is let go; wakep, startm |
//! | `threads` | Ms made and given back: newm |
//! | `nothread` | what happens where no thread is to be had |
//! | `idle` | Ms without work: stopm, mget |
//! | `deadlock` | all asleep |
//! | `keeper` | whether the time is kept, and how that sleep is broken |
//! | `procs` | a P taken and let go |
//! | `mainthread` | whether the main thread has left |
//! | `context` | what a switch keeps: errno, C++ exception state |
//! | `sigmask` | signal masks: of threads, and of a goroutine |
//! | `queue` | run queues: a P's, and the global one |
//! | `frame` | a goroutine's stack and its first frame |
//! | `lock` | locks for the layers above |
//! | `child` | whether this is the child of a fork |
//! | `enter` | inside and outside, the P that a call still has |
//! | `random` | random numbers of the caller's thread |
//! | `current` | the caller: a goroutine, a host thread, an M |
//!
//! # Rejected
//! - Signals to interrupt busy goroutines (Go's asyncPreempt): a guest takes
//!   no signal, and foreign code cannot be moved at any instruction.
//! - Wrapping system calls: every C function may block, known or not.
//! - One run queue: its lock is the first thing that two CPUs fight for.

pub(crate) mod background;
pub(crate) mod calls;
pub(crate) mod cancel;
pub(crate) mod child;
pub(crate) mod context;
pub(crate) mod current;
pub(crate) mod deadlock;
pub(crate) mod ending;
pub(crate) mod enter;
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
pub(crate) mod leave;
pub(crate) mod local;
pub(crate) mod lock;
pub(crate) mod lockthread;
pub(crate) mod mainthread;
pub(crate) mod migrate;
pub(crate) mod newproc;
pub(crate) mod nothread;
pub(crate) mod park;
pub(crate) mod procs;
pub(crate) mod python;
pub(crate) mod queue;
pub(crate) mod random;
pub(crate) mod ready;
pub(crate) mod retake;
pub(crate) mod schedule;
pub(crate) mod sigmask;
mod starved;
pub(crate) mod stw;
pub(crate) mod sysmon;
pub(crate) mod template;
pub(crate) mod threads;
pub(crate) mod timing;
pub(crate) mod yields;

pub(crate) use lockthread::{lock_os_thread, unlock_os_thread};
pub(crate) use sysmon::start_sysmon;
