//! Names of frames for people: with functions and lines where memory is there
//! for it, and without the library's own frames on the way into a wait.
//!
//! What the library does below one of its functions is nothing that a host can
//! change, and differs from call to call. So of each call, the innermost one
//! and those around callbacks, the function of `gmp.h` that the host has called
//! is shown, and compared, and nothing below it. The library's own
//! goroutines, and errors of its own, are shown whole.
//!
//! A function of `gmp.h` may end with a jump into the library, and has no frame
//! then. The host's frame tells which it was: by the instruction that has
//! called it.

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
    /// The host's, or another library's; and where its function begins, or 0.
    Host(u64),
    /// A function of `gmp.h` that begins here.
    Entry(u64),
    /// The library's own.
    Ours,
    /// Of Rust's libraries, which the library and a host in Rust have in them.
    Rust,
    /// It ends the process, or throws an exception.
    Throws,
    /// The first frame of a goroutine.
    First,
}

/// A frame, and what is there.
pub type Named = (Frame, Rc<Place>);

/// By what a stack is compared with others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Key {
    /// The places or functions of its frames.
    pub frames: Vec<u64>,
    /// A hash of the places in these functions; 0 if `frames` has places.
    pub spot: u64,
}

/// How stacks are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// By the places where they go on.
    Places,
    /// By their functions only.
    Functions,
}

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
    /// Where functions of `gmp.h` begin, by the host's pc behind the call; or
    /// 0.
    called: HashMap<u64, u64, State>,
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
        Self {
            memory,
            modules,
            symbols,
            short,
            library,
            classes: HashMap::default(),
            called: HashMap::default(),
            plain: HashMap::default(),
        }
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
            if all { (frames.to_vec(), true) } else { self.cut(frames) };
        let mut named = Vec::new();
        for frame in frames {
            let lookup = frame.lookup();
            let plain = match self.class(lookup) {
                Class::Entry(_) => true,
                Class::Ours | Class::First => !cause,
                _ => false,
            };
            let place =
                if plain { self.plain(lookup) } else { self.place(lookup) };
            named.push((frame, place));
        }
        named
    }

    /// What stacks are compared by: the frames that are shown.
    pub fn key(&mut self, frames: &[Frame], by: By) -> Key {
        let (frames, _) = self.cut(frames);
        let mut key = Key { frames: Vec::new(), spot: 0 };
        for frame in frames {
            let at = match self.class(frame.lookup()) {
                // Wherever it waits.
                Class::Entry(start) => start,
                Class::Host(start) if by == By::Functions && start != 0 => {
                    key.spot = key.spot.rotate_left(5) ^ (frame.pc - start);
                    start
                }
                _ => frame.pc,
            };
            key.frames.push(at);
        }
        key
    }

    /// A stack without what is of no interest: of each call of the library's
    /// only the function that the host has called. With true, an error's from
    /// its cause on.
    fn cut(&mut self, frames: &[Frame]) -> (Vec<Frame>, bool) {
        let mut frames = frames;
        if let [rest @ .., first] = frames
            && self.class(first.lookup()) == Class::First
        {
            frames = rest;
        }
        let mut shown = Vec::with_capacity(frames.len());
        let mut cause = false;
        let mut rest = frames;
        while !rest.is_empty() {
            let host = |frame: &Frame| {
                !frame.signal
                    && matches!(self.class(frame.lookup()), Class::Host(_))
            };
            let len = rest.iter().position(host).unwrap_or(rest.len());
            let (call, callers) = rest.split_at(len);
            let throws = |f: &Frame| self.class(f.lookup()) == Class::Throws;
            let innermost = shown.is_empty() && !cause;
            if innermost && let Some(at) = call.iter().rposition(throws) {
                cause = true;
                shown.extend_from_slice(&call[at + 1..]);
            } else {
                self.call(call, callers.first(), innermost, &mut shown);
            }
            shown.extend(callers.first());
            rest = callers.get(1..).unwrap_or_default();
        }
        (shown, cause)
    }

    /// Adds what is shown of frames that are not the host's, up to the caller
    /// of the outermost.
    fn call(
        &mut self,
        frames: &[Frame],
        caller: Option<&Frame>,
        innermost: bool,
        shown: &mut Vec<Frame>,
    ) {
        let mut entry = None;
        let mut ours = false;
        for frame in frames {
            match self.class(frame.lookup()) {
                Class::Entry(_) => entry = Some(*frame),
                Class::Ours => ours = true,
                _ => {}
            }
        }
        // One that the library has stopped in where it begins or ends.
        let own = caller.is_none() && frames.first().is_some_and(|f| f.exact);
        if entry.is_none() && (!ours || innermost && own) {
            shown.extend(frames);
            return;
        }
        shown.extend(frames.iter().filter(|frame| frame.signal));
        shown.extend(entry.or_else(|| self.entry(caller?)));
    }

    /// The frame of the function of `gmp.h` that this frame has called.
    fn entry(&mut self, caller: &Frame) -> Option<Frame> {
        let known = self.called.get(&caller.pc).copied();
        let pc = known.unwrap_or_else(|| {
            let pc = self.called_by(caller).unwrap_or(0);
            self.called.insert(caller.pc, pc);
            pc
        });
        let exact = true;
        (pc != 0).then_some(Frame { pc, exact, ..Frame::default() })
    }

    /// The function of `gmp.h` that the instruction before this frame's pc has
    /// called, directly or by the procedure linkage table.
    fn called_by(&mut self, caller: &Frame) -> Option<u64> {
        const CALL: u8 = 0xe8;
        const CALL_INDIRECT: [u8; 2] = [0xff, 0x15];
        let mut code = [0; 6];
        let begin = caller.pc.wrapping_sub(code.len() as u64);
        if caller.exact || !self.memory.read(begin, &mut code) {
            return None;
        }
        let [a, b, rest @ ..] = code;
        let there =
            caller.pc.wrapping_add_signed(i32::from_le_bytes(rest).into());
        let mut to = match (a, b) {
            (_, CALL) => there,
            (a, b) if [a, b] == CALL_INDIRECT => self.memory.u64(there)?,
            _ => return None,
        };
        if let Some(behind) = self.behind_stub(to) {
            to = behind;
        }
        (self.class(to) == Class::Entry(to)).then_some(to)
    }

    /// Where the code at this address jumps to at once, by a word in memory.
    fn behind_stub(&self, stub: u64) -> Option<u64> {
        const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
        const BND: u8 = 0xf2;
        let mut code = [0; 11];
        if !self.memory.read(stub, &mut code) {
            return None;
        }
        let rest = code.strip_prefix(&ENDBR64).unwrap_or(&code);
        let rest = rest.strip_prefix(&[BND]).unwrap_or(rest);
        let jump = rest.strip_prefix(&[0xff, 0x25])?;
        let by = i32::from_le_bytes(*jump.first_chunk()?);
        let end = (code.len() - jump.len() + 4) as u64;
        let next = stub.wrapping_add(end);
        self.memory.u64(next.wrapping_add_signed(by.into()))
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
            Class::Host(_) | Class::Rust if (lo..hi).contains(&lookup) => {
                Class::Ours
            }
            Class::Host(_) if !name.function.is_empty() => {
                Class::Host(lookup - name.offset)
            }
            class => class,
        };
        self.classes.insert(lookup, class);
        class
    }
}

/// The class of a function, by its name for the linker.
fn class_of(name: &[u8]) -> Class {
    const SWITCHES: [&[u8]; 9] = [
        b"gswitch",
        b"mcall",
        b"gogo",
        b"systemstack",
        b"callbase",
        b"callhost",
        b"calllast",
        b"callon",
        b"g0call",
    ];
    const THROW: &[u8] = b"_ZN5gmprt4base5throw";
    const PANIC: &[u8] = b"gmprt_panic";
    let has = |part: &[u8]| name.windows(part.len()).any(|at| at == part);
    let begins = |parts: &[&[u8]]| parts.iter().any(|it| name.starts_with(it));
    if name == b"gostart" {
        Class::First
    } else if begins(&[
        THROW,
        PANIC,
        b"_Unwind_",
        b"__cxa_throw",
        b"__cxa_rethrow",
    ]) {
        Class::Throws
    } else if begins(&[b"gmp_"]) {
        Class::Entry(0)
    } else if begins(&[b"gmprt_"])
        || SWITCHES.contains(&name)
        || begins(&[b"_ZN", b"_R"]) && has(b"gmprt")
    {
        Class::Ours
    } else if begins(&[b"_ZN4core", b"_ZN3std", b"_ZN5alloc"]) {
        Class::Rust
    } else {
        Class::Host(0)
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
        assert_eq!(class("wait_forever"), Class::Host(0));
        assert_eq!(class("_ZN4gmpx3getEv"), Class::Host(0));
        assert_eq!(
            class("_ZN5gmprt5sched4park17h0123456789abcdefE"),
            Class::Ours
        );
        assert_eq!(class("_ZN61_$LT$gmprt..base..lock..Guard"), Class::Ours);
        assert_eq!(
            class("_ZN5gmprt4base5throw5fatal17h0123456789abcdefE"),
            Class::Throws
        );
        assert_eq!(class("_ZN4core3ops8function"), Class::Rust);
        assert_eq!(class("gostart"), Class::First);
    }
}
