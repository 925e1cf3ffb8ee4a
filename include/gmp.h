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

/**
 * In `gmp_attr.flags`: the goroutine runs with its thread locked from the
 * start, as by gmp_lock_os_thread.
 */
#define GMP_LOCKED_THREAD 1

/**
 * In `gmp_case.op`: send `*elem` on `ch`.
 */
#define GMP_SEND 1

/**
 * In `gmp_case.op`: receive into `*elem` from `ch`.
 */
#define GMP_RECV 2

/**
 * For gmp_wait_fd: reading would not wait.
 */
#define GMP_READABLE 1

/**
 * For gmp_wait_fd: writing would not wait.
 */
#define GMP_WRITABLE 2

/**
 * A channel; freed when its last reference goes.
 */
typedef struct gmp_chan gmp_chan;

/**
 * A goroutine's handle: not an address, and found out when it is stale.
 */
typedef struct gmp_g gmp_g;

/**
 * Goroutines that belong together: the first error of one cancels all, and
 * none outlives gmp_group_free.
 */
typedef struct gmp_group gmp_group;

/**
 * A key of goroutine-local storage: not an address, and found out when it is
 * stale.
 */
typedef struct gmp_key gmp_key;

/**
 * A timer; gmp_timer_free ends it.
 */
typedef struct gmp_timer gmp_timer;

/**
 * What GMP_INIT makes of a function. Programs do not use it themselves.
 */
typedef struct gmp_init_task {
    /**
     * The function.
     */
    void (*func)(void);
    /**
     * Its name.
     */
    const char *name;
    /**
     * The library's.
     */
    void *reserved[3];
} gmp_init_task;

/**
 * A goroutine's function.
 */
typedef void (*gmp_fn)(void *arg);

/**
 * How to start a goroutine; begin with GMP_ATTR_INIT.
 */
typedef struct gmp_attr {
    /**
     * sizeof(gmp_attr), which GMP_ATTR_INIT sets.
     */
    size_t struct_size;
    /**
     * Its name in dumps and reports, copied; NULL for none.
     */
    const char *name;
    /**
     * Bytes of stack; 0 for the default (GMP_STACKSIZE, 192 KiB), at most
     * 1 GiB. At least 64 KiB, and with the 64 KiB guard below rounded up to a
     * power of two, up to 8 MiB. Code with frames of more than 64 KiB needs
     * `-fstack-clash-protection` for an overflow to be seen.
     */
    size_t stack_size;
    /**
     * GMP_LOCKED_THREAD or 0.
     */
    uint32_t flags;
} gmp_attr;

/**
 * Runs on the scheduler's stack once the parking goroutine is Waiting; may
 * unlock `lock` and make calls that cannot block. 0 resumes at once. It
 * returns: an exception that leaves it is a fatal error, and it must not be
 * left by longjmp.
 */
typedef int (*gmp_unlockf)(struct gmp_g *g, void *lock);

/**
 * One case of a select.
 */
typedef struct gmp_case {
    /**
     * The channel; a case with NULL never runs.
     */
    struct gmp_chan *ch;
    /**
     * What is sent, or where it is received; NULL drops what is received.
     */
    void *elem;
    /**
     * GMP_SEND or GMP_RECV.
     */
    int op;
    /**
     * Written in the case that ran: 0, or -EPIPE if its channel is closed
     * (and drained, with `*elem` zeroed, to a receiver).
     */
    int result;
} gmp_case;

/**
 * A mutex that goroutines and host threads share; begin with GMP_MUTEX_INIT,
 * or all zero. It needs no destructor. It belongs to nobody: one may lock it
 * here and another unlock it there.
 */
typedef struct gmp_mutex {
    uint32_t _state;
    uint32_t _reserved;
    uint64_t _spare[2];
} gmp_mutex;

/**
 * A mutex that many may hold for reading, or one for writing; begin with
 * GMP_RWMUTEX_INIT, or all zero. It needs no destructor. It belongs to nobody.
 * A writer that waits keeps new readers out, so who holds it for reading must
 * not lock it for reading again.
 */
typedef struct gmp_rwmutex {
    uint32_t _state;
    uint32_t _writers;
    uint64_t _spare[3];
} gmp_rwmutex;

/**
 * A condition variable; begin with GMP_COND_INIT, or all zero. It needs no
 * destructor.
 */
typedef struct gmp_cond {
    uint32_t _waiters;
    uint32_t _reserved;
    uint64_t _spare[2];
} gmp_cond;

/**
 * A counting semaphore; begin with GMP_SEMA_INIT(tokens), 0 to 2^31 - 1. It
 * needs no destructor. First come, first served.
 */
typedef struct gmp_sema {
    uint32_t _state;
    uint32_t _reserved;
    uint64_t _spare[2];
} gmp_sema;

/**
 * Waits for a number of goroutines; begin with GMP_WAITGROUP_INIT, or all
 * zero. It needs no destructor.
 */
typedef struct gmp_waitgroup {
    uint64_t _state;
    uint64_t _reserved;
    uint64_t _spare[2];
} gmp_waitgroup;

/**
 * What is done once; begin with GMP_ONCE_INIT, or all zero. It needs no
 * destructor.
 */
typedef struct gmp_once {
    uint32_t _state;
    uint32_t _reserved;
    uint64_t _runner;
    uint64_t _spare[2];
} gmp_once;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of this library, "MAJOR.MINOR.PATCH". Never blocks.
 */
const char *gmp_rt_version(void);

/**
 * Waits until the runtime has started, at most ten seconds.
 *
 * Returns 0; -ETIMEDOUT; or why the start failed, such as -EAGAIN where no
 * thread was to be had; -ENOTSUP in the child of a fork. Any other call waits
 * the same way by itself.
 */
int gmp_wait_init(void);

/**
 * Sets how many goroutines may run at once (GOMAXPROCS); the initial value is
 * GMP_MAXPROCS, or GOMAXPROCS, or the CPUs this process may use.
 *
 * `n`: the new number; below 1 only asks; above 1024 counts as 1024.
 *
 * Returns the former number; a negative errno if the runtime is not up;
 * -EDEADLK from inside an unlockf, which may only ask; -ENOMEM, and the number
 * stays. Waits for a moment
 * until goroutines inside the runtime have let go, but never parks the
 * caller.
 */
int gmp_set_maxprocs(int n);

/**
 * The number of CPUs that this process may use: affinity and cgroup quota.
 * Never blocks once the runtime is up.
 *
 * Returns it; a negative errno if the runtime is not up; -ENOMEM, if there is
 * no memory to read the quota at the first call.
 */
int gmp_num_cpu(void);

/**
 * The number of goroutines that exist now, running or not. Never blocks once
 * the runtime is up.
 */
int64_t gmp_num_goroutines(void);

/**
 * Runs `main` as the main goroutine, on a stack as large as RLIMIT_STACK, and
 * returns its result as soon as it returns, without waiting for other
 * goroutines. Meanwhile a deadlock of all goroutines is reported and ends
 * the process.
 *
 * `argc`, `argv`: handed to `main`.
 *
 * Returns main's result; a negative errno where it could not be started
 * (-EINVAL for a null `main`; -ENOMEM). Blocks the calling thread, or parks
 * the calling goroutine.
 *
 * Required:
 * `main` may be called with `argc` and `argv`.
 */
int gmp_run_main(int argc, char **argv, int (*main)(int, char**));

/**
 * The program's arguments, as its main gets them: what the loader or the
 * kernel has handed over, whoever asks and when.
 *
 * `argv`: NULL, or where to put the array, which ends with a NULL and stays
 * for ever; its strings are the program's own. NULL comes there if nothing is
 * known of the arguments, which may be where there is no /proc.
 *
 * Returns argc, 0 if nothing is known; a negative errno if the runtime is not
 * up. Never blocks once the runtime is up.
 *
 * Required:
 * `argv` is NULL or may be written.
 */
int gmp_args(char ***argv);

/**
 * For GMP_INIT: lists a function that is to be called. Programs do not call it
 * themselves.
 *
 * Returns 0; -EINVAL for a null `task` or function. Never blocks.
 *
 * Required:
 * `task` stays until the process ends or gmp_init_unregister.
 */
int gmp_init_register(struct gmp_init_task *task);

/**
 * For GMP_INIT: the object of a function goes. If it was not called, it never
 * is. Programs do not call it themselves.
 *
 * Returns 0; -EINVAL as gmp_init_register. Never blocks.
 *
 * Required:
 * As gmp_init_register.
 */
int gmp_init_unregister(struct gmp_init_task *task);

/**
 * What an error code means, in English: the text of a negative errno or of
 * its positive value. Never blocks; the text is static.
 */
const char *gmp_strerror(int code);

/**
 * For gmp.h under C++: tells where C++ keeps a thread's exception state
 * (`__cxa_get_globals`), so that each goroutine has its own. Programs do not
 * call it themselves.
 *
 * Returns 0; -EINVAL for null. Never blocks.
 *
 * Required:
 * `f` is `__cxa_get_globals`.
 */
int gmp_register_cxa(void *(*f)(void));

/**
 * Calls `fn(arg)`, which may block for as long as it likes: the other
 * goroutines go on at once, where without it they would after about a
 * millisecond. On a host thread it is a plain call. `fn` may be left by an
 * exception, longjmp or gmp_exit.
 *
 * Returns 0; -EINVAL for a null `fn`; -ECANCELED if the caller was cancelled
 * before: then `fn` is not called, and once it is, nothing interrupts it.
 * Blocks while `fn` does; stays on the caller's thread.
 *
 * Required:
 * `func` may be called with `arg`.
 */
int gmp_blocking(gmp_fn func, void *arg);

/**
 * gmp_blocking, unless `deadline` (nanoseconds of gmp_now) has passed: then
 * -ETIMEDOUT, and `fn` is not called. Once it is, no deadline ends it.
 *
 * Required:
 * As gmp_blocking.
 */
int gmp_blocking_until(gmp_fn func, void *arg, int64_t deadline);

/**
 * Starts a goroutine that calls `fn(arg)`.
 *
 * Returns 0; -EINVAL for a null `fn`; -ENOMEM. Never blocks.
 *
 * Required:
 * `func` may be called with `arg`, on another thread.
 */
int gmp_go(gmp_fn func, void *arg);

/**
 * Starts a goroutine that calls `fn(copy)`, where `copy` is the address of a
 * copy of the `size` bytes at `args` on its own stack, 16-byte aligned.
 *
 * `size`: at most 64 KiB or a quarter of the stack, whichever is less.
 *
 * Returns 0; -EINVAL for a null `fn`, null `args` with a size, or too large
 * a size; -ENOMEM. Never blocks; `args` may go when it returns.
 *
 * Required:
 * `args` is readable for `size` bytes; `func` may be called so.
 */
int gmp_go_copy(gmp_fn func, const void *args, size_t size);

/**
 * Starts a goroutine as `attr` says (NULL: as gmp_go does), and gives its
 * handle.
 *
 * `out`: the handle, to be joined or released; NULL if it is not wanted.
 *
 * Returns 0; -EINVAL for a null `fn`, a `struct_size` that is no known one,
 * unknown flags, or more than 1 GiB of stack; -ENOMEM. Never blocks.
 *
 * Required:
 * `attr` is null or valid, its name null or a C string; `out` is null or
 * writable; `func` may be called with `arg`.
 */
int gmp_go_with(const struct gmp_attr *attr,
                gmp_fn func,
                void *arg,
                struct gmp_g **out);

/**
 * Waits until `g` has ended, and releases it. A goroutine is joined once.
 *
 * Returns 0; -EINVAL for a null or stale handle, or if somebody joins it
 * already; -EDEADLK from itself or from inside an unlockf; -ECANCELED. Parks
 * the goroutine; blocks a host thread.
 */
int gmp_join(struct gmp_g *g);

/**
 * gmp_join until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for none):
 * then -ETIMEDOUT, and `g` can be joined again.
 */
int gmp_join_until(struct gmp_g *g, int64_t deadline);

/**
 * Gives up the handle `g` without waiting: the goroutine is freed when it
 * ends. A null or stale handle does nothing. Never blocks.
 */
void gmp_release(struct gmp_g *g);

/**
 * Cancels `g`: whatever it waits for now, and every call of its that may
 * wait from now on, returns -ECANCELED, until it ends. Not interrupted are
 * locking (gmp_mutex_lock, gmp_rwmutex_lock and _rlock, the end of
 * gmp_cond_wait), gmp_once_do, gmp_group_free, what gmp_defer put off,
 * destructors of keys, and what a shield covers (gmp_shield_enter). It may be
 * done more than once.
 *
 * It costs up to some 10 us while other threads run, so that waiting costs
 * little; a group cancels all its goroutines for the same.
 *
 * Returns 0; -EINVAL if `g` has ended, or for null; -EPERM for the handle of
 * a host thread. From any thread; never blocks.
 */
int gmp_cancel(struct gmp_g *g);

/**
 * Whether the calling goroutine was cancelled, also behind a shield; false
 * on a host thread. Never blocks.
 */
bool gmp_cancelled(void);

/**
 * From here to gmp_shield_leave a cancel does not interrupt the calling
 * goroutine. Shields nest. On a host thread, which nobody can cancel, it does
 * nothing.
 *
 * Returns 0. Never blocks.
 */
int gmp_shield_enter(void);

/**
 * Undoes one gmp_shield_enter.
 *
 * Returns 0; -EPERM on a goroutine that has entered none. Never blocks.
 */
int gmp_shield_leave(void);

/**
 * Lets other goroutines run (runtime.Gosched); on a host thread, other
 * threads. May resume on another thread.
 */
void gmp_yield(void);

/**
 * For long loops: yields if the scheduler has asked for it, and costs a few
 * instructions otherwise. May resume on another thread.
 */
void gmp_checkpoint(void);

/**
 * Ends the calling goroutine (runtime.Goexit); does not return on one.
 * Destructors of C++ objects on its stack do not run.
 *
 * Returns -EPERM on a host thread, and where the caller may not park;
 * -ENOTSUP in the child of a fork.
 */
int gmp_exit(void);

/**
 * The handle of the calling goroutine, valid until it ends; NULL on a host
 * thread that has never blocked in a call of this library. Never blocks.
 */
struct gmp_g *gmp_self(void);

/**
 * The number of the calling goroutine, never used twice; 0 on a host thread
 * that has never blocked in a call of this library. Never blocks.
 */
uint64_t gmp_goid(void);

/**
 * Names the calling goroutine in dumps and reports; the name is copied.
 *
 * Returns 0; -EINVAL for null; -EPERM on a host thread; -ENOMEM. Never
 * blocks.
 *
 * Required:
 * `name` is null or a C string.
 */
int gmp_set_name(const char *name);

/**
 * Parks the caller until gmp_ready gives it a permit (gopark); one that came
 * before is taken at once.
 *
 * `unlockf`, `lock`: NULL, or called as unlockf(g, lock) once the caller is
 * Waiting, so that what it unlocks lets only wakers in that can wake it; 0
 * from it resumes the caller at once. It must not block.
 * `reason`: a C string for dumps that stays valid until the call returns;
 * NULL for "park".
 *
 * Returns 0, now and then without a permit: check your condition again;
 * -EDEADLK from inside an unlockf; -ECANCELED, after which a permit is still
 * there; -ENOMEM. Parks the goroutine;
 * blocks a host thread.
 *
 * Required:
 * As above.
 */
int gmp_park(gmp_unlockf unlockf, void *lock, const char *reason);

/**
 * gmp_park until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for none):
 * then -ETIMEDOUT, with `unlockf` called all the same.
 *
 * Required:
 * As gmp_park.
 */
int gmp_park_until(gmp_unlockf unlockf,
                   void *lock,
                   const char *reason,
                   int64_t deadline);

/**
 * Gives `g` its permit (goready): ends its gmp_park, now or when it comes to
 * it. Permits do not add up.
 *
 * Returns 0; -EINVAL if `g` has ended, or for null. From any thread; never
 * blocks.
 */
int gmp_ready(struct gmp_g *g);

/**
 * Locks the calling goroutine to its thread (runtime.LockOSThread): it runs
 * on that thread only, and nothing else does. Calls nest. If it ends locked,
 * the thread ends with it, unless that is the process's first. On a host
 * thread it does nothing.
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
 * Changes the signals that the caller has blocked, as pthread_sigmask(3): the
 * mask is the goroutine's own from then on, and follows it from thread to
 * thread. A goroutine begins with the mask of the thread that made the first
 * call of this library; while none runs on it, a thread has that too. On a
 * host thread, and on a goroutine locked to its thread, it is the thread's
 * mask.
 *
 * `set`: a sigset_t, or NULL to ask; `old`: a sigset_t for the former mask,
 * or NULL.
 *
 * Returns 0; -EINVAL for a `how` that is none of SIG_BLOCK, SIG_UNBLOCK and
 * SIG_SETMASK. Never blocks, and does not wait for the start.
 *
 * Required:
 * `set` is null or a set; `old` is null or writable for one.
 */
int gmp_sigmask(int how, const void *set, void *old);

/**
 * Makes a key under which each goroutine, and each host thread, has a value
 * of its own, NULL at first.
 *
 * `destructor`: NULL, or called with the value when a goroutine, or a host
 * thread, ends whose value is not NULL; the value is NULL by then. As in
 * POSIX, destructors run in up to four rounds, for those that set values
 * again; in no particular order; after what gmp_defer put off.
 *
 * Returns NULL where all 4096 keys are taken. Never blocks.
 */
struct gmp_key *gmp_key_create(void (*destructor)(void *value));

/**
 * Deletes `k`; no destructor is called for it any more, and its values are
 * their owners' to free.
 *
 * Returns 0; -EINVAL for null or a stale key. Never blocks.
 */
int gmp_key_delete(struct gmp_key *k);

/**
 * Sets the caller's value of `k`.
 *
 * Returns 0; -EINVAL for null or a stale key; -EDEADLK from inside an
 * unlockf; -ENOMEM. Never blocks.
 */
int gmp_setspecific(struct gmp_key *k, void *value);

/**
 * The caller's value of `k`: NULL where none was set, and for a stale key.
 * Never blocks.
 */
void *gmp_getspecific(struct gmp_key *k);

/**
 * Puts off a call of `fn(arg)` until the calling goroutine ends, by return or
 * by gmp_exit; the last one put off comes first. A cancel does not interrupt
 * what it does. An exception that leaves it is uncaught, as one that leaves
 * the destructor of a key.
 *
 * Returns 0; -EINVAL for a null `fn`; -EPERM on a host thread and in an
 * unlockf; -ENOMEM. Never blocks.
 *
 * Required:
 * `func` may be called with `arg` then.
 */
int gmp_defer(gmp_fn func, void *arg);

/**
 * Makes a channel for elements of `elem_size` bytes, with one reference.
 *
 * `elem_size`: may be 0. `capacity`: elements that it buffers; 0 makes every
 * send wait for its receiver.
 *
 * Returns NULL for out of memory or a size beyond all memory. Never blocks.
 */
struct gmp_chan *gmp_chan_make(size_t elem_size, size_t capacity);

/**
 * Takes one more reference to `ch`; returns `ch`. NULL does nothing. Never
 * blocks.
 *
 * Required:
 * `ch`: null, or a channel to which the caller holds a reference.
 */
struct gmp_chan *gmp_chan_ref(struct gmp_chan *ch);

/**
 * Drops one reference to `ch`; the last one frees it. NULL does nothing.
 * Never blocks.
 *
 * Required:
 * `ch`: null, or the caller's reference, which it uses no more.
 */
void gmp_chan_unref(struct gmp_chan *ch);

/**
 * Sends a copy of `*elem` on `ch`; waits until a receiver or the buffer takes
 * it. On a NULL channel it waits for ever.
 *
 * Returns 0; -EPIPE if `ch` is or gets closed; -EINVAL for a null `elem`
 * (unless elements have no size); -EDEADLK from inside an unlockf;
 * -ECANCELED. Parks the goroutine; blocks a host thread.
 *
 * Required:
 * `ch`: null, or a channel to which the caller holds a reference. `elem`:
 * null, or readable for one element.
 */
int gmp_chan_send(struct gmp_chan *ch, const void *elem);

/**
 * gmp_chan_send until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT, and nothing was sent. One in the past tries once.
 *
 * Required:
 * As gmp_chan_send.
 */
int gmp_chan_send_until(struct gmp_chan *ch,
                        const void *elem,
                        int64_t deadline);

/**
 * gmp_chan_send if that is possible at once, else -EAGAIN. Never blocks.
 *
 * Required:
 * As gmp_chan_send.
 */
int gmp_chan_try_send(struct gmp_chan *ch, const void *elem);

/**
 * Receives an element from `ch` into `*elem`; waits until there is one. On a
 * NULL channel it waits for ever.
 *
 * `elem`: may be NULL, which drops the element.
 *
 * Returns 0; -EPIPE if `ch` is closed and drained, with `*elem` zeroed;
 * -EDEADLK from inside an unlockf; -ECANCELED. Parks the goroutine; blocks a
 * host thread.
 *
 * Required:
 * `ch`: null, or a channel to which the caller holds a reference. `elem`:
 * null, or writable for one element.
 */
int gmp_chan_recv(struct gmp_chan *ch, void *elem);

/**
 * gmp_chan_recv until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT, and nothing was received. One in the past tries
 * once.
 *
 * Required:
 * As gmp_chan_recv.
 */
int gmp_chan_recv_until(struct gmp_chan *ch, void *elem, int64_t deadline);

/**
 * gmp_chan_recv if that is possible at once, else -EAGAIN. Never blocks.
 *
 * Required:
 * As gmp_chan_recv.
 */
int gmp_chan_try_recv(struct gmp_chan *ch, void *elem);

/**
 * Closes `ch`: receivers drain what it buffers and then get -EPIPE, senders
 * get that at once, those that wait now included.
 *
 * Returns 0; -EPIPE if it is closed already; -EINVAL for NULL. Never blocks.
 *
 * Required:
 * `ch`: null, or a channel to which the caller holds a reference.
 */
int gmp_chan_close(struct gmp_chan *ch);

/**
 * How many elements `ch` buffers now; 0 for NULL. Never blocks.
 *
 * Required:
 * `ch`: null, or a channel to which the caller holds a reference.
 */
size_t gmp_chan_len(const struct gmp_chan *ch);

/**
 * How many elements `ch` can buffer; 0 for NULL. Never blocks.
 *
 * Required:
 * `ch`: null, or a channel to which the caller holds a reference.
 */
size_t gmp_chan_cap(const struct gmp_chan *ch);

/**
 * Runs one of `n` cases: waits until one of them can go on, and picks one at
 * random, all alike, where several can. A channel may be in several cases, in
 * both directions. With no case, or only NULL channels, it waits for ever.
 *
 * `cases`: the cases; only the `result` of the one that runs is written.
 * `n`: at most 65536.
 *
 * Returns the index of the case that ran; -EINVAL for null `cases` with an
 * `n`, too many of them, an unknown `op`, or nothing to send; -EDEADLK from
 * inside an unlockf; -ENOMEM; -ECANCELED. Parks the goroutine; blocks a host
 * thread.
 *
 * Required:
 * `cases`: `n` cases, each with a channel to which the caller holds a
 * reference, or NULL, and an element that is readable or writable as its
 * `op` asks.
 */
int gmp_select(struct gmp_case *cases, size_t n);

/**
 * gmp_select until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for none):
 * then -ETIMEDOUT, and no case ran. One in the past tries once.
 *
 * Required:
 * As gmp_select.
 */
int gmp_select_until(struct gmp_case *cases, size_t n, int64_t deadline);

/**
 * gmp_select if a case can run at once, else -EAGAIN: select with a default.
 * Never blocks.
 *
 * Required:
 * As gmp_select.
 */
int gmp_try_select(struct gmp_case *cases, size_t n);

/**
 * Locks `m`; waits until it is free. No waiter starves. A cancel does not
 * interrupt it.
 *
 * Returns 0; -EINVAL for null; -EDEADLK from inside an unlockf where it would
 * have to wait. Parks the goroutine; blocks a host thread.
 *
 * Required:
 * `m`: null, or a mutex that stays where it is.
 */
int gmp_mutex_lock(struct gmp_mutex *m);

/**
 * gmp_mutex_lock until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. Unlike gmp_mutex_lock it is interrupted by a
 * cancel, with -ECANCELED. One in the past tries once.
 *
 * Required:
 * As gmp_mutex_lock.
 */
int gmp_mutex_lock_until(struct gmp_mutex *m, int64_t deadline);

/**
 * Locks `m` if it is free.
 *
 * Returns 0; -EAGAIN; -EINVAL for null. Never blocks.
 *
 * Required:
 * As gmp_mutex_lock.
 */
int gmp_mutex_trylock(struct gmp_mutex *m);

/**
 * Unlocks `m`, whoever locked it.
 *
 * Returns 0; -EPERM if it is not locked; -EINVAL for null. Never blocks.
 *
 * Required:
 * As gmp_mutex_lock.
 */
int gmp_mutex_unlock(struct gmp_mutex *m);

/**
 * Locks `rw` for writing; waits until nobody holds it. A cancel does not
 * interrupt it.
 *
 * Returns 0; -EINVAL for null; -EDEADLK from inside an unlockf where it would
 * have to wait. Parks the goroutine; blocks a host thread.
 *
 * Required:
 * `rw`: null, or an rwmutex that stays where it is.
 */
int gmp_rwmutex_lock(struct gmp_rwmutex *rw);

/**
 * gmp_rwmutex_lock until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. Unlike gmp_rwmutex_lock it is interrupted by a
 * cancel, with -ECANCELED. One in the past tries once.
 *
 * Required:
 * As gmp_rwmutex_lock.
 */
int gmp_rwmutex_lock_until(struct gmp_rwmutex *rw, int64_t deadline);

/**
 * Locks `rw` for writing if nobody holds it or waits for it.
 *
 * Returns 0; -EAGAIN; -EINVAL for null. Never blocks.
 *
 * Required:
 * As gmp_rwmutex_lock.
 */
int gmp_rwmutex_trylock(struct gmp_rwmutex *rw);

/**
 * Unlocks what was locked for writing. Readers that wait go first, all of
 * them; else the writer that has waited longest.
 *
 * Returns 0; -EPERM if it is not locked for writing; -EINVAL for null. Never
 * blocks.
 *
 * Required:
 * As gmp_rwmutex_lock.
 */
int gmp_rwmutex_unlock(struct gmp_rwmutex *rw);

/**
 * Locks `rw` for reading, with any number of other readers; waits while
 * somebody holds it for writing, or waits to. A cancel does not interrupt it.
 *
 * Returns 0; -EINVAL for null; -EDEADLK from inside an unlockf where it would
 * have to wait. Parks the goroutine; blocks a host thread.
 *
 * Required:
 * As gmp_rwmutex_lock.
 */
int gmp_rwmutex_rlock(struct gmp_rwmutex *rw);

/**
 * gmp_rwmutex_rlock until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. Unlike gmp_rwmutex_rlock it is interrupted by a
 * cancel, with -ECANCELED. One in the past tries once.
 *
 * Required:
 * As gmp_rwmutex_lock.
 */
int gmp_rwmutex_rlock_until(struct gmp_rwmutex *rw, int64_t deadline);

/**
 * Locks `rw` for reading if nobody holds it for writing or waits for it.
 *
 * Returns 0; -EAGAIN; -EINVAL for null. Never blocks.
 *
 * Required:
 * As gmp_rwmutex_lock.
 */
int gmp_rwmutex_tryrlock(struct gmp_rwmutex *rw);

/**
 * Unlocks what was locked for reading.
 *
 * Returns 0; -EPERM if it is not locked for reading; -EINVAL for null. Never
 * blocks.
 *
 * Required:
 * As gmp_rwmutex_lock.
 */
int gmp_rwmutex_runlock(struct gmp_rwmutex *rw);

/**
 * Unlocks `m`, waits for a signal, and locks `m` again, whatever it returns.
 * It is woken by a signal or broadcast only. Taking `m` again is not
 * interrupted.
 *
 * Returns 0; -EINVAL for null; -EPERM if `m` is not locked; -EDEADLK from
 * inside an unlockf; -ECANCELED. Parks the goroutine; blocks a host thread.
 *
 * Required:
 * `c`, `m`: null, or a condition and a mutex that stay where they are.
 */
int gmp_cond_wait(struct gmp_cond *c, struct gmp_mutex *m);

/**
 * gmp_cond_wait until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT, with `m` locked. One in the past returns at once.
 *
 * Required:
 * As gmp_cond_wait.
 */
int gmp_cond_wait_until(struct gmp_cond *c,
                        struct gmp_mutex *m,
                        int64_t deadline);

/**
 * Wakes the one that has waited on `c` longest, if anybody does.
 *
 * Returns 0; -EINVAL for null. Never blocks.
 *
 * Required:
 * `c`: null, or a condition that stays where it is.
 */
int gmp_cond_signal(struct gmp_cond *c);

/**
 * Wakes all that wait on `c`.
 *
 * Returns 0; -EINVAL for null. Never blocks.
 *
 * Required:
 * As gmp_cond_signal.
 */
int gmp_cond_broadcast(struct gmp_cond *c);

/**
 * Takes a token of `s`; waits for one.
 *
 * Returns 0; -EINVAL for null; -EDEADLK from inside an unlockf where it would
 * have to wait; -ECANCELED. Parks the goroutine; blocks a host thread.
 *
 * Required:
 * `s`: null, or a semaphore that stays where it is.
 */
int gmp_sema_acquire(struct gmp_sema *s);

/**
 * gmp_sema_acquire until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT, and no token was taken. One in the past tries once.
 *
 * Required:
 * As gmp_sema_acquire.
 */
int gmp_sema_acquire_until(struct gmp_sema *s, int64_t deadline);

/**
 * Takes a token of `s` if there is one.
 *
 * Returns 0; -EAGAIN; -EINVAL for null. Never blocks.
 *
 * Required:
 * As gmp_sema_acquire.
 */
int gmp_sema_try_acquire(struct gmp_sema *s);

/**
 * Gives `s` a token, whoever took it: the one that has waited longest gets
 * it.
 *
 * Returns 0; -EOVERFLOW beyond 2^31 - 1 tokens; -EINVAL for null. Never
 * blocks.
 *
 * Required:
 * As gmp_sema_acquire.
 */
int gmp_sema_release(struct gmp_sema *s);

/**
 * Adds `delta`, which may be negative, to the counter; at zero all waiters
 * go on.
 *
 * Returns 0; -EINVAL for null, or if the counter would leave 0 to 2^31 - 1:
 * then it stays as it is. Never blocks.
 *
 * Required:
 * `wg`: null, or a wait group that stays where it is.
 */
int gmp_waitgroup_add(struct gmp_waitgroup *wg, int64_t delta);

/**
 * gmp_waitgroup_add of -1.
 *
 * Required:
 * As gmp_waitgroup_add.
 */
int gmp_waitgroup_done(struct gmp_waitgroup *wg);

/**
 * Waits until the counter is zero, or has been since this call began. The
 * group can be used again at any time.
 *
 * Returns 0; -EINVAL for null; -EDEADLK from inside an unlockf where it would
 * have to wait; -ECANCELED. Parks the goroutine; blocks a host thread.
 *
 * Required:
 * As gmp_waitgroup_add.
 */
int gmp_waitgroup_wait(struct gmp_waitgroup *wg);

/**
 * gmp_waitgroup_wait until `deadline` (nanoseconds of gmp_now, GMP_FOREVER
 * for none): then -ETIMEDOUT. One in the past looks once.
 *
 * Required:
 * As gmp_waitgroup_add.
 */
int gmp_waitgroup_wait_until(struct gmp_waitgroup *wg, int64_t deadline);

/**
 * Calls `fn(arg)` if no call with `o` has done so before; while another does,
 * waits for its end, which a cancel does not interrupt.
 *
 * If `fn` ends its goroutine by gmp_exit, it counts as done. If it is left by
 * an exception, that goes on to the caller, and it is not done: the next call
 * begins anew, one that waits already too. The same if it is left by longjmp,
 * once the goroutine, or the thread, that did so waits for anything in a call
 * of this library, calls a gmp_once_do, or ends.
 *
 * Returns 0; -EINVAL for null; -EDEADLK from within `fn` itself, and from
 * inside an unlockf where it is not done yet; -ENOMEM. Parks the goroutine;
 * blocks a host thread.
 *
 * Required:
 * `o`: null, or a once that stays where it is. `func` may be called with
 * `arg`.
 */
int gmp_once_do(struct gmp_once *o, gmp_fn func, void *arg);

/**
 * gmp_once_do that waits for another's call until `deadline` (nanoseconds of
 * gmp_now, GMP_FOREVER for none): then -ETIMEDOUT. Unlike gmp_once_do it is
 * interrupted by a cancel, with -ECANCELED. Its own call of `fn` is not.
 *
 * Required:
 * As gmp_once_do.
 */
int gmp_once_do_until(struct gmp_once *o,
                      gmp_fn func,
                      void *arg,
                      int64_t deadline);

/**
 * Makes a group. On a goroutine that is a member of another group, the new
 * one is nested in it: cancelling the outer one cancels the inner one. Not so
 * behind a shield, and in what gmp_defer put off.
 *
 * Returns NULL for out of memory. Never blocks.
 */
struct gmp_group *gmp_group_make(void);

/**
 * Starts a goroutine that calls `fn(arg)`, as a member of `gr`. If its result
 * is the first one that is not 0, that is the group's error, and the group is
 * cancelled. In a group that is cancelled already it starts cancelled. One
 * that ends by gmp_exit has the result 0.
 *
 * Returns 0; -EINVAL for null; -ENOMEM. Never blocks.
 *
 * Required:
 * `gr`: null, or a group. `func` may be called with `arg`, on another thread.
 */
int gmp_group_go(struct gmp_group *gr, int (*func)(void *arg), void *arg);

/**
 * Waits until all members have ended. More can be started meanwhile and
 * afterwards, and waited for again.
 *
 * Returns the group's error: the first result of a member that was not 0; 0
 * where there was none; -EINVAL for null; -EDEADLK on a member, and from
 * inside an unlockf; -ECANCELED if the caller is cancelled, with the members
 * still running. Parks the goroutine; blocks a host thread.
 *
 * Required:
 * `gr`: null, or a group.
 */
int gmp_group_wait(struct gmp_group *gr);

/**
 * gmp_group_wait until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT, with the members still running.
 *
 * Required:
 * As gmp_group_wait.
 */
int gmp_group_wait_until(struct gmp_group *gr, int64_t deadline);

/**
 * Cancels all members, those that are started later, and the groups nested
 * in `gr`.
 *
 * Returns 0; -EINVAL for null. Never blocks.
 *
 * Required:
 * `gr`: null, or a group.
 */
int gmp_group_cancel(struct gmp_group *gr);

/**
 * Cancels the group, waits until all members have ended, which nothing
 * interrupts, and frees it. NULL does nothing. A member that frees its own
 * group is a fatal error, and so is a wait from inside an unlockf. Parks the
 * goroutine; blocks a host thread.
 *
 * Required:
 * `gr`: null, or a group that nobody uses any more but its members.
 */
void gmp_group_free(struct gmp_group *gr);

/**
 * The monotonic clock in nanoseconds; what deadlines are measured on. It is
 * the kernel's, also where another library has replaced clock_gettime. Never
 * blocks.
 */
int64_t gmp_now(void);

/**
 * The deadline `ns` nanoseconds from now; a sum beyond the clock's range is
 * GMP_FOREVER. Never blocks.
 */
int64_t gmp_after_ns(int64_t ns);

/**
 * Sleeps for `ns` nanoseconds; 0 or less only lets others run.
 *
 * Returns 0; -ECANCELED; -EDEADLK from inside an unlockf. Parks the
 * goroutine; blocks a host thread.
 */
int gmp_sleep(int64_t ns);

/**
 * Sleeps until `deadline` (nanoseconds of gmp_now); one in the past only lets
 * others run; GMP_FOREVER sleeps until cancelled.
 *
 * Returns 0; -ECANCELED; -EDEADLK from inside an unlockf. Parks the
 * goroutine; blocks a host thread.
 */
int gmp_sleep_until(int64_t deadline);

/**
 * Starts a timer that calls `fn(arg)` on a goroutine of its own, `ns`
 * nanoseconds from now (0 or less: at once), and then every `period_ns`
 * nanoseconds (0: once). Runs of one timer do not overlap: a periodic one
 * misses the times that come while `fn` runs, and one that was reset from
 * `fn` or meanwhile runs again after it.
 *
 * Returns NULL for a null `fn`, a negative period, or out of memory. Never
 * blocks.
 *
 * Required:
 * `func` may be called with `arg`, on another thread.
 */
struct gmp_timer *gmp_timer_start(int64_t ns,
                                  int64_t period_ns,
                                  gmp_fn func,
                                  void *arg);

/**
 * Lets `t` fire `ns` nanoseconds from now, whatever it did before, and then
 * with its period, if it has one. Nothing of an earlier start or reset begins
 * once this has returned.
 *
 * Returns 0; -EINVAL for null. Never blocks.
 *
 * Required:
 * `t`: null, or a timer.
 */
int gmp_timer_reset(struct gmp_timer *t, int64_t ns);

/**
 * Stops `t`; gmp_timer_reset starts it again.
 *
 * Returns 1 if it was pending: its function does not begin any more, even if
 * its time had come; 0 if it was not: it was stopped already, or its only run
 * has begun, which is not waited for; -EINVAL for null. Never blocks. Of a
 * timer that repeats, one run that was let in just before may still begin.
 *
 * Required:
 * `t`: null, or a timer.
 */
int gmp_timer_stop(struct gmp_timer *t);

/**
 * Stops `t` and frees it, also from its own function; does not wait for one
 * that runs. NULL does nothing. Never blocks.
 *
 * Required:
 * `t`: null, or a timer that nobody uses any more.
 */
void gmp_timer_free(struct gmp_timer *t);

/**
 * A channel on which a tick comes `ns` nanoseconds from now (time.After): an
 * int64_t, gmp_now() at that moment. It buffers one element. Unref it, before
 * the tick or after.
 *
 * Returns NULL for out of memory. Never blocks.
 */
struct gmp_chan *gmp_after(int64_t ns);

/**
 * A channel on which ticks come every `period_ns` nanoseconds (time.Tick), as
 * of gmp_after. It buffers one, and a receiver that is slow misses some.
 * Closing it stops the ticks, and so does the last unref.
 *
 * Returns NULL for a period of 0 or less, and for out of memory. Never
 * blocks.
 */
struct gmp_chan *gmp_tick(int64_t period_ns);

/**
 * Waits until `fd` is ready for `events`, GMP_READABLE or GMP_WRITABLE or
 * both, or until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for none).
 * For calls of other libraries on their own descriptors.
 *
 * Returns those of `events` that it is ready for, both after an error or the
 * end of a connection; -ETIMEDOUT; -EBADF, also if gmp_close closes it
 * meanwhile; -EINVAL for other events; -ECANCELED; -EDEADLK from inside an
 * unlockf; -EMFILE, -ENFILE, -ENOMEM, -ENOSPC; -EPERM, -EACCES, -ENOSYS in a
 * sandbox that refuses epoll. Parks the goroutine; blocks a host thread.
 *
 * The library's own descriptors are above 2. A host may close them, as a
 * daemon does with all that is open: the library makes new ones.
 */
int gmp_wait_fd(int fd, int events, int64_t deadline);

/**
 * Reads up to `n` bytes from `fd`, as read(2), and waits where that would.
 * Works on any descriptor, in blocking or non-blocking mode, which stays as it
 * is: the goroutine waits, and no thread.
 *
 * On a file on a disk it takes as long as the disk does; deadlines and cancels
 * count before it starts only. On a terminal another reader may be faster, and
 * then a thread waits.
 *
 * Returns the count; 0 at the end; a negative errno: those of read(2) but for
 * EINTR and EAGAIN; -EINVAL for a null `buf`; -EBADF, also if gmp_close closes
 * it meanwhile; -ECANCELED; where it has to wait, -EDEADLK from inside an
 * unlockf, and what else keeps gmp_wait_fd from waiting. Parks the goroutine;
 * blocks a host thread.
 *
 * Required:
 * `buf`: null, or `n` bytes that may be written.
 */
ssize_t gmp_read(int fd, void *buf, size_t n);

/**
 * gmp_read until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. One in the past tries once.
 *
 * Required:
 * As gmp_read.
 */
ssize_t gmp_read_until(int fd, void *buf, size_t n, int64_t deadline);

/**
 * Writes up to `n` bytes to `fd`, as write(2), and waits where that would.
 * SIGPIPE is not raised. Else as gmp_read.
 *
 * Returns the count, which may be less than `n`; a negative errno: those of
 * write(2) but for EINTR and EAGAIN; and as gmp_read. Parks the goroutine;
 * blocks a host thread.
 *
 * Required:
 * `buf`: null, or `n` bytes that may be read.
 */
ssize_t gmp_write(int fd, const void *buf, size_t n);

/**
 * gmp_write until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. One in the past tries once.
 *
 * Required:
 * As gmp_write.
 */
ssize_t gmp_write_until(int fd, const void *buf, size_t n, int64_t deadline);

/**
 * Reads all `n` bytes from `fd`, or what comes before the end, by gmp_read.
 *
 * Returns the count, less than `n` at the end of the file; a negative errno as
 * gmp_read, and how many bytes were done before is not told: the _until
 * twin tells it. Parks the goroutine; blocks a host thread.
 *
 * Required:
 * `buf`: null, or `n` bytes that may be written.
 */
ssize_t gmp_read_full(int fd, void *buf, size_t n);

/**
 * gmp_read_full until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none).
 *
 * `done`: NULL, or set to how many bytes were done, also with an error.
 *
 * Returns 0; -ETIMEDOUT; a negative errno as gmp_read_full.
 *
 * Required:
 * As gmp_read_full; `done`: null or writable.
 */
int gmp_read_full_until(int fd,
                        void *buf,
                        size_t n,
                        size_t *done,
                        int64_t deadline);

/**
 * Writes all `n` bytes to `fd`, by gmp_write.
 *
 * Returns the count; a negative errno as
 * gmp_write, and how many bytes were done before is not told: the _until
 * twin tells it. Parks the goroutine; blocks a host thread.
 *
 * Required:
 * `buf`: null, or `n` bytes that may be read.
 */
ssize_t gmp_write_all(int fd, const void *buf, size_t n);

/**
 * gmp_write_all until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none).
 *
 * `done`: NULL, or set to how many bytes were done, also with an error.
 *
 * Returns 0; -ETIMEDOUT; a negative errno as gmp_write_all.
 *
 * Required:
 * As gmp_write_all; `done`: null or writable.
 */
int gmp_write_all_until(int fd,
                        const void *buf,
                        size_t n,
                        size_t *done,
                        int64_t deadline);

/**
 * gmp_read into several buffers, as readv(2): -EINVAL for more than 1024.
 *
 * Required:
 * `iov`: `n` vectors whose buffers may be written.
 */
ssize_t gmp_readv(int fd, const struct iovec *iov, int n);

/**
 * gmp_readv until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. One in the past tries once.
 *
 * Required:
 * As gmp_readv.
 */
ssize_t gmp_readv_until(int fd,
                        const struct iovec *iov,
                        int n,
                        int64_t deadline);

/**
 * gmp_write from several buffers, as writev(2): -EINVAL for more than 1024.
 *
 * Required:
 * `iov`: `n` vectors whose buffers may be read.
 */
ssize_t gmp_writev(int fd, const struct iovec *iov, int n);

/**
 * gmp_writev until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. One in the past tries once.
 *
 * Required:
 * As gmp_writev.
 */
ssize_t gmp_writev_until(int fd,
                         const struct iovec *iov,
                         int n,
                         int64_t deadline);

/**
 * Receives a message, as recvmsg(2), with its ancillary data, and waits where
 * that would. MSG_WAITALL has no effect.
 *
 * Returns the count; a negative errno: those of recvmsg(2) but for EINTR and
 * EAGAIN; -EINVAL for a null `msg`; and as gmp_read. Parks the goroutine;
 * blocks a host thread.
 *
 * Required:
 * `msg`: null, or a message whose buffers may be written.
 */
ssize_t gmp_recvmsg(int fd, struct msghdr *msg, int flags);

/**
 * gmp_recvmsg until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. One in the past tries once.
 *
 * Required:
 * As gmp_recvmsg.
 */
ssize_t gmp_recvmsg_until(int fd,
                          struct msghdr *msg,
                          int flags,
                          int64_t deadline);

/**
 * Sends a message, as sendmsg(2), with its ancillary data, and waits where
 * that would. SIGPIPE is not raised.
 *
 * Returns the count; a negative errno: those of sendmsg(2) but for EINTR and
 * EAGAIN; -EINVAL for a null `msg`; and as gmp_read. Parks the goroutine;
 * blocks a host thread.
 *
 * Required:
 * `msg`: null, or a message whose buffers may be read.
 */
ssize_t gmp_sendmsg(int fd, const struct msghdr *msg, int flags);

/**
 * gmp_sendmsg until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. One in the past tries once.
 *
 * Required:
 * As gmp_sendmsg.
 */
ssize_t gmp_sendmsg_until(int fd,
                          const struct msghdr *msg,
                          int flags,
                          int64_t deadline);

/**
 * Receives a datagram or bytes, as recvfrom(2), and waits where that would.
 * Else as gmp_recvmsg.
 *
 * `addr`, `len`: NULL, or where the sender's address goes and how large that
 * is.
 *
 * Returns as gmp_recvmsg. Parks the goroutine; blocks a host thread.
 *
 * Required:
 * `buf`: `n` bytes that may be written; `addr`, `len`: null, or valid.
 */
ssize_t gmp_recvfrom(int fd,
                     void *buf,
                     size_t n,
                     int flags,
                     struct sockaddr *addr,
                     unsigned int *len);

/**
 * gmp_recvfrom until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. One in the past tries once.
 *
 * Required:
 * As gmp_recvfrom.
 */
ssize_t gmp_recvfrom_until(int fd,
                           void *buf,
                           size_t n,
                           int flags,
                           struct sockaddr *addr,
                           unsigned int *len,
                           int64_t deadline);

/**
 * Sends a datagram or bytes, as sendto(2), and waits where that would. Else as
 * gmp_sendmsg.
 *
 * `addr`: NULL, or the receiver's address of `len` bytes.
 *
 * Returns as gmp_sendmsg. Parks the goroutine; blocks a host thread.
 *
 * Required:
 * `buf`: `n` bytes that may be read; `addr`: null, or `len` bytes.
 */
ssize_t gmp_sendto(int fd,
                   const void *buf,
                   size_t n,
                   int flags,
                   const struct sockaddr *addr,
                   unsigned int len);

/**
 * gmp_sendto until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. One in the past tries once.
 *
 * Required:
 * As gmp_sendto.
 */
ssize_t gmp_sendto_until(int fd,
                         const void *buf,
                         size_t n,
                         int flags,
                         const struct sockaddr *addr,
                         unsigned int len,
                         int64_t deadline);

/**
 * Accepts a connection, as accept(2), and waits for one. The socket that
 * listens is put into non-blocking mode and stays so; the new one is in
 * blocking mode, which no gmp_ call minds, and closed on exec.
 *
 * `addr`, `len`: NULL, or where the client's address goes and how large that
 * is.
 *
 * Returns the descriptor; a negative errno: those of accept(2) but for EINTR,
 * EAGAIN, ECONNABORTED and what the network did to a client before it was
 * accepted: of these -EMFILE and -ENFILE leave the client waiting; and as
 * gmp_read. Parks the goroutine; blocks a host thread.
 *
 * Required:
 * `addr`, `len`: null, or valid.
 */
int gmp_accept(int fd, struct sockaddr *addr, unsigned int *len);

/**
 * gmp_accept until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. One in the past tries once.
 *
 * Required:
 * As gmp_accept.
 */
int gmp_accept_until(int fd,
                     struct sockaddr *addr,
                     unsigned int *len,
                     int64_t deadline);

/**
 * Connects a socket, as connect(2), and waits until it is connected. A socket
 * in blocking mode is in non-blocking mode meanwhile.
 *
 * Returns 0; a negative errno: those of connect(2) but for EINTR, EAGAIN,
 * EINPROGRESS and EALREADY; -EINVAL for a null `addr`; and as gmp_read. After
 * -ETIMEDOUT and -ECANCELED it may connect all the same: close it. Parks the
 * goroutine; blocks a host thread.
 *
 * Required:
 * `addr`: null, or an address of `len` bytes.
 */
int gmp_connect(int fd, const struct sockaddr *addr, unsigned int len);

/**
 * gmp_connect until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. One in the past tries once.
 *
 * Required:
 * As gmp_connect.
 */
int gmp_connect_until(int fd,
                      const struct sockaddr *addr,
                      unsigned int len,
                      int64_t deadline);

/**
 * Closes `fd`, as close(2): who waits on it in a gmp_ call gets -EBADF.
 * close(2) itself does not wake them; they are when the number is used again
 * in a gmp_ call that waits.
 *
 * As with close(2), a call on another thread that is just about to try may
 * find the file that has the number next: let calls end before that is opened.
 * Where dup2(2) puts another file there while a goroutine waits in gmp_read,
 * that one may read from it once, and then get -EBADF.
 *
 * Returns 0, or a negative errno of close(2). Never waits for others.
 */
int gmp_close(int fd);

/**
 * Makes a socket that listens, with SO_REUSEADDR, in non-blocking mode and
 * closed on exec.
 *
 * `network`: "tcp", "tcp4", "tcp6" or "unix". `address`: "host:port",
 * "[::1]:port", ":port" for all addresses (with "tcp", of IPv6 and IPv4), or
 * a path. A port is a decimal number up to 65535 or the name of a service.
 *
 * Returns the descriptor; -EINVAL for null, or an address without a port or
 * path, or with a number that is no port;
 * -EPROTONOSUPPORT for another network; -ENOENT for no such host or service;
 * a negative errno of bind(2) or listen(2); -ENOMEM; -ECANCELED. Parks the
 * goroutine while a name is looked up; blocks a host thread.
 *
 * Required:
 * `network`, `address`: null, or C strings.
 */
int gmp_listen(const char *network, const char *address);

/**
 * Makes a socket that is connected, in blocking mode and closed on exec.
 * Where a name has several addresses, they race as RFC 8305 says: IPv6 and
 * IPv4 in turn, one more each quarter of a second or once one has failed.
 *
 * `network`, `address`: as of gmp_listen; ":port" is this machine's.
 *
 * Returns the descriptor; -EINVAL, -EPROTONOSUPPORT, -ENOENT as gmp_listen;
 * -EAGAIN if the name servers do not answer; what connect(2) said of the last
 * address, such as -ECONNREFUSED; -ENOMEM; -ECANCELED; -EDEADLK from inside an
 * unlockf.
 * Parks the goroutine; blocks a host thread.
 *
 * Required:
 * `network`, `address`: null, or C strings.
 */
int gmp_dial(const char *network, const char *address);

/**
 * gmp_dial until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for none):
 * then -ETIMEDOUT.
 *
 * Required:
 * As gmp_dial.
 */
int gmp_dial_until(const char *network, const char *address, int64_t deadline);

/**
 * getaddrinfo(3) that stalls nobody else: it runs on a goroutine of its own.
 *
 * `res`: a list that freeaddrinfo frees.
 *
 * Returns 0; -ENOENT for no such host or service; -EAGAIN if the name servers
 * do not answer; -EINVAL, also for null `res`; -EAFNOSUPPORT; -ENOMEM; -EIO;
 * -ENOSYS in a statically linked program that does not use getaddrinfo
 * itself; -ECANCELED; -EDEADLK from inside an unlockf. Parks the goroutine;
 * blocks a host thread.
 *
 * Required:
 * As getaddrinfo.
 */
int gmp_getaddrinfo(const char *node,
                    const char *service,
                    const struct addrinfo *hints,
                    struct addrinfo **res);

/**
 * gmp_getaddrinfo until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT.
 *
 * Required:
 * As getaddrinfo.
 */
int gmp_getaddrinfo_until(const char *node,
                          const char *service,
                          const struct addrinfo *hints,
                          struct addrinfo **res,
                          int64_t deadline);

/**
 * Opens a file, as open(2). It takes as long as it takes, while other
 * goroutines go on; a cancel counts before it starts only.
 *
 * Returns the descriptor; a negative errno: those of open(2) but for EINTR;
 * -EINVAL for a null `path`; -ECANCELED. Blocks while the file system does.
 *
 * Required:
 * `path`: null, or a C string.
 */
int gmp_open(const char *path, int flags, mode_t mode);

/**
 * gmp_open, unless `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none) has passed: then -ETIMEDOUT. Once it has started, it ends by itself.
 *
 * Required:
 * As gmp_open.
 */
int gmp_open_until(const char *path, int flags, mode_t mode, int64_t deadline);

/**
 * Writes what the kernel keeps of a file to its disk, as fsync(2). Else as
 * gmp_open.
 *
 * Returns 0; a negative errno: those of fsync(2) but for EINTR; -ECANCELED.
 * Blocks while the disk does.
 */
int gmp_fsync(int fd);

/**
 * gmp_fsync, unless `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none) has passed: then -ETIMEDOUT. Once it has started, it ends by itself.
 */
int gmp_fsync_until(int fd, int64_t deadline);

/**
 * Reads from a place of a file, as pread(2). Else as gmp_open.
 *
 * Returns the count; 0 at the end; a negative errno: those of pread(2) but for
 * EINTR; -EINVAL for a null `buf`; -ECANCELED. Blocks while the disk does.
 *
 * Required:
 * `buf`: null, or `n` bytes that may be written.
 */
ssize_t gmp_pread(int fd, void *buf, size_t n, int64_t offset);

/**
 * gmp_pread, unless `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none) has passed: then -ETIMEDOUT. Once it has started, it ends by itself.
 *
 * Required:
 * As gmp_pread.
 */
ssize_t gmp_pread_until(int fd,
                        void *buf,
                        size_t n,
                        int64_t offset,
                        int64_t deadline);

/**
 * Writes to a place of a file, as pwrite(2). Else as gmp_open.
 *
 * Returns the count; a negative errno: those of pwrite(2) but for EINTR;
 * -EINVAL for a null `buf`; -ECANCELED. Blocks while the disk does.
 *
 * Required:
 * `buf`: null, or `n` bytes that may be read.
 */
ssize_t gmp_pwrite(int fd, const void *buf, size_t n, int64_t offset);

/**
 * gmp_pwrite, unless `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none) has passed: then -ETIMEDOUT. Once it has started, it ends by itself.
 *
 * Required:
 * As gmp_pwrite.
 */
ssize_t gmp_pwrite_until(int fd,
                         const void *buf,
                         size_t n,
                         int64_t offset,
                         int64_t deadline);

/**
 * Copies up to `n` bytes of a file to `out_fd` inside the kernel, as
 * sendfile(2), and waits where that would. A socket in blocking mode is in
 * non-blocking mode meanwhile, which its other users see.
 *
 * `offset`: NULL for the file's own, or where to begin, which is moved on.
 *
 * Returns the count; 0 at the end; a negative errno: those of sendfile(2) but
 * for EINTR and EAGAIN; and as gmp_write. Parks the goroutine; blocks a host
 * thread.
 *
 * Required:
 * `offset`: null or valid.
 */
ssize_t gmp_sendfile(int out_fd, int in_fd, int64_t *offset, size_t n);

/**
 * gmp_sendfile until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. One in the past tries once.
 *
 * Required:
 * As gmp_sendfile.
 */
ssize_t gmp_sendfile_until(int out_fd,
                           int in_fd,
                           int64_t *offset,
                           size_t n,
                           int64_t deadline);

/**
 * Moves up to `n` bytes from one descriptor to another, one of which is a
 * pipe, as splice(2), and waits where that would. Both are in non-blocking
 * mode meanwhile, which their other users see.
 *
 * `off_in`, `off_out`: as of splice(2). `flags`: likewise.
 *
 * Returns the count; 0 at the end; a negative errno: those of splice(2) but
 * for EINTR and EAGAIN; and as gmp_write. Parks the goroutine; blocks a host
 * thread.
 *
 * Required:
 * `off_in`, `off_out`: null or valid.
 */
ssize_t gmp_splice(int fd_in,
                   int64_t *off_in,
                   int fd_out,
                   int64_t *off_out,
                   size_t n,
                   unsigned int flags);

/**
 * gmp_splice until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. One in the past tries once.
 *
 * Required:
 * As gmp_splice.
 */
ssize_t gmp_splice_until(int fd_in,
                         int64_t *off_in,
                         int fd_out,
                         int64_t *off_out,
                         size_t n,
                         unsigned int flags,
                         int64_t deadline);

/**
 * Waits for a child, as waitpid(2), for any of several and for stops and
 * continues too. The end of one child (`pid` above 0) is told at once, by a
 * pidfd; all else, and where no pidfd is to be had, on a goroutine or with a
 * deadline by looking again at least every 10 ms.
 *
 * `status`: NULL, or where its status goes. `options`: as of waitpid(2). With
 * __WNOTHREAD the children are those of whatever thread the goroutine runs on;
 * stops of a traced child are told with WUNTRACED or __WALL.
 *
 * Returns the child's number, 0 with WNOHANG if there is nothing to tell; a
 * negative errno: those of waitpid(2) but for EINTR, at once: -ECHILD,
 * -EINVAL for unknown options; -ECANCELED; -EDEADLK from inside an unlockf
 * where it would have to wait. Parks the goroutine; blocks a host thread.
 *
 * Required:
 * `status`: null or writable.
 */
int gmp_waitpid(pid_t pid, int *status, int options);

/**
 * gmp_waitpid until `deadline` (nanoseconds of gmp_now, GMP_FOREVER for
 * none): then -ETIMEDOUT. One in the past tries once.
 *
 * Required:
 * As gmp_waitpid.
 */
int gmp_waitpid_until(pid_t pid, int *status, int options, int64_t deadline);

/**
 * From now on, whenever the signal `signo` comes, its number is sent on `ch`,
 * if that has room (signal.Notify): so `ch` needs a buffer. Signals of one
 * kind that come at once may be one. The process does not end by it then;
 * a handler that the host has installed before is called as before.
 *
 * `ch`: a channel of int. It keeps a reference until gmp_signal_stop.
 *
 * Returns 0; -EINVAL for null, elements of another size, or a signal that
 * cannot be caught or tells of a fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL);
 * -ENOMEM; what sigaction(2) says. Never blocks.
 *
 * Required:
 * `ch`: null, or a channel to which the caller holds a reference.
 */
int gmp_signal_notify(struct gmp_chan *ch, int signo);

/**
 * Undoes gmp_signal_notify. With the last channel of a signal, the host's
 * own way with that signal is back.
 *
 * Returns 0; -EINVAL for null, or if `ch` did not get that signal. Never
 * blocks.
 *
 * Required:
 * As gmp_signal_notify.
 */
int gmp_signal_stop(struct gmp_chan *ch, int signo);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/* The mask of a goroutine, by the names that programs know: like errno, the C
 * library's belongs to the thread. Define GMP_KEEP_SIGMASK to leave them
 * alone. SIG_BLOCK is there where <signal.h> has POSIX's part. */
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
/* GMP_INIT(fn), at the top level of a C or C++ file and without a semicolon,
 * has fn called once, on the main goroutine, before the library's first call
 * returns that is made by a thread of the program's. fn is the plain name of a
 * function void fn(void) that was declared before; it may be static, and a file
 * may have several.
 *
 * - The functions of one program or library are called in the order of its
 *   constructors (the order of the files at the link, and in a file that of
 *   the lines), one after the other. A library's come before those of whatever
 *   is linked with it.
 * - Nothing is called at the load itself, nor if nobody makes a call.
 * - fn may call the library, start goroutines and wait for them; their calls
 *   go on. A thread that it starts and waits for may not: it would wait for
 *   fn, and get -ETIMEDOUT after ten seconds, as does a first call for whose
 *   sake functions run longer than that.
 * - Functions of a plug-in that is loaded when the runtime is up are called
 *   before the next call returns that the loading thread or goroutine makes,
 *   on the main goroutine or, if that runs main, on one of their own. If the
 *   plug-in is unloaded before, they are not called.
 * - A fn that calls gmp_exit ends that goroutine, on which the other functions
 *   are still called; a program that was entered at _rt0_amd64_linux then goes
 *   on without its main. An exception may not leave fn.
 * - GMPDEBUG=inittrace=1 prints a line for each. */
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

/* Hooks: a program that takes part in the start of the runtime defines one of
 * these variables, initialised with its function. They are read once. A
 * program that links the library just defines it; one that loads it by dlopen
 * exports its variable (-rdynamic).
 *
 * void (*_cgo_init)(void *g0, void (*setg)(void *), void **tls, void *tlsbase);
 *     On m0's thread, first. g0 points to the low and the high bound of its
 *     stack, which may be changed; setg stores the thread's current goroutine,
 *     tls is the address of that word, tlsbase the thread's fs.
 * int (*_cgo_sys_thread_create)(void *(*fn)(void *), void *arg);
 *     Makes m0's thread, which calls fn(arg). 0 or an errno. Called by the
 *     constructor: may not wait for other threads.
 * int (*_cgo_thread_start)(const struct gmp_thread_start *start);
 *     Makes another thread of the scheduler, which calls start->fn(start->arg).
 *     0 or an errno. *start is gone afterwards. May not call the library.
 * void (*_cgo_notify_runtime_init_done)(void);
 *     The runtime is up. On m0's thread; may call the library. */
struct gmp_thread_start {
    void *g;
    uintptr_t *tls;
    void *(*fn)(void *arg);
    void *arg;
};

/* C++ keeps a thread's exception state in two words, which each goroutine
 * needs for itself: tell the library where they are. Define GMP_NO_CXX_STATE
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
