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
#define GMPRT_VERSION_MAJOR 0
#define GMPRT_VERSION_MINOR 2
#define GMPRT_VERSION_PATCH 0
#define GMPRT_VERSION "0.2.0"
#define GMPRT_VERSION_NUMBER                                            \
    (GMPRT_VERSION_MAJOR * 10000 + GMPRT_VERSION_MINOR * 100 +          \
     GMPRT_VERSION_PATCH)

/* Whether the header is of that version or of a later one, for #if. */
#define GMPRT_VERSION_AT_LEAST(major, minor, patch)                     \
    (GMPRT_VERSION_NUMBER >= (major) * 10000 + (minor) * 100 + (patch))

/** Returns the version of this library, "MAJOR.MINOR.PATCH". Never blocks. */
const char *gmp_rt_version(void);

/**
 * Returns the meaning of an error in English: `code` is a negative errno or
 * its positive value. The text is static. Never blocks.
 */
const char *gmp_strerror(int code);

/**
 * Blocks until the runtime has started, at most ten seconds. Every other call
 * does so by itself.
 *
 * Returns 0; -ETIMEDOUT; the reason why the start failed, such as -EAGAIN if
 * no thread could be made; -ENOTSUP in the child of a fork that the handler of
 * a signal has made in the middle of a call.
 */
int gmp_wait_init(void);

/**
 * Runs `main(argc, argv)` as the main goroutine, on a stack as large as
 * RLIMIT_STACK, and returns as soon as `main` returns, without waiting for
 * other goroutines. Meanwhile a deadlock of all goroutines is reported and
 * ends the process.
 *
 * Returns main's result; -ENOMEM if it could not be started. Blocks while
 * `main` runs.
 */
int gmp_run_main(int argc, char **argv, int (*main)(int argc, char **argv));

/**
 * Ends the runtime. From now on no goroutine starts (-ESHUTDOWN), and those
 * that live are cancelled and waited for until `deadline`. Once none is left,
 * all that the library has taken from the process is given back: threads,
 * descriptors, handlers of signals, stacks. A trace is finished. Timers that
 * are pending never fire, but are yet to be freed.
 *
 * Host threads that wait in a call are woken: the call returns -ESHUTDOWN and
 * has not done its work, as at a deadline. So does a call that comes while the
 * runtime ends. Locks without a deadline, gmp_once_do and gmp_group_free wait
 * on, as they do for a cancel: it is another host thread that they wait for.
 *
 * A call that comes later starts the runtime again. Its settings are those of
 * the first start, GMP_INIT functions are not called again, and handles of
 * goroutines are stale. Calls that only give back or try (unlock, done,
 * release, close, unref, free, stop, try) start nothing, and work meanwhile
 * and afterwards.
 *
 * Objects of gmp_gc_alloc and the like stay as they are, and the next start
 * goes on with them.
 *
 * After 0 the library may be unloaded by dlclose(), once no thread is in a
 * call. All objects go with it: no pointer to one may be used any more, and
 * cleanups are not called. Before that, dlclose() leaves it loaded.
 *
 * Returns 0, also if the runtime is not up; -ETIMEDOUT if goroutines stay, as
 * many as gmp_num_goroutines says: they are cancelled, and all else goes on;
 * -EBUSY if all has ended, but a handler of the host's or of another library
 * is in the place of ours and may call ours: call again once it has gone;
 * -EDEADLK on a goroutine and inside an unlockf; -ENOTSUP in a program that is
 * entered at _rt0_amd64_linux, and in a child that a goroutine has forked; why
 * the start failed. Blocks its thread.
 */
int gmp_shutdown(int64_t deadline);

/**
 * Gets the program's arguments, which its main gets too, as the loader or the
 * kernel has handed them over.
 *
 * Writes to `*argv` an array that ends with a NULL and stays for ever; its
 * strings are the program's own. `argv` may be NULL.
 *
 * Returns argc. If the arguments are not known, which may happen without
 * /proc, returns 0 and writes NULL. Never blocks.
 */
int gmp_args(char ***argv);

/**
 * Sets how many goroutines may run at once (GOMAXPROCS) to `n`, at most 1024;
 * `n` below 1 changes nothing. At first the number is GMP_MAXPROCS, or
 * GOMAXPROCS, or the CPUs that this process may use.
 *
 * Returns the number before; -EDEADLK for a change inside an unlockf; -ENOMEM,
 * which changes nothing. Never parks its caller, but blocks for a moment until
 * goroutines have left the runtime.
 */
int gmp_set_maxprocs(int n);

/**
 * Returns how many CPUs this process may use: affinity and cgroup quota.
 * -ENOMEM if the first call has no memory to read the quota. Never blocks.
 */
int gmp_num_cpu(void);

/** Returns how many goroutines exist now, running or not. Never blocks. */
int64_t gmp_num_goroutines(void);

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

/**
 * In the flags of a gmp_attr: the goroutine is locked to its thread from its
 * start, as by gmp_lock_os_thread.
 */
#define GMP_LOCKED_THREAD 1

/** The handle of a goroutine. */
typedef struct gmp_g gmp_g;

/** The function of a goroutine. */
typedef void (*gmp_fn)(void *arg);

/** How to start a goroutine; begin with GMP_ATTR_INIT. */
typedef struct gmp_attr {
    /** sizeof(gmp_attr), which GMP_ATTR_INIT sets. */
    size_t struct_size;
    /** The name in dumps and reports, which is copied; NULL for none. */
    const char *name;
    /**
     * Bytes of stack, at most 1 GiB; 0 for the default (GMP_STACKSIZE, else
     * 192 KiB; with Python in the process 8 MiB less the guard). A stack has
     * at least 64 KiB, and up to 8 MiB it is rounded up so that it is, with
     * its guard of 64 KiB, a power of two. Compile functions with frames of
     * more than 64 KiB with -fstack-clash-protection, or an overflow may pass
     * the guard.
     */
    size_t stack_size;
    /** GMP_LOCKED_THREAD or 0. */
    uint32_t flags;
} gmp_attr;

/**
 * Starts a goroutine that calls `func(arg)`.
 *
 * Returns 0; -ENOMEM. Never blocks.
 *
 *     int rc = gmp_go(serve, client); // void serve(void *client)
 *     if (rc != 0)
 *         fprintf(stderr, "gmp_go: %s\n", gmp_strerror(rc));
 */
int gmp_go(gmp_fn func, void *arg);

/**
 * Starts a goroutine that calls `func` with the address of a copy of the
 * `size` bytes at `args`. The copy lies on the goroutine's stack, aligned to
 * 16 bytes; `args` is not used after the return.
 *
 * Returns 0; -EINVAL if `size` is above 64 KiB or a quarter of the stack;
 * -ENOMEM. Never blocks.
 */
int gmp_go_copy(gmp_fn func, const void *args, size_t size);

/**
 * Starts a goroutine that calls `func(arg)`, as `attr` says; NULL for the
 * defaults. Writes its handle to `*out`: join or release it. `out` may be NULL
 * if no handle is wanted.
 *
 * Returns 0; -EINVAL for an unknown struct_size, unknown flags, or a stack
 * above 1 GiB; -ENOMEM. Never blocks.
 */
int gmp_go_with(const gmp_attr *attr, gmp_fn func, void *arg, gmp_g **out);

/**
 * Waits until the goroutine `g` has ended, and releases its handle. Join a
 * goroutine once.
 *
 * Returns 0; -EINVAL for a stale handle, or if somebody else joins `g`;
 * -EDEADLK on `g` itself and inside an unlockf. May block.
 */
int gmp_join(gmp_g *g);

/**
 * gmp_join with a deadline; after -ETIMEDOUT join `g` again, or release it.
 * May block.
 */
int gmp_join_until(gmp_g *g, int64_t deadline);

/**
 * Gives up the handle `g`: the goroutine is freed when it ends. NULL and a
 * stale handle do nothing. Never blocks.
 */
void gmp_release(gmp_g *g);

/**
 * Lets other goroutines run (runtime.Gosched); on a host thread, other
 * threads. May continue on another thread.
 */
void gmp_yield(void);

/**
 * Yields if the scheduler has asked for it, else costs a few instructions:
 * call it in long loops. With GMP_GC_SIGNAL=0 it lets a collection begin, on
 * host threads as well. May continue on another thread.
 */
void gmp_checkpoint(void);

/**
 * Ends the calling goroutine (runtime.Goexit), and does not return. All that
 * it has deferred runs, the last one first. Then its frames are unwound:
 * destructors and cleanup attributes run. A panic under way is over.
 *
 * A frame without unwind tables is a fatal error, and so is a catch (...) that
 * does not throw again. A noexcept function is std::terminate.
 *
 * Returns only if it fails: -EPERM on a host thread, and inside an unlockf.
 */
int gmp_exit(void);

/**
 * Has `func(arg)` called when the function of the innermost gmp_call ends, in
 * whatever way; outside of one, when the calling goroutine ends. The last call
 * that was deferred comes first. Deferred calls of a panic and of gmp_exit
 * come before anything is unwound. A cancel does not interrupt them. An
 * exception that leaves `func` is uncaught.
 *
 * Returns 0; -EPERM on a host thread outside of gmp_call, and inside an
 * unlockf; -ENOMEM. Never blocks.
 */
int gmp_defer(gmp_fn func, void *arg);

/**
 * Returns the handle of the calling goroutine, valid until it ends; NULL on a
 * host thread that has never blocked in a call of this library. Never blocks.
 */
gmp_g *gmp_self(void);

/**
 * Returns the number of the calling goroutine, which no other one ever has; 0
 * on a host thread that has never blocked in a call of this library. Never
 * blocks.
 */
uint64_t gmp_goid(void);

/**
 * Names the calling goroutine in dumps and reports; `name` is copied.
 *
 * Returns 0; -EPERM on a host thread; -ENOMEM. Never blocks.
 */
int gmp_set_name(const char *name);

/**
 * Copies the name of the goroutine `g`, with its NUL, to the `size` bytes at
 * `buf`; an empty string if it has none, or has ended and is not joined yet.
 *
 * Returns 0; -EINVAL for a stale handle; -ERANGE, and `buf` stays, if the name
 * does not fit. Never blocks.
 */
int gmp_get_name(gmp_g *g, char *buf, size_t size);

/* --- Panic -------------------------------------------------------------------
 *
 * gmp_panic() runs the deferred functions, the last one first. One of them may
 * call gmp_recover(); then the gmp_call() to which that function belongs
 * returns 1. If none does, the process ends, with the frames of the panic.
 */

/** The initialiser of a gmp_panic_info. */
#define GMP_PANIC_INFO_INIT { sizeof(gmp_panic_info), NULL, NULL, 0 }

/** What is known of a panic; begin with GMP_PANIC_INFO_INIT. */
typedef struct gmp_panic_info {
    /** sizeof(gmp_panic_info), which GMP_PANIC_INFO_INIT sets. */
    size_t struct_size;
    /**
     * The text of gmp_panic, or words for the value; never NULL. It stays
     * until the next gmp_call of this goroutine or thread, or the end of a
     * gmp_call around it.
     */
    const char *text;
    /** The value of gmp_panic_with; NULL after gmp_panic. */
    void *value;
    /** gmp_goid() of the caller that panicked. */
    uint64_t goid;
} gmp_panic_info;

/**
 * Calls `func(arg)` as Go calls a function: what it defers (gmp_defer) runs
 * when it returns, panics, or is left by an exception; the last one first. If
 * one of these functions stops a panic (gmp_recover), the frames up to this
 * call are unwound: destructors and cleanup attributes run. Then the rest of
 * the deferred functions run, and this call returns. It writes to `*info`,
 * unless `info` is NULL, of what panic.
 *
 * longjmp over this call leaves what it has deferred to the gmp_call around
 * it, or to the goroutine.
 *
 * Returns 0; 1 if there was a panic; -EINVAL for an unknown struct_size;
 * -EPERM inside an unlockf; -ENOMEM. Blocks as long as `func` runs.
 *
 *     gmp_panic_info info = GMP_PANIC_INFO_INIT;
 *     if (gmp_call(serve, client, &info) == 1) // void serve(void *client)
 *         fprintf(stderr, "serve: %s\n", info.text);
 */
int gmp_call(gmp_fn func, void *arg, gmp_panic_info *info);

/**
 * Stops a panic. It does so only in a deferred function that the panic has
 * called, and not in a function which that calls. Where the compiler has put a
 * function into its caller, or has made its last call a jump, the two are one.
 *
 * Returns what is known of the panic, which stays as the text in it does; NULL
 * if there is none to stop. Never blocks.
 */
const gmp_panic_info *gmp_recover(void);

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

/**
 * Cancels the goroutine `g`: each of its calls that block returns -ECANCELED,
 * the present one and all later ones, until `g` ends. Not interrupted are:
 * - gmp_mutex_lock, gmp_rwmutex_lock, gmp_rwmutex_rlock, and the end of
 *   gmp_cond_wait, which locks the mutex again;
 * - gmp_once_do and gmp_group_free;
 * - calls that gmp_defer deferred, and destructors of keys;
 * - calls behind a shield (gmp_shield_enter).
 *
 * A cancel takes up to some 10 us while other threads run; a group cancels all
 * its goroutines in the same time. To cancel twice does no harm.
 *
 * Returns 0; -EINVAL if `g` has ended; -EPERM for the handle of a host thread.
 * Never blocks.
 *
 *     gmp_cancel(g); // the calls in which g waits return -ECANCELED,
 *     gmp_join(g);   // and when g has cleaned up, it ends
 */
int gmp_cancel(gmp_g *g);

/**
 * Returns whether the calling goroutine is cancelled, also behind a shield;
 * false on a host thread. Never blocks.
 */
#ifdef __cplusplus
bool gmp_cancelled(void);
#else
_Bool gmp_cancelled(void);
#endif

/**
 * Begins a shield: until gmp_shield_leave, a cancel does not interrupt the
 * calling goroutine. Shields nest, up to 65,000. On a host thread it does
 * nothing.
 *
 * Returns 0; -EAGAIN for one shield too many. Never blocks.
 */
int gmp_shield_enter(void);

/**
 * Ends the innermost shield.
 *
 * Returns 0; -EPERM on a goroutine without a shield. Never blocks.
 */
int gmp_shield_leave(void);

/* --- Park --------------------------------------------------------------------
 *
 * The parts of which locks and queues are made; examples-c/semaphore.c of gmprt
 * builds one.
 */

/**
 * The function that gmp_park calls once the goroutine `g` is parked, on the
 * scheduler's stack. It may unlock `lock`, and call what never blocks. It
 * returns 1, or 0 if `g` is to continue at once. It must return: an exception
 * that leaves it is a fatal error, and longjmp must not leave it.
 */
typedef int (*gmp_unlockf)(gmp_g *g, void *lock);

/**
 * Parks the caller until gmp_ready gives it a permit (gopark), and takes the
 * permit. A permit that the caller has already ends the park at once.
 *
 * `unlockf` is called each time, once the caller is parked, with its handle
 * and `lock`; NULL for none. Lock what the waker locks too, put gmp_self()
 * where the waker finds it, and let `unlockf` unlock: so no waker comes before
 * the park. `reason` is a string for dumps; NULL for "park".
 *
 * Returns 0, sometimes without a permit: check in a loop what you wait for;
 * -ECANCELED, which leaves a permit where it is; -ENOMEM or -EDEADLK, without
 * a call of `unlockf`. May block.
 */
int gmp_park(gmp_unlockf unlockf, void *lock, const char *reason);

/**
 * gmp_park with a deadline. `unlockf` is called even if the deadline has
 * passed. May block.
 */
int gmp_park_until(gmp_unlockf unlockf, void *lock, const char *reason,
    int64_t deadline);

/**
 * Gives the goroutine `g` a permit (goready): its gmp_park returns, the
 * present one or the next. A second permit before that has no effect.
 *
 * Returns 0; -EINVAL if `g` has ended. Never blocks.
 */
int gmp_ready(gmp_g *g);

/* --- Threads -----------------------------------------------------------------
 */

/**
 * Locks the calling goroutine to its thread (runtime.LockOSThread): the
 * goroutine runs only there, and nothing else does. Locks nest. A goroutine
 * that ends locked ends the thread, unless that is the first of the process.
 * On a host thread it does nothing.
 *
 * Returns 0. Never blocks.
 */
int gmp_lock_os_thread(void);

/**
 * Undoes one gmp_lock_os_thread.
 *
 * Returns 0; -EPERM on a goroutine that is not locked. Never blocks.
 */
int gmp_unlock_os_thread(void);

/**
 * Calls `func(arg)`, which may wait or compute for any time: other goroutines
 * run at once. Without gmp_blocking they would after about a millisecond. On a
 * host thread it is a plain call. An exception, longjmp or gmp_exit may leave
 * `func`.
 *
 * With GMP_GC_SIGNAL=0 a collection may run beside `func`. Then it must not
 * move pointers to objects of the heap, nor leave by longjmp; and but for
 * calls of the heap, which end this, it calls nothing of this library.
 *
 * Returns 0; -ECANCELED if the caller is cancelled already: then `func` is not
 * called. Nothing interrupts `func` itself. Blocks as long as `func` runs, and
 * stays on the caller's thread.
 */
int gmp_blocking(gmp_fn func, void *arg);

/**
 * gmp_blocking with a deadline, which counts until `func` is called. Blocks as
 * long as `func` runs.
 */
int gmp_blocking_until(gmp_fn func, void *arg, int64_t deadline);

/* --- Storage -----------------------------------------------------------------
 */

/** The handle of a key of goroutine-local storage. */
typedef struct gmp_key gmp_key;

/**
 * Makes a key, under which each goroutine and each host thread has a value of
 * its own, NULL at first.
 *
 * `destructor` is called with the value when a goroutine or host thread ends
 * whose value is not NULL; it may be NULL. The value is NULL by then. As in
 * POSIX, destructors run in up to four rounds, since they may set values
 * again; their order is not defined. They run after what gmp_defer deferred.
 * An exception that leaves a destructor is uncaught.
 *
 * Returns the key; NULL if all 4096 keys are taken. Never blocks.
 */
gmp_key *gmp_key_create(void (*destructor)(void *value));

/**
 * Deletes `k`. Its destructor is not called any more: free the values
 * yourself.
 *
 * Returns 0; -EINVAL for a stale key. Never blocks.
 */
int gmp_key_delete(gmp_key *k);

/**
 * Sets the caller's value of `k`.
 *
 * Returns 0; -EINVAL for a stale key; -EDEADLK inside an unlockf; -ENOMEM.
 * Never blocks.
 */
int gmp_setspecific(gmp_key *k, void *value);

/**
 * Returns the caller's value of `k`; NULL if none was set, and for a stale
 * key. Never blocks.
 */
void *gmp_getspecific(gmp_key *k);

/* --- Channels ----------------------------------------------------------------
 *
 * A channel counts references: gmp_chan_make makes the first one, and whoever
 * uses the channel holds one.
 */

/** The initialiser of a gmp_chan_attr. */
#define GMP_CHAN_ATTR_INIT { sizeof(gmp_chan_attr), 0, 0, NULL, NULL, NULL }

/** A channel: it carries elements of one size, copied in and out. */
typedef struct gmp_chan gmp_chan;

/**
 * How to make a channel; begin with GMP_CHAN_ATTR_INIT.
 *
 * With functions for its elements, a channel carries objects that own
 * something. A send that succeeds takes the object from the sender's memory,
 * as if it were copied and then forgotten; after a send that fails the sender
 * still has it. A receive makes the object in the receiver's memory, which has
 * to be unused.
 *
 * The functions run on any thread, and while the channel is locked: they must
 * be short, must not use the channel, wait, or throw. A call of this library
 * that would have to wait returns -EDEADLK there.
 */
typedef struct gmp_chan_attr {
    /** sizeof(gmp_chan_attr), which GMP_CHAN_ATTR_INIT sets. */
    size_t struct_size;
    /** Bytes of an element; with functions, from 1 on. */
    size_t elem_size;
    /** Elements that the channel buffers; 0 for none. */
    size_t capacity;
    /** The name in dumps, which is copied; NULL for none. */
    const char *name;
    /**
     * Called for each element that nobody receives: those that a channel holds
     * when it is freed, the oldest first, and those that are received with a
     * NULL for their place. NULL: nothing is to be done.
     */
    void (*destroy)(void *elem);
    /**
     * Called instead of memcpy: makes the element at `to`, which is unused
     * memory, of the one at `from`, which is unused memory afterwards. NULL:
     * the bytes are copied.
     */
    void (*move)(void *to, void *from);
} gmp_chan_attr;

/**
 * Makes a channel for elements of `elem_size` bytes, which may be 0. The
 * channel buffers `capacity` elements; if that is 0, each send waits for its
 * receiver.
 *
 * Returns the channel, with one reference; NULL if there is no memory. Never
 * blocks.
 */
gmp_chan *gmp_chan_make(size_t elem_size, size_t capacity);

/**
 * Makes a channel as `attr` says.
 *
 * Returns the channel, with one reference; NULL if there is no memory, for
 * NULL, an unknown struct_size, and functions for elements without size. Never
 * blocks.
 *
 *     gmp_chan_attr attr = GMP_CHAN_ATTR_INIT;
 *     attr.elem_size = sizeof(char *);
 *     attr.capacity = 16;
 *     attr.name = "lines";
 *     attr.destroy = drop_line; // frees the string at *(char **)elem
 *     lines = gmp_chan_make_with(&attr); // gmp_chan *lines; NULL: no memory
 */
gmp_chan *gmp_chan_make_with(const gmp_chan_attr *attr);

/**
 * Takes one more reference to `ch`, which may be NULL. Returns `ch`. Never
 * blocks.
 */
gmp_chan *gmp_chan_ref(gmp_chan *ch);

/**
 * Drops one reference to `ch`, which may be NULL. The last reference frees the
 * channel, and elements that it still holds (gmp_chan_attr). Never blocks.
 */
void gmp_chan_unref(gmp_chan *ch);

/**
 * Sends a copy of `*elem` on `ch`: waits until a receiver or the buffer takes
 * it. On a NULL channel it waits for ever. `elem` may be NULL if elements have
 * no size.
 *
 * Returns 0; -EPIPE if `ch` is closed, before or meanwhile. May block.
 */
int gmp_chan_send(gmp_chan *ch, const void *elem);

/** gmp_chan_send with a deadline. May block. */
int gmp_chan_send_until(gmp_chan *ch, const void *elem, int64_t deadline);

/** gmp_chan_send if it need not wait, else -EAGAIN. Never blocks. */
int gmp_chan_try_send(gmp_chan *ch, const void *elem);

/**
 * Receives an element from `ch` into `*elem`: waits until there is one. On a
 * NULL channel it waits for ever. If `elem` is NULL, the element is dropped.
 *
 * Returns 0; -EPIPE if `ch` is closed and its buffer empty: then `*elem` is
 * zeroed. May block.
 */
int gmp_chan_recv(gmp_chan *ch, void *elem);

/** gmp_chan_recv with a deadline. May block. */
int gmp_chan_recv_until(gmp_chan *ch, void *elem, int64_t deadline);

/** gmp_chan_recv if it need not wait, else -EAGAIN. Never blocks. */
int gmp_chan_try_recv(gmp_chan *ch, void *elem);

/**
 * Closes `ch`. Receivers get what the buffer holds and then -EPIPE; senders
 * get -EPIPE at once, also those that wait now.
 *
 * Returns 0; -EPIPE if `ch` is closed already. Never blocks.
 */
int gmp_chan_close(gmp_chan *ch);

/**
 * Returns how many elements the buffer of `ch` holds now; 0 for NULL. Never
 * blocks.
 */
size_t gmp_chan_len(const gmp_chan *ch);

/**
 * Returns how many elements the buffer of `ch` can hold; 0 for NULL. Never
 * blocks.
 */
size_t gmp_chan_cap(const gmp_chan *ch);

/* --- Select ------------------------------------------------------------------
 */

/** The op of a gmp_case that sends. */
#define GMP_SEND 1

/** The op of a gmp_case that receives. */
#define GMP_RECV 2

/** One case of a select. */
typedef struct gmp_case {
    /** The channel; a case with NULL never runs. */
    gmp_chan *ch;
    /** The element to send, or where to receive it; NULL drops what comes. */
    void *elem;
    /** GMP_SEND or GMP_RECV. */
    int op;
    /**
     * Written in the case that ran: 0; -EPIPE if its channel is closed, which
     * zeroes the element of a receiver.
     */
    int result;
} gmp_case;

/**
 * Waits until one of `n` `cases` can run, and runs it; if several can, picks
 * one at random. A channel may be in several cases, and in both directions.
 * Without cases, or with NULL channels only, it waits for ever.
 *
 * Returns the index of the case that ran, whose `result` is written; -EINVAL
 * if `n` is above 65536, or for an unknown `op` or a NULL `elem` to send;
 * -ENOMEM. May block.
 *
 *     gmp_case cases[] = {{in, &job, GMP_RECV, 0}, {stop, NULL, GMP_RECV, 0}};
 *     if (gmp_select(cases, 2) == 1)
 *         return; // stop is closed: do no more jobs
 */
int gmp_select(gmp_case *cases, size_t n);

/** gmp_select with a deadline. May block. */
int gmp_select_until(gmp_case *cases, size_t n, int64_t deadline);

/**
 * gmp_select if a case can run at once, else -EAGAIN: a select with a default.
 * Never blocks.
 */
int gmp_try_select(gmp_case *cases, size_t n);

/* --- Steps -------------------------------------------------------------------
 *
 * A coroutine, or a state machine, as a goroutine: a function that is called
 * again when what it waits for has come. gmprt.hpp makes coroutines of C++ such
 * goroutines.
 */

/**
 * The result of a call in a step that has to wait: the step returns it, too.
 */
#define GMP_STEP_WAIT 1

/**
 * The memory that a goroutine of steps waits in. It is the goroutine's from
 * gmp_go_step to the goroutine's end, and must not move: make it the first
 * member of what the steps work on.
 */
typedef struct gmp_wait {
    uint64_t _opaque[8];
} gmp_wait;

/**
 * A step of a goroutine. It returns 0 at the goroutine's end. Or a call from
 * gmp_step_send to gmp_step_yield has returned GMP_STEP_WAIT, and so does the
 * step: then it is called again when that wait is over, maybe on another
 * thread.
 */
typedef int (*gmp_step)(gmp_wait *wait);

/**
 * Room for the deadline of a wait, from the call that gets it until the next
 * step.
 */
typedef struct gmp_wait_timer {
    uint64_t _opaque[13];
} gmp_wait_timer;

/**
 * Starts a goroutine that calls `step(wait)` again and again. It has a stack
 * only during a step: between two steps it costs its descriptor and what
 * `wait` lies in. In all else it is a goroutine; a call in a step that blocks
 * parks it, and it keeps its stack until the step returns. But errno and the
 * signal mask do not last from one step to the next.
 *
 * `attr` and `out` are as for gmp_go_with. Dumps show the function `shown` in
 * place of `step`, unless that is NULL.
 *
 * Returns 0; -EINVAL as gmp_go_with; -ENOMEM. Never blocks.
 */
int gmp_go_step(const gmp_attr *attr, gmp_step step, gmp_wait *wait,
    void (*shown)(void), gmp_g **out);

/**
 * Returns what the calling goroutine of steps waits in; NULL outside of a
 * step. Never blocks.
 */
gmp_wait *gmp_step_wait(void);

/**
 * Sends a copy of `*elem` on `ch` if that need not wait. Else the step is to
 * wait for that until `deadline`: `elem`, `ch` and `timer` stay as they are
 * until the next step, which gets the result by gmp_step_result. `timer` may
 * be NULL for GMP_FOREVER.
 *
 * Returns 0 or GMP_STEP_WAIT, and after the wait 0 or -ETIMEDOUT; -EPIPE if
 * the channel is closed; -EPERM outside of a step. Never blocks.
 */
int gmp_step_send(gmp_chan *ch, const void *elem, int64_t deadline,
    gmp_wait_timer *timer);

/**
 * Receives an element from `ch` into `*elem` if that need not wait. Else the
 * step is to wait for one, as in gmp_step_send. `elem` may be NULL.
 *
 * Returns 0 or GMP_STEP_WAIT, and after the wait 0 or -ETIMEDOUT; -EPIPE if
 * the channel is closed and empty, and then `*elem` is zeroed; -EPERM outside
 * of a step. Never blocks.
 */
int gmp_step_recv(gmp_chan *ch, void *elem, int64_t deadline,
    gmp_wait_timer *timer);

/**
 * The step is to wait until `deadline`; `timer` is as in gmp_step_send. With
 * GMP_FOREVER a cancel ends the wait.
 *
 * Returns GMP_STEP_WAIT, and after the wait 0; -EPERM outside of a step. Never
 * blocks.
 */
int gmp_step_sleep(int64_t deadline, gmp_wait_timer *timer);

/**
 * The step is to wait until the goroutine `g` has ended, and releases its
 * handle; `timer` is as in gmp_step_send.
 *
 * Returns GMP_STEP_WAIT, and after the wait what gmp_join_until returns;
 * -EPERM outside of a step. Never blocks.
 */
int gmp_step_join(gmp_g *g, int64_t deadline, gmp_wait_timer *timer);

/**
 * The step is to let other goroutines run first.
 *
 * Returns GMP_STEP_WAIT, and after that 0; -EPERM outside of a step. Never
 * blocks.
 */
int gmp_step_yield(void);

/**
 * Returns the result of the wait before this step, or of the last call since
 * then that could have named one: 0, GMP_STEP_WAIT or a negative errno. In the
 * first step 0; outside of a step -EPERM. Never blocks.
 */
int gmp_step_result(void);

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

/** A mutex, for goroutines and host threads; begin with GMP_MUTEX_INIT. */
typedef struct gmp_mutex {
    uint32_t _state;
    uint32_t _reserved;
    uint64_t _spare[2];
} gmp_mutex;

/**
 * Locks `m`: waits until it is free. No waiter starves. A cancel does not end
 * the wait.
 *
 * Returns 0. May block.
 */
int gmp_mutex_lock(gmp_mutex *m);

/** gmp_mutex_lock with a deadline; a cancel ends the wait. May block. */
int gmp_mutex_lock_until(gmp_mutex *m, int64_t deadline);

/** Locks `m` if it is free, else returns -EAGAIN. Never blocks. */
int gmp_mutex_trylock(gmp_mutex *m);

/**
 * Unlocks `m`.
 *
 * Returns 0; -EPERM if it is not locked. Never blocks.
 */
int gmp_mutex_unlock(gmp_mutex *m);

/**
 * A mutex that many lock for reading, or one for writing; begin with
 * GMP_RWMUTEX_INIT. A writer that waits keeps new readers out: do not lock for
 * reading again what you have locked for reading.
 */
typedef struct gmp_rwmutex {
    uint32_t _state;
    uint32_t _writers;
    uint64_t _spare[3];
} gmp_rwmutex;

/**
 * Locks `rw` for writing: waits until nobody holds it. A cancel does not end
 * the wait.
 *
 * Returns 0. May block.
 */
int gmp_rwmutex_lock(gmp_rwmutex *rw);

/** gmp_rwmutex_lock with a deadline; a cancel ends the wait. May block. */
int gmp_rwmutex_lock_until(gmp_rwmutex *rw, int64_t deadline);

/**
 * Locks `rw` for writing if nobody holds it or waits for it, else returns
 * -EAGAIN. Never blocks.
 */
int gmp_rwmutex_trylock(gmp_rwmutex *rw);

/**
 * Unlocks `rw`, which is locked for writing. All readers that wait go first;
 * if there is none, the writer that has waited longest.
 *
 * Returns 0; -EPERM if it is not locked for writing. Never blocks.
 */
int gmp_rwmutex_unlock(gmp_rwmutex *rw);

/**
 * Locks `rw` for reading: waits while a writer holds it or waits for it. A
 * cancel does not end the wait.
 *
 * Returns 0. May block.
 */
int gmp_rwmutex_rlock(gmp_rwmutex *rw);

/** gmp_rwmutex_rlock with a deadline; a cancel ends the wait. May block. */
int gmp_rwmutex_rlock_until(gmp_rwmutex *rw, int64_t deadline);

/**
 * Locks `rw` for reading if no writer holds it or waits for it, else returns
 * -EAGAIN. Never blocks.
 */
int gmp_rwmutex_tryrlock(gmp_rwmutex *rw);

/**
 * Unlocks `rw` once, which is locked for reading.
 *
 * Returns 0; -EPERM if it is not locked for reading. Never blocks.
 */
int gmp_rwmutex_runlock(gmp_rwmutex *rw);

/** A condition variable; begin with GMP_COND_INIT. */
typedef struct gmp_cond {
    uint32_t _waiters;
    uint32_t _reserved;
    uint64_t _spare[2];
} gmp_cond;

/**
 * Unlocks `m`, waits for a signal or broadcast on `c`, and locks `m` again.
 * There are no spurious wake-ups. A cancel ends the wait, but not the wait for
 * `m` after it: `m` is locked whatever the result.
 *
 * Returns 0; -EPERM if `m` is not locked, which stays so. May block.
 */
int gmp_cond_wait(gmp_cond *c, gmp_mutex *m);

/**
 * gmp_cond_wait with a deadline. With a deadline in the past it returns
 * -ETIMEDOUT at once. May block.
 */
int gmp_cond_wait_until(gmp_cond *c, gmp_mutex *m, int64_t deadline);

/**
 * Wakes the one that has waited on `c` longest, if any.
 *
 * Returns 0. Never blocks.
 */
int gmp_cond_signal(gmp_cond *c);

/**
 * Wakes all that wait on `c`.
 *
 * Returns 0. Never blocks.
 */
int gmp_cond_broadcast(gmp_cond *c);

/**
 * A counting semaphore; begin with GMP_SEMA_INIT(tokens), 0 to 2^31 - 1. All
 * bytes zero are no tokens.
 */
typedef struct gmp_sema {
    uint32_t _state;
    uint32_t _reserved;
    uint64_t _spare[2];
} gmp_sema;

/**
 * Takes a token of `s`: waits until there is one. First come, first served.
 *
 * Returns 0. May block.
 */
int gmp_sema_acquire(gmp_sema *s);

/** gmp_sema_acquire with a deadline. May block. */
int gmp_sema_acquire_until(gmp_sema *s, int64_t deadline);

/** Takes a token of `s` if there is one, else returns -EAGAIN. Never blocks. */
int gmp_sema_try_acquire(gmp_sema *s);

/**
 * Gives a token to `s`. The one that has waited longest gets it.
 *
 * Returns 0; -EOVERFLOW if there are 2^31 - 1 tokens already. Never blocks.
 */
int gmp_sema_release(gmp_sema *s);

/**
 * Returns how many tokens `s` has now, which is 0 while somebody waits for
 * one; -EINVAL for NULL. Never blocks.
 */
int64_t gmp_sema_value(const gmp_sema *s);

/**
 * A meeting point for a fixed number of callers, round after round; begin with
 * GMP_BARRIER_INIT(n). n is from 1 on: with all bytes zero every wait is
 * -EINVAL.
 */
typedef struct gmp_barrier {
    uint32_t _count;
    uint32_t _arrived;
    uint64_t _spare[2];
} gmp_barrier;

/**
 * Waits until as many callers wait at `b` as it was made for. Then all of them
 * return, and the next round begins. What each has done before its call is
 * seen by all after it. A goroutine or thread may come again at once, and
 * another may come in its place.
 *
 * A caller that a cancel reaches while it waits leaves the round as if it had
 * not come: the others go on waiting, for one more caller. If the round is
 * complete by then, the call succeeds.
 *
 * Returns 1 to one caller of each round, the last, and 0 to the others. So the
 * one can do what is to be done once in a round. After 0 or 1, `b` may be
 * freed unless somebody comes for another round. May block.
 *
 *     int rc = gmp_barrier_wait(&all); // gmp_barrier all = GMP_BARRIER_INIT(4)
 *     if (rc < 0)
 *         fprintf(stderr, "gmp_barrier_wait: %s\n", gmp_strerror(rc));
 */
int gmp_barrier_wait(gmp_barrier *b);

/**
 * gmp_barrier_wait with a deadline. A caller whose deadline passes leaves the
 * round as if it had not come. With a deadline in the past only the last
 * caller of a round succeeds. May block.
 */
int gmp_barrier_wait_until(gmp_barrier *b, int64_t deadline);

/**
 * A counter that one can wait for: add one for each goroutine that is started,
 * let each call gmp_waitgroup_done. Begin with GMP_WAITGROUP_INIT.
 */
typedef struct gmp_waitgroup {
    uint64_t _state;
    uint64_t _reserved;
    uint64_t _spare[2];
} gmp_waitgroup;

/**
 * Adds `delta`, which may be negative, to the counter of `wg`. If that makes
 * it zero, all waiters go on.
 *
 * Returns 0; -EINVAL, and the counter stays, if it would leave 0 to 2^31 - 1.
 * Never blocks.
 */
int gmp_waitgroup_add(gmp_waitgroup *wg, int64_t delta);

/** gmp_waitgroup_add of -1. Never blocks. */
int gmp_waitgroup_done(gmp_waitgroup *wg);

/**
 * Waits until the counter of `wg` is zero, or has been since the call began.
 * The group can be used again at any time.
 *
 * Returns 0. May block.
 */
int gmp_waitgroup_wait(gmp_waitgroup *wg);

/** gmp_waitgroup_wait with a deadline. May block. */
int gmp_waitgroup_wait_until(gmp_waitgroup *wg, int64_t deadline);

/** A call that is made once; begin with GMP_ONCE_INIT. */
typedef struct gmp_once {
    uint32_t _state;
    uint32_t _reserved;
    uint64_t _runner;
    uint64_t _spare[2];
} gmp_once;

/**
 * Calls `func(arg)` unless a call with `o` is done; if one is under way, waits
 * for its end. A cancel does not end the wait.
 *
 * A call that ends its goroutine by gmp_exit counts as done. A call that an
 * exception leaves is not done: the exception goes on to the caller, and the
 * next gmp_once_do, or one that waits, makes the call. A call that longjmp
 * leaves is not done either: others find out when the goroutine or thread that
 * jumped waits in a call of this library, calls gmp_once_do, or ends.
 *
 * Returns 0; -EDEADLK inside `func` itself, and inside an unlockf unless the
 * call is done; -ENOMEM. May block.
 */
int gmp_once_do(gmp_once *o, gmp_fn func, void *arg);

/**
 * gmp_once_do with a deadline; a cancel ends the wait. Neither interrupts
 * `func`. May block.
 */
int gmp_once_do_until(gmp_once *o, gmp_fn func, void *arg, int64_t deadline);

/* --- Groups ------------------------------------------------------------------
 */

/**
 * Goroutines that belong together, its members: the first error of one cancels
 * all, and none outlives the group.
 */
typedef struct gmp_group gmp_group;

/**
 * Makes a group. If a member of another group makes it, the new group is
 * nested: a cancel of the outer group cancels the inner one. A group that is
 * made behind a shield, or in a call that gmp_defer deferred, is not nested.
 *
 * Returns the group; NULL if there is no memory. Never blocks.
 *
 *     gmp_group *gr = gmp_group_make();
 *     int rc = gmp_group_go(gr, fetch, first); // int fetch(void *first)
 *     if (rc == 0)
 *         rc = gmp_group_go(gr, fetch, second);
 *     if (rc == 0)
 *         rc = gmp_group_wait(gr); // 0, or the first error of the two
 *     gmp_group_free(gr);
 */
gmp_group *gmp_group_make(void);

/**
 * Starts a goroutine that calls `func(arg)`, as a member of `gr`. The first
 * result of a member that is not 0 is the error of the group, and cancels the
 * group. A member that ends by gmp_exit has the result 0. In a cancelled group
 * a member starts cancelled.
 *
 * Returns 0; -ENOMEM. Never blocks.
 */
int gmp_group_go(gmp_group *gr, int (*func)(void *arg), void *arg);

/**
 * Waits until all members of `gr` have ended. More members can be started
 * meanwhile and afterwards, and waited for again.
 *
 * Returns 0, or the error of the group; -EDEADLK on a member; -ECANCELED if
 * the caller is cancelled: the members go on. May block.
 */
int gmp_group_wait(gmp_group *gr);

/**
 * gmp_group_wait with a deadline; after -ETIMEDOUT the members go on. May
 * block.
 */
int gmp_group_wait_until(gmp_group *gr, int64_t deadline);

/**
 * Cancels all members of `gr`, also those that start later, and the groups
 * nested in `gr`.
 *
 * Returns 0. Never blocks.
 */
int gmp_group_cancel(gmp_group *gr);

/**
 * Cancels `gr`, waits until all members have ended, and frees it; NULL does
 * nothing. A cancel does not end the wait. Meanwhile only members may use
 * `gr`. A member that frees its own group is a fatal error, and so is a wait
 * inside an unlockf. May block.
 */
void gmp_group_free(gmp_group *gr);

/* --- Time --------------------------------------------------------------------
 *
 * Spans are nanoseconds (ns); points in time are deadlines.
 */

/** A deadline that never comes. */
#define GMP_FOREVER INT64_MAX

/**
 * Returns the nanoseconds of the monotonic clock on which deadlines are
 * measured. It is the kernel's, even if a library replaces clock_gettime.
 * Never blocks.
 */
int64_t gmp_now(void);

/**
 * Returns the deadline `ns` nanoseconds from now; GMP_FOREVER if that is
 * beyond the clock. Never blocks. (gmp_after makes a channel instead, on which
 * a tick comes.)
 */
int64_t gmp_after_ns(int64_t ns);

/**
 * Returns the deadline at which CLOCK_REALTIME shows `*t`, as the timed calls
 * of POSIX take it: GMP_FOREVER if that is beyond the clock, and a deadline in
 * the past for a time that is over. If the clock is set afterwards, the
 * deadline stays as it is.
 *
 * Returns -EINVAL, which is a deadline in the past, if `t` is NULL or its
 * tv_nsec is not from 0 to 999999999. Never blocks.
 *
 *     // const struct timespec *noon
 *     int rc = gmp_sleep_until(gmp_realtime_deadline(noon));
 *     if (rc < 0)
 *         fprintf(stderr, "gmp_sleep_until: %s\n", gmp_strerror(rc));
 */
int64_t gmp_realtime_deadline(const struct timespec *t);

/**
 * Sleeps for `ns` nanoseconds; 0 or less only yields.
 *
 * Returns 0. May block.
 */
int gmp_sleep(int64_t ns);

/**
 * Sleeps until `deadline`; a deadline in the past only yields, and GMP_FOREVER
 * sleeps until a cancel.
 *
 * Returns 0. May block.
 */
int gmp_sleep_until(int64_t deadline);

/** A timer: calls a function later, once or again and again. */
typedef struct gmp_timer gmp_timer;

/**
 * Starts a timer that calls `func(arg)` on a goroutine of its own: `ns`
 * nanoseconds from now, or at once if `ns` is 0 or less; and then every
 * `period_ns` nanoseconds, or once if that is 0. Calls of one timer do not
 * overlap: while `func` runs, periods pass without a call, and a reset takes
 * effect afterwards.
 *
 * Returns the timer; NULL for a negative `period_ns`, or if there is no
 * memory. Never blocks.
 */
gmp_timer *gmp_timer_start(int64_t ns, int64_t period_ns, gmp_fn func,
    void *arg);

/**
 * Makes `t` fire `ns` nanoseconds from now, whether it was pending, stopped or
 * done, and then with its period, if it has one. No call of an earlier start
 * or reset begins after the return.
 *
 * Returns 0. Never blocks.
 */
int gmp_timer_reset(gmp_timer *t, int64_t ns);

/**
 * Stops `t`; gmp_timer_reset starts it again. Does not wait for a call that
 * has begun.
 *
 * Returns 1 if `t` was pending: no call begins any more, though with a period
 * one that was about to begin still may; 0 if it was not: it was stopped
 * already, or its only call has begun. Never blocks.
 */
int gmp_timer_stop(gmp_timer *t);

/**
 * Stops `t` and frees it; NULL does nothing. Its own function may do so. Does
 * not wait for a call that has begun. Never blocks.
 */
void gmp_timer_free(gmp_timer *t);

/**
 * Makes a channel on which one tick comes, `ns` nanoseconds from now
 * (time.After): an int64_t, the time of gmp_now() by then. Its buffer holds
 * the tick. Drop it with gmp_chan_unref, before the tick or after. (For a
 * deadline call gmp_after_ns.)
 *
 * Returns the channel; NULL if there is no memory. Never blocks.
 */
gmp_chan *gmp_after(int64_t ns);

/**
 * Makes a channel on which a tick like that of gmp_after comes every
 * `period_ns` nanoseconds (time.Tick). Its buffer holds one; a slow receiver
 * misses some. gmp_chan_close and the last gmp_chan_unref stop the ticks.
 *
 * Returns the channel; NULL if `period_ns` is 0 or less, or if there is no
 * memory. Never blocks.
 */
gmp_chan *gmp_tick(int64_t period_ns);

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

/** An event of gmp_wait_fd: a read would not wait. */
#define GMP_READABLE 1

/** An event of gmp_wait_fd: a write would not wait. */
#define GMP_WRITABLE 2

/**
 * Reads up to `n` bytes from `fd` into `buf`, as read(2): waits until there
 * are some.
 *
 * On a file on a disk it takes as long as the disk does; deadlines and cancels
 * count only before it starts. On a terminal that others read too, it may keep
 * a thread waiting.
 *
 * Returns the count; 0 at the end; a negative errno of read(2). May block.
 */
ssize_t gmp_read(int fd, void *buf, size_t n);

/** gmp_read with a deadline. May block. */
ssize_t gmp_read_until(int fd, void *buf, size_t n, int64_t deadline);

/**
 * Writes up to `n` bytes at `buf` to `fd`, as write(2): waits until some can
 * be written. A disk or terminal is as for gmp_read. SIGPIPE is not raised.
 *
 * Returns the count, which may be less than `n`; a negative errno of write(2).
 * May block.
 */
ssize_t gmp_write(int fd, const void *buf, size_t n);

/** gmp_write with a deadline. May block. */
ssize_t gmp_write_until(int fd, const void *buf, size_t n, int64_t deadline);

/**
 * Reads `n` bytes from `fd` into `buf`, by gmp_read until it has all or comes
 * to the end.
 *
 * Returns the count, less than `n` at the end; the error of a gmp_read: use
 * gmp_read_full_until to know how much was read before. May block.
 */
ssize_t gmp_read_full(int fd, void *buf, size_t n);

/**
 * gmp_read_full with a deadline. Writes to `*done` how many bytes were read,
 * also after an error; `done` may be NULL.
 *
 * Returns 0; -ETIMEDOUT; the error of a gmp_read. May block.
 */
int gmp_read_full_until(int fd, void *buf, size_t n, size_t *done,
    int64_t deadline);

/**
 * Writes all `n` bytes at `buf` to `fd`, by gmp_write until they are written.
 *
 * Returns `n`; the error of a gmp_write: use gmp_write_all_until to know how
 * much was written before. May block.
 */
ssize_t gmp_write_all(int fd, const void *buf, size_t n);

/**
 * gmp_write_all with a deadline. Writes to `*done` how many bytes were
 * written, also after an error; `done` may be NULL.
 *
 * Returns 0; -ETIMEDOUT; the error of a gmp_write. May block.
 */
int gmp_write_all_until(int fd, const void *buf, size_t n, size_t *done,
    int64_t deadline);

/**
 * gmp_read into the `n` buffers of `iov`, as readv(2); `n` is at most 1024,
 * else -EINVAL. May block.
 */
ssize_t gmp_readv(int fd, const struct iovec *iov, int n);

/** gmp_readv with a deadline. May block. */
ssize_t gmp_readv_until(int fd, const struct iovec *iov, int n,
    int64_t deadline);

/**
 * gmp_write from the `n` buffers of `iov`, as writev(2); `n` is at most 1024,
 * else -EINVAL. May block.
 */
ssize_t gmp_writev(int fd, const struct iovec *iov, int n);

/** gmp_writev with a deadline. May block. */
ssize_t gmp_writev_until(int fd, const struct iovec *iov, int n,
    int64_t deadline);

/**
 * Waits until `fd` is ready for one of `events`, GMP_READABLE, GMP_WRITABLE or
 * both, or until `deadline`. Use it before another library's call on its own
 * descriptor.
 *
 * Returns those of `events` that `fd` is ready for, both after an error or the
 * end of a connection; -ETIMEDOUT; -EBADF; -EINVAL for other events. May
 * block.
 */
int gmp_wait_fd(int fd, int events, int64_t deadline);

/**
 * Closes `fd`, as close(2). Calls of this library that wait on `fd` return
 * -EBADF. After a plain close(2) such calls return when the number is used
 * again in a call of this library that waits.
 *
 * As with close(2), a call on another thread that is just about to use the
 * number may get the next file that has it: let calls end before you open
 * that. If dup2(2) puts another file at `fd` while a goroutine waits in
 * gmp_read, the goroutine may read from that file once, and then gets -EBADF.
 *
 * Returns 0, or a negative errno of close(2). Blocks only as close(2) does.
 */
int gmp_close(int fd);

/* --- Sockets -----------------------------------------------------------------
 *
 * What stands under Descriptors holds here too.
 */

/**
 * Accepts a connection from the socket `fd`, as accept(2): waits for one. `fd`
 * is put into non-blocking mode and stays so. The new socket is in blocking
 * mode, which suits all functions here, and closed on exec.
 *
 * The client's address is written to `*addr`, which has `*len` bytes, as by
 * accept(2); both may be NULL.
 *
 * Returns the new descriptor; a negative errno of accept(2), but not what the
 * network did to a client before it was accepted, such as ECONNABORTED. After
 * -EMFILE and -ENFILE the client still waits. May block.
 */
int gmp_accept(int fd, struct sockaddr *addr, unsigned int *len);

/** gmp_accept with a deadline. May block. */
int gmp_accept_until(int fd, struct sockaddr *addr, unsigned int *len,
    int64_t deadline);

/**
 * Connects the socket `fd` to the address of `len` bytes at `addr`, as
 * connect(2): waits until it is connected. A socket in blocking mode is in
 * non-blocking mode meanwhile.
 *
 * Returns 0; a negative errno of connect(2), but not -EINPROGRESS or
 * -EALREADY. After -ETIMEDOUT and -ECANCELED the connection may still come
 * about: close `fd`. May block.
 */
int gmp_connect(int fd, const struct sockaddr *addr, unsigned int len);

/** gmp_connect with a deadline. May block. */
int gmp_connect_until(int fd, const struct sockaddr *addr, unsigned int len,
    int64_t deadline);

/**
 * Receives a message with its ancillary data, as recvmsg(2): waits for one.
 * MSG_WAITALL has no effect.
 *
 * Returns the count; a negative errno of recvmsg(2). May block.
 */
ssize_t gmp_recvmsg(int fd, struct msghdr *msg, int flags);

/** gmp_recvmsg with a deadline. May block. */
ssize_t gmp_recvmsg_until(int fd, struct msghdr *msg, int flags,
    int64_t deadline);

/**
 * Sends a message with its ancillary data, as sendmsg(2): waits until it can
 * be sent. SIGPIPE is not raised.
 *
 * Returns the count; a negative errno of sendmsg(2). May block.
 */
ssize_t gmp_sendmsg(int fd, const struct msghdr *msg, int flags);

/** gmp_sendmsg with a deadline. May block. */
ssize_t gmp_sendmsg_until(int fd, const struct msghdr *msg, int flags,
    int64_t deadline);

/**
 * Receives a datagram or up to `n` bytes into `buf`, as recvfrom(2): waits for
 * it. MSG_WAITALL has no effect. The sender's address is written to `*addr`,
 * which has `*len` bytes; both may be NULL.
 *
 * Returns the count; a negative errno of recvfrom(2). May block.
 */
ssize_t gmp_recvfrom(int fd, void *buf, size_t n, int flags,
    struct sockaddr *addr, unsigned int *len);

/** gmp_recvfrom with a deadline. May block. */
ssize_t gmp_recvfrom_until(int fd, void *buf, size_t n, int flags,
    struct sockaddr *addr, unsigned int *len, int64_t deadline);

/**
 * Sends the `n` bytes at `buf`, as sendto(2): waits until they can be sent. To
 * the address of `len` bytes at `addr`, which may be NULL. SIGPIPE is not
 * raised.
 *
 * Returns the count; a negative errno of sendto(2). May block.
 */
ssize_t gmp_sendto(int fd, const void *buf, size_t n, int flags,
    const struct sockaddr *addr, unsigned int len);

/** gmp_sendto with a deadline. May block. */
ssize_t gmp_sendto_until(int fd, const void *buf, size_t n, int flags,
    const struct sockaddr *addr, unsigned int len, int64_t deadline);

/**
 * Makes a socket that listens at `address`, with SO_REUSEADDR, in non-blocking
 * mode and closed on exec.
 *
 * `network` is "tcp", "tcp4", "tcp6" or "unix". `address` is "host:port",
 * "[::1]:port", ":port" for all addresses (of IPv6 and IPv4 with "tcp"), or a
 * path. A port is a decimal number up to 65535, or the name of a service.
 *
 * Returns the descriptor; -EINVAL for an address without port or path, or with
 * a number that is no port; -EPROTONOSUPPORT for another network; -ENOENT if
 * there is no such host or service; a negative errno of bind(2) or listen(2);
 * -ENOMEM. May block, to look up a name.
 */
int gmp_listen(const char *network, const char *address);

/**
 * Makes a socket that is connected to `address`, in blocking mode and closed
 * on exec. If a name has several addresses, they race as RFC 8305 says: IPv6
 * and IPv4 in turn, one more every quarter of a second or when one has failed.
 *
 * `network` and `address` are as of gmp_listen; ":port" is on this machine.
 *
 * Returns the descriptor; -EINVAL, -EPROTONOSUPPORT and -ENOENT as gmp_listen;
 * -EAGAIN if the name servers do not answer; the error of connect(2) on the
 * last address, such as -ECONNREFUSED; -ENOMEM. May block.
 */
int gmp_dial(const char *network, const char *address);

/** gmp_dial with a deadline. May block. */
int gmp_dial_until(const char *network, const char *address, int64_t deadline);

/**
 * Looks up `node` and `service` with `hints`, as getaddrinfo(3), on a
 * goroutine of its own. Writes the list to `*res`: free it with freeaddrinfo.
 *
 * Returns 0; -ENOENT if there is no such host or service; -EAGAIN if the name
 * servers do not answer; -EINVAL; -EAFNOSUPPORT; -ENOMEM; -EIO; -ENOSYS in a
 * statically linked program that does not use getaddrinfo itself. May block.
 */
int gmp_getaddrinfo(const char *node, const char *service,
    const struct addrinfo *hints, struct addrinfo **res);

/** gmp_getaddrinfo with a deadline. May block. */
int gmp_getaddrinfo_until(const char *node, const char *service,
    const struct addrinfo *hints, struct addrinfo **res, int64_t deadline);

/* --- Files -------------------------------------------------------------------
 *
 * gmp_open, gmp_fsync, gmp_pread and gmp_pwrite block as long as the file
 * system does, while other goroutines run. A deadline or a cancel counts only
 * until the call starts. EINTR is never returned.
 */

/**
 * Opens the file at `path`, with `flags` and `mode` as of open(2).
 *
 * Returns the descriptor; a negative errno of open(2). May block.
 */
int gmp_open(const char *path, int flags, mode_t mode);

/** gmp_open with a deadline. May block. */
int gmp_open_until(const char *path, int flags, mode_t mode, int64_t deadline);

/**
 * Writes to the disk what the kernel keeps of the file `fd`, as fsync(2).
 *
 * Returns 0; a negative errno of fsync(2). May block.
 */
int gmp_fsync(int fd);

/** gmp_fsync with a deadline. May block. */
int gmp_fsync_until(int fd, int64_t deadline);

/**
 * Reads up to `n` bytes from the file `fd` at `offset` into `buf`, as
 * pread(2).
 *
 * Returns the count; 0 at the end; a negative errno of pread(2). May block.
 */
ssize_t gmp_pread(int fd, void *buf, size_t n, int64_t offset);

/** gmp_pread with a deadline. May block. */
ssize_t gmp_pread_until(int fd, void *buf, size_t n, int64_t offset,
    int64_t deadline);

/**
 * Writes up to `n` bytes at `buf` to the file `fd` at `offset`, as pwrite(2).
 *
 * Returns the count; a negative errno of pwrite(2). May block.
 */
ssize_t gmp_pwrite(int fd, const void *buf, size_t n, int64_t offset);

/** gmp_pwrite with a deadline. May block. */
ssize_t gmp_pwrite_until(int fd, const void *buf, size_t n, int64_t offset,
    int64_t deadline);

/**
 * Copies up to `n` bytes of the file `in_fd` to `out_fd` inside the kernel, as
 * sendfile(2): waits until some can be written. A socket in blocking mode is
 * in non-blocking mode meanwhile, which its other users see.
 *
 * Reads at `*offset` and moves that on; if `offset` is NULL, at the position
 * of the file.
 *
 * Returns the count; 0 at the end; a negative errno of sendfile(2), or an
 * error of gmp_write. May block.
 */
ssize_t gmp_sendfile(int out_fd, int in_fd, int64_t *offset, size_t n);

/** gmp_sendfile with a deadline. May block. */
ssize_t gmp_sendfile_until(int out_fd, int in_fd, int64_t *offset, size_t n,
    int64_t deadline);

/**
 * Moves up to `n` bytes from `fd_in` to `fd_out`, one of which is a pipe, with
 * `off_in`, `off_out` and `flags` as of splice(2): waits until some can be
 * moved. Both are in non-blocking mode meanwhile, which their other users see.
 *
 * Returns the count; 0 at the end; a negative errno of splice(2), or an error
 * of gmp_write. May block.
 */
ssize_t gmp_splice(int fd_in, int64_t *off_in, int fd_out, int64_t *off_out,
    size_t n, unsigned int flags);

/** gmp_splice with a deadline. May block. */
ssize_t gmp_splice_until(int fd_in, int64_t *off_in, int fd_out,
    int64_t *off_out, size_t n, unsigned int flags, int64_t deadline);

/* --- Processes ---------------------------------------------------------------
 */

/**
 * Waits for the child `pid`, with `pid` and `options` as of waitpid(2), so
 * also for any child, stops and continues. Writes the status to `*status`,
 * which may be NULL.
 *
 * The end of one child (`pid` above 0) is noticed at once, by a pidfd. For all
 * else, and without pidfds, a goroutine and a call with a deadline look at
 * least every 10 ms. With __WNOTHREAD the children are those of the thread on
 * which the goroutine happens to run. Ask for stops of a traced child with
 * WUNTRACED or __WALL.
 *
 * Returns the number of the child; 0 with WNOHANG if there is none to report;
 * a negative errno of waitpid(2), such as -ECHILD, or -EINVAL for unknown
 * options. May block.
 */
int gmp_waitpid(pid_t pid, int *status, int options);

/** gmp_waitpid with a deadline. May block. */
int gmp_waitpid_until(pid_t pid, int *status, int options, int64_t deadline);

/* --- Signals -----------------------------------------------------------------
 */

/**
 * Sends the number of each signal `signo` that comes from now on on `ch`, a
 * channel of int, if its buffer has room (signal.Notify). The signal does not
 * end the process any more; a handler that the host has installed before is
 * still called. Several signals of one kind at a time may become one. `ch` is
 * referenced until gmp_signal_stop.
 *
 * Returns 0; -EINVAL for elements of another size, for a channel of
 * gmp_gc_chan_make(), and for a signal that cannot be caught or that tells of
 * a fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL); -ENOMEM; a negative errno of
 * sigaction(2). Never blocks.
 */
int gmp_signal_notify(gmp_chan *ch, int signo);

/**
 * Undoes gmp_signal_notify. With the last channel of a signal, the host's own
 * action for that signal is back.
 *
 * Returns 0; -EINVAL if `ch` did not get `signo`. Never blocks.
 */
int gmp_signal_stop(gmp_chan *ch, int signo);

/**
 * Changes which signals the caller blocks, as pthread_sigmask(3), with `how`
 * and the sigset_t at `set`; NULL changes nothing. Writes the mask before to
 * the sigset_t at `old`, which may be NULL.
 *
 * The mask is the goroutine's own from then on, on whatever thread it runs. A
 * goroutine begins with the mask of the thread that made the first call of
 * this library. On a host thread, and on a goroutine locked to its thread, it
 * is the mask of the thread.
 *
 * Returns 0; -EINVAL for an unknown `how`. Never blocks, not even for the
 * start of the runtime.
 */
int gmp_sigmask(int how, const void *set, void *old);

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

/**
 * For gmp_gc_set_roots: the data of the program and all its libraries are
 * roots, which is so from the beginning.
 */
#define GMP_GC_ROOTS_ALL 0

/** For gmp_gc_set_roots: what gmp_gc_add_roots() names, and no other data. */
#define GMP_GC_ROOTS_NONE 1

/**
 * A pointer to an object that does not keep it. It is an object of this heap
 * itself, so it goes when nothing points to it, and may lie wherever a pointer
 * to an object may.
 */
typedef struct gmp_weak gmp_weak;

/**
 * The function that gmp_gc_each_stack calls with the words from `lo` to before
 * `hi`.
 */
typedef void (*gmp_gc_stack_fn)(void *lo, void *hi, void *arg);

/**
 * The heap in numbers. A counter only grows. A version of the library may add
 * fields at the end.
 */
typedef struct gmp_gc_stats {
    /** The bytes that the library has filled in. Fields beyond are 0. */
    size_t struct_size;
    /**
     * Bytes of objects, dead ones that are not freed yet among them, and of
     * room that a processor has taken to allocate from.
     */
    uint64_t live_bytes;
    /**
     * Bytes of objects when the next collection begins; UINT64_MAX: no size
     * begins one.
     */
    uint64_t next_bytes;
    /** Bytes of objects that the last collection has found alive. */
    uint64_t marked_bytes;
    /** Bytes of pages with objects. */
    uint64_t in_use_bytes;
    /** Bytes of pages without, as address space. */
    uint64_t idle_bytes;
    /** Of idle_bytes: those whose memory the kernel has. */
    uint64_t released_bytes;
    /** Counter: collections. */
    uint64_t collections;
    /**
     * Counter: attempts that failed, since a thread did not stop, or for want
     * of memory.
     */
    uint64_t failed;
    /** Counter: nanoseconds for which the world stood still. */
    uint64_t pause_ns;
    /** The longest such time. */
    uint64_t longest_pause_ns;
    /**
     * Bytes of stacks of goroutines that the heap knows as such: all
     * stack_mapped_bytes of gmp_get_stats(), once the heap is in use.
     */
    uint64_t stack_bytes;
} gmp_gc_stats;

/**
 * Allocates `size` bytes, all zero and aligned to 16, which are freed once
 * nothing points into them. Pointers to them, or into them, may lie in
 * objects of this heap, on the stacks of goroutines and of attached threads
 * (gmp_gc_attach), in the data of the program and its libraries, and in what
 * this library keeps: elements of channels, arguments, values of keys. A
 * pointer that lies only in memory of malloc, in a thread-local variable or in
 * a file keeps nothing: gmp_gc_alloc_root() is for those.
 *
 * Returns NULL where memory or the limit is out, if the runtime cannot start,
 * and in the child of a fork that came after the first use of this heap, which
 * is said once on stderr. May block for a collection, which takes some
 * milliseconds for each 100 MB that are in use.
 *
 *     void **pair = gmp_gc_alloc(2 * sizeof *pair);
 *     if (pair != NULL)
 *         pair[0] = first;
 */
void *gmp_gc_alloc(size_t size);

/**
 * gmp_gc_alloc for memory that will hold no pointer to an object of this heap:
 * text, numbers, pixels. A collection does not look into it. It is *not*
 * zeroed. May block for a collection.
 */
void *gmp_gc_alloc_noscan(size_t size);

/**
 * gmp_gc_alloc for `n` times `size` bytes. Returns NULL also if that is more
 * than a size_t has. May block for a collection.
 */
void *gmp_gc_calloc(size_t n, size_t size);

/**
 * gmp_gc_alloc for memory that stays, and is looked into, until
 * gmp_gc_free(): for what only memory of malloc or foreign code points to. May
 * block for a collection.
 */
void *gmp_gc_alloc_root(size_t size);

/**
 * Memory of malloc that collections look into until gmp_kept_free(): for
 * records that may hold pointers to objects of this heap, in a program that
 * may use it. It is no object itself, needs no heap, is to be had in the child
 * of a fork, and is *not* zeroed.
 *
 * Returns NULL if there is no memory. Never blocks.
 */
void *gmp_kept_malloc(size_t size);

/** Frees memory of gmp_kept_malloc(); NULL does nothing. Never blocks. */
void gmp_kept_free(void *p);

/**
 * Gives the object at `p` a size of `size` bytes, perhaps at another place, of
 * the same kind; what it gains is zero if it may hold pointers. With a NULL
 * `p` it is gmp_gc_alloc.
 *
 * Returns NULL if no object begins at `p`, and for the same reasons as
 * gmp_gc_alloc. Then nothing has changed. May block for a collection.
 */
void *gmp_gc_realloc(void *p, size_t size);

/**
 * Frees the object at `p` at once, for who knows that nobody uses it.
 *
 * Returns 0, also for NULL; -EINVAL if no object begins at `p`, or if it is
 * free already; the first pointer into a goroutine's stack is also told on
 * stderr. -ENOTSUP in a child that gmp_gc_alloc() refuses; -ENOMEM for the
 * first call of the library on a thread. Never blocks.
 */
int gmp_gc_free(void *p);

/**
 * The object that `p` points into: its first byte. NULL if `p` does not point
 * into an object of this heap. Never blocks.
 */
void *gmp_gc_base(const void *p);

/**
 * The bytes of the object that `p` points into, which are as many as were
 * asked for, or some more. 0 if `p` does not point into an object of this
 * heap. Never blocks.
 */
size_t gmp_gc_size(const void *p);

/**
 * Calls `f(arg)` once the object that `p` points into is gone: it was
 * collected, or freed by gmp_gc_free() or gmp_gc_realloc(). The calls are made
 * on one goroutine, one after the other in no order, so `f` should be short.
 * An object may have several. What `arg` points to is kept until the call.
 * Go's AddCleanup: the object cannot come back, and objects in a cycle go as
 * all others do. At the end of the process or of the runtime no call is made.
 *
 * `arg` must not lead to the object, which would never go then.
 *
 * Returns 0; -EINVAL for a NULL `f`, if `p` does not point into an object of
 * this heap, and if `arg` points into the same object; -ENOTSUP in a child
 * that gmp_gc_alloc() refuses; -ENOMEM. Never blocks.
 *
 *     void **image = gmp_gc_alloc(64); // its first word: a line of malloc's
 *     if (image != NULL)
 *         gmp_gc_cleanup(image, drop_line, image[0]);
 */
int gmp_gc_cleanup(void *p, gmp_fn f, void *arg);

/**
 * A weak pointer to the object that `p` points into, the same one each time.
 *
 * Returns NULL if `p` does not point into an object of this heap, and for the
 * same reasons as gmp_gc_alloc. May block for a collection.
 *
 *     gmp_weak *weak = gmp_gc_weak(first); // does not keep it
 *     second = gmp_gc_weak_get(weak);      // NULL: it is gone
 */
gmp_weak *gmp_gc_weak(void *p);

/**
 * The first byte of the object that `w` was made for; NULL if it is gone, and
 * for NULL. An object is gone once nothing but weak pointers has led to it in
 * a collection. Never blocks.
 */
void *gmp_gc_weak_get(gmp_weak *w);

/**
 * gmp_chan_make for a channel that is collected as an object of this heap is:
 * gmp_chan_ref() and gmp_chan_unref() do nothing for it. So it may be sent
 * through channels, and messages may lead back to it. Elements that nobody has
 * received go with it.
 *
 * Returns NULL where gmp_gc_alloc() does. May block for a collection.
 */
gmp_chan *gmp_gc_chan_make(size_t elem_size, size_t capacity);

/**
 * Has collections look for pointers from `lo` up to `hi`, and not at `hi`
 * itself. What is not mapped any more is skipped.
 *
 * Returns 0; -EINVAL for NULL, and for an end below the beginning; -ENOMEM.
 * Never blocks.
 */
int gmp_gc_add_roots(const void *lo, const void *hi);

/**
 * Takes back all gmp_gc_add_roots() that lie within `lo` and `hi`.
 *
 * Returns 0. Never blocks.
 */
int gmp_gc_remove_roots(const void *lo, const void *hi);

/**
 * Says which data are roots: GMP_GC_ROOTS_ALL or GMP_GC_ROOTS_NONE. Stacks and
 * what the library keeps are roots in any case.
 *
 * Returns 0; -EINVAL for another number. Never blocks.
 */
int gmp_gc_set_roots(uint32_t which);

/**
 * Has collections look at this thread's stack. A host thread is attached by
 * its first call of this heap, and by its first call that waits. So only a
 * thread that gets pointers in another way calls it. More than once does
 * nothing.
 *
 * Returns 0; -ENOMEM; -ENOTSUP in a child that gmp_gc_alloc() refuses. Never
 * blocks.
 */
int gmp_gc_attach(void);

/**
 * Collects: when it returns, everything is freed that was garbage when it was
 * called, but for what a word that looks like a pointer keeps.
 *
 * Returns 0; -EBUSY if a thread could not be stopped within 100 ms, such as
 * one that blocks SIGURG, or one that with GMP_GC_SIGNAL=0 comes to no safe
 * point, or if other threads load and unload libraries all the time; -EDEADLK
 * inside an unlockf; -ENOMEM; -ENOTSUP in a child that gmp_gc_alloc() refuses.
 * Blocks this thread, and stops all others that use the library. Waits first
 * if a collection has just ended, for as long as that took, up to 1 ms.
 */
int gmp_gc(void);

/**
 * For another collector in the process, such as bdwgc: stops all goroutines,
 * until this thread calls gmp_gc_start(). Threads of the program's go on; the
 * other collector stops those. Between the two this thread calls nothing of
 * this library but gmp_gc_each_stack(), and does not fork. Channels, timers
 * and groups that are older than the first call are not looked into, and no
 * goroutine runs on a thread that joins it from then on.
 *
 * Returns 0; -EPERM on a goroutine; -EALREADY if this thread has stopped them;
 * -EBUSY if one did not stop within 100 ms; -EDEADLK inside an unlockf;
 * -ENOMEM; -ENOTSUP in the child of a fork. Blocks while another thread
 * collects.
 */
int gmp_gc_stop(void);

/**
 * Calls `func`, with `arg`, for each range of words in which goroutines may
 * have pointers: their stacks and registers, their arguments, values of keys
 * and deferred calls, and what channels, timers and groups hold. Only between
 * gmp_gc_stop() and gmp_gc_start(), on the thread that has called the first.
 * Takes no lock, so other threads may stand anywhere.
 *
 * Returns 0; -EPERM elsewhere; -EINVAL for a null `func`; -ENOMEM if it has
 * called nothing. Never blocks.
 */
int gmp_gc_each_stack(gmp_gc_stack_fn func, void *arg);

/**
 * Lets the goroutines go on that gmp_gc_stop() has stopped.
 *
 * Returns 0; -EPERM if this thread has not. Never blocks.
 */
int gmp_gc_start(void);

/**
 * Sets how much the heap may grow after a collection until the next one, in
 * percent of what that has left: 100 from the beginning, or what GMP_GOGC
 * says; -1, or less: no collection but by gmp_gc() and at the limit, also none
 * where a heap that is used was not collected for two minutes.
 *
 * Returns the former percentage; -ESHUTDOWN and the like, which are less than
 * -1, if the runtime is not up. Never blocks.
 */
int gmp_gc_set_percent(int percent);

/**
 * Sets a limit to the bytes of all objects: collections come more often below
 * it, and an allocation that would pass it returns NULL. A negative number
 * changes nothing; INT64_MAX is no limit, from the beginning or as
 * GMP_MEMLIMIT says.
 *
 * Returns the former limit, or a negative errno if the runtime is not up.
 * Never blocks.
 */
int64_t gmp_gc_set_limit(int64_t bytes);

/**
 * Writes the numbers of this moment to `*out`, which has `size` bytes:
 * sizeof(gmp_gc_stats), as gmp_get_stats does.
 *
 * Returns 0; -EINVAL for a `size` without room for struct_size. Never blocks.
 */
int gmp_gc_get_stats(gmp_gc_stats *out, size_t size);

/* --- Seeing inside -----------------------------------------------------------
 */

/** gmp_dump(): an entry for each goroutine, and no groups. */
#define GMP_DUMP_EACH 1

/** gmp_dump(): JSON, as docs/dump-schema.json describes it. */
#define GMP_DUMP_JSON 2

/** gmp_dump(): the goroutines of the library, too. */
#define GMP_DUMP_SYSTEM 4

/**
 * gmp_dump(): all frames, also of goroutines that run on other threads, which
 * are asked by a signal (SIGURG) if the program has no use for that; and how
 * much stack the goroutines of each function have used.
 */
#define GMP_DUMP_STACKS 8

/**
 * Writes to the descriptor `fd` what all goroutines do, while they go on: the
 * state of each, what it waits for, since about when and who must end that,
 * where it was started, and its frames with file and line. Goroutines that are
 * alike are one entry with a count. Where the collected heap is in use, a
 * collection finds those that are leaked first: they wait for an object of the
 * heap that nothing else can reach. `flags` is 0, or any of the four constants
 * above or'ed.
 *
 * A dump is no moment: each entry was true at some time while it was made. It
 * takes microseconds for each goroutine, and memory for each group; all the
 * time it lets other threads have the processor. Without memory for debug
 * information there are names and no lines. The files of the program, its
 * libraries and their debug information must not be cut short meanwhile, or
 * the process gets a SIGBUS; to replace a file by rename(2), as installers do,
 * is safe.
 *
 * Returns 0; -EINVAL for unknown flags; -ENOMEM; a negative errno of write(2),
 * such as -EBADF or -EPIPE, after which a part is written. Raises no SIGPIPE.
 * Blocks as write(2) does, and while another thread makes a dump, as any
 * function outside this library does: never parks its caller.
 */
int gmp_dump(int fd, uint32_t flags);

/**
 * The runtime in numbers. A counter only grows, from 0 at the start of the
 * runtime, also where gmp_set_maxprocs() takes processors away and where
 * threads end. All other numbers tell of now. A version of the library may add
 * fields at the end.
 */
typedef struct gmp_stats {
    /**
     * The bytes that the library has filled in. Fields beyond are 0, since
     * this library does not know them.
     */
    size_t struct_size;
    /** Nanoseconds since the start of the runtime. */
    uint64_t uptime_ns;
    /**
     * Goroutines that exist, without the library's own:
     * goroutines_running + goroutines_runnable + goroutines_waiting.
     */
    uint64_t goroutines;
    /**
     * Of these: running, on a processor or, outside the library, without one.
     */
    uint64_t goroutines_running;
    /** Of these: queued, until a processor runs them. */
    uint64_t goroutines_runnable;
    /** Of these: all others, which wait in a call. */
    uint64_t goroutines_waiting;
    /**
     * Of goroutines_running: blocked or busy in code outside the library, and
     * without a processor, which runs other goroutines meanwhile. Each has a
     * thread to itself.
     */
    uint64_t goroutines_without_p;
    /** Of goroutines_runnable: not begun, and without memory for a stack. */
    uint64_t goroutines_starved;
    /** Counter: goroutines started. */
    uint64_t goroutines_created;
    /** Counter: goroutines that have ended. */
    uint64_t goroutines_ended;
    /** Counter: goroutines that had to wait for memory for a stack. */
    uint64_t goroutines_starved_ever;
    /** Processors, as gmp_set_maxprocs() sets their number. */
    uint64_t procs;
    /** Of these: without a goroutine to run. */
    uint64_t procs_idle;
    /** Counter: how often a processor has started or resumed a goroutine. */
    uint64_t switches;
    /** Goroutines in the queue that all processors share. */
    uint64_t runq_global;
    /** Goroutines in the queues of all processors. */
    uint64_t runq_local;
    /** Goroutines in the longest of these queues. */
    uint64_t runq_longest;
    /**
     * Counter: how often a processor without work has looked for some on the
     * others.
     */
    uint64_t steal_attempts;
    /** Counter: goroutines that a processor has taken from another one. */
    uint64_t stolen;
    /**
     * Counter: how often a processor went on without the goroutine that had
     * it, because that was in gmp_blocking() and the like, or because the
     * processor was taken from it: retaken_blocked, retaken_busy.
     */
    uint64_t handoffs;
    /**
     * Counter: processors taken from a goroutine that had blocked its thread.
     */
    uint64_t retaken_blocked;
    /**
     * Counter: processors taken from a goroutine that had run for long without
     * a call.
     */
    uint64_t retaken_busy;
    /** Counter: requests to such a goroutine to yield in its next call. */
    uint64_t yields_requested;
    /** Threads of the library. */
    uint64_t threads;
    /** Of these: asleep, since there is nothing to run. */
    uint64_t threads_idle;
    /** Of these: awake, and looking for a goroutine to run. */
    uint64_t threads_spinning;
    /** Of these: for one goroutine only (gmp_lock_os_thread). */
    uint64_t threads_locked;
    /**
     * Of these: with a goroutine of goroutines_without_p that was busy when it
     * lost its processor.
     */
    uint64_t threads_detached;
    /** Counter: threads of the library that have begun. */
    uint64_t threads_begun;
    /** Counter: threads of the library that have ended. */
    uint64_t threads_ended;
    /**
     * Counter: threads that the system or GMP_MAXTHREADS has refused while
     * work waited for one.
     */
    uint64_t threads_refused;
    /**
     * Counter: how often a thread of the library fell asleep, for want of
     * something to run.
     */
    uint64_t thread_sleeps;
    /**
     * Counter: how often such a thread was woken because there was something
     * to run; a timer or a descriptor that wakes one does not count.
     */
    uint64_t thread_wakeups;
    /** Host threads that sleep in a call without a deadline. */
    uint64_t host_threads_waiting;
    /**
     * Timers and deadlines to come, of sleeps and waits too; the library may
     * have one of its own.
     */
    uint64_t timers_pending;
    /** Counter: timers and deadlines that have come. */
    uint64_t timers_fired;
    /** Waits for descriptors, one for each goroutine and direction. */
    uint64_t netpoll_waiting;
    /** Counter: how often the kernel was asked for ready descriptors. */
    uint64_t netpoll_polls;
    /** Counter: the answers to that. */
    uint64_t netpoll_events;
    /**
     * Bytes of stacks that goroutines have, as address space: what a goroutine
     * does not touch is no memory.
     */
    uint64_t stack_in_use_bytes;
    /** Bytes of stacks that processors keep for their next goroutines. */
    uint64_t stack_cached_bytes;
    /** Bytes of all other free stacks. */
    uint64_t stack_idle_bytes;
    /** Of stack_idle_bytes: those whose memory was given back to the kernel. */
    uint64_t stack_released_bytes;
    /**
     * Bytes mapped for all stacks: with guards, and with what is still unused.
     */
    uint64_t stack_mapped_bytes;
    /** Stacks without a guard, since the kernel has refused one. */
    uint64_t stacks_unguarded;
    /**
     * Arenas of the collected heap, of 64 MiB of address space each; this and
     * all that follows is 0 where the heap is not used. gmp_gc_get_stats() has
     * more.
     */
    uint64_t heap_arenas;
    /** Bytes of objects, dead ones that are not freed yet among them. */
    uint64_t heap_live_bytes;
    /** Bytes of pages with objects. */
    uint64_t heap_in_use_bytes;
    /** Bytes of pages without objects, as address space. */
    uint64_t heap_idle_bytes;
    /** Of heap_idle_bytes: those whose memory the kernel has. */
    uint64_t heap_released_bytes;
    /** Counter: collections. */
    uint64_t heap_collections;
    /** Counter: nanoseconds for which collections have stopped the world. */
    uint64_t heap_pause_ns;
} gmp_stats;

/**
 * Writes the numbers of this moment to `*out`, which has `size` bytes:
 * sizeof(gmp_stats). A program and a library of different versions agree on
 * the fields that both know, and the program gets 0 for others.
 *
 * The numbers are read one after the other, while goroutines go on. So a
 * counter may be ahead of another one by what has happened meanwhile, but
 * goroutines_ended is never ahead of goroutines_created.
 *
 * Returns 0; -EINVAL for a `size` without room for struct_size. Never blocks.
 * Takes microseconds, more with hundreds of processors or threads, and no
 * longer for many goroutines.
 *
 *     gmp_stats stats;
 *     if (gmp_get_stats(&stats, sizeof stats) == 0)
 *         printf("%llu goroutines wait\n",
 *                (unsigned long long)stats.goroutines_waiting);
 */
int gmp_get_stats(gmp_stats *out, size_t size);

/**
 * Begins a trace of all goroutines: who runs where and when, waits for what,
 * wakes whom.
 *
 * With a `path` the events are written there until gmp_trace_stop or the end
 * of the process, in Perfetto's format: ui.perfetto.dev opens it, and the page
 * docs/trace.md describes it. With NULL they stay in memory, the newest of
 * each thread, until gmp_trace_save writes them: a flight recorder. An event
 * costs some 15 ns, and a thread up to 4 MiB (GMPDEBUG=tracebuf=KIB).
 *
 * Returns 0; -EBUSY if a trace is on; -ENOMEM; -EAGAIN if no thread could be
 * made that writes; -EINVAL for an empty path; an error of open(2). Blocks the
 * thread while the file is opened.
 */
int gmp_trace_start(const char *path);

/**
 * Ends the trace, and writes what is left of its file.
 *
 * Returns 0; -EINVAL if no trace is on; the first error of write(2), after
 * which nothing was written. Blocks the thread while it writes.
 */
int gmp_trace_stop(void);

/**
 * Writes what the flight recorder has at this moment to the descriptor `fd`,
 * in the same format. The recorder goes on, and so do all goroutines.
 *
 * Returns 0; -EINVAL if no flight recorder is on; -ENOMEM; an error of
 * write(2). Blocks the thread while it writes.
 */
int gmp_trace_save(int fd);

/**
 * Makes a mark with this text on the track of the calling goroutine, or of the
 * host thread; nothing without a trace. The text is copied, at most 128 bytes
 * of it. Never blocks.
 */
void gmp_trace_mark(const char *text);

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

/** What GMP_INIT makes of a function; programs do not use it. */
typedef struct gmp_init_task {
    /** The function. */
    void (*func)(void);
    /** Its name. */
    const char *name;
    /** For the library. */
    void *reserved[3];
} gmp_init_task;

/**
 * Lists the function of `task` to be called, for GMP_INIT; programs do not
 * call it. `*task` stays until gmp_init_unregister or the end of the process.
 *
 * Returns 0; -EINVAL if `task` or its function is NULL. Never blocks.
 */
int gmp_init_register(gmp_init_task *task);

/**
 * Takes `task` off the list, for GMP_INIT, because its code is unloaded;
 * programs do not call it. A function that was not called yet never is.
 *
 * Returns 0; -EINVAL if `task` or its function is NULL. Never blocks.
 */
int gmp_init_unregister(gmp_init_task *task);

/**
 * Tells the library where C++ keeps the state of a thread's exceptions, so
 * that each goroutine has its own; programs do not call it. `f` is
 * __cxa_get_globals.
 *
 * Returns 0. Never blocks.
 */
int gmp_register_cxa(void *(*f)(void));

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
