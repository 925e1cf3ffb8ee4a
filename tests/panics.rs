//! What a panic leaves: frames whose rules the library remembers. What the
//! language says of panics is among the C tests.

#[expect(dead_code, reason = "other tests use other parts of it")]
mod common;

use common::{Link, build_with, run};
use std::fs;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(40);

/// The source, for the functions of `common`.
fn source() -> String {
    let dir = common::scratch().join("start");
    fs::create_dir_all(dir).expect("no scratch directory");
    "start/panic_frames.c".to_owned()
}

/// A plug-in whose function saves these registers, in this order.
fn plugin([first, then]: [&str; 2]) -> String {
    let path = common::scratch().join(format!("panic_frames_{first}.so"));
    let mut compiler = common::compiler(&source(), &common::includedir());
    compiler.arg(format!("-DFIRST={first}")).arg(format!("-DTHEN={then}"));
    compiler.args(["-fPIC", "-shared", "-o"]).arg(&path);
    common::compile(&mut compiler);
    path.display().to_string()
}

/// A plug-in has the place of another one, and its frames have other rules.
#[test]
fn registers_are_the_callers_whatever_frames_are_left() {
    let plugins = [["rbx", "r12"], ["r12", "rbx"]].map(plugin);
    for link in Link::ALL {
        let program = build_with(&source(), link, &["-fexceptions", "-ldl"]);
        let mut command = program.command();
        let outcome = run(command.args(&plugins), LIMIT);
        outcome.exited(0);
        assert!(!outcome.stdout.contains(": 0\n"), "{}", outcome.report());
    }
}
