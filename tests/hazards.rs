//! `docs/hazards.md`: its programs fail where no goroutine stays on its
//! thread (`GMPDEBUG=migrate=1`), and are right with the way out that the page
//! names. And the C tests, which rely on no thread, pass there as well.

#[expect(dead_code, reason = "the other tests use other parts of it")]
mod common;

use common::{Link, Program, build, build_with, run};
use std::fs;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(50);
const PROCS: [&str; 3] = ["1", "2", "4"];

/// Subjects of `c-tests` that neither count threads nor know where they are.
const SUBJECTS: [&str; 30] = [
    "badargs",
    "blocking",
    "cancel",
    "cancel_thread",
    "chan",
    "chan_until",
    "cond",
    "control_words",
    "defer",
    "errno",
    "go",
    "group",
    "io",
    "io_net",
    "io_until",
    "join",
    "locals",
    "lockthread",
    "mutex",
    "once",
    "park",
    "rwmutex",
    "select",
    "select_many",
    "sema",
    "sigmask",
    "sigterm",
    "sleep",
    "timers",
    "waitgroup",
];

/// The programs of the page, in its order.
fn programs() -> Vec<String> {
    let page = common::repository().join("docs/hazards.md");
    let page = fs::read_to_string(page).expect("docs/hazards.md");
    let blocks = page.split("\n```c\n").skip(1);
    let blocks = blocks.map(|rest| match rest.split_once("\n```\n") {
        Some((block, _)) => format!("{block}\n"),
        None => panic!("a block of code does not end: {rest}"),
    });
    blocks.filter(|block| block.contains("int main(")).collect()
}

/// Whether the program says that all is right.
fn is_right(program: &Program, procs: &str, debug: &str) -> (bool, String) {
    let mut command = program.command();
    command.env("GMP_MAXPROCS", procs).env("GMPDEBUG", debug);
    let outcome = run(&mut command, LIMIT);
    let right = outcome.stuck.is_none() && outcome.status.code() == Some(0);
    (right, outcome.report())
}

#[test]
fn examples_fail_without_their_way_out() {
    let programs = programs();
    assert!(programs.len() >= 8, "only {} programs", programs.len());
    let dir = common::scratch();
    for (at, text) in programs.iter().enumerate() {
        assert!(text.contains("RIGHT"), "no way out:\n{text}");
        let path = dir.join(format!("hazard-{at}.c"));
        fs::write(&path, text).expect("no scratch directory");
        let path = path.display().to_string();
        let wrong = build_with(&path, Link::Shared, &["-lm"]);
        let right = build_with(&path, Link::Shared, &["-lm", "-DRIGHT"]);
        for procs in PROCS {
            for _ in 0..3 {
                let (ok, report) = is_right(&wrong, procs, "migrate=1");
                assert!(!ok, "not found:\n{text}\n{report}");
                for debug in ["migrate=1", ""] {
                    let (ok, report) = is_right(&right, procs, debug);
                    assert!(ok, "no way out:\n{text}\n{report}");
                }
            }
        }
    }
}

/// A mask that was changed behind the runtime's back is told, once.
#[test]
fn a_signal_mask_left_behind_is_named() {
    let text = programs();
    let text =
        text.iter().find(|text| text.contains("#define GMP_KEEP_SIGMASK"));
    let path = common::scratch().join("hazard-mask.c");
    fs::write(&path, text.expect("no such program")).expect("no file");
    let path = path.display().to_string();
    let said = "has changed the signal mask of its thread";
    for (flags, told) in [(&[][..], true), (&["-DRIGHT"][..], false)] {
        let program = build_with(&path, Link::Shared, flags);
        let mut command = program.command();
        let outcome = run(command.env("GMPDEBUG", "migrate=1"), LIMIT);
        if told {
            outcome.said_once(said);
        } else {
            outcome.exited(0).kept_quiet_of(said);
        }
    }
}

#[test]
fn c_tests_pass_where_nobody_stays() {
    for subject in SUBJECTS {
        let program = build(&format!("{subject}.c"), Link::Shared);
        for procs in ["1", "4"] {
            let (ok, report) = is_right(&program, procs, "migrate=1");
            assert!(ok, "{report}");
        }
    }
}

/// One thread for all goroutines, which so stay, and a host thread that runs
/// some: those that are to go elsewhere are no goroutines locked to a thread.
#[test]
fn without_another_thread_nobody_is_lost() {
    let program = build("control_words.c", Link::Shared);
    for procs in ["1", "2", "2", "2", "4"] {
        let mut command = program.command();
        command.env("GMP_MAXPROCS", procs).env("GMP_MAXTHREADS", "2");
        run(command.env("GMPDEBUG", "migrate=1"), LIMIT).exited(0);
    }
}
