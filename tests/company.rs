//! The library in one process with other runtimes: a second copy of itself, Go,
//! a Java virtual machine, node, CPython. All of them work at the same time,
//! and the signals and faults of each are its own. And inside of a server that
//! forks, redis.
//!
//! The program that loads them is in `c-tests/company`. Where two of them want
//! faults, the one that is loaded last sees a fault first, and passes on what
//! is not its own; the tests load them in both orders.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;
#[path = "company/redis.rs"]
mod redis;

use common::skip::{lacks, skip};
use common::{Outcome, Program, build_alone_with, run, scratch};
use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// How a report of the library's begins.
const OVERFLOW: &str = "fatal error: stack overflow";
const CRASH: &str = "fatal error: SIGSEGV: write to address 0x0";

fn library() -> PathBuf {
    common::libdir().join("libgmprt.so")
}

/// A second library, which the loader does not take for the first.
fn copy() -> PathBuf {
    let copy = scratch().join("copy.so");
    fs::copy(library(), &copy).expect("a copy of the library");
    copy
}

/// A shared library of `c-tests/company`.
fn shared(source: &str) -> PathBuf {
    let flags = ["-shared", "-fPIC"];
    let built = build_alone_with(&format!("company/{source}"), &flags);
    PathBuf::from(built.command().get_program())
}

/// Runs a program with these arguments, in a directory for what it leaves.
fn outcome<A: AsRef<OsStr>>(program: &Program, args: &[A]) -> Outcome {
    let mut command = program.command();
    run(command.args(args).current_dir(scratch()), LIMIT)
}

/// They work together on any number of processors.
fn work_together<A: AsRef<OsStr>>(program: &Program, args: &[A]) {
    for procs in ["1", "2", "4", "16"] {
        let mut command = program.command();
        command.args(args).current_dir(scratch());
        let done = run(command.env("GMP_MAXPROCS", procs), LIMIT);
        let worked = done.exited(0).stdout.ends_with("both worked\n");
        assert!(worked, "{}", done.report());
    }
}

/// The full stack of a goroutine is told.
fn overflow_is_told(outcome: &Outcome) {
    outcome.died_by(libc::SIGABRT).said_once(OVERFLOW).said("overflow");
}

/// The fault of a goroutine is told, and ends the process as it always would.
fn crash_is_told(outcome: &Outcome) {
    outcome.died_by(libc::SIGSEGV).said_once(CRASH).said("    crash");
}

/// A handler that was there before the library gets the fault instead.
fn crash_is_left_to_the_other(outcome: &Outcome) {
    outcome.died_by(libc::SIGSEGV).kept_quiet_of("fatal error");
}

#[test]
fn itself() {
    let program = build_alone_with("company/twice.c", &[]);
    let (library, copy) = (library(), copy());
    let args = |how| [library.as_os_str(), copy.as_os_str(), OsStr::new(how)];
    work_together(&program, &args("none"));
    for how in ["overflow", "first-overflow"] {
        overflow_is_told(&outcome(&program, &args(how)));
    }
    crash_is_told(&outcome(&program, &args("first-crash")));
    crash_is_left_to_the_other(&outcome(&program, &args("crash")));
}

/// Go's library, built by the `go` of this machine.
fn go_library() -> PathBuf {
    let library = scratch().join("golib.so");
    let mut go = Command::new("go");
    go.args(["build", "-buildmode=c-shared", "-o"]).arg(&library);
    go.arg(common::source_path("company/golib.go"));
    // Nothing is fetched, and nothing is left elsewhere.
    go.env("GOCACHE", scratch().join("go")).env("CGO_ENABLED", "1");
    go.env("GOPROXY", "off").env("GOTOOLCHAIN", "local");
    go.current_dir(scratch());
    common::compile(&mut go);
    library
}

#[test]
fn go() {
    if lacks(&["go"]) {
        return;
    }
    let program = build_alone_with("company/go.c", &[]);
    let (library, golib) = (library(), go_library());
    let args = |order, how| {
        let words = [OsStr::new(order), OsStr::new(how)];
        [library.as_os_str(), golib.as_os_str(), words[0], words[1]]
    };
    for order in ["ours", "go"] {
        work_together(&program, &args(order, "none"));
        overflow_is_told(&outcome(&program, &args(order, "overflow")));
    }
    crash_is_told(&outcome(&program, &args("ours", "crash")));
    crash_is_left_to_the_other(&outcome(&program, &args("go", "crash")));
}

/// The machine of the command `java`.
fn libjvm() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let java = env::split_paths(&path).map(|dir| dir.join("java"));
    let java = java.into_iter().find(|java| java.exists())?;
    let home = fs::canonicalize(java).ok()?;
    let jvm = home.parent()?.parent()?.join("lib/server/libjvm.so");
    jvm.exists().then_some(jvm)
}

#[test]
fn java() {
    if lacks(&["java"]) {
        return;
    }
    let Some(jvm) = libjvm() else {
        skip("the command java has no libjvm.so beside it", &["java"]);
        return;
    };
    let program = build_alone_with("company/jvm.c", &[]);
    let library = library();
    let args = |order, how| {
        let words = [OsStr::new(order), OsStr::new(how)];
        [library.as_os_str(), jvm.as_os_str(), words[0], words[1]]
    };
    for order in ["ours", "jvm"] {
        work_together(&program, &args(order, "none"));
    }
    crash_is_told(&outcome(&program, &args("ours", "crash")));
    overflow_is_told(&outcome(&program, &args("jvm", "overflow")));
    // The machine's handler runs on the stack that is full: no handler can.
    let full = outcome(&program, &args("ours", "overflow"));
    full.died_by(libc::SIGSEGV).kept_quiet_of("fatal error");
    // The machine tells what it takes for its own.
    let theirs = outcome(&program, &args("jvm", "crash"));
    theirs.died_by(libc::SIGABRT).kept_quiet_of(CRASH);
    let told = "detected by the Java Runtime Environment";
    assert!(theirs.stdout.contains(told), "{}", theirs.report());
}

#[test]
fn node() {
    if lacks(&["node"]) {
        return;
    }
    let addon = scratch().join("addon.node");
    fs::rename(shared("node.c"), &addon).expect("the add-on");
    let node = Program::at(PathBuf::from("node"));
    let with = |how: &str| {
        let mut command = node.command();
        command.arg(common::source_path("company/node.js")).arg(&addon);
        command.env("GMPRT_LIBRARY", library()).env("HOW", how);
        command.current_dir(scratch());
        command
    };
    for procs in ["1", "2", "4", "16"] {
        let done = run(with("none").env("GMP_MAXPROCS", procs), LIMIT);
        let worked = done.exited(0).stdout == "both worked\n";
        assert!(worked, "{}", done.report());
    }
    overflow_is_told(&run(&mut with("overflow"), LIMIT));
    // V8 had its handler before.
    crash_is_left_to_the_other(&run(&mut with("crash"), LIMIT));
}

#[test]
fn cpython() {
    if lacks(&["python3"]) {
        return;
    }
    let program = Program::at(PathBuf::from("python3"));
    let script = common::source_path("company/python.py");
    let (library, work) = (library(), shared("python.c"));
    let args = |how| -> [&OsStr; 4] {
        let paths: [&Path; 3] = [&script, &library, &work];
        let [script, library, work] = paths.map(Path::as_os_str);
        [script, library, work, OsStr::new(how)]
    };
    for how in ["none", "first-none", "last-none"] {
        work_together(&program, &args(how));
    }
    for how in ["overflow", "first-overflow"] {
        overflow_is_told(&outcome(&program, &args(how)));
    }
    crash_is_told(&outcome(&program, &args("crash")));
    // Python's faulthandler tells its own faults in either order, and that of a
    // goroutine if it was there before.
    let python = "Fatal Python error: Segmentation fault";
    for how in ["last-python", "first-python", "first-crash"] {
        let told = outcome(&program, &args(how));
        told.died_by(libc::SIGSEGV).kept_quiet_of("fatal error").said(python);
    }
    // If it comes later, it tells both, and passes them on by a signal.
    for how in ["last-crash", "last-overflow"] {
        let told = outcome(&program, &args(how));
        told.died_by(libc::SIGSEGV).said(python);
        told.said_once("fatal error: SIGSEGV: sent by this process");
    }
}

/// A server whose module has goroutines forks to save: its children use them
/// too, and what it has saved is what it holds.
fn redis(procs: &[&str], saves: usize) {
    if lacks(&["redis-check-rdb"]) {
        return;
    }
    let module = redis::module();
    for procs in procs {
        redis::saves_and_loads(&module, procs, saves);
    }
}

#[test]
fn redis_saves() {
    redis(&["1", "2", "4", "16"], 4);
}

#[test]
#[ignore = "takes a minute"]
fn stress_redis_saves() {
    redis(&["1", "4", "16"], 100);
}
