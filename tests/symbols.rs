//! What the release libraries show to a linker: our names, and nothing else.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

use common::run;
use common::skip::lacks;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long a tool may take.
const LIMIT: Duration = Duration::from_secs(60);

/// How every exported name begins.
const PREFIXES: [&str; 3] = ["gmp_", "_cgo_", "_rt0_"];

/// What binutils say about a library.
fn ask(tool: &str, options: &[&str], library: &Path) -> String {
    let asked = Command::new(tool).args(options).arg(library).output();
    let asked = asked.unwrap_or_else(|e| panic!("cannot run {tool}: {e}"));
    assert!(asked.status.success(), "{tool} cannot read {library:?}");
    String::from_utf8_lossy(&asked.stdout).into_owned()
}

/// The names of `nm`'s lines: address, kind, name, without their versions.
fn names(listing: &str) -> Vec<&str> {
    let mut names: Vec<_> = listing
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.len() == 3)
        .map(|fields| fields[2])
        .map(|name| name.split_once('@').map_or(name, |(name, _)| name))
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Panics unless all names are ours, and the first call of all is there.
fn check(names: &[&str], library: &str) {
    let ours = |name: &str| PREFIXES.iter().any(|p| name.starts_with(p));
    let foreign: Vec<_> = names.iter().filter(|name| !ours(name)).collect();
    assert!(
        foreign.is_empty(),
        "{library} exports {} foreign names, such as {:?}",
        foreign.len(),
        &foreign[..foreign.len().min(20)]
    );
    assert!(names.contains(&"gmp_go"), "{library} does not export gmp_go");
}

fn dynamic() -> String {
    let library = common::libdir().join("libgmprt.so");
    ask("nm", &["-D", "--defined-only"], &library)
}

fn archived() -> String {
    let library = common::libdir().join("libgmprt.a");
    ask("nm", &["-g", "--defined-only", "--quiet"], &library)
}

/// A destructor of a thread-local of ours would pin the library: the C library
/// keeps the object of one loaded until the thread ends.
#[test]
fn no_thread_local_pins_the_library() {
    let library = common::libdir().join("libgmprt.so");
    let wanted = ask("nm", &["-D", "--undefined-only"], &library);
    assert!(wanted.contains("dlclose"), "{wanted}");
    assert!(!wanted.contains("__cxa_thread_atexit"), "{wanted}");
}

/// What readelf's `-wF` says of addresses: "pc=BEGIN..END".
fn frames(listing: &str) -> Vec<(u64, u64)> {
    let number = |hex| u64::from_str_radix(hex, 16).ok();
    let words = listing.split_whitespace();
    let ranges = words.filter_map(|word| word.strip_prefix("pc="));
    ranges
        .filter_map(|range| range.split_once(".."))
        .filter_map(|(from, to)| Some((number(from)?, number(to)?)))
        .collect()
}

/// Unwinders and debuggers end at a function without a table of its frames.
#[test]
fn every_function_has_an_entry_in_eh_frame() {
    /// The C library's, and a label behind the end of a function.
    const WITHOUT: [&str; 7] = [
        "_init",
        "_fini",
        "__do_global_dtors_aux",
        "deregister_tm_clones",
        "register_tm_clones",
        "frame_dummy",
        "gmprt_call_end",
    ];
    let library = common::libdir().join("libgmprt.so");
    let frames = frames(&ask("readelf", &["-wF"], &library));
    let symbols = ask("nm", &["--defined-only"], &library);
    let lacking: Vec<_> = symbols
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .filter(|fields| fields.len() == 3 && "tTW".contains(fields[1]))
        .filter(|fields| !WITHOUT.contains(&fields[2]))
        .filter(|fields| {
            let at = u64::from_str_radix(fields[0], 16).expect("an address");
            !frames.iter().any(|&(from, to)| from <= at && at < to)
        })
        .map(|fields| fields[2])
        .collect();
    assert!(frames.len() > 1000, "{} entries", frames.len());
    assert!(lacking.is_empty(), "{lacking:?}");
}

#[test]
fn shared_library_exports_our_names_only() {
    check(&names(&dynamic()), "libgmprt.so");
}

#[test]
fn static_library_defines_our_names_only() {
    check(&names(&archived()), "libgmprt.a");
}

/// Who links statically finds what who links dynamically finds.
#[test]
fn libraries_define_the_same() {
    let (dynamic, archived) = (dynamic(), archived());
    let (dynamic, archived) = (names(&dynamic), names(&archived));
    let missing: Vec<_> =
        dynamic.iter().filter(|n| !archived.contains(n)).collect();
    assert!(missing.is_empty(), "not in libgmprt.a: {missing:?}");
}

#[test]
fn soname_carries_the_version() {
    let library = common::libdir().join("libgmprt.so");
    let dynamic = ask("readelf", &["-d"], &library);
    let soname = dynamic.lines().find(|line| line.contains("SONAME"));
    let soname = soname.expect("libgmprt.so has no soname");
    assert!(soname.contains("[libgmprt.so.0]"), "{soname}");
}

/// A stack that may be executed would be one for the whole process.
#[test]
fn stack_is_not_executable() {
    let library = common::libdir().join("libgmprt.so");
    let segments = ask("readelf", &["-W", "-l"], &library);
    let stack = segments.lines().find(|line| line.contains("GNU_STACK"));
    let stack = stack.expect("libgmprt.so says nothing about its stack");
    assert!(!stack.contains("RWE"), "{stack}");
}

/// Packagers compare it, so a symbol that comes or goes is a line there. A new
/// one is listed with the version that brings it.
#[test]
fn the_list_of_symbols_is_that_of_the_library() {
    let file = "packaging/debian/libgmprt0.symbols";
    let path = common::repository().join(file);
    let list = std::fs::read_to_string(path).expect(file);
    let mut listed = Vec::new();
    for line in list.lines().filter_map(|line| line.strip_prefix(' ')) {
        let (symbol, since) = line.split_once(' ').expect(line);
        let (minor, _) = since.rsplit_once('.').expect(line);
        assert!(symbol.ends_with(&format!("@GMPRT_{minor}")), "{line}");
        listed.push(symbol);
    }
    // nm writes @@ where a program that names no version gets this one.
    let dynamic = dynamic().replace("@@", "@");
    let fields = dynamic.lines().filter_map(|line| line.rsplit(' ').next());
    let exported: Vec<_> = fields.collect();
    let gone: Vec<_> =
        listed.iter().filter(|n| !exported.contains(n)).collect();
    assert!(gone.is_empty(), "programs may use these: {gone:?}");
    let new: Vec<_> = exported.iter().filter(|n| !listed.contains(n)).collect();
    assert!(new.is_empty(), "not in {file}: {new:?}");
}

/// Types of functions and of their arguments stay as a release had them: a
/// program is not compiled anew for a new library. New functions are no change.
/// After a release, `GMPRT_BLESS=1` writes the dump that the next is held to.
#[test]
fn the_abi_is_that_of_the_last_release() {
    if lacks(&["abidw"]) {
        return;
    }
    let dir = common::scratch();
    let header = common::includedir().join("gmp.h");
    let header = std::fs::read_to_string(header).expect("gmp.h");
    let mut code = String::from("#include <gmp.h>\n");
    for name in names(&dynamic()) {
        if header.contains(&format!("{name}(")) {
            // A variable has the type in the debug information.
            let line =
                format!("__typeof__({name}) *const abi_{name} = {name};\n");
            code.push_str(&line);
        }
    }
    let (c, so) = (dir.join("abi.c"), dir.join("abi.so"));
    std::fs::write(&c, code).expect("abi.c");
    let mut cc = Command::new("cc");
    cc.args(["-g", "-shared", "-fPIC", "-o"]).arg(&so).arg(&c);
    run(cc.arg("-I").arg(common::includedir()), LIMIT).exited(0);
    let options = ["--no-corpus-path", "--no-comp-dir-path", "--no-show-locs"];
    let now = ask("abidw", &options, &so);
    let kept = common::repository().join("packaging/gmprt.abi");
    if std::env::var_os("GMPRT_BLESS").is_some() {
        std::fs::write(&kept, &now).expect("packaging/gmprt.abi");
    }
    let new = dir.join("new.abi");
    std::fs::write(&new, now).expect("a dump");
    let mut diff = Command::new("abidiff");
    diff.arg("--no-added-syms").arg(kept).arg(new);
    run(&mut diff, LIMIT).exited(0);
}

/// Once it is loaded, nothing can change where its calls go.
#[test]
fn relocations_are_done_at_the_load_and_then_read_only() {
    let library = common::libdir().join("libgmprt.so");
    let segments = ask("readelf", &["-W", "-l"], &library);
    assert!(segments.contains("GNU_RELRO"), "{segments}");
    let both = |line: &str| line.contains("LOAD") && line.contains("RWE");
    assert!(!segments.lines().any(both), "{segments}");
    let dynamic = ask("readelf", &["-d"], &library);
    assert!(dynamic.contains("BIND_NOW"), "{dynamic}");
    assert!(!dynamic.contains("TEXTREL"), "{dynamic}");
}
