//! Perfetto's packets, byte by byte, and the file that they go to.
//!
//! The format is protobuf's: a field is a number, shifted by three, with its
//! wire type; a message within a message is its length and its bytes. The
//! length is not known before, so two bytes are left for it: a number whose
//! first byte says that more follow may have more bytes than it needs.
//!
//! The numbers of the fields are those of `perfetto/trace`: `trace_packet`,
//! `track_event`, `track_descriptor`, `interned_data`, `debug_annotation`.

use crate::os::{Errno, Result, fd, own::Own};

/// Bytes collected before they are written.
const ROOM: usize = 64 << 10;
/// No packet is longer.
const LONGEST: usize = 2048;

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

/// Packets that are being made. All bytes zero are none.
pub(super) struct Packets {
    /// The first error of the file, or 0; nothing is written after it.
    error: i32,
    len: usize,
    room: [u8; ROOM],
}

/// A message that is begun: where its length is.
#[must_use]
pub(super) struct Message(usize);

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
        pub const STRING: u32 = 6;
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
    /// Begins a packet. `first`: it is the first of the file.
    pub(super) fn packet(&mut self, ns: i64, first: bool) -> Message {
        let packet = self.message(field::PACKET);
        self.number(field::TIMESTAMP, ns as u64);
        self.number(field::SEQUENCE_ID, SEQUENCE);
        let flags = if first { CLEARED } else { NEEDED };
        self.number(field::SEQUENCE_FLAGS, flags);
        packet
    }

    /// Ends a packet, and writes if many have come together.
    pub(super) fn finish(&mut self, packet: Message, sink: &Sink) {
        self.end(packet);
        if self.len > ROOM - LONGEST {
            self.flush(sink);
        }
    }

    /// Writes what has come together.
    pub(super) fn flush(&mut self, sink: &Sink) {
        if self.error == 0
            && self.len > 0
            && let Err(why) = sink.write(&self.room[..self.len])
        {
            self.error = why.0;
        }
        self.len = 0;
    }

    /// The first error of the file.
    pub(super) fn result(&self) -> Result<()> {
        if self.error == 0 { Ok(()) } else { Err(Errno(self.error)) }
    }

    /// Begins a message in a field.
    pub(super) fn message(&mut self, field: u32) -> Message {
        self.tag(field, 2);
        let at = Message(self.len);
        self.byte(0);
        self.byte(0);
        at
    }

    pub(super) fn end(&mut self, Message(at): Message) {
        let len = self.len - at - 2;
        self.room[at] = (len & 0x7f) as u8 | 0x80;
        self.room[at + 1] = (len >> 7) as u8;
    }

    /// A field with a number.
    pub(super) fn number(&mut self, field: u32, value: u64) {
        self.tag(field, 0);
        self.varint(value);
    }

    /// A field with a number of 8 bytes, such as the id of a flow.
    pub(super) fn fixed(&mut self, field: u32, value: u64) {
        self.tag(field, 1);
        self.put(&value.to_le_bytes());
    }

    /// A field with a text. What is not UTF-8 becomes question marks.
    pub(super) fn text(&mut self, field: u32, text: &[u8]) {
        let message = self.message(field);
        for chunk in text.utf8_chunks() {
            self.put(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                self.byte(b'?');
            }
        }
        self.end(message);
    }

    /// A field with a text that ends with a number.
    pub(super) fn numbered(&mut self, field: u32, text: &[u8], number: u64) {
        let message = self.message(field);
        for chunk in text.utf8_chunks() {
            self.put(chunk.valid().as_bytes());
        }
        let mut digits = [0; 20];
        self.put(decimal(number, &mut digits));
        self.end(message);
    }

    fn tag(&mut self, field: u32, wire: u32) {
        self.varint(u64::from(field << 3 | wire));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.room[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn byte(&mut self, byte: u8) {
        self.room[self.len] = byte;
        self.len += 1;
    }
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

    fn made(make: impl FnOnce(&mut Packets)) -> Vec<u8> {
        let mut packets =
            Box::new(Packets { error: 0, len: 0, room: [0; ROOM] });
        make(&mut packets);
        packets.room[..packets.len].to_vec()
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
