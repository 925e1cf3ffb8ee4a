//! Servers and clients for the tests of the servers, and the files served.

use crate::common::{self, Program};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(60);

/// When the files that are served were last changed.
pub const CHANGED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const CHANGED_UNIX: u64 = 784_111_777;

/// More than the kernel takes into the buffers of a connection.
pub const BIG: usize = 32 << 20;

/// Where the Makefile puts programs, beside the libraries.
pub fn bin() -> PathBuf {
    let lib = std::env::var_os("GMPRT_LIBDIR")
        .map_or_else(|| common::repository().join("build/lib"), PathBuf::from);
    let bin = lib.with_file_name("bin");
    assert!(bin.exists(), "no {}: run `make examples`", bin.display());
    bin
}

/// The directory that is served.
pub fn www() -> &'static Path {
    static WWW: OnceLock<PathBuf> = OnceLock::new();
    WWW.get_or_init(|| {
        let www = common::scratch().join("www");
        fs::create_dir_all(www.join("with")).expect("a directory");
        fs::create_dir_all(www.join("without")).expect("a directory");
        let files: [(&str, &[u8]); 7] = [
            ("a.txt", b"hello\n"),
            ("ten", b"0123456789"),
            ("empty", b""),
            ("index.html", b"the top"),
            ("with/index.html", b"an index"),
            ("a b%.txt", b"odd"),
            ("../secret", b"secret"),
        ];
        for (name, content) in files {
            fs::write(www.join(name), content).expect("a file");
            date(&www.join(name));
        }
        fs::write(www.join("big"), big()).expect("a file");
        symlink("a.txt", www.join("inside")).expect("a link");
        symlink("../secret", www.join("outside")).expect("a link");
        symlink("/etc/passwd", www.join("absolute")).expect("a link");
        symlink("..", www.join("up")).expect("a link");
        let mut mkfifo = Command::new("mkfifo");
        let made = mkfifo.arg(www.join("pipe")).status().expect("mkfifo");
        assert!(made.success());
        www.canonicalize().expect("a path")
    })
}

fn date(path: &Path) {
    let file = File::options().append(true).open(path).expect("the file");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(CHANGED_UNIX);
    file.set_modified(time).expect("a date");
}

/// The content of the big file.
pub fn big() -> &'static [u8] {
    static CONTENT: OnceLock<Vec<u8>> = OnceLock::new();
    CONTENT.get_or_init(|| {
        let mut content = vec![0; BIG];
        for (i, word) in content.chunks_exact_mut(8).enumerate() {
            word.copy_from_slice(&i.to_le_bytes());
        }
        content
    })
}

// --- Servers ---------------------------------------------------------------

/// A server and, when it is dropped, its end.
pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub address: String,
}

impl Server {
    /// Starts httpd with these options over [`www`], on a port of its choice.
    pub fn httpd(procs: &str, options: &[&str]) -> Server {
        Server::httpd_with_files(procs, options, None)
    }

    /// The same with at most so many descriptors.
    pub fn httpd_with_files(
        procs: &str,
        options: &[&str],
        files: Option<u32>,
    ) -> Server {
        let www = www().to_str().expect("a path");
        let args = [options, &["127.0.0.1:0", www]].concat();
        let mut server = Server::spawn(procs, "httpd", &args, files);
        let mut said = String::new();
        server.stdout.read_line(&mut said).expect("the server's output");
        let address = said.strip_prefix("httpd: listening on ").expect(&said);
        server.address = address.trim_end().to_owned();
        server
    }

    /// Starts a program on so many processors, and with at most so many
    /// descriptors.
    pub fn spawn(
        procs: &str,
        program: &str,
        args: &[&str],
        files: Option<u32>,
    ) -> Server {
        let shell = ["sh", "-c", "ulimit -n $0 && exec \"$@\""];
        let mut argv: Vec<String> = Vec::new();
        if let Some(files) = files {
            argv.extend(shell.map(String::from));
            argv.push(files.to_string());
        }
        argv.push(bin().join(program).to_string_lossy().into_owned());
        argv.extend(args.iter().map(|arg| (*arg).to_owned()));
        let mut command = Program::at(PathBuf::from(&argv[0])).command();
        command.args(&argv[1..]).env("GMP_MAXPROCS", procs);
        command.process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("cannot start the server");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Server { child, stdout, address: String::new() }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a process id fits i32")
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        // SAFETY: takes no pointers; the child is not waited for yet.
        assert_eq!(unsafe { libc::kill(self.pid(), libc::SIGTERM) }, 0);
    }

    /// Panics unless it ends well by itself; what else it said.
    pub fn ends(mut self) -> String {
        let mut said = String::new();
        eventually("the server ends", || {
            self.child.try_wait().expect("the server").is_some()
        });
        self.stdout.read_to_string(&mut said).expect("the server's output");
        let status = self.child.wait().expect("the server");
        assert!(status.success(), "the server ended with {status}: {said}");
        said
    }

    pub fn stop(self) -> String {
        self.terminate();
        self.ends()
    }

    /// How many descriptors it has open.
    pub fn files(&self) -> usize {
        let dir = fs::read_dir(format!("/proc/{}/fd", self.pid()));
        dir.expect("the server's descriptors").count()
    }

    /// Whether all its descriptors below `limit` are open.
    pub fn has_files_below(&self, limit: u32) -> bool {
        let dir = format!("/proc/{}/fd", self.pid());
        (0..limit).all(|n| fs::symlink_metadata(format!("{dir}/{n}")).is_ok())
    }

    /// Whether it has this file open.
    pub fn has_open(&self, path: &Path) -> bool {
        let dir = fs::read_dir(format!("/proc/{}/fd", self.pid()));
        dir.expect("the server's descriptors").flatten().any(|entry| {
            fs::read_link(entry.path()).is_ok_and(|file| file == path)
        })
    }

    /// Its memory, in bytes.
    pub fn memory(&self) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.pid());
        let text = fs::read_to_string(path).expect("the server's memory");
        let rss = text.lines().find(|l| l.starts_with("Rss:")).expect("Rss");
        let kib = rss.split_whitespace().nth(1).expect("a number");
        kib.parse::<u64>().expect("a number") * 1024
    }

    pub fn client(&self) -> Client {
        let stream = TcpStream::connect(&self.address).expect("no connection");
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        stream.set_write_timeout(Some(LIMIT)).expect("a limit");
        Client { stream: BufReader::new(stream) }
    }

    /// The answer to this text, on a connection of its own.
    pub fn answer(&self, text: impl AsRef<[u8]>) -> Answer {
        let mut client = self.client();
        client.send(text);
        client.answer()
    }

    /// The answer to a GET of `target` with these further fields.
    pub fn get(&self, target: &str, fields: &str) -> Answer {
        self.answer(request("GET", target, fields))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: takes no pointers; the group is of our making, and does
        // nothing where nobody is left in it.
        unsafe { libc::killpg(self.pid(), libc::SIGKILL) };
        let _ = self.child.wait();
    }
}

/// Waits until `done`; panics after [`LIMIT`].
pub fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !done() {
        assert!(Instant::now() < end, "still not: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

// --- Clients ---------------------------------------------------------------

pub struct Client {
    pub stream: BufReader<TcpStream>,
}

pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (field, value) = line.split_once(": ")?;
            field.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// Panics unless it is this.
    pub fn is(&self, status: u16, body: &[u8]) {
        assert_eq!(self.status, status, "{}", self.head);
        assert_eq!(self.body, body, "{}", self.head);
    }
}

impl Client {
    pub fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(text.as_ref()).expect("sending");
    }

    /// Reads an answer: its head only, and only of its content.
    pub fn head(&mut self) -> Answer {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            let n = self.stream.read_line(&mut head).expect("an answer");
            assert!(n > 0, "the connection ended after {head:?}");
        }
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|h| h.get(..3));
        let status = status.and_then(|s| s.parse().ok()).expect(&head);
        Answer { status, head, body: Vec::new() }
    }

    /// Reads an answer with its content.
    pub fn answer(&mut self) -> Answer {
        let mut answer = self.head();
        let length = answer
            .field("Content-Length")
            .map_or(0, |n| n.parse().expect("a length"));
        answer.body.resize(length, 0);
        self.stream.read_exact(&mut answer.body).expect("the content");
        answer
    }

    /// Panics unless the server ends the connection now, without a word.
    pub fn ended(mut self) {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("the end");
        assert!(rest.is_empty(), "{} bytes more", rest.len());
    }
}

pub fn request(method: &str, target: &str, fields: &str) -> String {
    format!("{method} {target} HTTP/1.1\r\nHost: x\r\n{fields}\r\n")
}
