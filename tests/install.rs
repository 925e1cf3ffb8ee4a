//! Installs the library into an empty tree and uses it from there, as the
//! README says. `make` has built it before, as `make test` does.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

use common::skip::lacks;
use common::{Outcome, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long one line of shell may take.
const LIMIT: Duration = Duration::from_secs(120);
const README: &str = include_str!("../README.md");
const PREFIX: &str = "/opt/gmprt";
const GREETING: &str = "hello from a goroutine\n";

/// An empty directory for the test called `name`.
fn empty_dir(name: &str) -> PathBuf {
    let dir = common::scratch().join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).expect("a directory");
    dir
}

/// Runs `line` in a shell in `dir`, where things are installed.
fn shell(dir: &Path, line: &str) -> Outcome {
    let mut shell = Command::new("sh");
    shell
        .args(["-ec", line])
        .current_dir(dir)
        .env("PKG_CONFIG_SYSROOT_DIR", dir)
        .env("PKG_CONFIG_PATH", dir.join("opt/gmprt/lib/pkgconfig"))
        .env("LD_LIBRARY_PATH", dir.join("opt/gmprt/lib"))
        // What an outer make says is not for these.
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL");
    run(&mut shell, LIMIT)
}

/// The same; what it prints, if it ends well.
fn says(dir: &Path, line: &str) -> String {
    let outcome = shell(dir, line);
    outcome.exited(0);
    outcome.stdout
}

/// Runs a target of the Makefile that installs below `dir` or removes it.
fn make(dir: &Path, target: &str) {
    make_with(dir, "", target);
}

/// The same, after some words of shell.
fn make_with(dir: &Path, before: &str, target: &str) {
    let lib = std::env::var("GMPRT_LIBDIR").unwrap_or("build/lib".into());
    let build = Path::new(&lib).with_file_name("");
    let line = format!(
        "{before} make -C {} {target} BUILD={} DESTDIR={} PREFIX={PREFIX}",
        common::repository().display(),
        build.display(),
        dir.display(),
    );
    says(dir, &line);
}

/// Installed below an empty directory, with the README's program in it.
fn installed(name: &str) -> PathBuf {
    let dir = empty_dir(name);
    make(&dir, "install");
    fs::write(dir.join("hello.c"), readme_program("c")).expect("hello.c");
    dir
}

/// The README's program in this language.
fn readme_program(language: &str) -> &'static str {
    let mut blocks = README.split("```");
    let start = format!("{language}\n");
    blocks.find_map(|b| b.strip_prefix(&start)).expect("a program")
}

/// The README's compiler line that has `word` in it.
fn readme_line(word: &str) -> &'static str {
    let mut lines = README.lines().filter(|line| line.starts_with("cc "));
    lines.find(|line| line.contains(word)).expect("a line")
}

/// Every file and link below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .collect()
}

#[test]
fn uninstall_leaves_nothing() {
    let dir = empty_dir("uninstall");
    make(&dir, "install");
    assert!(files(&dir).len() > 50, "{:?}", files(&dir));
    make(&dir, "uninstall");
    assert_eq!(files(&dir), Vec::<PathBuf>::new());
}

/// Root's umask may hide new files from others.
#[test]
fn others_can_read_what_root_installs() {
    let dir = empty_dir("umask");
    make_with(&dir, "umask 077;", "install");
    assert_eq!(says(&dir, "find opt ! -perm -044"), "");
}

#[test]
fn the_command_is_installed() {
    let dir = installed("command");
    let version = says(&dir, "opt/gmprt/bin/gmprt --version");
    assert_eq!(version, concat!("gmprt ", env!("CARGO_PKG_VERSION"), "\n"));
    let help = says(&dir, "opt/gmprt/bin/gmprt help report");
    assert!(help.contains("GMPDEBUG=trace=FILE"), "{help}");
}

#[test]
fn shared() {
    if lacks(&["pkg-config"]) {
        return;
    }
    let dir = installed("shared");
    says(&dir, readme_line("--cflags --libs"));
    assert_eq!(says(&dir, "./hello"), GREETING.repeat(1000));
    let needed = says(&dir, "readelf -d hello");
    assert!(needed.contains("[libgmprt.so.0]"), "{needed}");
}

#[test]
fn cpp() {
    if lacks(&["g++", "pkg-config"]) {
        return;
    }
    let dir = installed("cpp");
    fs::write(dir.join("hello.cc"), readme_program("cpp")).expect("hello.cc");
    let line =
        readme_line("--cflags --libs").replace("cc hello.c", "g++ hello.cc");
    says(&dir, &format!("{line} -Wall -Wextra -Werror"));
    assert_eq!(says(&dir, "./hello"), "the answer is 42\n");
}

/// The header for C++ finds the one for C beside it, also where GNU MP's is the
/// `gmp.h` that a program gets.
#[test]
fn cpp_header() {
    if lacks(&["g++", "pkg-config", "gmp.h"]) {
        return;
    }
    let dir = installed("cpp_header");
    let text =
        "int main() { return gmp::task<int>([] { return 0; }).join(); }\n";
    let alone = format!("#include <gmprt.hpp>\n{text}");
    fs::write(dir.join("alone.cc"), alone).expect("alone.cc");
    let beside =
        format!("#include <gmp.h>\n#include <gmprt/gmprt.hpp>\n{text}");
    fs::write(dir.join("beside.cc"), beside).expect("beside.cc");
    for (name, package) in [("alone", "gmprt"), ("beside", "gmprt-beside")] {
        let line = format!(
            "g++ -std=c++17 -Wall -Wextra -Werror {name}.cc -o {name} \
             $(pkg-config --cflags --libs {package})"
        );
        says(&dir, &line);
        assert_eq!(says(&dir, &format!("./{name}")), "");
    }
}

#[test]
fn wholly_static() {
    if lacks(&["pkg-config"]) {
        return;
    }
    let dir = installed("static");
    let linked = shell(&dir, readme_line("-static"));
    linked.exited(0).kept_quiet_of("warning");
    assert_eq!(says(&dir, "./hello"), GREETING.repeat(1000));
    let needed = says(&dir, "readelf -d hello");
    assert!(!needed.contains("NEEDED"), "{needed}");
}

#[test]
fn archive_in_a_dynamic_program() {
    if lacks(&["pkg-config"]) {
        return;
    }
    let dir = installed("archive");
    says(&dir, readme_line("libgmprt.a"));
    assert_eq!(says(&dir, "./hello"), GREETING.repeat(1000));
    let needed = says(&dir, "readelf -d hello");
    assert!(!needed.contains("libgmprt"), "{needed}");
}

/// The runtime is entered before main, also where everything is static.
#[test]
fn entered_at_rt0() {
    if lacks(&["pkg-config"]) {
        return;
    }
    let dir = installed("rt0");
    let shared = readme_line("-lgmprt_rt0");
    let wholly_static =
        shared.replace("--cflags", "--static --cflags") + " -static";
    for line in [shared, &wholly_static] {
        says(&dir, line);
        assert_eq!(says(&dir, "./hello"), GREETING.repeat(1000));
        let start = says(&dir, "GMPDEBUG=inittrace=1 ./hello 2>&1 >/dev/null");
        assert!(start.contains("init rt0_go "), "{start}");
        assert!(!start.contains("init _rt0_amd64_lib_go "), "{start}");
    }
}

/// GNU MP's header and ours in one unit, in either order, and both at work.
#[test]
fn beside_gnu_mp() {
    if lacks(&["pkg-config", "gmp.h"]) {
        return;
    }
    let dir = installed("beside");
    let includes = ["#include <gmp.h>\n", "#include <gmprt/gmp.h>\n"];
    for [first, second] in [includes, [includes[1], includes[0]]] {
        let program = format!("{first}{second}{FACTORIAL}");
        fs::write(dir.join("both.c"), program).expect("both.c");
        let line = "cc -Wall -Wextra -Werror both.c -o both \
                    $(pkg-config --cflags --libs gmprt-beside) -lgmp";
        says(&dir, line);
        let said = says(&dir, "./both");
        assert_eq!(said, "15511210043330985984000000\n");
    }
}

/// 25!, from two halves multiplied on goroutines.
const FACTORIAL: &str = r#"
struct half { unsigned from, to; mpz_t product; gmp_waitgroup *done; };

static void multiply(void *arg)
{
    struct half *h = arg;
    mpz_init_set_ui(h->product, 1);
    for (unsigned n = h->from; n <= h->to; n++)
        mpz_mul_ui(h->product, h->product, n);
    gmp_waitgroup_done(h->done);
}

int main(void)
{
    gmp_waitgroup done = GMP_WAITGROUP_INIT;
    struct half low = {1, 12, {{0}}, &done}, high = {13, 25, {{0}}, &done};
    gmp_waitgroup_add(&done, 2);
    if (gmp_go(multiply, &low) != 0 || gmp_go(multiply, &high) != 0)
        return 1;
    gmp_waitgroup_wait(&done);
    mpz_mul(low.product, low.product, high.product);
    gmp_printf("%Zd\n", low.product);
    mpz_clears(low.product, high.product, NULL);
    return 0;
}
"#;

/// gdb finds the script by the library's real name, or in the program itself,
/// and loads it from a folder that the user calls safe. It says how.
#[test]
fn gdb_loads_its_script() {
    if lacks(&["gdb", "pkg-config"]) {
        return;
    }
    let dir = installed("gdb");
    let lib = dir.join("opt/gmprt/lib");
    let program = dir.join("hello");
    let shared = readme_line("--cflags --libs");
    let archive = readme_line("libgmprt.a");
    for (line, safe) in [(shared, &lib), (archive, &program)] {
        says(&dir, line);
        let gdb = "gdb -batch -nx -iex 'set debuginfod enabled off'";
        let look =
            "-ex 'break main' -ex run -ex 'info goroutines' ./hello 2>&1";
        let said = says(&dir, &format!("{gdb} {look} || true"));
        let told = format!("add-auto-load-safe-path {}", safe.display());
        assert!(said.contains(&told), "{said}");
        assert!(said.contains("Undefined info command"), "{said}");
        let said = says(&dir, &format!("{gdb} -iex '{told}' {look}"));
        assert!(said.contains("No goroutines."), "{said}");
    }
    assert!(README.contains("add-auto-load-safe-path "));
}

/// For the prefix /usr it lies where gdb trusts what it finds.
#[test]
fn gdb_s_own_folder_has_the_script_of_a_package() {
    let dir = empty_dir("usr");
    let line = |target: &str| {
        let lib = std::env::var("GMPRT_LIBDIR").unwrap_or("build/lib".into());
        let build = Path::new(&lib).with_file_name("");
        format!(
            "make -C {} {target} BUILD={} DESTDIR={} PREFIX=/usr \
             LIBDIR=/usr/lib/x86_64-linux-gnu",
            common::repository().display(),
            build.display(),
            dir.display(),
        )
    };
    says(&dir, &line("install"));
    let folder = "usr/share/gdb/auto-load/usr/lib/x86_64-linux-gnu";
    let script = files(&dir.join(folder)).pop().expect("a script");
    assert!(script.to_string_lossy().ends_with("-gdb.py"), "{script:?}");
    says(&dir, &line("uninstall"));
    assert_eq!(files(&dir), Vec::<PathBuf>::new());
}

/// The archive shares no name with its host but those in the header: not the
/// stages of the start path, and nothing of Rust's runtime, of which another
/// library brings a second copy. It is all there whatever the host calls.
#[test]
fn archive_shares_no_names() {
    let dir = installed("names");
    let other = r#"
        #[unsafe(no_mangle)]
        pub extern "C" fn sum(n: i32) -> i32 {
            std::thread::spawn(move || (1..=n).sum()).join().unwrap_or(-1)
        }
    "#;
    let host = r#"
        int gmp_wait_init(void);
        int sum(int);
        int args = 1, osinit;
        int check(void) { return args; }
        int schedinit(void) { return osinit; }
        int newproc(void) { return 3; }
        int main(void)
        {
            if (gmp_wait_init() != 0)
                return 1;
            return check() + schedinit() + newproc() + sum(10) != 59;
        }
    "#;
    fs::write(dir.join("other.rs"), other).expect("other.rs");
    fs::write(dir.join("host.c"), host).expect("host.c");
    let rustc = std::env::var("RUSTC").unwrap_or("rustc".into());
    let line = format!("{rustc} --crate-type=staticlib other.rs -o other.a");
    says(&dir, &line);
    let ours = format!(".{PREFIX}/lib/libgmprt.a");
    for archives in [format!("{ours} other.a"), format!("other.a {ours}")] {
        says(&dir, &format!("cc host.c {archives} -o host"));
        says(&dir, "./host");
    }
}
