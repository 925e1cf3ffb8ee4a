//! C programs print their own stacks: compiled in several ways, shared and
//! static, stripped and not, in calls and in handlers.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// How a program is compiled.
const WAYS: [&[&str]; 5] = [
    &["-O0"],
    &["-O2"],
    &["-O3", "-fomit-frame-pointer", "-fno-pie", "-no-pie"],
    &["-O2", "-static"],
    &["-O2", "-static-pie"],
];

/// How it comes to print its stack.
const MODES: [&str; 5] = ["call", "signal", "null", "write", "parked"];

/// The functions of stacks.c.
const FUNCTIONS: [&str; 4] = ["inner", "middle", "outer", "main"];

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c").join(name)
}

/// The static library of examples/stacks.rs, which `cargo test` builds.
fn library() -> PathBuf {
    let test = env::current_exe().expect("this test's path");
    let library = test.ancestors().nth(2).expect("a folder for examples");
    let library = library.join("examples/libstacks.a");
    assert!(library.exists(), "cargo build --example stacks makes {library:?}");
    library
}

fn compile(flags: &[&str], name: &str) -> PathBuf {
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let done = Command::new(env::var_os("CC").unwrap_or("cc".into()))
        .args(["-g", "-Wall", "-Wextra", "-Wno-unused-parameter"])
        .args(flags)
        .arg("-o")
        .arg(&to)
        .arg(source("stacks.c"))
        .arg(library())
        .args(["-lpthread", "-ldl", "-lm"])
        .output()
        .expect("a C compiler");
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{name}: {errors}");
    to
}

fn run(program: &Path, arguments: &[&str]) -> Vec<String> {
    let done = Command::new("timeout")
        .arg("20")
        .arg(program)
        .args(arguments)
        .output()
        .expect("timeout");
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{program:?} {arguments:?}: {done:?}");
    out.lines().map(str::to_owned).collect()
}

/// The lines from that of `inner` on.
fn from_inner<'a>(lines: &'a [String], first: &str) -> &'a [String] {
    let at = lines.iter().position(|line| line.starts_with(first));
    let at = at.unwrap_or_else(|| panic!("no {first} in {lines:#?}"));
    &lines[at..]
}

#[test]
fn functions_and_lines_are_named() {
    for (i, way) in WAYS.iter().enumerate() {
        let program = compile(way, &format!("named{i}"));
        for mode in MODES {
            let lines = run(&program, &[mode]);
            let rest = from_inner(&lines, "inner+0x");
            for (line, function) in rest.iter().zip(FUNCTIONS) {
                assert!(
                    line.starts_with(&format!("{function}+0x"))
                        && line.contains(&format!("\t{function} stacks.c:")),
                    "{way:?} {mode}: {lines:#?}"
                );
            }
            let end = lines.last().map(String::as_str);
            assert_eq!(end, Some("Complete"), "{way:?} {mode}: {lines:#?}");
        }
    }
}

/// The line of each frame is that of the call, not the next one.
#[test]
fn lines_are_those_of_calls() {
    let text = fs::read_to_string(source("stacks.c")).expect("stacks.c");
    let calls =
        ["print_stack(NULL);", "return inner(", "sum += middle(", "outer(1)"];
    let program = compile(&["-O0"], "lines");
    let lines = run(&program, &["call"]);
    let rest = from_inner(&lines, "inner+0x");
    for ((line, function), call) in rest.iter().zip(FUNCTIONS).zip(calls) {
        let number = text.lines().position(|l| l.contains(call));
        let number = number.expect("the call") + 1;
        let want = format!("\t{function} stacks.c:{number}");
        assert!(line.ends_with(&want), "{want}: {lines:#?}");
    }
}

/// A stripped program has its tables still: all frames are found, and named by
/// places that addr2line takes.
#[test]
fn stripped_programs_are_walked() {
    for (i, way) in WAYS.iter().enumerate() {
        let flags = [way, &["-s"][..]].concat();
        let whole = compile(way, &format!("whole{i}"));
        let stripped = compile(&flags, &format!("stripped{i}"));
        for mode in MODES {
            let want = run(&whole, &[mode]);
            let lines = run(&stripped, &[mode]);
            assert_eq!(want.len(), lines.len(), "{flags:?} {mode}: {lines:#?}");
            let object = format!("stripped{i}+0x");
            let count = lines.iter().filter(|l| l.starts_with(&object)).count();
            assert!(count >= FUNCTIONS.len(), "{flags:?} {mode}: {lines:#?}");
        }
        let lines = run(&stripped, &["write"]);
        let place = lines[0].split('+').nth(1).expect("a place");
        let asked = Command::new("addr2line")
            .args(["-f", "-e"])
            .arg(&whole)
            .arg(place.trim_end())
            .output()
            .expect("addr2line, of binutils");
        let answer = String::from_utf8_lossy(&asked.stdout).into_owned();
        assert!(answer.starts_with("inner\n"), "{flags:?} {place}: {answer}");
    }
}

#[test]
fn loaded_libraries_are_named() {
    let library = compile(&["-shared", "-fPIC", "-O2"], "loaded.so");
    let stripped = compile(&["-shared", "-fPIC", "-O2", "-s"], "bare.so");
    let host = host();
    for mode in MODES {
        let lines = run(&host, &[text(&library), mode]);
        let rest = from_inner(&lines, "inner+0x");
        for (line, function) in rest.iter().zip(FUNCTIONS) {
            let want = format!("\t{function} stacks.c:");
            assert!(line.contains(&want), "{mode}: {lines:#?}");
        }
        // The function that others may call keeps its name.
        let lines = run(&host, &[text(&stripped), mode]);
        from_inner(&lines, "bare.so+0x");
        from_inner(&lines, "outer+0x");
        assert_eq!(lines.last().map(String::as_str), Some("Complete"));
    }
}

/// Lines where the crate can decompress, and else a word why not.
#[test]
fn compressed_debug_information_is_read_or_told_of() {
    let program = compile(&["-O0", "-gz=zlib"], "compressed");
    let lines = run(&program, &["call"]);
    let rest = from_inner(&lines, "inner+0x");
    let told = rest[0].ends_with("\tinner ?:0\t!");
    let read = rest[0].contains("\tinner stacks.c:");
    // The library may be of another run, with other features.
    let unpacks = lines.iter().any(|line| line == "unpacks");
    let (want, other) = if unpacks { (read, told) } else { (told, read) };
    assert!(want && !other, "{lines:#?}");
}

/// A file that is not what was loaded would give wrong lines.
#[test]
fn a_replaced_file_gives_no_lines() {
    let flags = ["-shared", "-fPIC", "-O2"];
    let library = compile(&flags, "replaced.so");
    let other = compile(&[&flags[..], &["-DOTHER=1"]].concat(), "other.so");
    let host = host();
    let lines = run(&host, &[text(&library), "call", text(&other)]);
    let rest = from_inner(&lines, "outer+0x");
    assert!(rest[0].ends_with("\touter ?:0\t!"), "{lines:#?}");
    assert!(lines.iter().all(|line| !line.contains("stacks.c")), "{lines:#?}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn host() -> PathBuf {
    use std::sync::Once;
    static BUILT: Once = Once::new();
    let to = Path::new(env!("CARGO_TARGET_TMPDIR")).join("host");
    BUILT.call_once(|| {
        let done = Command::new(env::var_os("CC").unwrap_or("cc".into()))
            .arg("-o")
            .arg(&to)
            .arg(source("host.c"))
            .arg("-ldl")
            .status();
        assert!(done.expect("a C compiler").success());
    });
    to
}
