//! Runs the examples in C++, linked shared and static, and checks their output.
//!
//! `make examples` builds them into `build/bin`; `make test` does that first.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

use common::skip::lacks;
use common::{Program, run};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long one example may take; the slowest takes a second.
const LIMIT: Duration = Duration::from_secs(60);

/// A path for a file of this name that no other test has.
fn new_path(name: &str) -> PathBuf {
    static SERIAL: AtomicUsize = AtomicUsize::new(0);
    let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
    common::scratch().join(format!("examples_cpp.{serial}.{name}"))
}

/// A file with this text.
fn written(name: &str, text: &str) -> PathBuf {
    let path = new_path(name);
    fs::write(&path, text).expect("write an input");
    path
}

/// Where the Makefile puts the examples, beside the libraries.
fn example(name: &str) -> Command {
    let path = common::libdir().with_file_name("bin").join(name);
    assert!(path.exists(), "no {}: run `make examples`", path.display());
    let mut command = Program::at(path).command();
    command.env("LC_ALL", "C").env_remove("LD_PRELOAD");
    command
}

/// What an example answers to a text on its stdin.
fn answer(name: &str, procs: &str, text: &str) -> String {
    let mut command = example(name);
    let input = fs::File::open(written("input", text)).expect("the input");
    command.env("GMP_MAXPROCS", procs).stdin(input);
    let done = command.output().expect(name);
    assert!(done.status.success(), "{name}: {done:?}");
    String::from_utf8_lossy(&done.stdout).into_owned()
}

/// Pseudo-random words.
fn words(n: u64) -> impl Iterator<Item = String> {
    (0..n).map(|i| {
        let mixed = (i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        format!("{:x}", mixed % 5000)
    })
}

#[test]
fn sort() {
    if lacks(&["g++"]) {
        return;
    }
    let mut lines: Vec<String> = words(20_000).collect();
    let text = lines.join("\n") + "\n";
    lines.sort();
    let sorted = lines.join("\n") + "\n";
    for (name, procs) in [("sort", "1"), ("sort", "4"), ("sort-static", "2")] {
        assert!(answer(name, procs, &text) == sorted, "{name} {procs}");
        assert_eq!(answer(name, procs, ""), "");
    }
}

/// The first prime numbers, by so many coroutines.
#[test]
fn primes() {
    if lacks(&["g++"]) {
        return;
    }
    for (name, procs) in
        [("primes", "1"), ("primes", "4"), ("primes-static", "2")]
    {
        let mut command = example(name);
        let done = command.env("GMP_MAXPROCS", procs).arg("168").output();
        let done = done.expect(name);
        assert!(done.status.success(), "{name}: {done:?}");
        let said = String::from_utf8_lossy(&done.stdout);
        let sum: u32 =
            said.lines().map(|line| line.parse::<u32>().unwrap()).sum();
        assert_eq!((said.lines().count(), sum), (168, 76127), "below 1000");
    }
}

#[test]
fn strings() {
    if lacks(&["g++"]) {
        return;
    }
    let text = "The cat and the dog.\nthe End\n\nof The cat;and...\n";
    let counts = "      4 the\n      2 and\n      2 cat\n      1 dog\n      \
                  1 end\n      1 of\n";
    for (name, procs) in
        [("strings", "1"), ("strings", "4"), ("strings-static", "2")]
    {
        assert_eq!(answer(name, procs, text), counts);
        let many = text.repeat(1000).replace("of", "");
        let said = answer(name, procs, &many);
        assert!(said.starts_with("   4000 the\n   2000 and\n"), "{said}");
    }
}

/// `gather` and `collect`, which is another program in another language, agree;
/// and `collect` agrees with other tools.
#[test]
fn gather() {
    if lacks(&["g++"]) {
        return;
    }
    let at = |name| common::repository().join(name);
    let files = ["README.md", "include/gmp.h", "Makefile"].map(at);
    let counts = |program: &str, procs: &str, debug: &str| {
        let mut command = example(program);
        command.args(&files).env("GMP_MAXPROCS", procs);
        let outcome = run(command.env("GMPDEBUG", debug), LIMIT);
        outcome.exited(0).stdout.clone()
    };
    let expected = counts("collect", "2", "");
    assert!(expected.lines().count() > 1000, "{expected}");
    for (program, procs, debug) in [
        ("gather", "1", ""),
        ("gather", "4", "gcstress=50"),
        ("gather-static", "2", ""),
    ] {
        let said = counts(program, procs, debug);
        assert!(said == expected, "{program} {procs} {debug}");
    }
    let outcome = run(example("gather").arg("/nowhere/at/all"), LIMIT);
    outcome.exited(1).said("/nowhere/at/all: No such file");
}

/// A server that ends with its test.
struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    port: u16,
}

impl Server {
    /// Starts it; its first line ends with the port.
    fn start(mut command: Command) -> Server {
        command.stdout(Stdio::piped()).stdin(Stdio::null());
        let mut child = command.spawn().expect("start a server");
        let stdout = child.stdout.take().expect("a pipe");
        let mut out = BufReader::new(stdout);
        let mut line = String::new();
        out.read_line(&mut line).expect("the server's first line");
        let port = line.trim_end().rsplit([' ', ':']).next();
        let port = port.and_then(|p| p.parse().ok()).expect(&line);
        Server { child, out, port }
    }

    /// Asks it to end, and waits for that.
    fn stop(&mut self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // SAFETY: `kill` takes no pointers; the child was not waited for.
        unsafe { libc::kill(pid, libc::SIGTERM) };
        let deadline = Instant::now() + LIMIT;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("wait") {
                assert!(status.success(), "{status}");
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the server does not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = self.out.read_line(&mut String::new());
    }
}

/// A client of the chat server.
struct Guest(BufReader<TcpStream>);

impl Guest {
    fn enter(server: &Server, name: &str) -> Guest {
        let stream = TcpStream::connect(("127.0.0.1", server.port));
        let stream = stream.expect("connect");
        stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
        let mut guest = Guest(BufReader::new(stream));
        guest.hears("your name?");
        guest.says(name);
        guest
    }

    fn says(&mut self, line: &str) {
        let line = format!("{line}\r\n");
        self.0.get_mut().write_all(line.as_bytes()).expect("send");
    }

    fn hears(&mut self, want: &str) {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("receive");
        assert_eq!(line.trim_end(), want);
    }

    fn hears_the_end(&mut self) {
        let n = self.0.read_line(&mut String::new()).unwrap_or(0);
        assert_eq!(n, 0);
    }
}

#[test]
fn chat() {
    if lacks(&["g++"]) {
        return;
    }
    for (name, procs) in [("chat", "1"), ("chat", "4"), ("chat-static", "2")] {
        let mut command = example(name);
        command.arg("127.0.0.1:0").env("GMP_MAXPROCS", procs);
        let mut server = Server::start(command);
        let mut ann = Guest::enter(&server, "ann");
        ann.says("/who");
        ann.hears("here: ann");
        let mut bob = Guest::enter(&server, "bob");
        ann.hears("bob is here");
        let mut other = Guest::enter(&server, "bob");
        other.hears("there is one already");
        other.hears_the_end();
        bob.says("hello");
        ann.hears("bob: hello");
        ann.says("hello, bob");
        bob.hears("ann: hello, bob");
        let mut crowd: Vec<Guest> = Vec::new();
        for i in 0..20 {
            crowd.push(Guest::enter(&server, &format!("guest{i}")));
            bob.hears(&format!("guest{i} is here"));
        }
        // One vanishes, one says goodbye.
        drop(crowd.pop());
        bob.hears("guest19 has left");
        crowd[0].says("/quit");
        bob.hears("guest0 has left");
        bob.says("still here");
        for guest in &mut crowd[17..] {
            loop {
                let mut line = String::new();
                guest.0.read_line(&mut line).expect("receive");
                if line == "bob: still here\n" {
                    break;
                }
                assert!(
                    line.contains(" is here") || line.contains(" has left")
                );
            }
        }
        server.stop();
        bob.hears("the server goes down");
        bob.hears_the_end();
    }
}

/// Over a site that `httpd`, another example, serves.
#[test]
fn crawler() {
    if lacks(&["g++"]) {
        return;
    }
    let www = new_path("www");
    fs::create_dir_all(www.join("sub")).expect("a directory");
    let page = |path: &str, text: &str| {
        fs::write(www.join(path), text).expect("a page");
    };
    page("index.html", "<a href=\"a.html\"><a href=\"sub/b.html#x\">");
    page("a.html", "<a href=\"/index.html\"><a href=\"http://other/\">");
    page("sub/b.html", "<a href=\"c.html\"><a href=\"/missing.html\">");
    page("sub/c.html", "<a href=\"../a.html\">");
    let many: String =
        (0..50).map(|i| format!("<a href=\"/p{i}.txt\">")).collect();
    fs::write(www.join("many.html"), many).expect("a page");
    for i in 0..50 {
        page(&format!("p{i}.txt"), &"x".repeat(i));
    }
    let mut httpd = example("httpd");
    httpd.arg("127.0.0.1:0").arg(&www);
    let mut server = Server::start(httpd);
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", server.port);
    for (name, procs) in
        [("crawler", "1"), ("crawler", "4"), ("crawler-static", "2")]
    {
        let says = |arguments: &[&str]| {
            let mut command = example(name);
            command.args(arguments).env("GMP_MAXPROCS", procs);
            let outcome = run(&mut command, LIMIT);
            outcome.exited(0);
            outcome.stdout
        };
        let said = says(&[&url("/index.html")]);
        let found: Vec<String> = said
            .lines()
            .map(|line| {
                let mut words = line.split_whitespace();
                let status = words.next().unwrap_or_default();
                format!("{status} {}", words.last().unwrap_or_default())
            })
            .collect();
        let want = [
            "200 /a.html",
            "200 /index.html",
            "404 /missing.html",
            "200 /sub/../a.html",
            "200 /sub/b.html",
            "200 /sub/c.html",
        ];
        assert_eq!(found, want, "{said}");
        let said = says(&[&url("/many.html"), "3"]);
        assert_eq!(said.lines().count(), 51, "{said}");
        assert!(said.contains("200      49 /p49.txt\n"), "{said}");
        let said = says(&["http://127.0.0.1:1/"]);
        assert!(said.starts_with("  0       - /: "), "{said}");
    }
    server.stop();
}
