/* neco's channels: two coroutines in turn; queues; select. */
#include "../peer.h"
#include "chan.h"

#include <neco.h>

enum { CAPACITY = 128, MAX_CASES = 4 };

static neco_waitgroup ended = NECO_WAITGROUP_INITIALIZER;
static neco_chan *chans[MAX_CASES];
static long sum;

static void make_chans(long number, size_t capacity)
{
    for (long i = 0; i < number; i++)
        neco_chan_make(&chans[i], sizeof(long), capacity);
}

static void release_chans(long number)
{
    for (long i = 0; i < number; i++)
        neco_chan_release(chans[i]);
}

static void ponger(int argc, void **argv)
{
    (void)argc;
    long x;
    for (long left = (long)argv[0]; left > 0; left--) {
        neco_chan_recv(chans[0], &x);
        x++;
        neco_chan_send(chans[1], &x);
    }
    neco_waitgroup_done(&ended);
}

static void pingpong_pass(long n)
{
    long x = 0;
    neco_waitgroup_add(&ended, 1);
    neco_start(ponger, 1, n);
    for (long left = n; left > 0; left--) {
        neco_chan_send(chans[0], &x);
        neco_chan_recv(chans[1], &x);
    }
    check(x == n, "number of round trips");
    neco_waitgroup_wait(&ended);
}

void pingpong(void)
{
    make_chans(2, 0);
    measure(pingpong_pass);
    release_chans(2);
}

/* Sends n elements on the channel of the given number. */
static void sender(int argc, void **argv)
{
    (void)argc;
    for (long x = (long)argv[0]; x > 0; x--)
        neco_chan_send(chans[(long)argv[1]], &x);
    neco_waitgroup_done(&ended);
}

static void receiver(int argc, void **argv)
{
    (void)argc;
    long x;
    for (long left = (long)argv[0]; left > 0; left--) {
        neco_chan_recv(chans[0], &x);
        sum += x;
    }
    neco_waitgroup_done(&ended);
}

static void buffered_pass(long n)
{
    long each = n / opt.g;
    sum = 0;
    neco_waitgroup_add(&ended, 2 * (int)opt.g);
    for (long i = 0; i < opt.g; i++) {
        neco_start(receiver, 1, each);
        neco_start(sender, 2, each, 0L);
    }
    neco_waitgroup_wait(&ended);
    check(sum == opt.g * triangle(each), "sum of the elements");
}

void buffered(void)
{
    make_chans(1, CAPACITY);
    measure(buffered_pass);
    release_chans(1);
}

/* What is received from a channel goes back into it, one more. */
static void select_ready_pass(long n)
{
    long x = 0, total = 0;
    for (long i = 0; i < opt.g; i++)
        neco_chan_send(chans[i], &x);
    for (long i = 0; i < n; i++) {
        int chosen = neco_chan_selectv((int)opt.g, chans);
        neco_chan_case(chans[chosen], &x);
        x++;
        neco_chan_send(chans[chosen], &x);
    }
    for (long i = 0; i < opt.g; i++) {
        neco_chan_recv(chans[i], &x);
        total += x;
    }
    check(total == n, "number of selects");
}

void select_ready(void)
{
    make_chans(opt.g, 1);
    measure(select_ready_pass);
    release_chans(opt.g);
}

static void select_park_pass(long n)
{
    long x, total = 0;
    neco_waitgroup_add(&ended, (int)opt.g);
    for (long i = 0; i < opt.g; i++)
        neco_start(sender, 2, n / opt.g, i);
    for (long i = 0; i < n; i++) {
        int chosen = neco_chan_selectv((int)opt.g, chans);
        neco_chan_case(chans[chosen], &x);
        total += x;
    }
    neco_waitgroup_wait(&ended);
    check(total == opt.g * triangle(n / opt.g), "sum of the elements");
}

void select_park(void)
{
    make_chans(opt.g, 0);
    measure(select_park_pass);
    release_chans(opt.g);
}
