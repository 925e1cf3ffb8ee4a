//! A P's queue of runnable goroutines, and the word that says who holds a P.

use criterion::{BatchSize::SmallInput, Criterion, Throughput};
use gmprt::internals::{OwnerWord, RunQueue};
use std::{
    hint::black_box,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

/// As long as the real one; it holds anything.
type Queue = RunQueue<u64, 256>;

fn push(q: &Queue) {
    static ITEM: u64 = 0;
    // SAFETY: this thread is the only owner.
    assert!(unsafe { q.push((&raw const ITEM).cast_mut()) }, "full");
}

fn pop(q: &Queue) -> bool {
    // SAFETY: this thread is the only owner.
    unsafe { q.pop() }.is_some()
}

fn filled(n: usize) -> Queue {
    let q = Queue::new();
    (0..n).for_each(|_| push(&q));
    q
}

/// What its owner does.
pub fn owner(c: &mut Criterion) {
    let mut group = c.benchmark_group("runq");
    let q = Queue::new();
    group.bench_function("push_pop", |b| {
        b.iter(|| {
            push(&q);
            pop(&q)
        });
    });
    group.throughput(Throughput::Elements(128));
    group.bench_function("push_pop_128", |b| {
        b.iter(|| {
            (0..128).for_each(|_| push(&q));
            (0..128).filter(|_| pop(&q)).count()
        });
    });
    group.bench_function("spill_128", |b| {
        let spill = |q: &mut Queue| {
            // SAFETY: this thread is the only owner.
            let spilled = unsafe { q.spill(|item| _ = black_box(item)) };
            assert!(spilled, "nobody came first");
        };
        b.iter_batched_ref(|| filled(256), spill, SmallInput);
    });
    group.finish();
}

/// What a thief does, and what its owner pays while one is at work.
pub fn thief(c: &mut Criterion) {
    let mut group = c.benchmark_group("runq");
    for n in [2, 256] {
        group.bench_function(format!("steal_half_of_{n}"), |b| {
            let steal = |(from, to): &mut (Queue, Queue)| {
                // SAFETY: this thread is the only owner of both.
                assert_eq!(unsafe { from.steal_into(to) }, n as u32 / 2);
            };
            b.iter_batched_ref(|| (filled(n), Queue::new()), steal, SmallInput);
        });
    }
    let (q, stop) = (Queue::new(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mine = Queue::new();
            while !stop.load(Relaxed) {
                // SAFETY: this thread is the only owner of `mine`.
                unsafe { q.steal_into(&mine) };
                while pop(&mine) {}
            }
        });
        group.bench_function("push_pop_beside_a_thief", |b| {
            b.iter(|| {
                push(&q);
                pop(&q)
            });
        });
        stop.store(true, Relaxed);
    });
    group.finish();
}

pub fn who_holds_a_p(c: &mut Criterion) {
    let mut group = c.benchmark_group("owner");
    let (word, m) = (OwnerWord::new(), 64);
    word.restart();
    group.bench_function("acquire_release", |b| {
        b.iter(|| {
            assert!(word.acquire(m), "idle");
            word.release(m);
        });
    });
    assert!(word.acquire(m), "idle");
    group.bench_function("enter", |b| b.iter(|| black_box(&word).enter(m)));
    group.bench_function("enter_while_retaken", |b| {
        b.iter(|| {
            assert!(word.begin_retake(m), "running");
            black_box(&word).enter(m)
        });
    });
    group.finish();
}
