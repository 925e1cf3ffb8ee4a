//! The script for gdb: goroutines in a living program and in its core.

use super::common::skip::{lacks, skip};
use super::common::{Link, Outcome, Program, repository, run, scratch};
use super::common_start::build;
use super::{frames, frames_from, gdb};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// So many goroutines of `waiters.c` wait in one function.
const MANY: usize = 1000;

/// Sources the script.
fn script() -> String {
    format!("source {}/gdb/gmprt-gdb.py\n", repository().display())
}

/// Runs the program to the point where all its goroutines wait.
fn stopped(many: usize) -> String {
    let script = script();
    format!("{script}set environment WAITERS {many}\nbreak all_wait\nrun\n")
}

fn waiters() -> Program {
    build("waiters.c", Link::Shared)
}

fn says(outcome: &Outcome, what: &str) {
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains(what), "want {what}\n{}", outcome.report());
}

/// Looks at what `info goroutines` has said about `waiters.c`.
fn check_list(outcome: &Outcome) {
    let lines = |words: &[&str]| {
        let all = |line: &&str| words.iter().all(|word| line.contains(word));
        outcome.stdout.lines().filter(all).count()
    };
    let counts = [
        lines(&["[chan receive 0x", "] wait_forever at "]),
        lines(&["[chan receive 0x", "] \"deep\" deeper at "]),
        lines(&["[mutex 0x", "] \"locker\" lock_twice at "]),
        lines(&["[sleep", "] nap at "]),
        lines(&["* ", "[running] \"spinner\" spin at "]),
    ];
    assert_eq!(counts, [MANY, 1, 1, 1, 1], "{}", outcome.report());
}

/// The stack of the goroutine called "deep".
fn check_stack(outcome: &Outcome) {
    let frames = frames_from(outcome, "#1 ");
    let from = frames.iter().position(|f| f == "gmp_chan_recv");
    let from = from.unwrap_or_else(|| panic!("{}", outcome.report()));
    assert!(frames[..from].iter().any(|f| f == "gopark"), "{frames:?}");
    let deeper = ["deeper"; 6];
    let ours = [&["gmp_chan_recv"], &deeper[..], &["wait_deep", "gostart"]];
    assert_eq!(frames[from..], ours.concat(), "{}", outcome.report());
    assert!(!outcome.stderr.contains("corrupt"), "{}", outcome.report());
}

/// The number of "deep", into $deep.
const DEEP: &str = "python gdb.set_convenience_variable('deep', \
                    next(gp.goid for gp in GmprtState().goroutines() \
                    if gp.name() == 'deep'))\n\
                    eval \"goroutine %d bt\", $deep\n";

#[test]
fn all_goroutines_are_listed_with_their_stacks() {
    if lacks(&["gdb"]) {
        return;
    }
    for link in Link::ALL {
        let program = build("waiters.c", link);
        let commands = format!("{}info goroutines\n{DEEP}", stopped(MANY));
        let outcome = gdb(&program, &[], &commands);
        check_list(&outcome);
        check_stack(&outcome);
    }
}

/// gdb shows the thread again afterwards, and no register has changed.
#[test]
fn nothing_is_written() {
    if lacks(&["gdb"]) {
        return;
    }
    let registers = "info registers rip rsp rbp rbx r12 r13 r14 r15\n";
    let commands = format!(
        "{}{registers}{DEEP}info goroutines\n{registers}backtrace 1\n",
        stopped(2)
    );
    let outcome = gdb(&waiters(), &[], &commands);
    assert_eq!(frames(&outcome)[0], "all_wait", "{}", outcome.report());
    for register in ["rip", "rsp", "rbp", "rbx", "r12", "r13", "r14", "r15"] {
        let is_it = |l: &&str| l.split_whitespace().next() == Some(register);
        let values: Vec<_> = outcome.stdout.lines().filter(is_it).collect();
        assert_eq!(values.len(), 2, "{}", outcome.report());
        assert_eq!(values[0], values[1]);
    }
}

/// Commands run in the host's function, and values of the library have types.
#[test]
fn variables_and_fields_are_printed() {
    if lacks(&["gdb"]) {
        return;
    }
    let commands = format!(
        "{}\
         info goroutines locker\n\
         print locker_g\n\
         goroutine locker_g frame\n\
         goroutine locker_g tbreak\n\
         eval \"goroutine %d print depth\", $deep\n\
         print $goroutine($deep).waiting->reason\n\
         print $goroutine(locker_g).status\n\
         print runtime_g0.m == &runtime_m0\n\
         goroutine locker_g\n\
         goroutine all frame function nap\n",
        stopped(3) + DEEP
    );
    let outcome = gdb(&waiters(), &[], &commands);
    for want in [
        "(goroutine 21 [mutex] \"locker\")",
        "lock_twice (arg=",
        "waiters.c, line 53.",
        " = 0\n",
        "\"chan receive\"",
        " = Gwaiting",
        " = 1\n",
        "  name         \"locker\"\n",
        "  func         lock_twice at ",
        "  gopc         test_main at ",
        "nap (arg=",
    ] {
        says(&outcome, want);
    }
}

/// Each field of the table that a debugger knows by `gdb/types.h`.
#[test]
fn the_types_are_the_library_s() {
    if lacks(&["gdb"]) {
        return;
    }
    let compare = "python\n\
        table = GmprtLayout()\n\
        n = 0\n\
        for letter, kind in (('G', 'g'), ('M', 'm'), ('P', 'p'), ('Wait', 'wait')):\n    \
            of = gdb.lookup_type('struct runtime_' + kind)\n    \
            fields = {f.name: f.bitpos // 8 for f in of.fields()}\n    \
            for name in table.fields(letter):\n        \
                if fields.get(name) == table[letter + '.' + name]:\n            \
                    n += 1\n        \
                else:\n            \
                    print('differs:', letter, name, fields.get(name))\n\
        print('size', gdb.lookup_type('struct runtime_g').sizeof - table['G.size'])\n\
        print('compared', n)\n\
        end\n";
    let commands = format!("{}{compare}", stopped(1));
    let outcome = gdb(&waiters(), &[], &commands);
    let differs: Vec<_> = outcome
        .stdout
        .lines()
        .filter(|line| line.starts_with("differs: "))
        // These lie behind queues and caches, whose types are not told.
        .filter(|line| *line != "differs: P started None")
        .filter(|line| *line != "differs: P ended None")
        .collect();
    assert!(differs.is_empty(), "{differs:?}");
    says(&outcome, "size 0\n");
    let compared = outcome
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("compared ")?.parse::<usize>().ok());
    assert!(compared > Some(35), "{}", outcome.report());
}

/// gdb on a core, or on a program that does not run.
fn gdb_on(program: &Program, core: Option<&Path>, commands: &str) -> Outcome {
    let file = scratch().join(format!("on-{}.gdb", core.is_some()));
    let setup = "set pagination off\nset width 0\n";
    fs::write(&file, format!("{setup}{commands}")).expect("no script");
    let mut command = Command::new("gdb");
    command.args(["-batch", "-nx", "-iex", "set debuginfod enabled off"]);
    command.arg(program.command().get_program());
    command.args(core).arg("-x").arg(&file);
    run(command.current_dir(repository()), super::LIMIT)
}

#[test]
fn a_core_that_gdb_saves_has_all_goroutines() {
    if lacks(&["gdb"]) {
        return;
    }
    let program = waiters();
    let core = scratch().join("waiters.core");
    let save = format!("{}goroutine-gcore {}\n", stopped(MANY), core.display());
    says(&gdb(&program, &[], &save), "with the stacks of ");
    let commands = format!("{}info goroutines\n{DEEP}", script());
    let outcome = gdb_on(&program, Some(&core), &commands);
    fs::remove_file(&core).expect("the core");
    check_list(&outcome);
    check_stack(&outcome);
}

/// Where the kernel puts cores; None if it hands them to a program.
fn core_folder() -> Option<PathBuf> {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").ok()?;
    let pattern = pattern.trim();
    if pattern.is_empty() || pattern.starts_with('|') {
        return None;
    }
    Some(scratch().join(pattern).parent()?.to_owned())
}

/// The newest core in a folder, written since then.
fn newest_core(folder: &Path, since: SystemTime) -> Option<PathBuf> {
    let mut cores: Vec<_> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().contains("core"))
        .filter_map(|file| Some((file.metadata().ok()?.modified().ok()?, file)))
        .filter(|(at, _)| *at >= since)
        .map(|(at, file)| (at, file.path()))
        .collect();
    cores.sort();
    cores.pop().map(|(_, path)| path)
}

#[test]
fn a_core_of_the_kernel_s_has_all_goroutines() {
    if lacks(&["gdb"]) {
        return;
    }
    let Some(folder) = core_folder() else {
        return skip("the kernel hands cores to a program", &[]);
    };
    let program = waiters();
    let since = SystemTime::now();
    let mut dies = program.command();
    dies.env("DUMP_CORE", "1").current_dir(scratch());
    let died = run(&mut dies, super::LIMIT);
    let Some(core) = newest_core(&folder, since) else {
        let limit =
            run(Command::new("sh").args(["-c", "ulimit -Hc"]), super::LIMIT);
        assert_eq!(limit.stdout, "0\n", "no core\n{}", died.report());
        return skip("this user may have no cores", &[]);
    };
    let commands = format!("{}info goroutines\n{DEEP}", script());
    let outcome = gdb_on(&program, Some(&core), &commands);
    let lost = ["-iex", "set sysroot /nowhere"];
    let mut without = Command::new("gdb");
    without.args(["-batch", "-nx", "-iex", "set debuginfod enabled off"]);
    without.args(lost).arg(program.command().get_program()).arg(&core);
    without.args(["-ex", script().trim_end(), "-ex", "info goroutines"]);
    let without = run(&mut without, super::LIMIT);
    fs::remove_file(&core).expect("the core");
    check_list(&outcome);
    check_stack(&outcome);
    says(&without, "gdb has not found the library's file");
}

#[test]
fn what_cannot_be_shown_is_said_in_words() {
    if lacks(&["gdb"]) {
        return;
    }
    let program = waiters();
    // gdb goes on with its next command after an error only here.
    let tries = |commands: &[&str]| -> String {
        let quoted = commands.iter().map(|c| format!("{c:?}"));
        let list = quoted.collect::<Vec<_>>().join(", ");
        format!(
            "python\nfor c in ({list},):\n    try:\n        gdb.execute(c)\n    \
             except gdb.error as e:\n        print(e)\nend\n"
        )
    };
    let before = script() + &tries(&["info goroutines", "goroutine 1 bt"]);
    let outcome = gdb_on(&program, None, &before);
    says(&outcome, "the program is not running, and there is no core");

    let early = format!("{}break main\nrun\ninfo goroutines\n", script());
    says(&gdb(&program, &[], &early), "No goroutines.");

    let wrong = tries(&[
        "goroutine",
        "goroutine 77777 bt",
        "goroutine all",
        "goroutine (gmp_g*)12345 bt",
        "info goroutines (",
        "print $goroutine(77777)",
        "set var *((unsigned *)&gmp_debug_layout + 2) = 99",
        "info goroutines",
        "set var *(char *)&gmp_debug_layout = 'x'",
        "info goroutines",
    ]);
    let outcome = gdb(&program, &[], &(stopped(1) + &wrong));
    for want in [
        "usage: goroutine N [COMMAND]",
        "there is no goroutine 77777",
        "(gmp_g*)12345 is no handle of a goroutine that is alive",
        "( is no regular expression",
        "the library has layout 99, and this script knows 1",
        "no table at gmp_debug_layout",
    ] {
        says(&outcome, want);
    }
    assert!(!outcome.stderr.contains("Traceback"), "{}", outcome.report());
}
