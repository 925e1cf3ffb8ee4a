//! Models of `block::barrier`.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --test shuttle_barrier`
#![cfg(shuttle)]

use gmprt::model::{
    Barrier, Ends, FOREVER, Hosted, check, go, join, now, random, until,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

const ETIMEDOUT: i32 = 110;
const ECANCELED: i32 = 125;

/// Nobody goes on before all have come, and one of each round is the last.
#[test]
fn rounds_do_not_mix() {
    check(|| {
        let b = Hosted::new(Barrier::new(3));
        let round = Arc::new([(); 3].map(|()| AtomicU64::new(0)));
        let lasts = Arc::new(AtomicU64::new(0));
        let all = [0, 1, 2].map(|me| {
            let (round, lasts) = (round.clone(), lasts.clone());
            go(move || {
                for n in 1..4 {
                    round[me].store(n, Relaxed);
                    let last = b.wait(FOREVER).expect("no deadline");
                    lasts.fetch_add(last.into(), Relaxed);
                    // The others are here, or one round further.
                    for one in &*round {
                        let at = one.load(Relaxed);
                        assert!(at == n || at == n + 1, "{at} in round {n}");
                    }
                }
            })
        });
        join(all);
        assert_eq!(lasts.load(Relaxed), 3);
        b.free();
    });
}

/// Some give up, by a deadline or a cancel. Each round has as many that succeed
/// as the barrier wants, and afterwards nobody counts as there.
#[test]
fn who_leaves_has_not_come() {
    static ENDS: Ends<4> = Ends::new();
    check(|| {
        let b = Hosted::new(Barrier::new(2));
        let (firsts, lasts) = (Arc::new(AtomicU64::new(0)), Arc::default());
        let all = [0, 1, 2, 3].map(|name| {
            let (firsts, lasts): (_, Arc<AtomicU64>) =
                (firsts.clone(), Arc::clone(&lasts));
            go(move || {
                let deadline = now() + random(60) as i64;
                let end = match b.wait(deadline) {
                    Ok(last) => {
                        let count = if last { &lasts } else { &firsts };
                        count.fetch_add(1, Relaxed);
                        last.into()
                    }
                    Err(ETIMEDOUT) => 2,
                    Err(e) => {
                        assert!(e == ECANCELED && name == 3, "{e}");
                        3
                    }
                };
                ENDS.reached(end);
            })
        });
        let name = all[3].handle();
        let canceller = go(move || {
            name.cancel();
        });
        join(all);
        canceller.join();
        assert_eq!(firsts.load(Relaxed), lasts.load(Relaxed));
        // Nobody is there: one more waits in vain, and two do not.
        assert_eq!(b.wait(now() - 1), Err(ETIMEDOUT));
        let other = go(move || assert!(!b.wait(FOREVER).expect("the first")));
        until(|| other.handle().waits());
        assert!(b.wait(now() - 1).expect("the last"));
        other.join();
        b.free();
    });
    ENDS.check();
}

/// The deadline of one comes as the last arrives: it is in the round, or it has
/// left and the round waits for another. Whoever is through frees the barrier.
#[test]
fn after_a_round_a_barrier_is_not_touched() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let b = Hosted::new(Barrier::new(3));
        let back = Arc::new(AtomicU64::new(0));
        let all = [0, 1, 2].map(|me| {
            let back = back.clone();
            go(move || {
                let mut tries = 0;
                let deadline = || match me {
                    0 => FOREVER,
                    _ => now() + random(20) as i64,
                };
                while b.wait(deadline()).is_err() {
                    tries += 1;
                }
                if me == 1 {
                    ENDS.reached((tries > 0).into());
                }
                // The last one that is back.
                if back.fetch_add(1, Relaxed) == 2 {
                    b.free();
                }
            })
        });
        join(all);
    });
    ENDS.check();
}
