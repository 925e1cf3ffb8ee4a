//! A run of bytes in some memory, read from front to back: DWARF's numbers.

use crate::memory::Memory;

/// How many bytes are read at once.
const WINDOW: usize = 256;

/// Reads the addresses from `at` up to `end`. Each method returns `None` where
/// bytes are missing or cannot be read.
pub(crate) struct Bytes<'m, M> {
    memory: &'m M,
    at: u64,
    end: u64,
    /// The window has the bytes from `from` on, `len` of them.
    from: u64,
    len: usize,
    window: [u8; WINDOW],
}

impl<'m, M: Memory> Bytes<'m, M> {
    pub(crate) fn new(memory: &'m M, at: u64, end: u64) -> Self {
        Self { memory, at, end, from: at, len: 0, window: [0; WINDOW] }
    }

    pub(crate) fn memory(&self) -> &'m M {
        self.memory
    }

    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    pub(crate) fn rest(&self) -> u64 {
        self.end.saturating_sub(self.at)
    }

    /// Goes to another place, and to another end.
    pub(crate) fn go_to(&mut self, at: u64, end: u64) {
        self.at = at;
        self.end = end;
    }

    pub(crate) fn skip(&mut self, count: u64) -> Option<()> {
        if count > self.rest() {
            return None;
        }
        self.at += count;
        Some(())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        if self.rest() < N as u64 {
            return None;
        }
        let begin = self.at.wrapping_sub(self.from);
        if begin > self.len as u64 || self.len as u64 - begin < N as u64 {
            self.fill(N)?;
        }
        let begin = (self.at - self.from) as usize;
        let bytes = self.window[..self.len].get(begin..)?.first_chunk()?;
        self.at += N as u64;
        Some(*bytes)
    }

    /// Reads as much as there is, `least` bytes at least.
    fn fill(&mut self, least: usize) -> Option<()> {
        self.from = self.at;
        let rest = self.rest().min(WINDOW as u64) as usize;
        // The end may be a guess: then up to the end of the page, which a
        // part of a file need not fill.
        let page = (4096 - self.at % 4096) as usize;
        let memory = self.memory;
        let read = |len: &usize| {
            *len >= least && memory.read(self.at, &mut self.window[..*len])
        };
        let good = [rest, rest.min(page), least].into_iter().find(read);
        self.len = good.unwrap_or(0);
        good.map(|_| ())
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// A number of `size` bytes, 1, 2, 4 or 8.
    pub(crate) fn sized(&mut self, size: u8) -> Option<u64> {
        match size {
            1 => self.u8().map(u64::from),
            2 => self.u16().map(u64::from),
            4 => self.u32().map(u64::from),
            8 => self.u64(),
            _ => None,
        }
    }

    pub(crate) fn uleb(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            value |= if shift < 64 { bits << shift } else { 0 };
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn sleb(&mut self) -> Option<i64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            let bits = i64::from(byte & 0x7f);
            value |= if shift < 64 { bits << shift } else { 0 };
            if byte & 0x80 == 0 {
                let negative = byte & 0x40 != 0 && shift + 7 < 64;
                return Some(if negative {
                    value | -1 << (shift + 7)
                } else {
                    value
                });
            }
        }
        None
    }

    /// A pointer in an encoding of `.eh_frame` (`DW_EH_PE_*`); `data` is what
    /// such a pointer may be relative to.
    pub(crate) fn pointer(&mut self, encoding: u8, data: u64) -> Option<u64> {
        if encoding == OMIT {
            return None;
        }
        let place = self.at;
        let value = self.plain_pointer(encoding)?;
        let base = match encoding & 0x70 {
            0 => 0,
            PCREL => place,
            DATAREL => data,
            _ => return None,
        };
        let value = base.wrapping_add(value);
        if encoding & INDIRECT != 0 {
            self.memory.u64(value)
        } else {
            Some(value)
        }
    }

    /// The pointer as it stands there.
    pub(crate) fn plain_pointer(&mut self, encoding: u8) -> Option<u64> {
        match encoding & 0x0f {
            0x0 | 0x4 | 0xc => self.u64(),
            0x1 => self.uleb(),
            0x2 => self.u16().map(u64::from),
            0x3 => self.u32().map(u64::from),
            0x9 => self.sleb().map(|v| v as u64),
            0xa => self.u16().map(|v| v as i16 as u64),
            0xb => self.u32().map(|v| v as i32 as u64),
            _ => None,
        }
    }
}

pub(crate) const OMIT: u8 = 0xff;
const PCREL: u8 = 0x10;
const DATAREL: u8 = 0x30;
const INDIRECT: u8 = 0x80;
