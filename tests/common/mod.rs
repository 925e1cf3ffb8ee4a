//! Builds C and C++ programs against the release library, and runs them as
//! children that cannot outlive their time.
//!
//! The release library is what users get, so it is what these programs are
//! linked with. It lies where `cargo build --release` puts it, or where
//! `GMPRT_LIBDIR` points; its header in `include`, or in `GMPRT_INCLUDEDIR`.
//! With both set, an installed copy is tested.
//!
//! Invariants:
//! 1. Every child leads a process group of its own, which is killed when the
//!    child has ended or its time is over: nobody stays behind.
//! 2. A child's output goes to files, not pipes, so that a grandchild that
//!    keeps them open never blocks the test.

pub mod skip;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What a program linked with `libgmprt.a` links besides.
const STATIC_LIBS: [&str; 4] = ["-lgcc_s", "-lpthread", "-ldl", "-lm"];

/// How every program is compiled; the C dialect comes on top.
const CFLAGS: [&str; 9] = [
    "-O2",
    "-g",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Werror",
    "-pthread",
    "-D_GNU_SOURCE",
    "-fno-omit-frame-pointer",
];

/// The environment that would change what a child does.
const SETTINGS: [&str; 8] = [
    "GMP_MAXPROCS",
    "GOMAXPROCS",
    "GMP_STACKSIZE",
    "GMP_TRACEBACK",
    "GMP_MAXTHREADS",
    "GMP_AUTOSTART",
    "GMP_GC_SIGNAL",
    "GMPDEBUG",
];

/// How a program comes to the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Linked with `libgmprt.so`.
    Shared,
    /// Linked with `libgmprt.a`.
    Static,
    /// A plugin linked with `libgmprt.so`, loaded by `host.c` with `dlopen`.
    Plugin,
}

impl Link {
    pub const ALL: [Link; 3] = [Link::Shared, Link::Static, Link::Plugin];
}

/// A program that was built, and how to start it.
pub struct Program {
    argv: Vec<PathBuf>,
}

impl Program {
    /// The program at `path`.
    pub fn at(path: PathBuf) -> Program {
        Program { argv: vec![path] }
    }

    /// A command that starts the program in a known environment.
    pub fn command(&self) -> Command {
        command(&self.argv)
    }

    /// The same under `taskset`, on the first CPU only.
    pub fn command_on_one_cpu(&self) -> Command {
        let taskset = ["taskset", "-c", "0"].map(PathBuf::from);
        command(&[&taskset[..], &self.argv].concat())
    }
}

fn command(argv: &[PathBuf]) -> Command {
    let mut command = Command::new(&argv[0]);
    command.args(&argv[1..]);
    for name in SETTINGS {
        command.env_remove(name);
    }
    command
}

/// The root of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory for what this test program builds; empty at first.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join(env!("CARGO_CRATE_NAME"));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("no scratch directory");
        dir
    })
}

/// The path of a file of `c-tests`.
pub fn source_path(source: &str) -> PathBuf {
    repository().join("c-tests").join(source)
}

/// The directory of the header.
pub fn includedir() -> PathBuf {
    std::env::var_os("GMPRT_INCLUDEDIR")
        .map_or_else(|| repository().join("include"), PathBuf::from)
}

/// The directory of the release libraries.
pub fn libdir() -> &'static Path {
    static LIBDIR: OnceLock<PathBuf> = OnceLock::new();
    LIBDIR.get_or_init(|| {
        let dir = std::env::var_os("GMPRT_LIBDIR").map_or_else(
            || Path::new(env!("CARGO_TARGET_TMPDIR")).join("../release"),
            PathBuf::from,
        );
        for name in ["libgmprt.so", "libgmprt.a"] {
            assert!(
                dir.join(name).exists(),
                "{} has no {name}: run `make` first, or point GMPRT_LIBDIR \
                 to the directory of the release libraries",
                dir.display()
            );
        }
        dir.canonicalize().expect("the library directory has no real path")
    })
}

/// The command `gmprt`, which `make` puts beside the libraries.
pub fn tool() -> PathBuf {
    let tool = libdir().join("../bin/gmprt");
    assert!(tool.exists(), "there is no {}: run `make` first", tool.display());
    tool
}

/// A directory that holds the shared library under its soname.
fn rundir() -> &'static Path {
    static RUNDIR: OnceLock<PathBuf> = OnceLock::new();
    RUNDIR.get_or_init(|| {
        let dir = scratch().join("lib");
        fs::create_dir_all(&dir).expect("no library directory");
        let soname = dir.join("libgmprt.so.0");
        let _ = fs::remove_file(&soname);
        std::os::unix::fs::symlink(libdir().join("libgmprt.so"), &soname)
            .expect("cannot name the library by its soname");
        dir
    })
}

/// The shared library under its soname.
pub fn shared_library() -> PathBuf {
    rundir().join("libgmprt.so.0")
}

/// Builds the program `source` of `c-tests`; panics with the compiler's words.
pub fn build(source: &str, link: Link) -> Program {
    build_with(source, link, &[])
}

/// The same with further flags for the compiler.
pub fn build_with(source: &str, link: Link, flags: &[&str]) -> Program {
    let path = new_path(&format!("{source}.{link:?}"));
    let mut compiler = compiler(source, &includedir());
    compiler.args(flags).arg("-o").arg(&path);
    if link == Link::Plugin {
        compiler.args(["-fPIC", "-shared", "-DTEST_PLUGIN"]);
    }
    if link == Link::Static {
        compiler.arg(libdir().join("libgmprt.a")).args(STATIC_LIBS);
    } else {
        link_shared(&mut compiler);
    }
    compile(&mut compiler);
    let mut argv = vec![path];
    if link == Link::Plugin {
        argv.insert(0, host().to_path_buf());
    }
    Program { argv }
}

/// Builds `source` without the library, for hosts that load it themselves.
pub fn build_alone(source: &str) -> Program {
    build_alone_with(source, &[])
}

/// The same with further flags for the compiler.
pub fn build_alone_with(source: &str, flags: &[&str]) -> Program {
    let path = new_path(source);
    let mut compiler = compiler(source, &includedir());
    compiler.args(flags).arg("-o").arg(&path).arg("-ldl");
    compile(&mut compiler);
    Program::at(path)
}

/// Adds the shared library and the way to find it at run time.
pub fn link_shared(compiler: &mut Command) {
    compiler.arg("-L").arg(libdir()).arg("-lgmprt");
    compiler.arg(format!("-Wl,-rpath,{}", rundir().display()));
}

/// A path for a program of this name that no other test builds or runs.
fn new_path(name: &str) -> PathBuf {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    scratch().join(format!("{}.{serial}", name.replace('/', "-")))
}

fn host() -> &'static Path {
    static HOST: OnceLock<PathBuf> = OnceLock::new();
    HOST.get_or_init(|| build_alone("host.c").argv.remove(0))
}

/// A compiler for `source` of `c-tests`, with the header from `include`.
pub fn compiler(source: &str, include: &Path) -> Command {
    let (name, dialect) = if source.ends_with(".cc") {
        ("g++", "-std=c++17")
    } else {
        ("gcc", "-std=c11")
    };
    let mut compiler = Command::new(name);
    compiler.args(CFLAGS).arg(dialect).arg("-I").arg(include);
    compiler.arg(source_path(source));
    compiler
}

/// Runs a compiler; panics with what it said if it fails.
pub fn compile(compiler: &mut Command) {
    let done = compiler.output().expect("cannot run the compiler");
    assert!(
        done.status.success(),
        "{compiler:?} failed:\n{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// How a child ended, and what it wrote.
#[must_use]
pub struct Outcome {
    /// The command, in a form that a shell takes.
    pub command: String,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    /// Where the child's threads stood, if its time ran out.
    pub stuck: Option<String>,
}

impl Outcome {
    /// Panics unless the child ended by itself with `code`.
    pub fn exited(&self, code: i32) -> &Self {
        let ended = self.stuck.is_none() && self.status.code() == Some(code);
        assert!(ended, "want exit code {code}\n{}", self.report());
        self
    }

    /// Panics unless the child ended by itself through `signal`.
    pub fn died_by(&self, signal: i32) -> &Self {
        let died = self.stuck.is_none() && self.status.signal() == Some(signal);
        assert!(died, "want death by signal {signal}\n{}", self.report());
        self
    }

    /// Panics unless the child wrote `text` on stderr.
    pub fn said(&self, text: &str) -> &Self {
        let said = self.stderr.contains(text);
        assert!(said, "want {text:?} on stderr\n{}", self.report());
        self
    }

    /// Panics if the child wrote `text` on stderr.
    pub fn kept_quiet_of(&self, text: &str) -> &Self {
        let said = self.stderr.contains(text);
        assert!(!said, "want no {text:?} on stderr\n{}", self.report());
        self
    }

    /// Panics unless exactly one line on stderr contains `text`.
    pub fn said_once(&self, text: &str) -> &Self {
        let lines = self.stderr.lines().filter(|l| l.contains(text)).count();
        assert_eq!(lines, 1, "lines with {text:?}\n{}", self.report());
        self
    }

    /// Everything there is to know about this child.
    pub fn report(&self) -> String {
        let mut text = format!("{}\nended: {}\n", self.command, self.status);
        if let Some(stuck) = &self.stuck {
            let _ = writeln!(text, "its time ran out:\n{stuck}");
        }
        let (out, err) = (self.stdout.trim_end(), self.stderr.trim_end());
        let _ = write!(text, "--- stdout\n{out}\n--- stderr\n{err}\n---");
        text
    }
}

/// Tells the watchdog in `test.h` who looks at this child, and at its group,
/// once the child has stopped: this process.
const WATCHED: &str = "GMPRT_WATCHED";

/// A child, and the files that take its output.
struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

/// Runs `command` and waits for its end, at most `limit`, or until a watchdog
/// of its own stops it (`test.h`). Then its process group is killed, and the
/// outcome tells where its threads stood.
pub fn run(command: &mut Command, limit: Duration) -> Outcome {
    let mut running = start(command);
    let deadline = Instant::now() + limit;
    let mut stuck = None;
    let status = loop {
        if let Some(status) =
            running.child.try_wait().expect("cannot wait for the child")
        {
            break status;
        }
        if Instant::now() > deadline || has_stopped(running.child.id()) {
            stuck = Some(stacks_of_group(running.child.id()));
            kill_group(running.child.id());
            break running.child.wait().expect("cannot wait for the child");
        }
        thread::sleep(Duration::from_micros(500));
    };
    // Grandchildren that outlived the child end here, invariant 1.
    kill_group(running.child.id());
    let take = |path: &Path| {
        let bytes = fs::read(path).expect("the child's output is gone");
        let _ = fs::remove_file(path);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let stdout = take(&running.stdout);
    skip::pass_on(&stdout);
    Outcome {
        command: shell_form(command),
        status,
        stdout,
        stderr: take(&running.stderr),
        stuck,
    }
}

fn start(command: &mut Command) -> Running {
    let stdout = new_path("child.out");
    let stderr = new_path("child.err");
    let create = |path: &Path| File::create(path).expect("no output file");
    // SAFETY: signal is safe to call after a fork.
    unsafe { command.pre_exec(heed_signals) };
    let child = command
        .stdin(Stdio::null())
        .stdout(create(&stdout))
        .stderr(create(&stderr))
        .process_group(0)
        .env(WATCHED, std::process::id().to_string())
        .spawn()
        .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
    Running { child, stdout, stderr }
}

/// In the child: a shell has its background jobs ignore signals, and so would
/// their children.
fn heed_signals() -> io::Result<()> {
    for sig in [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP] {
        // SAFETY: a signal that can be set to its default.
        unsafe { libc::signal(sig, libc::SIG_DFL) };
    }
    Ok(())
}

fn kill_group(leader: u32) {
    let group = i32::try_from(leader).expect("a process id fits i32");
    // SAFETY: `killpg` takes no pointers. The group is of our making,
    // invariant 1; where nobody is left in it the call does nothing.
    unsafe { libc::killpg(group, libc::SIGKILL) };
}

fn shell_form(command: &Command) -> String {
    let mut text = String::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value
            && name != WATCHED
        {
            let _ = write!(text, "{}={value:?} ", name.to_string_lossy());
        }
    }
    let _ = write!(text, "{}", command.get_program().to_string_lossy());
    for argument in command.get_args() {
        let _ = write!(text, " {}", argument.to_string_lossy());
    }
    text
}

/// Whether a child has been stopped by a signal.
fn has_stopped(pid: u32) -> bool {
    // SAFETY: all zero is a siginfo.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: `info` outlives the call. Ends stay for `try_wait`: they are not
    // asked for.
    let r = unsafe {
        libc::waitid(
            libc::P_PID,
            pid,
            &mut info,
            libc::WSTOPPED | libc::WNOHANG,
        )
    };
    // SAFETY: filled by waitid, or all zero.
    r == 0 && unsafe { info.si_pid() } != 0
}

/// [`threads_of`] each process of a group; gdb looks at as many as it can in a
/// minute.
fn stacks_of_group(leader: u32) -> String {
    let mut text = String::new();
    let until = Instant::now() + Duration::from_secs(60);
    for entry in fs::read_dir("/proc").expect("no /proc").flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|s| s.parse::<u32>().ok())
        else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat"));
        let stat = stat.unwrap_or_default();
        // After the name, which may hold anything: state, parent, group.
        let group = stat.rsplit(')').next().unwrap_or_default();
        if group.split_whitespace().nth(2) == Some(&leader.to_string()) {
            let threads = threads_of(pid, until);
            let _ = writeln!(text, "process {pid}:\n{threads}");
        }
    }
    text
}

/// Names and states of a process's threads; where gdb is installed, and until
/// then, the stacks of these and of goroutines.
fn threads_of(pid: u32, until: Instant) -> String {
    let mut text = String::new();
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    for task in tasks.into_iter().flatten().flatten() {
        let stat = fs::read_to_string(task.path().join("stat"));
        let syscall = fs::read_to_string(task.path().join("syscall"));
        let state: String = stat.unwrap_or_default().chars().take(40).collect();
        let call = syscall.unwrap_or_default();
        let call: String = call.trim_end().chars().take(40).collect();
        let _ = writeln!(text, "  {state} | syscall {call}");
    }
    let left = until.saturating_duration_since(Instant::now()).as_secs();
    if left == 0 {
        return text;
    }
    let gdb = Command::new("timeout")
        .args([&*left.to_string(), "gdb", "-batch", "-nx"])
        .args(["-p", &pid.to_string()])
        .args(["-ex", "thread apply all backtrace 20"])
        .args(["-x", "gdb/gmprt-gdb.py", "-ex", "info goroutines -a"])
        .current_dir(repository())
        .output();
    if let Ok(gdb) = gdb {
        text.push_str(&String::from_utf8_lossy(&gdb.stdout));
    }
    text
}
