//! Models of the timekeeper: loom runs every interleaving of the code in
//! `gmp::keeper`, with the real note, on a futex and in a poller that are
//! models.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_keeper`
//!
//! What is checked: a timekeeper that sleeps for ever is woken for each
//! deadline and each waiter that comes, or the one that comes knows that nobody
//! keeps the time; a sleep is woken once; a timekeeper sleeps in the new poller
//! or is abandoned; its end is set right once. A lost wake-up is a deadlock,
//! which loom reports; a note that is woken twice throws.
//!
//! # That it can fail
//! Each actor has a model here in which it takes its steps in a wrong order,
//! and that must panic.
#![cfg(loom)]

use gmprt::base::Futex;
use gmprt::base::sync::{
    AtomicBool, AtomicI64, AtomicU32, Ordering::*, seqcst_accesses,
};
use gmprt::gmp::keeper::{EARLIEST, Ended, Keeper, Sleep, Wake};
use loom::sync::{Condvar, Mutex};
use loom::thread;
use std::sync::Arc;

const FOREVER: i64 = i64::MAX;

loom::lazy_static! {
    static ref KERNEL: (Mutex<()>, Condvar) =
        (Mutex::new(()), Condvar::new());
}

/// Every deadline but [`FOREVER`] has passed when the sleep begins.
struct ModelFutex;

impl Futex for ModelFutex {
    fn wait(word: &AtomicU32, expected: u32, deadline: i64) -> bool {
        let guard = KERNEL.0.lock().unwrap();
        if word.load(Relaxed) != expected {
            return true;
        }
        if deadline != FOREVER {
            return false;
        }
        drop(KERNEL.1.wait(guard).unwrap());
        true
    }

    fn wake(_: *const AtomicU32, _: u32) {
        let _guard = KERNEL.0.lock().unwrap();
        KERNEL.1.notify_all();
    }

    fn barrier() {}
}

/// A poller that stays woken once it was.
struct Poller {
    woken: Mutex<bool>,
    bell: Condvar,
}

impl Poller {
    fn new() -> Self {
        Self { woken: Mutex::new(false), bell: Condvar::new() }
    }

    fn poll(&self, until: i64) {
        let mut woken = self.woken.lock().unwrap();
        while until == FOREVER && !*woken {
            woken = self.bell.wait(woken).unwrap();
        }
    }

    fn wake(&self) {
        *self.woken.lock().unwrap() = true;
        self.bell.notify_all();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Note,
    Poller,
}

struct Model {
    keeper: Keeper<ModelFutex>,
    poller: Poller,
    /// The earliest deadline.
    heap: AtomicI64,
    waiters: AtomicU32,
    /// Someone who is not asleep has seen what was added.
    seen: AtomicBool,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            keeper: Keeper::new(),
            poller: Poller::new(),
            heap: AtomicI64::new(FOREVER),
            waiters: AtomicU32::new(0),
            seen: AtomicBool::new(false),
        })
    }

    /// Keeps the time once, until `latest`; false if another does.
    fn keep(&self, place: Place, latest: impl Fn() -> i64) -> bool {
        let Some(timekeeper) = self.keeper.become_timekeeper() else {
            return false;
        };
        match place {
            Place::Note => timekeeper.sleep_on_note(latest, || 1),
            Place::Poller => {
                let poll = |until| self.poller.poll(until);
                let (_, end) =
                    timekeeper.sleep_in_poller(1, latest, || 1, poll);
                assert_eq!(end, Ended::Kept);
            }
        }
        true
    }

    fn next(&self) -> i64 {
        self.heap.load(Acquire)
    }

    /// Wakes the poller where the keeper says so.
    fn ring(&self, wake: Wake) {
        if wake == Wake::Poller {
            self.poller.wake();
        }
    }

    /// An M that is awake looks for what there is to keep.
    fn look(&self) {
        if self.next() != FOREVER || self.waiters.load(Relaxed) != 0 {
            self.seen.store(true, Relaxed);
        }
    }

    /// What `wakep` leads to: an M that keeps the time if nobody does.
    fn another_comes(&self) {
        if self.keep(Place::Note, || EARLIEST) {
            self.look();
        }
    }
}

/// `body` beside the timekeeper, which sleeps at `place`.
fn beside(
    place: Place,
    preemptions: Option<usize>,
    latest: fn(&Model) -> i64,
    body: fn(&Model),
) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        let m = Model::new();
        let other = {
            let m = Arc::clone(&m);
            thread::spawn(move || body(&m))
        };
        if m.keep(place, || latest(&m)) {
            m.look();
        }
        other.join().unwrap();
        assert!(m.seen.load(Relaxed), "nobody has seen it");
    });
}

/// Adds a deadline, as an M without a P does.
fn add(m: &Model) {
    m.heap.store(7, Release);
    m.ring(m.keeper.deadline_moved(7));
    if m.keeper.sleep() == Sleep::Nobody {
        m.another_comes();
    }
}

#[test]
fn a_deadline_wakes_the_note() {
    beside(Place::Note, None, Model::next, add);
}

#[test]
fn a_deadline_wakes_the_poller() {
    beside(Place::Poller, None, Model::next, add);
}

/// The timekeeper's own deadline comes first, and passes.
#[test]
fn a_deadline_that_comes_at_the_end_is_seen() {
    for place in [Place::Note, Place::Poller] {
        beside(place, None, |m| m.next().min(5), add);
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_deadline_that_is_told_before_it_is_added_is_slept_past() {
    beside(Place::Note, None, Model::next, |m| {
        m.ring(m.keeper.deadline_moved(7));
        m.heap.store(7, Release);
        if m.keeper.sleep() == Sleep::Nobody {
            m.another_comes();
        }
    });
}

/// There has been no poller: the timekeeper sleeps on the note, unless there
/// are waiters.
fn no_waiter(m: &Model) -> i64 {
    if m.waiters.load(SeqCst) != 0 { EARLIEST } else { FOREVER }
}

/// Waits for a descriptor.
fn wait(m: &Model) {
    m.waiters.fetch_add(1, SeqCst);
    look_for_sleeper(m);
}

fn look_for_sleeper(m: &Model) {
    match m.keeper.sleep() {
        Sleep::Nobody => m.another_comes(),
        Sleep::OnNote(_) => m.ring(m.keeper.deadline_moved(EARLIEST)),
        // It polls.
        Sleep::InPoller(_) => m.seen.store(true, Relaxed),
    }
}

#[test]
fn a_waiter_for_a_descriptor_wakes_the_note() {
    beside(Place::Note, None, no_waiter, wait);
}

#[test]
#[should_panic]
fn a_waiter_that_counts_itself_late_is_slept_past() {
    beside(Place::Note, None, no_waiter, |m| {
        look_for_sleeper(m);
        seqcst_accesses();
        m.waiters.fetch_add(1, SeqCst);
    });
}

/// Two wakers, and two sleeps in a row: a wake-up that is late hits no sleep
/// but its own, and each sleep is woken once.
fn two_sleeps(first: Place, second: Place) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(2);
    builder.check(move || {
        let m = Model::new();
        let wakers: Vec<_> = (0..2)
            .map(|_| {
                let m = Arc::clone(&m);
                thread::spawn(move || m.ring(m.keeper.deadline_moved(EARLIEST)))
            })
            .collect();
        for place in [first, second] {
            assert!(m.keep(place, || 5));
        }
        for waker in wakers {
            waker.join().unwrap();
        }
        // The note is clear, and hears the next waker.
        assert!(m.keep(Place::Note, || EARLIEST));
    });
}

#[test]
fn each_sleep_is_woken_once() {
    for first in [Place::Note, Place::Poller] {
        for second in [Place::Note, Place::Poller] {
            two_sleeps(first, second);
        }
    }
}

/// Of two Ms one keeps the time, and each that finds it kept leaves what it
/// has seen to the other.
#[test]
fn one_keeps_the_time() {
    loom::model(|| {
        let m = Model::new();
        let other = {
            let m = Arc::clone(&m);
            thread::spawn(move || {
                m.waiters.fetch_add(1, Relaxed);
                m.another_comes();
                if m.keeper.may_poll(|| 2) {
                    m.look();
                }
            })
        };
        if m.keep(Place::Note, || EARLIEST) {
            m.look();
        }
        other.join().unwrap();
        assert!(!m.keeper.is_kept());
        assert!(m.seen.load(Relaxed), "nobody has seen it");
    });
}

const OLD: u32 = 1;
const NEW: u32 = 2;

/// What the actors of a renewal do wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    Nothing,
    /// The renewer abandons first.
    AbandonsEarly,
    /// The timekeeper looks which poller it is before it says that it sleeps.
    LooksEarly,
}

fn renewal(mistake: Mistake) {
    let shared = Arc::new((Keeper::<ModelFutex>::new(), AtomicU32::new(OLD)));
    let renewer = {
        let m = Arc::clone(&shared);
        thread::spawn(move || {
            let (keeper, poller) = &*m;
            if mistake != Mistake::AbandonsEarly {
                poller.store(NEW, Release);
            }
            keeper.abandon(|| 1);
            if mistake == Mistake::AbandonsEarly {
                poller.store(NEW, Release);
            }
        })
    };
    let (keeper, poller) = &*shared;
    let early = poller.load(Acquire);
    let timekeeper = keeper.become_timekeeper().unwrap();
    let poll = |_| {
        let late = poller.load(Acquire);
        renewer.join().unwrap();
        if mistake == Mistake::LooksEarly { early } else { late }
    };
    let (sleeps_in, end) =
        timekeeper.sleep_in_poller(1, || FOREVER, || 1, poll);
    // One that sleeps in the old poller wakes for what comes there, or never:
    // so it has to be abandoned.
    assert!(end == Ended::Abandoned || sleeps_in == NEW);
    // One side has ended the keeping.
    assert!(!keeper.is_kept() && keeper.sleep() == Sleep::Nobody);
}

#[test]
fn the_timekeeper_sleeps_in_the_new_poller_or_is_abandoned() {
    loom::model(|| renewal(Mistake::Nothing));
}

/// The poller of a model that is renewed.
struct Pollers {
    model: Arc<Model>,
    current: AtomicU32,
    old: Poller,
}

impl Pollers {
    fn current(&self) -> &Poller {
        let new = self.current.load(Acquire) == NEW;
        if new { &self.model.poller } else { &self.old }
    }

    fn renew(&self) {
        self.current.store(NEW, Release);
        let mut abandoned = false;
        self.model.keeper.abandon(|| {
            abandoned = true;
            1
        });
        if abandoned {
            // An end to the sleep of an M that counts no longer.
            self.old.wake();
            self.model.poller.wake();
            self.model.another_comes();
        }
    }

    fn add(&self) {
        let m = &self.model;
        m.heap.store(7, Release);
        if m.keeper.deadline_moved(7) == Wake::Poller {
            self.current().wake();
        }
        if m.keeper.sleep() == Sleep::Nobody {
            m.another_comes();
        }
    }
}

/// A waker finds the old poller or the new one, and the timekeeper is woken, or
/// abandoned and so replaced.
#[test]
fn a_waker_beside_a_renewal_wakes_the_new_poller() {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(|| {
        let p = Arc::new(Pollers {
            model: Model::new(),
            current: AtomicU32::new(OLD),
            old: Poller::new(),
        });
        let (keeper, m) = (&p.model.keeper, &p.model);
        let timekeeper = keeper.become_timekeeper().unwrap();
        let others = [Pollers::renew, Pollers::add].map(|step| {
            let p = Arc::clone(&p);
            thread::spawn(move || step(&p))
        });
        let poll = |until| p.current().poll(until);
        let (_, _end) = timekeeper.sleep_in_poller(1, || m.next(), || 1, poll);
        m.look();
        for other in others {
            other.join().unwrap();
        }
        assert!(!keeper.is_kept() && keeper.sleep() == Sleep::Nobody);
        assert!(m.seen.load(Relaxed), "nobody has seen it");
    });
}

/// It wakes while it is being abandoned, and another M keeps the time then.
#[test]
fn one_side_ends_the_keeping() {
    loom::model(|| {
        let m = Arc::new(Keeper::<ModelFutex>::new());
        let renewer = {
            let m = Arc::clone(&m);
            thread::spawn(move || m.abandon(|| 1))
        };
        for at in [1, 2] {
            // None: abandoned, and that is not over yet.
            if let Some(timekeeper) = m.become_timekeeper() {
                let (_, _end) =
                    timekeeper.sleep_in_poller(at, || EARLIEST, || 1, |_| ());
            }
        }
        renewer.join().unwrap();
        assert!(!m.is_kept());
    });
}

#[test]
#[should_panic]
fn a_renewer_that_abandons_early_leaves_it_in_the_old_one() {
    loom::model(|| renewal(Mistake::AbandonsEarly));
}

#[test]
#[should_panic]
fn a_timekeeper_that_looks_early_stays_in_the_old_one() {
    loom::model(|| renewal(Mistake::LooksEarly));
}
