//! The rules of the house that a program can check: who may use whom, who may
//! ask the operating system, and what a file looks like.
//!
//! What is allowed is data, at the top; every exception carries its reason.
//! Each test collects all that it finds before it fails.
//!
//! A rule about code looks at the *code view* of a file: its text with
//! comments, literals and `#[cfg(test)]` items blanked, line by line the same.

#[path = "tidy/comments.rs"]
mod comments;
#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/order.rs"]
mod order;
#[path = "tidy/paths.rs"]
mod paths;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/statics.rs"]
mod statics;

use source::{Source, item_end, library, name, places, report, sources};

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
const FOREIGN: [(&str, &str); 6] = [
    ("arch", "the functions of asm/"),
    ("base", "the functions of sanitizers, in a table of asm/"),
    ("boot", "the asm of the start path, the program's environment"),
    ("diag", "the address of the layout table, which is above it"),
    ("ffi", "the frames of callbacks.c, through which exceptions pass"),
    ("os", "C functions that libc does not declare"),
];

/// Who may use `thread_local!`: file, reason.
const THREAD_LOCALS: [(&str, &str); 3] = [
    ("base/rank.rs", "the lock ranks that a thread holds, in debug builds"),
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
