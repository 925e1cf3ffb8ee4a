//! Models of a `block::once` whose function is left: by an exception, by a
//! jump of which nobody knows at first, by `gmp_exit`; beside callers with
//! deadlines and a cancel.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --test shuttle_once`
//!
//! What is checked: one runs it at a time; it comes to its end once, and
//! nobody who is told that it is done comes before; nobody waits for ever, and
//! no record of a call is left.
//!
//! # That it can fail
//! An exception that wakes nobody, a jump of which nobody is told, and one that
//! is told too early have models here that must hang.
#![cfg(shuttle)]

use gmprt::model::{
    Ends, FOREVER, Goroutine, Hosted,
    Left::{self, *},
    Mistake, Once, Room, check, go, join, make_mistake, now, random, until,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A once and what its function does.
#[derive(Clone)]
struct Work {
    o: Hosted<Once>,
    room: Arc<Room>,
    /// How often it has come to its end.
    over: Arc<AtomicU64>,
}

impl Work {
    fn new() -> Self {
        let o = Hosted::new(Once::default());
        Self { o, room: Arc::default(), over: Arc::default() }
    }

    /// Calls it, and the function ends so.
    fn call(
        &self,
        how: Left,
        deadline: Option<i64>,
    ) -> Result<Option<Left>, i32> {
        let end = self.o.call_left(
            || {
                self.room.alone();
                if matches!(how, Returns | Exits) {
                    self.over.fetch_add(1, Relaxed);
                }
                how
            },
            deadline,
        );
        if end == Ok(None) {
            assert_eq!(self.over.load(Relaxed), 1, "told too early");
        }
        end
    }

    /// A caller that leaves it so, `times` times at most, and then comes to an
    /// end with it or gives up.
    fn leaver(&self, how: Left, times: u32, then: Then) -> Goroutine {
        let this = self.clone();
        go(move || {
            for _ in 0..times {
                if this.call(how, None) != Ok(Some(how)) || how == Exits {
                    return;
                }
            }
            if then == Then::Returns {
                this.call(Returns, None).expect("nothing interrupts it");
            }
        })
    }

    fn end(self, over: u64) {
        assert_eq!(self.over.load(Relaxed), over);
        self.o.free();
    }
}

/// What a caller does that has left it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Returns,
    Ends,
}

fn some_then() -> Then {
    if random(2) == 0 { Then::Returns } else { Then::Ends }
}

fn some_time() -> i64 {
    if random(3) == 0 { FOREVER } else { now() + random(100) as i64 }
}

/// Some leave it, again and again, and some give up; who waits patiently is
/// told when it is done, by itself or by another.
#[test]
fn one_of_those_who_wait_runs_what_was_left() {
    static ENDS: Ends<5> = Ends::new();
    check(|| {
        let w = Work::new();
        let mut all = Vec::new();
        for how in [Throws, Jumps] {
            all.push(w.leaver(how, 2, some_then()));
        }
        all.push(w.leaver(
            [Throws, Jumps, Exits][random(3) as usize],
            1,
            some_then(),
        ));
        for name in 0..2 {
            let this = w.clone();
            all.push(go(move || {
                let how = [Returns, Jumps][random(2) as usize];
                ENDS.reached(match this.call(how, Some(some_time())) {
                    Ok(None) => 0,
                    Ok(Some(Returns)) => 1,
                    Ok(Some(_)) => 2,
                    Err(libc::ETIMEDOUT) => 3,
                    Err(libc::ECANCELED) if name == 1 => 4,
                    Err(e) => panic!("{e}"),
                });
            }));
        }
        let name = all[4].handle();
        let canceller = go(move || {
            name.cancel();
        });
        let patient = [(); 2].map(|()| {
            let this = w.clone();
            go(move || {
                this.call(Returns, None).expect("nothing interrupts it");
            })
        });
        join(all);
        join(patient);
        canceller.join();
        w.end(1);
    });
    ENDS.check();
}

/// All of them leave it: whoever comes last runs it to its end.
#[test]
fn what_all_have_left_is_begun_anew() {
    static ENDS: Ends<4> = Ends::new();
    check(|| {
        let w = Work::new();
        let all = [0, 1, 2].map(|_| {
            let how = random(2) as usize;
            ENDS.reached(how);
            let then = some_then();
            ENDS.reached(2 + usize::from(then == Then::Ends));
            w.leaver([Throws, Jumps][how], 1 + random(2) as u32, then)
        });
        join(all);
        let ran = w.call(Returns, None).expect("nobody runs it");
        assert!(ran.is_none() || ran == Some(Returns));
        w.end(1);
    });
    ENDS.check();
}

/// A jump has left it, and others come to its end and free it, while the one
/// that jumped ends: that one does not touch it.
#[test]
fn a_call_that_is_lost_touches_it_no_more() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let w = Work::new();
        let [jumped, users] = [0, 2].map(|n| Arc::new(AtomicU64::new(n)));
        let (theirs, flag) = (w.clone(), jumped.clone());
        let leaver = go(move || {
            assert_eq!(theirs.call(Jumps, None), Ok(Some(Jumps)));
            flag.store(1, Relaxed);
        });
        let all = [(); 2].map(|()| {
            let (w, jumped, users) = (w.clone(), jumped.clone(), users.clone());
            go(move || {
                until(|| jumped.load(Relaxed) == 1);
                let end = w.call(Returns, None).expect("it may wait");
                ENDS.reached(end.is_some().into());
                if users.fetch_sub(1, Relaxed) == 1 {
                    w.end(1);
                }
            })
        });
        join(all);
        leaver.join();
    });
    ENDS.check();
}

/// Two leave it as the test says, beside two that wait.
fn with(mistake: Mistake, how: Left) {
    check(move || {
        make_mistake(mistake);
        let w = Work::new();
        let leavers = [(); 2].map(|()| w.leaver(how, 2, Then::Ends));
        let patient = [(); 2].map(|()| w.leaver(Returns, 1, Then::Ends));
        join(leavers);
        join(patient);
        w.end(1);
    });
}

#[test]
#[should_panic(expected = "deadlock!")]
fn an_exception_that_wakes_nobody_breaks() {
    with(Mistake::AbandonsInSilence, Throws);
}

#[test]
#[should_panic(expected = "deadlock!")]
fn a_jump_of_which_nobody_is_told_breaks() {
    with(Mistake::LosesInSilence, Jumps);
}

#[test]
#[should_panic(expected = "deadlock!")]
fn a_jump_that_is_told_too_early_breaks() {
    with(Mistake::TellsTooEarly, Jumps);
}
