//! What a wait costs besides the switches: the park word, the lock of an
//! object, and the table of those who wait on addresses.

use core::{ffi::c_void, ptr};
use criterion::Criterion;
use gmprt::{
    ffi::{
        goroutine::gmp_go,
        sema::{gmp_sema, gmp_sema_acquire, gmp_sema_release},
        waitgroup::{
            gmp_waitgroup, gmp_waitgroup_add, gmp_waitgroup_done,
            gmp_waitgroup_wait,
        },
    },
    internals::{Cause, Counter, Fire, ParkWord, WaitKind, nobody_waits},
};
use parking_lot::{RawMutex, lock_api::RawMutex as _};
use std::{
    cell::UnsafeCell,
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::Duration,
};

pub fn words(c: &mut Criterion) {
    let mut group = c.benchmark_group("park");
    let word = ParkWord::new();
    // In the order of a wait that is woken once it is parked.
    group.bench_function("arm_commit_fire_finish", |b| {
        b.iter(|| {
            let ticket = word.arm(WaitKind::Cancellable);
            assert!(word.commit(ticket), "nobody was faster");
            assert_eq!(word.fire(ticket, Cause::Wake), Fire::Parked);
            word.finish()
        });
    });
    group.bench_function("must_give_up", |b| {
        b.iter(|| black_box(&word).must_give_up());
    });
    group.finish();
}

/// The same counter as [`Counter`], behind `parking_lot`'s lock.
struct Parked {
    lock: RawMutex,
    count: UnsafeCell<u64>,
}

// SAFETY: the count is touched under the lock only.
unsafe impl Sync for Parked {}

impl Default for Parked {
    fn default() -> Self {
        Self { lock: RawMutex::INIT, count: UnsafeCell::new(0) }
    }
}

impl Parked {
    #[inline]
    fn add(&self) -> u64 {
        self.lock.lock();
        // SAFETY: under the lock, as all uses of the count are.
        let count = unsafe { &mut *self.count.get() };
        *count += 1;
        let now = *count;
        // SAFETY: this thread has just locked it.
        unsafe { self.lock.unlock() };
        now
    }
}

/// Measures `add`, by one thread while so many others call it all the time.
fn contended(c: &mut Criterion, name: &str, add: impl Fn() -> u64 + Sync) {
    let mut group = c.benchmark_group("lock");
    for others in [0, 1, 3] {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..others {
                scope.spawn(|| {
                    while !stop.load(Relaxed) {
                        black_box(add());
                    }
                });
            }
            group.bench_function(format!("{name}/{others}_others"), |b| {
                b.iter(&add);
            });
            stop.store(true, Relaxed);
        });
    }
    group.finish();
}

/// The lock of channels and heaps, and the one that Rust programs use most.
pub fn locks(c: &mut Criterion) {
    let (ours, theirs) = (Counter::default(), Parked::default());
    contended(c, "ours", || ours.add());
    contended(c, "parking_lot", || theirs.add());
}

/// A thousand goroutines that wait on a semaphore each.
struct Crowd {
    semas: Vec<gmp_sema>,
    group: gmp_waitgroup,
}

const CROWD: i64 = 1_000;

/// What one of them needs.
struct Place {
    sema: *mut gmp_sema,
    group: *mut gmp_waitgroup,
}

unsafe extern "C" fn wait(arg: *mut c_void) {
    // SAFETY: the Place that it was started with, from a Box.
    let place = unsafe { Box::from_raw(arg.cast::<Place>()) };
    // SAFETY: the crowd's, which stays until all are done.
    assert_eq!(unsafe { gmp_sema_acquire(place.sema) }, 0);
    // SAFETY: as above.
    assert_eq!(unsafe { gmp_waitgroup_done(place.group) }, 0);
}

impl Crowd {
    fn gather() -> Box<Self> {
        let sema = || gmp_sema { _state: 0, _reserved: 0, _spare: [0; 2] };
        let mut crowd = Box::new(Self {
            semas: (0..CROWD).map(|_| sema()).collect(),
            group: gmp_waitgroup { _state: 0, _reserved: 0, _spare: [0; 2] },
        });
        let group = &raw mut crowd.group;
        // SAFETY: all zero, and it stays.
        assert_eq!(unsafe { gmp_waitgroup_add(group, CROWD) }, 0);
        for sema in &mut crowd.semas {
            let place = Box::new(Place { sema: &raw mut *sema, group });
            let arg = Box::into_raw(place).cast();
            // SAFETY: a function, and what it takes.
            assert_eq!(unsafe { gmp_go(Some(wait), arg) }, 0);
        }
        while crowd.semas.iter().any(nobody_waits) {
            thread::sleep(Duration::from_millis(1));
        }
        crowd
    }

    fn dismiss(&mut self) {
        for sema in &mut self.semas {
            // SAFETY: a semaphore that stays until all are done.
            assert_eq!(unsafe { gmp_sema_release(ptr::from_mut(sema)) }, 0);
        }
        let group = &raw mut self.group;
        // SAFETY: likewise.
        assert_eq!(unsafe { gmp_waitgroup_wait(group) }, 0);
    }
}

pub fn buckets(c: &mut Criterion) {
    let mut group = c.benchmark_group("buckets");
    let object = 0_u64;
    group.bench_function("nobody_waits/0", |b| {
        b.iter(|| assert!(nobody_waits(&object), "nobody knows it"));
    });
    let mut crowd = Crowd::gather();
    let mut at = 0;
    let mut next = || {
        at = (at + 1) % CROWD as usize;
        at
    };
    group.bench_function("nobody_waits/1000", |b| {
        let others: Vec<u64> = vec![0; CROWD as usize];
        b.iter(|| nobody_waits(&others[next()]));
    });
    group.bench_function("somebody_waits/1000", |b| {
        b.iter(|| assert!(!nobody_waits(&crowd.semas[next()]), "it waits"));
    });
    crowd.dismiss();
    group.finish();
}
