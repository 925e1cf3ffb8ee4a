/* The frames that call a function of the host's on the caller's own stack,
 * gmp_once_do and gmp_blocking; and those from which the host's frames are
 * unwound, gmp_panic and gmp_exit.
 *
 * Such a function may be left by an exception of C++ or another language, or by
 * a forced unwinding (pthread_exit, pthread_cancel on a host thread): both go
 * through the frames here, which are C because nothing may unwind through
 * Rust, and run their clean-up on the way. The exported functions, in
 * once.rs and thread.rs, jump here, so there is no frame of Rust between the
 * host and the host's function. longjmp passes by without a word; sched::calls
 * finds out later, by what identifies a frame: where its caller's frame begins
 * (cfa) and where it returns to (ret).
 *
 * No thread and no lock is known here; each function asks Rust before and
 * after. */
#define _GNU_SOURCE /* vasprintf, strdup */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unwind.h>

#include "abi.h"   /* of build.rs, for abidiff */
#include "types.h" /* for debuggers */

#pragma GCC visibility push(hidden)

typedef void function(void *arg);

struct once;
struct call;
struct panic;

/* What gmprt_once_begin returns where the caller has to run the function. */
enum { RUN = 1 };

int gmprt_once_begin(struct once *o, function *f, int64_t deadline, bool until,
                     void *cfa, void *ret, struct call **call);
void gmprt_once_end(struct once *o, struct call *call, bool returned);
int gmprt_blocking_begin(function *f, int64_t deadline, const void *sp);
void gmprt_blocking_end(void);

struct panic *gmprt_panic_begin(char *text, const char *otherwise, void *value,
                                void *cfa, void *ret);
int gmprt_exit_begin(void);
struct _Unwind_Exception *gmprt_run_defers(struct panic *panic);
void gmprt_jump(struct _Unwind_Exception *exception);
_Unwind_Reason_Code gmprt_unwind_stop(int version, _Unwind_Action actions,
                                      _Unwind_Exception_Class class,
                                      struct _Unwind_Exception *exception,
                                      struct _Unwind_Context *context,
                                      void *arg);
_Noreturn void gmprt_unwind_failed(int code);
_Noreturn void gmprt_exit_failed(int code);

int gmprt_once_do(struct once *o, function *f, void *arg);
int gmprt_once_do_until(struct once *o, function *f, void *arg,
                        int64_t deadline);
int gmprt_blocking(function *f, void *arg);
int gmprt_blocking_until(function *f, void *arg, int64_t deadline);
_Noreturn void gmprt_panic(const char *format, ...);
_Noreturn void gmprt_panic_with(void *value);
int gmprt_exit(void);

#pragma GCC visibility pop

struct run {
    struct once *o;
    struct call *call;
    bool returned;
};

static void end_run(struct run *run)
{
    gmprt_once_end(run->o, run->call, run->returned);
}

static int run_once(struct once *o, struct call *call, function *f, void *arg)
{
    __attribute__((cleanup(end_run))) struct run run = { o, call, false };

    f(arg);
    run.returned = true;
    return 0;
}

int gmprt_once_do(struct once *o, function *f, void *arg)
{
    struct call *call = NULL;
    int code = gmprt_once_begin(o, f, INT64_MAX, false,
                                __builtin_dwarf_cfa(),
                                __builtin_return_address(0), &call);

    return code == RUN ? run_once(o, call, f, arg) : code;
}

int gmprt_once_do_until(struct once *o, function *f, void *arg,
                        int64_t deadline)
{
    struct call *call = NULL;
    int code = gmprt_once_begin(o, f, deadline, true,
                                __builtin_dwarf_cfa(),
                                __builtin_return_address(0), &call);

    return code == RUN ? run_once(o, call, f, arg) : code;
}

static void end_blocking(const int *unused)
{
    (void)unused;
    gmprt_blocking_end();
}

int gmprt_blocking_until(function *f, void *arg, int64_t deadline)
{
    void *volatile kept = arg;
    const void *sp;
    int code;

    /* A collection that runs beside f looks at what lies from here on: the
     * registers of the caller's, and arg. */
    __builtin_unwind_init();
    __asm__ volatile("mov %%rsp, %0" : "=r"(sp));
    code = gmprt_blocking_begin(f, deadline, sp);

    if (code == 0) {
        __attribute__((cleanup(end_blocking))) int inside = 0;

        f(kept);
        (void)inside;
    }
    return code;
}

int gmprt_blocking(function *f, void *arg)
{
    return gmprt_blocking_until(f, arg, INT64_MAX);
}

/* Leaves the frames of the host's, up to where a personality routine of ours
 * says that it ends (diag/unwinding.rs). Returns only if it fails. */
static int gmprt_leave(struct _Unwind_Exception *exception)
{
    return _Unwind_ForcedUnwind(exception, gmprt_unwind_stop, NULL);
}

static _Noreturn void gmprt_panic_run(struct panic *panic)
{
    struct _Unwind_Exception *exception = gmprt_run_defers(panic);

    gmprt_jump(exception);
    gmprt_unwind_failed(gmprt_leave(exception));
}

_Noreturn void gmprt_panic(const char *format, ...)
{
    const char *otherwise = format == NULL ? "gmp_panic(NULL)" : format;
    char *text = NULL;

    if (format != NULL && strchr(format, '%') == NULL) {
        text = strdup(format);
    } else if (format != NULL) {
        va_list values;

        va_start(values, format);
        if (vasprintf(&text, format, values) < 0)
            text = NULL;
        va_end(values);
    }
    gmprt_panic_run(gmprt_panic_begin(text, otherwise, NULL,
                                      __builtin_dwarf_cfa(),
                                      __builtin_return_address(0)));
}

_Noreturn void gmprt_panic_with(void *value)
{
    char *text = NULL;

    if (asprintf(&text, "value %#jx", (uintmax_t)(uintptr_t)value) < 0)
        text = NULL;
    gmprt_panic_run(gmprt_panic_begin(text, "a value", value,
                                      __builtin_dwarf_cfa(),
                                      __builtin_return_address(0)));
}

int gmprt_exit(void)
{
    int code = gmprt_exit_begin();

    if (code != 0)
        return code;
    gmprt_exit_failed(gmprt_leave(gmprt_run_defers(NULL)));
}
