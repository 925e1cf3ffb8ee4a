//! Names and connections: `gmp_getaddrinfo`, `gmp_listen`, `gmp_dial`.
//!
//! The C library resolves names, and blocks meanwhile. So a goroutine of its
//! own asks it, and the caller waits for that goroutine, with its deadline and
//! its cancel. If the caller leaves early, the goroutine goes on to the end of
//! the question, which both share ([`Question`]).
//!
//! To dial a name is RFC 8305's race: the addresses, IPv6 and IPv4 in turn,
//! with one more attempt each quarter of a second, or as soon as one has
//! failed. The first connection wins ([`Race`]).
//!
//! Rejected: a resolver of our own, which would not see what the host's C
//! library is configured to ask.

use super::{
    group::{self, Group},
    io,
    sema::{self, Sema},
    waitgroup::{self, WaitGroup},
};
use crate::{
    base::{
        alloc::{Text, try_box, try_list, try_push},
        lock::Rank,
        sync::{AtomicUsize, Ordering::*},
    },
    netpoll,
    os::{
        Errno, Result,
        clock::nanotime,
        fd,
        net::{self, Address},
        types::addrinfo,
    },
    sched::{
        cancel,
        lock::Lock,
        newproc::{NewG, newproc1},
    },
    timers::Deadline,
};
use core::{
    cell::UnsafeCell,
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
};
use std::{boxed::Box, vec::Vec};

/// RFC 8305's Connection Attempt Delay.
const ATTEMPT_DELAY: i64 = 250_000_000;

/// Hints that ask for nothing.
const NO_HINTS: addrinfo = addrinfo {
    ai_flags: 0,
    ai_family: libc::AF_UNSPEC,
    ai_socktype: 0,
    ai_protocol: 0,
    ai_addrlen: 0,
    ai_addr: ptr::null_mut(),
    ai_canonname: ptr::null_mut(),
    ai_next: ptr::null_mut(),
};

/// A list from getaddrinfo, freed when dropped.
pub(crate) struct Addresses(*mut addrinfo);

impl Addresses {
    /// Gives the list to the host.
    pub(crate) fn into_raw(self) -> *mut addrinfo {
        let list = self.0;
        core::mem::forget(self);
        list
    }
}

impl Drop for Addresses {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: from getaddrinfo.
            unsafe { net::freeaddrinfo(self.0) };
        }
    }
}

/// A question to the resolver, shared by the caller and the goroutine that
/// asks.
struct Question {
    refs: AtomicUsize,
    done: WaitGroup,
    node: Option<Text>,
    service: Option<Text>,
    hints: Option<addrinfo>,
    /// The goroutine's until `done`, then the caller's.
    answer: UnsafeCell<Option<Result<Addresses>>>,
}

impl Question {
    /// Copies a question, with a reference each for the caller and the
    /// goroutine.
    ///
    /// Errors: `ENOMEM`.
    fn new(
        node: Option<&CStr>,
        service: Option<&CStr>,
        hints: Option<&addrinfo>,
    ) -> Result<Box<Self>> {
        let done = WaitGroup::new();
        waitgroup::add(&done, 1)?;
        try_box(Self {
            refs: AtomicUsize::new(2),
            done,
            node: node.map(copied).transpose()?,
            service: service.map(copied).transpose()?,
            hints: hints.map(|h| addrinfo {
                ai_addrlen: 0,
                ai_addr: ptr::null_mut(),
                ai_canonname: ptr::null_mut(),
                ai_next: ptr::null_mut(),
                ..*h
            }),
            answer: UnsafeCell::new(None),
        })
        .ok_or(Errno::ENOMEM)
    }

    /// Gives a reference up; the last one frees the question.
    ///
    /// # Safety
    /// `this`: with a reference of the caller's, which is not used any more.
    unsafe fn unref(this: *const Self) {
        // SAFETY: alive while the caller has its reference.
        // AcqRel: all uses come before the free.
        if unsafe { &*this }.refs.fetch_sub(1, AcqRel) == 1 {
            // SAFETY: from the Box in resolve, and this was the last reference.
            drop(unsafe { Box::from_raw(this.cast_mut()) });
        }
    }
}

/// getaddrinfo(3), as a call that waits.
///
/// Errors: those of `net::getaddrinfo`; `ETIMEDOUT`, `ECANCELED`, `EDEADLK`.
pub(crate) fn resolve(
    node: Option<&CStr>,
    service: Option<&CStr>,
    hints: Option<&addrinfo>,
    deadline: Deadline,
) -> Result<Addresses> {
    cancel::check()?;
    if deadline.has_passed(nanotime()) {
        return resolve_at_once(node, service, hints);
    }
    let question = Box::into_raw(Question::new(node, service, hints)?);
    if let Err(e) = newproc1(&NewG::new(ask, question.cast())) {
        // SAFETY: from a Box, and no goroutine has got it.
        drop(unsafe { Box::from_raw(question) });
        return Err(e);
    }
    // SAFETY: alive until this call gives its reference up.
    let q = unsafe { &*question };
    let answer = waitgroup::wait(&q.done, deadline).and_then(|()| {
        // SAFETY: done, so the answer is the caller's.
        unsafe { (*q.answer.get()).take() }.unwrap_or(Err(Errno(libc::EIO)))
    });
    // SAFETY: this call's reference, last used above.
    unsafe { Question::unref(question) };
    answer
}

/// The try of a call whose deadline is in the past: answers what needs no name
/// server.
///
/// Errors: as [`resolve`]; `ETIMEDOUT` for names.
fn resolve_at_once(
    node: Option<&CStr>,
    service: Option<&CStr>,
    hints: Option<&addrinfo>,
) -> Result<Addresses> {
    // The flags that getaddrinfo(3) takes where there are no hints.
    let flags = libc::AI_V4MAPPED | libc::AI_ADDRCONFIG;
    let hints = hints.map_or((flags, NO_HINTS), |h| (h.ai_flags, *h));
    let hints = addrinfo {
        ai_flags: hints.0 | libc::AI_NUMERICHOST | libc::AI_NUMERICSERV,
        ai_family: hints.1.ai_family,
        ai_socktype: hints.1.ai_socktype,
        ai_protocol: hints.1.ai_protocol,
        ..NO_HINTS
    };
    let text = |s: Option<&CStr>| s.map_or(ptr::null(), CStr::as_ptr);
    let mut list = ptr::null_mut();
    let (node, service) = (text(node), text(service));
    // SAFETY: strings or null, hints, room for a pointer.
    let found = unsafe {
        net::getaddrinfo(node, service, &raw const hints, &raw mut list)
    };
    match found {
        Ok(()) => Ok(Addresses(list)),
        Err(Errno(libc::ENOENT)) => Err(Errno(libc::ETIMEDOUT)),
        Err(e) => Err(e),
    }
}

fn copied(text: &CStr) -> Result<Text> {
    Text::copy(text.to_bytes()).ok_or(Errno::ENOMEM)
}

/// The goroutine that asks. It blocks, and sysmon gives its P to others.
unsafe extern "C" fn ask(question: *mut c_void) {
    let question = question.cast::<Question>();
    // SAFETY: alive until this goroutine gives its reference up.
    let q = unsafe { &*question };
    let text = |s: &Option<Text>| {
        let s = s.as_ref().map(Text::as_c_str);
        s.map_or(ptr::null::<c_char>(), CStr::as_ptr)
    };
    let hints = q.hints.as_ref().map_or(ptr::null(), ptr::from_ref);
    let mut list = ptr::null_mut();
    let (node, service) = (text(&q.node), text(&q.service));
    // SAFETY: strings or null, hints or null, room for a pointer.
    let found =
        unsafe { net::getaddrinfo(node, service, hints, &raw mut list) };
    // SAFETY: the goroutine's until `done`, which comes next.
    unsafe { *q.answer.get() = Some(found.map(|()| Addresses(list))) };
    // Question::new has counted 1.
    let _done = waitgroup::add(&q.done, -1);
    // SAFETY: the goroutine's reference, last used above.
    unsafe { Question::unref(question) };
}

/// A network and an address, parsed.
enum Target {
    Unix(Address),
    /// Host, service, and which family.
    Tcp(Text, Text, c_int),
}

/// Parses `network` and `address`.
///
/// Errors: `EINVAL`, `ENAMETOOLONG`; `EPROTONOSUPPORT` for other networks;
/// `ENOMEM`.
fn target(network: &CStr, address: &CStr) -> Result<Target> {
    let family = match network.to_bytes() {
        b"unix" if address.is_empty() => return Err(Errno::EINVAL),
        b"unix" => return Ok(Target::Unix(Address::unix(address)?)),
        b"tcp" => libc::AF_UNSPEC,
        b"tcp4" => libc::AF_INET,
        b"tcp6" => libc::AF_INET6,
        _ => return Err(Errno(libc::EPROTONOSUPPORT)),
    };
    let text = address.to_bytes();
    let colon = text.iter().rposition(|&b| b == b':').ok_or(Errno::EINVAL)?;
    let (host, port) = (&text[..colon], &text[colon + 1..]);
    let host = match host {
        [b'[', inner @ .., b']'] => inner,
        // An IPv6 address needs its brackets.
        plain if plain.contains(&b':') => return Err(Errno::EINVAL),
        plain => plain,
    };
    if !is_port(port) {
        return Err(Errno::EINVAL);
    }
    let text = |s: &[u8]| Text::copy(s).ok_or(Errno::ENOMEM);
    Ok(Target::Tcp(text(host)?, text(port)?, family))
}

/// Whether `port` is a decimal number up to 65535, or may be the name of a
/// service. getaddrinfo(3) itself takes signs and blanks before a number, and
/// cuts the number off at 16 bits.
fn is_port(port: &[u8]) -> bool {
    if port.iter().all(u8::is_ascii_digit) {
        let digits = port.iter().map(|&b| u32::from(b - b'0'));
        let value =
            digits.fold(0, |n: u32, d| n.saturating_mul(10).saturating_add(d));
        return !port.is_empty() && value <= u32::from(u16::MAX);
    }
    let hex = matches!(port, [b'0', b'x' | b'X', ..]);
    port[0].is_ascii_alphanumeric()
        && !hex
        && port.iter().all(u8::is_ascii_graphic)
}

/// The addresses of a target, in the order to try them. `passive`: to listen
/// at.
///
/// Errors: `EAFNOSUPPORT` for a numeric address of another family; those of
/// [`resolve`].
fn addresses(
    host: &CStr,
    service: &CStr,
    family: c_int,
    passive: bool,
    deadline: Deadline,
) -> Result<Vec<Address>> {
    let port = service.to_str().ok().and_then(|s| s.parse::<u16>().ok());
    let mut all = match port {
        Some(port) => numeric(host, port, passive)?,
        None => Vec::new(),
    };
    if all.is_empty() {
        return named(host, service, family, passive, deadline);
    }
    all.retain(|a| family == libc::AF_UNSPEC || a.family() == family);
    if all.is_empty() { Err(Errno(libc::EAFNOSUPPORT)) } else { Ok(all) }
}

/// The addresses that need no resolver; none if `host` is a name.
fn numeric(host: &CStr, port: u16, passive: bool) -> Result<Vec<Address>> {
    let hosts: &[&CStr] = match (host.is_empty(), passive) {
        (false, _) => &[host],
        (true, true) => &[c"::", c"0.0.0.0"],
        (true, false) => &[c"::1", c"127.0.0.1"],
    };
    let known = hosts.iter().filter_map(|h| Address::numeric(h, port));
    try_list(known).ok_or(Errno::ENOMEM)
}

/// The addresses that the resolver knows.
fn named(
    host: &CStr,
    service: &CStr,
    family: c_int,
    passive: bool,
    deadline: Deadline,
) -> Result<Vec<Address>> {
    let hints = addrinfo {
        ai_flags: if passive { libc::AI_PASSIVE } else { libc::AI_ADDRCONFIG },
        ai_family: family,
        ai_socktype: libc::SOCK_STREAM,
        ..NO_HINTS
    };
    let node = (!host.is_empty()).then_some(host);
    let found = resolve(node, Some(service), Some(&hints), deadline)?;
    let mut all = Vec::new();
    let mut at = found.0;
    // SAFETY: null, or in the list of `found`.
    while let Some(info) = unsafe { at.as_ref() } {
        // SAFETY: an address of this length, from getaddrinfo.
        let next = unsafe { Address::copy(info.ai_addr, info.ai_addrlen) };
        try_push(&mut all, next).ok_or(Errno::ENOMEM)?;
        at = info.ai_next;
    }
    interlaced(&all).ok_or(Errno::ENOMEM)
}

/// The addresses with the families in turn, beginning with that of the first
/// address (RFC 8305, 4). None where memory is out.
fn interlaced(all: &[Address]) -> Option<Vec<Address>> {
    let first = all.first().map(Address::family);
    let of_first = |a: &&Address| Some(a.family()) == first;
    let mut one = all.iter().filter(of_first);
    let mut other = all.iter().filter(|a| !of_first(a));
    let mut mixed = Vec::new();
    loop {
        let (a, b) = (one.next(), other.next());
        if a.is_none() && b.is_none() {
            return Some(mixed);
        }
        for next in a.into_iter().chain(b) {
            try_push(&mut mixed, *next)?;
        }
    }
}

/// A socket that listens.
///
/// Errors: as [`target`] and [`resolve`]; those of bind(2) and listen(2).
pub(crate) fn listen(network: &CStr, address: &CStr) -> Result<i32> {
    cancel::check()?;
    // Made now: later, clients may have taken the last descriptors.
    netpoll::start()?;
    let (host, service, family) = match target(network, address)? {
        Target::Unix(address) => return net::listen(&address, false),
        Target::Tcp(host, service, family) => (host, service, family),
    };
    let (host, service) = (host.as_c_str(), service.as_c_str());
    let all = addresses(host, service, family, true, Deadline::NEVER)?;
    let both = family == libc::AF_UNSPEC && host.is_empty();
    let mut why = Errno(libc::ENOENT);
    for address in &all {
        match net::listen(address, both) {
            Ok(fd) => return Ok(fd),
            Err(e) => why = e,
        }
        // Where there is no IPv6, the IPv4 address comes next.
        if why != Errno(libc::EAFNOSUPPORT) && why != Errno(libc::EADDRNOTAVAIL)
        {
            break;
        }
    }
    Err(why)
}

/// A socket that is connected.
///
/// Errors: as [`target`] and [`resolve`]; those of the last address tried;
/// `ETIMEDOUT`, `ECANCELED`.
pub(crate) fn dial(
    network: &CStr,
    address: &CStr,
    deadline: Deadline,
) -> Result<i32> {
    cancel::check()?;
    let (host, service, family) = match target(network, address)? {
        Target::Unix(address) => return connected(&address, deadline),
        Target::Tcp(host, service, family) => (host, service, family),
    };
    let (host, service) = (host.as_c_str(), service.as_c_str());
    let all = addresses(host, service, family, false, deadline)?;
    match &all[..] {
        [] => Err(Errno(libc::ENOENT)),
        [only] => connected(only, deadline),
        // No time for a race: one try of each.
        several if deadline.has_passed(nanotime()) => {
            one_by_one(several, deadline)
        }
        several => race(several, deadline),
    }
}

/// Tries each address; the error of the last one.
fn one_by_one(all: &[Address], deadline: Deadline) -> Result<i32> {
    let mut why = Errno(libc::ETIMEDOUT);
    for address in all {
        match connected(address, deadline) {
            Err(Errno(libc::ECANCELED)) => return Err(Errno(libc::ECANCELED)),
            Err(e) => why = e,
            done => return done,
        }
    }
    Err(why)
}

/// A new socket, connected to `address`, in blocking mode.
fn connected(address: &Address, deadline: Deadline) -> Result<i32> {
    let socket = net::socket(address.family(), libc::SOCK_STREAM)?;
    let (at, len) = (address.as_ptr(), address.len);
    // SAFETY: an address of this length.
    match unsafe { io::connect(socket, at, len, deadline) } {
        Ok(()) => Ok(socket),
        Err(e) => {
            let _closed = io::close(socket);
            Err(e)
        }
    }
}

/// A race of attempts, on the stack of the dialler, which waits for all of
/// them.
struct Race {
    deadline: Deadline,
    /// A token for each attempt that has ended.
    ended: Sema,
    state: Lock<Standing>,
}

/// How a race stands.
struct Standing {
    winner: Option<i32>,
    /// The last failure.
    why: Errno,
}

/// One attempt of a race.
struct Attempt<'a> {
    race: &'a Race,
    address: &'a Address,
}

/// Dials all addresses in a race.
fn race(all: &[Address], deadline: Deadline) -> Result<i32> {
    let standing = Standing { winner: None, why: Errno(libc::ETIMEDOUT) };
    let race = Race {
        deadline,
        ended: Sema::new(0),
        state: Lock::new(Rank::Dial, standing),
    };
    let attempts = all.iter().map(|address| Attempt { race: &race, address });
    let attempts = try_list(attempts).ok_or(Errno::ENOMEM)?;
    let gr = group::make();
    // SAFETY: null, or a group that was just made.
    let group = unsafe { gr.as_ref() }.ok_or(Errno::ENOMEM)?;
    let result = run(&race, group, &attempts);
    // SAFETY: made above. The free cancels all attempts, and waits for them.
    unsafe { group::free(gr) };
    let winner = race.state.lock().winner;
    match (winner, result) {
        (Some(fd), Ok(())) => Ok(fd),
        (Some(fd), Err(e)) => {
            let _closed = io::close(fd);
            Err(e)
        }
        (None, Ok(())) => Err(race.state.lock().why),
        (None, Err(e)) => Err(e),
    }
}

/// Starts one attempt after another, until one has won or all have failed.
///
/// Errors: `ETIMEDOUT`, `ECANCELED`; what hinders a start.
fn run(race: &Race, group: &Group, attempts: &[Attempt<'_>]) -> Result<()> {
    let (mut begun, mut ended) = (0, 0);
    while ended < attempts.len() {
        if let Some(next) = attempts.get(begun) {
            let arg = ptr::from_ref(next).cast_mut().cast();
            group::go(group, attempt, arg, 0)?;
            begun += 1;
        }
        let more = begun < attempts.len();
        let pause = Deadline::after(ATTEMPT_DELAY);
        let until = if more { pause.min(race.deadline) } else { race.deadline };
        match sema::acquire(&race.ended, until) {
            Ok(()) => ended += 1,
            Err(Errno(libc::ETIMEDOUT))
                if !race.deadline.has_passed(nanotime()) => {}
            Err(e) => return Err(e),
        }
        if race.state.lock().winner.is_some() {
            return Ok(());
        }
    }
    Ok(())
}

/// The goroutine of an attempt.
unsafe extern "C" fn attempt(arg: *mut c_void) -> c_int {
    // SAFETY: an Attempt of `race`, which waits for this goroutine.
    let Attempt { race, address } = unsafe { &*arg.cast::<Attempt<'_>>() };
    let socket = connected(address, race.deadline);
    let mut state = race.state.lock();
    let late = match (socket, state.winner) {
        (Ok(fd), None) => {
            state.winner = Some(fd);
            None
        }
        (Ok(fd), Some(_)) => Some(fd),
        (Err(e), _) => {
            state.why = e;
            None
        }
    };
    drop(state);
    if let Some(fd) = late {
        let _closed = fd::close(fd);
    }
    // There are fewer attempts than tokens fit in.
    let _ended = sema::release(&race.ended);
    0
}
