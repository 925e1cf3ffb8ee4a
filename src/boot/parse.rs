//! Parsers for the values of settings, and the search for a name that was
//! misspelt. Nothing here allocates or knows a setting.

use crate::os::signame::NAMES;
use core::ops::RangeInclusive;

/// Longer names are not compared.
const MAX_NAME: usize = 40;

/// The units of a size with their shifts. `K`, `KB` and `KiB` are all 1024
/// bytes, and so on. Small letters are allowed.
const UNITS: [(&str, u32); 13] = [
    ("B", 0),
    ("K", 10),
    ("KB", 10),
    ("KiB", 10),
    ("M", 20),
    ("MB", 20),
    ("MiB", 20),
    ("G", 30),
    ("GB", 30),
    ("GiB", 30),
    ("T", 40),
    ("TB", 40),
    ("TiB", 40),
];

/// Parses a number of bytes: `65536`, `64K`, `1MiB`, `1G`. None if it does not
/// parse or does not fit a word.
pub(super) fn size(text: &str) -> Option<usize> {
    let is_digit = |c: char| c.is_ascii_digit();
    let unit = text.trim_start_matches(is_digit);
    let digits = &text[..text.len() - unit.len()];
    let shift = match unit {
        "" => 0,
        _ => UNITS.iter().find(|(u, _)| u.eq_ignore_ascii_case(unit))?.1,
    };
    digits.parse::<usize>().ok()?.checked_mul(1 << shift)
}

/// Parses yes or no, in the words that programs use for it.
pub(super) fn truth(text: &str) -> Option<bool> {
    let is =
        |words: &[&str]| words.iter().any(|w| w.eq_ignore_ascii_case(text));
    if is(&["1", "yes", "true", "on"]) {
        Some(true)
    } else if is(&["0", "no", "false", "off"]) {
        Some(false)
    } else {
        None
    }
}

/// Parses a number within `range`, without sign or blanks.
pub(super) fn number<T>(text: &str, range: RangeInclusive<T>) -> Option<T>
where
    T: core::str::FromStr + PartialOrd,
{
    let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    text.parse().ok().filter(|n| plain && range.contains(n))
}

/// The signals of real time that the C library leaves to programs.
const REAL_TIME: RangeInclusive<u32> = 34..=64;

/// Parses a signal that a user may send: its name, with or without SIG, or its
/// number. No signal of a fault, and none that cannot be caught.
pub(super) fn signal(text: &str) -> Option<u32> {
    let number = number::<u32>(text, 1..=64);
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let known = |it: &&(&str, i32)| {
        it.0 == name || number.is_some_and(|n| it.1.unsigned_abs() == n)
    };
    match NAMES.iter().find(known) {
        Some(it) => Some(it.1.unsigned_abs()),
        None => number.filter(|n| REAL_TIME.contains(n)),
    }
}

/// The name that is most like `wrong`; the first of several.
pub(super) fn nearest<'a>(
    wrong: &str,
    names: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    names.min_by_key(|name| distance(wrong.as_bytes(), name.as_bytes()))
}

/// The edit distance of two names, in bytes, without regard to case.
fn distance(a: &[u8], b: &[u8]) -> usize {
    if a.len() > MAX_NAME || b.len() > MAX_NAME {
        return a.len().max(b.len());
    }
    // The distances of the part of `a` so far to each prefix of `b`.
    let mut row = [0; MAX_NAME + 1];
    for (j, d) in row.iter_mut().enumerate() {
        *d = j;
    }
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let same = x.eq_ignore_ascii_case(y);
            let changed = diagonal + usize::from(!same);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_suffixes() {
        let good = [
            ("65536", 65536),
            ("0", 0),
            ("7B", 7),
            ("64k", 64 << 10),
            ("64K", 64 << 10),
            ("64KB", 64 << 10),
            ("64KiB", 64 << 10),
            ("64kib", 64 << 10),
            ("2M", 2 << 20),
            ("2MiB", 2 << 20),
            ("1G", 1 << 30),
            ("1gb", 1 << 30),
            ("3TiB", 3 << 40),
        ];
        for (text, bytes) in good {
            assert_eq!(size(text), Some(bytes), "{text:?}");
        }
        let bad = [
            "",
            "K",
            "KiB",
            "-1",
            "+1",
            "64KK",
            "64Ki",
            "0x10",
            " 1",
            "1 K",
            "1.5G",
            "99999999999999M",
            "18446744073709551616",
            "17179869184G",
        ];
        for text in bad {
            assert_eq!(size(text), None, "{text:?}");
        }
    }

    #[test]
    fn yes_and_no_have_many_names() {
        for text in ["1", "yes", "true", "on", "YES", "True"] {
            assert_eq!(truth(text), Some(true), "{text:?}");
        }
        for text in ["0", "no", "false", "off", "No", "OFF"] {
            assert_eq!(truth(text), Some(false), "{text:?}");
        }
        for text in ["", "2", "y", "maybe", " 1", "00"] {
            assert_eq!(truth(text), None, "{text:?}");
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["QUIT", "SIGQUIT", "3"] {
            assert_eq!(signal(text), Some(3), "{text:?}");
        }
        assert_eq!(signal("USR1"), Some(10));
        assert_eq!(signal("40"), Some(40));
        for text in ["KILL", "9", "SEGV", "11", "32", "65", "0", "", "quit?"] {
            assert_eq!(signal(text), None, "{text:?}");
        }
    }

    #[test]
    fn numbers_are_plain_and_within_their_range() {
        assert_eq!(number("2", 2..=9), Some(2));
        assert_eq!(number("9", 2..=9), Some(9));
        for text in ["1", "10", "", "+3", " 3", "3 ", "0x3", "three"] {
            assert_eq!(number(text, 2..=9), None, "{text:?}");
        }
    }

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["GMP_STACKSIZE", "GMP_MAXPROCS", "GMP_MAXTHREADS"];
        let near = |wrong| nearest(wrong, names.into_iter());
        assert_eq!(near("GMP_STACK_SIZE"), Some("GMP_STACKSIZE"));
        assert_eq!(near("GMP_MAXPROC"), Some("GMP_MAXPROCS"));
        assert_eq!(near("gmp_maxthread"), Some("GMP_MAXTHREADS"));
        assert_eq!(nearest("x", [].into_iter()), None);
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(&[b'a'; 100], b"abc"), 100);
    }
}
