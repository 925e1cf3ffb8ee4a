//! Every system call of the library, refused.
//!
//! `faults.c` does a little of everything with exact books, and
//! `faults_inject.c` refuses it one call with one error number: the first time,
//! the second time, once in the middle, from there on, or always.
//! Each run has to end with the right result, with an error that a `gmp_*` call
//! has returned, or with a message; and in a while when it has nothing to do it
//! must use no CPU time to speak of. [`CALLS`] says what each may come to. A
//! system where nobody may refuse system calls fails the test.
//!
//! The short form (part of `make test`) has the usual refusals of each call,
//! the first time and for good. `make faults` has all, and prints the table.
//!
//! `FAULTS_ONLY=NAME` looks at the calls of that name only.

#[path = "faults/calls.rs"]
mod calls;
#[expect(dead_code, reason = "other tests use other parts of it")]
mod common;

use calls::{
    CALLS, Call,
    End::{self, *},
};
use common::{Link, Outcome, Program, build, build_alone, run};
use libc::{ECONNABORTED, EINTR, c_int, c_long};
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long one run may take; it takes a third of a second.
const SECONDS: u32 = 25;
const LIMIT: Duration = Duration::from_secs(60);
/// The exit code of the injector where it cannot work.
const NO_SECCOMP: i32 = 77;
/// How many runs at once.
const WORKERS: usize = 3;

/// When a call is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    First,
    Second,
    Middle,
    /// From the middle on.
    Later,
    Always,
}
use When::*;

/// Whether the system only ever says this once in a while.
fn passes(error: c_int) -> bool {
    [EINTR, ECONNABORTED].contains(&error)
}

/// What a run has shown.
struct Seen {
    end: End,
    calls: u64,
    refused: u64,
    report: String,
}

/// The workload and the injector.
struct Bench {
    workload: Program,
    injector: Program,
}

impl Bench {
    fn new() -> Self {
        Self {
            workload: build("faults.c", Link::Shared),
            injector: build_alone("faults_inject.c"),
        }
    }

    /// Runs the workload and refuses `call` with `error` the `first` time.
    fn run(&self, call: &Call, error: c_int, first: u64, good: bool) -> Seen {
        let numbers: Vec<_> =
            call.numbers.iter().map(c_long::to_string).collect();
        let (arg, mask, value) = call.only;
        let plan = [
            numbers.join(","),
            arg.to_string(),
            mask.to_string(),
            value.to_string(),
            error.to_string(),
            first.to_string(),
            u8::from(good).to_string(),
            SECONDS.to_string(),
        ];
        let mut command = self.injector.command();
        command.args(plan).args([self.workload.command().get_program()]);
        // The first call of the library starts it, between the marks.
        judge(&run(command.env("GMP_AUTOSTART", "0"), LIMIT))
    }
}

/// The number after `key=` in the injector's line.
fn number(line: &str, key: &str) -> u64 {
    let mut words = line.split_whitespace();
    let found = words.find_map(|w| w.strip_prefix(key)?.strip_prefix('='));
    found.and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn judge(outcome: &Outcome) -> Seen {
    assert!(
        outcome.status.code() != Some(NO_SECCOMP),
        "no faults were injected: this system lets nobody refuse system calls\n\
         {}",
        outcome.report()
    );
    let line = outcome.stdout.lines().last().unwrap_or("");
    let done = outcome.stdout.lines().any(|line| line == "done");
    let told = outcome.stdout.lines().any(|line| line.starts_with("told "));
    // The last is an assertion of the C library's that has no memory for its
    // text: pthread_create reckons with ENOMEM only where mmap is refused.
    let said = [
        "fatal error: ",
        "unexpected error code",
        "cannot allocate",
        "Unexpected error.",
    ];
    let said = said.iter().any(|text| outcome.stderr.contains(text));
    let aborted = ["ended=signal:6", "ended=exit:127", "ended=exit:2"];
    let aborted = aborted.iter().any(|how| line.ends_with(how));
    let idle = number(line, "idle_us");
    let spins = number(line, "idle_cpu_us") > idle / 4 + 10_000;
    let end = match () {
        () if spins => Wrong,
        () if line.ends_with("ended=exit:0") && done && !told => Right,
        () if line.ends_with("ended=exit:0") && done => Told,
        () if aborted && said => Message,
        () => Wrong,
    };
    Seen {
        end,
        calls: number(line, "calls"),
        refused: number(line, "refused"),
        report: outcome.report(),
    }
}

/// One run that is to be made.
struct Job<'a> {
    call: &'a Call,
    error: c_int,
    when: When,
}

/// What came of the runs of one call.
#[derive(Clone, Copy)]
struct Row {
    calls: u64,
    runs: u32,
    best: End,
    worst: End,
}

/// Makes all runs, several at a time; gives the rows, in the order of
/// [`CALLS`], and what was wrong.
fn sweep(whens: &[When], usual_only: bool) -> (Vec<Row>, Vec<String>) {
    let chosen = std::env::var("FAULTS_ONLY").unwrap_or_default();
    let bench = Bench::new();
    let calls: Vec<&Call> =
        CALLS.iter().filter(|call| call.name.contains(&chosen)).collect();
    let empty = Row { calls: 0, runs: 0, best: Wrong, worst: Right };
    let rows: Vec<_> = calls.iter().map(|_| Mutex::new(empty)).collect();
    let failures = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let work = || loop {
        let at = next.fetch_add(1, Ordering::Relaxed);
        let Some(call) = calls.get(at) else { return };
        let row = look_at(&bench, call, whens, usual_only, &failures);
        *rows[at].lock().unwrap() = row;
    };
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(work);
        }
    });
    let rows = rows.into_iter().map(|row| row.into_inner().unwrap());
    (rows.collect(), failures.into_inner().unwrap())
}

/// All runs of one call.
fn look_at(
    bench: &Bench,
    call: &Call,
    whens: &[When],
    usual_only: bool,
    failures: &Mutex<Vec<String>>,
) -> Row {
    let errors = if usual_only { call.usual } else { call.errors.len() };
    let mut row = Row { calls: 0, runs: 0, best: Wrong, worst: Right };
    if whens.contains(&Middle) {
        row.calls = bench.run(call, 0, 1, false).calls;
    }
    for &error in &call.errors[..errors] {
        for &when in whens {
            let first = match when {
                First | Always => 1,
                Second => 2,
                Middle | Later => row.calls / 2,
            };
            let good = matches!(when, Later | Always);
            let pointless = good && passes(error)
                || when == Second && row.calls < 2
                || matches!(when, Middle | Later) && first < 3;
            if pointless {
                continue;
            }
            let seen = bench.run(call, error, first, good);
            row.runs += 1;
            row.calls = row.calls.max(seen.calls);
            row.best = row.best.min(seen.end);
            row.worst = row.worst.max(seen.end);
            let job = Job { call, error, when };
            if let Some(fault) = job.fault(&seen) {
                failures.lock().unwrap().push(fault);
            }
        }
    }
    row
}

impl Job<'_> {
    /// What is wrong with this run.
    fn fault(&self, seen: &Seen) -> Option<String> {
        let (name, worst) = (self.call.name, self.call.worst);
        let what = if seen.refused == 0 && self.when == First {
            "was never made".to_owned()
        } else if seen.end > worst {
            format!("came to {:?}, at worst {worst:?}", seen.end)
        } else {
            return None;
        };
        let Self { error, when, .. } = self;
        Some(format!(
            "{name}, errno {error}, {when:?}: {what}\n{}",
            seen.report
        ))
    }
}

/// Fails with what was wrong, the first few at length.
fn report(failures: &[String]) {
    let mut text = String::new();
    for (i, failure) in failures.iter().enumerate() {
        let short = failure.lines().next().unwrap_or("");
        let shown = if i < 3 { failure } else { short };
        let _ = writeln!(text, "{shown}\n");
    }
    assert!(failures.is_empty(), "{} runs\n{text}", failures.len());
}

/// The usual refusals of every call.
#[test]
fn every_call_may_be_refused() {
    let (rows, failures) = sweep(&[First, Always], true);
    let runs: u32 = rows.iter().map(|row| row.runs).sum();
    println!("{runs} runs of {} calls", rows.len());
    report(&failures);
}

/// Waits that end because there is no poller do not blame their files for it.
#[test]
fn a_poller_whose_numbers_are_bad_blames_no_file() {
    let bench = Bench::new();
    let call = CALLS.iter().find(|call| call.name == "epoll_create1");
    for error in [libc::EBADF, libc::EINVAL] {
        let seen = bench.run(call.expect("a row"), error, 1, true);
        assert!(seen.end == Told, "{}", seen.report);
        let lines = seen.report.lines();
        let told = lines.filter(|line| line.starts_with("told "));
        for line in told {
            let blames = line.ends_with(&format!(" {error}"));
            assert!(!blames, "{line}\n{}", seen.report);
        }
    }
}

/// All errors of every call, at four points of time; prints the table.
#[test]
#[ignore = "takes some minutes: make faults"]
fn every_call_may_be_refused_whatever_the_error() {
    let (rows, failures) =
        sweep(&[First, Second, Middle, Later, Always], false);
    println!("{:28} {:>5} {:>4}  ends   means", "refused", "calls", "runs");
    let chosen = std::env::var("FAULTS_ONLY").unwrap_or_default();
    let calls = CALLS.iter().filter(|call| call.name.contains(&chosen));
    for (call, row) in calls.zip(&rows) {
        let Row { calls, runs, best, worst } = row;
        let ends = if best == worst {
            format!("{worst:?}")
        } else {
            format!("{best:?} to {worst:?}")
        };
        let (name, means) = (call.name, call.means);
        println!("{name:28} {calls:5} {runs:4}  {ends:16} {means}");
    }
    let runs: u32 = rows.iter().map(|row| row.runs).sum();
    println!("{runs} runs, {} faults", failures.len());
    report(&failures);
}
