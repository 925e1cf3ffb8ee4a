//! A model of the turnstile: a forker, threads that lock, one lock inside
//! another, and a thread that was a stranger; loom runs every interleaving of
//! the code in `base::turnstile`.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_fork`
#![cfg(loom)]

use gmprt::base::Futex;
use gmprt::base::sync::{AtomicI32, AtomicU32, Ordering::*, fence};
use gmprt::base::turnstile::{Held, KNOWN, Refused, Turnstile};
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;

const TAKEN: u32 = 1;

/// Sleeps are looks again.
struct ModelFutex;

impl Futex for ModelFutex {
    fn wait(_: &AtomicU32, _: u32, _: i64) -> bool {
        thread::yield_now();
        true
    }

    fn wake(_: *const AtomicU32, _: u32) {}

    fn barrier() {
        fence(SeqCst);
    }
}

/// A barrier that is none.
struct ForgetfulFutex;

impl Futex for ForgetfulFutex {
    fn wait(word: &AtomicU32, expected: u32, deadline: i64) -> bool {
        ModelFutex::wait(word, expected, deadline)
    }

    fn wake(_: *const AtomicU32, _: u32) {}

    fn barrier() {}
}

/// A thread's count. Its own thread changes it without a read-modify-write; the
/// fence stands for the barrier that every thread passes.
struct Count<'a>(&'a AtomicI32);

impl Count<'_> {
    fn step(&self, by: i32, order: loom::sync::atomic::Ordering) -> bool {
        let new = self.0.load(Relaxed) + by;
        self.0.store(new, order);
        fence(SeqCst);
        new < 0
    }
}

impl Held for Count<'_> {
    fn add(&self) -> bool {
        self.step(1, Relaxed)
    }

    fn sub(&self) -> bool {
        self.step(-1, Release)
    }

    fn count(&self) -> i32 {
        self.0.load(Relaxed) & !KNOWN
    }

    /// No handler comes here.
    fn mark(&self, _by: i32) {}
}

/// What two threads and the forker share: two words that go together, under a
/// lock each.
struct World {
    turnstile: Turnstile,
    locks: [AtomicU32; 2],
    data: [UnsafeCell<[u32; 2]>; 2],
    held: [AtomicI32; 2],
}

// SAFETY: `data` is touched under its lock, or by the forker when all are free.
unsafe impl Sync for World {}
// SAFETY: the same.
unsafe impl Send for World {}

impl World {
    fn new(first: i32, second: i32) -> Arc<Self> {
        let cell = || UnsafeCell::new([0, 0]);
        Arc::new(Self {
            turnstile: Turnstile::new(),
            locks: [AtomicU32::new(0), AtomicU32::new(0)],
            data: [cell(), cell()],
            held: [AtomicI32::new(first), AtomicI32::new(second)],
        })
    }

    fn lock(&self, me: usize, at: usize) {
        let held = Count(&self.held[me]);
        let word = &self.locks[at];
        self.turnstile.enter(&held);
        if self.turnstile.take(word, TAKEN) {
            return;
        }
        while self.turnstile.refused::<ModelFutex>(&held, word, TAKEN)
            == Refused::Held
        {
            thread::yield_now();
        }
    }

    fn unlock(&self, me: usize, at: usize) {
        self.locks[at].store(self.turnstile.free(), Release);
        self.turnstile.leave(&Count(&self.held[me]));
    }

    fn change(&self, at: usize) {
        self.data[at].with_mut(|data| {
            // SAFETY: under the lock.
            unsafe { (*data)[0] += 1 };
            // SAFETY: under the lock.
            unsafe { (*data)[1] += 1 };
        });
    }

    /// The fork: all locks are free, and what they guard is whole. Loom fails
    /// the model if a thread is at the data meanwhile.
    fn fork<F: Futex>(&self) {
        self.turnstile.shut::<F>();
        for held in &self.held {
            while !Turnstile::is_out(held) {
                thread::yield_now();
            }
        }
        while !self.turnstile.strangers_are_out() {
            thread::yield_now();
        }
        for at in 0..2 {
            assert!(Turnstile::is_free(self.locks[at].load(Relaxed)));
            self.data[at].with_mut(|data| {
                // SAFETY: nobody holds a lock.
                let [a, b] = unsafe { *data };
                assert_eq!(a, b);
            });
        }
        self.turnstile.open::<F>();
    }
}

#[test]
fn a_fork_finds_all_locks_free() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(2);
    model.check(|| {
        let world = World::new(KNOWN, KNOWN);
        let threads: Vec<_> = (0..1)
            .map(|me| {
                let world = Arc::clone(&world);
                thread::spawn(move || {
                    world.lock(me, me);
                    world.change(me);
                    world.unlock(me, me);
                })
            })
            .collect();
        world.fork::<ModelFutex>();
        for t in threads {
            t.join().unwrap();
        }
    });
}

#[test]
fn a_lock_inside_another_is_waited_for() {
    loom::model(|| {
        let world = World::new(KNOWN, KNOWN);
        let other = Arc::clone(&world);
        let t = thread::spawn(move || {
            other.lock(0, 0);
            other.lock(0, 1);
            other.change(1);
            other.unlock(0, 1);
            other.change(0);
            other.unlock(0, 0);
        });
        world.fork::<ModelFutex>();
        t.join().unwrap();
    });
}

#[test]
fn a_stranger_is_waited_for() {
    loom::model(|| {
        let world = World::new(0, KNOWN);
        let other = Arc::clone(&world);
        let t = thread::spawn(move || {
            // The count of a stranger is not looked at, so it may be anything.
            other.lock(0, 0);
            other.change(0);
            other.unlock(0, 0);
        });
        world.fork::<ModelFutex>();
        t.join().unwrap();
    });
}

/// A world, and a thread in it that changes the data under the lock once.
fn world_with_a_locker() -> (Arc<World>, thread::JoinHandle<()>) {
    let world = World::new(KNOWN, KNOWN);
    let other = Arc::clone(&world);
    let locker = thread::spawn(move || {
        other.lock(0, 0);
        other.change(0);
        other.unlock(0, 0);
    });
    (world, locker)
}

#[test]
fn two_forks_follow_each_other() {
    loom::model(|| {
        let (world, locker) = world_with_a_locker();
        world.fork::<ModelFutex>();
        world.fork::<ModelFutex>();
        locker.join().unwrap();
    });
}

/// Without the barrier a locker and the forker miss each other.
#[test]
#[should_panic]
fn without_the_barrier_the_data_are_torn() {
    loom::model(|| {
        let (world, locker) = world_with_a_locker();
        world.fork::<ForgetfulFutex>();
        locker.join().unwrap();
    });
}

/// A turnstile that is not shut keeps nobody out.
#[test]
#[should_panic]
fn without_a_shut_turnstile_the_data_are_torn() {
    loom::model(|| {
        let (world, locker) = world_with_a_locker();
        while !Turnstile::is_out(&world.held[0]) {
            thread::yield_now();
        }
        world.data[0].with_mut(|data| {
            // SAFETY: none; this is the mistake.
            let [a, b] = unsafe { *data };
            assert_eq!(a, b);
        });
        locker.join().unwrap();
    });
}
