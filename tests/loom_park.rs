//! Models of the end of a wait: loom runs every interleaving of
//! `gmp::parkword::ParkWord` between a goroutine that parks, the hook that
//! runs once it is off its stack, and all who may end the wait.
//!
//! `RUSTFLAGS="--cfg loom" cargo test --release --test loom_park`
//!
//! What is checked: one winner per wait, and the goroutine's `finish` tells
//! which; exactly one readying per wait, and none while the stack is in use
//! (a cell whose accesses loom checks); a late waker changes nothing; a permit
//! or a cancel is never lost, ends no wait of another kind nor one behind a
//! shield, and does not reach the next goroutine in the same place; and what a
//! waker writes for the waiter is there when it runs again.
//!
//! The steps are those of `sched::park`: its hooks, `ready`, `timed_out` and
//! `park_user`. A lost wake-up shows as a deadlock, which loom reports.
#![cfg(loom)]

#[path = "common/goroutine.rs"]
mod goroutine;

use gmprt::base::sync::{AtomicU64, Ordering::*};
use gmprt::gmp::parkword::{Cause, Fire, Ticket, WaitKind};
use goroutine::*;
use loom::thread::{self, JoinHandle};
use std::sync::Arc;

#[test]
fn one_of_two_wins() {
    check(5, || {
        let gp = G::new();
        let t = gp.park.arm(WaitKind::Plain, false);
        let wake = gp.waker(t, Cause::Wake);
        let timeout = gp.waker(t, Cause::Timeout);
        let cause = gp.park(|gp| commit(gp, t));
        let woke = wake.join().unwrap() != Fire::Lost;
        let timed_out = timeout.join().unwrap() != Fire::Lost;
        assert_eq!(
            (woke, timed_out),
            match cause {
                Cause::Wake => (true, false),
                _ => (false, true),
            }
        );
    });
}

/// Whether it fires before or after the commit.
#[test]
fn what_a_waker_wrote_before_it_fired_is_there() {
    check(5, || {
        let gp = G::new();
        let result = Arc::new(Exclusive::new(0));
        let t = gp.park.arm(WaitKind::Plain, false);
        let (waker, written) = (Arc::clone(&gp), Arc::clone(&result));
        let waker = thread::spawn(move || {
            written.set(1);
            waker.fire(t, Cause::Wake)
        });
        assert_eq!(gp.park(|gp| commit(gp, t)), Cause::Wake);
        assert_eq!(result.get(), 1);
        assert_ne!(waker.join().unwrap(), Fire::Lost);
    });
}

#[test]
fn wake_timeout_and_cancel_have_one_winner() {
    check(3, || {
        let gp = G::new();
        let t = gp.park.arm(WaitKind::Cancellable, false);
        let rivals = [
            gp.waker(t, Cause::Wake),
            gp.waker(t, Cause::Timeout),
            gp.canceller(),
        ];
        let cause = gp.park(|gp| commit(gp, t));
        let wins = rivals.map(|r| r.join().unwrap() != Fire::Lost);
        match cause {
            Cause::Wake => assert_eq!(wins, [true, false, false]),
            Cause::Timeout => assert_eq!(wins, [false, true, false]),
            // The canceller, or the hook for it.
            Cause::Cancel => assert!(!wins[0] && !wins[1]),
        }
        assert!(gp.park.cancelled());
    });
}

/// One of two ends the first wait; the other may come during the second.
#[test]
fn a_late_waker_changes_nothing() {
    check(3, || {
        let gp = G::new();
        let first = gp.park.arm(WaitKind::Plain, false);
        let wake = gp.waker(first, Cause::Wake);
        let timeout = gp.waker(first, Cause::Timeout);
        gp.park(|gp| commit(gp, first));
        let second = gp.park.arm(WaitKind::Plain, false);
        assert_ne!(first, second);
        let own = gp.waker(second, Cause::Cancel);
        let cause = gp.park(|gp| commit(gp, second));
        assert_eq!(cause, Cause::Cancel, "ended by a late waker");
        assert_ne!(own.join().unwrap(), Fire::Lost);
        let late = [wake, timeout].map(|w| w.join().unwrap() == Fire::Lost);
        assert!(late[0] != late[1], "one of the two won");
    });
}

/// The timeout is the host thread's own fire, after which nobody readies it.
#[test]
fn a_host_thread_times_out_or_is_woken() {
    check(5, || {
        let gp = G::new();
        let t = gp.park.arm(WaitKind::Plain, false);
        let wake = gp.waker(t, Cause::Wake);
        gp.stack.set(1);
        gp.set_status(RUNNING, WAITING);
        let mut readied = false;
        if commit(&gp, t) == HookResult::Left
            && gp.park.fire(t, Cause::Timeout) == Fire::Lost
        {
            gp.sleep();
            readied = true;
        }
        let fire = wake.join().unwrap();
        assert_eq!(readied, fire == Fire::Parked);
        assert_eq!(fire == Fire::Lost, gp.park.finish() == Cause::Timeout);
    });
}

#[test]
fn a_permit_before_during_and_after_the_park_is_not_lost() {
    check(5, || {
        let gp = G::new();
        let giver = gp.permit_giver();
        gp.wait_for_permit();
        let _fire = giver.join().unwrap();
        assert!(!gp.park.take_permit(), "one permit, taken once");
    });
}

#[test]
fn permits_do_not_add_up_but_one_stays() {
    check(3, || {
        let gp = G::new();
        let givers = [gp.permit_giver(), gp.permit_giver()];
        gp.wait_for_permit();
        let wins = givers.map(|giver| giver.join().unwrap() != Fire::Lost);
        assert!(!(wins[0] && wins[1]), "one wait, won twice");
        // The second came before the first was used up, or it is still there.
        if gp.park.take_permit() {
            assert!(!gp.park.take_permit());
        }
    });
}

#[test]
fn a_permit_beats_a_deadline_or_stays_for_the_next_park() {
    check(4, || {
        let gp = G::new();
        let t = gp.park.arm(WaitKind::Park, false);
        let timeout = gp.waker(t, Cause::Timeout);
        let giver = gp.permit_giver();
        let end = gp.park_user(t, commit);
        if end != (Cause::Wake, Permit::Taken) {
            assert_eq!(end, (Cause::Timeout, Permit::None));
            gp.wait_for_permit();
        }
        let _fires = (timeout.join().unwrap(), giver.join().unwrap());
    });
}

/// `unlockf` said 0: the park ends at once, and a permit that came stays.
#[test]
fn a_refused_park_ends_at_once_and_keeps_the_permit() {
    check(5, || {
        let gp = G::new();
        let t = gp.park.arm(WaitKind::Park, false);
        let giver = gp.permit_giver();
        let (cause, permit) = gp.park_user(t, refused);
        assert_eq!(cause, Cause::Wake);
        if permit == Permit::None {
            gp.wait_for_permit();
        }
        let _fire = giver.join().unwrap();
    });
}

#[test]
fn a_permit_ends_no_wait_of_another_kind() {
    check(4, || {
        let gp = G::new();
        let t = gp.park.arm(WaitKind::Cancellable, false);
        let giver = gp.permit_giver();
        let timeout = gp.waker(t, Cause::Timeout);
        let cause = gp.park(|gp| commit(gp, t));
        assert_eq!(cause, Cause::Timeout, "ended by a permit");
        gp.wait_for_permit();
        assert_ne!(timeout.join().unwrap(), Fire::Lost);
        let _fire = giver.join().unwrap();
    });
}

#[test]
fn a_cancel_ends_the_next_wait_that_it_may_and_all_after_it() {
    check(4, || {
        let gp = G::new();
        let t = gp.park.arm(WaitKind::Plain, false);
        let canceller = gp.canceller();
        let timeout = gp.waker(t, Cause::Timeout);
        let cause = gp.park(|gp| commit(gp, t));
        assert_eq!(cause, Cause::Timeout, "ended by a cancel");
        for kind in [WaitKind::Cancellable, WaitKind::Park] {
            let t = gp.park.arm(kind, false);
            assert_eq!(gp.park(|gp| commit(gp, t)), Cause::Cancel);
        }
        assert_ne!(timeout.join().unwrap(), Fire::Lost);
        let _fire = canceller.join().unwrap();
    });
}

#[test]
fn a_cancel_ends_no_wait_behind_a_shield_and_is_kept() {
    check(4, || {
        let gp = G::new();
        let canceller = gp.canceller();
        let t = gp.park.arm(WaitKind::Cancellable, true);
        let wake = gp.waker(t, Cause::Wake);
        let cause = gp.park(|gp| commit(gp, t));
        assert_eq!(cause, Cause::Wake, "ended by a cancel");
        // Before the cancel comes or after it, or at the same time.
        let t = gp.park.arm(WaitKind::Cancellable, false);
        assert_eq!(gp.park(|gp| commit(gp, t)), Cause::Cancel);
        assert!(gp.park.cancelled());
        assert_ne!(wake.join().unwrap(), Fire::Lost);
        let _fire = canceller.join().unwrap();
    });
}

/// The first goroutine ends while somebody posts to it; the next one in its
/// place waits, with `kind`, for its own waker.
fn the_next_one_waits(
    kind: WaitKind,
    post: impl FnOnce(&Arc<G>) -> JoinHandle<Fire>,
) -> Arc<G> {
    let gp = G::new();
    let poster = post(&gp);
    gp.park.next_generation();
    let t = gp.park.arm(kind, false);
    let wake = gp.waker(t, Cause::Wake);
    let cause = gp.park(|gp| commit(gp, t));
    assert_eq!(cause, Cause::Wake, "ended by what came for another");
    assert_ne!(wake.join().unwrap(), Fire::Lost);
    assert_eq!(poster.join().unwrap(), Fire::Lost, "it had no wait");
    gp
}

#[test]
fn a_cancel_by_an_old_handle_does_not_reach_the_next_one() {
    check(4, || {
        let gp = the_next_one_waits(WaitKind::Cancellable, G::canceller);
        assert!(!gp.park.cancelled());
    });
}

#[test]
fn a_permit_by_an_old_handle_does_not_reach_the_next_one() {
    check(4, || {
        let gp = the_next_one_waits(WaitKind::Park, G::permit_giver);
        assert!(!gp.park.take_permit());
    });
}

/// The cancel may end the first one's wait, and no other.
#[test]
fn a_cancel_that_ends_a_wait_does_not_reach_the_next_one() {
    check(2, || {
        let gp = G::new();
        let t = gp.park.arm(WaitKind::Cancellable, false);
        let canceller = gp.canceller();
        let rival = gp.waker(t, Cause::Wake);
        let cause = gp.park(|gp| commit(gp, t));
        assert_ne!(cause, Cause::Timeout);
        gp.park.next_generation();
        assert!(!gp.park.cancelled());
        let t = gp.park.arm(WaitKind::Cancellable, false);
        let wake = gp.waker(t, Cause::Wake);
        let next = gp.park(|gp| commit(gp, t));
        assert_eq!(next, Cause::Wake, "ended by what came for another");
        assert!(!gp.park.cancelled());
        assert_eq!(rival.join().unwrap() != Fire::Lost, cause == Cause::Wake);
        assert_ne!(wake.join().unwrap(), Fire::Lost);
        // If it won nothing, the hook may have ended the wait for it.
        let won = canceller.join().unwrap() != Fire::Lost;
        assert!(!won || cause == Cause::Cancel);
    });
}

/// Invariant 5 by its parts, with the ticket where a poster finds it: which
/// of the two does it look at last?
fn stale_post(generation_last: bool) {
    let gp = G::new();
    let ticket = Arc::new(AtomicU64::new(0));
    let (poster, seen) = (Arc::clone(&gp), Arc::clone(&ticket));
    let poster = thread::spawn(move || {
        let before = poster.park.generation();
        let ticket = seen.load(Acquire);
        let after = poster.park.generation();
        let live = FIRST == if generation_last { after } else { before };
        if live && ticket != 0 {
            let _fire = poster.fire(Ticket::from_raw(ticket), Cause::Cancel);
        }
    });
    gp.park.next_generation();
    let t = gp.park.arm(WaitKind::Cancellable, false);
    ticket.store(t.raw(), Release);
    let wake = gp.waker(t, Cause::Wake);
    let cause = gp.park(|gp| commit(gp, t));
    assert_eq!(cause, Cause::Wake, "ended by what came for another");
    assert_ne!(wake.join().unwrap(), Fire::Lost);
    poster.join().unwrap();
}

#[test]
fn the_generation_is_read_after_the_wait() {
    check(4, || stale_post(true));
}

#[test]
#[should_panic(expected = "ended by what came for another")]
fn a_generation_read_before_the_wait_breaks() {
    check(4, || stale_post(false));
}

/// A goroutine waits for a result that a sender writes; a cancel may come
/// first. The sender takes the record out and fires it under the lock, then
/// writes the result, unlocks and readies.
fn receive(unlock: Unlock) {
    let gp = G::new();
    let object = Arc::new(Object::new(None));
    let result = Arc::new(Exclusive::new(0));
    let mut lock = object.lock().unwrap();
    let ticket = gp.park.arm(WaitKind::Cancellable, false);
    *lock = Some(ticket);
    let canceller = gp.waker(ticket, Cause::Cancel);
    let sender = (Arc::clone(&gp), Arc::clone(&object), Arc::clone(&result));
    let sender = thread::spawn(move || send(&sender.0, &sender.1, &sender.2));
    let cause = gp.park(|gp| unlock(gp, ticket, lock));
    if cause == Cause::Wake {
        assert_eq!(result.get(), 1, "woken without a result");
    } else {
        object.lock().unwrap().take();
    }
    assert_eq!(sender.join().unwrap(), cause == Cause::Wake);
    assert_eq!(canceller.join().unwrap() != Fire::Lost, cause != Cause::Wake);
}

/// The sender. True: somebody received.
fn send(gp: &G, object: &Object, result: &Exclusive<u32>) -> bool {
    let mut lock = object.lock().unwrap();
    let Some(ticket) = lock.take() else { return false };
    let fire = gp.park.fire(ticket, Cause::Wake);
    if fire == Fire::Lost {
        return false;
    }
    result.set(1);
    drop(lock);
    let _parked = gp.ready_if_parked(fire);
    true
}

#[test]
fn who_wakes_under_the_lock_has_time_to_write_the_result() {
    check(4, || receive(park_hook));
}

/// The sender wins before the park and still writes while the hook readies.
#[test]
#[should_panic(expected = "Causality violation")]
fn a_hook_that_unlocks_before_it_commits_breaks() {
    check(4, || {
        receive(|gp, ticket, lock| {
            drop(lock);
            commit(gp, ticket)
        });
    });
}
