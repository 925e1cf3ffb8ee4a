//! A redis server with `c-tests/company/redis.c` as its module, and clients.

use super::LIMIT;
use crate::common::{self, Program};
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Clients that write while the server saves, and keys of each.
const CLIENTS: u64 = 4;
const KEYS: u64 = 20;

/// The module, linked with the library.
pub fn module() -> PathBuf {
    let module = common::scratch().join("redis.so");
    let mut compiler =
        common::compiler("company/redis.c", &common::includedir());
    compiler.args(["-fPIC", "-shared", "-o"]).arg(&module);
    common::link_shared(&mut compiler);
    common::compile(&mut compiler);
    module
}

/// The server, which is one program with the checker of its files. Debian has
/// the program in a package of tools; that of the server would start one.
fn program() -> Program {
    let server = common::scratch().join("redis-server");
    if !server.exists() {
        let path = env::var_os("PATH").expect("a path");
        let checkers =
            env::split_paths(&path).map(|d| d.join("redis-check-rdb"));
        let checker = checkers.into_iter().find(|c| c.exists());
        symlink(checker.expect("redis-check-rdb"), &server).expect("a link");
    }
    Program::at(server)
}

/// What a server says.
#[derive(Debug, PartialEq, Eq)]
enum Reply {
    Number(i64),
    Text(String),
    Refused(String),
    Nothing,
    Array(Vec<Reply>),
}

struct Client(BufReader<UnixStream>);

impl Client {
    /// To the server that is about to listen in `dir` and to load its data.
    fn new(dir: &Path) -> Self {
        let until = Instant::now() + LIMIT;
        loop {
            match UnixStream::connect(dir.join("socket")) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(LIMIT)).expect("a limit");
                    let mut client = Self(BufReader::new(stream));
                    if client.ask("PING") == Reply::Text("PONG".to_owned()) {
                        return client;
                    }
                }
                Err(e) => assert!(Instant::now() < until, "no server: {e}"),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks by one command, whose words have no spaces.
    fn ask(&mut self, command: &str) -> Reply {
        let words: Vec<&str> = command.split(' ').collect();
        let mut text = format!("*{}\r\n", words.len());
        for word in words {
            text += &format!("${}\r\n{word}\r\n", word.len());
        }
        let sent = self.0.get_mut().write_all(text.as_bytes());
        sent.unwrap_or_else(|e| panic!("{command}: {e}"));
        self.reply(command)
    }

    fn reply(&mut self, to: &str) -> Reply {
        let mut line = String::new();
        let read = self.0.read_line(&mut line);
        assert!(read.is_ok_and(|n| n > 0), "no answer to {to}");
        let line = line.trim_end();
        let (kind, rest) = line.split_at(1);
        let number = || rest.parse::<i64>().expect("a number");
        match kind {
            "+" => Reply::Text(rest.to_owned()),
            ":" => Reply::Number(number()),
            "$" | "*" if number() < 0 => Reply::Nothing,
            "$" => {
                let mut bytes = vec![0; usize::try_from(number()).unwrap() + 2];
                self.0.read_exact(&mut bytes).expect("a string");
                bytes.truncate(bytes.len() - 2);
                Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
            "*" => {
                Reply::Array((0..number()).map(|_| self.reply(to)).collect())
            }
            _ => Reply::Refused(line.to_owned()),
        }
    }

    /// A command that is to be done.
    fn has_done(&mut self, command: &str) {
        let reply = self.ask(command);
        assert_eq!(reply, Reply::Text("OK".to_owned()), "{command}");
    }

    fn number(&mut self, command: &str) -> i64 {
        match self.ask(command) {
            Reply::Number(n) => n,
            other => panic!("{command}: {other:?}"),
        }
    }

    /// A value of `INFO`.
    fn info(&mut self, name: &str) -> String {
        let Reply::Text(all) = self.ask("INFO") else {
            panic!("no text");
        };
        let mut lines = all.lines();
        let value = lines.find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        value.unwrap_or_else(|| panic!("no {name}")).to_owned()
    }

    /// Has the server fork and save, and waits for the child's success.
    fn save(&mut self, command: &str, busy: &str, verdict: &str) {
        while self.info(busy) != "0" {
            thread::sleep(Duration::from_millis(5));
        }
        let Reply::Text(begun) = self.ask(command) else {
            panic!("{command} is refused");
        };
        assert!(begun.ends_with("started"), "{command}: {begun}");
        let until = Instant::now() + LIMIT;
        while self.info(busy) != "0" {
            assert!(Instant::now() < until, "{command} does not end");
            thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(self.info(verdict), "ok", "{command}");
    }

    fn bgsave(&mut self) {
        self.save("BGSAVE", "rdb_bgsave_in_progress", "rdb_last_bgsave_status");
    }

    fn rewrite(&mut self) {
        self.save(
            "BGREWRITEAOF",
            "aof_rewrite_in_progress",
            "aof_last_bgrewrite_status",
        );
    }

    /// Ticks, writes by a goroutine, goroutines that wait, values that came
    /// from a child.
    fn state(&mut self) -> [i64; 4] {
        let Reply::Array(all) = self.ask("gmp.state") else {
            panic!("no array");
        };
        let number = |reply| match reply {
            Reply::Number(n) => n,
            other => panic!("{other:?}"),
        };
        let all: Vec<i64> = all.into_iter().map(number).collect();
        all.try_into().expect("four numbers")
    }
}

/// The sum that the module has to find.
fn sum(n: u64, seed: u64) -> i64 {
    let word = |i: u64| (seed + i).wrapping_mul(2_654_435_761) % 1_000_003;
    (0..n).map(word).sum::<u64>().try_into().expect("a small sum")
}

/// What a client writes to a key in its round: the number of words, the seed.
fn words(client: u64, key: u64, round: u64) -> (u64, u64) {
    (100 + key * 50, client * 1000 + key * 7 + round)
}

/// Writes and reads until told to stop; returns its last round.
fn load(dir: &Path, me: u64, stop: &AtomicBool) -> u64 {
    let mut client = Client::new(dir);
    for round in 0.. {
        for key in 0..KEYS {
            let (n, seed) = words(me, key, round);
            client.has_done(&format!("gmp.set words{me}.{key} {n} {seed}"));
            let got = client.number(&format!("gmp.sum words{me}.{key}"));
            assert_eq!(got, sum(n, seed));
            let later = format!("gmp.later number{me}.{key} {seed} 1");
            assert_eq!(client.number(&later).cast_unsigned(), seed);
            let text = "x".repeat(500);
            client.has_done(&format!("SET text{me}.{key} {text}"));
        }
        if stop.load(Ordering::Relaxed) {
            return round;
        }
    }
    unreachable!()
}

/// All is in the server that the clients have written.
fn holds_all(client: &mut Client, rounds: &[u64]) {
    for (me, &round) in (0..).zip(rounds) {
        for key in 0..KEYS {
            let (n, seed) = words(me, key, round);
            let got = client.number(&format!("gmp.sum words{me}.{key}"));
            assert_eq!(got, sum(n, seed));
            let number = client.ask(&format!("GET number{me}.{key}"));
            assert_eq!(number, Reply::Text(seed.to_string()));
        }
    }
}

/// Has a server shut down, whatever happens.
struct Ending<'a>(&'a Path);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        if let Ok(mut server) = UnixStream::connect(self.0.join("socket")) {
            let _ = server.write_all(b"SHUTDOWN NOSAVE NOW FORCE\r\n");
        }
    }
}

/// Runs a server in `dir` while `work` lasts.
fn serve<R>(
    dir: &Path,
    module: &Path,
    procs: &str,
    appendonly: &str,
    work: impl FnOnce() -> R,
) -> R {
    let mut server = program().command();
    server.env("GMP_MAXPROCS", procs).arg("--loadmodule").arg(module);
    server.args(["--port", "0", "--save", "", "--dir"]).arg(dir);
    server.arg("--unixsocket").arg(dir.join("socket"));
    server.args(["--appendonly", appendonly]);
    server.args(["--auto-aof-rewrite-percentage", "0"]);
    // Else a rewrite would be a save.
    server.args(["--aof-use-rdb-preamble", "no"]);
    let (outcome, result) = thread::scope(|scope| {
        let server = scope.spawn(|| common::run(&mut server, LIMIT));
        let ending = Ending(dir);
        let result = work();
        drop(ending);
        (server.join().expect("a server"), result)
    });
    outcome.exited(0).kept_quiet_of("failed").kept_quiet_of("fatal error");
    result
}

/// A folder with a name short enough for a socket's.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static SERIAL: AtomicUsize = AtomicUsize::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("gmprt-redis-{}-{serial}", process::id());
        let dir = env::temp_dir().join(name);
        fs::create_dir(&dir).expect("a folder");
        Self(dir)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The server saves under load by forks, so often in each of its two ways, and
/// what it has saved is right.
pub fn saves_and_loads(module: &Path, procs: &str, saves: usize) {
    let folder = Folder::new();
    let dir = &folder.0;
    let rounds = serve(dir, module, procs, "yes", || {
        let mut client = Client::new(dir);
        let stop = &AtomicBool::new(false);
        let rounds: Vec<u64> = thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|me| scope.spawn(move || load(dir, me, stop)))
                .collect();
            for _ in 0..saves {
                client.bgsave();
                client.rewrite();
            }
            stop.store(true, Ordering::Relaxed);
            let ended =
                clients.into_iter().map(|c| c.join().expect("a client"));
            ended.collect()
        });
        holds_all(&mut client, &rounds);
        client.bgsave();
        assert_eq!(client.info("total_forks"), (2 * saves + 1).to_string());
        println!(
            "{procs} Ps: {saves} saves of each kind, {rounds:?} rounds, the \
             last fork {} us",
            client.info("latest_fork_usec")
        );
        let [ticks, written, waiting, _] = client.state();
        assert!(ticks > 0 && written > 0, "{ticks} {written}");
        assert_eq!(waiting, 100);
        rounds
    });
    // From the file of the last save, then from that of the rewrites.
    let keys = i64::try_from(CLIENTS * KEYS).expect("a small number");
    for (appendonly, from_child) in [("no", keys), ("yes", 0)] {
        serve(dir, module, procs, appendonly, || {
            let mut client = Client::new(dir);
            holds_all(&mut client, &rounds);
            assert_eq!(client.state()[3], from_child);
        });
    }
}
