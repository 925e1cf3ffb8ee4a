//! The rules of the house that a program can check: who may use whom, who may
//! ask the operating system, and what a file looks like.
//!
//! What is allowed is data, at the top; every exception carries its reason.
//! Each test collects all that it finds before it fails.
//!
//! A rule about code looks at the *code view* of a file: its text with
//! comments, literals and `#[cfg(test)]` items blanked, line by line the same.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first. A module uses what is below it, and itself; two
/// modules of one layer do not know each other. What `src/model` has for tests
/// under shuttle in the place of a module belongs to that module's layer.
const LAYERS: [&[&str]; 10] = [
    &["base"],
    &["os"],
    &["stack", "timers"],
    &["gmp"],
    &["arch"],
    &["netpoll"],
    &["sched"],
    &["block", "diag"],
    &["boot"],
    &["ffi", "internals", "model"],
];

/// C functions that are called outside `os`: file, function, reason.
const C_CALLS: [(&str, &str, &str); 11] = [
    ("base/", "__errno_location", "base lies below os"),
    ("base/print.rs", "syscall", "base lies below os"),
    ("base/throw.rs", "abort", "base lies below os"),
    ("base/throw.rs", "pause", "base lies below os"),
    ("base/throw.rs", "poll", "base lies below os"),
    ("boot/preinit.rs", "pthread_atfork", "a registration, not a call"),
    ("", "malloc", "memory that a caller may free, not a system call"),
    ("", "calloc", "memory, not a system call"),
    ("", "realloc", "memory, not a system call"),
    ("", "free", "memory, not a system call"),
    ("", "strdup", "memory, not a system call"),
];

/// Who declares foreign functions: module, reason.
const FOREIGN: [(&str, &str); 4] = [
    ("arch", "the functions of asm/"),
    ("boot", "the asm of the start path, the program's environment"),
    ("ffi", "the frames of callbacks.c, through which exceptions pass"),
    ("os", "C functions that libc does not declare"),
];

/// Who may use `thread_local!`: file, reason.
const THREAD_LOCALS: [(&str, &str); 3] = [
    ("base/lock.rs", "the lock ranks that a thread holds, in debug builds"),
    ("model/arch.rs", "shuttle's: a model's threads are its goroutines"),
    ("model/check.rs", "tests beside one another: the seed of each"),
];

/// What ends the process where memory is out, as `base::alloc` says; and who
/// may use it: word, file, reason.
const INFALLIBLE: [&str; 12] = [
    "Box::new(",
    "Vec::with_capacity(",
    "vec![",
    "format!(",
    ".to_owned()",
    ".to_string()",
    ".to_vec()",
    ".collect()",
    ".collect::<",
    "CString::new(",
    "fs::read",
    "into_boxed_slice(",
];
const MAY_RUN_OUT: [(&str, &str); 2] = [
    ("internals.rs", "measured by itself, in a program of ours"),
    ("model/", "in tests under shuttle only"),
];

const MAX_FILE_LINES: usize = 600;
const MAX_FUNCTION_LINES: usize = 60;
const MAX_COMMENT_COLUMNS: usize = 80;
const MAX_CODE_COLUMNS: usize = 100;

/// How an item begins that only unit tests have.
const TEST_MARKS: [&str; 2] = ["#[cfg(test)]", "#[cfg(all(test"];

/// One file of this repository.
struct Source {
    /// Relative to the root of its tree, with `/`.
    path: String,
    text: String,
    code: String,
    /// Whether it is compiled for unit tests only.
    for_tests: bool,
}

impl Source {
    /// The top-level module that a file of `src` belongs to, or stands for.
    fn module(&self) -> &str {
        let first = |path: &'_ str| -> usize {
            path.find(['/', '.']).unwrap_or(path.len())
        };
        if let Some(model) = self.path.strip_prefix("model/") {
            let stands_for = &model[..first(model)];
            if layer(stands_for).is_some() {
                return stands_for;
            }
        }
        &self.path[..first(&self.path)]
    }

    /// The modules that this file declares for unit tests only, as paths
    /// without an ending.
    fn test_modules(&self) -> Vec<String> {
        let stem = self.path.trim_end_matches(".rs");
        let dir = stem.strip_suffix("mod").unwrap_or(stem);
        let dir = dir.strip_suffix("lib").unwrap_or(dir);
        let slash = if dir.is_empty() || dir.ends_with('/') { "" } else { "/" };
        let code = without_words(&self.text);
        let mut modules = Vec::new();
        for item in TEST_MARKS.iter().flat_map(|mark| code.split(mark).skip(1))
        {
            let item = &item[..item.find([';', '{']).map_or(0, |n| n + 1)];
            let declared = item.split_once("mod ").map(|(_, m)| m);
            if let Some(module) = declared.and_then(|m| m.strip_suffix(';')) {
                modules.push(format!("{dir}{slash}{module}"));
            }
        }
        modules
    }

    /// Where `what` stands in the code view, as `path:line`.
    fn place(&self, at: usize) -> String {
        let line = 1 + self.code[..at].matches('\n').count();
        format!("{}:{line}", self.path)
    }
}

/// The files below `tree` whose names end so.
fn sources(tree: &str, ends: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(tree);
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.retain(|p| ends.iter().any(|e| p.to_string_lossy().ends_with(e)));
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a source file is no text");
        let code = without_tests(&without_words(&text));
        let path = path.strip_prefix(&root).expect("it was found there");
        let path = path.to_string_lossy().into_owned();
        Source { path, text, code, for_tests: false }
    };
    paths.iter().map(read).collect()
}

fn collect(dir: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, paths);
        } else {
            paths.push(path);
        }
    }
}

/// The library's own sources.
fn library() -> Vec<Source> {
    let mut library = sources("src", &[".rs"]);
    assert!(library.len() > 10, "src has moved");
    let tests: Vec<_> = library.iter().flat_map(Source::test_modules).collect();
    for file in &mut library {
        let stem = file.path.trim_end_matches(".rs").trim_end_matches("/mod");
        file.for_tests = tests.iter().any(|test| test == stem);
    }
    library
}

/// Fails with all findings, under the rule that they break.
fn report(rule: &str, findings: &[String]) {
    let all = findings.join("\n  ");
    assert!(findings.is_empty(), "{rule}\n  {all}");
}

/// Blanks comments and the insides of literals; keeps every line break.
fn without_words(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = at + word_length(&bytes[at..], at > 0 && word(bytes[at - 1]));
        for byte in &mut code[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(code).expect("blanked from start to end")
}

fn word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// How many bytes of a comment or literal stand at the start of `text`.
fn word_length(text: &[u8], in_name: bool) -> usize {
    let until = |from: usize, end: &[u8]| {
        let rest = text.get(from..).unwrap_or(&[]);
        let found = rest.windows(end.len()).position(|w| w == end);
        found.map_or(text.len(), |n| from + n + end.len())
    };
    match text {
        [b'/', b'/', ..] => until(2, b"\n") - 1,
        [b'/', b'*', ..] => until(2, b"*/"),
        [b'"', ..] => quoted_length(text, b'"'),
        // Raw, with as many marks at the end as at the start.
        [b'r', b'"' | b'#', ..] if !in_name => {
            let marks = text[1..].iter().take_while(|b| **b == b'#').count();
            if text.get(1 + marks) != Some(&b'"') {
                return 0; // r#name
            }
            let end = [b"\"".as_slice(), &b"#".repeat(marks)].concat();
            until(2 + marks, &end)
        }
        // A character, not a lifetime: an escape, or closed after one.
        [b'\'', b'\\', ..] => quoted_length(text, b'\''),
        [b'\'', ..] => {
            let inside = String::from_utf8_lossy(&text[1..text.len().min(6)]);
            let width = inside.chars().next().map_or(0, char::len_utf8);
            let closed = text.get(1 + width) == Some(&b'\'');
            if closed { width + 2 } else { 0 }
        }
        _ => 0,
    }
}

/// The length of a literal that starts with `quote` and may have escapes.
fn quoted_length(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < text.len() && text[at] != quote {
        at += if text[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(text.len())
}

/// Blanks every item under `#[cfg(test)]` or `#[cfg(all(test, …))]`.
fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    for mark in TEST_MARKS {
        while let Some(start) = code.find(mark) {
            let after = start + code[start..].find(']').map_or(0, |n| n + 1);
            let end = item_end(&code, after);
            let blank = |c: char| if c == '\n' { '\n' } else { ' ' };
            let blanked: String = code[start..end].chars().map(blank).collect();
            code.replace_range(start..end, &blanked);
        }
    }
    code
}

/// Where the item that starts at `from` ends: after its block, or its `;`.
fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[from..].char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 && (c == '}' || c == ';') {
            return from + at + 1;
        }
    }
    code.len()
}

/// Every place of `needle` in `text` that is not the middle of a name.
fn places<'a>(
    text: &'a str,
    needle: &'a str,
) -> impl Iterator<Item = usize> + 'a {
    let starts = text.match_indices(needle).map(|(at, _)| at);
    starts.filter(move |at| *at == 0 || !word(text.as_bytes()[at - 1]))
}

/// The name at the start of `text`, or "".
fn name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// The modules that stand after `crate::`, one or a group of them.
fn modules_after(path: &str) -> Vec<&str> {
    let Some(group) = path.strip_prefix('{') else { return vec![name(path)] };
    let mut modules = vec![name(group.trim_start())];
    let mut depth = 1;
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                modules.push(name(group[at + 1..].trim_start()));
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    modules
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn nobody_uses_a_higher_layer() {
    let mut findings = Vec::new();
    for file in library().iter().filter(|f| f.path != "lib.rs") {
        let user = file.module();
        let Some(own) = layer(user) else {
            findings.push(format!("{}: {user} is in no layer", file.path));
            continue;
        };
        for at in places(&file.code, "crate::") {
            for used in modules_after(&file.code[at + "crate::".len()..]) {
                let above = layer(used).is_some_and(|used| used >= own);
                if above && used != user {
                    let place = file.place(at);
                    findings.push(format!("{place}: {user} uses {used}"));
                }
            }
        }
    }
    report("a module uses only layers below its own:", &findings);
}

#[test]
fn only_os_asks_the_operating_system() {
    let mut findings = Vec::new();
    for file in library() {
        if file.module() == "os" || file.for_tests {
            continue;
        }
        for at in places(&file.code, "libc::") {
            let called = name(&file.code[at + "libc::".len()..]);
            let call = file.code[at + "libc::".len() + called.len()..]
                .starts_with('(');
            let allowed = C_CALLS.iter().any(|(path, c, _)| {
                file.path.starts_with(path) && *c == called
            });
            if call && !allowed {
                findings.push(format!("{}: {called}", file.place(at)));
            }
        }
        for at in places(&file.code, "use libc::{") {
            findings.push(format!("{}: use libc::{{…}}", file.place(at)));
        }
        if file.text.contains("\"syscall\"") {
            findings.push(format!("{}: a syscall instruction", file.path));
        }
    }
    report("C functions are called through os, by their full name:", &findings);
}

/// A host lives on without memory, and is told.
#[test]
fn whatever_allocates_can_fail() {
    let mut findings = Vec::new();
    for file in library() {
        let may = MAY_RUN_OUT.iter().any(|(p, _)| file.path.starts_with(p));
        if may || file.for_tests {
            continue;
        }
        for what in INFALLIBLE {
            for (at, _) in file.code.match_indices(what) {
                findings.push(format!("{}: {what}", file.place(at)));
            }
        }
    }
    report("memory is asked for so that it may be refused:", &findings);
}

#[test]
fn foreign_functions_are_declared_in_few_places() {
    let mut findings = Vec::new();
    for file in library() {
        let allowed = FOREIGN.iter().any(|(m, _)| *m == file.module());
        for at in places(&file.code, "extern ") {
            // The code view has blanks where the ABI's name was.
            let block = file.code[at + "extern".len()..].trim_start();
            if block.starts_with('{') && !allowed {
                findings.push(file.place(at));
            }
        }
    }
    report("foreign functions are declared by few modules:", &findings);
}

#[test]
fn no_hidden_state() {
    let mut findings = Vec::new();
    for file in library() {
        for at in places(&file.code, "static mut ") {
            findings.push(format!("{}: static mut", file.place(at)));
        }
        let allowed = THREAD_LOCALS.iter().any(|(p, _)| *p == file.path);
        for at in places(&file.code, "thread_local!") {
            if !allowed {
                findings.push(format!("{}: thread_local!", file.place(at)));
            }
        }
    }
    report("no static mut; g, m and p are not thread_local!:", &findings);
}

#[test]
fn lints_are_expected_not_allowed() {
    let mut findings = Vec::new();
    for file in library().into_iter().chain(sources("tests", &[".rs"])) {
        for mark in ["#[allow", "#![allow"] {
            for (at, _) in file.code.match_indices(mark) {
                findings.push(file.place(at));
            }
        }
    }
    report("#[expect(lint, reason = …)], never allow:", &findings);
}

#[test]
fn every_module_opens_with_what_it_is() {
    let opens = |file: &Source| file.text.starts_with("//! ");
    let all = library().into_iter().chain(sources("tests", &[".rs"]));
    let findings: Vec<_> =
        all.filter(|file| !opens(file)).map(|file| file.path).collect();
    report("a module opens with //! and a sentence:", &findings);
}

#[test]
fn files_are_short() {
    let mut findings = Vec::new();
    for file in library().into_iter().chain(sources("tests", &[".rs"])) {
        let lines = file.text.lines().count();
        if lines > MAX_FILE_LINES {
            findings.push(format!("{}: {lines} lines", file.path));
        }
    }
    let rule = format!("a file has at most {MAX_FILE_LINES} lines:");
    report(&rule, &findings);
}

#[test]
fn functions_are_short() {
    let mut findings = Vec::new();
    for file in library().into_iter().chain(sources("tests", &[".rs"])) {
        for at in places(&file.code, "fn ") {
            let function = name(&file.code[at + "fn ".len()..]);
            let end = item_end(&file.code, at);
            let lines = 1 + file.code[at..end].matches('\n').count();
            if !function.is_empty() && lines > MAX_FUNCTION_LINES {
                let place = file.place(at);
                findings.push(format!("{place}: {function}, {lines} lines"));
            }
        }
    }
    let rule = format!("a function has at most {MAX_FUNCTION_LINES} lines:");
    report(&rule, &findings);
}

#[test]
fn lines_are_narrow_and_clean() {
    let mut findings = Vec::new();
    let trees = [("src", "src/"), ("tests", "tests/"), ("c-tests", "c-tests/")];
    for (tree, prefix) in trees {
        for file in sources(tree, &[".rs", ".c", ".h", ".cc"]) {
            for (n, line) in file.text.lines().enumerate() {
                if let Some(fault) = fault_of(line) {
                    let at = format!("{prefix}{}:{}", file.path, n + 1);
                    findings.push(format!("{at}: {fault}"));
                }
            }
        }
    }
    report("lines are narrow, without tabs and trailing blanks:", &findings);
}

/// What is wrong with the look of a line.
fn fault_of(line: &str) -> Option<String> {
    let start = line.trim_start();
    let comment = ["//", "/*", "* "].iter().any(|c| start.starts_with(c));
    let most = if comment { MAX_COMMENT_COLUMNS } else { MAX_CODE_COLUMNS };
    let columns = line.chars().count();
    if line.contains('\t') {
        Some("a tab".to_owned())
    } else if line.ends_with(char::is_whitespace) {
        Some("blanks at the end".to_owned())
    } else if columns > most {
        Some(format!("{columns} columns, {most} at most"))
    } else {
        None
    }
}

/// The code view is what all of this rests on.
#[test]
fn code_view_blanks_words_only() {
    let text = concat!(
        "a(\"crate::x {\"); // fn b {\n",
        "let c: &'static str = r#\"}\"\"#; let d = '{'; /* { */\n",
        "#[cfg(test)]\nmod tests { fn long() {} }\nlet e = b'\\'';\n",
    );
    let code = without_tests(&without_words(text));
    assert_eq!(code.lines().count(), text.lines().count());
    assert!(!code.contains(['{', '}']) && !code.contains("crate::"));
    for kept in ["a(", ");", "let c: &'static str =", "let d =", "let e ="] {
        assert!(code.contains(kept), "{kept:?} is gone: {code:?}");
    }
    assert_eq!(modules_after("{base::{x, y}, os}::z"), ["base", "os"]);
    assert_eq!(modules_after("sched::go()"), ["sched"]);
}
