/* gmp.h - goroutines for C, C++ and everything that calls C.
 *
 * Generated from src/ffi of gmprt by `make header`; do not edit.
 *
 * Conventions:
 * - An int result is 0 or a negative errno; byte counts are ssize_t, the count
 *   or a negative errno. errno itself is never how an error is reported, but
 *   each goroutine keeps its own.
 * - Misuse that can be seen is an error: NULL where it is not allowed is
 *   -EINVAL.
 * - A deadline is absolute nanoseconds on the clock of gmp_now(); GMP_FOREVER
 *   never comes; one in the past tries once. The functions that take one end
 *   in _until and return -ETIMEDOUT.
 * - A call that can block returns -ECANCELED once its goroutine was cancelled
 *   (gmp_cancel), at once and from then on; the few that do not say so.
 * - A call that cannot block never moves its caller to another thread. No call
 *   is async-signal-safe but gmp_sigmask.
 * - Any thread may call anything. On a thread that the runtime did not create,
 *   a blocking call blocks that thread only.
 * - The first call waits until the runtime is up, at most ten seconds. Its
 *   thread's signal mask is the one that goroutines begin with.
 * - A goroutine keeps errno, its C++ exceptions, its rounding mode and its
 *   signal mask (gmp_sigmask, which pthread_sigmask stands for below) over a
 *   park. What else belongs to a thread it does not: recursive mutexes, the
 *   locale, thread-local variables. docs/hazards.md lists them, with the way
 *   out; GMPDEBUG=migrate=1 finds them.
 * - No call is a point of cancellation: pthread_cancel of a thread that is in
 *   one takes effect once it is back. A thread that has waited in one is of
 *   the deferred type afterwards (pthread_setcanceltype). Threads of the
 *   library are not cancelled at all, nor is a goroutine with a host thread
 *   that joins it.
 * - Want of memory never ends the process: -ENOMEM, or NULL from what makes
 *   something. The first call of a host's thread that waits, or that sets a
 *   value of a key, makes a record of the thread, and so may return -ENOMEM
 *   where its description does not say so; the next one tries again. A thread
 *   that cannot have that calls gmp_sleep(1) before.
 * - A goroutine whose stack finds no memory when it first runs waits until
 *   another one leaves its own, or there is memory again.
 * - In the child of a fork the goroutine that forked is the only one. Calls
 *   return -ENOTSUP, those that return nothing do nothing; when its function
 *   returns, it runs what gmp_defer put off and destructors of keys, and its
 *   thread ends, and with the last thread the process, with status 0.
 *
 * Beside GNU MP, whose header bears the same name, include it as
 * <gmprt/gmp.h> (pkg-config gmprt-beside).
 */
#ifndef GMPRT_GMP_H
#define GMPRT_GMP_H

#include <errno.h>
#ifndef GMP_KEEP_SIGMASK
#include <signal.h>
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Of <sys/socket.h>, <sys/uio.h> and <netdb.h>, which would bring in such
 * names as send. A socklen_t is an unsigned int. */
struct addrinfo;
struct iovec;
struct msghdr;
struct sockaddr;

/* A goroutine may go on on another thread after any call that parks, and errno
 * belongs to the thread. The C library declares its address constant, so that
 * compilers keep it in a register; this declaration does not. Define
 * GMP_KEEP_ERRNO to leave errno alone. */
#if defined(__GLIBC__) && !defined(GMP_KEEP_ERRNO)
#ifdef __cplusplus
extern "C" {
#endif
extern int *gmp_errno_address(void) __asm__("__errno_location");
#ifdef __cplusplus
}
#endif
#undef errno
#define errno (*gmp_errno_address())
#endif

/* A deadline that never comes. */
#define GMP_FOREVER INT64_MAX

/* Initialisers. */
#define GMP_ATTR_INIT { sizeof(gmp_attr), NULL, 0, 0 }
#define GMP_MUTEX_INIT { 0, 0, { 0, 0 } }
#define GMP_RWMUTEX_INIT { 0, 0, { 0, 0, 0 } }
#define GMP_COND_INIT { 0, 0, { 0, 0 } }
#define GMP_SEMA_INIT(tokens) { (uint32_t)(tokens), 0, { 0, 0 } }
#define GMP_WAITGROUP_INIT { 0, 0, { 0, 0 } }
#define GMP_ONCE_INIT { 0, 0, 0, { 0, 0 } }

