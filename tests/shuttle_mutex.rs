//! Models of `block::mutex`: who locks with deadlines and is cancelled while
//! others unlock.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --test shuttle_mutex`
#![cfg(shuttle)]

use gmprt::model::{
    Ends, FOREVER, Goroutine, Hosted, Mutex, Room, check, go, join, now, pass,
    random, until,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A mutex and what it guards.
#[derive(Clone)]
struct Guarded {
    m: Hosted<Mutex>,
    room: Arc<Room>,
}

impl Guarded {
    fn new() -> Self {
        Self { m: Hosted::new(Mutex::default()), room: Arc::default() }
    }

    /// Locks in one way or another, and unlocks; whether it got it.
    fn visit(&self, how: u64) -> Result<(), i32> {
        match how {
            0 => self.m.lock(),
            1 => self.m.lock_until(FOREVER)?,
            _ => self.m.lock_until(now() + 100)?,
        }
        self.room.alone();
        self.m.unlock().expect("it is ours");
        Ok(())
    }

    fn visitor(&self, how: u64, times: u32) -> Goroutine {
        let this = self.clone();
        go(move || {
            for _ in 0..times {
                let end = this.visit(how);
                assert!(how != 0 || end.is_ok(), "nothing interrupts lock");
            }
        })
    }

    /// Nobody has it or waits for it.
    fn end(self) {
        assert!(self.m.try_lock(), "left locked");
        self.m.unlock().expect("it is ours");
        assert_eq!(self.m.unlock(), Err(libc::EPERM));
        self.m.free();
    }
}

#[test]
fn one_at_a_time_and_everybody_gets_in() {
    check(|| {
        let g = Guarded::new();
        let all = [0, 0, 0, 0].map(|how| g.visitor(how, 2));
        join(all);
        g.end();
    });
}

#[test]
fn deadlines_and_cancels_lose_no_unlock() {
    static ENDS: Ends<4> = Ends::new();
    check(|| {
        let g = Guarded::new();
        let kinds = [0, 0, 1, 1, 2, 2].map(|how| (how, g.clone()));
        let all = kinds.map(|(how, g)| {
            go(move || {
                for _ in 0..2 {
                    ENDS.reached(match g.visit(how) {
                        Ok(()) => 0,
                        Err(libc::ETIMEDOUT) if how == 2 => 1,
                        Err(libc::ECANCELED) if how == 1 => 2,
                        Err(e) => panic!("{e}"),
                    });
                }
            })
        });
        let names = all.each_ref().map(Goroutine::handle);
        let canceller = go(move || {
            // Reaches number 2 and 3, and not who locks for sure.
            for at in [0, 2, 3] {
                if random(4) != 0 && names[at].cancel() {
                    ENDS.reached(3);
                }
            }
        });
        join(all);
        canceller.join();
        g.end();
    });
    ENDS.check();
}

/// One that waits for long is handed the mutex: nobody comes before it.
#[test]
fn a_starving_waiter_is_handed_the_mutex() {
    check(|| {
        let g = Guarded::new();
        let may_end = Arc::new(AtomicU64::new(0));
        g.m.lock();
        let (theirs, end) = (g.clone(), may_end.clone());
        let starving = go(move || {
            theirs.m.lock();
            until(|| end.load(Relaxed) == 1);
            theirs.m.unlock().expect("it is ours");
        });
        until(|| starving.handle().waits());
        pass(2_000_000);
        g.m.unlock().expect("it is ours");
        assert!(!g.m.try_lock(), "came before one that starves");
        may_end.store(1, Relaxed);
        starving.join();
        g.end();
    });
}

/// One that starves and whose deadline comes as it is handed the mutex has
/// it, or somebody else gets it.
#[test]
fn a_starving_waiter_that_gives_up_is_passed_over() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let g = Guarded::new();
        g.m.lock();
        let waiters = [2, 2, 0].map(|how| g.visitor(how, 1));
        let last = g.visitor(0, 1);
        if random(2) == 0 {
            until(|| last.handle().waits());
        }
        pass(2_000_000);
        g.m.unlock().expect("it is ours");
        ENDS.reached(g.m.try_lock().then(|| g.m.unlock()).is_some().into());
        join(waiters);
        last.join();
        g.end();
    });
    ENDS.check();
}

/// The last user of an object frees it, mutex and all, while the one before
/// is still on its way out of unlock.
#[test]
fn after_its_last_unlock_it_is_not_touched() {
    check(|| {
        let m = Hosted::new(Mutex::default());
        let users = Arc::new(AtomicU64::new(3));
        let all = [0, 1, 2].map(|how| {
            let users = users.clone();
            go(move || {
                // Who does not get it in time tries harder.
                if how == 0 || m.lock_until(now() + 50).is_err() {
                    m.lock();
                }
                let last = users.fetch_sub(1, Relaxed) == 1;
                m.unlock().expect("it is ours");
                if last {
                    m.free();
                }
            })
        });
        join(all);
    });
}
