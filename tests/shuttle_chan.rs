//! Models of `block::chan`: elements that are sent and received with
//! deadlines, while others are cancelled or close the channel.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --test shuttle_chan`
#![cfg(shuttle)]

use gmprt::model::{
    Chan, Ends, FOREVER, Goroutine, cancelled, check, destroyed, go, join, now,
    random, shielded, until,
};
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// What was sent, and what was received, by each receiver in its order.
#[derive(Clone, Default)]
struct Ledger(Arc<[Mutex<Vec<u64>>; 2]>);

impl Ledger {
    fn sent(&self, elem: u64) {
        self.0[0].lock().unwrap().push(elem);
    }

    fn received(&self, elem: u64) {
        self.0[1].lock().unwrap().push(elem);
    }

    /// All that was sent was received, once.
    fn check(&self) {
        let [sent, received] = self.0.each_ref().map(|list| {
            let mut list = list.lock().unwrap().clone();
            list.sort_unstable();
            list
        });
        assert_eq!(sent, received, "sent, and received");
    }
}

/// A deadline that may come, or none.
fn some_time() -> i64 {
    if random(3) == 0 { FOREVER } else { now() + random(100) as i64 }
}

/// Sends three elements, each as often as it takes, unless it is cancelled or
/// the channel is closed.
fn sender(ch: &Chan, ledger: &Ledger, name: u64) -> Goroutine {
    let (ch, ledger) = (ch.clone(), ledger.clone());
    go(move || {
        for elem in name * 10..name * 10 + 3 {
            match ch.send(elem, some_time()) {
                Ok(()) => ledger.sent(elem),
                Err(libc::ETIMEDOUT) => {}
                Err(libc::ECANCELED | libc::EPIPE) => return,
                Err(e) => panic!("send: {e}"),
            }
        }
    })
}

/// Receives until the channel is closed, or it is cancelled.
fn receiver(ch: &Chan, ledger: &Ledger) -> Goroutine {
    let (ch, ledger) = (ch.clone(), ledger.clone());
    go(move || {
        let mut last = [0; 10];
        loop {
            match ch.recv(some_time()) {
                Ok(elem) => {
                    let from = &mut last[elem as usize / 10];
                    assert!(*from < elem, "overtaken by {from}");
                    *from = elem;
                    ledger.received(elem);
                }
                Err(libc::ETIMEDOUT) => {}
                Err(libc::ECANCELED | libc::EPIPE) => return,
                Err(e) => panic!("recv: {e}"),
            }
        }
    })
}

#[test]
fn what_is_sent_arrives_once_and_in_order() {
    check(|| {
        let ch = Chan::new(random(3) as usize);
        let ledger = Ledger::default();
        let senders = [1, 2].map(|name| sender(&ch, &ledger, name));
        let receivers = [(); 2].map(|()| receiver(&ch, &ledger));
        // One of each is enough to end.
        let cancels = [senders[1].handle(), receivers[1].handle()];
        let canceller = go(move || {
            for name in cancels {
                if random(2) == 0 {
                    name.cancel();
                }
            }
        });
        join(senders);
        canceller.join();
        ch.close().expect("only here");
        join(receivers);
        ledger.check();
    });
}

/// Senders that find it closed have not sent; what is in the buffer stays.
#[test]
fn a_close_loses_nothing() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let ch = Chan::new(random(3) as usize);
        let ledger = Ledger::default();
        let all = [
            sender(&ch, &ledger, 1),
            sender(&ch, &ledger, 2),
            receiver(&ch, &ledger),
        ];
        let closers = [(); 2].map(|()| {
            let ch = ch.clone();
            go(move || ENDS.reached(ch.close().is_ok().into()))
        });
        join(closers);
        join(all);
        while let Ok(elem) = ch.try_recv() {
            ledger.received(elem);
        }
        assert_eq!(ch.try_recv(), Err(libc::EPIPE));
        assert_eq!(ch.send(0, FOREVER), Err(libc::EPIPE));
        assert_eq!(ch.close(), Err(libc::EPIPE));
        ledger.check();
    });
    ENDS.check();
}

/// Who waits is found by those that do not.
#[test]
fn tries_meet_who_waits() {
    check(|| {
        let ch = Chan::new(random(2) as usize);
        let ledger = Ledger::default();
        let sends = sender(&ch, &ledger, 1);
        let receives = receiver(&ch, &ledger);
        for elem in 20..23 {
            match ch.try_send(elem) {
                Ok(()) => ledger.sent(elem),
                Err(e) => assert_eq!(e, libc::EAGAIN),
            }
            match ch.try_recv() {
                Ok(elem) => ledger.received(elem),
                Err(e) => assert_eq!(e, libc::EAGAIN),
            }
        }
        sends.join();
        ch.close().expect("only here");
        receives.join();
        ledger.check();
    });
}

/// As many elements as receivers that do not wait, one in the buffer and the
/// others with senders that wait: at each moment there is one for each.
#[test]
fn a_full_channel_with_senders_is_neither_empty_nor_has_it_room() {
    check(|| {
        let ch = Chan::new(1);
        ch.try_send(1).expect("room");
        let senders = [2, 3].map(|elem| {
            let ch = ch.clone();
            go(move || ch.send(elem, FOREVER).expect("it is open"))
        });
        let names = senders.each_ref().map(Goroutine::handle);
        until(|| names.iter().all(|name| name.waits()));
        let receivers = [(); 2].map(|()| {
            let ch = ch.clone();
            go(move || {
                ch.try_recv().expect("there is one");
            })
        });
        assert_eq!(ch.try_send(4), Err(libc::EAGAIN), "there is no room");
        join(receivers);
        join(senders);
        ch.try_recv().expect("the last");
        assert_eq!(ch.try_recv(), Err(libc::EAGAIN));
    });
}

/// A host's thread, which has no G before it first waits, meets a goroutine.
#[test]
fn host_threads_wait_too() {
    check(|| {
        let ch = Chan::new(0);
        let theirs = ch.clone();
        let echo = go(move || {
            for _ in 0..2 {
                let elem = theirs.recv(FOREVER).expect("it is open");
                theirs.send(elem + 1, FOREVER).expect("it is open");
            }
        });
        for elem in [10, 20] {
            ch.send(elem, FOREVER).expect("it is open");
            let mut back = ch.recv(now() + 100);
            while back == Err(libc::ETIMEDOUT) {
                back = ch.recv(some_time());
            }
            assert_eq!(back, Ok(elem + 1));
        }
        echo.join();
    });
}

/// A cancel by an old handle, while another goroutine is in its G.
#[test]
fn a_late_cancel_does_not_reach_the_next_goroutine() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let ch = Chan::new(0);
        let first = go(|| {});
        let name = first.handle();
        let canceller = go(move || ENDS.reached(name.cancel().into()));
        first.join();
        let theirs = ch.clone();
        let next = go(move || {
            theirs.recv(FOREVER).expect("cancelled for another");
            assert!(!cancelled());
        });
        ch.send(1, FOREVER).expect("it is open");
        join([next, canceller]);
    });
    ENDS.check();
}

/// Behind a shield a cancel is not seen, and after it at once.
#[test]
fn a_shield_keeps_cancels_out() {
    check(|| {
        let ch = Chan::new(0);
        let theirs = ch.clone();
        let receiver = go(move || {
            let elem = shielded(|| theirs.recv(FOREVER));
            assert_eq!(elem, Ok(1), "cancelled behind a shield");
            assert_eq!(theirs.recv(FOREVER), Err(libc::ECANCELED));
        });
        let name = receiver.handle();
        let canceller = go(move || assert!(name.cancel(), "it waits for it"));
        ch.send(1, FOREVER).expect("it is open");
        join([receiver, canceller]);
    });
}

/// Elements that own something: each that was sent is received once or
/// destroyed once, and a send that fails has taken nothing.
#[test]
fn each_element_has_one_end() {
    static ENDS: Ends<3> = Ends::new();
    check(|| {
        let ch = Chan::owning(random(3) as usize);
        let sent = Arc::new(AtomicU64::new(0));
        let received = Arc::new(AtomicU64::new(0));
        let senders = [1, 2].map(|name| {
            let (ch, sent) = (ch.clone(), sent.clone());
            go(move || {
                for n in 0..2 {
                    let deadline = now() + random(60) as i64;
                    if ch.send(name * 10 + n, deadline).is_ok() {
                        sent.fetch_add(1, Relaxed);
                    }
                }
            })
        });
        let receivers = [0, 1].map(|name| {
            let (ch, received) = (ch.clone(), received.clone());
            go(move || {
                let deadline = now() + random(60) as i64;
                if name == 0 {
                    ENDS.reached(ch.drop_one(deadline).is_ok().into());
                } else if let Ok(elem) = ch.recv(deadline) {
                    assert!((10..22).contains(&elem), "{elem}");
                    received.fetch_add(1, Relaxed);
                }
            })
        });
        join(senders.into_iter().chain(receivers));
        let dropped = destroyed();
        drop(ch);
        if destroyed() > dropped {
            ENDS.reached(2);
        }
        let ended = received.load(Relaxed) + destroyed();
        assert_eq!(sent.load(Relaxed), ended);
    });
    ENDS.check();
}
