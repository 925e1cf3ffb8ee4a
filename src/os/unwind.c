/* Stand-ins for the functions of libgcc_s that Rust's standard library and our
 * own C code need. Each looks up libgcc_s when it is called: then the process
 * unwinds a stack, and has the library as a rule. So loading gmprt does not
 * load libgcc_s, which would take a quarter of the whole start.
 *
 * Rejected: libgcc_eh, the static library. A context may come from the
 * process's own unwinder, of another version, and only that one may read it. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

enum { END_OF_STACK = 5 };

typedef int step(void *context, void *arg);

/* Looks up the function at each call, since calls are rare. */
static void *find(const char *name)
{
    void *library = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL);
    return library == NULL ? NULL : dlsym(library, name);
}

static void *need(const char *name)
{
    void *function = find(name);
    if (function == NULL)
        abort();
    return function;
}

#define OF_CONTEXT(name)                                    \
    uintptr_t name(void *context);                          \
    uintptr_t name(void *context)                           \
    {                                                       \
        return ((uintptr_t(*)(void *))need(#name))(context); \
    }

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
    int (*f)(int, int, uint64_t, void *, void *) = need("__gcc_personality_v0");
    return f(version, actions, class, exception, context);
}

uintptr_t _Unwind_GetIPInfo(void *context, int *before);
uintptr_t _Unwind_GetIPInfo(void *context, int *before)
{
    uintptr_t (*f)(void *, int *) = need("_Unwind_GetIPInfo");
    return f(context, before);
}

void _Unwind_SetGR(void *context, int number, uintptr_t value);
void _Unwind_SetGR(void *context, int number, uintptr_t value)
{
    void (*f)(void *, int, uintptr_t) = need("_Unwind_SetGR");
    f(context, number, value);
}

void _Unwind_SetIP(void *context, uintptr_t value);
void _Unwind_SetIP(void *context, uintptr_t value)
{
    void (*f)(void *, uintptr_t) = need("_Unwind_SetIP");
    f(context, value);
}

void _Unwind_Resume(void *exception);
void _Unwind_Resume(void *exception)
{
    void (*f)(void *) = need("_Unwind_Resume");
    f(exception);
    abort();
}

int _Unwind_Backtrace(step *each, void *arg);
int _Unwind_Backtrace(step *each, void *arg)
{
    int (*f)(step *, void *) = find("_Unwind_Backtrace");
    return f == NULL ? END_OF_STACK : f(each, arg);
}
