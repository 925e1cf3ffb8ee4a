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
//! So it allows all that a SeqCst fence on both sides allows, and more.
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
    /// Where barriers find the M's thread.
    barrier: AtomicU64,
}

impl M {
    fn new() -> Self {
        let in_runtime = AtomicBool::new(false);
        Self { in_runtime, barrier: AtomicU64::new(0) }
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
        self.in_runtime.load(Acquire)
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

    /// Who stops the world: has the P when this returns true, until it
    /// restarts it.
    fn stop_the_world(&self) -> bool {
        self.gcwaiting.store(true, Release);
        self.owner.stop()
            || self.try_retake_locked(|owner| owner.take_stopped(M1))
    }
}

/// M1, from its own thread.
struct Owner {
    model: Arc<Model>,
    /// M1 believes that it holds the P.
    has_p: bool,
}

impl Owner {
    fn new(model: &Arc<Model>) -> Self {
        Self { model: Arc::clone(model), has_p: true }
    }

    /// Goes inside and looks whether the P is still ours, as `sched::enter`.
    fn enter(&mut self) {
        self.model.m1.go_inside();
        self.has_p = self.has_p && self.model.owner.enter(M1);
    }

    /// A call that uses the P, if it is still there.
    fn call(&mut self) {
        self.enter();
        self.use_p();
        self.model.m1.go_outside();
    }

    /// A call that takes the P back, if it was lost and is idle.
    fn call_for_p(&mut self) {
        self.enter();
        self.has_p = self.has_p || self.model.owner.acquire(M1);
        self.use_p();
        self.model.m1.go_outside();
    }

    /// A call at whose end the P goes back to the idle list.
    fn call_and_release(&mut self) {
        self.enter();
        self.use_p();
        if self.has_p {
            self.model.owner.release(M1);
            self.has_p = false;
        }
        self.model.m1.go_outside();
    }

    /// A call that looks whether the world is to be stopped.
    fn call_and_stop(&mut self) {
        self.enter();
        self.use_p();
        if self.has_p && self.model.gcwaiting.load(Acquire) {
            self.model.owner.stop_own(M1);
            self.has_p = false;
        }
        self.model.m1.go_outside();
    }

    fn use_p(&self) {
        if self.has_p {
            self.model.data.touch();
        }
    }

    /// Everybody else is done: the P is M1's if M1 believes so, and otherwise
    /// where somebody finds it.
    fn finish(mut self) {
        let word = self.model.owner.load();
        assert_ne!(word, POwner::Retaking(M1), "a retake has no end");
        assert_ne!(word, POwner::Running(M2), "M2 put it back");
        self.enter();
        assert_eq!(self.has_p, word == POwner::Running(M1), "a lost P");
    }
}

fn check(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound =
        Some(std::env::var("PB").map(|x| x.parse().unwrap()).unwrap_or(2));
    builder.check(f);
}

#[test]
fn owner_enters_while_its_p_is_retaken() {
    check(|| {
        let model = Model::new();
        let mut owner = Owner::new(&model);
        let sysmon = model.sysmon(1);
        owner.call();
        owner.call();
        sysmon.join().unwrap();
        owner.finish();
    });
}

#[test]
fn owner_lets_go_in_the_middle_of_a_retake() {
    check(|| {
        let model = Model::new();
        let mut owner = Owner::new(&model);
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
    check(|| {
        let model = Model::new();
        let mut owner = Owner::new(&model);
        let sysmon = model.sysmon(2);
        owner.call_and_release();
        owner.call_for_p();
        owner.call_for_p();
        sysmon.join().unwrap();
        owner.finish();
    });
}

#[test]
fn owner_lets_go_and_a_third_m_has_the_p() {
    check(|| {
        let model = Model::new();
        let mut owner = Owner::new(&model);
        let sysmon = model.sysmon(1);
        let third = Arc::clone(&model);
        let third = thread::spawn(move || third.m2_runs());
        owner.call_and_release();
        owner.call_for_p();
        third.join().unwrap();
        sysmon.join().unwrap();
        owner.finish();
    });
}

/// The world is stopped beside sysmon; the P starts again with M1 outside.
fn stop_beside_sysmon(retake: fn(&Model) -> bool) {
    let model = Model::new();
    let mut owner = Owner::new(&model);
    let sysmon = Arc::clone(&model);
    let sysmon = thread::spawn(move || {
        if retake(&sysmon) {
            sysmon.m2_runs();
        }
    });
    let stopper = Arc::clone(&model);
    let stopper = thread::spawn(move || {
        let stopped = stopper.stop_the_world();
        if stopped {
            stopper.data.touch();
            stopper.owner.restart();
        }
        stopped
    });
    owner.call();
    owner.call_and_stop();
    sysmon.join().unwrap();
    if !stopper.join().unwrap() {
        // M1 had it, or M2; by now M1 has stopped it unless it did not see.
        let stopped = model.owner.load() == POwner::Stopped;
        assert!(!stopped || !owner.has_p);
    }
    owner.finish();
}

#[test]
fn the_world_is_stopped_beside_sysmon() {
    check(|| {
        stop_beside_sysmon(|m| m.try_retake_locked(|owner| owner.take(M1)));
    });
}

/// What became of one retake is what another began: M1 is back in between.
#[test]
#[should_panic(expected = "Causality violation")]
fn two_retakers_at_a_time_break() {
    check(|| stop_beside_sysmon(|m| m.try_retake(|owner| owner.take(M1))));
}
