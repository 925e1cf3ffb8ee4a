//! The library's own descriptors, in a process whose host may close them.
//!
//! Our file must not be 0, 1 or 2: a host may start with these closed and put
//! its own files there later. So a descriptor of ours is moved to [`STDIO`] or
//! above.
//!
//! And our calls must not hit a file of the host's: a host may close all
//! descriptors, as a daemon does at its start, and its next files get our
//! numbers. So a read or a close first checks that the number still is our
//! file, by device and inode, which no other file has while ours is open. The
//! check is no use for epoll instances and eventfds, which have no inode of
//! their own.
//!
//! The host may still close a number between the check and the call, within
//! some 100 ns. The kernel has no call that does both.

use super::{
    errno::{Errno, KeepErrno, Result},
    fd, file,
    raw::{self, NoCancel},
};
use crate::base::alloc::Text;
use core::{ffi::CStr, ffi::c_int};
use std::{os::unix::ffi::OsStrExt as _, path::Path};

/// The least number that is not one of stdin, stdout and stderr.
const STDIO: c_int = 3;

/// The identity of a file. None if the system does not tell; then every file
/// counts as this one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FileId(Option<(u64, u64)>);

impl FileId {
    /// The identity of `fd`.
    pub(crate) fn of(fd: i32) -> Result<Self> {
        match fd::stat(fd) {
            Ok(stat) => Ok(Self(Some((stat.st_dev, stat.st_ino)))),
            Err(e) if e.is_absence() => Ok(Self(None)),
            Err(e) => Err(e),
        }
    }

    /// Whether `fd` is this file.
    pub(crate) fn is(self, fd: i32) -> bool {
        Self::of(fd)
            .is_ok_and(|now| now == self || now.0.is_none() || self.0.is_none())
    }
}

/// A short name of the file behind `fd`. Two open files have different names as
/// a rule. 0 if `fd` is closed or its file has no inode of its own.
pub(crate) fn name(fd: i32) -> u32 {
    let Ok(stat) = fd::stat(fd) else { return 0 };
    // Files without a type share one inode.
    let typed = stat.st_mode & libc::S_IFMT != 0;
    if typed { (stat.st_ino as u32) ^ (stat.st_dev as u32) << 20 } else { 0 }
}

/// `fd`, or a duplicate above stdin, stdout and stderr. The caller closes `fd`
/// in the second case.
pub(super) fn lifted(fd: i32) -> Result<i32> {
    if fd >= STDIO {
        return Ok(fd);
    }
    let _keep = KeepErrno::new();
    // SAFETY: takes numbers.
    Errno::check(unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, STDIO) })
}

/// An open file of ours, closed at drop.
#[derive(Debug)]
pub(crate) struct Own {
    fd: i32,
    id: FileId,
}

impl Own {
    /// Takes over the new descriptor `fd`, moved to a number of ours.
    ///
    /// `EMFILE` if it has to move and no number is free.
    pub(super) fn new(fd: i32) -> Result<Self> {
        let id = FileId::of(fd).inspect_err(|_| {
            let _closed = fd::close(fd);
        })?;
        // Closes the low number, unless the host has put a file there.
        let low = Self { fd, id };
        let high = lifted(fd)?;
        if high == fd {
            return Ok(low);
        }
        Ok(Self { fd: high, id })
    }

    /// Opens a file to read it.
    ///
    /// Errors: those of open(2), but `EINTR`.
    pub(super) fn open(path: &CStr) -> Result<Self> {
        let _keep = KeepErrno::new();
        let _later = NoCancel::new();
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        loop {
            // SAFETY: path ends with a NUL.
            match Errno::check(unsafe { raw::open(path.as_ptr(), flags, 0) }) {
                Err(Errno(libc::EINTR)) => {}
                fd => return Self::new(fd?),
            }
        }
    }

    /// Creates a file, or empties one, to write it.
    ///
    /// Errors: those of open(2), but `EINTR`.
    pub(crate) fn create(path: &CStr) -> Result<Self> {
        let _keep = KeepErrno::new();
        let flags =
            libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
        loop {
            match file::open(path, flags, 0o666) {
                Err(Errno(libc::EINTR)) => {}
                fd => return Self::new(fd?),
            }
        }
    }

    /// Writes all of `bytes` to the end of the file.
    ///
    /// Errors: those of write(2), but `EINTR`; `EBADF` if the host has closed
    /// our descriptor, also if another file has the number now.
    pub(crate) fn write_all(&self, bytes: &[u8]) -> Result<()> {
        if !self.is_ours() {
            return Err(Errno(libc::EBADF));
        }
        fd::write_all(self.fd, bytes)
    }

    /// The file's number.
    pub(super) fn fd(&self) -> i32 {
        self.fd
    }

    /// Whether the number is still this file's.
    pub(super) fn is_ours(&self) -> bool {
        self.id.is(self.fd)
    }

    /// Reads the start of the file into `room`.
    ///
    /// Errors: those of pread(2); `EBADF` if the host has closed our
    /// descriptor, also if another file has the number now.
    pub(super) fn read_at_start<'a>(
        &self,
        room: &'a mut [u8],
    ) -> Result<&'a [u8]> {
        if !self.is_ours() {
            return Err(Errno(libc::EBADF));
        }
        self.read_at(0, room)
    }

    /// Reads the file from `offset` on into `room`. The number was the file's a
    /// moment ago.
    ///
    /// Errors: those of pread(2).
    pub(super) fn read_at<'a>(
        &self,
        offset: i64,
        room: &'a mut [u8],
    ) -> Result<&'a [u8]> {
        let _keep = KeepErrno::new();
        let at = room.as_mut_ptr().cast();
        // SAFETY: at and the length are those of room.
        let n = unsafe { raw::pread(self.fd, at, room.len(), offset) };
        let n = usize::try_from(n).map_err(|_| Errno::last())?;
        Ok(&room[..n])
    }

    /// Reads what comes next in the file into `room`; nothing at its end. The
    /// number was the file's a moment ago.
    ///
    /// Errors: those of read(2), but `EINTR`.
    pub(super) fn read_next<'a>(&self, room: &'a mut [u8]) -> Result<&'a [u8]> {
        let _keep = KeepErrno::new();
        loop {
            let at = room.as_mut_ptr().cast();
            // SAFETY: at and the length are those of room.
            let n = unsafe { raw::read(self.fd, at, room.len()) };
            match Errno::check(n as i64) {
                Err(Errno(libc::EINTR)) => {}
                n => return Ok(&room[..n? as usize]),
            }
        }
    }

    /// The file's identity.
    pub(super) fn id(&self) -> FileId {
        self.id
    }

    /// The file's number, which the caller closes.
    pub(super) fn into_raw(self) -> i32 {
        let fd = self.fd;
        core::mem::forget(self);
        fd
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        close(self.fd, self.id);
    }
}

/// Closes `fd` if it is still this file.
pub(super) fn close(fd: i32, id: FileId) {
    if id.is(fd) {
        let _closed = fd::close(fd);
    }
}

/// The contents of the file at `path`, a small one of the kernel's.
///
/// Errors: those of open(2) and read(2).
pub(super) fn contents(path: &CStr) -> Result<Vec<u8>> {
    const PART: usize = 4096;
    let file = Own::open(path)?;
    let _keep = KeepErrno::new();
    let mut all = Vec::new();
    loop {
        let begun = all.len();
        all.try_reserve(PART).map_err(|_| Errno::ENOMEM)?;
        all.resize(begun + PART, 0);
        let room = &mut all[begun..];
        // SAFETY: at and the length are those of `room`.
        let n = unsafe {
            raw::read(file.fd(), room.as_mut_ptr().cast(), room.len())
        };
        let n = match Errno::check(n as i64) {
            Err(Errno(libc::EINTR)) => 0,
            Ok(0) => {
                all.truncate(begun);
                return Ok(all);
            }
            n => n? as usize,
        };
        all.truncate(begun + n);
    }
}

/// [`contents`] of the file at a [`Path`].
///
/// Errors: those of [`contents`]; `ENOMEM`.
pub(super) fn read_all(path: &Path) -> Result<Vec<u8>> {
    let path = Text::copy(path.as_os_str().as_bytes()).ok_or(Errno::ENOMEM)?;
    contents(path.as_c_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::child;

    #[test]
    fn a_file_of_ours_is_above_stderr_though_these_are_closed() {
        child::returns(|| {
            for fd in 0..STDIO {
                // SAFETY: takes a number; this child needs none of them.
                unsafe { libc::close(fd) };
            }
            let file = Own::open(c"/proc/self/stat").unwrap();
            assert!(file.fd() >= STDIO);
            for fd in 0..STDIO {
                assert!(fd::stat(fd).is_err());
            }
            assert!(!contents(c"/proc/self/stat").unwrap().is_empty());
        });
    }

    #[test]
    fn a_number_that_the_host_has_taken_is_left_alone() {
        child::returns(|| {
            let file = Own::open(c"/proc/self/stat").unwrap();
            let number = file.fd();
            assert!(file.is_ours());
            let theirs = Own::open(c"/dev/null").unwrap();
            // SAFETY: takes numbers.
            unsafe { libc::dup2(theirs.fd(), number) };
            assert!(!file.is_ours());
            drop(file);
            assert!(fd::stat(number).is_ok());
        });
    }

    #[test]
    fn a_file_is_read_to_its_end() {
        let all = contents(c"/proc/self/status").unwrap();
        assert!(all.starts_with(b"Name:") && all.ends_with(b"\n"));
        assert_eq!(contents(c"/proc/none"), Err(Errno(libc::ENOENT)));
    }
}
