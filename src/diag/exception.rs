//! Words for an exception that no frame of the host's catches, and what happens
//! to a goroutine where one arrives (`unwinding` has the places).
//!
//! An unwinder searches for a handler frame by frame, before it unwinds
//! anything (Itanium C++ ABI, level 1). So a goroutine and its exception are
//! reported while the search goes on to the end of the stack. Then the language
//! treats the exception as uncaught, in C++ by `std::terminate`, with the whole
//! stack still there.
//!
//! A forced unwinding of another's (`pthread_exit`, `pthread_cancel`) would
//! leave the goroutine's stack and end a thread that other goroutines run on,
//! so it is fatal. But a Python interpreter that ends does this to every thread
//! that asks for its lock. So with an interpreter in the process the goroutine
//! stops for ever instead.

use super::{dump, report};
use crate::{
    base::{
        print::SigWriter,
        throw::{fatal_args, report_begins},
    },
    os::{dl, thread},
    sched::{current::on_goroutine, python},
    trace,
};
use core::{
    ffi::{CStr, c_char, c_int, c_void},
    fmt::{self, Write as _},
    mem, ptr,
};

/// `_URC_CONTINUE_UNWIND`: not handled here.
pub(super) const CONTINUE_UNWIND: c_int = 8;
/// `_URC_FATAL_PHASE1_ERROR`: the search for a handler ends here.
const FATAL_PHASE1_ERROR: c_int = 3;
/// `_UA_SEARCH_PHASE`, `_UA_FORCE_UNWIND`.
pub(super) const SEARCH_PHASE: c_int = 1;
pub(super) const FORCE_UNWIND: c_int = 8;

/// Exception classes: the upper bytes name the language, and the lowest byte
/// tells whether the exception refers to another one's object.
const GNU_CXX: u64 = u64::from_be_bytes(*b"GNUCC++\0");
const LLVM_CXX: u64 = u64::from_be_bytes(*b"CLNGC++\0");
const DEPENDENT: u64 = 1;

/// Bytes from the `__cxa_exception` header's first field, the `type_info`, to
/// the unwinder's header, which comes last in it.
const TYPE_BEFORE: usize = 80;
/// Bytes of the whole header, which lies before the thrown object.
const HEADER: usize = 112;

/// A forced unwinding of another's is at a frame of a call of the library. On a
/// goroutine it ends here; a host thread ends, which continues.
pub(super) fn stops_here() {
    if on_goroutine().is_some() {
        ends_thread();
    }
}

/// A forced unwinding is about to leave a goroutine's stack.
pub(super) fn ends_thread() -> ! {
    if let Some(gp) = dump::failing() {
        dump::told(gp);
    }
    if python::has_python() {
        // An interpreter that ends does this to threads that ask for its
        // lock. The goroutine stops here, and the process ends anyhow.
        thread::stop_for_ever();
    }
    fatal_args(format_args!("{Who}pthread_exit on a goroutine"));
}

/// No frame of a goroutine catches an exception; in the search.
///
/// # Safety
/// `exception` is the unwinder's header of an exception of this class.
pub(super) unsafe fn uncaught(class: u64, exception: *const c_void) {
    if let Some(gp) = dump::failing() {
        dump::told(gp);
    }
    // SAFETY: the caller promises.
    let thrown = unsafe { Thrown::new(class, exception) };
    report(format_args!("{Who}uncaught {thrown}"));
}

/// An exception leaves a deferred function or a destructor of a key. The frames
/// further down have called no function that may throw, and their handlers are
/// not for this exception. So the search ends, and the language treats the
/// exception as uncaught.
///
/// # Safety
/// `exception` is the unwinder's header of an exception of this class.
pub(super) unsafe fn left_deferred(
    class: u64,
    exception: *const c_void,
) -> c_int {
    // SAFETY: the caller promises.
    let thrown = unsafe { Thrown::new(class, exception) };
    report(format_args!(
        "{Who}uncaught {thrown} left a deferred function or a destructor"
    ));
    FATAL_PHASE1_ERROR
}

/// Does what a fatal error does before the end, and returns: the language ends
/// the process.
fn report(what: fmt::Arguments<'_>) {
    report_begins();
    let mut w = SigWriter::stderr();
    // A SigWriter reports no errors.
    let _ = writeln!(w, "fatal error: {what}");
    drop(w);
    report::print_goroutines(ptr::null());
    trace::at_fatal();
}

/// Prints `goroutine 7 "name": ` on a goroutine.
pub(super) struct Who;

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(gp) = dump::failing_goroutine() else { return Ok(()) };
        write!(f, "goroutine {}", gp.goid.get())?;
        dump::name(f, gp)?;
        f.write_str(": ")
    }
}

/// A thrown exception.
pub(super) enum Thrown {
    /// A C++ object of the type with this mangled name.
    Cxx(*const c_char),
    /// Another language's.
    Foreign(u64),
}

impl Thrown {
    /// # Safety
    /// `exception` is the unwinder's header of an exception of this class.
    pub(super) unsafe fn new(class: u64, exception: *const c_void) -> Self {
        let vendor = class & !0xff;
        if vendor != GNU_CXX && vendor != LLVM_CXX {
            return Self::Foreign(class);
        }
        let mut field = exception.wrapping_byte_sub(TYPE_BEFORE).cast();
        if vendor == GNU_CXX && class & 0xff == DEPENDENT {
            // In a dependent exception the field points to the first one's
            // object.
            // SAFETY: within the header of an exception of this class.
            let object: *const c_void = unsafe { ptr::read(field) };
            field = object.wrapping_byte_sub(HEADER).cast();
        }
        // SAFETY: the type_info in the header.
        let type_info = unsafe { ptr::read(field) }.cast::<*const c_char>();
        // SAFETY: a type_info has its vtable first and then its name.
        Self::Cxx(unsafe { ptr::read(type_info.wrapping_add(1)) })
    }
}

impl fmt::Display for Thrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Cxx(mangled) => {
                f.write_str("exception of type ")?;
                dump::text(f, demangled(mangled).addr())
            }
            Self::Foreign(class) => {
                f.write_str("foreign exception of class \"")?;
                for byte in class.to_be_bytes() {
                    write!(f, "{}", byte.escape_ascii())?;
                }
                f.write_str("\"")
            }
        }
    }
}

/// The demangled name, if the C++ library is there; never freed, since the
/// process ends.
fn demangled(mangled: *const c_char) -> *const c_char {
    type Demangle = unsafe extern "C" fn(
        *const c_char,
        *mut c_char,
        *mut usize,
        *mut c_int,
    ) -> *const c_char;
    // A leading star is no part of the name.
    // SAFETY: a type_info's name is a C string.
    let name = unsafe { CStr::from_ptr(mangled) };
    let mangled = match name.to_bytes().first() {
        Some(b'*') => mangled.wrapping_add(1),
        _ => mangled,
    };
    let f = dl::find(c"__cxa_demangle");
    if f.is_null() {
        return mangled;
    }
    // SAFETY: the C++ ABI's function has this type.
    let f = unsafe { mem::transmute::<*mut c_void, Demangle>(f) };
    let mut status = 0;
    // SAFETY: null asks for a new buffer.
    let plain = unsafe {
        f(mangled, ptr::null_mut(), ptr::null_mut(), &raw mut status)
    };
    if plain.is_null() { mangled } else { plain }
}
