//! What the crate knows of the library's data: `gmp_debug_layout`.
//!
//! The library exports a table of names with numbers: offsets of fields, sizes,
//! constants and addresses. A reader looks up the names that it needs, and says
//! which one is missing where the library is of another time.

use crate::memory::Memory;
use core::fmt;

const MAGIC: &[u8; 8] = b"gmprtlay";
/// The version of the table that this crate reads.
pub const VERSION: u32 = 1;
/// Bytes of a name, with its NUL.
const NAME: usize = 24;
/// Bytes of an entry.
const ENTRY: usize = NAME + 8;
/// More entries than a table can have.
const MAX: u32 = 4096;

/// Why there is no table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Nothing there can be read, or it is no table.
    Table,
    /// The table is of another version.
    Version(u32),
    /// It has no entry of this name.
    Entry(&'static str),
    /// The entry of this name cannot be true.
    Value(&'static str),
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Table => f.write_str("no table gmp_debug_layout"),
            Self::Version(it) => write!(
                f,
                "gmp_debug_layout has version {it}, and {VERSION} is known"
            ),
            Self::Entry(name) => {
                write!(f, "gmp_debug_layout does not know {name}")
            }
            Self::Value(name) => {
                write!(f, "gmp_debug_layout has a wrong value of {name}")
            }
        }
    }
}

impl std::error::Error for Missing {}

/// The table.
#[derive(Clone, Debug)]
pub struct Layout {
    entries: Vec<([u8; NAME], u64)>,
}

impl Layout {
    /// Reads the table at an address.
    ///
    /// # Errors
    /// Where there is no table, or one of another version.
    pub fn read(memory: &impl Memory, at: u64) -> Result<Self, Missing> {
        let mut head = [0; 16];
        if !memory.read(at, &mut head) || &head[..8] != MAGIC {
            return Err(Missing::Table);
        }
        let word = |i: usize| {
            u32::from_le_bytes([head[i], head[i + 1], head[i + 2], head[i + 3]])
        };
        let (version, count) = (word(8), word(12));
        if version != VERSION {
            return Err(Missing::Version(version));
        }
        if count > MAX {
            return Err(Missing::Table);
        }
        let mut bytes = vec![0; count as usize * ENTRY];
        if !memory.read(at + 16, &mut bytes) {
            return Err(Missing::Table);
        }
        let entries = bytes.as_chunks::<ENTRY>().0.iter().map(|entry| {
            let (mut name, mut value) = ([0; NAME], [0; 8]);
            name.copy_from_slice(&entry[..NAME]);
            value.copy_from_slice(&entry[NAME..]);
            (name, u64::from_le_bytes(value))
        });
        Ok(Self { entries: entries.collect() })
    }

    /// A table of these.
    #[cfg(test)]
    pub(crate) fn of(
        entries: impl Iterator<Item = (&'static str, u64)>,
    ) -> Self {
        let entry = |(name, value): (&str, u64)| {
            let mut field = [0; NAME];
            field[..name.len()].copy_from_slice(name.as_bytes());
            (field, value)
        };
        Self { entries: entries.map(entry).collect() }
    }

    /// The number of a name.
    ///
    /// # Errors
    /// Where the table does not have it.
    pub fn get(&self, name: &'static str) -> Result<u64, Missing> {
        let mut wanted = [0; NAME];
        let len = name.len().min(NAME);
        wanted[..len].copy_from_slice(&name.as_bytes()[..len]);
        let found = self.entries.iter().find(|entry| entry.0 == wanted);
        found.map(|entry| entry.1).ok_or(Missing::Entry(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::OwnMemory;

    #[test]
    fn a_table_is_read_by_name() {
        let mut table = MAGIC.to_vec();
        table.extend(VERSION.to_le_bytes());
        table.extend(2u32.to_le_bytes());
        for (name, value) in [("G.size", 256u64), ("G.goid", 88)] {
            let mut field = [0; NAME];
            field[..name.len()].copy_from_slice(name.as_bytes());
            table.extend(field);
            table.extend(value.to_le_bytes());
        }
        let read = |table: &[u8]| {
            Layout::read(&OwnMemory, table.as_ptr().addr() as u64)
        };
        let layout = read(&table).unwrap();
        assert_eq!(layout.get("G.goid"), Ok(88));
        assert_eq!(layout.get("G.go"), Err(Missing::Entry("G.go")));
        table[8] = 9;
        assert_eq!(read(&table).unwrap_err(), Missing::Version(9));
        table[0] = 0;
        assert_eq!(read(&table).unwrap_err(), Missing::Table);
        assert_eq!(Layout::read(&OwnMemory, 8).unwrap_err(), Missing::Table);
    }
}
