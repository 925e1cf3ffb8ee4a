//! Models of `block::group`: members that start, end, fail and are cancelled,
//! in groups that are nested and freed.
//!
//! Members run the host's functions, where a panic would end the process: so
//! they count, and the test looks.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --test shuttle_group`
#![cfg(shuttle)]

use gmprt::model::{
    Chan, Ends, FOREVER, Group, cancelled, check, go, now, random,
    refuse_goroutines, shielded,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// Counts what members do.
#[derive(Clone, Default)]
struct Count(Arc<AtomicU64>);

impl Count {
    fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A member that waits until it is cancelled, and counts then.
fn waits(gr: Group, never: &Chan, ended: &Count) {
    let (never, ended) = (never.clone(), ended.clone());
    gr.go(move || {
        let e = never.recv(FOREVER).expect_err("nobody sends");
        ended.add(u64::from(e == libc::ECANCELED && cancelled()));
        0
    })
    .expect("memory");
}

#[test]
fn a_wait_ends_with_the_last_member() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let gr = Group::default();
        let ended = Count::default();
        for _ in 0..3 {
            let ended = ended.clone();
            let member = move || {
                shuttle::thread::yield_now();
                ended.add(1);
                0
            };
            gr.go(member).expect("memory");
        }
        let other = go(move || match gr.wait(now() + 30) {
            Ok(result) => assert_eq!(result, 0),
            Err(e) => assert_eq!(e, libc::ETIMEDOUT),
        });
        let in_time = gr.wait(now() + random(60) as i64).is_ok();
        ENDS.reached(in_time.into());
        assert!(!in_time || ended.get() == 3, "early");
        other.join();
        gr.free();
        assert_eq!(ended.get(), 3, "freed with members");
    });
    ENDS.check();
}

/// The first error is the group's, and ends the others.
#[test]
fn an_error_cancels_all_members() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let gr = Group::default();
        let (never, ended) = (Chan::new(0), Count::default());
        waits(gr, &never, &ended);
        for error in [7, 8] {
            gr.go(move || error).expect("memory");
        }
        // Before the error or after it: it starts cancelled then.
        waits(gr, &never, &ended);
        let error = gr.wait(FOREVER).expect("nothing interrupts it");
        assert!([7, 8].contains(&error), "{error}");
        ENDS.reached((error == 8).into());
        assert_eq!(ended.get(), 2, "not cancelled");
        assert_eq!(gr.wait(FOREVER), Ok(error));
        gr.free();
    });
    ENDS.check();
}

/// A free, and another's cancel before it, end whoever waits.
#[test]
fn a_cancel_and_a_free_reach_everybody() {
    check(|| {
        let gr = Group::default();
        let (never, ended) = (Chan::new(0), Count::default());
        let canceller = go(move || gr.cancel());
        for _ in 0..3 {
            waits(gr, &never, &ended);
        }
        if random(2) == 0 {
            canceller.join();
            assert_eq!(gr.wait(FOREVER), Ok(0));
        } else {
            // Freed only once nobody uses it.
            canceller.join();
        }
        gr.free();
        assert_eq!(ended.get(), 3, "not cancelled");
    });
}

/// A member makes a group, whose member makes a group: a cancel of the outer
/// one reaches all, whenever it comes.
#[test]
fn a_cancel_reaches_what_is_nested() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let outer = Group::default();
        let (never, ended) = (Chan::new(0), Count::default());
        for _ in 0..2 {
            let (never, ended) = (never.clone(), ended.clone());
            let member = move || {
                let inner = Group::default();
                waits(inner, &never, &ended);
                let (theirs, count) = (never.clone(), ended.clone());
                let nested = move || {
                    let innermost = Group::default();
                    waits(innermost, &theirs, &count);
                    innermost.free();
                    0
                };
                inner.go(nested).expect("memory");
                waits(inner, &never, &ended);
                // Not interrupted: it sees to the end of all below.
                inner.free();
                0
            };
            outer.go(member).expect("memory");
        }
        let canceller = go(move || outer.cancel());
        let early = random(2) == 0;
        ENDS.reached(early.into());
        if early {
            canceller.join();
            assert_eq!(outer.wait(FOREVER), Ok(0));
            assert_eq!(ended.get(), 6, "not cancelled");
        } else {
            canceller.join();
        }
        outer.free();
        assert_eq!(ended.get(), 6, "freed with members");
    });
    ENDS.check();
}

/// Only the outer cancel ends what is nested: nobody frees or cancels the
/// inner group before its members have ended.
#[test]
fn nothing_but_the_outer_cancel_ends_the_inner_members() {
    check(|| {
        let outer = Group::default();
        let (never, ended) = (Chan::new(0), Count::default());
        let (theirs, count) = (never.clone(), ended.clone());
        let member = move || {
            let inner = Group::default();
            waits(inner, &theirs, &count);
            // Cancelled itself, it waits a second time behind a shield.
            let end = inner.wait(FOREVER);
            if end == Err(libc::ECANCELED) {
                let end = shielded(|| inner.wait(FOREVER));
                if end != Ok(0) {
                    return 1;
                }
            }
            inner.free();
            0
        };
        outer.go(member).expect("memory");
        let canceller = go(move || outer.cancel());
        canceller.join();
        assert_eq!(outer.wait(FOREVER), Ok(0));
        assert_eq!(ended.get(), 1);
        outer.free();
    });
}

/// A group that outlives the one that it was nested in is on its own.
#[test]
fn a_group_may_outlive_the_outer_one() {
    check(|| {
        let outer = Group::default();
        let (never, ended) = (Chan::new(0), Count::default());
        let out = Chan::new(2);
        for _ in 0..2 {
            let (never, ended, out) =
                (never.clone(), ended.clone(), out.clone());
            let member = move || {
                let inner = Group::default();
                waits(inner, &never, &ended);
                let name = inner.into_number();
                i32::from(out.try_send(name).is_err())
            };
            outer.go(member).expect("memory");
        }
        let inner = [(); 2]
            .map(|()| Group::from_number(out.recv(FOREVER).expect("two")));
        let frees = go(move || outer.free());
        if random(2) == 0 {
            inner[0].cancel();
        }
        inner.into_iter().for_each(Group::free);
        frees.join();
        assert_eq!(ended.get(), 2, "not cancelled");
    });
}

/// Where there is no memory for a member, it does not count.
#[test]
fn a_member_that_cannot_start_is_not_waited_for() {
    check(|| {
        let gr = Group::default();
        let ended = Count::default();
        let n = 1 + random(2);
        refuse_goroutines(n as u32);
        let mut started = 0;
        for _ in 0..3 {
            let ended = ended.clone();
            let member = move || {
                ended.add(1);
                0
            };
            started += u64::from(gr.go(member).is_ok());
        }
        assert_eq!(started, 3 - n);
        assert_eq!(gr.wait(FOREVER), Ok(0));
        assert_eq!(ended.get(), started);
        gr.free();
    });
}

/// It cannot wait for itself.
#[test]
fn a_member_does_not_wait_for_its_group() {
    check(|| {
        let gr = Group::default();
        let error = Count::default();
        let mine = error.clone();
        let member = move || {
            mine.add(gr.wait(FOREVER).expect_err("itself") as u64);
            0
        };
        gr.go(member).expect("memory");
        assert_eq!(gr.wait(FOREVER), Ok(0));
        assert_eq!(error.get(), libc::EDEADLK as u64);
        gr.free();
    });
}
