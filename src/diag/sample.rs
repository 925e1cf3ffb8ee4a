//! The stack of a goroutine that computes on another thread.
//!
//! Such a goroutine has its registers nowhere in memory. So a dump sends a
//! signal to the thread, whose handler copies the registers and the stack; then
//! the goroutine goes on, and the dump walks the copy.
//!
//! The signal is that of `sched::urgent`, whose handler is there while a dump
//! is; a dump never takes the place of a handler of the host's. The signal goes
//! only to a thread that runs, by the kernel's word, and does not block it.
//!
//! ```text
//!            the dump: ask                        the handler: answer
//!   Free  --> Asked   (a) what is wanted
//!   Asked --> Free        it takes too long
//!   Asked --> Taken                               (b) the room is its own
//!   Taken --> Done                                (c) the copy is in the room
//!   Done  --> Asked   (d) the room is read before
//! ```
//! (a) pairs with (b), (c) with (d): a release each, and an acquire. A turn has
//! a number, which the signal carries, so a late signal answers nobody. If a
//! handler stands still in Taken, nothing is asked until it goes on.
//!
//! Invariants:
//! 1. One [`Sampler`] at a time: `BUSY` is set while it lives.
//! 2. `FOUND` and `BYTES` are the handler's in Taken, and else the sampler's.
//! 3. The handler neither locks nor allocates, and reads no other stack than
//!    that on which its goroutine runs.
//!
//! Rejected: SIGSEGV, whose handler is there already: where the host puts the
//! default action back, a signal on its way would end the process, and gdb
//! stops at each. To walk the stack in the handler: the goroutine would stand
//! still longer. `perf_event_open`, which interrupts nothing: most systems
//! refuse it.

use crate::{
    arch,
    base::{
        Futex as _,
        sync::{
            AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering::*,
        },
    },
    gmp::G,
    os::{Errno, OsFutex, clock::nanotime, proc, task},
    sched::urgent::{self, Chain, User},
};
use core::{cell::UnsafeCell, ptr, slice};
use gmprt_inspect::{goroutine::Seen, regs::Registers};

/// The most bytes of a stack that are copied.
const MOST: usize = 256 << 10;
/// How long one thread may take to answer, and all together, in nanoseconds.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub one: i64,
    pub all: i64,
}

impl Limits {
    /// Those of a dump.
    pub(super) const DUMP: Self = Self { one: 100_000_000, all: 2_000_000_000 };
}

/// The states of a turn, in the low bits of `TURN`.
const FREE: u32 = 0;
const ASKED: u32 = 1;
const TAKEN: u32 = 2;
const DONE: u32 = 3;
const STATE: u32 = 3;

/// The number of the turn, and its state.
static TURN: AtomicU32 = AtomicU32::new(FREE);
/// The G that is asked for, and its goid.
static WANTED: AtomicPtr<G> = AtomicPtr::new(ptr::null_mut());
static WANTED_ID: AtomicU64 = AtomicU64::new(0);
/// Threads are being asked.
static BUSY: AtomicBool = AtomicBool::new(false);
/// The process that asks.
static PROCESS: AtomicI32 = AtomicI32::new(0);
static FOUND: Room<Option<Found>> = Room(UnsafeCell::new(None));
/// All zero, so that the file of the library has none of it.
static BYTES: Room<[u8; MOST]> = Room(UnsafeCell::new([0; MOST]));

/// The room of the handler (invariant 2).
struct Room<T>(UnsafeCell<T>);

// SAFETY: invariant 2.
unsafe impl<T: Send> Sync for Room<T> {}

/// What the handler has found.
struct Found {
    regs: Registers,
    /// Where the copy begins in the stack, and how many bytes it has.
    at: usize,
    len: usize,
}

/// Asks threads for their stacks, while it lives.
pub(super) struct Sampler {
    /// Our handler is there.
    installed: bool,
    limits: Limits,
    /// When no thread is asked any more.
    until: i64,
}

impl Sampler {
    /// None while there is one. In the child of a fork, none is left of the
    /// parent's.
    pub(super) fn new(limits: Limits) -> Option<Self> {
        let me = proc::id();
        // Relaxed: the child of a fork has one thread.
        if PROCESS.swap(me, Relaxed) != me {
            TURN.store(FREE, Relaxed);
            BUSY.store(false, Relaxed);
        }
        // Acquire: pairs with drop.
        if BUSY.swap(true, Acquire) {
            return None;
        }
        let until = nanotime().saturating_add(limits.all);
        let installed = urgent::begin(User::Dump, answer, Chain::No);
        Some(Self { installed, limits, until })
    }

    /// The goroutine `gp` with this goid, which the thread `tid` runs. `to`
    /// gets its stack.
    pub(super) fn ask(
        &self,
        tid: i32,
        gp: usize,
        goid: u64,
        to: impl FnOnce(&[u8]),
    ) -> Seen {
        if !self.installed {
            return Seen::No("the program has another use for SIGURG");
        }
        if task::blocks(tid, urgent::SIGNAL) == Some(true) {
            return Seen::No("its thread blocks SIGURG");
        }
        let until = nanotime().saturating_add(self.limits.one);
        if let Err(why) = exchange(tid, gp, goid, until.min(self.until)) {
            return Seen::No(why);
        }
        // SAFETY: invariant 2: the turn is Done, and the next one is ours.
        let found = unsafe { &*FOUND.0.get() };
        let Some(found) = found else {
            return Seen::No("it is in the library, or on another stack");
        };
        // SAFETY: as above.
        let bytes = unsafe { &*BYTES.0.get() };
        to(&bytes[..found.len]);
        Seen::Copied(found.regs, found.at as u64)
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        if self.installed {
            urgent::end(User::Dump);
        }
        // Release: pairs with new.
        BUSY.store(false, Release);
    }
}

/// Has the thread fill the room, by this time at the latest.
fn exchange(
    tid: i32,
    gp: usize,
    goid: u64,
    until: i64,
) -> Result<(), &'static str> {
    const LATE: &str = "its thread has not answered in time";
    // Acquire (d): the copy before is read.
    let before = TURN.load(Acquire);
    if before & STATE == TAKEN {
        return Err(LATE);
    }
    let asked = (before | STATE).wrapping_add(1) | ASKED;
    // Relaxed: (a) publishes them.
    WANTED.store(ptr::without_provenance_mut(gp), Relaxed);
    WANTED_ID.store(goid, Relaxed);
    // Release: (a).
    TURN.store(asked, Release);
    if let Err(e) = urgent::send(User::Dump, tid, asked) {
        TURN.store(asked & !STATE, Relaxed);
        return Err(match e {
            Errno(libc::ESRCH) => "its thread has ended",
            _ => "the system refuses to signal its thread",
        });
    }
    let mut late = until;
    loop {
        // Acquire: pairs with (c).
        let now = TURN.load(Acquire);
        if now == asked & !STATE | DONE {
            return Ok(());
        }
        if nanotime() >= late {
            // Relaxed: the turn guards nothing yet.
            let free = asked & !STATE;
            let end = TURN.compare_exchange(asked, free, Relaxed, Relaxed);
            if end.is_ok() || late > until {
                return Err(LATE);
            }
            // It copies.
            late = late.saturating_add(Limits::DUMP.one);
            continue;
        }
        OsFutex::wait(&TURN, now, late);
    }
}

/// Answers on the thread's signal stack, with all signals blocked.
fn answer(asked: u32, context: &mut libc::ucontext_t) {
    let turn = asked & !STATE;
    let (from, to) = (turn | ASKED, turn | TAKEN);
    // Acquire: (b).
    if TURN.compare_exchange(from, to, Acquire, Relaxed).is_err() {
        return;
    }
    // Relaxed: (b) has brought them.
    let wanted = WANTED.load(Relaxed);
    let goid = WANTED_ID.load(Relaxed);
    let regs = Registers::from_ucontext(context);
    let at = regs.sp() as usize;
    let mut found = None;
    if let Some(gp) = arch::getg()
        && ptr::eq(gp, wanted)
        && gp.goid.get() == goid
        && (gp.stack_lo.get()..gp.stack_hi.get()).contains(&at)
    {
        let len = (gp.stack_hi.get() - at).min(MOST);
        // SAFETY: the stack on which this thread runs, from its pointer on
        // (invariant 3).
        let stack = unsafe { slice::from_raw_parts(at as *const u8, len) };
        // SAFETY: invariant 2: the turn is Taken.
        let bytes = unsafe { &mut *BYTES.0.get() };
        bytes[..len].copy_from_slice(stack);
        found = Some(Found { regs, at, len });
    }
    // SAFETY: invariant 2: the turn is Taken.
    unsafe { *FOUND.0.get() = found };
    // Release: (c).
    TURN.store(turn | DONE, Release);
    OsFutex::wake(&TURN, 1);
}
