//! Reads a trace in Perfetto's format into tracks and their events.
//!
//! A trace is a sequence of packets. Each belongs to a writer's sequence, which
//! has defaults and interned names of its own, until a packet says that they
//! are cleared. The numbers of the fields are those of Perfetto's
//! `trace_packet.proto`, `track_event.proto`, `track_descriptor.proto` and
//! `interned_data.proto`.
//!
//! A trace that ends within a packet is read up to that packet, as its program
//! may have died while it wrote. Any other damage is an error.

use super::wire::{Broken, Fields, Value};
use std::collections::HashMap;

/// An event on a track.
#[derive(Clone, Debug)]
pub struct Event {
    /// Nanoseconds, in the clock of the trace.
    pub at: u64,
    /// The index of the track.
    pub track: usize,
    pub kind: Kind,
    /// The index of the name; 0 is the empty one.
    pub name: u32,
    /// The index of the first category.
    pub category: u32,
    /// Flows that begin or pass here.
    pub flows: Vec<u64>,
    /// Flows that end here.
    pub ends: Vec<u64>,
    /// The debug annotations: index of the name, value.
    pub notes: Vec<(u32, Note)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Begin,
    End,
    Instant,
    Counter(f64),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    Number(i64),
    Real(f64),
    /// The index of a text.
    Text(u32),
}

/// A track, as its descriptor says.
#[derive(Clone, Debug, Default)]
pub struct Track {
    pub uuid: u64,
    pub parent: u64,
    pub name: String,
    /// The process of a track that is one.
    pub pid: Option<u64>,
    /// The thread of a track that is one.
    pub tid: Option<u64>,
    pub counter: bool,
}

/// All that is read from a trace.
#[derive(Debug, Default)]
pub struct Trace {
    pub tracks: Vec<Track>,
    /// In the order of their time.
    pub events: Vec<Event>,
    /// Names and texts; the first is empty.
    pub texts: Texts,
    /// What is amiss, though the trace can be read.
    pub warnings: Vec<String>,
}

/// Texts, each once.
#[derive(Debug)]
pub struct Texts {
    texts: Vec<String>,
    index: HashMap<String, u32>,
}

impl Default for Texts {
    fn default() -> Texts {
        let index = HashMap::from([(String::new(), 0)]);
        Texts { texts: vec![String::new()], index }
    }
}

impl Texts {
    pub fn get(&self, index: u32) -> &str {
        &self.texts[index as usize]
    }

    pub fn all(&self) -> &[String] {
        &self.texts
    }

    /// The index of a text that may be there.
    pub fn find(&self, text: &str) -> Option<u32> {
        self.index.get(text).copied()
    }

    /// The index of `text`, which is added if it is new.
    pub fn add(&mut self, text: &str) -> u32 {
        if let Some(index) = self.index.get(text) {
            return *index;
        }
        let index = u32::try_from(self.texts.len()).expect("so many texts");
        self.texts.push(text.to_owned());
        self.index.insert(text.to_owned(), index);
        index
    }
}

/// What a writer's sequence has said so far.
#[derive(Default)]
struct Sequence {
    /// Interned texts by field of `InternedData` and iid.
    interned: HashMap<(u32, u64), u32>,
    track: Option<u64>,
    clock: Option<u64>,
    /// The last time of an incremental clock.
    last: HashMap<u64, u64>,
    /// The clocks of this sequence: incremental or not, unit, start.
    clocks: HashMap<u64, Clock>,
}

#[derive(Clone, Copy)]
struct Clock {
    incremental: bool,
    unit: u64,
    start: u64,
}

mod field {
    pub const PACKET: u32 = 1;
    pub mod packet {
        pub const CLOCK_SNAPSHOT: u32 = 6;
        pub const TIMESTAMP: u32 = 8;
        pub const SEQUENCE: u32 = 10;
        pub const TRACK_EVENT: u32 = 11;
        pub const INTERNED: u32 = 12;
        pub const FLAGS: u32 = 13;
        pub const DROPPED: u32 = 42;
        pub const COMPRESSED: u32 = 50;
        pub const CLOCK: u32 = 58;
        pub const DEFAULTS: u32 = 59;
        pub const TRACK: u32 = 60;
    }
    pub mod interned {
        pub const CATEGORIES: u32 = 1;
        pub const EVENTS: u32 = 2;
        pub const NOTES: u32 = 3;
        pub const TEXTS: u32 = 29;
    }
}

/// The flag of a packet with which its sequence starts anew.
const CLEARED: u64 = 1;

/// Reads the trace in `file`.
///
/// # Errors
/// In words: the file is no trace, or is damaged.
pub fn read(file: &[u8]) -> Result<Trace, String> {
    if let Some(other) = foreign(file) {
        return Err(format!("is {other}, and no trace in Perfetto's format"));
    }
    let mut reader = Reader::default();
    let mut fields = Fields::of(file);
    let mut packets = 0_u64;
    loop {
        let at = fields.offset();
        let packet = match fields.next() {
            None => break,
            Some(Ok((field::PACKET, Value::Bytes(packet)))) => packet,
            Some(Err(Broken::Short)) if packets > 0 => {
                reader.trace.warnings.push(format!(
                    "The trace is cut off: it ends within a packet that begins \
                     at byte {at} of {}. All before it is shown.",
                    file.len()
                ));
                break;
            }
            Some(Err(Broken::Short)) => {
                return Err("ends within its first packet, or is no trace in \
                            Perfetto's format"
                    .into());
            }
            Some(_) => {
                return Err(format!(
                    "is no trace in Perfetto's format: no packet begins at \
                     byte {at}"
                ));
            }
        };
        reader.packet(packet).map_err(|why| {
            format!("is damaged in the packet at byte {at}: {why}")
        })?;
        packets += 1;
    }
    reader.finish(packets)
}

/// Tells formats by their first bytes.
fn foreign(file: &[u8]) -> Option<&'static str> {
    const KNOWN: [(&[u8], &str); 7] = [
        (b"\x7fELF", "a program, a library or a core"),
        (b"\x1f\x8b", "compressed by gzip"),
        (b"\x28\xb5\x2f\xfd", "compressed by zstd"),
        (b"go 1.", "a trace of a Go program"),
        (b"{", "JSON"),
        (b"[", "JSON"),
        (b"<", "HTML or XML"),
    ];
    if file.is_empty() {
        return Some("empty");
    }
    let mut known = KNOWN.iter();
    known.find(|(start, _)| file.starts_with(start)).map(|(_, what)| *what)
}

#[derive(Default)]
struct Reader {
    trace: Trace,
    sequences: HashMap<u64, Sequence>,
    /// Tracks by uuid.
    tracks: HashMap<u64, usize>,
    dropped: u64,
    compressed: u64,
    /// Events without a time.
    timeless: u64,
}

/// The fields of a packet that stand in no order.
#[derive(Default)]
struct Packet<'a> {
    at: Option<u64>,
    clock: Option<u64>,
    sequence: u64,
    flags: u64,
    event: Option<&'a [u8]>,
    interned: Option<&'a [u8]>,
    defaults: Option<&'a [u8]>,
    track: Option<&'a [u8]>,
    clocks: Option<&'a [u8]>,
}

impl Reader {
    fn packet(&mut self, message: &[u8]) -> Result<(), Broken> {
        let mut packet = Packet::default();
        for field in Fields::of(message) {
            use field::packet::*;
            match field? {
                (TIMESTAMP, value) => packet.at = value.number(),
                (CLOCK, value) => packet.clock = value.number(),
                (SEQUENCE, Value::Varint(n)) => packet.sequence = n,
                (FLAGS, Value::Varint(n)) => packet.flags = n,
                (TRACK_EVENT, value) => packet.event = value.bytes(),
                (INTERNED, value) => packet.interned = value.bytes(),
                (DEFAULTS, value) => packet.defaults = value.bytes(),
                (TRACK, value) => packet.track = value.bytes(),
                (CLOCK_SNAPSHOT, value) => packet.clocks = value.bytes(),
                (DROPPED, Value::Varint(1)) => self.dropped += 1,
                (COMPRESSED, _) => self.compressed += 1,
                _ => {}
            }
        }
        let sequence = self.sequences.entry(packet.sequence).or_default();
        if packet.flags & CLEARED != 0 {
            *sequence = Sequence::default();
        }
        if let Some(clocks) = packet.clocks {
            sequence.clock_snapshot(clocks)?;
        }
        if let Some(defaults) = packet.defaults {
            sequence.defaults(defaults)?;
        }
        if let Some(interned) = packet.interned {
            sequence.intern(interned, &mut self.trace.texts)?;
        }
        if let Some(track) = packet.track {
            self.track(track)?;
        }
        if let Some(event) = packet.event {
            self.event(&packet, event)?;
        }
        Ok(())
    }

    /// The index of the track with this uuid, which may be described later.
    fn track_index(&mut self, uuid: u64) -> usize {
        let tracks = &mut self.trace.tracks;
        *self.tracks.entry(uuid).or_insert_with(|| {
            tracks.push(Track { uuid, ..Track::default() });
            tracks.len() - 1
        })
    }

    fn track(&mut self, message: &[u8]) -> Result<(), Broken> {
        let mut track = Track::default();
        let mut inner = String::new();
        for field in Fields::of(message) {
            match field? {
                (1, Value::Varint(n)) => track.uuid = n,
                (2 | 10, value) => {
                    track.name = value.text().unwrap_or_default()
                }
                (3, Value::Bytes(process)) => {
                    let (pid, _, name) = descriptor(process, 6)?;
                    track.pid = Some(pid);
                    inner = name;
                }
                (4, Value::Bytes(thread)) => {
                    let (_, tid, name) = descriptor(thread, 5)?;
                    track.tid = Some(tid);
                    inner = name;
                }
                (5, Value::Varint(n)) => track.parent = n,
                (8, Value::Bytes(_)) => track.counter = true,
                _ => {}
            }
        }
        if track.name.is_empty() {
            track.name = inner;
        }
        let index = self.track_index(track.uuid);
        self.trace.tracks[index] = track;
        Ok(())
    }

    fn event(&mut self, packet: &Packet, message: &[u8]) -> Result<(), Broken> {
        let sequence = self.sequences.entry(packet.sequence).or_default();
        let Some(at) = sequence.time(packet.at, packet.clock) else {
            self.timeless += 1;
            return Ok(());
        };
        let (event, uuid) =
            sequence.event(at, message, &mut self.trace.texts)?;
        let (Some(mut event), uuid) = (event, uuid) else { return Ok(()) };
        event.track = self.track_index(uuid);
        self.trace.events.push(event);
        Ok(())
    }

    fn finish(mut self, packets: u64) -> Result<Trace, String> {
        if self.trace.events.is_empty() {
            return Err(if self.compressed > 0 {
                "has compressed packets, which are not read: write it without \
                 compression"
                    .into()
            } else {
                format!("has {packets} packets, but no track event in them")
            });
        }
        let mut warn = |count: u64, what: &str| {
            if count > 0 {
                self.trace.warnings.push(format!("{count} {what}"));
            }
        };
        warn(self.dropped, "times events were lost before they were written.");
        warn(self.compressed, "compressed packets are not shown.");
        warn(self.timeless, "events without a time are not shown.");
        // Stable: events of one moment keep the order of their writer.
        self.trace.events.sort_by_key(|event| event.at);
        Ok(self.trace)
    }
}

/// The pid, the tid and the name of a process or thread descriptor.
fn descriptor(
    message: &[u8],
    name_field: u32,
) -> Result<(u64, u64, String), Broken> {
    let (mut pid, mut tid, mut name) = (0, 0, String::new());
    for field in Fields::of(message) {
        match field? {
            (1, Value::Varint(n)) => pid = n,
            (2, Value::Varint(n)) => tid = n,
            (n, value) if n == name_field => {
                name = value.text().unwrap_or_default();
            }
            _ => {}
        }
    }
    Ok((pid, tid, name))
}

/// The first number of a field that holds one, or many in a packed list.
fn first_varint(value: Value) -> Result<u64, Broken> {
    match value {
        Value::Bytes(packed) => Fields::of(packed).varint(),
        _ => Ok(value.number().unwrap_or(0)),
    }
}

/// A field that holds one number, or many in a packed list.
fn numbers(value: Value, to: &mut Vec<u64>) {
    match value {
        Value::Bytes(packed) => {
            let words = packed.chunks_exact(8);
            to.extend(words.map(|w| {
                u64::from_le_bytes(w.try_into().expect("eight bytes"))
            }));
        }
        _ => to.extend(value.number()),
    }
}

impl Sequence {
    fn defaults(&mut self, message: &[u8]) -> Result<(), Broken> {
        for field in Fields::of(message) {
            match field? {
                (field::packet::CLOCK, Value::Varint(n)) => {
                    self.clock = Some(n);
                }
                (field::packet::TRACK_EVENT, Value::Bytes(event)) => {
                    for field in Fields::of(event) {
                        if let (11, Value::Varint(n)) = field? {
                            self.track = Some(n);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn clock_snapshot(&mut self, message: &[u8]) -> Result<(), Broken> {
        for field in Fields::of(message) {
            let (1, Value::Bytes(clock)) = field? else { continue };
            let (mut id, mut start, mut incremental, mut unit) =
                (0, 0, false, 1);
            for field in Fields::of(clock) {
                match field? {
                    (1, Value::Varint(n)) => id = n,
                    (2, Value::Varint(n)) => start = n,
                    (3, Value::Varint(n)) => incremental = n != 0,
                    (4, Value::Varint(n)) => unit = n.max(1),
                    _ => {}
                }
            }
            // Smaller numbers are clocks of the system, in nanoseconds.
            if id >= 64 {
                let start = start.wrapping_mul(unit);
                self.clocks.insert(id, Clock { incremental, unit, start });
                self.last.insert(id, start);
            }
        }
        Ok(())
    }

    /// The time of a packet in nanoseconds.
    fn time(&mut self, at: Option<u64>, clock: Option<u64>) -> Option<u64> {
        let id = clock.or(self.clock).unwrap_or(0);
        let Some(clock) = self.clocks.get(&id) else { return at };
        let delta = at?.wrapping_mul(clock.unit);
        if clock.incremental {
            let last = self.last.entry(id).or_insert(clock.start);
            *last = last.wrapping_add(delta);
            Some(*last)
        } else {
            Some(delta)
        }
    }

    fn intern(
        &mut self,
        message: &[u8],
        texts: &mut Texts,
    ) -> Result<(), Broken> {
        for field in Fields::of(message) {
            let (table, Value::Bytes(entry)) = field? else { continue };
            use field::interned::*;
            if ![CATEGORIES, EVENTS, NOTES, TEXTS].contains(&table) {
                continue;
            }
            let (mut iid, mut text) = (0, String::new());
            for field in Fields::of(entry) {
                match field? {
                    (1, Value::Varint(n)) => iid = n,
                    (2, value) => text = value.text().unwrap_or_default(),
                    _ => {}
                }
            }
            self.interned.insert((table, iid), texts.add(&text));
        }
        Ok(())
    }

    fn interned(&self, table: u32, iid: u64) -> u32 {
        self.interned.get(&(table, iid)).copied().unwrap_or(0)
    }

    /// The event, without its track, if it is one to show; and the uuid of its
    /// track.
    fn event(
        &self,
        at: u64,
        message: &[u8],
        texts: &mut Texts,
    ) -> Result<(Option<Event>, u64), Broken> {
        let mut track = self.track.unwrap_or(0);
        let (mut kind, mut counter, mut name, mut category) = (0, 0.0, 0, 0);
        let (mut flows, mut ends, mut notes) = (vec![], vec![], vec![]);
        for field in Fields::of(message) {
            match field? {
                (3, value) if category == 0 => {
                    let iid = first_varint(value)?;
                    category = self.interned(field::interned::CATEGORIES, iid);
                }
                (22, Value::Bytes(text)) if category == 0 => {
                    category = texts.add(&String::from_utf8_lossy(text));
                }
                (4, Value::Bytes(note)) => {
                    notes.extend(self.note(note, texts)?);
                }
                (9, Value::Varint(n)) => kind = n,
                (10, Value::Varint(iid)) => {
                    name = self.interned(field::interned::EVENTS, iid);
                }
                (11, Value::Varint(n)) => track = n,
                (23, Value::Bytes(text)) => {
                    name = texts.add(&String::from_utf8_lossy(text));
                }
                (30, Value::Varint(n)) => counter = n as i64 as f64,
                (44, Value::Fixed64(n)) => counter = f64::from_bits(n),
                (36 | 47, value) => numbers(value, &mut flows),
                (42 | 48, value) => numbers(value, &mut ends),
                _ => {}
            }
        }
        let kind = match kind {
            1 => Kind::Begin,
            2 => Kind::End,
            3 => Kind::Instant,
            4 => Kind::Counter(counter),
            _ => return Ok((None, 0)),
        };
        let event =
            Event { at, track: 0, kind, name, category, flows, ends, notes };
        Ok((Some(event), track))
    }

    fn note(
        &self,
        message: &[u8],
        texts: &mut Texts,
    ) -> Result<Option<(u32, Note)>, Broken> {
        let (mut name, mut note) = (0, None);
        for field in Fields::of(message) {
            match field? {
                (1, Value::Varint(iid)) => {
                    name = self.interned(field::interned::NOTES, iid);
                }
                (10, Value::Bytes(text)) => {
                    name = texts.add(&String::from_utf8_lossy(text));
                }
                (2..=4 | 7, Value::Varint(n)) => {
                    note = Some(Note::Number(n as i64));
                }
                (5, Value::Fixed64(n)) => {
                    note = Some(Note::Real(f64::from_bits(n)));
                }
                (6, Value::Bytes(text)) => {
                    let text = String::from_utf8_lossy(text);
                    note = Some(Note::Text(texts.add(&text)));
                }
                (17, Value::Varint(iid)) => {
                    let text = self.interned(field::interned::TEXTS, iid);
                    note = Some(Note::Text(text));
                }
                _ => {}
            }
        }
        Ok(note.map(|note| (name, note)))
    }
}
