//! A model of how waits of host threads end with the runtime: loom runs every
//! interleaving of `gmp::closing`, with the real note, on a futex that is a
//! model.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_closing`
//!
//! A host thread that sleeps on after the end would sleep for ever, which loom
//! reports; a note that is woken twice throws.
#![cfg(loom)]

use gmprt::base::Futex;
use gmprt::base::note::Note;
use gmprt::base::sync::{AtomicU32, Ordering, fence};
use gmprt::gmp::closing::{Closing, Stage};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::sync::Arc;

loom::lazy_static! {
    /// The kernel's side, as in `loom_base`.
    static ref KERNEL: (Mutex<()>, Condvar) =
        (Mutex::new(()), Condvar::new());
}

struct ModelFutex;

impl Futex for ModelFutex {
    fn wait(word: &AtomicU32, expected: u32, _deadline: i64) -> bool {
        let guard = KERNEL.0.lock().unwrap();
        if word.load(Ordering::Relaxed) == expected {
            drop(KERNEL.1.wait(guard).unwrap());
        }
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

/// What ended a wait; one actor moves it from PENDING.
const PENDING: u32 = 0;
const WOKEN: u32 = 1;
const GIVEN_UP: u32 = 2;

struct Model {
    closing: Closing,
    note: Note<ModelFutex>,
    /// In the place of the park word.
    wait: AtomicU32,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            closing: Closing::new(),
            note: Note::new(),
            wait: AtomicU32::new(PENDING),
        })
    }

    fn fire(&self, cause: u32) -> bool {
        let (won, lost) = (Ordering::AcqRel, Ordering::Acquire);
        self.wait.compare_exchange(PENDING, cause, won, lost).is_ok()
    }

    /// As `sched::host::sleep`.
    fn park(&self) {
        self.park_by(|| self.closing.sleep(&self.note, i64::MAX));
    }

    /// [`Model::park`], with this sleep.
    fn park_by(&self, sleep: impl FnOnce() -> bool) {
        if !sleep() {
            if self.fire(GIVEN_UP) {
                return;
            }
            self.note.sleep();
        }
        self.note.clear();
    }

    fn wake(&self) {
        if self.fire(WOKEN) {
            self.note.wakeup();
        }
    }

    /// As `boot::shutdown`.
    fn close(&self) {
        self.closing.set(Stage::Refusing);
        self.closing.set(Stage::Closed);
        self.nudge();
    }

    /// Until the owner of the note is awake, or the waker has won: that wakes
    /// the owner, and loom would follow nudges meanwhile without end.
    fn nudge(&self) {
        while self.closing.nudge(&self.note) && self.is_pending() {
            thread::yield_now();
        }
    }

    fn is_pending(&self) -> bool {
        self.wait.load(Ordering::Relaxed) == PENDING
    }
}

#[test]
fn a_wait_ends_with_the_runtime() {
    loom::model(|| {
        let model = Model::new();
        let other = model.clone();
        let closer = thread::spawn(move || other.close());
        model.park();
        assert_eq!(model.wait.load(Ordering::Relaxed), GIVEN_UP);
        closer.join().unwrap();
    });
}

#[test]
fn a_waker_or_the_end_wins_and_none_is_lost() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let model = Model::new();
        let (a, b) = (model.clone(), model.clone());
        let closer = thread::spawn(move || a.close());
        let waker = thread::spawn(move || b.wake());
        model.park();
        assert_ne!(model.wait.load(Ordering::Relaxed), PENDING);
        closer.join().unwrap();
        waker.join().unwrap();
    });
}

/// After the end the next start's waits last.
#[test]
fn after_the_end_a_wait_lasts_until_it_is_woken() {
    loom::model(|| {
        let model = Model::new();
        model.close();
        model.closing.set(Stage::Leaving);
        model.closing.set(Stage::Open);
        let other = model.clone();
        let waker = thread::spawn(move || other.wake());
        model.park();
        assert_eq!(model.wait.load(Ordering::Relaxed), WOKEN);
        waker.join().unwrap();
    });
}

/// The host thread sleeps by `park`, and the runtime ends by `close`.
fn race(park: fn(&Model), close: fn(&Model)) {
    loom::model(move || {
        let model = Model::new();
        let other = model.clone();
        let closer = thread::spawn(move || close(&other));
        park(&model);
        closer.join().unwrap();
    });
}

/// Without its fence the host thread and the end miss each other.
#[test]
#[should_panic(expected = "deadlock")]
fn without_the_sleeper_s_fence_it_sleeps_for_ever() {
    let park = |model: &Model| {
        let over = || model.closing.has_come(Stage::Closed);
        model.park_by(|| model.note.sleep_unless(i64::MAX, over));
    };
    race(park, Model::close);
}

/// A look at the note before the stage is Closed finds nobody asleep.
#[test]
#[should_panic(expected = "deadlock")]
fn a_look_before_the_stage_misses_the_sleeper() {
    race(Model::park, |model| {
        model.nudge();
        model.closing.set(Stage::Closed);
    });
}

/// One nudge may come before the sleep that it should end.
#[test]
#[should_panic(expected = "deadlock")]
fn one_nudge_is_not_enough() {
    race(Model::park, |model| {
        model.closing.set(Stage::Closed);
        model.closing.nudge(&model.note);
    });
}
