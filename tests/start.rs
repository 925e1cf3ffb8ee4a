//! The start as a host sees it: who is there after it, what it says about
//! itself, what a host can do about it, and what happens to calls that come
//! too early or to faults that are not ours.
//!
//! The programs are in `c-tests/start`. What goes wrong at the start is in
//! `crash.rs`, what a debugger sees of it in `gdb.rs`.

#[expect(dead_code, reason = "other tests use other parts of it")]
mod common;
#[path = "common/start.rs"]
mod common_start;

use common::skip::lacks;
use common::{Link, Outcome, run};
use common_start::{Shows, build, build_entry, shown, source};
use libc::{SIGABRT, SIGSEGV};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);

/// Those that a program of the exe path does not go through.
const LIB_STAGES: [&str; 2] = ["newosproc0", "_rt0_amd64_lib_go"];

/// Runs the program with no arguments, in each way of linking it.
fn each_link(name: &str, links: &[Link], judge: impl Fn(&mut Command)) {
    for link in links {
        judge(&mut build(name, *link).command());
    }
}

/// The lines of `inittrace`: the stage, its nanoseconds, when it began.
fn stages(outcome: &Outcome) -> Vec<(String, i64, i64)> {
    let line = |line: &str| {
        let rest = line.strip_prefix("init ")?;
        let (rest, start) = rest.strip_suffix(" ns")?.split_once(" ns @")?;
        let (name, span) = rest.rsplit_once(' ')?;
        Some((name.to_owned(), span.parse().ok()?, start.parse().ok()?))
    };
    outcome.stderr.lines().filter_map(line).collect()
}

#[test]
fn inittrace_lists_the_stages_in_their_order() {
    let program = build("loaded.c", Link::Shared);
    let outcome = run(program.command().env("GMPDEBUG", "inittrace=1"), LIMIT);
    let seen = stages(outcome.exited(0));
    let known = |name: &String| shown(Shows::Line).contains(&name.as_str());
    let names: Vec<_> =
        seen.iter().map(|s| &s.0).filter(|n| known(n)).collect();
    assert_eq!(names, shown(Shows::Line), "{}", outcome.report());
    // One begins where the other ends, and they add up.
    for pair in seen.windows(2) {
        assert_eq!(pair[0].1 + pair[0].2, pair[1].2, "{pair:?}");
    }
    let total: i64 = seen.iter().map(|s| s.1).sum();
    outcome.said(&format!("init total {total} ns"));
    assert!(total > 0);
}

#[test]
fn inittrace_is_silent_unless_asked() {
    let outcome = run(&mut build("loaded.c", Link::Shared).command(), LIMIT);
    assert_eq!(outcome.exited(0).stderr, "");
}

#[test]
fn a_loaded_library_has_two_threads() {
    each_link("loaded.c", &Link::ALL, |command| {
        run(command, LIMIT).exited(0);
    });
}

#[test]
fn a_call_before_the_constructor_starts_the_runtime() {
    each_link("early.c", &[Link::Shared, Link::Static], |command| {
        run(command, LIMIT).exited(0);
        // The call asks for the start, whatever the constructor is told.
        run(command.env("GMP_AUTOSTART", "0"), LIMIT).exited(0);
    });
}

#[test]
fn a_host_may_fork_before_its_first_call() {
    each_link("fork_first.c", &Link::ALL, |command| {
        run(command.env("GMP_AUTOSTART", "0"), LIMIT).exited(0);
    });
}

#[test]
fn too_few_threads_are_an_error_of_every_call() {
    for more in ["0", "1"] {
        let mut command = build("no_threads.c", Link::Shared).command();
        command.env("GMP_AUTOSTART", "0").arg(more);
        run(&mut command, LIMIT).exited(0);
    }
}

#[test]
fn too_little_memory_is_an_error_of_every_call() {
    for link in [Link::Shared, Link::Static] {
        for procs in ["1", "16"] {
            let mut command = build("no_memory.c", link).command();
            command.env("GMP_AUTOSTART", "0").env("GMP_MAXPROCS", procs);
            run(&mut command, LIMIT).exited(0);
        }
    }
}

#[test]
fn each_hook_works_alone() {
    for name in ["hook_init.c", "hook_threads.c", "hook_done.c"] {
        each_link(name, &[Link::Shared, Link::Static], |command| {
            run(command, LIMIT).exited(0);
        });
    }
}

#[test]
fn a_program_entered_at_rt0_has_its_main_on_a_goroutine() {
    for link in [Link::Shared, Link::Static] {
        let mut command = build_entry(link).command();
        let outcome = run(command.args(["all", "last"]), LIMIT);
        let want = "before main: EAGAIN\ngoroutine 1\nthread main\n\
                    arguments 3 last\nenvironment same\ndeep 64\n\
                    goroutine ran\nat exit\n";
        assert_eq!(outcome.exited(7).stdout, want, "{link:?}");
    }
}

#[test]
fn the_exe_path_has_its_own_stages() {
    for link in [Link::Shared, Link::Static] {
        let mut command = build_entry(link).command();
        command.arg("all").env("GMPDEBUG", "inittrace=1");
        let seen = stages(run(&mut command, LIMIT).exited(7));
        let has = |stage: &&str| seen.iter().any(|s| s.0 == **stage);
        let missing: Vec<_> =
            shown(Shows::Line).into_iter().filter(|s| !has(s)).collect();
        assert_eq!(missing, LIB_STAGES);
    }
}

#[test]
fn a_deadlock_of_a_program_entered_at_rt0_is_fatal() {
    let mut command = build_entry(Link::Shared).command();
    run(command.arg("deadlock"), LIMIT)
        .died_by(SIGABRT)
        .said("fatal error: all goroutines are asleep - deadlock!");
}

/// What was the host's before the library came stays the host's.
#[test]
fn faults_go_on_to_the_action_that_was_there() {
    let program = common::build_alone(&source("chain.c"));
    let child = |case: &str| {
        let mut command = program.command();
        run(command.arg(common::shared_library()).arg(case), LIMIT)
    };
    for case in ["mask", "nodefer", "ignored signal"] {
        child(case).exited(0);
    }
    for case in ["ignored fault", "default fault", "default signal"] {
        child(case).died_by(SIGSEGV);
    }
    let outcome = child("once");
    outcome.died_by(SIGSEGV);
    assert_eq!(outcome.stdout, "handled once\n");
}

#[test]
fn the_list_of_goroutines_is_as_long_as_asked_for() {
    // The level, how many lines for those that wait, for our own.
    let levels =
        [("none", 0, 0), ("single", 0, 0), ("all", 3, 0), ("system", 3, 2)];
    let program = build("listing.c", Link::Shared);
    for (level, waiters, own) in levels {
        let outcome = run(program.command().env("GMP_TRACEBACK", level), LIMIT);
        outcome
            .died_by(SIGABRT)
            .said("fatal error: stack overflow\ngoroutine ")
            .said_once("[running] \"faller\": stack of ");
        let lines = |part: &str| {
            outcome.stderr.lines().filter(|l| l.contains(part)).count()
        };
        assert_eq!(lines("[for?nothing] \"waiter\""), waiters, "{level}");
        assert_eq!(lines("\"bgs"), own, "{level}");
    }
}

/// A thread that runs goroutines cannot be ended by one of them.
#[test]
fn pthread_exit_on_a_goroutine_is_fatal() {
    let program = build("thread_exit.c", Link::Shared);
    for case in ["exit", "cancel"] {
        run(program.command().arg(case), LIMIT)
            .died_by(SIGABRT)
            .said_once("fatal error: goroutine ")
            .said(" \"leaver\": pthread_exit on a goroutine\n");
    }
}

/// The list follows the message about an exception too, and the language's own
/// way to end the process follows the list.
#[test]
fn an_uncaught_exception_is_told_before_the_language_ends_the_process() {
    if lacks(&["g++"]) {
        return;
    }
    let program = build("throw.cc", Link::Shared);
    let run_with =
        |level| run(program.command().env("GMP_TRACEBACK", level), LIMIT);
    let message = "\"thrower\": uncaught exception of type std::out_of_range\n";
    let outcome = run_with("none");
    outcome.exited(3).said(&format!("{message}the handler ran\n"));
    let outcome = run_with("single");
    outcome.exited(3).said(message).said_once("    fail at ");
    assert!(outcome.stderr.ends_with("the handler ran\n"));
    let outcome = run_with("all");
    outcome.exited(3).said_once("[for ever] \"waiter\"");
    assert!(outcome.stderr.ends_with("the handler ran\n"));
}

/// A program with more rights than its caller goes by none of the caller's
/// settings, and says nothing of them.
#[test]
fn a_program_with_more_rights_reads_no_settings() {
    for link in [Link::Shared, Link::Static] {
        let program = build("secure.c", link);
        for secure in ["0", "1"] {
            let mut command = program.command();
            command.arg(secure).envs([
                ("GMP_MAXPROCS", "7"),
                ("GOMAXPROCS", "7"),
                ("GMP_STACKSIZE", "16K"),
                ("GMP_MAXTHREADS", "2"),
                ("GMP_AUTOSTART", "0"),
                ("GMP_NONSENSE", "1"),
                ("GMPDEBUG", "inittrace=1,help"),
            ]);
            let outcome = run(&mut command, LIMIT);
            let want = format!("secure {secure}\n");
            assert_eq!(outcome.exited(0).stdout, want, "{}", outcome.report());
            // The parent makes no call, so it never starts.
            let told = usize::from(secure == "0");
            let lines = |part: &str| {
                outcome.stderr.lines().filter(|l| l.contains(part)).count()
            };
            assert_eq!(lines("init total"), told, "{}", outcome.report());
            assert_eq!(lines("GMP_NONSENSE"), told, "{}", outcome.report());
        }
    }
}

/// Runs `settings.c` with one setting.
fn with_setting(name: &str, value: &str) -> Outcome {
    let program = build("settings.c", Link::Shared);
    run(program.command().env(name, value), LIMIT)
}

#[test]
fn autostart_understands_yes_and_no() {
    let started = |value: &str| {
        let outcome = with_setting("GMP_AUTOSTART", value);
        let at_load = outcome.exited(0).stdout.contains("started at load\n");
        (at_load, outcome)
    };
    for value in ["0", "no", "false", "off", "NO"] {
        let (at_load, outcome) = started(value);
        assert!(!at_load && outcome.stderr.is_empty(), "{}", outcome.report());
    }
    for value in ["1", "yes", "true", "on", "On"] {
        let (at_load, outcome) = started(value);
        assert!(at_load && outcome.stderr.is_empty(), "{}", outcome.report());
    }
    let (at_load, outcome) = started("perhaps");
    assert!(at_load);
    let want = "gmprt: GMP_AUTOSTART: ignoring \"perhaps\": want yes or no\n";
    assert_eq!(outcome.stderr, want);
}

#[test]
fn a_value_that_does_not_parse_is_told_once_and_ignored() {
    const CAUGHT: &str =
        "\": want a signal that can be caught and that users send, such as ";
    let cases = [
        ("GMP_MAXPROCS", "0", "GMP_MAXPROCS: ignoring \"0\": want a number"),
        ("GMP_MAXPROCS", "+2", "GMP_MAXPROCS: ignoring \"+2\""),
        ("GOMAXPROCS", "many", "GOMAXPROCS: ignoring \"many\""),
        ("GMP_MAXTHREADS", "1", "GMP_MAXTHREADS: ignoring \"1\""),
        ("GMP_STACKSIZE", "2G", "GMP_STACKSIZE: ignoring \"2G\": want 16K"),
        ("GMP_STACKSIZE", "17179869184G", "ignoring \"17179869184G\""),
        ("GMP_STACKSIZE", "1", "GMP_STACKSIZE: ignoring \"1\""),
        ("GMP_TRACEBACK", "ALL", "GMP_TRACEBACK: ignoring \"ALL\""),
        // A signal, but none of those.
        ("GMP_GC_SIGNAL", "KILL", CAUGHT),
        ("GMP_GC_SIGNAL", "SEGV", CAUGHT),
        ("GMPDEBUG", "dumpsignal=KILL", CAUGHT),
        ("GMP_GC_SIGNAL", "-1", "GMP_GC_SIGNAL: ignoring \"-1\""),
        ("GMPDEBUG", "guard=no", "GMPDEBUG: ignoring \"guard=no\""),
        ("GMPDEBUG", "handoff", "GMPDEBUG: ignoring \"handoff\": want 0 or 1"),
        ("GMPDEBUG", "hand0ff=1", "hand0ff: ignoring it: no such key of"),
        ("GMPDEBUG", "hand0ff=1", "; the nearest is handoff"),
        (
            "GMP_STACK_SIZE",
            "1M",
            "GMP_STACK_SIZE: ignoring it: no such setting",
        ),
        ("GMP_STACK_SIZE", "1M", "; the nearest is GMP_STACKSIZE"),
        ("GMP_DEBUG", "", "; the nearest is GMPDEBUG"),
    ];
    for (name, value, words) in cases {
        let outcome = with_setting(name, value);
        outcome.exited(0).said_once(words);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.report());
    }
    // What is not text, and names that are somebody else's.
    use std::os::unix::ffi::OsStrExt;
    let mut command = build("settings.c", Link::Shared).command();
    command.env("GMP_MAXPROCS", std::ffi::OsStr::from_bytes(b"\xff2"));
    command.envs([("GMPRT_X", "1"), ("GMPX", "1"), ("XGMP_Y", "1")]);
    let outcome = run(&mut command, LIMIT);
    outcome.exited(0).said_once("GMP_MAXPROCS: ignoring \"?\": want text");
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.report());
}

#[test]
fn sizes_of_stacks_have_units() {
    let sizes = [
        ("64K", 64 << 10),
        ("64KiB", 64 << 10),
        ("2mb", 2 << 20),
        ("131072", 128 << 10),
        ("1G", 1 << 30),
        ("1GiB", 1_u64 << 30),
    ];
    let program = build("settings.c", Link::Shared);
    for (value, bytes) in sizes {
        let mut command = program.command();
        command.env("GMP_STACKSIZE", value);
        command.args(["stack", &bytes.to_string()]);
        let outcome = run(&mut command, LIMIT);
        assert_eq!(outcome.exited(0).stderr, "", "{}", outcome.report());
    }
}

#[test]
fn the_help_names_each_setting_once() {
    let outcome = with_setting("GMPDEBUG", "help");
    outcome.exited(0);
    for name in ["GMP_AUTOSTART=", "GMP_STACKSIZE=", "GMPDEBUG=", "GOMAXPROCS="]
    {
        outcome.said_once(&format!("gmprt: {name}"));
    }
    for key in ["help", "inittrace", "schedtrace", "handoff", "guard"] {
        outcome.said_once(&format!("gmprt:   {key}="));
    }
}

/// Deadlines are made by the clock that they are slept for by, whatever the
/// program or a library puts in the place of libc's.
#[test]
fn other_clocks_in_libcs_place_change_no_deadline() {
    for link in [Link::Shared, Link::Static] {
        let program = build("clock.c", link);
        for clock in ["still", "fast", "ahead"] {
            run(program.command().arg(clock), LIMIT).exited(0);
        }
    }
}

/// The same with the library that is made for it.
#[test]
fn under_libfaketime_a_sleep_is_as_long_as_without() {
    const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1";
    if lacks(&["faketime"]) {
        return;
    }
    let source = source("clock.c");
    let program = common::build_with(&source, Link::Shared, &["-DALIEN"]);
    for time in ["+1000d", "-10d", "+0 x10", "+0 x0.1"] {
        let mut command = program.command();
        command.envs([("LD_PRELOAD", LIBRARY), ("FAKETIME", time)]);
        run(command.arg("alien"), LIMIT).exited(0);
    }
}

#[test]
fn random_choices_differ_from_process_to_process() {
    each_link("random.c", &Link::ALL, |command| {
        let mut choices = || run(command, LIMIT).exited(0).stdout.clone();
        assert_ne!(choices(), choices());
    });
}

/// The scheduler's lines come when the runtime starts and at the multiples of
/// the period from there, also while the process is idle, and have the numbers
/// of `gmp_get_stats`.
#[test]
fn schedtrace_counts_from_the_start() {
    const PERIOD: u64 = 25;
    let mut command = build("schedtrace.c", Link::Shared).command();
    command.env("GMPDEBUG", format!("schedtrace={PERIOD}"));
    let outcome = run(&mut command, LIMIT);
    let numbers = outcome.exited(0).stdout.trim();
    let lines: Vec<(u64, &str)> = outcome
        .stderr
        .lines()
        .filter_map(|l| l.strip_prefix("SCHED ")?.split_once("ms: "))
        .map(|(ms, numbers)| (ms.parse().expect("no number"), numbers))
        .collect();
    // A machine that is too slow for a line leaves it out, and none is early.
    let turns: Vec<u64> = lines.iter().map(|(ms, _)| ms / PERIOD).collect();
    assert!(turns.is_sorted_by(|a, b| a < b), "{}", outcome.report());
    assert!(turns.len() >= 3, "{}", outcome.report());
    let (_, last) = lines.last().expect("a line");
    assert_eq!(*last, numbers, "{}", outcome.report());
}

/// At exit there is a line for each function that goroutines began with, and
/// no goroutine answers for the pages that another one has left on its stack.
#[test]
fn stackadvice_measures_each_function() {
    for link in [Link::Shared, Link::Static] {
        let program = build("stackadvice.c", link);
        let silent = run(&mut program.command(), LIMIT);
        assert_eq!(silent.exited(0).stderr, "");
        let mut command = program.command();
        command.env("GMPDEBUG", "stackadvice=1");
        let outcome = run(&mut command, LIMIT);
        let lines = outcome.exited(0).stderr.lines();
        let mut lines: Vec<_> =
            lines.filter_map(|l| l.strip_prefix("STACK ")).collect();
        lines.sort_unstable();
        let number = |line: &str, key: &str| -> u64 {
            let mut words = line.split_whitespace();
            let value = words.find_map(|w| w.strip_prefix(key)).expect(line);
            value.strip_prefix('=').expect(line).parse().expect(line)
        };
        let expected = [
            // Not much more than its frames, and the library's.
            ("little: ", 1..=8 << 10, 50, 0, 65_536),
            ("much: ", 100 << 10..=112 << 10, 50, 0, 196_608),
            ("some: ", 20 << 10..=32 << 10, 0, 20, 65_536),
        ];
        assert_eq!(lines.len(), expected.len(), "{}", outcome.report());
        for (line, (name, used, ended, living, size)) in
            lines.iter().zip(expected)
        {
            assert!(line.starts_with(name), "{line}");
            assert!(used.contains(&number(line, "used")), "{line}");
            assert_eq!(number(line, "ended"), ended, "{line}");
            assert_eq!(number(line, "living"), living, "{line}");
            assert_eq!(number(line, "size"), 196_608, "{line}");
            assert_eq!(number(line, "stack_size"), size, "{line}");
        }
    }
}
