//! Models of a goroutine's end and of who joins it: loom runs every
//! interleaving of `gmp::joinword::JoinWord` between the ender, which may take
//! its waiter before it leaves its stack, those who join or release, and a
//! cancel that ends the wait.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_join`
//!
//! Checked: the descriptor is freed once, and not while the ender uses it or
//! its stack; a waiter's record stays while the ender reads it; of two holders
//! that want the descriptor one gets it; and no waiter waits for ever.
//!
//! The steps are those of `sched::join` and of `sched::goexit`.
#![cfg(loom)]

use gmprt::base::sync::{AtomicBool, AtomicU32, Ordering::*, fence};
use gmprt::gmp::joinword::{End, JoinState, JoinWord, Words};
use gmprt::gmp::parkword::{Cause, Claim, Fire, ParkWord, Ticket, WaitKind};
use loom::cell::UnsafeCell;
use loom::thread::{self, Thread};
use std::sync::Arc;

/// A cell that loom lets one thread touch at a time.
struct Exclusive(UnsafeCell<u32>);

// SAFETY: that one thread at a time touches it is what loom checks.
unsafe impl Sync for Exclusive {}
// SAFETY: as above.
unsafe impl Send for Exclusive {}

impl Exclusive {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn touch(&self) {
        // SAFETY: loom panics before another thread can be in here.
        self.0.with_mut(|p| unsafe { *p += 1 });
    }
}

fn words() -> Words {
    Words::of(1)
}

/// A goroutine that joins.
struct Waiter {
    park: ParkWord,
    readied: AtomicBool,
    thread: Thread,
}

impl Waiter {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            park: ParkWord::new(),
            readied: AtomicBool::new(false),
            thread: thread::current(),
        })
    }

    fn ready(&self) {
        self.readied.store(true, Release);
        self.thread.unpark();
    }

    fn park(&self, ticket: Ticket) -> Cause {
        if self.park.commit(ticket) {
            while !self.readied.load(Acquire) {
                thread::park();
            }
        }
        self.park.finish()
    }
}

/// What a waiter leaves on its stack.
struct Record {
    gp: Arc<Waiter>,
    ticket: Ticket,
    /// The place where it lies.
    place: Exclusive,
}

/// The goroutine that ends.
struct Target {
    word: JoinWord,
    stack: Exclusive,
    /// What its descriptor holds.
    rest: Exclusive,
    freed: AtomicU32,
}

#[derive(Debug, PartialEq)]
enum Joined {
    Ok,
    Cancelled,
    Invalid,
}

impl Target {
    fn new() -> Arc<Self> {
        let word = JoinWord::new();
        word.start(Some(words()));
        Arc::new(Self {
            word,
            stack: Exclusive::new(),
            rest: Exclusive::new(),
            freed: AtomicU32::new(0),
        })
    }

    fn free(&self) {
        assert_eq!(self.freed.fetch_add(1, Relaxed), 0, "freed twice");
        self.stack.touch();
        self.rest.touch();
    }

    /// `goexit1` and its hook.
    fn end(&self, early: bool) {
        self.stack.touch();
        let taken = if early { self.word.take_waiter(words()) } else { None };
        let waiter = taken.map(wake);
        self.stack.touch();
        self.rest.touch();
        if let Some(waiter) = waiter {
            return self.hand_over(waiter);
        }
        match self.word.end(words()) {
            End::Detached => self.free(),
            End::Exited => {}
            End::Record(record) => self.hand_over(wake(record)),
        }
    }

    fn hand_over(&self, waiter: Option<Arc<Waiter>>) {
        self.word.hand_over();
        if let Some(waiter) = waiter {
            waiter.ready();
        }
    }

    fn settled(&self) -> JoinState {
        loop {
            match self.word.look(words()) {
                JoinState::Ending => thread::yield_now(),
                seen => return seen,
            }
        }
    }

    fn take(&self) -> Joined {
        if !self.word.take(words()) {
            return Joined::Invalid;
        }
        self.free();
        Joined::Ok
    }

    fn join(&self, gp: &Arc<Waiter>) -> Joined {
        loop {
            match self.settled() {
                JoinState::Joinable => {}
                JoinState::Exited => return self.take(),
                _ => return Joined::Invalid,
            }
            if let Some(joined) = self.wait(gp) {
                return joined;
            }
        }
    }

    fn wait(&self, gp: &Arc<Waiter>) -> Option<Joined> {
        let ticket = gp.park.arm(WaitKind::Cancellable, false);
        let gp = Arc::clone(gp);
        let record = Record { gp, ticket, place: Exclusive::new() };
        let address = &raw const record as usize;
        if !self.word.enter(words(), address) {
            let _early = record.gp.park.fire(ticket, Cause::Wake);
            record.gp.park.finish();
            return None;
        }
        let cause = record.gp.park(ticket);
        if cause != Cause::Wake && self.word.leave(words(), address) {
            record.place.touch();
            return Some(Joined::Cancelled);
        }
        let _ours = self.settled();
        record.place.touch();
        self.free();
        Some(Joined::Ok)
    }

    /// Looks once: two that spin at a time are no model for loom.
    fn release(&self) -> Joined {
        match self.word.look(words()) {
            JoinState::Joinable if self.word.release(words()) => Joined::Ok,
            JoinState::Exited => self.take(),
            _ => Joined::Invalid,
        }
    }
}

/// Ends the wait behind `record`: who is to be readied.
fn wake(record: usize) -> Option<Arc<Waiter>> {
    // SAFETY: what is checked: the record stays while the word is ENDING.
    let record = unsafe { &*(record as *const Record) };
    record.place.touch();
    let gp = Arc::clone(&record.gp);
    match record.gp.park.fire(record.ticket, Cause::Wake) {
        Fire::Parked => Some(gp),
        Fire::BeforePark | Fire::Lost => None,
    }
}

fn check(f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(f);
}

/// Runs `model` with an end that takes its waiter and with one that does not.
fn both_ways(model: impl Fn(bool) + Copy + Sync + Send + 'static) {
    check(move || model(false));
    check(move || model(true));
}

#[test]
fn who_joins_gets_what_ended() {
    both_ways(|early| {
        let target = Target::new();
        let ending = Arc::clone(&target);
        let end = thread::spawn(move || ending.end(early));
        assert_eq!(target.join(&Waiter::new()), Joined::Ok);
        end.join().unwrap();
        assert_eq!(target.freed.load(Relaxed), 1);
    });
}

#[test]
fn a_cancel_leaves_it_joinable_or_comes_too_late() {
    both_ways(|early| {
        let target = Target::new();
        let ending = Arc::clone(&target);
        let end = thread::spawn(move || ending.end(early));
        let gp = Waiter::new();
        let cancelled = Arc::clone(&gp);
        let cancel = thread::spawn(move || {
            assert!(cancelled.park.post_cancel(1).is_some());
            fence(SeqCst);
            let claim = Claim::new();
            if cancelled.park.end_cancelled(1, &claim) == Fire::Parked {
                cancelled.ready();
            }
        });
        let first = target.join(&gp);
        end.join().unwrap();
        cancel.join().unwrap();
        if first == Joined::Cancelled {
            assert_eq!(target.freed.load(Relaxed), 0);
            assert_eq!(target.release(), Joined::Ok);
        } else {
            assert_eq!(first, Joined::Ok);
        }
        assert_eq!(target.freed.load(Relaxed), 1);
    });
}

#[test]
fn one_of_two_who_want_it_gets_it() {
    both_ways(|early| {
        let target = Target::new();
        let ending = Arc::clone(&target);
        let end = thread::spawn(move || ending.end(early));
        let other = Arc::clone(&target);
        let release = thread::spawn(move || other.release());
        let joined = target.join(&Waiter::new());
        let released = release.join().unwrap();
        end.join().unwrap();
        assert_ne!(joined == Joined::Ok, released == Joined::Ok);
        assert_eq!(target.freed.load(Relaxed), 1);
    });
}
