//! What the release libraries show to a linker: our names, and nothing else.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

use common::run;
use common::skip::lacks;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
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

/// What `abidw` says of a library: symbols, and all types, as no function of
/// Rust's is described by a type of C's. Units without types are left out.
fn abi_of(library: &Path) -> String {
    let options = [
        "--load-all-types",
        "--no-corpus-path",
        "--no-comp-dir-path",
        "--no-show-locs",
    ];
    let all = ask("abidw", &options, library);
    let mut kept: Vec<&str> = Vec::new();
    for line in all.lines() {
        let begins = |line: &&str| line.starts_with("  <abi-instr ");
        if line == "  </abi-instr>" && kept.last().is_some_and(begins) {
            kept.pop();
        } else {
            kept.push(line);
        }
    }
    kept.join("\n") + "\n"
}

/// The structures that carry their size.
const GROW: [&str; 5] = [
    "gmp_attr",
    "gmp_chan_attr",
    "gmp_gc_stats",
    "gmp_panic_info",
    "gmp_stats",
];

/// The text of a structure in a dump.
fn structure<'a>(dump: &'a str, name: &str) -> &'a str {
    let start = format!("<class-decl name='{name}' ");
    let start = dump.find(&start).unwrap_or_else(|| panic!("no {name}"));
    let end = dump[start..].find("</class-decl>").expect("its end");
    &dump[start..start + end]
}

/// The number behind the first `key='` of a text.
fn number(text: &str, key: &str) -> u32 {
    let value = text.split_once(&format!("{key}='")).expect(key).1;
    let value = value.split_once('\'').expect("its end").0;
    value.parse().expect(key)
}

/// The second dump, its structures that carry their size cut to that of the
/// first: they grow at their end. abidiff has a rule for growth, by which it
/// passes over moved fields too.
fn ungrown(old: &str, mut new: String) -> String {
    let known = |name: &&str| old.contains(&format!("='{name}' size"));
    for name in GROW.into_iter().filter(known) {
        let (was, is) = (structure(old, name), structure(&new, name));
        let (size, grown) = (number(was, "size-in-bits"), "size-in-bits");
        let now = format!("{grown}='{}'", number(is, grown));
        let mut members = is.split("<data-member ");
        let mut cut = members.next().unwrap_or_default().to_owned();
        cut = cut.replacen(&now, &format!("{grown}='{size}'"), 1);
        for member in members {
            if number(member, "offset-in-bits") < size {
                cut = cut + "<data-member " + member;
            }
        }
        new = new.replacen(is, &cut, 1);
    }
    new
}

/// What `abidiff` says of a program that was built for the first dump's library
/// and gets the second's. More functions and types are no change, and its code
/// for them is 4.
fn abi_changed(old: &str, new: String) -> Option<String> {
    // Tests run at the same time.
    static NTH: AtomicU32 = AtomicU32::new(0);
    let nth = NTH.fetch_add(1, Relaxed);
    let dump = |name: &str, text: &str| {
        let path = common::scratch().join(format!("{nth}-{name}"));
        std::fs::write(&path, text).expect("a dump");
        path
    };
    let rules = common::repository().join("packaging/gmprt.suppr");
    let mut diff = Command::new("abidiff");
    diff.args(["--non-reachable-types", "--no-added-syms", "--suppr"]);
    diff.arg(rules).arg(dump("old.abi", old));
    diff.arg(dump("new.abi", &ungrown(old, new)));
    let outcome = run(&mut diff, LIMIT);
    let compatible = matches!(outcome.status.code(), Some(0 | 4));
    (!compatible).then(|| outcome.report())
}

/// Types of functions and of their arguments stay as a release had them: a
/// program is not compiled anew for a new library. They are in the library's
/// own debug information. After a release, `GMPRT_BLESS=1` writes the dump that
/// the next is held to.
#[test]
fn the_abi_is_that_of_the_last_release() {
    if lacks(&["abidw"]) {
        return;
    }
    let now = abi_of(&common::libdir().join("libgmprt.so"));
    let kept = common::repository().join("packaging/gmprt.abi");
    if std::env::var_os("GMPRT_BLESS").is_some() {
        std::fs::write(&kept, &now).expect("packaging/gmprt.abi");
    }
    let kept = std::fs::read_to_string(kept).expect("packaging/gmprt.abi");
    if let Some(changes) = abi_changed(&kept, now) {
        panic!("{changes}");
    }
}

/// A changed function, a lock that has grown and a field that has moved are
/// seen. A structure that carries its size may grow at its end.
#[test]
fn a_change_of_the_abi_is_seen() {
    if lacks(&["abidw"]) {
        return;
    }
    let now = abi_of(&common::libdir().join("libgmprt.so"));
    let differs = |name: &str, change: &dyn Fn(&str) -> String| {
        let text = structure(&now, name);
        let changed = change(text);
        assert_ne!(text, changed);
        abi_changed(&now, now.replacen(text, &changed, 1)).is_some()
    };
    let type_of = |text: &str| {
        let id = text.rsplit_once("type-id='").expect("a member").1;
        id.split_once('\'').expect("its end").0.to_owned()
    };
    let another = type_of(structure(&now, "abi_gmp_chan_send"));
    assert!(differs("abi_gmp_go", &|text| {
        text.replace(&type_of(text), &another)
    }));
    let grown = |text: &str| {
        let bits = number(text, "size-in-bits");
        let (from, to) = (bits.to_string(), (bits + 64).to_string());
        let member = format!(
            "<data-member access='public' layout-offset-in-bits='{bits}'>\
             <var-decl name='more' type-id='{}' visibility='default'/>\
             </data-member>",
            type_of(text)
        );
        text.replacen(&from, &to, 1) + &member
    };
    assert!(differs("gmp_mutex", &grown));
    assert!(!differs("gmp_stats", &grown));
    let moved = |text: &str| {
        text.replacen("offset-in-bits='64'", "offset-in-bits='96'", 1)
    };
    assert!(differs("gmp_attr", &moved));
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

/// The switches keep no shadow stack, so the loader is not told that they did:
/// docs/host.md, "Hardening", has the reasons.
#[test]
fn control_flow_enforcement_is_not_promised() {
    let library = common::libdir().join("libgmprt.so");
    let notes = ask("readelf", &["-W", "-n"], &library);
    assert!(notes.contains("Build ID") || notes.contains("GNU"), "{notes}");
    for feature in ["IBT", "SHSTK"] {
        assert!(!notes.contains(feature), "{notes}");
    }
}
