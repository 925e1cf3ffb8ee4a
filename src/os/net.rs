//! Sockets, their addresses, and the names of hosts.

use super::raw::{self, NoCancel};
use super::{
    errno::{Errno, KeepErrno, Result},
    fd,
};
use core::{
    arch::asm,
    ffi::{CStr, c_char, c_int},
    mem,
    net::IpAddr,
    ptr,
};
use libc::{addrinfo, sockaddr, sockaddr_storage, socklen_t};

/// How many connections may wait to be accepted; `somaxconn` bounds it too.
const BACKLOG: c_int = 4096;

/// A socket's address.
#[derive(Clone, Copy)]
pub(crate) struct Address {
    storage: sockaddr_storage,
    pub len: socklen_t,
}

impl Address {
    /// A copy of `len` bytes at `addr`.
    ///
    /// # Safety
    /// `addr`: not null, `len` bytes that may be read.
    pub(crate) unsafe fn copy(addr: *const sockaddr, len: socklen_t) -> Self {
        // SAFETY: all zero is an address of no family.
        let mut storage = unsafe { mem::zeroed::<sockaddr_storage>() };
        let n = (len as usize).min(size_of::<sockaddr_storage>());
        let to = (&raw mut storage).cast::<u8>();
        // SAFETY: n bytes at most of the caller's `len`, and of the storage.
        unsafe { ptr::copy_nonoverlapping(addr.cast::<u8>(), to, n) };
        Self { storage, len: n as socklen_t }
    }

    /// An IPv4 or IPv6 address, from its text; None if `host` is a name.
    pub(crate) fn numeric(host: &CStr, port: u16) -> Option<Self> {
        match host.to_str().ok()?.parse::<IpAddr>().ok()? {
            IpAddr::V4(ip) => {
                // SAFETY: all zero is an address.
                let mut v4 = unsafe { mem::zeroed::<libc::sockaddr_in>() };
                v4.sin_family = libc::AF_INET as u16;
                v4.sin_port = port.to_be();
                v4.sin_addr.s_addr = u32::from_ne_bytes(ip.octets());
                Some(Self::of(&v4))
            }
            IpAddr::V6(ip) => {
                // SAFETY: all zero is an address.
                let mut v6 = unsafe { mem::zeroed::<libc::sockaddr_in6>() };
                v6.sin6_family = libc::AF_INET6 as u16;
                v6.sin6_port = port.to_be();
                v6.sin6_addr.s6_addr = ip.octets();
                Some(Self::of(&v6))
            }
        }
    }

    /// The address of a Unix socket at `path`.
    ///
    /// `ENAMETOOLONG`.
    pub(crate) fn unix(path: &CStr) -> Result<Self> {
        // SAFETY: all zero is an address.
        let mut un = unsafe { mem::zeroed::<libc::sockaddr_un>() };
        un.sun_family = libc::AF_UNIX as u16;
        let bytes = path.to_bytes();
        if bytes.len() >= un.sun_path.len() {
            return Err(Errno(libc::ENAMETOOLONG));
        }
        for (to, &from) in un.sun_path.iter_mut().zip(bytes) {
            *to = from as c_char;
        }
        Ok(Self::of(&un))
    }

    fn of<T>(addr: &T) -> Self {
        let len = size_of::<T>() as socklen_t;
        // SAFETY: a socket address of this size.
        unsafe { Self::copy(ptr::from_ref(addr).cast(), len) }
    }

    pub(crate) fn family(&self) -> c_int {
        c_int::from(self.storage.ss_family)
    }

    pub(crate) fn as_ptr(&self) -> *const sockaddr {
        (&raw const self.storage).cast()
    }
}

/// Whether `fd` is a socket that listens.
pub(crate) fn listens(fd: i32) -> bool {
    let _keep = KeepErrno::new();
    get(fd, libc::SO_ACCEPTCONN) == Some(1)
}

/// Whether `fd` is a TCP socket.
pub(crate) fn is_tcp(fd: i32) -> bool {
    let _keep = KeepErrno::new();
    get(fd, libc::SO_PROTOCOL) == Some(libc::IPPROTO_TCP)
}

/// How many bytes are there to read from a socket.
pub(crate) fn unread(fd: i32) -> usize {
    let _keep = KeepErrno::new();
    let mut n: c_int = 0;
    // SAFETY: room for an int.
    let r = unsafe { libc::ioctl(fd, libc::FIONREAD, &raw mut n) };
    if r == 0 { usize::try_from(n).unwrap_or(0) } else { 0 }
}

/// Whether close(2) of `fd` waits for a while until all is sent (`SO_LINGER`).
pub(crate) fn lingers(fd: i32) -> bool {
    let _keep = KeepErrno::new();
    let none = libc::linger { l_onoff: 0, l_linger: 0 };
    get_as(fd, libc::SO_LINGER, none)
        .is_some_and(|found| found.l_onoff != 0 && found.l_linger > 0)
}

fn get(fd: i32, name: c_int) -> Option<c_int> {
    get_as(fd, name, 0)
}

/// An option of a socket, of `value`'s type.
fn get_as<T: Copy>(fd: i32, name: c_int, mut value: T) -> Option<T> {
    let mut len = size_of::<T>() as socklen_t;
    let (at, room) = ((&raw mut value).cast(), &raw mut len);
    // SAFETY: `room` gives the size of the value, which consists of ints.
    let r = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, at, room) };
    (r == 0).then_some(value)
}

/// A new socket, closed on exec.
pub(crate) fn socket(family: c_int, kind: c_int) -> Result<i32> {
    let _keep = KeepErrno::new();
    // SAFETY: takes numbers.
    let r = unsafe { raw::socket(family, kind | libc::SOCK_CLOEXEC, 0) };
    Errno::check(r)
}

/// A new socket that listens at `addr`, in non-blocking mode. `both`: at an
/// IPv6 address, it takes IPv4 connections too.
pub(crate) fn listen(addr: &Address, both: bool) -> Result<i32> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
    let socket = socket(addr.family(), kind)?;
    let listening = listen_on(socket, addr, both);
    if listening.is_err() {
        let _closed = fd::close(socket);
    }
    listening.map(|()| socket)
}

fn listen_on(fd: i32, addr: &Address, both: bool) -> Result<()> {
    let _keep = KeepErrno::new();
    if addr.family() != libc::AF_UNIX {
        set(fd, libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    }
    if addr.family() == libc::AF_INET6 {
        let only = c_int::from(!both);
        set(fd, libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, only)?;
    }
    // SAFETY: an address of this length.
    Errno::check(unsafe { libc::bind(fd, addr.as_ptr(), addr.len) })?;
    // SAFETY: takes numbers.
    Errno::check(unsafe { libc::listen(fd, BACKLOG) }).map(drop)
}

fn set(fd: i32, level: c_int, name: c_int, value: c_int) -> Result<()> {
    let len = size_of::<c_int>() as socklen_t;
    let at = (&raw const value).cast();
    // SAFETY: an int.
    let r = unsafe { libc::setsockopt(fd, level, name, at, len) };
    Errno::check(r).map(drop)
}

type GetAddrInfo = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    *const addrinfo,
    *mut *mut addrinfo,
) -> c_int;
type FreeAddrInfo = unsafe extern "C" fn(*mut addrinfo);

/// getaddrinfo(3), which blocks. A statically linked program may have none:
/// glibc's needs the shared libraries there, and the linker warns of it in
/// every program. So the static library refers to it weakly (Makefile), and its
/// address is looked at here before the call.
///
/// `ENOENT` no such host or service; `EAGAIN` no answer; `ENOSYS`; `EINVAL`,
/// `EAFNOSUPPORT`, `ENOMEM`, `EIO`, and what a failed system call says.
///
/// # Safety
/// As getaddrinfo's.
pub(crate) unsafe fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut *mut addrinfo,
) -> Result<()> {
    let _keep = KeepErrno::new();
    let f: usize;
    // SAFETY: reads one word of the global offset table.
    unsafe {
        asm!(
            "mov {f}, qword ptr [rip + getaddrinfo@GOTPCREL]",
            f = out(reg) f,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    if f == 0 {
        return Err(Errno(libc::ENOSYS));
    }
    // SAFETY: the C library's function of this type.
    let f = unsafe { mem::transmute::<usize, GetAddrInfo>(f) };
    let _later = NoCancel::new();
    // SAFETY: the caller's strings, hints and room.
    let code = unsafe { f(node, service, hints, result) };
    Err(match code {
        0 => return Ok(()),
        libc::EAI_NONAME | libc::EAI_NODATA | libc::EAI_SERVICE => {
            Errno(libc::ENOENT)
        }
        libc::EAI_AGAIN => Errno::EAGAIN,
        libc::EAI_MEMORY => Errno::ENOMEM,
        libc::EAI_BADFLAGS | libc::EAI_SOCKTYPE => Errno::EINVAL,
        libc::EAI_FAMILY => Errno(libc::EAFNOSUPPORT),
        libc::EAI_SYSTEM => Errno::last(),
        _ => Errno(libc::EIO),
    })
}

/// freeaddrinfo(3).
///
/// # Safety
/// `list` is from [`getaddrinfo`], and freed once.
pub(crate) unsafe fn freeaddrinfo(list: *mut addrinfo) {
    let f: usize;
    // SAFETY: reads one word of the global offset table.
    unsafe {
        asm!(
            "mov {f}, qword ptr [rip + freeaddrinfo@GOTPCREL]",
            f = out(reg) f,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    if f != 0 {
        // SAFETY: the C library's function of this type.
        let f = unsafe { mem::transmute::<usize, FreeAddrInfo>(f) };
        // SAFETY: a list from getaddrinfo, the caller's.
        unsafe { f(list) };
    }
}
