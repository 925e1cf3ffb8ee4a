//! Assembles `asm/*.S` and hands their structure offsets to Rust.
//!
//! `asm/offsets.h` is the one source of every offset that assembly uses: it is
//! preprocessed into the `.S` files, and copied from here into Rust constants,
//! which `src/gmp` compares with `offset_of!` at compile time.

use std::{env, fs, path::PathBuf};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=asm");
    if let Some(words) = refusal() {
        println!("cargo::error={words}");
        return;
    }
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libgmprt.so.0");
    println!("cargo::rerun-if-changed=src/sections.ld");
    println!("cargo::rerun-if-changed=packaging/versions.sh");
    let here = env::var("CARGO_MANIFEST_DIR").expect("CARGO_MANIFEST_DIR");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-T,{here}/src/sections.ld");
    write_offsets();
    if env::var("CARGO_CFG_LOOM").is_ok() {
        return;
    }
    refuse_lto();
    link_unwinder();
    println!("cargo::rerun-if-changed=src/ffi/callbacks.c");
    println!("cargo::rerun-if-changed=gdb/types.h");
    write_abi();
    cc::Build::new()
        .file("src/ffi/callbacks.c")
        .include("gdb")
        .include("include")
        .include(env::var_os("OUT_DIR").expect("OUT_DIR"))
        .flag("-fexceptions")
        .flag("-g")
        // The types of gdb/types.h and of the header, which nothing uses.
        .flag_if_supported("-fno-eliminate-unused-debug-types")
        .flag_if_supported("-fno-eliminate-unused-debug-symbols")
        .compile("gmprt_callbacks");
    cc::Build::new()
        .file("asm/rt0_amd64.S")
        .file("asm/switch_amd64.S")
        .file("asm/call_amd64.S")
        .file("asm/end_amd64.S")
        .file("asm/sanitize_amd64.S")
        .include("asm")
        .flag("-g")
        .compile("gmprt_asm");
}

/// Why there is no library for this target, before the assembler gives up on it.
///
/// The assembly is x86-64's, and the system calls are Linux's. glibc passes the
/// program's arguments to constructors (`src/boot/preinit.rs`), and keeps a
/// thread's id where a mutex reads it (`src/arch.rs`).
fn refusal() -> Option<String> {
    let is = |name: &str, value: &str| {
        env::var(format!("CARGO_CFG_TARGET_{name}")).as_deref() == Ok(value)
    };
    let fits = is("ARCH", "x86_64") && is("POINTER_WIDTH", "64");
    if fits && is("OS", "linux") && is("ENV", "gnu") {
        return None;
    }
    let target = env::var("TARGET").unwrap_or_default();
    Some(format!(
        "gmprt is for x86-64 Linux with glibc, not for {target}: \
         build it for x86_64-unknown-linux-gnu"
    ))
}

/// Has the C compiler make machine code, whatever a packager's flags ask for.
///
/// Objects for link-time optimisation are no input for the `ld -r` that makes
/// the archive. Where they have both, a program that is itself optimised so
/// would take the half of the archive for the whole. The crate cc puts the
/// variables last, so the answer is in them.
fn refuse_lto() {
    for (name, flags) in env::vars_os().collect::<Vec<_>>() {
        let (name, mut flags) = (name.to_string_lossy(), flags);
        if name.contains("CFLAGS") && flags.to_string_lossy().contains("-flto")
        {
            flags.push(" -fno-lto");
            // SAFETY: this program has one thread.
            unsafe { env::set_var(&*name, flags) };
        }
    }
}

/// Rust's standard library asks for libgcc_s. `-lgcc_s` finds this script
/// first, and so `src/os/unwind.c`, which says why.
fn link_unwinder() {
    println!("cargo::rerun-if-changed=src/os/unwind.c");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("OUT_DIR"));
    cc::Build::new()
        .file("src/os/unwind.c")
        .flag("-fvisibility=hidden")
        .flag("-fexceptions")
        .cargo_metadata(false)
        .compile("gmprt_unwind");
    let dir = out.join("unwinder");
    fs::create_dir_all(&dir).expect("a folder for libgcc_s.so");
    let script = format!("INPUT({}/libgmprt_unwind.a)\n", out.display());
    fs::write(dir.join("libgcc_s.so"), script).expect("write libgcc_s.so");
    println!("cargo::rustc-cdylib-link-arg=-L{}", dir.display());
}

/// Names the type of each exported function of the header, for abidiff: Rust's
/// debug information has the lines alone. A structure's member is compared, and
/// a typedef is not.
fn write_abi() {
    const SYMBOLS: &str = "packaging/debian/libgmprt0.symbols";
    println!("cargo::rerun-if-changed={SYMBOLS}");
    println!("cargo::rerun-if-changed=include/gmp.h");
    let symbols = fs::read_to_string(SYMBOLS).expect(SYMBOLS);
    let header = fs::read_to_string("include/gmp.h").expect("gmp.h");
    let mut out = String::from(
        "#define GMP_KEEP_ERRNO\n#define GMP_KEEP_SIGMASK\n#include <gmp.h>\n",
    );
    for line in symbols.lines().filter_map(|line| line.strip_prefix(' ')) {
        let name = line.split('@').next().unwrap_or_default();
        if header.contains(&format!("{name}(")) {
            out +=
                &format!("struct abi_{name} {{ __typeof__({name}) *is; }};\n");
        }
    }
    let dir = PathBuf::from(env::var_os("OUT_DIR").expect("OUT_DIR"));
    fs::write(dir.join("abi.h"), out).expect("write abi.h");
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
