//! Runs every example, linked shared and static, and checks what it says.
//!
//! `make examples` builds them into `build/bin`; `make test` does that first.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

#[path = "examples/openmetrics.rs"]
mod openmetrics;

use common::skip::lacks;
use common::{Program, run};
use openmetrics::Families;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long one example may take; the slowest takes a second.
const LIMIT: Duration = Duration::from_secs(60);

/// Where the Makefile puts programs, beside the libraries.
fn bin() -> PathBuf {
    let lib = std::env::var_os("GMPRT_LIBDIR")
        .map_or_else(|| common::repository().join("build/lib"), PathBuf::from);
    let bin = lib.with_file_name("bin");
    assert!(bin.exists(), "no {}: run `make examples`", bin.display());
    bin
}

/// A command in a known environment.
fn command(program: &Path, args: &[&str]) -> Command {
    let mut command = Program::at(program.to_path_buf()).command();
    command.args(args).env("LC_ALL", "C").env_remove("LD_PRELOAD");
    command
}

/// What `program` prints, if it ends well.
fn says(program: &str, args: &[&str]) -> String {
    let mut command = command(&bin().join(program), args);
    let outcome = run(&mut command, LIMIT);
    outcome.exited(0);
    outcome.stdout
}

#[test]
fn hello() {
    for program in ["hello", "hello-static"] {
        assert_eq!(says(program, &[]), "hello\n");
    }
}

#[test]
fn sieve() {
    let is_prime = |n: &u32| (2..*n).all(|d| !n.is_multiple_of(d));
    let primes: String =
        (2..2000).filter(is_prime).map(|p| format!("{p}\n")).collect();
    for program in ["sieve", "sieve-static"] {
        assert_eq!(says(program, &["303"]), primes);
        // Quits while the generator has nobody to send to.
        assert_eq!(says(program, &["0"]), "");
    }
}

/// A glider comes by one row and one column in four generations, over the edges
/// too.
#[test]
fn life() {
    let glider = [(0, 1), (1, 2), (2, 0), (2, 1), (2, 2)];
    for program in ["life", "life-static"] {
        for steps in [0, 1, 5, 20, 40] {
            let mut rows = vec![vec![b'.'; 32]; 16];
            for (y, x) in glider {
                rows[(y + steps) % 16][(x + steps) % 32] = b'#';
            }
            let rows = rows.into_iter().map(String::from_utf8);
            let board: String =
                rows.map(|row| row.expect("ASCII") + "\n").collect();
            let generations = (4 * steps).to_string();
            assert_eq!(says(program, &[&generations]), board);
        }
    }
}

#[test]
fn pool() {
    for program in ["pool", "pool-static"] {
        assert_eq!(
            says(program, &[]),
            "91: 7\n\
             18446744073709551557: given up\n\
             1000000007: 1000000007\n\
             600851475143: 71\n\
             18446744030759878681: given up\n\
             4294967297: 641\n"
        );
    }
}

/// When the example says what: the milliseconds, and the rest of the line.
fn timed(line: &str) -> (u64, &str) {
    let (ms, what) = line.split_once(" ms: ").expect(line);
    (ms.trim_start().parse().expect(line), what)
}

/// A slow machine makes everything late, but nothing early: a request has its
/// token from the bucket, which holds three, or from one of the ticks so far,
/// which come every 20 ms.
#[test]
fn ratelimit() {
    let crowd = |n| {
        let requests = (1..=8).map(|i| format!("request {i}"));
        std::iter::once(format!("crowd {n}")).chain(requests)
    };
    let expected: Vec<String> = crowd(1).chain(crowd(2)).collect();
    for program in ["ratelimit", "ratelimit-static"] {
        let said = says(program, &[]);
        let (at, what): (Vec<u64>, Vec<&str>) = said.lines().map(timed).unzip();
        assert_eq!(what, expected);
        for (i, &ms) in at[..9].iter().enumerate().skip(3) {
            assert!(ms >= 20 * (i as u64 - 3), "{said}");
        }
        assert!(at[9] >= at[8] + 200, "{said}");
        // The bucket did not grow while nobody asked. Besides its three, one
        // tick may have fallen due already, one wait in its channel, one be on
        // its way to the bucket, and one come at any moment.
        assert!(at[17] >= at[9] + 20, "{said}");
    }
}

#[test]
fn pipeline() {
    for program in ["pipeline", "pipeline-static"] {
        assert_eq!(says(program, &[]), "0\n");
        assert_eq!(says(program, &["1", "-2", "43"]), "42\n");
        let args = ["1", "2", "three", "4", "5"];
        let outcome = run(&mut command(&bin().join(program), &args), LIMIT);
        assert_eq!(
            outcome.exited(1).stdout,
            "feed: Operation canceled\n\
             parse: Invalid argument\n\
             add: Operation canceled\n"
        );
    }
}

#[test]
fn semaphore() {
    for program in ["semaphore", "semaphore-static"] {
        assert_eq!(says(program, &[]), "100 visitors, at most 3 at once\n");
    }
}

#[test]
fn plugin() {
    let host = bin().join("plugin_host");
    let elf = fs::read(&host).expect("the host");
    assert!(
        !elf.windows(6).any(|bytes| bytes == b"libgmp"),
        "the host must not be linked with gmprt"
    );
    let plugin = bin().join("plugin.so");
    let said = says("plugin_host", &[plugin.to_str().expect("a path")]);
    assert_eq!(said, "sum of squares to 1000: 333833500\n");
}

#[test]
fn cpp_host() {
    if lacks(&["g++"]) {
        return;
    }
    for program in ["host", "host-static"] {
        assert_eq!(says(program, &[]), "200 exceptions intact\n");
    }
}

#[test]
fn entry() {
    for program in ["entry", "entry-static"] {
        let said = says(program, &["one", "two words"]);
        let (first, others) = said.split_once('\n').expect("lines");
        let goid = first.strip_prefix("main is goroutine ").expect(first);
        assert_ne!(goid.parse::<u64>().expect("its number"), 0);
        assert_eq!(
            others,
            "argument 1 is one\nargument 2 is two words\n\
             a goroutine runs beside it\n"
        );
    }
}

/// Each of eight children serves on the parent's socket.
#[test]
fn prefork() {
    for program in ["prefork", "prefork-static"] {
        let want = "8 children, 400 right answers, 0 wrong\n";
        assert_eq!(says(program, &[]), want);
    }
}

/// `rounds` pools of four workers, and a queue, by fork.
fn multiprocessing_by_fork(rounds: &str, limit: Duration) {
    if lacks(&["python3"]) {
        return;
    }
    let script =
        common::repository().join("tests/examples/multiprocessing_demo.py");
    let library = common::libdir().join("libgmprt.so.0");
    let mut python = command(Path::new("python3"), &[]);
    python.arg(script).arg(library).arg(rounds);
    let outcome = run(&mut python, limit);
    outcome.exited(0);
    assert_eq!(outcome.stdout, "ok\n");
}

#[test]
fn python_multiprocessing() {
    multiprocessing_by_fork("10", LIMIT);
}

#[test]
#[ignore = "takes minutes"]
fn stress_multiprocessing() {
    multiprocessing_by_fork("1000", Duration::from_secs(900));
}

/// The interpreter ends while callbacks are still on their way out of it: it
/// stops their threads, which must not be fatal.
#[test]
fn python_ends_while_callbacks_leave() {
    if lacks(&["python3"]) {
        return;
    }
    const SCRIPT: &str = "
import ctypes, sys
gmp = ctypes.CDLL(sys.argv[1])
@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def leave(group): gmp.gmp_waitgroup_done(ctypes.c_void_p(group))
group = (ctypes.c_uint64 * 4)()
gmp.gmp_waitgroup_add(group, ctypes.c_int64(3))
for _ in range(3): gmp.gmp_go(leave, group)
gmp.gmp_waitgroup_wait(group)
";
    let library = bin().with_file_name("lib").join("libgmprt.so.0");
    let library = library.to_str().expect("a path");
    for _ in 0..30 {
        let args = ["-c", SCRIPT, library];
        run(&mut command(Path::new("python3"), &args), LIMIT).exited(0);
    }
}

/// The files below `dir` that `wordfreq` takes for text.
fn text_files(dir: &Path, files: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(dir).expect("a directory") {
        let entry = entry.expect("an entry");
        let kind = entry.file_type().expect("a type");
        if kind.is_dir() {
            text_files(&entry.path(), files);
        } else if kind.is_file() {
            let content = fs::read(entry.path()).expect("a file");
            if !content[..content.len().min(64 * 1024)].contains(&0) {
                files.push(content);
            }
        }
    }
}

/// The counts by the pipeline that `wordfreq` promises to agree with.
fn by_pipeline(dirs: &[&Path]) -> String {
    let mut files = Vec::new();
    dirs.iter().for_each(|dir| text_files(dir, &mut files));
    let mut shell = Command::new("sh")
        .args([
            "-c",
            "tr -cs A-Za-z '\\n' | tr A-Z a-z | sort | uniq -c |
             sort -k1,1nr -k2",
        ])
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let mut input = shell.stdin.take().expect("its input");
    for content in files {
        // A word ends where its file does.
        input.write_all(&content).expect("a pipe");
        input.write_all(b"\n").expect("a pipe");
    }
    drop(input);
    let output = shell.wait_with_output().expect("its output").stdout;
    let counts = String::from_utf8(output).expect("ASCII");
    // Text that begins with no letter makes tr begin with an empty line.
    let words = counts.lines().filter(|line| !line.ends_with(' '));
    words.map(|line| format!("{line}\n")).collect()
}

/// `wordfreq` must print exactly what the pipeline prints, on any number of Ps.
fn agrees_with_pipeline(dirs: &[&Path]) {
    let expected = by_pipeline(dirs);
    assert!(!expected.is_empty());
    let mut args = vec!["-a"];
    args.extend(dirs.iter().map(|dir| dir.to_str().expect("a path")));
    for program in ["wordfreq", "wordfreq-static"] {
        for procs in ["1", "2", "4", "16"] {
            let mut command = command(&bin().join(program), &args);
            let outcome = run(command.env("GMP_MAXPROCS", procs), LIMIT);
            let counts = &outcome.exited(0).stdout;
            let differ = counts.lines().zip(expected.lines());
            let differ = differ.filter(|(ours, theirs)| ours != theirs);
            assert_eq!(differ.take(5).collect::<Vec<_>>(), []);
            assert_eq!(counts.len(), expected.len());
        }
    }
}

#[test]
fn wordfreq_counts_real_files() {
    let ours = common::repository().join("src");
    agrees_with_pipeline(&[&ours, Path::new("/usr/include/linux")]);
}

/// Words that lie across the 64 KiB blocks in which files are read, words
/// longer than these, bytes that are no letters, files that are no text.
#[test]
fn wordfreq_counts_awkward_files() {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("awkward");
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(dir.join("below/below")).expect("a directory");
    let long = "Ab".repeat(100_000);
    let across: String = (0..40_000).map(|i| format!("w{i}or")).collect();
    let files = [
        ("empty", b"".to_vec()),
        ("no letters", b"1234 5678\n".to_vec()),
        ("no newline", b"last word".to_vec()),
        ("across", across.into_bytes()),
        ("one word", long.as_bytes().to_vec()),
        ("long and short", format!("x {long} {long}y z").into_bytes()),
        ("one block", vec![b'q'; 64 * 1024]),
        ("edges", b"@[`{AZaz\xc1\xe1caf\xc3\xa9".to_vec()),
        ("below/below/deep", b"Deep deep DEEP".to_vec()),
        ("binary", b"never\0counted".to_vec()),
    ];
    for (name, content) in files {
        fs::write(dir.join(name), content).expect("a file");
    }
    agrees_with_pipeline(&[&dir]);
}

#[test]
fn wordfreq_prints_the_top() {
    let dir = common::repository().join("src");
    let top = says("wordfreq", &["-n", "3", dir.to_str().expect("a path")]);
    let all = by_pipeline(&[&dir]);
    let expected: Vec<&str> = all.lines().take(3).collect();
    assert_eq!(top.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn wordfreq_tells_of_what_it_cannot_read() {
    let mut command = command(&bin().join("wordfreq"), &["/nowhere/at/all"]);
    let outcome = run(&mut command, LIMIT);
    outcome.exited(1).said("/nowhere/at/all: No such file");
}

/// What `collect` promises to agree with, by other tools.
fn by_grep_and_awk(files: &[&str]) -> String {
    const SCRIPT: &str = "
        grep -aohE '[^[:blank:]]+' \"$@\" | tr A-Z a-z | sort | uniq -c |
            sort -k1,1nr -k2
        echo
        for file in \"$@\"
        do awk '{ n += NF } END { printf \"%7d %s\\n\", n, FILENAME }' \"$file\"
        done";
    let mut shell = command(Path::new("sh"), &["-c", SCRIPT, "sh"]);
    run(shell.args(files), LIMIT).exited(0).stdout.clone()
}

/// Some text of this repository.
fn texts() -> Vec<String> {
    let at = |name| common::repository().join(name);
    let names = ["README.md", "HACKING.md", "include/gmp.h", "Makefile"];
    names.map(|name| at(name).display().to_string()).to_vec()
}

#[test]
fn collect_counts_words() {
    let files = texts();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let expected = by_grep_and_awk(&files);
    assert!(expected.lines().count() > 1000, "{expected}");
    for program in ["collect", "collect-static"] {
        for (procs, debug) in
            [("1", ""), ("2", ""), ("4", "gcstress=50"), ("16", "")]
        {
            let mut command = command(&bin().join(program), &files);
            command.env("GMP_MAXPROCS", procs).env("GMPDEBUG", debug);
            let said = run(&mut command, LIMIT);
            let same = said.exited(0).stdout == expected;
            assert!(same, "{program} {procs} {debug}");
        }
    }
}

/// The number before this word, for each round that `collect` tells of.
fn in_rounds(said: &str, unit: &str) -> Vec<u64> {
    let of = |line: &str| {
        let before = line.split(unit).next()?;
        before.split(' ').next_back()?.parse().ok()
    };
    said.lines().map(|line| of(line).expect(line)).collect()
}

/// The middle one.
fn median(numbers: &[u64]) -> u64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

/// Rounds of the same work, of which each makes megabytes of garbage: their
/// last third has no more memory than the one before.
fn collects_in_rounds(rounds: usize, limit: Duration) {
    let n = rounds.to_string();
    let files = texts();
    let mut args = vec!["-n", &n];
    args.extend(files.iter().map(String::as_str));
    let outcome = run(&mut command(&bin().join("collect"), &args), limit);
    let said = &outcome.exited(0).stderr;
    let collections = in_rounds(said, " collections");
    assert_eq!(collections.len(), rounds, "{said}");
    assert!(collections[rounds - 1] >= rounds as u64 / 4, "{said}");
    let memory = in_rounds(said, " kB, objects");
    let (middle, last) = (rounds / 3, rounds - rounds / 3);
    let (before, after) = (&memory[middle..last], &memory[last..]);
    assert!(median(after) * 4 < median(before) * 5, "{said}");
}

#[test]
fn collect_needs_no_more_memory_for_more_rounds() {
    collects_in_rounds(60, LIMIT);
}

#[test]
#[ignore = "takes minutes"]
fn stress_collect() {
    collects_in_rounds(6000, Duration::from_secs(900));
}

#[test]
fn collect_tells_of_what_it_cannot_read() {
    let mut command = command(&bin().join("collect"), &["/nowhere/at/all"]);
    let outcome = run(&mut command, LIMIT);
    outcome.exited(1).said("/nowhere/at/all: No such file");
}

// --- metrics ---------------------------------------------------------------

/// A program that is killed at the end of its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port of this machine's that nobody uses.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").to_string()
}

/// The answer to a request: its head and its body. Waits for the server.
fn ask(address: &str, request: &str) -> (String, String) {
    let end = Instant::now() + LIMIT;
    let mut server = loop {
        match TcpStream::connect(address) {
            Ok(server) => break server,
            Err(e) => assert!(Instant::now() < end, "{address}: {e}"),
        }
        thread::sleep(Duration::from_millis(5));
    };
    server.set_read_timeout(Some(LIMIT)).expect("a timeout");
    server.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    server.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_owned(), body.to_owned())
}

/// What the server tells now.
fn scrape(address: &str) -> Families {
    let (head, body) = ask(address, "GET /metrics HTTP/1.1\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let kind = "\r\nContent-Type: application/openmetrics-text; \
                version=1.0.0; charset=utf-8\r\n";
    assert!(head.contains(kind), "{head}");
    let length = format!("\r\nContent-Length: {}\r\n", body.len());
    assert!(head.contains(&length), "{head}");
    openmetrics::parse(&body)
}

/// The numbers are those of a program that we know: a main goroutine, a
/// thousand that wait, two that hand on a number each millisecond, and one for
/// each connection.
#[test]
fn metrics() {
    for program in ["metrics", "metrics-static"] {
        let address = free_port();
        let mut command = command(&bin().join(program), &[&address, "1000"]);
        command.env("GMP_MAXPROCS", "2");
        let _server = Running(command.spawn().expect("the server"));
        let (mut before, mut turn) = (scrape(&address), 1_u32);
        // Until the thousand have begun and wait.
        let waiting = "state=\"waiting\"";
        while before["gmprt_goroutines"].samples[waiting] < 1000.0 {
            (before, turn) = (scrape(&address), turn + 1);
        }
        for _ in 0..18 {
            let now = scrape(&address);
            turn += 1;
            let sum = |name: &str| now[&format!("gmprt_{name}")].sum();
            let was = |name: &str| before[&format!("gmprt_{name}")].sum();
            // The last connection's may not have ended yet.
            let live = sum("goroutines");
            assert!((1004.0..=1005.0).contains(&live), "{live} goroutines");
            let by_state = &now["gmprt_goroutines"].samples;
            assert!(by_state["state=\"running\""] >= 1.0, "{by_state:?}");
            assert!(by_state[waiting] >= 1000.0, "{by_state:?}");
            assert_eq!(sum("goroutines_started"), 1003.0 + f64::from(turn));
            let ended = sum("goroutines_started") - sum("goroutines_ended");
            assert_eq!(ended, live);
            assert_eq!(sum("procs"), 2.0);
            assert!(sum("threads") >= 2.0);
            assert!(sum("stack_bytes") > 1000.0 * 65536.0);
            assert!(sum("uptime_seconds") > was("uptime_seconds"));
            assert!(sum("switches") > was("switches"));
            for (name, family) in now.iter().filter(|(_, f)| f.is_counter()) {
                for (labels, value) in &family.samples {
                    let before = before[name].samples[labels];
                    assert!(*value >= before, "{name} {labels} fell");
                }
            }
            before = now;
            thread::sleep(Duration::from_millis(5));
        }
        // 18 pauses of 5 ms, and a sleep of a millisecond after the other.
        let fired = before["gmprt_timers_fired"].sum();
        assert!(fired >= 10.0, "{fired} sleeps have ended");
        let (head, _) = ask(&address, "GET / HTTP/1.1\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
        let (head, _) = ask(&address, "PUT /metrics HTTP/1.1\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 405 "), "{head}");
    }
}
