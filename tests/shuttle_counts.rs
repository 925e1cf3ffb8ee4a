//! Models of `block::sema`, `block::waitgroup` and `block::once`.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --test shuttle_counts`
#![cfg(shuttle)]

use gmprt::model::{
    Ends, FOREVER, Goroutine, Hosted, Once, Sema, WaitGroup, check, check_some,
    go, join, now, random, until,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A deadline that may come, or none.
fn some_time() -> i64 {
    if random(3) == 0 { FOREVER } else { now() + random(100) as i64 }
}

/// Two tokens: no more than two have one, and both are there at the end.
#[test]
fn tokens_are_neither_lost_nor_made() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let s = Hosted::new(Sema::new(2));
        let inside = Arc::new(AtomicU64::new(0));
        let all = [0, 1, 2, 3, 4].map(|name| {
            let inside = inside.clone();
            go(move || {
                for _ in 0..2 {
                    // Some are sure to come in.
                    let deadline = if name < 2 { FOREVER } else { some_time() };
                    if s.acquire(deadline).is_err() {
                        ENDS.reached(0);
                        continue;
                    }
                    assert!(inside.fetch_add(1, Relaxed) < 2, "a third");
                    shuttle::thread::yield_now();
                    inside.fetch_sub(1, Relaxed);
                    s.release();
                }
            })
        });
        let name = all[4].handle();
        let canceller = go(move || ENDS.reached(name.cancel().into()));
        join(all);
        canceller.join();
        assert!(s.try_acquire() && s.try_acquire(), "lost");
        assert!(!s.try_acquire(), "made");
        s.free();
    });
    ENDS.check();
}

/// A token goes to the one that has waited longest and still waits, and to
/// nobody that does not wait.
#[test]
fn a_token_is_handed_over_in_order() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let s = Hosted::new(Sema::default());
        let first = go(move || {
            ENDS.reached(s.acquire(now() + 50).is_ok().into());
        });
        until(|| first.handle().waits() || random(8) == 0);
        let second = go(move || s.acquire(FOREVER).expect("a token"));
        until(|| second.handle().waits());
        s.release();
        assert!(!s.try_acquire(), "taken from one that waits");
        s.release();
        join([first, second]);
        // It was the second's, or, if the first has had none, is there.
        let left = s.try_acquire();
        assert!(!left || !s.try_acquire());
        s.free();
    });
    ENDS.check();
}

/// Who got the last token frees the semaphore while release is on its way.
#[test]
fn after_the_last_token_a_semaphore_is_not_touched() {
    check(|| {
        let s = Hosted::new(Sema::default());
        let taker = go(move || {
            while s.acquire(now() + 30).is_err() {}
            s.free();
        });
        let giver = go(move || s.release());
        join([taker, giver]);
    });
}

/// Many of them, in few buckets: each token finds its own line, whoever else
/// comes and leaves.
#[test]
fn lines_of_many_addresses_do_not_mix() {
    check_some(2000, || {
        let semas = [(); 7].map(|()| Hosted::new(Sema::default()));
        let all = [20, 60, FOREVER].map(|ns| {
            semas.map(|s| {
                go(move || {
                    let deadline = now().saturating_add(ns);
                    let end = s.acquire(deadline);
                    assert!(ns != FOREVER || end.is_ok());
                    if end.is_ok() {
                        s.release();
                    }
                })
            })
        });
        let shift = random(7) as usize;
        for i in 0..7 {
            semas[(i * 3 + shift) % 7].release();
        }
        join(all.into_iter().flatten());
        for s in semas {
            assert!(s.try_acquire(), "lost");
            assert!(!s.try_acquire(), "made");
            s.free();
        }
    });
}

/// Rounds of work, one after the other, with one group.
#[derive(Clone)]
struct Rounds {
    wg: Hosted<WaitGroup>,
    done: Arc<AtomicU64>,
}

impl Rounds {
    fn new() -> Self {
        Self { wg: Hosted::new(WaitGroup::default()), done: Arc::default() }
    }

    fn worker(&self) -> Goroutine {
        let this = self.clone();
        go(move || {
            this.done.fetch_add(1, Relaxed);
            this.wg.add(-1).expect("it was counted");
        })
    }
}

/// A wait ends when all that was counted before is done, however often the
/// group was used before, and with others that give up beside it.
#[test]
fn a_wait_is_neither_early_nor_missed() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let r = Rounds::new();
        let mut others = Vec::new();
        for round in 1..4 {
            r.wg.add(2).expect("it fits");
            let theirs = r.clone();
            others.push(go(move || {
                let end = theirs.wg.wait(some_time());
                let done = theirs.done.load(Relaxed);
                // It may have come late, and waited for more.
                assert!(end.is_err() || done >= 2 * round, "early");
                ENDS.reached(end.is_ok().into());
            }));
            others.extend([r.worker(), r.worker()]);
            r.wg.wait(FOREVER).expect("nothing interrupts it");
            assert!(r.done.load(Relaxed) >= 2 * round, "early");
            if random(2) == 0 {
                others.last().map(|g| g.handle().cancel());
            }
        }
        join(others);
        assert_eq!(r.wg.add(-1), Err(libc::EINVAL));
        assert_eq!(r.wg.wait(FOREVER), Ok(()));
        r.wg.free();
    });
    ENDS.check();
}

/// The counter comes to zero and leaves it again at once: who waited then is
/// released, whoever adds when.
#[test]
fn a_group_that_is_used_again_at_once_releases_its_waiters() {
    check(|| {
        let r = Rounds::new();
        r.wg.add(1).expect("it fits");
        let waiters = [(); 2].map(|()| {
            let wg = r.wg;
            go(move || while wg.wait(now() + 50).is_err() {})
        });
        let theirs = r.clone();
        let user = go(move || {
            for _ in 0..3 {
                theirs.wg.add(-1).expect("it was counted");
                theirs.wg.add(1).expect("it fits");
            }
        });
        let names = waiters.each_ref().map(Goroutine::handle);
        until(|| names.iter().any(|name| name.waits()) || random(4) == 0);
        user.join();
        r.wg.add(-1).expect("it was counted");
        join(waiters);
        r.wg.free();
    });
}

/// One counts itself out, and another itself in and out, at the same time:
/// nothing of it is lost.
#[test]
fn adds_that_meet_at_zero_add_up() {
    check(|| {
        let r = Rounds::new();
        r.wg.add(1).expect("it fits");
        let wg = r.wg;
        let waiter = go(move || while wg.wait(now() + 50).is_err() {});
        until(|| waiter.handle().waits() || random(8) == 0);
        let other = go(move || {
            wg.add(1).expect("it fits");
            wg.add(-1).expect("it was counted");
        });
        join([r.worker(), other, waiter]);
        assert_eq!(r.wg.add(-1), Err(libc::EINVAL));
        r.wg.free();
    });
}

#[test]
fn a_cancelled_wait_leaves_the_others() {
    check(|| {
        let r = Rounds::new();
        r.wg.add(2).expect("it fits");
        let wg = r.wg;
        let waiters = [(); 3].map(|()| {
            go(move || match wg.wait(FOREVER) {
                Ok(()) | Err(libc::ECANCELED) => {}
                Err(e) => panic!("{e}"),
            })
        });
        let name = waiters[random(3) as usize].handle();
        let canceller = go(move || {
            name.cancel();
        });
        join([r.worker(), r.worker()]);
        join(waiters);
        canceller.join();
        r.wg.free();
    });
}

/// Who waited frees the group while the last worker is on its way.
#[test]
fn after_zero_a_group_is_not_touched() {
    check(|| {
        let r = Rounds::new();
        r.wg.add(2).expect("it fits");
        let workers = [r.worker(), r.worker()];
        while r.wg.wait(now() + 50).is_err() {}
        r.wg.free();
        join(workers);
    });
}

/// Once, and everybody waits for its end, or gives up before.
#[test]
fn once_it_runs_once() {
    static ENDS: Ends<3> = Ends::new();
    check(|| {
        let o = Hosted::new(Once::default());
        let [begun, over] = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let all = [0, 1, 2, 3].map(|name| {
            let (begun, over) = (begun.clone(), over.clone());
            go(move || {
                let seen = over.clone();
                let f = move || {
                    begun.fetch_add(1, Relaxed);
                    shuttle::thread::yield_now();
                    over.fetch_add(1, Relaxed);
                };
                let end = match name {
                    0 | 1 => o.call(f),
                    _ => o.call_until(f, some_time()),
                };
                match end {
                    Ok(()) => assert_eq!(seen.load(Relaxed), 1, "early"),
                    Err(libc::ETIMEDOUT) => ENDS.reached(0),
                    Err(e) => assert_eq!(e, libc::ECANCELED),
                }
                assert!(name > 1 || end.is_ok(), "nothing interrupts it");
                ENDS.reached(1 + usize::from(end.is_ok()));
            })
        });
        let name = all[3].handle();
        let canceller = go(move || {
            name.cancel();
        });
        join(all);
        canceller.join();
        assert_eq!(begun.load(Relaxed), 1);
        o.free();
    });
    ENDS.check();
}

/// From inside itself, it says so.
#[test]
fn once_inside_itself_is_refused() {
    check(|| {
        let o = Hosted::new(Once::default());
        let result = Arc::new(AtomicU64::new(0));
        let all = [(); 2].map(|()| {
            let result = result.clone();
            go(move || {
                let inner = move || {
                    let e = o.call(|| {}).expect_err("it runs");
                    result.store(e as u64, Relaxed);
                };
                o.call(inner).expect("it may wait");
            })
        });
        join(all);
        assert_eq!(result.load(Relaxed), libc::EDEADLK as u64);
        o.free();
    });
}

/// Another that has waited for it frees it while the runner is on its way.
#[test]
fn once_it_is_done_it_is_not_touched() {
    check(|| {
        let o = Hosted::new(Once::default());
        let users = Arc::new(AtomicU64::new(2));
        let all = [(); 2].map(|()| {
            let users = users.clone();
            go(move || {
                let mine = users.clone();
                let ran = Arc::new(AtomicU64::new(0));
                let run = ran.clone();
                o.call(move || {
                    // The runner uses it no more, once this has returned.
                    mine.fetch_sub(1, Relaxed);
                    run.store(1, Relaxed);
                })
                .expect("it may wait");
                let waited = ran.load(Relaxed) == 0;
                if waited && users.fetch_sub(1, Relaxed) == 1 {
                    o.free();
                }
            })
        });
        join(all);
    });
}
