//! What httpd takes for a request, and what it refuses.
//!
//! Two servers in a row that read the same bytes as different requests let one
//! client speak for another. So httpd takes a request in one form only: each
//! head here that others read in two ways must be refused, and the connection
//! must end with it, before anything behind it is taken for a request.
//!
//! `servers.rs` has what it answers, and how it bears hard times.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

#[expect(dead_code, reason = "the tests of servers use other parts of it")]
#[path = "servers/peers.rs"]
mod peers;

use peers::{Answer, Server, request};
use std::io::{BufRead, Read, Write};
use std::net::Shutdown;
use std::thread;
use std::time::Duration;

/// A request that must never be answered behind one that is refused.
const SMUGGLED: &str = "GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n";

/// All that the server says to these bytes, until it ends the connection.
fn answers(server: &Server, bytes: &[u8]) -> Vec<Answer> {
    let mut client = server.client();
    client.send(bytes);
    // The server may have ended the connection already.
    let _reset = client.stream.get_ref().shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    while client.stream.fill_buf().is_ok_and(|rest| !rest.is_empty()) {
        answers.push(client.answer());
    }
    answers
}

/// Refused with `status`, and nothing is answered behind it.
fn refused(server: &Server, status: u16, head: &[u8]) {
    let bytes = [head, SMUGGLED.as_bytes()].concat();
    let answers = answers(server, &bytes);
    let shown = String::from_utf8_lossy(&head[..head.len().min(80)]);
    let statuses: Vec<_> = answers.iter().map(|a| a.status).collect();
    assert_eq!(statuses, [status], "{shown:?}");
    assert_eq!(answers[0].field("Connection"), Some("close"), "{shown:?}");
}

#[test]
fn lengths_that_two_servers_read_differently() {
    let server = Server::httpd("2", &[]);
    let post = |fields: &str| request("POST", "/", fields);
    for (status, fields) in [
        (400, "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
        (400, "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
        (400, "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n"),
        (400, "Content-Length: 0\r\nContent-Length: 0\r\n"),
        (400, "Content-Length: 0\r\ncontent-length: 44\r\n"),
        (400, "Content-Length: 0, 44\r\n"),
        (400, "Content-Length: 0,0\r\n"),
        (400, "Content-Length:\r\n"),
        (400, "Content-Length: +4\r\n"),
        (400, "Content-Length: -1\r\n"),
        (400, "Content-Length: 0x0\r\n"),
        (400, "Content-Length: 1e1\r\n"),
        (400, "Content-Length: 4 4\r\n"),
        (400, "Content-Length: \"4\"\r\n"),
        (400, "Content-Length : 4\r\n"),
        (400, "Content-Length\t: 4\r\n"),
        (400, " Content-Length: 4\r\n"),
        (400, "X: y\r\n\tContent-Length: 4\r\n"),
        (400, "X: y\r\n Content-Length: 4\r\n"),
        (400, "Content-Length: 0\r\n 4\r\n"),
        (400, "Transfer-Encoding: xchunked\r\n"),
        (400, "Transfer-Encoding: chunked, identity\r\n"),
        (400, "Transfer-Encoding: identity\r\n"),
        (400, "Transfer-Encoding: \"chunked\"\r\n"),
        (400, "Transfer-Encoding: chunked;x=y\r\n"),
        (400, "Transfer-Encoding:\r\n chunked\r\n"),
        (400, "Transfer-Encoding:\r\n"),
        (400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"),
        (400, "Transfer-Encoding : chunked\r\n"),
        (405, "Transfer-Encoding: \tchunked \t\r\n"),
        (405, "Content-Length: 99999999999999999999999999\r\n"),
        (405, "Content-Length: 18446744073709551616\r\n"),
    ] {
        refused(&server, status, post(fields).as_bytes());
        let status = if status == 405 { 413 } else { status };
        refused(&server, status, request("GET", "/", fields).as_bytes());
    }
    // A transfer coding is no business of an old client.
    let old = "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    refused(&server, 400, old.as_bytes());
}

/// Content is not taken, so however it is cut, it is no request.
#[test]
fn chunks_are_never_requests() {
    let server = Server::httpd("2", &[]);
    for chunks in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "zz\r\nhello\r\n",
        "-1\r\n\r\n",
        "fffffffffffffffff\r\n\r\n",
        "5;x=\"\r\n\r\n\"\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
    ] {
        let head = request("GET", "/", "Transfer-Encoding: chunked\r\n");
        refused(&server, 413, (head.clone() + chunks).as_bytes());
        let head = head.replacen("GET", "POST", 1);
        refused(&server, 405, (head + chunks).as_bytes());
    }
}

#[test]
fn lines_that_two_servers_end_differently() {
    let server = Server::httpd("2", &[]);
    for head in [
        "GET / HTTP/1.1\nHost: x\n\n",
        "GET / HTTP/1.1\r\nHost: x\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\n",
        "GET / HTTP/1.1\rHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\rContent-Length: 9\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\nContent-Length: 9\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n\rA: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA\0: b\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /\u{b}a.txt HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: \u{7f}\r\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\rGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\0",
    ] {
        refused(&server, 400, head.as_bytes());
    }
}

#[test]
fn lines_and_fields_out_of_form() {
    let server = Server::httpd("2", &[]);
    for (status, line) in [
        (400, "GET  / HTTP/1.1"),
        (400, "GET /  HTTP/1.1"),
        (400, "GET / HTTP/1.1 "),
        (400, " GET / HTTP/1.1"),
        (400, "GET\t/\tHTTP/1.1"),
        (400, "GET / a HTTP/1.1"),
        (400, "GET / http/1.1"),
        (400, "GET / HTTP/1.10"),
        (400, "GET / HTTP/01.1"),
        (400, "GET / HTTP/1,1"),
        (400, "GET / HTTP/1."),
        (400, "GET / HTTPS/1.1"),
        (400, "G@T / HTTP/1.1"),
        (400, "GET /\u{e9} HTTP/1.1"),
        (400, "GET /a#b HTTP/1.1"),
        (400, "GET a.txt HTTP/1.1"),
        (400, "GET ftp://x/ HTTP/1.1"),
        (400, "GET http:///a.txt HTTP/1.1"),
        (400, "GET http://me@x/a.txt HTTP/1.1"),
        (400, "GET http://[::1/a.txt HTTP/1.1"),
        (400, "GET http://[::1]x/a.txt HTTP/1.1"),
        (400, "GET http://x:y/a.txt HTTP/1.1"),
        (501, "get / HTTP/1.1"),
        (501, "GETS / HTTP/1.1"),
        (505, "PRI * HTTP/2.0"),
        (505, "GET / HTTP/0.9"),
        (405, "CONNECT x:443 HTTP/1.1"),
    ] {
        let head = format!("{line}\r\nHost: x\r\n\r\n");
        refused(&server, status, head.as_bytes());
    }
    for fields in [
        "Host: x\r\n: y\r\n",
        "Host: x\r\nX\r\n",
        "Host: x\r\nX Y: z\r\n",
        "Host: x\r\n(X): z\r\n",
        "Host: x\r\nHost: x\r\n",
        "Host: x, y\r\n",
        "Host: x y\r\n",
        "Host: x/y\r\n",
        "Host: me@x\r\n",
        "Host: x:y\r\n",
        "X: y\r\n",
        "Host: x\r\nRange: bytes=0-\r\nRange: bytes=1-\r\n",
    ] {
        let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
        refused(&server, 400, head.as_bytes());
    }
}

#[test]
fn forms_that_are_good() {
    let server = Server::httpd("2", &[]);
    for head in [
        "GET /a.txt HTTP/1.1\r\nHost:\r\n",
        "GET /a.txt HTTP/1.1\r\nHOST:\t x \t\r\n",
        "GET /a.txt HTTP/1.1\r\nHost: [::1]:80\r\n",
        "GET /a.txt HTTP/1.1\r\nHost: x:\r\n",
        "GET /a.txt HTTP/1.2\r\nHost: x\r\n",
        "GET http://[::1]:80/a.txt HTTP/1.1\r\nHost: x\r\n",
        "GET HTTP://x/a.txt?b?c HTTP/1.1\r\nHost: x\r\n",
        "GET /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 000\r\n",
        "GET /a.txt HTTP/1.1\r\nHost: x\r\nX:\r\nX: \u{e9}\t:\"\r\n",
        "\r\n\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: x\r\n",
        "GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: x, ,close-to\r\n",
        "GET /a.txt HTTP/1.0\r\nConnection: x,Keep-Alive ,y\r\n",
    ] {
        let twice = format!("{head}\r\n").repeat(2);
        let answers = answers(&server, twice.as_bytes());
        assert_eq!(answers.len(), 2, "{head:?}");
        answers.iter().for_each(|answer| answer.is(200, b"hello\n"));
    }
    for head in [
        "GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: x,CLOSE\r\n",
        "GET /a.txt HTTP/1.1\r\nHost: x\r\nConnection: x\r\nConnection: close\r\n",
        "GET /a.txt HTTP/1.0\r\nConnection: keep-alive, close\r\n",
        "GET /a.txt HTTP/1.0\r\nConnection: keep\r\n",
    ] {
        let twice = format!("{head}\r\n").repeat(2);
        let answers = answers(&server, twice.as_bytes());
        assert_eq!(answers.len(), 1, "{head:?}");
        answers[0].is(200, b"hello\n");
    }
}

/// The buffer is full before the end of a head; or just not.
#[test]
fn heads_of_any_length() {
    const MOST: usize = 8192;
    let server = Server::httpd("2", &[]);
    for (len, status) in [(MOST, 200), (MOST + 1, 431), (3 * MOST, 431)] {
        let head = request("GET", "/a.txt", "X: \r\n");
        let long = format!("X: {}\r\n", "y".repeat(len - head.len()));
        let head = request("GET", "/a.txt", &long);
        assert_eq!(head.len(), len);
        let answers = answers(&server, head.as_bytes());
        assert_eq!(answers[0].status, status, "{len} bytes");
        let line = format!("GET /{}", "x".repeat(len));
        refused(&server, 414, line.as_bytes());
    }
    refused(
        &server,
        431,
        request("GET", "/", &"X:\r\n".repeat(2500)).as_bytes(),
    );
    refused(&server, 414, "\r\n".repeat(MOST).as_bytes());
}

/// Requests mean the same wherever the network cuts them.
#[test]
fn pieces_of_any_size() {
    let server = Server::httpd("2", &[]);
    let bytes = [
        request("GET", "/a.txt", "Connection: x\r\n"),
        request("HEAD", "/ten", ""),
        "\r\n".to_owned(),
        request("GET", "/ten", "Range: bytes=2-4\r\nContent-Length: 0\r\n"),
        request("GET", "/", "Content-Length : 0\r\n"),
        SMUGGLED.to_owned(),
    ]
    .concat();
    let bytes = bytes.as_bytes();
    for cut in 0..=bytes.len() {
        let mut client = server.client();
        client.send(&bytes[..cut]);
        if cut % 4 == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        // After the last answer there may be nobody who takes the rest.
        let _reset = client.stream.get_mut().write_all(&bytes[cut..]);
        client.answer().is(200, b"hello\n");
        assert_eq!(client.head().field("Content-Length"), Some("10"));
        client.answer().is(206, b"234");
        assert_eq!(client.answer().status, 400, "cut at {cut}");
        let mut rest = Vec::new();
        let _reset = client.stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "cut at {cut}");
    }
}

/// Numbers that look random, the same in every run.
struct Numbers(u64);

impl Numbers {
    /// The next one below `end` (xorshift).
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("below a usize")
    }
}

/// One of the ways to spoil a request.
fn spoil(text: &mut Vec<u8>, numbers: &mut Numbers) {
    const BITS: [&[u8]; 12] = [
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b"\t",
        b":",
        b"\0",
        b"\xff",
        b"Content-Length: 4\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"HTTP/1.0",
        b"%2e",
    ];
    let at = numbers.below(text.len());
    match numbers.below(3) {
        0 => text[at] = u8::try_from(numbers.below(256)).expect("a byte"),
        1 => drop(text.remove(at)),
        _ => {
            let bits = BITS[numbers.below(BITS.len())];
            text.splice(at..at, bits.iter().copied());
        }
    }
}

/// Whatever comes in: each answer has a known status, none follows the first
/// that refuses a form, and the server goes on.
#[test]
fn spoilt_requests_are_answered_or_refused() {
    let server = Server::httpd("4", &[]);
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    for round in 0..3000 {
        let text = request("GET", "/ten", "Range: bytes=2-4\r\n")
            + SMUGGLED
            + &request("HEAD", "http://x/a.txt?b", "Connection: close\r\n");
        let mut text = text.into_bytes();
        for _ in 0..=numbers.below(3) {
            spoil(&mut text, &mut numbers);
        }
        let mut client = server.client();
        let _reset = client.stream.get_mut().write_all(&text);
        let _reset = client.stream.get_ref().shutdown(Shutdown::Write);
        let mut said = Vec::new();
        let _reset = client.stream.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        let shown = String::from_utf8_lossy(&text);
        let heads: Vec<_> = said.split("HTTP/1.1 ").skip(1).collect();
        // Each but the last belongs to a head that has come whole.
        let most = 1 + text.windows(4).filter(|w| w == b"\r\n\r\n").count();
        assert!(heads.len() <= most, "{round}: {shown:?}: {said}");
        for (i, head) in heads.iter().enumerate() {
            let status = &head[..3];
            let form = ["400", "405", "413", "431", "501", "505"];
            let known = ["200", "206", "301", "304", "403", "404", "416"];
            let last = i + 1 == heads.len();
            let refused = form.contains(&status);
            assert!(
                refused && last || known.contains(&status),
                "{round}: {status} to {shown:?}: {said}"
            );
        }
    }
    server.get("/a.txt", "").is(200, b"hello\n");
    server.stop();
}
