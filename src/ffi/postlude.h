
/* The mask of a goroutine, by the names that programs know: like errno, the C
 * library's belongs to the thread. Define GMP_KEEP_SIGMASK to leave them
 * alone. */
#ifndef GMP_KEEP_SIGMASK
static inline int gmp_pthread_sigmask_(int how, const void *set, void *old)
{
    return -gmp_sigmask(how, set, old);
}

static inline int gmp_sigprocmask_(int how, const void *set, void *old)
{
    int result = gmp_sigmask(how, set, old);

    if (result == 0)
        return 0;
    errno = -result;
    return -1;
}
#undef pthread_sigmask
#undef sigprocmask
#define pthread_sigmask(how, set, old) gmp_pthread_sigmask_(how, set, old)
#define sigprocmask(how, set, old) gmp_sigprocmask_(how, set, old)
#endif

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
