/* The first primes, by a sieve of goroutines.
 *
 *     generate --> filter 2 --> filter 3 --> filter 5 --> ... --> main
 *
 * A generator counts upwards, and each filter passes on what its prime does
 * not divide. So the first number that reaches main is always the next prime,
 * and gets a filter of its own at the end of the line. The goroutines never
 * end by themselves: they go with the program, when main returns. */
#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>

struct stage {
    gmp_chan *in, *out;
    int prime;
};

static void generate(void *args)
{
    struct stage *self = args;
    for (int n = 2;; n++)
        gmp_chan_send(self->out, &n);
}

static void filter(void *args)
{
    struct stage *self = args;
    for (int n; gmp_chan_recv(self->in, &n) == 0;)
        if (n % self->prime != 0)
            gmp_chan_send(self->out, &n);
}

/* Starts a stage that receives from in; what it sends on. */
static gmp_chan *start(gmp_fn fn, gmp_chan *in, int prime)
{
    struct stage stage = {in, gmp_chan_make(sizeof(int), 0), prime};
    int rc = gmp_go_copy(fn, &stage, sizeof stage);
    if (rc != 0) {
        fprintf(stderr, "sieve: %s\n", gmp_strerror(rc));
        exit(1);
    }
    return stage.out;
}

static int sieve(int argc, char **argv)
{
    gmp_chan *end = start(generate, NULL, 0);
    for (int left = argc > 1 ? atoi(argv[1]) : 25; left > 0; left--) {
        int prime;
        gmp_chan_recv(end, &prime);
        printf("%d\n", prime);
        end = start(filter, end, prime);
    }
    return 0;
}

int main(int argc, char **argv)
{
    return gmp_run_main(argc, argv, sieve);
}
