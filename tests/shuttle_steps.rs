//! Models of `block::steps`: goroutines of steps that send and receive with
//! deadlines, beside goroutines, while others are cancelled or close the
//! channel.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test --release --test shuttle_steps`
#![cfg(shuttle)]

use gmprt::model::{
    Chan, Does, Ends, FOREVER, Goroutine, check, go, go_steps, join, now,
    random,
};
use std::sync::{Arc, Mutex};

/// What was sent, and what was received.
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

/// Sends three elements, in steps.
fn sender(ch: &Chan, ledger: &Ledger, name: u64) -> Goroutine {
    let (ch, ledger) = (ch.clone(), ledger.clone());
    let mut next = name * 10;
    let mut tried = false;
    go_steps(move |steps| {
        match steps.result() {
            Ok(()) if tried => {
                ledger.sent(next);
                next += 1;
            }
            Ok(()) | Err(libc::ETIMEDOUT) => {}
            Err(libc::ECANCELED | libc::EPIPE) => return Does::End,
            Err(e) => panic!("send: {e}"),
        }
        tried = true;
        if next == name * 10 + 3 {
            return Does::End;
        }
        steps.send(&ch, next, some_time())
    })
}

/// Receives until the channel is closed, or it is cancelled; in steps.
fn receiver(ch: &Chan, ledger: &Ledger) -> Goroutine {
    let (ch, ledger) = (ch.clone(), ledger.clone());
    let mut tried = false;
    go_steps(move |steps| {
        match steps.result() {
            Ok(()) if tried => ledger.received(steps.elem()),
            Ok(()) | Err(libc::ETIMEDOUT) => {}
            Err(libc::ECANCELED | libc::EPIPE) => return Does::End,
            Err(e) => panic!("recv: {e}"),
        }
        tried = true;
        steps.recv(&ch, some_time())
    })
}

/// The same on a stack.
fn receives(ch: &Chan, ledger: &Ledger) -> Goroutine {
    let (ch, ledger) = (ch.clone(), ledger.clone());
    go(move || {
        loop {
            match ch.recv(some_time()) {
                Ok(elem) => ledger.received(elem),
                Err(libc::ETIMEDOUT) => {}
                Err(libc::ECANCELED | libc::EPIPE) => return,
                Err(e) => panic!("recv: {e}"),
            }
        }
    })
}

#[test]
fn what_is_sent_arrives_once() {
    check(|| {
        let ch = Chan::new(random(3) as usize);
        let ledger = Ledger::default();
        let senders = [1, 2].map(|name| sender(&ch, &ledger, name));
        let receivers = [receiver(&ch, &ledger), receives(&ch, &ledger)];
        let cancels = [senders[1].handle(), receivers[0].handle()];
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

/// Those that find it closed have not sent; what is in the buffer stays.
#[test]
fn a_close_loses_nothing() {
    check(|| {
        let ch = Chan::new(random(3) as usize);
        let ledger = Ledger::default();
        let all = [
            sender(&ch, &ledger, 1),
            sender(&ch, &ledger, 2),
            receiver(&ch, &ledger),
        ];
        let closer = {
            let ch = ch.clone();
            go(move || ch.close().expect("only here"))
        };
        closer.join();
        join(all);
        while let Ok(elem) = ch.try_recv() {
            ledger.received(elem);
        }
        ledger.check();
    });
}

/// A sleep ends at its deadline or by a cancel, and its record is free then.
#[test]
fn a_sleep_ends_once() {
    static ENDS: Ends<2> = Ends::new();
    check(|| {
        let until = now() + random(50) as i64;
        let mut first = true;
        let sleeper = go_steps(move |steps| {
            if core::mem::take(&mut first) {
                return steps.sleep(until);
            }
            match steps.result() {
                Ok(()) => assert!(now() >= until, "too early"),
                Err(e) => assert_eq!(e, libc::ECANCELED),
            }
            ENDS.reached(steps.result().is_ok().into());
            Does::End
        });
        let handle = sleeper.handle();
        let canceller = go(move || {
            handle.cancel();
        });
        join([sleeper, canceller]);
    });
    ENDS.check();
}
