//! The collected heap where each allocation collects, and its shadow for long.

use super::{LIMIT, SUBJECTS, all_good, note, source};
use crate::common::{Link, build, build_alone_with, libdir, run, skip::lacks};
use std::time::Duration;

/// The setting under which each allocation of the collected heap collects, and
/// freed memory is filled.
const STRESSED: &str = "gcstress=1";

/// Runs subjects under [`STRESSED`].
fn check_stressed(subjects: &[&str], procs: &[&str], limit: Duration) {
    let mut failures = Vec::new();
    let mut total = 0;
    for subject in subjects {
        let source = source(subject);
        if source.ends_with(".cc") && lacks(&["g++"]) {
            continue;
        }
        let program = build(&source, Link::Shared);
        for procs in procs {
            total += 1;
            let mut command = program.command();
            command.env("GMP_MAXPROCS", procs).env("GMPDEBUG", STRESSED);
            let outcome = run(command.arg(total.to_string()), limit);
            let code = if *subject == "exit_anytime" { 7 } else { 0 };
            note(&outcome, code, &mut failures);
        }
    }
    all_good(&failures, total);
}

/// In each subject's own configurations: `stress_collections`.
#[test]
fn the_heap_collects_at_each_allocation() {
    check_stressed(&["heap"], &["1", "4"], LIMIT);
    check_stressed(&["heap_end"], &["2", "16"], LIMIT);
    check_stressed(&["heap_shadow", "heap_signal"], &["4"], LIMIT);
    check_stressed(&["heap_sizes", "heap_storm"], &["2"], LIMIT);
}

/// The tables of the heap are large, and cost nothing where they are not used.
#[test]
fn the_first_object_costs_little() {
    let program = build("heap_begins.c", Link::Shared);
    for case in ["charged", "locked", "limited"] {
        for procs in ["1", "4"] {
            let mut command = program.command();
            command.env("GMP_MAXPROCS", procs);
            run(command.arg(case), LIMIT).exited(0);
        }
    }
}

/// What the environment says about the heap is so until the program says
/// something else, even before its first object.
#[test]
fn the_program_has_the_last_word_on_the_heap() {
    let program = build("heap_limits.c", Link::Shared);
    let mut command = program.command();
    command.env("GMP_GOGC", "50").env("GMP_MEMLIMIT", "512M");
    run(&mut command, LIMIT).exited(0);
}

/// The settings are read at each start: none of them gives the child of a fork
/// its heap back.
#[test]
fn a_setting_gives_no_child_the_heap() {
    let program = build("heap_child.c", Link::Shared);
    let mut command = program.command();
    run(command.env("GMPDEBUG", "gcstress=0"), LIMIT).exited(0);
}

/// An idle process collects what it has allocated, and is calm afterwards.
#[test]
fn an_idle_heap_is_collected_in_the_end() {
    let program = build("heap_idle.c", Link::Shared);
    for case in ["sleeps", "grows", "thread", "on", "off"] {
        let mut command = program.command();
        command.arg(case).env("GMPDEBUG", "forcegc=500");
        run(&mut command, LIMIT).exited(0);
    }
}

/// A thread that keeps collections from happening is told with the goroutine
/// that it runs, and the signal by its name.
#[test]
fn a_goroutine_that_does_not_stop_is_told() {
    let program = build("heap_calm.c", Link::Shared);
    for (signal, end) in [
        ("USR2", "does not stop; does it block SIGUSR2?"),
        ("0", "came to no safe point; GMP_GC_SIGNAL is 0"),
    ] {
        let mut command = program.command();
        command.arg("deaf").env("GMP_GC_SIGNAL", signal);
        let outcome = run(&mut command, LIMIT);
        let text = &outcome.exited(0).stderr;
        let thread = text.split("gmprt: no collection: thread ").nth(1);
        let words = thread.and_then(|t| t.split(", which runs ").nth(1));
        let words = words.unwrap_or_else(|| panic!("{}", outcome.report()));
        let goroutine = words.strip_prefix("goroutine ").unwrap_or("");
        let rest = goroutine.trim_start_matches(|c: char| c.is_ascii_digit());
        let want = format!(" \"deaf?\" (never_stops), {end}\n");
        assert_eq!(rest, want, "{}", outcome.report());
    }
}

/// The data of a program that has the C library inside are roots, wherever the
/// kernel has put the program.
#[test]
fn wholly_static_programs_have_the_heap() {
    let archive = libdir().join("libgmprt.a");
    let archive = archive.to_str().expect("a name in UTF-8");
    for flag in ["-static", "-static-pie"] {
        for subject in ["heap", "heap_end", "heap_shadow", "heap_stale"] {
            let source = source(subject);
            let program = build_alone_with(&source, &[archive, flag]);
            for procs in ["1", "4"] {
                let mut command = program.command();
                command.env("GMP_MAXPROCS", procs);
                run(command.arg(procs), LIMIT).exited(0);
            }
        }
    }
}

/// Subjects that count collections, or what a collection leaves, or allocate so
/// often that one for each takes minutes.
const NOT_STRESSED: [&str; 6] = [
    "stats",
    "leaks",
    "heap_daemon",
    "heap_data",
    "heap_refused",
    "heap_stale",
];

/// Nearly every subject; most have no collected heap, and do as they always do.
#[test]
#[ignore = "takes minutes"]
fn stress_collections() {
    let subjects: Vec<&str> = SUBJECTS
        .iter()
        .copied()
        .filter(|subject| !NOT_STRESSED.contains(subject))
        .collect();
    check_stressed(&subjects, &["1", "2", "4", "16"], 4 * LIMIT);
}

#[test]
#[ignore = "takes minutes"]
fn stress_the_shadow_of_the_heap() {
    let program = build("heap_shadow.c", Link::Shared);
    for procs in ["1", "2", "4", "16"] {
        let mut command = program.command();
        command.env("GMP_MAXPROCS", procs).env("SHADOW", "10000000");
        let outcome = run(command.arg(procs), Duration::from_secs(1200));
        println!("{procs} Ps: {}", outcome.stdout);
        outcome.exited(0);
    }
}
