//! A call of the kernel in which a signal has found its thread.
//!
//! SA_RESTART has the kernel begin most calls again that a handler has
//! interrupted: then the thread stands before the instruction. It does not
//! cover poll(2), nanosleep(2) and their like: they return EINTR, for which a
//! host need not be prepared. [`begin_again`] has them begin again, where it
//! knows the call by the instruction before it. Their timeout begins again too.

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
pub(crate) fn begin_again(context: &mut libc::ucontext_t) {
    if let Some(number) = has_returned(context) {
        let pc = register(context, libc::REG_RIP) - SYSCALL.len() as i64;
        let saved = &mut context.uc_mcontext.gregs;
        saved[libc::REG_RAX as usize] = number;
        saved[libc::REG_RIP as usize] = pc;
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
