//! `docs/go-names.md` is true: each name that it gives for one of Go's is
//! defined where it says, and each of Go's is answered.

use std::fs;
use std::path::Path;

/// A row of a table: Go's names, ours, where, what differs.
struct Row {
    line: usize,
    cells: [String; 4],
}

fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for (n, line) in page().lines().enumerate() {
        let Some(line) = line.strip_prefix("| ") else { continue };
        let cells: Vec<_> = line.trim_end_matches('|').split('|').collect();
        assert_eq!(cells.len(), 4, "line {}: {line}", n + 1);
        let cell = |i: usize| cells[i].trim().to_owned();
        rows.push(Row { line: n + 1, cells: [0, 1, 2, 3].map(cell) });
    }
    rows.retain(|row| row.cells[0] != "Go's name");
    assert!(rows.len() > 200, "{} rows: the page has moved", rows.len());
    rows
}

fn page() -> String {
    text_of("docs/go-names.md").expect("docs/go-names.md")
}

fn text_of(path: &str) -> Option<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    fs::read_to_string(root.join(path)).ok()
}

/// What stands in backticks.
fn names(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

fn in_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

/// Whether `text` defines `name`: as a function, a value, a type, a field, a
/// variant, or a label or macro of assembly.
fn defines(text: &str, name: &str) -> bool {
    const BEFORE: [&str; 12] = [
        "fn", "static", "const", "struct", "enum", "type", "mod", "class",
        "func", ".macro", "#define", "macro",
    ];
    text.match_indices(name).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + name.len()..]);
        if before.ends_with(in_word) || after.starts_with(in_word) {
            return false;
        }
        let line = before.rsplit('\n').next().unwrap_or_default();
        let words: Vec<_> = line.split_whitespace().collect();
        if line.trim_start().starts_with("//") {
            return false;
        }
        if words.last().is_some_and(|w| BEFORE.contains(w)) {
            return true;
        }
        let first = words.iter().all(|w| w.starts_with("pub"));
        let value = after.trim_start().strip_prefix('=').is_some_and(|rest| {
            rest.trim_start().starts_with(|c: char| c.is_ascii_digit())
        });
        first && (after.starts_with([':', ',']) || value)
    })
}

#[test]
fn each_of_our_names_is_defined_where_the_page_says() {
    let mut findings = Vec::new();
    for Row { line, cells: [_, ours, places, _] } in rows() {
        let texts: Vec<_> = names(&places)
            .into_iter()
            .filter_map(|path| {
                let text = text_of(path);
                if text.is_none() {
                    findings.push(format!("line {line}: no file {path}"));
                }
                text
            })
            .collect();
        for name in names(&ours) {
            if !texts.iter().any(|text| defines(text, name)) {
                findings.push(format!("line {line}: {name} not in {places}"));
            }
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn each_of_gos_names_has_an_answer() {
    let mut findings = Vec::new();
    for Row { line, cells: [gos, ours, places, note] } in rows() {
        let none = ours == "none" && places.is_empty() && !note.is_empty();
        let some = !names(&ours).is_empty() && !names(&places).is_empty();
        if gos.is_empty() || !(none || some) {
            findings.push(format!("line {line}: {gos}"));
        }
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// The test above would find what is not there.
#[test]
fn a_mention_is_no_definition() {
    let text = "/// calls gopark: here\n    gopark(x);\n// runqput: no\n\
                pub(crate) fn wakep() {}\nfunc mcall\n\tok:\n    Idle = 0,\n";
    assert!(!defines(text, "gopark") && !defines(text, "runqput"));
    assert!(defines(text, "wakep") && defines(text, "mcall"));
    assert!(defines(text, "ok") && defines(text, "Idle"));
    assert!(!defines(text, "wake") && !defines(text, "call"));
}
