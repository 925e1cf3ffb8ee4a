//! The wire format of protocol buffers, as far as a trace needs it: fields of
//! a message in the order in which they stand, without a schema.
//!
//! Perfetto's definitions have thousands of fields, of which a report reads
//! thirty. A generated decoder would build all of them; this reader skips what
//! nobody asks for, and copies nothing.

use std::fmt;

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    /// The value as a number; floating point as its bits.
    pub fn number(self) -> Option<u64> {
        match self {
            Value::Varint(n) | Value::Fixed64(n) => Some(n),
            Value::Fixed32(n) => Some(n.into()),
            Value::Bytes(_) => None,
        }
    }

    pub fn bytes(self) -> Option<&'a [u8]> {
        if let Value::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// The value as text; what is no UTF-8 is replaced.
    pub fn text(self) -> Option<String> {
        Some(String::from_utf8_lossy(self.bytes()?).into_owned())
    }
}

/// The reason why a message cannot be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The message ends within a field.
    Short,
    /// The bytes are no field.
    NotAField,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Broken::Short => "a message ends within a field",
            Broken::NotAField => "these bytes are no field of a message",
        })
    }
}

/// Walks over the fields of one message.
#[derive(Clone)]
pub struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    pub fn of(message: &'a [u8]) -> Fields<'a> {
        Fields { message, at: 0 }
    }

    /// The offset of the next field in the message.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// A number without a key, as in a packed list.
    pub fn varint(&mut self) -> Result<u64, Broken> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.message.get(self.at).ok_or(Broken::Short)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Broken::NotAField)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Broken> {
        let length = usize::try_from(length).map_err(|_| Broken::Short)?;
        let end = self.at.checked_add(length).ok_or(Broken::Short)?;
        let taken = self.message.get(self.at..end).ok_or(Broken::Short)?;
        self.at = end;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u32, Value<'a>), Broken> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).unwrap_or(0);
        if number == 0 {
            return Err(Broken::NotAField);
        }
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => {
                let bytes = self.take(8)?.try_into().expect("eight bytes");
                Value::Fixed64(u64::from_le_bytes(bytes))
            }
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                let bytes = self.take(4)?.try_into().expect("four bytes");
                Value::Fixed32(u32::from_le_bytes(bytes))
            }
            _ => return Err(Broken::NotAField),
        };
        Ok((number, value))
    }
}

/// Ends after the first error.
impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u32, Value<'a>), Broken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.message.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.message.len();
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_field_is_read() {
        let message = [
            0x08, 0x96, 0x01, // 1: 150
            0x12, 0x02, b'h', b'i', // 2: "hi"
            0x19, 1, 0, 0, 0, 0, 0, 0, 0, // 3: fixed64 1
            0x25, 2, 0, 0, 0, // 4: fixed32 2
        ];
        let fields: Vec<_> = Fields::of(&message).map(Result::unwrap).collect();
        let want = [
            (1, Value::Varint(150)),
            (2, Value::Bytes(b"hi")),
            (3, Value::Fixed64(1)),
            (4, Value::Fixed32(2)),
        ];
        assert_eq!(fields, want);
    }

    #[test]
    fn each_cut_is_an_error_or_the_end_of_a_field() {
        let message = [0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i'];
        for length in 0..message.len() {
            let last = Fields::of(&message[..length]).last();
            let whole = matches!(last, None | Some(Ok(_)));
            assert_eq!(whole, [0, 3].contains(&length), "{length}: {last:?}");
        }
    }

    #[test]
    fn what_is_no_field_is_an_error() {
        for message in [&[0x0b][..], &[0x00], &[0xff; 11], b"{\"traceEvents"] {
            assert!(Fields::of(message).any(|field| field.is_err()));
        }
    }
}
