//! Names of frames for people: with functions and lines where memory is there
//! for it, and without the library's own frames on the way into a wait.
//!
//! What the library does below one of its functions is nothing that a host can
//! change, and differs from call to call. So a stack is shown, and compared,
//! from the function of `gmp.h` on that the host has called. The library's own
//! goroutines, and errors of its own, are shown whole.

use crate::{
    hash::State,
    memory::Memory,
    modules::Modules,
    names,
    symbols::{Function, Place, Symbolizer},
    walk::Frame,
};
use std::{collections::HashMap, rc::Rc};

/// What a frame is for a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The host's, or another library's.
    Host,
    /// A function of `gmp.h` that begins here.
    Entry(u64),
    /// The library's own.
    Ours,
    /// It ends the process, or throws an exception.
    Throws,
    /// The first frame of a goroutine.
    First,
}

/// A frame, and what is there.
pub type Named = (Frame, Rc<Place>);

/// Finds names.
pub struct Places<'a, M, O> {
    memory: &'a M,
    modules: &'a O,
    symbols: Option<Symbolizer<&'a M, &'a O>>,
    /// Asked before each name: whether memory is short, so that names must do.
    short: &'a dyn Fn() -> bool,
    /// Where the library is, unless it is in the program.
    library: (u64, u64),
    classes: HashMap<u64, Class, State>,
    plain: HashMap<u64, Rc<Place>, State>,
}

impl<'a, M: Memory, O: Modules> Places<'a, M, O> {
    /// `table` is an address in the library. `short` says at any time whether
    /// memory is short; then places have names and no lines.
    pub fn new(
        memory: &'a M,
        modules: &'a O,
        table: u64,
        short: &'a dyn Fn() -> bool,
    ) -> Self {
        let symbols = Some(Symbolizer::new(memory, modules));
        let mut library = (0, 0);
        if let Some(module) = modules.find(table) {
            let mut room = [0; 512];
            let path = modules.path(&module, &mut room);
            let is_named = |name: &[u8]| {
                let base = name.rsplit(|&c| c == b'/').next();
                base.is_some_and(|base| base.starts_with(b"libgmprt."))
            };
            if path.is_some_and(|path| is_named(path.name)) {
                library = (module.start, module.end);
            }
        }
        let (classes, plain) = (HashMap::default(), HashMap::default());
        Self { memory, modules, symbols, short, library, classes, plain }
    }

    /// What is at an address that [`Frame::lookup`] gives.
    pub fn place(&mut self, lookup: u64) -> Rc<Place> {
        if self.symbols.is_some() && (self.short)() {
            self.symbols = None;
        }
        match &mut self.symbols {
            Some(symbols) => symbols.place(lookup),
            None => self.plain(lookup),
        }
    }

    /// A name without debug information.
    fn plain(&mut self, lookup: u64) -> Rc<Place> {
        if let Some(known) = self.plain.get(&lookup) {
            return Rc::clone(known);
        }
        let place = Rc::new(self.find_plain(lookup));
        self.plain.insert(lookup, Rc::clone(&place));
        place
    }

    fn find_plain(&self, lookup: u64) -> Place {
        let mut room = [0; 512];
        let name = names::name(self.memory, self.modules, lookup, &mut room);
        let text = |bytes: &[u8]| -> Option<Rc<str>> {
            let some = !bytes.is_empty();
            some.then(|| String::from_utf8_lossy(bytes).into())
        };
        let function = text(name.function).map(|function| Function {
            name: Some(function),
            offset: Some(name.offset),
            ..Function::default()
        });
        Place {
            object: text(name.object),
            at: name.offset,
            functions: function.into_iter().collect(),
            note: None,
        }
    }

    /// The frames that are shown of a stack. `all` of them: the library's too.
    pub fn shown(&mut self, frames: &[Frame], all: bool) -> Vec<Named> {
        let (frames, cause) =
            if all { (frames, true) } else { self.cut(frames) };
        let mut named = Vec::new();
        for frame in frames {
            let lookup = frame.lookup();
            let plain = !cause && self.class(lookup) != Class::Host;
            let place =
                if plain { self.plain(lookup) } else { self.place(lookup) };
            named.push((*frame, place));
        }
        named
    }

    /// What stacks are compared by: the frames that are shown.
    pub fn key(&mut self, frames: &[Frame]) -> Vec<u64> {
        let (frames, _) = self.cut(frames);
        let key = frames.iter().map(|frame| match self.class(frame.lookup()) {
            // Wherever it waits.
            Class::Entry(start) => start,
            _ => frame.pc,
        });
        key.collect()
    }

    /// The frames from the function on that the host has called; or, with true,
    /// from the cause of an error on.
    fn cut<'f>(&mut self, frames: &'f [Frame]) -> (&'f [Frame], bool) {
        let mut frames = frames;
        if let [rest @ .., first] = frames
            && self.class(first.lookup()) == Class::First
        {
            frames = rest;
        }
        let (mut entry, mut throws) = (None, None);
        for (i, frame) in frames.iter().enumerate() {
            match self.class(frame.lookup()) {
                Class::Host if !frame.signal => break,
                Class::Entry(_) => entry = Some(i),
                Class::Throws => throws = Some(i),
                _ => {}
            }
        }
        match (throws, entry) {
            (Some(throws), _) => (&frames[throws + 1..], true),
            (None, Some(entry)) => (&frames[entry..], false),
            (None, None) => (frames, false),
        }
    }

    fn class(&mut self, lookup: u64) -> Class {
        if let Some(known) = self.classes.get(&lookup) {
            return *known;
        }
        let mut room = [0; 512];
        let name = names::name(self.memory, self.modules, lookup, &mut room);
        let (lo, hi) = self.library;
        let class = match class_of(name.function) {
            Class::Entry(_) => Class::Entry(lookup - name.offset),
            Class::Host if (lo..hi).contains(&lookup) => Class::Ours,
            class => class,
        };
        self.classes.insert(lookup, class);
        class
    }
}

/// The class of a function, by its name for the linker.
fn class_of(name: &[u8]) -> Class {
    const SWITCHES: [&[u8]; 8] = [
        b"gswitch",
        b"mcall",
        b"gogo",
        b"systemstack",
        b"callhost",
        b"calllast",
        b"callon",
        b"g0call",
    ];
    const THROW: &[u8] = b"_ZN5gmprt4base5throw";
    let has = |part: &[u8]| name.windows(part.len()).any(|at| at == part);
    let begins = |parts: &[&[u8]]| parts.iter().any(|it| name.starts_with(it));
    if name == b"gostart" {
        Class::First
    } else if begins(&[THROW, b"_Unwind_", b"__cxa_throw", b"__cxa_rethrow"]) {
        Class::Throws
    } else if begins(&[b"gmp_"]) {
        Class::Entry(0)
    } else if begins(&[b"gmprt_"])
        || SWITCHES.contains(&name)
        || begins(&[b"_ZN4core", b"_ZN3std", b"_ZN5alloc"])
        || begins(&[b"_ZN", b"_R"]) && has(b"gmprt")
    {
        Class::Ours
    } else {
        Class::Host
    }
}

/// The function that the place is in, of which others may be a part.
#[must_use]
pub fn function(place: &Place) -> Option<&str> {
    place.functions.last()?.name.as_deref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_told_apart() {
        let class = |name: &str| class_of(name.as_bytes());
        assert_eq!(class("gmp_chan_recv"), Class::Entry(0));
        assert_eq!(class("wait_forever"), Class::Host);
        assert_eq!(class("_ZN4gmpx3getEv"), Class::Host);
        assert_eq!(
            class("_ZN5gmprt5sched4park17h0123456789abcdefE"),
            Class::Ours
        );
        assert_eq!(class("_ZN61_$LT$gmprt..base..lock..Guard"), Class::Ours);
        assert_eq!(
            class("_ZN5gmprt4base5throw5fatal17h0123456789abcdefE"),
            Class::Throws
        );
        assert_eq!(class("gostart"), Class::First);
    }
}
