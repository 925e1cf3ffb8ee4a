//! Perfetto's packets, byte by byte, and the file that they go to.
//!
//! The format is protobuf's: a field is a number, shifted by three, with its
//! wire type; a message within a message is its length and its bytes. The
//! length is not known before, so two bytes are left for it, or one where the
//! message is known to be short: a number whose first byte says that more
//! follow may have more bytes than it needs.
//!
//! Invariant 1: before each packet there is less than a chunk, and so room for
//! the longest packet.
//!
//! The numbers of the fields are those of `perfetto/trace`: `trace_packet`,
//! `track_event`, `track_descriptor`, `interned_data`, `debug_annotation`.

use crate::os::{Errno, Result, fd, own::Own};

/// Bytes that are written at a time, to a place in the file that is a multiple
/// of them: the kernel has a third less to do than for pages in pieces.
const CHUNK: usize = 64 << 10;
/// Bytes that are collected.
const ROOM: usize = CHUNK + LONGEST;
/// No packet is longer, with the 8 bytes that [`Packet::put_some`] may write
/// over.
const LONGEST: usize = 2048;
/// The most bytes of a [`Head`]: a number of ten bytes and two of one, each
/// with its tag.
const HEAD: usize = 15;

/// Where the packets go.
pub(super) enum Sink {
    /// A file of ours.
    File(Own),
    /// A descriptor of the host's.
    Fd(i32),
}

impl Sink {
    fn write(&self, bytes: &[u8]) -> Result<()> {
        match self {
            Self::File(file) => file.write_all(bytes),
            Self::Fd(fd) => fd::write_all(*fd, bytes),
        }
    }
}

/// Packets that are made. All bytes zero are none.
pub(super) struct Packets {
    /// The first error of the file, or 0; nothing is written after it.
    error: i32,
    begun: bool,
    /// Invariant 1.
    len: usize,
    /// How many bytes were written.
    offset: usize,
    head: Head,
    room: [u8; ROOM],
}

/// The fields with which each packet of one time begins.
struct Head {
    ns: i64,
    /// 0 if no packet was made so far.
    len: usize,
    fields: [u8; HEAD],
}

/// A packet that is being made: its bytes so far.
///
/// The number of bytes is in a register while a packet is made: all methods are
/// inlined, or get it by value.
pub(super) struct Packet<'a> {
    room: &'a mut [u8; LONGEST],
    len: usize,
}

/// A message that is begun: where its length is.
#[must_use]
pub(super) struct Message {
    at: usize,
    size: Size,
}

/// How long a message may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Size {
    /// Less than 128 bytes.
    Short,
    Long,
}

/// `TracePacket`, and the messages in it.
pub(super) mod field {
    pub const PACKET: u32 = 1;

    pub const TIMESTAMP: u32 = 8;
    pub const SEQUENCE_ID: u32 = 10;
    pub const TRACK_EVENT: u32 = 11;
    pub const INTERNED_DATA: u32 = 12;
    pub const SEQUENCE_FLAGS: u32 = 13;
    pub const TRACK_DESCRIPTOR: u32 = 60;

    /// Of `TrackDescriptor`.
    pub mod track {
        pub const UUID: u32 = 1;
        pub const NAME: u32 = 2;
        pub const PROCESS: u32 = 3;
        pub const THREAD: u32 = 4;
        pub const PARENT: u32 = 5;
        pub const COUNTER: u32 = 8;
        pub const CHILD_ORDERING: u32 = 11;
        pub const RANK: u32 = 12;
        /// `ProcessDescriptor`
        pub const PROCESS_PID: u32 = 1;
        pub const PROCESS_NAME: u32 = 6;
        /// `ThreadDescriptor`
        pub const THREAD_PID: u32 = 1;
        pub const THREAD_TID: u32 = 2;
        pub const THREAD_NAME: u32 = 5;
        /// `CHRONOLOGICAL`, `EXPLICIT`
        pub const CHRONOLOGICAL: u64 = 2;
        pub const EXPLICIT: u64 = 3;
    }

    /// Of `TrackEvent`.
    pub mod event {
        pub const CATEGORY: u32 = 3;
        pub const ANNOTATION: u32 = 4;
        pub const TYPE: u32 = 9;
        pub const NAME_IID: u32 = 10;
        pub const TRACK: u32 = 11;
        pub const NAME: u32 = 23;
        pub const COUNTER_VALUE: u32 = 30;
        pub const FLOW: u32 = 47;
        pub const FLOW_ENDS: u32 = 48;
    }

    /// Of `DebugAnnotation`.
    pub mod annotation {
        pub const NAME_IID: u32 = 1;
        pub const BOOL: u32 = 2;
        pub const UINT: u32 = 3;
        pub const INT: u32 = 4;
        pub const POINTER: u32 = 7;
        pub const STRING_IID: u32 = 17;
    }

    /// Of `InternedData`, and what all of its entries have.
    pub mod interned {
        pub const CATEGORIES: u32 = 1;
        pub const NAMES: u32 = 2;
        pub const ANNOTATIONS: u32 = 3;
        pub const STRINGS: u32 = 29;
        pub const IID: u32 = 1;
        pub const NAME: u32 = 2;
    }
}

/// `SEQ_INCREMENTAL_STATE_CLEARED`, `SEQ_NEEDS_INCREMENTAL_STATE`.
const CLEARED: u64 = 1;
const NEEDED: u64 = 2;
/// The one sequence of packets.
const SEQUENCE: u64 = 1;

impl Packets {
    /// Adds a packet with this time, and writes if many have come together.
    #[inline(always)]
    pub(super) fn packet(
        &mut self,
        ns: i64,
        size: Size,
        sink: &Sink,
        fill: impl FnOnce(&mut Packet<'_>),
    ) {
        if self.head.ns != ns || self.head.len == 0 {
            self.begin_time(ns);
        }
        // Invariant 1.
        let Some(room) = self.room[self.len..].first_chunk_mut() else {
            return;
        };
        let mut packet = Packet { room, len: 0 };
        let message = packet.sized(field::PACKET, size);
        packet.put(self.head.fields);
        packet.len -= HEAD - self.head.len;
        fill(&mut packet);
        packet.end(message);
        self.len += packet.len;
        while self.len >= CHUNK {
            self.write(CHUNK - self.offset % CHUNK, sink);
        }
    }

    /// Makes the head of the packets that have this time.
    fn begin_time(&mut self, ns: i64) {
        // Where the packet comes, invariant 1.
        let Some(room) = self.room[self.len..].first_chunk_mut() else {
            return;
        };
        let mut packet = Packet { room, len: 0 };
        packet.number(field::TIMESTAMP, ns as u64);
        packet.number(field::SEQUENCE_ID, SEQUENCE);
        let first = !core::mem::replace(&mut self.begun, true);
        let flags = if first { CLEARED } else { NEEDED };
        packet.number(field::SEQUENCE_FLAGS, flags);
        // After the first packet they are made anew.
        let ns = if first { i64::MIN } else { ns };
        let len = packet.len;
        let fields = packet.room.first_chunk().copied();
        let fields = fields.unwrap_or([0; HEAD]);
        self.head = Head { ns, len, fields };
    }

    /// Writes what has come together.
    pub(super) fn flush(&mut self, sink: &Sink) {
        self.write(self.len, sink);
    }

    /// Writes the first `len` bytes.
    #[cold]
    fn write(&mut self, len: usize, sink: &Sink) {
        if self.error == 0
            && len > 0
            && let Err(why) = sink.write(&self.room[..len])
        {
            self.error = why.0;
        }
        self.room.copy_within(len..self.len, 0);
        self.len -= len;
        self.offset += len;
    }

    /// The first error of the file.
    pub(super) fn result(&self) -> Result<()> {
        if self.error == 0 { Ok(()) } else { Err(Errno(self.error)) }
    }
}

impl Packet<'_> {
    /// Begins a message in a field.
    #[inline(always)]
    pub(super) fn message(&mut self, field: u32) -> Message {
        self.sized(field, Size::Long)
    }

    #[inline(always)]
    pub(super) fn sized(&mut self, field: u32, size: Size) -> Message {
        self.tag(field, 2);
        let message = Message { at: self.len, size };
        // Some byte where the length will be.
        match size {
            Size::Short => self.put([0]),
            Size::Long => self.put([0; 2]),
        }
        message
    }

    #[inline(always)]
    pub(super) fn end(&mut self, Message { at, size }: Message) {
        match size {
            Size::Short => self.room[at] = (self.len - at - 1) as u8,
            Size::Long => {
                let len = self.len - at - 2;
                self.room[at] = (len & 0x7f) as u8 | 0x80;
                self.room[at + 1] = (len >> 7) as u8;
            }
        }
    }

    /// A field with a number.
    #[inline(always)]
    pub(super) fn number(&mut self, field: u32, value: u64) {
        if value >> 49 != 0 {
            self.tag(field, 0);
            self.len = put_varint(self.room, self.len, value);
            return;
        }
        let (bytes, len) = spread(value);
        if field << 3 < 0x80 {
            // The tag and at most seven bytes.
            self.put_some(bytes << 8 | u64::from(field << 3), 1 + len);
        } else {
            self.tag(field, 0);
            self.put_some(bytes, len);
        }
    }

    /// An annotation with a number. What most have fits into one word.
    #[inline(always)]
    pub(super) fn annotation(&mut self, note: u8, field: u32, value: u64) {
        let (tag, tag_len) = match u64::from(field << 3) {
            tag @ ..0x80 => (tag, 1),
            tag => (tag >> 7 << 8 | tag & 0x7f | 0x80, 2),
        };
        if value >> (7 * (4 - tag_len)) != 0 {
            let message = self.sized(field::event::ANNOTATION, Size::Short);
            self.small(field::annotation::NAME_IID, note);
            self.number(field, value);
            return self.end(message);
        }
        let (bytes, len) = spread(value);
        let rest = bytes << (8 * tag_len) | tag;
        let len = tag_len + len;
        let first = [
            (field::event::ANNOTATION << 3 | 2) as u8,
            2 + len as u8,
            (field::annotation::NAME_IID << 3) as u8,
            note,
        ];
        let first = u64::from(u32::from_le_bytes(first));
        self.put_some(rest << 32 | first, 4 + len);
    }

    /// A field with a number of 8 bytes, such as the id of a flow.
    #[inline(always)]
    pub(super) fn fixed(&mut self, field: u32, value: u64) {
        self.tag(field, 1);
        self.put(value.to_le_bytes());
    }

    /// A field with a text. What is not UTF-8 becomes question marks.
    #[inline(always)]
    pub(super) fn text(&mut self, field: u32, text: &[u8]) {
        let message = self.message(field);
        self.len = put_text(self.room, self.len, text, b"?");
        self.end(message);
    }

    /// A field with a text that ends with a number.
    pub(super) fn numbered(&mut self, field: u32, text: &[u8], number: u64) {
        let message = self.message(field);
        self.len = put_text(self.room, self.len, text, b"");
        let mut digits = [0; 20];
        let digits = decimal(number, &mut digits);
        self.len = put_text(self.room, self.len, digits, b"");
        self.end(message);
    }

    #[inline(always)]
    fn tag(&mut self, field: u32, wire: u32) {
        let tag = field << 3 | wire;
        if tag < 0x80 {
            self.put([tag as u8]);
        } else {
            self.put([tag as u8 | 0x80, (tag >> 7) as u8]);
        }
    }

    /// The lower `len` of these bytes; those after them will be written over.
    #[inline(always)]
    fn put_some(&mut self, bytes: u64, len: usize) {
        let after = self.len + len;
        self.put(bytes.to_le_bytes());
        self.len = after;
    }

    /// A field with a number below 128.
    #[inline(always)]
    pub(super) fn small(&mut self, field: u32, value: u8) {
        self.tag(field, 0);
        self.put([value]);
    }

    #[inline(always)]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.room[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }
}

/// A number of at most 49 bits as protobuf writes it, seven bits a byte; and
/// how many bytes that takes.
#[inline(always)]
fn spread(value: u64) -> (u64, usize) {
    let halves = value & 0xfff_ffff | (value & 0xff_ffff_f000_0000) << 4;
    let pairs =
        halves & 0x3fff_0000_3fff | (halves & 0xfff_c000_0fff_c000) << 2;
    let sevens =
        pairs & 0x7f_007f_007f_007f | (pairs & 0x3f80_3f80_3f80_3f80) << 1;
    let len = (70 - (value | 1).leading_zeros() as usize) / 7;
    // All bytes but the last say that more follow.
    let more = 0x8080_8080_8080_8080 & ((1 << (8 * (len - 1))) - 1);
    (sevens | more, len)
}

/// Writes a number; returns where it ends.
#[cold]
fn put_varint(to: &mut [u8], mut at: usize, mut value: u64) -> usize {
    while value >= 0x80 {
        to[at] = value as u8 | 0x80;
        at += 1;
        value >>= 7;
    }
    to[at] = value as u8;
    at + 1
}

/// Writes a text, with `instead` for what is not UTF-8; returns where it ends.
#[cold]
fn put_text(to: &mut [u8], at: usize, text: &[u8], instead: &[u8]) -> usize {
    let mut end = at;
    let mut put = |bytes: &[u8]| {
        to[end..end + bytes.len()].copy_from_slice(bytes);
        end += bytes.len();
    };
    for chunk in text.utf8_chunks() {
        put(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            put(instead);
        }
    }
    end
}

/// The digits of a number.
pub(super) fn decimal(mut number: u64, to: &mut [u8; 20]) -> &[u8] {
    let mut at = to.len();
    loop {
        at -= 1;
        to[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &to[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(make: impl FnOnce(&mut Packet<'_>)) -> Vec<u8> {
        let mut room = Box::new([0; LONGEST]);
        let mut packet = Packet { room: &mut room, len: 0 };
        make(&mut packet);
        let len = packet.len;
        room[..len].to_vec()
    }

    #[test]
    fn fields_are_as_protobuf_has_them() {
        // The first two examples of protobuf's own documentation.
        assert_eq!(made(|p| p.number(1, 150)), [0x08, 0x96, 0x01]);
        let text = made(|p| p.text(2, b"testing"));
        assert_eq!(text, *b"\x12\x87\0testing");
        let fixed = made(|p| p.fixed(47, 1));
        assert_eq!(fixed, [0xf9, 0x02, 1, 0, 0, 0, 0, 0, 0, 0]);
        let nested = made(|p| {
            let outer = p.message(3);
            p.number(1, 150);
            p.end(outer);
        });
        assert_eq!(nested, [0x1a, 0x83, 0, 0x08, 0x96, 0x01]);
        let short = made(|p| {
            let outer = p.sized(3, Size::Short);
            p.number(1, 150);
            p.end(outer);
        });
        assert_eq!(short, [0x1a, 3, 0x08, 0x96, 0x01]);
        let note = |field, value| made(|p| p.annotation(7, field, value));
        assert_eq!(note(3, 150), *b"\x22\x05\x08\x07\x18\x96\x01");
        assert_eq!(note(17, 150), *b"\x22\x06\x08\x07\x88\x01\x96\x01");
        let long = *b"\x22\x07\x08\x07\x18\x80\x80\x80\x01";
        assert_eq!(note(3, 1 << 21), long);
        let long = *b"\x22\x07\x08\x07\x88\x01\x80\x80\x01";
        assert_eq!(note(17, 1 << 14), long);
    }

    #[test]
    fn a_number_has_seven_bits_a_byte() {
        for bits in 0..=64 {
            let ones = !u64::MAX.checked_shl(bits).unwrap_or(0);
            for value in [ones, ones / 2 + 1] {
                let mut want = vec![0x08];
                let mut rest = value;
                while rest >= 0x80 {
                    want.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                want.push(rest as u8);
                assert_eq!(made(|p| p.number(1, value)), want);
                want.splice(0..1, [0xf0, 0x01]);
                assert_eq!(made(|p| p.number(30, value)), want);
            }
        }
    }

    #[test]
    fn packets_of_one_time_begin_alike() {
        let packets = Box::<Packets>::new_zeroed();
        // SAFETY: all bytes zero are none.
        let mut packets = unsafe { packets.assume_init() };
        let sink = Sink::Fd(-1);
        for (ns, value) in [(5, 1), (5, 2), (5, 3), (300, 4)] {
            let size = if value < 4 { Size::Long } else { Size::Short };
            packets.packet(ns, size, &sink, |p| p.number(1, value));
        }
        let want = [
            &b"\x0a\x88\0\x40\x05\x50\x01\x68\x01\x08\x01"[..],
            b"\x0a\x88\0\x40\x05\x50\x01\x68\x02\x08\x02",
            b"\x0a\x88\0\x40\x05\x50\x01\x68\x02\x08\x03",
            b"\x0a\x09\x40\xac\x02\x50\x01\x68\x02\x08\x04",
        ];
        assert_eq!(packets.room[..packets.len], want.concat());
    }

    #[test]
    fn text_is_utf_8_whatever_comes() {
        assert_eq!(made(|p| p.text(1, b"a\xffb")), *b"\x0a\x83\0a?b");
        let long = made(|p| p.text(1, &[b'x'; 200]));
        assert_eq!(long[..3], [0x0a, 0xc8, 0x01]);
        let numbered = made(|p| p.numbered(1, b"P ", 17));
        assert_eq!(numbered, *b"\x0a\x84\0P 17");
    }

    #[test]
    fn numbers_have_their_digits() {
        let digits = |n| decimal(n, &mut [0; 20]).to_vec();
        assert_eq!(digits(0), b"0");
        assert_eq!(digits(u64::MAX), b"18446744073709551615");
    }
}
