//! Coroutines that yield, do nothing, pass something on, or lock a mutex.

use crate::{Options, measure};
use may::coroutine::{JoinHandle, yield_now};
use may::go;
use may::sync::{Mutex, mpsc};
use std::sync::Arc;

fn join_all<T>(coroutines: Vec<JoinHandle<T>>) -> Vec<T> {
    coroutines.into_iter().map(|c| c.join().expect("join")).collect()
}

/// `o.g` coroutines that yield to one another, `o.n` times in all.
pub fn yields(o: Options) {
    measure(o.n, |n| {
        let each = n / o.g;
        let yielder = move || {
            (0..each).for_each(|_| yield_now());
            each
        };
        let sums = join_all((0..o.g).map(|_| go!(yielder)).collect());
        assert_eq!(sums.iter().sum::<u64>(), n, "number of yields");
    });
}

pub fn waves(o: Options) {
    measure(o.n, |n| {
        for _ in 0..n / o.g {
            let runs = join_all((0..o.g).map(|_| go!(|| 1)).collect());
            assert_eq!(runs.iter().sum::<u64>(), o.g, "number of runs");
        }
    });
}

pub fn join(o: Options) {
    measure(o.n, |n| {
        let runs: u64 = (0..n).map(|_| go!(|| 1).join().expect("join")).sum();
        assert_eq!(runs, n, "number of runs");
    });
}

pub fn pingpong(o: Options) {
    measure(o.n, |n| {
        let (ping, pinged) = mpsc::channel();
        let (pong, ponged) = mpsc::channel();
        let ponger = go!(move || {
            for _ in 0..n {
                let x: u64 = pinged.recv().expect("ping");
                pong.send(x + 1).expect("pong");
            }
        });
        let mut x = 0;
        for _ in 0..n {
            ping.send(x).expect("ping");
            x = ponged.recv().expect("pong");
        }
        assert_eq!(x, n, "number of round trips");
        ponger.join().expect("join");
    });
}

/// `o.g` coroutines and one mutex, locked `o.n` times in all.
fn locks(o: Options, inside: fn()) {
    measure(o.n, |n| {
        let mutex = Arc::new(Mutex::new(0));
        let locker = || {
            let (mutex, each) = (mutex.clone(), n / o.g);
            go!(move || {
                for _ in 0..each {
                    let mut counter = mutex.lock().expect("lock");
                    *counter += 1;
                    inside();
                }
            })
        };
        join_all((0..o.g).map(|_| locker()).collect());
        assert_eq!(*mutex.lock().expect("lock"), n, "the counter");
    });
}

pub fn mutex(o: Options) {
    locks(o, || ());
}

pub fn mutex_yield(o: Options) {
    locks(o, yield_now);
}
