/* A program to be looked at from outside: so many goroutines (by default 1000)
 * wait in wait_forever for channels that nobody sends on, one has a name and a
 * mutex, one waits for that mutex, and two play ping-pong. It says "ready", and
 * ends when its standard input does, or by itself after two minutes; with a
 * second argument it aborts instead, for a core. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

static gmp_mutex lock = GMP_MUTEX_INIT;
static gmp_chan *ping, *pong, *never;

static void wait_forever(void *arg) {
    char element;
    gmp_chan *ch = arg;
    gmp_chan_recv(ch, &element);
}

static void hold_the_lock(void *arg) {
    char element;
    gmp_mutex_lock(&lock);
    gmp_chan_recv(never, &element);
}

static void want_the_lock(void *arg) {
    gmp_mutex_lock(&lock);
}

static void play(void *arg) {
    int ball = 0;
    gmp_chan *in = arg ? ping : pong, *out = arg ? pong : ping;
    if (arg)
        gmp_chan_send(out, &ball);
    while (gmp_chan_recv(in, &ball) == 1)
        gmp_chan_send(out, &ball);
}

int test_main(int argc, char **argv) {
    int waiters = argc > 1 ? atoi(argv[1]) : 1000;
    gmp_attr attr = {.struct_size = sizeof attr, .name = "the holder"};
    ping = gmp_chan_make(sizeof(int), 1);
    pong = gmp_chan_make(sizeof(int), 1);
    never = gmp_chan_make(1, 0);
    for (int i = 0; i < waiters; i++)
        gmp_go(wait_forever, gmp_chan_make(1, 0));
    gmp_go_with(&attr, hold_the_lock, NULL, NULL);
    gmp_sleep(50 * 1000 * 1000);
    gmp_go(want_the_lock, NULL);
    gmp_go(play, NULL);
    gmp_go(play, &lock);
    gmp_sleep(50 * 1000 * 1000);
    puts("ready");
    fflush(stdout);
    if (argc > 2)
        abort();
    alarm(120);
    while (getchar() != EOF)
        continue;
    return 0;
}
