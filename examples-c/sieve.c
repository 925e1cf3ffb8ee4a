/* The first primes, by a sieve of goroutines.
 *
 *     generate --> filter 2 --> filter 3 --> filter 5 --> ... --> main
 *
 * A generator counts upwards, and each filter passes on the numbers that its
 * prime does not divide. So the next number that reaches main is always a
 * prime, and gets a filter of its own at the end of the line.
 *
 * A stage that waits for a neighbour also waits for quit. Main closes quit when
 * it has enough primes; then all stages release their channels, and end. */
#include <err.h>
#include <gmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

struct stage { /* holds a reference to both of its channels */
    gmp_chan *in, *out;
    int prime;
};
static gmp_chan *quit;
static gmp_waitgroup stages = GMP_WAITGROUP_INIT;

/* Sends or receives n; false if quit is closed. */
static bool pass(int op, gmp_chan *ch, int *n)
{
    gmp_case cases[] = {{ch, n, op, 0}, {quit, NULL, GMP_RECV, 0}};
    return gmp_select(cases, 2) == 0;
}

static void end(struct stage *self)
{
    gmp_chan_unref(self->in);
    gmp_chan_unref(self->out);
    gmp_waitgroup_done(&stages);
}

static void generate(void *args)
{
    struct stage *self = args;
    for (int n = 2; pass(GMP_SEND, self->out, &n);)
        n++;
    end(self);
}

static void filter(void *args)
{
    struct stage *self = args;
    for (int n; pass(GMP_RECV, self->in, &n);)
        if (n % self->prime != 0 && !pass(GMP_SEND, self->out, &n))
            break;
    end(self);
}

/* Starts a stage, which takes over `in`; returns its output. */
static gmp_chan *start(gmp_fn fn, gmp_chan *in, int prime)
{
    gmp_chan *out = gmp_chan_make(sizeof(int), 0);
    struct stage stage = {in, gmp_chan_ref(out), prime};
    gmp_waitgroup_add(&stages, 1);
    int rc = gmp_go_copy(fn, &stage, sizeof stage);
    if (rc != 0)
        errx(1, "%s", gmp_strerror(rc));
    return out;
}

static int sieve(int argc, char **argv)
{
    quit = gmp_chan_make(0, 0);
    gmp_chan *line = start(generate, NULL, 0);
    for (int left = argc > 1 ? atoi(argv[1]) : 25; left > 0; left--) {
        int prime;
        gmp_chan_recv(line, &prime);
        printf("%d\n", prime);
        line = start(filter, line, prime);
    }
    gmp_chan_close(quit);
    gmp_chan_unref(line);
    gmp_waitgroup_wait(&stages);
    gmp_chan_unref(quit);
    return 0;
}

int main(int argc, char **argv)
{
    return gmp_run_main(argc, argv, sieve);
}
