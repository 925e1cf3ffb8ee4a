//! Channels: two tasks in turn; queues; select.

use crate::Options;
use crate::measure::measure;
use crate::report::triangle;
use tokio::select;
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Of what stands for an unbuffered channel.
const LEAST: usize = 1;
const CAPACITY: usize = 128;

async fn ponger(n: u64, mut ping: Receiver<u64>, pong: Sender<u64>) {
    for _ in 0..n {
        let x = ping.recv().await.expect("ping");
        pong.send(x + 1).await.expect("pong");
    }
}

pub async fn pingpong(o: Options) {
    let pass = async |n| {
        let (ping, pinged) = channel(LEAST);
        let (pong, mut ponged) = channel(LEAST);
        let task = tokio::spawn(ponger(n, pinged, pong));
        let mut x = 0;
        for _ in 0..n {
            ping.send(x).await.expect("ping");
            x = ponged.recv().await.expect("pong");
        }
        assert_eq!(x, n, "number of round trips");
        task.await.expect("join");
    };
    measure("ns", o.n, pass).await;
}

async fn feeder(n: u64, ch: Sender<u64>) {
    for x in 1..=n {
        ch.send(x).await.expect("send");
    }
}

pub async fn one_to_one(o: Options) {
    let pass = async |n| {
        let (tx, mut rx) = channel(CAPACITY);
        let receiver = tokio::spawn(async move {
            let mut sum = 0;
            while let Some(x) = rx.recv().await {
                sum += x;
            }
            sum
        });
        tokio::spawn(feeder(n, tx)).await.expect("join");
        let sum = receiver.await.expect("join");
        assert_eq!(sum, triangle(n), "sum of the elements");
    };
    measure("ns", o.n, pass).await;
}

/// tokio's channels have one receiver. Of the crates with others, kanal is the
/// fastest here, about twice as fast as flume.
pub async fn many_to_many(o: Options) {
    let pass = async |n| {
        let (tx, rx) = kanal::bounded_async(CAPACITY);
        let mut receivers = Vec::new();
        for _ in 0..o.g {
            let (tx, rx) = (tx.clone(), rx.clone());
            receivers.push(tokio::spawn(async move {
                let mut sum = 0;
                while let Ok(x) = rx.recv().await {
                    sum += x;
                }
                sum
            }));
            tokio::spawn(async move {
                for x in 1..=n / o.g {
                    tx.send(x).await.expect("send");
                }
            });
        }
        drop(tx);
        let mut sum = 0;
        for receiver in receivers {
            sum += receiver.await.expect("join");
        }
        assert_eq!(sum, o.g * triangle(n / o.g), "sum of the elements");
    };
    measure("ns", o.n, pass).await;
}

/// The number of a channel, and what came from it.
async fn select_of_2([a, b]: &mut [Receiver<u64>; 2]) -> (usize, u64) {
    select! {
        Some(x) = a.recv() => (0, x),
        Some(x) = b.recv() => (1, x),
        else => unreachable!("all senders are gone"),
    }
}

async fn select_of_4([a, b, c, d]: &mut [Receiver<u64>; 4]) -> (usize, u64) {
    select! {
        Some(x) = a.recv() => (0, x),
        Some(x) = b.recv() => (1, x),
        Some(x) = c.recv() => (2, x),
        Some(x) = d.recv() => (3, x),
        else => unreachable!("all senders are gone"),
    }
}

fn channels<const N: usize>() -> ([Sender<u64>; N], [Receiver<u64>; N]) {
    let (tx, rx): (Vec<_>, Vec<_>) = (0..N).map(|_| channel(LEAST)).unzip();
    (tx.try_into().expect("N"), rx.try_into().expect("N"))
}

/// What is received from a channel goes back into it, one more.
macro_rules! ready_pass {
    ($select:ident) => {
        async |n: u64| {
            let (tx, mut rx) = channels();
            for ch in &tx {
                ch.send(0).await.expect("send");
            }
            for _ in 0..n {
                let (chosen, x) = $select(&mut rx).await;
                tx[chosen].send(x + 1).await.expect("send");
            }
            let total: u64 =
                rx.iter_mut().map(|ch| ch.try_recv().expect("last")).sum();
            assert_eq!(total, n, "number of selects");
        }
    };
}

pub async fn ready_of_2(o: Options) {
    measure("ns", o.n, ready_pass!(select_of_2)).await;
}

pub async fn ready_of_4(o: Options) {
    measure("ns", o.n, ready_pass!(select_of_4)).await;
}

/// A task sends on each channel, and this one selects over all.
macro_rules! park_pass {
    ($select:ident) => {
        async |n: u64| {
            let (tx, mut rx) = channels();
            let (each, count) = (n / tx.len() as u64, tx.len() as u64);
            let feeders = tx.map(|ch| tokio::spawn(feeder(each, ch)));
            let mut total = 0;
            for _ in 0..n {
                total += $select(&mut rx).await.1;
            }
            for feeder in feeders {
                feeder.await.expect("join");
            }
            assert_eq!(total, count * triangle(each), "sum of the elements");
        }
    };
}

pub async fn park_on_2(o: Options) {
    measure("ns", o.n, park_pass!(select_of_2)).await;
}

pub async fn park_on_4(o: Options) {
    measure("ns", o.n, park_pass!(select_of_4)).await;
}
