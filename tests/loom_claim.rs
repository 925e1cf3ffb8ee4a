//! Models of waits behind locks, which are armed, committed and claimed by
//! stores: loom runs every interleaving with a cancel, which has every thread
//! pass a barrier.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_claim`
//!
//! What is checked: a waker and a cancel have one winner; a cancel is not lost
//! to a commit; a claim that comes late does not reach the next wait, and a
//! cancel not the next goroutine; a shield keeps it for later. Without the
//! barrier, or where a goroutine waits again before it has had the lock, the
//! first three break.
#![cfg(loom)]

#[expect(dead_code, reason = "half of it is for the other waits")]
#[path = "common/goroutine.rs"]
mod goroutine;

use gmprt::base::sync::{Ordering::*, fence};
use gmprt::gmp::parkword::{Cause, Fire, Ticket, WaitKind, Wakers};
use goroutine::*;
use loom::thread::{self, JoinHandle};
use std::sync::Arc;

/// How a canceller and the others wait for each other's stores.
type Barrier = fn();

/// What a goroutine does after a cancel, before it waits again.
type Leave = fn(&Object);

/// `block::chan`'s: takes its record out, under the lock.
fn leave_queue(object: &Object) {
    object.lock().unwrap().take();
}

/// Waits behind one lock for a sender, which a cancel may come before.
fn wait_behind(gp: &Arc<G>, object: &Arc<Object>) -> (Cause, Ticket) {
    let mut lock = object.lock().unwrap();
    let kind = WaitKind::Cancellable;
    let ticket = gp.park.arm_for(kind, false, Wakers::OneLock, &gp.claim);
    *lock = Some(ticket);
    (gp.park(|gp| park_hook(gp, ticket, lock)), ticket)
}

/// Takes who waits out under the lock and ends its wait; true: it did.
fn send_behind(gp: &G, object: &Object, result: &Exclusive<u32>) -> bool {
    let mut lock = object.lock().unwrap();
    let Some(ticket) = lock.take() else { return false };
    let fire = gp.park.fire_locked(ticket, &gp.claim);
    if fire == Fire::Lost {
        return false;
    }
    assert_eq!(fire, Fire::Parked, "invariant 6");
    result.set(1);
    drop(lock);
    gp.ready();
    true
}

/// The same in a thread of its own.
fn sender(
    gp: &Arc<G>,
    object: &Arc<Object>,
    result: &Arc<Exclusive<u32>>,
) -> JoinHandle<bool> {
    let gp = Arc::clone(gp);
    let object = Arc::clone(object);
    let result = Arc::clone(result);
    thread::spawn(move || send_behind(&gp, &object, &result))
}

/// Waits behind one lock for a sender that starts once somebody waits there.
fn wait_for_sender(gp: &Arc<G>, object: &Arc<Object>, shielded: bool) -> Cause {
    let result = Arc::new(Exclusive::new(0));
    let mut lock = object.lock().unwrap();
    let kind = WaitKind::Cancellable;
    let ticket = gp.park.arm_for(kind, shielded, Wakers::OneLock, &gp.claim);
    *lock = Some(ticket);
    let sender = sender(gp, object, &result);
    let cause = gp.park(|gp| park_hook(gp, ticket, lock));
    if cause == Cause::Cancel {
        leave_queue(object);
    }
    assert_eq!(sender.join().unwrap(), cause == Cause::Wake, "two winners");
    cause
}

/// One sender and one cancel, and a wait behind one lock.
fn receive_behind(barrier: Barrier) {
    let gp = G::new();
    let object = Arc::new(Object::new(None));
    let result = Arc::new(Exclusive::new(0));
    let canceller = gp.canceller_with(barrier);
    let sender = sender(&gp, &object, &result);
    let (cause, _) = wait_behind(&gp, &object);
    if cause == Cause::Wake {
        assert_eq!(result.get(), 1, "woken without a result");
    } else {
        leave_queue(&object);
    }
    assert_eq!(sender.join().unwrap(), cause == Cause::Wake, "two winners");
    // If it won nothing, the hook may have ended the wait for it.
    let won = canceller.join().unwrap() == Fire::Parked;
    assert!(!won || cause == Cause::Cancel, "two winners");
}

#[test]
fn a_claim_and_a_cancel_have_one_winner() {
    check(5, || receive_behind(|| fence(SeqCst)));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_claim_and_a_cancel_without_a_barrier_break() {
    check(4, || receive_behind(|| ()));
}

/// The hook has stored Parked and sees no cancel, or the cancel sees Parked.
fn nobody_sends(barrier: Barrier) {
    let gp = G::new();
    let canceller = gp.canceller_with(barrier);
    let object = Arc::new(Object::new(None));
    assert_eq!(wait_behind(&gp, &object).0, Cause::Cancel);
    let _fire = canceller.join().unwrap();
}

#[test]
fn a_cancel_is_not_lost_to_a_commit() {
    check(5, || nobody_sends(|| fence(SeqCst)));
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_cancel_without_a_barrier_is_lost() {
    check(5, || nobody_sends(|| ()));
}

/// Two waits, one after the other; the sender that loses the first to a cancel
/// is late, and another one ends the second, or a cancel does.
fn wait_twice(leave: Leave) {
    let gp = G::new();
    let kind = WaitKind::Cancellable;
    let first = Arc::new(Object::new(None));
    let result = Arc::new(Exclusive::new(0));
    let canceller = gp.canceller();
    let late = sender(&gp, &first, &result);
    if wait_behind(&gp, &first).0 == Cause::Wake {
        assert!(late.join().unwrap());
        let _fire = canceller.join().unwrap();
        return;
    }
    leave(&first);
    // Cancels are for good.
    let second = Arc::new(Object::new(None));
    assert_eq!(wait_behind(&gp, &second).0, Cause::Cancel);
    leave(&second);
    let _fire = canceller.join().unwrap();
    gp.park.next_generation();
    let ticket = gp.park.arm_for(kind, false, Wakers::OneLock, &gp.claim);
    assert!(gp.park.waiting(&gp.claim), "claimed by one that was late");
    assert!(!late.join().unwrap());
    assert!(gp.park.waiting(&gp.claim), "claimed by one that was late");
    let wake = gp.park.commit(ticket);
    assert!(wake);
}

#[test]
fn an_arm_finds_nobody_who_still_claims() {
    check(3, || wait_twice(leave_queue));
}

#[test]
#[should_panic(expected = "claimed by one that was late")]
fn an_arm_before_the_lock_is_taken_again_breaks() {
    check(3, || wait_twice(|_| ()));
}

/// A select: two senders behind a lock each, and a cancel.
#[test]
fn behind_two_locks_one_of_three_wins() {
    check(2, || {
        let gp = G::new();
        let objects = [(); 2].map(|()| Arc::new(Object::new(None)));
        let result = Arc::new(Exclusive::new(0));
        let mut locks = objects.each_ref().map(|o| o.lock().unwrap());
        let kind = WaitKind::Cancellable;
        let ticket = gp.park.arm_for(kind, false, Wakers::Locked, &gp.claim);
        locks.iter_mut().for_each(|lock| **lock = Some(ticket));
        let canceller = gp.canceller();
        let senders = objects.each_ref().map(|o| sender(&gp, o, &result));
        let cause = gp.park(|gp| {
            let parked = commit(gp, ticket);
            drop(locks);
            parked
        });
        objects.iter().for_each(|object| leave_queue(object));
        let sent = senders.map(|s| usize::from(s.join().unwrap()));
        assert_eq!(sent[0] + sent[1], usize::from(cause == Cause::Wake));
        let won = canceller.join().unwrap() == Fire::Parked;
        assert!(!won || cause == Cause::Cancel, "two winners");
    });
}

/// The next goroutine in a G waits behind the same lock, while whoever cancels
/// the first one is late: only a sender ends that wait.
#[test]
fn a_late_cancel_spares_the_next_goroutine() {
    check(3, || {
        let gp = G::new();
        let object = Arc::new(Object::new(None));
        let canceller = gp.canceller();
        let _either = wait_for_sender(&gp, &object, false);
        gp.park.next_generation();
        let cause = wait_for_sender(&gp, &object, false);
        assert_eq!(cause, Cause::Wake, "the next one was cancelled");
        let _fire = canceller.join().unwrap();
    });
}

/// Behind a shield a sender ends the wait, and after it the cancel does: it is
/// neither seen too early nor forgotten.
#[test]
fn a_shield_keeps_a_cancel_for_the_wait_after_it() {
    check(4, || {
        let gp = G::new();
        let object = Arc::new(Object::new(None));
        let canceller = gp.canceller();
        let cause = wait_for_sender(&gp, &object, true);
        assert_eq!(cause, Cause::Wake, "cancelled behind a shield");
        assert_eq!(wait_behind(&gp, &object).0, Cause::Cancel);
        leave_queue(&object);
        let _fire = canceller.join().unwrap();
    });
}

/// Two who cancel, and a sender: one of the three ends the wait.
#[test]
fn of_two_cancels_and_a_claim_one_wins() {
    check(2, || {
        let gp = G::new();
        let object = Arc::new(Object::new(None));
        let result = Arc::new(Exclusive::new(0));
        let cancellers = [gp.canceller(), gp.canceller()];
        let sender = sender(&gp, &object, &result);
        let (cause, _) = wait_behind(&gp, &object);
        if cause == Cause::Cancel {
            leave_queue(&object);
        }
        assert_eq!(sender.join().unwrap(), cause == Cause::Wake, "two winners");
        let won = |fire| usize::from(fire == Fire::Parked);
        let won = cancellers.map(|c| won(c.join().unwrap()));
        // None, if the hook has ended the wait for them.
        let most = usize::from(cause == Cause::Cancel);
        assert!(won[0] + won[1] <= most, "two winners");
    });
}
