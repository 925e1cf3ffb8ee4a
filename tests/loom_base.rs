//! Models of the lock and the note that block an M: loom runs every
//! interleaving of the code in `base`, on a futex that is a model too.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_base`
#![cfg(loom)]

use gmprt::base::Futex;
use gmprt::base::lock::{Rank, RawLock};
use gmprt::base::note::Note;
use gmprt::base::sync::{AtomicU32, Ordering, fence};
use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::sync::Arc;

loom::lazy_static! {
    /// The kernel's side. It orders a wait against a wake, as the kernel does;
    /// every sleeper is woken by every wake, which covers spurious wakes.
    static ref KERNEL: (Mutex<()>, Condvar) =
        (Mutex::new(()), Condvar::new());
}

/// A deadline that has passed: the sleep ends at once if it begins at all.
const PAST: i64 = 0;

struct ModelFutex;

impl Futex for ModelFutex {
    fn wait(word: &AtomicU32, expected: u32, deadline: i64) -> bool {
        let guard = KERNEL.0.lock().unwrap();
        if word.load(Ordering::Relaxed) != expected {
            return true;
        }
        if deadline == PAST {
            return false;
        }
        drop(KERNEL.1.wait(guard).unwrap());
        true
    }

    fn wake(_: *const AtomicU32, _: u32) {
        let _guard = KERNEL.0.lock().unwrap();
        KERNEL.1.notify_all();
    }

    fn barrier() {
        fence(Ordering::SeqCst);
    }
}

/// [`ModelFutex`] with a barrier that is none.
struct ForgetfulFutex;

impl Futex for ForgetfulFutex {
    fn wait(word: &AtomicU32, expected: u32, deadline: i64) -> bool {
        ModelFutex::wait(word, expected, deadline)
    }

    fn wake(word: *const AtomicU32, count: u32) {
        ModelFutex::wake(word, count);
    }

    fn barrier() {}
}

/// A counter that loom checks for concurrent access.
struct Guarded {
    lock: RawLock<ModelFutex>,
    count: UnsafeCell<u32>,
}

// SAFETY: count is touched with the lock held only; loom checks that.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn new() -> Arc<Self> {
        let lock = RawLock::new(Rank::Sched);
        Arc::new(Self { lock, count: UnsafeCell::new(0) })
    }

    /// Adds one; the lock is held.
    fn add_and_unlock(&self) {
        // SAFETY: this thread holds the lock.
        self.count.with_mut(|n| unsafe { *n += 1 });
        // SAFETY: as above.
        unsafe { self.lock.unlock() };
    }

    fn finish(&self, want: u32) {
        self.lock.lock();
        // SAFETY: this thread holds the lock.
        assert_eq!(self.count.with(|n| unsafe { *n }), want);
        // SAFETY: as above.
        unsafe { self.lock.unlock() };
    }
}

fn model(threads: u32, preemptions: usize) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(move || {
        let shared = Guarded::new();
        let others: Vec<_> = (1..threads)
            .map(|_| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    shared.lock.lock();
                    shared.add_and_unlock();
                })
            })
            .collect();
        shared.lock.lock();
        shared.add_and_unlock();
        for other in others {
            other.join().unwrap();
        }
        shared.finish(threads);
    });
}

#[test]
fn two_threads_exclude_each_other_and_none_sleeps_for_ever() {
    model(2, 4);
}

#[test]
fn three_threads_exclude_each_other_and_none_sleeps_for_ever() {
    model(3, 2);
}

/// A sleeper that has nobody pass a barrier misses the unlock.
#[test]
#[should_panic(expected = "deadlock")]
fn without_the_barrier_a_sleeper_is_forgotten() {
    loom::model(|| {
        let shared = Arc::new(RawLock::<ForgetfulFutex>::new(Rank::Sched));
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.lock();
                // SAFETY: this thread holds the lock.
                unsafe { shared.unlock() };
            })
        };
        shared.lock();
        // SAFETY: as above.
        unsafe { shared.unlock() };
        other.join().unwrap();
    });
}

#[test]
fn try_lock_excludes() {
    loom::model(|| {
        let shared = Guarded::new();
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                shared.lock.lock();
                shared.add_and_unlock();
            })
        };
        let mut want = 1;
        if shared.lock.try_lock() {
            shared.add_and_unlock();
            want += 1;
        }
        other.join().unwrap();
        shared.finish(want);
    });
}

/// A note, and what its wakeup publishes.
struct Event {
    note: Note<ModelFutex>,
    message: UnsafeCell<u32>,
}

// SAFETY: the waker touches message before the wakeup, the sleeper after it;
// loom checks that.
unsafe impl Sync for Event {}

impl Event {
    fn new() -> Arc<Self> {
        let message = UnsafeCell::new(0);
        Arc::new(Self { note: Note::new(), message })
    }

    fn send(self: Arc<Self>, message: u32) -> thread::JoinHandle<()> {
        thread::spawn(move || {
            // SAFETY: the sleeper has not been woken yet.
            self.message.with_mut(|m| unsafe { *m = message });
            self.note.wakeup();
        })
    }

    fn received(&self) -> u32 {
        // SAFETY: the note was woken, and the waker touches it no more.
        self.message.with(|m| unsafe { *m })
    }
}

#[test]
fn a_wakeup_is_never_lost_and_publishes() {
    loom::model(|| {
        let event = Event::new();
        let waker = Arc::clone(&event).send(1);
        event.note.sleep();
        assert_eq!(event.received(), 1);
        waker.join().unwrap();
    });
}

#[test]
fn a_wakeup_that_races_with_the_deadline_is_not_lost() {
    loom::model(|| {
        let event = Event::new();
        let waker = Arc::clone(&event).send(1);
        if !event.note.sleep_until(PAST) {
            event.note.sleep();
        }
        assert_eq!(event.received(), 1);
        waker.join().unwrap();
    });
}

#[test]
fn a_note_serves_again_after_clear() {
    loom::model(|| {
        let event = Event::new();
        let mut wakers = Vec::new();
        for round in 1..3 {
            wakers.push(Arc::clone(&event).send(round));
            event.note.sleep();
            assert_eq!(event.received(), round);
            // The next waker learns of the note after this; the last one may
            // still be in its wake.
            event.note.clear();
        }
        for waker in wakers {
            waker.join().unwrap();
        }
    });
}
