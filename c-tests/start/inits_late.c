/* GMP_INIT in a plug-in that is loaded when the runtime is up. The plug-in is
 * this very file, with PLUGIN defined; the program gets its path.
 *
 * Arguments: the path, and where to load it: "thread", "goroutine", "busy" (on
 * a goroutine while others make calls), "ended" (on a goroutine that ends
 * without another call), "unused" (no call before it goes). */
#ifdef PLUGIN

#include <gmp.h>
#include <stdlib.h>

enum { MANY = 64 };

static int calls[2];

static void again(void *arg)
{
    ++*(int *)arg;
}

/* One of these may be in the place of the goroutine that has loaded us. */
static void sleeps(void *arg)
{
    if (gmp_sleep(1000))
        abort();
}

static void first(void)
{
    gmp_g *g, *many[MANY];

    if (calls[1] || gmp_goid() == 0 || gmp_sleep(20 * 1000000))
        abort();
    if (gmp_go_with(NULL, again, &calls[0], &g) || gmp_join(g))
        abort();
    for (int i = 0; i < MANY; i++)
        if (gmp_go_with(NULL, sleeps, NULL, &many[i]))
            abort();
    for (int i = 0; i < MANY; i++)
        if (gmp_join(many[i]))
            abort();
}
GMP_INIT(first)

static void second(void)
{
    if (calls[0] != 1)
        abort();
    calls[1]++;
}
GMP_INIT(second)

__attribute__((visibility("default"))) int plugin_calls(void);
int plugin_calls(void)
{
    return calls[0] + 10 * calls[1];
}

#else

#include "../test.h"
#include <dlfcn.h>

static const char *path;
static atomic_bool stop;

static void *load(void)
{
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);

    if (!plugin)
        fprintf(stderr, "%s\n", dlerror());
    CHECK(plugin != NULL);
    return plugin;
}

static int calls_in(void *plugin)
{
    void *symbol = dlsym(plugin, "plugin_calls");
    int (*calls)(void);

    CHECK(symbol != NULL);
    *(void **)&calls = symbol;
    return calls();
}

static void use(void *arg)
{
    void *plugin = load();

    CHECK_EQ(calls_in(plugin), 0);
    CHECK(gmp_num_goroutines() >= 0);
    CHECK_EQ(calls_in(plugin), 11);
    CHECK_OK(gmp_sleep(MS(2)));
    CHECK_EQ(calls_in(plugin), 11);
    CHECK_OK(dlclose(plugin));
}

static _Atomic(void *) loaded;

static void load_only(void *arg)
{
    atomic_store(&loaded, load());
}

static void call_on(void *arg)
{
    while (!atomic_load(&stop))
        CHECK_OK(gmp_sleep(US(10)));
}

static void use_while_others_call(void *arg)
{
    void *plugin = load();

    CHECK(gmp_num_goroutines() >= 0);
    CHECK_EQ(calls_in(plugin), 11);
    atomic_store(&stop, true);
}

static void go_with(gmp_fn fn, gmp_g **g)
{
    gmp_attr attr = GMP_ATTR_INIT;

    attr.stack_size = 1 << 20; /* dlopen takes much */
    CHECK_OK(gmp_go_with(&attr, fn, NULL, g));
}

static void go_and_join(gmp_fn fn)
{
    gmp_g *g;

    go_with(fn, &g);
    CHECK_OK(gmp_join(g));
}

int test_main(int argc, char **argv)
{
    CHECK(argc > 2);
    path = argv[1];
    CHECK_OK(gmp_wait_init());
    if (strcmp(argv[2], "thread") == 0) {
        use(NULL);
    } else if (strcmp(argv[2], "goroutine") == 0) {
        go_and_join(use);
    } else if (strcmp(argv[2], "busy") == 0) {
        for (int i = 0; i < 4; i++)
            CHECK_OK(gmp_go(call_on, NULL));
        go_and_join(use_while_others_call);
    } else if (strcmp(argv[2], "ended") == 0) {
        go_with(load_only, NULL);
        /* Without a call, which would have the functions called. */
        while (!atomic_load(&loaded))
            usleep(1000);
        usleep(10000);
        CHECK(gmp_num_goroutines() >= 0);
        CHECK_EQ(calls_in(loaded), 11);
    } else {
        CHECK_OK(dlclose(load()));
        CHECK_OK(gmp_sleep(MS(2)));
    }
    /* All goes on as if nothing had been. */
    CHECK_OK(gmp_sleep(MS(2)));
    return 0;
}

#endif
