//! A Rust program as the host: `tests/rust_host` is one, with crates of its own
//! that the library does not depend on. It loads the library before its `main`
//! and shares locks of `parking_lot` between goroutines and threads.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

use common::skip::skip;
use common::{Program, run};
use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Cargo, for the host's own package.
fn cargo(command: &str) -> Command {
    let manifest = common::repository().join("tests/rust_host/Cargo.toml");
    let mut cargo =
        Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.args([command, "--locked", "--target", TARGET, "--manifest-path"]);
    cargo.arg(manifest);
    cargo
}

/// Builds the host, apart from what this test builds; nothing if its crates
/// cannot be had.
fn build() -> Option<Program> {
    let fetched = cargo("fetch").output().expect("cannot run cargo");
    if !fetched.status.success() {
        skip("the crates of tests/rust_host cannot be fetched", &[]);
        return None;
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rust_host-target");
    common::compile(cargo("build").arg("--target-dir").arg(&dir));
    Some(Program::at(dir.join(TARGET).join("debug/rust_host")))
}

#[test]
fn goroutines_and_threads_share_locks_of_parking_lot() {
    let Some(host) = build() else { return };
    let mut commands = vec![host.command_on_one_cpu()];
    for procs in ["1", "2", "4", "16"] {
        let mut command = host.command();
        command.env("GMP_MAXPROCS", procs);
        commands.push(command);
    }
    for command in &mut commands {
        command.arg(common::shared_library());
        for _ in 0..3 {
            let outcome = run(command, LIMIT);
            println!("{}", outcome.exited(0).stdout);
        }
    }
}
