//! What coroutines do to one another and to the machine: stalls of a ticker,
//! wake-ups of an idle process, a server.

use crate::Options;
use crate::report::{report, switches};
use may::coroutine::sleep;
use may::go;
use may::net::{TcpListener, TcpStream};
use may::sync::mpsc;
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// Sleeps a millisecond again and again; the longest time that took.
fn ticker(stop: &AtomicBool) -> Duration {
    let (mut last, mut worst) = (Instant::now(), Duration::ZERO);
    while !stop.load(Relaxed) {
        sleep(MS);
        let now = Instant::now();
        worst = worst.max(now - last);
        last = now;
    }
    worst
}

fn stall(blocker: fn()) {
    let stop = Arc::new(AtomicBool::new(false));
    let its_stop = stop.clone();
    let ticks = go!(move || ticker(&its_stop));
    sleep(100 * MS);
    blocker();
    stop.store(true, Relaxed);
    report("ms", ticks.join().expect("join").as_secs_f64() * 1e3);
}

pub fn stall_by_sleep(_: Options) {
    stall(|| std::thread::sleep(SECOND));
}

pub fn stall_by_burning(_: Options) {
    stall(|| {
        let start = Instant::now();
        while start.elapsed() < SECOND {
            (0..10_000).for_each(|i| {
                std::hint::black_box(i);
            });
        }
    });
}

pub fn idle(_: Options) {
    let (_never, receiver) = mpsc::channel::<()>();
    go!(move || receiver.recv());
    go!(|| sleep(3600 * SECOND));
    sleep(SECOND / 2);
    let before = switches();
    sleep(2 * SECOND);
    report("wakeups", (switches() - before) as f64);
}

fn serve(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    while let Ok(n @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
}

/// Echoes until SIGTERM ends the process.
pub fn echo_server(o: Options) {
    let listener = TcpListener::bind(("127.0.0.1", o.port)).expect("bind");
    let port = listener.local_addr().expect("address").port();
    report("port", f64::from(port));
    for stream in listener.incoming() {
        let stream = stream.expect("accept");
        go!(move || serve(stream));
    }
}
