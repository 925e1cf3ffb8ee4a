//! The Python package: built, installed and tested as a user would have it.
//!
//! Its own tests are in `python/tests`; the examples of `docs/python.md` and
//! the README's program are tests too. The tools come into an environment of
//! our own (`setup/need.sh`).

#[expect(dead_code, reason = "other tests use other parts of it")]
mod common;

use common::skip::lacks;
use common::{Outcome, libdir, repository, run, scratch};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(300);

fn command(program: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).env("GMPRT_LIBDIR", libdir());
    command
}

/// The Python of our environment.
fn python(args: &[&str]) -> Command {
    command(&repository().join("build/venv/bin/python"), args)
}

/// The folder into which pip has installed the package, once for all tests.
fn installed() -> &'static PathBuf {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        let place = scratch().join("python");
        let mut pip = pip_to(&place);
        run(pip.arg(repository().join("python")), LIMIT).exited(0);
        place
    })
}

/// pip, which installs into this folder.
fn pip_to(place: &Path) -> Command {
    let mut pip = python(&["-m", "pip", "install", "--quiet", "--upgrade"]);
    pip.args(["--no-build-isolation", "--no-deps", "--no-index", "--target"]);
    pip.arg(place);
    pip
}

/// Python with the installed package, in a folder without its sources.
fn with_package(args: &[&str]) -> Outcome {
    let mut command = python(args);
    command.env("PYTHONPATH", installed()).current_dir(scratch());
    // A test counts events, not time: the machine may be busy.
    command.env("GMPRT_LATE", "20").env("GMPRT_LIMIT", "120");
    run(&mut command, LIMIT)
}

fn path(name: &str) -> String {
    repository().join(name).to_str().expect("a path").to_owned()
}

#[test]
fn the_first_line_that_a_user_tries() {
    if lacks(&["python3", "Python.h", "setuptools"]) {
        return;
    }
    let line = "import gmprt; print(gmprt.go(lambda: 6*7).result())";
    assert_eq!(with_package(&["-c", line]).exited(0).stdout, "42\n");
    let version = concat!(env!("CARGO_PKG_VERSION"), "\n");
    let ask = "import gmprt; print(gmprt.__version__)";
    assert_eq!(with_package(&["-c", ask]).exited(0).stdout, version);
    let ask = "import importlib.metadata as m; print(m.version('gmprt'))";
    assert_eq!(with_package(&["-c", ask]).exited(0).stdout, version);
}

/// As a distribution packages it: with the system's library, and no copy.
#[test]
fn the_package_of_a_distribution() {
    if lacks(&["python3", "Python.h", "setuptools"]) {
        return;
    }
    let from = scratch().join("python-of-a-system-source");
    let place = scratch().join("python-of-a-system");
    for old in [&from, &place] {
        let _ = fs::remove_dir_all(old);
    }
    // pip builds in the folder of the sources, which the other tests use.
    fs::create_dir(&from).expect("a folder");
    for part in ["python", "include"] {
        let mut cp = Command::new("cp");
        cp.arg("-r").arg(repository().join(part)).arg(&from);
        run(&mut cp, LIMIT).exited(0);
    }
    let _ = fs::remove_dir_all(from.join("python/build"));
    let mut pip = pip_to(&place);
    pip.env("GMPRT_SYSTEM", "1").arg(from.join("python"));
    run(&mut pip, LIMIT).exited(0);
    assert!(!place.join("gmprt/_lib").exists());
    let files = fs::read_dir(place.join("gmprt")).expect("a package").flatten();
    let mut modules = files.map(|file| file.path());
    let module = modules.find(|path| path.extension() == Some("so".as_ref()));
    let mut readelf = Command::new("readelf");
    readelf.arg("-d").arg(module.expect("a module"));
    let outcome = run(&mut readelf, LIMIT);
    let dynamic = &outcome.exited(0).stdout;
    assert!(dynamic.contains("[libgmprt.so.0]"), "{dynamic}");
    assert!(!dynamic.contains("ORIGIN"), "{dynamic}");
    let line = "import gmprt; print(gmprt.go(lambda: 6*7).result())";
    let mut command = python(&["-c", line]);
    command.env("PYTHONPATH", &place).env("LD_LIBRARY_PATH", libdir());
    let outcome = run(command.current_dir(scratch()), LIMIT);
    assert_eq!(outcome.exited(0).stdout, "42\n");
}

#[test]
fn the_tests_of_the_package() {
    if lacks(&["python3", "Python.h", "setuptools", "pytest"])
        || lacks(&["anyio", "ipython"])
    {
        return;
    }
    let tests = path("python/tests");
    let quiet = ["-m", "pytest", "-q", "-p", "no:cacheprovider"];
    let outcome = with_package(&[&quiet[..], &[tests.as_str()]].concat());
    let said = &outcome.exited(0).stdout;
    assert!(!said.contains("skipped"), "{said}");
}

/// The tests of the package with each Python that is here, of pyenv too.
#[test]
#[ignore = "minutes"]
fn stress_each_python_at_hand() {
    if lacks(&["python3", "Python.h", "setuptools"]) {
        return;
    }
    let mut each = python(&[&path("python/tests/each_python.py")]);
    let outcome = run(each.current_dir(scratch()), 10 * LIMIT);
    println!("{}", outcome.exited(0).stdout);
}

/// 10,000 goroutines leave no reference behind, of any object: a debug build of
/// Python counts them. Its checks of thread states are on as well.
#[test]
fn no_reference_stays_behind() {
    if lacks(&["python3", "Python.h", "setuptools", "python3-dbg"]) {
        return;
    }
    let ask = "import sysconfig; print(sysconfig.get_path('purelib'), end='')";
    let tools = run(&mut python(&["-c", ask]), LIMIT);
    let place = scratch().join("debug");
    let debug = |args: &[&str], packages: &Path| {
        let mut python = command(Path::new("python3-dbg"), args);
        python.env("PYTHONPATH", packages);
        python.current_dir(repository().join("python"));
        run(&mut python, LIMIT)
    };
    let (lib, temp) = (place.join("lib"), place.join("temp"));
    let [libs, temps] = [&lib, &temp].map(|p| p.to_str().expect("a path"));
    let build = ["setup.py", "-q", "build", "-b", temps, "--build-lib", libs];
    debug(&build, Path::new(&tools.exited(0).stdout)).exited(0);
    let test = path("python/tests/test_references.py");
    let counted = debug(&["-X", "dev", &test], &lib);
    let more: i64 = counted.exited(0).stdout.trim().parse().expect("a number");
    assert!(more < 100, "{more} references stay");
}

#[test]
fn the_examples_of_the_manual() {
    if lacks(&["python3", "Python.h", "setuptools"]) {
        return;
    }
    with_package(&["-m", "doctest", &path("docs/python.md")]).exited(0);
}

/// All naps are one nap long, and not as long as all in a row.
#[test]
fn the_program_of_the_readme() {
    if lacks(&["python3", "Python.h", "setuptools"]) {
        return;
    }
    let mut blocks = include_str!("../README.md").split("```");
    let program = blocks.find_map(|block| block.strip_prefix("python\n"));
    let outcome = with_package(&["-c", program.expect("a program")]);
    let said = &outcome.exited(0).stdout;
    let took = said.strip_prefix("5000 naps of 0.1 s: ").expect(said);
    let took: f64 = took.trim_end_matches(" s\n").parse().expect(said);
    assert!((0.1..60.0).contains(&took), "{said}");
}

#[test]
fn files_are_hashed_on_goroutines() {
    if lacks(&["python3", "Python.h", "setuptools"]) {
        return;
    }
    let script = path("python/examples/hash_files.py");
    let files = ["README.md", "Cargo.toml", "src/lib.rs"].map(path);
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let ours = with_package(&[&[script.as_str()], &files[..]].concat());
    let theirs = run(Command::new("sha256sum").args(&files), LIMIT);
    let lines = ours.exited(0).stdout.lines();
    for (line, want) in lines.zip(theirs.exited(0).stdout.lines()) {
        assert_eq!(line[..64], want[..64]);
    }
    assert_eq!(ours.stdout.lines().count(), files.len());
}

#[test]
fn the_types_of_the_package() {
    if lacks(&["python3", "mypy"]) {
        return;
    }
    let cache = scratch().join("mypy");
    let mut mypy = python(&["-m", "mypy", "--strict", "--cache-dir"]);
    mypy.arg(cache).arg(path("python/src/gmprt"));
    mypy.arg(path("python/examples/hash_files.py"));
    run(&mut mypy, LIMIT).exited(0);
}

/// Pyright finds no type missing in what the installed package exports, and no
/// mistake in the package and its examples.
#[test]
fn the_types_of_the_package_for_pyright() {
    if lacks(&["python3", "Python.h", "setuptools", "pyright", "node"]) {
        return;
    }
    let pyright = |args: &[&str]| {
        let mut pyright = python(&["-m", "pyright"]);
        pyright.args(args).current_dir(scratch());
        pyright.env("PYTHONPATH", installed());
        pyright.env("PYRIGHT_PYTHON_IGNORE_WARNINGS", "1");
        run(&mut pyright, LIMIT)
    };
    let python = path("build/venv/bin/python");
    let with = ["--pythonpath", python.as_str()];
    let project = path("python");
    let strict = pyright(&[&with[..], &["-p", project.as_str()]].concat());
    let said = &strict.exited(0).stdout;
    assert!(said.contains("0 errors"), "{said}");
    let whole = ["--verifytypes", "gmprt", "--ignoreexternal"];
    let complete = pyright(&[&with[..], &whole[..]].concat());
    let said = &complete.exited(0).stdout;
    assert!(said.contains("completeness score: 100%"), "{said}");
}

/// What pip builds from the source distribution alone, library included: in an
/// environment of its own, with what its isolated build fetches.
#[test]
#[ignore = "minutes"]
fn stress_an_install_from_the_source_distribution() {
    if lacks(&["python3", "Python.h", "setuptools", "git"]) {
        return;
    }
    let place = scratch().join("from_sdist");
    let venv = place.join("venv");
    let mut setup = python(&["setup.py", "-q", "sdist", "--dist-dir"]);
    setup.arg(&place).current_dir(repository().join("python"));
    run(&mut setup, LIMIT).exited(0);
    run(python(&["-m", "venv"]).arg(&venv), LIMIT).exited(0);
    let version = env!("CARGO_PKG_VERSION");
    let archive = place.join(format!("gmprt-{version}.tar.gz"));
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.args(["install", "--quiet"]).arg(archive).current_dir(&place);
    pip.env_remove("GMPRT_LIBDIR").env_remove("CARGO_TARGET_DIR");
    run(&mut pip, 6 * LIMIT).exited(0);
    let line = "import gmprt; print(gmprt.go(lambda: 6*7).result())";
    let mut first = Command::new(venv.join("bin/python"));
    first.args(["-c", line]).current_dir(&place);
    assert_eq!(run(&mut first, LIMIT).exited(0).stdout, "42\n");
}

/// It has the sources of the library, from which pip builds the package.
#[test]
fn the_source_distribution_is_whole() {
    if lacks(&["python3", "setuptools", "git"]) {
        return;
    }
    let place = scratch().join("sdist");
    let mut setup = python(&["setup.py", "-q", "sdist", "--dist-dir"]);
    setup.arg(&place).current_dir(repository().join("python"));
    run(&mut setup, LIMIT).exited(0);
    let mut tar = Command::new("sh");
    tar.args(["-c", "tar -tzf *.tar.gz | cut -d/ -f2-"]).current_dir(&place);
    let list = run(&mut tar, LIMIT);
    let there: BTreeSet<&str> = list.exited(0).stdout.lines().collect();
    let mut git = Command::new("git");
    git.args(["ls-files", "src", "inspect/src", "asm", "include", "Cargo.*"]);
    let sources = run(git.current_dir(repository()), LIMIT);
    let sources = sources.exited(0).stdout.lines();
    let mut wanted: Vec<_> = sources.map(|f| format!("runtime/{f}")).collect();
    for name in
        ["setup.py", "csrc/core.h", "csrc/state.c", "src/gmprt/py.typed"]
    {
        wanted.push(name.to_owned());
    }
    wanted.push("runtime/Makefile".to_owned());
    for name in &wanted {
        assert!(there.contains(name.as_str()), "{name} is not in it");
    }
    assert!(wanted.len() > 100);
}
