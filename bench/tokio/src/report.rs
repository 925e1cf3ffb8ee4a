//! How results are measured and printed, and what /proc says. The crate beside
//! this one has this file, too.

use std::fs;
use std::time::{Duration, Instant};

const ENOUGH: Duration = Duration::from_millis(300);

/// Prints a line of the result.
pub fn report(metric: &str, value: f64) {
    println!("{metric}\t{value:.4}");
}

/// The time of so many rounds.
pub struct Stopwatch {
    start: Instant,
    rounds: u64,
}

impl Stopwatch {
    pub fn start() -> Self {
        Self { start: Instant::now(), rounds: 0 }
    }

    /// Counts `n` rounds; whether enough time is over.
    pub fn lap(&mut self, n: u64) -> bool {
        self.rounds += n;
        self.start.elapsed() >= ENOUGH
    }

    pub fn report_ns(&self, metric: &str) {
        let ns = self.start.elapsed().as_nanos() as f64;
        report(metric, ns / self.rounds as f64);
    }
}

/// The sum of 1 to n.
pub fn triangle(n: u64) -> u64 {
    n * (n + 1) / 2
}

/// The sum of the lines of a status file with such a key.
fn status(path: &str, key: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    let number = |line: &str| {
        let value = line.split(':').nth(1)?;
        value.split_whitespace().next()?.parse::<u64>().ok()
    };
    text.lines().filter(|l| l.contains(key)).filter_map(number).sum()
}

/// A value of /proc/self/status, such as `VmRSS` in KiB.
pub fn proc_status(key: &str) -> u64 {
    status("/proc/self/status", key)
}

pub fn memory_kib() -> u64 {
    proc_status("VmRSS:") + proc_status("VmPTE:")
}

pub fn mappings() -> u64 {
    let maps = fs::read_to_string("/proc/self/maps").expect("maps");
    maps.lines().count() as u64
}

/// The context switches of all threads so far.
pub fn switches() -> u64 {
    let tasks = fs::read_dir("/proc/self/task").expect("tasks");
    tasks
        .map(|task| task.expect("task").path().join("status"))
        .map(|path| status(&path.to_string_lossy(), "voluntary_ctxt_switches:"))
        .sum()
}

/// What this process has used.
pub fn cpu_seconds() -> f64 {
    // SAFETY: all zeroes is a value of this struct of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` may be written.
    let rc = unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    assert_eq!(rc, 0, "getrusage");
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}
