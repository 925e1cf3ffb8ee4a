//! For tests: runs code in a forked child, because it ends its process or
//! changes it for good.

use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `child` in a child process; returns the child's standard error and its
/// status as `waitpid` reports it. A lock that another thread holds at the
/// fork stays locked in the child.
fn run(child: impl FnOnce()) -> (String, i32) {
    let (mut rx, tx) = std::io::pipe().unwrap();
    // SAFETY: the child goes on with `child` alone and ends by _exit.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: both descriptors are open.
        unsafe { libc::dup2(tx.as_raw_fd(), 2) };
        // An assertion that fails must not unwind into the test runner, of
        // which this is a copy.
        let failed = catch_unwind(AssertUnwindSafe(child)).is_err();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(failed)) };
    }
    drop(tx);
    let mut text = String::new();
    rx.read_to_string(&mut text).unwrap();
    let mut status = 0;
    // SAFETY: pid is our child, status a local variable.
    unsafe { libc::waitpid(pid, &raw mut status, 0) };
    (text, status)
}

/// Asserts that `child` returns, without a failed assertion of its own.
pub(crate) fn returns(child: impl FnOnce()) {
    let (text, status) = run(child);
    assert_eq!(status, 0, "{text}");
}

/// Asserts that `child` dies of `signal`; returns its standard error.
pub(crate) fn dies(signal: i32, child: impl FnOnce()) -> String {
    let (text, status) = run(child);
    assert!(libc::WIFSIGNALED(status), "status {status:#x}: {text}");
    assert_eq!(libc::WTERMSIG(status), signal, "{text}");
    text
}
