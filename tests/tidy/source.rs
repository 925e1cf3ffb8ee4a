//! Source files, and the views of them that rules look at.

use super::layers;
use std::fs;
use std::path::{Path, PathBuf};

/// How an item begins that only unit tests have.
const TEST_MARKS: [&str; 2] = ["#[cfg(test)]", "#[cfg(all(test"];

/// One file of this repository.
pub struct Source {
    /// Relative to the root of its tree, with `/`.
    pub path: String,
    pub text: String,
    /// The code view: comments, literals and items of unit tests are blank.
    pub code: String,
    /// Whether it is compiled for unit tests only.
    pub for_tests: bool,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = without_tests(&without_words(text));
        let (path, text) = (path.to_owned(), text.to_owned());
        Self { path, text, code, for_tests: false }
    }

    /// The top-level module that a file of `src` belongs to, or stands for.
    pub fn module(&self) -> &str {
        let first = |path: &'_ str| -> usize {
            path.find(['/', '.']).unwrap_or(path.len())
        };
        if let Some(model) = self.path.strip_prefix("model/") {
            let stands_for = &model[..first(model)];
            if layers::layer(stands_for).is_some() {
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

    /// Where `at` of the code view stands, as `path:line`.
    pub fn place(&self, at: usize) -> String {
        let line = 1 + self.code[..at].matches('\n').count();
        format!("{}:{line}", self.path)
    }
}

/// The files below `tree` whose names end so.
pub fn sources(tree: &str, ends: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(tree);
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.retain(|p| ends.iter().any(|e| p.to_string_lossy().ends_with(e)));
    paths.sort();
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path).expect("a source file is no text");
        let path = path.strip_prefix(&root).expect("it was found there");
        Source::new(&path.to_string_lossy(), &text)
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
pub fn library() -> Vec<Source> {
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
pub fn report(rule: &str, findings: &[String]) {
    let all = findings.join("\n  ");
    assert!(findings.is_empty(), "{rule}\n  {all}");
}

/// Blanks comments and the insides of literals; keeps every line break.
pub fn without_words(text: &str) -> String {
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

pub fn word(byte: u8) -> bool {
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
pub fn without_tests(code: &str) -> String {
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
pub fn item_end(code: &str, from: usize) -> usize {
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
pub fn places<'a>(
    text: &'a str,
    needle: &'a str,
) -> impl Iterator<Item = usize> + 'a {
    let starts = text.match_indices(needle).map(|(at, _)| at);
    starts.filter(move |at| *at == 0 || !word(text.as_bytes()[at - 1]))
}

/// The name at the start of `text`, or "".
pub fn name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
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
}
