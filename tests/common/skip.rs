//! Tests that cannot run here, or not all of them.
//!
//! libtest knows passed and failed only, and a test that returns early has
//! passed to it. So a test that skips something says so here, into the file
//! that `GMPRT_SKIPS` names, and `setup/count.sh` takes it out of those that
//! passed. Without that file nobody would hear of it: then it fails.

use super::repository;
use std::env;
use std::fs::File;
use std::io::Write;
use std::process::Command;
use std::thread;

/// Notes that the running test skips something, and why. `things` is what it
/// misses, in the words of `setup/need.sh`, where that can be installed.
///
/// # Panics
/// Where nobody counts what is skipped.
pub fn skip(reason: &str, things: &[&str]) {
    println!("skipped: {reason}");
    let thread = thread::current();
    let test = thread.name().unwrap_or("?");
    let name = format!("{}::{test}", env!("CARGO_CRATE_NAME"));
    let file = env::var_os("GMPRT_SKIPS").unwrap_or_else(|| {
        panic!("{name} cannot run: {reason} (`make test` counts it as skipped)")
    });
    let file = File::options().create(true).append(true).open(file);
    // In one write, as other tests append to the same file.
    let line = format!("{name}\t{reason}\t{}\n", things.join(" "));
    file.and_then(|mut file| file.write_all(line.as_bytes()))
        .expect("cannot note what is skipped");
}

/// Whether one of these commands and headers is not there; then the running
/// test, or a part of it, is skipped.
#[must_use]
pub fn lacks(things: &[&str]) -> bool {
    let asked = Command::new(repository().join("setup/need.sh"))
        .arg("--missing")
        .args(things)
        .output()
        .expect("setup/need.sh");
    let missing = String::from_utf8_lossy(&asked.stdout).into_owned();
    let missing: Vec<&str> = missing.lines().collect();
    if !missing.is_empty() {
        skip(&format!("{} not installed", missing.join(", ")), &missing);
    }
    !missing.is_empty()
}

/// Notes what a child has skipped: its lines that begin with `skipped: `.
pub fn pass_on(stdout: &str) {
    for line in stdout.lines() {
        if let Some(reason) = line.strip_prefix("skipped: ") {
            skip(reason, &[]);
        }
    }
}
