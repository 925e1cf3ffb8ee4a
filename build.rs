//! Assembles `asm/*.S` and hands their structure offsets to Rust.
//!
//! `asm/offsets.h` is the one source of every offset that assembly uses: it is
//! preprocessed into the `.S` files, and copied from here into Rust constants,
//! which `src/gmp` compares with `offset_of!` at compile time.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=asm");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libgmprt.so.0");
    // The library's threads run its code until the process ends, so a
    // `dlclose` must leave it mapped.
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
    write_offsets();
    if env::var("CARGO_CFG_LOOM").is_ok() {
        return;
    }
    cc::Build::new()
        .file("asm/rt0_amd64.S")
        .file("asm/switch_amd64.S")
        .include("asm")
        .flag("-g")
        .compile("gmprt_asm");
}

/// Turns each `#define NAME NUMBER` of `asm/offsets.h` into a constant.
fn write_offsets() {
    let header = fs::read_to_string("asm/offsets.h").expect("asm/offsets.h");
    let mut out = String::new();
    for line in header.lines() {
        let mut words = line.split_whitespace();
        if words.next() != Some("#define") {
            continue;
        }
        let (Some(name), Some(value)) = (words.next(), words.next()) else {
            continue;
        };
        out += &format!("pub(crate) const {name}: usize = {value};\n");
    }
    let dir = PathBuf::from(env::var_os("OUT_DIR").expect("OUT_DIR"));
    fs::write(dir.join("offsets.rs"), out).expect("write offsets.rs");
}
