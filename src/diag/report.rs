//! The goroutines after a fatal error, with their frames; `GMP_TRACEBACK` says
//! which ones.
//!
//! ```text
//! goroutine 7 [running] "reader", thread 4711
//!     started at main (reader.c:31) by goroutine 1
//!     parse at reader.c:12
//!     read_all at reader.c:40
//! ```
//!
//! The code runs on the failing thread, in a signal handler, under any lock,
//! while the other threads go on. To find functions and lines it would have to
//! allocate, and `malloc` may be locked or destroyed. So a copy of the process
//! (`os::copy`) does that: it has all memory as it is, an allocator of its own,
//! and a limit of time, and leaves its text in memory that it shares. Once half
//! of its memory or of its time is used, it finds names and no lines. If it
//! does not come to its end, the original prints what there is of whole
//! goroutines. If that is nothing, the original prints names and offsets, for
//! which it allocates nothing (`plain`).
//!
//! Both run on a stack that is mapped for them, since a signal stack is small.

use super::{
    dump::{self, MAX_LISTED},
    live::Search,
    look::{STACK, map_stack},
    own::{self, OwnThreads},
    plain::{self, Scene},
    samples::{self, Samples},
};
use crate::{
    arch,
    base::{
        print::write_all,
        reserve,
        sync::{AtomicUsize, Ordering::*},
    },
    gmp::{DEBUG, Traceback},
    os::{
        clock::nanotime,
        copy::in_copy,
        mem::{map_data, map_shared},
    },
    sched::deadlock,
};
use core::{cell::UnsafeCell, ffi::c_void, ptr, slice};
use gmprt_inspect::{
    dump::{Options, entry_of},
    goroutine::Want,
    regs::{Registers, number::RIP},
    text::Text,
};
use std::io::{self, Write};

/// How long the copy may take, in nanoseconds.
const LIMIT: i64 = 5_000_000_000;
/// The most bytes of its text.
const TEXT: usize = 4 << 20;
/// Frames of a goroutine.
const FRAMES: usize = 128;

/// The copy's work.
struct Job<'a> {
    scene: &'a Scene,
    /// For the text.
    shared: *const Shared,
    /// For the copy's memory.
    region: usize,
    /// The stacks of goroutines that run.
    samples: Option<&'static Samples>,
}

/// The text that the copy leaves.
#[repr(C)]
struct Shared {
    len: AtomicUsize,
    /// The bytes up to the end of the last whole goroutine.
    whole: AtomicUsize,
    bytes: UnsafeCell<[u8; TEXT]>,
}

/// Prints goroutines on standard error; the hook of `throw` and `fatal`.
/// `context` is null, or that of the signal handler in which the process fails.
pub(crate) fn print_goroutines(context: *const c_void) {
    let level = DEBUG.traceback();
    if level == Traceback::None {
        return;
    }
    // SAFETY: null, or a handler's context, as the hook's contract says.
    let regs = match unsafe { context.cast::<libc::ucontext_t>().as_ref() } {
        Some(context) => interrupted(context),
        None => Registers::here(),
    };
    let deadlock = deadlock::found();
    // Where all sleep it is no matter of the one that has noticed it.
    let gp = if deadlock { None } else { dump::failing() };
    tell(&Scene { level, gp, regs, deadlock });
}

/// The registers at the instruction that failed. A breakpoint is passed.
fn interrupted(context: &libc::ucontext_t) -> Registers {
    /// The processor's number of breakpoints.
    const BREAKPOINT: i64 = 3;
    let mut regs = Registers::from_ucontext(context);
    let trap = context.uc_mcontext.gregs[libc::REG_TRAPNO as usize];
    if trap == BREAKPOINT {
        regs.set(RIP, regs.pc().wrapping_sub(1));
    }
    regs
}

fn tell(scene: &Scene) {
    let Ok(stack) = map_stack() else {
        plain::list(scene);
        return;
    };
    let top = stack.addr() + STACK;
    if !by_copy(scene, top) {
        let scene = ptr::from_ref(scene).cast_mut().cast();
        // SAFETY: `list` takes a Scene and does not park; the stack is unused.
        unsafe { arch::callon(list, scene, top) };
    }
    // The process ends, so nothing is unmapped.
}

unsafe extern "C" fn list(scene: *mut c_void) {
    // SAFETY: the Scene of `tell`, which waits.
    plain::list(unsafe { &*scene.cast::<Scene>() });
}

/// Has a copy of the process find the names, and prints its text. False if it
/// could not.
fn by_copy(scene: &Scene, stack: usize) -> bool {
    let Ok(shared) = map_shared(size_of::<Shared>()) else { return false };
    let Ok(region) = map_data(reserve::MAX) else { return false };
    let shared = shared.cast::<Shared>().cast_const();
    let mut job = Job { scene, shared, region: region.addr(), samples: None };
    let arg = ptr::from_mut(&mut job).cast();
    if scene.level >= Traceback::All {
        // SAFETY: `ask` takes a Job and does not park; the stack is unused.
        unsafe { arch::callon(ask, arg, stack) };
    }
    // SAFETY: `work` takes a Job, and takes no lock that another thread may
    // hold; the stack is unused.
    let done = unsafe { in_copy(work, arg, stack, LIMIT) };
    // SAFETY: zeroed memory of this size, in which the copy has written.
    let shared = unsafe { &*shared };
    let end = if done { &shared.len } else { &shared.whole };
    // Acquire: pairs with `write` and `is_whole`.
    let len = end.load(Acquire).min(TEXT);
    if len == 0 {
        return false;
    }
    let bytes = shared.bytes.get().cast::<u8>();
    // SAFETY: `len` bytes of the text, which nobody writes any more.
    write_all(2, unsafe { slice::from_raw_parts(bytes, len) });
    if !done {
        write_all(2, b"\n... the rest is cut off: its report failed\n");
    }
    true
}

/// Asks the threads that compute where they are, which needs more stack than
/// there may be.
unsafe extern "C" fn ask(job: *mut c_void) {
    // SAFETY: the Job of `by_copy`, which waits.
    let job = unsafe { &mut *job.cast::<Job<'_>>() };
    job.samples = samples::take(job.scene.gp);
}

/// In the copy.
unsafe extern "C" fn work(job: *mut c_void) {
    // SAFETY: a copy of the Job of `by_copy`.
    let job = unsafe { &*job.cast::<Job<'_>>() };
    // SAFETY: the region was mapped for this.
    unsafe { reserve::lend(job.region, reserve::MAX) };
    reserve::only();
    // SAFETY: mapped for this, and written by this copy alone.
    let mut text = ToText(unsafe { &*job.shared });
    // The text is full: the rest is left out.
    let _full = write(job, &mut text);
}

fn write(job: &Job<'_>, text: &mut ToText) -> io::Result<()> {
    let scene = job.scene;
    let g = own::address(scene.gp);
    let threads = OwnThreads::of_dying(g, scene.regs, job.samples);
    let world = own::world(threads).map_err(io::Error::other)?;
    let late = nanotime().saturating_add(LIMIT / 2);
    let short = || reserve::is_pressed() || nanotime() > late;
    let mut places = world.places(&short);
    let shared = text.0;
    let system = scene.level == Traceback::System;
    let want = Want { system, frames: FRAMES, running: true };
    let options = Options { stacks: true, ..Options::default() };
    if scene.deadlock {
        let mut result = Ok(());
        Search::new().each(|circle| {
            if result.is_ok() {
                result = own::deadlock(&world, circle, &short, text);
                text.0.is_whole();
            }
        });
        result?;
    }
    let mut text = Text::new(text, options);
    if scene.gp.is_some() {
        // Also one of the library's own.
        let any = Want { system: true, ..want };
        let Some(it) = world.one(g as u64, &any) else {
            return Err(io::Error::other("the failing goroutine is gone"));
        };
        let it = entry_of(&world, &it);
        if dump::is_told(g) {
            text.body(&it, &mut places)?;
        } else {
            text.entry(&it, &mut places)?;
        }
        shared.is_whole();
        if scene.level == Traceback::Single {
            return Ok(());
        }
    }
    let (mut listed, mut more) = (0, 0);
    world.each(&want, |it| {
        if it.at == g as u64 {
            return Ok(());
        }
        if listed == MAX_LISTED {
            more += 1;
            return Ok(());
        }
        listed += 1;
        text.line(format_args!(""))?;
        text.entry(&entry_of(&world, it), &mut places)?;
        shared.is_whole();
        io::Result::Ok(())
    })?;
    if more > 0 {
        text.line(format_args!("\n... and {more} goroutines more"))?;
    }
    Ok(())
}

impl Shared {
    /// All of the text so far is of whole goroutines.
    fn is_whole(&self) {
        // Release: pairs with by_copy.
        self.whole.store(self.len.load(Relaxed), Release);
    }
}

/// Appends to the text.
struct ToText(&'static Shared);

impl Write for ToText {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = self.0.len.load(Relaxed);
        let n = bytes.len().min(TEXT - len);
        let to = self.0.bytes.get().cast::<u8>().wrapping_add(len);
        // SAFETY: n bytes of room are left there, which nobody else uses.
        unsafe { to.copy_from_nonoverlapping(bytes.as_ptr(), n) };
        // Release: pairs with by_copy.
        self.0.len.store(len + n, Release);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
