/* The main thread leaves by pthread_exit: the process goes on until the last
 * thread of its own and the last goroutine have ended, and then ends as by
 * exit(0).
 *
 * Arguments: what is left behind. */
#include "../test.h"

static int64_t began;
static bool spans = true;

static void at_the_end(void)
{
    /* On a thread on which the library may be called. */
    CHECK_OK(gmp_sleep(MS(1)));
    CHECK(gmp_now() >= began + MS(spans ? 200 : 0));
    puts("exit handlers ran");
    fflush(stdout);
}

static void end_now(void *arg)
{
}

static void sleep_on(void *arg)
{
    for (int i = 0; i < 20; i++)
        CHECK_OK(gmp_sleep(MS(10)));
}

static void block_on(void *arg)
{
    block_ns(MS(200));
}

static void wait_for_ever(void *arg)
{
    gmp_chan_recv(NULL, NULL);
}

static void *thread_sleeps(void *arg)
{
    block_ns(MS(200));
    return arg;
}

/* A thread of the host's that has a goroutine's half of its own. */
static void *thread_calls(void *arg)
{
    for (int i = 0; i < 20; i++)
        CHECK_OK(gmp_sleep(MS(10)));
    return arg;
}

/* The last thread leaves a goroutine behind, which makes the next thread. */
static void make_thread(void *arg)
{
    pthread_t thread;

    CHECK_OK(gmp_sleep(MS(120)));
    CHECK_OK(pthread_create(&thread, NULL, thread_sleeps, NULL));
    CHECK_OK(pthread_detach(thread));
}

static void fires(void *arg)
{
    puts("fired");
}

static void make(void *(*fn)(void *))
{
    pthread_t thread;

    CHECK_OK(pthread_create(&thread, NULL, fn, NULL));
    CHECK_OK(pthread_detach(thread));
}

int test_main(int argc, char **argv)
{
    struct rlimit no_core = {0, 0};
    const char *what = argc > 1 ? argv[1] : "";

    setrlimit(RLIMIT_CORE, &no_core);
    if (strcmp(what, "nothing") == 0) {
        pthread_exit(NULL);
    }
    began = gmp_now();
    spans = strcmp(what, "timer") != 0;
    if (strcmp(what, "goroutine") == 0) {
        CHECK_OK(gmp_join(spawn(end_now, NULL)));
        pthread_exit(NULL);
    }
    if (strcmp(what, "deadlock") == 0) {
        CHECK_OK(gmp_go(wait_for_ever, NULL));
        pthread_exit(NULL);
    }
    atexit(at_the_end);
    if (strcmp(what, "sleeper") == 0)
        CHECK_OK(gmp_go(sleep_on, NULL));
    else if (strcmp(what, "blocked") == 0)
        CHECK_OK(gmp_go(block_on, NULL));
    else if (strcmp(what, "thread") == 0)
        make(thread_sleeps);
    else if (strcmp(what, "caller") == 0)
        make(thread_calls);
    else if (strcmp(what, "maker") == 0)
        CHECK_OK(gmp_go(make_thread, NULL));
    else if (strcmp(what, "timer") == 0)
        CHECK(gmp_timer_start(SEC(100), 0, fires, NULL) != NULL);
    else
        CHECK(!"an argument that is known");
    pthread_exit(NULL);
}
