/* A program to be looked at from outside: so many goroutines (by default 1000)
 * wait in wait_forever for channels that nobody sends on, one has a name and a
 * mutex, and one waits for that mutex; with a second argument two play
 * ping-pong. It says "ready". Then each line of its standard input makes it
 * dump itself, and the end of the input ends it. */
#include "test.h"

static gmp_mutex lock = GMP_MUTEX_INIT;
static gmp_chan *ping, *pong, *never;
static atomic_int waiting;

static void wait_forever(void *ch)
{
    char element;

    atomic_fetch_add(&waiting, 1);
    gmp_chan_recv(ch, &element);
}

static void hold_the_lock(void *arg)
{
    gmp_mutex_lock(&lock);
    wait_forever(never);
}

static void want_the_lock(void *arg)
{
    gmp_mutex_lock(&lock);
    CHECK(false);
}

static void play(void *first)
{
    gmp_chan *in = first ? ping : pong, *out = first ? pong : ping;
    int ball = 0;

    if (first)
        gmp_chan_send(out, &ball);
    while (gmp_chan_recv(in, &ball) == 0)
        gmp_chan_send(out, &ball);
}

static void start(const char *name, gmp_fn f, void *arg)
{
    gmp_attr attr = GMP_ATTR_INIT;

    attr.name = name;
    CHECK(gmp_go_with(&attr, f, arg, NULL) == 0);
}

int test_main(int argc, char **argv)
{
    int waiters = argc > 1 ? atoi(argv[1]) : 1000, c;

    ping = gmp_chan_make(sizeof(int), 1);
    pong = gmp_chan_make(sizeof(int), 1);
    never = gmp_chan_make(1, 0);
    for (int i = 0; i < waiters; i++)
        start(NULL, wait_forever, gmp_chan_make(1, 0));
    start("the holder", hold_the_lock, NULL);
    AWAIT(atomic_load(&waiting) == waiters + 1);
    start(NULL, want_the_lock, NULL);
    gmp_sleep(MS(100));
    if (argc > 2) {
        start(NULL, play, NULL);
        start(NULL, play, never);
    }
    puts("ready");
    fflush(stdout);
    while ((c = getchar()) != EOF) {
        if (c == 'd')
            CHECK(gmp_dump(1, 0) == 0);
        if (c == 'j')
            CHECK(gmp_dump(1, GMP_DUMP_JSON | GMP_DUMP_EACH) == 0);
        if (c == '\n')
            CHECK(write(1, "\ndumped\n", 8) == 8);
    }
    return 0;
}
