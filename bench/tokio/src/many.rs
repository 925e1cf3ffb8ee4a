//! A million tasks at once: as a tree, parked; and sleepers.

use crate::Options;
use crate::report::{Stopwatch, cpu_seconds, mappings, memory_kib};
use crate::report::{proc_status, report};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio::task::yield_now;

/// Sends the sum of the numbers of all leaves below.
#[expect(
    clippy::manual_async_fn,
    reason = "whether it is Send must not depend on itself"
)]
fn node(
    up: mpsc::Sender<u64>,
    fan_out: u64,
    first: u64,
    leaves: u64,
) -> impl Future<Output = ()> + Send {
    async move {
        let mut sum = first;
        if leaves > 1 {
            let (tx, mut rx) = mpsc::channel(1);
            let part = leaves / fan_out;
            for i in 0..fan_out {
                let first = first + i * part;
                tokio::spawn(node(tx.clone(), fan_out, first, part));
            }
            drop(tx);
            sum = 0;
            while let Some(x) = rx.recv().await {
                sum += x;
            }
        }
        up.send(sum).await.expect("send");
    }
}

async fn skynet_of(fan_out: u64, leaves: u64) {
    let (tx, mut rx) = mpsc::channel(1);
    tokio::spawn(node(tx, fan_out, 0, leaves));
    let sum = rx.recv().await;
    assert_eq!(sum, Some(leaves * (leaves - 1) / 2), "sum of the leaves");
}

pub async fn skynet(o: Options) {
    skynet_of(o.g, o.g * o.g).await;
    let start = Instant::now();
    skynet_of(o.g, o.n).await;
    report("s", start.elapsed().as_secs_f64());
    report("MiB", proc_status("VmHWM:") as f64 / 1024.0);
}

/// All wait for one watch channel.
pub async fn parked(o: Options) {
    let (never, receiver) = watch::channel(());
    let arrived = Arc::new(AtomicU64::new(0));
    let (kib, maps) = (memory_kib(), mappings());
    let mut watch = Stopwatch::start();
    let task = |_| {
        let (mut receiver, arrived) = (receiver.clone(), arrived.clone());
        tokio::spawn(async move {
            arrived.fetch_add(1, Relaxed);
            assert!(receiver.changed().await.is_err(), "received");
        })
    };
    let tasks: Vec<_> = (0..o.n).map(task).collect();
    while arrived.load(Relaxed) < o.n {
        yield_now().await;
    }
    watch.lap(o.n);
    watch.report_ns("ns");
    let grown = (memory_kib() - kib) as f64 * 1024.0;
    report("bytes", grown / o.n as f64);
    report("mappings", mappings() as f64 - maps as f64);
    drop(never);
    for task in tasks {
        task.await.expect("join");
    }
}

/// `n` times 10 to 100 ms, from a generator with a seed.
async fn sleeper(mut random: u64, n: u64) -> u64 {
    let mut done = 0;
    while done < n {
        random = random
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let due = Instant::now()
            + Duration::from_micros(10_000 + (random >> 33) % 90_000);
        tokio::time::sleep_until(due.into()).await;
        assert!(Instant::now() >= due, "woken too early");
        done += 1;
    }
    done
}

pub async fn sleepers(o: Options) {
    let before = cpu_seconds();
    let task = |seed| tokio::spawn(sleeper(seed, o.n));
    let tasks: Vec<_> = (0..o.g).map(task).collect();
    let mut sleeps = 0;
    for task in tasks {
        sleeps += task.await.expect("join");
    }
    report("cpu_s", cpu_seconds() - before);
    assert_eq!(sleeps, o.g * o.n, "number of sleeps");
}
