//! The sleep of an M: the kernel's futex, and the locks and notes made of it.

use super::clock::{nanotime, timespec};
use super::errno::{Errno, KeepErrno};
use super::membarrier;
use crate::base::Futex;
use crate::base::sanitize;
use crate::base::sync::AtomicU32;
use crate::base::throw::fatal_args;
use core::ptr;

/// A lock that blocks the M, around a value.
pub(crate) type Lock<T> = crate::base::lock::Lock<T, OsFutex>;
/// The guard of a locked [`Lock`].
pub(crate) type LockGuard<'a, T> = crate::base::lock::LockGuard<'a, T, OsFutex>;
/// A [`Lock`] that may be held for long, so that no fork waits for it: the
/// child makes it anew.
pub(crate) type LongLock<T> = crate::base::lock::Lock<T, LongFutex>;
/// The guard of a locked [`LongLock`].
pub(crate) type LongLockGuard<'a, T> =
    crate::base::lock::LockGuard<'a, T, LongFutex>;
/// A one-shot event that blocks the M.
pub(crate) type Note = crate::base::note::Note<OsFutex>;

/// The kernel's futex, private to this process. Keeps `errno`.
pub(crate) struct OsFutex;

/// Without futex(2) no lock can work, the C library's neither.
#[cold]
fn refused(errno: i32) -> ! {
    fatal_args(format_args!(
        "gmprt cannot run here: the kernel or a sandbox refuses futex \
         (errno {errno})"
    ))
}

impl Futex for OsFutex {
    fn wait(word: &AtomicU32, expected: u32, deadline: i64) -> bool {
        let _keep = KeepErrno::new();
        let mut end = deadline;
        loop {
            if sanitize::raceenabled() {
                end = deadline.min(nanotime() + sanitize::SLICE);
            }
            let until = timespec(end);
            let until = match end {
                i64::MAX => ptr::null(),
                _ => &raw const until,
            };
            // SAFETY: word is a live atomic; until is null or lives on this
            // frame; the operation takes these arguments.
            let r = unsafe {
                libc::syscall(
                    libc::SYS_futex,
                    ptr::from_ref(word),
                    libc::FUTEX_WAIT_BITSET | libc::FUTEX_PRIVATE_FLAG,
                    expected,
                    until,
                    ptr::null::<u32>(),
                    libc::FUTEX_BITSET_MATCH_ANY,
                )
            };
            match Errno::check(r).map_err(|e| e.0) {
                Ok(_) | Err(libc::EAGAIN) => return true,
                Err(libc::ETIMEDOUT) if end == deadline => return false,
                // A signal handler ran, or the tool has put one off: then each
                // signal begins the slice anew, so the slice alone is not
                // enough. The deadline is absolute, so repeat.
                Err(libc::ETIMEDOUT | libc::EINTR) => sanitize::run_handlers(),
                Err(errno) => refused(errno),
            }
        }
    }

    fn wake(word: *const AtomicU32, count: u32) {
        let _keep = KeepErrno::new();
        // SAFETY: the kernel uses the address of a private futex as a name
        // and does not follow it, so the memory may be gone.
        let r = unsafe {
            libc::syscall(
                libc::SYS_futex,
                word,
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                count,
            )
        };
        if r < 0 {
            refused(Errno::last().0);
        }
    }

    fn barrier() {
        membarrier::everywhere();
    }
}

/// [`OsFutex`] for a [`LongLock`].
pub(crate) struct LongFutex;

impl Futex for LongFutex {
    const COUNTED: bool = false;

    fn wait(word: &AtomicU32, expected: u32, deadline: i64) -> bool {
        OsFutex::wait(word, expected, deadline)
    }

    fn wake(word: *const AtomicU32, count: u32) {
        OsFutex::wake(word, count);
    }

    fn barrier() {
        OsFutex::barrier();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::child;
    use crate::base::lock::Rank;
    use crate::os::clock::nanotime;
    use crate::os::errno_location;
    use std::sync::Arc;
    use std::thread;
    use std::time::Duration;

    type RawLock = crate::base::lock::RawLock<OsFutex>;

    #[test]
    fn a_lock_excludes_under_contention() {
        const EACH: u64 = 200_000;
        let lock = Arc::new(Lock::new(Rank::Sched, [0u64; 2]));
        let all: Vec<_> = (0..4)
            .map(|_| {
                let lock = Arc::clone(&lock);
                thread::spawn(move || {
                    for _ in 0..EACH {
                        let mut v = lock.lock();
                        assert_eq!(v[0], v[1]);
                        v[0] += 1;
                        v[1] += 1;
                    }
                })
            })
            .collect();
        all.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(*lock.lock(), [4 * EACH; 2]);
    }

    #[test]
    fn a_sleeping_locker_is_woken() {
        let lock = Arc::new(Lock::new(Rank::Sched, 0));
        let guard = lock.lock();
        assert!(lock.try_lock().is_none());
        let other = {
            let lock = Arc::clone(&lock);
            thread::spawn(move || *lock.lock() = 1)
        };
        thread::sleep(Duration::from_millis(20));
        assert_eq!(*guard, 0);
        drop(guard);
        other.join().unwrap();
        assert_eq!(*lock.try_lock().expect("free"), 1);
    }

    #[test]
    #[cfg(debug_assertions)]
    fn a_lock_against_the_order_of_ranks_throws() {
        let text = child::dies(libc::SIGABRT, || {
            let (outer, inner) =
                (RawLock::new(Rank::Sched), RawLock::new(Rank::Allp));
            outer.lock();
            inner.lock();
            // SAFETY: this thread holds them. Not in reverse: that is allowed.
            unsafe { outer.unlock() };
            // SAFETY: this thread holds it.
            unsafe { inner.unlock() };
            let (one, two) =
                (RawLock::new(Rank::Chan), RawLock::new(Rank::Chan));
            one.lock();
            two.lock();
            assert!(inner.try_lock());
            outer.lock();
        });
        let want = "lock: acquired against the order of ranks\n";
        assert_eq!(text, format!("fatal error: gmprt: {want}"));
    }

    #[test]
    fn unlocking_a_free_lock_throws() {
        let text = child::dies(libc::SIGABRT, || {
            // SAFETY: breaks the contract, to see it found out.
            unsafe { RawLock::new(Rank::Sched).unlock() };
        });
        assert!(text.starts_with("fatal error: gmprt: unlock: "), "{text}");
    }

    #[test]
    fn a_second_wakeup_throws() {
        let text = child::dies(libc::SIGABRT, || {
            let note = Note::new();
            note.wakeup();
            note.wakeup();
        });
        let want = "fatal error: gmprt: notewakeup: double wakeup\n";
        assert_eq!(text, want);
    }

    #[test]
    fn a_note_remembers_a_wakeup_that_came_first() {
        let note = Note::new();
        note.wakeup();
        note.sleep();
        assert!(note.sleep_until(0));
        note.clear();
        assert!(!note.sleep_until(0));
    }

    #[test]
    fn a_note_sleeps_to_its_deadline_and_can_be_slept_on_again() {
        let note = Arc::new(Note::new());
        let deadline = nanotime() + 5_000_000;
        assert!(!note.sleep_until(deadline));
        assert!(nanotime() >= deadline);
        let waker = {
            let note = Arc::clone(&note);
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(10));
                note.wakeup();
            })
        };
        assert!(note.sleep_until(nanotime() + 10_000_000_000));
        waker.join().unwrap();
    }

    #[test]
    fn a_negative_deadline_is_in_the_past() {
        assert!(!Note::new().sleep_until(i64::MIN));
    }

    #[test]
    fn waking_nobody_keeps_errno() {
        let word = AtomicU32::new(0);
        // SAFETY: points to this thread's errno.
        unsafe { *errno_location() = 4711 };
        OsFutex::wake(&raw const word, 1);
        assert!(OsFutex::wait(&word, 1, i64::MAX));
        assert!(!OsFutex::wait(&word, 0, 1));
        assert_eq!(Errno::last(), Errno(4711));
    }
}
