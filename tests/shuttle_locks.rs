//! Models of `block::rwmutex` and `block::cond`: waits with deadlines, and
//! cancels, beside those who let others in or wake them.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --test shuttle_locks`
#![cfg(shuttle)]

use gmprt::model::{
    Cond, Ends, FOREVER, Goroutine, Hosted, Mutex, Room, RwMutex, check, go,
    join, now, random, until,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A lock and what it guards.
#[derive(Clone)]
struct Guarded {
    rw: Hosted<RwMutex>,
    room: Arc<Room>,
}

impl Guarded {
    fn new() -> Self {
        Self { rw: Hosted::new(RwMutex::default()), room: Arc::default() }
    }

    fn reads(&self) {
        self.room.together();
        self.rw.runlock().expect("it is ours");
    }

    fn writes(&self) {
        self.room.alone();
        self.rw.unlock().expect("it is ours");
    }

    /// Locks in one way or another, and unlocks.
    fn visit(&self, how: u64) -> Result<(), i32> {
        match how {
            0 => self.rw.rlock(),
            1 => self.rw.lock(),
            2 => self.rw.rlock_until(now() + 100)?,
            3 => self.rw.lock_until(now() + 100)?,
            4 => self.rw.rlock_until(FOREVER)?,
            _ => self.rw.lock_until(FOREVER)?,
        }
        if how.is_multiple_of(2) {
            self.reads()
        } else {
            self.writes()
        }
        Ok(())
    }

    fn visitor(&self, how: u64, times: u32) -> Goroutine {
        let this = self.clone();
        go(move || {
            for _ in 0..times {
                let end = this.visit(how);
                assert!(how > 1 || end.is_ok(), "nothing interrupts these");
            }
        })
    }

    /// Nobody has it or waits for it.
    fn end(self) {
        assert!(self.rw.try_lock(), "left locked");
        assert!(!self.rw.try_rlock());
        assert_eq!(self.rw.runlock(), Err(libc::EPERM));
        self.rw.unlock().expect("it is ours");
        assert!(self.rw.try_rlock(), "left locked");
        assert_eq!(self.rw.unlock(), Err(libc::EPERM));
        self.rw.runlock().expect("it is ours");
        self.rw.free();
    }
}

#[test]
fn readers_together_and_writers_alone() {
    check(|| {
        let g = Guarded::new();
        join([0, 0, 1, 1].map(|how| g.visitor(how, 2)));
        g.end();
    });
}

#[test]
fn deadlines_and_cancels_leave_nobody_behind() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let g = Guarded::new();
        let all = [0, 1, 2, 3, 4, 5].map(|how| g.visitor(how, 2));
        let names = [all[4].handle(), all[5].handle()];
        let canceller = go(move || {
            for name in names {
                ENDS.reached((random(2) == 0 && name.cancel()).into());
            }
        });
        join(all);
        canceller.join();
        g.end();
    });
    ENDS.check();
}

/// Behind a reader that stays, a writer waits, and behind it a reader. When
/// the writer gives up, the reader comes in.
#[test]
fn a_writer_that_leaves_lets_readers_in() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let g = Guarded::new();
        g.rw.rlock();
        let by_cancel = random(2) == 0;
        let theirs = g.clone();
        let writer = go(move || {
            let deadline = if by_cancel { FOREVER } else { now() + 100 };
            if theirs.rw.lock_until(deadline).is_ok() {
                theirs.writes();
            }
        });
        let name = writer.handle();
        ENDS.reached(by_cancel.into());
        let canceller = go(move || {
            if by_cancel {
                name.cancel();
            }
        });
        // These end only if it lets them in.
        join([0, 0, 2].map(|how| g.visitor(how, 1)));
        g.rw.runlock().expect("it is ours");
        join([writer, canceller]);
        g.end();
    });
    ENDS.check();
}

#[test]
fn a_writer_that_waits_keeps_readers_out() {
    check(|| {
        let g = Guarded::new();
        g.rw.rlock();
        let writer = g.visitor(1, 1);
        until(|| writer.handle().waits());
        assert!(!g.rw.try_rlock());
        assert_eq!(g.rw.rlock_until(now() + 10), Err(libc::ETIMEDOUT));
        g.rw.runlock().expect("it is ours");
        writer.join();
        g.end();
    });
}

/// Behind a reader that stays, a writer waits, and behind it two readers. When
/// the first of these gives up, the second does not come before the writer.
#[test]
fn a_reader_that_leaves_lets_nobody_pass_a_writer() {
    check(|| {
        let g = Guarded::new();
        g.rw.rlock();
        let passed = Arc::new(AtomicU64::new(0));
        let (theirs, saw) = (g.clone(), passed.clone());
        let writer = go(move || {
            theirs.rw.lock();
            assert_eq!(saw.load(Relaxed), 0, "came after a reader");
            theirs.writes();
        });
        until(|| writer.handle().waits());
        let theirs = g.clone();
        let hasty = go(move || {
            let end = theirs.rw.rlock_until(now() + 50);
            assert_eq!(end, Err(libc::ETIMEDOUT));
        });
        let theirs = g.clone();
        let patient = go(move || {
            theirs.rw.rlock();
            passed.store(1, Relaxed);
            theirs.reads();
        });
        until(|| patient.handle().waits());
        hasty.join();
        g.rw.runlock().expect("it is ours");
        join([writer, patient]);
        g.end();
    });
}

/// A writer waits in front of readers, and one unlocks: they go first.
#[test]
fn at_a_writers_unlock_readers_go_first() {
    check(|| {
        let g = Guarded::new();
        g.rw.lock();
        let inside = Arc::new(AtomicU64::new(0));
        let (theirs, saw) = (g.clone(), inside.clone());
        let writer = go(move || {
            theirs.rw.lock();
            assert_eq!(saw.load(Relaxed), 2, "came before the readers");
            theirs.writes();
        });
        until(|| writer.handle().waits());
        let readers = [(); 2].map(|()| {
            let (theirs, inside) = (g.clone(), inside.clone());
            go(move || {
                theirs.rw.rlock();
                inside.fetch_add(1, Relaxed);
                theirs.reads();
            })
        });
        let names = readers.each_ref().map(Goroutine::handle);
        until(|| names.iter().all(|name| name.waits()));
        g.rw.unlock().expect("it is ours");
        join(readers);
        writer.join();
        g.end();
    });
}

/// A writer that is alone with it, and the last user, frees it while others
/// are on their way out.
#[test]
fn after_its_last_unlock_it_is_not_touched() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let g = Guarded::new();
        let users = Arc::new(AtomicU64::new(4));
        let all = [0, 1, 2, 3].map(|how| {
            let (g, users) = (g.clone(), users.clone());
            go(move || {
                let reader = how % 2 == 0;
                match (how, reader) {
                    (2, _) if g.rw.rlock_until(now() + 50).is_ok() => {}
                    (3, _) if g.rw.lock_until(now() + 50).is_ok() => {}
                    (_, true) => g.rw.rlock(),
                    (_, false) => g.rw.lock(),
                }
                let before = users.load(Relaxed);
                if reader {
                    users.fetch_sub(1, Relaxed);
                    g.rw.runlock().expect("it is ours");
                    return;
                }
                users.store(before - 1, Relaxed);
                g.rw.unlock().expect("it is ours");
                if before == 1 {
                    g.rw.free();
                    users.store(u64::MAX, Relaxed);
                }
            })
        });
        join(all);
        let freed = users.load(Relaxed) == u64::MAX;
        ENDS.reached(freed.into());
        if !freed {
            g.rw.free();
        }
    });
    ENDS.check();
}

/// Tokens that a condition stands for.
#[derive(Clone)]
struct Tokens {
    m: Hosted<Mutex>,
    c: Hosted<Cond>,
    n: Arc<AtomicU64>,
    room: Arc<Room>,
}

impl Tokens {
    fn new() -> Self {
        Self {
            m: Hosted::new(Mutex::default()),
            c: Hosted::new(Cond::default()),
            n: Arc::default(),
            room: Arc::default(),
        }
    }

    /// Takes a token; false if it has given up and there is none.
    fn take(&self, deadline: i64) -> bool {
        self.m.lock();
        let mut end = Ok(());
        while self.n.load(Relaxed) == 0 && end.is_ok() {
            end = self.c.wait(&self.m, deadline);
            self.room.alone();
        }
        let has = self.n.load(Relaxed) > 0;
        if has {
            self.n.fetch_sub(1, Relaxed);
        }
        self.m.unlock().expect("it is ours");
        has
    }

    fn give(&self) {
        self.m.lock();
        self.room.alone();
        self.n.fetch_add(1, Relaxed);
        // With the mutex or without it.
        let inside = random(2) == 0;
        if inside {
            self.c.signal();
        }
        self.m.unlock().expect("it is ours");
        if !inside {
            self.c.signal();
        }
    }

    fn taker(&self, deadline: i64) -> Goroutine {
        let this = self.clone();
        go(move || {
            let has = this.take(deadline);
            assert!(has || deadline != FOREVER, "gave up by itself");
        })
    }

    fn end(self) {
        assert!(self.m.try_lock(), "left locked");
        self.m.free();
        self.c.free();
    }
}

/// As many signals as takers: one that meets a taker whose deadline has just
/// passed must not be lost on those that wait for ever.
#[test]
fn a_signal_goes_to_one_that_still_waits() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let t = Tokens::new();
        let hasty = [20, 40].map(|ns| {
            let t = t.clone();
            go(move || ENDS.reached(t.take(now() + ns).into()))
        });
        let patient = [FOREVER; 2].map(|deadline| t.taker(deadline));
        for _ in 0..4 {
            t.give();
        }
        join(hasty);
        join(patient);
        t.end();
    });
    ENDS.check();
}

#[test]
fn a_cancelled_waiter_has_the_mutex_and_loses_no_signal() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let t = Tokens::new();
        let theirs = t.clone();
        let cancelled = go(move || ENDS.reached(theirs.take(FOREVER).into()));
        let patient = t.taker(FOREVER);
        let name = cancelled.handle();
        let canceller = go(move || {
            name.cancel();
        });
        t.give();
        t.give();
        join([cancelled, patient, canceller]);
        t.end();
    });
    ENDS.check();
}

/// First in, first out; and no more than were signalled.
#[test]
fn signals_wake_as_many_in_their_order() {
    check(|| {
        let t = Tokens::new();
        let woken = Arc::new(AtomicU64::new(0));
        let all = [0, 1, 2].map(|name| {
            let (theirs, woken) = (t.clone(), woken.clone());
            let waiter = go(move || {
                theirs.m.lock();
                theirs.n.fetch_add(1, Relaxed);
                theirs.c.wait(&theirs.m, FOREVER).expect("a signal");
                woken.fetch_add(1 << (8 * name), Relaxed);
                theirs.m.unlock().expect("it is ours");
            });
            until(|| t.n.load(Relaxed) > name);
            // It waits once it has unlocked.
            t.m.lock();
            t.m.unlock().expect("it is ours");
            waiter
        });
        t.c.signal();
        until(|| woken.load(Relaxed) != 0);
        assert_eq!(woken.load(Relaxed), 1);
        t.c.signal();
        until(|| woken.load(Relaxed) != 1);
        assert_eq!(woken.load(Relaxed), 0x101);
        t.c.broadcast();
        join(all);
        t.end();
    });
}

/// A broadcast wakes all that wait, those that are about to give up or not.
#[test]
fn a_broadcast_reaches_all() {
    check(|| {
        let t = Tokens::new();
        let all = [FOREVER, FOREVER, 30, 60].map(|ns| {
            let t = t.clone();
            go(move || {
                let deadline = now().saturating_add(ns);
                t.m.lock();
                while t.n.load(Relaxed) == 0 && t.c.wait(&t.m, deadline).is_ok()
                {
                }
                assert!(ns != FOREVER || t.n.load(Relaxed) == 1);
                t.m.unlock().expect("it is ours");
            })
        });
        t.m.lock();
        t.n.store(1, Relaxed);
        t.m.unlock().expect("it is ours");
        t.c.broadcast();
        join(all);
        assert_eq!(t.c.wait(&t.m, FOREVER), Err(libc::EPERM), "not locked");
        // It goes on as before.
        t.n.store(0, Relaxed);
        let taker = t.taker(FOREVER);
        t.give();
        taker.join();
        t.end();
    });
}
