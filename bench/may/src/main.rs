//! One operation of may, measured:
//!
//!     bench-may OPERATION WORKERS [n=ROUNDS] [g=COROUTINES]
//!
//! may's channels have no bounds, so there are no buffered ones to compare,
//! and its select starts a coroutine for each case. Every stack has a guard by
//! mprotect, of which the kernel allows some 32,000, so whatever has more
//! coroutines at once is missing, too.

#[expect(dead_code, reason = "some is for the crate beside this one")]
#[path = "../../tokio/src/report.rs"]
mod report;
mod system;
mod work;

use report::Stopwatch;
use std::process::exit;

/// The exit status for an operation that is not here.
const MISSING: i32 = 77;

/// Coroutines at once, with room for other mappings.
const MOST: u64 = 30_000;

/// What the command line says, or else the table of operations.
#[derive(Clone, Copy)]
struct Options {
    /// Rounds.
    n: u64,
    /// Coroutines.
    g: u64,
    port: u16,
}

/// Where an operation runs.
enum Run {
    OnCoroutine(fn(Options)),
    OnHost(fn(Options)),
}
use Run::{OnCoroutine, OnHost};

/// An operation with its rounds and coroutines.
const OPERATIONS: [(&str, Run, u64, u64); 12] = [
    ("yield2", OnCoroutine(work::yields), 2_000_000, 2),
    ("yield1000", OnCoroutine(work::yields), 2_000_000, 1000),
    ("spawn_waves", OnCoroutine(work::waves), 1_000_000, 1000),
    ("spawn_join", OnCoroutine(work::join), 20_000, 0),
    ("host_spawn_join", OnHost(work::join), 10_000, 0),
    ("pingpong", OnCoroutine(work::pingpong), 1_000_000, 2),
    ("mutex8", OnCoroutine(work::mutex), 8_000_000, 8),
    ("mutex8_yield", OnCoroutine(work::mutex_yield), 800_000, 8),
    ("stall_sleep", OnCoroutine(system::stall_by_sleep), 0, 0),
    ("stall_burn", OnCoroutine(system::stall_by_burning), 0, 0),
    ("idle", OnCoroutine(system::idle), 0, 0),
    ("echo_server", OnCoroutine(system::echo_server), 0, 0),
];

/// Reports how many ns a round takes: `pass(n)` does n of them. It is called
/// with a tenth of `n` to warm up, and then with `n` until enough time is over.
fn measure(n: u64, pass: impl Fn(u64)) {
    pass(n / 10);
    let mut watch = Stopwatch::start();
    loop {
        pass(n);
        if watch.lap(n) {
            break watch.report_ns("ns");
        }
    }
}

fn main() {
    std::panic::set_hook(Box::new(|info| {
        eprintln!("wrong: {info}");
        exit(1)
    }));
    let args: Vec<String> = std::env::args().collect();
    let value = |key: &str| {
        args.iter().find_map(|a| a.strip_prefix(key)?.strip_prefix('='))
    };
    let number = |key: &str| value(key).map(|v| v.parse().expect("a number"));
    let found = args.get(1).and_then(|name| {
        OPERATIONS.iter().find(|(its_name, ..)| its_name == name)
    });
    let (Some((_, run, n, g)), Some(workers)) = (found, args.get(2)) else {
        exit(MISSING)
    };
    let options = Options {
        n: number("n").unwrap_or(*n),
        g: number("g").unwrap_or(*g),
        port: number("port").unwrap_or(0) as u16,
    };
    if options.g > MOST {
        exit(MISSING);
    }
    may::config().set_workers(workers.parse().expect("workers"));
    match run {
        OnHost(run) => run(options),
        OnCoroutine(run) => {
            may::go!(move || run(options)).join().expect("the operation")
        }
    }
    // Not to wait for what sleeps.
    exit(0);
}
