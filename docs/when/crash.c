/* Crashes: one of a hundred goroutines writes through a null pointer.
 * docs/when.md looks into it. */
#include <gmp.h>
#include <stdlib.h>

struct order {
    int number;
    int *total;
};

static void add_up(struct order *o)
{
    *o->total += o->number;
}

static void serve(void *arg)
{
    struct order *o = arg;

    gmp_set_name("order");
    gmp_sleep(1000 * 1000);
    add_up(o);
}

int main(void)
{
    static struct order orders[100];
    static int total;

    for (int i = 0; i < 100; i++) {
        orders[i].number = i;
        if (i != 42) /* the bug */
            orders[i].total = &total;
        gmp_go(serve, &orders[i]);
    }
    gmp_sleep(1000 * 1000 * 1000);
    return 0;
}
