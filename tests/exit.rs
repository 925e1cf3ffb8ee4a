//! How a process with goroutines ends: while a fatal error is being written,
//! and when its main thread has left. The programs are in `c-tests/start`.

#[expect(dead_code, reason = "other tests use other parts of it")]
mod common;

use common::{Link, Outcome, build, build_with, run};
use libc::SIGABRT;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);
const PROCS: [&str; 3] = ["1", "2", "4"];
/// Goroutines that `exit_fatal.cc` leaves waiting.
const WAITERS: usize = 300;

/// A file of `c-tests/start`, for the functions of `common`.
fn source(name: &str) -> String {
    let dir = common::scratch().join("start");
    fs::create_dir_all(dir).expect("no scratch directory");
    format!("start/{name}")
}

/// The whole list and death by SIGABRT; or nothing, where the error had not
/// begun. Which one it was.
fn told_in_full(outcome: &Outcome) -> bool {
    if outcome.status.signal() == Some(SIGABRT) {
        let listed = outcome.stderr.matches("\"waiter\"").count();
        assert_eq!(listed, WAITERS, "{}", outcome.report());
        return true;
    }
    outcome.exited(0);
    assert_eq!(outcome.stderr, "", "{}", outcome.report());
    false
}

/// A crash never ends with status 0 and a list that is cut off, however the
/// process ends meanwhile and when.
#[test]
fn an_exit_waits_for_a_fatal_error_that_is_being_written() {
    for link in [Link::Shared, Link::Static] {
        let program = build_with(&source("exit_fatal.cc"), link, &[]);
        for error in ["overflow", "throw"] {
            for end in ["return", "exit", "run_main"] {
                let mut told = 0;
                let mut runs = 0;
                for delay in ["0", "200", "1000", "3000"] {
                    for procs in PROCS.repeat(2) {
                        let mut command = program.command();
                        command.args([error, end, delay]);
                        command.env("GMP_TRACEBACK", "all");
                        command.env("GMP_MAXPROCS", procs);
                        told += usize::from(told_in_full(&run(
                            &mut command,
                            LIMIT,
                        )));
                        runs += 1;
                    }
                }
                assert!(told > runs / 2, "{error} {end}: {told} of {runs}");
            }
        }
    }
}

#[test]
fn a_process_whose_main_thread_has_left_ends_with_the_last_of_the_others() {
    const LATER: [&str; 6] =
        ["sleeper", "blocked", "thread", "caller", "maker", "timer"];
    for link in Link::ALL {
        let program = build(&source("main_leaves.c"), link);
        for procs in PROCS {
            let child = |what: &str| {
                let mut command = program.command();
                command.arg(what).env("GMP_MAXPROCS", procs);
                run(&mut command, LIMIT)
            };
            for what in ["nothing", "goroutine"] {
                let outcome = child(what);
                assert_eq!(outcome.exited(0).stderr, "");
            }
            for what in LATER {
                let outcome = child(what);
                let want = "exit handlers ran\n";
                assert_eq!(outcome.exited(0).stdout, want, "{what} {procs}");
                assert_eq!(outcome.stderr, "", "{}", outcome.report());
            }
            let deadlock = "all goroutines are asleep - deadlock!";
            child("deadlock").died_by(SIGABRT).said_once(deadlock);
        }
    }
}

/// What has not started has no thread that could keep the process.
#[test]
fn a_process_that_never_started_the_runtime_ends_as_any_other() {
    let program = build(&source("main_leaves.c"), Link::Shared);
    let mut command = program.command();
    command.arg("nothing").env("GMP_AUTOSTART", "no");
    run(&mut command, LIMIT).exited(0);
}
