//! Time: the monotonic clock, the CPU time of a thread, short sleeps.
//!
//! Deadlines are computed from this clock and slept for by system calls, so
//! both must be the kernel's clock. libc's `clock_gettime` and `nanosleep` may
//! be another library's and are not used (`vdso.rs`).
//!
//! Invariant: `READ_CLOCK` is `first_read` or a function of its type that
//! reads a clock; each thread that calls `first_read` stores the same one.

use super::{
    errno::{Errno, KeepErrno, Result},
    fallback::Newer,
    own::Own,
    vdso::{self, ClockGettime},
};
use core::{
    arch::asm,
    ffi::{CStr, c_int},
    mem, ptr,
    sync::atomic::{AtomicBool, AtomicPtr, Ordering::Relaxed},
};
use std::io::Write as _;

const NS_PER_S: i64 = 1_000_000_000;

/// The function that reads a clock: the vDSO's if there is one, else the
/// system call.
static READ_CLOCK: AtomicPtr<()> = AtomicPtr::new(first_read as *mut ());

/// Nanoseconds of the monotonic clock; never negative, never `i64::MAX`.
#[inline]
pub(crate) fn nanotime() -> i64 {
    // Relaxed: the pointer publishes nothing, its code was always there.
    let read = READ_CLOCK.load(Relaxed);
    // SAFETY: the module's invariant.
    let read = unsafe { mem::transmute::<*mut (), ClockGettime>(read) };
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: now is a local variable. The call cannot fail: every kernel has
    // this clock.
    unsafe { read(libc::CLOCK_MONOTONIC, &raw mut now) };
    nanoseconds(&now)
}

/// The point of the monotonic clock at which the clock of the time of day shows
/// `t`, unless it is set meanwhile; 0 for a point before, and `i64::MAX` for
/// one beyond the clock.
///
/// Errors: `EINVAL` if `t` is no time.
pub(crate) fn at_realtime(t: &libc::timespec) -> Result<i64> {
    if !(0..NS_PER_S).contains(&t.tv_nsec) {
        return Err(Errno::EINVAL);
    }
    // Relaxed: as in nanotime.
    let read = READ_CLOCK.load(Relaxed);
    // SAFETY: the module's invariant.
    let read = unsafe { mem::transmute::<*mut (), ClockGettime>(read) };
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: now is a local variable. Every kernel has this clock.
    unsafe { read(libc::CLOCK_REALTIME, &raw mut now) };
    let wide = |t: &libc::timespec| {
        i128::from(t.tv_sec) * i128::from(NS_PER_S) + i128::from(t.tv_nsec)
    };
    // The monotonic clock is read last: a delay in between makes the point
    // late, and never early.
    let point = wide(t) - wide(&now) + i128::from(nanotime());
    Ok(point.clamp(0, i64::MAX.into()) as i64)
}

/// The first reading, on the thread that loads the library: finds the vDSO.
#[cold]
unsafe extern "C" fn first_read(
    clock: libc::clockid_t,
    now: *mut libc::timespec,
) -> c_int {
    let read = vdso::clock_gettime().unwrap_or(call_clock_gettime);
    READ_CLOCK.store(read as *mut (), Relaxed);
    // SAFETY: `now` may be written, the caller promises.
    unsafe { read(clock, now) }
}

/// Reads a clock by the system call, with the vDSO function's signature.
///
/// # Safety
/// `now` may be written.
#[inline(never)]
unsafe extern "C" fn call_clock_gettime(
    clock: libc::clockid_t,
    now: *mut libc::timespec,
) -> c_int {
    let result: i64;
    // SAFETY: the kernel writes to `now` only, and changes these registers.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") libc::SYS_clock_gettime => result,
            in("rdi") i64::from(clock),
            in("rsi") now,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result as c_int
}

/// The counter is invariant: it runs evenly at any speed and sleep of the
/// processor.
static EVEN: AtomicBool = AtomicBool::new(false);

/// Notes that the processor promises even [`cycles`].
pub(crate) fn trust_cycles() {
    // Relaxed: set before the first goroutine.
    EVEN.store(true, Relaxed);
}

/// Declares [`cycles`] useless, as a setting asks.
pub(crate) fn distrust_cycles() {
    // Relaxed: set before the first goroutine.
    EVEN.store(false, Relaxed);
}

/// Whether differences of [`cycles`] are times. Callers of [`cycles`] ask here
/// first, once.
pub(crate) fn cycles_are_even() -> bool {
    EVEN.load(Relaxed)
}

/// The processor's time stamp counter: for short spans, on one thread, where
/// an error does no harm. No fence orders the read, since a span of hundreds of
/// cycles need not be exact to the cycle.
#[inline]
pub(crate) fn cycles() -> u64 {
    // SAFETY: reads a register.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// The CPU time that thread `tid` of this process has used, in nanoseconds.
///
/// Takes about 0.2 µs, more if a sandbox refuses the clock and `/proc` has to
/// be read. If `/proc` is refused too, all these clocks stand still.
///
/// An error (`EINVAL`, `ENOENT`) if there is no such thread any more.
pub(crate) fn thread_cputime(tid: i32) -> Result<i64> {
    /// By file, since an error may mean that this thread has ended.
    static CLOCK: Newer = Newer::by_file();
    let used = CLOCK.or(|| cpu_clock(tid), || schedstat(tid));
    if used.is_err() && CLOCK.is_refused() { Ok(0) } else { used }
}

fn cpu_clock(tid: i32) -> Result<i64> {
    let _keep = KeepErrno::new();
    // The kernel's name for a thread's clock: the complement of the tid, then
    // 4 for "one thread" and 2 for "time that the scheduler counts".
    let clock = (!tid << 3) | 6;
    let mut used = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: used is a local variable; a wrong clock gives an error.
    let r = unsafe { call_clock_gettime(clock, &raw mut used) };
    Errno::from_pthread(-r)?;
    Ok(nanoseconds(&used))
}

/// [`thread_cputime`] from `/proc`: the first number in the file.
fn schedstat(tid: i32) -> Result<i64> {
    let mut path = [0; 56];
    // The longest tid fits, and the last byte stays NUL.
    let _ = write!(&mut path[..55], "/proc/self/task/{tid}/schedstat");
    let path = CStr::from_bytes_until_nul(&path);
    let file = Own::open(path.map_err(|_| Errno::EINVAL)?)?;
    let mut text = [0; 64];
    let text = file.read_at_start(&mut text)?;
    let number = text.split(|byte| !byte.is_ascii_digit()).next();
    let number = number.and_then(|digits| str::from_utf8(digits).ok());
    number.and_then(|digits| digits.parse().ok()).ok_or(Errno::EINVAL)
}

/// Sleeps for `us` microseconds, or until a signal handler has run.
pub(crate) fn usleep(us: u32) {
    let _keep = KeepErrno::new();
    let span = timespec(i64::from(us) * 1000);
    let rest = ptr::null_mut::<libc::timespec>();
    // SAFETY: span is a local variable; null asks for no remainder.
    unsafe { libc::syscall(libc::SYS_nanosleep, &raw const span, rest) };
}

/// `ns` in the kernel's form. The kernel rejects points before the clock's
/// zero, so they become zero.
pub(super) const fn timespec(ns: i64) -> libc::timespec {
    let ns = if ns < 0 { 0 } else { ns };
    libc::timespec { tv_sec: ns / NS_PER_S, tv_nsec: ns % NS_PER_S }
}

const fn nanoseconds(t: &libc::timespec) -> i64 {
    t.tv_sec * NS_PER_S + t.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::thread::gettid;

    #[test]
    fn nanotime_goes_on_and_usleep_sleeps() {
        let start = nanotime();
        usleep(2_000);
        let slept = nanotime() - start;
        assert!((2_000_000..2_000_000_000).contains(&slept), "{slept}");
    }

    #[test]
    fn the_system_call_reads_the_same_clock() {
        let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let before = nanotime();
        let clock = libc::CLOCK_MONOTONIC;
        // SAFETY: now is a local variable.
        let r = unsafe { call_clock_gettime(clock, &raw mut now) };
        assert_eq!(r, 0);
        assert!((before..=nanotime()).contains(&nanoseconds(&now)));
    }

    #[test]
    fn cputime_counts_work_and_not_sleep() {
        let tid = gettid();
        let start = thread_cputime(tid).unwrap();
        usleep(20_000);
        let slept = thread_cputime(tid).unwrap() - start;
        assert!(slept < 10_000_000, "{slept}");
        let end = nanotime() + 20_000_000;
        while nanotime() < end {}
        let worked = thread_cputime(tid).unwrap() - start;
        assert!(worked > slept + 1_000_000, "{worked}");
    }

    #[test]
    fn proc_tells_what_the_clock_tells() {
        let tid = gettid();
        let end = nanotime() + 5_000_000;
        while nanotime() < end {}
        let (before, told) = (cpu_clock(tid).unwrap(), schedstat(tid).unwrap());
        let after = cpu_clock(tid).unwrap();
        // It is brought up to date now and then.
        assert!(told > 0 && told < after + 1_000_000, "{before} {told}");
        assert_eq!(schedstat(i32::MAX), Err(Errno(libc::ENOENT)));
    }

    #[test]
    fn cputime_of_a_dead_thread_is_an_error() {
        let tid = std::thread::spawn(gettid).join().unwrap();
        // The kernel lets the thread go a moment after the join.
        let deadline = nanotime() + 5_000_000_000;
        while thread_cputime(tid).is_ok() {
            assert!(nanotime() < deadline);
            usleep(100);
        }
    }
}
