//! The layers of modules: the table that opens `src/lib.rs`, from the top to
//! the bottom. A module uses what stands below it, and itself; two modules of
//! one row do not know each other. What `src/model` has for tests under shuttle
//! in the place of a module belongs to that module's layer.

use super::paths::House;
use super::source::{Source, report};

const ROOT: &str = include_str!("../../src/lib.rs");

/// The modules of each layer, from layer 0 on.
fn layers() -> Vec<Vec<&'static str>> {
    let rows = ROOT.lines().filter_map(|line| line.strip_prefix("//! | "));
    let mut layers = Vec::new();
    for row in rows {
        let mut cells = row.split('|').map(str::trim);
        let number = cells.next().and_then(|n| n.parse::<usize>().ok());
        if let (Some(number), Some(modules)) = (number, cells.next()) {
            let modules = modules.split('`').skip(1).step_by(2).collect();
            layers.push((number, modules));
        }
    }
    layers.reverse();
    let ordered = layers.iter().enumerate().all(|(n, layer)| n == layer.0);
    assert!(ordered && layers.len() > 1, "src/lib.rs has no table of layers");
    layers.into_iter().map(|(_, modules)| modules).collect()
}

/// Modules of the top row that no table names: for benchmarks, for tests.
const BESIDE: [&str; 2] = ["internals", "model"];

pub fn layer(module: &str) -> Option<usize> {
    let layers = layers();
    let found = layers.iter().position(|layer| layer.contains(&module));
    found.or_else(|| BESIDE.contains(&module).then(|| layers.len() - 1))
}

/// What `house` imports from the wrong layer.
fn findings(house: &House) -> Vec<String> {
    let mut findings = Vec::new();
    for (n, file) in house.files.iter().enumerate() {
        let user = file.source.module();
        if user == "lib" {
            continue;
        }
        let Some(own) = layer(user) else {
            let place = file.path();
            findings.push(format!(
                "{place}: give {user} a row in the table of src/lib.rs"
            ));
            continue;
        };
        for import in house.imports(n) {
            let used = import.names.first().map_or("", String::as_str);
            let above = layer(used).is_some_and(|used| used >= own);
            if above && used != user {
                let place = file.source.place(import.at);
                let path = &import.path;
                findings.push(format!(
                    "{place}: {path}: {used} is not below {user}; move the \
                     definition down, or the code that uses it up"
                ));
            }
        }
    }
    findings
}

#[test]
fn nobody_uses_a_higher_layer() {
    let mut found: Vec<_> = House::both().iter().flat_map(findings).collect();
    found.sort();
    found.dedup();
    report("a module uses only layers below its own:", &found);
}

#[test]
fn a_higher_layer_is_found() {
    let text = "use crate::{base::x, sched::{self, park}};\nfn f() { \
                super::super::block::g(); sched::h(); park::i(); }";
    let files = [
        Source::new("gmp/a.rs", text),
        Source::new("sched/park.rs", "pub fn i() {}"),
        Source::new("block/mod.rs", "fn g() {}"),
    ];
    let found = findings(&House::library(files.into()));
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].starts_with("gmp/a.rs:2: super::super::block::g: block"));
    assert!(found[1].starts_with("gmp/a.rs:2: park::i: sched"));
}
