//! What tasks do to one another and to the machine: stalls of a ticker,
//! wake-ups of an idle process, a server.

use crate::Options;
use crate::report::{report, switches};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Sleeps a millisecond again and again; the longest time that took, in ms.
async fn ticker(stop: Arc<AtomicBool>) -> f64 {
    let (mut last, mut worst) = (Instant::now(), Duration::ZERO);
    while !stop.load(Relaxed) {
        sleep(MS).await;
        let now = Instant::now();
        worst = worst.max(now - last);
        last = now;
    }
    worst.as_secs_f64() * 1e3
}

/// The worst tick beside `blocker`, called by a task; and as
/// `spawn_blocking_ms` where the task hands it to another thread, as it should.
async fn stall(blocker: fn()) {
    for (metric, on_thread) in [("ms", false), ("spawn_blocking_ms", true)] {
        let stop = Arc::new(AtomicBool::new(false));
        let ticks = tokio::spawn(ticker(stop.clone()));
        sleep(100 * MS).await;
        if on_thread {
            spawn_blocking(blocker).await.expect("join");
        } else {
            blocker();
        }
        stop.store(true, Relaxed);
        report(metric, ticks.await.expect("join"));
    }
}

pub async fn stall_by_sleep() {
    stall(|| std::thread::sleep(SECOND)).await;
}

pub async fn stall_by_burning() {
    stall(|| {
        let start = Instant::now();
        while start.elapsed() < SECOND {
            (0..10_000).for_each(|i| {
                std::hint::black_box(i);
            });
        }
    })
    .await;
}

pub async fn idle() {
    let (_never, mut receiver) = mpsc::channel::<()>(1);
    tokio::spawn(async move { receiver.recv().await });
    tokio::spawn(sleep(3600 * SECOND));
    sleep(SECOND / 2).await;
    let before = switches();
    sleep(2 * SECOND).await;
    report("wakeups", (switches() - before) as f64);
}

async fn serve(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..n]).await.is_err() {
            break;
        }
    }
}

/// Echoes until SIGTERM ends the process.
pub async fn echo_server(o: Options) {
    let address = (Ipv4Addr::LOCALHOST, o.port);
    let listener = TcpListener::bind(address).await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    report("port", f64::from(port));
    loop {
        let (stream, _) = listener.accept().await.expect("accept");
        tokio::spawn(serve(stream));
    }
}
