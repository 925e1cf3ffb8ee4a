//! `gmprt dump` and `gmprt top`: a program is looked at from outside, alive
//! and as a core, and refused in words where it cannot be.

#[expect(dead_code, reason = "other tests use other parts of it")]
mod common;
#[path = "tool/watched.rs"]
mod watched;

use common::skip::{lacks, skip};
use common::{Link, Outcome, Program, run};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use watched::Watched;

/// How long a command may take.
const LIMIT: Duration = Duration::from_secs(60);
/// A user of no one's.
const OTHER_USER: u32 = 54_321;

fn watched(link: Link) -> Watched {
    Watched::start(&mut common::build("watched.c", link).command())
}

/// Runs the command with these arguments.
fn gmprt(arguments: &[&str]) -> Outcome {
    run(Command::new(common::tool()).args(arguments), LIMIT)
}

fn says(arguments: &[&str]) -> String {
    let outcome = gmprt(arguments);
    outcome.exited(0);
    outcome.stdout
}

/// The entries of a dump's text.
fn entries(dump: &str) -> Vec<&str> {
    dump.split("\n\n").map(str::trim_end).collect()
}

/// A dump without what differs from moment to moment: how long waits last.
/// Threads of the host's are left out: one of them makes the dump.
fn lasting(dump: &str) -> Vec<String> {
    let goroutines = entries(dump).into_iter().skip(1);
    let goroutines = goroutines.filter(|entry| !entry.starts_with("host"));
    goroutines
        .map(|entry| {
            let parts = entry.split(", ");
            let parts = parts.filter(|part| !part.starts_with("for "));
            parts.collect::<Vec<_>>().join(", ")
        })
        .collect()
}

/// The entry of the waiters is there, and is right.
fn has_waiters(dump: &str, what: &str) {
    let entries = entries(dump);
    let entry = entries[1];
    let head = entry.lines().next().unwrap_or_default();
    assert!(head.starts_with("1000 goroutines [chan receive]"), "{dump}");
    assert!(head.contains("on 1000 objects"), "{dump}");
    assert!(entry.contains(what), "{dump}");
    assert!(entries.len() < 8 && dump.lines().count() <= 40, "{dump}");
}

#[test]
fn a_dump_from_outside_is_the_one_from_inside() {
    for link in Link::ALL {
        let mut it = watched(link);
        let inside = it.dumps_itself("d");
        let outside = says(&["dump", &it.pid()]);
        assert_eq!(lasting(&outside), lasting(&inside), "{link:?}");
        has_waiters(&outside, "wait_forever at");
        assert!(outside.contains("watched.c:"), "{outside}");
        let lock = entries(&outside)
            .into_iter()
            .find(|entry| entry.contains("[mutex]"))
            .expect(&outside);
        assert!(lock.contains("gmp_mutex_lock"), "{lock}");
        let first = outside.lines().next().unwrap_or_default();
        assert!(first.contains(&format!(", process {}", it.pid())), "{first}");
        it.ends();
    }
}

/// The same document, but for the waits and the thread that dumps.
#[test]
fn json_from_outside_is_the_one_from_inside() {
    if lacks(&["python3"]) {
        return;
    }
    let mut it = watched(Link::Shared);
    let scratch = common::scratch();
    let inside = scratch.join("inside.json");
    let outside = scratch.join("outside.json");
    fs::write(&inside, it.dumps_itself("j")).expect("a file");
    let text = says(&["dump", "--json", "--each", &it.pid()]);
    fs::write(&outside, text).expect("a file");
    let compare = "
import json, sys
def load(path):
    dump = json.load(open(path))
    entries = [e for e in dump['entries'] if e['kind'] == 'goroutine']
    for e in entries:
        for key in [k for k in e if 'wait' in k]:
            del e[key]
    return dump, sorted(entries, key=lambda e: e['ids'])
(head_in, inside), (head_out, outside) = load(sys.argv[1]), load(sys.argv[2])
assert head_in['pid'] == head_out['pid'] and head_in['procs'] == head_out['procs']
assert len(outside) == 1002, len(outside)
for a, b in zip(inside, outside):
    assert a == b, (a, b)
assert len(inside) == len(outside)
print('the same')
";
    let mut python = Command::new("python3");
    python.args(["-c", compare]).args([&inside, &outside]);
    let outcome = run(&mut python, LIMIT);
    assert_eq!(outcome.exited(0).stdout, "the same\n");
}

/// Stripped programs have names of the linker's at most.
#[test]
fn a_stripped_program_is_looked_into() {
    let path = stripped("watched.stripped");
    let it = Watched::start(&mut Program::at(path).command());
    let dump = says(&["dump", &it.pid()]);
    // Without names the library's own frames are frames like others, so the
    // waiters may have come to the same wait by more ways than one.
    let counts = entries(&dump).into_iter().filter_map(|entry| {
        let (count, rest) = entry.split_once(" goroutines [chan receive]")?;
        assert!(rest.contains("watched.stripped+0x"), "{dump}");
        count.parse::<u64>().ok()
    });
    assert_eq!(counts.sum::<u64>(), 1000, "{dump}");
    let top = says(&["top", "--once", "--interval", "0.05", &it.pid()]);
    assert!(top.contains("watched.stripped+0x"), "{top}");
}

/// The wholly static kind of `watched.c`, stripped of all symbols.
fn stripped(name: &str) -> PathBuf {
    let path = common::scratch().join(name);
    let mut compiler = common::compiler("watched.c", &common::includedir());
    compiler.arg("-o").arg(&path).arg("-s");
    compiler.arg(common::libdir().join("libgmprt.a"));
    compiler.args(["-lgcc_s", "-lpthread", "-ldl", "-lm"]);
    common::compile(&mut compiler);
    path
}

#[test]
fn flags_do_what_they_say() {
    let it = watched(Link::Shared);
    let pid = it.pid();
    let each = says(&["dump", "--each", &pid]);
    let waiters = each.matches("wait_forever at").count();
    assert_eq!(waiters, 1001, "{each}");
    let system = says(&["dump", "--system", &pid]);
    let plain = says(&["dump", &pid]);
    let more = |dump: &str| entries(dump).len();
    assert!(more(&system) > more(&plain), "{system}");
    let stacks = says(&["dump", "--stacks", "--system", &pid]);
    assert!(stacks.len() > system.len(), "{stacks}");
}

/// Goroutines come and go while they are looked at.
#[test]
fn a_process_that_goes_on_is_told_again_and_again() {
    let program = common::build("watched.c", Link::Shared);
    let it = Watched::start(program.command().args(["1000", "play"]));
    for _ in 0..50 {
        has_waiters(&says(&["dump", &it.pid()]), "wait_forever at");
    }
    it.ends();
}

// --- Cores -------------------------------------------------------------------

/// Stacks that gdb can put into a core: it leaves a mapping out as a whole if
/// there is a page in it that cannot be read, such as a guard. The kernel does
/// better.
const GUARDS: [&str; 2] = ["GMPDEBUG", "guard=mprotect"];

/// Has gdb write a core of the process.
fn core_of(it: &Watched, name: &str) -> PathBuf {
    let path = common::scratch().join(name);
    let write = format!("generate-core-file {}", path.display());
    let mut gdb = Command::new("gdb");
    gdb.args(["-batch", "-nx", "-p", &it.pid(), "-ex", &write]);
    let outcome = run(&mut gdb, LIMIT);
    assert!(path.exists(), "{}", outcome.report());
    path
}

/// A program that is linked with a copy of the library, and the copy.
fn with_a_library_of_its_own(name: &str) -> (Watched, PathBuf) {
    let dir = common::scratch().join(name);
    fs::create_dir_all(&dir).expect("a directory");
    let copy = dir.join("libgmprt.so.0");
    fs::copy(common::shared_library(), &copy).expect("a copy");
    let program = common::build("watched.c", Link::Shared);
    let mut command = program.command();
    command.env("LD_PRELOAD", &copy).env(GUARDS[0], GUARDS[1]);
    (Watched::start(&mut command), copy)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

#[test]
fn a_core_is_told_like_the_process_that_it_was() {
    if lacks(&["gdb"]) {
        return;
    }
    let static_ = stripped("static.for.core");
    let shared = common::build("watched.c", Link::Shared);
    let programs =
        [(shared, "core.shared"), (Program::at(static_), "core.static")];
    for (program, name) in programs {
        let mut command = program.command();
        let it = Watched::start(command.env(GUARDS[0], GUARDS[1]));
        let alive = says(&["dump", &it.pid()]);
        let core = core_of(&it, name);
        let pid = it.pid();
        drop(it);
        let dead = says(&["dump", text(&core)]);
        // A core does not say how deep a stack has been.
        let without_marks = |dump: &str| -> String {
            let lines = dump.lines();
            let lines = lines.filter(|line| !line.starts_with("    stack: "));
            lines.map(|line| format!("{line}\n")).collect()
        };
        let (dead_, alive) = (without_marks(&dead), without_marks(&alive));
        assert_eq!(lasting(&dead_), lasting(&alive), "{name}");
        let first = dead.lines().next().unwrap_or_default();
        assert!(first.ends_with(&format!(", process {pid}")), "{first}");
    }
}

#[test]
fn a_core_of_another_build_of_the_library_is_refused() {
    if lacks(&["gdb"]) {
        return;
    }
    let (it, copy) = with_a_library_of_its_own("another-build");
    let core = core_of(&it, "core.another-build");
    drop(it);
    gmprt(&["dump", text(&core)]).exited(0);
    let library = fs::read(&copy).expect("the library");
    // A note of the build: three words, and the name.
    let note = [&[4, 0, 0, 0, 20, 0, 0, 0, 3, 0, 0, 0][..], b"GNU\0"].concat();
    let find = |window: &[u8]| window == note;
    let at = library.windows(note.len()).position(find).expect("a build id");
    let mut other = library.clone();
    other[at + note.len()] ^= 1;
    fs::write(&copy, other).expect("another build");
    let refused = gmprt(&["dump", text(&core)]);
    let why = format!("{} is not the build that", text(&copy));
    refused.exited(1).said(&why).kept_quiet_of("panicked");
    assert_eq!(refused.stdout, "");
    fs::remove_file(&copy).expect("the library is gone");
    let refused = gmprt(&["dump", text(&core)]);
    let why = "which the core needs, cannot be opened: No such file";
    refused.exited(1).said(why);
}

/// gdb leaves stacks with guards out of a core.
#[test]
fn a_core_without_stacks_is_told_with_the_reason() {
    if lacks(&["gdb"]) {
        return;
    }
    let it = watched(Link::Shared);
    let core = core_of(&it, "core.stackless");
    let outcome = gmprt(&["dump", text(&core)]);
    outcome.exited(0);
    if outcome.stdout.contains("1000 goroutines [chan receive]") {
        // Guards are mappings of their own on this kernel.
        return;
    }
    outcome.said("the core lacks the stacks of 1002 goroutines that wait");
}

/// A core may be cut off, as by a limit; whatever it lacks is told in words.
#[test]
fn a_damaged_core_is_refused_in_words() {
    if lacks(&["gdb"]) {
        return;
    }
    let it = watched(Link::Shared);
    let core = core_of(&it, "core.whole");
    let whole = fs::read(&core).expect("the core");
    for part in [60, 100, 4096, whole.len() / 4, whole.len() / 2] {
        let cut = common::scratch().join("core.cut");
        fs::write(&cut, &whole[..part]).expect("a file");
        let outcome = gmprt(&["dump", text(&cut)]);
        outcome.kept_quiet_of("panicked");
        let code = outcome.status.code();
        let told = code == Some(0) || outcome.stderr.starts_with("gmprt: ");
        assert!(told && code.is_some(), "{part}: {}", outcome.report());
    }
}

// --- Refusals ----------------------------------------------------------------

#[test]
fn what_cannot_be_looked_into_is_refused_in_words() {
    let program = common::source_path("watched.c");
    let missing = common::scratch().join("core.missing");
    let library = common::shared_library();
    let cases = [
        ("4194305", "there is no process 4194305"),
        ("99999999999", "99999999999 cannot be opened: No such file"),
        (text(&program), "is not a core"),
        (text(&library), "is not a core"),
        (text(&missing), "cannot be opened: No such file or directory"),
        (text(common::scratch()), "is a directory, and no core"),
        ("/dev/null", "is not a core"),
    ];
    for (target, words) in cases {
        let outcome = gmprt(&["dump", target]);
        outcome.exited(1).said("gmprt: ").said(words);
        assert_eq!(outcome.stdout, "");
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.report());
    }
    gmprt(&["top", "4194305", "--once"]).exited(1).said("there is no process");
    gmprt(&["top", "soon"]).exited(2).said("invalid value 'soon' for '<PID>'");
    gmprt(&["dump"]).exited(2).said("<PID|CORE>");
    gmprt(&["dump", "1", "--interval", "1"]).exited(2).said("--interval");
}

/// A program of C's alone that says "ready" and waits.
fn plain(name: &str, text: &str) -> Watched {
    let source = common::scratch().join(format!("{name}.c"));
    let source_text = format!(
        "#include <stdio.h>\n{text}\nint main(void) {{ puts(\"ready\"); \
         fflush(stdout); return getchar() == EOF ? 0 : 1; }}\n"
    );
    fs::write(&source, source_text).expect("a file");
    let program = source.with_extension("");
    let mut compiler = Command::new("gcc");
    compiler.arg("-o").arg(&program).arg(&source);
    common::compile(&mut compiler);
    Watched::start(&mut Command::new(program))
}

#[test]
fn a_process_without_gmprt_is_refused() {
    let it = plain("without", "");
    let words = format!("process {} (without) does not use gmprt", it.pid());
    for command in ["dump", "top"] {
        gmprt(&[command, &it.pid()]).exited(1).said(&words);
    }
}

/// The table of a library that is newer than the command.
#[test]
fn a_table_of_another_version_is_refused() {
    let table = r#"struct { char magic[8]; unsigned version, count;
        struct { char name[24]; unsigned long value; } entries[1]; }
        gmp_debug_layout __attribute__((aligned(8)))
        = { "gmprtlay", VERSION, 1, { { "G.size", 256 } } };"#;
    let later = table.replace("VERSION", "4711");
    let it = plain("later", &later);
    let words = "a gmprt that this command does not know: its table has \
                 version 4711, known is 1";
    gmprt(&["dump", &it.pid()]).exited(1).said(words);
    let poorer = table.replace("VERSION", "1");
    let it = plain("poorer", &poorer);
    let words = "that this command does not know: its table lacks G.";
    gmprt(&["dump", &it.pid()]).exited(1).said(words);
}

/// The command where every user may run it.
fn public_tool() -> PathBuf {
    let dir = std::env::temp_dir()
        .join(format!("gmprt-tool-test-{}", std::process::id()));
    fs::create_dir_all(&dir).expect("a directory");
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&dir, open).expect("a directory");
    let copy = dir.join("gmprt");
    fs::copy(common::tool(), &copy).expect("a copy");
    copy
}

#[test]
fn a_process_of_another_user_is_refused() {
    // SAFETY: no arguments.
    if unsafe { libc::geteuid() } != 0 {
        skip("only root can switch users", &[]);
        return;
    }
    let it = watched(Link::Shared);
    let tool = public_tool();
    let words = "belongs to user root: only that user or root may look inside";
    for command in ["dump", "top"] {
        let mut gmprt = Command::new(&tool);
        gmprt.args([command, &it.pid()]).uid(OTHER_USER).gid(OTHER_USER);
        let outcome = run(&mut gmprt, LIMIT);
        outcome.exited(1).said(words);
        assert_eq!(outcome.stdout, "");
    }
    let _ = fs::remove_dir_all(tool.parent().expect("its directory"));
}

// --- top ---------------------------------------------------------------------

/// The fields of the lines of a part of `top`'s text, after its heading.
fn part<'a>(top: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let lines = top
        .lines()
        .skip_while(|line| line.split_whitespace().next() != Some(heading));
    let lines = lines.skip(1).take_while(|line| !line.is_empty());
    lines.map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn top_counts_like_goroutines() {
    let program = common::build("watched.c", Link::Shared);
    let mut command = program.command();
    command.args(["1000", "play"]).env("GMP_MAXPROCS", "3");
    let it = Watched::start(&mut command);
    let top = says(&["top", "--once", "--interval", "0.3", &it.pid()]);
    let first = top.lines().next().unwrap_or_default();
    assert!(first.starts_with(&format!("process {} (watched", it.pid())));
    assert!(first.contains("): 1004 goroutines: "), "{top}");
    assert!(first.contains("; 3 Ps, "), "{top}");
    let groups = part(&top, "COUNT");
    let waiters = groups.iter().find(|line| line[0] == "1000").expect(&top);
    assert_eq!(waiters[1..3], ["chan", "receive"], "{top}");
    assert!(waiters.contains(&"wait_forever"), "{top}");
    assert_eq!(waiters[waiters.len() - 2], "start", "{top}");
    assert!(waiters.last().is_some_and(|at| at.starts_with("(watched.c:")));
    assert!(top.contains("\"the holder\""), "{top}");
    let ps = part(&top, "P");
    assert_eq!(ps.len(), 3, "{top}");
    let rate = |p: &Vec<&str>| p[4].parse::<u64>().expect(&top);
    assert!(ps.iter().map(rate).sum::<u64>() > 100, "{top}");
    let threads = part(&top, "THREAD");
    assert!(threads.iter().any(|thread| thread[1] == "sysmon"), "{top}");
    assert!(threads.iter().any(|thread| thread[1] == "worker"), "{top}");
    for thread in &threads {
        let path = format!("/proc/{}/task/{}", it.pid(), thread[0]);
        assert!(Path::new(&path).exists(), "{path}\n{top}");
    }
    it.ends();
}

#[test]
fn top_sorts_as_it_is_told() {
    let it = watched(Link::Shared);
    let states = |sort: &str| -> Vec<String> {
        let top = says(&[
            "top",
            "--once",
            "--interval",
            "0.05",
            "--sort",
            sort,
            &it.pid(),
        ]);
        part(&top, "COUNT").iter().map(|line| line[0].into()).collect()
    };
    assert_eq!(states("count")[0], "1000");
    let by_state = states("state");
    // "chan receive" comes before "mutex".
    assert_eq!(by_state.last().map(String::as_str), Some("1"));
    assert_eq!(states("wait").len(), by_state.len());
}

/// Without a terminal the samples follow one another, up to the process's end.
#[test]
fn top_goes_on_until_the_process_ends() {
    let it = watched(Link::Shared);
    let mut top = Command::new(common::tool());
    top.args(["top", "--interval", "0.05", &it.pid()]);
    let mut top = top.stdout(Stdio::piped()).spawn().expect("top starts");
    let mut lines = BufReader::new(top.stdout.take().expect("a pipe")).lines();
    let pid = it.pid();
    let mut samples = 0;
    let head = format!("process {pid} ");
    while samples < 3 {
        let line = lines.next().expect("more samples").expect("a line");
        samples += usize::from(line.starts_with(&head));
    }
    drop(it);
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let end = format!("gmprt: process {pid} has ended");
    assert_eq!(rest.last(), Some(&end));
    assert!(top.wait().expect("its end").success());
}

/// A terminal that tests make: its two ends.
fn terminal() -> (File, File) {
    let (mut ours, mut theirs) = (-1, -1);
    let mut size =
        libc::winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the three places are ours; null asks for the default.
    let made = unsafe {
        libc::openpty(
            &raw mut ours,
            &raw mut theirs,
            std::ptr::null_mut(),
            std::ptr::null(),
            &raw mut size,
        )
    };
    assert_eq!(made, 0, "no terminal");
    // SAFETY: a descriptor that was made just now.
    let ours = unsafe { File::from_raw_fd(ours) };
    // SAFETY: the same.
    let theirs = unsafe { File::from_raw_fd(theirs) };
    (ours, theirs)
}

#[test]
fn top_draws_on_a_terminal_and_leaves_it_as_it_was() {
    let it = watched(Link::Shared);
    let (mut ours, theirs) = terminal();
    let end = || Stdio::from(theirs.try_clone().expect("a descriptor"));
    let mut top = Command::new(common::tool())
        .args([OsStr::new("top"), "--interval=0.05".as_ref()])
        .arg(it.pid())
        .stdin(end())
        .stdout(end())
        .spawn()
        .expect("top starts");
    drop(theirs);
    let mut screen = Vec::new();
    let mut read_until = |ours: &mut File, what: &str| {
        let mut piece = [0; 4096];
        let mut text = String::new();
        while !text.contains(what) {
            // A terminal whose other end is closed is an error.
            let read = ours.read(&mut piece).unwrap_or(0);
            assert_ne!(read, 0, "top has ended: {text}");
            screen.extend_from_slice(&piece[..read]);
            text = String::from_utf8_lossy(&screen).into_owned();
        }
        text
    };
    let text = read_until(&mut ours, "wait_forever");
    assert!(text.contains("\x1b[?1049h"), "no screen of its own: {text}");
    ours.write_all(b"sq").expect("keys");
    let text = read_until(&mut ours, "\x1b[?1049l");
    assert!(text.contains("\x1b[?25h"), "the cursor stays away: {text}");
    assert!(top.wait().expect("its end").success());
    drop(it);
}
