//! Every system call that the library makes, the errors that a kernel or a
//! sandbox may give for it, and what that comes to.
//!
//! What is not here: calls that know no error (gettid), that the C library
//! makes for itself, and those of rare moments that no workload can promise
//! (sched_yield between two that contend, pause at the end of a process, the
//! signals of a write where pwritev2 is refused), and those of a setting that
//! no workload has (mincore, of `GMPDEBUG=stackadvice=1`).

use End::{Message, Right, Told};
use libc::*;

/// How a run ends, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum End {
    /// All books balance, and no call has returned an error.
    Right,
    /// Calls have returned errors, and all other books balance.
    Told,
    /// The process has said what it cannot go on without, and aborted.
    Message,
    /// Anything else.
    Wrong,
}

/// One call, or several that stand in for each other, and what becomes of a
/// refusal.
pub struct Call {
    pub name: &'static str,
    pub numbers: &'static [c_long],
    /// Only where this argument, under this mask, has this value.
    pub only: (u32, u32, u32),
    pub errors: &'static [c_int],
    /// Of the errors so many are in the short form.
    pub usual: usize,
    /// What it comes to at worst.
    pub worst: End,
    /// What a user notices.
    pub means: &'static str,
}

/// Whatever its arguments are.
const ANY: (u32, u32, u32) = (0, 0, 0);

const fn call(
    name: &'static str,
    numbers: &'static [c_long],
    errors: &'static [c_int],
    worst: End,
    means: &'static str,
) -> Call {
    Call { name, numbers, only: ANY, errors, usual: 1, worst, means }
}

const fn also(usual: usize, call: Call) -> Call {
    Call { usual, ..call }
}

const fn only(only: (u32, u32, u32), call: Call) -> Call {
    Call { only, ..call }
}

/// What a kernel or a sandbox says that does not have the call.
const ABSENT: &[c_int] = &[EPERM, ENOSYS, EACCES];
/// The same where it is a flag that is new.
const NEW: &[c_int] = &[EPERM, ENOSYS, EACCES, EINVAL, EOPNOTSUPP];
/// Where descriptors or memory have run out.
const FULL: &[c_int] = &[EMFILE, ENFILE, ENOMEM];
/// A signal handler has run: never for good.
const ONCE: &[c_int] = &[EINTR];

pub const CALLS: &[Call] = &[
    // Threads.
    call("futex", &[SYS_futex], ABSENT, Message, "a message: nothing can wait"),
    only(
        (1, 0x7f, FUTEX_WAIT_BITSET as u32),
        call("futex (wait)", &[SYS_futex], &[EINTR], Right, "nothing"),
    ),
    also(
        2,
        call(
            "membarrier",
            &[SYS_membarrier],
            &[EPERM, ENOSYS, EACCES, EINVAL, ENOMEM],
            Right,
            "fences instead: some ns more for each switch",
        ),
    ),
    call("clone3", &[SYS_clone3], &[ENOSYS], Right, "nothing: clone"),
    call(
        "clone3, clone",
        &[SYS_clone3, SYS_clone],
        &[EAGAIN, EPERM, ENOMEM],
        Message,
        "fewer threads, with a warning; none at the start: a message",
    ),
    call(
        "sched_getaffinity",
        &[SYS_sched_getaffinity],
        &[EPERM, ENOSYS, EINVAL],
        Right,
        "one P, unless GMP_MAXPROCS says otherwise",
    ),
    call(
        "prctl",
        &[SYS_prctl],
        &[EPERM, ENOSYS, EINVAL],
        Right,
        "threads without names",
    ),
    call(
        "nanosleep",
        &[SYS_clock_nanosleep, SYS_nanosleep],
        &[EINTR, EPERM, ENOSYS],
        Right,
        "nothing",
    ),
    call(
        "clock_gettime",
        &[SYS_clock_gettime],
        &[EPERM, ENOSYS, EACCES, EINVAL],
        Right,
        "who blocks is told by /proc, or after 10 ms",
    ),
    // Signals.
    call(
        "rt_sigaction",
        &[SYS_rt_sigaction],
        &[EPERM, ENOSYS, EACCES],
        Told,
        "no list of goroutines at a fault; gmp_signal_notify fails",
    ),
    call(
        "rt_sigprocmask",
        &[SYS_rt_sigprocmask],
        &[EPERM, ENOSYS],
        Told,
        "signals may come to threads of the library's",
    ),
    call(
        "rt_tgsigqueueinfo",
        &[SYS_rt_tgsigqueueinfo],
        &[EPERM, EAGAIN, ENOSYS, EACCES],
        Told,
        "gmp_gc says so; no frames of goroutines that compute in dumps",
    ),
    call(
        "sigaltstack",
        &[SYS_sigaltstack],
        &[EPERM, ENOSYS, ENOMEM],
        Right,
        "a stack overflow is a bare SIGSEGV",
    ),
    // Memory.
    also(
        2,
        call(
            "mmap",
            &[SYS_mmap],
            &[ENOMEM, EPERM, EAGAIN, EACCES],
            Message,
            "-ENOMEM, or a message; not ENOMEM: libc may assert in \
             pthread_create",
        ),
    ),
    call(
        "munmap",
        &[SYS_munmap],
        &[ENOMEM, EINVAL, EPERM],
        Right,
        "memory is kept",
    ),
    call(
        "mprotect",
        &[SYS_mprotect],
        &[ENOMEM, EPERM, EACCES],
        Message,
        "-ENOMEM, or a message",
    ),
    also(
        2,
        call(
            "madvise",
            &[SYS_madvise],
            &[EINVAL, EPERM, ENOSYS, EACCES, ENOMEM, EAGAIN],
            Right,
            "guards by mprotect; pages are kept",
        ),
    ),
    call(
        "process_madvise",
        &[SYS_process_madvise],
        &[EPERM, ENOSYS, EACCES, EINVAL, EBADF, ENOMEM],
        Right,
        "madvise, one by one",
    ),
    call(
        "process_vm_readv",
        &[SYS_process_vm_readv],
        &[EPERM, ENOSYS, EACCES],
        Right,
        "/proc/self/mem is read instead",
    ),
    call(
        "munlock",
        &[SYS_munlock],
        &[EPERM, ENOSYS, ENOMEM],
        Right,
        "under mlockall, stacks are in memory as a whole",
    ),
    // The poller.
    also(
        4,
        call(
            "epoll_pwait2",
            &[SYS_epoll_pwait2],
            NEW,
            Right,
            "timers that are late by up to 1 ms",
        ),
    ),
    call("epoll_pwait2 (signal)", &[SYS_epoll_pwait2], ONCE, Right, "nothing"),
    also(
        2,
        call(
            "epoll_wait",
            &[SYS_epoll_pwait2, SYS_epoll_wait, SYS_epoll_pwait],
            &[EPERM, ENOSYS, EACCES, ENOMEM],
            Told,
            "calls that would wait for a descriptor return the error",
        ),
    ),
    also(
        2,
        call(
            "epoll_create1",
            &[SYS_epoll_create1],
            &[EPERM, EMFILE, ENOSYS, EACCES, ENFILE, ENOMEM],
            Told,
            "the same",
        ),
    ),
    also(
        2,
        call(
            "epoll_ctl",
            &[SYS_epoll_ctl],
            &[EPERM, ENOSPC, ENOSYS, EACCES, ENOMEM],
            Told,
            "the same",
        ),
    ),
    also(
        2,
        call(
            "pipe2",
            &[SYS_pipe2],
            &[EPERM, EMFILE, ENOSYS, EACCES, ENFILE],
            Told,
            "the same",
        ),
    ),
    also(
        2,
        call(
            "fcntl",
            &[SYS_fcntl],
            &[EPERM, EMFILE, ENOSYS, EACCES],
            Told,
            "gmp_accept, gmp_connect, gmp_dial, gmp_splice return the error",
        ),
    ),
    also(2, call("fstat", &[SYS_fstat], ABSENT, Right, "newfstatat instead")),
    call(
        "fstat, newfstatat",
        &[SYS_fstat, SYS_newfstatat],
        ABSENT,
        Told,
        "reads and writes of what is no socket return the error",
    ),
    call(
        "poll",
        &[SYS_poll, SYS_ppoll],
        &[EPERM, ENOMEM, ENOSYS, EACCES],
        Told,
        "gmp_wait_fd, gmp_connect return the error",
    ),
    // Reading and writing.
    also(2, call("preadv2", &[SYS_preadv2], NEW, Right, "poll and readv")),
    also(
        2,
        call(
            "pwritev2",
            &[SYS_pwritev2],
            NEW,
            Right,
            "poll and writev, SIGPIPE being blocked meanwhile",
        ),
    ),
    call(
        "preadv2, pwritev2 (signal)",
        &[SYS_preadv2, SYS_pwritev2],
        ONCE,
        Right,
        "nothing",
    ),
    call(
        "readv",
        &[SYS_readv, SYS_preadv2],
        ABSENT,
        Told,
        "reads of pipes return the error",
    ),
    call(
        "writev",
        &[SYS_writev, SYS_write, SYS_pwritev2],
        ABSENT,
        Told,
        "writes to pipes return the error",
    ),
    call(
        "read",
        &[SYS_read],
        &[EPERM, EIO, ENOSYS],
        Told,
        "as if /proc were not there",
    ),
    call(
        "openat",
        &[SYS_openat, SYS_open],
        &[EACCES, EMFILE, EPERM, ENFILE, ENOENT],
        Told,
        "as if /proc were not there; gmp_open says the error",
    ),
    call("openat (signal)", &[SYS_openat], ONCE, Told, "nothing"),
    call("close", &[SYS_close], &[EPERM, EIO], Told, "gmp_close says so"),
    call(
        "pread64, pwrite64",
        &[SYS_pread64, SYS_pwrite64],
        &[EPERM, EIO, ENOSPC],
        Told,
        "gmp_pread and gmp_pwrite say so",
    ),
    call(
        "fsync",
        &[SYS_fsync],
        &[EPERM, EIO, ENOSPC],
        Told,
        "gmp_fsync says so",
    ),
    call(
        "sendfile, splice",
        &[SYS_sendfile, SYS_splice],
        &[EPERM, EINVAL, ENOSYS, ENOMEM],
        Told,
        "gmp_sendfile and gmp_splice say so",
    ),
    call(
        "fsync, pread64 (signal)",
        &[SYS_fsync, SYS_pread64],
        ONCE,
        Right,
        "nothing",
    ),
    // Sockets.
    also(
        2,
        call(
            "accept4",
            &[SYS_accept4],
            ABSENT,
            Right,
            "accept, and close-on-exec a moment later",
        ),
    ),
    call(
        "accept4 (full)",
        &[SYS_accept4],
        &[EMFILE, ENFILE, ENOMEM, ENOBUFS],
        Told,
        "gmp_accept says so",
    ),
    call(
        "accept4 (again)",
        &[SYS_accept4],
        &[ECONNABORTED, EINTR],
        Right,
        "nothing",
    ),
    also(
        2,
        call(
            "recvfrom, sendto",
            &[SYS_recvfrom, SYS_sendto],
            &[EPERM, ENOMEM, ENOSYS, EACCES],
            Told,
            "of sockets only; pipes work",
        ),
    ),
    call(
        "recvmsg, sendmsg",
        &[SYS_recvmsg, SYS_sendmsg],
        &[EPERM, ENOMEM, ENOSYS, EACCES],
        Told,
        "of sockets only; pipes work",
    ),
    call(
        "recvfrom, sendto (signal)",
        &[SYS_recvfrom, SYS_sendto],
        ONCE,
        Right,
        "nothing",
    ),
    call(
        "socket",
        &[SYS_socket],
        &[EPERM, EMFILE, EACCES, EAFNOSUPPORT, ENFILE, ENOBUFS],
        Told,
        "gmp_listen and gmp_dial say so",
    ),
    call(
        "bind, listen",
        &[SYS_bind, SYS_listen],
        &[EACCES, EADDRINUSE, EPERM],
        Told,
        "gmp_listen says so",
    ),
    call(
        "connect",
        &[SYS_connect],
        &[EPERM, ECONNREFUSED, EACCES, ENETUNREACH],
        Told,
        "gmp_connect and gmp_dial say so",
    ),
    call(
        "getsockopt",
        &[SYS_getsockopt],
        ABSENT,
        Told,
        "gmp_connect and gmp_dial say so",
    ),
    call("setsockopt", &[SYS_setsockopt], ABSENT, Told, "gmp_listen says so"),
    // Children.
    also(
        3,
        call(
            "pidfd_open",
            &[SYS_pidfd_open],
            ABSENT,
            Right,
            "a thread waits for the child",
        ),
    ),
    call(
        "pidfd_open (full)",
        &[SYS_pidfd_open],
        FULL,
        Told,
        "gmp_waitpid says so, or a thread waits",
    ),
    call(
        "wait4",
        &[SYS_wait4, SYS_waitid],
        ABSENT,
        Told,
        "gmp_waitpid says so",
    ),
    call(
        "all that is young",
        &[
            SYS_epoll_pwait2,
            SYS_pidfd_open,
            SYS_process_madvise,
            SYS_membarrier,
        ],
        ABSENT,
        Right,
        "as for each of them",
    ),
];
