/* The primes below a limit, by a sieve of goroutines.
 *
 * A generator counts upwards. Each prime found adds a goroutine to the end of
 * the pipeline, which passes on what its prime does not divide; so the first
 * number that comes out of the pipeline is always the next prime. When the
 * generator closes its channel, the closing runs down the whole pipeline. */
#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>

struct stage {
    gmp_chan *in, *out;
    int n; /* the limit, or a filter's prime */
};

static void generate(void *args)
{
    struct stage *self = args;
    for (int n = 2; n < self->n; n++)
        gmp_chan_send(self->out, &n);
    gmp_chan_close(self->out);
    gmp_chan_unref(self->out);
}

static void filter(void *args)
{
    struct stage *self = args;
    int n;
    while (gmp_chan_recv(self->in, &n) == 0)
        if (n % self->n != 0)
            gmp_chan_send(self->out, &n);
    gmp_chan_close(self->out);
    gmp_chan_unref(self->in);
    gmp_chan_unref(self->out);
}

/* Starts a stage from in, which it takes over; the channel it sends on. */
static gmp_chan *start(gmp_fn fn, gmp_chan *in, int n)
{
    gmp_chan *out = gmp_chan_make(sizeof(int), 0);
    struct stage stage = {in, gmp_chan_ref(out), n};
    int rc = gmp_go_copy(fn, &stage, sizeof stage);
    if (rc != 0) {
        fprintf(stderr, "sieve: %s\n", gmp_strerror(rc));
        exit(1);
    }
    return out;
}

static int sieve(int argc, char **argv)
{
    gmp_chan *end = start(generate, NULL, argc > 1 ? atoi(argv[1]) : 100);
    int prime;
    while (gmp_chan_recv(end, &prime) == 0) {
        printf("%d\n", prime);
        end = start(filter, end, prime);
    }
    gmp_chan_unref(end);
    return 0;
}

int main(int argc, char **argv)
{
    return gmp_run_main(argc, argv, sieve);
}
