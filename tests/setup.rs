//! The scripts that see to what is missing and that count the tests.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

use common::skip::lacks;
use common::{Outcome, run};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Runs a script of `setup`, which installs nothing.
fn script(name: &str, args: &[&str], env: &[(&str, &str)]) -> Outcome {
    let path = common::repository().join("setup").join(name);
    let mut command = Command::new(path);
    command.args(args).env("SETUP", "look");
    run(command.env_remove("GMPRT_NO_SKIPS").envs(env.iter().copied()), LIMIT)
}

/// The last line of what `setup/count.sh` makes of these shell commands.
fn counted(name: &str, commands: &[&str], env: &[(&str, &str)]) -> Outcome {
    let dir = common::scratch().join(name);
    let dir = dir.to_str().expect("a path");
    script("count.sh", &[&[dir], commands].concat(), env)
}

fn last_line(outcome: &Outcome) -> &str {
    outcome.stdout.lines().last().unwrap_or_default()
}

/// What cargo and libtest print of two test programs.
const GOOD: &str = "cat <<END
     Running tests/one.rs (target/one-0)
test first ... ok
test second ... ok
test third ... ignored
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured
     Running tests/two.rs (target/two-0)
test first ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured
END";

const BAD: &str = "cat <<END
     Running tests/bad.rs (target/bad-0)
test first ... FAILED
test second ... ok
test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured
END
exit 101";

/// Two parts of one test, and another test.
const SKIPS: &str = "printf 'one::first\\tno gdb\\tgdb\\n\
                     one::first\\tno clang\\tclang\\n\
                     two::first\\tno IPv6\\t\\n' >>$GMPRT_SKIPS";

#[test]
fn a_skipped_test_has_not_passed() {
    let outcome = counted("good", &[GOOD, GOOD], &[]);
    let sums = "test result: ok. 6 passed; 0 failed; 2 ignored; 0 skipped";
    assert_eq!(last_line(outcome.exited(0)), sums);

    let outcome = counted("skips", &[GOOD, SKIPS], &[]);
    let sums = "test result: ok. 1 passed; 0 failed; 1 ignored; 2 skipped";
    assert_eq!(last_line(outcome.exited(0)), sums);
    for part in ["one::first: no gdb\n", "two::first: no IPv6\n"] {
        assert!(outcome.stdout.contains(part), "{}", outcome.report());
    }
    let line = "apt-get install -y clang gdb";
    assert!(outcome.stdout.contains(line), "{}", outcome.report());

    let strict = [("GMPRT_NO_SKIPS", "1")];
    let outcome = counted("strict", &[GOOD, SKIPS], &strict);
    let sums = "test result: FAILED. 1 passed; 0 failed; 1 ignored; 2 skipped";
    assert_eq!(last_line(outcome.exited(1)), sums);
    counted("strict_good", &[GOOD], &strict).exited(0);
}

#[test]
fn a_failed_test_fails_the_sum() {
    let skip = "printf 'bad::first\\tno gdb\\tgdb\\n' >>$GMPRT_SKIPS";
    let outcome = counted("bad", &[BAD, GOOD, skip], &[]);
    let sums = "test result: FAILED. 4 passed; 1 failed; 1 ignored; 0 skipped";
    assert_eq!(last_line(outcome.exited(1)), sums);
    let names = "failed:\n    bad::first\n";
    assert!(outcome.stdout.contains(names), "{}", outcome.report());
    // A program that dies has no sum of its own.
    let outcome = counted("dead", &[GOOD, "kill -9 $$"], &[]);
    let sums = "test result: FAILED. 3 passed; 0 failed; 1 ignored; 0 skipped";
    assert_eq!(last_line(outcome.exited(1)), sums);
}

#[test]
fn what_is_missing_is_named_in_one_line() {
    script("need.sh", &["sh", "stdio.h", "--", "sh"], &[]).exited(0);
    // Of the commands, there is a shell only and what the script itself uses.
    let dir = common::scratch().join("few");
    fs::create_dir_all(&dir).expect("a directory");
    for tool in
        ["sh", "sed", "dirname", "tr", "sort", "id", "awk", "head", "apt-get"]
    {
        let found = ["/usr/bin", "/bin"].map(|bin| Path::new(bin).join(tool));
        let found = found.iter().find(|path| path.exists()).expect(tool);
        let link = dir.join(tool);
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(found, link).expect("a link");
    }
    let few = [("PATH", dir.to_str().expect("a path"))];
    let line = "apt-get update && apt-get install -y gcc gdb libc6-dev";
    let things = ["cc", "stdio.h", "--", "gdb", "sh"];
    script("need.sh", &things, &few).exited(1).said_once(line);
    let things = ["--", "cc", "stdio.h", "gdb"];
    script("need.sh", &things, &few)
        .exited(0)
        .said_once(line)
        .said_once("going on without");
    let outcome = script("need.sh", &["cargo"], &few);
    outcome.exited(1).said_once("Rust 1.88 or newer, which comes with rustup");
}

/// Another system is refused by name, before a compiler fails at some detail.
#[test]
fn another_system_is_refused_in_words() {
    let words = "gmprt is for x86-64 Linux with glibc";
    for cc in ["cc -m32", "cc -U__x86_64__", "cc -U__linux__"] {
        script("need.sh", &["sh"], &[("CC", cc)]).exited(1).said_once(words);
    }
    script("need.sh", &["sh"], &[("CC", "cc -O2")]).exited(0);
    if !lacks(&["musl-gcc"]) {
        let musl = [("CC", "musl-gcc")];
        script("need.sh", &["sh"], &musl).exited(1).said_once(words);
    }
    for (target, refused) in [
        ("x86_64 64 linux gnu", false),
        ("x86_64 64 linux musl", true),
        ("x86_64 32 linux gnu", true),
        ("x86_64 64 android ", true),
        ("aarch64 64 linux gnu", true),
    ] {
        let said = build_script(target);
        let line = format!("cargo::error={words}, not for {target}: ");
        assert_eq!(said.contains(&line), refused, "{target}: {said}");
    }
}

/// What build.rs says to cargo for a target. cargo has compiled the script to
/// a neighbour of this test's `OUT_DIR`.
fn build_script(target: &str) -> String {
    let builds = Path::new(env!("OUT_DIR")).join("../..");
    let scripts = fs::read_dir(&builds).expect("target/debug/build");
    let script = scripts
        .map(|entry| entry.expect("an entry"))
        .filter(|at| at.file_name().to_string_lossy().starts_with("gmprt-"))
        .map(|at| at.path().join("build-script-build"))
        .filter(|path| path.exists())
        .max_by_key(|path| path.metadata().and_then(|m| m.modified()).ok());
    let out = common::scratch().join("build_script");
    fs::create_dir_all(&out).expect("a directory");
    let mut command = Command::new(script.expect("a build script"));
    command
        .current_dir(common::repository())
        .env("CARGO_MANIFEST_DIR", common::repository())
        .env("OUT_DIR", out)
        // Asks for no assembly, which tells nothing here.
        .env("CARGO_CFG_LOOM", "1")
        .env("TARGET", target);
    let parts = target.split(' ');
    for (name, part) in ["ARCH", "POINTER_WIDTH", "OS", "ENV"].iter().zip(parts)
    {
        command.env(format!("CARGO_CFG_TARGET_{name}"), part);
    }
    run(&mut command, LIMIT).exited(0).stdout.clone()
}

/// Whatever a test may miss is installed for it, and by a package.
#[test]
fn what_tests_ask_for_can_be_installed() {
    let root = common::repository();
    let makefile = fs::read_to_string(root.join("Makefile")).expect("text");
    // GLASS is a part of TESTED, and stands before it.
    let tested = makefile.split("\nGLASS").nth(1).expect("the lists");
    let tested = tested.split("# What").next().unwrap_or_default();
    let tested: Vec<&str> = tested
        .split_whitespace()
        .filter(|word| !["=", "TESTED", "\\"].contains(word))
        .filter(|word| !word.starts_with('$'))
        .collect();
    let ask = ["lacks(&", "["].concat(); // which this file has not
    let mut asked = 0;
    for entry in fs::read_dir(root.join("tests")).expect("tests") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        for call in text.split(&ask).skip(1) {
            let things = call.split("])").next().unwrap_or_default();
            for thing in things.split('"').skip(1).step_by(2) {
                asked += 1;
                assert!(tested.contains(&thing), "{path:?}: {thing}");
            }
        }
    }
    assert!(asked > 20, "only {asked}");
    for thing in &tested {
        let outcome = script("need.sh", &["--line", thing], &[]);
        let line = &outcome.exited(0).stdout;
        assert!(line.contains("apt-get install -y "), "{thing}: {line}");
    }
}
