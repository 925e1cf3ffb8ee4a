//! The threads that have stacks of the host's, stopped and let go on.
//!
//! | thread | is stopped |
//! |---|---|
//! | an M that runs a goroutine, or an `unlockf` on g0 | by the signal |
//! | an M that runs none | not at all: it gets none without a P |
//! | a host thread that has a G | by the signal |
//! | a host thread that gets one now | it waits (`Stops::newcomer`) |
//! | sysmon and the like | not at all: no pointer of the host's is there |
//!
//! A thread that waits in a call of the library is in a safe region, and is not
//! signalled (`sched::suspended`). Where there is no signal (`GMP_GC_SIGNAL=0`)
//! all others are asked to come to a safe point, within [`PATIENCE`]. Under
//! ThreadSanitizer both is done: it may put the handler off (`sched::putoff`).
//!
//! All Ps are Stopped before. So an M whose `curg` is null has left its last
//! goroutine's stack, and runs no other before the world goes on.
//!
//! A thread that does not answer within [`PATIENCE`] has the signal blocked, is
//! in a sleep that no signal ends, is on a stack that is not known, or has not
//! had a CPU yet, maybe since the last stop. Only for the last, which the
//! kernel tells, it is worth while to wait for longer. Else this attempt is
//! given up, and the heap grows. Without a signal a thread that computes could
//! run too; the time that it has had a CPU says whether it has.
//!
//! Where it is known that a thread has ended, it is not waited for.

use crate::{
    base::sanitize,
    gmp::{G, GStatus, M, MKind, STOPS, each_m},
    os::{
        Errno,
        clock::{nanotime, thread_cputime},
        task::{self, Stands},
        thread,
    },
    sched::{
        host::each_hostm,
        suspended,
        urgent::{self, User},
    },
};
use core::{cell::Cell, sync::atomic::Ordering::*};

/// Nanoseconds that all threads have to answer, and those that wait for a CPU.
const PATIENCE: i64 = 100_000_000;
const FOR_CPU: i64 = 2_000_000_000;
/// Nanoseconds until a thread that has not answered gets the signal again: at
/// first, and at most.
const AGAIN: (i64, i64) = (100_000, 5_000_000);
/// The same, until it is asked again: an M that has come to its scheduler says
/// nothing.
const ASK_AGAIN: (i64, i64) = (100_000, 1_000_000);

/// All threads of these stand still while this lives.
pub(super) struct Stopped {
    seq: u32,
    who: Who,
}

/// Which threads stop.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    All,
    /// Those of the library. One of the host's that runs a goroutine in place
    /// is waited for.
    Ours,
}

/// Why the threads could not be stopped.
#[derive(Clone, Copy)]
pub(super) enum Failed {
    /// The signal cannot be had.
    Signal,
    /// This thread did not answer.
    Thread(i32),
}

/// Reads a cell of another thread's.
fn peek<T: Copy>(cell: &Cell<T>) -> T {
    // SAFETY: aligned and initialised; the value may be old.
    unsafe { cell.as_ptr().read_volatile() }
}

/// Whether the thread of `mp` may have a stack of the host's.
fn counts(mp: &M, who: Who) -> bool {
    if mp.procid.load(Acquire) == 0 {
        return false;
    }
    match peek(&mp.kind) {
        MKind::Host => {
            let runs = || !mp.curg.load(Acquire).is_null();
            mp.tp.load(Acquire) != 0 && (who == Who::All || runs())
        }
        MKind::Worker | MKind::Early => {
            // Acquire: pairs with `schedule::dropg`.
            !mp.curg.load(Acquire).is_null() || peek(&mp.unlocking).is_some()
        }
        _ => false,
    }
}

/// The Ms that may have to stop.
fn candidates() -> impl Iterator<Item = &'static M> {
    let hosts = each_hostm().filter(|mp| peek(&mp.kind) == MKind::Host);
    each_m().filter(|mp| peek(&mp.kind) != MKind::Host).chain(hosts)
}

/// Stops all these threads but that of `me`. All Ps are Stopped.
pub(super) fn stop_threads(me: &M, who: Who) -> Result<Stopped, Failed> {
    let stopped = Stopped { seq: STOPS.begin(), who };
    let others = || candidates().filter(|mp| !core::ptr::eq(*mp, me));
    if !others().any(|mp| counts(mp, who)) {
        return Ok(stopped);
    }
    let signal = urgent::of(User::Collection);
    let listen = || signal.is_none() || suspended::listen();
    if !listen() {
        return Err(Failed::Signal);
    }
    let began = nanotime();
    let mut late = began + PATIENCE;
    let (first, longest) = if signal.is_some() { AGAIN } else { ASK_AGAIN };
    let (mut again, mut due) = (first, 0);
    // Without a signal: a thread that has not answered, and its CPU time then.
    let mut computes = (0, 0);
    loop {
        let seen = STOPS.answers();
        let now = nanotime();
        let send = now >= due;
        if send {
            due = now + again;
            again = (again * 2).min(longest);
        }
        let mut missing = 0;
        for mp in others() {
            let is_waited_for =
                who == Who::Ours && peek(&mp.kind) == MKind::Host;
            if counts(mp, who)
                && (is_waited_for || !mp.suspend.stands(stopped.seq))
            {
                let send = send && !is_waited_for;
                missing = missing_after(mp, send, missing);
            }
        }
        if missing == 0 {
            return Ok(stopped);
        }
        if signal.is_none() && computes.0 != missing {
            computes = (missing, thread_cputime(missing).unwrap_or(0));
        }
        if now >= late {
            let waits = match signal {
                Some(signal) => waits_for_cpu(missing, signal),
                None => is_starved(computes),
            };
            if now - began > FOR_CPU || !waits {
                return Err(Failed::Thread(missing));
            }
            late = now + PATIENCE;
        }
        if send && again == longest && !listen() {
            return Err(Failed::Signal);
        }
        STOPS.wait_more(seen, due.min(late));
    }
}

/// Signals the thread of `mp`, or asks it, if that is due. The thread's id, or
/// `before` where it has ended.
fn missing_after(mp: &M, send: bool, before: i32) -> i32 {
    let tid = mp.procid.load(Relaxed);
    if tid == 0 {
        return before;
    }
    if !send {
        return tid;
    }
    let signal = urgent::of(User::Collection);
    if signal.is_none() || sanitize::raceenabled() {
        suspended::ask(mp);
    }
    let is_there = if signal.is_some() {
        let sent = urgent::send(User::Collection, tid, 0);
        sent != Err(Errno(libc::ESRCH))
    } else {
        thread::exists(tid)
    };
    if is_there { tid } else { before }
}

/// Whether the thread could run, and would answer then. In its handler, which
/// blocks the signal, it is on its way out of the last stop. Valgrind has one
/// thread run at a time, and blocks signals itself.
fn waits_for_cpu(tid: i32, signal: i32) -> bool {
    if sanitize::valgrind() {
        return true;
    }
    let is_handling = || {
        let mut its = candidates().filter(|mp| mp.procid.load(Relaxed) == tid);
        its.any(|mp| mp.suspend.is_handling())
    };
    let handles = is_handling();
    let blocks = task::blocks(tid, signal) == Some(true);
    (!blocks || handles || is_handling()) && task::stands(tid) == Stands::Runs
}

/// Whether the thread could run, and has hardly done so since it had used this
/// CPU time.
fn is_starved((tid, before): (i32, i64)) -> bool {
    let used = thread_cputime(tid).unwrap_or(i64::MAX);
    used - before < PATIENCE / 2 && task::stands(tid) == Stands::Runs
}

impl Stopped {
    /// Each thread that stands, with its stack pointer and the address of its
    /// registers, or 0.
    pub(super) fn each(&self, mut f: impl FnMut(&'static M, usize, usize)) {
        let host = |mp: &M| peek(&mp.kind) == MKind::Host;
        for mp in candidates() {
            if self.who == Who::Ours && host(mp) {
                continue;
            }
            if let Some((sp, regs)) = mp.suspend.stood(self.seq) {
                f(mp, sp, regs);
            }
        }
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        STOPS.end();
    }
}

/// Whether a goroutine that is not on a thread's stack pointer has left its
/// stack at `sched_sp`.
pub(super) fn has_left(gp: &G) -> bool {
    matches!(gp.readgstatus(), GStatus::Runnable | GStatus::Waiting)
}
