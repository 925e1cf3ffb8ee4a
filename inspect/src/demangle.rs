//! Names of C++ and Rust functions as their source has them, in handlers too:
//! `ns::Worker::run` for `_ZN2ns6Worker3runEv`.
//!
//! A report needs the name, and neither parameters nor the type that a function
//! returns. So of the Itanium ABI's grammar only expressions are left out, and
//! Rust's newer names. Such a name stays as it is.
//!
//! A mangled name refers back to its own parts by numbers. A part is remembered
//! by its place in the mangled text, and read again where it is referred to: so
//! nothing is allocated.
//!
//! # Invariants
//! 1. Reading ends: each part lies before the reference to it, and the number
//!    of steps is bounded. So is the stack, which is measured at each step down.
//!
//! # Rejected
//! - The crate cpp_demangle: 200 KiB of code, and a hundred tables of functions
//!   that the loader relocates at every start, for a name in a rare report.
//! - `__cxa_demangle` of the host's C++ library: it allocates.

use crate::demangle_types as types;

/// Writes the name as the source has it to `to`, and returns its length. Uses
/// so many bytes of `stack`, or little more. `None` if it is no name of C++ or
/// Rust, or one that is not understood.
#[inline(never)]
pub fn demangle(mangled: &[u8], to: &mut [u8], stack: usize) -> Option<usize> {
    let body = mangled.strip_prefix(b"_Z")?;
    let mut names = Names::new(body, to, stack);
    names.encoding()?;
    let full = names.full;
    let len = names.len;
    let rest = names.rest();
    // Behind the name: the parameters, or nothing; then a compiler's suffix.
    let known = rest.is_empty() || names.can_follow();
    if full || !known {
        return None;
    }
    let len = without_hash(&mut to[..len]);
    Some(len)
}

/// Rust's older names end with a hash, and have their signs spelled out.
fn without_hash(name: &mut [u8]) -> usize {
    const HASH: usize = 3 + 16;
    let at = name.len().saturating_sub(HASH);
    let is_hash = |hash: &[u8]| {
        hash.strip_prefix(b"::h").is_some_and(|digits| {
            digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit)
        })
    };
    if !is_hash(&name[at..]) {
        return name.len();
    }
    spelled_out(name, at)
}

/// Replaces `$LT$` and the like, and `..`.
fn spelled_out(name: &mut [u8], len: usize) -> usize {
    // A name and its sign, one after the other.
    const SIGNS: &[u8] = b"SP@BP*RF&LT<GT>LP(RP)C,";
    let (mut from, mut to) = (0, 0);
    while from < len {
        let rest = &name[from..len];
        let mut sign = rest[0];
        let mut used = 1;
        if rest.starts_with(b"..") {
            (name[to], sign, used) = (b':', b':', 2);
            to += 1;
        } else if rest.starts_with(b"_$") && (to == 0 || name[to - 1] == b':') {
            from += 1;
            continue;
        } else if rest[0] == b'$'
            && let Some(end) = rest[1..].iter().position(|&b| b == b'$')
        {
            let word = &rest[1..=end];
            let known = (0..SIGNS.len()).find_map(|i| {
                let sign = SIGNS[i..].strip_prefix(word)?.first()?;
                let whole = !word.is_empty() && sign.is_ascii_punctuation();
                whole.then_some(*sign)
            });
            let digits = word.strip_prefix(b"u").unwrap_or_default();
            let code = str::from_utf8(digits).ok();
            let code = code.and_then(|c| u8::from_str_radix(c, 16).ok());
            if let Some(byte) = known.or(code) {
                (sign, used) = (byte, end + 2);
            }
        }
        name[to] = sign;
        to += 1;
        from += used;
    }
    to
}

/// A part that may be referred to: where it begins and ends, and how it is
/// read.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The begin of a nested name.
    Prefix,
    /// A name without the template's arguments.
    Plain,
    Type,
}

/// So many parts are remembered; a name that refers to a later one stays as it
/// is.
const PARTS: usize = 96;
const STEPS: u32 = 4000;

pub(crate) struct Names<'a> {
    text: &'a [u8],
    pub(crate) at: usize,
    out: &'a mut [u8],
    pub(crate) len: usize,
    full: bool,
    parts: [Part; PARTS],
    count: usize,
    /// Above 0 nothing is written.
    pub(crate) quiet: u32,
    /// Above 0 a part is read again, and no part is new.
    again: u32,
    /// Below this address no step goes deeper.
    bottom: usize,
    steps: u32,
}

impl<'a> Names<'a> {
    fn new(text: &'a [u8], out: &'a mut [u8], stack: usize) -> Self {
        let none = Part { from: 0, to: 0, kind: Kind::Type };
        Self {
            text,
            at: 0,
            out,
            len: 0,
            full: text.len() > usize::from(u16::MAX),
            parts: [none; PARTS],
            count: 0,
            quiet: 0,
            again: 0,
            bottom: (&raw const none).addr().saturating_sub(stack),
            steps: 0,
        }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The mangled text between two places.
    pub(crate) fn written(&self, from: usize, to: usize) -> &'a [u8] {
        self.text.get(from..to).unwrap_or_default()
    }

    pub(crate) fn peek(&self) -> u8 {
        self.rest().first().copied().unwrap_or(0)
    }

    pub(crate) fn next(&mut self) -> Option<u8> {
        let byte = *self.rest().first()?;
        self.at += 1;
        Some(byte)
    }

    pub(crate) fn eat(&mut self, what: &[u8]) -> bool {
        let there = self.rest().starts_with(what);
        self.at += if there { what.len() } else { 0 };
        there
    }

    pub(crate) fn put(&mut self, text: &[u8]) {
        if self.quiet > 0 {
            return;
        }
        match self.out.get_mut(self.len..self.len + text.len()) {
            Some(place) => {
                place.copy_from_slice(text);
                self.len += text.len();
            }
            None => self.full = true,
        }
    }

    pub(crate) fn last(&self) -> u8 {
        self.out[..self.len].last().copied().unwrap_or(0)
    }

    /// Reads one level deeper.
    pub(crate) fn deeper(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<()>,
    ) -> Option<()> {
        let here = 0_u8;
        self.steps += 1;
        if self.steps > STEPS || (&raw const here).addr() < self.bottom {
            return None;
        }
        read(self)
    }

    pub(crate) fn quietly(
        &mut self,
        read: impl FnOnce(&mut Self) -> Option<()>,
    ) -> Option<()> {
        self.quiet += 1;
        let done = read(self);
        self.quiet -= 1;
        done
    }

    /// What has been read from `from` on may be referred to.
    pub(crate) fn remember(&mut self, from: usize, kind: Kind) {
        if self.again > 0 {
            return;
        }
        let to = self.at as u16;
        if let Some(place) = self.parts.get_mut(self.count) {
            *place = Part { from: from as u16, to, kind };
        }
        self.count += 1;
    }

    pub(crate) fn number(&mut self) -> Option<usize> {
        let digits =
            self.rest().iter().take_while(|b| b.is_ascii_digit()).count();
        let text = str::from_utf8(&self.rest()[..digits]).ok()?;
        self.at += digits;
        text.parse().ok()
    }

    /// `<encoding>`, up to its parameters.
    fn encoding(&mut self) -> Option<()> {
        self.deeper(|it| {
            if !it.eat(b"T") {
                return it.name().map(|_| ());
            }
            // Functions that correct `this`, or a result, and call another.
            match it.next()? {
                b'h' => it.offset(1)?,
                b'v' => it.offset(2)?,
                b'c' => {
                    for _ in 0..2 {
                        let count = if it.next()? == b'h' { 1 } else { 2 };
                        it.offset(count)?;
                    }
                }
                _ => return None,
            }
            it.encoding()
        })
    }

    fn offset(&mut self, numbers: u32) -> Option<()> {
        for _ in 0..numbers {
            self.eat(b"n");
            self.number()?;
            self.eat(b"_").then_some(())?;
        }
        Some(())
    }

    /// Whether what is here can be parameters, or a suffix as `.cold`.
    fn can_follow(&self) -> bool {
        let known = |b: &u8| b.is_ascii_alphanumeric() || b"._$".contains(b);
        self.rest().iter().all(known) && self.peek() != b'E'
    }

    /// `<name>`; whether a template's arguments end it.
    pub(crate) fn name(&mut self) -> Option<bool> {
        let from = self.at;
        match self.peek() {
            b'N' => return self.nested(),
            b'Z' => return self.local().map(|()| false),
            b'S' if !self.rest().starts_with(b"St") => self.reference()?,
            _ => {
                self.unscoped()?;
                if self.peek() == b'I' {
                    self.remember(from, Kind::Plain);
                }
            }
        }
        let arguments = self.peek() == b'I';
        if arguments {
            self.arguments()?;
        }
        Some(arguments)
    }

    pub(crate) fn unscoped(&mut self) -> Option<()> {
        if self.eat(b"St") {
            self.put(b"std::");
        }
        self.unqualified()
    }

    /// `Z <encoding> E <entity>`: something inside a function.
    fn local(&mut self) -> Option<()> {
        self.deeper(|it| {
            it.next()?;
            it.encoding()?;
            // The function's parameters, which are parts too.
            it.quietly(|it| {
                while it.peek() != b'E' {
                    types::any(it)?;
                }
                Some(())
            })?;
            it.eat(b"E").then_some(())?;
            it.put(b"::");
            if it.eat(b"s") {
                it.put(b"string literal");
                it.discriminator();
                return Some(());
            }
            if it.eat(b"d") {
                _ = it.number();
                it.eat(b"_").then_some(())?;
            }
            it.name()?;
            it.discriminator();
            Some(())
        })
    }

    fn discriminator(&mut self) {
        if self.eat(b"__") {
            _ = self.number();
            self.eat(b"_");
        } else if self.peek() == b'_' {
            self.next();
            _ = self.number();
        }
    }

    /// `N … E`.
    fn nested(&mut self) -> Option<bool> {
        self.next()?;
        while self.eat(b"r") || self.eat(b"V") || self.eat(b"K") {}
        _ = self.eat(b"R") || self.eat(b"O");
        let from = self.at;
        let mut arguments = false;
        self.deeper(|it| {
            while !it.eat(b"E") {
                let first = it.at == from;
                // A reference is no new part, but `std::name` is one.
                let known =
                    it.peek() == b'S' && first && !it.rest().starts_with(b"St");
                arguments = it.component(first)?;
                // What the whole name is, its user knows.
                if it.peek() != b'E' && !known {
                    it.remember(from, Kind::Prefix);
                }
            }
            Some(())
        })?;
        Some(arguments)
    }

    /// A part of a nested name; whether it is a template's arguments.
    fn component(&mut self, first: bool) -> Option<bool> {
        match self.peek() {
            b'I' => {
                self.arguments()?;
                return Some(true);
            }
            b'S' if first && self.rest().starts_with(b"St") => {
                self.unscoped()?
            }
            b'S' if first => self.reference()?,
            b'T' if first => types::any_parameter(self)?,
            _ => {
                if !first {
                    self.put(b"::");
                }
                self.unqualified()?;
            }
        }
        self.eat(b"M");
        Some(false)
    }

    /// A name without scope.
    fn unqualified(&mut self) -> Option<()> {
        self.eat(b"L");
        match self.peek() {
            b'0'..=b'9' => self.source_name()?,
            b'C' | b'D' => {
                let destructor = self.next()? == b'D';
                if !destructor {
                    self.eat(b"I");
                }
                self.next().filter(u8::is_ascii_digit)?;
                if destructor {
                    self.put(b"~");
                }
                self.class()?;
            }
            b'U' => self.unnamed()?,
            _ => types::operator(self)?,
        }
        while self.eat(b"B") {
            self.put(b"[abi:");
            self.source_name()?;
            self.put(b"]");
        }
        Some(())
    }

    pub(crate) fn source_name(&mut self) -> Option<()> {
        let len = self.number()?;
        let name = self.rest().get(..len).filter(|name| !name.is_empty())?;
        self.at += len;
        if name.starts_with(b"_GLOBAL__N") {
            self.put(b"(anonymous namespace)");
        } else {
            self.put(name);
        }
        Some(())
    }

    /// The name of the class that a constructor is of: what has been written,
    /// up to the template's arguments, and back to the scope before.
    fn class(&mut self) -> Option<()> {
        if self.quiet > 0 {
            return Some(());
        }
        let written = &self.out[..self.len];
        let written = written.strip_suffix(b"~").unwrap_or(written);
        let written = written.strip_suffix(b"::")?;
        let written = types::without_arguments(written);
        let at = written.iter().rposition(|&b| b == b':').map_or(0, |i| i + 1);
        for i in at..written.len() {
            let byte = self.out[i];
            self.put(&[byte]);
        }
        Some(())
    }

    /// `Ut_` and `Ul…E_`: types without names.
    fn unnamed(&mut self) -> Option<()> {
        self.next()?;
        let lambda = match self.next()? {
            b't' => false,
            b'l' => true,
            _ => return None,
        };
        if lambda {
            self.quietly(|it| {
                while !it.eat(b"E") {
                    types::any(it)?;
                }
                Some(())
            })?;
        }
        let number = self.number().map_or(1, |n| n.saturating_add(2));
        self.eat(b"_").then_some(())?;
        let what: &[u8] =
            if lambda { b"{lambda()#" } else { b"{unnamed type#" };
        self.put(what);
        types::put_number(self, number);
        self.put(b"}");
        Some(())
    }

    /// `I … E`.
    pub(crate) fn arguments(&mut self) -> Option<()> {
        self.next()?;
        // An operator's name, and its arguments.
        self.put(if self.last() == b'<' { b" <" } else { b"<" });
        self.deeper(|it| {
            let mut first = true;
            while !it.eat(b"E") {
                types::argument(it, &mut first)?;
            }
            Some(())
        })?;
        self.put(if self.last() == b'>' { b" >" } else { b">" });
        Some(())
    }

    /// `S_`, `S0_`, and the short names of the standard library.
    pub(crate) fn reference(&mut self) -> Option<()> {
        self.next()?;
        let short: &[u8] = match self.peek() {
            b'a' => b"std::allocator",
            b'b' => b"std::basic_string",
            b's' => b"std::string",
            b'i' => b"std::istream",
            b'o' => b"std::ostream",
            b'd' => b"std::iostream",
            _ => b"",
        };
        if !short.is_empty() {
            self.next()?;
            self.put(short);
            return Some(());
        }
        let mut number = None;
        while !self.eat(b"_") {
            let digit = char::from(self.next()?).to_digit(36)? as usize;
            let more = number.unwrap_or(0_usize).checked_mul(36)?;
            number = Some(more.checked_add(digit)?);
        }
        let number = number.map_or(Some(0), |n| n.checked_add(1))?;
        let part = *self.parts[..self.count.min(PARTS)].get(number)?;
        self.read_again(part)
    }

    fn read_again(&mut self, part: Part) -> Option<()> {
        let (at, text) = (self.at, self.text);
        self.again += 1;
        self.at = usize::from(part.from);
        self.text = &text[..usize::from(part.to)];
        let done = self.deeper(|it| match part.kind {
            Kind::Type => types::any(it),
            Kind::Plain => it.unscoped(),
            Kind::Prefix => {
                let from = it.at;
                while !it.rest().is_empty() {
                    let first = it.at == from;
                    it.component(first)?;
                }
                Some(())
            }
        });
        self.at = at;
        self.text = text;
        self.again -= 1;
        done
    }
}
