//! What the threads of this process are doing, as the kernel sees it.

use super::errno::{Errno, KeepErrno, Result};
use core::{ffi::CStr, mem::MaybeUninit};
use std::io::Write as _;

/// Room for `/proc/self/task/TID/stat`: a name and some fifty numbers.
const STAT_LEN: usize = 1024;

/// Number of a field in a stat file, counted from 1 as in proc(5).
const STATE: usize = 3;

/// The state of one thread, through a file that stays open, so that a look
/// costs one system call. Nothing here allocates.
pub(crate) struct TaskStat {
    fd: i32,
}

impl TaskStat {
    /// Opens the state of thread `tid` of this process.
    ///
    /// `ENOENT` if there is no such thread or no `/proc`; `EMFILE`, `ENFILE`.
    pub(crate) fn open(tid: i32) -> Result<Self> {
        Self::open_as(tid, "stat")
    }

    fn open_as(tid: i32, name: &str) -> Result<Self> {
        let mut path = [0; 48];
        // The longest tid fits, and the last byte stays NUL.
        let _ = write!(&mut path[..47], "/proc/self/task/{tid}/{name}");
        let path = CStr::from_bytes_until_nul(&path);
        Self::open_path(path.map_err(|_| Errno::EINVAL)?)
    }

    fn open_path(path: &CStr) -> Result<Self> {
        let _keep = KeepErrno::new();
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        // SAFETY: path ends with a NUL.
        let fd = unsafe { libc::open(path.as_ptr(), flags) };
        Ok(Self { fd: Errno::check(fd)? })
    }

    /// The letter of the thread's state: `R` runs or is ready to run, `S` and
    /// `D` wait, others as in proc(5).
    ///
    /// `ESRCH` once the thread has ended.
    pub(crate) fn state(&self) -> Result<u8> {
        let mut buf = [0; STAT_LEN];
        field(self.read(&mut buf)?, STATE)
            .and_then(|state| state.first().copied())
            .ok_or(Errno::EINVAL)
    }

    fn read<'a>(&self, buf: &'a mut [u8]) -> Result<&'a [u8]> {
        let _keep = KeepErrno::new();
        let at = buf.as_mut_ptr().cast();
        // SAFETY: at and the length are those of buf.
        let n = unsafe { libc::pread(self.fd, at, buf.len(), 0) };
        let n = usize::try_from(n).map_err(|_| Errno::last())?;
        Ok(&buf[..n])
    }
}

impl Drop for TaskStat {
    fn drop(&mut self) {
        let _keep = KeepErrno::new();
        // SAFETY: the descriptor is ours and used no more.
        unsafe { libc::close(self.fd) };
    }
}

/// Where a thread sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In no system call: a page fault, as a rule.
    Fault,
    /// In a system call that changes the process's memory, which waits for
    /// other threads that do so and for nothing else.
    Memory,
    /// In another system call.
    Call,
}

/// The system calls of [`Place::Memory`].
const MEMORY_CALLS: [i64; 6] = [
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
];

/// Where thread `tid` of this process sleeps; none if it runs.
///
/// `ENOENT`, `EACCES` and others where the kernel does not tell: it was built
/// without, `/proc` is hidden, or the host has made itself undumpable;
/// `EMFILE`, `ENFILE`.
pub(crate) fn place(tid: i32) -> Result<Option<Place>> {
    let file = TaskStat::open_as(tid, "syscall")?;
    let mut buf = [0; STAT_LEN];
    Ok(parse_place(file.read(&mut buf)?))
}

/// What `/proc/self/task/TID/syscall` says: "running", or the number of the
/// call, or -1.
fn parse_place(text: &[u8]) -> Option<Place> {
    let word = text.split(u8::is_ascii_whitespace).next()?;
    let number = core::str::from_utf8(word).ok()?.parse().ok()?;
    Some(match number {
        -1 => Place::Fault,
        n if MEMORY_CALLS.contains(&n) => Place::Memory,
        _ => Place::Call,
    })
}

/// How many threads this process has, the host's and ours; none without
/// `/proc`. They are the folders in a folder, each of which links back to it,
/// so that nothing has to be written as text and read.
pub(crate) fn count_threads() -> Option<usize> {
    /// Links of an empty folder.
    const EMPTY: usize = 2;
    let _keep = KeepErrno::new();
    let mut stat = MaybeUninit::<libc::stat>::uninit();
    let path = c"/proc/self/task".as_ptr();
    // SAFETY: a string, and room for the result.
    if unsafe { libc::stat(path, stat.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: stat has written it.
    let links = unsafe { stat.assume_init() }.st_nlink as usize;
    links.checked_sub(EMPTY).filter(|&n| n > 0)
}

/// Field `number` of a stat file, from 3 on. The second one is a name in
/// parentheses, which may itself contain anything, so counting starts behind
/// the last parenthesis.
fn field(stat: &[u8], number: usize) -> Option<&[u8]> {
    let end = stat.iter().rposition(|b| *b == b')')?;
    stat[end + 1..]
        .split(u8::is_ascii_whitespace)
        .filter(|f| !f.is_empty())
        .nth(number.checked_sub(3)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::clock::{nanotime, usleep};
    use crate::os::thread::gettid;
    use std::sync::mpsc;

    /// Waits until `what` holds, for some seconds at most.
    fn eventually(what: impl Fn() -> bool) {
        let deadline = nanotime() + 5_000_000_000;
        while !what() {
            assert!(nanotime() < deadline);
            usleep(500);
        }
    }

    #[test]
    fn fields_are_found_behind_a_hostile_name() {
        let stat = b"7 (a) R (b) c) S 1 2 3\n";
        assert_eq!(field(stat, 3), Some(&b"S"[..]));
        assert_eq!(field(stat, 6), Some(&b"3"[..]));
        assert_eq!(field(stat, 7), None);
        assert_eq!(field(stat, 2), None);
        assert_eq!(field(b"", 3), None);
    }

    #[test]
    fn a_running_a_waiting_and_a_dead_thread_differ() {
        assert_eq!(TaskStat::open(gettid()).unwrap().state(), Ok(b'R'));
        let (tid_tx, tid_rx) = mpsc::channel();
        let (end_tx, end_rx) = mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            tid_tx.send(gettid()).unwrap();
            let _ = end_rx.recv();
        });
        let stat = TaskStat::open(tid_rx.recv().unwrap()).unwrap();
        eventually(|| stat.state() == Ok(b'S'));
        drop(end_tx);
        other.join().unwrap();
        eventually(|| stat.state() == Err(Errno(libc::ESRCH)));
    }

    #[test]
    fn a_fault_and_a_short_call_are_told_from_others() {
        let fault = b"-1 0x7ffc78e9a388 0x7f36a9d81503\n";
        assert_eq!(parse_place(fault), Some(Place::Fault));
        let call = b"230 0x0 0x0 0x7ffc 0x7ffc 0x0 0x0 0x7ffc 0x7f36\n";
        assert_eq!(parse_place(call), Some(Place::Call));
        let memory = format!("{} 0x0 0x0 0x0\n", libc::SYS_munmap);
        assert_eq!(parse_place(memory.as_bytes()), Some(Place::Memory));
        assert_eq!(parse_place(b"running\n"), None);
        assert_eq!(parse_place(b""), None);
        assert_eq!(place(gettid()), Ok(None));
    }

    #[test]
    fn no_such_thread() {
        let open = TaskStat::open(i32::MAX).map(drop);
        assert_eq!(open, Err(Errno(libc::ENOENT)));
    }

    #[test]
    fn threads_are_counted() {
        let (end_tx, end_rx) = mpsc::channel::<()>();
        let before = count_threads().unwrap();
        let other = std::thread::spawn(move || end_rx.recv());
        // Other tests start threads too, but this one stays.
        eventually(|| count_threads().unwrap() >= 2);
        assert!(before >= 1);
        drop(end_tx);
        let _ = other.join().unwrap();
    }
}
