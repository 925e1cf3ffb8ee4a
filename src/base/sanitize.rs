//! The sanitizers of the process: AddressSanitizer, LeakSanitizer,
//! ThreadSanitizer and valgrind.
//!
//! A sanitizer sees threads. It takes a goroutine's stack for none, and a
//! switch for a wild jump. Each has functions by which a library tells of such
//! things. They are in the process if its program was compiled with the
//! sanitizer; `asm/sanitize_amd64.S` has a weak reference to each. Valgrind is
//! told by a sequence of instructions that does nothing elsewhere.
//!
//! Here are the bare functions, each of which does nothing where its sanitizer
//! is absent. Of the layers above, `sched::fiber` tells of goroutines, and
//! `ffi::watch` of calls.
//!
//! The library itself is not instrumented. So ThreadSanitizer does not see how
//! the library orders goroutines, and is told at the calls of `gmp.h`, by the
//! address of the object. Of the functions of libc that it replaces, it would
//! see the library's own `memcpy` and `free`, out of that order: what the
//! library does while the goroutine or thread is in a call is *ignored*.

use super::sync::{AtomicU8, Ordering::Relaxed};
use core::{
    arch::asm,
    ffi::{CStr, c_char, c_int, c_uint, c_void},
    hint, ptr,
};
use libc::strlen;

type Address = *const c_void;

/// The words of `asm/sanitize_amd64.S`, in their order.
#[repr(C)]
struct Table {
    start_switch: Option<unsafe extern "C" fn(*mut Fake, Address, usize)>,
    finish_switch: Option<unsafe extern "C" fn(Fake, *mut Address, *mut usize)>,
    current_fake: Option<unsafe extern "C" fn() -> Fake>,
    frame: Option<
        unsafe extern "C" fn(Fake, Address, *mut Address, *mut Address) -> Fake,
    >,
    unpoison: Option<unsafe extern "C" fn(Address, usize)>,
    load: Option<unsafe extern "C" fn(Address, usize)>,
    store: Option<unsafe extern "C" fn(Address, usize)>,
    root: Option<unsafe extern "C" fn(Address, usize)>,
    unroot: Option<unsafe extern "C" fn(Address, usize)>,
    no_leak: Option<unsafe extern "C" fn(Address)>,
    create_fiber: Option<unsafe extern "C" fn(c_uint) -> Fiber>,
    destroy_fiber: Option<unsafe extern "C" fn(Fiber)>,
    current_fiber: Option<unsafe extern "C" fn() -> Fiber>,
    switch_to_fiber: Option<unsafe extern "C" fn(Fiber, c_uint)>,
    name_fiber: Option<unsafe extern "C" fn(Fiber, *const c_char)>,
    entry: Option<unsafe extern "C" fn(Address)>,
    exit: Option<unsafe extern "C" fn()>,
    acquire: Option<unsafe extern "C" fn(Address)>,
    release: Option<unsafe extern "C" fn(Address)>,
    read: Option<unsafe extern "C" fn(Address, usize)>,
    write: Option<unsafe extern "C" fn(Address, usize)>,
    ignore: Option<unsafe extern "C" fn()>,
    heed: Option<unsafe extern "C" fn()>,
    benign: Option<
        unsafe extern "C" fn(
            *const c_char,
            c_int,
            Address,
            usize,
            *const c_char,
        ),
    >,
}

unsafe extern "C" {
    safe static gmprt_sanitizer: Table;
}

/// ThreadSanitizer's name for a goroutine or a thread.
pub(crate) type Fiber = *mut c_void;
/// AddressSanitizer's memory for the frames of one stack, with
/// `detect_stack_use_after_return`; else null.
pub(crate) type Fake = *mut c_void;

/// ThreadSanitizer and AddressSanitizer want to know of switches, and of calls.
const WATCHES: u8 = 1;
/// LeakSanitizer wants to know of stacks.
const LEAKS: u8 = 2;
/// Valgrind runs this process.
const VALGRIND: u8 = 4;
/// And its tool is memcheck.
const MEMCHECK: u8 = 8;

/// Which of them are there; set before the first goroutine. atomic
static PRESENT: AtomicU8 = AtomicU8::new(0);

/// Finds out which sanitizers there are (Go's raceinit); part of `schedinit`.
/// m0, on which it runs, is ignored from now on.
pub(crate) fn raceinit() {
    let t = &gmprt_sanitizer;
    let mut present = 0;
    if t.switch_to_fiber.is_some() || t.start_switch.is_some() {
        present |= WATCHES;
    }
    if t.root.is_some() {
        present |= WATCHES | LEAKS;
    }
    if request(RUNNING_ON_VALGRIND, 0, 0) != 0 {
        present |= VALGRIND;
    }
    // Valgrind's other tools do not know it, and leave the answer at 0.
    if request(MAKE_MEM_DEFINED, (&raw const PRESENT).addr(), 1) != 0 {
        present |= MEMCHECK;
    }
    // Relaxed: there is no other thread of ours yet.
    PRESENT.store(present, Relaxed);
    ignore();
}

/// Whether a sanitizer wants to know of switches and of calls.
#[inline(always)]
pub(crate) fn watches() -> bool {
    PRESENT.load(Relaxed) & WATCHES != 0
}

/// Whether ThreadSanitizer is there (Go's `raceenabled`).
#[inline(always)]
pub(crate) fn raceenabled() -> bool {
    gmprt_sanitizer.switch_to_fiber.is_some()
}

/// An address in ThreadSanitizer, or in the table by which a program calls it.
pub(crate) fn race_tool() -> usize {
    gmprt_sanitizer.release.map_or(0, |release| release as *const () as usize)
}

/// Whether valgrind runs this process.
pub(crate) fn valgrind() -> bool {
    PRESENT.load(Relaxed) & VALGRIND != 0
}

/// Whether memcheck runs this process.
#[inline(always)]
pub(crate) fn memcheck() -> bool {
    PRESENT.load(Relaxed) & MEMCHECK != 0
}

// --- AddressSanitizer --------------------------------------------------------

/// The stack that AddressSanitizer takes for the thread's.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub lo: usize,
    pub len: usize,
}

/// The thread goes to the stack `to`, whose frames are in `fake`. Returns the
/// bounds of the stack that it leaves. The frames of that stack are saved in
/// `left`; None: nobody comes back to it.
pub(crate) fn switch_stack(
    left: Option<&mut Fake>,
    to: Bounds,
    fake: Fake,
) -> Bounds {
    let mut was = Bounds { lo: 0, len: 0 };
    let t = &gmprt_sanitizer;
    let (Some(start), Some(finish)) = (t.start_switch, t.finish_switch) else {
        return was;
    };
    let left = left.map_or(ptr::null_mut(), ptr::from_mut);
    let mut lo = ptr::null();
    // SAFETY: null or a word of the caller's; the stack is there.
    unsafe { start(left, to.lo as Address, to.len) };
    // SAFETY: a start came before, and `fake` is from an earlier one, or null.
    unsafe { finish(fake, &raw mut lo, &raw mut was.len) };
    was.lo = lo.addr();
    was
}

/// Where the frames of the stack that the thread is on are; null on the stack.
pub(crate) fn current_fake() -> Fake {
    match gmprt_sanitizer.current_fake {
        // SAFETY: it only looks, and takes no lock.
        Some(current) => unsafe { current() },
        None => ptr::null_mut(),
    }
}

/// The frame that `word` points into, where that is one of `fake` that has not
/// ended: from, to.
pub(crate) fn fake_frame(fake: Fake, word: usize) -> Option<(usize, usize)> {
    let frame = gmprt_sanitizer.frame.filter(|_| !fake.is_null())?;
    let (mut from, mut to) = (ptr::null(), ptr::null());
    // SAFETY: it looks at the memory of `fake`, and takes no lock.
    let found =
        unsafe { frame(fake, word as Address, &raw mut from, &raw mut to) };
    (!found.is_null()).then(|| (from.addr(), to.addr()))
}

/// A stack is free of what its frames have marked (Go's msanmalloc is the
/// opposite): frames that a throw or `gmp_exit` has left do not clean up.
pub(crate) fn unpoison(lo: usize, len: usize) {
    if let Some(unpoison) = gmprt_sanitizer.unpoison {
        // SAFETY: a stack of ours that nobody uses.
        unsafe { unpoison(lo as Address, len) };
    }
}

/// The library reads `len` bytes for the caller (Go's racereadrange).
pub(crate) fn reads(at: *const c_void, len: usize) {
    let t = &gmprt_sanitizer;
    for look in [t.load, t.read].into_iter().flatten() {
        if !at.is_null() && len != 0 {
            // SAFETY: it looks at its own notes about the range.
            unsafe { look(at, len) };
        }
    }
}

/// The library has written `len` bytes for the caller (Go's racewriterange).
pub(crate) fn writes(at: *const c_void, len: usize) {
    let t = &gmprt_sanitizer;
    for look in [t.store, t.write].into_iter().flatten() {
        if !at.is_null() && len != 0 {
            // SAFETY: it looks at its own notes about the range.
            unsafe { look(at, len) };
        }
    }
}

// --- LeakSanitizer -----------------------------------------------------------

/// Whether LeakSanitizer is there.
pub(crate) fn leaks() -> bool {
    gmprt_sanitizer.root.is_some()
}

/// Whether a switch changes what LeakSanitizer takes for the thread's stack.
pub(crate) fn follows_stacks() -> bool {
    gmprt_sanitizer.start_switch.is_some()
}

/// What the range points to is no leak.
pub(crate) fn root(lo: usize, len: usize) {
    if let Some(root) = gmprt_sanitizer.root {
        // SAFETY: it notes the range.
        unsafe { root(lo as Address, len) };
    }
}

/// The block is the library's own, and no leak wherever its address is kept.
pub(crate) fn no_leak(block: *const u8) {
    if let Some(no_leak) = gmprt_sanitizer.no_leak
        && !block.is_null()
    {
        // SAFETY: a block of malloc's.
        unsafe { no_leak(block.cast()) };
    }
}

/// Takes back a [`root`] of the same range.
pub(crate) fn unroot(lo: usize, len: usize) {
    if let Some(unroot) = gmprt_sanitizer.unroot {
        // SAFETY: it forgets the range, which was noted.
        unsafe { unroot(lo as Address, len) };
    }
}

// --- ThreadSanitizer ---------------------------------------------------------

/// What came before the last [`race_release`] of this address comes before what
/// the caller does next.
pub(crate) fn race_acquire(at: usize) {
    if let Some(acquire) = gmprt_sanitizer.acquire
        && at != 0
    {
        // SAFETY: the address is a name, and is not followed.
        unsafe { acquire(at as Address) };
    }
}

/// See [`race_acquire`].
pub(crate) fn race_release(at: usize) {
    if let Some(release) = gmprt_sanitizer.release
        && at != 0
    {
        // SAFETY: the address is a name, and is not followed.
        unsafe { release(at as Address) };
    }
}

/// What came before a [`race_release`] of `from` comes before what follows a
/// [`race_acquire`] of `to`.
pub(crate) fn race_pass(from: usize, to: usize) {
    race_acquire(from);
    race_release(to);
}

/// A new goroutine, made by the caller, whose call returns to `gopc`; null
/// without ThreadSanitizer.
pub(crate) fn create_fiber(name: &CStr, gopc: usize) -> Fiber {
    let t = &gmprt_sanitizer;
    let (Some(create), Some(entry), Some(exit)) =
        (t.create_fiber, t.entry, t.exit)
    else {
        return ptr::null_mut();
    };
    // For the stack of the creation: ours are not in it.
    // SAFETY: an exit follows.
    unsafe { entry(gopc as Address) };
    // SAFETY: 0 is what it takes today.
    let fiber = unsafe { create(0) };
    // SAFETY: an entry came before.
    unsafe { exit() };
    if let Some(set_name) = t.name_fiber {
        // SAFETY: a fiber, and a string that it copies.
        unsafe { set_name(fiber, name.as_ptr()) };
    }
    fiber
}

/// The goroutine of this fiber has ended, and the thread has left it.
pub(crate) fn destroy_fiber(fiber: Fiber) {
    if let Some(destroy) = gmprt_sanitizer.destroy_fiber
        && !fiber.is_null()
    {
        // SAFETY: from create_fiber, and not in use.
        unsafe { destroy(fiber) };
    }
}

/// The fiber that the thread is on; null without ThreadSanitizer.
pub(crate) fn current_fiber() -> Fiber {
    let Some(current) = gmprt_sanitizer.current_fiber else {
        return ptr::null_mut();
    };
    // SAFETY: it only looks.
    unsafe { current() }
}

/// The thread goes on as this fiber. What the two do is not ordered by that.
pub(crate) fn switch_to_fiber(fiber: Fiber) {
    /// __tsan_switch_to_fiber_no_sync
    const NO_SYNC: c_uint = 1;
    switch(fiber, NO_SYNC);
}

/// [`switch_to_fiber`] without leaving the stack: what has been done there
/// comes before what is done next.
pub(crate) fn switch_in_order(fiber: Fiber) {
    switch(fiber, 0);
}

fn switch(fiber: Fiber, flags: c_uint) {
    if let Some(switch) = gmprt_sanitizer.switch_to_fiber {
        // SAFETY: a fiber that no other thread is on.
        unsafe { switch(fiber, flags) };
    }
}

/// What this goroutine or thread touches is ignored, until as many [`heed`]s.
pub(crate) fn ignore() {
    if let Some(ignore) = gmprt_sanitizer.ignore {
        // SAFETY: it counts.
        unsafe { ignore() };
    }
}

/// Ends an [`ignore`].
pub(crate) fn heed() {
    if let Some(heed) = gmprt_sanitizer.heed {
        // SAFETY: it counts; an ignore came before.
        unsafe { heed() };
    }
}

/// Whether a sanitizer has a list of threads, so that ours are not joinable. Of
/// a joinable one that has ended, ThreadSanitizer tells if the process exits
/// before the join. In the child of a fork, LeakSanitizer takes one for a
/// thread of the parent, and its join waits for ever.
pub(crate) fn lists_threads() -> bool {
    raceenabled() || leaks()
}

/// The host's handlers of signals run that are due.
///
/// ThreadSanitizer puts a handler off to the next function of libc that it
/// takes the place of, unless the thread waits in one. The library's waits are
/// none, and its calls need call none. So a thread of a sleep without end would
/// never run a handler; it sleeps by the [`SLICE`].
#[inline(always)]
pub(crate) fn run_handlers() {
    if raceenabled() {
        call_into_libc();
    }
}

/// Calls one of these functions, which does nothing else.
#[cold]
#[inline(never)]
fn call_into_libc() {
    let empty = hint::black_box(c"".as_ptr());
    // SAFETY: a constant string.
    hint::black_box(unsafe { strlen(empty) });
}

/// How long a thread may sleep at most, in nanoseconds, before it looks for
/// handlers ([`run_handlers`]), where [`raceenabled`].
pub(crate) const SLICE: i64 = 20_000_000;

/// Races in the range are not told.
pub(crate) fn benign(lo: usize, len: usize) {
    if let Some(benign) = gmprt_sanitizer.benign {
        let text = c"thread-local storage".as_ptr();
        // SAFETY: it notes the range and the strings, which are constant.
        unsafe { benign(text, 0, lo as Address, len, text) };
    }
}

// --- Valgrind ----------------------------------------------------------------

/// The numbers of valgrind.h and memcheck.h.
const RUNNING_ON_VALGRIND: usize = 0x1001;
const STACK_REGISTER: usize = 0x1501;
const MAKE_MEM_UNDEFINED: usize = 0x4d43_0001;
const MAKE_MEM_DEFINED: usize = 0x4d43_0002;

/// The range is a stack: a leap of the stack pointer into it is a switch, also
/// from a stack that lies nearby. Elsewhere a short leap makes a frame, or ends
/// one, and memcheck forgets what lies in between.
pub(crate) fn stack_made(lo: usize, len: usize) {
    request(STACK_REGISTER, lo, lo + len - 1);
}

/// A stack begins anew: what is in it may be written, and is not to be read.
pub(crate) fn stack_begins(lo: usize, len: usize) {
    request(MAKE_MEM_UNDEFINED, lo, len);
}

/// The bytes of a copy are looked at, whatever was copied.
pub(crate) fn copy_is_read(at: *const u8, len: usize) {
    request(MAKE_MEM_DEFINED, at.addr(), len);
}

/// A word of a stack is looked at, where a frame may have been left by a jump.
pub(crate) fn word_is_read(at: *const usize) {
    request(MAKE_MEM_DEFINED, at.addr(), size_of::<usize>());
}

/// A request to valgrind: instructions that together do nothing, and that it
/// recognises. 0 elsewhere.
fn request(number: usize, a: usize, b: usize) -> usize {
    let words = [number, a, b, 0, 0, 0];
    let mut answer = 0_usize;
    // SAFETY: rotates rdi by 128 bits in all, and exchanges rbx with itself.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") &raw const words,
            inout("rdx") answer,
        );
    }
    answer
}
