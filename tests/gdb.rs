//! The start path as gdb sees it: a breakpoint on every stage by its plain
//! name, assembly line by line, stacks that end where they should.
//!
//! Without gdb these tests are skipped.

#[expect(dead_code, reason = "other tests use other parts of it")]
mod common;
#[path = "common/start.rs"]
mod common_start;
#[path = "gdb/goroutines.rs"]
mod goroutines;

use common::skip::lacks;
use common::{Link, Outcome, Program, run};
use common_start::{Shows, build, build_entry, build_entry_of, shown, source};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// What only a program of the exe path has, and what only a library has.
const ENTRY: [&str; 2] = ["_rt0_amd64_linux", "_rt0_amd64"];
const CONSTRUCTOR: [&str; 2] = ["_rt0_amd64_lib", "libpreinit"];
const END: [&str; 2] = ["main_main", "main"];

/// Runs `program` under gdb with these commands.
fn gdb(program: &Program, arguments: &[&str], commands: &str) -> Outcome {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    let script = common::scratch().join(format!("script-{serial}.gdb"));
    let setup = "set confirm off\nset pagination off\nset width 0\n\
                 set breakpoint pending on\nset debuginfod enabled off\n\
                 set print thread-events off\n";
    fs::write(&script, format!("{setup}{commands}")).expect("no script");
    let target = program.command();
    let mut command = Command::new("gdb");
    command.args(["-batch", "-nx", "-x"]).arg(&script).arg("--args");
    command.arg(target.get_program()).args(target.get_args()).args(arguments);
    for (name, value) in target.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    // The paths of sources are relative to where the library was built.
    run(command.current_dir(common::repository()), LIMIT)
}

/// Sets a breakpoint for one stop at each stage, goes from stop to stop, and
/// returns the stages in the order in which they were reached.
fn stops_at(
    program: &Program,
    arguments: &[&str],
    stages: &[&str],
) -> Vec<String> {
    let mut commands = String::new();
    for stage in stages {
        let _ = writeln!(commands, "tbreak {stage}");
    }
    commands.push_str("run\n");
    // Once too often: the last one runs to the end.
    for _ in stages {
        commands.push_str("continue\n");
    }
    let outcome = gdb(program, arguments, &commands);
    let reached: Vec<_> = outcome
        .stdout
        .lines()
        .filter_map(|line| {
            // "Temporary breakpoint 7, check () …", "… breakpoint 7.2, …".
            let number = line.split_once("emporary breakpoint ")?.1;
            let (number, rest) = number.split_once(',')?;
            let number = number.split('.').next()?;
            let number: usize = number.parse().ok()?;
            rest.contains(" at ").then(|| stages[number - 1].to_owned())
        })
        .collect();
    assert!(!reached.is_empty(), "{}", outcome.report());
    reached
}

#[test]
fn every_stage_of_a_library_is_reached_in_order() {
    if lacks(&["gdb"]) {
        return;
    }
    for link in Link::ALL {
        let symbols = shown(Shows::Symbol);
        let reached = stops_at(&build("walk.c", link), &[], &symbols);
        assert_eq!(reached, symbols, "{link:?}");
    }
}

#[test]
fn every_stage_of_the_exe_path_is_reached_in_order() {
    if lacks(&["gdb"]) {
        return;
    }
    let own = |stage: &&str| {
        !CONSTRUCTOR.contains(stage)
            && !["newosproc0", "_rt0_amd64_lib_go"].contains(stage)
    };
    let common: Vec<_> = shown(Shows::Symbol).into_iter().filter(own).collect();
    for link in [Link::Shared, Link::Static] {
        // The loader runs a shared library's constructor before the program
        // is entered; a static one's runs when libc is up.
        let begin = match link {
            Link::Shared => [CONSTRUCTOR, ENTRY].concat(),
            _ => [ENTRY, CONSTRUCTOR].concat(),
        };
        let want = [&begin[..], &common, &END].concat();
        let reached = stops_at(&build_entry(link), &["walk"], &want);
        assert_eq!(reached, want, "{link:?}");
    }
}

/// Steps by Go's names, beyond the stages of the start. All are reached in
/// `steps.c`.
const STEPS: &str = "acquirep allocm allocmcache bgscavenge bgsweep \
    cache_span casgstatus checkdead doInit dropg execute fastrandinit \
    findrunnable forcegchelper gc_start gdestroy getproccount gfget gfput \
    globrunqput goexit1 gogo gopark goready gosched handoffp malg mcall \
    mcommoninit mexit mget minit minit_signals mpreinit mstart1 newm newm1 \
    newproc1 park_m pidleget pidleput prepare_for_sweep ready release_all \
    releasep retake runqempty runqget runqput runqsteal schedule stackalloc \
    stackfree startlockedm startm stop_threads stoplockedm stopm sweepone \
    sysargs sysmon systemstack uncache_span wakep wirep";
/// Only on the exe path.
const EXE_STEPS: &str = "main_main msigsave";
/// A host thread wants a thread of the library's.
const LIBRARY_STEPS: &str = "startTemplateThread";

/// Counts the stops at each name, goes on, and prints the names at the end.
const COUNT_STOPS: &str = r#"
python
class Step(gdb.Breakpoint):
    reached = set()
    def __init__(self, name):
        super().__init__(name)
        self.name = name
    def stop(self):
        self.reached.add(self.name)
        return False
for name in names.split():
    Step(name)
gdb.Breakpoint("steps_end")
gdb.execute("run")
print("reached:", " ".join(sorted(Step.reached)))
end
kill
"#;

#[test]
fn each_step_is_reached_by_the_name_that_go_gives_it() {
    if lacks(&["gdb"]) {
        return;
    }
    let library_steps = [STEPS, LIBRARY_STEPS].join(" ");
    let exe_steps = [STEPS, EXE_STEPS].join(" ");
    let programs = [
        (build("steps.c", Link::Shared), &library_steps),
        (build_entry_of("steps.c", Link::Static), &exe_steps),
    ];
    // gdb steps over a breakpoint with a copy of the instruction in `_start`,
    // where the main thread may be while ours run.
    for (program, names) in &programs {
        let commands = format!(
            "set displaced-stepping off\nset environment GMP_MAXPROCS 2\n\
             python names = '{names}'\n\
             {COUNT_STOPS}"
        );
        let outcome = gdb(program, &[], &commands);
        let reached = outcome.stdout.lines().rfind(|l| l.contains("reached: "));
        let reached = reached.unwrap_or_else(|| panic!("{}", outcome.report()));
        let mut names: Vec<_> = names.split_whitespace().collect();
        names.retain(|name| !reached.split(' ').any(|r| r == *name));
        assert!(names.is_empty(), "not {names:?}\n{}", outcome.report());
    }
}

/// They are for what does not happen, so no program reaches them all.
#[test]
fn steps_that_hardly_happen_have_the_names_that_go_gives_them() {
    if lacks(&["gdb"]) {
        return;
    }
    let names = ["throw", "fatal", "fatal_args", "forcegc"];
    for link in [Link::Shared, Link::Static] {
        let program = build("steps.c", link);
        let stops = names.map(|name| format!("break {name}\n")).concat();
        let outcome = gdb(&program, &[], &format!("start\n{stops}kill\n"));
        let text = &outcome.stdout;
        // The file of the first instruction may be that of what it calls.
        let found = text.matches("\nBreakpoint ").count();
        assert_eq!(found, names.len(), "{}", outcome.report());
    }
}

/// The lines of an assembly file that gdb names, in the order of the stops.
fn lines_in(outcome: &Outcome, file: &str) -> Vec<usize> {
    let number = |line: &str| {
        let rest = line.strip_prefix("Line ")?;
        let (number, rest) = rest.split_once(" of \"")?;
        let path = Path::new(rest.split_once('"')?.0);
        path.ends_with(file).then(|| number.parse().ok())?
    };
    outcome.stdout.lines().filter_map(number).collect()
}

#[test]
fn assembly_is_stepped_line_by_line() {
    if lacks(&["gdb"]) {
        return;
    }
    let program = build("walk.c", Link::Shared);
    // The main thread stands still, as it waits for the start for some time
    // only.
    let mut commands =
        String::from("tbreak rt0_go\nrun\nset scheduler-locking on\n");
    for _ in 0..40 {
        commands.push_str("info line *$pc\nnext\n");
    }
    let outcome = gdb(&program, &[], &commands);
    let lines = lines_in(&outcome, "asm/rt0_amd64.S");
    // From rt0_go on, always forward, and far enough to be past CPUID.
    assert!(lines.len() >= 40, "{}", outcome.report());
    assert!(lines.is_sorted(), "{}", outcome.report());
    assert!(lines.last() > Some(&(lines[0] + 60)), "{lines:?}");
}

/// The frames of the last backtrace, innermost first.
fn frames(outcome: &Outcome) -> Vec<String> {
    frames_from(outcome, "#0 ")
}

/// The same, if the innermost frame has another number.
fn frames_from(outcome: &Outcome, first: &str) -> Vec<String> {
    let lines: Vec<_> = outcome.stdout.lines().collect();
    let start = lines.iter().rposition(|l| l.starts_with(first));
    let start = start.unwrap_or_else(|| panic!("{}", outcome.report()));
    let frame = |line: &&str| {
        let rest = line.strip_prefix('#')?.split_once(' ')?.1.trim_start();
        let rest = rest.split_once(" in ").map_or(rest, |(_, rest)| rest);
        Some(rest.split([' ', '(']).next()?.to_owned())
    };
    lines[start..].iter().map_while(frame).collect()
}

#[test]
fn a_goroutine_s_stack_ends_at_its_first_frame() {
    if lacks(&["gdb"]) {
        return;
    }
    for link in Link::ALL {
        let program = build("walk.c", link);
        let outcome = gdb(&program, &[], "tbreak leaf\nrun\nbacktrace\n");
        assert_eq!(
            frames(&outcome),
            ["leaf", "in_goroutine", "gostart"],
            "{}",
            outcome.report()
        );
        assert!(!outcome.stderr.contains("corrupt"), "{}", outcome.report());
    }
}

/// The scheduler's stack goes on into the thread that runs it.
#[test]
fn the_scheduler_s_stack_ends_with_its_thread() {
    if lacks(&["gdb"]) {
        return;
    }
    let program = build("walk.c", Link::Shared);
    let outcome = gdb(&program, &[], "tbreak schedule\nrun\nbacktrace\n");
    let frames = frames(&outcome);
    let last: Vec<_> = frames.iter().rev().take(4).rev().collect();
    assert_eq!(last[..2], ["g0call", "rt0_go"], "{}", outcome.report());
    assert!(!outcome.stderr.contains("corrupt"), "{}", outcome.report());
}

#[test]
fn main_s_stack_ends_at_the_main_goroutine_on_the_exe_path() {
    if lacks(&["gdb"]) {
        return;
    }
    let commands = "set backtrace past-main on\n\
                    tbreak leaf\nrun\nbacktrace\n";
    for link in [Link::Shared, Link::Static] {
        let outcome = gdb(&build_entry(link), &["walk"], commands);
        assert_eq!(
            frames(&outcome),
            // gmp_exit unwinds up to callbase.
            [
                "leaf",
                "main",
                "callbase",
                "call_base",
                "main_main",
                "runtime_main",
                "gostart"
            ],
            "{}",
            outcome.report()
        );
        assert!(!outcome.stderr.contains("corrupt"), "{}", outcome.report());
    }
}

/// The very first frame of the program is the last one of its main thread.
#[test]
fn the_entry_ends_the_stack() {
    if lacks(&["gdb"]) {
        return;
    }
    let commands = "set backtrace past-main on\n\
                    set backtrace past-entry on\n\
                    tbreak rt0_go\nrun\nbacktrace\n";
    let outcome = gdb(&build_entry(Link::Shared), &["walk"], commands);
    let frames = frames(&outcome);
    assert_eq!(frames[..2], ["rt0_go", "_rt0_amd64_exe"]);
    assert_eq!(frames.last().map(String::as_str), Some("_rt0_amd64"));
    assert!(!outcome.stderr.contains("corrupt"), "{}", outcome.report());
}

/// The loader's arguments, and the kernel's where the loader's cannot be
/// believed, because the host has moved its environment.
#[test]
fn arguments_arrive() {
    if lacks(&["gdb"]) {
        return;
    }
    let commands = "set language c\ntbreak runtime_main\nrun\n\
                    set $argc = *(int *)&runtime_argc\n\
                    set $argv = *(char ***)&runtime_argv\n\
                    printf \"argc=%d\\n\", $argc\n\
                    printf \"last=%s\\n\", $argv[$argc - 1]\n\
                    printf \"loader=%d\\n\", \
                    $argv + $argc + 1 == *(char ***)&environ\n";
    let late = common::build_alone(&source("late_host.c"));
    let library = common::shared_library().display().to_string();
    let runs = [
        (build("walk.c", Link::Shared), vec!["one", "last one"], "loader=1"),
        (late, vec![library.as_str(), "last one"], "loader=0"),
    ];
    for (program, arguments, loader) in &runs {
        let outcome = gdb(program, arguments, commands);
        for want in ["argc=3", "last=last one", loader] {
            let said = outcome.stdout.lines().any(|line| line == want);
            assert!(said, "want {want}\n{}", outcome.report());
        }
    }
}
