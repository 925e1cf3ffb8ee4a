//! What is wrong on purpose, to see that the models find it: a scheduler that
//! makes mistakes under the real `block`, and locks like those of `block` but
//! for one step.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --test shuttle_broken`
#![cfg(shuttle)]

use gmprt::{
    base::sync::{AtomicU32, Ordering::*},
    model::{
        Chan, Ended, FOREVER, Hosted, Line, Mistake, Room, check, go, join,
        make_mistake, now, random,
    },
};
use std::sync::Arc;

/// Elements from two senders, with deadlines, to a receiver.
fn elements_arrive(mistake: Option<Mistake>) {
    check(move || {
        if let Some(mistake) = mistake {
            make_mistake(mistake);
        }
        let ch = Chan::new(0);
        let all = [1, 2].map(|elem| {
            let ch = ch.clone();
            go(move || {
                let deadline = now() + random(50) as i64;
                let end = ch.send(elem, deadline);
                assert!(end != Err(libc::EPIPE), "closed by nobody");
            })
        });
        for _ in 0..2 {
            let end = ch.recv(now() + random(50) as i64);
            assert!(end != Err(libc::EPIPE), "closed by nobody");
        }
        join(all);
    });
}

#[test]
fn a_scheduler_without_mistakes_passes() {
    elements_arrive(None);
}

/// A waker that comes between wins before the goroutine is off its stack, and
/// both it and the hook ready the goroutine.
#[test]
#[should_panic(expected = "bad incoming status")]
fn a_hook_that_unlocks_before_it_commits_breaks() {
    elements_arrive(Some(Mistake::UnlocksFirst));
}

#[test]
#[should_panic(expected = "bad incoming status")]
fn a_deadline_that_readies_though_it_lost_breaks() {
    elements_arrive(Some(Mistake::LoserReadies));
}

const LOCKED: u32 = 1;
const QUEUED: u32 = 2;

/// What a lock does that differs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Right,
    /// Who leaves the line says that nobody waits, without a look.
    LeaverForgetsOthers,
    /// Who unlocks looks for waiters before it takes the line's lock only.
    WakerLooksTooEarly,
    /// Touches the lock after somebody else may have freed it.
    TouchesItLater,
}

/// A lock that is handed over, first come first served.
#[derive(Default)]
struct Lock(AtomicU32);

impl Lock {
    fn lock_until(&self, deadline: i64, step: Step) -> bool {
        let line = Line::of(self);
        let old = self.0.fetch_update(SeqCst, SeqCst, |old| {
            Some(if old == 0 { LOCKED } else { old | QUEUED })
        });
        if old == Ok(0) {
            return true;
        }
        match line.wait(deadline) {
            Ended::Woken => true,
            Ended::Left(_, line) => {
                let forgets = step == Step::LeaverForgetsOthers;
                if forgets || line.is_empty() {
                    self.0.fetch_and(!QUEUED, SeqCst);
                }
                false
            }
        }
    }

    fn unlock(&self, step: Step) {
        let alone = self.0.compare_exchange(LOCKED, 0, SeqCst, SeqCst);
        if alone.is_ok() {
            if step == Step::TouchesItLater {
                self.0.load(SeqCst);
            }
            return;
        }
        if step == Step::WakerLooksTooEarly {
            // Nobody may wait any more when this has the line.
            match Line::of(self).pop() {
                Some(next) => next.wake(),
                None => panic!("nobody waits"),
            }
            return;
        }
        let line = Line::of(self);
        let next = line.pop();
        let queued = if line.is_empty() { 0 } else { QUEUED };
        let locked = if next.is_some() { LOCKED } else { 0 };
        self.0.store(locked | queued, SeqCst);
        drop(line);
        if let Some(next) = next {
            next.wake();
        }
    }
}

/// Three use a lock, two of them in haste; whoever is last frees it.
fn a_lock_works(step: Step) {
    check(move || {
        let lock = Hosted::new(Lock::default());
        let room = Arc::new(Room::default());
        let users = Arc::new(std::sync::atomic::AtomicU32::new(3));
        let all = [20, 40, FOREVER].map(|ns| {
            let (room, users) = (room.clone(), users.clone());
            go(move || {
                let deadline = now().saturating_add(ns);
                if !lock.lock_until(deadline, step) {
                    assert!(lock.lock_until(FOREVER, step));
                }
                room.alone();
                let last = users.fetch_sub(1, SeqCst) == 1;
                lock.unlock(step);
                if last {
                    lock.free();
                }
            })
        });
        join(all);
    });
}

#[test]
fn a_lock_with_all_its_steps_passes() {
    a_lock_works(Step::Right);
}

#[test]
#[should_panic(expected = "deadlock!")]
fn a_leaver_that_forgets_the_others_breaks() {
    a_lock_works(Step::LeaverForgetsOthers);
}

#[test]
#[should_panic(expected = "nobody waits")]
fn a_waker_that_looks_too_early_breaks() {
    a_lock_works(Step::WakerLooksTooEarly);
}

#[test]
#[should_panic(expected = "already")]
fn a_touch_after_the_last_unlock_breaks() {
    a_lock_works(Step::TouchesItLater);
}

/// A condition whose waiters unlock before they are in its line.
#[test]
#[should_panic(expected = "deadlock!")]
fn a_condition_that_unlocks_before_it_waits_breaks() {
    check(|| {
        let lock = Hosted::new(Lock::default());
        let cond = Hosted::new(AtomicU32::new(0));
        let waiter = go(move || {
            assert!(lock.lock_until(FOREVER, Step::Right));
            while cond.load(SeqCst) == 0 {
                lock.unlock(Step::Right);
                let end = Line::of(&*cond).wait(FOREVER);
                assert!(matches!(end, Ended::Woken));
                assert!(lock.lock_until(FOREVER, Step::Right));
            }
            lock.unlock(Step::Right);
        });
        assert!(lock.lock_until(FOREVER, Step::Right));
        cond.store(1, SeqCst);
        let next = Line::of(&*cond).pop();
        lock.unlock(Step::Right);
        if let Some(next) = next {
            next.wake();
        }
        waiter.join();
        lock.free();
        cond.free();
    });
}
