//! `GMPDEBUG=lockwait=SECONDS`: goroutines and threads that wait for each other
//! are told while the process goes on, and nothing else is.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

use common::{Link, Outcome, Program, build_with, run};
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const SOURCE: &str = "crash_lockwait.c";

/// The program, whose functions have frames also where they end in a call.
fn program(link: Link) -> Program {
    build_with(SOURCE, link, &["-fno-optimize-sibling-calls"])
}

/// Runs the cases at the same time, as each sleeps most of its time.
fn each(cases: &[&str], judge: impl Fn(&str, &Outcome)) {
    let program = program(Link::Shared);
    let outcomes: Vec<_> = thread::scope(|scope| {
        let run_one = |case: &&str| {
            let mut command = program.command();
            command.arg(case).env("GMPDEBUG", "lockwait=1");
            scope.spawn(move || run(&mut command, LIMIT))
        };
        let running: Vec<_> = cases.iter().map(run_one).collect();
        running.into_iter().map(|r| r.join().expect("it ran")).collect()
    });
    for (case, outcome) in cases.iter().zip(&outcomes) {
        outcome.exited(3);
        judge(case, outcome);
    }
}

/// The words of a report, with `#` for each number and address.
fn words(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.stderr.lines();
    let word = |word: &str| {
        let bare = word.trim_end_matches(',');
        let hex = bare.strip_prefix("0x").map(|h| u64::from_str_radix(h, 16));
        let number =
            bare.parse::<u64>().is_ok() || hex.is_some_and(|h| h.is_ok());
        if number { word.replace(bare, "#") } else { word.to_owned() }
    };
    lines
        .map(|line| line.split(' ').map(word).collect::<Vec<_>>().join(" "))
        .collect()
}

/// The numbers of the goroutines or threads of a report, each waiter with the
/// one that it waits for.
fn edges(outcome: &Outcome) -> Vec<(u64, u64)> {
    let of = |line: &str| -> Vec<u64> {
        let words: Vec<_> = line.split(&[' ', ',']).collect();
        words
            .windows(2)
            .filter(|w| matches!(w[0], "goroutine" | "thread"))
            .filter_map(|w| w[1].parse().ok())
            .collect()
    };
    outcome
        .stderr
        .lines()
        .filter(|line| line.contains(" waits for "))
        .filter_map(|line| match of(line)[..] {
            [who, whom] => Some((who, whom)),
            _ => None,
        })
        .collect()
}

/// One report, whose waiters are a circle: each once, and each is waited for.
fn is_a_circle(outcome: &Outcome, n: usize) {
    outcome.said_once("deadlock: ");
    let edges = edges(outcome);
    assert_eq!(edges.len(), n, "waiters\n{}", outcome.report());
    let (mut at, mut steps) = (edges[0].0, 0);
    loop {
        let next = edges.iter().find(|edge| edge.0 == at);
        at = next.unwrap_or_else(|| panic!("{}", outcome.report())).1;
        steps += 1;
        if at == edges[0].0 || steps > n {
            break;
        }
    }
    assert_eq!(steps, n, "no circle of all\n{}", outcome.report());
}

/// The cases, what their waiters wait for, and how many these are.
const DEAD: [(&str, usize, &[&str]); 17] = [
    (
        "crossed",
        2,
        &[
            "\"left\" waits for mutex #, held by goroutine #",
            "lock_left at ",
            "lock_right at ",
            "started at ",
        ],
    ),
    ("ticker", 2, &["\"right\" waits for mutex #, held by goroutine #"]),
    (
        "thread",
        2,
        &[
            "deadlock: # goroutines and threads wait for each other",
            "waits for mutex #, held by thread #",
            "thread # waits for mutex #, held by goroutine #",
        ],
    ),
    ("threads", 2, &["thread # waits for mutex #, held by thread #"]),
    ("self", 1, &["deadlock: a goroutine waits for itself"]),
    ("thread_self", 1, &["deadlock: a thread waits for itself"]),
    ("joins", 2, &["waits for the end of goroutine #"]),
    ("group", 2, &["waits for group #, with the member goroutine #"]),
    ("member", 2, &["waits for group #", "waits for the end of"]),
    ("once", 2, &["waits for once #, held by", "waits for the end of"]),
    ("onces", 2, &["waits for once #, held by goroutine #"]),
    ("upgrade", 1, &["waits for rwmutex write #, held by goroutine #"]),
    ("reader", 2, &["waits for rwmutex write #, held by", "mutex #, held"]),
    ("writer", 2, &["waits for rwmutex read #, held by", "mutex #, held"]),
    ("reads", 2, &["waits for rwmutex read #, behind goroutine #"]),
    ("three", 3, &["deadlock: # goroutines wait for each other"]),
    ("contended", 2, &["\"right\" waits for mutex #, held by goroutine #"]),
];

#[test]
fn each_deadlock_is_told_once() {
    each(&DEAD.map(|dead| dead.0), |case, outcome| {
        let found = DEAD.iter().find(|dead| dead.0 == case);
        let &(_, n, texts) = found.expect("a case");
        is_a_circle(outcome, n);
        let words = words(outcome);
        for text in texts {
            let said = words.iter().any(|line| line.contains(text));
            assert!(said, "{case}: want {text:?}\n{}", outcome.report());
        }
    });
}

/// Tries, deadlines, mutexes that one locks and another unlocks, holders that
/// have gone, and long waits are no deadlocks.
#[test]
fn what_can_go_on_is_no_deadlock() {
    const QUIET: [&str; 9] = [
        "trylocks",
        "until",
        "broken",
        "around",
        "next_thread",
        "share",
        "impatient",
        "chain",
        "cond",
    ];
    each(&QUIET, |case, outcome| {
        assert_eq!(outcome.stderr, "", "{case}\n{}", outcome.report());
    });
}

/// In any link, and with fewer processors than goroutines.
#[test]
fn every_link_tells_deadlocks() {
    for link in Link::ALL {
        let program = program(link);
        for procs in ["1", "4"] {
            let mut command = program.command();
            command.arg("crossed").env("GMPDEBUG", "lockwait=1");
            let outcome = run(command.env("GMP_MAXPROCS", procs), LIMIT);
            outcome.exited(3);
            is_a_circle(&outcome, 2);
        }
    }
}

/// Where all sleep under `gmp_run_main` the report begins with those that wait
/// for each other.
#[test]
fn a_deadlock_of_all_names_the_circle_first() {
    for link in Link::ALL {
        let mut command = program(link).command();
        let outcome = run(command.arg("run_main"), LIMIT);
        outcome
            .died_by(libc::SIGABRT)
            .said("fatal error: all goroutines are asleep - deadlock!\n")
            .said("lock_left at ")
            .said_once("[chan receive]");
        let report = outcome.stderr.split_once("deadlock!\n");
        let first = report.is_some_and(|r| {
            r.1.starts_with("deadlock: 2 goroutines wait for each other\n")
        });
        assert!(first, "the circle is not first\n{}", outcome.report());
        assert_eq!(edges(&outcome).len(), 2, "{}", outcome.report());
    }
}

/// Off, the same program hangs in silence; here until it gives up.
#[test]
fn without_the_setting_nothing_is_told() {
    let program = program(Link::Shared);
    let mut command = program.command();
    let outcome = run(command.arg("quiet_crossed"), LIMIT);
    assert_eq!(outcome.exited(3).stderr, "");
}
