//! The sanitizers and valgrind know goroutines: what is planted is found, and
//! nothing else is told, without a flag.
//!
//! `sanitize/planted.c` has programs with one bug each, and twins without. The
//! short form (part of `make test`) runs these, README's program and some of
//! the C tests. `make sanitize` runs all C tests and examples under each tool;
//! [`LEFT_OUT`] says which do not run under which tool, and why.
//! `SANITIZE=TOOL` runs those of one tool, such as `tsan_clang`, and
//! `SANITIZE_ONLY=NAME` the C test of that name only.

#[expect(dead_code, reason = "other tests use other parts of it")]
mod common;

use common::skip::lacks;
use common::{Outcome, Program, libdir, repository, run, scratch};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long one run may take: longer than the watchdogs under a tool
/// (`c-tests/test.h`). The slowest takes a minute on a machine that has nothing
/// else to do.
const LIMIT: Duration = Duration::from_secs(900);

/// What a program is looked at with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tool {
    /// With LeakSanitizer inside.
    Asan(Compiler),
    Tsan(Compiler),
    /// Alone.
    Lsan(Compiler),
    Valgrind,
}
use Tool::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compiler {
    Gcc,
    Clang,
}
use Compiler::*;

const ALL: [Tool; 7] = [
    Asan(Gcc),
    Asan(Clang),
    Tsan(Gcc),
    Tsan(Clang),
    Lsan(Gcc),
    Lsan(Clang),
    Valgrind,
];

impl Tool {
    /// Whether something of it is missing; then the test is skipped.
    fn lacks(self) -> bool {
        match self {
            Asan(Gcc) => lacks(&["g++", "libasan.so"]),
            Tsan(Gcc) => lacks(&["g++", "libtsan.so"]),
            Lsan(Gcc) => lacks(&["g++", "liblsan.so"]),
            Asan(Clang) | Tsan(Clang) | Lsan(Clang) => {
                // The symbolizer prints names of functions.
                lacks(&[
                    "clang",
                    "clang++",
                    "llvm-symbolizer",
                    "libclang_rt.tsan-x86_64.a",
                ])
            }
            Valgrind => lacks(&["valgrind"]),
        }
    }

    fn compiler(self, cpp: bool) -> Command {
        let clang = matches!(self, Asan(Clang) | Tsan(Clang) | Lsan(Clang));
        let mut compiler = Command::new(match (clang, cpp) {
            (false, false) => "gcc",
            (false, true) => "g++",
            (true, false) => "clang",
            (true, true) => "clang++",
        });
        compiler.arg(match self {
            Asan(_) => "-fsanitize=address",
            Tsan(_) => "-fsanitize=thread",
            Lsan(_) => "-fsanitize=leak",
            Valgrind => "-DVALGRIND",
        });
        compiler.arg(if cpp { "-std=c++17" } else { "-std=gnu11" });
        compiler.args(["-O1", "-g", "-pthread", "-D_GNU_SOURCE"]);
        compiler.arg("-fno-omit-frame-pointer");
        compiler.arg("-I").arg(common::includedir());
        compiler
    }

    /// How the tool runs `program`.
    fn command(self, program: &Path, procs: &str) -> Command {
        let mut command = if self == Valgrind {
            let mut valgrind = Program::at("valgrind".into()).command();
            // By its lock of the usual kind a thread that computes may keep
            // another from running for minutes.
            valgrind.args(["-q", "--error-exitcode=99", "--fair-sched=try"]);
            valgrind.arg(program);
            valgrind
        } else {
            Program::at(program.to_path_buf()).command()
        };
        for options in ["ASAN_OPTIONS", "TSAN_OPTIONS", "LSAN_OPTIONS"] {
            command.env_remove(options);
        }
        command.env("GMP_MAXPROCS", procs);
        command.env(
            "GMPRT_TOOL",
            match self {
                Asan(_) => "asan",
                Tsan(_) => "tsan",
                Lsan(_) => "lsan",
                Valgrind => "valgrind",
            },
        );
        command
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Shared,
    Static,
}
use Link::*;

/// Compiles a program of these sources.
fn build(tool: Tool, link: Link, sources: &[PathBuf]) -> PathBuf {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    let cpp = sources[0].extension().is_some_and(|e| e == "cc");
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let stem = sources[0].file_stem().unwrap_or_default().to_string_lossy();
    let path = scratch().join(format!("{stem}.{serial}"));
    let mut compiler = tool.compiler(cpp);
    compiler.args(sources).arg("-o").arg(&path);
    match link {
        Shared => common::link_shared(&mut compiler),
        Static => {
            compiler.arg(libdir().join("libgmprt.a"));
            compiler.args(["-lpthread", "-ldl"]);
        }
    }
    common::compile(&mut compiler);
    path
}

/// Panics if the tool has told of something.
fn told_nothing(outcome: &Outcome, code: i32) {
    outcome.exited(code);
    for text in
        ["Sanitizer: ", "Warning: client switching stacks", "ASan is ignoring"]
    {
        outcome.kept_quiet_of(text);
    }
    // Valgrind does not know seccomp, by which C tests refuse calls, and
    // pidfd_open, of which one waits for the result.
    let unknown = |line: &&str| {
        line.contains("unhandled amd64-linux syscall")
            && !["317", "434"].iter().any(|call| line.ends_with(call))
    };
    let line = outcome.stderr.lines().find(unknown);
    assert!(line.is_none(), "{line:?}\n{}", outcome.report());
}

fn planted(tool: Tool, link: Link) -> PathBuf {
    build(tool, link, &[repository().join("tests/sanitize/planted.c")])
}

/// The outcome of one of the planted programs.
fn outcome(tool: Tool, program: &Path, which: &str) -> Outcome {
    run(tool.command(program, "2").arg(which), LIMIT)
}

/// A way to link, and a compiler: each combination is used somewhere.
const WAYS: [(Compiler, Link); 4] =
    [(Gcc, Shared), (Gcc, Static), (Clang, Shared), (Clang, Static)];

#[test]
fn a_race_of_two_goroutines_is_found_and_told_with_their_makers() {
    for (compiler, link) in WAYS {
        let tool = Tsan(compiler);
        if tool.lacks() {
            continue;
        }
        let program = planted(tool, link);
        for (which, function) in [("race", "two"), ("race_in_turn", "race_in")]
        {
            let found = outcome(tool, &program, which);
            found.exited(66).said("data race").said("in add");
            // The names of both, and where each was started.
            found.said("'goroutine ").said(function);
        }
        let found = outcome(tool, &program, "race_of_a_read");
        found.exited(66).said("data race").said("fill_buffer");
        for which in ["clean", "stacks"] {
            told_nothing(&outcome(tool, &program, which), 0);
        }
    }
}

#[test]
fn bad_use_of_memory_is_found_in_a_goroutine_and_told_with_its_stack() {
    for (compiler, link) in WAYS {
        let tool = Asan(compiler);
        if tool.lacks() {
            continue;
        }
        let program = planted(tool, link);
        let found = outcome(tool, &program, "use_after_free");
        found.exited(1).said("heap-use-after-free");
        found.said("in touch").said("in victim").said("in gostart");
        let found = outcome(tool, &program, "read_too_much");
        found.exited(1).said("heap-buffer-overflow");
        for which in ["clean", "stacks"] {
            told_nothing(&outcome(tool, &program, which), 0);
        }
        // Frames apart from the stack move with the goroutine.
        let frames = "detect_stack_use_after_return=1";
        let apart = |which| {
            let mut command = tool.command(&program, "2");
            run(command.arg(which).env("ASAN_OPTIONS", frames), LIMIT)
        };
        apart("returned").exited(1).said("stack-use-after-return");
        for which in ["clean", "stacks", "held", "collected"] {
            told_nothing(&apart(which), 0);
        }
    }
}

#[test]
fn a_leak_is_found_and_what_a_parked_goroutine_holds_is_none() {
    for (compiler, link) in WAYS {
        for tool in [Asan(compiler), Lsan(compiler)] {
            if tool.lacks() {
                continue;
            }
            let program = planted(tool, link);
            for which in ["held", "collected"] {
                told_nothing(&outcome(tool, &program, which), 0);
            }
            // What objects of the collected heap point to is held, too.
            for which in ["leak", "collected_leak"] {
                let mut command = tool.command(&program, "2");
                if tool == Lsan(compiler) {
                    // Alone it does not know where the stack of a goroutine
                    // ends, and tells of no leak whose stack it cannot walk.
                    command.env("LSAN_OPTIONS", "fast_unwind_on_malloc=0");
                }
                let found = run(command.arg(which), LIMIT);
                found.said("1234 byte(s) leaked in 1 alloc").said("in lose");
                assert_ne!(found.status.code(), Some(0), "{}", found.report());
            }
        }
    }
}

#[test]
fn valgrind_finds_what_is_planted_and_nothing_else() {
    if Valgrind.lacks() {
        return;
    }
    for link in [Shared, Static] {
        let program = planted(Valgrind, link);
        let found = outcome(Valgrind, &program, "use_after_free");
        found.exited(99).said("Invalid write").said("touch").said("gostart");
        for which in ["clean", "stacks", "held", "collected"] {
            told_nothing(&outcome(Valgrind, &program, which), 0);
        }
        let mut command = Program::at("valgrind".into()).command();
        command.args(["-q", "--leak-check=full", "--error-exitcode=99"]);
        let found = run(command.arg(&program).arg("leak"), LIMIT);
        found.said("1,234 bytes in 1 blocks are definitely lost");
    }
}

/// README's first program.
#[test]
fn readmes_program_is_clean_under_each_tool() {
    let readme = fs::read_to_string(repository().join("README.md"));
    let readme = readme.expect("README.md");
    let text = readme.split("```c\n").nth(1).expect("a program");
    let text = text.split("```").next().expect("the program's end");
    let source = scratch().join("readme.c");
    fs::write(&source, text).expect("write the program");
    for tool in ALL {
        if !tool.lacks() {
            let program = build(tool, Shared, std::slice::from_ref(&source));
            told_nothing(&run(&mut tool.command(&program, "2"), LIMIT), 0);
        }
    }
}

// --- C tests and examples ----------------------------------------------------

/// Files of `c-tests` that are no test by themselves, or not without arguments.
const NO_TESTS: [&str; 17] = [
    "crash_",
    "descriptors",
    "double_include_",
    "dump",
    "faults",
    "faults_inject",
    "gnu_mp",
    "header",
    "heap_begins",
    "heap_calm",
    "heap_idle",
    "host",
    "idle_threads",
    "libraries",
    "other_collector",
    "trace_known",
    "watched",
];

/// C tests that do not run under some tools, and why.
type LeftOut = (&'static [&'static str], fn(Tool) -> bool, &'static str);

/// Which C tests do not run under which tools.
const LEFT_OUT: [LeftOut; 14] = [
    (
        &[
            "handoff",
            "heap_gives_way",
            "heap_timeouts",
            "idle",
            "idle_timers",
            "many",
            "stacks",
            "io_many",
        ],
        |_| true,
        "measures memory, time or wake-ups of the process, and so the tool's",
    ),
    (
        &["hostthreads", "timer_lateness", "page_faults"],
        |_| true,
        "measures memory or time of the process, and so the tool's",
    ),
    (
        &["enomem", "heap_refused", "starved"],
        |_| true,
        "takes memory away, from the tool too",
    ),
    (
        &["cancel_thread"],
        |tool| matches!(tool, Asan(_)),
        "AddressSanitizer trips over frames that pthread_cancel has left",
    ),
    (
        &["fork_child", "fork_storm", "steps_fork"],
        |tool| matches!(tool, Tsan(_)),
        "ThreadSanitizer's own state breaks in a child that has threads, and \
         its allocator may be locked there for ever",
    ),
    (
        &["fork_child", "fork_storm", "fork_shutdown", "trace"],
        |tool| matches!(tool, Asan(_) | Lsan(_)),
        "in the child, what threads and goroutines of the parent had is leaked",
    ),
    (
        &["left"],
        |tool| tool == Lsan(Clang),
        "a jump is seen once another frame lies where it has left one, and here \
         none does",
    ),
    (
        &["stress_cancel"],
        |tool| tool == Lsan(Gcc),
        "gcc 12's tool looks up a thread in its list of them while that grows \
         beyond 512, and moves",
    ),
    (
        &["nothread"],
        |tool| tool == Valgrind,
        "executes itself for each case, which valgrind does not follow",
    ),
    (
        &["heap_switched"],
        |tool| matches!(tool, Asan(_) | Tsan(_) | Valgrind),
        "the tool does not follow stacks that a program switches to by itself",
    ),
    (
        &["shutdown_attach"],
        |tool| matches!(tool, Tsan(_)),
        "the tool calls what the test takes the place of, on threads that are \
         not up",
    ),
    (
        &["heap_signal"],
        |tool| tool == Valgrind,
        "the tool makes a thread's calls, so a collection does not see that it \
         waits in one, and interrupts it",
    ),
    (
        &["leaks"],
        |tool| matches!(tool, Asan(_) | Tsan(_)),
        "looks for leaks in all memory, of which the tool maps terabytes",
    ),
    (
        &["control_words"],
        |tool| tool == Valgrind,
        "valgrind does not keep all of MXCSR",
    ),
];

/// C tests whose children use the library. ThreadSanitizer ends such a child at
/// its first new thread, unless it is told not to; it finds no race there.
const FORK: [&str; 10] = [
    "fork_inside",
    "fork_objects",
    "fork_shutdown",
    "fork_storm",
    "forkers",
    "heap",
    "heap_end",
    "heap_stacks",
    "shutdown",
    "trace",
];

fn fits(subject: &str, tool: Tool) -> bool {
    let none = NO_TESTS.iter().any(|name| match name.strip_suffix('_') {
        Some(_) => subject.starts_with(name),
        None => subject == *name,
    });
    let left =
        |(which, tools, _): &LeftOut| which.contains(&subject) && tools(tool);
    !none && !LEFT_OUT.iter().any(left)
}

/// The sources of the C tests that run by themselves.
fn subjects() -> Vec<PathBuf> {
    let mut all: Vec<_> = fs::read_dir(repository().join("c-tests"))
        .expect("c-tests")
        .map(|entry| entry.expect("an entry of c-tests").path())
        .filter(|path| path.extension().is_some_and(|e| e == "c" || e == "cc"))
        .collect();
    all.sort();
    all
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn check(subject: &Path, tool: Tool, procs: &str) -> Result<(), String> {
    let program = build(tool, Shared, &[subject.to_path_buf()]);
    let code = if stem(subject) == "exit_anytime" { 7 } else { 0 };
    let mut command = tool.command(&program, procs);
    if matches!(tool, Tsan(_)) && FORK.contains(&stem(subject).as_str()) {
        command.env("TSAN_OPTIONS", "die_after_fork=0");
    }
    let outcome = run(&mut command, LIMIT);
    let _ = fs::remove_file(&program);
    let told = std::panic::catch_unwind(|| told_nothing(&outcome, code));
    told.map_err(|_| format!("{} {tool:?}", subject.display()))
}

/// A few for each tool, in `make test`.
#[test]
fn c_tests_are_clean() {
    const SHORT: [&str; 4] = ["chan", "waitgroup", "park", "locals"];
    let mut failures = Vec::new();
    for tool in [Asan(Gcc), Tsan(Gcc), Tsan(Clang), Valgrind] {
        if tool.lacks() {
            continue;
        }
        for name in SHORT {
            let source = repository().join(format!("c-tests/{name}.c"));
            failures.extend(check(&source, tool, "2").err());
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// All of them under one tool.
fn all_c_tests(tool: Tool) {
    if tool.lacks() {
        return;
    }
    let only = std::env::var("SANITIZE_ONLY").ok();
    let mut failures = Vec::new();
    for source in subjects() {
        let name = stem(&source);
        if !fits(&name, tool) || only.as_ref().is_some_and(|n| *n != name) {
            continue;
        }
        println!("{tool:?} {name}");
        failures.extend(check(&source, tool, "2").err());
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The examples that end by themselves, with arguments; the server is run by
/// `fetch`.
const EXAMPLES: [(&str, &[&str]); 10] = [
    ("hello.c", &[]),
    ("life.c", &["20"]),
    ("sieve.c", &["100"]),
    ("pool.c", &[]),
    ("ratelimit.c", &[]),
    ("pipeline.c", &["1", "-2", "43"]),
    ("semaphore.c", &[]),
    ("wordfreq.c", &["examples-c"]),
    ("collect.c", &["-n", "3", "README.md", "HACKING.md"]),
    ("host.cc", &[]),
];

/// All of them under one tool.
fn all_examples(tool: Tool) {
    if tool.lacks() {
        return;
    }
    let examples = repository().join("examples-c");
    for (name, args) in EXAMPLES {
        println!("{tool:?} {name}");
        let program = build(tool, Shared, &[examples.join(name)]);
        let mut command = tool.command(&program, "2");
        command.args(args).current_dir(repository());
        told_nothing(&run(&mut command, LIMIT), 0);
    }
    if tool == Valgrind {
        return;
    }
    println!("{tool:?} fetch and httpd");
    let httpd: Vec<PathBuf> = fs::read_dir(&examples)
        .expect("examples-c")
        .map(|entry| entry.expect("an entry of examples-c").path())
        .filter(|path| stem(path).starts_with("httpd"))
        .filter(|path| path.extension().is_some_and(|e| e == "c"))
        .collect();
    let server = build(tool, Shared, &httpd);
    let fetch = build(tool, Shared, &[examples.join("fetch.c")]);
    let mut command = tool.command(&fetch, "2");
    command.arg(&server).arg(&examples);
    told_nothing(&run(&mut command, LIMIT), 0);
}

/// A test for each tool, so that one can be asked for by its name.
macro_rules! under {
    ($($tool:ident: $which:expr,)*) => {
        mod all_c_tests_are_clean {
            use super::*;
            $(#[test]
            #[ignore = "make sanitize"]
            fn $tool() {
                all_c_tests($which);
            })*
        }

        mod all_examples_are_clean {
            use super::*;
            $(#[test]
            #[ignore = "make sanitize"]
            fn $tool() {
                all_examples($which);
            })*
        }
    };
}

under! {
    asan_gcc: Asan(Gcc),
    asan_clang: Asan(Clang),
    tsan_gcc: Tsan(Gcc),
    tsan_clang: Tsan(Clang),
    lsan_gcc: Lsan(Gcc),
    lsan_clang: Lsan(Clang),
    valgrind: Valgrind,
}
