//! The order of files in each folder of `src`: the table of files that opens
//! its `mod.rs`, from the top to the bottom. A file imports, of its own folder,
//! what stands below it; and there is no circle of files at all.
//!
//! A `mod.rs` that holds definitions has a row too: at the top where it uses
//! its files, at the bottom where they use it. One without a row declares and
//! re-exports, and nothing else.

use super::paths::{House, Import};
use super::source::{Source, report};
use std::collections::BTreeSet;

/// Folders that have no order yet: folder, reason.
const NOT_YET: [(&str, &str); 0] = [];

/// Files that may know each other: folder, files, reason.
const TOGETHER: [(&str, &[&str], &str); 1] = [(
    "gmp",
    &["g", "m", "p"],
    "a goroutine, its thread and the processor that it holds are data, and \
     point at each other",
)];

fn not_yet(path: &str) -> bool {
    NOT_YET.iter().any(|(folder, _)| part(path, folder).is_some())
}

/// Which file or folder of `folder` the file at `path` is, or is in.
fn part<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(folder)?.strip_prefix('/')?;
    Some(rest.split(['/', '.']).next().unwrap_or(rest))
}

/// The innermost folder that holds both files.
fn common<'a>(a: &'a str, b: &str) -> &'a str {
    let slashes = a.rmatch_indices('/').map(|(at, _)| at);
    let mut shared = slashes.filter(|at| b.get(..=*at) == Some(&a[..=*at]));
    &a[..shared.next().unwrap_or(0)]
}

fn together(folder: &str, one: &str, other: &str) -> bool {
    TOGETHER.iter().any(|(of, files, _)| {
        *of == folder && files.contains(&one) && files.contains(&other)
    })
}

/// The table that opens the `mod.rs` of a folder, from the top.
fn table<'a>(house: &'a House, folder: &str) -> Vec<&'a str> {
    let path = format!("{folder}/mod.rs");
    let file = house.files.iter().find(|file| file.path() == path);
    let text = file.map_or("", |file| file.source.text.as_str());
    let rows = text.lines().take_while(|line| line.starts_with("//!"));
    let rows = rows.skip_while(|line| !line.starts_with("//! | file "));
    let rows = rows.take_while(|line| line.starts_with("//! |")).skip(2);
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    names.map(|name| name.trim_end_matches(".rs")).collect()
}

/// The tables that do not name what is in their folders.
fn untrue_tables(house: &House) -> Vec<String> {
    let mut findings = Vec::new();
    let paths: Vec<_> = house.files.iter().map(|file| file.path()).collect();
    let ordered = paths.iter().filter(|path| !not_yet(path));
    for folder in ordered.filter_map(|p| p.strip_suffix("/mod.rs")) {
        let table = table(house, folder);
        let here: BTreeSet<_> =
            paths.iter().filter_map(|path| part(path, folder)).collect();
        for file in here.iter().filter(|f| **f != "mod" && !table.contains(f)) {
            findings.push(format!(
                "{folder}/mod.rs: {file} has no row in the table | file | … |: \
                 give it one below what uses it and above what it uses"
            ));
        }
        for (n, file) in table.iter().enumerate() {
            if !here.contains(file) || table[..n].contains(file) {
                findings.push(format!(
                    "{folder}/mod.rs: the row of {file} names no file, or one \
                     that has a row: take it out"
                ));
            }
        }
    }
    findings
}

/// The imports of a file that its folder's table forbids.
fn imports_upwards(house: &House) -> Vec<String> {
    let mut findings = Vec::new();
    for (user, import) in edges(house) {
        let file = &house.files[user];
        let used = house.files[import.to].path();
        let folder = common(file.path(), used);
        let table = table(house, folder);
        let (Some(from), Some(to)) =
            (part(file.path(), folder), part(used, folder))
        else {
            continue;
        };
        let row = |name: &str| table.iter().position(|row| *row == name);
        let advice = match (row(from), row(to)) {
            (Some(from), Some(to)) if from <= to => continue,
            (Some(_), Some(_)) => format!(
                "is not below it in the table of {folder}/mod.rs; move what \
                 {from} needs to a file below both, or correct the table"
            ),
            (None, _) if from == "mod" => format!(
                "is no re-export; give mod.rs a row above {to} in its table"
            ),
            (_, None) if to == "mod" => format!(
                "holds a definition; give mod.rs a row below {from} in its \
                 table"
            ),
            // The table lacks a file, and is told so.
            _ => continue,
        };
        let (place, path) = (file.source.place(import.at), &import.path);
        findings.push(format!("{place}: {path}: {used} {advice}"));
    }
    findings
}

/// All imports that have to fit an order: whose, and what.
fn edges(house: &House) -> Vec<(usize, &Import)> {
    let mut edges = Vec::new();
    for (user, file) in house.files.iter().enumerate() {
        for import in house.imports(user) {
            let (a, b) = (file.path(), house.files[import.to].path());
            let folder = common(a, b);
            let known = part(a, folder).zip(part(b, folder));
            let known = known.is_some_and(|(a, b)| together(folder, a, b));
            if !known && !not_yet(a) && !not_yet(b) {
                edges.push((user, import));
            }
        }
    }
    edges
}

/// One circle of files, if there is any: each import on the way.
fn circle(house: &House) -> Vec<String> {
    let edges = edges(house);
    let mut left: BTreeSet<usize> = (0..house.files.len()).collect();
    let next = |user: usize, left: &BTreeSet<usize>| {
        edges.iter().find(|(of, to)| *of == user && left.contains(&to.to))
    };
    // What imports nothing that is left is in no circle.
    while let Some(&free) = left.iter().find(|n| next(**n, &left).is_none()) {
        left.remove(&free);
    }
    let mut way: Vec<&(usize, &Import)> = Vec::new();
    let mut at = left.first().copied();
    while let Some(user) = at {
        if let Some(start) = way.iter().position(|(of, _)| *of == user) {
            way.drain(..start);
            break;
        }
        let edge = next(user, &left).expect("else it would not be left");
        way.push(edge);
        at = Some(edge.1.to);
    }
    let told = |edge: &&(usize, &Import)| {
        let place = house.files[edge.0].source.place(edge.1.at);
        let used = house.files[edge.1.to].path();
        format!("{place}: {} of {used}", edge.1.path)
    };
    way.iter().map(told).collect()
}

/// What `rule` finds in both, once.
fn both(rule: fn(&House) -> Vec<String>) -> Vec<String> {
    let mut found: Vec<_> = House::both().iter().flat_map(rule).collect();
    found.sort();
    found.dedup();
    found
}

#[test]
fn tables_name_the_files() {
    report("a mod.rs names each file of its folder:", &both(untrue_tables));
}

#[test]
fn files_use_what_is_below_them() {
    report("a table of files is an order:", &both(imports_upwards));
}

#[test]
fn no_circle_of_files() {
    for house in House::both() {
        report(
            "a circle of files; move what two of them need to a file below \
             both:",
            &circle(house),
        );
    }
}

/// A house of files that are nothing but these texts.
fn house(files: &[(&str, &str)]) -> House {
    let source = |(path, text): &(&str, &str)| Source::new(path, text);
    House::library(files.iter().map(source).collect())
}

const MOD: &str = "//! | file | what |\n//! |---|---|\n//! | `a`, `b` | |\n\
    //! | `c.rs` | |\n\nmod a;\nmod b;\nmod c;\npub use c::C;\n";
const C: &str = "pub struct C;\n";

#[test]
fn an_untrue_table_is_found() {
    let files = [("f/mod.rs", MOD), ("f/a.rs", ""), ("f/d.rs", "")];
    let found = untrue_tables(&house(&files));
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found[0].starts_with("f/mod.rs: d has no row"));
    assert!(found[1].starts_with("f/mod.rs: the row of b"));
    assert!(found[2].starts_with("f/mod.rs: the row of c"));
}

#[test]
fn an_import_upwards_is_found() {
    // Each of these leads from b to a, and stands in line 2.
    for import in [
        "use super::a::f;",
        "use crate::f::a::{self, f as g};",
        "use crate::{x, f::{a::{f}, c}};",
        "fn h() { super::a::f() }",
        "fn h() { crate::f::a::f(1, 2) }",
        "use super::a;\nfn h() { a::f() }",
        "use super::a as z;\nfn h() -> z::T {}",
        "mod inner { fn h() { super::super::a::f() } }",
        "pub(super) use super::a::*;",
    ] {
        let b = format!("\n{import}\n");
        let files =
            [("f/mod.rs", MOD), ("f/a.rs", ""), ("f/b.rs", &b), ("f/c.rs", C)];
        let found = imports_upwards(&house(&files));
        assert_eq!(found.len(), 1, "{import}: {found:#?}");
        assert!(found[0].starts_with("f/b.rs:"), "{found:#?}");
        assert!(found[0].contains("f/a.rs is not below it"), "{found:#?}");
    }
}

#[test]
fn what_is_no_import_upwards_is_not_found() {
    for text in [
        "// use super::a::f;\nconst A: &str = \"super::a::f\";",
        "use super::a;",
        "use super::C;\nuse super::c;\nfn f(_: c::C) {}",
        "use core::a::f;\nfn g() { x::a::f() }",
        "#[cfg(test)]\nmod tests { use super::super::a::f; }",
        "mod a { pub fn f() {} }\nfn g() { a::f() }",
    ] {
        let files = [("f/mod.rs", MOD), ("f/a.rs", ""), ("f/b.rs", text)];
        let found =
            imports_upwards(&house(&[&files[..], &[("f/c.rs", C)]].concat()));
        assert!(found.is_empty(), "{text}: {found:#?}");
    }
}

#[test]
fn a_mod_that_holds_something_has_a_row() {
    let user = "use super::X;\n";
    let defines = format!("{MOD}pub struct X;\n");
    let uses = format!("{MOD}fn f() {{ a::g() }}\n");
    let used = format!("{MOD}fn f(_: C) {{}}\n");
    for (text, a, place) in [
        (&defines, user, "f/a.rs:1: super::X: f/mod.rs holds"),
        (&uses, "", "f/mod.rs:10: a::g: f/a.rs is no re-export"),
        (&used, "", "f/mod.rs:9: c::C: f/c.rs is no re-export"),
    ] {
        let files = [("f/mod.rs", text.as_str()), ("f/a.rs", a), ("f/c.rs", C)];
        let found = imports_upwards(&house(&files));
        assert_eq!(found.len(), 1, "{text}: {found:#?}");
        assert!(found[0].starts_with(place), "{found:#?}");
    }
}

#[test]
fn a_circle_is_found() {
    let files = [
        ("f/mod.rs", "mod a;\nmod b;\n"),
        ("f/a.rs", "use super::b::B;\n"),
        ("f/b.rs", "use crate::g::G;\n"),
        ("g.rs", "use crate::f::a::A;\nuse crate::h::H;\n"),
        ("h.rs", "pub struct H;\n"),
    ];
    let found = circle(&house(&files));
    assert_eq!(found.len(), 3, "{found:#?}");
    assert_eq!(found[0], "f/a.rs:1: super::b::B of f/b.rs");
    assert!(circle(&house(&files[1..3])).is_empty());
}
