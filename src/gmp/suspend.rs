//! Threads stopped for the collector: the word of the stop, and what each M
//! says to it.
//!
//! A thread may be anywhere when the world stops: in the host's code, in a
//! system call, in the library without a P. So a signal interrupts it, and its
//! handler *answers*: it publishes where the stack pointer and the registers
//! are, and sleeps until the world goes on. A thread that is at work on the
//! heap is not interrupted there. It has said so by a flag (`begin`), and
//! answers by itself when it is done (`end`). A thread that waits in a call of
//! the library is in a *safe region*: it has said where its frames lie, so the
//! stopper neither signals it nor waits for it, and it leaves the region only
//! while no stop is on. A newcomer, which the stopper may not know yet, goes
//! through such a region before it touches anything of the host's.
//!
//! | `safe` | the thread | moves |
//! |---|---|---|
//! | 0 | is outside of a region | `enter` -> sp |
//! | sp | is safe: its frames lie from sp on | `leave` -> leaving |
//! | sp, leaving | looks whether a stop is on | no -> 0, yes -> sp |
//!
//! ```text
//!   stopper                            thread
//!     seq += 1: odd          (a)         busy = true
//!     signal                             ... (a handler here: late = true)
//!     all answered this seq? (d)         busy = false
//!     ...                                late? then answer:
//!     seq += 1: even, wake   (e)           where, then answered = seq  (b)
//!                                          sleep while seq is that     (c)
//!   stopper                            newcomer
//!     seq += 1: odd          (a)         it can be found              (f)
//!     barrier in every thread            light fence
//!     who is there?          (h)         seq is odd? then a region    (g)
//!
//!   stopper                            thread that waits
//!     seq += 1: odd          (a)         safe = sp                    (i)
//!     barrier in every thread            light fence
//!     safe?                  (k)         seq is odd? then tell        (j)
//!     ...                                wait for what it waits for
//!                                        safe = sp, leaving           (l)
//!                                        light fence
//!                                        seq is odd? then safe = sp,  (m)
//!                                          sleep while seq is that (c), again
//!                                        safe = 0
//! ```
//! (b) pairs with (d): the stopper that sees the answer sees where, and all
//! that the thread has done. (e) pairs with (c). (f) pairs with (h) and (g)
//! with (a): the stopper finds the newcomer, or the newcomer waits. (i) pairs
//! with (k): the stopper that sees sp sees all that the thread has done. (j)
//! pairs with (a): the stopper sees the thread safe, or is told. (l) pairs with
//! (k) and (m) with (a): the stopper sees that the thread leaves, or the thread
//! sees the stop and comes back.
//!
//! A thread that the stopper has seen safe goes to and fro between safe and
//! leaving while the stop is on, but not further. So the stopper takes only a
//! safe one for one that stands, and may read sp of either afterwards. A signal
//! that finds the thread leaving is answered as in the host's code.
//!
//! `busy` and `late` are written by one thread, in its handler or outside, so
//! the order of the program is all that they need. (A retaker looks at `busy`
//! too: `gmp::owner`.) A signal that comes after
//! (e) finds seq even, or another number than its own, and does nothing. A
//! signal that comes while the thread sleeps at (c) finds the answer given; if
//! the next stop has begun meanwhile, the handler gives the next answer, and
//! the thread leaves the sleep of the last one afterwards.
//!
//! Invariants:
//! 1. seq is odd from a stop's begin to its end. One stopper at a time.
//! 2. `answered` is seq only while the thread sleeps at (c), or is about to.
//! 3. While `busy` is set the thread does not answer, and is in no region.
//! 4. A thread whose `safe` was found to be sp after (a) touches nothing of the
//!    host's until (e). Its host's frames and registers lie from sp on.
//! 5. Regions do not nest: an inner one ends the outer one too.
//!
//! Without a signal (`GMP_GC_SIGNAL=0`) the stopper sets `late` instead. A
//! thread that clears it just then has missed that; the stopper sets it again.
//!
//! Rejected: a thread inside the library is never stopped, and looks at seq
//! when it goes outside: each call of the library would pay for it. A count of
//! those that have yet to answer: a thread may end, or go to sleep in the
//! scheduler, instead of answering. A flag of the region beside sp: a thread
//! that goes from one region to the next could be found with the sp of the
//! former.

use crate::base::{
    Futex,
    barrier::light,
    sync::{
        AtomicBool, AtomicU32, AtomicUsize, Ordering::*, compiler_fence,
        const_unless_loom,
    },
};
use core::marker::PhantomData;

/// The word of the stop.
pub struct Stops<F> {
    /// atomic; invariant 1.
    seq: AtomicU32,
    /// atomic: answers ever given, for the stopper's sleep.
    answers: AtomicU32,
    futex: PhantomData<fn() -> F>,
}

/// What an M says to it.
pub struct Suspend {
    /// The M's thread: it is at work on the heap.
    busy: AtomicBool,
    /// The M's thread, in its handler or outside: a stop came while it was
    /// busy. The stopper, where there is no signal.
    late: AtomicBool,
    /// The M's thread: it is in the handler, where all signals are blocked.
    handles: AtomicBool,
    /// The M's thread: 0, or where the frames of its host begin, and LEAVING.
    safe: AtomicUsize,
    /// atomic: the stop that it has answered.
    answered: AtomicU32,
    /// (b) publishes these: its stack pointer, and the registers (0: all are
    /// on the stack).
    sp: AtomicUsize,
    regs: AtomicUsize,
}

/// Beside sp: the thread is about to leave its region.
const LEAVING: usize = 1;

impl<F: Futex> Stops<F> {
    const_unless_loom! {
        pub fn new() -> Self {
            Self {
                seq: AtomicU32::new(0),
                answers: AtomicU32::new(0),
                futex: PhantomData,
            }
        }
    }

    /// (a): a stop begins. Returns its number.
    pub fn begin(&self) -> u32 {
        let seq = self.seq.load(Relaxed).wrapping_add(1);
        self.seq.store(seq, SeqCst);
        F::barrier();
        seq
    }

    /// (e): the world goes on.
    pub fn end(&self) {
        self.seq.store(self.seq.load(Relaxed).wrapping_add(1), Release);
        F::wake(&raw const self.seq, u32::MAX >> 1);
    }

    /// How many answers were given, for [`Self::wait_more`].
    pub fn answers(&self) -> u32 {
        self.answers.load(Acquire)
    }

    /// The stopper waits until there are more answers than `seen`, or until the
    /// deadline.
    pub fn wait_more(&self, seen: u32, deadline: i64) {
        F::wait(&self.answers, seen, deadline);
    }

    /// (f) and (g): a thread that can be found from now on has to go through a
    /// region, or to [`Self::wait`], as a stop is on.
    #[inline(always)]
    #[must_use]
    pub fn is_on(&self) -> bool {
        light();
        self.seq.load(SeqCst) & 1 != 0
    }

    /// Waits until the stop that is on has ended.
    pub fn wait(&self) {
        self.wait_while(self.seq.load(SeqCst));
    }

    /// The stopper looks again.
    fn tell(&self) {
        self.answers.fetch_add(1, Release);
        F::wake(&raw const self.answers, 1);
    }

    /// (c): sleeps while `seq` is the number of a stop that is on.
    fn wait_while(&self, seq: u32) {
        // Acquire: pairs with (e).
        while seq & 1 != 0 && self.seq.load(Acquire) == seq {
            F::wait(&self.seq, seq, i64::MAX);
        }
    }
}

impl<F: Futex> Default for Stops<F> {
    fn default() -> Self {
        Self::new()
    }
}

impl Suspend {
    const_unless_loom! {
        pub fn new() -> Self {
            Self {
                busy: AtomicBool::new(false),
                late: AtomicBool::new(false),
                handles: AtomicBool::new(false),
                safe: AtomicUsize::new(0),
                answered: AtomicU32::new(0),
                sp: AtomicUsize::new(0),
                regs: AtomicUsize::new(0),
            }
        }
    }

    /// The thread is at work on the heap from now on. True: it was already.
    #[inline(always)]
    pub fn begin(&self) -> bool {
        let was = self.busy.load(Relaxed);
        self.busy.store(true, Relaxed);
        compiler_fence(SeqCst);
        was
    }

    /// It is not any more. True: a stop came meanwhile, and the caller answers.
    #[inline(always)]
    #[must_use]
    pub fn end(&self) -> bool {
        // Release: the next holder of the P comes after all that this one did.
        self.busy.store(false, Release);
        compiler_fence(SeqCst);
        self.late.load(Relaxed)
    }

    /// Whether the thread is at work on the heap: a retaker asks.
    pub fn is_at_work(&self) -> bool {
        // Acquire: pairs with `end`.
        self.busy.load(Acquire)
    }

    /// The caller answers late, or forgets that it had to.
    pub fn take_late(&self) {
        self.late.store(false, Relaxed);
    }

    /// In the handler: whether the thread is busy. Then it answers by itself.
    pub fn is_busy(&self) -> bool {
        let busy = self.busy.load(Relaxed);
        if busy {
            self.late.store(true, Relaxed);
        }
        busy
    }

    /// The thread is in the handler, or leaves it.
    pub fn handles(&self, so: bool) {
        self.handles.store(so, Relaxed);
    }

    /// Whether the thread is in the handler. It may have been woken from its
    /// sleep of the last stop, and not had a CPU since.
    pub fn is_handling(&self) -> bool {
        self.handles.load(Relaxed)
    }

    /// (b) and (c): answers the stop that is on, if one is, and sleeps until
    /// the world goes on.
    pub fn answer<F: Futex>(&self, stops: &Stops<F>, sp: usize, regs: usize) {
        let seq = stops.seq.load(Acquire);
        if seq & 1 == 0 || self.answered.load(Relaxed) == seq {
            return;
        }
        self.sp.store(sp, Relaxed);
        self.regs.store(regs, Relaxed);
        // Release (b): pairs with stands.
        self.answered.store(seq, Release);
        stops.tell();
        stops.wait_while(seq);
    }

    /// (i) and (j): the thread waits from now on, and touches nothing of the
    /// host's, whose frames and registers lie from `sp` on.
    #[inline(always)]
    pub fn enter<F: Futex>(&self, stops: &Stops<F>, sp: usize) {
        debug_assert!(sp != 0 && sp & LEAVING == 0);
        // Release (i): pairs with (k).
        self.safe.store(sp, Release);
        if stops.is_on() {
            stops.tell();
        }
    }

    /// (l) and (m): the thread leaves its region, if it still is in one, once
    /// no stop is on.
    #[inline(always)]
    pub fn leave<F: Futex>(&self, stops: &Stops<F>) {
        // Relaxed: its own word.
        let sp = self.safe.load(Relaxed);
        if sp == 0 {
            return;
        }
        self.safe.store(sp | LEAVING, Relaxed);
        while stops.is_on() {
            self.stay(stops, sp);
        }
        self.safe.store(0, Relaxed);
    }

    /// (m): a stop is on.
    #[cold]
    fn stay<F: Futex>(&self, stops: &Stops<F>, sp: usize) {
        self.safe.store(sp, Release);
        stops.tell();
        stops.wait();
        self.safe.store(sp | LEAVING, Relaxed);
    }

    /// Whether the thread is in a region, and stays for now.
    pub fn is_safe(&self) -> bool {
        stays(self.safe.load(Relaxed))
    }

    /// The M gets a P while no stop is on: it is in no region any more.
    #[inline(always)]
    pub fn got_p(&self) {
        self.safe.store(0, Relaxed);
    }

    /// The stopper asks a thread that gets no signal: its next work on the heap
    /// answers.
    pub fn ask(&self) {
        self.late.store(true, Relaxed);
    }

    /// (d) and (k): whether the thread stands: it has answered this stop, or is
    /// safe.
    pub fn stands(&self, seq: u32) -> bool {
        // Acquire: pairs with (b) and with (i).
        self.answered.load(Acquire) == seq || stays(self.safe.load(Acquire))
    }

    /// Where a thread stands that was found to: stack pointer, registers. None
    /// of a thread that was not found to, but for a newcomer, which waits.
    pub fn stood(&self, seq: u32) -> Option<(usize, usize)> {
        // Acquire: pairs with (b).
        if self.answered.load(Acquire) == seq {
            return Some((self.sp.load(Relaxed), self.regs.load(Relaxed)));
        }
        // Acquire: pairs with (i).
        let sp = self.safe.load(Acquire) & !LEAVING;
        (sp != 0).then_some((sp, 0))
    }

    /// Another thread has the M: nothing is under way.
    pub fn reset(&self) {
        self.busy.store(false, Relaxed);
        self.late.store(false, Relaxed);
        self.handles.store(false, Relaxed);
        self.safe.store(0, Relaxed);
    }
}

/// Whether this value of `safe` is that of a thread in a region.
fn stays(safe: usize) -> bool {
    safe != 0 && safe & LEAVING == 0
}

impl Default for Suspend {
    fn default() -> Self {
        Self::new()
    }
}
