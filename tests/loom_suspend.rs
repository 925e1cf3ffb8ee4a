//! Models of the stop of threads for a collection (`gmp::suspend`): loom runs
//! every interleaving of the real code.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_suspend`
//!
//! A signal is a flag of the thread. The thread looks at it between any two
//! steps, and where it sleeps in a futex, as the kernel would, and then runs
//! the handler.
//!
//! What is checked: the stopper and a thread never touch the heap at once,
//! whether the thread is busy, answers in its handler, answers late, waits in a
//! safe region or comes new; the stopper sees where the thread stands, by its
//! answer to this stop or by its region; no signal is needed for a thread in a
//! region; and all go on afterwards, also if the next stop comes at once.
//!
//! # That they can fail
//! A thread that touches the heap without saying so, a newcomer that does not
//! wait, and a thread that leaves its region without a look must be found.
#![cfg(loom)]

use gmprt::base::Futex;
use gmprt::base::sync::{AtomicBool, AtomicU32, Ordering::*, fence};
use gmprt::gmp::suspend::{Stops, Suspend};
use loom::cell::UnsafeCell;
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::cell::RefCell;
use std::sync::Arc;

loom::lazy_static! {
    /// The kernel's side of a futex, and of a signal.
    static ref KERNEL: (Mutex<()>, Condvar) =
        (Mutex::new(()), Condvar::new());
}

loom::thread_local! {
    /// The thread that runs, if signals may come to it.
    static SELF: RefCell<Option<Arc<Mutator>>> = RefCell::new(None);
}

struct ModelFutex;

impl Futex for ModelFutex {
    fn wait(word: &AtomicU32, expected: u32, _deadline: i64) -> bool {
        let guard = KERNEL.0.lock().unwrap();
        if word.load(Relaxed) != expected {
            return true;
        }
        let me = SELF.with(|me| me.borrow().clone());
        if me.as_ref().is_some_and(|me| me.signal.load(Relaxed)) {
            drop(guard);
            deliver();
        } else {
            drop(KERNEL.1.wait(guard).unwrap());
        }
        true
    }

    fn wake(_: *const AtomicU32, _: u32) {
        let _guard = KERNEL.0.lock().unwrap();
        KERNEL.1.notify_all();
    }

    fn barrier() {
        fence(SeqCst);
    }
}

/// A thread of the host's.
struct Mutator {
    suspend: Suspend,
    signal: AtomicBool,
    /// The stopper finds it.
    listed: AtomicBool,
    world: Arc<World>,
}

/// What all share.
struct World {
    stops: Stops<ModelFutex>,
    /// The heap: whoever touches it is alone.
    heap: UnsafeCell<u32>,
    /// No more stops come.
    over: AtomicBool,
}

// SAFETY: loom finds it if two touch the heap at once.
unsafe impl Sync for World {}
// SAFETY: the same.
unsafe impl Send for World {}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            stops: Stops::new(),
            heap: UnsafeCell::new(0),
            over: AtomicBool::new(false),
        })
    }

    fn touch(&self) {
        // SAFETY: loom checks that nobody else does.
        self.heap.with_mut(|at| unsafe { *at += 1 });
    }
}

/// The kernel lets the handler run, if a signal has come.
fn deliver() {
    let Some(me) = SELF.with(|me| me.borrow().clone()) else { return };
    // To loom, a swap that finds nothing may come after the signal's store all
    // the same.
    if !me.signal.load(Acquire) {
        return;
    }
    me.signal.store(false, Relaxed);
    if !me.suspend.is_safe() && !me.suspend.is_busy() {
        me.suspend.answer(&me.world.stops, 7, 0);
    }
}

impl Mutator {
    fn new(world: &Arc<World>, listed: bool) -> Arc<Self> {
        Arc::new(Self {
            suspend: Suspend::new(),
            signal: AtomicBool::new(false),
            listed: AtomicBool::new(listed),
            world: Arc::clone(world),
        })
    }

    /// Begins on this thread.
    fn begin(self: &Arc<Self>) {
        SELF.with(|me| *me.borrow_mut() = Some(Arc::clone(self)));
    }

    /// One work on the heap, with a signal possible between any two steps.
    fn work(&self) {
        deliver();
        let nested = self.suspend.begin();
        assert!(!nested);
        deliver();
        self.world.touch();
        deliver();
        if self.suspend.end() {
            deliver();
            self.suspend.take_late();
            self.suspend.answer(&self.world.stops, 8, 0);
        }
        deliver();
    }

    /// Waits in a safe region, whose frames begin at `sp`, with a signal
    /// possible between any two steps; then touches what is the host's.
    fn wait_safely(&self, sp: usize) {
        deliver();
        self.suspend.enter(&self.world.stops, sp);
        deliver();
        self.suspend.leave(&self.world.stops);
        deliver();
        self.work();
    }

    /// The host's code, in a system call until no more stops come.
    fn host(&self) {
        let mut guard = KERNEL.0.lock().unwrap();
        while !self.world.over.load(Relaxed) {
            if self.signal.load(Relaxed) {
                drop(guard);
                deliver();
                guard = KERNEL.0.lock().unwrap();
            } else {
                guard = KERNEL.1.wait(guard).unwrap();
            }
        }
    }
}

/// One stop of all that are listed, by signals.
fn stop(world: &World, all: &[Arc<Mutator>]) {
    stop_by(world, all, true);
}

/// One stop of all that are listed. Without signals, the threads are asked.
fn stop_by(world: &World, all: &[Arc<Mutator>], signals: bool) {
    let seq = world.stops.begin();
    let there: Vec<_> = all.iter().filter(|m| m.listed.load(SeqCst)).collect();
    for m in &there {
        if signals {
            m.signal.store(true, Release);
            ModelFutex::wake(core::ptr::null(), 1);
        }
        loop {
            let seen = world.stops.answers();
            if m.suspend.stands(seq) {
                break;
            }
            world.stops.wait_more(seen, i64::MAX);
        }
        let stood = m.suspend.stood(seq);
        assert!(matches!(stood, Some((7 | 8 | 16 | 32, 0))), "{stood:?}");
    }
    world.touch();
    world.stops.end();
}

/// No more stops come.
fn over(world: &World) {
    let _guard = KERNEL.0.lock().unwrap();
    world.over.store(true, Relaxed);
    KERNEL.1.notify_all();
}

/// A model of this many preemptions, so that it ends.
fn model(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

#[test]
fn a_thread_at_work_on_the_heap_is_alone() {
    model(|| {
        let world = World::new();
        let m = Mutator::new(&world, true);
        let it = Arc::clone(&m);
        let t = thread::spawn(move || {
            it.begin();
            it.work();
            it.host();
        });
        stop(&world, &[m]);
        over(&world);
        t.join().unwrap();
    });
}

#[test]
fn a_stop_after_a_stop_has_an_answer_of_its_own() {
    model(|| {
        let world = World::new();
        let m = Mutator::new(&world, true);
        let it = Arc::clone(&m);
        let t = thread::spawn(move || {
            it.begin();
            it.work();
            it.host();
        });
        stop(&world, std::slice::from_ref(&m));
        stop(&world, &[m]);
        over(&world);
        t.join().unwrap();
    });
}

/// A thread that comes while a stop may be on.
fn newcomer(waits: bool) {
    let world = World::new();
    let m = Mutator::new(&world, false);
    let it = Arc::clone(&m);
    let t = thread::spawn(move || {
        it.begin();
        it.listed.store(true, Relaxed);
        if waits && it.world.stops.is_on() {
            it.suspend.enter(&it.world.stops, 16);
            it.suspend.leave(&it.world.stops);
        }
        // What a thread does with what it gets: nobody is told.
        it.world.touch();
        it.host();
    });
    stop(&world, &[m]);
    over(&world);
    t.join().unwrap();
}

#[test]
fn a_newcomer_is_found_or_waits() {
    model(|| newcomer(true));
}

#[test]
#[should_panic]
fn a_newcomer_that_does_not_wait_is_found_out() {
    model(|| newcomer(false));
}

#[test]
#[should_panic]
fn a_thread_that_does_not_say_that_it_is_busy_is_found_out() {
    model(|| {
        let world = World::new();
        let m = Mutator::new(&world, true);
        let it = Arc::clone(&m);
        let t = thread::spawn(move || {
            it.begin();
            deliver();
            it.world.heap.with_mut(|at| {
                deliver();
                // SAFETY: loom checks.
                unsafe { *at += 1 }
            });
            it.host();
        });
        stop(&world, &[m]);
        over(&world);
        t.join().unwrap();
    });
}

/// A thread that waits in a region, and is at work afterwards.
#[test]
fn a_thread_in_a_safe_region_stands() {
    model(|| {
        let world = World::new();
        let m = Mutator::new(&world, true);
        let it = Arc::clone(&m);
        let t = thread::spawn(move || {
            it.begin();
            it.wait_safely(16);
            it.host();
        });
        stop(&world, &[m]);
        over(&world);
        t.join().unwrap();
    });
}

/// Without a signal: the stopper waits until the thread is in a region, however
/// the two meet, and the thread leaves no region meanwhile.
fn without_signals(leaves_well: bool) {
    let world = World::new();
    let m = Mutator::new(&world, true);
    let it = Arc::clone(&m);
    let t = thread::spawn(move || {
        it.suspend.enter(&it.world.stops, 16);
        if leaves_well {
            it.suspend.leave(&it.world.stops);
        } else {
            it.suspend.reset();
        }
        it.world.touch();
        // To its end.
        it.suspend.enter(&it.world.stops, 32);
    });
    stop_by(&world, std::slice::from_ref(&m), false);
    stop_by(&world, &[m], false);
    t.join().unwrap();
}

#[test]
fn a_stop_without_a_signal_waits_for_a_region() {
    model(|| without_signals(true));
}

#[test]
#[should_panic]
fn a_thread_that_just_leaves_its_region_is_found_out() {
    model(|| without_signals(false));
}
