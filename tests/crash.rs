//! Crashes, and starts that fail: each happens in a child, which has to end as
//! it should and say why.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

use common::skip::lacks;
use common::{Link, Outcome, Program, build, build_alone, build_with, run};
use libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTRAP, c_int};
use std::fs;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);

/// Runs a program with one argument in one environment.
fn child(mut command: Command, case: &str, env: &[(&str, &str)]) -> Outcome {
    command.arg(case).envs(env.iter().copied());
    run(&mut command, LIMIT)
}

/// Runs `source` with `case`, in each way of linking.
fn each_link(source: &str, case: &str, judge: impl Fn(&Outcome)) {
    for link in Link::ALL {
        judge(&child(build(source, link).command(), case, &[]));
    }
}

/// Runs programs that are built already with `case`.
fn each_of(programs: &[Program], case: &str, judge: impl Fn(&Outcome)) {
    for program in programs {
        judge(&child(program.command(), case, &[]));
    }
}

#[test]
fn every_file_is_used() {
    let dir = common::source_path("");
    for entry in fs::read_dir(dir).expect("no c-tests") {
        let name = entry.expect("c-tests cannot be listed").file_name();
        let name = name.to_string_lossy();
        let used = include_str!("crash.rs").contains(&format!("{name:?}"));
        let used = used || ELSEWHERE.contains(&&*name);
        assert!(used || !name.starts_with("crash_"), "nobody runs {name}");
    }
}

/// What other tests run.
const ELSEWHERE: [&str; 1] = ["crash_lockwait.c"];

/// Wherever a stack overflows, the message names the goroutine by its id and
/// its name, and the process aborts.
#[test]
fn overflow_names_the_goroutine() {
    const CASES: [&str; 14] = [
        "plain",
        "set_name",
        "big_stack",
        "handed_off",
        "after_block",
        "after_park",
        "locked",
        "probes",
        "array_of_32_kib",
        "array_of_64_kib",
        "others_busy",
        "blocking",
        "joined",
        "run_main",
    ];
    for link in Link::ALL {
        let program = build("crash_overflow.c", link);
        for case in CASES {
            let outcome = child(program.command(), case, &[]);
            let id = outcome.stdout.trim();
            assert!(id.parse::<u64>().is_ok(), "no id\n{}", outcome.report());
            outcome
                .died_by(SIGABRT)
                .said("fatal error: stack overflow")
                .said(&format!("goroutine {id}"))
                .said("deep");
        }
    }
}

/// A host's handler gets the faults that are not ours, and a host without one
/// dies as it would without the library.
#[test]
fn foreign_faults_are_the_hosts() {
    let program = build_alone("crash_segv.c");
    for when in ["before", "after"] {
        for how in ["siginfo", "plain", "repair", "default"] {
            for place in ["goroutine", "thread"] {
                let mut command = program.command();
                command.arg(common::shared_library()).args([when, how]);
                let outcome = child(command, place, &[]);
                if how == "default" {
                    outcome.died_by(SIGSEGV);
                } else {
                    outcome.exited(0);
                }
                outcome.kept_quiet_of("stack overflow");
            }
        }
    }
}

/// What kills a goroutine: the case of `crash_death.c`, which is the name of a
/// function too, the signal, and words of the message.
const DEATHS: [(&str, c_int, &str); 9] = [
    ("write_null", SIGSEGV, "SIGSEGV: write to address 0x0"),
    ("write_odd", SIGSEGV, "SIGSEGV: access to an address that no memory"),
    ("past_the_file", SIGBUS, "SIGBUS: read of address 0x"),
    ("divide", SIGFPE, "SIGFPE: division of integers"),
    ("illegal", SIGILL, "SIGILL: illegal instruction"),
    ("breakpoint", SIGTRAP, "SIGTRAP: breakpoint"),
    ("assertion", SIGABRT, "SIGABRT: abort"),
    ("aborting", SIGABRT, "SIGABRT: abort"),
    ("raising", SIGFPE, "SIGFPE: sent by this process"),
];

/// The place in a source file below its comment `dies here: NAME`, as frames
/// show it.
fn place_of_death(source: &str, name: &str) -> String {
    let path = common::source_path(source);
    let text = fs::read_to_string(&path).expect("no source");
    let mark = format!("/* dies here: {name} */");
    let above = text.lines().position(|line| line.contains(&mark));
    let line = above.expect("a comment with the place") + 2;
    format!("    {name} at {}:{line}", path.display())
}

/// A fault or an abort names goroutine, function and line, and the process ends
/// as it would have.
#[test]
fn a_death_on_a_goroutine_is_told_and_happens() {
    for link in Link::ALL {
        let program = build("crash_death.c", link);
        for (case, signal, text) in DEATHS {
            for env in [&[][..], &[("PARK_FIRST", "1")]] {
                child(program.command(), case, env)
                    .died_by(signal)
                    .said_once(&format!("fatal error: {text}"))
                    .said_once(" [running] \"mortal\", thread ")
                    .said_once(&place_of_death("crash_death.c", case));
            }
        }
        child(program.command(), "overflow", &[])
            .died_by(SIGABRT)
            .said("fatal error: stack overflow\ngoroutine ")
            .said_once("\"mortal\": stack of 196608 bytes")
            .said_once("gmp_attr.stack_size or GMP_STACKSIZE")
            .said(&place_of_death("crash_death.c", "overflow"))
            .said_once(" times more");
    }
}

/// With the frames of all goroutines, those that compute on other threads are
/// asked for theirs.
#[test]
fn a_death_shows_what_the_others_compute() {
    let env =
        [("BYSTANDER", "1"), ("GMP_TRACEBACK", "all"), ("GMP_MAXPROCS", "4")];
    for link in Link::ALL {
        let program = build("crash_death.c", link);
        for case in ["write_null", "aborting"] {
            let outcome = child(program.command(), case, &env);
            outcome
                .said_once(&place_of_death("crash_death.c", case))
                .said_once("    bystander at ");
        }
        let outcome = child(program.command(), "overflow", &env);
        outcome.died_by(SIGABRT).said_once("    bystander at ");
    }
}

/// Only what a goroutine has done itself is told of it.
#[test]
fn a_death_that_is_no_goroutines_is_not_told() {
    let program = build("crash_death.c", Link::Shared);
    let cases = [("outside", SIGABRT), ("thread", SIGSEGV)];
    for (case, signal) in cases {
        let outcome = child(program.command(), case, &[]);
        assert_eq!(outcome.died_by(signal).stderr, "", "{case}");
    }
    let none = [("GMP_TRACEBACK", "none")];
    let outcome = child(program.command(), "write_null", &none);
    assert_eq!(outcome.died_by(SIGSEGV).stderr, "");
}

/// A child that borrows its parent's memory dies without a word, and its parent
/// goes on as before.
#[test]
fn a_death_after_vfork_is_the_childs_alone() {
    for link in Link::ALL {
        let program = build("crash_death.c", link);
        let outcome = child(program.command(), "borrowed", &[]);
        assert_eq!(outcome.exited(0).stderr, "");
    }
}

/// Our handler does not read what the kernel has not written for it.
#[test]
fn a_death_without_details_is_not_told_and_happens() {
    let program = build("crash_death.c", Link::Shared);
    for (case, signal, _) in DEATHS {
        child(program.command(), case, &[("PUT_BACK", "1")])
            .died_by(signal)
            .kept_quiet_of("fatal error:");
    }
}

/// The kernel tells of a broken page that nobody has touched yet, and a page
/// that was missed may be there when the instruction runs again.
#[test]
fn a_fault_that_does_not_come_again() {
    let program = build("crash_death.c", Link::Shared);
    child(program.command(), "broken_page", &[])
        .died_by(SIGBUS)
        .said_once("fatal error: SIGBUS");
    child(program.command(), "passing_fault", &[])
        .exited(0)
        .said_once("fatal error: SIGSEGV");
}

/// Without symbols the place is an offset in the program.
#[test]
fn a_death_in_a_stripped_program_has_an_offset() {
    for link in Link::ALL {
        let program = build_with("crash_death.c", link, &["-s"]);
        for (case, signal, text) in DEATHS {
            child(program.command(), case, &[])
                .died_by(signal)
                .said_once(&format!("fatal error: {text}"))
                .said_once(" [running] \"mortal\", thread ")
                .said(&format!("    crash_death.c.{link:?}."))
                .said("+0x")
                .kept_quiet_of(&format!("    {case}"));
        }
    }
}

/// Where there can be no copy of the process, there are names without lines.
#[test]
fn a_death_where_no_process_can_be_made_has_names() {
    for link in [Link::Shared, Link::Static] {
        let program = build("crash_death.c", link);
        for (case, signal, text) in DEATHS {
            child(program.command(), case, &[("NO_CLONE", "1")])
                .died_by(signal)
                .said_once(&format!("fatal error: {text}"))
                .said_once(" [running] \"mortal\"")
                .said_once(&format!("    {case}+0x"));
        }
    }
}

/// A report needs nothing of the heap: the thread that dies holds its lock, or
/// has overwritten it.
#[test]
fn a_death_with_a_broken_heap_has_lines() {
    let program = build("crash_heap.c", Link::Shared);
    for case in ["locked", "corrupt"] {
        child(program.command(), case, &[])
            .died_by(SIGSEGV)
            .said_once("fatal error: SIGSEGV: write to address 0x0")
            .said_once(&place_of_death("crash_heap.c", "write_null"));
    }
}

/// A host that writes to an object which it has freed learns of it.
#[test]
fn a_write_to_a_freed_object_is_told() {
    let program = build("crash_heap.c", Link::Shared);
    for case in ["written_first", "written_second", "written_both"] {
        child(program.command(), case, &[])
            .died_by(SIGABRT)
            .said_once("of 64 bytes, was written to after gmp_gc_free");
        child(program.command(), case, &[("GMPDEBUG", "gcstress=7")])
            .died_by(SIGABRT)
            .said_once("was written to after it was freed: 0x1267 at");
    }
}

/// An object whose pointer collections do not see is freed. With gcstress a
/// program that goes on writing to it learns of that.
#[test]
fn a_write_by_a_hidden_pointer_is_told_under_gcstress() {
    let program = build("crash_heap.c", Link::Shared);
    child(program.command(), "hidden", &[("GMPDEBUG", "gcstress=1")])
        .died_by(SIGABRT)
        .said_once("was written to after it was freed: 0x1267 at");
}

#[test]
fn deadlock_is_reported() {
    const CASES: [&str; 7] = [
        "real_chan",
        "real_null",
        "real_mutex",
        "real_group",
        "real_park",
        "real_many",
        "real_later",
    ];
    for case in CASES {
        each_link("crash_deadlock.c", case, |outcome| {
            outcome
                .died_by(SIGABRT)
                .said("fatal error: all goroutines are asleep - deadlock!");
        });
    }
    each_link("crash_deadlock.c", "real_exit", |outcome| {
        outcome.died_by(SIGABRT).said("fatal error: ").said("deadlock!");
    });
}

/// Whoever can still wake somebody up keeps the process alive.
#[test]
fn waiting_is_no_deadlock() {
    for case in ["sleeper", "blocker", "worker", "host_thread", "library"] {
        each_link("crash_deadlock.c", case, |outcome| {
            outcome.exited(3).kept_quiet_of("deadlock");
        });
    }
}

#[test]
fn escaping_exception_names_goroutine_and_type() {
    if lacks(&["g++"]) {
        return;
    }
    let types = [
        ("plain", "runtime_error"),
        ("after_park", "runtime_error"),
        ("rethrow", "runtime_error"),
        ("int", "int"),
        ("own_type", "Unlike"),
    ];
    for (case, name) in types {
        each_link("crash_throw.cc", case, |outcome| {
            outcome
                .died_by(SIGABRT)
                .said_once("fatal error: ")
                .said("thrower")
                .said(name)
                .said("/crash_throw.cc:");
        });
    }
}

/// An exception that leaves a callback which no frame of the host's may have a
/// handler for is fatal, in words, and never arrives at such a handler.
#[test]
fn exception_out_of_a_callback_is_fatal() {
    let cases = [
        ("unlockf", "left an unlockf"),
        ("unlockf_worker", "left an unlockf"),
        ("unlockf_thread", "left an unlockf"),
        ("deferred", "uncaught exception"),
        ("deferred_exit", "left a deferred function or a destructor"),
        ("destructor", "left a deferred function or a destructor"),
        ("member", "uncaught exception"),
        ("main", "uncaught exception"),
        ("timer", "uncaught exception"),
    ];
    for (case, text) in cases {
        each_link("crash_throw.cc", case, |outcome| {
            outcome
                .died_by(SIGABRT)
                .said_once("fatal error:")
                .said("runtime_error")
                .said(text);
        });
    }
}

/// A panic that nobody recovers: Go's text, the chain of panics, and then the
/// caller with its frames, from where it panicked.
#[test]
fn a_panic_is_told_in_gos_words_with_its_frames() {
    let programs = Link::ALL.map(|link| build("crash_panic.cc", link));
    let here = place_of_death("crash_panic.cc", "panics");
    let cases = [
        ("plain", "panic: the text\n\ngoroutine "),
        ("in_a_call", "panic: the text\n\ngoroutine "),
        ("on_thread", "panic: the text\n\nhost thread "),
        ("on_thread_in_a_call", "panic: the text\n\nhost thread "),
        ("by_a_helper", "panic: not its own\n\ngoroutine "),
        ("exit", "panic: during the exit\n\ngoroutine "),
        ("destructor", "panic: in a destructor\n\ngoroutine "),
        ("group", "panic: a member\n\ngoroutine "),
        ("timer", "panic: a timer\n\ngoroutine "),
        ("main", "panic: main\n\ngoroutine "),
        ("slowly", "panic: slowly\n\ngoroutine "),
        ("main_slowly", "panic: slowly\n\ngoroutine "),
    ];
    for (case, text) in cases {
        each_of(&programs, case, |outcome| {
            outcome
                .died_by(SIGABRT)
                .said_once("panic: ")
                .said(text)
                .said(&here)
                .kept_quiet_of("fatal error")
                .kept_quiet_of("gmprt_");
        });
    }
    each_of(&programs, "value", |outcome| {
        outcome.died_by(SIGABRT).said("panic: value 0x1234\n\n");
    });
    let chain = "panic: first\n\tpanic: second [recovered]\n\
        \tpanic: third\n\twith two lines\n\n";
    for (case, who) in
        [("chain", "goroutine "), ("chain_on_thread", "host thread ")]
    {
        each_of(&programs, case, |outcome| {
            outcome
                .died_by(SIGABRT)
                .said(&format!("{chain}{who}"))
                .said("    panics_again at ")
                .said(&here)
                .kept_quiet_of("gmprt_");
        });
    }
}

/// The functions that a panic would run cannot run there.
#[test]
fn a_panic_in_a_callback_is_not_recovered() {
    let programs = Link::ALL.map(|link| build("crash_panic.cc", link));
    let cases = [
        ("unlockf", "panic: in an unlockf"),
        ("unlockf_thread", "panic: in an unlockf"),
        ("element", "panic: in an element's function"),
    ];
    for (case, text) in cases {
        each_of(&programs, case, |outcome| {
            outcome.died_by(SIGABRT).said_once(text);
        });
    }
}

/// What has no good end has one in words.
#[test]
fn an_unwinding_that_cannot_go_on_is_fatal() {
    let programs = Link::ALL.map(|link| build("crash_panic.cc", link));
    const SWALLOWED: &str = "catch (...) has swallowed ";
    const NO_TABLES: &str =
        " cannot unwind bare_call+0x9, which has no unwind tables";
    let cases = [
        ("swallowed", &[SWALLOWED, "a recovered panic"][..]),
        ("swallowed_thread", &[SWALLOWED, "a recovered panic"]),
        ("swallowed_exit", &[SWALLOWED, "gmp_exit"]),
        ("noexcept", &["abort while gmp_exit or a recovered panic unwinds"]),
        ("noexcept_exit", &["abort while gmp_exit or a recovered panic"]),
        ("bare", &[NO_TABLES, "a recovered panic"]),
        ("bare_thread", &[NO_TABLES, "a recovered panic"]),
        ("bare_exit", &[NO_TABLES, "gmp_exit"]),
        ("deferred_throws", &["runtime_error left a deferred function"]),
        (
            "deferred_of_panic_throws",
            &["runtime_error left a deferred function"],
        ),
        ("thread_exits", &["pthread_exit on a goroutine"]),
        ("jumped_over", &["longjmp has left the gmp_call"]),
    ];
    for (case, texts) in cases {
        each_of(&programs, case, |outcome| {
            outcome.died_by(SIGABRT).said_once("fatal error: ");
            for text in texts {
                outcome.said(text);
            }
            outcome.kept_quiet_of("must not be said");
        });
    }
    each_of(&programs, "destructor_panics", |outcome| {
        outcome.died_by(SIGABRT).said_once("panic: in a destructor");
    });
}

/// What the flight recorder has is saved at each way to die, also where nothing
/// is printed.
#[test]
fn a_death_saves_the_flight_recorder() {
    let path = common::scratch().join("crash-flight");
    let setting = format!("flight={}", path.display());
    let saved = |source, case, level, signal| {
        let _not_there = fs::remove_file(&path);
        let env = [("GMPDEBUG", &*setting), ("GMP_TRACEBACK", level)];
        child(build(source, Link::Shared).command(), case, &env)
            .died_by(signal);
        let len = fs::metadata(&path).map_or(0, |file| file.len());
        assert_ne!(len, 0, "no trace of {source} {case}");
    };
    for level in ["none", "all"] {
        saved("crash_death.c", "write_null", level, SIGSEGV);
        if !lacks(&["g++"]) {
            saved("crash_throw.cc", "plain", level, SIGABRT);
            saved("crash_throw.cc", "destructor", level, SIGABRT);
        }
    }
}

/// At the limit of threads the work goes on, with one warning.
#[test]
fn thread_limit_is_no_failure() {
    for link in Link::ALL {
        let program = build("crash_limits.c", link);
        let env = [("GMP_MAXTHREADS", "8")];
        child(program.command(), "", &env).exited(0).said_once("thread");
    }
}

/// One thread for all goroutines that are not locked, which never rests: the
/// timers of the locked ones lie on Ps that are idle, and are served.
#[test]
fn the_only_thread_serves_the_timers_of_all() {
    let program = build("lockthread.c", Link::Shared);
    for procs in ["1", "2", "4", "2"] {
        let env = [("GMP_MAXTHREADS", "2"), ("GMP_MAXPROCS", procs)];
        child(program.command(), "", &env).exited(0);
    }
}

#[test]
fn failing_start_is_an_error() {
    let late = [("GMP_AUTOSTART", "0")];
    for link in Link::ALL {
        let program = build("crash_start.c", link);
        child(program.command(), "refused_late", &late).exited(0);
    }
}

/// A program that defines the hook itself has it called at load.
#[test]
fn failing_hook_at_link_time_is_an_error() {
    for link in [Link::Shared, Link::Static] {
        let flags = ["-DHOOK_AT_LINK_TIME"];
        let program = build_with("crash_start.c", link, &flags);
        child(program.command(), "refused", &[]).exited(0);
    }
}

#[test]
fn start_waits_for_the_first_call() {
    let late = [("GMP_AUTOSTART", "0")];
    for link in Link::ALL {
        let program = build("crash_start.c", link);
        child(program.command(), "late", &late).exited(0);
        child(program.command(), "by_host", &late).exited(0);
    }
}

/// A value that does not parse is reported once, with its key, and ignored.
#[test]
fn bad_settings_are_reported_once() {
    let settings = [
        ("GMP_MAXPROCS", "abc", "GMP_MAXPROCS"),
        ("GMP_MAXPROCS", "-3", "GMP_MAXPROCS"),
        ("GMP_MAXPROCS", "99999999999999999999", "GMP_MAXPROCS"),
        ("GMP_STACKSIZE", "-1", "GMP_STACKSIZE"),
        ("GMP_STACKSIZE", "many", "GMP_STACKSIZE"),
        ("GMP_TRACEBACK", "perhaps", "GMP_TRACEBACK"),
        ("GMPDEBUG", "nonsense=1", "nonsense"),
        ("GMPDEBUG", "handoff=maybe", "handoff"),
        ("GMPDEBUG", "handoff", "handoff"),
        ("GMPDEBUG", "inittrace=0,strange", "strange"),
    ];
    let program = build("crash_start.c", Link::Shared);
    for (name, value, key) in settings {
        let outcome = child(program.command(), "env", &[(name, value)]);
        outcome.exited(0).said_once(key);
    }
    let good = [("GMP_MAXPROCS", "3"), ("GMPDEBUG", "handoff=0")];
    let outcome = child(program.command(), "env", &good);
    assert_eq!(outcome.exited(0).stderr, "", "good settings are no news");
}

#[test]
fn fork_leaves_parent_and_child_alive() {
    each_link("crash_fork.c", "", |outcome| {
        outcome.exited(0);
    });
}

#[test]
fn the_signal_of_dumps_ends_the_child_of_a_fork() {
    let program = build("crash_fork.c", Link::Shared);
    let env = [("GMPDEBUG", "dumpsignal=QUIT")];
    child(program.command(), "quit", &env).exited(0);
}
