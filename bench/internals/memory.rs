//! Stacks: from the cache of a P and from the pool that all share; and the
//! switch from one to the other.

use criterion::{Criterion, Throughput};
use gmprt::internals::{Stacks, Taken, switch};
use std::{array, cell::Cell, ptr, time::Instant};

pub fn stacks(c: &mut Criterion) {
    let mut group = c.benchmark_group("stacks");
    let cases = [("cached", Stacks::cached()), ("pool", Stacks::default())];
    for (name, stacks) in &cases {
        group.bench_function(format!("take_put/{name}"), |b| {
            b.iter(|| stacks.put(stacks.take()));
        });
    }
    // More than a cache holds: some come from the pool and go back there.
    group.throughput(Throughput::Elements(128));
    for (name, stacks) in &cases {
        group.bench_function(format!("take_put_128/{name}"), |b| {
            b.iter(|| {
                let taken: [Taken; 128] = array::from_fn(|_| stacks.take());
                taken.into_iter().for_each(|stack| stacks.put(stack));
            });
        });
    }
    group.finish();
}

thread_local! {
    /// Where the benchmark is suspended, and where its partner is.
    static HERE: Cell<usize> = const { Cell::new(0) };
    static THERE: Cell<usize> = const { Cell::new(0) };
}

/// Suspends itself in one cell, resumes the other, so many times.
#[inline(never)]
fn hop(here: *const Cell<usize>, there: *const Cell<usize>, times: u64) {
    for _ in 0..times {
        // SAFETY: both cells live as long as this thread; the other context
        // is suspended in `there`, by the switch that led here.
        unsafe { switch(&*here, (*there).get()) };
    }
}

/// On a stack of its own: always goes back to the benchmark.
extern "C" fn partner() -> ! {
    let (here, there) = cells();
    loop {
        hop(there, here, u64::MAX);
    }
}

/// Both run on one thread, so these stay where they are.
fn cells() -> (*const Cell<usize>, *const Cell<usize>) {
    (HERE.with(ptr::from_ref), THERE.with(ptr::from_ref))
}

/// Builds the frame of a context that begins at `partner`.
fn frame(stack: &Taken) -> usize {
    // As after a call: a multiple of 16 less 8.
    let at = stack.top() - 8 - 7 * size_of::<usize>();
    let words = [0, 0, 0, 0, 0, 0, partner as *const () as usize];
    // SAFETY: below the top of a stack that nobody uses.
    unsafe { (at as *mut [usize; 7]).write(words) };
    at
}

/// The limit of what a yield and a park can cost, there and back. A processor
/// foretells where a return leads to by the calls that it has seen, so it is
/// right where both were suspended in one place, and wrong where not.
pub fn switches(c: &mut Criterion) {
    let stacks = Stacks::default();
    let stack = stacks.take();
    THERE.set(frame(&stack));
    let (here, there) = cells();
    c.bench_function("switch/from_one_place", |b| {
        b.iter_custom(|times| {
            let start = Instant::now();
            hop(here, there, times);
            start.elapsed()
        });
    });
    c.bench_function("switch/from_two_places", |b| {
        b.iter(|| {
            // SAFETY: as in hop.
            unsafe { switch(&*here, (*there).get()) };
        });
    });
    // The partner never ends; its stack is not used any more.
    stacks.put(stack);
}
