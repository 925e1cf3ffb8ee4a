//! `include/gmp.h` is what `src/ffi` says, and nothing else.
//!
//! The header is `src/ffi/prelude.h`, what cbindgen makes of the files below,
//! and `src/ffi/postlude.h`. `make header` (GMPRT_BLESS=1 with this test)
//! writes it; without that the test compares.

use std::{env, fs, path::Path};

/// The files of the C surface, in the order of the header.
const FILES: [&str; 14] = [
    "runtime.rs",
    "goroutine.rs",
    "signal.rs",
    "local.rs",
    "chan.rs",
    "select.rs",
    "sync.rs",
    "group.rs",
    "time.rs",
    "timer.rs",
    "io.rs",
    "net.rs",
    "file.rs",
    "process.rs",
];

#[test]
fn gmp_h_is_generated_from_ffi() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = generate(root);
    let path = root.join("include/gmp.h");
    if env::var_os("GMPRT_BLESS").is_some() {
        fs::write(&path, &made).expect("write include/gmp.h");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        made == kept,
        "include/gmp.h is not what src/ffi says; run `make header`"
    );
}

/// No file of the surface is left out.
#[test]
fn every_ffi_file_is_listed() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ffi");
    for entry in fs::read_dir(dir).expect("src/ffi") {
        let name = entry.expect("entry").file_name();
        let name = name.to_string_lossy().into_owned();
        let is_surface = name.ends_with(".rs") && name != "mod.rs";
        assert!(
            !is_surface || FILES.contains(&name.as_str()),
            "src/ffi/{name} is not in this test's list"
        );
    }
}

fn generate(root: &Path) -> String {
    let ffi = root.join("src/ffi");
    let read = |name: &str| fs::read_to_string(ffi.join(name)).expect(name);
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml"))
        .expect("cbindgen.toml");
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in FILES {
        builder = builder.with_src(ffi.join(file));
    }
    let mut body = Vec::new();
    builder.generate().expect("src/ffi parses").write(&mut body);
    let body = String::from_utf8(body).expect("UTF-8");
    // Rust's heading for what the caller has to see to.
    let body = body.replace(" * # Safety\n", " * Required:\n");
    read("prelude.h") + body.trim_start() + &read("postlude.h")
}
