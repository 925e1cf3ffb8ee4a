//! Text to a file descriptor from any context, a signal handler included.
//!
//! Nothing here allocates, locks or changes `errno`. A line that fits the
//! buffer leaves in one write, so lines of several threads do not mix.

use core::fmt;

/// Bytes that a [`SigWriter`] collects before it writes.
const CAPACITY: usize = 512;

/// A small buffer on the stack that `write!` prints into.
///
/// It writes when a newline is in the buffer, when it is full, and at drop.
/// Errors are dropped: there is nobody left to tell.
pub struct SigWriter {
    fd: i32,
    len: usize,
    buf: [u8; CAPACITY],
}

impl SigWriter {
    /// A writer to `fd`.
    pub const fn new(fd: i32) -> Self {
        Self { fd, len: 0, buf: [0; CAPACITY] }
    }

    /// A writer to standard error.
    pub const fn stderr() -> Self {
        Self::new(2)
    }

    /// Appends bytes that need not be UTF-8, such as a name from C.
    pub fn bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.len == CAPACITY {
                self.flush();
            }
            let n = bytes.len().min(CAPACITY - self.len);
            let (head, tail) = bytes.split_at(n);
            self.buf[self.len..self.len + n].copy_from_slice(head);
            self.len += n;
            bytes = tail;
            if head.contains(&b'\n') {
                self.flush();
            }
        }
    }

    /// Writes out what has been collected.
    pub fn flush(&mut self) {
        write_all(self.fd, &self.buf[..self.len]);
        self.len = 0;
    }
}

impl fmt::Write for SigWriter {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        self.bytes(s.as_bytes());
        Ok(())
    }
}

impl Drop for SigWriter {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Writes all of `bytes` to `fd`, or as much as it takes; keeps `errno`.
pub fn write_all(fd: i32, mut bytes: &[u8]) {
    // SAFETY: takes no argument and may be called anywhere.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: points to this thread's errno as long as the thread lives.
    let saved = unsafe { *errno };
    while !bytes.is_empty() {
        // Not the C library's `write`, which is a cancellation point.
        // SAFETY: the pointer and the length are those of a slice.
        let n = unsafe {
            libc::syscall(libc::SYS_write, fd, bytes.as_ptr(), bytes.len())
        };
        match usize::try_from(n) {
            Ok(0) => break,
            Ok(n) => bytes = &bytes[n..],
            Err(_) => {
                // SAFETY: this thread's errno, and the thread lives.
                if unsafe { *errno } != libc::EINTR {
                    break;
                }
            }
        }
    }
    // SAFETY: this thread's errno, and the thread lives.
    unsafe { *errno = saved };
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::fmt::Write as _;
    use std::io::Read as _;
    use std::os::fd::AsRawFd as _;

    #[test]
    fn long_text_arrives_whole_and_a_line_at_once() {
        let (mut rx, tx) = std::io::pipe().unwrap();
        let mut w = SigWriter::new(tx.as_raw_fd());
        write!(w, "goroutine {} ", 7).unwrap();
        writeln!(w, "[running]").unwrap();
        let mut line = [0; 64];
        // The newline flushed it, though the writer still lives.
        let n = rx.read(&mut line).unwrap();
        assert_eq!(&line[..n], b"goroutine 7 [running]\n");

        let long = "x".repeat(3 * CAPACITY + 1);
        w.write_str(&long).unwrap();
        drop(w);
        drop(tx);
        let mut rest = String::new();
        rx.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, long);
    }

    #[test]
    fn a_bad_descriptor_is_no_error_and_keeps_errno() {
        // SAFETY: rejects an address within a page and only sets errno.
        unsafe { libc::munmap(core::ptr::dangling_mut(), 1) };
        let before = std::io::Error::last_os_error().raw_os_error();
        write_all(-1, b"nobody reads this");
        let after = std::io::Error::last_os_error().raw_os_error();
        assert_eq!(before, Some(libc::EINVAL));
        assert_eq!(after, before);
    }
}
