//! A dump as JSON: one document, which `docs/dump-schema.json` describes.
//!
//! The document is valid whatever the host's strings contain: quotes and
//! control characters are escaped, and bytes that are no UTF-8 become U+FFFD.
//! Addresses are strings, since a number of JSON's may not hold one.

use crate::{
    dump::{Advice, FEW, Form, Head, Options, Totals},
    goroutine::{Holder, Status},
    groups::{Entry, Objects},
    memory::Memory,
    modules::Modules,
    places::Places,
    symbols::Place,
    walk::{End, Frame},
};
use core::fmt::{self, Display, Write as _};
use std::io::{self, Write};

/// The version of the document, which grows when a member changes its meaning.
const VERSION: u32 = 1;

/// Writes JSON.
pub struct Json<'w> {
    out: &'w mut dyn Write,
    options: Options,
    entries: u64,
}

impl<'w> Json<'w> {
    /// A writer to `out`.
    pub fn new(out: &'w mut dyn Write, options: Options) -> Self {
        Self { out, options, entries: 0 }
    }
}

impl Form for Json<'_> {
    fn begin(&mut self, head: &Head, _: Option<&Totals>) -> io::Result<()> {
        let pid = head.pid;
        let procs = Or(head.procs);
        let grouped = !self.options.each;
        write!(
            self.out,
            "{{\"gmprt_dump\":{VERSION},\"pid\":{pid},\"procs\":{procs},\
             \"grouped\":{grouped},\"leaks_unsearched\":{},\n\"entries\":[",
            head.unsearched
        )
    }

    fn entry<M: Memory, O: Modules>(
        &mut self,
        entry: &Entry,
        places: &mut Places<'_, M, O>,
    ) -> io::Result<()> {
        let between = if self.entries == 0 { "\n" } else { ",\n" };
        self.entries += 1;
        let it = &entry.like;
        let out = &mut *self.out;
        write!(out, "{between}{{\"count\":{},\"ids\":[", entry.count)?;
        for (i, id) in entry.ids.iter().enumerate() {
            write!(out, "{}{id}", if i == 0 { "" } else { "," })?;
        }
        let kind = if it.host { "host thread" } else { "goroutine" };
        let state = match it.status {
            Status::New => "new",
            other => other.name(),
        };
        write!(
            out,
            "],\"kind\":\"{kind}\",\"system\":{},\"state\":\"{state}\",\
             \"reason\":{},\"leaked\":{},\"name\":{}",
            it.system && !it.host,
            Bytes(&it.reason),
            it.leaked,
            Bytes(&it.name),
        )?;
        wait(out, entry)?;
        write!(out, ",\"creator\":")?;
        creator(out, entry, places)?;
        write!(out, ",\"function\":")?;
        match it.func {
            0 => write!(out, "null")?,
            func => place(out, func, &places.place(func))?,
        }
        let thread = (it.tid != 0 && entry.count == 1).then_some(it.tid);
        write!(out, ",\"thread\":{},\"stack\":", Or(thread))?;
        match it.stack {
            (0, _) => write!(out, "null")?,
            (lo, hi) => {
                let used = Or(entry.stack_used);
                write!(out, "{{\"size\":{},\"used\":{used}}}", hi - lo)?;
            }
        }
        let shown = places.shown(&it.frames, it.system && !it.host);
        let few = if self.options.stacks { usize::MAX } else { FEW };
        let end = it.end.map(|end| match end {
            End::Complete if shown.len() > few => Quoted("limit"),
            end => Quoted(end_name(end)),
        });
        let unseen = (!it.unseen.is_empty()).then_some(Quoted(it.unseen));
        write!(out, ",\"unseen\":{}", Or(unseen))?;
        write!(
            out,
            ",\"moved\":{},\"end\":{},\"places\":{},\"frames\":[",
            it.moved,
            Or(end),
            entry.places,
        )?;
        for (i, (one, place)) in shown.iter().take(few).enumerate() {
            write!(out, "{}", if i == 0 { "" } else { "," })?;
            frame(out, one, place)?;
        }
        write!(out, "]}}")
    }

    fn end<M: Memory, O: Modules>(
        &mut self,
        totals: &Totals,
        advice: &[Advice],
        places: &mut Places<'_, M, O>,
    ) -> io::Result<()> {
        let Totals { waiting, runnable, running, leaked, .. } = totals;
        let Totals { threads, left_out, .. } = totals;
        write!(
            self.out,
            "\n],\"totals\":{{\"goroutines\":{},\"waiting\":{waiting},\
             \"runnable\":{runnable},\"running\":{running},\
             \"leaked\":{leaked},\"host_threads\":{threads},\
             \"left_out\":{left_out}}},\
             \"stacks\":[",
            totals.goroutines()
        )?;
        for (i, it) in advice.iter().enumerate() {
            write!(
                self.out,
                "{}\n{{\"function\":",
                if i == 0 { "" } else { "," }
            )?;
            match it.func {
                0 => write!(self.out, "null")?,
                func => place(self.out, func, &places.place(func))?,
            }
            let Advice { used, size, ended, living, stack_size, .. } = it;
            write!(
                self.out,
                ",\"used\":{used},\"size\":{size},\"living\":{living},\
                 \"ended\":{ended},\"stack_size\":{stack_size}}}"
            )?;
        }
        writeln!(self.out, "]}}")
    }
}

/// What the entry waits for.
fn wait(out: &mut dyn Write, entry: &Entry) -> io::Result<()> {
    let (object, objects) = match entry.objects {
        Objects::None => (None, 0),
        Objects::One(at) => (Some(Address(at)), 1),
        Objects::Many(n) | Objects::More(n) => (None, n),
    };
    let more = matches!(entry.objects, Objects::More(_));
    write!(
        out,
        ",\"object\":{},\"object_name\":{},\"objects\":{objects},\
         \"more_objects\":{more},\"holder\":",
        Or(object),
        Bytes(&entry.object_name)
    )?;
    match entry.holder {
        Holder::Unknown => write!(out, "null")?,
        Holder::Goroutine(id) => write!(out, "{{\"goroutine\":{id}}}")?,
        Holder::Thread(tid) => write!(out, "{{\"thread\":{tid}}}")?,
        Holder::Group(at) => write!(out, "{{\"group\":{}}}", Address(at))?,
    }
    match entry.waits {
        None => write!(out, ",\"waits_ms\":null"),
        Some((least, most)) => {
            let (least, most) = (least / 1_000_000, most / 1_000_000);
            write!(out, ",\"waits_ms\":{{\"least\":{least},\"most\":{most}}}")
        }
    }
}

fn creator<M: Memory, O: Modules>(
    out: &mut dyn Write,
    entry: &Entry,
    places: &mut Places<'_, M, O>,
) -> io::Result<()> {
    let it = &entry.like;
    let by = (entry.one_parent && it.parent != 0).then_some(it.parent);
    if by.is_none() && it.gopc == 0 {
        return write!(out, "null");
    }
    let goroutine = Or(by.filter(|_| !it.by_thread));
    let thread = Or(entry.creator);
    write!(out, "{{\"goroutine\":{goroutine},\"thread\":{thread},\"place\":")?;
    match it.gopc {
        _ if !entry.one_creator => write!(out, "null")?,
        0 => write!(out, "null")?,
        // A return address: the call is before it.
        pc => place(out, pc, &places.place(pc - 1))?,
    }
    write!(out, "}}")
}

fn frame(out: &mut dyn Write, frame: &Frame, at: &Place) -> io::Result<()> {
    write!(out, "{{\"signal\":{},\"place\":", frame.signal)?;
    place(out, frame.pc, at)?;
    write!(out, "}}")
}

fn place(out: &mut dyn Write, pc: u64, place: &Place) -> io::Result<()> {
    let object = place.object.as_deref().map(Text);
    write!(
        out,
        "{{\"pc\":{},\"object\":{},\"at\":{},\"functions\":[",
        Address(pc),
        Or(object),
        Address(place.at)
    )?;
    for (i, f) in place.functions.iter().enumerate() {
        write!(
            out,
            "{}{{\"name\":{},\"offset\":{},\"file\":{},\"line\":{}}}",
            if i == 0 { "" } else { "," },
            Or(f.name.as_deref().map(Text)),
            Or(f.offset),
            Or(f.file.as_deref().map(Text)),
            Or(f.line)
        )?;
    }
    write!(out, "]}}")
}

fn end_name(end: End) -> &'static str {
    match end {
        End::Complete => "complete",
        End::Full => "limit",
        End::NoCfi(_) => "no unwind table",
        End::Unreadable(_) => "unreadable",
        End::Circle(_) => "damaged",
    }
}

/// A value, or null.
struct Or<T>(Option<T>);

impl<T: Display> Display for Or<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("null"),
        }
    }
}

/// An address, as a string.
struct Address(u64);

impl Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{:#x}\"", self.0)
    }
}

/// A string without anything to escape.
struct Quoted(&'static str);

impl Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

/// A string.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Bytes(self.0.as_bytes()).fmt(f)
    }
}

/// A string of the host's; null if it is empty.
struct Bytes<'a>(&'a [u8]);

impl Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("null");
        }
        f.write_str("\"")?;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    '"' | '\\' => write!(f, "\\{c}")?,
                    c if c < ' ' => write!(f, "\\u{:04x}", c as u32)?,
                    c => f.write_char(c)?,
                }
            }
            if !chunk.invalid().is_empty() {
                f.write_char('\u{fffd}')?;
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_the_hosts_are_escaped() {
        let text = |bytes: &[u8]| Bytes(bytes).to_string();
        assert_eq!(text(b"a\"b\\c\n\x01"), "\"a\\\"b\\\\c\\u000a\\u0001\"");
        assert_eq!(text(b"\xff\xfex"), "\"\u{fffd}\u{fffd}x\"");
        assert_eq!(text("für".as_bytes()), "\"für\"");
        assert_eq!(text(b""), "null");
    }
}
