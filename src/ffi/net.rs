//! Names, listening and dialling.

use super::call;
use crate::{
    block::net,
    boot,
    os::{Errno, Result, types::addrinfo},
    timers::FOREVER,
};
use core::ffi::{CStr, c_char, c_int};

/// # Safety
/// `s`: null, or a C string.
unsafe fn text<'a>(s: *const c_char) -> Option<&'a CStr> {
    // SAFETY: the caller's promise.
    (!s.is_null()).then(|| unsafe { CStr::from_ptr(s) })
}

/// A descriptor, or a negative errno.
fn descriptor(f: impl FnOnce() -> Result<c_int>) -> c_int {
    match boot::gate().and_then(|()| f()) {
        Ok(fd) => fd,
        Err(e) => e.neg(),
    }
}

/// Makes a socket that listens, with SO_REUSEADDR, in non-blocking mode and
/// closed on exec.
///
/// `network`: "tcp", "tcp4", "tcp6" or "unix". `address`: "host:port",
/// "[::1]:port", ":port" for all addresses (with "tcp", of IPv6 and IPv4), or
/// a path. A port is a decimal number up to 65535 or the name of a service.
///
/// Returns the descriptor; -EINVAL for null, or an address without a port or
/// path, or with a number that is no port;
/// -EPROTONOSUPPORT for another network; -ENOENT for no such host or service;
/// a negative errno of bind(2) or listen(2); -ENOMEM; -ECANCELED. Parks the
/// goroutine while a name is looked up; blocks a host thread.
///
/// # Safety
/// `network`, `address`: null, or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_listen(
    network: *const c_char,
    address: *const c_char,
) -> c_int {
    descriptor(|| {
        // SAFETY: the caller's promise.
        let network = unsafe { text(network) }.ok_or(Errno::EINVAL)?;
        // SAFETY: likewise.
        let address = unsafe { text(address) }.ok_or(Errno::EINVAL)?;
        net::listen(network, address)
    })
}

/// Makes a socket that is connected, in blocking mode and closed on exec.
/// Where a name has several addresses, they race as RFC 8305 says: IPv6 and
/// IPv4 in turn, one more each quarter of a second or once one has failed.
///
/// `network`, `address`: as of gmp_listen; ":port" is this machine's.
///
/// Returns the descriptor; -EINVAL, -EPROTONOSUPPORT, -ENOENT as gmp_listen;
/// -EAGAIN if the name servers do not answer; what connect(2) said of the last
/// address, such as -ECONNREFUSED; -ENOMEM; -ECANCELED; -EDEADLK from inside an
/// unlockf.
/// Parks the goroutine; blocks a host thread.
///
/// # Safety
/// `network`, `address`: null, or C strings.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_dial(
    network: *const c_char,
    address: *const c_char,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { gmp_dial_until(network, address, FOREVER) }
}

/// gmp_dial until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for none):
/// then -ETIMEDOUT.
///
/// # Safety
/// As gmp_dial.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_dial_until(
    network: *const c_char,
    address: *const c_char,
    deadline: i64,
) -> c_int {
    descriptor(|| {
        // SAFETY: the caller's promise.
        let network = unsafe { text(network) }.ok_or(Errno::EINVAL)?;
        // SAFETY: likewise.
        let address = unsafe { text(address) }.ok_or(Errno::EINVAL)?;
        net::dial(network, address, deadline)
    })
}

/// getaddrinfo(3) that stalls nobody else: it runs on a goroutine of its own.
///
/// `res`: a list that freeaddrinfo frees.
///
/// Returns 0; -ENOENT for no such host or service; -EAGAIN if the name servers
/// do not answer; -EINVAL, also for null `res`; -EAFNOSUPPORT; -ENOMEM; -EIO;
/// -ENOSYS in a statically linked program that does not use getaddrinfo
/// itself; -ECANCELED; -EDEADLK from inside an unlockf. Parks the goroutine;
/// blocks a host thread.
///
/// # Safety
/// As getaddrinfo.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    res: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: the caller's promise.
    unsafe { gmp_getaddrinfo_until(node, service, hints, res, FOREVER) }
}

/// gmp_getaddrinfo until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
/// none): then -ETIMEDOUT.
///
/// # Safety
/// As getaddrinfo.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_getaddrinfo_until(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    res: *mut *mut addrinfo,
    deadline: i64,
) -> c_int {
    call(|| {
        // SAFETY: the caller's promise.
        let res = unsafe { res.as_mut() }.ok_or(Errno::EINVAL)?;
        // SAFETY: likewise.
        let node = unsafe { text(node) };
        // SAFETY: likewise.
        let service = unsafe { text(service) };
        // SAFETY: likewise.
        let hints = unsafe { hints.as_ref() };
        *res = net::resolve(node, service, hints, deadline)?.into_raw();
        Ok(())
    })
}
