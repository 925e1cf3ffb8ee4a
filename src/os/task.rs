//! The states of this process's threads, from the kernel's `/proc`.

use super::{
    errno::{Errno, KeepErrno, Result},
    own::Own,
    proc,
};
use core::{ffi::CStr, mem::MaybeUninit};
use std::io::Write as _;

/// Room for `/proc/self/task/TID/stat`: a name and some fifty numbers.
const STAT_LEN: usize = 1024;

/// Room for `/proc/self/task/TID/status`; the groups of the user may be many.
const STATUS_LEN: usize = 8192;

/// The field of a stat file with the state, counted from 1 as in proc(5).
const STATE: usize = 3;

/// The state of one thread. The file stays open, so a look costs two system
/// calls. Nothing here allocates.
pub(crate) struct TaskStat {
    file: Own,
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
        Ok(Self { file: Own::open(path.map_err(|_| Errno::EINVAL)?)? })
    }

    /// The letter of the thread's state: `R` runs or is ready to run, `S` and
    /// `D` wait, others as in proc(5).
    ///
    /// `ESRCH` once the thread has ended; `EBADF` if the host has closed our
    /// descriptor, also if another file has the number now.
    pub(crate) fn state(&self) -> Result<u8> {
        let mut buf = [0; STAT_LEN];
        field(self.file.read_at_start(&mut buf)?, STATE)
            .and_then(|state| state.first().copied())
            .ok_or(Errno::EINVAL)
    }
}

/// Where a thread sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Outside a system call: in a page fault, as a rule.
    Fault,
    /// In a system call that changes the process's memory. It waits only for
    /// other threads that do the same.
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

/// Where thread `tid` of this process sleeps; None if it runs.
///
/// `ENOENT`, `EACCES` and others if the kernel does not tell, because it was
/// built without this file, `/proc` is hidden, or the host is not dumpable;
/// `EMFILE`, `ENFILE`.
pub(crate) fn place(tid: i32) -> Result<Option<Place>> {
    let file = TaskStat::open_as(tid, "syscall")?;
    let mut buf = [0; STAT_LEN];
    Ok(parse_place(file.file.read_at_start(&mut buf)?))
}

/// Parses `/proc/self/task/TID/syscall`: "running", or the number of the call,
/// or -1.
fn parse_place(text: &[u8]) -> Option<Place> {
    let word = text.split(u8::is_ascii_whitespace).next()?;
    let number = core::str::from_utf8(word).ok()?.parse().ok()?;
    Some(match number {
        -1 => Place::Fault,
        n if MEMORY_CALLS.contains(&n) => Place::Memory,
        _ => Place::Call,
    })
}

/// Whether a thread stands still, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stands {
    /// In a system call, or in a page fault: the instruction and the stack
    /// pointer.
    At(u64, u64),
    /// It runs, or is ready to.
    Runs,
    /// The kernel does not tell.
    Unknown,
}

/// Where thread `tid` of this process stands.
pub(crate) fn stands(tid: i32) -> Stands {
    let mut buf = [0; STAT_LEN];
    let read = TaskStat::open_as(tid, "syscall")
        .and_then(|file| file.file.read_at_start(&mut buf));
    match read {
        Ok(b"running\n") => Stands::Runs,
        Ok(text) => match parse_stands(text) {
            Some((pc, sp)) => Stands::At(pc, sp),
            None => Stands::Unknown,
        },
        Err(_) => Stands::Unknown,
    }
}

/// Whether thread `tid` of this process blocks a signal; None if the kernel
/// does not tell.
pub(crate) fn blocks(tid: i32, sig: i32) -> Option<bool> {
    let file = TaskStat::open_as(tid, "status").ok()?;
    let mut buf = [0; STATUS_LEN];
    parse_blocks(file.file.read_at_start(&mut buf).ok()?, sig)
}

/// Parses the line of `/proc/self/task/TID/status` with the blocked signals.
fn parse_blocks(text: &[u8], sig: i32) -> Option<bool> {
    let mut lines = text.split(|&byte| byte == b'\n');
    let line = lines.find_map(|line| line.strip_prefix(b"SigBlk:"))?;
    let digits = str::from_utf8(line).ok()?.trim();
    let blocked = u64::from_str_radix(digits, 16).ok()?;
    Some(blocked >> (sig - 1) & 1 != 0)
}

/// The last two numbers of `/proc/self/task/TID/syscall`: sp and pc.
fn parse_stands(text: &[u8]) -> Option<(u64, u64)> {
    let text = core::str::from_utf8(text).ok()?;
    let mut words = text.split_ascii_whitespace().rev();
    let mut hex = || {
        let word = words.next()?.strip_prefix("0x")?;
        u64::from_str_radix(word, 16).ok()
    };
    let (pc, sp) = (hex()?, hex()?);
    Some((pc, sp))
}

/// The name of this process, which is its first thread's: at most 15 bytes.
/// Empty where the kernel does not tell.
pub(crate) fn process_name(buf: &mut [u8; 64]) -> &[u8] {
    let Ok(file) = TaskStat::open_as(proc::id(), "comm") else { return b"" };
    file.file.read_at_start(buf).map_or(b"", <[u8]>::trim_ascii_end)
}

/// The name of the thread `tid` of this process, as [`process_name`].
pub(crate) fn thread_name(tid: i32, buf: &mut [u8; 64]) -> &[u8] {
    let Ok(file) = TaskStat::open_as(tid, "comm") else { return b"" };
    file.file.read_at_start(buf).map_or(b"", <[u8]>::trim_ascii_end)
}

/// How many threads this process has, the host's and ours; None without
/// `/proc`. Each thread is a folder in `/proc/self/task`, so the link count of
/// that folder tells, without any text to parse.
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

/// Whether `is` holds for the tid of every thread of this process; None without
/// `/proc`. Nothing here allocates.
pub(crate) fn all(mut is: impl FnMut(i32) -> bool) -> Option<bool> {
    let dir = Own::open(c"/proc/self/task").ok()?;
    let _keep = KeepErrno::new();
    let mut room = Entries([0; 4096]);
    loop {
        let (at, len) = (room.0.as_mut_ptr(), room.0.len());
        // SAFETY: at and len are those of room.
        let n =
            unsafe { libc::syscall(libc::SYS_getdents64, dir.fd(), at, len) };
        match usize::try_from(n).ok()? {
            0 => return Some(true),
            n if !tids(&room.0[..n]).all(&mut is) => return Some(false),
            _ => {}
        }
    }
}

/// Room for directory entries, with the kernel's alignment.
#[repr(align(8))]
struct Entries([u8; 4096]);

/// The entries' names that are numbers.
fn tids(mut entries: &[u8]) -> impl Iterator<Item = i32> {
    /// Offsets in an entry of its length, behind two numbers of eight bytes,
    /// and of its name.
    const LENGTH: usize = 16;
    const NAME: usize = 19;
    core::iter::from_fn(move || {
        let length = entries.get(LENGTH..LENGTH + 2)?;
        let length = u16::from_ne_bytes([length[0], length[1]]);
        let (entry, rest) = entries.split_at_checked(length.into())?;
        entries = rest;
        Some(CStr::from_bytes_until_nul(entry.get(NAME..)?).ok()?.to_str())
    })
    .filter_map(|name| name.ok()?.parse().ok())
}

/// Field `number` of a stat file, from 3 on. Field 2 is a name in parentheses
/// that may contain any byte, so counting starts behind the last parenthesis.
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
    use crate::base::sync::{AtomicBool, Ordering::Relaxed};
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
    fn a_file_of_the_hosts_in_our_place_is_not_read() {
        crate::base::child::returns(|| {
            let stat = TaskStat::open(gettid()).unwrap();
            let theirs = Own::open(c"/proc/self/stat").unwrap();
            // SAFETY: takes numbers.
            unsafe { libc::dup2(theirs.fd(), stat.file.fd()) };
            assert_eq!(stat.state(), Err(Errno(libc::EBADF)));
        });
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
    }

    #[test]
    fn blocked_signals_are_found() {
        let text = b"Name:\ta\nSigPnd:\t0\nSigBlk:\t0000000000400000\nx";
        assert_eq!(parse_blocks(text, libc::SIGURG), Some(true));
        assert_eq!(parse_blocks(text, libc::SIGUSR1), Some(false));
        assert_eq!(parse_blocks(b"Name:\ta\n", 1), None);
        assert_eq!(blocks(gettid(), libc::SIGSEGV), Some(false));
    }

    #[test]
    fn a_thread_that_computes_is_in_no_place() {
        let (tid_tx, tid_rx) = mpsc::channel();
        let stop = std::sync::Arc::new(AtomicBool::new(false));
        let end = stop.clone();
        let busy = std::thread::spawn(move || {
            tid_tx.send(gettid()).unwrap();
            while !end.load(Relaxed) {
                core::hint::spin_loop();
            }
        });
        let tid = tid_rx.recv().unwrap();
        eventually(|| place(tid) == Ok(None));
        assert_eq!(stands(tid), Stands::Runs);
        stop.store(true, Relaxed);
        busy.join().unwrap();
    }

    #[test]
    fn no_such_thread() {
        let open = TaskStat::open(i32::MAX).map(drop);
        assert_eq!(open, Err(Errno(libc::ENOENT)));
    }

    #[test]
    fn threads_are_listed() {
        let me = gettid();
        let (tid_tx, tid_rx) = mpsc::channel();
        let (end_tx, end_rx) = mpsc::channel::<()>();
        let other = std::thread::spawn(move || {
            tid_tx.send(gettid()).unwrap();
            let _ = end_rx.recv();
        });
        let it = tid_rx.recv().unwrap();
        let mut seen = Vec::new();
        assert_eq!(
            all(|tid| {
                seen.push(tid);
                true
            }),
            Some(true)
        );
        assert!(seen.contains(&me) && seen.contains(&it));
        assert_eq!(all(|tid| tid != it), Some(false));
        drop(end_tx);
        other.join().unwrap();
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
