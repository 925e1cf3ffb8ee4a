//! Walks of the test's own stacks: the same frames as libgcc finds, and in a
//! handler neither memory nor much stack.

use gmprt_inspect::{
    cache::Cache,
    memory::{Copied, Memory, OwnMemory, Part},
    modules::OwnModules,
    names,
    regs::Registers,
    walk::{End, Frame, walk},
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    ffi::{c_int, c_void},
    fmt::Write,
    hint::black_box,
    ptr,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};

/// Counts what is allocated while a handler runs.
struct Counting;

/// The thread that runs the handler, or 0.
static IN_HANDLER: AtomicUsize = AtomicUsize::new(0);
static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if IN_HANDLER.load(SeqCst) == this_thread() {
            ALLOCATED.fetch_add(1, SeqCst);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

fn this_thread() -> usize {
    // SAFETY: no arguments.
    unsafe { libc::pthread_self() as usize }
}

#[global_allocator]
static COUNTING: Counting = Counting;

unsafe extern "C" {
    fn _Unwind_Backtrace(
        f: extern "C" fn(*mut c_void, *mut c_void) -> c_int,
        arg: *mut c_void,
    ) -> c_int;
    fn _Unwind_GetIP(context: *mut c_void) -> u64;
    fn _Unwind_GetCFA(context: *mut c_void) -> u64;
}

extern "C" fn note(context: *mut c_void, to: *mut c_void) -> c_int {
    // SAFETY: what the caller of `_Unwind_Backtrace` passed.
    let to = unsafe { &mut *to.cast::<Vec<(u64, u64)>>() };
    // SAFETY: libgcc's.
    let pc = unsafe { _Unwind_GetIP(context) };
    // SAFETY: libgcc's.
    to.push((pc, unsafe { _Unwind_GetCFA(context) }));
    0
}

/// The pc and, as libgcc counts it, the CFA of the frame below: of this
/// function's callers.
fn by_libgcc() -> Vec<(u64, u64)> {
    let mut frames: Vec<(u64, u64)> = Vec::new();
    // SAFETY: `note` gets what it expects.
    unsafe { _Unwind_Backtrace(note, (&raw mut frames).cast()) };
    frames
}

#[inline(never)]
fn recurse(depth: u32, then: &mut dyn FnMut()) -> u32 {
    if depth == 0 {
        then();
        return 0;
    }
    recurse(depth - 1, then) + 1
}

#[test]
fn a_walk_agrees_with_libgcc() {
    for depth in [0, 1, 10, 50] {
        recurse(depth, &mut || {
            let mut frames = [Frame::default(); 100];
            let regs = Registers::here();
            let (count, end) =
                walk(&OwnMemory, &OwnModules, &regs, &mut frames);
            let want = by_libgcc();
            assert_eq!(end, End::Complete);
            // From our caller on. libgcc ends with a frame at 0, and gives
            // each frame the CFA of the frame that it has called.
            let got = &frames[1..count];
            let first = want.iter().position(|w| w.0 == got[0].pc);
            let want = &want[first.expect("the caller")..];
            assert_eq!(got.len() + 1, want.len());
            for (got, want) in got.iter().zip(want.windows(2)) {
                assert_eq!(got.pc, want[0].0);
                assert!(got.cfa == want[1].1 || got.cfa == 0);
            }
        });
    }
}

#[test]
fn cached_walks_are_the_same() {
    let mut cache = Cache::new();
    for depth in [0, 1, 10, 50, 10, 1] {
        recurse(depth, &mut || {
            let regs = Registers::here();
            let mut want = [Frame::default(); 100];
            let mut got = want;
            let first = walk(&OwnMemory, &OwnModules, &regs, &mut want);
            let mut stack = vec![0; 64 << 10];
            let at = regs.sp();
            let mut len = stack.len();
            while !OwnMemory.read(at, &mut stack[..len]) {
                len /= 2;
            }
            let copy = Copied { below: &OwnMemory, at, bytes: &stack[..len] };
            for _ in 0..3 {
                let second = cache.walk(&copy, &OwnModules, &regs, &mut got);
                assert_eq!(first, second);
                assert_eq!(want, got);
            }
        });
    }
}

#[test]
fn a_walk_ends_where_there_is_no_room() {
    let regs = Registers::here();
    let mut frames = [Frame::default(); 3];
    let (count, end) = walk(&OwnMemory, &OwnModules, &regs, &mut frames);
    assert_eq!((count, end), (3, End::Full));
}

#[test]
fn garbage_ends_a_walk() {
    let mut frames = [Frame::default(); 100];
    let unknown = Registers::new();
    let found = walk(&OwnMemory, &OwnModules, &unknown, &mut frames);
    assert_eq!(found, (0, End::Complete));
    for pc in [1, 0x1000, 1 << 47, u64::MAX, frames.as_ptr() as u64] {
        let regs = Registers::at(pc, 8);
        let found = walk(&OwnMemory, &OwnModules, &regs, &mut frames);
        assert_eq!(found, (1, End::NoCfi(pc)));
        assert_eq!(frames[0].pc, pc);
    }
    // A pc that has rules, on a stack that is not there.
    let pc = garbage_ends_a_walk as *const () as u64;
    let regs = Registers::at(pc, 8);
    let found = walk(&OwnMemory, &OwnModules, &regs, &mut frames);
    assert_eq!(found, (1, End::Unreadable(pc)));
}

/// A stack whose return addresses lead in a circle.
#[test]
fn a_circle_ends_a_walk() {
    let mut frames = vec![Frame::default(); 10_000];
    let regs = Registers::here();
    walk(&OwnMemory, &OwnModules, &regs, &mut frames[..3]);
    let mut stack = [frames[1].pc; 4096];
    let at = stack.as_mut_ptr() as u64;
    let mut regs = Registers::at(frames[1].pc, at);
    regs.set(gmprt_inspect::regs::number::RBP, at + 64);
    let (count, end) = walk(&OwnMemory, &OwnModules, &regs, &mut frames);
    assert!(count < 5000, "{end:?}");
    assert_ne!(end, End::Full);
}

#[test]
fn unreadable_memory_is_an_answer() {
    let mut word = [0; 8];
    // SAFETY: no arguments.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: this thread's.
    unsafe { *errno = 77 };
    assert!(!OwnMemory.read(8, &mut word));
    assert!(!OwnMemory.read(u64::MAX - 3, &mut word));
    let bytes = *b"some bytes";
    let mut copy = [0; 10];
    assert!(OwnMemory.read(bytes.as_ptr() as u64, &mut copy));
    assert_eq!(bytes, copy);
    // SAFETY: this thread's.
    assert_eq!(unsafe { *errno }, 77);
}

#[test]
fn many_parts_are_read_until_the_first_that_is_not_there() {
    let numbers: Vec<u64> = (0..100).collect();
    for bad in [0, 1, 31, 32, 33, 64, 99, 100] {
        let mut got = vec![[0; 8]; 100];
        let mut parts: Vec<_> = got
            .iter_mut()
            .enumerate()
            .map(|(i, to)| {
                let there = &raw const numbers[i] as u64;
                let at = if i == bad { 16 } else { there };
                Part { at, to }
            })
            .collect();
        assert_eq!(OwnMemory.read_many(&mut parts), bad);
        for (i, word) in got[..bad].iter().enumerate() {
            assert_eq!(u64::from_le_bytes(*word), i as u64);
        }
    }
}

/// What the handler has found.
struct Line([u8; 4096], usize);

impl Write for Line {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let place = self.0.get_mut(self.1..self.1 + text.len());
        place.ok_or(std::fmt::Error)?.copy_from_slice(text.as_bytes());
        self.1 += text.len();
        Ok(())
    }
}

static FOUND: Mutex<Line> = Mutex::new(Line([0; 4096], 0));

extern "C" fn handler(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    IN_HANDLER.store(this_thread(), SeqCst);
    // SAFETY: the kernel's.
    let context = unsafe { &*context.cast::<libc::ucontext_t>() };
    let regs = Registers::from_ucontext(context);
    let mut frames = [Frame::default(); 32];
    let (count, end) = walk(&OwnMemory, &OwnModules, &regs, &mut frames);
    // Nobody else has the lock: the test waits.
    if let Ok(mut found) = FOUND.try_lock() {
        for frame in &frames[..count] {
            let mut room = [0; 512];
            let at = frame.lookup();
            let name = names::name(&OwnMemory, &OwnModules, at, &mut room);
            _ = writeln!(found, "{name}");
        }
        _ = write!(found, "{end:?}");
    }
    IN_HANDLER.store(0, SeqCst);
}

/// How much of a signal stack a walk and its names may use, handler included.
const MOST: usize = 14 << 10;

/// On a signal stack of 16 KiB, less what the kernel puts there.
#[test]
fn a_handler_walks_without_memory_and_with_little_stack() {
    let mut stack = vec![0xa5_u8; 64 << 10];
    let other = libc::stack_t {
        ss_sp: stack.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: stack.len(),
    };
    // SAFETY: a stack that outlives the handler.
    unsafe { libc::sigaltstack(&other, ptr::null_mut()) };
    // SAFETY: zeros are a valid action.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: a handler for a signal that nobody else uses.
    unsafe { libc::sigaction(libc::SIGUSR2, &action, ptr::null_mut()) };
    recurse(10, &mut || {
        // SAFETY: sends a signal to this thread.
        unsafe { libc::raise(libc::SIGUSR2) };
    });
    let used = stack.iter().position(|&byte| byte != 0xa5);
    let used = stack.len() - used.expect("a handler on that stack");
    let off = libc::stack_t { ss_flags: libc::SS_DISABLE, ..other };
    // SAFETY: nobody runs on it.
    unsafe { libc::sigaltstack(&off, ptr::null_mut()) };
    let found = FOUND.lock().expect("what the handler has found");
    let found = String::from_utf8_lossy(&found.0[..found.1]).into_owned();
    println!("{used} bytes of stack\n{found}");
    assert_eq!(found.matches("recurse").count(), 11, "{found}");
    assert!(found.ends_with("Complete") || found.ends_with("Full"));
    assert_eq!(ALLOCATED.load(SeqCst), 0);
    assert!(used < MOST, "{used} bytes of the signal stack");
}

/// The walk of another thread's stack, copied while it goes on, ends.
#[test]
fn a_moving_stack_ends_a_walk() {
    let stop = AtomicBool::new(false);
    let place = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut depth = 0;
            while !stop.load(SeqCst) {
                recurse(depth % 40, &mut || {
                    let regs = Registers::here();
                    let kept = Box::into_raw(Box::new(black_box(regs)));
                    let old = place.swap(kept as usize, SeqCst);
                    // The other thread may still read it.
                    black_box(old);
                });
                depth += 1;
            }
        });
        for _ in 0..20_000 {
            let at = place.load(SeqCst) as *const Registers;
            // SAFETY: null, or a box that nobody frees.
            let Some(regs) = (unsafe { at.as_ref() }) else { continue };
            let mut frames = [Frame::default(); 64];
            let (count, _) = walk(&OwnMemory, &OwnModules, regs, &mut frames);
            assert!(count <= 64);
        }
        stop.store(true, SeqCst);
    });
}
