//! `include/gmprt.hpp`: the programs of `cpp-tests`, one for each part of it,
//! by one compiler as they are and by the other under sanitizers; the header
//! alone in every dialect by both; programs that must not compile, and what the
//! compiler says first of them; programs that must die; and the programs of
//! `docs/cpp.md`. With `--ignored stress`, as in `make stress`, the programs in
//! every dialect by both compilers, and again and again.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;
#[path = "cpp/wrong.rs"]
mod wrong;

use common::skip::lacks;
use common::{Outcome, Program, run};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long one run may take; the slowest takes a tenth of it.
const LIMIT: Duration = Duration::from_secs(60);

/// What the header promises to be clean under.
const STRICT: [&str; 7] = [
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Wold-style-cast",
    "-Wconversion",
    "-Wshadow",
    "-Werror",
];

const COMPILERS: [&str; 2] = ["g++", "clang++"];
/// `2b` is C++23 for compilers that are older than it.
const DIALECTS: [&str; 3] = ["17", "20", "2b"];
const PROCS: [&str; 4] = ["1", "2", "4", "16"];

/// A path for a file of this name that no other test has.
fn new_path(name: &str) -> PathBuf {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    common::scratch().join(format!("cpp.{serial}.{name}"))
}

/// A compiler in strict mood.
fn compiler(name: &str, dialect: &str) -> Command {
    let mut compiler = Command::new(name);
    compiler.arg(format!("-std=c++{dialect}")).args(STRICT);
    compiler.args(["-O1", "-g1", "-pthread", "-D_GNU_SOURCE", "-I"]);
    compiler.arg(common::includedir());
    compiler
}

/// A file of `cpp-tests`.
fn source(name: &str) -> PathBuf {
    common::repository().join("cpp-tests").join(name)
}

/// Builds these files into a program that is linked with the shared library.
fn build(mut compiler: Command, files: &[PathBuf], flags: &[&str]) -> Program {
    let path = new_path("program");
    compiler.args(flags).args(files).arg("-o").arg(&path);
    common::link_shared(&mut compiler);
    common::compile(&mut compiler);
    Program::at(path)
}

/// A file with this text.
fn written(name: &str, text: &str) -> PathBuf {
    let path = new_path(name);
    fs::write(&path, text).expect("write a program");
    path
}

/// Runs a subject with each number of processors.
fn runs(program: &Program) {
    for procs in PROCS {
        let mut command = program.command();
        command.env("GMP_MAXPROCS", procs);
        // What `make asan` says, too; programs without sanitizers do not care.
        command.env(
            "ASAN_OPTIONS",
            "detect_leaks=0:detect_stack_use_after_return=0",
        );
        run(&mut command, LIMIT).exited(0);
    }
}

/// Builds a subject by g++, in the oldest dialect, and runs it.
fn plainly(subject: &str, flags: &[&str]) {
    if !lacks(&["g++"]) {
        let files = [source(&format!("{subject}.cc"))];
        runs(&build(compiler("g++", "17"), &files, flags));
    }
}

/// Builds it by clang++ with AddressSanitizer and UndefinedBehaviorSanitizer,
/// and runs it. Optimized it would take three times as long to build. Red zones
/// on stacks are off: an exception that leaves frames of a goroutine leaves
/// them behind (HACKING.md, "Sanitizers").
fn sanitized(subject: &str, flags: &[&str]) {
    // One package has the libraries of all sanitizers of Clang.
    if lacks(&["clang++", "libclang_rt.tsan-x86_64.a"]) {
        return;
    }
    let mut compiler = compiler("clang++", "20");
    compiler.args(["-O0", "-fsanitize=address,undefined"]);
    compiler.args(["-fno-sanitize-recover=all", "-mllvm", "-asan-stack=0"]);
    let files = [source(&format!("{subject}.cc"))];
    runs(&build(compiler, &files, flags));
}

/// Makes two tests of each subject, and the list of them.
macro_rules! subjects {
    ($($name:ident: $flags:expr,)*) => {
        $(mod $name {
            #[test]
            fn plainly() {
                super::plainly(stringify!($name), &$flags);
            }

            #[test]
            fn under_sanitizers() {
                super::sanitized(stringify!($name), &$flags);
            }
        })*

        const SUBJECTS: &[(&str, &[&str])] =
            &[$((stringify!($name), &$flags)),*];
    };
}

subjects! {
    go: [],
    task: [],
    channel: ["-fno-rtti"],
    select: [],
    locks: [],
    group: [],
    io: [],
    memory: [],
    heap: [],
    panic: [],
    shutdown: [],
    noexcept: ["-fno-exceptions", "-fno-rtti"],
    co: ["-std=c++20"],
}

/// GCC, too, has to destroy each temporary of a coroutine once.
#[test]
fn coroutines_of_gcc_under_sanitizers() {
    if lacks(&["g++"]) {
        return;
    }
    let mut compiler = compiler("g++", "2b");
    compiler.args(["-fsanitize=address,undefined", "--param=asan-stack=0"]);
    // A forced unwinding is caught as an object that is not there.
    compiler.args(["-fno-sanitize-recover=all", "-fno-sanitize=null"]);
    runs(&build(compiler, &[source("co.cc")], &[]));
}

/// Each subject in each dialect by each compiler, and each program many times.
#[test]
#[ignore = "takes ten minutes; make stress runs it"]
fn stress_every_dialect() {
    for name in COMPILERS {
        if lacks(&[name]) {
            continue;
        }
        for (subject, flags) in SUBJECTS {
            for dialect in DIALECTS {
                let files = [source(&format!("{subject}.cc"))];
                let program = build(compiler(name, dialect), &files, flags);
                for _ in 0..10 {
                    runs(&program);
                }
            }
        }
    }
}

#[test]
fn every_file_is_somebodys() {
    const OTHERS: [&str; 4] =
        ["crash.cc", "library.cc", "library_main.cc", "test.hpp"];
    for entry in fs::read_dir(source("")).expect("no cpp-tests") {
        let name = entry.expect("cpp-tests").file_name();
        let name = name.to_string_lossy();
        let stem = name.strip_suffix(".cc").unwrap_or_default();
        let known = SUBJECTS.iter().any(|(name, _)| *name == stem)
            || OTHERS.contains(&&*name);
        assert!(known, "no test runs cpp-tests/{name}");
    }
}

/// Several files of one program include the header, also with and without
/// exceptions, and by two compilers. And a task of a library that shows nothing
/// of itself is joined outside of it.
#[test]
fn in_several_files_and_libraries() {
    if lacks(&["g++", "clang++"]) {
        return;
    }
    let object = new_path("noexcept.o");
    let mut alone = compiler("clang++", "17");
    alone.args(["-c", "-fno-exceptions", "-DPART=1", "-o"]).arg(&object);
    common::compile(alone.arg(source("library.cc")));
    let library = new_path("library.so");
    let mut shared = compiler("clang++", "20");
    shared.args(["-shared", "-fPIC", "-fvisibility=hidden", "-DPART=2"]);
    shared.arg("-o").arg(&library).arg(source("library.cc"));
    common::link_shared(&mut shared);
    common::compile(&mut shared);
    let files = [source("library_main.cc"), object, library];
    runs(&build(compiler("g++", "17"), &files, &[]));
}

// --- What the compilers say -------------------------------------------------

/// Compiles a text; what the compiler says, and whether it is content.
fn compiled(mut compiler: Command, text: &str) -> (bool, String) {
    compiler.arg("-fsyntax-only").arg(written("text.cc", text));
    let done = compiler.output().expect("run a compiler");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    (done.status.success(), said)
}

/// A compiler that has read the header once, so that it is quick at many short
/// texts. It is as strict as [`compiler`].
struct Prepared {
    name: &'static str,
    flags: &'static [&'static str],
    header: PathBuf,
}

impl Prepared {
    fn new(name: &'static str, flags: &'static [&'static str]) -> Prepared {
        let folder = new_path("prepared");
        fs::create_dir_all(&folder).expect("make a folder");
        let header = folder.join("gmprt.hpp.gch");
        let mut once = compiler(name, "17");
        once.args(flags).args(["-x", "c++-header", "-o"]).arg(&header);
        common::compile(once.arg(common::includedir().join("gmprt.hpp")));
        Prepared { name, flags, header }
    }

    fn compiler(&self) -> Command {
        let mut compiler = Command::new(self.name);
        if self.name == "g++" {
            // It takes what is prepared from the first folder that has it.
            let folder = self.header.parent().expect("its folder");
            compiler.arg("-I").arg(folder);
        } else {
            compiler.arg("-include-pch").arg(&self.header);
        }
        let strict = self::compiler(self.name, "17");
        compiler.args(strict.get_args()).args(self.flags);
        compiler
    }
}

/// Both headers, each alone and twice, with all initialisers.
#[test]
fn headers_are_clean() {
    let gmp = "#include <gmp.h>\n#include <gmp.h>\n\
               gmp_mutex m = GMP_MUTEX_INIT; gmp_rwmutex r = GMP_RWMUTEX_INIT;\n\
               gmp_cond c = GMP_COND_INIT; gmp_sema s = GMP_SEMA_INIT(1 + 1);\n\
               gmp_barrier b = GMP_BARRIER_INIT(2);\n\
               gmp_waitgroup w = GMP_WAITGROUP_INIT;\n\
               gmp_once o = GMP_ONCE_INIT; gmp_attr a = GMP_ATTR_INIT;\n\
               gmp_chan_attr h = GMP_CHAN_ATTR_INIT;\n\
               static void f() {}\nGMP_INIT(f)\n";
    let gmprt = "#include <gmprt.hpp>\n#include <gmprt.hpp>\n\
                 gmp::mutex m; gmp::semaphore s(1); gmp::barrier b(2);\n";
    for name in COMPILERS {
        if lacks(&[name]) {
            continue;
        }
        for dialect in ["11", "14", "17", "20", "2b"] {
            let (clean, said) = compiled(compiler(name, dialect), gmp);
            assert!(clean, "{name} {dialect}\n{said}");
        }
        for dialect in DIALECTS {
            const MODES: [&[&str]; 4] = [
                &[],
                &["-fno-exceptions", "-fno-rtti"],
                &["-fno-exceptions"],
                &["-fno-rtti"],
            ];
            // The switches alone in the oldest dialect, which has most to do
            // by itself.
            let modes = if dialect == "17" { 4 } else { 2 };
            for mode in &MODES[..modes] {
                let mut compiler = compiler(name, dialect);
                compiler.args(*mode);
                let (clean, said) = compiled(compiler, gmprt);
                assert!(clean, "{name} {dialect} {mode:?}\n{said}");
            }
        }
        let (clean, said) = compiled(compiler(name, "14"), gmprt);
        assert!(!clean);
        let first = first_error(&said);
        assert!(first.contains("gmprt.hpp needs C++17"), "{said}");
    }
}

/// The first line that says `error`.
fn first_error(said: &str) -> &str {
    said.lines().find(|line| line.contains("error:")).unwrap_or(said)
}

/// Coroutines need C++20.
#[test]
fn mistakes_in_coroutines_are_told_in_words() {
    const WRONG: [(&str, &str); 3] = [
        (
            "gmp::co<void> g() { co_await std::suspend_always(); }",
            "gmp::co: a coroutine awaits a task",
        ),
        ("gmp::task<long> t(f());", "gmp::task<T>: the coroutine is no"),
        ("auto c = f(); gmp::task<int> t(c);", "std::move the coroutine"),
    ];
    for name in COMPILERS.into_iter().filter(|name| !lacks(&[name])) {
        for (wrong, words) in &WRONG {
            let before = "#include <gmprt.hpp>\ngmp::co<int> f();\n";
            let text = match wrong.contains("co_await") {
                true => format!("{before}{wrong}\n"),
                false => format!("{before}void g() {{ {wrong} }}\n"),
            };
            let (clean, said) = compiled(compiler(name, "20"), &text);
            assert!(!clean, "{name} takes {wrong}");
            assert!(first_error(&said).contains(words), "{wrong}\n{said}");
        }
    }
}

#[test]
fn mistakes_are_told_in_words() {
    for (compiler_index, name) in COMPILERS.iter().enumerate() {
        if lacks(&[name]) {
            continue;
        }
        let prepared = Prepared::new(name, &[]);
        for (wrong, words) in &wrong::WRONG {
            let text = format!(
                "#include <gmprt.hpp>\n#include <mutex>\n#include <string>\n\
                 #include <vector>\nint main() {{ {wrong} }}\n"
            );
            let (clean, said) = compiled(prepared.compiler(), &text);
            assert!(!clean, "{name} takes {wrong}");
            let first = first_error(&said);
            let words = words[compiler_index];
            assert!(first.contains(words), "{name}: {wrong}\n{said}");
        }
    }
}

/// Without exceptions the functions that throw are not there.
#[test]
fn without_exceptions_errors_are_asked_for() {
    const WRONG: [&str; 6] = [
        "gmp::channel<int> ch(1); ch.recv();",
        "gmp::sleep_for(std::chrono::seconds(1));",
        "gmp::task<int> t([] { return 1; }); t.join();",
        "gmp::group g; g.wait();",
        "gmp::semaphore s(1); s.acquire();",
        "gmp::call([] {});",
    ];
    let text =
        |body: &str| format!("#include <gmprt.hpp>\nint main() {{ {body} }}\n");
    for name in COMPILERS {
        if lacks(&[name]) {
            continue;
        }
        let prepared = Prepared::new(name, &["-fno-exceptions"]);
        for wrong in WRONG {
            let (clean, said) = compiled(prepared.compiler(), &text(wrong));
            assert!(!clean, "{name} takes {wrong}");
            let words = ["no matching", "too few arguments"];
            let first = first_error(&said);
            let told = words.iter().any(|w| first.contains(w));
            assert!(told, "{name}: {wrong}\n{said}");
        }
        // With exceptions all of it compiles.
        let all: String =
            WRONG.iter().map(|body| format!("{{ {body} }} ")).collect();
        let (clean, said) = compiled(compiler(name, "17"), &text(&all));
        assert!(clean, "{name}\n{said}");
    }
}

/// Clang knows what the locks guard.
#[test]
fn clang_checks_locks() {
    if lacks(&["clang++"]) {
        return;
    }
    let text = |body: &str| {
        format!(
            "#include <gmprt.hpp>\n\
             gmp::mutex m; gmp::shared_mutex s; gmp::recursive_mutex r;\n\
             int n __attribute__((guarded_by(m)));\n\
             int k __attribute__((guarded_by(s)));\n\
             int main() {{ {body} }}\n"
        )
    };
    let prepared = Prepared::new("clang++", &["-Wthread-safety"]);
    let check = |body: &str| {
        let clang = prepared.compiler();
        compiled(clang, &text(body))
    };
    const RIGHT: &str = "gmp::lock_guard<gmp::mutex> guard(m); n = 1; \
                         { gmp::shared_lock_guard<gmp::shared_mutex> g(s); \
                         n = k; } \
                         { gmp::lock_guard<gmp::shared_mutex> g(s); k = n; } \
                         if (s.try_lock()) { k = 1; s.unlock(); } \
                         gmp::lock_guard<gmp::recursive_mutex> inner(r);";
    let (clean, said) = check(RIGHT);
    assert!(clean, "{said}");
    for wrong in [
        "n = 1;",
        "m.lock();",
        "s.lock_shared(); k = 1; s.unlock_shared();",
        "if (m.try_lock_for(std::chrono::seconds(1))) n = 1; else n = 2;",
    ] {
        let (clean, said) = check(wrong);
        assert!(!clean && said.contains("thread-safety"), "{wrong}\n{said}");
    }
}

// --- Programs that must die -------------------------------------------------

fn dies(case: &str) -> Outcome {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        build(
            compiler("g++", "17"),
            &[source("crash.cc")],
            &["-g", "-rdynamic"],
        )
    });
    let outcome = run(program.command().arg(case), LIMIT);
    outcome.died_by(libc::SIGABRT);
    outcome
}

/// As on a thread; the report has the frames of the throw.
#[test]
fn an_exception_that_leaves_a_goroutine_is_uncaught() {
    if lacks(&["g++"]) {
        return;
    }
    for case in ["word", "stack", "box"] {
        let outcome = dies(case);
        outcome.said("runtime_error").said("the reason").said("/crash.cc:");
        outcome.said("fails_deep");
    }
}

/// With the frames of the panic, as nothing was destroyed for it. A task or a
/// group does not stop it.
#[test]
fn a_panic_that_nobody_stops_ends_the_process() {
    if lacks(&["g++"]) {
        return;
    }
    for case in ["panic", "panic_in_task", "panic_in_group"] {
        let outcome = dies(case);
        outcome.said("panic: the reason\n").said("/crash.cc:");
        outcome.said("panics_deep");
        outcome.kept_quiet_of("has gone");
    }
    dies("panic_noexcept").said("terminate called");
    dies("panic_swallowed").said("catch (...) has swallowed");
}

#[test]
fn bugs_end_the_process_in_words() {
    if lacks(&["g++"]) {
        return;
    }
    dies("unlock").said("gmp::mutex::unlock: ");
    dies("unlock_shared").said("gmp::shared_mutex::unlock_shared: ");
    dies("other_owner").said("gmp::recursive_mutex::unlock: ");
    dies("own_task").said("gmp::task: destroyed by its own goroutine");
}

// --- The page ---------------------------------------------------------------

/// The programs of `docs/cpp.md` do what it says.
#[test]
fn programs_of_the_page() {
    if lacks(&["g++"]) {
        return;
    }
    let page = include_str!("../docs/cpp.md");
    let programs: Vec<&str> = page
        .split("```")
        .filter_map(|block| block.strip_prefix("cpp\n"))
        .collect();
    assert!(programs.len() >= 3, "{} programs", programs.len());
    let mut said = String::new();
    for text in programs {
        let files = [written("page.cc", text)];
        let dialect = if text.contains("co_await") { "20" } else { "17" };
        let program = build(compiler("g++", dialect), &files, &[]);
        let outcome = run(&mut program.command(), LIMIT);
        outcome.exited(0);
        said += &outcome.stdout;
    }
    assert!(said.contains("18 bytes\n"), "{said}");
    assert!(said.contains("too late\n"), "{said}");
    assert!(said.contains("16, and nobody has freed a message\n"), "{said}");
    assert!(said.contains("said goodbye\n"), "{said}");
    assert!(said.contains("given back\nparse: no text\n"), "{said}");
    assert!(said.contains("a square: 9\n"), "{said}");
}
