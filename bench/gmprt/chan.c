/* Channels: two goroutines in turn; queues; select. */
#include "bench.h"

enum { CAPACITY = 128, MAX_CASES = 4 };

static gmp_waitgroup ended = GMP_WAITGROUP_INIT;
static gmp_chan *chans[MAX_CASES];
static atomic_long sum;

static void make_chans(long count, size_t capacity)
{
    for (long i = 0; i < count; i++)
        check((chans[i] = gmp_chan_make(sizeof(long), capacity)), "make");
}

static void unref_chans(long count)
{
    for (long i = 0; i < count; i++)
        gmp_chan_unref(chans[i]);
}

static void ponger(void *arg)
{
    long x;
    for (long left = (long)(intptr_t)arg; left > 0; left--) {
        gmp_chan_recv(chans[0], &x);
        x++;
        gmp_chan_send(chans[1], &x);
    }
    gmp_waitgroup_done(&ended);
}

static void pingpong_pass(long n)
{
    long x = 0;
    gmp_waitgroup_add(&ended, 1);
    go(ponger, (void *)(intptr_t)n);
    for (long left = n; left > 0; left--) {
        gmp_chan_send(chans[0], &x);
        gmp_chan_recv(chans[1], &x);
    }
    check(x == n, "number of round trips");
    gmp_waitgroup_wait(&ended);
}

void pingpong(void)
{
    make_chans(2, 0);
    measure(pingpong_pass);
    unref_chans(2);
}

static void sender(void *arg)
{
    for (long x = (long)(intptr_t)arg; x > 0; x--)
        gmp_chan_send(chans[0], &x);
    gmp_waitgroup_done(&ended);
}

static void receiver(void *arg)
{
    long x, own = 0;
    for (long left = (long)(intptr_t)arg; left > 0; left--) {
        gmp_chan_recv(chans[0], &x);
        own += x;
    }
    atomic_fetch_add(&sum, own);
    gmp_waitgroup_done(&ended);
}

static void buffered_pass(long n)
{
    long each = n / opt.g;
    sum = 0;
    gmp_waitgroup_add(&ended, 2 * opt.g);
    for (long i = 0; i < opt.g; i++) {
        go(receiver, (void *)(intptr_t)each);
        go(sender, (void *)(intptr_t)each);
    }
    gmp_waitgroup_wait(&ended);
    check(sum == opt.g * triangle(each), "sum of the elements");
}

void buffered(void)
{
    make_chans(1, CAPACITY);
    measure(buffered_pass);
    unref_chans(1);
}

/* The cases of a select over all channels, each received into *x. */
static void make_cases(gmp_case *cases, long *x)
{
    for (long i = 0; i < opt.g; i++)
        cases[i] = (gmp_case){chans[i], x, GMP_RECV, 0};
}

/* What is received from a channel goes back into it, one more. */
static void select_ready_pass(long n)
{
    gmp_case cases[MAX_CASES];
    long x = 0, total = 0;
    make_cases(cases, &x);
    for (long i = 0; i < opt.g; i++)
        gmp_chan_send(chans[i], &x);
    for (long i = 0; i < n; i++) {
        int chosen = gmp_select(cases, (size_t)opt.g);
        x++;
        gmp_chan_send(chans[chosen], &x);
    }
    for (long i = 0; i < opt.g; i++) {
        gmp_chan_recv(chans[i], &x);
        total += x;
    }
    check(total == n, "number of selects");
}

void select_ready(void)
{
    make_chans(opt.g, 1);
    measure(select_ready_pass);
    unref_chans(opt.g);
}

struct feed {
    gmp_chan *ch;
    long n;
};

static void feeder(void *arg)
{
    struct feed *feed = arg;
    for (long x = feed->n; x > 0; x--)
        gmp_chan_send(feed->ch, &x);
    gmp_waitgroup_done(&ended);
}

static void select_park_pass(long n)
{
    gmp_case cases[MAX_CASES];
    struct feed feeds[MAX_CASES];
    long x, total = 0;
    make_cases(cases, &x);
    gmp_waitgroup_add(&ended, opt.g);
    for (long i = 0; i < opt.g; i++) {
        feeds[i] = (struct feed){chans[i], n / opt.g};
        go(feeder, &feeds[i]);
    }
    for (long i = 0; i < n; i++) {
        gmp_select(cases, (size_t)opt.g);
        total += x;
    }
    gmp_waitgroup_wait(&ended);
    check(total == opt.g * triangle(n / opt.g), "sum of the elements");
}

void select_park(void)
{
    make_chans(opt.g, 0);
    measure(select_park_pass);
    unref_chans(opt.g);
}
