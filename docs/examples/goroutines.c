/* Goroutines: start, join, name, yield, end. */
#include <gmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct range {
    long from, to;
    long *sum;
};

/* Lets other goroutines run now and then, in a long loop. */
static void add_up(void *arg)
{
    struct range *r = arg;

    for (long n = r->from; n < r->to; n++) {
        *r->sum += n;
        gmp_checkpoint();
    }
}

/* Starts two goroutines, each with a copy of its range, and joins a third. */
static long add_in_three(void)
{
    long sums[3] = {0, 0, 0};
    struct range low = {0, 100, &sums[0]}, high = {200, 300, &sums[2]};
    struct range middle = {100, 200, &sums[1]};
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g;

    attr.name = "middle";
    if (gmp_go_with(&attr, add_up, &middle, &g) != 0)
        abort();
    if (gmp_join_until(g, gmp_after_ns(1000000000)) == -ETIMEDOUT)
        gmp_join(g);
    if (gmp_go_copy(add_up, &low, sizeof low) != 0 ||
        gmp_go_copy(add_up, &high, sizeof high) != 0)
        abort();
    while (gmp_num_goroutines() > 0)
        gmp_yield();
    return sums[0] + sums[1] + sums[2];
}

/* Starts a goroutine that nobody joins, but that is named in dumps. */
static int start_and_forget(gmp_fn func, void *arg)
{
    gmp_g *g;
    int rc = gmp_go_with(NULL, func, arg, &g);

    if (rc == 0)
        gmp_release(g);
    return rc;
}

/* Names itself, frees its memory however it ends, and ends early. */
static void early(void *done)
{
    char name[32], *buffer = malloc(100);

    gmp_set_name("early");
    if (buffer == NULL || gmp_defer(free, buffer) != 0)
        abort();
    if (gmp_get_name(gmp_self(), name, sizeof name) == 0)
        printf("goroutine %llu is %s\n", (unsigned long long)gmp_goid(), name);
    gmp_waitgroup_done(done);
    gmp_exit();
}

int main(void)
{
    gmp_waitgroup done = GMP_WAITGROUP_INIT;
    long sum = add_in_three();

    printf("%ld\n", sum);
    gmp_waitgroup_add(&done, 1);
    if (start_and_forget(early, &done) != 0)
        return 1;
    gmp_waitgroup_wait(&done);
    return sum != 299 * 300 / 2;
}
