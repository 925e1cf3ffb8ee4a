//! A dump as text.
//!
//! ```text
//! 1003 goroutines: 1 running, 2 runnable, 1000 waiting; 4 Ps, process 4711
//!
//! 1000 goroutines [chan receive] "reader", for about 2.5 s, on 1000 objects: 18, 19, …
//!     started at main (leak.c:31) by goroutine 1
//!     gmp_chan_recv+0x7d
//!     wait_forever at leak.c:12
//! ```
//! Strings of the host's come on one line, whatever is in them.

use crate::{
    dump::{Advice, FEW, Form, Head, Options, Totals},
    goroutine::{Goroutine, Holder},
    groups::{Entry, Objects},
    memory::Memory,
    modules::Modules,
    places::{Named as Shown, Places, function},
    symbols::{Function, Place},
    walk::{End, Frame},
};
use core::fmt::{self, Display};
use std::io::{self, Write};
use std::rc::Rc;

/// Equal frames in a row that are written one by one.
const SHORT_RUN: usize = 3;

/// Writes text.
pub struct Text<'w> {
    out: &'w mut dyn Write,
    options: Options,
}

impl<'w> Text<'w> {
    /// A writer to `out`.
    pub fn new(out: &'w mut dyn Write, options: Options) -> Self {
        Self { out, options }
    }

    /// Writes an entry, with its frames.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn entry<M: Memory, O: Modules>(
        &mut self,
        entry: &Entry,
        places: &mut Places<'_, M, O>,
    ) -> io::Result<()> {
        head(self.out, entry)?;
        self.body(entry, places)
    }

    /// Writes a line of the caller's.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn line(&mut self, line: fmt::Arguments<'_>) -> io::Result<()> {
        writeln!(self.out, "{line}")
    }

    /// Writes an entry without its first line.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn body<M: Memory, O: Modules>(
        &mut self,
        entry: &Entry,
        places: &mut Places<'_, M, O>,
    ) -> io::Result<()> {
        let it = &entry.like;
        creator(self.out, entry, places)?;
        if it.moved {
            writeln!(self.out, "    went on while its stack was read")?;
        }
        if !it.unseen.is_empty() {
            writeln!(self.out, "    no frames: {}", it.unseen)?;
        }
        let all = it.system && !it.host;
        let shown = places.shown(&it.frames, all);
        if entry.places {
            writeln!(self.out, "    in several places of these functions, as")?;
        }
        let limit = if self.options.stacks { usize::MAX } else { FEW };
        self.frames(&shown[..shown.len().min(limit)])?;
        if shown.len() > limit || it.end == Some(End::Full) {
            writeln!(self.out, "    ...")?;
        }
        self.why(it, places)?;
        self.function(it, &shown, places)
    }

    /// Writes the goroutine's function, if no frame shows it: there are none,
    /// or the function has jumped to the next one.
    fn function<M: Memory, O: Modules>(
        &mut self,
        it: &Goroutine,
        shown: &[Shown],
        places: &mut Places<'_, M, O>,
    ) -> io::Result<()> {
        let more = matches!(it.end, Some(end) if end != End::Complete);
        if it.func == 0 || more && !shown.is_empty() {
            return Ok(());
        }
        let place = places.place(it.func);
        let is_it = |(_, frame): &Shown| function(frame) == function(&place);
        if shown.last().is_some_and(is_it) {
            return Ok(());
        }
        writeln!(self.out, "    runs {}", Short(&place))
    }

    /// Writes frames; of a recursion, the first of each run of equal ones.
    fn frames(&mut self, shown: &[Shown]) -> io::Result<()> {
        let mut rest = shown;
        while let [(frame, place), ..] = rest {
            let same = |named: &&Shown| named.0.pc == frame.pc;
            let run = rest.iter().take_while(same).count();
            self.frame(frame, place)?;
            if run > SHORT_RUN {
                writeln!(self.out, "    ... {} times more", run - 1)?;
                rest = &rest[run..];
            } else {
                rest = &rest[1..];
            }
        }
        Ok(())
    }

    /// Writes the lines of one frame: functions that the compiler has put into
    /// the frame's come first.
    fn frame(&mut self, frame: &Frame, place: &Rc<Place>) -> io::Result<()> {
        if frame.signal {
            return writeln!(self.out, "    <signal handler called>");
        }
        if place.functions.is_empty() {
            return writeln!(self.out, "    {}", Nowhere(place));
        }
        if let Some(f) = function(place).filter(|f| f.starts_with("gmp_")) {
            // Its callers know the function, and nothing inside.
            return writeln!(self.out, "    {f}");
        }
        for f in &place.functions {
            writeln!(self.out, "    {}", Line(f, place))?;
        }
        Ok(())
    }

    /// Says why the frames end before the first function.
    fn why<M: Memory, O: Modules>(
        &mut self,
        it: &Goroutine,
        places: &mut Places<'_, M, O>,
    ) -> io::Result<()> {
        let (pc, why) = match it.end {
            None | Some(End::Complete | End::Full) => return Ok(()),
            Some(End::NoCfi(pc)) => (pc, "no unwind table for"),
            Some(End::Unreadable(pc)) => (pc, "nothing leads on from"),
            Some(End::Circle(pc)) => (pc, "the stack is damaged at"),
        };
        let place = places.place(pc);
        writeln!(self.out, "    ... {why} {}", Short(&place))
    }
}

impl Text<'_> {
    /// Writes a line about the stacks of like goroutines.
    fn advice<M: Memory, O: Modules>(
        &mut self,
        it: &Advice,
        places: &mut Places<'_, M, O>,
    ) -> io::Result<()> {
        match it.func {
            0 => write!(self.out, "    (others)")?,
            func => write!(self.out, "    {}", Short(&places.place(func)))?,
        }
        let (used, size) = (Bytes(it.used), Bytes(it.size));
        write!(
            self.out,
            ": at most {used} of {size} used; {} live",
            it.living
        )?;
        if it.ended != 0 {
            write!(self.out, ", {} have ended", it.ended)?;
        }
        writeln!(self.out, "; stack_size {} would do", it.stack_size)
    }
}

impl Form for Text<'_> {
    fn begin(
        &mut self,
        head: &Head,
        totals: Option<&Totals>,
    ) -> io::Result<()> {
        match totals {
            Some(totals) => write!(self.out, "{totals}")?,
            None => write!(self.out, "goroutines")?,
        }
        if let Some(procs) = head.procs {
            let s = if procs == 1 { "" } else { "s" };
            write!(self.out, "; {procs} P{s}")?;
        }
        writeln!(self.out, ", process {}", head.pid)?;
        if head.unsearched {
            let why = "leaks: not searched for";
            writeln!(self.out, "{why}: threads or memory cannot be reached")?;
        }
        Ok(())
    }

    fn entry<M: Memory, O: Modules>(
        &mut self,
        entry: &Entry,
        places: &mut Places<'_, M, O>,
    ) -> io::Result<()> {
        writeln!(self.out)?;
        Text::entry(self, entry, places)
    }

    fn end<M: Memory, O: Modules>(
        &mut self,
        totals: &Totals,
        advice: &[Advice],
        places: &mut Places<'_, M, O>,
    ) -> io::Result<()> {
        if self.options.each {
            writeln!(self.out, "\n{totals}")?;
        }
        if totals.left_out != 0 {
            let n = totals.left_out;
            writeln!(self.out, "\n... and {n} goroutines in other groups")?;
        }
        if !advice.is_empty() {
            writeln!(self.out, "\nstacks, by the goroutines' functions")?;
        }
        for one in advice {
            self.advice(one, places)?;
        }
        Ok(())
    }
}

impl Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.goroutines();
        let s = if all == 1 { "" } else { "s" };
        write!(f, "{all} goroutine{s}")?;
        let parts = [
            (self.running, "running"),
            (self.runnable, "runnable"),
            (self.waiting, "waiting"),
        ];
        let mut between = ": ";
        for (n, what) in parts.into_iter().filter(|part| part.0 != 0) {
            write!(f, "{between}{n} {what}")?;
            between = ", ";
        }
        if self.leaked != 0 {
            write!(f, " ({} leaked)", self.leaked)?;
        }
        match self.threads {
            0 => Ok(()),
            1 => write!(f, "; a host thread waits"),
            n => write!(f, "; {n} host threads wait"),
        }
    }
}

/// Writes the line that an entry begins with.
fn head(out: &mut dyn Write, entry: &Entry) -> io::Result<()> {
    let it = &entry.like;
    let what = if it.host { "host thread" } else { "goroutine" };
    match entry.count {
        1 if it.host => write!(out, "{what} {}", it.tid)?,
        1 => write!(out, "{what} {}", it.id)?,
        n => write!(out, "{n} {what}s")?,
    }
    if it.reason.is_empty() {
        write!(out, " [{}]", it.status.name())?;
    } else {
        let leaked = if it.leaked { " (leaked)" } else { "" };
        write!(out, " [{}{leaked}]", OneLine(&it.reason))?;
    }
    if !it.name.is_empty() {
        write!(out, " \"{}\"", OneLine(&it.name))?;
    }
    if let Some(span) = entry.waits {
        write!(out, ", for {}", Spans(span))?;
    }
    match entry.objects {
        Objects::None => {}
        Objects::One(at) if entry.object_name.is_empty() => {
            write!(out, ", on {at:#x}")?;
        }
        Objects::One(at) => {
            write!(out, ", on \"{}\" at {at:#x}", OneLine(&entry.object_name))?;
        }
        Objects::Many(n) => write!(out, ", on {n} objects")?,
        Objects::More(n) => write!(out, ", on more than {n} objects")?,
    }
    match entry.holder {
        Holder::Unknown => {}
        Holder::Goroutine(id) => write!(out, ", held by goroutine {id}")?,
        Holder::Thread(tid) => write!(out, ", held by host thread {tid}")?,
        Holder::Group(at) => write!(out, ", for the group at {at:#x}")?,
    }
    if it.tid != 0 && entry.count == 1 && !it.host {
        write!(out, ", thread {}", it.tid)?;
    }
    if entry.count > 1 && !it.host {
        let mut between = ": ";
        for id in &entry.ids {
            write!(out, "{between}{id}")?;
            between = ", ";
        }
        if entry.count > entry.ids.len() as u64 {
            write!(out, ", ...")?;
        }
    }
    writeln!(out)
}

/// Writes where the goroutine was started, and its stack.
fn creator<M: Memory, O: Modules>(
    out: &mut dyn Write,
    entry: &Entry,
    places: &mut Places<'_, M, O>,
) -> io::Result<()> {
    let it = &entry.like;
    let by = if entry.one_parent { it.parent } else { 0 };
    if !entry.one_creator {
        write!(out, "    started in several places")?;
    } else if it.gopc != 0 {
        // A return address: the call is before it.
        let place = places.place(it.gopc - 1);
        if function(&place) == Some("gostart") {
            // It has jumped to gmp_go, and has no frame then.
            write!(out, "    started at the end of a goroutine's function")?;
        } else {
            write!(out, "    started at {}", Short(&place))?;
        }
    } else if by != 0 {
        write!(out, "    started")?;
    }
    match entry.creator {
        _ if by == 0 => {}
        Some(tid) => write!(out, " by host thread {tid}")?,
        None if it.by_thread => {
            write!(out, " by a host thread that has ended")?;
        }
        None => write!(out, " by goroutine {by}")?,
    }
    if it.gopc != 0 || by != 0 || !entry.one_creator {
        writeln!(out)?;
    }
    let (lo, hi) = it.stack;
    if let (Some(used), false) = (entry.stack_used, lo == 0) {
        let most = if entry.count > 1 { "at most " } else { "" };
        let (used, size) = (Bytes(used), Bytes(hi - lo));
        writeln!(out, "    stack: {most}{used} of {size} used")?;
    }
    Ok(())
}

/// `leak.c:31`, or what there is.
struct Short<'a>(&'a Rc<Place>);

impl Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.0;
        let Some(innermost) = place.functions.first() else {
            return Nowhere(place).fmt(f);
        };
        match (&innermost.file, innermost.line) {
            (Some(file), line) => {
                write!(
                    f,
                    "{} ({}",
                    Named(innermost),
                    OneLine(file.as_bytes())
                )?;
                if let Some(line) = line {
                    write!(f, ":{line}")?;
                }
                f.write_str(")")
            }
            _ => Line(innermost, place).fmt(f),
        }
    }
}

/// A function's name.
struct Named<'a>(&'a Function);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.name {
            Some(name) => OneLine(name.as_bytes()).fmt(f),
            None => f.write_str("??"),
        }
    }
}

/// `wait_forever at leak.c:12`, or what there is.
struct Line<'a>(&'a Function, &'a Rc<Place>);

impl Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(function, place) = self;
        Named(function).fmt(f)?;
        if let Some(file) = &function.file {
            write!(f, " at {}", OneLine(file.as_bytes()))?;
            return match function.line {
                Some(line) => write!(f, ":{line}"),
                None => Ok(()),
            };
        }
        match function.offset {
            Some(offset) => write!(f, "+{offset:#x}")?,
            None => f.write_str(" (inlined)")?,
        }
        if let Some(object) = &place.object {
            write!(f, " in {}", OneLine(base(object).as_bytes()))?;
        }
        Ok(())
    }
}

/// `libx.so+0x1234`, or the address.
struct Nowhere<'a>(&'a Place);

impl Display for Nowhere<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(object) = &self.0.object {
            write!(f, "{}+", OneLine(base(object).as_bytes()))?;
        }
        write!(f, "{:#x}", self.0.at)
    }
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A string of the host's, on one line.
pub(crate) struct OneLine<'a>(pub &'a [u8]);

impl Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                f.write_char(if c.is_control() { '?' } else { c })?;
            }
            if !chunk.invalid().is_empty() {
                f.write_char('?')?;
            }
        }
        Ok(())
    }
}

/// A time, or a shortest and a longest one, in nanoseconds. They are as coarse
/// as the marks from which they come.
struct Spans((u64, u64));

impl Display for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (least, most) = self.0;
        let (least, most) = (Span(least).to_string(), Span(most).to_string());
        if least == most {
            f.write_str(&least)
        } else {
            write!(f, "{least} to {most}")
        }
    }
}

struct Span(u64);

impl Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const COARSE: u64 = 20;
        let ms = self.0 / 1_000_000;
        let tenths = |unit: u64| (ms / unit, ms % unit * 10 / unit);
        match ms {
            ..COARSE => write!(f, "less than {COARSE} ms"),
            COARSE..1000 => write!(f, "about {} ms", ms / 10 * 10),
            1000..60_000 => {
                let (whole, tenth) = tenths(1000);
                write!(f, "about {whole}.{tenth} s")
            }
            60_000..3_600_000 => {
                write!(f, "about {} min {} s", ms / 60_000, ms / 1000 % 60)
            }
            _ => {
                let (whole, tenth) = tenths(3_600_000);
                write!(f, "about {whole}.{tenth} h")
            }
        }
    }
}

struct Bytes(u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            n @ ..1024 => write!(f, "{n} bytes"),
            n @ ..0x10_0000 => write!(f, "{} KiB", n >> 10),
            n => write!(f, "{} MiB", n >> 20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_coarse_as_they_are_known() {
        let ms = |n: u64| Span(n * 1_000_000).to_string();
        assert_eq!(ms(0), "less than 20 ms");
        assert_eq!(ms(318), "about 310 ms");
        assert_eq!(ms(2599), "about 2.5 s");
        assert_eq!(ms(150_000), "about 2 min 30 s");
        assert_eq!(ms(5_400_000), "about 1.5 h");
        let spans = Spans((3_000_000_000, 3_010_000_000));
        assert_eq!(spans.to_string(), "about 3.0 s");
    }

    #[test]
    fn a_string_of_the_hosts_stays_on_its_line() {
        assert_eq!(OneLine(b"a\nb\xffc").to_string(), "a?b?c");
        assert_eq!(OneLine("für".as_bytes()).to_string(), "für");
    }

    #[test]
    fn totals_name_what_there_is() {
        let totals = Totals { waiting: 2, running: 1, ..Totals::default() };
        assert_eq!(totals.to_string(), "3 goroutines: 1 running, 2 waiting");
        let leak = Totals { leaked: 1, ..totals };
        assert_eq!(
            leak.to_string(),
            "3 goroutines: 1 running, 2 waiting (1 leaked)"
        );
        let one = Totals { runnable: 1, threads: 2, ..Totals::default() };
        assert_eq!(
            one.to_string(),
            "1 goroutine: 1 runnable; 2 host threads wait"
        );
    }
}
