/* Hangs: two transfers lock the same two accounts, in opposite order.
 * docs/when.md looks into it. */
#include <gmp.h>
#include <stdio.h>

struct account {
    gmp_mutex lock;
    long cents;
};

struct transfer {
    struct account *from, *to;
    long cents;
};

static struct account ann = { GMP_MUTEX_INIT, 10000 };
static struct account bob = { GMP_MUTEX_INIT, 10000 };

static void make(void *arg)
{
    struct transfer *t = arg;

    gmp_mutex_lock(&t->from->lock);
    gmp_sleep(10 * 1000 * 1000); /* ask the bank */
    gmp_mutex_lock(&t->to->lock);
    t->from->cents -= t->cents;
    t->to->cents += t->cents;
    gmp_mutex_unlock(&t->to->lock);
    gmp_mutex_unlock(&t->from->lock);
}

static gmp_g *start(const char *name, struct transfer *t)
{
    gmp_attr attr = GMP_ATTR_INIT;
    gmp_g *g = NULL;
    int rc;

    attr.name = name;
    rc = gmp_go_with(&attr, make, t, &g);
    if (rc != 0)
        fprintf(stderr, "gmp_go_with: %s\n", gmp_strerror(rc));
    return g;
}

int main(void)
{
    struct transfer rent = { &ann, &bob, 500 }, wage = { &bob, &ann, 900 };
    gmp_g *first = start("rent", &rent), *second = start("wage", &wage);

    gmp_join(first);
    gmp_join(second);
    printf("ann has %ld, bob has %ld\n", ann.cents, bob.cents);
    return 0;
}
