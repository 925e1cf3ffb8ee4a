//! Models of `block::select`: of all its cases one runs, whoever comes.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --test shuttle_select`
#![cfg(shuttle)]

use gmprt::model::{
    Chan,
    Do::{self, Nothing, Recv, Send},
    Ends, FOREVER, check, go, join, now, random, select, try_select,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// A deadline that may come, or none.
fn some_time() -> i64 {
    if random(3) == 0 { FOREVER } else { now() + random(100) as i64 }
}

/// Elements on their way, as a sum: each is a bit of its own.
#[derive(Clone, Default)]
struct Ledger(Arc<[AtomicU64; 2]>);

impl Ledger {
    fn add(&self, list: usize, elem: u64) {
        let bit = 1 << elem;
        let before = self.0[list].fetch_or(bit, Relaxed);
        assert_eq!(before & bit, 0, "element {elem} twice");
    }

    fn sent(&self, elem: u64) {
        self.add(0, elem);
    }

    fn received(&self, elem: u64) {
        self.add(1, elem);
    }

    fn check(&self) {
        let [sent, received] = self.0.each_ref().map(|n| n.load(Relaxed));
        assert_eq!(sent, received, "sent, and received");
    }

    /// Does one of `cases`, and keeps the books; false when it is over.
    fn one(&self, cases: &[Do<'_>], deadline: i64) -> bool {
        let (at, result) = match select(cases, deadline) {
            Ok(done) => done,
            Err(libc::ETIMEDOUT) => return true,
            Err(e) => {
                assert_eq!(e, libc::ECANCELED);
                return false;
            }
        };
        match (cases[at], result) {
            (_, Err(e)) => {
                assert_eq!(e, libc::EPIPE);
                return false;
            }
            (Send(_, elem), Ok(_)) => self.sent(elem),
            (Recv(_), Ok(elem)) => self.received(elem),
            (Nothing, _) => panic!("nothing is never ready"),
        }
        true
    }
}

/// Two that send on one channel or receive on the other, and two the other
/// way round; each may be what the other waits for.
#[test]
fn selects_that_meet_each_other_run_one_case_each() {
    check(|| {
        let chans: [Chan; 2] = Chan::several(random(2) as usize);
        let ledger = Ledger::default();
        let all = [0, 1, 2, 3].map(|name| {
            let (chans, ledger) = (chans.clone(), ledger.clone());
            go(move || {
                let there = &chans[name % 2];
                let here = &chans[1 - name % 2];
                for i in 0..3 {
                    let elem = (name * 3 + i) as u64;
                    let cases = [Send(there, elem), Nothing, Recv(here)];
                    let deadline = now() + random(100) as i64;
                    ledger.one(&cases, deadline);
                }
            })
        });
        join(all);
        drain(&chans, &ledger);
        ledger.check();
    });
}

/// Receives what is left in buffers.
fn drain(chans: &[Chan], ledger: &Ledger) {
    for ch in chans {
        while let Ok(elem) = ch.try_recv() {
            ledger.received(elem);
        }
    }
}

/// Three selects, with deadlines and cancels, against senders that wait for
/// sure, and closes at the end.
#[test]
fn a_select_that_gives_up_takes_nothing_with_it() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let chans: [Chan; 3] = Chan::several(random(2) as usize);
        let ledger = Ledger::default();
        let selects = [0, 1, 2].map(|_| {
            let (chans, ledger) = (chans.clone(), ledger.clone());
            go(move || {
                let cases = chans.each_ref().map(Recv);
                while ledger.one(&cases, some_time()) {}
            })
        });
        let senders = [0, 1, 2].map(|name: u64| {
            let (ch, ledger) = (chans[name as usize].clone(), ledger.clone());
            go(move || {
                for elem in name * 3..name * 3 + 3 {
                    ch.send(elem, FOREVER).expect("it is open");
                    ledger.sent(elem);
                }
            })
        });
        let names = [selects[0].handle(), selects[1].handle()];
        let canceller = go(move || {
            ENDS.reached(names[random(2) as usize].cancel().into());
        });
        canceller.join();
        join(senders);
        chans.iter().for_each(|ch| ch.close().expect("only here"));
        join(selects);
        drain(&chans, &ledger);
        ledger.check();
        // What ends at a close ends only then.
        ENDS.reached(0);
    });
    ENDS.check();
}

/// Both ends of one channel in each select: nobody receives its own.
#[test]
fn both_ends_of_one_channel() {
    check(|| {
        let ch = Chan::new(0);
        let ledger = Ledger::default();
        let all = [0, 1, 2].map(|name| {
            let (ch, ledger) = (ch.clone(), ledger.clone());
            go(move || {
                let cases = [Recv(&ch), Send(&ch, name), Recv(&ch)];
                match select(&cases, now() + 50) {
                    Ok((1, Ok(_))) => ledger.sent(name),
                    Ok((_, Ok(elem))) => {
                        assert_ne!(elem, name, "received its own");
                        ledger.received(elem);
                    }
                    end => assert_eq!(end, Err(libc::ETIMEDOUT)),
                }
            })
        });
        join(all);
        ledger.check();
    });
}

/// More cases than have room on the stack, some of them for one channel.
#[test]
fn many_cases() {
    check(|| {
        let chans: [Chan; 3] = Chan::several(0);
        let ledger = Ledger::default();
        let (ours, books) = (chans.clone(), ledger.clone());
        let selects = go(move || {
            let cases: [_; 12] = std::array::from_fn(|i| Recv(&ours[i % 3]));
            while books.one(&cases, some_time()) {}
        });
        let senders = [0, 1, 2].map(|name| {
            let (ch, ledger) = (chans[name as usize].clone(), ledger.clone());
            go(move || {
                if ch.send(name, some_time()).is_ok() {
                    ledger.sent(name);
                }
            })
        });
        join(senders);
        chans[random(3) as usize].close().expect("only here");
        selects.join();
        ledger.check();
    });
}

/// Those that wait are met by those that do not.
#[test]
fn tries_meet_who_waits() {
    check(|| {
        let chans: [Chan; 2] = Chan::several(0);
        let ledger = Ledger::default();
        let (theirs, books) = (chans.clone(), ledger.clone());
        let waits = go(move || {
            let cases = [Send(&theirs[0], 1), Recv(&theirs[1])];
            books.one(&cases, some_time());
        });
        for _ in 0..3 {
            match try_select(&[Recv(&chans[0]), Send(&chans[1], 2)]) {
                Ok((0, Ok(elem))) => ledger.received(elem),
                Ok((_, Ok(_))) => {
                    ledger.sent(2);
                    break;
                }
                end => assert_eq!(end, Err(libc::EAGAIN)),
            }
        }
        waits.handle().cancel();
        waits.join();
        ledger.check();
    });
}
