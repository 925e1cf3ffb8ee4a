//! G: a goroutine, or the stand-in for a host thread or for an M's own stack.
//!
//! | status | owner of the stack and the owner fields | next, and its cause |
//! |---|---|---|
//! | Idle | its maker | Dead: it goes to a free list |
//! | Dead | the free list, or the M that took it out | Runnable: `newproc` |
//! | Runnable | the queue that holds it | Running: `execute` |
//! | Running | the M in `m` | Runnable: `gosched`; Dead: `goexit` |
//! | | | Waiting: `gopark` |
//! | Waiting | the winner of its ticket | Runnable: the winner readies it |
//!
//! `casgstatus` is the one writer of the status. There is no collector to race
//! with, and the owner is always one thread, so the write is a store.
//!
//! A G that has not run yet has no stack: `execute` binds one. Nor has a G with
//! `STEPS` while it is between two steps, Waiting or Runnable. A G of a host
//! thread (`HOST`) never has one of ours: it runs on the thread's own, is
//! Running or Waiting, and its park is a sleep of that thread.

use super::{
    ELSEWHERE, M,
    exception::Exception,
    gflag,
    joinword::{JoinWord, Words},
    parkword::{Claim, ParkWord, WaitKind},
    waitfor::Wait,
};
use crate::{
    base::{
        throw::throw,
        trace::{self, Event, Kind},
    },
    stack::Stack,
};
use core::{
    arch::x86_64::{_MM_HINT_T0, _mm_prefetch},
    cell::{Cell, UnsafeCell},
    ffi::{CStr, c_char, c_void},
    mem, ptr,
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU32, AtomicUsize, Ordering::*,
    },
};

/// A goroutine's function.
pub type GmpFn = unsafe extern "C" fn(arg: *mut c_void);

/// What a G is doing. Values as in Go's `_Gidle`, ….
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum GStatus {
    Idle = 0,
    Runnable = 1,
    Running = 2,
    Waiting = 4,
    Dead = 6,
}

impl From<u32> for GStatus {
    fn from(number: u32) -> Self {
        match number {
            1 => Self::Runnable,
            2 => Self::Running,
            4 => Self::Waiting,
            6 => Self::Dead,
            _ => Self::Idle,
        }
    }
}

/// Arguments up to this size wait inside the descriptor.
pub(crate) const INLINE_ARGS: usize = 40;

/// `stackguard0` while a yield is requested; above every address.
pub(crate) const STACK_PREEMPT: usize = usize::MAX - 1313;

/// Begins what a layer above keeps for a goroutine.
pub(crate) struct AtEnd {
    /// Called once the goroutine has ended and nobody uses its stack, by the
    /// hook, on whatever stack: it must not park.
    pub run: fn(&AtEnd),
}

/// The lines of a G that say where its stack is, and what else is its own.
const LINES_OF_STACK: usize = 3;

/// A goroutine. The first fields are known to assembly and to `_cgo_init`.
///
/// Four lines of the cache: what a switch needs; what starting it writes; what
/// its end looks at; and what is rarely used.
#[repr(C, align(64))]
pub(crate) struct G {
    /// owner: the stack is `[stack_lo, stack_hi)`; 0 where there is none
    pub stack_lo: Cell<usize>,
    /// owner
    pub stack_hi: Cell<usize>,
    /// atomic: `stack_lo + STACK_GUARD`, or `STACK_PREEMPT`
    pub stackguard0: AtomicUsize,
    /// owner
    pub stackguard1: Cell<usize>,
    /// owner: where it is suspended, see `asm/switch_amd64.S`
    pub sched_sp: Cell<usize>,
    /// owner: the M it runs on
    pub m: Cell<*const M>,
    /// atomic
    pub park: ParkWord,

    /// the owner of the queue or list that it is in
    pub schedlink: Cell<Option<&'static G>>,
    /// written by `casgstatus` only
    status: AtomicU32,
    /// owner
    pub flags: Cell<u16>,
    /// the holder of the lock of what it waits for; see `parkword`
    pub claim: Claim,
    /// owner writes: it waits for an object whose holder may be known
    pub held: AtomicBool,
    /// owner: `errno` while it does not run
    pub errno: Cell<i32>,
    /// const: its place in the table
    pub index: u32,
    /// owner
    pub goid: Cell<u64>,
    /// owner: its function; once it runs, that of the host (Go's `startpc`)
    pub func: Cell<Option<GmpFn>>,
    /// owner
    pub arg: Cell<*mut c_void>,
    /// atomic
    pub joiner: JoinWord,
    /// owner: goid of the goroutine that started it
    pub parent: Cell<u64>,

    /// owner: the M that it is locked to
    pub lockedm: Cell<Option<&'static M>>,
    /// atomic: its name, from `malloc`, or null
    pub name: AtomicPtr<c_char>,
    /// atomic: while it is Waiting, how and for what; on its own stack
    pub waiting: AtomicPtr<Wait>,
    /// atomic: since when, as a mark ([`super::waitmark`])
    pub waitsince: AtomicU32,
    /// owner: bytes of `args` in use
    pub args_len: Cell<u32>,
    /// owner: bytes of stack asked for, with `SIZED`
    pub stack_size: Cell<u32>,
    /// owner: how many shields against cancels it is behind
    pub shields: Cell<u16>,
    /// owner
    pub stack_class: Cell<u8>,
    /// owner: rounds of key destructors that have begun
    pub rounds: Cell<u8>,
    /// owner: what runs at its end, the newest first; see `sched::ending`
    pub defers: Cell<*mut c_void>,
    /// owner: its values of keys, or null; see `sched::local`
    pub locals: Cell<*mut c_void>,
    /// owner: null, or what a layer above wants to be told at its end
    pub at_end: Cell<*const AtEnd>,

    /// owner: the two words behind `__cxa_get_globals` while it does not run
    pub cxa: Cell<[usize; 2]>,
    /// owner: where the host's call that made it returns to; 0 if no call did
    pub gopc: Cell<usize>,
    /// owner: the arguments, or a pointer from `malloc` to them; once it has
    /// begun, its signal mask while it does not run, with `SIGMASK`, and behind
    /// that the exception by which `gmp_exit` unwinds; with `STEPS`, between
    /// two steps, its `Wait`
    pub args: UnsafeCell<[u8; INLINE_ARGS]>,
}

// SAFETY: each field's guard is in its comment (module invariant 2 of `gmp`);
// the Cells are touched by the owner only.
unsafe impl Sync for G {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for G {}

impl G {
    /// Where the status is.
    pub(crate) const STATUS_AT: usize = mem::offset_of!(G, status);

    /// Has the processor fetch it, as it is asked about its stack soon.
    pub(crate) fn prefetch(&self) {
        let at = ptr::from_ref(self).cast::<[i8; 64]>();
        for line in 0..LINES_OF_STACK {
            let line = at.wrapping_add(line).cast();
            // SAFETY: a hint, whatever the address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(line) };
        }
    }

    pub(crate) const fn new(index: u32) -> Self {
        Self {
            stack_lo: Cell::new(0),
            stack_hi: Cell::new(0),
            stackguard0: AtomicUsize::new(0),
            stackguard1: Cell::new(0),
            sched_sp: Cell::new(0),
            m: Cell::new(ptr::null()),
            park: ParkWord::new(),
            schedlink: Cell::new(None),
            status: AtomicU32::new(GStatus::Idle as u32),
            flags: Cell::new(0),
            claim: Claim::new(),
            held: AtomicBool::new(false),
            errno: Cell::new(0),
            index,
            args_len: Cell::new(0),
            goid: Cell::new(0),
            func: Cell::new(None),
            arg: Cell::new(ptr::null_mut()),
            lockedm: Cell::new(None),
            cxa: Cell::new([0; 2]),
            gopc: Cell::new(0),
            joiner: JoinWord::new(),
            name: AtomicPtr::new(ptr::null_mut()),
            parent: Cell::new(0),
            waiting: AtomicPtr::new(ptr::null_mut()),
            waitsince: AtomicU32::new(0),
            shields: Cell::new(0),
            stack_size: Cell::new(0),
            stack_class: Cell::new(0),
            rounds: Cell::new(0),
            defers: Cell::new(ptr::null_mut()),
            locals: Cell::new(ptr::null_mut()),
            at_end: Cell::new(ptr::null()),
            args: UnsafeCell::new([0; INLINE_ARGS]),
        }
    }

    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags.get() & flag != 0
    }

    pub(crate) fn set_flag(&self, flag: u16) {
        self.flags.set(self.flags.get() | flag);
    }

    pub(crate) fn clear_flag(&self, flag: u16) {
        self.flags.set(self.flags.get() & !flag);
    }

    /// Its signal mask, with `SIGMASK`, while it does not run.
    pub(crate) fn sigmask(&self) -> u64 {
        // SAFETY: the owner reads, and the arguments are gone.
        unsafe { self.args.get().cast::<u64>().read_unaligned() }
    }

    pub(crate) fn set_sigmask(&self, mask: u64) {
        // SAFETY: the owner writes, and the arguments are gone.
        unsafe { self.args.get().cast::<u64>().write_unaligned(mask) };
    }

    /// Where its [`Wait`] is while it waits between two steps.
    pub(crate) fn wait_of_steps(&self) -> *mut Wait {
        const {
            assert!(size_of::<Wait>() <= INLINE_ARGS);
            let at = mem::offset_of!(G, args);
            assert!(at.is_multiple_of(align_of::<Wait>()));
        }
        self.args.get().cast()
    }

    /// Where the exception of its `gmp_exit` is, once it has begun.
    pub(crate) fn exit_exception(&self) -> *mut Exception {
        /// Behind the signal mask.
        const AT: usize = 8;
        const {
            assert!(AT + size_of::<Exception>() <= INLINE_ARGS);
            let at = mem::offset_of!(G, args) + AT;
            assert!(at.is_multiple_of(align_of::<Exception>()));
        }
        self.args.get().wrapping_byte_add(AT).cast()
    }

    /// The words of its join. The caller owns it or holds it alive.
    #[inline(always)]
    pub(crate) fn words(&self) -> Words {
        Words::of(self.park.generation())
    }

    /// Begins the join of a new goroutine.
    #[inline(always)]
    pub(crate) fn start_join(&self, joinable: bool) {
        self.joiner.start(joinable.then(|| self.words()));
    }

    /// Whether nothing but its own thread may run it.
    pub(crate) fn is_locked(&self) -> bool {
        self.lockedm.get().is_some() && !self.is_marked()
    }

    /// Whether any M but its last one may run it ([`ELSEWHERE`]).
    pub(crate) fn is_marked(&self) -> bool {
        self.lockedm.get().is_some_and(|mp| ptr::eq(mp, &ELSEWHERE))
    }

    /// Of one that waits: whether it is suspended on a stack of ours.
    #[inline(always)]
    pub(crate) fn is_suspended(&self) -> bool {
        self.flags.get() & (gflag::HOST | gflag::STARTED) == gflag::STARTED
    }

    /// Owner: whether cancels do not reach it.
    #[inline(always)]
    pub(crate) fn shielded(&self) -> bool {
        self.shields.get() != 0
    }

    pub(crate) fn is_host(&self) -> bool {
        self.has(gflag::HOST)
    }

    /// The M it runs on.
    pub(crate) fn mp(&self) -> &'static M {
        // SAFETY: set while it runs, which is when it is asked for; Ms are
        // type-stable (invariant 1 of `gmp`).
        unsafe { &*self.m.get() }
    }

    /// Whether `at` is on the stack, by the goroutine itself.
    pub(crate) fn on_stack(&self, at: usize) -> bool {
        (self.stack_lo.get()..=self.stack_hi.get()).contains(&at)
    }

    pub(crate) fn readgstatus(&self) -> GStatus {
        // Acquire: pairs with casgstatus.
        GStatus::from(self.status.load(Acquire))
    }

    /// Binds `stack` to it.
    pub(crate) fn set_stack(&self, stack: Stack) {
        self.stack_lo.set(stack.lo);
        self.stack_hi.set(stack.hi);
        self.stack_class.set(stack.class);
        self.reset_stackguard();
        self.stackguard1.set(stack.lo + super::offsets::STACK_GUARD);
    }

    /// Takes its stack from it; None where it never had one.
    pub(crate) fn take_stack(&self) -> Option<Stack> {
        let lo = self.stack_lo.replace(0);
        let hi = self.stack_hi.replace(0);
        (lo != 0).then(|| Stack { lo, hi, class: self.stack_class.get() })
    }

    /// In dumps its function is the host's at `f` from now on, and no longer
    /// the library's that calls it.
    pub(crate) fn stands_for(&self, f: *const ()) {
        // SAFETY: a function's address, and a goroutine that runs calls its
        // function no second time.
        let f = unsafe { mem::transmute::<*const (), Option<GmpFn>>(f) };
        self.func.set(f);
    }

    /// Its name, for its owner; empty if it has none.
    fn name_bytes(&self) -> &[u8] {
        // Relaxed: the owner asks.
        let name = self.name.load(Relaxed);
        if name.is_null() {
            return &[];
        }
        // SAFETY: from strdup in set_name, and the owner keeps it.
        unsafe { CStr::from_ptr(name) }.to_bytes()
    }

    /// Drops a request to yield.
    pub(crate) fn reset_stackguard(&self) {
        let guard = self.stack_lo.get() + super::offsets::STACK_GUARD;
        self.stackguard0.store(guard, Relaxed);
    }

    /// sysmon: asks it to yield at its next checkpoint.
    pub(crate) fn request_yield(&self) {
        self.stackguard0.store(STACK_PREEMPT, Relaxed);
    }

    pub(crate) fn yield_requested(&self) -> bool {
        self.stackguard0.load(Relaxed) == STACK_PREEMPT
    }
}

/// Moves `gp` from one status to another: the one writer.
#[inline(always)]
pub(crate) fn casgstatus(gp: &G, from: GStatus, to: GStatus) {
    set_status(gp, from, to, false);
}

/// Makes `gp` Running, which was Runnable, at once after another goroutine has
/// left this thread. In a trace both happen at one time, so that a switch reads
/// the clock once.
#[inline(always)]
pub(crate) fn casgstatus_next(gp: &G) {
    set_status(gp, GStatus::Runnable, GStatus::Running, true);
}

#[inline(always)]
fn set_status(gp: &G, from: GStatus, to: GStatus, at_once: bool) {
    // Relaxed: the caller owns gp.
    if gp.status.load(Relaxed) != from as u32 {
        casgstatus_bad();
    }
    tell(gp, from, to, at_once);
    // Release: pairs with readgstatus, so that who sees the status sees what
    // came before it.
    gp.status.store(to as u32, Release);
}

/// Tells of a goroutine, or a stand-in, that changes its status. The statuses
/// are known where it is inlined, so one of these events is left there.
#[inline(always)]
fn tell(gp: &G, from: GStatus, to: GStatus, at_once: bool) {
    let event = move |kind| Event::of(kind, gp.goid.get());
    match (from, to) {
        (GStatus::Running, GStatus::Waiting) => {
            trace::event(move || parked(gp));
        }
        (GStatus::Runnable, GStatus::Running) if at_once => {
            trace::event(move || event(Kind::Resume).with(0, 1));
        }
        (GStatus::Waiting, GStatus::Runnable) => {
            trace::event(move || event(Kind::Ready));
        }
        (GStatus::Waiting, GStatus::Running) => {
            trace::event(move || event(Kind::Awake));
        }
        (GStatus::Dead, _) => trace::event(move || made(gp)),
        (_, GStatus::Running) => trace::event(move || event(Kind::Resume)),
        (GStatus::Running, GStatus::Dead) => {
            trace::event(move || event(Kind::End));
        }
        (_, GStatus::Dead) => {}
        _ => trace::event(move || event(Kind::Yield)),
    }
}

/// The event of a goroutine that is made, or of a stand-in.
fn made(gp: &G) -> Event {
    if gp.is_host() {
        // Relaxed: this thread has set it.
        let thread = gp.mp().procid.load(Relaxed);
        return Event::of(Kind::Attach, gp.goid.get()).with(thread as u64, 0);
    }
    let func = gp.func.get().map_or(0, |f| f as usize);
    let event = Event::of(Kind::Create, gp.goid.get());
    Event { text: gp.name_bytes(), ..event }.with(gp.parent.get(), func as u64)
}

/// The event of `gp`, which begins to wait.
fn parked(gp: &G) -> Event {
    let event = Event::of(Kind::Park, gp.goid.get());
    // Relaxed: gp, which runs this, has set it.
    // SAFETY: null, or on the stack of gp.
    let Some(wait) = (unsafe { gp.waiting.load(Relaxed).as_ref() }) else {
        return event;
    };
    let object = wait.object as u64;
    if wait.kind != WaitKind::Park {
        return event.with(wait.reason.addr() as u64, object);
    }
    Event { text: reason_bytes(wait), ..event }.with(0, object)
}

/// The reason of a gmp_park, which is the host's, and only there until the park
/// returns.
#[cold]
#[inline(never)]
fn reason_bytes(wait: &Wait) -> &[u8] {
    // SAFETY: a C string, while the wait lasts.
    unsafe { CStr::from_ptr(wait.reason) }.to_bytes()
}

#[cold]
fn casgstatus_bad() -> ! {
    throw("casgstatus: bad incoming status");
}

/// A list of Gs through `schedlink`, last in first out or first in first out.
///
/// Invariant: `head` is the first; while there is one, `tail` is the last.
pub(crate) struct GList {
    head: Option<&'static G>,
    tail: Option<&'static G>,
    len: u32,
}

impl GList {
    pub(crate) const fn new() -> Self {
        Self { head: None, tail: None, len: 0 }
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether `gp` is the newest at the back.
    pub(crate) fn is_newest(&self, gp: &G) -> bool {
        let tail = self.tail.map_or(ptr::null(), ptr::from_ref);
        self.len != 0 && ptr::eq(tail, gp)
    }

    pub(crate) fn push_back(&mut self, gp: &'static G) {
        gp.schedlink.set(None);
        match self.tail.replace(gp) {
            Some(tail) if self.head.is_some() => tail.schedlink.set(Some(gp)),
            _ => self.head = Some(gp),
        }
        self.len += 1;
    }

    pub(crate) fn push_front(&mut self, gp: &'static G) {
        let second = self.head.replace(gp);
        gp.schedlink.set(second);
        if second.is_none() {
            self.tail = Some(gp);
        }
        self.len += 1;
    }

    pub(crate) fn pop_front(&mut self) -> Option<&'static G> {
        let gp = self.head?;
        self.head = gp.schedlink.take();
        self.len -= 1;
        Some(gp)
    }

    /// Takes the newest out: O(n), for the rare case that the list is short
    /// or the caller just pushed.
    pub(crate) fn pop_back(&mut self) -> Option<&'static G> {
        if self.len <= 1 {
            return self.pop_front();
        }
        let last = self.tail?;
        let mut at = self.head;
        while let Some(gp) = at {
            at = gp.schedlink.get();
            if at.is_some_and(|next| ptr::eq(next, last)) {
                gp.schedlink.set(None);
                self.tail = Some(gp);
                self.len -= 1;
                return Some(last);
            }
        }
        self.pop_front()
    }
}
