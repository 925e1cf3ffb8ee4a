/* A host thread whose first call was let in when the runtime ended, and which
 * goes on once the library's key of pthreads is deleted and its number another
 * key's: the call says so, and the other key has no value.
 *
 * The program takes the place of pthread_setspecific. */
#include "test.h"

#include <dlfcn.h>

/* The library has two keys at most, whose numbers the next keys get. */
enum { ROUNDS = 20, TAKEN = 2, KEYS = 2 * ROUNDS * TAKEN };

static atomic_bool is_late, goes_on;
static _Thread_local bool waits;

int pthread_setspecific(pthread_key_t key, const void *value)
{
    static int (*_Atomic real)(pthread_key_t, const void *);

    if (!real)
        real = (int (*)(pthread_key_t, const void *))dlsym(
            RTLD_NEXT, "pthread_setspecific");
    if (waits) {
        waits = false;
        atomic_store(&is_late, true);
        while (!atomic_load(&goes_on))
            block_ns(US(100));
    }
    return real(key, value);
}

static void is_called(void *value)
{
    CHECK(!"the host's destructor is called");
}

static pthread_key_t keys[KEYS];
static int made;

static void *receives(void *never)
{
    int rc;

    waits = true;
    rc = gmp_chan_recv(never, NULL);
    for (int i = 0; i < made; i++)
        CHECK(pthread_getspecific(keys[i]) == NULL);
    return (void *)(intptr_t)rc;
}

/* How the call ends, if this happens while it is late. */
static int ends(gmp_chan *never, void (*meanwhile)(void))
{
    pthread_t thread;
    void *rc;

    is_late = goes_on = false;
    CHECK_OK(pthread_create(&thread, NULL, receives, never));
    while (!atomic_load(&is_late))
        block_ns(US(100));
    meanwhile();
    atomic_store(&goes_on, true);
    CHECK_OK(pthread_join(thread, &rc));
    return (int)(intptr_t)rc;
}

static void shuts_down(void)
{
    CHECK_OK(gmp_shutdown(GMP_FOREVER));
}

static void takes_the_number(void)
{
    shuts_down();
    for (int i = 0; i < TAKEN; i++)
        CHECK_OK(pthread_key_create(&keys[made++], is_called));
}

static void starts_again(void)
{
    takes_the_number();
    CHECK_OK(gmp_sleep(1));
}

int test_main(int argc, char **argv)
{
    gmp_chan *never = gmp_chan_make(0, 0);

    for (int i = 0; i < ROUNDS; i++) {
        CHECK_OK(gmp_sleep(1));
        CHECK_EQ(ends(never, shuts_down), -ESHUTDOWN);
        CHECK_OK(gmp_sleep(1));
        CHECK_EQ(ends(never, takes_the_number), -ESHUTDOWN);
        CHECK_OK(gmp_sleep(1));
        CHECK_EQ(ends(never, starts_again), -ESHUTDOWN);
    }
    gmp_chan_unref(never);
    return 0;
}
