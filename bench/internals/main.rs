//! Microbenchmarks of gmprt's parts: what each costs at best, without the
//! runtime around it, and which of several ways is cheaper. What the whole
//! costs is measured by `bench/run.py`.
//!
//!     cd bench/internals && cargo bench [-- PART]

mod memory;
mod queue;
mod timers;
mod waiting;

use criterion::{Criterion, criterion_group, criterion_main};
use std::time::Duration;

/// Long enough on a machine that others use too, short enough to be run often.
fn settings() -> Criterion {
    Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1500))
        .sample_size(50)
        .without_plots()
}

criterion_group! {
    name = benches;
    config = settings();
    targets = queue::owner, queue::thief, queue::who_holds_a_p,
        timers::changes, timers::running, timers::clock,
        memory::stacks, memory::switches,
        waiting::words, waiting::locks, waiting::buckets
}
criterion_main!(benches);
