//! A program that tests look into.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The program `watched.c` under way, killed at the end.
pub struct Watched {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Watched {
    pub fn start(command: &mut Command) -> Watched {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("the program starts");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut watched = Watched { child, stdin, stdout };
        watched.until("ready\n");
        watched
    }

    pub fn pid(&self) -> String {
        self.child.id().to_string()
    }

    /// What it writes up to this line.
    fn until(&mut self, line: &str) -> String {
        let mut text = String::new();
        while !text.ends_with(line) {
            let read = self.stdout.read_line(&mut text).expect("its output");
            assert_ne!(read, 0, "the program has ended after: {text}");
        }
        text.truncate(text.len() - line.len());
        text
    }

    /// Its own dump: "d" as text, "j" as JSON of each goroutine.
    pub fn dumps_itself(&mut self, form: &str) -> String {
        let stdin = self.stdin.as_mut().expect("its input");
        writeln!(stdin, "{form}").expect("its input");
        self.until("\ndumped\n")
    }

    /// Lets it end by itself.
    pub fn ends(mut self) {
        self.stdin = None;
        let status = self.child.wait().expect("its end");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
