//! Names: listen, dial, getaddrinfo.

use super::{
    FOREVER, call, numbered,
    watch::{Watch, descriptors},
};
use crate::{
    block::net,
    os::{Errno, types::addrinfo},
    timers::Deadline,
};
use core::ffi::{CStr, c_char, c_int};

/// # Safety
/// `s`: promise 3.
unsafe fn text<'a>(s: *const c_char) -> Option<&'a CStr> {
    // SAFETY: promise 3: `s` is a C string, and is not null here.
    (!s.is_null()).then(|| unsafe { CStr::from_ptr(s) })
}

/// Makes a socket that listens at `address`, with SO_REUSEADDR, in non-blocking
/// mode and closed on exec.
///
/// `network` is "tcp", "tcp4", "tcp6" or "unix". `address` is "host:port",
/// "[::1]:port", ":port" for all addresses (of IPv6 and IPv4 with "tcp"), or a
/// path. A port is a decimal number up to 65535, or the name of a service.
///
/// Returns the descriptor; -EINVAL for an address without port or path, or with
/// a number that is no port; -EPROTONOSUPPORT for another network; -ENOENT if
/// there is no such host or service; a negative errno of bind(2) or listen(2);
/// -ENOMEM. May block, to look up a name.
///
/// # Safety
/// `network`, `address`: promise 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_listen(
    network: *const c_char,
    address: *const c_char,
) -> c_int {
    numbered(
        move || Watch::Orders(descriptors()),
        move || {
            // SAFETY: promise 3, of `network`.
            let network = unsafe { text(network) }.ok_or(Errno::EINVAL)?;
            // SAFETY: promise 3, of `address`.
            let address = unsafe { text(address) }.ok_or(Errno::EINVAL)?;
            net::listen(network, address)
        },
    )
}

/// Makes a socket that is connected to `address`, in blocking mode and closed
/// on exec. If a name has several addresses, they race as RFC 8305 says: IPv6
/// and IPv4 in turn, one more every quarter of a second or when one has failed.
///
/// `network` and `address` are as of gmp_listen; ":port" is on this machine.
///
/// Returns the descriptor; -EINVAL, -EPROTONOSUPPORT and -ENOENT as gmp_listen;
/// -EAGAIN if the name servers do not answer; the error of connect(2) on the
/// last address, such as -ECONNREFUSED; -ENOMEM. May block.
///
/// # Safety
/// `network`, `address`: promise 3.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_dial(
    network: *const c_char,
    address: *const c_char,
) -> c_int {
    // SAFETY: promise 3, of `network` and `address`.
    unsafe { gmp_dial_until(network, address, FOREVER) }
}

/// gmp_dial with a deadline. May block.
///
/// # Safety
/// As `gmp_dial`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_dial_until(
    network: *const c_char,
    address: *const c_char,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    numbered(
        move || Watch::Orders(descriptors()),
        move || {
            // SAFETY: promise 3, of `network`.
            let network = unsafe { text(network) }.ok_or(Errno::EINVAL)?;
            // SAFETY: promise 3, of `address`.
            let address = unsafe { text(address) }.ok_or(Errno::EINVAL)?;
            net::dial(network, address, deadline)
        },
    )
}

/// Looks up `node` and `service` with `hints`, as getaddrinfo(3), on a
/// goroutine of its own. Writes the list to `*res`: free it with freeaddrinfo.
///
/// Returns 0; -ENOENT if there is no such host or service; -EAGAIN if the name
/// servers do not answer; -EINVAL; -EAFNOSUPPORT; -ENOMEM; -EIO; -ENOSYS in a
/// statically linked program that does not use getaddrinfo itself. May block.
///
/// # Safety
/// `node`, `service`: promise 3. `hints`, `res`: promise 2.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    res: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: promises 2 and 3, of the arguments.
    unsafe { gmp_getaddrinfo_until(node, service, hints, res, FOREVER) }
}

/// gmp_getaddrinfo with a deadline. May block.
///
/// # Safety
/// As `gmp_getaddrinfo`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn gmp_getaddrinfo_until(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    res: *mut *mut addrinfo,
    deadline: i64,
) -> c_int {
    let deadline = Deadline::from_c(deadline);
    call(move || {
        // SAFETY: promise 2: `res` may be written.
        let res = unsafe { res.as_mut() }.ok_or(Errno::EINVAL)?;
        // SAFETY: promise 3, of `node`.
        let node = unsafe { text(node) };
        // SAFETY: promise 3, of `service`.
        let service = unsafe { text(service) };
        // SAFETY: promise 2: `hints` may be read.
        let hints = unsafe { hints.as_ref() };
        *res = net::resolve(node, service, hints, deadline)?.into_raw();
        Ok(())
    })
}
