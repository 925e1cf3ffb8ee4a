//! Models of `block::{firing, ticker}`: stops, resets and frees that race with
//! the timer's time, its goroutine, and one another.
//!
//! What a run leaves is checked at its end: each timer was freed once.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --test shuttle_timers`
#![cfg(shuttle)]

use gmprt::model::{
    Chan, Ends, FOREVER, Ticker, check, go, join, now, pass, random,
    refuse_goroutines, until,
};
use std::sync::{
    Arc, Mutex, OnceLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// What no leap of the clock comes to.
const LATER: i64 = 1_000_000_000_000;

/// When a timer's function has begun.
#[derive(Clone, Default)]
struct Calls {
    times: Arc<Mutex<Vec<i64>>>,
    inside: Arc<AtomicU64>,
    overlaps: Arc<AtomicU64>,
}

impl Calls {
    fn count(&self) -> usize {
        self.times.lock().unwrap().len()
    }

    /// How often it has begun before `time`, and how often later.
    fn around(&self, time: i64) -> (usize, usize) {
        let times = self.times.lock().unwrap();
        let before = times.iter().filter(|t| **t < time).count();
        (before, times.len() - before)
    }

    /// A function that takes a while. A panic in it would end the process, so
    /// it counts what is wrong.
    fn f(&self) -> impl Fn() + Send + Sync + 'static {
        let this = self.clone();
        move || {
            let time = now();
            this.times.lock().unwrap().push(time);
            let others = this.inside.fetch_add(1, Relaxed);
            this.overlaps.fetch_add(others, Relaxed);
            shuttle::thread::yield_now();
            this.inside.fetch_sub(1, Relaxed);
        }
    }

    /// From now on it begins at `time` or after it, and that once. But one
    /// that is under way, and so began before, may say so only now.
    fn begins_once_more(&self, time: i64, under_way: bool) {
        let (before, _) = self.around(time);
        until(|| self.around(time).1 > 0);
        for _ in 0..random(30) {
            shuttle::thread::yield_now();
        }
        let (early, late) = self.around(time);
        let more = early - before + late - 1;
        assert!(more <= under_way.into(), "{early} before it, {late} later");
    }
}

/// It fires once, or stop says that it does not: exactly one of both.
#[test]
fn a_timer_that_was_stopped_does_not_begin() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let calls = Calls::default();
        let t = Ticker::start(random(20) as i64, 0, calls.f());
        for _ in 0..random(30) {
            shuttle::thread::yield_now();
        }
        let stopped = t.stop();
        let before = calls.count();
        ENDS.reached(stopped.into());
        assert!(!t.stop(), "stopped already");
        if stopped {
            assert_eq!(before, 0, "it had begun");
        } else {
            until(|| calls.count() == 1);
        }
        let after = calls.clone();
        go(move || {
            for _ in 0..random(30) {
                shuttle::thread::yield_now();
            }
            assert_eq!(after.count(), usize::from(!stopped), "began later");
        });
        t.free();
    });
    ENDS.check();
}

/// Two stop it at once: one of them at most has stopped it.
#[test]
fn of_two_stops_one_wins() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let calls = Calls::default();
        let t = Arc::new(Ticker::start(10, 0, calls.f()));
        let wins = Arc::new(AtomicU64::new(0));
        let all = [(); 2].map(|()| {
            let (t, wins) = (t.clone(), wins.clone());
            go(move || {
                wins.fetch_add(t.stop().into(), Relaxed);
            })
        });
        join(all);
        let wins = wins.load(Relaxed) as usize;
        assert!(wins < 2);
        ENDS.reached(wins);
        until(|| calls.count() + wins == 1);
        Arc::into_inner(t).expect("the last").free();
    });
    ENDS.check();
}

/// What begins after a reset has returned begins at its time, and that once.
#[test]
fn a_reset_runs_no_stale_arming_and_loses_none() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let calls = Calls::default();
        let t = Ticker::start(random(20) as i64, 0, calls.f());
        for _ in 0..random(30) {
            shuttle::thread::yield_now();
        }
        let time = now() + LATER;
        let under_way = t.reset(LATER);
        ENDS.reached(calls.around(time).0);
        calls.begins_once_more(time, under_way);
        assert!(!t.stop(), "it was its last");
        t.free();
        assert_eq!(calls.overlaps.load(Relaxed), 0);
    });
    ENDS.check();
}

/// Resets from two sides, to earlier and later times, and a stop: after all
/// of it one more reset fires once.
#[test]
fn resets_and_stops_from_two_sides_leave_it_in_order() {
    check(|| {
        let calls = Calls::default();
        let t = Arc::new(Ticker::start(LATER, 0, calls.f()));
        let all = [0, 1].map(|_| {
            let t = t.clone();
            go(move || {
                for _ in 0..3 {
                    match random(3) {
                        0 => drop(t.stop()),
                        1 => drop(t.reset(LATER)),
                        _ => drop(t.reset(random(20) as i64)),
                    }
                }
            })
        });
        join(all);
        let time = now() + 2 * LATER;
        let under_way = t.reset(2 * LATER);
        calls.begins_once_more(time, under_way);
        Arc::into_inner(t).expect("the last").free();
    });
}

/// A timer is stopped while another comes first, so it stays in the heap; the
/// other is taken out; then the first is reset. Somebody has to wake up for it.
#[test]
fn a_stopped_timer_that_was_left_in_the_heap_fires_when_it_is_reset() {
    check(|| {
        let calls = Calls::default();
        let ch = Chan::new(0);
        let theirs = ch.clone();
        let waiter = go(move || {
            // Here or not: the timers are what counts.
            match theirs.recv(now() + 10) {
                Ok(_) | Err(libc::ETIMEDOUT) => {}
                Err(e) => panic!("{e}"),
            }
        });
        let t = Ticker::start(LATER, 0, calls.f());
        until(|| waiter.handle().waits() || random(16) == 0);
        t.stop();
        match ch.try_send(1) {
            Ok(()) | Err(libc::EAGAIN) => {}
            Err(e) => panic!("{e}"),
        }
        waiter.join();
        let time = now() + 2 * LATER;
        let under_way = t.reset(2 * LATER);
        calls.begins_once_more(time, under_way);
        t.free();
    });
}

/// A periodic timer: its runs do not overlap, and a stop ends them.
#[test]
fn runs_of_a_periodic_timer_do_not_overlap() {
    check(|| {
        let calls = Calls::default();
        let t = Ticker::start(5, 5, calls.f());
        until(|| calls.count() >= 2);
        if random(2) == 0 {
            t.reset(7);
        }
        until(|| calls.count() >= 4);
        assert!(t.stop(), "it has always a next time");
        let before = calls.count();
        pass(LATER);
        for _ in 0..random(30) {
            shuttle::thread::yield_now();
        }
        // One may have been on its way into its function.
        assert!(calls.count() <= before + 1, "began after the stop");
        t.free();
        assert_eq!(calls.overlaps.load(Relaxed), 0);
    });
}

/// It is freed while it is due, about to begin, or running.
#[test]
fn a_timer_may_be_freed_at_any_moment() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let calls = Calls::default();
        let period = [0, 5][random(2) as usize];
        let t = Ticker::start(random(20) as i64, period, calls.f());
        for _ in 0..random(30) {
            shuttle::thread::yield_now();
        }
        t.free();
        let before = calls.count();
        ENDS.reached((before > 0).into());
        for _ in 0..random(30) {
            shuttle::thread::yield_now();
        }
        // One may have been on its way into its function.
        assert!(calls.count() <= before + 1, "began after it was freed");
    });
    ENDS.check();
}

/// A function resets its own timer: it runs again, after itself.
#[test]
fn a_function_that_resets_its_timer_runs_again() {
    check(|| {
        let calls = Calls::default();
        let t = Arc::new(OnceLock::<Ticker>::new());
        let (mine, f, n) = (t.clone(), calls.f(), calls.clone());
        let ticker = Ticker::start(LATER, 0, move || {
            // None where its first time came at once: the reset follows.
            if n.count() < 3
                && let Some(t) = mine.get()
            {
                t.reset(random(5) as i64);
            }
            f();
        });
        assert!(t.set(ticker).is_ok());
        t.get().expect("just set").reset(0);
        until(|| calls.count() == 4);
        assert_eq!(calls.overlaps.load(Relaxed), 0);
        // The function's closure, which is kept, has the other reference.
        let t = t.get().expect("just set");
        assert!(!t.stop());
        t.free_shared();
    });
}

/// There is no memory for its goroutine: it tries again.
#[test]
fn without_memory_it_fires_later() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let calls = Calls::default();
        refuse_goroutines(random(3) as u32);
        let t = Ticker::start(10, 0, calls.f());
        if random(2) == 0 {
            until(|| calls.count() == 1);
        }
        let stopped = t.stop();
        ENDS.reached(stopped.into());
        until(|| calls.count() + usize::from(stopped) == 1);
        refuse_goroutines(0);
        t.free();
    });
    ENDS.check();
}

/// `gmp_after`, given up before, while or after it fires.
#[test]
fn a_channel_and_its_timer_go_together() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let start = now();
        let ch = Chan::ticking(random(20) as i64, 0);
        let theirs = ch.clone();
        let receiver = go(move || {
            let tick = theirs.recv(now() + random(40) as i64);
            ENDS.reached(tick.is_ok().into());
            if let Ok(time) = tick {
                assert!(time as i64 >= start);
                assert_eq!(theirs.try_recv(), Err(libc::EAGAIN), "a second");
            }
        });
        if random(2) == 0 {
            receiver.join();
        }
    });
    ENDS.check();
}

/// `gmp_tick`: closing it stops it, dropping it frees it.
#[test]
fn a_ticking_channel_ends_with_its_last_reference() {
    check(|| {
        let ch = Chan::ticking(5, 5);
        let readers = [0, 1].map(|_| {
            let ch = ch.clone();
            go(move || {
                let mut last = 0;
                while let Ok(time) = ch.recv(FOREVER) {
                    assert!(time > last);
                    last = time;
                }
            })
        });
        if random(2) == 0 {
            // Only a close ends these.
            let closer = ch.clone();
            go(move || closer.close().expect("only here"));
        } else {
            let names = readers.each_ref().map(|r| r.handle());
            go(move || {
                assert!(names.iter().all(|name| name.cancel()));
            });
        }
        drop(ch);
        join(readers);
    });
}
