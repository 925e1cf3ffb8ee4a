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

use gmprt::base::sync::{AtomicU32, AtomicU64, Ordering::*, fence};
use gmprt::gmp::parkword::{
    Cause, Claim, Fire, ParkWord, Ticket, WaitKind, Wakers,
};
use loom::cell::UnsafeCell;
use loom::sync::{Mutex, MutexGuard};
use loom::thread::{self, JoinHandle, Thread};
use std::sync::Arc;

/// Values of a goroutine's status.
const RUNNING: u32 = 0;
const WAITING: u32 = 1;
const RUNNABLE: u32 = 2;

/// The generation of the first goroutine in a G.
const FIRST: u32 = 1;

/// A cell that one thread may touch at a time.
struct Exclusive<T>(UnsafeCell<T>);

// SAFETY: that one thread at a time touches it is what loom checks.
unsafe impl<T> Sync for Exclusive<T> {}
// SAFETY: as above.
unsafe impl<T> Send for Exclusive<T> {}

impl<T: Copy> Exclusive<T> {
    fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    fn set(&self, value: T) {
        // SAFETY: loom panics before another thread can be in here.
        self.0.with_mut(|p| unsafe { *p = value });
    }

    fn get(&self) -> T {
        // SAFETY: as above.
        self.0.with(|p| unsafe { *p })
    }
}

/// A goroutine. Its code is that of one thread of the model, on which the
/// hook runs too.
struct G {
    park: ParkWord,
    claim: Claim,
    status: AtomicU32,
    /// What the goroutine, and after it whoever resumes it, has in its hands.
    stack: Exclusive<u32>,
    thread: Thread,
}

/// What a hook says, as `sched`'s.
#[derive(PartialEq)]
enum HookResult {
    /// Somebody readies it.
    Left,
    /// The hook's caller does.
    Ready,
}

impl G {
    /// The goroutine that the calling thread runs.
    fn new() -> Arc<Self> {
        Arc::new(Self {
            park: ParkWord::new(),
            claim: Claim::new(),
            status: AtomicU32::new(RUNNING),
            stack: Exclusive::new(0),
            thread: thread::current(),
        })
    }

    /// `casgstatus`, by whoever has the right to this step.
    fn set_status(&self, from: u32, to: u32) {
        let moved = self.status.compare_exchange(from, to, AcqRel, Acquire);
        assert_eq!(moved, Ok(from), "readied twice, or not parked");
    }

    /// Off the stack, the hook, and back once somebody has readied it.
    fn park(&self, hook: impl FnOnce(&Self) -> HookResult) -> Cause {
        self.stack.set(1);
        self.set_status(RUNNING, WAITING);
        if hook(self) == HookResult::Ready {
            self.ready();
        }
        self.sleep();
        self.park.finish()
    }

    /// Waiting, until readied.
    fn sleep(&self) {
        while self.status.load(Acquire) != RUNNABLE {
            thread::park();
        }
        self.set_status(RUNNABLE, RUNNING);
        assert_eq!(self.stack.get(), 2, "resumed by nobody");
    }

    /// The goroutine may run, here or elsewhere.
    fn ready(&self) {
        self.stack.set(2);
        self.set_status(WAITING, RUNNABLE);
        self.thread.unpark();
    }

    /// What everybody does after a fire.
    fn ready_if_parked(&self, fire: Fire) -> Fire {
        if fire == Fire::Parked {
            self.ready();
        }
        fire
    }

    fn fire(&self, ticket: Ticket, cause: Cause) -> Fire {
        self.ready_if_parked(self.park.fire(ticket, cause))
    }

    /// Somebody who fires, once.
    fn waker(self: &Arc<Self>, t: Ticket, cause: Cause) -> JoinHandle<Fire> {
        let gp = Arc::clone(self);
        thread::spawn(move || gp.fire(t, cause))
    }

    /// `gmp_ready` of the first goroutine, from a thread of its own. Lost
    /// too if that has ended.
    fn permit_giver(self: &Arc<Self>) -> JoinHandle<Fire> {
        let gp = Arc::clone(self);
        thread::spawn(move || match gp.park.give_permit(FIRST) {
            Some(fire) => gp.ready_if_parked(fire),
            None => Fire::Lost,
        })
    }

    /// `gmp_cancel` of the first goroutine, likewise.
    fn canceller(self: &Arc<Self>) -> JoinHandle<Fire> {
        self.canceller_with(|| fence(SeqCst))
    }

    /// The same; `barrier` has every thread pass one.
    fn canceller_with(self: &Arc<Self>, barrier: fn()) -> JoinHandle<Fire> {
        let gp = Arc::clone(self);
        thread::spawn(move || {
            if gp.park.post_cancel(FIRST).is_none() {
                return Fire::Lost;
            }
            barrier();
            gp.ready_if_parked(gp.park.end_cancelled(FIRST, &gp.claim))
        })
    }

    /// `gmp_park`, whose hook is `hook`.
    fn park_user(&self, ticket: Ticket, hook: Hook) -> (Cause, Permit) {
        let cause = self.park(|gp| hook(gp, ticket));
        if self.park.take_permit() {
            (Cause::Wake, Permit::Taken)
        } else {
            (cause, Permit::None)
        }
    }

    /// Takes the permit that is there or comes: a deadlock if it was lost.
    fn wait_for_permit(&self) {
        let ticket = self.park.arm(WaitKind::Park);
        let end = self.park_user(ticket, commit);
        assert_eq!(end, (Cause::Wake, Permit::Taken));
    }
}

/// Whether a `gmp_park` used up a permit.
#[derive(Debug, PartialEq)]
enum Permit {
    Taken,
    None,
}

type Hook = fn(&G, Ticket) -> HookResult;

/// The hook of a park with nothing to unlock.
fn commit(gp: &G, ticket: Ticket) -> HookResult {
    if gp.park.commit(ticket) { HookResult::Left } else { HookResult::Ready }
}

/// The hook of `gmp_park` when the host's `unlockf` says 0.
fn refused(gp: &G, ticket: Ticket) -> HookResult {
    let fire = gp.park.fire(ticket, Cause::Wake);
    assert_ne!(fire, Fire::Parked, "nobody committed");
    HookResult::Ready
}

fn check(preemptions: usize, f: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(f);
}

#[test]
fn one_of_two_wins() {
    check(5, || {
        let gp = G::new();
        let t = gp.park.arm(WaitKind::Plain);
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
        let t = gp.park.arm(WaitKind::Plain);
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
        let t = gp.park.arm(WaitKind::Cancellable);
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
        let first = gp.park.arm(WaitKind::Plain);
        let wake = gp.waker(first, Cause::Wake);
        let timeout = gp.waker(first, Cause::Timeout);
        gp.park(|gp| commit(gp, first));
        let second = gp.park.arm(WaitKind::Plain);
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
        let t = gp.park.arm(WaitKind::Plain);
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
        let t = gp.park.arm(WaitKind::Park);
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
        let t = gp.park.arm(WaitKind::Park);
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
        let t = gp.park.arm(WaitKind::Cancellable);
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
        let t = gp.park.arm(WaitKind::Plain);
        let canceller = gp.canceller();
        let timeout = gp.waker(t, Cause::Timeout);
        let cause = gp.park(|gp| commit(gp, t));
        assert_eq!(cause, Cause::Timeout, "ended by a cancel");
        for kind in [WaitKind::Cancellable, WaitKind::Park] {
            let t = gp.park.arm(kind);
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
        gp.park.shield(true);
        let t = gp.park.arm(WaitKind::Cancellable);
        let wake = gp.waker(t, Cause::Wake);
        let cause = gp.park(|gp| commit(gp, t));
        assert_eq!(cause, Cause::Wake, "ended by a cancel");
        assert!(!gp.park.must_give_up());
        gp.park.shield(false);
        // Before the cancel comes or after it, or at the same time.
        let t = gp.park.arm(WaitKind::Cancellable);
        assert_eq!(gp.park(|gp| commit(gp, t)), Cause::Cancel);
        assert!(gp.park.must_give_up());
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
    let t = gp.park.arm(kind);
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
        let t = gp.park.arm(WaitKind::Cancellable);
        let canceller = gp.canceller();
        let rival = gp.waker(t, Cause::Wake);
        let cause = gp.park(|gp| commit(gp, t));
        assert_ne!(cause, Cause::Timeout);
        gp.park.next_generation();
        assert!(!gp.park.cancelled());
        let t = gp.park.arm(WaitKind::Cancellable);
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
    let t = gp.park.arm(WaitKind::Cancellable);
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

/// A channel as its waiter sees it: who waits, under the lock.
type Object = Mutex<Option<Ticket>>;

/// How a hook lets the lock go.
type Unlock = fn(&G, Ticket, MutexGuard<'_, Option<Ticket>>) -> HookResult;

/// `sched::park`'s hook: commits, then unlocks.
fn park_hook(
    gp: &G,
    ticket: Ticket,
    lock: MutexGuard<'_, Option<Ticket>>,
) -> HookResult {
    let result = commit(gp, ticket);
    drop(lock);
    result
}

/// A goroutine waits for a result that a sender writes; a cancel may come
/// first. The sender takes the record out and fires it under the lock, then
/// writes the result, unlocks and readies.
fn receive(unlock: Unlock) {
    let gp = G::new();
    let object = Arc::new(Object::new(None));
    let result = Arc::new(Exclusive::new(0));
    let mut lock = object.lock().unwrap();
    let ticket = gp.park.arm(WaitKind::Cancellable);
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

/// The sender wins Early and still writes while the hook readies.
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
    let ticket = gp.park.arm_for(kind, Wakers::OneLock, &gp.claim);
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

/// One sender and one cancel, and a wait behind one lock.
fn receive_behind(barrier: Barrier) {
    let gp = G::new();
    let object = Arc::new(Object::new(None));
    let result = Arc::new(Exclusive::new(0));
    let canceller = gp.canceller_with(barrier);
    let sender = (Arc::clone(&gp), Arc::clone(&object), Arc::clone(&result));
    let sender =
        thread::spawn(move || send_behind(&sender.0, &sender.1, &sender.2));
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
    check(4, || receive_behind(|| fence(SeqCst)));
}

#[test]
#[should_panic]
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
    let late = (Arc::clone(&gp), Arc::clone(&first), Arc::clone(&result));
    let late = thread::spawn(move || send_behind(&late.0, &late.1, &late.2));
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
    let ticket = gp.park.arm_for(kind, Wakers::OneLock, &gp.claim);
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
        let ticket = gp.park.arm_for(kind, Wakers::Locked, &gp.claim);
        locks.iter_mut().for_each(|lock| **lock = Some(ticket));
        let canceller = gp.canceller();
        let senders = objects.each_ref().map(|object| {
            let sender =
                (Arc::clone(&gp), Arc::clone(object), Arc::clone(&result));
            thread::spawn(move || send_behind(&sender.0, &sender.1, &sender.2))
        });
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
