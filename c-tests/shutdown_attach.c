/* Host threads whose calls the end of the runtime overtakes, or that live on
 * into the next one. The library's keys of pthreads go with it, and their
 * numbers become other keys', the host's or its own.
 *
 * The program takes the place of two functions of pthreads. */
#include "test.h"

#include <dlfcn.h>
#include <sys/wait.h>

/* The library has two keys at most, whose numbers the next keys get. */
enum { ROUNDS = 20, TAKEN = 2, KEYS = ROUNDS * TAKEN };

static atomic_bool is_late, goes_on;
static _Thread_local bool late_at_set, late_at_create;

static void be_late(bool *this_time)
{
    if (!*this_time)
        return;
    *this_time = false;
    atomic_store(&is_late, true);
    while (!atomic_load(&goes_on))
        block_ns(US(100));
}

int pthread_setspecific(pthread_key_t key, const void *value)
{
    static int (*_Atomic real)(pthread_key_t, const void *);

    if (!real)
        real = (int (*)(pthread_key_t, const void *))dlsym(
            RTLD_NEXT, "pthread_setspecific");
    be_late(&late_at_set);
    return real(key, value);
}

int pthread_key_create(pthread_key_t *key, void (*destructor)(void *))
{
    static int (*_Atomic real)(pthread_key_t *, void (*)(void *));

    if (!real)
        real = (int (*)(pthread_key_t *, void (*)(void *)))dlsym(
            RTLD_NEXT, "pthread_key_create");
    be_late(&late_at_create);
    return real(key, destructor);
}

static gmp_chan *never;

static void is_called(void *value)
{
    CHECK(!"the host's destructor is called");
}

static pthread_key_t keys[KEYS];
static int made;

static void *receives(void *arg)
{
    int rc;

    late_at_set = true;
    rc = gmp_chan_recv(never, NULL);
    for (int i = 0; i < made; i++)
        CHECK(pthread_getspecific(keys[i]) == NULL);
    return (void *)(intptr_t)rc;
}

static void await_late(void)
{
    while (!atomic_load(&is_late))
        block_ns(US(100));
    is_late = false;
}

/* How the first call of a thread ends, if this happens while it is late. */
static int ends(void (*meanwhile)(void))
{
    pthread_t thread;
    void *rc;

    CHECK_OK(gmp_sleep(1));
    goes_on = false;
    CHECK_OK(pthread_create(&thread, NULL, receives, NULL));
    await_late();
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

/* The library's next key has the number of the last. */
static void starts_again(void)
{
    shuts_down();
    CHECK_OK(gmp_sleep(1));
}

static void calls_that_are_overtaken(void)
{
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(ends(shuts_down), -ESHUTDOWN);
        CHECK_EQ(ends(takes_the_number), -ESHUTDOWN);
        CHECK_EQ(ends(starts_again), -ESHUTDOWN);
    }
}

static atomic_int step;
static gmp_key *key;
static atomic_int destroyed;

static void await_step(int n)
{
    while (atomic_load(&step) < n)
        block_ns(US(100));
}

static void is_destroyed(void *value)
{
    destroyed++;
}

/* Waits in this run and in the next, and uses a channel until it is told. */
static void *lives_on(void *ch)
{
    int x = 1;

    CHECK_OK(gmp_sleep(1));
    step = 1;
    await_step(2);
    CHECK_OK(gmp_sleep(1));
    CHECK_OK(gmp_setspecific(key, ch));
    step = 3;
    while (atomic_load(&step) == 3) {
        gmp_chan_try_send(ch, &x);
        gmp_chan_try_recv(ch, &x);
    }
    return NULL;
}

/* Forks find its locks, and its end is noticed. */
static void a_thread_that_lives_on(void)
{
    gmp_chan *ch = gmp_chan_make(sizeof(int), 1);
    pthread_t thread;
    int status, x = 1;
    pid_t pid;

    step = destroyed = 0;
    CHECK_OK(gmp_sleep(1));
    CHECK_OK(pthread_create(&thread, NULL, lives_on, ch));
    await_step(1);
    starts_again();
    key = gmp_key_create(is_destroyed);
    CHECK(key != NULL);
    step = 2;
    await_step(3);
    for (int i = 0; i < 20; i++) {
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            test_alarm(20);
            gmp_chan_try_send(ch, &x);
            gmp_chan_try_recv(ch, &x);
            _exit(0);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
    }
    step = 4;
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(destroyed, 1);
    CHECK_OK(gmp_key_delete(key));
    gmp_chan_unref(ch);
}

/* How many keys a process may have yet. */
static int free_keys(void)
{
    pthread_key_t some[PTHREAD_KEYS_MAX];
    int n = 0;

    while (n < PTHREAD_KEYS_MAX && pthread_key_create(&some[n], NULL) == 0)
        n++;
    for (int i = 0; i < n; i++)
        CHECK_OK(pthread_key_delete(some[i]));
    return n;
}

static void *sleeps(void *arg)
{
    CHECK_OK(gmp_sleep(1));
    return NULL;
}

static void *shuts_down_meanwhile(void *arg)
{
    await_late();
    shuts_down();
    atomic_store(&goes_on, true);
    return NULL;
}

/* The main thread, which has a key more, leaves none behind that would call a
 * library that is gone. */
static void the_main_thread_is_overtaken(void)
{
    pthread_t thread;
    int before, rc;

    CHECK_OK(gmp_sleep(1));
    shuts_down();
    before = free_keys();
    CHECK_OK(pthread_create(&thread, NULL, sleeps, NULL));
    CHECK_OK(pthread_join(thread, NULL));
    goes_on = false;
    CHECK_OK(pthread_create(&thread, NULL, shuts_down_meanwhile, NULL));
    late_at_create = true;
    rc = gmp_chan_recv_until(never, NULL, gmp_after_ns(MS(100)));
    CHECK(rc == -ESHUTDOWN || rc == -ETIMEDOUT);
    CHECK(!late_at_create);
    CHECK_OK(pthread_join(thread, NULL));
    CHECK_EQ(free_keys(), before);
}

int test_main(int argc, char **argv)
{
    never = gmp_chan_make(0, 0);
    calls_that_are_overtaken();
    a_thread_that_lives_on();
    the_main_thread_is_overtaken();
    gmp_chan_unref(never);
    return 0;
}
