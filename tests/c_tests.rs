//! The C and C++ tests: each subject of `c-tests` is linked with the shared
//! library, with the static library, and made a plugin for `dlopen`. The first
//! runs with 1, 2, 4 and 16 processors and on one CPU, the others with 2 and 16
//! processors; with `GMPRT_WHOLE` set, all of them run everywhere.
//!
//! `GMPRT_STRESS=SECONDS` with `--ignored stress` runs everything at once for
//! that long, and a million goroutines.

#[path = "c_tests/collected.rs"]
mod collected;
#[expect(dead_code, reason = "the crash tests use other parts of it")]
mod common;

use common::skip::lacks;
use common::{Link, Outcome, Program, build, run};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long one run may take; the slowest takes a fifth of it.
const LIMIT: Duration = Duration::from_secs(100);

/// In which configurations a subject runs.
struct Plan {
    links: &'static [Link],
    /// Values of `GMP_MAXPROCS`; the empty one leaves it unset.
    procs: &'static [&'static str],
    /// Whether it runs on one CPU as well.
    one_cpu: bool,
    /// The values of `procs` for all links but the first.
    other_procs: &'static [&'static str],
    /// How often each configuration runs, and the exit code it has to have.
    runs: u32,
    code: i32,
}

const MATRIX: Plan = Plan {
    links: &Link::ALL,
    procs: &["1", "2", "4", "16"],
    one_cpu: true,
    other_procs: &["2", "16"],
    runs: 1,
    code: 0,
};

/// For what takes long: fewer processors to try.
const LONG: Plan = Plan { procs: &["2", "16"], ..MATRIX };

/// For what has more to do with the system than with the link.
const SHARED: Plan = Plan { links: &[Link::Shared], ..MATRIX };

/// The same for what takes long.
const SHARED_LONG: Plan = Plan { procs: &["1", "4"], one_cpu: false, ..SHARED };

/// For programs that take the place of functions of the C library.
const PROGRAM: Plan = Plan { links: &[Link::Shared, Link::Static], ..MATRIX };

/// For what tries each refusal of each call.
const REFUSED: Plan =
    Plan { procs: &["2"], other_procs: &["2"], one_cpu: false, ..PROGRAM };

/// For what does not depend on the processors.
const EACH_LINK: Plan =
    Plan { procs: &[""], other_procs: &[""], one_cpu: false, ..MATRIX };

/// For programs that define variables of the library themselves.
const LINKED: Plan = Plan { links: &[Link::Shared, Link::Static], ..EACH_LINK };

const ONCE: Plan = Plan { links: &[Link::Shared], ..EACH_LINK };

/// A thousand runs all in all, each with a seed of its own.
const THOUSAND: Plan = Plan { runs: 112, code: 7, ..MATRIX };

/// Makes a test of each subject, and the list of them.
macro_rules! subjects {
    ($($name:ident: $plan:expr,)*) => {
        $(#[test]
        fn $name() {
            check(&source(stringify!($name)), &$plan);
        })*

        const SUBJECTS: &[&str] = &[$(stringify!($name)),*];
    };
}

subjects! {
    heap: MATRIX,
    heap_bounds: SHARED_LONG,
    heap_child: EACH_LINK,
    heap_daemon: EACH_LINK,
    heap_data: EACH_LINK,
    heap_end: MATRIX,
    heap_gives_way: SHARED,
    heap_host: EACH_LINK,
    heap_limits: SHARED,
    heap_mask: SHARED,
    heap_refused: REFUSED,
    heap_shadow: MATRIX,
    heap_shutdown: SHARED,
    late_calls: SHARED,
    heap_signal: MATRIX,
    heap_sizes: EACH_LINK,
    heap_stale: MATRIX,
    heap_stacks: MATRIX,
    heap_storm: LONG,
    heap_switched: MATRIX,
    heap_timeouts: ONCE,
    leaks: MATRIX,
    init: MATRIX,
    shutdown: MATRIX,
    shutdown_attach: PROGRAM,
    shutdown_storm: MATRIX,
    hooks: LINKED,
    go: MATRIX,
    join: MATRIX,
    identity: MATRIX,
    layout: MATRIX,
    yield_order: MATRIX,
    yield_turns: MATRIX,
    park: MATRIX,
    park_until: MATRIX,
    chan: MATRIX,
    chan_null: MATRIX,
    chan_until: MATRIX,
    chan_with: MATRIX,
    select: MATRIX,
    steps: MATRIX,
    steps_fork: MATRIX,
    select_wait: MATRIX,
    select_many: MATRIX,
    mutex: MATRIX,
    mutex_until: MATRIX,
    rwmutex: MATRIX,
    cond: MATRIX,
    sema: MATRIX,
    barrier: MATRIX,
    names: MATRIX,
    once: MATRIX,
    left: MATRIX,
    waitgroup: MATRIX,
    waitgroup_until: MATRIX,
    cancel: MATRIX,
    cancel_race: MATRIX,
    cancel_storm: MATRIX,
    group: MATRIX,
    defer: MATRIX,
    panic: MATRIX,
    panic_unwind: MATRIX,
    panic_around: MATRIX,
    locals: MATRIX,
    sleep: MATRIX,
    timers: MATRIX,
    timers_reset: MATRIX,
    tick: MATRIX,
    timer_lateness: ONCE,
    io: MATRIX,
    io_net: MATRIX,
    io_until: MATRIX,
    io_close: MATRIX,
    io_drained: MATRIX,
    io_speculation: MATRIX,
    io_many: SHARED,
    wait_fd: MATRIX,
    waitpid: MATRIX,
    ports: ONCE,
    past: MATRIX,
    net: MATRIX,
    dial: PROGRAM,
    misuse: MATRIX,
    misuse_handles: MATRIX,
    nothread: PROGRAM,
    handoff: LONG,
    page_faults: MATRIX,
    blocking: LONG,
    lockthread: MATRIX,
    locked_ends: MATRIX,
    errno: MATRIX,
    control_words: MATRIX,
    sigmask: MATRIX,
    sigterm: MATRIX,
    cancel_thread: MATRIX,
    fork_child: LONG,
    fork_storm: MATRIX,
    fork_inside: MATRIX,
    fork_objects: MATRIX,
    fork_shutdown: MATRIX,
    forkers: MATRIX,
    stats: MATRIX,
    stacks: LONG,
    starved: LONG,
    enomem: REFUSED,
    hostthreads: MATRIX,
    exit_anytime: THOUSAND,
    badargs: MATRIX,
    idle: ONCE,
    idle_timers: ONCE,
    runmain: MATRIX,
    many: MATRIX,
    stress: LONG,
    stress_cancel: LONG,
    trace: MATRIX,
    cxx: MATRIX,
}

/// What else lies in `c-tests`; `crash.rs` has the `crash_` files, and other
/// tests the programs that they look into.
const OTHERS: [&str; 17] = [
    "descriptors.c",
    "double_include_a.c",
    "double_include_b.c",
    "dump.c",
    "faults.c",
    "faults_inject.c",
    "gnu_mp.c",
    "heap_begins.c",
    "heap_calm.c",
    "heap_idle.c",
    "header.cc",
    "host.c",
    "idle_threads.c",
    "libraries.c",
    "other_collector.c",
    "trace_known.c",
    "watched.c",
];

/// The source file of a subject, in C or C++.
fn source(subject: &str) -> String {
    let c = format!("{subject}.c");
    if common::source_path(&c).exists() { c } else { format!("{subject}.cc") }
}

/// Builds a subject and runs it in every configuration of its plan.
fn check(source: &str, plan: &Plan) {
    if source.ends_with(".cc") && lacks(&["g++"]) {
        return;
    }
    let mut failures = Vec::new();
    let mut total = 0;
    for (i, &link) in plan.links.iter().enumerate() {
        let program = build(source, link);
        for procs in configurations(plan, i == 0) {
            for _ in 0..plan.runs {
                total += 1;
                let mut command = configured(&program, procs);
                let outcome = run(command.arg(total.to_string()), LIMIT);
                note(&outcome, plan.code, &mut failures);
            }
        }
    }
    all_good(&failures, total);
}

/// Panics with what has failed, and with the first few reports.
fn all_good(failures: &[String], total: u32) {
    let failed = failures.len();
    let names = failures.iter().filter_map(|report| report.lines().next());
    let names = names.collect::<Vec<_>>().join("\n");
    let shown = failures[..failed.min(3)].join("\n\n");
    assert!(
        failed == 0,
        "{failed} of {total} runs failed:\n{names}\n\n{shown}"
    );
}

/// What a program runs with: values of `GMP_MAXPROCS`; None for one CPU.
fn configurations(
    plan: &Plan,
    first_link: bool,
) -> impl Iterator<Item = Option<&'static str>> {
    let all = first_link || env::var_os("GMPRT_WHOLE").is_some();
    let procs = if all { plan.procs } else { plan.other_procs };
    let one_cpu = (all && plan.one_cpu).then_some(None);
    procs.iter().map(|&procs| Some(procs)).chain(one_cpu)
}

/// The command of one configuration.
fn configured(program: &Program, procs: Option<&str>) -> Command {
    let Some(procs) = procs else {
        return program.command_on_one_cpu();
    };
    let mut command = program.command();
    if !procs.is_empty() {
        command.env("GMP_MAXPROCS", procs);
    }
    command
}

/// Keeps the report of a run that failed, and shows what a good one printed.
fn note(outcome: &Outcome, code: i32, failures: &mut Vec<String>) {
    if outcome.stuck.is_some() || outcome.status.code() != Some(code) {
        failures.push(outcome.report());
    } else if !outcome.stdout.is_empty() {
        println!("{}\n{}", outcome.command, outcome.stdout);
    }
}

#[test]
fn every_file_is_somebodys() {
    let dir = common::source_path("");
    for entry in fs::read_dir(&dir).expect("no c-tests") {
        let path = entry.expect("c-tests cannot be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or("");
        let known = SUBJECTS.contains(&stem)
            || OTHERS.contains(&&*name)
            || stem.starts_with("crash_")
            || path.extension() == Some(OsStr::new("h"))
            || path.is_dir(); // tests/start.rs and its like
        assert!(known, "no test runs c-tests/{name}");
    }
}

/// What `include/gmp.h` declares: every name before a parenthesis.
fn public_functions() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = fs::read_to_string(root.join("include/gmp.h"));
    let header = header.expect("no include/gmp.h");
    let mut names = Vec::new();
    // Declarations begin in the first column; comments and macros do not, and
    // what macros stand for is static.
    let begins = |c: char| c.is_ascii_lowercase();
    let declares =
        |line: &&str| line.starts_with(begins) && !line.starts_with("static ");
    for line in header.lines().filter(declares) {
        for (at, _) in line.match_indices("gmp_") {
            let rest = &line[at..];
            let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let end = rest.find(|c| !word(c)).unwrap_or(rest.len());
            if rest[end..].starts_with('(') {
                names.push(rest[..end].to_owned());
            }
        }
    }
    names
}

/// A function that is new has to be called without memory, too.
#[test]
fn every_function_is_called_without_memory() {
    let path = common::source_path("enomem.c");
    let program = fs::read_to_string(path).expect("no enomem.c");
    let (_, table) = program.split_once("OPS[] = {").expect("no OPS");
    let (table, _) = table.split_once("};").expect("no end of OPS");
    let quoted = table.split('"').skip(1).step_by(2);
    let tried: Vec<_> = quoted.flat_map(str::split_whitespace).collect();
    let functions = public_functions();
    assert!(functions.len() > 130, "{} in gmp.h", functions.len());
    let forgotten = functions.iter().filter(|f| !tried.contains(&&***f));
    let forgotten: Vec<_> = forgotten.collect();
    assert!(forgotten.is_empty(), "not in enomem.c: {forgotten:?}");
}

#[test]
fn stack_size_from_environment() {
    for size in ["65536", "1048576"] {
        let program = build("stacks.c", Link::Shared);
        let mut command = program.command();
        run(command.env("GMP_STACKSIZE", size), LIMIT).exited(0);
    }
}

/// Without the signal of collections no system call is interrupted, and with it
/// none of a thread that waits in a call of the library.
#[test]
fn collections_without_a_signal_disturb_nobody() {
    let program = build("heap_calm.c", Link::Shared);
    let cases = [
        ("calm", Some("0")),
        ("signals", None),
        ("regions", None),
        ("busy", Some("0")),
    ];
    for (case, signal) in cases {
        for procs in ["1", "2", "4"] {
            let mut command = program.command();
            command.arg(case).env("GMP_MAXPROCS", procs);
            command.envs(signal.map(|it| ("GMP_GC_SIGNAL", it)));
            let outcome = run(&mut command, LIMIT);
            outcome.exited(0);
            let line = "came to no safe point; GMP_GC_SIGNAL is 0";
            assert_eq!(case == "busy", outcome.stderr.contains(line));
        }
    }
}

/// bdwgc finds what goroutines hold, if it is told where they are, and only
/// then.
#[test]
fn another_collector_finds_what_goroutines_hold() {
    if lacks(&["gc/gc.h"]) {
        return;
    }
    let program =
        common::build_with("other_collector.c", Link::Shared, &["-lgc"]);
    for case in ["hook", "none"] {
        for procs in ["1", "2", "4"] {
            let mut command = program.command();
            command.arg(case).env("GMP_MAXPROCS", procs);
            run(&mut command, LIMIT).exited(0);
        }
    }
}

/// Another signal does what SIGURG does, and leaves that alone.
#[test]
fn collections_use_the_signal_that_the_environment_names() {
    let program = build("heap_signal.c", Link::Shared);
    let real_time = (libc::SIGRTMIN() + 3).to_string();
    for signal in [libc::SIGUSR2.to_string(), real_time] {
        let mut command = program.command();
        run(command.env("GMP_GC_SIGNAL", signal), LIMIT).exited(0);
    }
}

/// Threads that are idle for a while go, and no wake-up is lost meanwhile.
#[test]
fn idle_threads_end() {
    let program = build("idle_threads.c", Link::Shared);
    for (case, ms) in [("bursts", "300"), ("storm", "1")] {
        for procs in ["1", "2", "4", "16"] {
            let mut command = program.command();
            command.arg(case).env("GMP_MAXPROCS", procs);
            command.env("GMPDEBUG", format!("idlethread={ms}"));
            run(&mut command, LIMIT).exited(0);
        }
    }
}

/// After threads have gone, a deadlock is told as before.
#[test]
fn a_deadlock_is_told_after_idle_threads_have_ended() {
    let program = build("idle_threads.c", Link::Shared);
    let mut command = program.command();
    command.arg("main").env("GMPDEBUG", "idlethread=100");
    let outcome = run(&mut command, LIMIT);
    let told = outcome.stderr.contains("all goroutines are asleep");
    assert!(told && outcome.stdout == "now\n", "{}", outcome.report());
}

/// Without handoff a goroutine runs until it parks or is asked to yield.
#[test]
fn order_without_handoff() {
    let program = build("yield_order.c", Link::Shared);
    let mut command = program.command();
    run(command.env("GMPDEBUG", "handoff=0"), LIMIT).exited(0);
}

/// The library's own descriptors, and a host that closes them.
#[test]
fn descriptors_of_ours() {
    let cases = [
        "stdio", "closed", "early", "pending", "epoll", "known", "gone",
        "full", "hunted", "many", "sysmon",
    ];
    let program = build("descriptors.c", Link::Shared);
    for case in cases {
        for procs in ["1", "2", "4", "16"] {
            let mut command = program.command();
            command.env("GMP_MAXPROCS", procs).arg(case);
            run(&mut command, LIMIT).exited(0);
        }
        let mut command = program.command_on_one_cpu();
        run(command.arg(case), LIMIT).exited(0);
    }
}

/// The header in every dialect, alone, twice in a unit, and in two units.
#[test]
fn header_in_every_dialect() {
    for compiler in ["gcc", "clang"] {
        for dialect in ["c99", "c11", "c2x", "gnu11"] {
            let files = ["double_include_a.c", "double_include_b.c"];
            header_in(compiler, dialect, &files);
        }
    }
    for compiler in ["g++", "clang++"] {
        for dialect in ["c++11", "c++17", "c++20", "c++2b"] {
            header_in(compiler, dialect, &["header.cc"]);
        }
    }
}

fn header_in(compiler: &str, dialect: &str, files: &[&str]) {
    if lacks(&[compiler]) {
        return;
    }
    let path = common::scratch().join(format!("header-{compiler}-{dialect}"));
    let mut build = Command::new(compiler);
    build.args(["-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    build.arg(format!("-std={dialect}"));
    build.arg("-I").arg(common::includedir()).arg("-o").arg(&path);
    build.args(files.iter().map(|file| common::source_path(file)));
    common::link_shared(&mut build);
    common::compile(&mut build);
    run(&mut Program::at(path).command(), LIMIT).exited(0);
}

#[test]
fn header_beside_gnu_mp() {
    if lacks(&["gmp.h"]) {
        return;
    }
    let beside = common::scratch().join("beside");
    fs::create_dir_all(&beside).expect("no directory for the header");
    let link = beside.join("gmprt");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink(common::includedir(), &link)
        .expect("cannot put the header beside");
    for order in ["-DGMPRT_FIRST", "-DGMPRT_LAST"] {
        let path = common::scratch().join(format!("gnu_mp{order}"));
        let mut build = common::compiler("gnu_mp.c", &beside);
        build.arg(order).arg("-o").arg(&path);
        common::link_shared(&mut build);
        common::compile(build.arg("-lgmp"));
        run(&mut Program::at(path).command(), LIMIT).exited(0);
    }
}

/// Foreign libraries that block, on goroutines.
#[test]
fn libraries_that_block() {
    if lacks(&["curl/curl.h", "sqlite3.h"]) {
        return;
    }
    let path = common::scratch().join("libraries");
    let mut build = common::compiler("libraries.c", &common::includedir());
    build.arg("-o").arg(&path);
    common::link_shared(&mut build);
    common::compile(build.args(["-lcurl", "-lsqlite3"]));
    for procs in ["1", "2", "4"] {
        let mut command = Program::at(path.clone()).command();
        let outcome = run(command.env("GMP_MAXPROCS", procs), LIMIT);
        println!("{}", outcome.stdout);
        outcome.exited(0);
    }
}

/// The seconds that the stress tests take.
fn stress_seconds() -> u64 {
    let seconds = std::env::var("GMPRT_STRESS").unwrap_or_default();
    seconds.parse().unwrap_or(60)
}

/// Runs a program for that long, while sysmon looks for deadlocks.
fn run_stress(source: &str) {
    let limit = Duration::from_secs(stress_seconds() + 90);
    let program = build(source, Link::Shared);
    let mut command = program.command();
    command.env("GMPRT_STRESS", stress_seconds().to_string());
    command.env("GMPDEBUG", "lockwait=1");
    let outcome = run(&mut command, limit);
    println!("{}", outcome.stdout);
    outcome.exited(0).kept_quiet_of("deadlock: ");
}

#[test]
#[ignore = "takes GMPRT_STRESS seconds, a minute by default"]
fn stress_everything() {
    run_stress("stress.c");
}

#[test]
#[ignore = "takes GMPRT_STRESS seconds, a minute by default"]
fn stress_cancellation() {
    run_stress("stress_cancel.c");
}

#[test]
#[ignore = "takes minutes for each number of processors"]
fn stress_forks() {
    let program = build("fork_storm.c", Link::Shared);
    for procs in ["1", "2", "4", "16"] {
        let mut command = program.command();
        command.env("GMP_MAXPROCS", procs).env("FORKS", "10000");
        let outcome = run(&mut command, Duration::from_secs(1200));
        println!("10000 forks with {procs} Ps: {:?}", outcome.stdout);
        outcome.exited(0);
    }
}

#[test]
#[ignore = "takes five gigabytes of memory"]
fn stress_million() {
    let program = build("many.c", Link::Shared);
    let mut command = program.command();
    command.env("GMPRT_GOROUTINES", "1000000");
    let outcome = run(&mut command, LIMIT);
    println!("{}", outcome.stdout);
    outcome.exited(0);
}
