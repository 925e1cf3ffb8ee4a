//! `GMP_INIT`, `gmp_args`, and a main goroutine that ends during the start. The
//! programs are in `c-tests/start`.

#[expect(dead_code, reason = "other tests use other parts of it")]
mod common;

use common::{Link, Program, build_with, run, source_path};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);
const PROCS: [&str; 3] = ["1", "2", "4"];

/// A file of `c-tests/start`, for the functions of `common`.
fn source(name: &str) -> String {
    let dir = common::scratch().join("start");
    fs::create_dir_all(dir).expect("no scratch directory");
    format!("start/{name}")
}

/// Runs it with several numbers of Ps, some times each, and started at the
/// load and by the first call.
fn runs_well(program: &Program, args: &[&str]) {
    for procs in PROCS {
        for start in ["yes", "no"].repeat(5) {
            let mut command = program.command();
            command.args(args);
            command.env("GMP_MAXPROCS", procs).env("GMP_AUTOSTART", start);
            run(&mut command, LIMIT).exited(0);
            if *args == ["two threads"] {
                command.env("GMP_MAXTHREADS", "2");
                run(&mut command, LIMIT).exited(0);
            }
        }
    }
}

/// The C++ file beside `inits.c`, compiled: the rest is C.
fn second_file(flags: &[&str]) -> PathBuf {
    let source = source("inits_more.cc");
    let name = format!("inits_more{}.o", flags.concat());
    let object = common::scratch().join(name);
    let mut compiler = common::compiler(&source, &common::includedir());
    compiler.args(flags).args(["-c", "-fPIC", "-o"]).arg(&object);
    common::compile(&mut compiler);
    object
}

fn inits(link: Link, flags: &[&str]) -> Program {
    let second = second_file(flags).display().to_string();
    let all = [flags, &[&second, "-lstdc++"]].concat();
    build_with(&source("inits.c"), link, &all)
}

#[test]
fn functions_are_called_once_in_order_before_the_first_call_returns() {
    for link in Link::ALL {
        runs_well(&inits(link, &[]), &[]);
    }
}

/// Neither hidden names nor a linker that drops what nothing refers to lose
/// one.
#[test]
fn functions_are_called_whatever_the_linker_drops() {
    let flags = [
        "-fvisibility=hidden",
        "-ffunction-sections",
        "-fdata-sections",
        "-Wl,--gc-sections",
    ];
    // Of a plug-in the host has to find the entry.
    for link in [Link::Shared, Link::Static] {
        runs_well(&inits(link, &flags), &[]);
    }
}

#[test]
fn each_function_has_a_line_in_inittrace() {
    let mut command = inits(Link::Shared, &[]).command();
    let outcome = run(command.env("GMPDEBUG", "inittrace=1"), LIMIT);
    outcome.exited(0).said_once("init second ").said_once("init third ");
    let firsts = outcome.stderr.matches("init first ").count();
    assert_eq!(firsts, 2, "{}", outcome.report());
}

#[test]
fn functions_of_a_later_plugin_are_called_before_its_next_call_returns() {
    let plugin = common::scratch().join("inits_late.so");
    let name = source("inits_late.c");
    let mut compiler = common::compiler(&name, &common::includedir());
    compiler.args(["-DPLUGIN", "-fPIC", "-shared", "-o"]).arg(&plugin);
    compiler.args(["-fvisibility=hidden", "-Wl,--gc-sections"]);
    common::link_shared(&mut compiler);
    common::compile(&mut compiler);
    let plugin = plugin.display().to_string();
    for link in [Link::Shared, Link::Plugin] {
        let program = build_with(&name, link, &["-ldl"]);
        for place in ["thread", "goroutine", "busy", "ended", "unused"] {
            runs_well(&program, &[&plugin, place]);
        }
    }
}

#[test]
fn a_function_that_ends_the_main_goroutine_leaves_the_rest_as_it_is() {
    for link in Link::ALL {
        runs_well(
            &build_with(&source("inits_exit.c"), link, &[]),
            &["two threads"],
        );
    }
}

/// Else m0 would wait for its goroutine for ever.
#[test]
fn a_hook_that_ends_the_main_goroutine_leaves_its_thread_to_work() {
    for link in [Link::Shared, Link::Static] {
        let program = build_with(&source("inits_exit.c"), link, &["-DHOOK"]);
        runs_well(&program, &["two threads"]);
    }
}

#[test]
fn arguments_are_those_of_main() {
    for link in Link::ALL {
        let program = build_with(&source("args.c"), link, &[]);
        runs_well(&program, &["one", "", "three 3"]);
    }
}

/// A program that is entered at the runtime's entry.
fn entered(name: &str, link: Link, flags: &[&str]) -> Program {
    let root = common::repository();
    let object = root.join("asm/entry_amd64.S").display().to_string();
    let include = format!("-I{}", root.join("asm").display());
    assert!(source_path(&format!("start/{name}")).exists());
    let entry = ["-Wl,-e,_rt0_amd64_linux", &object, &include];
    build_with(&source(name), link, &[flags, &entry].concat())
}

/// The child of a function that forks goes on from there.
#[test]
fn a_function_that_forks_leaves_the_rest_to_the_child() {
    for how in ["calls", "quiet"] {
        for link in [Link::Shared, Link::Static] {
            let plain = build_with(&source("inits_fork.c"), link, &[]);
            let entry = entered("inits_fork.c", link, &["-DENTRY"]);
            for (program, procs) in
                [plain, entry].iter().flat_map(|p| PROCS.map(|n| (p, n)))
            {
                let mut command = program.command();
                command.env("HOW", how).env("GMP_MAXPROCS", procs);
                run(&mut command, LIMIT).exited(0);
            }
        }
    }
}

/// On the exe path the functions come before `main`, on its goroutine.
#[test]
fn functions_come_before_main_where_the_entry_is_the_runtimes() {
    for link in [Link::Shared, Link::Static] {
        let program = entered("inits_entry.c", link, &[]);
        for procs in PROCS {
            let mut command = program.command();
            let outcome = run(command.env("GMP_MAXPROCS", procs), LIMIT);
            let want = "init on 1\nmain on 1\n";
            assert_eq!(outcome.exited(7).stdout, want, "{}", outcome.report());
            // Without its main the others go on, and then it is a deadlock.
            let mut command = program.command();
            command.env("GMP_MAXPROCS", procs).env("LEAVE", "1");
            let outcome = run(&mut command, LIMIT);
            outcome
                .died_by(libc::SIGABRT)
                .said_once("all goroutines are asleep - deadlock!");
            assert_eq!(outcome.stdout, "init on 1\nthe other went on\n");
        }
    }
}
