//! `gmp_dump`: the goroutines of this process, while everything goes on.
//!
//! The caller gives its P away first, as for a call that blocks: a dump of many
//! goroutines takes its time, and the others go on. It offers its processor to
//! other threads all the time (`own`). The dump runs on a stack of its own,
//! since a goroutine's may be small, and stops nobody
//! (`gmprt_inspect::snapshot`). Before that, where the heap is in use, a
//! collection finds the goroutines that are leaked (`gc::reach`). The dump
//! allocates, with the reserve behind it: want
//! of memory costs the lines of names, and never the process.
//!
//! Invariants:
//! 1. One dump at a time: the holder of `DUMPS`. The thread of a second caller
//!    sleeps meanwhile, without a P.
//! 2. The reserve's region is lent while a dump runs.

use super::{
    blocked::search_leaks,
    own::{self, OwnThreads},
    stackadvice,
};
use crate::{
    arch,
    base::{lock::Rank, reserve, sanitize},
    gc::leaks::Searched,
    gmp::gomaxprocs,
    os::{
        Errno, LongLock, Result,
        errno::KeepErrno,
        fd,
        mem::{map_data, unmap},
        proc,
        raw::NoCancel,
    },
    sched::{
        child,
        handoff::{entersyscall, exitsyscall},
        suspended::Busy,
    },
};
use core::ffi::{c_int, c_void};
use gmprt_inspect::{
    dump::{self, Head, Options},
    goroutine::Threads as _,
    regs::Registers,
};
use std::io::{self, BufWriter, Write};

/// Bytes of the stack of a dump.
pub(super) const STACK: usize = 1 << 20;
/// Sizes of the reserve's region, the first that can be had.
const REGIONS: [usize; 3] = [reserve::MAX, 16 << 20, 4 << 20];
/// Bytes of text that leave in one write.
const BUFFER: usize = 32 << 10;

static DUMPS: LongLock<()> = LongLock::new(Rank::Dumps, ());

/// A dump to be made.
struct Job {
    options: Options,
    searched: Searched,
    fd: c_int,
    g: usize,
    regs: Registers,
}

/// Writes a dump to `fd`.
///
/// Errors: those of [`dump_with`].
pub(crate) fn dump(fd: c_int, options: Options) -> Result<()> {
    dump_with(fd, options, search_leaks)
}

/// Writes a dump to `fd`, after a search for leaks by `search`.
///
/// Errors: `ENOMEM`; `ENOTSUP` in a dead end of a fork; those of write(2), such
/// as `EBADF` and `EPIPE`.
pub(super) fn dump_with(
    fd: c_int,
    options: Options,
    search: fn() -> Searched,
) -> Result<()> {
    if child::is_dead_end() {
        return Err(Errno(libc::ENOTSUP));
    }
    let job = Job {
        options,
        searched: search(),
        fd,
        g: own::address(arch::getg()),
        regs: Registers::here(),
    };
    let mut result = Ok(());
    apart(&mut || result = write(&job))?;
    result
}

/// Calls `f` as a dump is made: without the caller's P, one at a time, on a
/// stack of its own and with the reserve behind it. `f` does not park.
///
/// Errors: `ENOMEM`.
pub(super) fn apart(f: &mut dyn FnMut()) -> Result<()> {
    let _keep = KeepErrno::new();
    let _later = NoCancel::new();
    entersyscall();
    let result = run(f);
    exitsyscall();
    result
}

fn run(mut f: &mut dyn FnMut()) -> Result<()> {
    let _one = DUMPS.lock();
    if !reserve::has_region() {
        lend_region()?;
    }
    let stack = map_stack()?;
    reserve::begin();
    let arg = (&raw mut f).cast();
    let top = stack.addr() + STACK;
    // A collection would not know the stack.
    let busy = arch::getg().map(|gp| Busy::begin(gp.mp()));
    // SAFETY: `work` takes a reference to a function and does not park; the
    // stack is new.
    unsafe { arch::callon(work, arg, top) };
    drop(busy);
    reserve::end();
    // SAFETY: mapped above, and used no more.
    unsafe { unmap(stack, STACK) };
    if let Some((base, len)) = reserve::take_back() {
        // SAFETY: from lend_region, and no block of it is in use.
        unsafe { unmap(base as *mut u8, len) };
    }
    Ok(())
}

/// A stack of [`STACK`] bytes, until [`unmap`].
///
/// Errors: `ENOMEM`.
pub(super) fn map_stack() -> Result<*mut u8> {
    let stack = map_data(STACK)?;
    if sanitize::valgrind() {
        sanitize::stack_made(stack.addr(), STACK);
    }
    Ok(stack)
}

/// Errors: `ENOMEM`.
fn lend_region() -> Result<()> {
    let map = |len: &usize| Some((map_data(*len).ok()?, *len));
    let (base, len) = REGIONS.iter().find_map(map).ok_or(Errno::ENOMEM)?;
    // SAFETY: mapped just now.
    unsafe { reserve::lend(base.addr(), len) };
    Ok(())
}

unsafe extern "C" fn work(f: *mut c_void) {
    // SAFETY: that of `run`, which waits.
    let f = unsafe { &mut *f.cast::<&mut dyn FnMut()>() };
    f();
}

fn write(job: &Job) -> Result<()> {
    let mut threads = OwnThreads::of_living(job.g, job.regs);
    if job.options.running {
        threads = threads.asked();
    }
    let world = own::world(threads).map_err(|missing| {
        // The library and its table are of one build.
        debug_assert!(false, "{missing}");
        Errno(libc::ENOSYS)
    })?;
    let head = Head {
        pid: proc::id().unsigned_abs(),
        procs: Some(gomaxprocs() as u64),
        unsearched: job.searched == Searched::Failed,
    };
    let mut out = BufWriter::with_capacity(BUFFER, To(job.fd));
    let short = || {
        world.threads.breathe();
        reserve::is_pressed()
    };
    let mut advice = Vec::new();
    if job.options.stacks {
        advice = stackadvice::advice(|| world.threads.breathe());
    }
    let result =
        dump::write(&world, job.options, head, &advice, &short, &mut out)
            .and_then(|()| out.flush());
    // What is left in it would be written at its drop.
    let (_to, _rest) = out.into_parts();
    result.map_err(|e| Errno(e.raw_os_error().unwrap_or(libc::EIO)))
}

/// A descriptor of the host's.
struct To(c_int);

impl Write for To {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        fd::write_all(self.0, bytes)
            .map(|()| bytes.len())
            .map_err(|e| io::Error::from_raw_os_error(e.0))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Puts the statics of this file back to what they were before the start
/// (`boot::reset`).
///
/// # Safety
/// No other thread runs code of the library.
pub(crate) unsafe fn reset() {
    // SAFETY: nobody uses it, the caller promises.
    unsafe { DUMPS.renew(()) };
}
