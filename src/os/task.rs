//! What the threads of this process are doing, as the kernel sees it.

use super::{
    errno::{Errno, KeepErrno, Result},
    own::Own,
};
use core::{ffi::CStr, mem::MaybeUninit};
use std::io::Write as _;

/// Room for `/proc/self/task/TID/stat`: a name and some fifty numbers.
const STAT_LEN: usize = 1024;

/// Number of a field in a stat file, counted from 1 as in proc(5).
const STATE: usize = 3;

/// The state of one thread, through a file that stays open, so that a look
/// costs two system calls. Nothing here allocates.
pub(crate) struct TaskStat {
    file: Own,
}

impl TaskStat {
    /// Opens the state of thread `tid` of this process.
    ///
    /// `ENOENT` if there is no such thread or no `/proc`; `EMFILE`, `ENFILE`.
    pub(crate) fn open(tid: i32) -> Result<Self> {
        let mut path = [0; 48];
        // The longest tid fits, and the last byte stays NUL.
        let _ = write!(&mut path[..47], "/proc/self/task/{tid}/stat");
        let path = CStr::from_bytes_until_nul(&path);
        Ok(Self { file: Own::open(path.map_err(|_| Errno::EINVAL)?)? })
    }

    /// The letter of the thread's state: `R` runs or is ready to run, `S` and
    /// `D` wait, others as in proc(5).
    ///
    /// `ESRCH` once the thread has ended; `EBADF` if the host has closed our
    /// descriptor, whatever it has put there.
    pub(crate) fn state(&self) -> Result<u8> {
        let mut buf = [0; STAT_LEN];
        field(self.file.read_at_start(&mut buf)?, STATE)
            .and_then(|state| state.first().copied())
            .ok_or(Errno::EINVAL)
    }
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
