//! One operation of tokio, measured:
//!
//!     bench-tokio OPERATION WORKERS [n=ROUNDS] [g=TASKS] [runtime=current]
//!
//! The runtime is the multi-thread one, also with one worker, or with
//! `runtime=current` the current-thread one, which has one worker only. Every
//! operation runs on a task, but for those on the thread of `main`.
//!
//! tokio has no unbuffered channels: the least capacity, 1, stands for them.
//! As a library this is what `bench/raw/dlopen.c` loads.

mod chan;
mod many;
mod measure;
mod mutex;
mod plugin;
mod report;
mod spawn;
mod system;

use std::pin::Pin;
use std::process::exit;
use tokio::runtime::{Builder, Runtime};

/// The exit status for an operation that is not here.
const MISSING: i32 = 77;

/// What the command line says, or else the table of operations.
#[derive(Clone, Copy)]
struct Options {
    /// Rounds.
    n: u64,
    /// Tasks.
    g: u64,
    port: u16,
}

type Operation = Pin<Box<dyn Future<Output = ()> + Send>>;

enum Run {
    OnTask(fn(Options) -> Operation),
    OnHost(fn(Options, &Runtime)),
}
use Run::{OnHost, OnTask};

/// An operation with its rounds and tasks.
#[rustfmt::skip]
const OPERATIONS: [(&str, Run, u64, u64); 22] = [
    ("yield2", OnTask(|o| Box::pin(spawn::yields(o))), 2_000_000, 2),
    ("yield1000", OnTask(|o| Box::pin(spawn::yields(o))), 2_000_000, 1000),
    ("spawn_waves", OnTask(|o| Box::pin(spawn::waves(o))), 1_000_000, 1000),
    ("spawn_million", OnTask(|o| Box::pin(spawn::million(o))), 1_000_000, 0),
    ("spawn_join", OnTask(|o| Box::pin(spawn::join(o))), 1_000_000, 0),
    ("host_spawn_join", OnHost(spawn::host_join), 10_000, 0),
    ("pingpong", OnTask(|o| Box::pin(chan::pingpong(o))), 1_000_000, 2),
    ("buffered_1_1", OnTask(|o| Box::pin(chan::one_to_one(o))), 4_000_000, 1),
    ("buffered_4_4", OnTask(|o| Box::pin(chan::many_to_many(o))), 4_000_000, 4),
    ("select2_ready", OnTask(|o| Box::pin(chan::ready_of_2(o))), 2_000_000, 2),
    ("select4_ready", OnTask(|o| Box::pin(chan::ready_of_4(o))), 2_000_000, 4),
    ("select2_park", OnTask(|o| Box::pin(chan::park_on_2(o))), 1_000_000, 2),
    ("select4_park", OnTask(|o| Box::pin(chan::park_on_4(o))), 1_000_000, 4),
    ("mutex8", OnTask(|o| Box::pin(mutex::locks(o))), 8_000_000, 8),
    ("mutex8_yield", OnTask(|o| Box::pin(mutex::yields(o))), 800_000, 8),
    ("skynet", OnTask(|o| Box::pin(many::skynet(o))), 1_000_000, 10),
    ("parked_million", OnTask(|o| Box::pin(many::parked(o))), 1_000_000, 0),
    ("sleepers", OnTask(|o| Box::pin(many::sleepers(o))), 10, 100_000),
    ("stall_sleep", OnTask(|_| Box::pin(system::stall_by_sleep())), 0, 0),
    ("stall_burn", OnTask(|_| Box::pin(system::stall_by_burning())), 0, 0),
    ("idle", OnTask(|_| Box::pin(system::idle())), 0, 0),
    ("echo_server", OnTask(|o| Box::pin(system::echo_server(o))), 0, 0),
];

/// The runtime that the command line asks for.
fn runtime(workers: usize, current_thread: bool) -> Runtime {
    let mut builder = if !current_thread {
        Builder::new_multi_thread()
    } else if workers == 1 {
        Builder::new_current_thread()
    } else {
        exit(MISSING)
    };
    builder.worker_threads(workers).enable_all().build().expect("runtime")
}

/// The whole program.
pub fn main() {
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
    let current_thread = value("runtime") == Some("current");
    let runtime = runtime(workers.parse().expect("workers"), current_thread);
    match run {
        OnHost(run) => run(options, &runtime),
        OnTask(run) => runtime
            .block_on(async { tokio::spawn(run(options)).await })
            .expect("the operation"),
    }
    // Not to wait for what sleeps.
    runtime.shutdown_background();
}
