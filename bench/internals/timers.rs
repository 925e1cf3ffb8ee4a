//! The heap of timers, with nobody else at it: alone, among a thousand, and
//! among a hundred thousand.

use criterion::{Criterion, Throughput};
use gmprt::internals::{TimerHeap, nanotime};

/// Numbers that look random, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn new() -> Self {
        Self(0x9E37_79B9_7F4A_7C15)
    }

    /// The next one below `end` (xorshift).
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// Deadlines are within an hour, of which nothing passes.
const HOUR: u64 = 3_600_000_000_000;

/// A heap with `n` pending timers, and one more that is not.
fn pending(n: usize, numbers: &mut Numbers) -> TimerHeap {
    let heap = TimerHeap::new(n + 1);
    for i in 0..n {
        heap.add(i, numbers.below(HOUR) as i64);
    }
    heap
}

pub fn changes(c: &mut Criterion) {
    let mut group = c.benchmark_group("timers");
    for n in [0, 1_000, 100_000] {
        let mut numbers = Numbers::new();
        let heap = pending(n, &mut numbers);
        // Exact: as of a wait with a deadline that did not pass.
        group.bench_function(format!("add_remove/{n}"), |b| {
            b.iter(|| {
                heap.add(n, numbers.below(HOUR) as i64);
                assert!(heap.remove(n), "pending");
            });
        });
        heap.add(n, HOUR as i64);
        // Lazy: as of a timer that is put off again and again.
        group.bench_function(format!("set_later/{n}"), |b| {
            let mut when = HOUR as i64;
            b.iter(|| {
                when += 1;
                heap.set(n, when)
            });
        });
        group.bench_function(format!("stop_set/{n}"), |b| {
            b.iter(|| {
                heap.stop(n);
                // The only one is gone then.
                let set = heap.set(n, HOUR as i64);
                set.unwrap_or_else(|| heap.add(n, HOUR as i64))
            });
        });
    }
    group.finish();
}

/// The life of many that come due together.
pub fn running(c: &mut Criterion) {
    let mut group = c.benchmark_group("timers");
    let mut numbers = Numbers::new();
    let heap = pending(1_000, &mut numbers);
    group.bench_function("run_none_due/1000", |b| b.iter(|| heap.run(-1)));
    for n in [1_000, 100_000] {
        let heap = TimerHeap::new(n);
        group.throughput(Throughput::Elements(n as u64));
        group.bench_function(format!("add_run/{n}"), |b| {
            b.iter(|| {
                for i in 0..n {
                    heap.add(i, numbers.below(HOUR) as i64);
                }
                assert_eq!(heap.run(HOUR as i64), n);
            });
        });
    }
    group.finish();
}

pub fn clock(c: &mut Criterion) {
    c.bench_function("timers/nanotime", |b| b.iter(nanotime));
}
