//! Traces of known programs, decoded by Perfetto's own definitions of its
//! format: `tests/trace/check.py` finds each event there.
//!
//! The definitions come with the Python package `perfetto`, in an environment
//! of our own (`setup/need.sh`). Without it these tests are skipped.

#[expect(dead_code, reason = "other tests use other parts of it")]
mod common;

use common::skip::lacks;
use common::{Link, Outcome, build, repository, run};
use libc::SIGABRT;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// A path for a trace of this test.
fn file(name: &str) -> PathBuf {
    common::scratch().join(name)
}

/// Runs the program whose events are known.
fn known(arguments: &[&str], env: &[(&str, &str)]) -> Outcome {
    let program = build("trace_known.c", Link::Shared);
    let mut command = program.command();
    command.args(arguments).envs(env.iter().copied());
    run(&mut command, LIMIT)
}

/// Has Perfetto's definitions judge the file.
fn check(trace: &Path, case: &str) {
    let mut python = Command::new(repository().join("build/venv/bin/python"));
    python.arg(repository().join("tests/trace/check.py"));
    run(python.arg(trace).arg(case), LIMIT).exited(0);
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path")
}

#[test]
fn each_event_of_a_program_is_in_its_file() {
    if lacks(&["python3", "perfetto"]) {
        return;
    }
    let path = file("file");
    let one = [("GMP_MAXPROCS", "1")];
    known(&["file", text(&path)], &one).exited(0);
    check(&path, "known");
}

#[test]
fn each_event_of_a_program_is_in_what_the_flight_recorder_saves() {
    if lacks(&["python3", "perfetto"]) {
        return;
    }
    let path = file("save");
    let one = [("GMP_MAXPROCS", "1")];
    known(&["save", text(&path)], &one).exited(0);
    check(&path, "known");
}

#[test]
fn each_event_of_a_program_is_in_the_file_of_the_setting() {
    if lacks(&["python3", "perfetto"]) {
        return;
    }
    // An uneven counter too: then the clock stamps the events.
    for (name, more) in [("even", ""), ("uneven", ",tsc=0")] {
        let path = file(name);
        let setting = format!("trace={}-%p{more}", text(&path));
        let env = [("GMP_MAXPROCS", "1"), ("GMPDEBUG", &setting)];
        known(&["setting"], &env).exited(0);
        // `%p` is the number of the process.
        let found = fs::read_dir(common::scratch())
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .find(|entry| text(entry).starts_with(&format!("{}-", text(&path))))
            .expect("no trace");
        check(&found, "known");
    }
}

#[test]
fn a_fatal_error_is_the_last_event() {
    if lacks(&["python3", "perfetto"]) {
        return;
    }
    for setting in ["trace", "flight"] {
        let path = file(&format!("fatal-{setting}"));
        let setting = format!("{setting}={}", text(&path));
        known(&["fatal"], &[("GMPDEBUG", &setting)])
            .died_by(SIGABRT)
            .said("all goroutines are asleep");
        check(&path, "fatal");
    }
}

/// With many threads, goroutines and a small ring, a file is well formed all
/// the same, and says what was lost.
#[test]
fn collections_have_a_track_of_their_own() {
    if lacks(&["python3", "perfetto"]) {
        return;
    }
    let path = file("heap");
    known(&["heap", text(&path)], &[]).exited(0);
    check(&path, "heap");
    // And none in the file of a program without a heap.
    let path = file("no-heap");
    known(&["file", text(&path)], &[]).exited(0);
    let bytes = fs::read(&path).expect("a trace");
    let name = b"heap goal";
    assert!(!bytes.windows(name.len()).any(|part| part == name));
}

#[test]
fn a_crowd_has_tracks_up_to_a_bound() {
    if lacks(&["python3", "perfetto"]) {
        return;
    }
    for procs in ["1", "4", "16"] {
        for buffer in ["64", "4096"] {
            let path = file(&format!("many-{procs}-{buffer}"));
            let buffer = format!("tracebuf={buffer}");
            let env = [("GMP_MAXPROCS", procs), ("GMPDEBUG", &buffer)];
            known(&["many", text(&path)], &env).exited(0);
            check(&path, "many");
        }
    }
}

/// What cannot be written is said in words, and the program goes on.
#[test]
fn a_file_that_refuses_is_reported_once() {
    let cases = [
        ("trace=/dev/full", "cannot write /dev/full: No space left on device"),
        ("trace=/no/such/x", "no trace to /no/such/x: No such file"),
        ("flight=/tmp/x,trace=/tmp/y", "ignoring \"trace=/tmp/y\""),
        ("tracebuf=1", "ignoring \"tracebuf=1\""),
    ];
    for (setting, words) in cases {
        let env = [("GMP_MAXPROCS", "1"), ("GMPDEBUG", setting)];
        known(&["setting"], &env).exited(0).said_once(words);
    }
}
