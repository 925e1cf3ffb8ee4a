//! `gmprt top`: what the goroutines of a process do, again and again.
//!
//! A sample reads the descriptors of all goroutines and no stack, so that
//! watching costs the process nothing and a hundred thousand goroutines are
//! read in some ten milliseconds. Goroutines are alike here if they are in the
//! same state, run the same function or have the same name, and were made in
//! the same place.

use crate::machine::{self, M, P, PState};
use crate::screen::{Key, Screen};
use crate::target::Process;
use clap::{Args, ValueEnum};
use gmprt_inspect::places::Places as Names;
use gmprt_inspect::snapshot::{Goroutine, Status, Want};
use gmprt_inspect::symbols::Place;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

/// Groups that are written where nothing limits their number.
const MOST: usize = 200;

#[derive(Args)]
#[command(after_help = "The process goes on meanwhile: nothing in it is \
    stopped or changed.\n\n\
    On a terminal: q ends it, s sorts by the next key. Elsewhere it writes \
    plain text, a sample after the other.\n\n\
    RUNS/S is how often a second goroutines are started or resumed on a P. A P \
    is retaken from a goroutine that blocks or computes in C code.\n\n\
    Exit status: 0, or 1 with the reason on the standard error.")]
pub struct Top {
    /// The process
    #[arg(value_name = "PID")]
    pid: u32,
    /// One sample, of one interval, as plain text
    #[arg(long)]
    once: bool,
    /// Seconds from one sample to the next
    #[arg(long, value_name = "S", default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// What comes first
    #[arg(long, value_enum, default_value_t = Order::State)]
    sort: Order,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Order {
    /// State, then the place where they were made
    State,
    /// The most goroutines
    Count,
    /// The longest wait
    Wait,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.01..=86400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("must be between 0.01 and 86400".into())
    }
}

/// Goroutines that are alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Like {
    status: Status,
    host: bool,
    reason: Vec<u8>,
    name: Vec<u8>,
    func: u64,
    gopc: u64,
}

#[derive(Clone, Debug, Default)]
struct Group {
    count: u64,
    /// The shortest and the longest wait, in nanoseconds.
    waits: Option<(u64, u64)>,
}

/// A moment of a process.
struct Sample {
    at: Instant,
    groups: HashMap<Like, Group>,
    ps: Vec<P>,
    ms: Vec<M>,
    /// Time on a CPU by thread, in ticks of the system's clock.
    cpu: HashMap<u32, u64>,
}

impl Top {
    /// Watches the process.
    ///
    /// # Errors
    /// In words.
    pub fn run(&self) -> Result<(), String> {
        let process = Process::open(self.pid)?;
        let places = machine::Places::new(&process.layout)
            .map_err(|why| format!("process {}: {why}", self.pid))?;
        let terminal = !self.once && io::stdout().is_terminal();
        let mut screen = if terminal { Some(Screen::open()?) } else { None };
        let calm = || false;
        let mut names = process.world.places(&calm);
        let mut order = self.sort;
        let mut before = sample(&process, &places)?;
        loop {
            let now = match self.wait(&mut screen, &mut order, before.at)? {
                Next::End => return Ok(()),
                Next::Sample => sample(&process, &places),
            };
            let now = match now {
                Ok(now) => now,
                Err(why) if self.once => return Err(why),
                Err(why) => {
                    drop(screen);
                    println!("gmprt: {why}");
                    return Ok(());
                }
            };
            let mut table =
                Table { process: &process, names: &mut names, order };
            let text = table.text(&before, &now);
            match &mut screen {
                Some(screen) => screen.show(&text)?,
                None => match writeln!(io::stdout(), "{text}") {
                    Err(why) if why.kind() == io::ErrorKind::BrokenPipe => {
                        return Ok(());
                    }
                    wrote => {
                        wrote.map_err(|why| format!("cannot write: {why}"))?
                    }
                },
            }
            if self.once {
                return Ok(());
            }
            before = now;
        }
    }

    /// Waits until the next sample is due, or a key asks for one.
    fn wait(
        &self,
        screen: &mut Option<Screen>,
        order: &mut Order,
        since: Instant,
    ) -> Result<Next, String> {
        loop {
            let left = self.interval.saturating_sub(since.elapsed());
            let Some(screen) = screen else {
                thread::sleep(left);
                return Ok(Next::Sample);
            };
            match screen.key(left)? {
                Some(Key::Quit) => return Ok(Next::End),
                Some(Key::Sort) => *order = order.next(),
                Some(Key::Resize) => {}
                None => return Ok(Next::Sample),
            }
        }
    }
}

enum Next {
    Sample,
    End,
}

impl Order {
    fn next(self) -> Order {
        match self {
            Order::State => Order::Count,
            Order::Count => Order::Wait,
            Order::Wait => Order::State,
        }
    }
}

fn sample(
    process: &Process,
    places: &machine::Places,
) -> Result<Sample, String> {
    let mut groups: HashMap<Like, Group> = HashMap::new();
    let want = Want { system: false, frames: 0, running: false };
    let at = Instant::now();
    let done: Result<(), std::convert::Infallible> =
        process.world.each(&want, |goroutine| {
            let group = groups.entry(Like::of(goroutine)).or_default();
            group.count += 1;
            if let Some(ns) = goroutine.waits {
                let (least, most) = group.waits.unwrap_or((ns, ns));
                group.waits = Some((least.min(ns), most.max(ns)));
            }
            Ok(())
        });
    let Ok(()) = done;
    let memory = &process.world.memory;
    let ps = places.ps(memory);
    let ms = places.ms(memory);
    if !process.lives() {
        return Err(format!("process {} has ended", process.pid));
    }
    let cpu = ms.iter().filter_map(|m| Some((m.tid, cpu(process.pid, m.tid)?)));
    let cpu = cpu.collect();
    Ok(Sample { at, groups, ps, ms, cpu })
}

/// The time that a thread has spent on a CPU, in ticks of the system's clock.
fn cpu(pid: u32, tid: u32) -> Option<u64> {
    let stat = format!("/proc/{pid}/task/{tid}/stat");
    let stat = std::fs::read_to_string(stat).ok()?;
    // The name, in parentheses, may have blanks and parentheses in it.
    let fields = stat.rsplit_once(')')?.1;
    let mut fields = fields.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

impl Like {
    fn of(goroutine: &Goroutine) -> Like {
        // New or not makes no difference here: both wait for a P.
        let status = match goroutine.status {
            Status::New => Status::Runnable,
            status => status,
        };
        Like {
            status,
            host: goroutine.host,
            reason: goroutine.reason.clone(),
            name: goroutine.name.clone(),
            func: goroutine.func,
            gopc: goroutine.gopc,
        }
    }

    fn state(&self) -> String {
        if self.reason.is_empty() {
            self.status.name().to_owned()
        } else {
            printable(&self.reason)
        }
    }
}

fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let blank = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(blank).collect()
}

/// Writes two samples as text.
struct Table<'a, 'b> {
    process: &'a Process,
    names: &'b mut Names<
        'a,
        gmprt_inspect::process::ProcessMemory,
        gmprt_inspect::objects::Objects,
    >,
    order: Order,
}

impl Table<'_, '_> {
    fn text(&mut self, before: &Sample, now: &Sample) -> String {
        let mut text = self.head(now);
        ps(&mut text, before, now);
        ms(&mut text, before, now);
        self.groups(&mut text, now);
        text
    }

    fn head(&self, now: &Sample) -> String {
        let count = |which: &dyn Fn(&Like) -> bool| -> u64 {
            let groups = now.groups.iter().filter(|(like, _)| which(like));
            groups.map(|(_, group)| group.count).sum()
        };
        let is = |status| count(&|like| !like.host && like.status == status);
        let mut text = format!(
            "process {} ({}): {} goroutines: {} running, {} runnable, {} \
             waiting; {} Ps, {} threads",
            self.process.pid,
            self.process.name,
            count(&|like| !like.host),
            is(Status::Running),
            is(Status::Runnable),
            is(Status::Waiting),
            now.ps.len(),
            now.ms.len(),
        );
        let hosts = count(&|like| like.host);
        if hosts > 0 {
            let _ = write!(text, "; {hosts} host threads wait");
        }
        text.push('\n');
        text
    }

    fn groups(&mut self, text: &mut String, now: &Sample) {
        let mut groups: Vec<(&Like, &Group, String)> = now
            .groups
            .iter()
            .map(|(like, group)| (like, group, self.made_at(like)))
            .collect();
        let longest =
            |group: &Group| Reverse(group.waits.map(|(_, most)| most));
        let count = |group: &Group| Reverse(group.count);
        groups.sort_by_cached_key(|(like, group, made)| {
            let rest = (
                state_rank(like),
                like.state(),
                made.clone(),
                count(group),
                like.func,
                like.name.clone(),
            );
            let first = match self.order {
                Order::State => (Reverse(0), Reverse(None)),
                Order::Count => (count(group), Reverse(None)),
                Order::Wait => (Reverse(0), longest(group)),
            };
            (first, rest)
        });
        let _ = writeln!(
            text,
            "\n{:>8}  {:<18} {:>9} {:>9}  {:<28} MADE AT",
            "COUNT", "STATE", "SHORTEST", "LONGEST", "NAME OR FUNCTION"
        );
        for (like, group, made) in groups.iter().take(MOST) {
            let (least, most) = match group.waits {
                Some((least, most)) => (span(least), span(most)),
                None => (String::new(), String::new()),
            };
            let _ = writeln!(
                text,
                "{:>8}  {:<18} {least:>9} {most:>9}  {:<28} {made}",
                group.count,
                like.state(),
                self.called(like),
            );
        }
        if groups.len() > MOST {
            let _ = writeln!(text, "     ...  {} more", groups.len() - MOST);
        }
    }

    fn called(&mut self, like: &Like) -> String {
        if !like.name.is_empty() {
            return format!("\"{}\"", printable(&like.name));
        }
        match like.func {
            _ if like.host => "(host thread)".into(),
            0 => String::new(),
            func => name(&self.names.place(func)),
        }
    }

    fn made_at(&mut self, like: &Like) -> String {
        if like.gopc == 0 {
            return String::new();
        }
        // A return address: the call is before it.
        let place = self.names.place(like.gopc - 1);
        let Some(function) = place.functions.first() else {
            return name(&place);
        };
        match (&function.file, function.line) {
            (Some(file), Some(line)) => {
                let file = file.rsplit('/').next().unwrap_or(file);
                format!("{} ({file}:{line})", name(&place))
            }
            _ => name(&place),
        }
    }
}

/// Running first, then those that could, then those that wait, then threads.
fn state_rank(like: &Like) -> u8 {
    match like.status {
        _ if like.host => 3,
        Status::Running => 0,
        Status::Runnable | Status::New => 1,
        Status::Waiting => 2,
    }
}

/// The function of a place, with the offset where that is all there is.
fn name(place: &Place) -> String {
    let function = place.functions.first();
    let Some(name) = function.and_then(|f| f.name.as_deref()) else {
        let object = place.object.as_deref().unwrap_or("?");
        let object = object.rsplit('/').next().unwrap_or(object);
        return format!("{object}+{:#x}", place.at);
    };
    printable(name.as_bytes())
}

/// How long about, in seconds, minutes or hours.
fn span(ns: u64) -> String {
    let seconds = ns as f64 / 1e9;
    match seconds {
        ..100.0 => format!("{seconds:.1} s"),
        ..6000.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

fn ps(text: &mut String, before: &Sample, now: &Sample) {
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(1e-3);
    let _ = writeln!(
        text,
        "\n{:>4}  {:<8} {:>8} {:>10}  {:>10}",
        "P", "STATE", "THREAD", "GOROUTINE", "RUNS/S"
    );
    for p in &now.ps {
        let state = match p.state {
            PState::Idle => "idle",
            PState::Running => "running",
            PState::Retaking => "retaking",
            PState::Stopped => "stopped",
        };
        let m = p.m(&now.ms);
        let or_none = |number: Option<String>| number.unwrap_or("-".into());
        let was = before.ps.iter().find(|was| was.id == p.id);
        let runs = was.map(|was| p.ticks.wrapping_sub(was.ticks));
        let rate = runs.map(|runs| format!("{:.0}", f64::from(runs) / seconds));
        let _ = writeln!(
            text,
            "{:>4}  {state:<8} {:>8} {:>10}  {:>10}",
            p.id,
            or_none(m.map(|m| m.tid.to_string())),
            or_none(m.and_then(|m| m.goroutine).map(|g| g.to_string())),
            or_none(rate),
        );
    }
}

fn ms(text: &mut String, before: &Sample, now: &Sample) {
    // SAFETY: no pointers.
    let hertz = unsafe { libc::sysconf(libc::_SC_CLK_TCK) }.max(1) as f64;
    let seconds = now.at.duration_since(before.at).as_secs_f64().max(1e-3);
    let _ = writeln!(
        text,
        "\n{:>8}  {:<8} {:>4} {:>10}  {:>6}",
        "THREAD", "KIND", "P", "GOROUTINE", "CPU %"
    );
    let mut ms: Vec<&M> = now.ms.iter().collect();
    ms.sort_by_key(|m| m.tid);
    for m in ms {
        let holds = |p: &&P| p.m(&now.ms).is_some_and(|its| its.tid == m.tid);
        let p = now.ps.iter().find(holds).map(|p| p.id.to_string());
        let ticks = match (before.cpu.get(&m.tid), now.cpu.get(&m.tid)) {
            (Some(was), Some(is)) => Some(is.saturating_sub(*was)),
            _ => None,
        };
        let share = ticks.map(|ticks| ticks as f64 / hertz / seconds * 100.0);
        let _ = writeln!(
            text,
            "{:>8}  {:<8} {:>4} {:>10}  {:>6}",
            m.tid,
            m.kind,
            p.as_deref().unwrap_or("-"),
            m.goroutine.map_or("-".into(), |id| id.to_string()),
            share.map_or("-".into(), |share| format!("{share:.0}")),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_checked() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert!(seconds("0").is_err() && seconds("soon").is_err());
        assert!(seconds("nan").is_err() && seconds("1e99").is_err());
    }

    #[test]
    fn spans_have_units() {
        assert_eq!(span(2_540_000_000), "2.5 s");
        assert_eq!(span(600_000_000_000), "10 min");
        assert_eq!(span(7_200_000_000_000), "2.0 h");
    }
}
