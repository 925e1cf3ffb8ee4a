
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
