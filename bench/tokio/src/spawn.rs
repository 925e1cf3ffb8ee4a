//! Tasks that yield, and tasks that do nothing: how long they take to start
//! and to end.

use crate::Options;
use crate::measure::measure;
use crate::report::Stopwatch;
use tokio::runtime::Runtime;
use tokio::task::yield_now;

/// Spawns `n` tasks and joins them; the sum of what they return.
async fn sum_of<F>(n: u64, task: impl Fn() -> F) -> u64
where
    F: Future<Output = u64> + Send + 'static,
{
    let tasks: Vec<_> = (0..n).map(|_| tokio::spawn(task())).collect();
    let mut sum = 0;
    for task in tasks {
        sum += task.await.expect("join");
    }
    sum
}

async fn yielder(n: u64) -> u64 {
    for _ in 0..n {
        yield_now().await;
    }
    n
}

/// `o.g` tasks that yield to one another, `o.n` times in all.
pub async fn yields(o: Options) {
    let pass = async |n| {
        assert_eq!(sum_of(o.g, || yielder(n / o.g)).await, n, "yields");
    };
    measure("ns", o.n, pass).await;
}

async fn wave(n: u64) {
    assert_eq!(sum_of(n, async || 1).await, n, "number of runs");
}

pub async fn waves(o: Options) {
    let pass = async |n| {
        for _ in 0..n / o.g {
            wave(o.g).await;
        }
    };
    measure("ns", o.n, pass).await;
}

/// The first million counts.
pub async fn million(o: Options) {
    wave(1000).await;
    let mut watch = Stopwatch::start();
    wave(o.n).await;
    watch.lap(o.n);
    watch.report_ns("ns");
}

pub async fn join(o: Options) {
    let pass = async |n| {
        let mut sum = 0;
        for _ in 0..n {
            sum += tokio::spawn(async { 1 }).await.expect("join");
        }
        assert_eq!(sum, n, "number of runs");
    };
    measure("ns", o.n, pass).await;
}

/// The same from a thread that is no worker. The current-thread runtime has
/// none: it runs in `block_on`.
pub fn host_join(o: Options, runtime: &Runtime) {
    let pass = |n| {
        let one = || runtime.block_on(runtime.spawn(async { 1 }));
        let sum: u64 = (0..n).map(|_| one().expect("join")).sum();
        assert_eq!(sum, n, "number of runs");
    };
    pass(o.n / 10);
    let mut watch = Stopwatch::start();
    loop {
        pass(o.n);
        if watch.lap(o.n) {
            break watch.report_ns("ns");
        }
    }
}
