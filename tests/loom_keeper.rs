//! Models of the keeper's end: loom runs every interleaving of
//! `gmp::keeper::Keeper` between an M that goes to sleep in the poller and who
//! puts a new poller in the place of one that is gone.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_keeper`
//!
//! What is checked: who counts as the keeper sleeps in the new poller, and a
//! keeper's end is set right exactly once.
//!
//! # That it can fail
//! A renewer that abandons before its poller is there has a model here that
//! must panic, and so has a keeper that looks before it says that it sleeps.
#![cfg(loom)]

use gmprt::base::sync::{AtomicU32, Ordering::*};
use gmprt::gmp::keeper::Keeper;
use loom::thread;
use std::sync::Arc;

/// What somebody does wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    Nothing,
    /// The renewer abandons first.
    AbandonsEarly,
    /// The keeper looks which poller it is first.
    LooksEarly,
}
use Mistake::*;

const OLD: u32 = 1;
const NEW: u32 = 2;

struct Model {
    keeper: Keeper,
    poller: AtomicU32,
    /// How often the end of the keeping was set right.
    ends: AtomicU32,
}

fn model(mistake: Mistake) {
    let shared = Arc::new(Model {
        keeper: Keeper::new(),
        poller: AtomicU32::new(OLD),
        ends: AtomicU32::new(0),
    });
    let renewer = {
        let m = Arc::clone(&shared);
        thread::spawn(move || {
            if mistake != AbandonsEarly {
                m.poller.store(NEW, Release);
            }
            let abandoned = m.keeper.abandon();
            if abandoned {
                m.ends.fetch_add(1, Relaxed);
            }
            if mistake == AbandonsEarly {
                m.poller.store(NEW, Release);
            }
            abandoned
        })
    };
    let early = shared.poller.load(Acquire);
    shared.keeper.sleeps(1);
    let late = shared.poller.load(Acquire);
    let sleeps_in = if mistake == LooksEarly { early } else { late };
    // One that sleeps in the old poller wakes for what comes there, or never:
    // so it has to be abandoned.
    let abandoned = renewer.join().unwrap();
    assert!(abandoned || sleeps_in == NEW);
    if shared.keeper.woke(1) {
        shared.ends.fetch_add(1, Relaxed);
    }
    assert_eq!(shared.ends.load(Relaxed), 1);
}

#[test]
fn the_keeper_sleeps_in_the_new_poller_or_is_abandoned() {
    loom::model(|| model(Nothing));
}

/// It wakes while it is being abandoned.
#[test]
fn one_side_ends_the_keeping() {
    loom::model(|| {
        let shared = Arc::new((Keeper::new(), AtomicU32::new(0)));
        let renewer = {
            let m = Arc::clone(&shared);
            thread::spawn(move || {
                if m.0.abandon() {
                    m.1.fetch_add(1, Relaxed);
                }
            })
        };
        for m in [1, 2] {
            shared.0.sleeps(m);
            if shared.0.woke(m) {
                shared.1.fetch_add(1, Relaxed);
            }
        }
        renewer.join().unwrap();
        assert_eq!(shared.1.load(Relaxed), 2);
    });
}

#[test]
#[should_panic]
fn a_renewer_that_abandons_early_leaves_it_in_the_old_one() {
    loom::model(|| model(AbandonsEarly));
}

#[test]
#[should_panic]
fn a_keeper_that_looks_early_stays_in_the_old_one() {
    loom::model(|| model(LooksEarly));
}
