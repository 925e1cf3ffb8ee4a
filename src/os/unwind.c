/* Stand-ins for the functions of libgcc_s that Rust's standard library and our
 * own C code need. Each looks up the process's unwinder when it is called, and
 * else libgcc_s: then the process unwinds a stack, and has the library as a
 * rule. So loading gmprt does not load libgcc_s, which would take a quarter of
 * the whole start.
 *
 * Rejected: libgcc_eh, the static library. A context may come from the
 * process's own unwinder, of another version, and only that one may read it. */
#define _GNU_SOURCE /* RTLD_DEFAULT */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum { END_OF_STACK = 5 };

typedef int step(void *context, void *arg);
typedef int stop(int version, int actions, uint64_t class, void *exception,
                 void *context, void *arg);

static void *find(const char *name)
{
    void *function = dlsym(RTLD_DEFAULT, name);
    void *library;

    if (function != NULL)
        return function;
    library = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL);
    return library == NULL ? NULL : dlsym(library, name);
}

/* A function, which is kept in *known: panics may be frequent. The library is
 * never closed. */
static void *lookup(void **known, const char *name)
{
    void *function = __atomic_load_n(known, __ATOMIC_RELAXED);

    if (function == NULL) {
        function = find(name);
        __atomic_store_n(known, function, __ATOMIC_RELAXED);
    }
    return function;
}

static void *need(void **known, const char *name)
{
    void *function = lookup(known, name);
    if (function == NULL)
        abort();
    return function;
}

#define OF_CONTEXT(name)                                            \
    uintptr_t name(void *context);                                  \
    uintptr_t name(void *context)                                   \
    {                                                               \
        static void *known;                                         \
        return ((uintptr_t(*)(void *))need(&known, #name))(context); \
    }

OF_CONTEXT(_Unwind_GetCFA)
OF_CONTEXT(_Unwind_GetDataRelBase)
OF_CONTEXT(_Unwind_GetIP)
OF_CONTEXT(_Unwind_GetLanguageSpecificData)
OF_CONTEXT(_Unwind_GetRegionStart)
OF_CONTEXT(_Unwind_GetTextRelBase)

/* The personality routine of the frames of callbacks.c. */
int __gcc_personality_v0(int version, int actions, uint64_t class,
                         void *exception, void *context);
int __gcc_personality_v0(int version, int actions, uint64_t class,
                         void *exception, void *context)
{
    static void *known;
    int (*f)(int, int, uint64_t, void *, void *) =
        need(&known, "__gcc_personality_v0");
    return f(version, actions, class, exception, context);
}

uintptr_t _Unwind_GetIPInfo(void *context, int *before);
uintptr_t _Unwind_GetIPInfo(void *context, int *before)
{
    static void *known;
    uintptr_t (*f)(void *, int *) = need(&known, "_Unwind_GetIPInfo");
    return f(context, before);
}

void _Unwind_SetGR(void *context, int number, uintptr_t value);
void _Unwind_SetGR(void *context, int number, uintptr_t value)
{
    static void *known;
    void (*f)(void *, int, uintptr_t) = need(&known, "_Unwind_SetGR");
    f(context, number, value);
}

void _Unwind_SetIP(void *context, uintptr_t value);
void _Unwind_SetIP(void *context, uintptr_t value)
{
    static void *known;
    void (*f)(void *, uintptr_t) = need(&known, "_Unwind_SetIP");
    f(context, value);
}

void _Unwind_Resume(void *exception);
void _Unwind_Resume(void *exception)
{
    static void *known;
    void (*f)(void *) = need(&known, "_Unwind_Resume");
    f(exception);
    abort();
}

int _Unwind_ForcedUnwind(void *exception, stop *each, void *arg);
int _Unwind_ForcedUnwind(void *exception, stop *each, void *arg)
{
    static void *known;
    int (*f)(void *, stop *, void *) = lookup(&known, "_Unwind_ForcedUnwind");
    return f == NULL ? END_OF_STACK : f(exception, each, arg);
}

int _Unwind_Backtrace(step *each, void *arg);
int _Unwind_Backtrace(step *each, void *arg)
{
    static void *known;
    int (*f)(step *, void *) = lookup(&known, "_Unwind_Backtrace");
    return f == NULL ? END_OF_STACK : f(each, arg);
}
