//! What the file shows: tracks described when they are first used, slices,
//! instants and counters on them.
//!
//! Names that are known here are interned in the first packet, all at once;
//! others in a packet of their own before they are used.

use super::{
    packet::{
        Packet, Packets, Sink, Size, decimal,
        field::{self, annotation, event, interned, track},
    },
    stamp::Line,
    tracks::{self, Known, Table},
    words::{CATEGORIES, CAUSES, Category, Fixed, NAMES, NOTES, Note},
};
use crate::{
    gmp::MAXPROCS,
    os::{Result, proc, task},
};
use gmprt_inspect::{memory::OwnMemory, modules::OwnModules, names};

/// What a note says.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Number(u64),
    Signed(i64),
    Pointer(u64),
    Truth(bool),
    /// A text that is interned, by its id.
    Interned(u64),
}

/// Notes of an event.
pub(super) type Notes<'a> = &'a [(Note, Value)];

/// The name of an event.
#[derive(Clone, Copy)]
pub(super) enum Name<'a> {
    Fixed(Fixed),
    /// One that is interned, by its id.
    Interned(u64),
    Text(&'a [u8]),
}

/// A flow that an event begins or ends.
#[derive(Clone, Copy)]
pub(super) enum Flow {
    None,
    Begins(u64),
    Ends(u64),
}

/// `TrackEvent.Type`
const BEGIN: u8 = 1;
const END: u8 = 2;
const INSTANT: u8 = 3;
const COUNTER: u8 = 4;

/// Names that were met: reasons of waits and functions, by their addresses.
const MET: usize = 2048;
/// Threads that have tracks.
const THREADS: usize = 1024;
/// The longest label, in bytes.
const LABEL: usize = 120;
/// Texts of functions' names that are remembered.
const TEXTS: usize = 512;

/// A P's track. All bytes zero: not used so far.
#[derive(Clone, Copy)]
struct Lane {
    described: bool,
    open: bool,
    /// The goroutine of the slice that is open.
    goid: u64,
}

/// The name of a function, as a text: a search for it reads a whole table of
/// symbols, and goroutines of one function have one track each. All bytes zero:
/// none so far. Functions that share a place take it from each other.
#[derive(Clone, Copy)]
struct Text {
    func: u64,
    len: usize,
    text: [u8; LABEL],
}

/// What has been written so far. All bytes zero: nothing.
pub(super) struct Written {
    packets: Packets,
    pub table: Table,
    lanes: [Lane; MAXPROCS],
    met: [(u64, u64); MET],
    texts: [Text; TEXTS],
    threads: [i32; THREADS],
    pub line: Line,
    /// The time of the last packet.
    pub ns: i64,
    /// The last id of a name, and of a flow.
    iid: u64,
    pub flow: u64,
    /// The tracks of the heap are described; a slice is open on that of
    /// collections.
    pub has_heap: bool,
    pub collects: bool,
    /// Functions keep their addresses: the process dies.
    pub hurried: bool,
}

/// Writes to a file.
pub(super) struct Writer<'a> {
    pub w: &'a mut Written,
    pub sink: &'a Sink,
}

impl Writer<'_> {
    /// The first error of the file.
    pub(super) fn result(&self) -> Result<()> {
        self.w.packets.result()
    }

    pub(super) fn flush(&mut self) {
        self.w.packets.flush(self.sink);
    }

    /// A packet at the present time.
    #[inline(always)]
    fn packet(&mut self, fill: impl FnOnce(&mut Packet<'_>)) {
        self.sized(Size::Long, fill);
    }

    #[inline(always)]
    fn sized(&mut self, size: Size, fill: impl FnOnce(&mut Packet<'_>)) {
        self.w.packets.packet(self.w.ns, size, self.sink, fill);
    }

    /// The tracks that each file has, and all names that are known.
    pub(super) fn begin(&mut self) {
        self.w.iid = NAMES.len() as u64;
        let (pid, mut name) = (proc::id(), [0; 64]);
        let name = task::process_name(&mut name);
        self.packet(|p| {
            let data = p.message(field::INTERNED_DATA);
            intern_all(p, interned::CATEGORIES, &CATEGORIES);
            intern_all(p, interned::NAMES, &NAMES);
            intern_all(p, interned::ANNOTATIONS, &NOTES);
            intern_all(p, interned::STRINGS, &CAUSES);
            p.end(data);
            let descriptor = p.message(field::TRACK_DESCRIPTOR);
            p.number(track::UUID, tracks::PROCESS);
            let process = p.message(track::PROCESS);
            p.number(track::PROCESS_PID, pid as u64);
            p.text(track::PROCESS_NAME, name);
            p.end(process);
            p.number(track::CHILD_ORDERING, track::EXPLICIT);
            p.end(descriptor);
        });
        self.group(tracks::PS, "Ps");
        self.group(tracks::GOROUTINES, "goroutines");
        self.group(tracks::SCHEDULER, "scheduler");
        self.group(tracks::LIVE, "live goroutines");
        self.group(tracks::RUNNABLE, "runnable goroutines");
    }

    /// Describes a track of the process.
    pub(super) fn group(&mut self, uuid: u64, name: &str) {
        self.describe(uuid, tracks::PROCESS, |p| {
            p.text(track::NAME, name.as_bytes());
            p.number(track::RANK, uuid);
            match uuid {
                tracks::PS => {
                    p.number(track::CHILD_ORDERING, track::EXPLICIT);
                }
                tracks::GOROUTINES => {
                    p.number(track::CHILD_ORDERING, track::CHRONOLOGICAL);
                }
                tracks::LIVE
                | tracks::RUNNABLE
                | tracks::HEAP
                | tracks::HEAP_GOAL => {
                    let counter = p.message(track::COUNTER);
                    p.end(counter);
                }
                _ => {}
            }
        });
    }

    fn describe(
        &mut self,
        uuid: u64,
        parent: u64,
        more: impl FnOnce(&mut Packet<'_>),
    ) {
        self.packet(|p| {
            let descriptor = p.message(field::TRACK_DESCRIPTOR);
            p.number(track::UUID, uuid);
            p.number(track::PARENT, parent);
            more(p);
            p.end(descriptor);
        });
    }

    /// Gives a text an id, as a name of events and as one of annotations.
    fn intern(&mut self, fill: impl Fn(&mut Packet<'_>, u32)) -> u64 {
        self.w.iid += 1;
        let iid = self.w.iid;
        self.packet(|p| {
            let data = p.message(field::INTERNED_DATA);
            for table in [interned::NAMES, interned::STRINGS] {
                let entry = p.message(table);
                p.number(interned::IID, iid);
                fill(p, interned::NAME);
                p.end(entry);
            }
            p.end(data);
        });
        iid
    }

    /// The id of the name at an address, which `text` gives; None if there are
    /// too many.
    fn met(
        &mut self,
        at: u64,
        text: impl FnOnce(&mut [u8; LABEL]) -> usize,
    ) -> Option<u64> {
        let mut place = (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 53) as usize;
        for _ in 0..MET / 2 {
            place %= MET;
            match self.w.met[place] {
                (0, _) => {
                    let mut room = [0; LABEL];
                    let len = text(&mut room);
                    let iid = self.intern(|p, name| p.text(name, &room[..len]));
                    self.w.met[place] = (at, iid);
                    return Some(iid);
                }
                (known, iid) if known == at => return Some(iid),
                _ => place += 1,
            }
        }
        None
    }

    /// The name of a reason, a C string that stays.
    pub(super) fn reason(&mut self, at: u64) -> Name<'static> {
        if at == 0 {
            return Name::Fixed(Fixed::Waiting);
        }
        let read = |room: &mut [u8; LABEL]| {
            use gmprt_inspect::memory::Memory;
            OwnMemory.c_str(at, room).map_or(0, <[u8]>::len)
        };
        self.met(at, read).map_or(Name::Fixed(Fixed::Waiting), Name::Interned)
    }

    /// The id of a function's name.
    fn function(&mut self, at: u64) -> Option<u64> {
        let hurried = self.w.hurried;
        let name = |room: &mut _| function_name(at, hurried, room);
        (at != 0).then(|| self.met(at, name))?
    }

    /// [`function_name`], which is searched for once.
    fn text(&mut self, func: u64, to: &mut [u8; LABEL]) -> usize {
        let place = (func.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 55) as usize;
        let known = &mut self.w.texts[place % TEXTS];
        if func == 0 || known.func != func {
            let len = function_name(func, self.w.hurried, to);
            if func == 0 || self.w.hurried {
                return len;
            }
            *known = Text { func, len, text: *to };
        }
        *to = known.text;
        known.len
    }

    /// The name of a function, for an annotation; its address if too many have
    /// names.
    pub(super) fn function_note(&mut self, at: u64) -> Value {
        self.function(at).map_or(Value::Pointer(at), Value::Interned)
    }

    /// The label of a goroutine's runs.
    pub(super) fn label(&mut self, goid: u64) -> Name<'static> {
        let (label, func) = match self.w.table.find(goid) {
            Some(known) => (known.label, known.func),
            None => (0, 0),
        };
        if label != 0 {
            return Name::Interned(label);
        }
        let unknown = Name::Fixed(Fixed::Goroutine);
        self.function(func).map_or(unknown, Name::Interned)
    }

    /// Gives a goroutine a track, if it has none and there is room, or another
    /// name. `name` is empty for its function's.
    pub(super) fn track(&mut self, goid: u64, name: &[u8], mark: bool) {
        let Some(known) = self.w.table.get(goid) else { return };
        let Known { tracked, func, .. } = *known;
        let named = !name.is_empty();
        if tracked && !named
            || !tracked && !self.w.table.may_track(goid, named || mark)
        {
            return;
        }
        let mut room = [0; LABEL];
        let mut len = name.len().min(LABEL - 22);
        room[..len].copy_from_slice(&name[..len]);
        if !named {
            len = self.text(func, &mut room).min(LABEL - 22);
        }
        room[len..len + 2].copy_from_slice(b" #");
        let label = &room[..len + 2];
        self.describe(tracks::of_goroutine(goid), tracks::GOROUTINES, |p| {
            p.numbered(track::NAME, label, goid)
        });
        let iid = self.intern(|p, name| p.numbered(name, label, goid));
        if let Some(known) = self.w.table.find(goid) {
            known.tracked = true;
            known.label = iid;
        }
    }

    /// The track of a thread; of none if it is unknown, or there are too many.
    pub(super) fn thread(&mut self, tid: i32, name: &[u8]) -> u64 {
        let mut place = tid as usize % THREADS;
        for _ in 0..if tid == 0 { 0 } else { THREADS / 2 } {
            match self.w.threads[place] {
                known if known == tid => return tracks::of_thread(tid),
                0 => {
                    self.w.threads[place] = tid;
                    self.describe_thread(tid, name);
                    return tracks::of_thread(tid);
                }
                _ => place = (place + 1) % THREADS,
            }
        }
        tracks::SCHEDULER
    }

    fn describe_thread(&mut self, tid: i32, name: &[u8]) {
        let uuid = tracks::of_thread(tid);
        self.describe(uuid, tracks::PROCESS, |p| {
            let thread = p.message(track::THREAD);
            p.number(track::THREAD_PID, proc::id() as u64);
            p.number(track::THREAD_TID, tid as u64);
            p.text(track::THREAD_NAME, name);
            p.end(thread);
        });
    }

    /// The track of a P.
    pub(super) fn p(&mut self, p: u32) -> u64 {
        let uuid = tracks::of_p(p);
        let lane = &mut self.w.lanes[p as usize % MAXPROCS];
        if !core::mem::replace(&mut lane.described, true) {
            self.describe(uuid, tracks::PS, |packet| {
                packet.numbered(track::NAME, b"P ", u64::from(p));
                packet.number(track::RANK, u64::from(p));
            });
        }
        uuid
    }

    /// Begins the run of a goroutine on a P.
    pub(super) fn begin_run(
        &mut self,
        p: u32,
        goid: u64,
        tid: i32,
        flow: Flow,
    ) {
        self.end_run(p, None);
        let track = self.p(p);
        let label = self.label(goid);
        let notes = [
            (Note::Goroutine, Value::Number(goid)),
            (Note::Thread, Value::Signed(tid.into())),
        ];
        self.emit(track, BEGIN, Some((Category::Run, label)), &notes, flow);
        let lane = &mut self.w.lanes[p as usize % MAXPROCS];
        (lane.open, lane.goid) = (true, goid);
    }

    /// Ends the run on a P, if it is that of this goroutine.
    pub(super) fn end_run(&mut self, p: u32, goid: Option<u64>) {
        let lane = &mut self.w.lanes[p as usize % MAXPROCS];
        if lane.open && goid.is_none_or(|goid| lane.goid == goid) {
            lane.open = false;
            self.emit(tracks::of_p(p), END, None, &[], Flow::None);
        }
    }

    /// Begins a slice on the goroutine's track, after the end of that before.
    pub(super) fn begin_state(
        &mut self,
        goid: u64,
        what: (Category, Name<'_>),
        notes: Notes<'_>,
        flow: Flow,
    ) {
        self.end_state(goid);
        if let Some(known) = self.w.table.find(goid)
            && known.tracked
        {
            known.open = true;
            let track = tracks::of_goroutine(goid);
            self.emit(track, BEGIN, Some(what), notes, flow);
        }
    }

    /// Ends the slice on the goroutine's track.
    pub(super) fn end_state(&mut self, goid: u64) {
        if let Some(known) = self.w.table.find(goid)
            && core::mem::replace(&mut known.open, false)
        {
            let track = tracks::of_goroutine(goid);
            self.emit(track, END, None, &[], Flow::None);
        }
    }

    /// Begins a slice on a track that has none open.
    pub(super) fn begin_slice(
        &mut self,
        track: u64,
        what: (Category, Name<'_>),
        notes: Notes<'_>,
    ) {
        self.emit(track, BEGIN, Some(what), notes, Flow::None);
    }

    /// Ends it.
    pub(super) fn end_slice(&mut self, track: u64) {
        self.emit(track, END, None, &[], Flow::None);
    }

    pub(super) fn instant(
        &mut self,
        track: u64,
        category: Category,
        name: Name<'_>,
        notes: Notes<'_>,
        flow: Flow,
    ) {
        self.emit(track, INSTANT, Some((category, name)), notes, flow);
    }

    pub(super) fn counter(&mut self, uuid: u64, value: u64) {
        self.packet(|p| {
            let message = p.message(field::TRACK_EVENT);
            p.small(event::TYPE, COUNTER);
            p.number(event::TRACK, uuid);
            p.number(event::COUNTER_VALUE, value);
            p.end(message);
        });
    }

    fn emit(
        &mut self,
        uuid: u64,
        kind: u8,
        what: Option<(Category, Name<'_>)>,
        notes: Notes<'_>,
        flow: Flow,
    ) {
        // But for a text, what there is takes less than 100 bytes.
        let size = match what {
            Some((_, Name::Text(_))) => Size::Long,
            _ => Size::Short,
        };
        self.sized(size, |p| {
            let message = p.sized(field::TRACK_EVENT, size);
            p.small(event::TYPE, kind);
            p.number(event::TRACK, uuid);
            if let Some((category, name)) = what {
                p.small(event::CATEGORY, category as u8);
                match name {
                    Name::Fixed(name) => p.small(event::NAME_IID, name as u8),
                    Name::Interned(iid) => p.number(event::NAME_IID, iid),
                    Name::Text(text) => p.text(event::NAME, text),
                }
            }
            for (note, value) in notes {
                annotate(p, *note, value);
            }
            match flow {
                Flow::None => {}
                Flow::Begins(id) => p.fixed(event::FLOW, id),
                Flow::Ends(id) => p.fixed(event::FLOW_ENDS, id),
            }
            p.end(message);
        });
    }

    /// Ends all slices that are open.
    pub(super) fn end_all(&mut self) {
        for p in 0..MAXPROCS as u32 {
            self.end_run(p, None);
        }
        let mut n = 0;
        while let Some(goid) = self.w.table.tracked(n) {
            self.end_state(goid);
            n += 1;
        }
    }
}

fn intern_all(p: &mut Packet<'_>, field: u32, names: &[&str]) {
    for (i, name) in names.iter().enumerate() {
        let entry = p.message(field);
        p.number(interned::IID, i as u64 + 1);
        p.text(interned::NAME, name.as_bytes());
        p.end(entry);
    }
}

#[inline(always)]
fn annotate(p: &mut Packet<'_>, note: Note, value: &Value) {
    let (field, number) = match *value {
        Value::Number(n) => (annotation::UINT, n),
        Value::Signed(n) => (annotation::INT, n as u64),
        Value::Pointer(at) => (annotation::POINTER, at),
        Value::Truth(truth) => (annotation::BOOL, truth.into()),
        Value::Interned(iid) => (annotation::STRING_IID, iid),
    };
    p.annotation(note as u8, field, number);
}

/// Writes the name of a function, or its address in hexadecimal; returns the
/// length.
pub(super) fn function_name(
    at: u64,
    hurried: bool,
    to: &mut [u8; LABEL],
) -> usize {
    if at == 0 {
        to[..9].copy_from_slice(b"goroutine");
        return 9;
    }
    let mut room = [0; 512];
    if !hurried {
        let name = names::name(&OwnMemory, &OwnModules, at, &mut room);
        let len = name.function.len().min(LABEL);
        if len > 0 {
            to[..len].copy_from_slice(&name.function[..len]);
            return len;
        }
    }
    to[..2].copy_from_slice(b"0x");
    let digits = (16 - at.leading_zeros() as usize / 4).max(1);
    for (i, place) in to[2..2 + digits].iter_mut().enumerate() {
        let digit = (at >> (4 * (digits - 1 - i))) as usize & 15;
        *place = b"0123456789abcdef"[digit];
    }
    2 + digits
}

/// Writes `before` and a number; returns the length.
pub(super) fn with_number(
    before: &[u8],
    number: u64,
    to: &mut [u8; LABEL],
) -> usize {
    let mut digits = [0; 20];
    let digits = decimal(number, &mut digits);
    to[..before.len()].copy_from_slice(before);
    let end = before.len() + digits.len();
    to[before.len()..end].copy_from_slice(digits);
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_named_or_its_address_is_written() {
        let named = |at, hurried| {
            let mut to = [0; LABEL];
            let len = function_name(at, hurried, &mut to);
            String::from_utf8(to[..len].to_vec()).unwrap()
        };
        assert_eq!(named(0, false), "goroutine");
        assert_eq!(named(0x7f12, true), "0x7f12");
        assert_eq!(named(u64::MAX, true), "0xffffffffffffffff");
        let here = a_function_is_named_or_its_address_is_written as fn();
        assert!(
            named(here as usize as u64, false).contains("a_function_is_named")
        );
    }
}
