//! Models of the handoff of a P: loom runs every interleaving of
//! `gmp::owner::OwnerWord` between Ms that enter and leave the runtime, sysmon
//! that retakes, and whoever stops the world.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_owner`
//!
//! What is checked: the owner-only data of a P is never touched by two sides
//! at once (loom's `UnsafeCell` sees to that, and to the ordering between one
//! holder and the next), and a P is never lost: at the end the word says what
//! the owner believes.
//!
//! # The barrier
//! membarrier makes each other thread execute a full barrier at some point
//! between the call's start and its end. Seen from the compiler fence of one
//! owner's entry, that point is
//! - before it: then all that the owner reads after the fence comes after what
//!   sysmon wrote before the call;
//! - or after it: then all that sysmon reads after the call comes after what
//!   the owner wrote before the fence.
//!
//! That is the light and the heavy side of an asymmetric fence, as in folly
//! and in P1202 for C++: both take part in one order, as SeqCst fences do, but
//! two light sides are not ordered with each other. The model is a
//! read-modify-write of one word per M by both sides: the second of the two
//! acquires what the first has released, and Ms learn nothing of each other.
//! So it allows all that a SeqCst fence on both sides allows, and more: where
//! membarrier is missing there are such fences.
//!
//! # That it can fail
//! Each way to get the protocol wrong has a model here that must panic: no
//! barrier, the flag and the word in the wrong order, the designs that `owner`
//! rejects, and two who retake at the same time.
#![cfg(loom)]

use gmprt::base::sync::{AtomicBool, AtomicU64, Ordering::*};
use gmprt::gmp::owner::{OwnerWord, POwner};
use loom::cell::UnsafeCell;
use loom::sync::Mutex;
use loom::thread::{self, JoinHandle};
use std::sync::Arc;

/// The M that has the P at first.
const M1: u64 = 4;
/// The M that gets it from sysmon.
const M2: u64 = 8;

/// What the other sides read of an M.
struct M {
    in_runtime: AtomicBool,
    /// At work on the heap, which counts as inside (`gc::shortway`).
    busy: AtomicBool,
    /// Where barriers find the M's thread.
    barrier: AtomicU64,
}

impl M {
    fn new() -> Self {
        let flag = || AtomicBool::new(false);
        Self { in_runtime: flag(), busy: flag(), barrier: AtomicU64::new(0) }
    }

    /// Either side of the barrier, see the opening.
    fn barrier(&self) {
        self.barrier.fetch_add(1, AcqRel);
    }

    /// Goes inside: the flag, then the light side of the barrier.
    fn go_inside(&self) {
        self.in_runtime.store(true, Relaxed);
        self.barrier();
    }

    fn go_outside(&self) {
        self.in_runtime.store(false, Release);
    }

    /// The heavy side of the barrier, then the flag.
    fn is_inside(&self) -> bool {
        self.barrier();
        self.in_runtime.load(Acquire) || self.busy.load(Acquire)
    }
}

/// What only the holder of the P touches.
struct Owned(UnsafeCell<u32>);

// SAFETY: that one thread at a time touches it is what loom checks.
unsafe impl Sync for Owned {}
// SAFETY: as above.
unsafe impl Send for Owned {}

impl Owned {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn touch(&self) {
        // SAFETY: loom panics before another thread can be in here.
        self.0.with_mut(|n| unsafe { *n += 1 });
    }
}

/// A P and the Ms that want it.
struct Model {
    owner: OwnerWord,
    data: Owned,
    m1: M,
    /// `sched::procs`: one retakes at a time.
    retaking: Mutex<()>,
    /// The world is to be stopped.
    gcwaiting: AtomicBool,
}

impl Model {
    /// M1 holds the P and is outside.
    fn new() -> Arc<Self> {
        let owner = OwnerWord::new();
        owner.restart();
        assert!(owner.acquire(M1));
        Arc::new(Self {
            owner,
            data: Owned::new(),
            m1: M::new(),
            retaking: Mutex::new(()),
            gcwaiting: AtomicBool::new(false),
        })
    }

    /// As `sched::procs` retakes from M1, without its first look at the flag,
    /// which is a hint.
    fn try_retake(&self, take: impl Fn(&OwnerWord) -> bool) -> bool {
        if !self.owner.begin_retake(M1) {
            return false;
        }
        if self.m1.is_inside() {
            self.owner.cancel_retake(M1);
            return false;
        }
        take(&self.owner)
    }

    /// The same beside other retakers.
    fn try_retake_locked(&self, take: impl Fn(&OwnerWord) -> bool) -> bool {
        let _one = self.retaking.lock().unwrap();
        self.try_retake(take)
    }

    /// An M takes the P from the idle list, if it is there, and puts it back.
    fn m2_runs(&self) {
        if self.owner.acquire(M2) {
            self.data.touch();
            self.owner.release(M2);
        }
    }

    /// sysmon, and the M that gets the P from it.
    fn sysmon(self: &Arc<Self>, looks: u32) -> JoinHandle<()> {
        let model = Arc::clone(self);
        thread::spawn(move || {
            for _ in 0..looks {
                if model.try_retake(|owner| owner.take(M1)) {
                    model.m2_runs();
                }
            }
        })
    }

    /// Stops the world, and starts it again if that worked without M1's help.
    fn stop_the_world(&self, retake: fn(&Self) -> bool) {
        self.gcwaiting.store(true, Release);
        if self.owner.stop() || retake(self) {
            self.data.touch();
            self.gcwaiting.store(false, Release);
            self.owner.restart();
        }
    }
}

/// How M1, inside, finds out whether it still holds the P.
type Look = fn(&Model) -> bool;

/// As `sched::enter` goes inside and looks.
fn sound(model: &Model) -> bool {
    model.m1.go_inside();
    model.owner.enter(M1)
}

/// M1, from its own thread.
struct Owner {
    model: Arc<Model>,
    look: Look,
    /// M1 believes that it holds the P.
    has_p: bool,
}

impl Owner {
    fn new(model: &Arc<Model>, look: Look) -> Self {
        Self { model: Arc::clone(model), look, has_p: true }
    }

    fn enter(&mut self) {
        let has_p = (self.look)(&self.model);
        self.has_p = self.has_p && has_p;
        if self.has_p {
            self.model.data.touch();
        }
    }

    /// A call that uses the P, if it is still there.
    fn call(&mut self) {
        self.enter();
        self.model.m1.go_outside();
    }

    /// The short way of the heap: true if it was one.
    fn short_call(&mut self, barrier: bool) -> bool {
        let model = &self.model;
        model.m1.busy.store(true, Relaxed);
        if barrier {
            model.m1.barrier();
        }
        let holds = self.has_p && model.owner.is_held_by(M1);
        if holds {
            model.data.touch();
        }
        model.m1.busy.store(false, Release);
        holds
    }

    /// A call of the heap.
    fn short_or_long_call(&mut self) {
        if !self.short_call(true) {
            self.call();
        }
    }

    /// A call that takes the P back, if it was lost and is idle.
    fn call_for_p(&mut self) {
        self.enter();
        if !self.has_p && self.model.owner.acquire(M1) {
            self.has_p = true;
            self.model.data.touch();
        }
        self.model.m1.go_outside();
    }

    /// A call that lets the P go, to the idle list.
    fn call_and_release(&mut self) {
        self.enter();
        if self.has_p {
            self.model.owner.release(M1);
            self.has_p = false;
        }
        self.model.m1.go_outside();
    }

    /// A call that stops the P, if the world is to be stopped.
    fn call_and_stop(&mut self) {
        self.enter();
        if self.has_p && self.model.gcwaiting.load(Acquire) {
            self.model.owner.stop_own(M1);
            self.has_p = false;
        }
        self.model.m1.go_outside();
    }

    /// Everybody else is done: M1 has the P if and only if it believes so.
    fn finish(&mut self) {
        let word = self.model.owner.load();
        assert_ne!(word, POwner::Retaking(M1), "a retake without an end");
        self.call();
        assert_eq!(self.has_p, word == POwner::Running(M1), "a lost P");
    }
}

/// Every interleaving with up to `preemptions` switches away from a thread
/// that could go on.
fn check(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

#[test]
fn owner_enters_while_its_p_is_retaken() {
    check(5, || {
        let model = Model::new();
        let mut owner = Owner::new(&model, sound);
        let sysmon = model.sysmon(1);
        owner.call();
        owner.call();
        sysmon.join().unwrap();
        owner.finish();
    });
}

#[test]
fn owner_takes_the_short_way_while_its_p_is_retaken() {
    check(4, || {
        let model = Model::new();
        let mut owner = Owner::new(&model, sound);
        let sysmon = model.sysmon(1);
        owner.short_or_long_call();
        owner.call();
        owner.short_or_long_call();
        sysmon.join().unwrap();
        owner.finish();
    });
}

#[test]
fn the_short_way_is_taken_again_after_the_p_has_come_back() {
    check(3, || {
        let model = Model::new();
        let mut owner = Owner::new(&model, sound);
        let sysmon = model.sysmon(2);
        owner.short_or_long_call();
        owner.call_for_p();
        owner.short_or_long_call();
        sysmon.join().unwrap();
        owner.finish();
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_short_way_without_the_barrier_breaks() {
    check(3, || {
        let model = Model::new();
        let mut owner = Owner::new(&model, sound);
        let sysmon = model.sysmon(1);
        owner.short_call(false);
        sysmon.join().unwrap();
    });
}

#[test]
fn owner_lets_go_in_the_middle_of_a_retake() {
    check(5, || {
        let model = Model::new();
        let mut owner = Owner::new(&model, sound);
        let sysmon = model.sysmon(1);
        owner.call_and_release();
        model.m2_runs();
        sysmon.join().unwrap();
        owner.finish();
        assert_eq!(model.owner.load(), POwner::Idle);
    });
}

#[test]
fn owner_loses_its_p_and_has_it_again_while_sysmon_looks() {
    check(4, || {
        let model = Model::new();
        let mut owner = Owner::new(&model, sound);
        let sysmon = model.sysmon(2);
        owner.call_and_release();
        owner.call_for_p();
        owner.call_for_p();
        sysmon.join().unwrap();
        owner.finish();
    });
}

#[test]
fn another_m_has_the_p_in_between() {
    check(3, || {
        let model = Model::new();
        let mut owner = Owner::new(&model, sound);
        let sysmon = model.sysmon(1);
        let other = Arc::clone(&model);
        let other = thread::spawn(move || other.m2_runs());
        owner.call_and_release();
        owner.call_for_p();
        other.join().unwrap();
        sysmon.join().unwrap();
        owner.finish();
    });
}

/// The world is stopped, and started if that worked at once, while sysmon
/// retakes with `retake`.
fn stop_beside_sysmon(retake: fn(&Model) -> bool) {
    let model = Model::new();
    let mut owner = Owner::new(&model, sound);
    let sysmon = Arc::clone(&model);
    let sysmon = thread::spawn(move || {
        if retake(&sysmon) {
            sysmon.m2_runs();
        }
    });
    let stopper = Arc::clone(&model);
    let stopper = thread::spawn(move || stopper.stop_the_world(retake_stopped));
    owner.call();
    owner.call_and_stop();
    sysmon.join().unwrap();
    stopper.join().unwrap();
    owner.finish();
    if model.gcwaiting.load(Acquire) {
        // Nobody has the P that does not stop it at its next call.
        owner.call_and_stop();
        let stopped = model.owner.load() == POwner::Stopped;
        assert!(stopped || model.owner.stop(), "held by nobody");
        model.data.touch();
    }
}

fn retake_stopped(model: &Model) -> bool {
    model.try_retake_locked(|owner| owner.take_stopped(M1))
}

#[test]
fn the_world_is_stopped_beside_sysmon() {
    check(3, || {
        stop_beside_sysmon(|m| m.try_retake_locked(|owner| owner.take(M1)));
    });
}

/// M1 comes back and leaves in the middle of sysmon's retake; then somebody
/// else begins one, and sysmon takes the P without a barrier since M1 left:
/// M1 may be back, its flag on the way.
#[test]
#[should_panic(expected = "Causality violation")]
fn two_retakers_at_a_time_break() {
    check(3, || stop_beside_sysmon(|m| m.try_retake(|owner| owner.take(M1))));
}

/// An entry that looks as `look` does, twice, while sysmon retakes.
fn try_entry(look: Look) {
    check(3, move || {
        let model = Model::new();
        let mut owner = Owner::new(&model, look);
        let sysmon = model.sysmon(1);
        owner.call();
        owner.call();
        sysmon.join().unwrap();
        owner.finish();
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn an_entry_without_the_barrier_breaks() {
    try_entry(|model| {
        model.m1.in_runtime.store(true, Relaxed);
        model.owner.enter(M1)
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn an_entry_that_looks_before_it_sets_the_flag_breaks() {
    try_entry(|model| {
        let has_p = model.owner.enter(M1);
        model.m1.go_inside();
        has_p
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn an_entry_that_only_looks_and_goes_on_breaks() {
    try_entry(|model| {
        model.m1.go_inside();
        let word = model.owner.load();
        word == POwner::Running(M1) || word == POwner::Retaking(M1)
    });
}

#[test]
#[should_panic(expected = "a lost P")]
fn an_entry_that_only_looks_and_gives_up_breaks() {
    try_entry(|model| {
        model.m1.go_inside();
        model.owner.load() == POwner::Running(M1)
    });
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_retake_without_the_barrier_breaks() {
    check(3, || {
        let model = Model::new();
        let mut owner = Owner::new(&model, sound);
        let sysmon = Arc::clone(&model);
        let sysmon = thread::spawn(move || {
            let M { in_runtime, .. } = &sysmon.m1;
            if sysmon.owner.begin_retake(M1)
                && !in_runtime.load(Acquire)
                && sysmon.owner.take(M1)
            {
                sysmon.m2_runs();
            }
        });
        owner.call();
        sysmon.join().unwrap();
    });
}

/// The rejected design with the holder in one word and the state in another.
struct TwoWords {
    m: AtomicU64,
    running: AtomicU64,
    data: Owned,
    m1: M,
}

/// Values of `running`.
const IDLE: u64 = 0;
const RUNNING: u64 = 1;
const RETAKING: u64 = 2;
/// In sysmon's hands.
const TAKEN: u64 = 3;

impl TwoWords {
    fn cas(&self, from: u64, to: u64) -> bool {
        self.running.compare_exchange(from, to, AcqRel, Acquire).is_ok()
    }

    /// sysmon: the same steps.
    fn retake(&self) {
        if self.m.load(Acquire) != M1 || !self.cas(RUNNING, RETAKING) {
            return;
        }
        if self.m1.is_inside() {
            self.cas(RETAKING, RUNNING);
        } else if self.cas(RETAKING, TAKEN) {
            self.data.touch();
        }
    }

    /// M1 enters, lets the P go, and leaves; M2 has it next, and is inside.
    fn pass_on(&self) {
        self.m1.go_inside();
        if self.cas(RUNNING, IDLE) || self.cas(RETAKING, IDLE) {
            self.m.store(M2, Release);
        }
        self.m1.go_outside();
        if self.cas(IDLE, RUNNING) {
            self.data.touch();
        }
    }
}

/// Between sysmon's two reads the P may have moved to another M.
#[test]
#[should_panic(expected = "Causality violation")]
fn two_words_break() {
    check(3, || {
        let model = Arc::new(TwoWords {
            m: AtomicU64::new(M1),
            running: AtomicU64::new(RUNNING),
            data: Owned::new(),
            m1: M::new(),
        });
        let sysmon = Arc::clone(&model);
        let sysmon = thread::spawn(move || sysmon.retake());
        model.pass_on();
        sysmon.join().unwrap();
    });
}
