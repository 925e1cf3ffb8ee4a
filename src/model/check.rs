//! Runs a model in many schedules, each of which follows from a number, the
//! seed.
//!
//! A schedule that fails prints its seed; `GMPRT_SEED=NUMBER` runs only that
//! schedule. `GMPRT_SCHEDULES=N` runs N schedules of each test.

use super::{Goroutine, run};
use shuttle::{
    Config, FailurePersistence, MaxSteps, Runner,
    scheduler::{
        Schedule, Scheduler, Task, TaskId,
        UncontrolledNondeterminismCheckScheduler as Twice,
    },
};
use std::{
    cell::Cell,
    env,
    ops::Range,
    panic,
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Schedules of a test by default.
const SCHEDULES: u64 = 8000;
/// How many schedules run twice, to check that they repeat.
const TWICE: u64 = 50;
/// A model that takes so many steps spins for ever.
const STEPS: usize = 200_000;

thread_local! {
    /// The seed of the schedule that this thread runs.
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The number in an environment variable.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// Tries `body` in many schedules.
pub fn check(body: impl Fn() + Send + Sync + 'static) {
    check_some(SCHEDULES, body);
}

/// [`check`] in `n` schedules, for models that take long or fail early.
pub fn check_some(n: u64, body: impl Fn() + Send + Sync + 'static) {
    tell_the_seed();
    let seeds = match number("GMPRT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("GMPRT_SCHEDULES").unwrap_or(n),
    };
    let mut config = Config::new();
    config.silence_warnings = true;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(STEPS);
    config.stack_size = 1 << 16;
    let body = Arc::new(body);
    let again = Arc::clone(&body);
    let twice = Twice::new(Seeded::new(seeds.start..seeds.end.min(TWICE)));
    Runner::new(twice, config.clone()).run(move || run(&*again));
    Runner::new(Seeded::new(seeds), config).run(move || run(&*body));
    SEED.set(None);
}

/// Makes every panic print the seed of its schedule.
fn tell_the_seed() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if let Some(seed) = SEED.get() {
                eprintln!("this schedule again: GMPRT_SEED={seed}");
            }
            before(info);
        }));
    });
}

/// Random numbers from a seed: splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = self.0;
        let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    /// Below `n`.
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Decides which task runs. One schedule in three picks a random task at each
/// step. The others go by random priorities, and now and then lower that of the
/// running task (PCT), at a rate that differs between schedules.
struct Seeded {
    seeds: Range<u64>,
    random: Random,
    /// The priority is lowered at one step in so many; None: no priorities.
    rate: Option<usize>,
    /// By task; the highest one runs.
    priorities: Vec<u64>,
    /// The lowest priority so far.
    lowest: u64,
}

impl Seeded {
    fn new(seeds: Range<u64>) -> Self {
        Self {
            seeds,
            random: Random(0),
            rate: None,
            priorities: Vec::new(),
            lowest: 0,
        }
    }

    fn priority(&mut self, task: TaskId) -> u64 {
        while self.priorities.len() <= usize::from(task) {
            // Above all lowered priorities.
            let priority = self.random.next() | 1 << 63;
            self.priorities.push(priority);
        }
        self.priorities[usize::from(task)]
    }
}

impl Scheduler for Seeded {
    fn new_execution(&mut self) -> Option<Schedule> {
        let seed = self.seeds.next()?;
        SEED.set(Some(seed));
        self.random = Random(seed);
        self.rate = match self.random.below(3) {
            0 => None,
            _ => Some(2 << self.random.below(7)),
        };
        self.priorities.clear();
        self.lowest = 1 << 63;
        Some(Schedule::new(seed))
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        // Not the sleepers, which shuttle offers for spurious wake-ups.
        let awake: Vec<TaskId> =
            runnable.iter().filter(|t| t.runnable()).map(|t| t.id()).collect();
        let Some(rate) = self.rate else {
            return Some(awake[self.random.below(awake.len())]);
        };
        if let Some(current) = current
            && (is_yielding || self.random.below(rate) == 0)
        {
            self.priority(current);
            self.lowest -= 1;
            self.priorities[usize::from(current)] = self.lowest;
        }
        awake.into_iter().max_by_key(|task| self.priority(*task))
    }

    fn next_u64(&mut self) -> u64 {
        self.random.next()
    }
}

/// Counts over all schedules how often each possible end was reached, to find a
/// model that cannot reach one.
pub struct Ends<const N: usize>([AtomicU64; N]);

impl<const N: usize> Ends<N> {
    /// No end was reached yet.
    #[expect(clippy::new_without_default, reason = "made as a static")]
    pub const fn new() -> Self {
        Self([const { AtomicU64::new(0) }; N])
    }

    /// Notes that end number `end` was reached.
    pub fn reached(&self, end: usize) {
        self.0[end].fetch_add(1, Relaxed);
    }

    /// Fails if an end was never reached in enough schedules.
    pub fn check(&self) {
        let counts = self.0.each_ref().map(|n| n.load(Relaxed));
        let all = counts.iter().all(|n| *n > 0);
        let few = number("GMPRT_SEED").is_some()
            || number("GMPRT_SCHEDULES").is_some_and(|n| n < SCHEDULES);
        assert!(few || all, "never reached: {counts:?}");
    }
}

/// A place for one alone, or for several together: checks mutual exclusion.
#[derive(Default)]
pub struct Room {
    readers: AtomicU64,
    writers: AtomicU64,
}

impl Room {
    /// Enters alone, and stays for a while.
    pub fn alone(&self) {
        assert_eq!(self.writers.fetch_add(1, Relaxed), 0, "a writer is there");
        assert_eq!(self.readers.load(Relaxed), 0, "a reader is there");
        shuttle::thread::yield_now();
        self.writers.fetch_sub(1, Relaxed);
    }

    /// Enters with others, and stays for a while.
    pub fn together(&self) {
        self.readers.fetch_add(1, Relaxed);
        assert_eq!(self.writers.load(Relaxed), 0, "a writer is there");
        shuttle::thread::yield_now();
        self.readers.fetch_sub(1, Relaxed);
    }
}

/// Waits for all of them.
pub fn join(all: impl IntoIterator<Item = Goroutine>) {
    all.into_iter().for_each(Goroutine::join);
}

/// Lets the others run until `f` says yes.
pub fn until(f: impl Fn() -> bool) {
    while !f() {
        shuttle::thread::yield_now();
    }
}
