/* gmp.h - goroutines for C, C++ and everything that calls C.
 *
 * Generated from src/ffi of gmprt by `make header`; do not edit.
 *
 * Beside GNU MP, whose header has the same name, include this one as
 * <gmprt/gmp.h> (pkg-config gmprt-beside).
 *
 * Contents:
 *   Terms         what the words of this header mean
 *   Conventions   what holds for every function
 *   Includes      errno and signal masks, and how to keep your own
 *   Start         version, start-up, the main goroutine, processors
 *   Goroutines    start, join, yield, end
 *   Panic         errors that leave functions in order
 *   Cancel        ask a goroutine to end
 *   Park          wait and wake, to build locks and queues of your own
 *   Threads       long calls, and goroutines that need one thread
 *   Storage       values that belong to a goroutine
 *   Channels      send and receive
 *   Select        wait for several channels
 *   Steps         goroutines that have a stack only while they run
 *   Locks         mutex, rwmutex, cond, semaphore, barrier, wait group, once
 *   Groups        goroutines that fail and end together
 *   Time          clock, deadlines, sleep, timers, tickers
 *   Descriptors   read, write, wait, close
 *   Sockets       listen, dial, accept, messages, names
 *   Files         open, sync, positions, copies in the kernel
 *   Processes     wait for children
 *   Signals       signals on channels, signal masks
 *   Heap          memory that nobody frees
 *   Seeing inside dumps, numbers of the runtime, a timeline
 *   Hooks         take part in the start; what the macros call
 */
#ifndef GMPRT_GMP_H
#define GMPRT_GMP_H

/* --- Terms -------------------------------------------------------------------
 *
 * goroutine: a function that runs beside others, on a stack of its own. The
 *   library runs goroutines on its threads.
 * host thread: a thread that the library did not create.
 * block: to wait for something in a call of this library. A goroutine that
 *   blocks is parked; a host thread that blocks sleeps, and nobody else does.
 * park: a parked goroutine leaves its thread to other goroutines, and may later
 *   continue on another thread.
 * deadline: nanoseconds on the clock of gmp_now(); gmp_after_ns() makes one.
 *   GMP_FOREVER never comes. With a deadline in the past a call tries once.
 * cancel: gmp_cancel() or a group cancels a goroutine. From then on calls of
 *   that goroutine that block return -ECANCELED at once.
 * handle: a gmp_g * or gmp_key *. A handle is a number and no address.
 * stale handle: the handle of a goroutine that has ended and is joined or
 *   released, or of a deleted key. A call with a stale handle returns -EINVAL.
 * permit: what gmp_ready() gives to a goroutine and gmp_park() takes. A
 *   goroutine has one permit or none.
 * unlockf: a function that gmp_park() calls once the caller is parked. Inside
 *   an unlockf a call that would have to wait returns -EDEADLK.
 */

/* --- Conventions -------------------------------------------------------------
 *
 * - An int result is 0 or a negative errno; a ssize_t result is a count of
 *   bytes or a negative errno. gmp_strerror() gives the text of an error. errno
 *   itself never reports an error, but each goroutine keeps its own.
 * - NULL where the text does not allow it is -EINVAL; functions that return a
 *   pointer return NULL. Whatever a call gets must stay valid until the call
 *   returns, or as long as the text says.
 * - A function NAME_until is NAME with a deadline. Once the deadline has
 *   passed, the function returns -ETIMEDOUT and has not done its work.
 * - A function blocks only if its text says so. Such a function also returns
 *   -ECANCELED if the goroutine is cancelled, unless the text says otherwise,
 *   and -EDEADLK if it would have to wait inside an unlockf.
 * - A function that never blocks never moves its caller to another thread. No
 *   function is async-signal-safe but gmp_sigmask().
 * - Any thread may call anything, and may use any object at the same time as
 *   others, unless the text says otherwise.
 * - The first call waits until the runtime has started, at most ten seconds. If
 *   the start fails, every call returns the error. While gmp_shutdown() ends
 *   the runtime, calls return -ESHUTDOWN, and calls that start goroutines do
 *   so from its beginning. Goroutines begin with the signal mask of the thread
 *   that made the first call.
 * - A goroutine keeps errno, its C++ exceptions, its rounding mode and its
 *   signal mask while it is parked. Other things belong to the thread and are
 *   not kept: recursive mutexes, the locale, thread-local variables.
 *   docs/hazards.md lists them and the ways out; GMPDEBUG=migrate=1 finds them.
 * - No call is a point of cancellation for pthread_cancel(), which takes effect
 *   when the call has returned. A thread that has waited in a call is of the
 *   deferred type afterwards (pthread_setcanceltype). Threads of the library
 *   are not cancelled at all, nor is a goroutine that a host thread runs while
 *   it joins the goroutine.
 * - Out of memory never ends the process: the result is -ENOMEM, or NULL from a
 *   function that makes something. The first call on a host thread that waits
 *   or sets the value of a key makes a record of the thread, so it may return
 *   -ENOMEM even if its text does not say so. A host thread that must not see
 *   that error calls gmp_sleep(1) first.
 * - A goroutine that gets no memory for its stack when it first runs waits
 *   until there is some.
 * - In the child of a fork everything works, but for a collected heap that was
 *   in use before it ("The collected heap"), with nothing of the parent's but
 *   the goroutine or thread that forked. Its first call starts the runtime
 *   there; until then there is no thread of the library's. Channels keep their
 *   elements, locks their state, and nobody waits: what another goroutine had
 *   locked stays locked, as with threads. Timers are stopped, a group has no
 *   members but the one that forked, handles of other goroutines are -EINVAL.
 *   When the goroutine that forked returns, deferred calls and destructors of
 *   keys run; the process ends, with status 0, when neither a goroutine nor a
 *   thread is left in it. The handler of a signal should not fork: if it came
 *   in the middle of a call, calls in the child return -ENOTSUP.
 */

/* --- Includes ----------------------------------------------------------------
 *
 * Define one of these before the #include to keep a name as it is:
 *   GMP_KEEP_ERRNO     errno
 *   GMP_KEEP_SIGMASK   pthread_sigmask and sigprocmask
 */
#include <errno.h>
#ifndef GMP_KEEP_SIGMASK
#include <signal.h>
#endif
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* <sys/socket.h>, <sys/uio.h> and <netdb.h> have these, and names such as send
 * besides. A socklen_t is an unsigned int. <time.h> has the last. */
struct addrinfo;
struct iovec;
struct msghdr;
struct sockaddr;
struct timespec;

/* errno belongs to the thread, and a goroutine may continue on another thread.
 * The C library declares the address of errno constant, so compilers keep it in
 * a register; this declaration makes them ask again. */
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

#ifdef __cplusplus
extern "C" {
#endif

/* --- Start -------------------------------------------------------------------
 *
 * The library starts by itself when it is loaded.
 */

/* The version of this header; gmp_rt_version() has that of the library. In
 * GMPRT_VERSION_NUMBER each part has two digits. */
#define GMPRT_VERSION_MAJOR %MAJOR%
#define GMPRT_VERSION_MINOR %MINOR%
#define GMPRT_VERSION_PATCH %PATCH%
#define GMPRT_VERSION "%MAJOR%.%MINOR%.%PATCH%"
#define GMPRT_VERSION_NUMBER                                            \
    (GMPRT_VERSION_MAJOR * 10000 + GMPRT_VERSION_MINOR * 100 +          \
     GMPRT_VERSION_PATCH)

/* Whether the header is of that version or of a later one, for #if. */
#define GMPRT_VERSION_AT_LEAST(major, minor, patch)                     \
    (GMPRT_VERSION_NUMBER >= (major) * 10000 + (minor) * 100 + (patch))

@runtime.rs

/* GMP_INIT(fn) has fn called once, on the main goroutine, before the library's
 * first call from a thread of the program returns:
 *
 *     static void set_up(void) { gmp_set_maxprocs(2); }
 *     GMP_INIT(set_up)
 *
 * Write it at the top level of a C or C++ file, without a semicolon, after the
 * declaration of fn. fn is the plain name of a function void fn(void), which
 * may be static; a file may have several.
 *
 * - The functions of one program or library are called one after the other, in
 *   the order of its constructors: the order of the files at the link, and of
 *   the lines in a file. Those of a library come before those of whatever is
 *   linked with the library.
 * - Loading calls nothing, and without a first call nothing is called.
 * - fn may call the library, start goroutines and wait for them. fn must not
 *   wait for a thread that calls the library: that call waits for fn, and
 *   returns -ETIMEDOUT after ten seconds. So does the first call if functions
 *   run longer than that.
 * - If a plug-in is loaded when the runtime is up, its functions are called
 *   before the loading thread or goroutine returns from its next call: on the
 *   main goroutine, or on a goroutine of their own if the main goroutine runs
 *   main. If the plug-in is unloaded before, they are not called.
 * - If fn calls gmp_exit, its goroutine ends, and the other functions are still
 *   called; a program that was entered at _rt0_amd64_linux then goes on without
 *   its main. An exception must not leave fn.
 * - GMPDEBUG=inittrace=1 prints a line for each function. */
#define GMP_INIT(fn)                                                       \
    static gmp_init_task gmp_init_task_##fn = {fn, #fn, {0, 0, 0}};         \
    __attribute__((constructor)) static void gmp_init_enter_##fn(void)      \
    {                                                                       \
        gmp_init_register(&gmp_init_task_##fn);                             \
    }                                                                       \
    __attribute__((destructor)) static void gmp_init_leave_##fn(void)       \
    {                                                                       \
        gmp_init_unregister(&gmp_init_task_##fn);                           \
    }

/* --- Goroutines --------------------------------------------------------------
 */

/** The initialiser of a gmp_attr. */
#define GMP_ATTR_INIT { sizeof(gmp_attr), NULL, 0, 0 }

@goroutine.rs

/* --- Panic -------------------------------------------------------------------
 *
 * gmp_panic() runs the deferred functions, the last one first. One of them may
 * call gmp_recover(); then the gmp_call() to which that function belongs
 * returns 1. If none does, the process ends, with the frames of the panic.
 */

/** The initialiser of a gmp_panic_info. */
#define GMP_PANIC_INFO_INIT { sizeof(gmp_panic_info), NULL, NULL, 0 }

@panic.rs

/**
 * Panics with a text, as by printf: runs the deferred functions of the caller,
 * and does not return. One of these may stop the panic (gmp_recover). Otherwise
 * the process ends. So it does on a host thread outside of gmp_call, and inside
 * an unlockf, where no function is called. Blocks as long as these functions
 * run.
 */
#ifdef __GNUC__
__attribute__((__noreturn__, __format__(__printf__, 1, 2)))
#endif
void gmp_panic(const char *format, ...);

/**
 * Panics with a value of the host's, which gmp_recover and gmp_call give back.
 * Blocks as long as the deferred functions run.
 */
#ifdef __GNUC__
__attribute__((__noreturn__))
#endif
void gmp_panic_with(void *value);

/* --- Cancel ------------------------------------------------------------------
 *
 * A cancel ends waits, not functions: a goroutine whose call returns -ECANCELED
 * cleans up and returns.
 */

@cancel.rs

/* --- Park --------------------------------------------------------------------
 *
 * The parts of which locks and queues are made; examples-c/semaphore.c of gmprt
 * builds one.
 */

@park.rs

/* --- Threads -----------------------------------------------------------------
 */

@thread.rs

/* --- Storage -----------------------------------------------------------------
 */

@local.rs

/* --- Channels ----------------------------------------------------------------
 *
 * A channel counts references: gmp_chan_make makes the first one, and whoever
 * uses the channel holds one.
 */

/** The initialiser of a gmp_chan_attr. */
#define GMP_CHAN_ATTR_INIT { sizeof(gmp_chan_attr), 0, 0, NULL, NULL, NULL }

@chan.rs

/* --- Select ------------------------------------------------------------------
 */

@select.rs

/* --- Steps -------------------------------------------------------------------
 *
 * A coroutine, or a state machine, as a goroutine: a function that is called
 * again when what it waits for has come. gmprt.hpp makes coroutines of C++ such
 * goroutines.
 */

@step.rs

/* --- Locks -------------------------------------------------------------------
 *
 * Objects that live in your memory. Begin each with its initialiser, or with
 * all bytes zero. None needs a destructor. An object must stay where it is
 * while it is used. None belongs to a goroutine or thread: one may lock a mutex
 * and another unlock it.
 */

#define GMP_MUTEX_INIT { 0, 0, { 0, 0 } }
#define GMP_RWMUTEX_INIT { 0, 0, { 0, 0, 0 } }
#define GMP_COND_INIT { 0, 0, { 0, 0 } }
#define GMP_WAITGROUP_INIT { 0, 0, { 0, 0 } }
#define GMP_ONCE_INIT { 0, 0, 0, { 0, 0 } }
#ifdef __cplusplus
#define GMP_SEMA_INIT(tokens) { static_cast<uint32_t>(tokens), 0, { 0, 0 } }
#define GMP_BARRIER_INIT(n) { static_cast<uint32_t>(n), 0, { 0, 0 } }
#else
#define GMP_SEMA_INIT(tokens) { (uint32_t)(tokens), 0, { 0, 0 } }
#define GMP_BARRIER_INIT(n) { (uint32_t)(n), 0, { 0, 0 } }
#endif

@mutex.rs

@rwmutex.rs

@cond.rs

@sema.rs

@barrier.rs

@waitgroup.rs

@once.rs

/* --- Groups ------------------------------------------------------------------
 */

@group.rs

/* --- Time --------------------------------------------------------------------
 *
 * Spans are nanoseconds (ns); points in time are deadlines.
 */

/** A deadline that never comes. */
#define GMP_FOREVER INT64_MAX

@time.rs

@timer.rs

/* --- Descriptors -------------------------------------------------------------
 *
 * These functions take any descriptor, in blocking or non-blocking mode, which
 * stays as it is where the text does not say otherwise. A goroutine that waits
 * in one of them costs no thread.
 *
 * Besides the errors of the system call and those in the text, a function that
 * has to wait may return -EMFILE, -ENFILE, -ENOMEM or -ENOSPC; -EPERM, -EACCES
 * or -ENOSYS in a sandbox that refuses epoll; and -EBADF if gmp_close closes
 * the descriptor meanwhile. EINTR and EAGAIN of
 * the system call are never returned.
 *
 * The library's own descriptors are above 2. A host may close them, as a daemon
 * does with all that is open: the library makes new ones.
 */

@io.rs

/* --- Sockets -----------------------------------------------------------------
 *
 * What stands under Descriptors holds here too.
 */

@socket.rs

@net.rs

/* --- Files -------------------------------------------------------------------
 *
 * gmp_open, gmp_fsync, gmp_pread and gmp_pwrite block as long as the file
 * system does, while other goroutines run. A deadline or a cancel counts only
 * until the call starts. EINTR is never returned.
 */

@file.rs

/* --- Processes ---------------------------------------------------------------
 */

@process.rs

/* --- Signals -----------------------------------------------------------------
 */

@signal.rs

/* --- Heap --------------------------------------------------------------------
 *
 * Memory that is freed once nothing points to it: a message may go through
 * channels, from goroutine to goroutine, and nobody has to know who is the
 * last. A program that makes no call of this part has no heap.
 *
 *     char *line = gmp_gc_alloc_noscan(80);
 *     gmp_chan_send(lines, &line);       // whoever gets it drops it
 *
 * A collection stops all threads that use this library, by the signal SIGURG or
 * by that of GMP_GC_SIGNAL, for some milliseconds for each 100 MB, and finds
 * what they can reach. A thread that waits in a call of this library gets no
 * signal, and with GMP_GC_SIGNAL=0 none does: gmp_checkpoint() and
 * gmp_blocking() say what that asks for. Two things bend meanwhile:
 *
 * - A system call that such a thread waits in may return EINTR, as with any
 *   signal. Most begin again by themselves: read, write and the like by
 *   SA_RESTART, and poll, nanosleep, epoll_wait and others as the library knows
 *   them.
 * - A pointer must lie where collections look: gmp_gc_alloc() says where. Where
 *   one hides elsewhere, its object is freed too early. GMPDEBUG=gcstress=1
 *   finds that: each allocation collects, and freed memory is filled with
 *   0xdb.
 *
 * An object is kept by any pointer to its first byte or into it.
 * GMPDEBUG=gctrace=1 prints a line for each collection.
 */

/**
 * Keeps the object at `p` until there, in a function whose last use of the
 * pointer comes earlier: the compiler may drop it then, although its thread
 * still works on what the object alone keeps.
 */
#define GMP_GC_KEEP(p) __asm__ volatile("" : : "g"(p) : "memory")

@gc.rs

/* --- Seeing inside -----------------------------------------------------------
 */

@dump.rs

@stats.rs

@trace.rs

#ifdef __cplusplus
}  // extern "C"
#endif

/* Sets the mask of the goroutine by the names that programs know: the C
 * library's functions set that of the thread. SIG_BLOCK is defined where
 * <signal.h> has POSIX's part. */
#if !defined(GMP_KEEP_SIGMASK) && defined(SIG_BLOCK)
static inline int gmp_pthread_sigmask_(int how, const sigset_t *set,
                                       sigset_t *old)
{
    return -gmp_sigmask(how, set, old);
}
static inline int gmp_sigprocmask_(int how, const sigset_t *set, sigset_t *old)
{
    int result = gmp_sigmask(how, set, old);

    if (result == 0)
        return 0;
    errno = -result;
    return -1;
}
#undef pthread_sigmask
#undef sigprocmask
#define pthread_sigmask gmp_pthread_sigmask_
#define sigprocmask gmp_sigprocmask_
#endif

/* --- Hooks -------------------------------------------------------------------
 *
 * A program that takes part in the start of the runtime defines one of these
 * variables, initialised with its function. They are read once. A program that
 * links the library just defines the variable; one that loads the library by
 * dlopen exports it (-rdynamic).
 *
 *     extern void (*_cgo_init)(void *g0, void (*setg)(void *), void **tls,
 *                              void *tlsbase);
 *
 * Called first, on the library's first thread. `g0` points to the low and the
 * high bound of the thread's stack, which may be changed; `setg` stores the
 * thread's current goroutine, `tls` is the address of that word, `tlsbase` the
 * thread's fs.
 *
 *     extern int (*_cgo_sys_thread_create)(void *(*fn)(void *), void *arg);
 *
 * Makes the library's first thread, which calls fn(arg). Returns 0 or an
 * errno. The constructor calls it: it must not wait for other threads.
 *
 *     extern int (*_cgo_thread_start)(const struct gmp_thread_start *start);
 *
 * Makes another thread, which calls start->fn(start->arg). Returns 0 or an
 * errno. What `start` points to is gone afterwards. It must not call the
 * library.
 *
 *     extern void (*_cgo_notify_runtime_init_done)(void);
 *
 * Called on the library's first thread when the runtime is up. It may call
 * the library.
 */
struct gmp_thread_start {
    void *g;
    uintptr_t *tls;
    void *(*fn)(void *arg);
    void *arg;
};

#ifdef __cplusplus
extern "C" {
#endif

@hooks.rs

#ifdef __cplusplus
}  // extern "C"
#endif

/* C++ keeps the state of a thread's exceptions in two words, and each goroutine
 * needs its own: this tells the library where they are. Define GMP_NO_CXX_STATE
 * to leave that out. */
#if defined(__cplusplus) && defined(__GNUC__) && defined(__EXCEPTIONS) && \
    !defined(GMP_NO_CXX_STATE)
#include <cxxabi.h>
namespace {
__attribute__((used)) const int gmp_cxa_registered = ::gmp_register_cxa(
    reinterpret_cast<void *(*)(void)>(&::abi::__cxa_get_globals));
}
#endif

#endif /* GMPRT_GMP_H */
