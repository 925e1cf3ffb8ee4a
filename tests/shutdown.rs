//! `gmp_shutdown` and `dlclose`: plug-ins that use the library are loaded and
//! unloaded, and the process is as before. The programs are in
//! `c-tests/unload`; `c-tests/shutdown.c` is among the C tests.
//!
//! `GMPRT_STRESS` with `--ignored stress` unloads 10,000 times.

#[expect(dead_code, reason = "other tests use other parts of it")]
mod common;

use common::skip::lacks;
use common::{libdir, run, scratch};
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(100);
const PROCS: [&str; 4] = ["1", "2", "4", "16"];

fn compiled(source: &str, name: &str, flags: &[&str]) -> PathBuf {
    let out = scratch().join(name);
    let source = format!("unload/{source}");
    let mut compiler = common::compiler(&source, &common::includedir());
    compiler.arg("-o").arg(&out).args(flags);
    common::compile(&mut compiler);
    out
}

/// The host, which knows nothing of the library.
fn host() -> &'static PathBuf {
    static HOST: OnceLock<PathBuf> = OnceLock::new();
    HOST.get_or_init(|| compiled("host.c", "host", &["-DTEST_PLUGIN", "-ldl"]))
}

/// A plug-in that is linked with the shared library.
fn shared() -> &'static PathBuf {
    static SHARED: OnceLock<PathBuf> = OnceLock::new();
    SHARED.get_or_init(|| {
        let dir = libdir().display();
        let (search, find) = (format!("-L{dir}"), format!("-Wl,-rpath,{dir}"));
        let flags = ["-fPIC", "-shared", &search, "-lgmprt", &find];
        compiled("user.c", "shared.so", &flags)
    })
}

/// A plug-in with the static library inside.
fn inside(name: &str) -> PathBuf {
    let archive = libdir().join("libgmprt.a").display().to_string();
    let flags = ["-fPIC", "-shared", &archive, "-lpthread", "-ldl", "-lm"];
    compiled("user.c", name, &flags)
}

fn host_with(args: &[&str], plugins: &[&PathBuf]) -> Command {
    let mut command = Command::new(host());
    command.args(args).args(plugins);
    for name in ["GMP_MAXPROCS", "GMP_AUTOSTART", "GMPDEBUG"] {
        command.env_remove(name);
    }
    command.env("WATCHDOG", "90");
    command
}

/// With each number of Ps, and on one CPU.
fn in_each_way(args: &[&str], plugins: &[&PathBuf]) {
    for procs in PROCS {
        let mut command = host_with(args, plugins);
        run(command.env("GMP_MAXPROCS", procs), LIMIT).exited(0);
    }
    if lacks(&["taskset"]) {
        return;
    }
    let host = host_with(args, plugins);
    let mut one = Command::new("taskset");
    one.args(["-c", "0"]).arg(host.get_program()).args(host.get_args());
    run(&mut one, LIMIT).exited(0);
}

#[test]
fn a_plugin_goes_again_and_again_and_leaves_nothing() {
    in_each_way(&["cycles", "200"], &[shared()]);
}

#[test]
fn a_plugin_with_the_library_inside_goes_and_leaves_nothing() {
    in_each_way(&["cycles", "200"], &[&inside("cycles.so")]);
}

#[test]
fn the_heap_goes_with_the_library() {
    in_each_way(&["heap"], &[shared()]);
    in_each_way(&["heap"], &[&inside("heap.so")]);
}

#[test]
fn objects_are_there_until_the_process_has_ended() {
    let plugin = inside("reads.so");
    let mut command = host_with(&["reads"], &[&plugin]);
    assert_eq!(run(&mut command, LIMIT).exited(0).stdout, "read\n");
}

#[test]
fn of_two_copies_one_goes_and_the_other_works() {
    let (one, other) = (inside("one.so"), inside("other.so"));
    in_each_way(&["two"], &[&one, &other]);
    in_each_way(&["two"], &[shared(), &other]);
}

#[test]
fn threads_that_waited_in_a_call_live_on_without_the_library() {
    in_each_way(&["waiting"], &[shared()]);
    in_each_way(&["waiting"], &[&inside("waiting.so")]);
}

#[test]
fn a_library_that_has_not_started_goes_by_itself() {
    for plugin in [shared(), &inside("early.so")] {
        let mut command = host_with(&["early"], &[plugin]);
        run(command.env("GMP_AUTOSTART", "0"), LIMIT).exited(0);
    }
}

#[test]
fn without_a_shutdown_the_library_stays() {
    in_each_way(&["stays"], &[&libdir().join("libgmprt.so.0")]);
    in_each_way(&["stays"], &[&inside("stays.so")]);
}

#[test]
fn it_ends_from_atexit_and_from_destructors() {
    for how in ["atexit", "destructor", "plugin"] {
        in_each_way(&["exits", how], &[shared()]);
    }
}

#[test]
#[ignore = "long"]
fn stress_ten_thousand_times() {
    for plugin in [shared(), &inside("stress.so")] {
        let mut command = host_with(&["cycles", "10000"], &[plugin]);
        command.env("WATCHDOG", "1500");
        let said = run(&mut command, Duration::from_secs(1600));
        print!("{}", said.exited(0).stdout);
    }
}
