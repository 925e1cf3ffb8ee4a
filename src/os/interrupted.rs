//! A call of the kernel in which a signal has found its thread.
//!
//! SA_RESTART has the kernel begin most calls again that a handler has
//! interrupted: then the thread stands before the instruction. It does not
//! cover poll(2), nanosleep(2) and their like: they return EINTR, for which a
//! host need not be prepared. [`begin_again`] has them begin again, where it
//! knows the call by the instruction before it.
//!
//! A timeout that began again at each signal would never end where signals come
//! more often. So the call's arguments say how long is left:
//!
//! - The timeout of poll(2) and epoll_wait(2) is a number in the lower half of
//!   a register. The upper one, which the kernel does not look at, gets the
//!   time at which the call is to end, and tells at the next signal that this
//!   is the same call.
//! - The kernel writes what is left of a sleep where the program wants it. If
//!   not, the call gets a place of ours to write to. The next signal finds it,
//!   and the call sleeps for so long.
//! - The kernel writes what is left for select(2) and ppoll(2) itself.
//!
//! The first signal finds none of this: so the time before it does not count.
//! The timeout of other calls begins again each time.

use super::clock::nanotime;
use core::ffi::c_int;
use gmprt_inspect::memory::{Memory, OwnMemory};

/// Calls that wait and that the kernel begins again, where the program asks for
/// that.
const RESTARTED: [i64; 15] = [
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_recvmmsg,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_openat,
];
/// Calls that wait, and that return EINTR having changed nothing.
const WAITS: [i64; 15] = [
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_select,
    libc::SYS_pselect6,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_futex,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
];
const SYSCALL: [u8; 2] = [0x0f, 0x05];

fn register(context: &libc::ucontext_t, which: c_int) -> i64 {
    context.uc_mcontext.gregs[which as usize]
}

/// Has a call that waits, and that the signal has interrupted, begin again.
/// `rest`: a place of this thread's for what is left of a sleep, or null.
pub(crate) fn begin_again(
    context: &mut libc::ucontext_t,
    rest: *mut libc::timespec,
) {
    if let Some(number) = has_returned(context) {
        shorten(&mut context.uc_mcontext.gregs, number, rest.addr());
        let pc = register(context, libc::REG_RIP) - SYSCALL.len() as i64;
        let saved = &mut context.uc_mcontext.gregs;
        saved[libc::REG_RAX as usize] = number;
        saved[libc::REG_RIP as usize] = pc;
    }
}

/// Has the call wait for as long as is left.
fn shorten(saved: &mut [i64], number: i64, rest: usize) {
    const RELATIVE: i32 = 0;
    let [first, second, third, fourth] =
        [libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10]
            .map(|register| register as usize);
    let now = || nanotime() / 1_000_000;
    match number {
        libc::SYS_poll => saved[third] = shortened(saved[third], now()),
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait => {
            saved[fourth] = shortened(saved[fourth], now());
        }
        libc::SYS_nanosleep => sleep_on(saved, first, second, rest),
        libc::SYS_clock_nanosleep if saved[second] as i32 == RELATIVE => {
            sleep_on(saved, third, fourth, rest);
        }
        _ => {}
    }
}

/// The register of a timeout, in milliseconds, of a call that begins again
/// `now`.
fn shortened(register: i64, now: i64) -> i64 {
    /// Mixed into the end of the call, so that no address looks like one soon.
    const MARK: u32 = 0x9e37_79b9;
    /// The upper half of a number that is not the end of a call.
    const PLAIN: [u32; 2] = [0, u32::MAX];
    /// How late a handler may be, in milliseconds.
    const LATE: i32 = 1 << 13;
    let timeout = register as i32;
    if timeout <= 0 {
        return register;
    }
    let with =
        |end: u32, left: i32| (i64::from(end ^ MARK) << 32) | i64::from(left);
    let upper = (register >> 32) as u32;
    let end = upper ^ MARK;
    let left = end.wrapping_sub(now as u32).cast_signed();
    if !PLAIN.contains(&upper) && (-LATE..=timeout).contains(&left) {
        return with(end, left.max(0));
    }
    // Rounded up, as a part of a millisecond is lost.
    let end = (now as u32).wrapping_add(timeout as u32 + 1);
    with(end, timeout)
}

/// A sleep, whose arguments are how long it is, and where the kernel writes
/// what is left.
fn sleep_on(saved: &mut [i64], long: usize, left: usize, rest: usize) {
    if saved[left] != 0 {
        saved[long] = saved[left];
    } else {
        saved[left] = rest as i64;
    }
}

/// Whether the thread is in a call that waits, or about to make it.
pub(crate) fn waits(context: &libc::ucontext_t) -> bool {
    let mut code = [0; SYSCALL.len()];
    let pc = register(context, libc::REG_RIP) as u64;
    let number = register(context, libc::REG_RAX);
    if WAITS.contains(&number) || RESTARTED.contains(&number) {
        return OwnMemory.read(pc, &mut code) && code == SYSCALL;
    }
    has_returned(context).is_some()
}

/// The number of the call that waits, and has just returned EINTR.
fn has_returned(context: &libc::ucontext_t) -> Option<i64> {
    /// `mov eax, number`.
    const MOV: u8 = 0xb8;
    /// Bytes between that and the call, in the C library.
    const BETWEEN: [usize; 3] = [0, 4, 5];
    const LEN: usize = 5 + 5 + SYSCALL.len();
    if register(context, libc::REG_RAX) != -i64::from(libc::EINTR) {
        return None;
    }
    let mut code = [0; LEN];
    let from = register(context, libc::REG_RIP) as u64 - LEN as u64;
    if !OwnMemory.read(from, &mut code) {
        return None;
    }
    let code = code.strip_suffix(&SYSCALL)?;
    let number = |between: &usize| {
        let end = code.len() - between;
        let [MOV, number @ ..] = *code[..end].last_chunk::<5>()? else {
            return None;
        };
        Some(i64::from(i32::from_le_bytes(number)))
    };
    let mut numbers = BETWEEN.iter().filter_map(number);
    numbers.find(|it| WAITS.contains(it))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_ends_however_often_its_call_begins_again() {
        for start in [5, i64::from(u32::MAX) - 20, 1 << 40] {
            let mut register = (0x7fff << 32) | 50;
            for now in (start + 20..start + 70).step_by(10) {
                register = shortened(register, now);
                assert_eq!(register as i32 as i64, 50.min(start + 71 - now));
            }
            register = shortened(register, start + 100);
            assert_eq!(register as i32, 0);
        }
        for now in (0..=i64::from(u32::MAX)).step_by(1000) {
            assert_eq!(shortened(2000, now) as i32, 2000);
        }
        assert_eq!(shortened(-1, 7), -1);
        assert_eq!(shortened(0, 7), 0);
    }
}
