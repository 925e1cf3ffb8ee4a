//! Runs the two servers among the examples, on 1, 2 and 4 processors, and gives
//! them good clients, bad clients and hard times.
//!
//! Nothing here depends on how fast the machine is: what must not happen for
//! ever has a limit of [`LIMIT`], and what must not happen at once is waited
//! for in the order of messages. The servers end with their test, also where
//! that fails ([`Server`]).

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

#[path = "servers/peers.rs"]
mod peers;

use common::Program;
use common::skip::lacks;
use peers::{
    BIG, CHANGED, Client, LIMIT, Server, big, bin, eventually, request, www,
};
use std::io::{BufRead, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Makes tests of functions that take a number of processors.
macro_rules! on_1_2_and_4 {
    ($($name:ident,)*) => {
        $(mod $name {
            #[test]
            fn on_1() {
                super::$name("1");
            }

            #[test]
            fn on_2() {
                super::$name("2");
            }

            #[test]
            fn on_4() {
                super::$name("4");
            }
        })*
    };
}

on_1_2_and_4! {
    files_and_directories,
    nothing_from_outside,
    ranges,
    conditions,
    one_connection_many_requests,
    old_clients,
    what_is_refused,
    curl_gets_along,
    over_a_unix_socket,
    slow_clients,
    clients_that_vanish,
    no_more_connections_than_allowed,
    no_descriptors_left,
    a_stop_lets_requests_finish,
    idle_connections_are_small,
    a_crowd,
    fetch,
    echo_over_tcp,
    echo_over_a_unix_socket,
}

/// What curl prints.
fn curl(args: &[&str]) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "60"]).args(args);
    let done = command.output().expect("cannot run curl");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let cried = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "curl {args:?}: {cried}{said}");
    said
}

// --- httpd: what it answers ------------------------------------------------

fn files_and_directories(procs: &str) {
    let server = Server::httpd(procs, &[]);
    let hello = server.get("/a.txt", "");
    hello.is(200, b"hello\n");
    assert_eq!(hello.field("Content-Type"), Some("text/plain; charset=utf-8"));
    assert_eq!(hello.field("Last-Modified"), Some(CHANGED));
    assert!(hello.field("Date").is_some_and(|d| d.ends_with(" GMT")));
    assert_eq!(hello.field("Connection"), None);
    for (target, status, body) in [
        ("/", 200, "the top"),
        ("/empty", 200, ""),
        ("/with/", 200, "an index"),
        ("/with/../a.txt?query", 200, "hello\n"),
        ("/%61%2Etxt", 200, "hello\n"),
        ("/a%20b%25.txt", 200, "odd"),
        ("//a.txt", 200, "hello\n"),
        ("/inside", 200, "hello\n"),
        ("http://elsewhere:80/a.txt", 200, "hello\n"),
        ("http://elsewhere", 200, "the top"),
        ("/without/", 404, "404 Not Found\n"),
        ("/nothing", 404, "404 Not Found\n"),
        ("/a.txt/", 404, "404 Not Found\n"),
        ("/a.txt/b", 404, "404 Not Found\n"),
    ] {
        let answer = server.get(target, "");
        assert_eq!(answer.body, body.as_bytes(), "{target}: {}", answer.head);
        assert_eq!(answer.status, status, "{target}");
    }
    for (target, place) in [
        ("/with", "/with/"),
        ("/with?a=b&c", "/with/?a=b&c"),
        ("///with", "/with/"),
        ("/%77ith", "/%77ith/"),
    ] {
        let answer = server.get(target, "");
        assert_eq!(
            (answer.status, answer.field("Location")),
            (301, Some(place))
        );
    }
}

fn nothing_from_outside(procs: &str) {
    let server = Server::httpd(procs, &[]);
    for target in [
        "/../secret",
        "/%2e%2e/secret",
        "/%2E%2e%2fsecret",
        "/..%2fsecret",
        "/with/../../secret",
        "/with/%2e%2e/%2e%2e/secret",
        "//../secret",
        "/up/secret",
        "/up/www/a.txt",
        "/outside",
        "/absolute",
        "http://x/../secret",
    ] {
        let answer = server.get(target, "");
        assert_eq!(answer.status, 403, "{target}: {}", answer.head);
    }
    for target in ["/a.txt%00", "/%00", "/a%0", "/a%", "/%zz", "/%2", "*"] {
        let answer = server.get(target, "");
        assert_eq!(answer.status, 400, "{target}: {}", answer.head);
    }
    // It does not wait until somebody writes into a pipe.
    assert_eq!(server.get("/pipe", "").status, 403);
}

fn ranges(procs: &str) {
    let server = Server::httpd(procs, &[]);
    for (range, part, at) in [
        ("0-0", "0", "0-0"),
        ("2-4", "234", "2-4"),
        ("7-", "789", "7-9"),
        ("-3", "789", "7-9"),
        ("0-99", "0123456789", "0-9"),
        ("-99", "0123456789", "0-9"),
        ("9-99999999999999999999999", "9", "9-9"),
    ] {
        let answer = server.get("/ten", &format!("Range: bytes={range}\r\n"));
        answer.is(206, part.as_bytes());
        let at = format!("bytes {at}/10");
        assert_eq!(answer.field("Content-Range"), Some(at.as_str()));
    }
    for range in ["10-", "10-20", "-0", "99999999999999999999-"] {
        let answer = server.get("/ten", &format!("Range: bytes={range}\r\n"));
        assert_eq!(answer.status, 416, "{range}");
        assert_eq!(answer.field("Content-Range"), Some("bytes */10"));
    }
    for range in ["4-2", "-", "a-b", "1-2,4-5", "", "1", "--3", "1-2-3"] {
        let answer = server.get("/ten", &format!("Range: bytes={range}\r\n"));
        answer.is(200, b"0123456789");
    }
    let version = |v| format!("Range: bytes=2-4\r\nIf-Range: {v}\r\n");
    server.get("/ten", &version(CHANGED)).is(206, b"234");
    let other = "Mon, 07 Nov 1994 08:49:37 GMT";
    server.get("/ten", &version(other)).is(200, b"0123456789");
    server
        .get("/empty", "Range: bytes=0-\r\n")
        .is(416, b"416 Range Not Satisfiable\n");
}

fn conditions(procs: &str) {
    let server = Server::httpd(procs, &[]);
    let since = |date: &str| {
        server.get("/ten", &format!("If-Modified-Since: {date}\r\n")).status
    };
    assert_eq!(since(CHANGED), 304);
    assert_eq!(since("Mon, 07 Nov 1994 08:49:37 GMT"), 304);
    assert_eq!(since("Sat, 05 Nov 1994 08:49:37 GMT"), 200);
    assert_eq!(since("yesterday"), 200);
    assert_eq!(since(""), 200);
}

fn one_connection_many_requests(procs: &str) {
    let server = Server::httpd(procs, &[]);
    let mut client = server.client();
    for _ in 0..3 {
        client.send(request("GET", "/a.txt", ""));
        client.answer().is(200, b"hello\n");
        client.send(request("GET", "/nothing", ""));
        client.answer().is(404, b"404 Not Found\n");
    }
    // Fields that mean nothing here, and an empty one.
    client.send(request("GET", "/ten", "X:\r\nRange:\r\nY: \r\n"));
    client.answer().is(200, b"0123456789");
    // All at once, more than one buffer takes; HEAD has no content, which
    // would be taken for the next answer.
    let paths = ["/a.txt", "/ten", "/empty", "/with/", "/with"];
    let texts =
        ["hello\n", "0123456789", "", "an index", "301 Moved Permanently\n"];
    let batch: String = (0..500)
        .map(|i| {
            let method = if i % 3 == 0 { "HEAD" } else { "GET" };
            request(method, paths[i % paths.len()], "X: yz\r\n")
        })
        .collect();
    client.send(batch);
    for i in 0..500 {
        let text = texts[i % texts.len()];
        let answer = if i % 3 == 0 { client.head() } else { client.answer() };
        let length = answer.field("Content-Length").expect("a length");
        assert_eq!(length, text.len().to_string());
        let body = if i % 3 == 0 { "" } else { text };
        assert_eq!(answer.body, body.as_bytes());
    }
    // Byte by byte.
    for byte in request("GET", "/ten", "").as_bytes() {
        client.send([*byte]);
    }
    client.answer().is(200, b"0123456789");
    client.send(request("GET", "/ten", "Connection: close\r\n"));
    let last = client.answer();
    last.is(200, b"0123456789");
    assert_eq!(last.field("Connection"), Some("close"));
    client.ended();
    // One that has nothing more to say, but listens.
    let mut client = server.client();
    client.send(request("GET", "/ten", "").repeat(2));
    client.stream.get_ref().shutdown(Shutdown::Write).expect("shut");
    client.answer().is(200, b"0123456789");
    client.answer().is(200, b"0123456789");
    client.ended();
}

fn old_clients(procs: &str) {
    let server = Server::httpd(procs, &[]);
    let mut client = server.client();
    client.send("GET /ten HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let first = client.answer();
    first.is(200, b"0123456789");
    assert_eq!(first.field("Connection"), Some("keep-alive"));
    client.send("GET /a.txt HTTP/1.0\r\n\r\n");
    client.answer().is(200, b"hello\n");
    client.ended();
}

/// Each is refused with this status, which reaches the client though not all
/// that it sends is read; then the connection ends.
fn what_is_refused(procs: &str) {
    let server = Server::httpd(procs, &[]);
    let long = "x".repeat(9000);
    let get = |fields: &str| request("GET", "/", fields);
    for (status, text) in [
        (400, "\r\nnonsense\r\n\r\n".to_owned()),
        (400, "\u{16}\u{3}\u{1}\u{2}".to_owned()),
        (400, "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (400, "GET  HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()),
        (400, get("Host: y\r\n")),
        (400, get("No colon\r\n")),
        (400, get("Range: bytes=1-\r\n 2\r\n")),
        (400, get("Content-Length: 5x\r\n")),
        (400, get("Content-Length: 0\r\nContent-Length: 1\r\n")),
        (400, get("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n")),
        (405, request("POST", "/", "Content-Length: 9000\r\n") + &long),
        (405, request("DELETE", "/a.txt", "")),
        (405, request("OPTIONS", "*", "")),
        (413, get("Content-Length: 9000\r\n") + &long),
        (413, get("Transfer-Encoding: chunked\r\n") + "5\r\nhello\r\n"),
        (414, request("GET", &format!("/{long}"), "")),
        (431, get(&format!("X: {long}\r\n"))),
        (431, get(&"X: y\r\n".repeat(2000))),
        (501, request("BREW", "/", "")),
        (505, "GET / HTTP/2.0\r\nHost: x\r\n\r\n".to_owned()),
        (505, "GET /\r\n\r\n".to_owned()),
    ] {
        let mut client = server.client();
        client.send(&text);
        let answer = client.answer();
        let text: String = text.chars().take(60).collect();
        assert_eq!(answer.status, status, "{text:?}: {}", answer.head);
        if status == 405 {
            assert_eq!(answer.field("Allow"), Some("GET, HEAD"));
        }
        assert_eq!(answer.field("Connection"), Some("close"), "{text:?}");
        client.ended();
    }
    server.get("/a.txt", "").is(200, b"hello\n");
    assert_eq!(server.get(&format!("/{}", &long[..5000]), "").status, 414);
    assert_eq!(server.get(&format!("/{}", &long[..300]), "").status, 404);
}

fn curl_gets_along(procs: &str) {
    if lacks(&["curl"]) {
        return;
    }
    let server = Server::httpd(procs, &[]);
    let url = |path: &str| format!("http://{}{path}", server.address);
    let (ten, with) = (url("/ten"), url("/with"));
    assert_eq!(curl(&[&ten, "-r", "2-4"]), "234");
    assert_eq!(curl(&["-L", &with]), "an index");
    assert_eq!(curl(&["-0", &ten]), "0123456789");
    assert_eq!(curl(&["--http2", &ten]), "0123456789");
    let code = ["-o", "/dev/null", "-w", "%{http_code} %{num_connects}\n"];
    let codes = |args: &[&str]| curl(&[&code[..], args].concat());
    assert_eq!(codes(&["-z", CHANGED, &ten]), "304 1\n");
    assert_eq!(codes(&["-I", &ten]), "200 1\n");
    let again = [&code[..], &[&ten, "-o", "/dev/null", &ten]].concat();
    assert_eq!(curl(&again), "200 1\n200 0\n");
    // It asks before it sends so much, and is told at once.
    let content = www().join("big");
    let data = format!("@{}", content.display());
    let expect = ["-H", "Expect: 100-continue", "--expect100-timeout", "60"];
    let post = [&expect[..], &["--data-binary", &data, &ten]].concat();
    assert_eq!(codes(&post), "405 1\n");
}

fn over_a_unix_socket(procs: &str) {
    if lacks(&["curl"]) {
        return;
    }
    let path = common::scratch().join(format!("httpd-{procs}.sock"));
    let (address, www) = (path.to_str().expect("a path"), www());
    let www = www.to_str().expect("a path");
    let server = Server::spawn(procs, "httpd-static", &[address, www], None);
    eventually("it listens", || UnixStream::connect(&path).is_ok());
    let args = ["--unix-socket", address, "http://any/ten"];
    assert_eq!(curl(&args), "0123456789");
    server.stop();
    assert!(!path.exists());
}

// --- httpd: hard times -----------------------------------------------------

fn slow_clients(procs: &str) {
    let server = Server::httpd(procs, &["-t", "1", "-i", "1"]);
    let mut never_done = server.client();
    never_done.send("GET / HTTP/1.1\r\nHost:");
    // One that says nothing is left without a word.
    let silent = server.client();
    let mut tired = server.client();
    tired.send(request("GET", "/ten", ""));
    tired.answer().is(200, b"0123456789");
    // One that takes nothing of a big file loses its connection.
    let mut lazy = server.client();
    lazy.send(request("GET", "/big", ""));
    assert_eq!(lazy.head().status, 200);
    // A byte now and then does not help.
    let mut drip = server.client();
    let begin = Instant::now();
    for byte in request("GET", "/", &"X: y\r\n".repeat(99)).bytes() {
        let sent = drip.stream.get_mut().write_all(&[byte]);
        if sent.is_err() || begin.elapsed() > Duration::from_secs(2) {
            break;
        }
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(drip.answer().status, 408);
    assert_eq!(never_done.answer().status, 408);
    never_done.ended();
    silent.ended();
    tired.ended();
    let big = www().join("big");
    eventually("the file is given up", || !server.has_open(&big));
    let mut part = Vec::new();
    let _ended_or_reset = lazy.stream.read_to_end(&mut part);
    assert!(part.len() < BIG, "all has come");
}

/// With four slots, a connection that keeps its own would be missed.
fn clients_that_vanish(procs: &str) {
    let server = Server::httpd(procs, &["-c", "4"]);
    let before = server.files();
    for i in 0..60 {
        let mut client = server.client();
        match i % 4 {
            0 => client.send("GET / HTTP/1.1\r\nHo"),
            1 => client.send(request("GET", "/big", "").repeat(3)),
            2 => {
                client.send(request("GET", "/big", ""));
                client.head();
            }
            _ => {
                client.send(request("GET", "/big", ""));
                let _ = client.stream.get_ref().shutdown(Shutdown::Both);
            }
        }
    }
    let mut crowd: Vec<Client> = (0..4).map(|_| server.client()).collect();
    for client in &mut crowd {
        client.send(request("GET", "/a.txt", ""));
    }
    for client in &mut crowd {
        client.answer().is(200, b"hello\n");
    }
    drop(crowd);
    // The poller may have made its own meanwhile.
    eventually("connections are closed", || server.files() < before + 8);
    server.stop();
}

fn no_more_connections_than_allowed(procs: &str) {
    let server = Server::httpd(procs, &["-c", "2"]);
    let mut first = server.client();
    first.send(request("GET", "/a.txt", ""));
    first.answer().is(200, b"hello\n");
    let mut second = server.client();
    second.send(request("GET", "/a.txt", ""));
    second.answer().is(200, b"hello\n");
    let mut third = server.client();
    third.send(request("GET", "/a.txt", ""));
    // It waits while the others are served.
    second.send(request("GET", "/ten", ""));
    second.answer().is(200, b"0123456789");
    third.stream.get_ref().set_nonblocking(true).expect("a mode");
    assert!(third.stream.fill_buf().is_err());
    third.stream.get_ref().set_nonblocking(false).expect("a mode");
    drop(first);
    third.answer().is(200, b"hello\n");
}

/// Clients for whom there is no descriptor wait until there is one; a request
/// for whose file there is none is answered so.
fn no_descriptors_left(procs: &str) {
    let server = Server::httpd_with_files(procs, &[], Some(32));
    let mut crowd: Vec<Client> = (0..60).map(|_| server.client()).collect();
    eventually("all descriptors are in use", || server.has_files_below(32));
    crowd[0].send(request("GET", "/a.txt", ""));
    crowd[0].answer().is(503, b"503 Service Unavailable\n");
    for mut client in crowd {
        client.send(request("GET", "/a.txt", ""));
        assert!([200, 503].contains(&client.answer().status));
    }
    eventually("it has recovered", || server.get("/a.txt", "").status == 200);
    server.stop();
}

fn a_stop_lets_requests_finish(procs: &str) {
    let server = Server::httpd(procs, &[]);
    let mut idle = server.client();
    idle.send(request("GET", "/a.txt", ""));
    idle.answer().is(200, b"hello\n");
    let fresh = server.client();
    let mut busy = server.client();
    busy.send(
        request("GET", "/big", "") + &request("GET", "/ten", "").repeat(2),
    );
    let head = busy.head();
    let mut half = vec![0; BIG / 2];
    busy.stream.read_exact(&mut half).expect("the first half");

    server.terminate();
    idle.ended();
    fresh.ended();
    eventually("it does not listen", || {
        TcpStream::connect(&server.address).is_err()
    });
    let mut rest = vec![0; BIG / 2];
    busy.stream.read_exact(&mut rest).expect("the second half");
    assert_eq!(head.field("Content-Length"), Some(&*BIG.to_string()));
    assert!([half, rest].concat() == big(), "the file has changed");
    // The next answer can tell the client that it is the last.
    let last = busy.answer();
    last.is(200, b"0123456789");
    assert_eq!(last.field("Connection"), Some("close"));
    busy.ended();
    assert_eq!(server.ends(), "httpd: 3 requests, 5 goroutines at most\n");
}

fn idle_connections_are_small(procs: &str) {
    const CROWD: u64 = 500;
    let server = Server::httpd(procs, &[]);
    let connect = |_| {
        let mut client = server.client();
        client.send(request("GET", "/ten", "User-Agent: a test\r\n"));
        client.answer().is(200, b"0123456789");
        client
    };
    let first: Vec<Client> = (0..50).map(connect).collect();
    let before = server.memory();
    let crowd: Vec<Client> = (0..CROWD).map(connect).collect();
    let each = (server.memory() - before) / CROWD;
    println!("an idle connection takes {each} bytes");
    assert!(each < 6144, "an idle connection takes {each} bytes");
    drop((first, crowd));
}

// --- Load ------------------------------------------------------------------

/// A thousand connections by wrk.
fn a_crowd(procs: &str) {
    if lacks(&["wrk"]) {
        return;
    }
    let server = Server::httpd(procs, &[]);
    let url = format!("http://{}/a.txt", server.address);
    let wrk = Command::new("wrk")
        .args(["-t", "2", "-c", "1000", "-d", "1", "--timeout", "30", &url])
        .output();
    let done = wrk.expect("cannot run wrk");
    let said = String::from_utf8_lossy(&done.stdout);
    println!("{said}");
    assert!(done.status.success(), "{said}");
    for error in ["Socket errors", "Non-2xx"] {
        assert!(!said.contains(error), "{said}");
    }
    server.stop();
}

fn fetch(procs: &str) {
    for end in ["", "-static"] {
        let httpd = bin().join(format!("httpd{end}"));
        let program = Program::at(bin().join(format!("fetch{end}")));
        let mut command = program.command();
        command.env("GMP_MAXPROCS", procs);
        command.args(["-c", "100", "-s", "1"]).arg(httpd);
        command.arg(common::repository().join("examples-c"));
        let outcome = common::run(&mut command, LIMIT);
        outcome.exited(0);
        let said = &outcome.stdout;
        assert!(said.contains(" s, 0 errors\n"), "{said}");
        assert!(said.contains("server: 102 goroutines on "), "{said}");
    }
}

// --- echo ------------------------------------------------------------------

/// Sends as much as no buffer takes, and reads it back at the same time.
fn echoes(mut from: impl Read, mut to: impl Write + Send, shut: impl Fn()) {
    let sent = big();
    let mut came = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| to.write_all(sent).expect("sending"));
        let mut some = vec![0; BIG];
        from.read_exact(&mut some).expect("the echo");
        came = some;
    });
    assert!(came == sent, "the echo differs");
    shut();
    assert_eq!(from.read(&mut [0]).expect("the end"), 0);
}

fn echo_over_tcp(procs: &str) {
    // The port stays free: nobody else here uses these addresses.
    let host = format!("127.0.7.{procs}:0");
    let free = TcpListener::bind(host).expect("a port");
    let address = free.local_addr().expect("its number").to_string();
    drop(free);
    let mut server = Server::spawn(procs, "echo", &["tcp", &address], Some(40));
    server.address = address;
    eventually("it listens", || TcpStream::connect(&server.address).is_ok());
    let before = server.files();
    // More than it has descriptors: those who wait have their turn.
    let crowd: Vec<Client> = (0..60).map(|_| server.client()).collect();
    for (i, mut client) in crowd.into_iter().enumerate() {
        client.send(format!("client {i}\n"));
        let mut line = String::new();
        client.stream.read_line(&mut line).expect("the echo");
        assert_eq!(line, format!("client {i}\n"));
    }
    let stream = TcpStream::connect(&server.address).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    echoes(&stream, &stream, || {
        stream.shutdown(Shutdown::Write).expect("shut");
    });
    drop(stream);
    eventually("connections are closed", || server.files() < before + 4);
}

fn echo_over_a_unix_socket(procs: &str) {
    let path = common::scratch().join(format!("echo-{procs}.sock"));
    let address = path.to_str().expect("a path");
    let _server = Server::spawn(procs, "echo-static", &["unix", address], None);
    eventually("it listens", || UnixStream::connect(&path).is_ok());
    let stream = UnixStream::connect(&path).expect("a connection");
    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
    echoes(&stream, &stream, || {
        stream.shutdown(Shutdown::Write).expect("shut");
    });
}
