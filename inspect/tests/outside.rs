//! Stacks of another process, and of its core.

use gmprt_inspect::{
    corefile::Core,
    memory::Memory,
    modules::Modules,
    objects::Objects,
    process::ProcessMemory,
    regs::Registers,
    symbols::Symbolizer,
    walk::{End, Frame, walk},
};
use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    ptr, thread,
    time::Duration,
};

#[path = "../../tests/common/skip.rs"]
#[expect(dead_code, reason = "no program of these tests skips anything")]
mod skip;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The functions of stacks.c, from the innermost on.
const FUNCTIONS: [&str; 4] = ["inner", "middle", "outer", "main"];

/// A child that waits in `inner`, killed at the end.
struct Waiting {
    child: Child,
    program: PathBuf,
}

impl Waiting {
    /// Compiles stacks.c without the library of stacks.rs.
    fn new(flags: &[&str], name: &str) -> Self {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let done = Command::new(env::var_os("CC").unwrap_or("cc".into()))
            .args(["-g", "-O2", "-DALONE"])
            .args(flags)
            .arg("-o")
            .arg(&program)
            .arg(manifest.join("tests/c/stacks.c"))
            .status();
        assert!(done.expect("a C compiler").success());
        let mut child = Command::new(&program)
            .arg("wait")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program");
        let out = child.stdout.as_mut().expect("its output");
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        let waiting = Self { child, program };
        waiting.until_paused();
        waiting
    }

    fn until_paused(&self) {
        let calls = format!("/proc/{}/syscall", self.child.id());
        let pause = format!("{} ", libc::SYS_pause);
        for _ in 0..1000 {
            let call = fs::read_to_string(&calls).expect(&calls);
            if call.starts_with(&pause) {
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("{calls}: not in pause");
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The registers of the child, stopped for a moment.
fn registers(child: &Child) -> Registers {
    let pid = child.id() as i32;
    let null = ptr::null_mut::<libc::c_void>();
    let mut saved = [0_u64; 27];
    let place = saved.as_mut_ptr();
    // SAFETY: a child of ours.
    let attached =
        unsafe { libc::ptrace(libc::PTRACE_ATTACH, pid, null, null) };
    assert_eq!(attached, 0, "ptrace");
    // SAFETY: no status is wanted.
    unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
    // SAFETY: room for the registers.
    let got = unsafe { libc::ptrace(libc::PTRACE_GETREGS, pid, null, place) };
    assert_eq!(got, 0, "ptrace");
    // SAFETY: a child of ours.
    unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, null, null) };
    Registers::from_user(&saved)
}

/// The functions and lines of a stack, as `name file:line`.
fn stack<M: Memory, O: Modules>(
    memory: &M,
    objects: &O,
    regs: &Registers,
) -> Vec<String> {
    let mut frames = [Frame::default(); 100];
    let (count, end) = walk(memory, objects, regs, &mut frames);
    let mut symbolizer = Symbolizer::new(memory, objects);
    let mut lines = Vec::new();
    for frame in &frames[..count] {
        let place = symbolizer.place(frame.lookup());
        for function in &place.functions {
            let name = function.name.as_deref().unwrap_or("?");
            let line = function.line.unwrap_or(0);
            lines.push(format!("{name}:{line}"));
        }
    }
    assert_eq!(end, End::Complete, "{lines:#?}");
    lines
}

fn check(lines: &[String], what: &str) {
    let at = lines.iter().position(|line| line.starts_with("inner:"));
    let at = at.unwrap_or_else(|| panic!("{what}: {lines:#?}"));
    for (line, function) in lines[at..].iter().zip(FUNCTIONS) {
        let begin = format!("{function}:");
        let known = line.starts_with(&begin) && !line.ends_with(":0");
        assert!(known, "{what}: {lines:#?}");
    }
}

#[test]
fn another_process_is_walked() {
    let ways: [&[&str]; 4] =
        [&["-fPIE", "-pie"], &["-no-pie"], &["-static"], &["-static-pie"]];
    for (i, way) in ways.into_iter().enumerate() {
        let waiting = Waiting::new(way, &format!("waiting{i}"));
        let regs = registers(&waiting.child);
        let memory = ProcessMemory::open(waiting.child.id());
        let memory = memory.expect("a child of ours");
        let mappings = memory.mappings().expect("a child of ours");
        let objects = Objects::new(&memory, &mappings, &memory.root());
        check(&stack(&memory, &objects, &regs), &format!("{way:?}"));
        // In a system call, without stopping the process.
        waiting.until_paused();
        let place = memory.waiting_at(waiting.child.id());
        let place = place.expect("a place in pause");
        assert_eq!((place.pc(), place.sp()), (regs.pc(), regs.sp()));
    }
}

#[test]
fn a_core_is_walked() {
    if skip::lacks(&["gdb"]) {
        return;
    }
    for (i, way) in [&["-pie"], &["-static"]].into_iter().enumerate() {
        let waiting = Waiting::new(way, &format!("cored{i}"));
        let file = core_of(&waiting);
        let core = Core::open(&file).expect("a core");
        let [thread] = core.threads() else { panic!("one thread") };
        assert_eq!(thread.id, waiting.child.id());
        let objects = Objects::new(&core, core.mappings(), "");
        check(&stack(&core, &objects, &thread.regs), &format!("{way:?}"));
        assert!(core.complaints().is_empty(), "{:?}", core.complaints());

        // Another build of the program: what the core left out is missing.
        let other = Waiting::new(&[way, &["-DOTHER"][..]].concat(), "other");
        fs::rename(&other.program, &waiting.program).expect("renamed");
        let core = Core::open(&file).expect("a core");
        let [thread] = core.threads() else { panic!("one thread") };
        let objects = Objects::new(&core, core.mappings(), "");
        let mut frames = [Frame::default(); 100];
        walk(&core, &objects, &thread.regs, &mut frames);
        let mut symbolizer = Symbolizer::new(&core, &objects);
        for frame in &frames {
            let place = symbolizer.place(frame.lookup());
            let name = place.object.as_deref().unwrap_or_default();
            let lines = place.functions.iter().filter(|f| f.line.is_some());
            let none = lines.count() == 0;
            assert!(none || !name.contains("/cored"), "{place:?}");
        }
        let complaints = core.complaints().join("\n");
        let words = "is not the build that the core was made with";
        assert!(complaints.contains(words), "{complaints}");
    }
}

fn core_of(waiting: &Waiting) -> PathBuf {
    let file = waiting.program.with_extension("core");
    let done = Command::new("timeout")
        .args(["60", "gdb", "-nx", "-batch", "-p"])
        .arg(waiting.child.id().to_string())
        .arg("-ex")
        .arg(format!("generate-core-file {}", file.display()))
        .output()
        .expect("gdb");
    assert!(file.exists(), "{done:?}");
    file
}

#[test]
fn processes_that_cannot_be_read_are_refused_in_words() {
    let error = ProcessMemory::open(u32::MAX).expect_err("no process");
    assert_eq!(error.0, format!("there is no process {}", u32::MAX));
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        let error = ProcessMemory::open(1).expect_err("a process of root's");
        assert!(error.0.contains("belongs to user root"), "{error}");
    }
}

#[test]
fn what_is_no_core_is_refused_in_words() {
    let this = env::current_exe().expect("this test's path");
    for path in [this, "/etc/passwd".into()] {
        let error = Core::open(&path).err().expect("no core");
        assert_eq!(error.0, format!("{} is not a core", path.display()));
    }
    let error = Core::open(Path::new("/nowhere")).err().expect("no file");
    assert!(error.0.starts_with("/nowhere cannot be opened: "), "{error}");
}
