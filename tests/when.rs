//! docs/when.md: its programs do what the page says, and so do the commands.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

use common::{Outcome, Program, run};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Builds a program of the page as the page does.
fn build(name: &str) -> PathBuf {
    let source = common::repository().join(format!("docs/when/{name}.c"));
    let program = common::scratch().join(name);
    let mut compiler = Command::new("cc");
    compiler.args(["-g", "-O1", "-Wall", "-Wextra", "-Werror", "-I"]);
    compiler.arg(common::includedir()).arg("-o").arg(&program).arg(source);
    common::link_shared(&mut compiler);
    common::compile(&mut compiler);
    program
}

fn gmprt(args: &[&str]) -> Outcome {
    run(Command::new(common::tool()).args(args), LIMIT)
}

#[test]
fn the_hang_is_told_and_seen_from_outside() {
    let mut command = Program::at(build("hang")).command();
    command.env("GMPDEBUG", "lockwait=1").stderr(Stdio::piped());
    let mut hang = command.spawn().expect("hang runs");
    let told = BufReader::new(hang.stderr.take().expect("its stderr"));
    let mut lines = told.lines().map(|line| line.expect("a line"));
    // Without a report the program would wait for ever, and this test too.
    let (ended, end) = mpsc::channel::<()>();
    let pid = hang.id();
    let watchdog = thread::spawn(move || {
        if end.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            // SAFETY: takes numbers; the child is not waited for before.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
    });
    let first = lines.next().expect("a report");
    let report: Vec<_> = lines.by_ref().take(8).collect();
    let dump = gmprt(&["dump", &hang.id().to_string()]);
    hang.kill().expect("it goes on after the report");
    drop(ended);
    watchdog.join().expect("the watchdog");
    let _status = hang.wait();
    assert_eq!(first, "deadlock: 2 goroutines wait for each other");
    for who in ["\"rent\"", "\"wage\""] {
        let holds = |l: &&String| l.contains(who) && l.contains("held by");
        assert_eq!(report.iter().filter(holds).count(), 1, "{report:#?}");
    }
    let places = report.iter().filter(|l| l.contains("make at ")).count();
    assert_eq!(places, 2, "{report:#?}");
    dump.exited(0);
    let entries = dump.stdout.matches("held by goroutine").count();
    assert!(entries >= 2, "{}", dump.stdout);
}

#[test]
fn the_crash_names_goroutine_function_and_line() {
    let outcome = run(&mut Program::at(build("crash")).command(), LIMIT);
    outcome.died_by(libc::SIGSEGV).said("SIGSEGV: write to address 0x0");
    outcome.said("\"order\"").said("add_up at ").said("crash.c:13");
}

#[test]
fn the_slow_program_is_explained_by_its_trace() {
    let trace = common::scratch().join("slow.trace");
    let mut command = Program::at(build("slow")).command();
    command.env("GMPDEBUG", format!("trace={}", trace.display()));
    run(&mut command, LIMIT).exited(0);
    let page = trace.with_extension("html");
    let (from, to) = (trace.to_string_lossy(), page.to_string_lossy());
    gmprt(&["report", &from, "-o", &to]).exited(0);
    let page = std::fs::read_to_string(&page).expect("the page");
    for word in ["reporter", "client", "report written", "mutex"] {
        assert!(page.contains(word), "no {word} in the page");
    }
}
