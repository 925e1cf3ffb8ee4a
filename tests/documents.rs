//! The documents: their programs run, each function has a page with an example,
//! and no link leads nowhere.

#[expect(dead_code, reason = "the C tests use other parts of it")]
mod common;

use common::run;
use common::skip::lacks;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(300);

/// The programs of docs/examples. Those of the tutorial are servers.
fn examples() -> Vec<PathBuf> {
    let dir = common::repository().join("docs/examples");
    let entries = fs::read_dir(dir).expect("docs/examples");
    let mut paths: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    paths.sort();
    paths
}

fn is_server(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("tut"))
}

/// Compiles one of them as a reader would, warnings being errors.
fn compiled(path: &Path) -> PathBuf {
    let name = path.file_stem().expect("a name").to_string_lossy();
    let program = common::scratch().join(format!("example-{name}"));
    let lib = common::libdir();
    let mut cc = Command::new("cc");
    cc.args(["-std=gnu11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O1"]);
    cc.arg("-I").arg(common::includedir()).arg("-o").arg(&program).arg(path);
    cc.arg("-L").arg(lib).arg("-lgmprt");
    cc.arg(format!("-Wl,-rpath,{}", lib.display()));
    run(&mut cc, LIMIT).exited(0);
    program
}

/// Each checks itself what it shows.
#[test]
fn examples_run() {
    let examples = examples();
    assert!(examples.len() > 15, "{examples:?}");
    for path in examples.iter().filter(|path| !is_server(path)) {
        println!("{}", path.display());
        run(&mut Command::new(compiled(path)), LIMIT).exited(0);
    }
}

/// A server of the tutorial, and its port. It is killed if the test ends.
struct Server(Child, u16);

impl Server {
    fn start(step: u32) -> Self {
        let file = format!("docs/examples/tutorial{step}.c");
        let program = compiled(&common::repository().join(file));
        // Nobody else takes a free port at once.
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = free.local_addr().expect("its number").port();
        drop(free);
        let mut command = Command::new(program);
        command.arg(port.to_string()).stdout(Stdio::piped());
        Server(command.spawn().expect("a server"), port)
    }

    fn connect(&self) -> TcpStream {
        let end = Instant::now() + LIMIT;
        loop {
            match TcpStream::connect(("127.0.0.1", self.1)) {
                Ok(stream) => break stream,
                Err(e) => assert!(Instant::now() < end, "no server: {e}"),
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// What the server answers to `text`, after which the client has no more
    /// to say.
    fn answers(&self, text: &str) -> String {
        let mut stream = self.connect();
        stream.set_read_timeout(Some(LIMIT)).expect("a limit");
        stream.write_all(text.as_bytes()).expect("a server");
        stream.shutdown(Shutdown::Write).expect("a server");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_tutorial_s_servers_echo() {
    for step in 1..=3 {
        let server = Server::start(step);
        assert_eq!(server.answers("hello\n"), "hello\n", "step {step}");
    }
}

/// The second server gives up a client that says nothing.
#[test]
fn the_tutorial_s_deadline_passes() {
    let server = Server::start(2);
    let silent = server.connect();
    silent.set_read_timeout(Some(LIMIT)).expect("a limit");
    let mut line = String::new();
    BufReader::new(silent).read_line(&mut line).expect("a farewell");
    assert_eq!(line, "bye\n");
}

/// The third ends in order, although a client is still connected.
#[test]
fn the_tutorial_s_server_ends() {
    let mut server = Server::start(3);
    assert_eq!(server.answers("hello\n"), "hello\n");
    let _client = server.connect();
    let pid = i32::try_from(server.0.id()).expect("a process");
    // SAFETY: sends a signal to a child that has not been waited for.
    unsafe { libc::kill(pid, libc::SIGTERM) };
    let status = server.0.wait().expect("its end");
    assert!(status.success(), "{status}");
}

/// Makes the man pages in an empty folder.
fn man_pages(name: &str) -> PathBuf {
    let out = common::scratch().join(name);
    let _ = fs::remove_dir_all(&out);
    let mut python = Command::new("python3");
    python
        .current_dir(common::repository())
        .args(["docs/make/man.py", "include/gmp.h", "docs/examples", "1.2.3"])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(&out);
    run(&mut python, LIMIT).exited(0);
    out
}

/// The functions of the header.
fn functions() -> Vec<String> {
    let header = fs::read_to_string(common::includedir().join("gmp.h"));
    let header = header.expect("gmp.h");
    let mut found = Vec::new();
    for line in header.lines().filter(|l| !l.starts_with([' ', '#', '/'])) {
        let before = line.split('(').next().unwrap_or_default();
        let name = before.rsplit([' ', '*']).next().unwrap_or_default();
        let static_ = line.starts_with("static") || line.starts_with("extern");
        if line.contains('(') && name.starts_with("gmp_") && !static_ {
            found.push(name.to_owned());
        }
    }
    found.sort();
    found.dedup();
    found
}

#[test]
fn each_function_has_a_man_page_with_an_example() {
    if lacks(&["python3"]) {
        return;
    }
    // What GMP_INIT and C++ call by themselves.
    const HIDDEN: [&str; 3] =
        ["gmp_init_register", "gmp_init_unregister", "gmp_register_cxa"];
    let pages = man_pages("man");
    let functions = functions();
    assert!(functions.len() > 150, "{functions:?}");
    for name in functions {
        let page = pages.join(format!("man3/{name}.3"));
        let page = fs::read_to_string(page).expect(&name);
        for part in ["NAME", "SYNOPSIS", "DESCRIPTION", "SEE ALSO"] {
            assert!(page.contains(&format!(".SH {part}\n")), "{name}: {part}");
        }
        let example = page.split(".SH EXAMPLES").nth(1).unwrap_or_default();
        let shown = example.contains(&format!("{name}("));
        assert!(shown || HIDDEN.contains(&name.as_str()), "{name}: {page}");
    }
    let all = fs::read_to_string(pages.join("man7/gmprt.7")).expect("gmprt.7");
    assert!(all.contains("GMP_MAXPROCS") && all.contains("gmp_go"), "{all}");
}

/// `apropos` finds them by their first line.
#[test]
fn apropos_finds_the_pages() {
    if lacks(&["python3", "mandb"]) {
        return;
    }
    let pages = man_pages("apropos");
    let mut mandb = Command::new("mandb");
    run(mandb.args(["-q", "-c", "-u"]).arg(&pages), LIMIT).exited(0);
    let mut man = Command::new("man");
    let found = run(man.arg("-M").arg(&pages).args(["-k", "gmp_"]), LIMIT);
    let found = found.exited(0).stdout.lines().count();
    assert!(found >= functions().len(), "{found}");
}

/// A reader can run what a line about the host is held by.
#[test]
fn the_list_about_the_host_names_tests_that_exist() {
    let root = common::repository();
    let page = fs::read_to_string(root.join("docs/host.md")).expect("host.md");
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let mut named = 0;
    for row in rows.skip(1) {
        let tests = row.split('|').nth_back(1).expect("a column of tests");
        for test in tests.split('`').skip(1).step_by(2) {
            let (file, name) = test.split_once(' ').expect(row);
            let path = root.join(format!("tests/{file}.rs"));
            let text = fs::read_to_string(path).expect(file);
            let function = text.contains(&format!("fn {name}()"));
            let subject = text.contains(&format!("\n    {name}: "));
            assert!(function || subject, "no test {name} in {file}");
            named += 1;
        }
    }
    assert!(named > 15, "{named}");
}

/// A reader who copies the line gets the version that the documents are of.
#[test]
fn the_documents_ask_for_this_version() {
    let root = common::repository();
    let ours = env!("CARGO_PKG_VERSION").rsplit_once('.').expect("a version").0;
    let line = format!("find_package(gmprt {ours} CONFIG REQUIRED)");
    for file in [
        "README.md",
        "docs/site/start.md",
        "tests/packages/cmake/CMakeLists.txt",
    ] {
        let text = fs::read_to_string(root.join(file)).expect(file);
        assert!(text.contains(&line), "{file}: no {line}");
    }
    let changes = fs::read_to_string(root.join("CHANGELOG.md")).expect("it");
    let debian = root.join("packaging/debian/changelog");
    let debian = fs::read_to_string(debian).expect("packaging");
    let version = env!("CARGO_PKG_VERSION");
    assert!(changes.contains(&format!("\n## {version} (")), "{changes}");
    assert!(debian.starts_with(&format!("gmprt ({version}-")), "{debian}");
}

/// Makes the site in an empty folder.
fn site(name: &str) -> PathBuf {
    let root = common::repository();
    let out = common::scratch().join(name);
    let mut python = Command::new(root.join("build/venv/bin/python"));
    python.current_dir(root).args(["docs/make/site.py", "1.2.3"]).arg(&out);
    python.env("PYTHONDONTWRITEBYTECODE", "1");
    let made = run(&mut python, LIMIT);
    assert!(made.exited(0).stdout.contains(" links checked"));
    out
}

/// It ends with an error if a link leads nowhere. The plots are those of the
/// last table: a panel for each operation, and a bar of ours in each.
#[test]
fn the_site_has_no_dead_links() {
    if lacks(&["markdown-it"]) {
        return;
    }
    let site = site("site");
    let read = |name| fs::read_to_string(site.join(name)).expect(name);
    // A name of the reference of each language; C++'s send is a base's.
    let names =
        ["gmp_chan_send", "gmp::channel", "gmp::sender::send", "gmprt.Channel"];
    let index = read("index.js");
    for name in names {
        assert!(index.contains(&format!("\"{name}\"")), "no heading {name}");
    }
    let plots = read("performance.html");
    let panels: Vec<_> = plots.split("<svg").skip(1).collect();
    assert!(panels.len() > 15, "{} panels", panels.len());
    for panel in panels {
        assert!(panel.contains("<rect class=\"ours\""), "{panel}");
    }
}

/// C in the site's own pages is a program of docs/examples or of examples-c,
/// which the tests run; Python in them runs here.
#[test]
fn programs_in_pages_run() {
    let pages = fs::read_dir(common::repository().join("docs/site"));
    let pages = pages.expect("docs/site").flatten().map(|e| e.path());
    let pages =
        pages.filter(|path| path.extension().is_some_and(|e| e == "md"));
    let mut programs = 0;
    for path in pages {
        let text = fs::read_to_string(&path).expect("a page");
        let fences = text.split("\n```").skip(1).step_by(2);
        for (language, program) in fences.filter_map(|f| f.split_once('\n')) {
            match language {
                "python" if !lacks(&["python3"]) => {
                    let mut python = Command::new("python3");
                    python.env("LD_LIBRARY_PATH", common::libdir());
                    run(python.args(["-c", program]), LIMIT).exited(0);
                    programs += 1;
                }
                "sh" | "cmake" | "meson" | "text" | "python" => {}
                other => panic!("{other} in {}", path.display()),
            }
        }
    }
    assert!(programs > 0 || lacks(&["python3"]));
}

/// Each page fits the window of a phone and of a desk, and the search finds.
/// `tests/documents/look.html` opens them in frames, in one browser.
#[test]
fn the_site_s_pages_fit_their_window() {
    if lacks(&["markdown-it", "chromium"]) {
        return;
    }
    let out = site("site-looked-at");
    let look = common::repository().join("tests/documents/look.html");
    fs::copy(look, out.join("look.html")).expect("a page");
    let entries = fs::read_dir(&out).expect("a site").flatten();
    let names = entries.map(|entry| entry.file_name());
    let pages: Vec<_> = names
        .filter_map(|name| name.into_string().ok())
        .filter(|name| name.ends_with(".html") && name != "look.html")
        .collect();
    assert!(pages.len() > 30, "{pages:?}");
    let mut browser = Command::new("chromium");
    browser
        .args(["--headless=new", "--no-sandbox", "--disable-gpu"])
        .args(["--enable-logging=stderr", "--virtual-time-budget=60000"])
        .args(["--allow-file-access-from-files", "--dump-dom"])
        .arg(format!("--user-data-dir={}", out.join("profile").display()));
    let page = out.join("look.html");
    browser.arg(format!("file://{}?{}", page.display(), pages.join(",")));
    let outcome = run(&mut browser, LIMIT);
    outcome.exited(0).kept_quiet_of("CONSOLE");
    let document = &outcome.stdout;
    let said = format!("<output>{} frames fit</output>", 2 * pages.len());
    assert!(document.contains(&said), "{document}");
}
