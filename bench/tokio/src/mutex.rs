//! `o.g` tasks and one mutex, locked `o.n` times in all.

use crate::Options;
use crate::measure::measure;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::task::{JoinHandle, yield_now};

async fn join(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.expect("join");
    }
}

async fn with_yields(mutex: Arc<Mutex<u64>>, n: u64) {
    for _ in 0..n {
        let mut counter = mutex.lock().await;
        *counter += 1;
        yield_now().await;
    }
}

async fn without_yields(mutex: Arc<Mutex<u64>>, n: u64) {
    for _ in 0..n {
        *mutex.lock().await += 1;
    }
}

/// tokio's mutex, and as `std_ns` the standard one, which blocks the thread:
/// the usual choice for what awaits nothing inside.
pub async fn locks(o: Options) {
    let pass = async |n| {
        let mutex = Arc::new(Mutex::new(0));
        let task = || tokio::spawn(without_yields(mutex.clone(), n / o.g));
        join((0..o.g).map(|_| task()).collect()).await;
        assert_eq!(*mutex.lock().await, n, "the counter");
    };
    measure("ns", o.n, pass).await;
    let std_pass = async |n| {
        let mutex = Arc::new(std::sync::Mutex::new(0));
        let task = || {
            let mutex = mutex.clone();
            tokio::spawn(async move {
                for _ in 0..n / o.g {
                    *mutex.lock().expect("lock") += 1;
                }
            })
        };
        join((0..o.g).map(|_| task()).collect()).await;
        assert_eq!(*mutex.lock().expect("lock"), n, "the counter");
    };
    measure("std_ns", o.n, std_pass).await;
}

pub async fn yields(o: Options) {
    let pass = async |n| {
        let mutex = Arc::new(Mutex::new(0));
        let task = || tokio::spawn(with_yields(mutex.clone(), n / o.g));
        join((0..o.g).map(|_| task()).collect()).await;
        assert_eq!(*mutex.lock().await, n, "the counter");
    };
    measure("ns", o.n, pass).await;
}
